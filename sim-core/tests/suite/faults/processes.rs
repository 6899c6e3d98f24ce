//! Faults of processes and of hosts as wholes.

use sim_core::{
    Distribution, Fault, LinkQuality, MarkKind, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, Target, Topology, Trigger, WorldBuilder,
};

use super::probe::{
    MS, Numbers, SECOND, Spec, at, calls, during, heard, host, marked, numbers, process, run, tells, when,
};

fn restart(target: Target, delay: SimDuration, stagger: SimDuration) -> Fault {
    Fault::Restart { target, delay, stagger }
}

#[test]
fn a_restart_is_a_kill_and_a_start_and_keeps_the_volume() {
    let specs = || vec![calls(1, MS * 100), Spec { stores: true, ..Spec::default() }];
    for (delay, started) in [(SimDuration::ZERO, 315), (MS * 400, 715)] {
        let fault = at(MS * 315, restart(process(1), delay, SimDuration::ZERO));
        let world = run(specs(), vec![fault], SECOND);
        assert_eq!(marked(&world, 1, MarkKind::Stopped), [315]);
        assert_eq!(marked(&world, 1, MarkKind::Started), [0, started]);
        assert_eq!(when(&world, 0, "Closed"), [325], "the kernel closes the connections");
        let kept: Vec<String> = heard(&world, 1).into_iter().map(|(_, text)| text).collect();
        assert_eq!(kept, ["kept 1", "kept 2", "kept 3"]);
    }
}

#[test]
fn a_rolling_restart_takes_one_process_after_another() {
    let all = Target::Every("probe".into());
    let fault = at(SECOND, restart(all, MS * 500, SECOND * 2));
    let world = run(vec![Spec::default(); 3], vec![fault], SECOND * 10);
    for (index, stopped) in [(0, 1_000), (1, 3_000), (2, 5_000)] {
        assert_eq!(marked(&world, index, MarkKind::Stopped), [stopped]);
        assert_eq!(marked(&world, index, MarkKind::Started), [0, stopped + 500]);
    }
}

/// Operators act in sequence: the next restart comes so long after the one before fired.
#[test]
fn restarts_can_follow_each_other_by_trigger() {
    let first = at(SECOND, restart(process(0), SimDuration::ZERO, SimDuration::ZERO));
    let second = ScheduledFault {
        trigger: Trigger::AfterFault { fault: 0, delay: SECOND },
        fault: restart(process(1), SimDuration::ZERO, SimDuration::ZERO),
        lasts: None,
    };
    let world = run(vec![Spec::default(); 2], vec![first, second], SECOND * 3);
    assert_eq!(marked(&world, 0, MarkKind::Started), [0, 1_000]);
    assert_eq!(marked(&world, 1, MarkKind::Started), [0, 2_000]);
}

#[test]
fn a_wipe_empties_the_volume_and_starts_again() {
    let specs = || vec![calls(1, MS * 100), Spec { stores: true, ..Spec::default() }];
    for (target, delay, started) in [(process(1), SimDuration::ZERO, 315), (host(1), MS * 100, 415)] {
        let world = run(specs(), vec![at(MS * 315, Fault::Wipe { target, delay })], SECOND);
        assert_eq!(marked(&world, 1, MarkKind::Started), [0, started]);
        assert_eq!(heard(&world, 1), [], "nothing is kept");
        assert_eq!(when(&world, 0, "Closed"), [325]);
    }
}

/// As Patroni and PostgreSQL share a data directory: one host, one volume, the second process started by the first.
#[test]
fn a_wipe_takes_the_volume_from_everybody_who_mounts_it() {
    let (mut topology, zone) = Topology::single_zone(&LinkQuality::reliable(Distribution::Constant(MS)));
    let only = topology.add_host(zone, "h0");
    let mut builder = WorldBuilder::new(topology);
    let volume = builder.add_volume(only, Numbers::default(), &Distribution::Constant(MS));
    for (name, starts_with_host) in [("p0", true), ("p1", false), ("p2", true)] {
        let spec = Spec::default();
        builder.add_process(ProcessOptions { name: name.into(), host: only, volume, starts_with_host, spec });
    }
    let mut world = builder.build(Seed(1));
    let wipe = at(SECOND, Fault::Wipe { target: process(2), delay: SimDuration::ZERO });
    let start = at(MS * 500, restart(process(1), SimDuration::ZERO, SimDuration::ZERO));
    world.schedule(&Schedule(vec![start, wipe])).unwrap();
    world.run(SimTime::ZERO + SECOND * 2, u64::MAX);
    assert_eq!(marked(&world, 0, MarkKind::Started), [0, 1_000]);
    assert_eq!(marked(&world, 1, MarkKind::Stopped), [1_000], "it is left to the process that starts it");
    assert_eq!(marked(&world, 1, MarkKind::Started), [500]);
    assert_eq!(marked(&world, 2, MarkKind::Started), [0, 1_000]);
}

fn slow(target: Target, millis: u32) -> Fault {
    Fault::Slow { target, service: MS, factor: millis }
}

#[test]
fn inputs_queue_up_behind_a_slow_process_and_are_worked_off_when_it_recovers() {
    let specs = vec![tells(1, MS * 5), Spec::default()];
    let world = run(specs, vec![during(MS * 100, MS * 200, slow(host(1), 20))], SECOND);
    let during: Vec<u64> = when(&world, 1, "").into_iter().filter(|at| (100..300).contains(at)).collect();
    // The packet that arrives with the fault comes first in the queue; then one every 20 ms.
    assert_eq!(during, [120, 140, 160, 180, 200, 220, 240, 260, 280]);
    let at_once = when(&world, 1, "").into_iter().filter(|at| *at == 300).count();
    // 40 packets arrived, from 100 ms on; the one of the last instant may come before or after the end.
    assert!((31..=33).contains(&at_once), "{at_once} of 41 were left");
    let all = numbers(&world, 1);
    assert_eq!(all, (1..=all.len() as u32).collect::<Vec<_>>(), "nothing is lost, nothing overtakes");
}

#[test]
fn slow_downs_add_up_and_end_in_any_order() {
    for lengths in [[MS * 300, MS * 100], [MS * 100, MS * 300]] {
        let faults = [10, 30]
            .into_iter()
            .zip(lengths)
            .map(|(millis, lasts)| during(MS * 100, lasts, slow(host(1), millis)))
            .collect();
        let world = run(vec![tells(1, MS * 50), Spec::default()], faults, SECOND);
        // The packet of 100 ms arrives at 110 ms and meets both.
        let last = if lengths[0] > lengths[1] { 10 } else { 30 };
        let arrivals = when(&world, 1, "");
        assert_eq!(arrivals[1..4], [150, 200, 210 + last], "sum of both at first, then one: {arrivals:?}");
        assert!(arrivals.contains(&410) && arrivals.contains(&460), "then none: {arrivals:?}");
    }
}

#[test]
fn a_new_life_on_a_slow_host_is_slow_and_on_another_host_nobody_is() {
    let specs = vec![tells(1, MS * 100), Spec::default(), tells(3, MS * 100), Spec::default()];
    let faults = vec![
        during(MS * 50, SECOND, slow(host(1), 40)),
        at(MS * 120, restart(process(1), SimDuration::ZERO, SimDuration::ZERO)),
    ];
    let world = run(specs, faults, MS * 500);
    assert_eq!(when(&world, 1, ""), [250, 350, 450]);
    assert_eq!(when(&world, 3, ""), [110, 210, 310, 410]);
}

/// A failure detector is re-armed by what waits before its time-out in the queue: an event loop that works off its
/// sockets first does not fire a timer that was moved meanwhile. The same when a paused process goes on.
#[test]
fn a_timer_that_is_moved_while_it_waits_in_line_does_not_fire() {
    let detector = || Spec { patience: Some(MS * 150), ..Spec::default() };
    for fault in [slow(host(1), 60), Fault::Pause { target: process(1) }, Fault::Freeze { target: host(1) }] {
        let world =
            run(vec![tells(1, MS * 100), detector()], vec![during(MS * 205, MS * 600, fault)], SECOND);
        assert_eq!(when(&world, 1, "gave up"), [], "packets came all the time");
    }
    let silent = run(vec![tells(1, MS * 400), detector()], vec![], SECOND);
    assert_eq!(when(&silent, 1, "gave up"), [560, 960], "it does fire when nothing comes");
}

#[test]
fn a_process_that_two_kills_hold_down_starts_when_the_last_ends() {
    let kill = || Fault::Kill { target: process(0) };
    for faults in [
        vec![during(SECOND, SECOND * 2, kill()), during(SECOND * 2, SECOND * 4, kill())],
        vec![during(SECOND, SECOND * 5, kill()), during(SECOND * 2, SECOND, kill())],
    ] {
        let world = run(vec![Spec::default()], faults, SECOND * 10);
        assert_eq!(marked(&world, 0, MarkKind::Stopped), [1_000]);
        assert_eq!(marked(&world, 0, MarkKind::Started), [0, 6_000]);
    }
}

#[test]
fn a_host_that_two_outages_hit_boots_when_the_last_ends() {
    let off = |target: Target| Fault::PowerOff { target };
    for faults in [
        vec![
            during(SECOND, SECOND * 2, off(host(0))),
            during(SECOND * 2, SECOND * 4, off(Target::Zone("z0".into()))),
        ],
        vec![
            during(SECOND, SECOND * 5, off(Target::Zone("z0".into()))),
            during(SECOND * 2, SECOND, off(host(0))),
        ],
    ] {
        let world = run(vec![Spec::default()], faults, SECOND * 10);
        assert_eq!(marked(&world, 0, MarkKind::Stopped), [1_000]);
        assert_eq!(marked(&world, 0, MarkKind::Started), [0, 6_000]);
    }
}

#[test]
fn a_zone_and_a_region_go_down_as_wholes() {
    for (target, hit) in [(Target::Zone("z1".into()), 2..4), (Target::Region("r0".into()), 0..4)] {
        let outage = during(SECOND, SECOND, Fault::PowerOff { target });
        let world = run(vec![Spec::default(); 6], vec![outage], SECOND * 3);
        for index in 0..6 {
            let expected: &[u64] = if hit.contains(&index) { &[0, 2_000] } else { &[0] };
            assert_eq!(marked(&world, index, MarkKind::Started), expected, "p{index}");
        }
        let delivered: Vec<usize> =
            world.delivered_faults()[0].processes.iter().map(|process| process.index()).collect();
        assert_eq!(delivered, hit.collect::<Vec<_>>());
    }
}

#[test]
fn a_new_life_is_not_paused_and_a_pause_of_the_dead_misses() {
    let kill = during(SECOND, SECOND, Fault::Kill { target: process(1) });
    let pause = |from: SimDuration| during(from, SECOND * 5, Fault::Pause { target: process(1) });
    for (from, hits) in [(MS * 500, 1), (MS * 1_500, 0)] {
        let world =
            run(vec![tells(1, MS * 100), Spec::default()], vec![kill.clone(), pause(from)], SECOND * 4);
        assert_eq!(when(&world, 1, "").first(), Some(&2_010), "it hears from its start on");
        let pause = world.delivered_faults().iter().find(|fault| fault.kind == "pause").unwrap();
        assert_eq!(pause.processes.len(), hits);
    }
}

#[test]
fn what_is_asked_of_a_frozen_machine_happens_when_it_goes_on() {
    let freeze = || during(SECOND, SECOND * 3, Fault::Freeze { target: host(0) });
    let restart = at(SECOND * 2, restart(process(0), SimDuration::ZERO, SimDuration::ZERO));
    let world = run(vec![Spec::default()], vec![freeze(), restart], SECOND * 10);
    assert_eq!(marked(&world, 0, MarkKind::Stopped), [4_000]);
    assert_eq!(marked(&world, 0, MarkKind::Started), [0, 4_000]);

    let off = during(SECOND * 2, SECOND, Fault::PowerOff { target: host(0) });
    let world = run(vec![Spec::default()], vec![freeze(), off], SECOND * 10);
    assert_eq!(marked(&world, 0, MarkKind::Stopped), [2_000], "power goes at once");
    assert_eq!(marked(&world, 0, MarkKind::Started), [0, 4_000], "and the boot waits");
}

#[test]
fn commands_reach_processes_and_unknown_ones_are_noted() {
    let command = |words: &str| Fault::Command { target: process(0), command: words.into() };
    let world = run(
        vec![Spec::default()],
        vec![at(SECOND, command("listen")), at(SECOND, command("sing"))],
        SECOND * 2,
    );
    assert_eq!(when(&world, 0, "told to listen"), [1_000]);
    let accepted: Vec<bool> = world.delivered_faults().iter().map(|fault| fault.accepted).collect();
    assert_eq!(accepted, [true, false]);
    assert_eq!(world.delivered_faults()[0].processes, [ProcessId::from_index(0)]);
}
