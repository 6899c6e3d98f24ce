//! What a server has applied: its data set, and the part of the stream that it can send again.
//!
//! Clients write values that no other write of the run has, so a data set is the list of its values. An entry remembers
//! where in the stream it ended; the backlog is then a suffix of the same list, and nothing is stored twice.
//!
//! Each client adds to a list of its own, and a value tells which ([`ListKey`]). That matters only where slots of a cluster
//! move: there whole lists come and go. What one command or one transaction adds has one end, and stays together: nobody has
//! a part of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sim_core::Growing;

use super::history::ReplicationId;
use super::keys::{Key, KeyChange, Keys};
use super::relay::Backlog;
use crate::redis_cluster::{SetSlot, Slot};
use crate::routing::{as_of_client, client_of};

/// Bytes of `RPUSH` with a key of one letter and a value of 13 digits, in the protocol of Redis.
const WRITE_BYTES: u64 = 48;
/// Bytes of `PING`.
const PING_BYTES: u64 = 14;
/// Bytes of `REPLCONF GETACK *`.
const GET_ACK_BYTES: u64 = 37;

/// Bytes of `CLUSTER SETSLOT` with `NODE` and the name of a node.
const SET_SLOT_BYTES: u64 = 94;
/// Bytes of `DEL` with a key of one letter.
const REMOVE_BYTES: u64 = 20;
/// Bytes of `RESTORE` without its payload.
const RESTORE_BYTES: u64 = 60;
/// Bytes of one value in a dumped list.
const DUMPED_BYTES: u64 = 10;
/// Bytes of `MULTI` and `EXEC`.
const TRANSACTION_BYTES: u64 = 29;

/// The name of a list, of the many that clients write to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListKey(pub u32);

/// Set in the name of the second of a client's two lists.
const SECOND: u32 = 1 << 23;

impl ListKey {
    /// The list to which a value belongs.
    pub fn of(value: u64) -> Self {
        Self(client_of(value))
    }

    /// The list that is written together with this one, if a client writes two.
    #[must_use]
    pub fn second(self) -> Self {
        Self(self.0 | SECOND)
    }

    /// The number of the client whose list it is.
    pub fn client(self) -> u32 {
        self.0 & !SECOND
    }
}

/// A value as the second list of its client has it.
pub(super) fn in_second_list(value: u64) -> u64 {
    as_of_client(value, ListKey::of(value).second().0)
}

/// Bytes of a transaction that adds one value to each of so many lists.
pub(super) const fn transaction_bytes(lists: u64) -> u64 {
    TRANSACTION_BYTES + lists * WRITE_BYTES
}

/// Bytes of `RESTORE` for so many lists with so many values together.
pub(super) const fn restore_bytes(lists: u64, values: u64) -> u64 {
    lists * RESTORE_BYTES + values * DUMPED_BYTES
}

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
    /// `DEL`: a list is gone.
    Remove(ListKey),
    /// The last so many bytes of a command whose beginning was not sent. They change nothing.
    Rest(u64),
    /// `CLUSTER SETSLOT`, which changes no data.
    SetSlot(Slot, SetSlot),
}

impl Change {
    /// Its length in the stream.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Write(_) => WRITE_BYTES,
            Self::Ping => PING_BYTES,
            Self::GetAck => GET_ACK_BYTES,
            Self::Key(_, change) => change.bytes(),
            Self::Remove(_) => REMOVE_BYTES,
            Self::SetSlot(..) => SET_SLOT_BYTES,
            Self::Rest(bytes) => bytes,
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
    entries: Growing<Entry>,
    writes: u64,
    /// A digest of the values in their order.
    digest: u64,
    keys: Keys,
    /// The offset from which entries can be sent again; none while there is no backlog.
    backlog_from: Option<u64>,
    /// Lists that were removed, and how many entries there were then.
    removed: Vec<(ListKey, usize)>,
    /// What can be sent again of a time before the first entry.
    earlier: Option<Backlog>,
}

impl Log {
    /// Data that was loaded from a file, at this offset, without a backlog.
    pub fn loaded(values: &[u64], keys: &Keys, offset: u64) -> Self {
        let entries = Growing::with_capacity(values.len());
        let mut log = Self { entries, keys: keys.clone(), ..Self::default() };
        for value in values {
            log.push(Entry { end: offset, change: Change::Write(*value) });
        }
        log
    }

    /// Data with a backlog that is not a part of how they came about.
    pub(super) fn with_backlog(values: &[u64], keys: &Keys, backlog: Backlog) -> Self {
        let from = backlog.from;
        Self { backlog_from: Some(from), earlier: Some(backlog), ..Self::loaded(values, keys, from) }
    }

    /// Applies an entry.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        match entry.change {
            Change::Write(value) => {
                self.writes += 1;
                self.digest = fold(self.digest, value);
            }
            Change::Key(key, change) => self.keys.apply(key, change),
            Change::Remove(list) => {
                self.removed.push((list, self.entries.len()));
                (self.writes, self.digest) =
                    self.values().fold((0, 0), |(count, digest), value| (count + 1, fold(digest, value)));
            }
            Change::Ping | Change::GetAck | Change::SetSlot(..) | Change::Rest(_) => {}
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
        self.entries.iter().enumerate().filter_map(|(index, entry)| match entry.change {
            Change::Write(value) if !self.was_removed(index, value) => Some(value),
            _ => None,
        })
    }

    fn was_removed(&self, index: usize, value: u64) -> bool {
        self.removed.iter().any(|(list, at)| index < *at && *list == ListKey::of(value))
    }

    /// True if there is a list of this name. An empty list does not exist.
    pub fn has_list(&self, list: ListKey) -> bool {
        let last = self.entries.iter().rev().find_map(|entry| match entry.change {
            Change::Write(value) if ListKey::of(value) == list => Some(true),
            Change::Remove(removed) if removed == list => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    /// The lists, by name.
    pub fn lists(&self) -> BTreeSet<ListKey> {
        self.values().map(ListKey::of).collect()
    }

    /// The values of some lists, in the order in which they were added.
    pub fn dump(&self, lists: &[ListKey]) -> Arc<[u64]> {
        self.values().filter(|value| lists.contains(&ListKey::of(*value))).collect()
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
        self.earlier = None;
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

    /// The entries after this offset of a time before the first one.
    pub(super) fn earlier_after(&self, offset: u64) -> &[Entry] {
        self.earlier.as_ref().map_or(&[], |backlog| backlog.after(offset))
    }

    /// Removes the PINGs at its end, as far as they are in the backlog. Says how many bytes they had.
    pub(super) fn take_pings_back(&mut self) -> u64 {
        let Some(from) = self.backlog_from else { return 0 };
        let is_data = |entry: &Entry| entry.change != Change::Ping || entry.end <= from;
        let kept = self.entries.iter().rposition(is_data).map_or(0, |last| last + 1);
        self.entries.drain(kept..).map(|entry| entry.change.bytes()).sum()
    }

    /// What comes after an offset first, if that is in the middle of a command.
    pub(super) fn rest_of_command(&self, offset: u64) -> Option<Entry> {
        let next = self.entries.partition_point(|entry| entry.end <= offset);
        let begins = self.entries[..next].last().map_or(0, |entry| entry.end).max(self.backlog_from?);
        let end = self.entries.get(next)?.end;
        (begins < offset).then_some(Entry { end, change: Change::Rest(end - offset) })
    }

    /// The entries after this offset.
    pub fn after(&self, offset: u64) -> &[Entry] {
        &self.entries[self.entries.partition_point(|entry| entry.end <= offset)..]
    }
}

/// Goes on with a digest of values. Order matters: a multiplication by an odd constant between two values.
fn fold(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_removed_leaves_the_data_of_the_others() {
        let [first, second] = [1_u32, 2].map(|client| move |value: u64| as_of_client(value, client));
        let mut log = Log::default();
        for (index, value) in [first(1), second(1), first(2)].into_iter().enumerate() {
            log.push(Entry { end: index as u64, change: Change::Write(value) });
        }
        log.push(Entry { end: 3, change: Change::Remove(ListKey(1)) });
        assert!(!log.has_list(ListKey(1)) && log.has_list(ListKey(2)));
        assert_eq!(log.values().collect::<Vec<_>>(), [second(1)]);
        let loaded = Log::loaded(&[second(1)], &Keys::default(), 3);
        assert_eq!((log.len(), log.digest()), (loaded.len(), loaded.digest()), "as who got a snapshot");
        log.push(Entry { end: 4, change: Change::Write(first(3)) });
        assert_eq!(log.dump(&[ListKey(1)])[..], [first(3)]);
        assert_eq!(log.lists().into_iter().collect::<Vec<_>>(), [ListKey(1), ListKey(2)]);
    }

    #[test]
    fn the_second_list_of_a_client_is_another_one() {
        let value = as_of_client(7, 3);
        let twin = in_second_list(value);
        assert_ne!(ListKey::of(value), ListKey::of(twin));
        assert_eq!(ListKey::of(twin), ListKey::of(value).second());
        assert_eq!(ListKey::of(twin).client(), 3);
    }

    #[test]
    fn pings_at_the_end_are_taken_back_and_no_others() {
        let mut log = Log::loaded(&[1], &Keys::default(), 100);
        log.create_backlog(100);
        let mut end = 100;
        for change in [Change::Ping, Change::Write(2), Change::Ping, Change::Ping] {
            end += change.bytes();
            log.push(Entry { end, change });
        }
        assert_eq!(log.take_pings_back(), 2 * PING_BYTES);
        assert_eq!(log.take_pings_back(), 0, "a write is the last one");
        assert_eq!(log.values().collect::<Vec<_>>(), [1, 2]);
        let written = 100 + PING_BYTES + WRITE_BYTES;
        assert_eq!(log.rest_of_command(100 + PING_BYTES), None, "between two commands");
        assert_eq!(log.rest_of_command(written), None, "at the end");
        let rest = Entry { end: written, change: Change::Rest(WRITE_BYTES - 5) };
        assert_eq!(log.rest_of_command(written - WRITE_BYTES + 5), Some(rest));
    }

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
