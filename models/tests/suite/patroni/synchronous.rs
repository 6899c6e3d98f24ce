//! Synchronous mode and quorum commit: who may take over.

use models::patroni::{Configuration, SynchronousMode};
use sim_core::{Fault, MarkKind, Schedule, ScheduledFault, SimTime, Target, Trigger};

use super::script::{assert_within, cluster, fault_at, host_of, marks, players, run, run_with, secs, story};

#[test]
fn only_the_synchronous_standby_takes_over_in_synchronous_mode() {
    let at = secs(62);
    let fault = Fault::PowerOff { target: host_of("patroni-leader") };
    let configuration = Configuration { synchronous_mode: SynchronousMode::On, ..Configuration::default() };
    for seed in 1..=5 {
        let (mut world, _) = cluster(configuration.clone(), seed);
        world.schedule(&fault_at(at, fault.clone(), None)).expect("the targets exist");
        run(&mut world, secs(61));
        let standby = players(&world, "sync-standby");
        assert_eq!(standby.len(), 1, "{}", story(&world));
        run(&mut world, secs(150));
        let elected = marks(&world, MarkKind::Elected, at);
        assert_eq!((elected.len(), elected[0].1), (1, standby[0]), "{}", story(&world));
        assert_eq!(players(&world, "sync-standby").len(), 1, "{}", story(&world));
    }
}

/// Fidelity specification, 5.6 and 8.2: its key must expire first; measured 33 and 37 s.
#[test]
fn a_silent_synchronous_standby_is_replaced_when_its_key_has_expired() {
    let at = secs(62);
    let fault = Fault::PowerOff { target: host_of("sync-standby") };
    let configuration = Configuration { synchronous_mode: SynchronousMode::On, ..Configuration::default() };
    let world = run_with(configuration, 1, at, fault, None);
    let replaced = world
        .log_entries()
        .iter()
        .find(|entry| entry.at > SimTime::ZERO + at && entry.text.starts_with("Assigned synchronous"))
        .expect("another standby is there");
    assert_within(replaced.at.since(SimTime::ZERO + at), 20_000, 41_000, &world);
}

#[test]
fn with_quorum_commit_any_standby_that_gets_its_votes_takes_over() {
    let mode = SynchronousMode::Quorum;
    for seed in 1..=8 {
        let configuration = Configuration { synchronous_mode: mode, ..Configuration::default() };
        let fault = Fault::PowerOff { target: host_of("patroni-leader") };
        let world = run_with(configuration, seed, secs(60), fault, None);
        assert_eq!(
            players(&world, "sync-standby").len(),
            1,
            "the one that is left follows:\n{}",
            story(&world)
        );
        assert_eq!(marks(&world, MarkKind::Writable, secs(60)).len(), 1, "{}", story(&world));
    }
}

/// `/sync` says quorum 1 of two voters, so that a survivor needs the other's vote. With both the primary and a standby gone,
/// nobody knows whether the one that is left has everything.
#[test]
fn with_quorum_commit_a_standby_alone_does_not_take_over() {
    for seed in 1..=8 {
        let configuration =
            Configuration { synchronous_mode: SynchronousMode::Quorum, ..Configuration::default() };
        let (mut world, _) = cluster(configuration, seed);
        let off = |target| ScheduledFault {
            trigger: Trigger::At(secs(60)),
            fault: Fault::PowerOff { target },
            lasts: None,
        };
        run(&mut world, secs(59));
        let leader = world.name(players(&world, "patroni-leader")[0]).replace("patroni", "db-host");
        let standby = world.name(players(&world, "patroni-replica")[0]).replace("patroni", "db-host");
        let schedule = Schedule([leader, standby].map(|host| off(Target::Host(host))).to_vec());
        world.schedule(&schedule).expect("the targets exist");
        run(&mut world, secs(200));
        assert_eq!(marks(&world, MarkKind::Writable, secs(60)), [], "{}", story(&world));
    }
}
