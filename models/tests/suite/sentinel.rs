//! Sentinel: failovers step by step, and what goes wrong in them.

use std::collections::{BTreeMap, BTreeSet};

use models::Planted;
use models::redis::release::Version;
use models::redis::{
    Election, MASTER_MODE, Machine, Parameters, Purpose, REWRITTEN, SavePoint, WaitFor, Waking,
};
use models::sentinel::{GroupConfig, RedisLoad, SentinelCluster, SentinelPlan, SentinelProcess};
use sim_core::{
    Direction, Distribution, EndReason, Fault, Mark, MarkKind, Operation, Outcome, ProcessId, Schedule,
    ScheduledFault, Seed, SimDuration, SimTime, Target, Topology, Trigger, World, advance_guarded,
};

pub(super) const fn seconds(seconds: u64) -> SimDuration {
    SimDuration::from_secs(seconds)
}

pub(super) fn plan() -> SentinelPlan {
    SentinelPlan {
        servers: 3,
        groups: 1,
        sentinels: 3,
        shared_hosts: false,
        containers: false,
        replicaof: BTreeMap::new(),
        election: None,
        group: GroupConfig {
            down_after: seconds(5),
            failover_timeout: seconds(60),
            ..GroupConfig::default()
        },
        parameters: Parameters {
            repl_diskless_sync_delay: SimDuration::ZERO,
            save: Vec::new(),
            ..Parameters::default()
        },
        machine: Machine::default(),
        disk_sync: Distribution::Constant(SimDuration::from_micros(250)),
        save_sync: Distribution::Constant(SimDuration::from_micros(250)),
        waking: Waking::default(),
        load: RedisLoad {
            writers: 1,
            write_interval: SimDuration::from_millis(5),
            timeout: seconds(1),
            beside_servers: false,
            subscribes: false,
            purpose: Purpose::Values,
            reads_from_replicas: false,
            listeners: 0,
            own_sentinel: false,
            asks_each_time: false,
            start_at: SimDuration::ZERO,
            wait_for: None,
            local_writers: false,
            stop_at: None,
        },
        planted: Planted::Nothing,
    }
}

pub(super) struct Run {
    pub(super) cluster: SentinelCluster,
    pub(super) world: World<SentinelProcess>,
}

impl Run {
    pub(super) fn new(plan: &SentinelPlan, seed: u64, faults: &[(u64, Fault, u64)]) -> Self {
        let (topology, zones) = Topology::one_zone();
        Self::placed(SentinelCluster::new(plan, (topology, zones.to_vec())), seed, faults)
    }

    fn placed(cluster: SentinelCluster, seed: u64, faults: &[(u64, Fault, u64)]) -> Self {
        let mut world = cluster.world(Seed(seed));
        world.log(false);
        let fault = |(at, fault, lasts): &(u64, Fault, u64)| ScheduledFault {
            trigger: Trigger::At(seconds(*at)),
            fault: fault.clone(),
            lasts: (*lasts > 0).then(|| seconds(*lasts)),
        };
        world.schedule(&Schedule(faults.iter().map(fault).collect())).expect("the targets exist");
        Self { cluster, world }
    }

    pub(super) fn until(mut self, end: u64) -> Self {
        let reason = advance_guarded(&mut self.world, SimTime::ZERO + seconds(end), 50_000_000);
        assert_eq!(reason, EndReason::Horizon);
        self
    }

    fn marks(&self, kind: MarkKind) -> Vec<Mark> {
        self.world.marks().iter().filter(|mark| mark.kind == kind).copied().collect()
    }

    fn notes(&self, text: &str) -> Vec<SimTime> {
        let entries = self.world.log_entries().iter();
        entries.filter(|entry| entry.text.contains(text)).map(|entry| entry.at).collect()
    }
}

pub(super) fn kill_primary() -> Fault {
    Fault::Kill { target: Target::Role("primary".to_owned()) }
}

#[test]
fn a_killed_primary_is_replaced_in_the_order_of_the_specification() {
    let run = Run::new(&plan(), 1, &[(20, kill_primary(), 0)]).until(40);
    let start = SimTime::ZERO + seconds(20);
    let first = |text: &str| {
        let at = run.notes(text).into_iter().find(|at| *at > start);
        at.unwrap_or_else(|| panic!("no {text}")).since(start)
    };
    let steps = [
        "+sdown master",
        "+odown",
        "+elected-leader",
        "+selected-slave",
        "+failover-state-wait-promotion",
        "+promoted-slave",
        "+switch-master",
        "+failover-end",
    ];
    let times: Vec<SimDuration> = steps.iter().map(|step| first(step)).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Section 6.2 of the fidelity specification: 5.56 to 6.53 s for a reset, announced by the first observer.
    assert!(
        (SimDuration::from_millis(5_300)..SimDuration::from_millis(6_600)).contains(&times[6]),
        "{times:?}"
    );
    assert_eq!(run.marks(MarkKind::Elected).len(), 1);
    let writable = run.marks(MarkKind::Writable);
    assert_eq!(writable.len(), 2, "the first primary and the promoted replica: {writable:?}");
    assert_eq!(run.cluster.primary(&run.world), writable[1].process);
}

/// When the promoted server began and ended the transaction of the Sentinel, on disks whose syncs take half a second.
fn promotion_on_slow_disks(version: Version) -> (Run, SimTime, Option<SimTime>) {
    let mut plan = plan();
    plan.parameters.version = version;
    plan.disk_sync = Distribution::Constant(SimDuration::from_millis(500));
    plan.load.local_writers = true;
    let run = Run::new(&plan, 1, &[(20, kill_primary(), 0)]).until(40);
    let begun = run.notes(MASTER_MODE)[0];
    let ended = run.notes(REWRITTEN).first().copied();
    (run, begun, ended)
}

#[test]
fn a_promoted_server_stands_still_until_its_file_is_synced() {
    let (mut run, begun, ended) = promotion_on_slow_disks(Version::new(7, 0, 15));
    let ended = ended.expect("the file is rewritten");
    assert_eq!(ended.since(begun), seconds(1), "the file and its folder");
    let seen = run.notes("+promoted-slave")[0];
    assert!(seen > ended, "it answers INFO afterwards: {seen} and {ended}");
    let promoted = run.cluster.primary(&run.world).expect("there is one");
    let record = run.world.record(EndReason::Horizon);
    let served =
        |operation: &&Operation| operation.served_by == Some(promoted) && operation.is_acknowledged();
    let first = record.operations.iter().filter(served).filter_map(|operation| operation.completed).min();
    assert!(first.is_some_and(|first| first > ended), "{first:?}");
    // Who was connected to it is cut off, and what it had sent is not read, though it is a write and this is a primary now.
    let beside = run.cluster.client_beside(promoted);
    let unread: Vec<&Operation> = record
        .operations
        .iter()
        .filter(|operation| Some(operation.client) == beside)
        .filter(|operation| (begun..ended).contains(&operation.invoked))
        .collect();
    assert!(!unread.is_empty(), "it writes all the time");
    let surviving: BTreeSet<u64> = run.cluster.surviving(&run.world);
    for operation in unread {
        assert_eq!(operation.outcome, Outcome::Unknown, "{operation:?}");
        assert!(!surviving.contains(&operation.value), "{operation:?}");
    }
}

#[test]
fn releases_that_do_not_sync_their_file_go_on_at_once() {
    let (run, begun, ended) = promotion_on_slow_disks(Version::new(6, 0, 8));
    assert_eq!(ended, None);
    let seen = run.notes("+promoted-slave")[0];
    assert!(seen.since(begun) < seconds(1), "INFO is asked for each second: {}", seen.since(begun));
}

#[test]
fn a_file_that_cannot_be_synced_does_not_hold_a_server_for_ever() {
    let mut plan = plan();
    plan.disk_sync = Distribution::Constant(SimDuration::from_millis(500));
    let broken = |server: &str| (20, Fault::DiskError { target: Target::Process(server.to_owned()) }, 30);
    let faults = [(20, kill_primary(), 0), broken("redis-1"), broken("redis-2"), broken("redis-3")];
    let run = Run::new(&plan, 1, &faults).until(40);
    assert!(run.notes(REWRITTEN).is_empty());
    assert!(!run.notes("CONFIG REWRITE failed").is_empty());
    assert!(!run.notes("+promoted-slave").is_empty(), "it answers");
}

#[test]
fn a_primary_that_comes_back_is_put_right_ten_seconds_later() {
    let run = Run::new(&plan(), 2, &[(20, kill_primary(), 15)]).until(60);
    let back = SimTime::ZERO + seconds(35);
    let converted = run.notes("+convert-to-slave").first().copied().expect("it is put right").since(back);
    assert!(
        (SimDuration::from_millis(9_900)..SimDuration::from_millis(11_500)).contains(&converted),
        "{converted}"
    );
    assert_eq!(run.marks(MarkKind::ReadOnly).len(), 1);
}

#[test]
fn without_a_majority_nobody_is_elected() {
    let sentinels = Fault::Kill { target: Target::Process("sentinel-1".to_owned()) };
    let other = Fault::Kill { target: Target::Process("sentinel-2".to_owned()) };
    let run = Run::new(&plan(), 3, &[(18, sentinels, 0), (18, other, 0), (20, kill_primary(), 0)]).until(80);
    assert!(run.marks(MarkKind::Elected).is_empty());
    assert_eq!(run.notes("+sdown master").len(), 1);
    assert!(run.notes("+odown").is_empty(), "one opinion is not a quorum of two");
}

#[test]
fn a_cut_off_primary_goes_on_until_it_is_found_again() {
    let cut = Fault::Partition {
        from: vec![Target::HostOf("primary".to_owned())],
        to: vec![Target::Others],
        direction: Direction::Both,
    };
    let mut plan = plan();
    plan.load.local_writers = true;
    let run = Run::new(&plan, 4, &[(20, cut, 30)]).until(90);
    let generations: Vec<u64> = run.marks(MarkKind::Writable).iter().map(|mark| mark.value).collect();
    assert_eq!(generations, [1, 2]);
    let heal = SimTime::ZERO + seconds(50);
    let demoted = run.marks(MarkKind::ReadOnly)[0].at.since(heal);
    assert!((seconds(9)..seconds(26)).contains(&demoted), "{demoted}");
}

#[test]
fn each_group_fails_over_by_itself_and_marks_are_about_the_first() {
    let plan = SentinelPlan { groups: 3, ..plan() };
    let kill = Fault::Kill { target: Target::Process("group-2-redis-1".to_owned()) };
    let run = Run::new(&plan, 5, &[(20, kill, 0)]).until(40);
    assert!(!run.notes("+switch-master mymaster-2 ").is_empty());
    for other in ["mymaster ", "mymaster-3 "] {
        assert!(run.notes(&format!("+switch-master {other}")).is_empty());
    }
    assert!(run.marks(MarkKind::Suspected).is_empty() && run.marks(MarkKind::Elected).is_empty());
    assert_eq!(run.marks(MarkKind::Writable).len(), 1, "the primary of the first group");
}

/// How often somebody is elected after a Sentinel has lost its file three times and then dies with the primary.
fn elections_with_ghosts(version: &str) -> usize {
    let mut plan = plan();
    plan.group.version = version.parse().expect("it is a release");
    let sentinel = || Target::Process("sentinel-1".to_owned());
    let wipe = || Fault::Wipe { target: sentinel(), delay: seconds(1) };
    let kill = Fault::Kill { target: sentinel() };
    let faults = [(10, wipe(), 0), (15, wipe(), 0), (20, wipe(), 0), (30, kill, 0), (30, kill_primary(), 0)];
    Run::new(&plan, 6, &faults).until(60).marks(MarkKind::Elected).len()
}

#[test]
fn sentinels_that_nobody_can_reach_any_more_are_voters_from_3_2_until_they_are_forgotten() {
    let elections = ["3.0.0", "3.2.0", "6.2.1", "7.0.0"].map(elections_with_ghosts);
    assert_eq!(elections, [1, 0, 0, 1]);
}

/// In how many of 40 runs two Sentinels that are far apart have not elected a leader in their third attempt.
fn ties_in_a_row(version: &str, containers: bool) -> usize {
    let mut plan = SentinelPlan { containers, ..plan() };
    plan.group.version = version.parse().expect("it is a release");
    plan.group.failover_timeout = seconds(10);
    let kill = Fault::Kill { target: Target::Process("sentinel-1".to_owned()) };
    let faults = [(20, kill, 0), (20, kill_primary(), 0)];
    let is_open = |seed: &u64| {
        let (topology, zones) = Topology::three_regions();
        let cluster = SentinelCluster::new(&plan, (topology, zones.to_vec()));
        let run = Run::placed(cluster, *seed, &faults).until(75);
        run.marks(MarkKind::Elected).is_empty()
    };
    (0..40).filter(is_open).count()
}

#[test]
fn sentinels_of_old_releases_in_containers_repeat_their_ties() {
    assert!(ties_in_a_row("6.2.6", true) >= 3);
    assert_eq!([ties_in_a_row("6.2.7", true), ties_in_a_row("6.2.6", false)], [0, 0]);
}

fn command(process: &str, command: &str) -> Fault {
    Fault::Command { target: Target::Process(process.to_owned()), command: command.to_owned() }
}

/// Five servers that an operator watches, each with a write a second, which waits for two replicas.
fn with_operator(election: Election) -> SentinelPlan {
    let plan = SentinelPlan { servers: 5, sentinels: 0, election: Some(election), ..plan() };
    let wait_for = Some(WaitFor { replicas: 2, timeout: seconds(1) });
    let load = RedisLoad { writers: 50, write_interval: seconds(10), wait_for, ..plan.load };
    SentinelPlan { load, ..plan }
}

#[test]
fn an_operator_who_compares_offsets_elects_a_primary_that_was_replaced() {
    let hosts = |numbers: std::ops::RangeInclusive<u8>| {
        numbers.map(|number| Target::Host(format!("db-{number}"))).collect()
    };
    let cut = Fault::Partition { from: hosts(1..=2), to: hosts(3..=5), direction: Direction::Both };
    let faults = [
        (20, cut, 8),
        (22, command("operator-1", "elect redis-3 redis-4 redis-5"), 0),
        (29, command("operator-1", "elect"), 0),
    ];
    for (election, is_old) in [(Election::Offset, true), (Election::History, false)] {
        let run = Run::new(&with_operator(election), 1, &faults).until(45);
        let elected = run.cluster.primary(&run.world).expect("somebody is elected");
        assert_eq!(elected == run.cluster.servers()[0], is_old, "{election:?}");
        let follows = |server: &ProcessId| match run.world.process(*server) {
            Some(SentinelProcess::Server(server)) => server.follows(),
            _ => panic!("it runs"),
        };
        let others = run.cluster.servers().iter().filter(|server| **server != elected);
        assert!(others.map(follows).all(|primary| primary == Some(elected)), "{election:?}");
        assert_eq!(follows(&elected), None);
    }
}

/// Whom the first server follows after a restart, and how many values it has.
fn after_restart_with_wrong_file(version: &str, rewritten: bool) -> (Option<ProcessId>, u64) {
    let mut plan = with_operator(Election::Offset);
    plan.parameters.save = vec![SavePoint { after: seconds(1), changes: 1 }];
    plan.parameters.version = version.parse().expect("it is a release");
    let target = Target::Process("redis-1".to_owned());
    let mut faults = vec![
        (12, command("redis-1", "config-file appendonly yes"), 0),
        (12, command("redis-1", "config-file replicaof redis-1"), 0),
        (30, Fault::Kill { target }, 1),
    ];
    faults.extend(rewritten.then(|| (20, command("redis-1", "config-rewrite"), 0)));
    let run = Run::new(&plan, 1, &faults).until(32);
    match run.world.process(run.cluster.servers()[0]) {
        Some(SentinelProcess::Server(server)) => (server.follows(), server.log().len()),
        _ => panic!("it runs"),
    }
}

#[test]
fn a_file_counts_from_the_next_start_on_and_can_be_rewritten_from_2_8_on() {
    let first = ProcessId::from_index(0);
    assert_eq!(after_restart_with_wrong_file("2.6.13", false), (Some(first), 0));
    assert_eq!(after_restart_with_wrong_file("2.6.13", true), (Some(first), 0), "there is no such command");
    let (follows, values) = after_restart_with_wrong_file("2.8.0", true);
    assert!(follows.is_none() && values > 20, "{values}");
}

/// Before "PSYNC2" a promoted replica had nothing in common with those who followed the same primary.
#[test]
fn followers_of_a_promoted_replica_go_on_where_they_were_since_redis_4() {
    let resyncs = |version: Version| {
        let mut plan = plan();
        plan.parameters.version = version;
        plan.group.version = version;
        let mut run = Run::new(&plan, 1, &[(20, kill_primary(), 0)]);
        advance_guarded(&mut run.world, SimTime::ZERO + seconds(19), 50_000_000);
        run.world.log(true);
        let run = run.until(40);
        assert_eq!(run.marks(MarkKind::Elected).len(), 1, "{version}");
        run.notes("FullResync").len()
    };
    assert_eq!(resyncs(Version::new(3, 2, 13)), 1);
    assert_eq!(resyncs(Version::new(4, 0, 0)), 0);
}

#[test]
fn a_replica_of_a_replica_is_known_when_that_is_promoted() {
    let plan = SentinelPlan { replicaof: [(2, 1)].into(), ..plan() };
    let run = Run::new(&plan, 7, &[(20, kill_primary(), 0)]).until(50);
    let [replica, other] = [1, 2].map(|index| run.cluster.servers()[index]);
    let known = |server: ProcessId| run.notes(&format!("+slave process {}", server.index()));
    assert!(known(replica)[0] < SimTime::ZERO + seconds(2));
    let promoted = run.notes("+promoted-slave")[0];
    assert!(known(other)[0] > promoted, "{:?}", known(other));
    assert_eq!(run.cluster.primary(&run.world), Some(replica));
    let data = |server: ProcessId| match run.world.process(server) {
        Some(SentinelProcess::Server(server)) => (server.history().id, server.log().len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(other).0, data(replica).0, "it went on behind the promoted one");
    assert!(data(replica).1.abs_diff(data(other).1) <= 1);
}

/// How many broadcasts were answered, and which of them some listener has missed.
fn broadcasts(subscribes: bool, faults: &[(u64, Fault, u64)], seed: u64) -> (usize, Vec<SimTime>) {
    let mut plan = plan();
    plan.load = RedisLoad {
        purpose: Purpose::Broadcasts,
        listeners: 3,
        subscribes,
        start_at: seconds(5),
        stop_at: Some(seconds(50)),
        write_interval: SimDuration::from_millis(20),
        ..plan.load
    };
    let mut run = Run::new(&plan, seed, faults).until(55);
    let heard: BTreeSet<u64> = run.cluster.surviving(&run.world);
    let record = run.world.record(EndReason::Horizon);
    let published: Vec<&Operation> = record.operations.iter().filter(|one| one.is_acknowledged()).collect();
    let missed = published.iter().filter(|one| !heard.contains(&one.value)).map(|one| one.invoked);
    (published.len(), missed.collect())
}

#[test]
fn who_listens_hears_what_is_published_meanwhile() {
    let (published, missed) = broadcasts(false, &[], 1);
    assert!(published > 2_000, "{published}");
    assert_eq!(missed, []);
}

#[test]
fn who_is_not_told_of_a_lost_host_hears_nothing_any_more() {
    let lost = [(20, Fault::PowerOff { target: Target::HostOf("primary".to_owned()) }, 0)];
    let (_, missed) = broadcasts(false, &lost, 1);
    let last = missed.last().expect("nobody comes back");
    assert!(*last > SimTime::ZERO + seconds(49), "{last}");
    for seed in 0..20 {
        let (published, missed) = broadcasts(true, &lost, seed);
        assert!(published > 1_500, "seed {seed}: {published}");
        let mut late = missed.iter().filter(|at| **at > SimTime::ZERO + seconds(30));
        assert_eq!(late.next(), None, "seed {seed}: with `+switch-master` they are back soon");
    }
}
