//! `PostgreSQL` with streaming replication.
//!
//! A [`Server`] is the postmaster with all its children. The local Patroni starts it ([`sim_core::Context::start`]), shares its
//! volume ([`DataDirectory`]) and controls it over a connection ([`Control`]); clients and standbys connect to it.
//!
//! ```text
//!  Starting ──► Standby ──promote──► Promoting ──► Opening ──► Primary ──fast stop──► Stopping ──► gone
//!     │            └───────────────fast stop──────────────────────────────────────────►┘
//!     └─(no standby.signal)──────────────────────► Opening          kill, immediate stop: gone at once, from anywhere
//! ```
//!
//! # The rules
//!
//! - **Commit** (`xact.c`): a record goes to the WAL buffers and is flushed, one flush at a time; what comes during a
//!   flush joins the next (group commit). Then, by `synchronous_commit`, it waits for standbys, becomes visible, and is
//!   answered in the order of its queue. `FIRST k`, `ANY k` and `*` decide which standbys count (`syncrep.c`); with too few
//!   of them connected it waits for ever. Cancelled, it is answered with a warning; cut by a fast stop, not at all; in
//!   both cases the commit stays.
//! - **Replication** (`walsender.c`, `walreceiver.c`): a sender ships what it has flushed, never more. The standby writes,
//!   flushes, replays and reports. A silent standby is dropped after `wal_sender_timeout`; a silent sender is given up after
//!   `wal_receiver_timeout`; attempts to connect are paced by `wal_retrieve_retry_interval`. A standby follows a new timeline
//!   if its WAL ends at or before the fork; otherwise it is refused until it is rewound. Timelines are compared by number
//!   alone: two histories with one number pass for the same.
//! - **Visibility** (`visibility.rs`): a primary shows rows in the order in which their waits end, a standby in that of the log.
//! - **Recovery** (`xlog.c`): an orderly start opens at once; after a crash, everything since the last checkpoint is replayed,
//!   and with it all flushed commits, acknowledged or not. A standby has a minimum recovery point in
//!   `pg_control`, and does not start if the newest timeline that it finds in an archive does not contain it. A promotion replays all that was received and begins timeline + 1.
//! - **Stop**: fast terminates sessions, writes a shutdown checkpoint and waits until each connected standby has flushed it;
//!   immediate leaves a crash recovery to the next start.
//! - **Slots and recycled WAL** (`slots.rs`): a checkpoint removes segments that no slot and no `wal_keep_size` holds back; who
//!   needs one of them cannot stream any more.
//! - **Archive** (`archive.rs`, `restore.rs`): `archive_command` copies complete segments to a repository, `restore_command`
//!   fetches them back, for a recovery to a point in time, for a standby, and in the middle of each promotion.
//!
//! # What a failure loses
//!
//! | | WAL buffers | written | flushed |
//! |---|---|---|---|
//! | kill of the postmaster, immediate stop | lost | kept | kept |
//! | power failure of the host | lost | lost | kept |
//!
//! # What a bad disk does
//!
//! A server finds out when it recovers; rules and sources are on the page of `crash.rs`.
//!
//! | damage | what the next start makes of it | acknowledged rows |
//! |---|---|---|
//! | torn last record | the end of the log | none lost: it was not flushed |
//! | a record rotted, was lost or overwritten behind the last checkpoint | the end of the log: a standby streams the rest again, a primary goes on without it | on a primary, those behind it are lost without a word, though standbys may have them, who cannot follow any more |
//! | the same before the last checkpoint | not read | none lost |
//! | the record of the last checkpoint | "could not locate a valid checkpoint record": does not start before an operator acts (`patronictl reinit`, not modelled) | those that no other server has |
//! | a base backup or a rewind whose files were not synced | as above | none lost: a standby's |
//! | flushed rows lost by a lying disk with a loss of power | the end of the log | as with a rotten record |
//!
//! So no setting of a single server survives these; synchronous replication does, unless both copies are hit, or the primary
//! that lost rows starts again and stays primary.
//!
//! # Sources
//!
//! The fidelity specification of Patroni, sections 1.3, 2.6 (step f), 2.10, 2.11 and 4, invariants I5 and I6. Beyond it, from
//! the source of `PostgreSQL`:
//!
//! - compared with its text: the pace of retries and the first one without a wait (`last_fail_time` in
//!   `WaitForWALToBecomeAvailable`), the requests that `StartReplication` refuses, the use of `last_processing` in
//!   `WalSndCheckTimeOut`, the loss of WAL buffers in a crash (`RecordTransactionCommit`), the flush of a walreceiver that ends
//!   (`WalRcvDie`);
//! - seen on real servers, and then found in its text: what a promotion waits for besides replay, the next WAL segment (`PreallocXlogFiles`)
//!   and the pause after a walreceiver that it gives up (`WaitForWALToBecomeAvailable`); `tests/data/inputs` has the failovers;
//! - known, not compared again: the order of a shutdown (`ShutdownXLOG` before the walsenders end), "replication slot is
//!   active", the choice among standbys of equal priority, the sizes of records.
//!
//! # What is simplified, and what that changes
//!
//! - A row is one record of [`INSERT_BYTES`]; no transactions of more than one statement, no locks, no indexes. Only
//!   positions in bytes depend on the size.
//! - Statements, sends and writes to the page cache take no time; flushes (the volume), links, start, promotion and replay do.
//! - A standby reports written, flushed and replayed WAL in one message after its flush. `PostgreSQL` reports written WAL before
//!   as well, which matters to `remote_write` alone: [`Parameters::reports_written`]. Replays below 1 ms belong to the
//!   instant of the flush.
//! - A checkpoint is complete as soon as its record is flushed, where `PostgreSQL` spreads its writes over
//!   `checkpoint_completion_target` and recovers from where they began. Crash recovery of a busy server takes less time
//!   here than it could; a fast stop does not wait for dirty buffers.
//! - The WAL writer flushes commits of the level `off` one `wal_writer_delay` after the first of them, where `PostgreSQL` takes up
//!   to three: less is lost here at the worst.
//! - WAL is recycled only where [`Parameters::recycling`] is set, as in clusters of Patroni. At [`INSERT_BYTES`] a write, its 128 MB
//!   are 670,000 writes.
//! - Whether the log ends in the last quarter of its segment is drawn at each promotion: a real log holds more than rows, and goes on from
//!   one promotion to the next. The fork of a walreceiver takes no time, so that a promotion falls into an attempt to connect only by the
//!   latency of the network; of 305 real ones 6 did, on busy machines.
//! - A standby that fell behind gets all it lacks in one packet: links have no bandwidth.
//! - Data pages hold nothing that the log does not: a rotten log takes rows away that real pages could still hold (and that
//!   would then disagree with the log). A walsender reads from memory and ships good records where a real one would ship the
//!   bad ones; a base backup brings a readable log.
//! - No `recovery_min_apply_delay`, no conflicts of queries with replay, no crash of a
//!   single backend, no limit of connections.
//! - The minimum recovery point moves at starts, restartpoints and stops; in `PostgreSQL` with each data page that is written besides.
//!
//! # Example
//!
//! `models/tests/suite/postgres/` builds a world of three servers and shows each of these rules at work.

mod archive;
mod checkpoint;
mod commit;
mod crash;
mod data;
mod login;
mod packet;
mod parameters;
mod recovery;
mod repository;
mod restore;
mod server;
mod shutdown;
mod slots;
mod slowness;
mod synchronous;
mod visibility;
mod wal;
mod walreceiver;
mod walsender;

pub use data::{
    ClusterState, ControlFile, DataDirectory, DataRecord, MemberId, RecoveryTarget, Settings, SyncMethod,
    SynchronousStandbys, Upstream,
};
pub use packet::{
    Answer, ArchiveFile, Backup, BackupKind, Control, FileName, Packet, Replication, ReplicationStatus,
    Repository, Statement, Status, StopMode, SyncState, SynchronousCommit,
};
pub use parameters::{ArchiveSettings, Durations, Parameters, Recycling, Spec};
pub use repository::{Archive, ArchiveRecord, ArchiveRepository, RepositorySpec, RepositoryTimer};
pub use server::{Server, Timer};
pub use slots::{Slot, Slots, UsesSlot};
pub use wal::{
    CHECKPOINT_BYTES, END_OF_RECOVERY_BYTES, INSERT_BYTES, Lsn, SEGMENT_BYTES, Timeline, TimelineHistory,
    Wal, WalEntry, WalKind,
};
