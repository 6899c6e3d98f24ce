//! etcd: what its measurements mean, and the clusters that are simulated for them.
//!
//! | column of `etcd.csv` | kind of row | in hasim |
//! |---|---|---|
//! | `write_ok`, `read_ok`: first success of a put, a linearizable range, that was tried at a survivor | `leader` | the same |
//! | `expiry_late`: from the end of the time to live to the DELETE event of a watch | `lease` | the same |
//! | `expiry_after_fault`: from the leader's death to the DELETE event | `leaselead` | the same |
//!
//! The client is that of the measurements: one try each 20 ms (every other one a read), not waiting for the answers, at all
//! members. Members that do not answer cost it nothing, so the first success is that of a survivor. Not compared: when a
//! member's log says that it leads (`leader_log`), of which hasim's etcd leaves no mark.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use models::etcd::{Answer, Disk, Event, LeaseId, Mutation, Packet, Request, Server, Spec};
use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, EndReason, Fault,
    LinkQuality, OperationId, OperationKind, Origin, Outcome, Process, ProcessId, ProcessOptions, Record,
    Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, Topology, Trigger, WorldBuilder,
    run_guarded,
};

use super::rows::{Row, Table};
use super::{Measured, Measurements, ONE_WAY, Point, samples};
use crate::diagnostic::UserError;

/// From one try to the next.
const TRY_INTERVAL: SimDuration = SimDuration::from_millis(20);
/// When the client begins: long after the first election.
const SETTLED: SimDuration = SimDuration::from_secs(10);
/// One `fdatasync`: median 0.25 ms (README of the measurements), with the spread of the declared inputs.
const DISK_SYNC: Distribution =
    Distribution::LogNormal { median: SimDuration::from_micros(250), sigma_percent: 50 };

const NEEDED: [&str; 8] =
    ["kind", "fault", "heartbeat_ms", "election_ms", "ttl", "write_ok", "expiry_late", "note"];
const KNOWN: [&str; 14] = [
    "trial",
    "utc",
    "etcd",
    "read_ok",
    "first_candidate",
    "n_candidates",
    "term_delta",
    "first_try_ok",
    "lease_age_at_fault",
    "expiry_after_grant",
    "expiry_after_fault",
    "cpu_busy",
    "leader_log",
    "load1",
];

/// What was tried.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// The leader is lost.
    Leader,
    /// A lease runs out.
    Lease,
    /// The leader is lost while a lease runs.
    LeaseAndLeader,
}

/// The settings that a row names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Settings {
    kind: Kind,
    /// True if the leader was stopped, and not killed.
    stopped: bool,
    heartbeat_interval: SimDuration,
    election_timeout: SimDuration,
    /// Zero without a lease.
    ttl: SimDuration,
}

/// What is run for a point.
#[derive(Clone, Copy, Debug)]
pub struct Setup(Settings);

pub(super) fn read(path: &Path, into: &mut Measurements) -> Result<(), UserError> {
    let table = Table::read(path, &NEEDED, &KNOWN)?;
    into.remarks.extend(table.remarks);
    let mut points: BTreeMap<Settings, Vec<Row>> = BTreeMap::new();
    for row in table.rows {
        points.entry(settings(&row)?).or_default().push(row);
    }
    for (settings, rows) in points {
        into.points.push(Point {
            system: "etcd",
            title: settings.title(),
            measured_count: rows.len(),
            samples: samples(settings.quantities(), &rows)?,
            setup: super::Setup::Etcd(Setup(settings)),
        });
    }
    Ok(())
}

fn settings(row: &Row) -> Result<Settings, UserError> {
    let kind = match row.text("kind") {
        "leader" => Kind::Leader,
        "lease" => Kind::Lease,
        "leaselead" => Kind::LeaseAndLeader,
        _ => return Err(row.wrong("kind", "leader, lease or leaselead")),
    };
    let stopped = match (kind, row.text("fault")) {
        (Kind::Lease, "none") | (Kind::Leader | Kind::LeaseAndLeader, "kill") => false,
        (Kind::Leader | Kind::LeaseAndLeader, "stop") => true,
        (Kind::Lease, _) => return Err(row.wrong("fault", "none, as rows of kind `lease` have it")),
        _ => return Err(row.wrong("fault", "kill or stop")),
    };
    let millis = |column: &str| {
        let value = row.text(column).parse::<u64>().ok().filter(|value| *value > 0);
        value.map(SimDuration::from_millis).ok_or_else(|| row.wrong(column, "a whole number of milliseconds"))
    };
    Ok(Settings {
        kind,
        stopped,
        heartbeat_interval: millis("heartbeat_ms")?,
        election_timeout: millis("election_ms")?,
        ttl: if kind == Kind::Leader { SimDuration::ZERO } else { row.whole_seconds("ttl")? },
    })
}

impl Settings {
    fn title(&self) -> String {
        let seconds = self.ttl.as_millis() / 1_000;
        let what = match self.kind {
            Kind::Leader if self.stopped => "leader stopped".to_owned(),
            Kind::Leader => "leader killed".to_owned(),
            Kind::Lease => format!("lease ttl {seconds}"),
            Kind::LeaseAndLeader => format!("leader lost under a lease ttl {seconds}"),
        };
        let (heartbeat, election) = (self.heartbeat_interval.as_millis(), self.election_timeout.as_millis());
        format!("{what} heartbeat_ms {heartbeat} election_ms {election}")
    }

    fn quantities(&self) -> Vec<Measured> {
        match self.kind {
            Kind::Leader => vec![
                Measured { name: "write", value: |row| row.time("write_ok") },
                Measured { name: "read", value: |row| row.time("read_ok") },
            ],
            Kind::Lease => vec![Measured { name: "expiry late", value: |row| row.time("expiry_late") }],
            Kind::LeaseAndLeader => {
                vec![Measured { name: "expiry after fault", value: |row| row.time("expiry_after_fault") }]
            }
        }
    }
}

impl Setup {
    /// Run number `run`, which is its seed as well.
    ///
    /// # Panics
    /// If the run ends early, which is a bug of a model.
    pub(super) fn run(&self, run: u64) -> Vec<(&'static str, Option<SimDuration>)> {
        let settings = self.0;
        let mut random = Seed(run).stream("calibrate etcd", 0);
        // Tries and faults fall anywhere between heartbeats and scans.
        let begin = SETTLED + random.duration(SimDuration::ZERO, SimDuration::from_secs(1));
        let at = match settings.kind {
            Kind::Leader => {
                begin + SimDuration::from_secs(2) + random.duration(SimDuration::ZERO, TRY_INTERVAL)
            }
            _ => {
                begin
                    + random.duration(SimDuration::from_secs(1), settings.ttl.max(SimDuration::from_secs(2)))
            }
        };
        let mut world = builder(&settings, begin).build(Seed(run));
        if settings.kind != Kind::Lease {
            let target = Target::Role("etcd-leader".to_owned());
            let fault = if settings.stopped { Fault::Pause { target } } else { Fault::Kill { target } };
            let fault = ScheduledFault { trigger: Trigger::At(at), fault, lasts: None };
            world.schedule(&Schedule(vec![fault])).expect("etcd has members");
        }
        // Even a repeated election is over after some seconds, and a lease begins anew at most once.
        let horizon = SimTime::ZERO + at + settings.ttl * 2 + SimDuration::from_secs(20);
        let record = run_guarded(&mut world, horizon, 10_000_000);
        assert_eq!(record.end, EndReason::Horizon, "run {run} of {}", settings.title());
        settings.values(&record, SimTime::ZERO + at)
    }
}

impl Settings {
    fn values(&self, record: &Record, fault: SimTime) -> Vec<(&'static str, Option<SimDuration>)> {
        let first = |kind: OperationKind| {
            let done = record
                .operations
                .iter()
                .filter(|one| one.kind == kind && one.invoked >= fault && one.outcome == Outcome::Ok);
            done.filter_map(|one| one.completed).min()
        };
        // The one operation of a lease begins with the request for it and ends with the DELETE event.
        let lease = record.operations.first().and_then(|one| Some((one.invoked, one.completed?)));
        match self.kind {
            Kind::Leader => vec![
                ("write", first(OperationKind::Write).map(|at| at.since(fault))),
                ("read", first(OperationKind::Read).map(|at| at.since(fault))),
            ],
            Kind::Lease => {
                let late = |(from, to): (SimTime, SimTime)| to.since(from).saturating_sub(self.ttl);
                vec![("expiry late", lease.map(late))]
            }
            Kind::LeaseAndLeader => vec![("expiry after fault", lease.map(|(_, to)| to.since(fault)))],
        }
    }
}

fn builder(settings: &Settings, begin: SimDuration) -> WorldBuilder<ProbedProcess> {
    let (mut topology, zones) = Topology::one_zone();
    topology.set_same_zone(LinkQuality::reliable(Distribution::Constant(ONE_WAY)));
    let hosts: Vec<_> =
        (1..=3).map(|number| topology.add_host(zones[0], &format!("etcd-{number}"))).collect();
    let app = topology.add_host(zones[0], "app-1");
    let mut builder = WorldBuilder::new(topology);
    let servers: Arc<[ProcessId]> = (0..hosts.len()).map(ProcessId::from_index).collect();
    let spec = Spec {
        heartbeat_interval: settings.heartbeat_interval,
        election_timeout: settings.election_timeout,
        // 3.4, which was measured, has none by default.
        pre_vote: false,
        ..Spec::new(servers.to_vec())
    };
    for (index, host) in hosts.into_iter().enumerate() {
        let volume = builder.add_volume(host, Disk::default(), &DISK_SYNC);
        builder.add_process(ProcessOptions {
            name: format!("etcd-{}", index + 1),
            host,
            volume,
            starts_with_host: true,
            spec: ProbedProcessSpec::Server(spec.clone()),
        });
    }
    let volume = builder.add_volume(app, Disk::default(), &Distribution::Constant(SimDuration::ZERO));
    let lease = (settings.kind != Kind::Leader).then_some(settings.ttl);
    builder.add_process(ProcessOptions {
        name: "probe".to_owned(),
        host: app,
        volume,
        starts_with_host: true,
        spec: ProbedProcessSpec::Probe(ProbeSpec { servers, begin, lease }),
    });
    builder
}

sim_core::system! {
    /// Members of etcd and the client of the measurements.
    pub enum ProbedProcess { Server(Server), Probe(Probe) }
    spec: ProbedProcessSpec,
    timer: ProbedProcessTimer,
    packet: Packet,
    storage: Disk,
}

/// What the client of the measurements does.
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    servers: Arc<[ProcessId]>,
    begin: SimDuration,
    /// Takes a lease with this time to live and lets it run out; none: puts and ranges without end.
    lease: Option<SimDuration>,
}

/// The client of the measurements.
#[derive(Clone, Debug)]
pub struct Probe {
    spec: ProbeSpec,
    /// One connection with each member, while it lasts.
    connections: Vec<Option<ConnectionId>>,
    waiting: BTreeMap<u64, OperationId>,
    tries: u64,
    lease: Option<OperationId>,
}

/// What the client of the measurements is woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProbeTimer {
    /// The next try.
    Try,
}

/// The key of the lease.
const KEY: &str = "probe";

impl Probe {
    fn ask(&mut self, context: &mut impl Context<Self>, server: usize, request: Request) -> u64 {
        self.tries += 1;
        let address = self.spec.servers[server];
        let connection = *self.connections[server]
            .get_or_insert_with(|| context.connect(address, ConnectOptions::default()));
        context.send(connection, Packet::Request { id: self.tries, request: Arc::new(request) });
        self.tries
    }

    /// One put or one range at every member.
    fn try_all(&mut self, context: &mut impl Context<Self>, kind: OperationKind) {
        for server in 0..self.spec.servers.len() {
            let request = match kind {
                OperationKind::Write => put(None),
                OperationKind::Read => Request::Range { prefix: KEY.into(), linearizable: true },
            };
            let operation = context.invoke(kind, self.tries + 1);
            let id = self.ask(context, server, request);
            self.waiting.insert(id, operation);
        }
    }
}

fn put(lease: Option<LeaseId>) -> Request {
    let put = Mutation::Put { key: KEY.into(), value: "1".into(), lease };
    Request::Txn { compare: Vec::new(), then: vec![put], otherwise: Vec::new() }
}

impl Process for Probe {
    type Spec = ProbeSpec;
    type Packet = Packet;
    type Timer = ProbeTimer;
    type Storage = Disk;

    fn boot(spec: &ProbeSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(ProbeTimer::Try, spec.begin);
        Self {
            connections: vec![None; spec.servers.len()],
            waiting: BTreeMap::new(),
            tries: 0,
            lease: None,
            spec: spec.clone(),
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, _: ProbeTimer) {
        if let Some(ttl) = self.spec.lease {
            // The watch is on another member than the lease, in case that one dies: on all of them.
            for server in 0..self.spec.servers.len() {
                self.ask(context, server, Request::Watch { prefix: KEY.into(), from_revision: 1 });
            }
            self.lease = Some(context.invoke(OperationKind::Write, 0));
            self.ask(context, 0, Request::Grant { ttl });
            return;
        }
        let kind =
            if (self.tries / 3).is_multiple_of(2) { OperationKind::Write } else { OperationKind::Read };
        self.try_all(context, kind);
        context.set_timer(ProbeTimer::Try, TRY_INTERVAL / 2);
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, _: Origin, packet: Packet) {
        match packet {
            Packet::Response { id, response } => {
                if let Some(operation) = self.waiting.remove(&id) {
                    let outcome = if response.result.is_ok() { Outcome::Ok } else { Outcome::Unknown };
                    context.complete(operation, Completion::answered(outcome, response.member));
                } else if let Ok(Answer::Granted { lease, .. }) = response.result {
                    self.ask(context, 0, put(Some(lease)));
                }
            }
            Packet::Watched { events, .. } => {
                if events.iter().any(|event| matches!(event, Event::Delete { .. }))
                    && let Some(operation) = self.lease.take()
                {
                    context.complete(operation, Completion::without_answer(Outcome::Ok));
                }
            }
            _ => {}
        }
    }

    fn on_connection(
        &mut self,
        _: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened) {
            for known in &mut self.connections {
                known.take_if(|known| *known == connection);
            }
        }
    }
}
