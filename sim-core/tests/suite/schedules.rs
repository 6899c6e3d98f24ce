//! What schedules may break, and when: budgets, aimed faults, swarms.

use sim_core::{
    Aim, Composition, ConnectionEvent, ConnectionId, Context, Distribution, Fault, FaultBudget, FaultMix,
    LinkQuality, MarkKind, Origin, Probability, Process, ProcessOptions, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, SwarmConfig, Target, Topology, Trigger, World, WorldBuilder,
};

const SECOND: SimDuration = SimDuration::from_secs(1);

/// Does nothing but leave a mark every ten seconds.
#[derive(Clone, Debug)]
struct Idle;

impl Process for Idle {
    type Spec = ();
    type Packet = ();
    type Timer = ();
    type Storage = ();

    fn boot((): &(), context: &mut impl Context<Self>) -> Self {
        context.set_timer((), SECOND * 10);
        Self
    }

    fn on_packet(&mut self, _: &mut impl Context<Self>, _: Origin, (): ()) {}

    fn on_timer(&mut self, context: &mut impl Context<Self>, (): ()) {
        context.mark(MarkKind::Suspected, 0);
        context.set_timer((), SECOND * 10);
    }

    fn on_connection(
        &mut self,
        _: &mut impl Context<Self>,
        _: ConnectionId,
        _: sim_core::ProcessId,
        _: ConnectionEvent,
    ) {
    }

    fn plays(&self, role: &str) -> bool {
        role == "any"
    }
}

/// `etcd-1` to `etcd-3` and `other-1`, each on a host of its own.
fn world() -> World<Idle> {
    let (mut topology, zone) =
        Topology::single_zone(&LinkQuality::reliable(Distribution::Constant(SimDuration::ZERO)));
    let names = ["etcd-1", "etcd-2", "etcd-3", "other-1"];
    let hosts = names.map(|name| topology.add_host(zone, &format!("host-of-{name}")));
    let mut builder = WorldBuilder::new(topology);
    for (name, host) in names.into_iter().zip(hosts) {
        let volume = builder.add_volume(host, (), &Distribution::Constant(SimDuration::ZERO));
        builder.add_process(ProcessOptions {
            name: name.into(),
            host,
            volume,
            starts_with_host: true,
            spec: (),
        });
    }
    builder.build(Seed(1))
}

fn pause(name: &str) -> Fault {
    Fault::Pause { target: Target::Process(name.to_owned()) }
}

fn at(seconds: u64, fault: Fault, lasts: u64) -> ScheduledFault {
    let lasts = (lasts > 0).then(|| SECOND * lasts);
    ScheduledFault { trigger: Trigger::At(SECOND * seconds), fault, lasts }
}

fn budget(kinds: &[&str], lasting: bool) -> FaultBudget {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    FaultBudget { of: "etcd".to_owned(), kinds, together_with: Vec::new(), at_most: 1, lasting }
}

/// Which faults of the schedule fired, under these budgets.
fn fired(budgets: Vec<FaultBudget>, faults: Vec<ScheduledFault>) -> Vec<usize> {
    let mut world = world();
    world.limit_faults(budgets);
    world.schedule(&Schedule(faults)).expect("the processes exist");
    world.run(SimTime::ZERO + SECOND * 100, 1_000_000);
    let delivered = world.delivered_faults();
    assert!(delivered.iter().all(|fault| fault.withheld == fault.processes.is_empty()));
    delivered.iter().filter(|fault| !fault.withheld).map(|fault| fault.index).collect()
}

#[test]
fn a_second_fault_waits_for_no_one_but_is_withheld_while_the_first_lasts() {
    let faults = || {
        vec![
            at(1, pause("etcd-1"), 10),
            at(2, pause("etcd-2"), 10),
            at(3, pause("etcd-1"), 2),
            at(4, pause("other-1"), 10),
            at(12, pause("etcd-3"), 0),
            at(20, pause("etcd-2"), 10),
        ]
    };
    assert_eq!(fired(Vec::new(), faults()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(fired(vec![budget(&[], false)], faults()), [0, 2, 3, 4]);
    assert_eq!(fired(vec![budget(&["kill"], false)], faults()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(fired(vec![budget(&["pause"], true)], faults()), [0, 2, 3]);
}

#[test]
fn kinds_that_count_together_with_others_have_no_limit_of_their_own() {
    let full = |name: &str| Fault::DiskFull { target: Target::Process(name.to_owned()) };
    let beside = FaultBudget { together_with: vec!["pause".to_owned()], ..budget(&["disk-full"], false) };
    let faults = vec![
        at(1, pause("etcd-1"), 10),
        at(2, pause("etcd-2"), 10),
        at(3, full("etcd-3"), 2),
        at(20, full("etcd-1"), 10),
        at(21, pause("etcd-1"), 2),
        at(22, pause("etcd-2"), 10),
        at(32, pause("etcd-2"), 10),
        at(33, full("etcd-2"), 5),
    ];
    assert_eq!(fired(vec![beside], faults), [0, 1, 3, 4, 6, 7]);
}

#[test]
fn a_process_that_was_killed_counts_until_it_runs_again() {
    let kill = |name: &str| Fault::Kill { target: Target::Process(name.to_owned()) };
    let faults = vec![
        at(1, kill("etcd-1"), 5),
        at(2, kill("etcd-2"), 5),
        at(7, kill("etcd-3"), 0),
        at(9, kill("etcd-1"), 0),
    ];
    assert_eq!(fired(vec![budget(&[], false)], faults), [0, 2]);
}

#[test]
fn a_partition_harms_the_side_that_it_cuts_off() {
    let cut = |name: &str| Fault::Partition {
        from: vec![Target::Process(name.to_owned())],
        to: vec![Target::Others],
        direction: sim_core::Direction::Both,
    };
    let faults = vec![at(1, cut("other-1"), 5), at(2, cut("etcd-1"), 5), at(3, cut("etcd-2"), 5)];
    assert_eq!(fired(vec![budget(&[], false)], faults), [0, 1]);
}

#[test]
fn a_withheld_fault_leaves_no_trace_in_the_run() {
    let digest = |budgets, faults| {
        let mut world = world();
        world.limit_faults(budgets);
        world.schedule(&Schedule(faults)).expect("the processes exist");
        world.run(SimTime::ZERO + SECOND * 50, 1_000_000);
        (world.digest(), world.marks().to_vec())
    };
    let none = FaultBudget { at_most: 0, ..budget(&[], false) };
    let far = Vec::new();
    let (withheld, withheld_marks) = digest(vec![none], vec![at(5, pause("etcd-1"), 30)]);
    let (absent, absent_marks) = digest(Vec::new(), far);
    assert_eq!(withheld_marks, absent_marks);
    // The instant at which it would have fired is an event of its own.
    assert_ne!(withheld, absent);
}

fn mix(name: &str) -> FaultMix {
    FaultMix {
        fault: pause(name),
        strongest: None,
        shortest: Some(SECOND),
        longest: Some(SECOND * 3),
        stays: Probability::NEVER,
        aimed: None,
    }
}

fn swarm(composition: Composition, mix: Vec<FaultMix>) -> SwarmConfig {
    SwarmConfig { from: SECOND * 5, until: SECOND * 40, composition, mix }
}

const RANDOM: Composition = Composition::Random { faults: 3, kinds: Probability::ALWAYS };

#[test]
fn pairs_come_once_each_in_k_squared_seeds() {
    let config = swarm(Composition::Pairs, ["etcd-1", "etcd-2", "etcd-3"].map(mix).into());
    let mut pairs: Vec<Vec<Fault>> = (100..109)
        .map(|seed| config.schedule(Seed(seed)).0.into_iter().map(|fault| fault.fault).collect())
        .collect();
    assert!(pairs.iter().all(|pair| pair.len() == 2));
    pairs.sort_by_key(|pair| format!("{pair:?}"));
    pairs.dedup();
    assert_eq!(pairs.len(), 9);
}

#[test]
fn some_faults_stay_and_the_others_keep_their_times() {
    let staying = |stays| {
        let kinds = ["etcd-1", "etcd-2"].map(|name| FaultMix { stays, ..mix(name) });
        let config = swarm(RANDOM, kinds.into());
        (0..200).flat_map(|seed| config.schedule(Seed(seed)).0).collect::<Vec<_>>()
    };
    let (ending, mixed) = (staying(Probability::NEVER), staying(Probability::from_ppm(300_000)));
    assert!(ending.iter().all(|fault| fault.lasts.is_some()));
    let stays = mixed.iter().filter(|fault| fault.lasts.is_none()).count();
    assert!((mixed.len() / 5..mixed.len() / 2).contains(&stays), "{stays} of {}", mixed.len());
    for (one, other) in ending.iter().zip(&mixed) {
        assert_eq!((&one.trigger, &one.fault), (&other.trigger, &other.fault));
        assert!(other.lasts.is_none() || other.lasts == one.lasts);
    }
}

#[test]
fn all_faults_of_a_kind_are_equally_bad_in_one_run() {
    let step = |millis| Fault::ClockStep { target: Target::Role("any".to_owned()), millis };
    let kind = FaultMix {
        fault: step(0),
        strongest: Some(step(-1_000)),
        longest: None,
        shortest: None,
        ..mix("etcd-1")
    };
    let config = swarm(RANDOM, vec![kind]);
    let mut drawn: Vec<i64> = Vec::new();
    for seed in 0..50 {
        let faults = config.schedule(Seed(seed)).0;
        let sizes: Vec<i64> = faults
            .iter()
            .map(|fault| match fault.fault {
                Fault::ClockStep { millis, .. } => millis,
                _ => unreachable!("there is one kind"),
            })
            .collect();
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        drawn.push(sizes[0]);
    }
    drawn.sort_unstable();
    assert!(drawn[0] < -900 && drawn[49] > -100, "{drawn:?}");
}

#[test]
fn an_aimed_fault_follows_its_mark_and_does_not_outlive_the_window() {
    let aimed = Aim { mark: MarkKind::Suspected, within: SECOND * 2 };
    let kinds = vec![mix("etcd-1"), FaultMix { aimed: Some(aimed), ..mix("etcd-2") }];
    let config = swarm(RANDOM, kinds);
    let mut hits = 0;
    for seed in 0..100 {
        let schedule = config.schedule(Seed(seed));
        assert!(schedule.0.iter().any(|fault| matches!(fault.trigger, Trigger::At(_))));
        let mut world = world();
        world.schedule(&schedule).expect("the processes exist");
        world.run(SimTime::ZERO + SECOND * 100, 1_000_000);
        let marks: Vec<SimTime> = (world.marks().iter())
            .filter(|mark| mark.kind == MarkKind::Suspected)
            .map(|mark| mark.at)
            .collect();
        for fault in world.delivered_faults() {
            assert!(fault.at <= SimTime::ZERO + config.until);
            if matches!(schedule.0[fault.index].trigger, Trigger::OnMark { .. }) {
                hits += 1;
                assert!(marks.iter().any(|mark| fault.at >= *mark && fault.at.since(*mark) <= aimed.within));
            }
        }
    }
    assert!(hits > 30, "{hits} aimed faults fired in 100 runs");
}
