//! What the clients felt: silences between successful writes.
//!
//! The time line is that of all successful writes of all clients ([`Successes`]), each at the instant when its client learned
//! of it. A write answered with a warning is a success here: the system served, even if it promised less. Where clients feel their reads
//! ([`ReadsOf`](super::ReadsOf)), those take the place of writes.
//!
//! Clients that the caller leaves out ([`MeasureOptions::clients`]) do not count: one that sits beside a cut-off primary
//! may be served all the time while everybody else waits.
//!
//! - A *gap* is the time from one success to the next. This is the calibration's `unavail`: first acknowledgement
//!   after the fault minus last acknowledgement before it.
//! - An *outage* is a gap longer than the threshold in which somebody was kept waiting: some write failed, went
//!   unanswered, or took longer than the threshold. A pause of the clients is no outage.
//! - Before the first success the clock does not run, because a cluster that is still starting is not out of service.
//!   A run without any success is one outage from its first write to its end.
//! - A run that ends within an outage has not recovered. Its outage is longer than what was seen, so it is none
//!   here (censored) and [`Availability::outage_at_least`] says how much was seen.

use serde::Serialize;
use sim_core::{MarkKind, Operation, Outcome, Record, SimDuration, SimTime};

use super::MeasureOptions;
use super::successes::{Successes, felt, is_success};

/// What the clients felt.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Availability {
    /// The length of all outages together, including one that the end of the run cut off.
    #[serde(rename = "unavailable_s", serialize_with = "crate::seconds::number")]
    pub unavailable: SimDuration,
    /// The longest outage: zero when there was none, none when the run had not recovered at its end.
    #[serde(rename = "outage_s", serialize_with = "crate::seconds::number_or_null")]
    pub outage: Option<SimDuration>,
    /// The longest outage as far as it was seen; equals `outage` in a run that recovered.
    #[serde(rename = "outage_at_least_s", serialize_with = "crate::seconds::number")]
    pub outage_at_least: SimDuration,
    /// How many outages there were.
    pub outage_count: u64,
    /// The longest gap that ended after the fault, however short; the quantity to compare with a measured `unavail`.
    /// None without a fault, without a success before or after it, or when the run had not recovered.
    #[serde(rename = "failover_gap_s", serialize_with = "crate::seconds::number_or_null")]
    pub failover_gap: Option<SimDuration>,
    /// From the end of the last fault (or from when it struck, if it stays) to the end of the last outage: zero when none
    /// was left or came later, none when the run had not recovered.
    #[serde(rename = "converged_after_s", serialize_with = "crate::seconds::number_or_null")]
    pub converged_after: Option<SimDuration>,
    /// True when a write succeeded after the last fault had ended (or struck, if it lasts) and the run did not end
    /// within an outage.
    pub recovered: bool,
}

/// Measures the silences of a run. `fault` is the instant from which `failover_gap` counts.
pub fn availability(
    record: &Record,
    successes: &Successes,
    fault: Option<SimTime>,
    options: &MeasureOptions,
) -> Availability {
    let threshold = options.outage_threshold;
    let end = options.observed_until.map_or(record.ended_at, |until| until.min(record.ended_at));
    let successes = successes.instants();
    let mut availability = Availability::default();
    let mut gap_after_fault = None;
    let mut last_outage_ended = SimTime::ZERO;
    for pair in successes.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = to.since(from);
        if fault.is_some_and(|fault| to > fault) {
            gap_after_fault = gap_after_fault.max(Some(length));
        }
        if length > threshold && somebody_waited(record, options, from, to) {
            add_outage(&mut availability, length);
            last_outage_ended = to;
        }
    }
    let open_since = successes.last().copied().or_else(|| first_write(record, options));
    let cut_off = open_since
        .filter(|from| end.since(*from) > threshold && somebody_waited(record, options, *from, end));
    if let Some(from) = cut_off {
        add_outage(&mut availability, end.since(from));
    }
    let last_change = record
        .marks
        .iter()
        .rfind(|mark| matches!(mark.kind, MarkKind::Fault | MarkKind::FaultEnded))
        .map_or(SimTime::ZERO, |mark| mark.at);
    availability.recovered = cut_off.is_none() && successes.last().is_some_and(|last| *last > last_change);
    if availability.recovered {
        availability.outage = Some(availability.outage_at_least);
        availability.failover_gap = gap_after_fault;
        let converged_at = last_outage_ended.max(last_change);
        availability.converged_after = Some(converged_at.since(last_change));
    }
    availability
}

fn add_outage(availability: &mut Availability, length: SimDuration) {
    availability.unavailable += length;
    availability.outage_count += 1;
    availability.outage_at_least = availability.outage_at_least.max(length);
}

fn first_write(record: &Record, options: &MeasureOptions) -> Option<SimTime> {
    felt(&record.operations, options).next().map(|write| write.invoked)
}

/// True when a write was in flight in `from..to` and was not served within the threshold.
fn somebody_waited(record: &Record, options: &MeasureOptions, from: SimTime, to: SimTime) -> bool {
    // Who waited was mostly among the last to ask.
    let asked_before = record.operations.partition_point(|operation| operation.invoked < to);
    felt(&record.operations[..asked_before], options).rev().any(|write| {
        let completed = write.completed.unwrap_or(record.ended_at);
        let in_flight = completed > from;
        in_flight && (!is_served(write) || completed.since(write.invoked) > options.outage_threshold)
    })
}

/// A write that the end of the run cut off is not held against the system, unless it had waited too long.
fn is_served(write: &Operation) -> bool {
    is_success(write) || write.outcome == Outcome::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{Script, at};

    fn availability(record: &Record, fault: Option<SimTime>, options: &MeasureOptions) -> Availability {
        super::availability(record, &Successes::of(record, options), fault, options)
    }

    fn seconds(millis: u64) -> SimDuration {
        SimDuration::from_millis(millis)
    }

    #[test]
    fn an_outage_runs_from_the_last_success_to_the_next() {
        // Last acknowledgement before the fault at 1.9 s, first after it at 12.1 s.
        let record = Script::new(20_000)
            .write(1_000, 1_050, Outcome::Ok, 0)
            .write(1_850, 1_900, Outcome::Ok, 0)
            .fault(2_000)
            .failure(1_950, 4_950)
            .failure(5_000, 12_000)
            .write(12_050, 12_100, Outcome::Ok, 1)
            .write(12_150, 12_200, Outcome::OkWithWarning, 1)
            .record();
        let found = availability(&record, Some(at(2_000)), &MeasureOptions::default());
        assert_eq!(
            found,
            Availability {
                unavailable: seconds(10_200),
                outage: Some(seconds(10_200)),
                outage_at_least: seconds(10_200),
                outage_count: 1,
                failover_gap: Some(seconds(10_200)),
                converged_after: Some(seconds(10_100)),
                recovered: true,
            }
        );
    }

    #[test]
    fn a_pause_of_the_clients_is_no_outage_and_a_slow_write_is() {
        let paused = Script::new(20_000)
            .write(1_000, 1_050, Outcome::Ok, 0)
            .write(9_000, 9_050, Outcome::Ok, 0)
            .record();
        let found = availability(&paused, None, &MeasureOptions::default());
        assert_eq!((found.unavailable, found.outage), (SimDuration::ZERO, Some(SimDuration::ZERO)));
        assert!(found.recovered && found.failover_gap.is_none());
        let slow = Script::new(20_000)
            .write(1_000, 1_050, Outcome::Ok, 0)
            .write(1_100, 9_050, Outcome::Ok, 0)
            .record();
        assert_eq!(availability(&slow, None, &MeasureOptions::default()).unavailable, seconds(8_000));
    }

    #[test]
    fn outages_add_up_and_the_longest_is_named() {
        let record = Script::new(20_000)
            .fault(500)
            .write(1_000, 1_000, Outcome::Ok, 0)
            .failure(1_100, 2_000)
            .write(3_000, 3_000, Outcome::Ok, 0)
            .failure(3_100, 4_000)
            .write(6_000, 6_000, Outcome::Ok, 0)
            .record();
        let found = availability(&record, Some(at(500)), &MeasureOptions::default());
        assert_eq!(
            (found.unavailable, found.outage, found.outage_count),
            (seconds(5_000), Some(seconds(3_000)), 2)
        );
    }

    #[test]
    fn a_run_that_ends_within_an_outage_is_censored() {
        for record in [
            Script::new(20_000).write(1_000, 2_000, Outcome::Ok, 0).fault(1_999).pending(2_100).record(),
            Script::new(20_000)
                .write(1_000, 2_000, Outcome::Ok, 0)
                .fault(2_000)
                .failure(2_100, 2_200)
                .record(),
        ] {
            let found = availability(&record, Some(at(1_999)), &MeasureOptions::default());
            assert!(!found.recovered);
            assert_eq!((found.outage, found.failover_gap), (None, None));
            assert_eq!((found.outage_at_least, found.unavailable), (seconds(18_000), seconds(18_000)));
        }
    }

    #[test]
    fn convergence_counts_from_the_last_fault_to_the_end_of_the_last_outage() {
        let faults_end_at = |end| {
            Script::new(30_000)
                .write(1_000, 1_000, Outcome::Ok, 0)
                .fault(1_500)
                .failure(2_000, 4_000)
                .write(9_000, 9_000, Outcome::Ok, 0)
                .mark(end, MarkKind::FaultEnded, 0, 0)
                .write(19_000, 19_001, Outcome::Ok, 0)
                .record()
        };
        for (end, expected) in [(6_000, 3_000), (9_000, 0), (12_000, 0)] {
            let found = availability(&faults_end_at(end), Some(at(1_500)), &MeasureOptions::default());
            assert_eq!(found.converged_after, Some(seconds(expected)), "the last fault ended at {end} ms");
        }
    }

    #[test]
    fn no_success_at_all_is_one_outage_from_the_first_write() {
        let record = Script::new(20_000).failure(5_000, 6_000).pending(6_100).record();
        let found = availability(&record, None, &MeasureOptions::default());
        assert_eq!((found.outage_at_least, found.outage, found.recovered), (seconds(15_000), None, false));
    }

    #[test]
    fn a_success_must_follow_the_end_of_the_last_fault() {
        let record = Script::new(20_000)
            .write(1_000, 2_000, Outcome::Ok, 0)
            .fault(3_000)
            .mark(19_900, MarkKind::FaultEnded, 0, 0)
            .record();
        assert!(!availability(&record, Some(at(3_000)), &MeasureOptions::default()).recovered);
    }

    #[test]
    fn a_write_cut_off_by_the_end_is_not_held_against_the_system() {
        let record = Script::new(20_000).write(1_000, 2_000, Outcome::Ok, 0).pending(19_900).record();
        assert!(availability(&record, None, &MeasureOptions::default()).recovered);
    }
}
