//! What had been acknowledged by when: the newest write of each [session](session_of).

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use sim_core::{Operation, OperationKind, Record, SimTime, session_of};

/// The newest acknowledged write of each session, as time goes on.
pub(super) struct Acknowledged {
    to_come: Peekable<IntoIter<(SimTime, u64)>>,
    newest: BTreeMap<u64, u64>,
}

impl Acknowledged {
    /// Of the acknowledged writes of a run, those that count.
    pub(super) fn of(record: &Record, counts: impl Fn(&Operation) -> bool) -> Self {
        let is_acknowledged = |write: &&Operation| {
            write.kind == OperationKind::Write && write.is_acknowledged() && counts(write)
        };
        let writes = record.operations.iter().filter(is_acknowledged);
        let mut writes: Vec<(SimTime, u64)> =
            writes.filter_map(|write| Some((write.completed?, write.value))).collect();
        writes.sort_unstable();
        Self { to_come: writes.into_iter().peekable(), newest: BTreeMap::new() }
    }

    /// What had been acknowledged by this time. Times are asked about in order.
    pub(super) fn by(&mut self, at: SimTime) -> &BTreeMap<u64, u64> {
        while let Some((_, value)) = self.to_come.next_if(|(acknowledged, _)| *acknowledged <= at) {
            self.newest.insert(session_of(value), value);
        }
        &self.newest
    }
}
