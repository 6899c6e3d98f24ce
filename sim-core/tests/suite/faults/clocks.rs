//! Clock faults. The arithmetic of clocks has its tests where it is written; here, what faults make of it.

use sim_core::{Fault, ScheduledFault, SimDuration, Target};

use super::probe::{MS, SECOND, Spec, at, during, heard, host, run, tells, when};

fn offset(millis: i64) -> Fault {
    Fault::ClockOffset { target: host(0), millis }
}

/// How far the wall clock of the first of two hosts is ahead of that of the second at this time, in milliseconds.
fn ahead(mut faults: Vec<ScheduledFault>, when: SimDuration) -> i64 {
    let read = Fault::Command { target: Target::Every("probe".into()), command: "clock".into() };
    faults.push(at(when, read));
    let world = run(vec![Spec::default(), Spec::default()], faults, when + MS);
    let [first, second] = [0, 1].map(|index| {
        let (_, text) = heard(&world, index).pop().expect("it was told to read its clock");
        text.strip_prefix("wall ").and_then(|millis| millis.parse::<i64>().ok()).expect("it read its clock")
    });
    first - second
}

#[test]
fn an_offset_lasts_as_long_as_its_fault_and_offsets_add_up() {
    let faults = || {
        vec![
            during(SimDuration::ZERO, SECOND * 10, offset(-30_000)),
            during(SECOND * 5, SECOND * 10, offset(7_000)),
        ]
    };
    for (until, expected) in [(1, -30_000), (6, -23_000), (11, 7_000), (16, 0)] {
        assert_eq!(ahead(faults(), SECOND * until), expected, "after {until} s");
    }
}

#[test]
fn an_offset_survives_a_reboot_and_a_step_outlives_an_offset() {
    let off = during(SECOND * 2, SECOND, Fault::PowerOff { target: host(0) });
    let step = at(SECOND * 4, Fault::ClockStep { target: host(0), millis: 500 });
    let faults = || vec![during(SECOND, SECOND * 9, offset(60_000)), off.clone(), step.clone()];
    assert_eq!(ahead(faults(), SECOND * 5), 60_500);
    assert_eq!(ahead(faults(), SECOND * 11), 500);
}

#[test]
fn an_offset_moves_no_timer() {
    let specs = || vec![tells(1, MS * 100), Spec::default()];
    let world = run(specs(), vec![during(MS * 250, SECOND, offset(3_600_000))], SECOND * 2);
    assert_eq!(when(&world, 1, ""), when(&run(specs(), vec![], SECOND * 2), 1, ""));
}

#[test]
fn overlapping_drifts_end_in_any_order_even_beyond_what_a_clock_can_do() {
    let drift = |ppm| Fault::ClockDrift { target: host(0), ppm };
    let faults = |first, second| {
        vec![during(SECOND, SECOND * first, drift(800_000)), during(SECOND, SECOND * second, drift(700_000))]
    };
    for (first, second) in [(1, 2), (2, 1)] {
        let drifted = ahead(faults(first, second), SECOND * 4);
        assert_eq!(ahead(faults(first, second), SECOND * 9), drifted, "runs true again");
    }
}
