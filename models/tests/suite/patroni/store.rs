//! Leaders that do not reach etcd, with and without failsafe mode.

use models::patroni::{Configuration, Node};
use sim_core::{Direction, Fault, MarkKind, ScheduledFault, SimDuration, Target, Trigger, World};

use super::script::{
    assert_within, cluster, fault_at, host_of, last_tick, marks, players, role, run, run_with, secs, story,
};

/// Fidelity specification, 3.4: 3.33 + 5 x 1.67 s for three silent endpoints, from the beginning of the cycle, and 38 to 57 ms for the questions about archiving.
#[test]
fn a_leader_without_etcd_stops_its_server_when_the_budget_of_a_renewal_is_used_up() {
    let at = secs(62);
    let fault = Fault::Partition {
        from: vec![role("patroni-leader")],
        to: vec![Target::Every("etcd".to_owned())],
        direction: Direction::Both,
    };
    for seed in 1..=5 {
        let world = run_with(Configuration::default(), seed, at, fault.clone(), Some(secs(60)));
        let tick = last_tick(&world, at) + secs(10);
        let (stopped, old, _) = marks(&world, MarkKind::ReadOnly, at)[0];
        assert_within((at + stopped).saturating_sub(tick), 11_654, 11_700, &world);
        let (writable, new, _) = marks(&world, MarkKind::Writable, at)[0];
        assert!(writable > stopped && new != old, "{}", story(&world));
        // The former leader answers the poll, in recovery: no silent member holds up the race. Its standbys could not stream when it stopped, and
        // do so again since 5 s after that: a promotion waits for `wal_retrieve_retry_interval` after that attempt, and takes 70 to 265 ms.
        let (suspected, ..) = marks(&world, MarkKind::Suspected, at)[0];
        assert_within(suspected.saturating_sub(stopped), 8_400, 9_000, &world);
        assert_within(writable.saturating_sub(stopped), 10_070, 10_300, &world);
        assert_eq!(players(&world, "standby").len(), 2, "it follows again: {}", story(&world));
    }
}

/// Fidelity specification, 2.11: requests that arrive keep the lease alive although no answer comes back.
#[test]
fn lost_answers_keep_the_lock_for_a_whole_time_to_live_longer() {
    let at = secs(62);
    let fault = Fault::Partition {
        from: vec![role("patroni-leader")],
        to: vec![Target::Every("etcd".to_owned())],
        direction: Direction::Inbound,
    };
    let world = run_with(Configuration::default(), 1, at, fault, Some(secs(60)));
    let tick = last_tick(&world, at) + secs(10);
    let (stopped, ..) = marks(&world, MarkKind::ReadOnly, at)[0];
    assert_within((at + stopped).saturating_sub(tick), 11_654, 11_700, &world);
    let (suspected, ..) = marks(&world, MarkKind::Suspected, at)[0];
    assert_within((at + suspected).saturating_sub(tick), 30_000, 30_600, &world);
}

#[test]
fn without_any_etcd_the_leader_stops_and_leads_again_when_etcd_is_back() {
    let at = secs(62);
    let fault = Fault::Kill { target: Target::Every("etcd".to_owned()) };
    let world = run_with(Configuration::default(), 1, at, fault, Some(secs(60)));
    let (_, old, _) = marks(&world, MarkKind::ReadOnly, at)[0];
    let (writable, new, timeline) = marks(&world, MarkKind::Writable, at)[0];
    assert_eq!((old, timeline), (new, 3), "{}", story(&world));
    assert!(writable > secs(60));
}

/// Cuts the host of the primary off from etcd alone.
fn cut_from_etcd(lasts: SimDuration) -> (Fault, Option<SimDuration>) {
    let fault = Fault::Partition {
        from: vec![host_of("patroni-leader")],
        to: vec![Target::Every("etcd".to_owned())],
        direction: Direction::Both,
    };
    (fault, Some(lasts))
}

#[test]
fn in_failsafe_mode_a_primary_without_etcd_goes_on_as_long_as_everybody_agrees() {
    for seed in 1..=5 {
        let configuration = Configuration { failsafe_mode: true, ..Configuration::default() };
        let (fault, lasts) = cut_from_etcd(secs(60));
        let world = run_with(configuration, seed, secs(60), fault, lasts);
        // The lock expires after `ttl`. The others know from the primary that it goes on, and leave it be.
        assert_eq!(marks(&world, MarkKind::ReadOnly, secs(60)), [], "{}", story(&world));
        assert_eq!(marks(&world, MarkKind::Writable, secs(60)), [], "{}", story(&world));
        assert_eq!(players(&world, "primary").len(), 1);
    }
}

#[test]
fn in_failsafe_mode_a_primary_steps_down_when_one_member_is_silent() {
    for seed in 1..=5 {
        let configuration = Configuration { failsafe_mode: true, ..Configuration::default() };
        let (mut world, _) = cluster(configuration, seed);
        let (fault, lasts) = cut_from_etcd(secs(60));
        let mut schedule = fault_at(secs(60), fault, lasts);
        // A second before: its key is still there, so it is asked.
        let target = Target::Host("db-host-3".to_owned());
        let one = |target| Fault::PowerOff { target };
        let leads = |world: &World<Node>| world.name(players(world, "patroni-leader")[0]).to_owned();
        run(&mut world, secs(58));
        let silent = if leads(&world) == "patroni-3" { Target::Host("db-host-2".to_owned()) } else { target };
        schedule.0.push(ScheduledFault { trigger: Trigger::At(secs(59)), fault: one(silent), lasts: None });
        world.schedule(&schedule).expect("the targets exist");
        run(&mut world, secs(110));
        assert_eq!(marks(&world, MarkKind::ReadOnly, secs(60)).len(), 1, "{}", story(&world));
    }
}
