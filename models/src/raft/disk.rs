//! What survives a crash of a node: its term and vote, and its log; and what a bad disk makes of them.
//!
//! # The write-ahead log on a bad disk
//!
//! The volume stands for etcd's write-ahead log (`server/storage/wal`), a sequence of records whose checksums are chained, and
//! each change of the volume for what one `Save` appends. A node reads the log whole at boot, so that is when it finds out:
//!
//! | damage | at boot (`bootstrap.go: openWALFromSnapshot`, `wal.go: ReadAll`, `decoder.go: isTornEntry`) |
//! |---|---|
//! | the last record is torn | `io.ErrUnexpectedEOF`, `wal.Repair` truncates it, and the node starts; nothing that was synced is lost |
//! | a record rotted, or another was written over it | `walpb: crc mismatch`: "cannot be repaired", the node does not start |
//! | a record is missing (a failed sync, or a write that went astray) | its place holds zeroes, which mean the end: this and everything behind it is gone without a word |
//!
//! The last row breaks what Raft builds on, that what a node has answered for is there after a crash. The node then has
//! forgotten votes and entries. Its leader finds out when it counts on an entry that the node lacks: etcd's follower dies of
//! `tocommit is out of range. Was the raft log corrupted, truncated, or lost?` ([`super::Raft::has_lost_log`]).
//!
//! # Opening the log syncs nothing
//!
//! A process that was killed between the `write` and the `fdatasync` of a save leaves records in the page cache. The next life
//! reads them as if they were durable: `wal.Open` and `ReadAll` do not sync (`ZeroToEnd` truncates and preallocates), and
//! neither does `raft.RestartNode`, whose first `Ready` has no hard state. A vote that was read so can be given again in
//! its term without any change of the hard state, hence without a save; a loss of power before the next save then takes
//! back what the candidate counts on. Members of etcd have this hole, and so has the model. It closes with the first save of a hard
//! state, which always syncs: `WAL.Save` compares with the state that this life has saved (`state_saved` of the core). So
//! the condition `promise-forgotten` counts as promised only what a node has synced in this life.
//!
//! Simplified: the whole log can rot, where etcd reads no further back than its last snapshot (100,000 entries). Of a torn
//! write, the first half of its entries is there. A damaged copy of the database file (`bbolt`) is not modelled: the store is
//! rebuilt from the log.

use std::fmt::Debug;
use std::sync::Arc;

use sim_core::{Damage, Holds, Storage};

use super::{Entry, HardState, Log, LogIndex, Write};

/// The volume of a node.
#[derive(Clone, Debug)]
pub struct Disk<T> {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The entries.
    pub log: Log<T>,
    /// Whether the log can be read to its end.
    pub condition: Condition,
}

/// Whether the log can be read to its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// It can.
    #[default]
    Sound,
    /// The last record is broken, or missing with others behind it: the log ends before it, and must be truncated there
    /// before it is written again.
    Ended,
    /// A record in the middle has a wrong checksum: the log cannot be used.
    Corrupt,
}

impl<T> Default for Disk<T> {
    fn default() -> Self {
        Self { hard_state: HardState::default(), log: Log::default(), condition: Condition::default() }
    }
}

/// One change of a node's volume.
#[derive(Clone, Debug)]
pub struct DiskRecord<T> {
    /// Term, vote and commit index from now on.
    hard_state: HardState,
    /// What replaces the log from this index on.
    entries: Option<(LogIndex, Arc<[Entry<T>]>)>,
    /// Truncates what cannot be read.
    repairs: bool,
}

impl<T: Clone> DiskRecord<T> {
    /// The record of what a node wants to write.
    pub fn of(write: &Write<'_, T>) -> Self {
        Self {
            hard_state: write.hard_state,
            entries: (!write.entries.is_empty()).then(|| (write.first_index, write.entries.into())),
            repairs: false,
        }
    }

    /// Truncates a log where it ends, so that it can be written again (`wal.Repair`).
    pub fn repair(disk: &Disk<T>) -> Self {
        Self { hard_state: disk.hard_state, entries: None, repairs: true }
    }
}

impl<T: Clone + Debug> Storage for Disk<T> {
    type Record = DiskRecord<T>;

    fn apply(&mut self, record: &DiskRecord<T>) {
        match self.condition {
            Condition::Ended if record.repairs => self.condition = Condition::Sound,
            // Nobody who reads from the beginning gets to what is behind the end.
            Condition::Ended => return,
            Condition::Sound | Condition::Corrupt => {}
        }
        self.hard_state = record.hard_state;
        if let Some((first, entries)) = &record.entries {
            self.log.replace_from(*first, entries);
        }
    }

    fn record_count(&self) -> u64 {
        self.log.last_index()
    }

    fn damage(&mut self, damage: Damage<'_, DiskRecord<T>>) {
        if self.condition != Condition::Sound {
            return;
        }
        if let Damage::Torn(DiskRecord { entries: Some((first, entries)), .. }) = damage
            && entries.len() > 1
        {
            self.log.replace_from(*first, &entries[..entries.len() / 2]);
        }
        self.condition = if damage.victim().is_some() { Condition::Corrupt } else { Condition::Ended };
    }

    fn needs_space(record: &DiskRecord<T>) -> bool {
        !record.repairs
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Term;

    fn record(first: LogIndex, count: usize) -> DiskRecord<u64> {
        let entries = (0..count as u64).map(|number| Entry { term: Term(1), payload: Some(number) });
        DiskRecord {
            hard_state: HardState { term: Term(1), ..HardState::default() },
            entries: Some((first, entries.collect())),
            repairs: false,
        }
    }

    fn disk() -> Disk<u64> {
        let mut disk = Disk::default();
        disk.apply(&record(1, 3));
        disk
    }

    #[test]
    fn a_torn_tail_leaves_a_beginning_and_is_repaired() {
        let mut disk = disk();
        disk.damage(Damage::Torn(&record(4, 4)));
        assert_eq!((disk.condition, disk.log.last_index()), (Condition::Ended, 5));
        let repair = DiskRecord::repair(&disk);
        disk.apply(&repair);
        disk.apply(&record(6, 1));
        assert_eq!((disk.condition, disk.log.last_index()), (Condition::Sound, 6));
    }

    #[test]
    fn nothing_behind_a_lost_record_is_ever_read() {
        let mut disk = disk();
        disk.damage(Damage::Lost(&record(4, 1)));
        disk.apply(&record(5, 1));
        assert_eq!((disk.condition, disk.log.last_index()), (Condition::Ended, 3));
    }

    #[test]
    fn a_record_that_rotted_or_was_written_over_makes_the_log_unusable() {
        let mut rotten = disk();
        rotten.damage(Damage::Rotten(1));
        assert_eq!(rotten.condition, Condition::Corrupt);
        let mut overwritten = disk();
        overwritten.damage(Damage::Misdirected { record: &record(4, 1), over: Some(0) });
        assert_eq!(overwritten.condition, Condition::Corrupt);
    }
}
