//! Servers, Patronis and hosts that fail, and who leads afterwards.

use models::patroni::{Configuration, Watchdog, WatchdogMode};
use sim_core::{Fault, MarkKind, SimDuration};

use super::script::{
    MILLISECOND, assert_within, cluster, host_of, last_tick, marks, players, role, run, run_with, secs, story,
};

/// Fidelity specification, 5.1: detection takes the time to live, less the age of the last renewal, plus up to 0.5 s of
/// the lessor; the race 2.05 to 2.2 s because the dead host is silent; the promotion 70 to 210 ms.
#[test]
fn after_the_loss_of_the_primary_s_host_another_member_leads_as_the_formula_says() {
    for seed in 1..=12 {
        let at = secs(60) + MILLISECOND * (seed * 831);
        let target = host_of("patroni-leader");
        let world = run_with(Configuration::default(), seed, at, Fault::PowerOff { target }, None);
        let age = at.saturating_sub(last_tick(&world, at)).as_millis();
        let (suspected, ..) = marks(&world, MarkKind::Suspected, at)[0];
        assert_within(suspected, 30_000 - age - 10, 30_500 - age + 20, &world);
        let (elected, ..) = marks(&world, MarkKind::Elected, at)[0];
        assert_within(elected.saturating_sub(suspected), 2_050, 2_200, &world);
        let (writable, ..) = marks(&world, MarkKind::Writable, at)[0];
        assert_within(writable.saturating_sub(elected), 70, 250, &world);
        assert_within(writable, 22_000, 32_900, &world);
    }
}

#[test]
fn a_killed_server_is_restarted_in_place_by_the_leader() {
    let at = secs(62);
    let fault = Fault::Kill { target: role("primary") };
    for seed in 1..=5 {
        let world = run_with(Configuration::default(), seed, at, fault.clone(), None);
        assert_eq!(marks(&world, MarkKind::Elected, at), [], "{}", story(&world));
        let killed = marks(&world, MarkKind::Stopped, at)[0].1;
        let writable = marks(&world, MarkKind::Writable, at);
        let (after, server, timeline) = writable[0];
        assert_eq!((server, timeline, writable.len()), (killed, 2, 1));
        // Up to a loop, the spawn, the start and the end of crash recovery.
        assert_within(after, 900, 12_000, &world);
    }
}

#[test]
fn a_killed_server_is_failed_over_when_it_may_not_take_time_to_start() {
    let at = secs(62);
    let fault = Fault::Kill { target: role("primary") };
    let configuration =
        Configuration { primary_start_timeout: SimDuration::ZERO, ..Configuration::default() };
    for seed in 1..=5 {
        let world = run_with(configuration.clone(), seed, at, fault.clone(), None);
        let tick = last_tick(&world, at) + secs(10);
        let killed = marks(&world, MarkKind::Stopped, at)[0].1;
        let (after, server, _) = marks(&world, MarkKind::Writable, at)[0];
        assert_ne!(server, killed, "{}", story(&world));
        let since_tick = (at + after).saturating_sub(tick);
        assert_within(since_tick, 70, 600, &world);
    }
}

#[test]
fn a_server_without_its_patroni_stays_a_primary_until_patroni_is_back() {
    let at = secs(62);
    let fault = Fault::Kill { target: role("patroni-leader") };
    let world = run_with(Configuration::default(), 2, at, fault, Some(secs(60)));
    let (writable, new, _) = marks(&world, MarkKind::Writable, at)[0];
    assert_within(writable, 20_000, 31_000, &world);
    let stopped = marks(&world, MarkKind::Stopped, at + secs(1));
    let (after, old, _) = stopped[0];
    assert_ne!(old, new);
    // Back after 60 s, and its start of 2.9 to 7.3 s.
    assert_within(after + secs(1), 62_900, 67_400, &world);
    assert_eq!(players(&world, "primary"), [new]);
}

#[test]
fn a_watchdog_resets_the_host_of_a_frozen_patroni_before_another_member_leads() {
    let at = secs(62);
    let fault = Fault::Pause { target: role("patroni-leader") };
    let configuration = Configuration {
        watchdog: Watchdog { mode: WatchdogMode::Required, safety_margin: None, device_present: true },
        ..Configuration::default()
    };
    let world = run_with(configuration, 1, at, fault, Some(secs(60)));
    let tick = last_tick(&world, at);
    let (reset, ..) = marks(&world, MarkKind::Stopped, at)[0];
    assert_within((at + reset).saturating_sub(tick), 14_900, 15_010, &world);
    let (writable, ..) = marks(&world, MarkKind::Writable, at)[0];
    assert!(writable > reset);
}

#[test]
fn nobody_leads_when_a_watchdog_is_required_and_missing() {
    let configuration = Configuration {
        watchdog: Watchdog { mode: WatchdogMode::Required, ..Watchdog::default() },
        ..Configuration::default()
    };
    let (mut world, _) = cluster(configuration, 1);
    run(&mut world, secs(60));
    assert_eq!(marks(&world, MarkKind::Elected, secs(0)), []);
}

#[test]
fn of_equal_standbys_the_one_with_the_highest_priority_takes_over_and_one_that_may_not_never_does() {
    use models::patroni::{FailoverPriority, Tags};
    use models::postgres::MemberId;
    for seed in 1..=6 {
        for preferred in 0..3 {
            let mut configuration = Configuration::default();
            let tags = Tags { failover_priority: FailoverPriority(7), ..Tags::default() };
            configuration.member_tags.insert(MemberId(preferred), tags);
            let fault = Fault::PowerOff { target: host_of("patroni-leader") };
            let world = run_with(configuration, seed, secs(60), fault, None);
            let elected = marks(&world, MarkKind::Elected, secs(0));
            let winners: Vec<&str> = elected.iter().map(|(_, winner, _)| world.name(*winner)).collect();
            assert!(winners.contains(&&*format!("patroni-{}", preferred + 1)), "{}", story(&world));

            let mut configuration = Configuration::default();
            configuration
                .member_tags
                .insert(MemberId(preferred), Tags { nofailover: true, ..Tags::default() });
            let fault = Fault::PowerOff { target: host_of("patroni-leader") };
            let world = run_with(configuration, seed, secs(60), fault, None);
            for (_, winner, _) in marks(&world, MarkKind::Elected, secs(0)) {
                assert_ne!(world.name(winner), format!("patroni-{}", preferred + 1));
            }
        }
    }
}
