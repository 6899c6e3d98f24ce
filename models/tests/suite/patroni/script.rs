//! A cluster of three, its faults, and what is asked of a run.

use models::patroni::{Cluster, ClusterOptions, Configuration, Node, add_cluster};
use sim_core::{
    Distribution, EndReason, Fault, LinkQuality, Mark, MarkKind, Process, ProcessId, Schedule,
    ScheduledFault, Seed, SimDuration, SimTime, Target, Topology, Trigger, World, WorldBuilder,
};

pub(crate) const MILLISECOND: SimDuration = SimDuration::from_millis(1);

pub(crate) fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

pub(crate) fn cluster(configuration: Configuration, seed: u64) -> (World<Node>, Cluster) {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(100)));
    let (mut topology, zone) = Topology::single_zone(&link);
    let mut add = |kind: &str| -> Vec<_> {
        (1..=3).map(|number| topology.add_host(zone, &format!("{kind}-host-{number}"))).collect()
    };
    let (etcd, members) = (add("etcd"), add("db"));
    let mut builder = WorldBuilder::new(topology);
    let options = ClusterOptions { configuration, ..ClusterOptions::default() };
    let disk = Distribution::Constant(MILLISECOND);
    let cluster = add_cluster(&mut builder, &etcd, &members, &disk, &options);
    let mut world = builder.build(Seed(seed));
    world.log(false);
    (world, cluster)
}

pub(crate) fn run(world: &mut World<Node>, until: SimDuration) {
    let end = world.run(SimTime::ZERO + until, 50_000_000);
    assert_eq!(end, EndReason::Horizon);
}

pub(crate) fn fault_at(at: SimDuration, fault: Fault, lasts: Option<SimDuration>) -> Schedule {
    Schedule(vec![ScheduledFault { trigger: Trigger::At(at), fault, lasts }])
}

/// The story of a run, for a person who looks at a failed test.
pub(crate) fn story(world: &World<Node>) -> String {
    let lines = world.log_entries().iter().map(|entry| {
        let name = entry.process.map_or("-", |process| world.name(process));
        format!("{} {name:11} {}\n", entry.at, entry.text)
    });
    lines.collect()
}

/// The marks of one kind from an instant on: how long after it, and by whom.
pub(crate) fn marks(
    world: &World<Node>,
    kind: MarkKind,
    from: SimDuration,
) -> Vec<(SimDuration, ProcessId, u64)> {
    let from = SimTime::ZERO + from;
    let matches = |mark: &&Mark| mark.kind == kind && mark.at >= from;
    world
        .marks()
        .iter()
        .filter(matches)
        .map(|mark| (mark.at.since(from), mark.process.expect("a process left it"), mark.value))
        .collect()
}

pub(crate) fn role(role: &str) -> Target {
    Target::Role(role.to_owned())
}

pub(crate) fn host_of(role: &str) -> Target {
    Target::HostOf(role.to_owned())
}

/// The processes that play a role now.
pub(crate) fn players(world: &World<Node>, role: &str) -> Vec<ProcessId> {
    let plays = |process: &ProcessId| world.process(*process).is_some_and(|node| node.plays(role));
    world.process_ids().filter(plays).collect()
}

/// Runs a cluster with one fault, and returns it at the end.
pub(crate) fn run_with(
    configuration: Configuration,
    seed: u64,
    at: SimDuration,
    fault: Fault,
    lasts: Option<SimDuration>,
) -> World<Node> {
    let (mut world, _) = cluster(configuration, seed);
    world.schedule(&fault_at(at, fault, lasts)).expect("the targets exist");
    run(&mut world, secs(200));
    world
}

/// When the leader had renewed its lock in its last cycle before an instant: the cycle began 40 to 44 ms before, for which the
/// renewal's body waited until its header was acknowledged (`models::patroni`, the client of the store), and the time of the answer.
pub(crate) fn last_tick(world: &World<Node>, before: SimDuration) -> SimDuration {
    let before = SimTime::ZERO + before;
    let entry = world
        .log_entries()
        .iter()
        .rfind(|entry| entry.at < before && entry.text.ends_with("the leader with the lock"))
        .expect("there was a leader");
    entry.at.since(SimTime::ZERO)
}

#[track_caller]
pub(crate) fn assert_within(found: SimDuration, low: u64, high: u64, world: &World<Node>) {
    assert!(
        (low..=high).contains(&found.as_millis()),
        "{found} is not within {low} to {high} ms:\n{}",
        story(world)
    );
}
