//! What travels on connections with a `PostgreSQL` server: clients, the local Patroni, and standbys.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use sim_core::{ProcessId, WallTime};

use super::{DataDirectory, Lsn, MemberId, Slots, Timeline, TimelineHistory, UsesSlot, WalEntry};

/// A packet on a connection with a `PostgreSQL` server.
#[derive(Clone, Debug, Hash)]
pub enum Packet {
    /// A client sends a statement. One at a time on a connection.
    Query {
        /// Comes back in the answer.
        query: u64,
        /// What it asks.
        statement: Statement,
    },
    /// A client gives up waiting and asks to cancel its statement, as drivers do at their statement time-out.
    Cancel {
        /// Which one.
        query: u64,
    },
    /// The server answers a statement.
    Answer {
        /// Of the query.
        query: u64,
        /// The answer.
        answer: Answer,
        /// The server itself, which a client behind a proxy would not know otherwise (`inet_server_addr()`).
        server: ProcessId,
    },
    /// The local Patroni acts on the server (signals, `pg_ctl`, SQL over the local socket).
    Control(Control),
    /// What the server tells the local Patroni, in answer to [`Control::Status`].
    Status(Arc<Status>),
    /// In answer to [`Control::Checkpoint`]: it is complete.
    CheckpointDone,
    /// Between a walsender and a walreceiver.
    Replication(Replication),
    /// With a repository of archived WAL and backups.
    Repository(Repository),
    /// The server answers [`Statement::Newest`].
    Newest {
        /// Of the query.
        query: u64,
        /// The newest visible row of each session that wrote any.
        newest: Arc<[u64]>,
        /// The server itself.
        server: ProcessId,
    },
    /// In answer to [`Control::Status`]: the query ran into its `statement_timeout` (SQLSTATE 57014).
    StatusCancelled,
    /// SIGHUP of a pooler on the same host, after the address of its database was written into its configuration.
    ReloadPooler {
        /// The server's.
        host: ProcessId,
    },
}

/// What clients ask.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Statement {
    /// `INSERT` of a value that nobody else inserts, committed at once at this level.
    Insert {
        /// The value.
        value: u64,
        /// `synchronous_commit` of the session.
        commit: SynchronousCommit,
    },
    /// Counts all rows that are visible to the session.
    Count,
    /// Logs in, and then asks `SELECT pg_is_in_recovery()`, as `target_session_attrs=read-write` does.
    LogIn {
        /// What the client drew for it, as SCRAM has it.
        nonce: u32,
    },
    /// `SELECT pg_is_in_recovery()` on a connection that is logged in.
    IsInRecovery,
    /// `DROP TABLE`: a mistake.
    DropTable,
    /// `SELECT session, max(value) ... GROUP BY session`: the newest visible row of each session that wrote any.
    Newest,
}

/// `synchronous_commit`. The last three wait for standbys only if `synchronous_standby_names` is not empty.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SynchronousCommit {
    /// Acknowledge before the local flush.
    Off,
    /// Wait for the local flush.
    Local,
    /// Wait until the standby has handed it to its operating system.
    RemoteWrite,
    /// Wait until the standby has flushed it.
    #[default]
    On,
    /// Wait until the standby has replayed it.
    RemoteApply,
}

/// What the server answers to a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// Committed, with all that `synchronous_commit` promises.
    Committed,
    /// Committed, with the warning that the wait for a standby was cancelled.
    CommittedLocally,
    /// How many rows there are.
    Count(u64),
    /// Whether the server is in recovery, that is a standby.
    InRecovery(bool),
    /// SQLSTATE 25006: the server is a standby.
    ReadOnly,
    /// SQLSTATE 57P03: the database system is starting up (crash recovery). The server closes the connection.
    StartingUp,
    /// SQLSTATE 57P01 or 57P03: the database system is shutting down. The server closes the connection.
    ShuttingDown,
    /// SQLSTATE 42P01: the table does not exist.
    UndefinedTable,
}

/// What the local Patroni does to a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Control {
    /// Asks for the [`Status`]. Not answered while the server starts up: `pg_isready` says "rejecting connections",
    /// which the status expresses by [`Status::accepts_connections`].
    Status,
    /// `pg_ctl promote -W`.
    Promote,
    /// SIGHUP: reads [`super::Settings`] from the data directory again.
    Reload,
    /// `CHECKPOINT`.
    Checkpoint,
    /// SIGINT or SIGQUIT to the postmaster.
    Stop(StopMode),
    /// `pg_replication_slot_advance`.
    AdvanceSlot {
        /// Whose slot.
        member: MemberId,
        /// Up to which segment.
        segment: u64,
    },
}

/// How to stop a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StopMode {
    /// Cut clients, write a shutdown checkpoint, wait until every connected standby received it.
    Fast,
    /// Cut everything; the next start needs crash recovery.
    Immediate,
}

/// What the local Patroni sees of a running server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Status {
    /// False while it starts up or shuts down.
    pub accepts_connections: bool,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// The timeline it writes or replays.
    pub timeline: Timeline,
    /// Primary: `pg_current_wal_flush_lsn()`.
    pub flushed: Lsn,
    /// Standby: `pg_last_wal_receive_lsn()`, written but not yet necessarily flushed.
    pub received: Lsn,
    /// Standby: `pg_last_wal_replay_lsn()`.
    pub replayed: Lsn,
    /// True while the walreceiver streams.
    pub streaming: bool,
    /// Primary: `pg_stat_replication`, in order of members.
    pub replication: Vec<ReplicationStatus>,
    /// `pg_replication_slots`.
    pub slots: Slots,
}

/// A row of `pg_stat_replication`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReplicationStatus {
    /// `application_name`.
    pub member: MemberId,
    /// `state` is `streaming` (not `catchup`).
    pub streaming: bool,
    /// `sync_state`.
    pub sync: SyncState,
    /// `write_lsn`.
    pub written: Lsn,
    /// `flush_lsn`.
    pub flushed: Lsn,
    /// `replay_lsn`.
    pub replayed: Lsn,
}

/// `sync_state` of a standby.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SyncState {
    /// Not named in `synchronous_standby_names`.
    Async,
    /// Named, and would be synchronous if one before it fell away.
    Potential,
    /// Commits wait for it.
    Sync,
    /// Commits wait for any k of those.
    Quorum,
}

/// Between a walsender and a walreceiver.
#[derive(Clone, Debug, Hash)]
pub enum Replication {
    /// `IDENTIFY_SYSTEM`, `TIMELINE_HISTORY` and `START_REPLICATION` in one: a standby asks for WAL.
    Start {
        /// Who it is (`application_name`).
        member: MemberId,
        /// The timeline it follows.
        timeline: Timeline,
        /// From where.
        from: Lsn,
        /// `SLOT`.
        slot: UsesSlot,
    },
    /// The history of the server's timeline, sent first. A standby whose own history forked before its position cannot
    /// stream.
    History(Arc<TimelineHistory>),
    /// The start was refused: the requested position is not in the server's history (diverged), or its WAL is gone.
    Refused,
    /// WAL, flushed at the sender (a standby is never ahead of its primary's flush).
    Wal {
        /// The records, in order.
        entries: Arc<[WalEntry]>,
    },
    /// The sender is alive (`wal_sender_timeout` / 2 without other traffic), or asks for a reply.
    KeepAlive {
        /// Up to where the sender has flushed.
        flushed: Lsn,
    },
    /// The standby reports.
    Reply {
        /// Written to the operating system.
        written: Lsn,
        /// Flushed to disk.
        flushed: Lsn,
        /// Replayed.
        replayed: Lsn,
    },
}

/// With a repository of archived WAL and backups: a request on a connection, and one answer.
#[derive(Clone, Debug, Hash)]
pub enum Repository {
    /// `archive_command`: keep this file.
    Put(ArchiveFile),
    /// It is kept.
    Stored,
    /// `restore_command`: give me this file.
    Get(FileName),
    /// Here it is.
    Found(ArchiveFile),
    /// There is none of this name.
    Missing,
    /// Keep this backup.
    PutBackup(Arc<Backup>),
    /// Give me the latest backup of a kind.
    GetBackup {
        /// Which.
        kind: BackupKind,
        /// Not taken later than this, if a time is given.
        until: Option<WallTime>,
    },
    /// Here it is.
    Backup(Arc<Backup>),
}

/// The name of a file of the archive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FileName {
    /// `00000002.history`: how the history leads to a timeline.
    History(Timeline),
    /// `000000020000000000000003`: a segment, as a timeline has it.
    Segment(Timeline, u64),
}

/// A file of the archive.
#[derive(Clone, Debug, Hash)]
pub enum ArchiveFile {
    /// A timeline history.
    History(Arc<TimelineHistory>),
    /// A segment: the records that end in it.
    Segment(Timeline, u64, Arc<[WalEntry]>),
}

impl ArchiveFile {
    /// Its name.
    pub fn name(&self) -> FileName {
        match self {
            Self::History(history) => FileName::History(history.current),
            Self::Segment(timeline, number, _) => FileName::Segment(*timeline, *number),
        }
    }
}

/// Kinds of backups.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BackupKind {
    /// A physical one (`pg_basebackup -X stream`): as the server was when it ended. Recovery can go on from there.
    Base,
    /// A logical one (`pg_dump`): as the database was when it began.
    Dump,
}

/// A backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Which kind.
    pub kind: BackupKind,
    /// What it shows is the state of this time, by the clock of the host that took it.
    pub as_of: WallTime,
    /// The data directory, or that which the dump makes of an empty one.
    pub contents: DataDirectory,
}

/// The contents follow from the rest.
impl Hash for Backup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, self.as_of, self.contents.last_position()).hash(state);
    }
}
