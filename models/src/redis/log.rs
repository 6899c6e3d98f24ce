//! What a server has applied: its data set, and the part of the stream that it can send again.
//!
//! Clients write values that no other write of the run has, so a data set is the list of its values. An entry remembers
//! where in the stream it ended; the backlog is then a suffix of the same list, and nothing is stored twice.

use std::sync::Arc;

use super::history::ReplicationId;
use super::keys::{Key, KeyChange, Keys};

/// Bytes of `RPUSH` with a key of one letter and a value of 13 digits, in the protocol of Redis.
const WRITE_BYTES: u64 = 48;
/// Bytes of `PING`.
const PING_BYTES: u64 = 14;
/// Bytes of `REPLCONF GETACK *`.
const GET_ACK_BYTES: u64 = 37;

/// What travels in the replication stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Change {
    /// A value is added to the data set.
    Write(u64),
    /// Keeps the link alive; it changes nothing, and it advances the offset like everything else.
    Ping,
    /// Asks replicas to acknowledge at once.
    GetAck,
    /// A string key changes.
    Key(Key, KeyChange),
}

impl Change {
    /// Its length in the stream.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Write(_) => WRITE_BYTES,
            Self::Ping => PING_BYTES,
            Self::GetAck => GET_ACK_BYTES,
            Self::Key(_, change) => change.bytes(),
        }
    }
}

/// A change and the offset behind it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    /// The offset of the stream when this is applied.
    pub end: u64,
    /// The change.
    pub change: Change,
}

/// A data set at one instant, as an RDB file holds it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Snapshot {
    /// The stream of which it is a prefix.
    pub id: ReplicationId,
    /// How long that prefix is.
    pub offset: u64,
    /// The data.
    pub values: Vec<u64>,
    /// The string keys.
    pub keys: Keys,
}

/// Everything applied, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    writes: u64,
    /// A digest of the values in their order.
    digest: u64,
    keys: Keys,
    /// The offset from which entries can be sent again; none while there is no backlog.
    backlog_from: Option<u64>,
}

impl Log {
    /// Data that was loaded from a file, at this offset, without a backlog.
    pub fn loaded(values: &[u64], keys: &Keys, offset: u64) -> Self {
        let entries = Vec::with_capacity(values.len());
        let mut log = Self { entries, keys: keys.clone(), ..Self::default() };
        for value in values {
            log.push(Entry { end: offset, change: Change::Write(*value) });
        }
        log
    }

    /// Applies an entry.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        match entry.change {
            Change::Write(value) => {
                self.writes += 1;
                // Order matters: a multiplication by an odd constant between two values.
                self.digest = (self.digest ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            Change::Key(key, change) => self.keys.apply(key, change),
            Change::Ping | Change::GetAck => {}
        }
        self.entries.push(entry);
    }

    /// How many values there are.
    pub fn len(&self) -> u64 {
        self.writes
    }

    /// A digest of the values in their order and of the keys: equal for equal data sets.
    pub fn digest(&self) -> u64 {
        self.digest ^ self.keys.digest()
    }

    /// The string keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.writes == 0
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().filter_map(|entry| match entry.change {
            Change::Write(value) => Some(value),
            Change::Ping | Change::GetAck | Change::Key(..) => None,
        })
    }

    /// The data set as it is now.
    pub fn snapshot(&self, id: ReplicationId, offset: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { id, offset, values: self.values().collect(), keys: self.keys.clone() })
    }

    /// Keeps what is applied from this offset on for replicas.
    pub fn create_backlog(&mut self, offset: u64) {
        self.backlog_from = Some(offset);
    }

    /// Keeps nothing for replicas any more.
    pub fn free_backlog(&mut self) {
        self.backlog_from = None;
    }

    /// True if there is a backlog. Without one, the offset stands still.
    pub fn has_backlog(&self) -> bool {
        self.backlog_from.is_some()
    }

    /// True if everything after `from` up to `offset` is in a backlog of this size.
    pub fn reaches_back_to(&self, from: u64, offset: u64, size: u64) -> bool {
        self.backlog_from.is_some_and(|first| from >= first && offset - from <= size)
    }

    /// All entries that it holds; a data set that was loaded begins with its values, and without what led to its keys.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries after this offset.
    pub fn after(&self, offset: u64) -> &[Entry] {
        &self.entries[self.entries.partition_point(|entry| entry.end <= offset)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_limited_by_its_start_and_its_size() {
        let mut log = Log::loaded(&[1, 2], &Keys::default(), 100);
        assert!(!log.reaches_back_to(100, 100, 1_000), "there is none");
        log.create_backlog(100);
        for (index, value) in [3, 4, 5].into_iter().enumerate() {
            log.push(Entry { end: 100 + WRITE_BYTES * (index as u64 + 1), change: Change::Write(value) });
        }
        let offset = 100 + 3 * WRITE_BYTES;
        assert!(log.reaches_back_to(100, offset, 1_000));
        assert!(!log.reaches_back_to(99, offset, 1_000), "before its start");
        assert!(!log.reaches_back_to(100, offset, 2 * WRITE_BYTES), "more than its size");
        assert_eq!(log.after(100 + WRITE_BYTES).len(), 2);
        assert_eq!(log.values().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
}
