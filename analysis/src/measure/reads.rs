//! What readers saw: contradictions, stale reads, and reads of what was lost later.
//!
//! A read tells the newest visible write of each session ([`sim_core::Observation`]). It *sees* that write, and does not see
//! any later one of the session. About earlier ones it says nothing: a write that failed may never become visible.
//!
//! - **Long fork**: of two reads each sees a write that the other does not. No one order of the two writes explains both, so
//!   snapshot isolation is violated (Jepsen, "Amazon RDS for PostgreSQL 17.4"; Adya's G-nonadjacent). The two writes are
//!   concurrent by necessity: if one was acknowledged before the other was asked for, whoever has the later one has both.
//! - **Stale read**: a write that was acknowledged before the read was asked for is not seen. Replicas promise no better.
//! - **Read of what is lost**: the read sees a write that is absent at the end, whether it was acknowledged or not: a
//!   primary shows what only it has, or a standby leads an old history. Such reads say nothing about the order of writes and take no
//!   part in the search for long forks, and lost writes make no read stale.
//!
//! If reads contradict each other nowhere, what they saw only grows from one to the next, in some order of them all; so it is
//! enough to put them in order of how much they saw, and to compare neighbours.

use std::fmt;

use serde::Serialize;
use sim_core::{Observation, Operation, ProcessId, Record, SimTime, session_of};

use super::acknowledged::Acknowledged;
use super::keyed::{ReadsOf, reads_of_keys};
use super::loss::SurvivingValues;

/// What readers of a run saw.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Reads {
    /// Reads that tell what they saw.
    pub observed: u64,
    /// Reads that contradict the one that saw as much or a little less.
    pub long_forks: u64,
    /// One of these contradictions.
    pub long_fork: Option<LongFork>,
    /// Reads that lack a write acknowledged before they were asked for.
    pub stale: u64,
    /// Reads that saw a write which is absent at the end.
    pub of_lost: u64,
    /// Reads of single keys that found nothing.
    pub empty: u64,
}

/// Two reads, each of which sees a write that the other does not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct LongFork {
    /// The one.
    pub first: Sighting,
    /// The other.
    pub second: Sighting,
}

/// One side of a long fork.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Sighting {
    /// When the read was answered.
    pub at: SimTime,
    /// By which server.
    pub server: Option<ProcessId>,
    /// What it sees, and the other does not.
    pub value: u64,
}

impl fmt::Display for LongFork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (self.first, self.second);
        write!(
            formatter,
            "the read at {} sees {:x} and not {:x}, the read at {} sees {:x} and not {:x}",
            first.at, first.value, second.value, second.at, second.value, first.value
        )
    }
}

/// Looks at all reads that tell what they saw. Those of single keys are the subject of [`super::keyed`].
pub fn reads(record: &Record, surviving: &SurvivingValues, of: ReadsOf) -> Reads {
    if of != ReadsOf::Everything {
        return reads_of_keys(record, surviving, of);
    }
    let observations = &record.observations;
    let mut reads = Reads { observed: observations.len() as u64, ..Reads::default() };
    if observations.is_empty() {
        return reads;
    }
    let is_lost = |value: &u64| !surviving.contains(*value);
    let (of_lost, mut kept): (Vec<_>, Vec<_>) =
        observations.iter().partition(|observation| observation.newest.iter().any(is_lost));
    reads.of_lost = of_lost.len() as u64;
    reads.stale = stale(record, surviving);
    // Equal sums mean equal reads or a contradiction; ties are broken by time, for a defined choice.
    kept.sort_by_key(|observation| (amount(observation), observation.operation));
    for pair in kept.windows(2) {
        let [less, more] = [pair[0], pair[1]];
        if let Some(only_less) = sees_beyond(less, more) {
            reads.long_forks += 1;
            // It sees no less in all, so there is something that the other does not see.
            let only_more = sees_beyond(more, less);
            reads.long_fork = reads.long_fork.or_else(|| {
                let sighting = |seen: &Observation, value| {
                    let read: &Operation = &record.operations[seen.operation];
                    let at = read.completed.unwrap_or(read.invoked);
                    Sighting { at, server: read.served_by, value }
                };
                Some(LongFork { first: sighting(less, only_less), second: sighting(more, only_more?) })
            });
        }
    }
    reads
}

/// Grows with every write that a read sees more.
fn amount(observation: &Observation) -> u128 {
    observation.newest.iter().copied().map(u128::from).sum()
}

/// A write that the first read sees and the second does not.
fn sees_beyond(first: &Observation, second: &Observation) -> Option<u64> {
    first.newest.iter().copied().find(|value| lacks(second, *value))
}

/// True if the read sees only earlier writes of the session that wrote this, or none.
fn lacks(observation: &Observation, value: u64) -> bool {
    let newest = &observation.newest;
    match newest.binary_search_by_key(&session_of(value), |seen| session_of(*seen)) {
        Ok(position) => newest[position] < value,
        Err(_) => true,
    }
}

/// Reads that lack what was acknowledged, and is there at the end, before they were asked for.
fn stale(record: &Record, surviving: &SurvivingValues) -> u64 {
    let mut promised = Acknowledged::of(record, |write| surviving.contains(write.value));
    let mut by_invocation: Vec<&Observation> = record.observations.iter().collect();
    by_invocation.sort_by_key(|observation| record.operations[observation.operation].invoked);
    let is_stale = |observation: &&Observation| {
        // Of each session, the last one that was acknowledged is enough.
        let expected = promised.by(record.operations[observation.operation].invoked);
        expected.values().any(|value| lacks(observation, *value))
    };
    by_invocation.into_iter().filter(is_stale).count() as u64
}

#[cfg(test)]
mod tests {
    use sim_core::COUNTER_BITS;

    use super::*;
    use crate::measure::testing::Script;

    /// The write with this number of a session.
    const fn value(session: u64, number: u64) -> u64 {
        session << COUNTER_BITS | number
    }

    /// Writes of two sessions, each acknowledged 100 ms after it was asked for at these times, and reads: when asked for,
    /// and how many writes of each session they see.
    #[track_caller]
    fn check(
        writes: [&[u64]; 2],
        seen: &[(u64, [u64; 2])],
        lost: &[u64],
        expected: (u64, u64, u64),
    ) -> Reads {
        let mut script = Script::new(100_000);
        let mut values = Vec::new();
        for (session, times) in (1..).zip(writes) {
            for (number, at) in (1..).zip(times) {
                script = script.write_of(*at, *at + 100, value(session, number));
                values.push(value(session, number));
            }
        }
        for (at, counts) in seen {
            let newest = (1..).zip(counts).filter(|(_, count)| **count > 0);
            script =
                script.read(*at, *at + 10, newest.map(|(session, count)| value(session, *count)).collect());
        }
        values.retain(|value| !lost.contains(value));
        let reads = reads(&script.record(), &values.into_iter().collect(), ReadsOf::Everything);
        assert_eq!((reads.long_forks, reads.stale, reads.of_lost), expected);
        assert_eq!(reads.observed, seen.len() as u64);
        reads
    }

    #[test]
    fn reads_that_only_grow_contradict_nothing() {
        let writes: [&[u64]; 2] = [&[1_000, 2_000], &[1_010, 2_010]];
        // The order in which they were asked for does not matter: a replica may be behind.
        let seen = [(3_000, [2, 2]), (1_050, [0, 0]), (1_060, [1, 0]), (2_060, [1, 1]), (1_070, [1, 1])];
        check(writes, &seen, &[], (0, 0, 0));
    }

    #[test]
    fn each_sees_what_the_other_does_not() {
        let seen = [(1_050, [1, 0]), (1_060, [0, 1]), (3_000, [1, 1])];
        let reads = check([&[1_000], &[1_010]], &seen, &[], (1, 0, 0));
        let fork = reads.long_fork.unwrap();
        assert_eq!(
            fork.to_string(),
            "the read at 1.060s sees 1000001 and not 2000001, the read at 1.070s sees 2000001 and not 1000001"
        );
        // Hidden behind reads that agree with both.
        check([&[1_000], &[1_010]], &[(1_060, [0, 1]), (900, [0, 0]), (1_050, [1, 0])], &[], (1, 0, 0));
    }

    #[test]
    fn what_was_acknowledged_before_has_to_be_seen() {
        let writes: [&[u64]; 2] = [&[1_000, 2_000], &[1_500]];
        check(writes, &[(1_099, [0, 0]), (1_100, [1, 0]), (2_100, [2, 1])], &[], (0, 0, 0));
        check(writes, &[(1_100, [0, 0]), (1_700, [1, 0]), (2_100, [1, 1])], &[], (0, 3, 0));
    }

    #[test]
    fn what_is_lost_orders_nothing_and_makes_nothing_stale() {
        let seen = [(1_050, [1, 0]), (1_060, [0, 1]), (3_000, [0, 1])];
        check([&[1_000], &[1_010]], &seen, &[value(1, 1)], (0, 0, 1));
    }
}
