//! The data directory: what survives, shared by the server and the local Patroni, which reads and changes it with
//! `pg_controldata`, `pg_rewind`, `pg_basebackup` and configuration files.

use std::fmt;
use std::sync::Arc;

use sim_core::{ProcessId, Storage};

/// A position in the write-ahead log, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    /// As PostgreSQL prints it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A timeline number. Each promotion starts a new one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timeline(pub u32);

impl Default for Timeline {
    fn default() -> Self {
        Self(1)
    }
}

/// A member of the cluster, by its number. Its name is in the specification of the processes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(pub u8);

/// Where each timeline ended and the next began, oldest first; the current timeline is not in the list.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TimelineHistory {
    /// (timeline, where it ended).
    pub switches: Vec<(Timeline, Lsn)>,
    /// The timeline that this history leads to.
    pub current: Timeline,
}

/// One record of the write-ahead log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WalEntry {
    /// The position after the record.
    pub end: Lsn,
    /// The timeline on which it was written.
    pub timeline: Timeline,
    /// What it says.
    pub kind: WalKind,
}

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WalKind {
    /// A row with this value was inserted and committed.
    Commit {
        /// The value.
        value: u64,
    },
    /// A checkpoint completed; `shutdown` when the server stopped in order.
    Checkpoint {
        /// The last record that an orderly shutdown writes.
        shutdown: bool,
    },
    /// The first record of a new timeline after a promotion.
    EndOfRecovery,
}

/// The write-ahead log.
#[derive(Clone, Debug, Default)]
pub struct Wal {
    /// All records, in order of position.
    pub entries: Vec<WalEntry>,
}

impl Wal {
    /// The end of the last record.
    pub fn end(&self) -> Lsn {
        self.entries.last().map_or(Lsn(0), |entry| entry.end)
    }
}

/// `pg_control`'s `Database cluster state`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ClusterState {
    /// Stopped in order as a primary.
    #[default]
    ShutDown,
    /// Stopped in order as a standby.
    ShutDownInRecovery,
    /// A primary runs, or was killed while it ran.
    InProduction,
    /// A standby runs, or was killed while it ran.
    InArchiveRecovery,
    /// A primary replays its own log after a crash, or was killed while it did.
    InCrashRecovery,
}

/// `pg_control`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ControlFile {
    /// The state of the cluster.
    pub state: ClusterState,
    /// The end of the last completed checkpoint: recovery starts there.
    pub checkpoint: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
}

/// What `postgresql.conf` and friends say that changes while a cluster lives. Patroni writes it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Settings {
    /// `standby.signal` exists: start in recovery and stay there.
    pub standby: bool,
    /// `primary_conninfo` and `primary_slot_name`; absent: no walreceiver.
    pub upstream: Option<Upstream>,
    /// `synchronous_standby_names`.
    pub synchronous_standbys: SynchronousStandbys,
    /// Members for which a physical replication slot retains WAL.
    pub slots: Vec<MemberId>,
}

/// Where a standby streams from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    /// The server.
    pub server: ProcessId,
    /// The member that it is.
    pub member: MemberId,
}

/// `synchronous_standby_names`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct SynchronousStandbys {
    /// How many, and how they are chosen.
    pub method: SyncMethod,
    /// The names, in order of priority; for [`SyncMethod::Wildcard`] empty.
    pub members: Vec<MemberId>,
}

/// How synchronous standbys are chosen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SyncMethod {
    /// The list is empty: commits wait for no standby.
    #[default]
    Nobody,
    /// `FIRST k (...)`: the first k of the list that stream.
    First(u8),
    /// `ANY k (...)`: any k of the list.
    Any(u8),
    /// `*`: any one that streams, which Patroni 4.1.5 writes in strict mode without candidates.
    Wildcard,
}

/// The contents of the volume that a PostgreSQL server and its Patroni share.
#[derive(Clone, Debug, Default)]
pub struct DataDirectory {
    /// False on an empty disk: `initdb` or a base backup must fill it.
    pub initialized: bool,
    /// `pg_control`.
    pub control: ControlFile,
    /// `postgresql.conf`, `standby.signal`, slots.
    pub settings: Settings,
    /// The timelines up to the one that this server writes or follows.
    pub history: TimelineHistory,
    /// `pg_wal`, and with it the rows: every record is applied.
    pub wal: Wal,
}

/// A change of the data directory.
#[derive(Clone, Debug)]
pub enum DataRecord {
    /// WAL records, in order, behind those that are there.
    Append(Arc<[WalEntry]>),
    /// One WAL record.
    AppendOne(WalEntry),
    /// `pg_control`.
    Control(ControlFile),
    /// Configuration files.
    Settings(Arc<Settings>),
    /// A history file was written or fetched.
    History(Arc<TimelineHistory>),
    /// `pg_rewind`: forget all WAL behind this position, as if it had never been written.
    RewindTo(Lsn),
    /// `initdb` or `pg_basebackup`: the contents are replaced.
    Replace(Arc<DataDirectory>),
}

impl Storage for DataDirectory {
    type Record = DataRecord;

    fn apply(&mut self, record: &DataRecord) {
        match record {
            DataRecord::Append(entries) => self.wal.entries.extend_from_slice(entries),
            DataRecord::AppendOne(entry) => self.wal.entries.push(*entry),
            DataRecord::Control(control) => self.control = *control,
            DataRecord::Settings(settings) => self.settings = (**settings).clone(),
            DataRecord::History(history) => self.history = (**history).clone(),
            DataRecord::RewindTo(position) => {
                let keep = self.wal.entries.partition_point(|entry| entry.end <= *position);
                self.wal.entries.truncate(keep);
            }
            DataRecord::Replace(contents) => *self = (**contents).clone(),
        }
    }
}
