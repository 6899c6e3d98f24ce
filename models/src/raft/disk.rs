//! What survives a crash of a node: its term and vote, and its log.

use std::fmt::Debug;
use std::sync::Arc;

use sim_core::{Holds, Storage};

use super::{Entry, HardState, Log, LogIndex, Write};

/// The volume of a node.
#[derive(Clone, Debug)]
pub struct Disk<T> {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The entries.
    pub log: Log<T>,
}

impl<T> Default for Disk<T> {
    fn default() -> Self {
        Self { hard_state: HardState::default(), log: Log::default() }
    }
}

/// One change of a node's volume.
#[derive(Clone, Debug)]
pub struct DiskRecord<T> {
    /// Term, vote and commit index from now on.
    hard_state: HardState,
    /// What replaces the log from this index on.
    entries: Option<(LogIndex, Arc<[Entry<T>]>)>,
}

impl<T: Clone> DiskRecord<T> {
    /// The record of what a node wants to write.
    pub fn of(write: &Write<'_, T>) -> Self {
        Self {
            hard_state: write.hard_state,
            entries: (!write.entries.is_empty()).then(|| (write.first_index, write.entries.into())),
        }
    }
}

impl<T: Clone + Debug> Storage for Disk<T> {
    type Record = DiskRecord<T>;

    fn apply(&mut self, record: &DiskRecord<T>) {
        self.hard_state = record.hard_state;
        if let Some((first, entries)) = &record.entries {
            self.log.replace_from(*first, entries);
        }
    }
}

/// A system in which every process keeps such a volume needs no storage type of its own.
impl<T> Holds<Self> for Disk<T> {
    fn held(&self) -> &Self {
        self
    }
}

impl<T: Clone> Disk<T> {
    /// True if nothing was ever written.
    pub fn is_new(&self) -> bool {
        self.log.last_index() == 0 && self.hard_state == HardState::default()
    }
}
