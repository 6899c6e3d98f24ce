//! Reads of single keys: what they did not find, and how old what they found was.
//!
//! Such a read tells the value of one key, as the value of its [`Operation`]; zero says that it found nothing. What the clients of a
//! run read is said by [`ReadsOf`].
//!
//! - **Empty read**: the key is not there. A user is not logged in any more, a cache has to ask the database.
//! - **Stale read**: a newer value of that key had been acknowledged before the read was asked for. Whether the newer one has outlived the
//!   run does not matter: who was told that it is stored sees that it is not.
//! - **Read of what is lost**: of a value that is absent at the end.

use sim_core::{Operation, OperationKind, Record, session_of};

use super::Reads;
use super::acknowledged::Acknowledged;
use super::loss::SurvivingValues;

/// What the reads of a run's clients are about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReadsOf {
    /// Everything stored. Clients feel how their writes fare.
    #[default]
    Everything,
    /// Keys, each of which is written once. Clients feel how their reads fare.
    Constants,
    /// Keys, each of which is written again and again by one [session](session_of) of its own, with growing values. Clients feel how
    /// their reads fare.
    Variables,
}

impl ReadsOf {
    /// The operations that clients feel: those whose silences are outages.
    pub const fn felt(self) -> OperationKind {
        match self {
            Self::Everything => OperationKind::Write,
            Self::Constants | Self::Variables => OperationKind::Read,
        }
    }
}

/// Looks at all reads of keys that were answered.
pub(super) fn reads_of_keys(record: &Record, surviving: &SurvivingValues, of: ReadsOf) -> Reads {
    let is_answered =
        |operation: &&Operation| operation.kind == OperationKind::Read && operation.is_acknowledged();
    let mut reads = Reads::default();
    for read in record.operations.iter().filter(is_answered) {
        reads.observed += 1;
        reads.empty += u64::from(read.value == 0);
        reads.of_lost += u64::from(read.value != 0 && !surviving.contains(read.value));
    }
    if of == ReadsOf::Variables {
        reads.stale = stale(record, is_answered);
    }
    reads
}

/// Reads of a value that was not the newest acknowledged one of its session when they were asked for.
fn stale(record: &Record, is_answered: impl Fn(&&Operation) -> bool) -> u64 {
    let mut acknowledged = Acknowledged::of(record, |_| true);
    // The history is in the order of invocation.
    let is_stale = |read: &&Operation| {
        let newest = acknowledged.by(read.invoked).get(&session_of(read.value));
        newest.is_some_and(|newest| *newest > read.value)
    };
    record.operations.iter().filter(|read| is_answered(read) && read.value != 0).filter(is_stale).count()
        as u64
}

#[cfg(test)]
mod tests {
    use sim_core::COUNTER_BITS;

    use super::*;
    use crate::measure::testing::Script;

    const fn value(session: u64, number: u64) -> u64 {
        session << COUNTER_BITS | number
    }

    #[test]
    fn a_read_is_stale_if_a_newer_value_of_its_key_was_acknowledged_before() {
        let record = Script::new(20_000)
            .write_of(1_000, 1_000, value(1, 1))
            .write_of(1_100, 1_100, value(2, 2))
            .read_of(1_200, 1_210, value(1, 1))
            .write_of(1_300, 1_400, value(1, 3))
            // While the write was under way either is right.
            .read_of(1_350, 1_500, value(1, 1))
            .read_of(1_400, 1_410, value(1, 1))
            .read_of(1_400, 1_410, value(2, 2))
            .read_of(1_400, 1_410, value(1, 3))
            .read_of(1_500, 1_510, 0)
            .record();
        let surviving: SurvivingValues = [value(1, 3)].into_iter().collect();
        let found = reads_of_keys(&record, &surviving, ReadsOf::Variables);
        let expected = Reads { observed: 6, stale: 1, empty: 1, of_lost: 4, ..Reads::default() };
        assert_eq!(found, expected);
        assert_eq!(reads_of_keys(&record, &surviving, ReadsOf::Constants), Reads { stale: 0, ..expected });
    }
}
