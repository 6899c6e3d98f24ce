//! Services that keep sessions of users, or a cache, in Redis with Sentinels.

use std::collections::BTreeSet;

use models::redis::{Cache, Purpose, Sessions, WaitFor};
use sim_core::{Fault, Operation, OperationKind, Probability, SimDuration, Target};

use super::sentinel::{Run, kill_primary, plan, seconds};

/// A run of one client that asks for this until a second before its end, with the faults.
fn run(purpose: Purpose, faults: &[(u64, Fault, u64)]) -> Run {
    let mut plan = plan();
    plan.load.purpose = purpose;
    plan.load.write_interval = SimDuration::from_millis(20);
    plan.load.stop_at = Some(seconds(49));
    Run::new(&plan, 1, faults).until(50)
}

fn answered(run: &Run, kind: OperationKind) -> Vec<Operation> {
    let operations = run.world.operations().iter();
    operations.filter(|operation| operation.kind == kind && operation.is_acknowledged()).copied().collect()
}

fn lost(run: &Run) -> usize {
    let there: BTreeSet<u64> = run.cluster.surviving(&run.world);
    answered(run, OperationKind::Write).iter().filter(|login| !there.contains(&login.value)).count()
}

fn restart_primary() -> Fault {
    Fault::Restart {
        target: Target::Role("primary".to_owned()),
        delay: seconds(1),
        stagger: SimDuration::ZERO,
    }
}

#[test]
fn whoever_has_logged_in_is_known_until_the_session_is_gone() {
    let undisturbed = run(Purpose::Sessions(Sessions::default()), &[]);
    let logins: BTreeSet<u64> =
        answered(&undisturbed, OperationKind::Write).iter().map(|login| login.value).collect();
    let visits = answered(&undisturbed, OperationKind::Read);
    assert!(logins.len() > 100 && visits.len() > 1_000, "{} and {}", logins.len(), visits.len());
    assert!(visits.iter().all(|visit| logins.contains(&visit.value)));
    assert_eq!(lost(&undisturbed), 0);
    // A primary without files comes back before anybody misses it, and its replicas throw away what they have.
    let emptied = run(Purpose::Sessions(Sessions::default()), &[(20, restart_primary(), 0)]);
    let strangers = answered(&emptied, OperationKind::Read).iter().filter(|visit| visit.value == 0).count();
    assert!(strangers > 20, "{strangers}");
    assert_eq!(lost(&emptied), strangers, "each of them finds out once");
}

#[test]
fn a_session_that_runs_out_is_not_lost() {
    let sessions = Sessions { ttl: seconds(2), logins: Probability::from_ppm(500_000) };
    let run = run(Purpose::Sessions(sessions), &[]);
    let logins = answered(&run, OperationKind::Write);
    assert_eq!(lost(&run), 0);
    // Who comes back finds the session, but for those whose last moment it was.
    let visits = answered(&run, OperationKind::Read);
    let found: BTreeSet<u64> = visits.iter().map(|visit| visit.value).filter(|value| *value > 0).collect();
    assert!(visits.iter().filter(|visit| visit.value == 0).count() < 5);
    assert!(found.len() > 100 && found.len() < logins.len(), "{} of {}", found.len(), logins.len());
}

/// Reads of a value older than the newest that was in the database when they were asked for. There is one client, so the history
/// is in order.
fn stale(run: &Run) -> usize {
    let session = sim_core::session_of;
    let mut newest = std::collections::BTreeMap::new();
    let mut stale = 0;
    for operation in run.world.operations().iter().filter(|operation| operation.is_acknowledged()) {
        if operation.kind == OperationKind::Write {
            newest.insert(session(operation.value), operation.value);
        } else if operation.value > 0 {
            let known = newest.get(&session(operation.value));
            stale += usize::from(known.is_some_and(|known| *known != operation.value));
        }
    }
    stale
}

#[test]
fn a_cache_serves_the_newest_unless_it_could_not_be_told() {
    let cache = Cache { entries: 10, updates: Probability::from_ppm(300_000), ..Cache::default() };
    let undisturbed = run(Purpose::Cache(cache), &[]);
    let reads = answered(&undisturbed, OperationKind::Read);
    let misses = reads.iter().filter(|read| read.value == 0).count();
    assert!(reads.len() > 1_000 && misses > 100, "{misses} of {}", reads.len());
    assert_eq!(stale(&undisturbed), 0);
    let failover = [(20, kill_primary(), 0)];
    let swallowed = run(Purpose::Cache(cache), &failover);
    assert!(stale(&swallowed) > 10, "{}", stale(&swallowed));
    let repeated = run(Purpose::Cache(Cache { repeats_deletion: true, ..cache }), &failover);
    assert_eq!(stale(&repeated), 0);
    assert_eq!(lost(&swallowed) + lost(&repeated), 0, "everything is in the database");
}

#[test]
fn an_entry_that_ends_by_itself_is_stale_no_longer() {
    let of = |ttl| {
        let cache = Cache { entries: 250, updates: Probability::from_ppm(300_000), ttl, ..Cache::default() };
        stale(&run(Purpose::Cache(cache), &[(20, kill_primary(), 0)]))
    };
    let (long, short) = (of(seconds(3_600)), of(seconds(5)));
    assert!(short < long, "{short} and {long}");
}

#[test]
fn a_client_asks_whether_replicas_have_a_deletion_also_if_it_comes_too_late_to_delete() {
    let mut plan = plan();
    plan.load.purpose = Purpose::Cache(Cache { repeats_deletion: true, ..Cache::default() });
    plan.load.beside_servers = true;
    plan.load.wait_for = Some(WaitFor { replicas: 1, timeout: SimDuration::from_millis(100) });
    plan.load.stop_at = Some(seconds(69));
    // The client is on the host of the first primary.
    let cut =
        Fault::Isolate { target: Target::Host("db-1".to_owned()), direction: sim_core::Direction::Both };
    let careful = Run::new(&plan, 1, &[(20, cut.clone(), 20)]).until(70);
    assert_eq!(stale(&careful), 0);
    plan.load.wait_for = None;
    let careless = Run::new(&plan, 1, &[(20, cut, 20)]).until(70);
    assert!(stale(&careless) > 0);
}

#[test]
fn who_reads_from_replicas_is_served_while_there_is_no_primary() {
    let mut plan = plan();
    plan.load.purpose = Purpose::Cache(Cache::default());
    plan.load.write_interval = SimDuration::from_millis(20);
    plan.load.stop_at = Some(seconds(49));
    let silence = |reads_from_replicas| {
        let mut plan = plan.clone();
        plan.load.reads_from_replicas = reads_from_replicas;
        // Until a Sentinel knows replicas, it names the primary, and who is there stays.
        plan.load.start_at = seconds(2);
        let run = Run::new(&plan, 1, &[(20, kill_primary(), 0)]).until(50);
        let reads = answered(&run, OperationKind::Read);
        let by_primary = reads.iter().filter(|read| read.served_by == Some(run.cluster.servers()[0])).count();
        assert_eq!(by_primary == 0, reads_from_replicas, "{by_primary} of {}", reads.len());
        let times: Vec<_> = reads.iter().filter_map(|read| read.completed).collect();
        times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap()
    };
    let (primary, replicas) = (silence(false), silence(true));
    assert!(primary > seconds(5), "{primary}");
    assert!(replicas < seconds(2), "{replicas}");
}

#[test]
fn a_session_that_a_replica_has_not_heard_of_is_not_lost() {
    let mut plan = plan();
    let sessions = Sessions { ttl: seconds(5), logins: Probability::from_ppm(500_000) };
    plan.load.purpose = Purpose::Sessions(sessions);
    plan.load.reads_from_replicas = true;
    plan.load.start_at = seconds(2);
    plan.load.stop_at = Some(seconds(49));
    let servers = || vec![Target::Every("redis".to_owned())];
    let lossy = Fault::Degrade {
        from: servers(),
        to: servers(),
        latency: SimDuration::ZERO,
        loss: Probability::from_ppm(300_000),
    };
    let run = Run::new(&plan, 1, &[(5, lossy, 0)]).until(50);
    let strangers = answered(&run, OperationKind::Read).iter().filter(|visit| visit.value == 0).count();
    assert!(strangers > 10, "{strangers}");
    assert_eq!(lost(&run), 0);
}
