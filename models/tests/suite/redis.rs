//! Replication of Redis: what follows what after which fault, in a world of three servers without anybody who decides.

#![expect(unreachable_pub, reason = "`system!` makes public types, and this is a module of a test")]

use models::Planted;
use models::redis::release::Version;
use models::redis::{
    AppendFsync, DataDirectory, DataRecord, DirectClient, DirectClientSpec, Machine, Packet, Parameters,
    SavePoint, Server, ServerSpec, WaitFor,
};
use models::routing::Workload;
use sim_core::{
    Distribution, Fault, Holds, HostId, Outcome, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, Storage, Target, Topology, Trigger, World, WorldBuilder, advance_guarded,
};

sim_core::system! {
    /// Servers and clients.
    pub enum Node { Server(Server), Client(DirectClient) }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub struct Disk(DataDirectory);

/// A change of it.
#[derive(Clone, Debug)]
pub enum DiskRecord {
    /// Of a server.
    Data(DataRecord),
    /// Of a client.
    Nothing,
}

impl Storage for Disk {
    type Record = DiskRecord;
    fn apply(&mut self, record: &DiskRecord) {
        if let DiskRecord::Data(record) = record {
            self.0.apply(record);
        }
    }
}

impl Holds<DataDirectory> for Disk {
    fn held(&self) -> &DataDirectory {
        &self.0
    }
}

impl Holds<()> for Disk {
    fn held(&self) -> &() {
        &()
    }
}

impl From<DataRecord> for DiskRecord {
    fn from(record: DataRecord) -> Self {
        Self::Data(record)
    }
}

impl From<()> for DiskRecord {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

pub(super) const PRIMARY: ProcessId = ProcessId::from_index(0);
pub(super) const REPLICA: ProcessId = ProcessId::from_index(1);
pub(super) const OTHER: ProcessId = ProcessId::from_index(2);

/// Three servers on hosts of their own, the second and third following the first, and a client of the first beside it.
pub(super) struct Cluster {
    pub(super) parameters: Parameters,
    pub(super) machine: Machine,
    pub(super) wait_for: Option<WaitFor>,
    /// The third follows the second.
    pub(super) is_chain: bool,
    /// How long a disk takes.
    pub(super) sync: SimDuration,
}

impl Default for Cluster {
    fn default() -> Self {
        let parameters = Parameters {
            repl_diskless_sync_delay: SimDuration::ZERO,
            save: Vec::new(),
            ..Parameters::default()
        };
        Self {
            parameters,
            machine: Machine::default(),
            wait_for: None,
            is_chain: false,
            sync: SimDuration::from_millis(1),
        }
    }
}

impl Cluster {
    pub(super) fn world(&self, stop_at: u64) -> World<Node> {
        let (mut topology, [zone]) = Topology::one_zone();
        let hosts: Vec<HostId> =
            (1..=3).map(|number| topology.add_host(zone, &format!("db-{number}"))).collect();
        let mut builder = WorldBuilder::new(topology);
        let sync = Distribution::Constant(self.sync);
        for (index, host) in hosts.iter().enumerate() {
            let upstream = if self.is_chain && index == 2 { REPLICA } else { PRIMARY };
            let data = DataDirectory::new((index > 0).then_some(upstream));
            let volume = builder.add_volume(*host, Disk(data), &sync);
            let named =
                [PRIMARY, REPLICA, OTHER].map(|server| (format!("redis-{}", server.index() + 1), server));
            let spec = ServerSpec {
                machine: self.machine,
                namable: named.into(),
                ..ServerSpec::new(self.parameters.clone())
            };
            assert_eq!(spec.planted, Planted::Nothing);
            builder.add_process(ProcessOptions {
                name: format!("redis-{}", index + 1),
                host: *host,
                volume,
                starts_with_host: true,
                spec: NodeSpec::Server(spec),
            });
        }
        let volume = builder.add_volume(hosts[0], Disk::default(), &sync);
        let workload = Workload { stop_at: Some(seconds(stop_at)), ..Workload::writes(1) };
        let spec = DirectClientSpec { wait_for: self.wait_for, ..DirectClientSpec::new(workload, PRIMARY) };
        builder.add_process(ProcessOptions {
            name: "client-1".to_owned(),
            host: hosts[0],
            volume,
            starts_with_host: true,
            spec: NodeSpec::Client(spec),
        });
        builder.build(Seed(7))
    }
}

pub(super) const fn seconds(seconds: u64) -> SimDuration {
    SimDuration::from_secs(seconds)
}

pub(super) fn run(world: &mut World<Node>, until: u64) {
    let end = advance_guarded(world, SimTime::ZERO + seconds(until), 10_000_000);
    assert_eq!(end, sim_core::EndReason::Horizon);
}

pub(super) fn schedule(world: &mut World<Node>, faults: &[(u64, Fault, u64)]) {
    let fault = |(at, fault, lasts): &(u64, Fault, u64)| ScheduledFault {
        trigger: Trigger::At(seconds(*at)),
        fault: fault.clone(),
        lasts: (*lasts > 0).then(|| seconds(*lasts)),
    };
    world.schedule(&Schedule(faults.iter().map(fault).collect())).expect("the targets exist");
}

pub(super) fn server(world: &World<Node>, process: ProcessId) -> &Server {
    match world.process(process) {
        Some(Node::Server(server)) => server,
        other => panic!("{process:?} is {other:?}"),
    }
}

pub(super) fn process(name: &str) -> Target {
    Target::Process(name.to_owned())
}

fn partition(from: &str) -> Fault {
    let host = Target::Host(from.to_owned());
    Fault::Partition { from: vec![host], to: vec![Target::Others], direction: sim_core::Direction::Both }
}

/// The history of a server and how much it holds.
pub(super) fn state(world: &World<Node>, process: ProcessId) -> (models::redis::ReplicationId, u64, u64) {
    let server = server(world, process);
    (server.history().id, server.history().offset, server.log().len())
}

#[test]
fn replicas_follow_and_hold_the_same() {
    let mut world = Cluster::default().world(10);
    run(&mut world, 12);
    let primary = state(&world, PRIMARY);
    assert!(primary.2 > 1_900, "{primary:?}");
    assert_eq!(state(&world, REPLICA), primary);
    assert_eq!(state(&world, OTHER), primary);
    assert_eq!(server(&world, PRIMARY).good_replicas(), 2);
}

#[test]
fn a_primary_without_persistence_that_restarts_empties_everybody() {
    let mut world = Cluster::default().world(5);
    schedule(&mut world, &[(6, Fault::Kill { target: process("redis-1") }, 2)]);
    run(&mut world, 6);
    assert!(state(&world, REPLICA).2 > 900);
    run(&mut world, 20);
    for process in [PRIMARY, REPLICA, OTHER] {
        assert_eq!(state(&world, process).2, 0, "{process:?}");
    }
}

#[test]
fn with_an_append_only_file_it_keeps_everything_that_was_answered() {
    for (appendfsync, lost) in [(AppendFsync::Always, 0), (AppendFsync::EverySecond, 400)] {
        let mut cluster = Cluster::default();
        cluster.parameters.appendonly = true;
        cluster.parameters.appendfsync = appendfsync;
        let mut world = cluster.world(60);
        let host = Target::Host("db-1".to_owned());
        schedule(&mut world, &[(6, Fault::PowerOff { target: host }, 2)]);
        run(&mut world, 5);
        let before = state(&world, PRIMARY).2;
        run(&mut world, 9);
        let record = world.record(sim_core::EndReason::Horizon);
        let acknowledged: Vec<u64> = record
            .operations
            .iter()
            .filter(|write| write.outcome == Outcome::Ok && write.invoked < SimTime::ZERO + seconds(6))
            .map(|write| write.value)
            .collect();
        let kept: Vec<u64> = server(&world, PRIMARY).log().values().collect();
        let missing = acknowledged.iter().filter(|value| !kept.contains(value)).count();
        assert!(before > 800 && missing <= lost, "{appendfsync:?}: {missing} of {before} are missing");
        assert!(lost == 0 || missing > 0, "{appendfsync:?}");
    }
}

#[test]
fn a_short_partition_costs_what_was_missed_and_a_long_one_everything() {
    for (size, full) in [(1 << 20, false), (1_000, true)] {
        let mut cluster = Cluster::default();
        cluster.parameters.repl_backlog_size = size;
        cluster.parameters.repl_timeout = seconds(3);
        let mut world = cluster.world(20);
        schedule(&mut world, &[(5, partition("db-2"), 6)]);
        run(&mut world, 4);
        let id = state(&world, REPLICA).0;
        world.log(true);
        run(&mut world, 22);
        assert_eq!(state(&world, REPLICA), state(&world, PRIMARY));
        assert_eq!(state(&world, REPLICA).0, id, "the stream has not changed its name");
        let resynced = world.log_entries().iter().any(|entry| entry.text.contains("FullResync"));
        assert_eq!(resynced, full, "backlog of {size} bytes");
    }
}

#[test]
fn a_former_primary_that_is_ahead_loses_what_only_it_had() {
    let mut world = Cluster::default().world(9);
    schedule(
        &mut world,
        &[
            (5, partition("db-1"), 10),
            (6, Fault::Command { target: process("redis-2"), command: "replicaof-no-one".into() }, 0),
        ],
    );
    run(&mut world, 12);
    let (old, new) = (state(&world, PRIMARY), state(&world, REPLICA));
    assert!(old.2 > new.2 + 500, "the client beside it went on writing: {old:?} {new:?}");
    assert_eq!(new.0.generation, 2);
    assert!(server(&world, PRIMARY).is_primary() && server(&world, REPLICA).is_primary());
}

#[test]
fn writes_are_refused_after_the_lag_and_not_before() {
    let mut cluster = Cluster::default();
    cluster.parameters.min_replicas_to_write = 1;
    let mut world = cluster.world(40);
    schedule(&mut world, &[(5, partition("db-1"), 30)]);
    run(&mut world, 40);
    let record = world.record(sim_core::EndReason::Horizon);
    let start = SimTime::ZERO + seconds(5);
    let refused = record
        .operations
        .iter()
        .find(|write| write.outcome == Outcome::Failed && write.invoked > start)
        .expect("the lag passes");
    // Section 3.6 of the fidelity specification: from one second less than the lag to two more.
    let after = refused.invoked.since(start);
    assert!((seconds(9)..=seconds(12)).contains(&after), "refused after {after}");
}

#[test]
fn wait_counts_replicas_that_have_applied_the_write() {
    let wait_for = Some(WaitFor { replicas: 2, timeout: seconds(1) });
    let mut world = Cluster { wait_for, ..Cluster::default() }.world(20);
    schedule(&mut world, &[(5, partition("db-2"), 5)]);
    run(&mut world, 20);
    let record = world.record(sim_core::EndReason::Horizon);
    let outcomes = |from: u64, to: u64| {
        let within = SimTime::ZERO + seconds(from)..SimTime::ZERO + seconds(to);
        let mut counts = (0, 0);
        for write in record.operations.iter().filter(|write| within.contains(&write.invoked)) {
            match write.outcome {
                Outcome::Ok => counts.0 += 1,
                Outcome::OkWithWarning => counts.1 += 1,
                _ => {}
            }
        }
        counts
    };
    assert!(outcomes(2, 5).0 > 100 && outcomes(2, 5).1 <= 1, "{:?}", outcomes(2, 5));
    assert_eq!(outcomes(6, 9).0, 0);
    assert!(outcomes(6, 9).1 >= 2, "one in each second: {:?}", outcomes(6, 9));
    assert!(outcomes(15, 19).0 > 100);
}

#[test]
fn a_restarted_replica_goes_on_from_its_file() {
    let mut world = Cluster::default().world(20);
    schedule(&mut world, &[(10, Fault::Kill { target: process("redis-2") }, 2)]);
    run(&mut world, 22);
    assert_eq!(state(&world, REPLICA), state(&world, PRIMARY));
}

/// True if anybody had to synchronise from nothing after the first three seconds.
fn synchronises_anew(parameters: Parameters, version: (u16, u16, u16), faults: &[(u64, Fault, u64)]) -> bool {
    let parameters = Parameters { version: Version::new(version.0, version.1, version.2), ..parameters };
    let mut world = Cluster { parameters, ..Cluster::default() }.world(12);
    schedule(&mut world, faults);
    run(&mut world, 3);
    world.log(true);
    run(&mut world, 22);
    assert_eq!(state(&world, REPLICA), state(&world, PRIMARY));
    world.log_entries().iter().any(|entry| entry.text.contains("FullResync"))
}

#[test]
fn what_survives_of_a_stream_depends_on_the_release() {
    let parameters = Cluster::default().parameters;
    let cut = [(5, partition("db-2"), 4)];
    let short = Parameters { repl_timeout: seconds(2), ..parameters.clone() };
    assert!(synchronises_anew(short.clone(), (2, 6, 13), &cut), "SYNC");
    assert!(!synchronises_anew(short, (2, 8, 0), &cut), "PSYNC");

    let replica_restarts = [(10, Fault::Kill { target: process("redis-2") }, 2)];
    assert!(synchronises_anew(parameters.clone(), (3, 2, 13), &replica_restarts));
    assert!(!synchronises_anew(parameters.clone(), (4, 0, 0), &replica_restarts));

    let saves = vec![SavePoint { after: seconds(1), changes: 1 }];
    let saved = Parameters { save: saves, ..parameters };
    // Nobody writes any more when it is killed, so its file has everything.
    let primary_restarts = [(16, Fault::Kill { target: process("redis-1") }, 1)];
    assert!(synchronises_anew(saved.clone(), (6, 2, 7), &primary_restarts));
    assert!(!synchronises_anew(saved, (7, 0, 0), &primary_restarts));
}
