//! An ordinary async service against the modelled Patroni cluster, during a failover. Made to be copied.
//!
//! The `service` module is what a user brings: tokio code with a connection pool and a retry policy, which knows nothing of
//! simulation. In a project of your own it is your crate, built with `--cfg madsim` and
//! `tokio = { package = "madsim-tokio" }` (add a `[patch]` for crates that use tokio underneath, see madsim's README).
//!
//! The rest is the test bench:
//!
//! 1. a cluster from the catalogue (or from a scenario file of your own) becomes a blueprint;
//! 2. a simulation starts it inside a madsim runtime, with a port on the host of the applications;
//! 3. a gateway lets the service reach the modelled `HAProxy` through that port, by TCP;
//! 4. a schedule of faults, the same as on the native host, does the damage;
//! 5. afterwards the test holds what the service was told against what the cluster holds.

#![cfg(madsim)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it found, and fails by panics"
)]
#![expect(clippy::disallowed_methods, reason = "under madsim, the clock that a service reads is virtual")]

use std::net::SocketAddr;
use std::sync::Arc;

use madsim::Config;
use madsim::runtime::{Handle, Runtime};
use madsim_host::{Gateway, Options, Pace, Simulation};
use models::Planted;
use models::postgres::SynchronousCommit;
use scenarios::case::{Case, UserSettings};
use scenarios::catalogue;
use scenarios::patroni::PatroniSystem;
use sim_core::{Place, Seed, SimDuration, SimTime};
use tokio::time::{Duration, sleep};

use analysis::SurvivingValues;
use service::{Pool, RetryPolicy};

/// What a user brings: no word of simulation in here.
mod service {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpStream;
    use tokio::time::{Duration, Instant, sleep, timeout};

    /// How hard the service tries before it gives its user an error.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct RetryPolicy {
        /// Time for one attempt, connecting included.
        pub(crate) attempt: Duration,
        /// Time for all attempts together; zero: one attempt.
        pub(crate) total: Duration,
        /// Pause after the first failure; doubles after each, up to two seconds.
        pub(crate) first_pause: Duration,
    }

    /// Connections that are not in use.
    pub(crate) struct Pool {
        address: SocketAddr,
        idle: Mutex<Vec<BufReader<TcpStream>>>,
    }

    impl Pool {
        pub(crate) fn new(address: SocketAddr) -> Self {
            Self { address, idle: Mutex::default() }
        }

        /// Stores a value that identifies its request: storing it twice is harmless, so that an attempt whose outcome is
        /// unknown may be made again.
        pub(crate) async fn store(&self, policy: RetryPolicy, value: u64) -> io::Result<()> {
            let started = Instant::now();
            let mut pause = policy.first_pause;
            loop {
                let attempt = timeout(policy.attempt, self.try_store(value)).await;
                let error = match attempt {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => io::Error::from(io::ErrorKind::TimedOut),
                };
                if started.elapsed() + pause >= policy.total {
                    return Err(error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }

        async fn try_store(&self, value: u64) -> io::Result<()> {
            // A connection goes back only after an answer: one that is dropped half-way is closed.
            let pooled = self.idle.lock().expect("no task panics here").pop();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => BufReader::new(TcpStream::connect(self.address).await?),
            };
            connection.write_all(format!("INSERT {value}\n").as_bytes()).await?;
            connection.flush().await?;
            let mut answer = String::new();
            if connection.read_line(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            match answer.trim_end() {
                "OK" => {
                    self.idle.lock().expect("no task panics here").push(connection);
                    Ok(())
                }
                // Read-only, starting up, or not replicated: this connection leads to the wrong server.
                other => Err(io::Error::other(other.to_owned())),
            }
        }
    }
}

/// What the users of the service saw, and what became of it.
#[derive(Debug, PartialEq)]
struct Report {
    requests: usize,
    failed: usize,
    /// Values that the service said are stored, and that the cluster does not hold.
    lost: Vec<u64>,
}

/// Users who ask one after the other.
const USERS: u64 = 4;
/// Each pauses so long between two requests.
const PAUSE: Duration = Duration::from_millis(250);
/// How long they ask.
const ASKING: Duration = Duration::from_secs(95);

/// The service under a schedule of the catalogue, for one seed.
fn run(scenario: &str, seed: u64, policy: RetryPolicy) -> Report {
    let scenarios = catalogue::scenarios().unwrap();
    let scenario = scenarios.iter().find(|other| other.name == scenario).unwrap();
    let case = Case::new(scenario, &UserSettings::default()).unwrap();
    let system = PatroniSystem::new(&case, Planted::Nothing);
    let blueprint = system.cluster.blueprint();
    let app = blueprint.topology.hosts_of(|place| *place == Place::Host("app-1".to_owned()))[0];
    let schedule = scenario.schedule(Seed(seed));

    Runtime::with_seed_and_config(seed, Config::default()).block_on(async move {
        let options = Options {
            pace: Pace::REAL,
            ports: vec![("service".to_owned(), app)],
            ..Options::new(Seed(seed))
        };
        let simulation = Simulation::start(&blueprint, &options);
        simulation.schedule(&schedule).expect("this host carries out the faults of the scenario");
        let gateway = SocketAddr::from(([10, 0, 0, 1], 5432));
        Gateway {
            port: simulation.port("service"),
            database: simulation.find("haproxy-1").expect("the cluster has a proxy"),
            commit: SynchronousCommit::On,
        }
        .listen(gateway);

        // The service has a node of its own, which could be killed and restarted like any other of madsim.
        let node = Handle::current().create_node().name("service").ip([10, 0, 0, 2].into()).build();
        let users = node.spawn(async move {
            let pool = Arc::new(Pool::new(gateway));
            // The cluster needs some seconds to elect its first leader.
            sleep(Duration::from_secs(20)).await;
            let users = (1..=USERS).map(|user| tokio::spawn(ask(user, Arc::clone(&pool), policy)));
            let mut answers = Vec::new();
            for user in users.collect::<Vec<_>>() {
                answers.extend(user.await.expect("users do not panic"));
            }
            answers
        });
        let answers = users.await.expect("the service does not panic");
        // What is on its way arrives.
        simulation.run_until(SimTime::ZERO + scenario.horizon + SimDuration::from_secs(60)).await;
        simulation.stop().await;
        let outcome = simulation.outcome(None);
        let surviving: SurvivingValues = system.cluster.surviving(&outcome);
        let stored = answers.iter().filter(|(_, stored)| *stored).map(|(value, _)| *value);
        Report {
            requests: answers.len(),
            failed: answers.iter().filter(|(_, stored)| !stored).count(),
            lost: stored.filter(|value| !surviving.contains(*value)).collect(),
        }
    })
}

/// One user: for each request its value, and whether the service said that it is stored.
async fn ask(user: u64, pool: Arc<Pool>, policy: RetryPolicy) -> Vec<(u64, bool)> {
    let started = tokio::time::Instant::now();
    let mut answers = Vec::new();
    while started.elapsed() < ASKING {
        let value = user * 1_000_000 + answers.len() as u64;
        answers.push((value, pool.store(policy, value).await.is_ok()));
        sleep(PAUSE).await;
    }
    answers
}

/// One attempt of at most two seconds.
const NO_RETRIES: RetryPolicy = RetryPolicy {
    attempt: Duration::from_secs(2),
    total: Duration::ZERO,
    first_pause: Duration::from_millis(50),
};

/// The same, again and again for a minute: longer than a failover with Patroni's default `ttl` of 30 s.
const A_MINUTE_OF_RETRIES: RetryPolicy = RetryPolicy { total: Duration::from_mins(1), ..NO_RETRIES };

#[test]
fn retries_hide_a_failover_and_nothing_that_was_confirmed_is_lost() {
    for seed in 1..=5 {
        let without = run("patroni/primary-host-crash/sync", seed, NO_RETRIES);
        let with = run("patroni/primary-host-crash/sync", seed, A_MINUTE_OF_RETRIES);
        println!("seed {seed}: without retries {without:?}, with {with:?}");
        // Four users, two seconds an attempt, an outage of 20 to 35 s.
        assert!(without.failed >= 4 * 5, "seed {seed}: the failover was hardly noticed: {without:?}");
        assert_eq!(with.failed, 0, "seed {seed}: a minute of retries was not enough: {with:?}");
        assert!(with.requests > 4 * 100, "seed {seed}: the service stood still: {with:?}");
        assert_eq!((without.lost, with.lost), (vec![], vec![]), "seed {seed}");
    }
}

/// The bench can tell: with asynchronous replication over a bad link, confirmed values are lost.
#[test]
fn asynchronous_replication_loses_what_the_service_confirmed() {
    let lost = (1..=20)
        .find(|seed| !run("patroni/primary-host-crash/async", *seed, A_MINUTE_OF_RETRIES).lost.is_empty());
    assert!(lost.is_some(), "20 crashes of a primary lost nothing");
}

#[test]
fn a_run_with_a_service_is_a_function_of_its_seed() {
    let report = || run("patroni/postgres-crash/async", 7, NO_RETRIES);
    assert_eq!(report(), report());
}
