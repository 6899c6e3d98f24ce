//! The store: keys with their revisions, and the history of all changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Compare, Event, Key, KeyValue, LeaseId, Mutation, Value};

/// The keys of a member, as of the last entry that it applied.
#[derive(Clone, Debug)]
pub struct Store {
    /// Counts changes; each transaction that changes anything is one revision.
    revision: u64,
    keys: BTreeMap<Key, Stored>,
    /// Every change with its revision, oldest first.
    history: Vec<(u64, Event)>,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Value,
    create_revision: u64,
    mod_revision: u64,
    lease: Option<LeaseId>,
}

impl Default for Store {
    /// A new store is at revision 1.
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new(), history: Vec::new() }
    }
}

impl Store {
    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All keys with this prefix, in order.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = KeyValue> + 'a {
        self.keys
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| stored.with_key(key))
    }

    /// The lease of a key.
    pub(super) fn lease_of(&self, key: &str) -> Option<LeaseId> {
        self.keys.get(key).and_then(|stored| stored.lease)
    }

    /// Every change from a revision on, with its revision.
    pub fn history_from(&self, revision: u64) -> &[(u64, Event)] {
        let start = self.history.partition_point(|(at, _)| *at < revision);
        &self.history[start..]
    }

    pub(super) fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::CreateRevision(key, revision) => {
                self.keys.get(key).map_or(0, |stored| stored.create_revision) == *revision
            }
            Compare::ModRevision(key, revision) => {
                self.keys.get(key).map_or(0, |stored| stored.mod_revision) == *revision
            }
            Compare::Value(key, value) => self.keys.get(key).is_some_and(|stored| stored.value == *value),
        }
    }

    /// Carries out changes in one revision. Deleting what does not exist changes nothing, and so takes no revision.
    pub(super) fn change(&mut self, mutations: &[Mutation]) {
        let revision = self.revision + 1;
        let mut changed = false;
        for mutation in mutations {
            changed |= match mutation {
                Mutation::Put { key, value, lease } => {
                    self.put(key, value, *lease, revision);
                    true
                }
                Mutation::Delete { key } => self.delete(key, revision),
            };
        }
        self.revision += u64::from(changed);
    }

    /// Deletes keys in one revision.
    pub(super) fn delete_all<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        let revision = self.revision + 1;
        let mut changed = false;
        for key in keys {
            changed |= self.delete(key, revision);
        }
        self.revision += u64::from(changed);
    }

    fn put(&mut self, key: &Key, value: &Value, lease: Option<LeaseId>, revision: u64) {
        let create_revision = self.keys.get(key).map_or(revision, |stored| stored.create_revision);
        let stored = Stored { value: Arc::clone(value), create_revision, mod_revision: revision, lease };
        self.history.push((revision, Event::Put(stored.with_key(key))));
        self.keys.insert(Arc::clone(key), stored);
    }

    fn delete(&mut self, key: &Key, revision: u64) -> bool {
        let existed = self.keys.remove(key).is_some();
        if existed {
            let key = Arc::clone(key);
            self.history.push((revision, Event::Delete { key, revision }));
        }
        existed
    }
}

impl Stored {
    fn with_key(&self, key: &Key) -> KeyValue {
        KeyValue {
            key: Arc::clone(key),
            value: Arc::clone(&self.value),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            lease: self.lease,
        }
    }
}
