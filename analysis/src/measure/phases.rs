//! Where the time of a failover went: detect, elect, promote, reroute.
//!
//! The milestones, each the first of its kind at or after the one before it:
//!
//! | milestone | mark | ends the phase |
//! |---|---|---|
//! | fault | `Fault`, or the instant given by the caller | |
//! | suspected | `Suspected` | detect |
//! | elected | `Elected` | elect |
//! | writable | `Writable` of any process | promote |
//! | served | success of a write answered by that process | reroute |
//!
//! The first `Writable` after the fault closes the search for the two milestones before it: what happens later belongs
//! to another failover. A milestone without its mark has no phase, and its time belongs to the next phase, so the phases
//! always add up to [`Phases::whole`]. A switchover, for instance, suspects nobody: `detect` is none and `elect` starts
//! at the fault.
//!
//! When neither suspicion nor election came before `Writable`, the old primary came back by itself (restart in place);
//! then [`Phases::in_place`] is true and `detect` is the time from the fault to `Writable`.
//!
//! `reroute` ends with the first success that the new primary itself answered. An answer by a process that never was
//! writable (a proxy), or by nobody known, counts for the new primary, because it cannot be told apart.
//!
//! In a run with several faults these are the phases of the first one.

use serde::Serialize;
use sim_core::{Mark, MarkKind, Operation, ProcessId, Record, SimDuration, SimTime};

use super::MeasureOptions;
use super::successes::{felt, is_success};

/// The lengths of the phases of one failover; none where the phase did not happen or did not end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Phases {
    /// From the fault to the first suspicion; in place, to the primary's return.
    #[serde(rename = "detect_s", serialize_with = "crate::seconds::number_or_null")]
    pub detect: Option<SimDuration>,
    /// To the choice of a new leader.
    #[serde(rename = "elect_s", serialize_with = "crate::seconds::number_or_null")]
    pub elect: Option<SimDuration>,
    /// To the first process that accepts writes.
    #[serde(rename = "promote_s", serialize_with = "crate::seconds::number_or_null")]
    pub promote: Option<SimDuration>,
    /// To the first success that it served.
    #[serde(rename = "reroute_s", serialize_with = "crate::seconds::number_or_null")]
    pub reroute: Option<SimDuration>,
    /// From the fault to the first success that the new primary served: the sum of the phases. None when the
    /// failover was not completed.
    #[serde(rename = "whole_s", serialize_with = "crate::seconds::number_or_null")]
    pub whole: Option<SimDuration>,
    /// True when the old primary returned without suspicion or election.
    pub in_place: bool,
    /// The process that accepted writes first after the fault.
    pub new_primary: Option<ProcessId>,
}

/// The phases after the instant `fault`.
pub fn phases(record: &Record, fault: SimTime, options: &MeasureOptions) -> Phases {
    let writable = find(record, options, MarkKind::Writable, fault, SimTime::NEVER);
    let limit = writable.map_or(SimTime::NEVER, |mark| mark.at);
    let suspected = find(record, options, MarkKind::Suspected, fault, limit).map(|mark| mark.at);
    let search_from = suspected.unwrap_or(fault);
    let elected = find(record, options, MarkKind::Elected, search_from, limit).map(|mark| mark.at);
    let new_primary = writable.and_then(|mark| mark.process);
    let served = new_primary.and_then(|primary| first_served(record, options, primary, limit));

    let in_place = writable.is_some() && suspected.is_none() && elected.is_none();
    let mut previous = fault;
    let mut phase = |milestone: Option<SimTime>| {
        let at = milestone?;
        let length = at.since(previous);
        previous = at;
        Some(length)
    };
    let detect = phase(if in_place { writable.map(|mark| mark.at) } else { suspected });
    let elect = phase(elected);
    let promote = phase(writable.filter(|_| !in_place).map(|mark| mark.at));
    let reroute = phase(served);
    Phases {
        detect,
        elect,
        promote,
        reroute,
        whole: served.map(|served| served.since(fault)),
        in_place,
        new_primary,
    }
}

fn find<'a>(
    record: &'a Record,
    options: &MeasureOptions,
    kind: MarkKind,
    from: SimTime,
    to: SimTime,
) -> Option<&'a Mark> {
    record.marks.iter().find(|mark| {
        mark.kind == kind
            && from <= mark.at
            && mark.at <= to
            && mark.process.is_none_or(|process| options.includes(process))
    })
}

/// When a client first learned of a success of the new primary, after it became writable.
fn first_served(
    record: &Record,
    options: &MeasureOptions,
    primary: ProcessId,
    writable_at: SimTime,
) -> Option<SimTime> {
    let others: Vec<ProcessId> = record
        .marks
        .iter()
        .filter(|mark| mark.kind == MarkKind::Writable)
        .filter_map(|mark| mark.process)
        .filter(|process| *process != primary)
        .collect();
    let is_served = |write: &&Operation| {
        is_success(write) && write.served_by.is_none_or(|server| !others.contains(&server))
    };
    felt(&record.operations, options)
        .filter(is_served)
        .filter_map(|write| write.completed)
        .filter(|completed| *completed >= writable_at)
        .min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sim_core::Outcome;

    use super::*;
    use crate::measure::testing::{Script, at, process};

    #[allow(clippy::unnecessary_wraps, reason = "the form in which phases are compared")]
    fn millis(millis: u64) -> Option<SimDuration> {
        Some(SimDuration::from_millis(millis))
    }

    fn run(script: Script) -> Phases {
        phases(&script.record(), at(2_000), &MeasureOptions::default())
    }

    #[test]
    fn a_full_failover_has_four_phases_that_add_up() {
        let found = run(Script::new(60_000)
            .mark(0, MarkKind::Elected, 0, 1)
            .mark(0, MarkKind::Writable, 0, 1)
            .fault(2_000)
            .mark(27_000, MarkKind::Suspected, 1, 0)
            .mark(27_500, MarkKind::Suspected, 2, 0)
            .mark(28_000, MarkKind::Elected, 1, 2)
            .mark(29_000, MarkKind::Writable, 1, 2)
            .mark(40_000, MarkKind::Elected, 2, 3)
            .write(26_000, 29_200, Outcome::Ok, 0)
            .write(29_000, 29_400, Outcome::Ok, 1));
        assert_eq!(
            found,
            Phases {
                detect: millis(25_000),
                elect: millis(1_000),
                promote: millis(1_000),
                reroute: millis(400),
                whole: millis(27_400),
                in_place: false,
                new_primary: Some(process(1)),
            }
        );
    }

    #[test]
    fn a_restart_in_place_is_all_detection() {
        let found = run(Script::new(60_000)
            .mark(0, MarkKind::Writable, 0, 1)
            .fault(2_000)
            .mark(5_000, MarkKind::Writable, 0, 1)
            .mark(30_000, MarkKind::Suspected, 1, 0)
            .write(5_000, 5_100, Outcome::Ok, 0));
        assert!(found.in_place);
        assert_eq!((found.detect, found.elect, found.promote), (millis(3_000), None, None));
        assert_eq!((found.reroute, found.whole), (millis(100), millis(3_100)));
    }

    #[test]
    fn a_missing_mark_gives_its_time_to_the_next_phase() {
        let found = run(Script::new(60_000)
            .fault(2_000)
            .mark(3_000, MarkKind::Elected, 1, 2)
            .mark(5_000, MarkKind::Writable, 1, 2)
            .write(5_000, 5_500, Outcome::Ok, 77));
        assert_eq!((found.detect, found.elect, found.promote), (None, millis(1_000), millis(2_000)));
        assert_eq!((found.reroute, found.whole), (millis(500), millis(3_500)));
    }

    #[test]
    fn what_never_happened_is_none() {
        let found = run(Script::new(60_000).fault(2_000).mark(4_000, MarkKind::Suspected, 1, 0));
        assert_eq!((found.detect, found.elect, found.whole), (millis(2_000), None, None));
        assert!(!found.in_place);
        assert_eq!(run(Script::new(60_000).fault(2_000)), Phases::default());
    }

    #[test]
    fn marks_of_other_systems_do_not_count() {
        let record = Script::new(60_000)
            .fault(2_000)
            .mark(2_500, MarkKind::Elected, 9, 2)
            .mark(3_000, MarkKind::Elected, 1, 2)
            .mark(5_000, MarkKind::Writable, 1, 2)
            .record();
        let options =
            MeasureOptions { members: Some(vec![process(0), process(1)]), ..MeasureOptions::default() };
        assert_eq!(phases(&record, at(2_000), &options).elect, millis(1_000));
    }

    proptest! {
        /// Whatever marks a run leaves, its phases add up to the whole.
        #[test]
        fn the_phases_add_up(marks in prop::collection::vec((0_u64..100, 0_usize..4, 0_usize..3), 0..12), served in 0_u64..200) {
            const KINDS: [MarkKind; 4] = [MarkKind::Suspected, MarkKind::Elected, MarkKind::Writable, MarkKind::ReadOnly];
            let mut marks = marks;
            marks.sort_unstable();
            let mut script = Script::new(300);
            for (millis, kind, index) in marks {
                script = script.mark(millis, KINDS[kind], index, 1);
            }
            for server in 0..3 {
                script = script.write(0, served + server as u64, Outcome::Ok, server);
            }
            let found = phases(&script.record(), at(10), &MeasureOptions::default());
            let parts = [found.detect, found.elect, found.promote, found.reroute];
            if let Some(whole) = found.whole {
                prop_assert_eq!(parts.into_iter().flatten().sum::<SimDuration>(), whole);
            }
            prop_assert!(!found.in_place || found.elect.or(found.promote).is_none());
        }
    }
}
