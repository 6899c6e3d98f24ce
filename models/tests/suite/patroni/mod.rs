//! A whole Patroni cluster: three etcd members, and three servers with a Patroni each, under faults.

mod failover;
mod rejoin;
mod script;
mod stalemate;
mod store;
mod synchronous;

use models::patroni::{Configuration, Disk, Peer, SynchronousMode};
use sim_core::{Direction, Fault, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, Target, Trigger};

use self::script::{
    assert_within, cluster, fault_at, host_of, marks, players, role, run, run_with, secs, story,
};

#[test]
fn a_new_cluster_settles_with_one_primary_and_two_standbys_that_stream() {
    for seed in 1..=10 {
        let (mut world, cluster) = cluster(Configuration::default(), seed);
        run(&mut world, secs(60));
        let primaries = players(&world, "primary");
        assert_eq!(primaries.len(), 1, "{}", story(&world));
        assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
        assert_eq!(players(&world, "patroni-leader").len(), 1);
        assert_eq!(players(&world, "patroni-replica").len(), 2);
        let end = |peer: &Peer| match world.storage(peer.postgres) {
            Disk::Data(data) => data.wal.end(),
            other => panic!("not a data directory: {other:?}"),
        };
        let ends: Vec<_> = cluster.members.iter().map(end).collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
        assert_eq!(marks(&world, MarkKind::Writable, secs(0)).len(), 1, "nobody failed over");
    }
}

/// Fidelity specification, 5.5: 1.5 to 3 s.
#[test]
fn a_switchover_hands_over_without_losing_anything() {
    let at = secs(62);
    let fault = Fault::Command { target: role("patroni-leader"), command: "switchover".to_owned() };
    for mode in [SynchronousMode::Off, SynchronousMode::On] {
        let configuration = Configuration { synchronous_mode: mode, ..Configuration::default() };
        let world = run_with(configuration, 3, at, fault.clone(), None);
        let (stopped, old, _) = marks(&world, MarkKind::ReadOnly, at)[0];
        let (writable, new, _) = marks(&world, MarkKind::Writable, at)[0];
        assert_ne!(old, new);
        assert_within(writable.saturating_sub(stopped), 1_500, 3_000, &world);
        assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
    }
}

/// `/failover` is removed before the promotion, and the request for it waits for its acknowledgement.
#[test]
fn a_new_leader_removes_the_failover_key_and_is_promoted_then() {
    let fault = Fault::Command { target: role("patroni-leader"), command: "switchover".to_owned() };
    let world = run_with(Configuration::default(), 5, secs(62), fault, None);
    let story = story(&world);
    let place = |text: &str| story.rfind(text).unwrap_or_else(|| panic!("nobody says {text}: {story}"));
    let said = [
        "received switchover request",
        "demoting myself",
        "Cleaning up failover key",
        "received promote request",
    ];
    let places = said.map(place);
    assert!(places.is_sorted(), "{places:?}: {story}");
    let (elected, ..) = marks(&world, MarkKind::Elected, secs(62))[0];
    let (writable, ..) = marks(&world, MarkKind::Writable, secs(62))[0];
    assert!(writable.saturating_sub(elected) >= SimDuration::from_millis(40 + 70), "{story}");
}

/// The REST API asks before it writes the key.
#[test]
fn a_switchover_that_nobody_is_fit_for_is_refused() {
    let (mut world, _) = cluster(Configuration::default(), 1);
    run(&mut world, secs(50));
    let leader = players(&world, "patroni-leader");
    let killed = Fault::Kill { target: Target::Every("patroni-replica".to_owned()) };
    world.schedule(&fault_at(secs(60), killed, Some(secs(5)))).expect("the targets exist");
    let asked = Fault::Command { target: role("patroni-leader"), command: "switchover".to_owned() };
    world.schedule(&fault_at(secs(61), asked, None)).expect("the target exists");
    run(&mut world, secs(110));
    let story = story(&world);
    assert!(story.contains("no good candidates have been found"), "{story}");
    assert_eq!(players(&world, "patroni-leader"), leader, "{story}");
    assert_eq!(marks(&world, MarkKind::ReadOnly, secs(60)), [], "{story}");
}

/// Whenever the server of the leader dies on the way to its fast stop, the switchover goes on.
#[test]
fn a_server_that_dies_during_a_handover_does_not_hold_it_up() {
    for mode in [SynchronousMode::Off, SynchronousMode::On] {
        let configuration = Configuration { synchronous_mode: mode, ..Configuration::default() };
        let (mut world, _) = cluster(configuration, 3);
        let asked = Fault::Command { target: role("patroni-leader"), command: "switchover".to_owned() };
        world.schedule(&fault_at(secs(62), asked, None)).expect("the target exists");
        let mut at = secs(62);
        run(&mut world, at);
        while !story(&world).contains("demoting myself") {
            at += SimDuration::from_millis(10);
            run(&mut world, at);
        }
        for _ in 0..30 {
            at += SimDuration::from_millis(10);
            run(&mut world, at);
            let mut fork = world.clone();
            fork.schedule(&fault_at(at, Fault::Kill { target: role("primary") }, None)).expect("it exists");
            run(&mut fork, at + secs(60));
            let is_writable = !marks(&fork, MarkKind::Writable, at).is_empty();
            assert!(is_writable && players(&fork, "primary").len() == 1, "{at}: {}", story(&fork));
        }
    }
}

#[test]
fn a_switchover_to_a_chosen_member_ends_there() {
    for seed in 1..=4 {
        for mode in [SynchronousMode::Off, SynchronousMode::Quorum] {
            let (mut world, _) =
                cluster(Configuration { synchronous_mode: mode, ..Configuration::default() }, seed);
            run(&mut world, secs(50));
            let chosen = players(&world, "patroni-replica").into_iter().max().expect("there are two");
            let command = format!("switchover {}", world.name(chosen));
            let fault = Fault::Command { target: role("patroni-leader"), command };
            world.schedule(&fault_at(secs(60), fault, None)).expect("the target exists");
            run(&mut world, secs(110));
            assert_eq!(players(&world, "patroni-leader"), [chosen], "{}", story(&world));
            let (elected, ..) = marks(&world, MarkKind::Elected, secs(60))[0];
            assert_within(elected, 1_000, 4_000, &world);
            assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
        }
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let fault = Fault::PowerOff { target: host_of("patroni-leader") };
    let digest = |seed| {
        let configuration = Configuration::default();
        run_with(configuration, seed, secs(62), fault.clone(), Some(secs(40))).digest()
    };
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

/// Whatever happens, nothing panics, and a cluster that is left alone afterwards recovers when it may repair itself.
#[test]
fn random_faults_end_with_one_primary_that_everybody_follows() {
    // 499: a server that was killed and started again while its Patroni was frozen.
    for seed in (0..40).chain([499]) {
        let configuration = Configuration {
            use_pg_rewind: true,
            synchronous_mode: if seed % 2 == 0 { SynchronousMode::On } else { SynchronousMode::Off },
            ..Configuration::default()
        };
        let (mut world, _) = cluster(configuration, seed);
        let mut random = Seed(seed).stream("test faults", 0);
        let targets = ["patroni-leader", "patroni-replica", "primary", "standby", "etcd", "etcd-leader"];
        let mut schedule = Vec::new();
        for _ in 0..6 {
            let name = targets[random.below(6) as usize];
            let target = role(name);
            let fault = match random.below(5) {
                0 => Fault::Kill { target },
                1 => Fault::PowerOff { target: host_of(name) },
                2 => Fault::Pause { target },
                3 => Fault::Freeze { target: host_of(name) },
                _ => Fault::Partition {
                    from: vec![host_of(name)],
                    to: vec![Target::Others],
                    direction: Direction::Both,
                },
            };
            schedule.push(ScheduledFault {
                trigger: Trigger::At(random.duration(secs(30), secs(300))),
                fault,
                lasts: Some(random.duration(secs(1), secs(60))),
            });
        }
        world.schedule(&Schedule(schedule)).expect("the targets exist");
        run(&mut world, secs(900));
        assert_eq!(players(&world, "primary").len(), 1, "seed {seed}: {}", story(&world));
        assert_eq!(players(&world, "patroni-leader").len(), 1, "seed {seed}: {}", story(&world));
        assert_eq!(players(&world, "standby").len(), 2, "seed {seed}: {}", story(&world));
    }
}
