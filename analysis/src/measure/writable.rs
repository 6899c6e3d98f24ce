//! Who accepted writes, and when two did at once.
//!
//! A process accepts writes from its mark `Writable` until `ReadOnly`, `Stopped` or `Started` (a process starts
//! read-only), and not while it is paused. A paused process keeps its state, so it accepts writes again from `Resumed`
//! on unless it was told otherwise: that is the split brain that a stalled virtual machine causes.
//!
//! An *overlap* is a time in which two or more processes accept writes. That is a fault of a system with one primary,
//! and ordinary in a system with many (shards, partitions): for those, choose the members of one shard in
//! [`MeasureOptions`].

use std::collections::BTreeMap;

use serde::Serialize;
use sim_core::{Mark, MarkKind, OperationKind, ProcessId, Record, SimDuration, SimTime};

use super::MeasureOptions;

/// A time in which one process accepted writes under one term, epoch or timeline: from `from`, before `to`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct WritableInterval {
    /// Who.
    pub process: ProcessId,
    /// The term, epoch or timeline.
    pub value: u64,
    /// First instant.
    pub from: SimTime,
    /// First instant after it; the end of the run when it never ended.
    pub to: SimTime,
}

impl WritableInterval {
    /// True when the process accepted writes at this instant.
    pub fn covers(&self, at: SimTime) -> bool {
        self.from <= at && at < self.to
    }
}

/// Times in which two or more processes accepted writes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Overlap {
    /// How long, in all.
    #[serde(rename = "total_s", serialize_with = "crate::seconds::number")]
    pub total: SimDuration,
    /// Writes acknowledged in such a time by one of these processes. The instant is when the client learned it, which
    /// is one network delay after the server acknowledged.
    pub writes: u64,
    /// Of these, by a process with a lower term, epoch or timeline than another's at that instant: the writes that
    /// are about to be lost.
    pub writes_by_older: u64,
}

/// Whether one process accepts writes, mark by mark.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WritableState {
    /// Term and start of the interval that is open, if one is.
    open: Option<(u64, SimTime)>,
    /// Term under which the process will accept writes again when it resumes.
    suspended: Option<u64>,
    paused: bool,
}

impl WritableState {
    /// True while it accepts writes.
    pub(super) fn is_writable(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a mark of this process. Returns the term and the start of the interval that it ends, if it ends one.
    pub(super) fn take(&mut self, mark: &Mark) -> Option<(u64, SimTime)> {
        match mark.kind {
            MarkKind::Writable => {
                let ended = self.open.take();
                if self.paused {
                    self.suspended = Some(mark.value);
                } else {
                    self.open = Some((mark.value, mark.at));
                }
                ended
            }
            MarkKind::ReadOnly => {
                self.suspended = None;
                self.open.take()
            }
            MarkKind::Stopped | MarkKind::Started => std::mem::take(self).open,
            MarkKind::Paused => {
                self.paused = true;
                let ended = self.open.take();
                self.suspended = ended.map(|(value, _)| value).or(self.suspended);
                ended
            }
            MarkKind::Resumed => {
                self.paused = false;
                let open = self.suspended.take().map(|value| (value, mark.at));
                self.open = open.or(self.open);
                None
            }
            _ => None,
        }
    }
}

/// All intervals, in the order in which they began (then by process).
pub fn intervals(record: &Record, options: &MeasureOptions) -> Vec<WritableInterval> {
    let mut states: BTreeMap<ProcessId, WritableState> = BTreeMap::new();
    let mut intervals = Vec::new();
    for mark in &record.marks {
        let Some(process) = mark.process.filter(|process| options.includes(*process)) else {
            continue;
        };
        if let Some((value, from)) = states.entry(process).or_default().take(mark)
            && from < mark.at
        {
            intervals.push(WritableInterval { process, value, from, to: mark.at });
        }
    }
    for (process, state) in states {
        if let Some((value, from)) = state.open
            && from < record.ended_at
        {
            intervals.push(WritableInterval { process, value, from, to: record.ended_at });
        }
    }
    intervals.sort_by_key(|interval| (interval.from, interval.process, interval.to));
    intervals
}

/// The overlaps of these intervals, and the writes of the history that fall into them.
pub fn overlap(record: &Record, intervals: &[WritableInterval]) -> Overlap {
    let mut edges: Vec<(SimTime, bool)> =
        intervals.iter().flat_map(|interval| [(interval.from, true), (interval.to, false)]).collect();
    // At one instant ends sort before starts, so a handover without a gap is no overlap.
    edges.sort_unstable();
    let mut overlap = Overlap::default();
    let mut open = 0_u32;
    let mut previous = SimTime::ZERO;
    for (at, starts) in edges {
        if open >= 2 {
            overlap.total += at.since(previous);
        }
        previous = at;
        open = if starts { open + 1 } else { open - 1 };
    }
    if overlap.total > SimDuration::ZERO {
        count_writes(record, intervals, &mut overlap);
    }
    overlap
}

fn count_writes(record: &Record, intervals: &[WritableInterval], overlap: &mut Overlap) {
    for write in record
        .operations
        .iter()
        .filter(|operation| operation.kind == OperationKind::Write && operation.is_acknowledged())
    {
        let (Some(server), Some(at)) = (write.served_by, write.completed) else {
            continue;
        };
        let active = || intervals.iter().filter(|interval| interval.covers(at));
        let Some(own) = active().find(|interval| interval.process == server) else {
            continue;
        };
        if active().any(|interval| interval.process != server) {
            overlap.writes += 1;
            overlap.writes_by_older += u64::from(active().any(|interval| interval.value > own.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_core::Outcome;

    use super::*;
    use crate::measure::testing::{Script, at, process};

    fn all(record: &Record) -> Vec<(usize, u64, u64, u64)> {
        intervals(record, &MeasureOptions::default())
            .iter()
            .map(|interval| {
                let millis = |instant: SimTime| instant.as_nanos() / 1_000_000;
                (interval.process.index(), interval.value, millis(interval.from), millis(interval.to))
            })
            .collect()
    }

    #[test]
    fn a_pause_interrupts_and_a_stop_ends() {
        let record = Script::new(10_000)
            .mark(0, MarkKind::Writable, 0, 1)
            .mark(2_000, MarkKind::Paused, 0, 0)
            .mark(3_000, MarkKind::Resumed, 0, 0)
            .mark(4_000, MarkKind::Stopped, 0, 0)
            .mark(5_000, MarkKind::Started, 0, 0)
            .mark(6_000, MarkKind::Writable, 0, 2)
            .record();
        assert_eq!(all(&record), [(0, 1, 0, 2_000), (0, 1, 3_000, 4_000), (0, 2, 6_000, 10_000)]);
    }

    #[test]
    fn who_was_stopped_or_demoted_while_paused_does_not_come_back() {
        let record = Script::new(10_000)
            .mark(0, MarkKind::Writable, 0, 1)
            .mark(0, MarkKind::Writable, 1, 1)
            .mark(2_000, MarkKind::Paused, 0, 0)
            .mark(2_000, MarkKind::Paused, 1, 0)
            .mark(3_000, MarkKind::Stopped, 0, 0)
            .mark(3_000, MarkKind::ReadOnly, 1, 0)
            .mark(4_000, MarkKind::Resumed, 0, 0)
            .mark(4_000, MarkKind::Resumed, 1, 0)
            .record();
        assert_eq!(all(&record), [(0, 1, 0, 2_000), (1, 1, 0, 2_000)]);
    }

    #[test]
    fn two_primaries_overlap_and_the_older_one_is_told_apart() {
        // The old primary (timeline 1) is paused from 2 s to 6 s and demoted at 7 s; the new one starts at 4 s.
        let record = Script::new(10_000)
            .mark(0, MarkKind::Writable, 0, 1)
            .mark(2_000, MarkKind::Paused, 0, 0)
            .mark(4_000, MarkKind::Writable, 1, 2)
            .mark(6_000, MarkKind::Resumed, 0, 0)
            .mark(7_000, MarkKind::ReadOnly, 0, 0)
            .write(5_000, 5_100, Outcome::Ok, 1)
            .write(6_100, 6_200, Outcome::Ok, 0)
            .write(6_200, 6_300, Outcome::Ok, 0)
            .write(6_300, 6_400, Outcome::Ok, 1)
            .write(6_400, 6_500, Outcome::Failed, 0)
            .write(6_900, 7_100, Outcome::Ok, 0)
            .record();
        let intervals = intervals(&record, &MeasureOptions::default());
        assert_eq!(
            overlap(&record, &intervals),
            Overlap { total: SimDuration::from_secs(1), writes: 3, writes_by_older: 2 }
        );
        assert!(intervals[0].covers(at(0)) && !intervals[0].covers(at(2_000)));
    }

    #[test]
    fn a_handover_at_one_instant_is_no_overlap() {
        let record = Script::new(10_000)
            .mark(0, MarkKind::Writable, 0, 1)
            .mark(5_000, MarkKind::Writable, 1, 2)
            .mark(5_000, MarkKind::ReadOnly, 0, 0)
            .record();
        assert_eq!(overlap(&record, &intervals(&record, &MeasureOptions::default())), Overlap::default());
    }

    #[test]
    fn marks_of_others_do_not_count() {
        let record =
            Script::new(10_000).mark(0, MarkKind::Writable, 0, 1).mark(0, MarkKind::Writable, 1, 1).record();
        let options = MeasureOptions { members: Some(vec![process(1)]), ..MeasureOptions::default() };
        assert_eq!(intervals(&record, &options).len(), 1);
    }
}
