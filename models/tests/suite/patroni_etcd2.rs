//! A whole Patroni cluster that speaks with etcd by its API version 2.

use models::patroni::{
    ClusterProcess, Configuration, EtcdApi, Load, PatroniCluster, Plan, SynchronousMode, Version,
};
use sim_core::{
    EndReason, Fault, Mark, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, Trigger,
    World,
};

use crate::patroni_clusters::{players, story};

fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

fn cluster(change: impl FnOnce(&mut Plan)) -> PatroniCluster {
    let configuration = Configuration { etcd_api: EtcdApi::V2, ..Configuration::default() };
    let load = Load { stop_at: Some(secs(100)), ..Load::default() };
    let mut plan = Plan { configuration, load, ..Plan::default() };
    change(&mut plan);
    PatroniCluster::new(&plan)
}

fn run(cluster: &PatroniCluster, seed: u64, fault: Option<(u64, Fault, u64)>) -> World<ClusterProcess> {
    let mut world = cluster.world(Seed(seed));
    world.log(false);
    let scheduled = fault.map(|(at, fault, lasts)| ScheduledFault {
        trigger: Trigger::At(secs(at)),
        fault,
        lasts: Some(secs(lasts)),
    });
    world.schedule(&Schedule(scheduled.into_iter().collect())).expect("the targets exist");
    assert_eq!(world.run(SimTime::ZERO + secs(110), 20_000_000), EndReason::Horizon);
    world
}

/// When something with this text in it was noted, between two seconds.
fn noted(world: &World<ClusterProcess>, text: &str, from: u64, to: u64) -> Vec<SimTime> {
    let within = |at: SimTime| at >= SimTime::ZERO + secs(from) && at < SimTime::ZERO + secs(to);
    let entries = world.log_entries().iter();
    entries.filter(|entry| within(entry.at) && entry.text.contains(text)).map(|entry| entry.at).collect()
}

fn isolate_primary() -> Fault {
    Fault::Partition {
        from: vec![Target::HostOf("primary".to_owned())],
        to: vec![Target::Others],
        direction: sim_core::Direction::Both,
    }
}

/// A renewal changes the leader key, for whose next change the others wait.
#[test]
fn loops_run_in_step_with_the_leader() {
    for mode in [SynchronousMode::Off, SynchronousMode::On, SynchronousMode::Quorum] {
        let world = run(&cluster(|plan| plan.configuration.synchronous_mode = mode), 3, None);
        assert_eq!(players(&world, "primary").len(), 1, "{}", story(&world));
        assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
        let leads = noted(&world, "the leader with the lock", 50, 100);
        let follows = noted(&world, "and following a leader", 50, 100);
        assert!((4..=6).contains(&leads.len()), "{}", story(&world));
        for lead in &leads {
            let late = |at: &&SimTime| **at >= *lead && at.since(*lead).as_millis() < 20;
            assert_eq!(follows.iter().filter(late).count(), 2, "{}", story(&world));
        }
    }
}

/// The key is gone at the first tick of the etcd leader after its end, and the polls of the others end with it.
#[test]
fn a_dead_leader_is_noticed_half_a_second_after_its_lock_expired_at_the_latest() {
    let cluster = cluster(|_| {});
    for seed in 0..5 {
        let crash = Fault::PowerOff { target: Target::HostOf("primary".to_owned()) };
        let world = run(&cluster, seed, Some((40 + seed, crash, 60)));
        let leads = noted(&world, "the leader with the lock", 0, 40 + seed);
        let renewed = *leads.last().expect("there was a leader");
        let suspected = |mark: &&Mark| mark.kind == MarkKind::Suspected && mark.at > renewed;
        let noticed = world.marks().iter().find(suspected).expect("it was noticed").at.since(renewed);
        assert!((29_950..30_550).contains(&noticed.as_millis()), "{noticed}: {}", story(&world));
    }
}

/// #308, mended by #316 in 1.2.0 (Z32): the member of etcd on its host shows a cut-off primary that it still has the lock.
#[test]
fn a_cut_off_primary_believes_its_own_member_of_etcd_before_1_2_0() {
    for (version, stays) in
        [(Version::new(1, 1, 0), true), (Version::new(1, 2, 0), false), (models::patroni::MODELLED, false)]
    {
        let cluster = cluster(|plan| {
            plan.etcd_shares_hosts = true;
            plan.configuration.version = version;
        });
        for seed in 0..5 {
            let world = run(&cluster, seed, Some((40, isolate_primary(), 65)));
            let primaries = players(&world, "primary");
            let believed = noted(&world, "still the leader by what etcd says", 40, 105);
            assert_eq!(!believed.is_empty(), stays, "{version}: {}", story(&world));
            let demoted = noted(&world, "demot", 40, 65);
            assert_eq!(demoted.is_empty(), stays, "{version}: {}", story(&world));
            assert_eq!(primaries.len(), 1, "it is over when the cut heals: {}", story(&world));
        }
    }
}

/// #1195, mended by #1245 in 1.6.1 (Z35): nobody listens at any endpoint for less than `retry_timeout`.
#[test]
fn endpoints_that_refuse_are_gone_round_until_the_budget_is_used_up() {
    for (version, demotes) in [(Version::new(1, 6, 0), true), (Version::new(1, 6, 1), false)] {
        let cluster = cluster(|plan| plan.configuration.version = version);
        let mut demoted = 0;
        for seed in 0..10 {
            let kill = Fault::Kill { target: Target::Every("etcd".to_owned()) };
            let world = run(&cluster, seed, Some((40 + seed, kill, 3)));
            demoted += usize::from(!noted(&world, "demoting self", 40, 60).is_empty());
        }
        assert_eq!(demoted > 0, demotes, "{version}: {demoted} of 10");
    }
}

/// A connection that is lost in the midst of a poll counts as a time-out: the loop runs at once, and keeps its step.
#[test]
fn a_poll_whose_member_of_etcd_ends_ends_the_nap() {
    let cluster = cluster(|_| {});
    let mut early = 0;
    for seed in 0..6 {
        let kill = Fault::Kill { target: Target::Role("etcd-follower".to_owned()) };
        let world = run(&cluster, seed, Some((45, kill, 20)));
        let at_once = noted(&world, "and following a leader", 45, 46);
        early += at_once.iter().filter(|at| at.since(SimTime::ZERO + secs(45)).as_millis() < 50).count();
        assert_eq!(players(&world, "primary").len(), 1, "{}", story(&world));
        assert!(noted(&world, "demoting self", 40, 110).is_empty(), "{}", story(&world));
    }
    assert!(early > 0, "some follower polled the member that ended");
}

/// Nobody counts keys' time in a store without a leader, and their end is an instant: when a leader is there again, they are gone, unless a
/// renewal has waited for it.
#[test]
fn keys_do_not_get_their_time_anew_from_a_new_leader_of_etcd() {
    let cluster = cluster(|_| {});
    let mut vanished = 0;
    for seed in 0..20 {
        let kill = Fault::Kill { target: Target::Every("etcd".to_owned()) };
        let world = run(&cluster, seed, Some((40, kill, 40)));
        vanished += usize::from(!noted(&world, "the leader key has vanished", 80, 84).is_empty());
        assert_eq!(players(&world, "primary").len(), 1, "{}", story(&world));
    }
    assert!(vanished > 10, "{vanished} of 20");
}

#[test]
fn a_switchover_hands_the_lock_over() {
    let cluster = cluster(|_| {});
    let command = "switchover".to_owned();
    let switch = Fault::Command { target: Target::Role("patroni-leader".to_owned()), command };
    let world = run(&cluster, 5, Some((40, switch, 1)));
    let asked = SimTime::ZERO + secs(40);
    let elected = world.marks().iter().find(|mark| mark.kind == MarkKind::Elected && mark.at > asked);
    assert!(elected.expect("somebody took over").at.since(asked) < secs(10), "{}", story(&world));
}
