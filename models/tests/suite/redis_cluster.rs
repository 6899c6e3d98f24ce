//! Redis Cluster as a whole: from a lost primary to clients that are served again.

use models::Planted;
use models::redis::{Machine, Parameters, Purpose, Waking};
use models::redis_cluster::{
    ClusterConfig, ClusterLoad, ClusterPlan, ClusterProcess, RedisCluster, Refresh, Release, SAVED, Slot,
};
use sim_core::{
    Direction, Distribution, EndReason, Fault, Mark, MarkKind, Outcome, Record, Schedule, ScheduledFault,
    Seed, SimDuration, SimTime, Target, Topology, TraceEntry, Trigger, World, advance_guarded,
};

const FAULT_AT: SimDuration = SimDuration::from_secs(20);

fn plan() -> ClusterPlan {
    ClusterPlan {
        nodes: 6,
        shards: 3,
        hosts: 6,
        config: ClusterConfig { node_timeout: SimDuration::from_secs(3), ..ClusterConfig::default() },
        parameters: Parameters { repl_diskless_sync_delay: SimDuration::ZERO, ..Parameters::default() },
        machine: Machine::default(),
        disk_sync: Distribution::Constant(SimDuration::from_micros(250)),
        waking: Waking::default(),
        load: ClusterLoad {
            writers: 1,
            write_interval: SimDuration::from_millis(20),
            purpose: Purpose::Values,
            timeout: SimDuration::from_secs(1),
            beside_nodes: false,
            refresh: Refresh::OnError,
            wait_for: None,
            local_writers: false,
            other_writers: None,
            expires_every: None,
            stop_at: None,
        },
        operator: None,
        planted: Planted::Nothing,
    }
}

/// Runs a seed with one fault at 20 s, and looks whether everything holds that always does.
fn run(
    plan: &ClusterPlan,
    fault: Fault,
    lasts: Option<u64>,
    seed: u64,
    until: u64,
) -> (RedisCluster, World<ClusterProcess>) {
    let lasts = lasts.map(SimDuration::from_secs);
    let fault = ScheduledFault { trigger: Trigger::At(FAULT_AT), fault, lasts };
    run_with(plan, vec![fault], seed, until)
}

/// The same with any faults. The world has a log.
fn run_with(
    plan: &ClusterPlan,
    faults: Vec<ScheduledFault>,
    seed: u64,
    until: u64,
) -> (RedisCluster, World<ClusterProcess>) {
    let (topology, zones) = Topology::three_zones();
    let cluster = RedisCluster::new(plan, (topology, zones.to_vec()));
    let mut world = cluster.world(Seed(seed));
    world.log(false);
    cluster.add_conditions(&mut world);
    world.schedule(&Schedule(faults)).expect("the targets exist");
    let end = advance_guarded(&mut world, SimTime::ZERO + SimDuration::from_secs(until), 20_000_000);
    assert_eq!(end, EndReason::Horizon, "seed {seed}");
    (cluster, world)
}

fn kill(process: &str) -> Fault {
    Fault::Kill { target: Target::Process(process.to_owned()) }
}

fn role(role: &str) -> Target {
    Target::Role(role.to_owned())
}

fn first_after_fault(record: &Record, kind: MarkKind) -> Option<SimDuration> {
    let fault = SimTime::ZERO + FAULT_AT;
    record.marks.iter().find(|mark| mark.kind == kind && mark.at > fault).map(|mark| mark.at.since(fault))
}

#[test]
fn a_killed_primary_is_replaced_and_follows_its_successor() {
    for seed in 0..10 {
        let fault = Fault::Kill { target: Target::Process("redis-1".to_owned()) };
        let (cluster, mut world) = run(&plan(), fault, Some(10), seed, 45);
        let owner = cluster.owner(&world, Slot(0)).expect("the targets exist");
        assert_eq!(world.name(owner), "redis-4", "seed {seed}");
        let Some(ClusterProcess::Node(old)) = world.process(cluster.nodes()[0]) else { panic!("it runs") };
        assert_eq!(old.server().follows(), Some(owner));
        assert!(old.server().link_is_up() && old.slots().is_empty());
        let record = world.record(EndReason::Horizon);
        let elected = first_after_fault(&record, MarkKind::Elected).expect("the targets exist");
        // One and a half node timeouts, gossip, and a second for the election at most.
        assert!(
            elected > SimDuration::from_secs(3) && elected < SimDuration::from_millis(8_500),
            "{elected}"
        );
    }
}

#[test]
fn an_isolated_primary_stops_after_a_node_timeout_and_a_half() {
    for seed in 0..10 {
        let fault = Fault::Partition {
            from: vec![Target::HostOf("primary".to_owned())],
            to: vec![Target::Others],
            direction: Direction::Both,
        };
        let (_, mut world) = run(&plan(), fault, None, seed, 35);
        let stops = first_after_fault(&world.record(EndReason::Horizon), MarkKind::ReadOnly)
            .expect("the targets exist");
        assert!(stops >= SimDuration::from_secs(3) && stops <= SimDuration::from_millis(4_800), "{stops}");
    }
}

#[test]
fn a_commanded_failover_pauses_clients_and_loses_nothing() {
    for seed in 0..10 {
        let fault = Fault::Command { target: role("replica"), command: "cluster-failover".to_owned() };
        let (cluster, mut world) = run(&plan(), fault, None, seed, 30);
        assert_eq!(world.name(cluster.owner(&world, Slot(0)).unwrap()), "redis-4", "seed {seed}");
        let values: std::collections::BTreeSet<u64> = cluster.surviving(&world);
        let record = world.record(EndReason::Horizon);
        let lost =
            record.operations.iter().find(|one| one.outcome == Outcome::Ok && !values.contains(&one.value));
        assert_eq!(lost, None, "seed {seed}");
        assert!(first_after_fault(&record, MarkKind::Elected).unwrap() < SimDuration::from_millis(300));
    }
}

/// What was acknowledged and is not there any more.
fn lost(cluster: &RedisCluster, world: &mut World<ClusterProcess>) -> usize {
    let values: std::collections::BTreeSet<u64> = cluster.surviving(world);
    let record = world.record(EndReason::Horizon);
    record.operations.iter().filter(|one| one.outcome == Outcome::Ok && !values.contains(&one.value)).count()
}

#[test]
fn slots_move_while_clients_write_and_all_nodes_agree_afterwards() {
    for (two_keys, pipeline, seed) in [(false, 10, 1), (false, 1, 2), (true, 10, 3), (true, 1, 4)] {
        let mut plan = plan();
        plan.operator = Some(pipeline);
        let purpose = if two_keys { Purpose::PairsOfValues } else { Purpose::Values };
        plan.load = ClusterLoad { writers: 12, purpose, ..plan.load };
        let fault = Fault::Command { target: role("operator"), command: "reshard 3 from 1 to 2".to_owned() };
        let (cluster, mut world) = run(&plan, fault, None, seed, 40);
        for slot in 0..5 {
            let owners: Vec<&str> = cluster
                .nodes()
                .iter()
                .map(|node| match world.process(*node) {
                    Some(ClusterProcess::Node(node)) => {
                        world.name(node.owner_of(Slot(slot)).expect("every slot has one"))
                    }
                    _ => panic!("it runs"),
                })
                .collect();
            let expected = if slot < 3 { "redis-2" } else { "redis-1" };
            assert!(owners.iter().all(|owner| *owner == expected), "seed {seed}, slot {slot}: {owners:?}");
        }
        assert_eq!(lost(&cluster, &mut world), 0, "seed {seed}");
    }
}

/// Who owns the first slot in the view of a node so many milliseconds after it was to be moved from redis-1 to redis-2, with a fault a second
/// before that.
fn owner_after_reshard(release: Release, fault: Fault, node: &str, after: u64) -> String {
    let config = ClusterConfig { release, ..plan().config };
    let plan = ClusterPlan { config, operator: Some(10), ..plan() };
    let (topology, zones) = Topology::three_zones();
    let cluster = RedisCluster::new(&plan, (topology, zones.to_vec()));
    let mut world = cluster.world(Seed(1));
    cluster.add_conditions(&mut world);
    let command = Fault::Command { target: role("operator"), command: "reshard 1 from 1 to 2".to_owned() };
    let commanded = FAULT_AT + SimDuration::from_secs(1);
    let faults = [(FAULT_AT, fault), (commanded, command)];
    let faults = faults.map(|(at, fault)| ScheduledFault { trigger: Trigger::At(at), fault, lasts: None });
    world.schedule(&Schedule(faults.to_vec())).expect("the targets exist");
    let until = SimTime::ZERO + commanded + SimDuration::from_millis(after);
    assert_eq!(advance_guarded(&mut world, until, 20_000_000), EndReason::Horizon);
    owner_in_view(&world, node)
}

fn owner_in_view(world: &World<ClusterProcess>, node: &str) -> String {
    let Some(ClusterProcess::Node(node)) = world.process(world.find(node).expect("it exists")) else {
        panic!("{node} runs");
    };
    world.name(node.owner_of(Slot(0)).expect("it has one")).to_owned()
}

#[test]
fn replicas_of_valkey_8_hear_whose_a_slot_is_from_their_primary() {
    // The replica of the old owner hears nothing from the new one.
    let cut = Fault::Partition {
        from: vec![Target::Process("redis-2".to_owned())],
        to: vec![Target::Process("redis-4".to_owned())],
        direction: Direction::Both,
    };
    assert_eq!(owner_after_reshard(Release::Redis72, cut.clone(), "redis-4", 50), "redis-1");
    assert_eq!(owner_after_reshard(Release::Valkey8, cut, "redis-4", 50), "redis-2");
}

#[test]
fn a_primary_of_valkey_8_gives_no_slot_away_that_its_replica_does_not_acknowledge() {
    let pause = Fault::Pause { target: Target::Process("redis-4".to_owned()) };
    assert_eq!(owner_after_reshard(Release::Redis72, pause.clone(), "redis-1", 3_000), "redis-2");
    assert_eq!(owner_after_reshard(Release::Valkey8, pause, "redis-1", 3_000), "redis-1");
}

/// In how many of ten seeds a node ends up with this owner of the first slot in its view. From 20 s on it hears nothing from some others for a
/// while, and operators command something.
fn seeds_with_owner(
    release: Release,
    (unheard, lasts): (&[Target], u64),
    commands: &[(u64, Target, &str)],
    (node, owner): (&str, &str),
) -> usize {
    let config = ClusterConfig { release, ..ClusterConfig::default() };
    let plan = ClusterPlan { config, operator: Some(10), ..plan() };
    let at = |millis| Trigger::At(FAULT_AT + SimDuration::from_millis(millis));
    let cut = Fault::Partition {
        from: unheard.to_vec(),
        to: vec![Target::Process(node.to_owned())],
        direction: Direction::Outbound,
    };
    let lasts = Some(SimDuration::from_millis(lasts));
    let commands = commands.iter().map(|(millis, target, command)| {
        let fault = Fault::Command { target: target.clone(), command: (*command).to_owned() };
        ScheduledFault { trigger: at(*millis), fault, lasts: None }
    });
    let cut = ScheduledFault { trigger: at(0), fault: cut, lasts };
    let faults: Vec<ScheduledFault> = std::iter::once(cut).chain(commands).collect();
    let view = |seed| owner_in_view(&run_with(&plan, faults.clone(), seed, 50).1, node);
    (0..10).filter(|seed| view(*seed) == owner).count()
}

#[test]
fn up_to_7_0_12_an_old_owner_with_a_newer_epoch_keeps_a_slot_that_it_does_not_claim() {
    // The old owner's replica hears from nobody but from that, which takes a newer epoch than the new owner has.
    let unheard = ["redis-2", "redis-3", "redis-5", "redis-6"].map(|name| Target::Process(name.to_owned()));
    let bumps = Target::Process("redis-1".to_owned());
    let commands = [(100, role("operator"), "reshard 1 from 1 to 2"), (200, bumps, "cluster-bumpepoch")];
    let refused = |release| seeds_with_owner(release, (&unheard, 4_000), &commands, ("redis-4", "redis-1"));
    assert!(refused(Release::Redis70_12) > 0);
    assert_eq!(refused(Release::Redis70), 0);
}

#[test]
fn from_7_0_13_to_7_2_3_an_old_claim_takes_a_slot_that_another_owner_had_not_claimed() {
    let unheard = [Target::Process("redis-2".to_owned()), role("operator")];
    let commands = [
        (100, role("operator"), "reshard 1 from 1 to 2"),
        (5_100, role("operator"), "reshard 1 from 2 to 3"),
    ];
    let given_back =
        |release| seeds_with_owner(release, (&unheard, 3_500), &commands, ("redis-3", "redis-2"));
    assert_eq!(given_back(Release::Redis70_12), 0);
    assert!(given_back(Release::Redis70) > 0);
    assert_eq!(given_back(Release::Redis72), 0);
}

#[test]
fn a_node_that_moves_keys_to_a_dead_one_is_blocked_and_replaced() {
    let mut plan = ClusterPlan { nodes: 10, shards: 5, hosts: 10, operator: Some(1), ..plan() };
    plan.load = ClusterLoad { writers: 40, ..plan.load };
    let (topology, zones) = Topology::three_zones();
    let cluster = RedisCluster::new(&plan, (topology, zones.to_vec()));
    let mut world = cluster.world(Seed(1));
    let command = Fault::Command { target: role("operator"), command: "reshard 1 from 1 to 2".to_owned() };
    let pause = Fault::Pause { target: Target::Process("redis-2".to_owned()) };
    let faults = [(FAULT_AT, command), (FAULT_AT + SimDuration::from_millis(10), pause)];
    let faults = faults.map(|(at, fault)| ScheduledFault { trigger: Trigger::At(at), fault, lasts: None });
    world.schedule(&Schedule(faults.to_vec())).expect("the targets exist");
    let end = advance_guarded(&mut world, SimTime::ZERO + SimDuration::from_secs(50), 20_000_000);
    assert_eq!(end, EndReason::Horizon);
    assert_eq!(world.name(cluster.owner(&world, Slot(0)).unwrap()), "redis-6", "its replica");
}

#[test]
fn a_primary_that_starts_again_before_it_is_missed_stays_primary_after_two_seconds() {
    let fault = Fault::Restart {
        target: role("primary"),
        delay: SimDuration::from_millis(100),
        stagger: SimDuration::ZERO,
    };
    let (cluster, mut world) = run(&plan(), fault, None, 1, 30);
    assert_eq!(world.name(cluster.owner(&world, Slot(0)).unwrap()), "redis-1");
    let serves =
        first_after_fault(&world.record(EndReason::Horizon), MarkKind::Writable).expect("the targets exist");
    assert!(serves >= SimDuration::from_secs(2) && serves < SimDuration::from_millis(2_400), "{serves}");
}

#[test]
fn without_a_majority_of_primaries_nobody_is_elected() {
    // One of two primaries is no majority of two.
    let fault = Fault::Kill { target: role("primary") };
    let mut two = plan();
    two.shards = 2;
    two.nodes = 4;
    let (_, mut world) = run(&two, fault, None, 1, 60);
    assert_eq!(first_after_fault(&world.record(EndReason::Horizon), MarkKind::Elected), None);
}

/// In how many seeds a primary that was cut off from another shard's replica stops serving long after that replica has been elected.
fn stops_of_a_bystander(release: Release) -> usize {
    let config = ClusterConfig { release, ..ClusterConfig::default() };
    let (topology, zones) = Topology::three_zones();
    let cluster = RedisCluster::new(&ClusterPlan { config, ..plan() }, (topology, zones.to_vec()));
    let process = |name: &str| Target::Process(name.to_owned());
    let cut = Fault::Partition {
        from: vec![process("redis-6")],
        to: vec![process("redis-1")],
        direction: Direction::Both,
    };
    let second = SimDuration::from_secs(1);
    let schedule = Schedule(vec![
        ScheduledFault { trigger: Trigger::At(second * 13), fault: cut, lasts: Some(second * 29) },
        ScheduledFault {
            trigger: Trigger::At(second * 33),
            fault: Fault::Kill { target: process("redis-3") },
            lasts: None,
        },
    ]);
    // By then redis-6 is primary; what it had sent before the cut is repeated 51 s after it was sent first.
    let late = SimTime::ZERO + second * 60;
    (0..20)
        .filter(|seed| {
            let mut world = cluster.world(Seed(*seed));
            cluster.add_conditions(&mut world);
            world.schedule(&schedule).expect("the targets exist");
            let end = advance_guarded(&mut world, SimTime::ZERO + second * 80, 20_000_000);
            assert_eq!(end, EndReason::Horizon, "seed {seed}");
            let stops = |mark: &Mark| mark.kind == MarkKind::ReadOnly && mark.at > late;
            world.record(end).marks.iter().any(stops)
        })
        .count()
}

#[test]
fn old_releases_read_what_was_sent_before_an_election_after_it() {
    assert!(stops_of_a_bystander(Release::Redis30) > 0);
    assert_eq!(stops_of_a_bystander(Release::Redis70), 0);
}

/// How long redis-1 stood still for `nodes.conf`, and between which instants, while another shard failed over.
fn standstills(release: Release) -> Vec<(SimTime, SimTime)> {
    let mut plan = plan();
    plan.config = ClusterConfig { release, require_full_coverage: false, ..plan.config };
    plan.disk_sync = Distribution::Constant(SimDuration::from_millis(500));
    let (cluster, mut world) = run(&plan, kill("redis-2"), None, 3, 40);
    let fault = SimTime::ZERO + FAULT_AT;
    let saved = |entry: &TraceEntry| {
        let is_here = entry.process == Some(cluster.nodes()[0]) && entry.at > fault;
        let took: SimDuration = entry.text.strip_prefix(SAVED).filter(|_| is_here)?.parse().ok()?;
        Some((SimTime::ZERO + (entry.at.since(SimTime::ZERO) - took), entry.at))
    };
    let stood: Vec<(SimTime, SimTime)> = world.log_entries().iter().filter_map(saved).collect();
    let record = world.record(EndReason::Horizon);
    let mine = record.operations.iter().filter(|one| one.served_by == Some(cluster.nodes()[0]));
    let answered: Vec<SimTime> = mine.filter_map(|one| one.completed).collect();
    for (from, to) in &stood {
        // An answer that was on its way takes two milliseconds.
        let meanwhile = |at: &&SimTime| **at > *from + SimDuration::from_millis(2) && **at < *to;
        assert_eq!(answered.iter().find(meanwhile), None, "{from} {to}");
    }
    assert!(answered.iter().any(|at| *at > stood.last().expect("it voted").1), "it goes on");
    stood
}

#[test]
fn whoever_saves_what_it_knows_answers_nobody_until_that_is_synced() {
    for (release, length) in [(Release::Redis70, 500), (Release::Redis72, 1000), (Release::Valkey8, 1000)] {
        let stood = standstills(release);
        assert!(stood.len() >= 2, "for its vote and for the new owner: {stood:?}");
        for (from, to) in stood {
            assert_eq!(to.since(from), SimDuration::from_millis(length), "{release:?}");
        }
    }
}

/// Whether redis-1 ends when another shard fails over while its disk is full.
fn ends_on_a_full_disk(release: Release) -> bool {
    let mut plan = plan();
    plan.config = ClusterConfig { release, require_full_coverage: false, ..plan.config };
    let full = Fault::DiskFull { target: Target::Process("redis-1".to_owned()) };
    let trigger = Trigger::At(FAULT_AT);
    let faults =
        [full, kill("redis-2")].map(|fault| ScheduledFault { trigger: trigger.clone(), fault, lasts: None });
    let (_, world) = run_with(&plan, faults.to_vec(), 3, 40);
    world.log_entries().iter().any(|entry| entry.text.starts_with("Fatal: can't update cluster config file"))
}

#[test]
fn a_full_disk_ends_nodes_that_make_a_new_file() {
    assert!(!ends_on_a_full_disk(Release::Redis70));
    assert!(ends_on_a_full_disk(Release::Redis72));
    assert!(ends_on_a_full_disk(Release::Valkey8));
}

#[test]
fn a_node_that_starts_anew_opens_its_links_at_once() {
    for seed in 0..10 {
        let (cluster, world) = run(&plan(), kill("redis-1"), Some(10), seed, 45);
        let mut entries = world.log_entries().iter();
        let told = entries.find(|entry| {
            entry.process == Some(cluster.nodes()[0])
                && entry.text.starts_with("configuration change detected")
        });
        let started = SimTime::ZERO + FAULT_AT + SimDuration::from_secs(10) + Machine::default().start;
        let after = told.expect("it follows its successor").at.since(started);
        // A millisecond, and three ways between zones.
        assert!(after < SimDuration::from_millis(10), "seed {seed}: {after}");
    }
}
