//! The store of API version 2: keys, some of which have an end (`v2store/store.go`).

use std::collections::{BTreeMap, BTreeSet};

use sim_core::WallTime;

use super::{Answer, Condition, Failure, Request};
use crate::etcd::{self, Compare, Event, Key, KeyValue, Mutation};

/// The keys of a member, as of the last entry that it applied.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The keys, and the history of all changes. Its revision is the index.
    keys: etcd::Store,
    /// When keys expire, on the wall clock of the leader.
    expirations: BTreeMap<Key, WallTime>,
    /// The indexes of changes that were compare-and-swap.
    swapped: BTreeSet<u64>,
}

impl Store {
    /// The keys with the history of all changes.
    pub fn keys(&self) -> &etcd::Store {
        &self.keys
    }

    /// `X-Etcd-Index`: that of the last change.
    pub fn index(&self) -> u64 {
        self.keys.revision()
    }

    /// All keys with this prefix, in order.
    pub(super) fn get(&self, prefix: &str) -> Vec<KeyValue> {
        self.keys.range(prefix).collect()
    }

    /// True if any key has an end.
    pub(super) fn has_ttl_keys(&self) -> bool {
        !self.expirations.is_empty()
    }

    /// True if any key has expired by then.
    pub(super) fn has_expired_keys(&self, by: WallTime) -> bool {
        self.expirations.values().any(|end| *end <= by)
    }

    /// Carries out a request that came through the log; `end` is when the key that it puts expires.
    pub(super) fn apply(&mut self, request: &Request, end: Option<WallTime>) -> Result<Answer, Failure> {
        match request {
            Request::Get { prefix, .. } => return Ok(Answer::Keys(self.get(prefix))),
            Request::Put { key, value, condition, .. } => {
                self.check(key, condition)?;
                let value = value.clone();
                self.keys.change(&[Mutation::Put { key: Key::clone(key), value, lease: None }]);
                if is_swap(condition) {
                    self.swapped.insert(self.index());
                }
                match end {
                    Some(end) => self.expirations.insert(Key::clone(key), end),
                    None => self.expirations.remove(key),
                };
            }
            Request::Delete { key, condition } => {
                self.check(key, condition)?;
                if !self.exists(key) {
                    return Err(Failure::KeyNotFound);
                }
                self.delete(key);
            }
            Request::Poll { .. } | Request::Machines => {
                unreachable!("what a member answers by itself is not proposed")
            }
        }
        Ok(Answer::Changed(self.index()))
    }

    fn exists(&self, key: &Key) -> bool {
        !self.keys.holds(&Compare::CreateRevision(Key::clone(key), 0))
    }

    fn check(&self, key: &Key, condition: &Condition) -> Result<(), Failure> {
        let exists = self.exists(key);
        let compare = match condition {
            Condition::Absent if exists => return Err(Failure::NodeExists),
            Condition::Any | Condition::Absent | Condition::Index(0) => return Ok(()),
            Condition::Value(_) | Condition::Index(_) if !exists => return Err(Failure::KeyNotFound),
            Condition::Value(value) => Compare::Value(Key::clone(key), value.clone()),
            Condition::Index(index) => Compare::ModRevision(Key::clone(key), *index),
        };
        if self.keys.holds(&compare) { Ok(()) } else { Err(Failure::CompareFailed) }
    }

    fn delete(&mut self, key: &Key) {
        self.expirations.remove(key);
        self.keys.change(&[Mutation::Delete { key: Key::clone(key) }]);
    }

    /// Deletes what has expired by then, each key at an index of its own, in order of expiry (`DeleteExpiredKeys`).
    pub(super) fn delete_expired(&mut self, by: WallTime) {
        let mut expired: Vec<(WallTime, Key)> = self
            .expirations
            .iter()
            .filter(|(_, end)| **end <= by)
            .map(|(key, end)| (*end, Key::clone(key)))
            .collect();
        expired.sort();
        for (_, key) in expired {
            self.delete(&key);
        }
    }

    /// The first change of a key from an index on, as a poll for it is answered.
    pub(super) fn first_change(&self, key: &Key, from: u64) -> Option<Answer> {
        let (index, event) = self.keys.history_from(from).iter().find(|(_, event)| event.key() == key)?;
        let exists = matches!(event, Event::Put(_));
        Some(Answer::Polled { exists, swapped: self.swapped.contains(index) })
    }
}

/// True if a change on this condition is called `compareAndSwap`.
fn is_swap(condition: &Condition) -> bool {
    match condition {
        Condition::Value(_) => true,
        Condition::Index(index) => *index > 0,
        Condition::Any | Condition::Absent => false,
    }
}
