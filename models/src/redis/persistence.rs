//! The data directory: `redis.conf` as far as it is rewritten, the RDB file, the append-only file.
//!
//! What a restart finds (fidelity specification, section 3.8; `loadDataFromDisk`):
//!
//! | persistence | after a crash |
//! |---|---|
//! | none | nothing, unless a full resynchronisation left its file: then that |
//! | RDB | the last save, with the history of that time |
//! | append-only file | everything written before the last sync, without the history |
//!
//! A replica that is given a snapshot stores it as `dump.rdb` before it loads it (`repl-diskless-load disabled`,
//! `rdb-del-sync-files no`), so even one without persistence begins its next life with it.
//!
//! Both files are written in ways that bear a torn end: the RDB file replaces the old one when it is complete, and a torn
//! end of the append-only file is cut off (`aof-load-truncated yes`). A record that rotted before the end is fatal. Records
//! of string keys do not rot: there are too few to be worth aiming at. A list that was removed takes its records along, so
//! positions count what is left.

use std::sync::Arc;

use sim_core::{Damage, ProcessId, Storage};

use super::keys::{Key, KeyChange, Keys};
use super::log::{ListKey, Snapshot};

/// The contents of a data directory.
#[derive(Clone, Debug, Default)]
pub struct DataDirectory {
    /// `replicaof` in `redis.conf`, as `CONFIG REWRITE` left it.
    pub replica_of: Option<ProcessId>,
    /// `appendonly` in `redis.conf`, where somebody has changed it since the server was set up. What counts is what the file said at
    /// the start of the process.
    pub appendonly: Option<bool>,
    /// `dump.rdb`.
    pub rdb: Option<Arc<Snapshot>>,
    /// The append-only file: values in the order in which they were written.
    pub append_only: Vec<u64>,
    /// The append-only file: what its commands on string keys lead to.
    pub append_only_keys: Keys,
    /// A record of the append-only file that cannot be read.
    pub rotten: Option<u64>,
}

impl DataDirectory {
    /// An empty one of a server that follows another, or none.
    pub fn new(replica_of: Option<ProcessId>) -> Self {
        Self { replica_of, ..Self::default() }
    }

    /// The values of a data set that a restart would find, those of string keys with a time to live among them.
    pub fn values(&self) -> Vec<u64> {
        if !self.append_only.is_empty() || !self.append_only_keys.is_empty() {
            return self.append_only.iter().copied().chain(self.append_only_keys.volatile_values()).collect();
        }
        let of = |rdb: &Arc<Snapshot>| {
            rdb.values.iter().copied().chain(rdb.keys.volatile_values()).collect::<Vec<_>>()
        };
        self.rdb.as_ref().map(of).unwrap_or_default()
    }
}

/// A change of a data directory.
#[derive(Clone, Debug)]
pub enum DataRecord {
    /// `replicaof` in `redis.conf`.
    ReplicaOf(Option<ProcessId>),
    /// `appendonly` in `redis.conf`.
    AppendOnly(bool),
    /// A new `dump.rdb`.
    Rdb(Arc<Snapshot>),
    /// What a primary sends, in a file that has no place yet and is deleted at the next start.
    Incoming,
    /// That file takes the place of `dump.rdb`.
    Received(Arc<Snapshot>),
    /// One more write in the append-only file.
    Append(u64),
    /// One more command on a string key in the append-only file.
    AppendKey(Key, KeyChange),
    /// One more command in the append-only file that adds several values.
    AppendAll(Arc<[u64]>),
    /// One more command in the append-only file that removes a list.
    AppendRemove(ListKey),
    /// A new append-only file that begins with this.
    Rewrite(Arc<Snapshot>),
}

impl Storage for DataDirectory {
    type Record = DataRecord;

    fn wiped(&self) -> Self {
        // The configuration file is put back by whoever replaces the disk.
        Self { appendonly: self.appendonly, ..Self::new(self.replica_of) }
    }

    fn apply(&mut self, record: &DataRecord) {
        match record {
            DataRecord::ReplicaOf(primary) => self.replica_of = *primary,
            DataRecord::AppendOnly(is_set) => self.appendonly = Some(*is_set),
            DataRecord::Rdb(snapshot) | DataRecord::Received(snapshot) => {
                self.rdb = Some(Arc::clone(snapshot));
            }
            DataRecord::Incoming => {}
            DataRecord::Append(value) => self.append_only.push(*value),
            DataRecord::AppendAll(values) => self.append_only.extend_from_slice(values),
            DataRecord::AppendRemove(list) => {
                self.append_only.retain(|value| ListKey::of(*value) != *list);
            }
            DataRecord::AppendKey(key, change) => self.append_only_keys.apply(*key, *change),
            DataRecord::Rewrite(snapshot) => {
                self.append_only.clone_from(&snapshot.values);
                self.append_only_keys.clone_from(&snapshot.keys);
                self.rotten = None;
            }
        }
    }

    fn record_count(&self) -> u64 {
        self.append_only.len() as u64
    }

    fn damage(&mut self, damage: Damage<'_, DataRecord>) {
        let victim = match damage {
            Damage::Torn(_) | Damage::Lost(_) => return,
            Damage::Rotten(position) => Some(position),
            Damage::Misdirected { over, .. } => over,
        };
        self.rotten = self.rotten.or(victim);
    }

    fn needs_space(record: &DataRecord) -> bool {
        !matches!(record, DataRecord::ReplicaOf(_) | DataRecord::AppendOnly(_) | DataRecord::Received(_))
    }
}
