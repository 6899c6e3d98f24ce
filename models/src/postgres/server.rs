//! The server process: what it is doing, and who is connected to it.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, MarkKind, Origin, Process, ProcessId, StorageFailure, SyncId,
};

use super::commit::CommitPath;
use super::parameters::Spec;
use super::slowness::Asks;
use super::walreceiver::WalReceiving;
use super::walsender::{Request, WalSending};
use super::{
    Answer, Control, DataDirectory, Lsn, Packet, Replication, ReplicationStatus, Repository, Statement,
    Status, StopMode, SynchronousCommit, WalKind, synchronous,
};
use crate::planted::Planted;

/// A `PostgreSQL` server: the postmaster with all its children.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) spec: Spec,
    pub(super) phase: Phase,
    /// A promotion was asked for before recovery was far enough.
    pub(super) promotion_wanted: bool,
    /// Connections that are not (yet) known to belong to a standby or to Patroni.
    pub(super) sessions: Vec<ConnectionId>,
    pub(super) logins: super::login::Logins,
    pub(super) commits: CommitPath,
    pub(super) sending: WalSending,
    pub(super) receiving: WalReceiving,
    pub(super) checkpoint: super::checkpoint::Checkpointing,
    pub(super) archiving: super::archive::Archiving,
    pub(super) restoring: super::restore::Restoring,
    pub(super) slowness: super::slowness::Slowness,
    /// Rows that sessions see.
    pub(super) visible: u64,
    /// What reads have seen of the log.
    pub(super) seen: super::visibility::SeenLog,
    /// The table does not exist any more.
    pub(super) dropped: bool,
}

/// What a server is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Replaying its own WAL; accepts nobody.
    Starting {
        /// The data directory is being synced (`SyncDataDirectory`): what an earlier life wrote may not be durable yet.
        sync: Option<SyncId>,
        /// The replay is complete.
        replayed: bool,
    },
    /// A standby: read-only, replaying what arrives.
    Standby,
    /// Replaying the rest before it opens a new timeline; still read-only.
    Promoting,
    /// Making the end of recovery durable; `promoted` if it accepted reads before.
    Opening {
        /// When this completes, writes are accepted.
        sync: SyncId,
        /// Whether it was a standby until now.
        promoted: bool,
    },
    /// Accepts writes.
    Primary,
    /// A fast stop is under way. See the `shutdown` module.
    Stopping(super::shutdown::Stopping),
    /// Gone as soon as the kernel carries it out.
    Exited,
}

impl Phase {
    /// True if sessions may read.
    pub(super) fn serves_reads(self) -> bool {
        matches!(self, Self::Standby | Self::Promoting | Self::Primary | Self::Opening { promoted: true, .. })
    }
}

/// What a server can be woken for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Timer {
    /// Start-up, with the replay of its own WAL, is complete.
    Started,
    /// Everything received is replayed and the new timeline can begin.
    Promoted,
    /// The replay of a backlog is complete.
    Replayed,
    /// `wal_writer_delay`.
    WalWriter,
    /// `checkpoint_timeout`.
    Checkpoint,
    /// The next deadline of a walsender (`wal_sender_timeout`, and half of it).
    WalSender,
    /// The next deadline of the walreceiver (`wal_receiver_status_interval`, `wal_receiver_timeout`, and half of it).
    WalReceiver,
    /// `wal_retrieve_retry_interval`.
    WalRetrieveRetry,
    /// The postmaster has forked a walreceiver.
    WalReceiverStart,
    /// The archiver tries again.
    Archive,
    /// `archive_timeout`.
    ArchiveTimeout,
    /// `restore_command` takes too long.
    RestoreCommand,
    /// A restored segment is replayed.
    Restored,
    /// A backend has authenticated its client.
    Login,
    /// A slow statement begins to act.
    Statement,
}

impl Process for Server {
    type Spec = Spec;
    type Packet = Packet;
    type Timer = Timer;
    type Storage = DataDirectory;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        Self::start(spec, context)
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            unreachable!("PostgreSQL is not spoken to by datagrams: {packet:?}")
        };
        if self.phase == Phase::Exited {
            return;
        }
        match packet {
            Packet::Query { query, statement: Statement::LogIn { nonce } } => {
                self.log_in(context, connection, nonce, query);
            }
            Packet::Query { query, statement } => {
                if !self.holds(context, connection, Asks::Client { query, statement }) {
                    self.answer_query(context, connection, query, statement);
                }
            }
            Packet::Cancel { query } => self.on_cancel(context, connection, query),
            Packet::Control(control) => self.on_control(context, connection, control),
            Packet::Replication(message) => self.on_replication(context, connection, message),
            Packet::Repository(answer) => self.on_repository(context, connection, answer),
            Packet::Answer { .. }
            | Packet::Newest { .. }
            | Packet::Status(_)
            | Packet::StatusCancelled
            | Packet::ReloadPooler { .. }
            | Packet::CheckpointDone => unreachable!("only servers send {packet:?}"),
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Timer) {
        if self.phase == Phase::Exited {
            return;
        }
        match timer {
            Timer::Started => self.replayed_own_wal(context),
            Timer::Promoted => self.end_recovery(context),
            Timer::Replayed => self.replayed_backlog(context),
            Timer::WalWriter => self.flush(context),
            Timer::Checkpoint => self.checkpoint_is_due(context),
            Timer::WalSender => self.check_senders(context),
            Timer::WalReceiver => self.check_receiver(context),
            Timer::WalRetrieveRetry if self.phase == Phase::Promoting => self.read_the_rest(context),
            Timer::WalRetrieveRetry => self.start_receiver(context),
            Timer::WalReceiverStart => self.connect_receiver(context),
            Timer::Archive => self.archive(context),
            Timer::ArchiveTimeout => self.archive_timeout_is_due(context),
            Timer::RestoreCommand => self.restored(context, None),
            Timer::Restored => self.replayed_segment(context),
            Timer::Login => self.logged_in(context),
            Timer::Statement => self.carry_out_held(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        match event {
            ConnectionEvent::Accepted => self.sessions.push(connection),
            ConnectionEvent::Opened => {}
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => self.on_lost(context, connection),
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        match self.phase {
            Phase::Exited => return,
            Phase::Opening { sync: awaited, .. } if awaited == sync => {
                self.open_for_writes(context);
                return;
            }
            Phase::Starting { .. } => {
                self.synced_data_directory(context, sync);
                return;
            }
            _ => {}
        }
        if !self.on_wal_flushed(context, sync)
            && !self.on_received_flushed(context, sync)
            && !self.on_restored_flushed(context, sync)
        {
            self.on_control_file_synced(context, sync);
        }
    }

    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        self.storage_failed(context, failure);
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        self.become_slow(context, command)
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "postgres" => true,
            "primary" => self.phase == Phase::Primary,
            "standby" => matches!(self.phase, Phase::Standby | Phase::Promoting),
            "streaming-standby" => self.phase == Phase::Standby && self.receiving.is_streaming(),
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        match self.phase {
            Phase::Primary => "primary",
            Phase::Standby | Phase::Promoting => "standby",
            _ => "postgres",
        }
    }
}

impl Server {
    /// What a primary has acknowledged to sessions whose level waits for standbys, if any are synchronous: the last position.
    /// None unless it accepts writes.
    pub fn acknowledged(&self) -> Option<Lsn> {
        (self.phase == Phase::Primary).then_some(self.commits.acknowledged)
    }

    /// How far its WAL is durable, as far as it knows.
    pub fn flushed(&self) -> Lsn {
        self.sending.flushed
    }

    pub(super) fn answer_query(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        query: u64,
        statement: Statement,
    ) {
        let in_recovery = self.phase != Phase::Primary;
        let answer = match self.phase {
            Phase::Stopping(_) | Phase::Exited => Answer::ShuttingDown,
            phase if !phase.serves_reads() => Answer::StartingUp,
            _ => match statement {
                Statement::LogIn { .. } | Statement::IsInRecovery => Answer::InRecovery(in_recovery),
                Statement::Count | Statement::Newest | Statement::Insert { .. } if self.dropped => {
                    Answer::UndefinedTable
                }
                Statement::Count => Answer::Count(self.visible),
                Statement::Newest => {
                    let (newest, server) = (self.newest(context.storage()), context.me());
                    context.send(connection, Packet::Newest { query, newest, server });
                    return;
                }
                Statement::Insert { .. } | Statement::DropTable if in_recovery => Answer::ReadOnly,
                Statement::DropTable => {
                    self.drop_table(context);
                    return;
                }
                Statement::Insert { value, commit } => {
                    self.insert(context, connection, query, value, commit);
                    return;
                }
            },
        };
        Self::answer(context, connection, query, answer);
        if matches!(answer, Answer::ShuttingDown | Answer::StartingUp) {
            self.sessions.retain(|session| *session != connection);
            context.close(connection);
        }
    }

    fn on_control(&mut self, context: &mut impl Context<Self>, connection: ConnectionId, control: Control) {
        // Signals and `pg_ctl` work for as long as the postmaster lives: a fast stop does not cut this connection.
        self.sessions.retain(|session| *session != connection);
        match control {
            Control::Status if self.holds(context, connection, Asks::Status) => {}
            Control::Status => self.send_status(context, connection),
            Control::Promote => self.promote(context),
            Control::Reload => self.reload(context),
            Control::Checkpoint => self.request_checkpoint(context, Some(connection)),
            Control::Stop(StopMode::Fast) => self.stop_fast(context),
            Control::Stop(StopMode::Immediate) => self.exit(context),
            Control::AdvanceSlot { member, segment } => self.advance_slot(member, segment),
        }
    }

    fn on_replication(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        message: Replication,
    ) {
        match message {
            Replication::Start { member, timeline, from, slot } => {
                let standby = Request { member, timeline, from, uses_slot: slot.0 };
                self.on_start_replication(context, connection, standby);
            }
            Replication::Reply { written, flushed, replayed } => {
                let written_is_enough = self.spec.lacks(Planted::AcknowledgeWritten);
                let flushed = if written_is_enough { written } else { flushed };
                let positions = synchronous::Positions { written, flushed, replayed };
                self.on_reply(context, connection, positions);
            }
            Replication::KeepAlive { .. } if !self.receiving.is(connection) => {
                self.on_reply_requested(context, connection);
            }
            message => self.on_upstream(context, connection, message),
        }
    }

    /// A repository answered `archive_command` or `restore_command`.
    fn on_repository(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        answer: Repository,
    ) {
        match answer {
            Repository::Stored if self.archiving.is(connection) => self.archived(context, true),
            Repository::Found(file) if self.restoring.is(connection) => self.restored(context, Some(file)),
            Repository::Missing if self.restoring.is(connection) => self.restored(context, None),
            _ => {}
        }
    }

    /// The table is gone as soon as the record is flushed; nobody waits for that.
    fn drop_table(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "DROP TABLE".to_owned());
        self.dropped = true;
        self.visible = 0;
        self.log(context, WalKind::DropTable);
    }

    fn reload(&mut self, context: &mut impl Context<Self>) {
        self.apply_synchronous_standbys(context);
        self.load_slots(context);
        if self.phase == Phase::Standby {
            self.upstream_may_have_changed(context);
        }
    }

    fn on_lost(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        if self.receiving.is(connection) {
            self.receiver_failed(context);
        } else if self.archiving.is(connection) {
            self.archived(context, false);
        } else if self.restoring.is(connection) {
            self.restored(context, None);
        } else if !self.remove_sender(context, connection) {
            // A backend that waits for a standby does not notice that its client left
            // (`client_connection_check_interval` = 0): it stays in its queue.
            self.sessions.retain(|session| *session != connection);
            self.logins.forget(connection);
            self.checkpoint.forget(connection);
        }
    }

    pub(super) fn send_status(&self, context: &mut impl Context<Self>, connection: ConnectionId) {
        let status = self.status(context);
        context.send(connection, Packet::Status(Arc::new(status)));
    }

    fn status(&self, context: &impl Context<Self>) -> Status {
        let storage = context.storage();
        let in_recovery = match self.phase {
            Phase::Primary => false,
            Phase::Stopping(stopping) => !stopping.was_primary,
            Phase::Starting { .. } => storage.settings.standby,
            Phase::Standby | Phase::Promoting | Phase::Opening { .. } | Phase::Exited => true,
        };
        let rule = if self.spec.lacks(Planted::IgnoreReload) {
            &storage.settings.synchronous_standbys
        } else {
            &self.commits.synchronous
        };
        let row = |standby: &synchronous::Standby| {
            let positions = standby.positions.unwrap_or_default();
            ReplicationStatus {
                member: standby.member,
                streaming: standby.streaming,
                sync: synchronous::state_of(self.sending.standbys(), standby, rule),
                written: positions.written,
                flushed: positions.flushed,
                replayed: positions.replayed,
            }
        };
        let mut replication: Vec<ReplicationStatus> = self.sending.standbys().map(row).collect();
        replication.sort_by_key(|row| row.member);
        Status {
            accepts_connections: self.phase.serves_reads(),
            in_recovery,
            timeline: storage.history.current,
            flushed: self.sending.flushed,
            received: storage.wal.end(),
            replayed: self.receiving.replayed,
            streaming: self.receiving.is_streaming(),
            replication,
            slots: self.sending.slots.clone(),
        }
    }

    pub(super) fn answer(
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        query: u64,
        answer: Answer,
    ) {
        let server = context.me();
        context.send(connection, Packet::Answer { query, answer, server });
    }

    pub(super) fn open_for_writes(&mut self, context: &mut impl Context<Self>) {
        self.phase = Phase::Primary;
        let timeline = context.storage().history.current;
        context.mark(MarkKind::Writable, u64::from(timeline.0));
        context.note(|| format!("accepts writes on timeline {}", timeline.0));
        self.sending.flushed = context.storage().wal.end();
        self.sending.flushed_count = context.storage().wal.entries.len();
        self.commits.begin(context.storage());
        self.apply_synchronous_standbys(context);
        self.dropped = context.storage().is_dropped();
        self.ship(context, None);
        self.begin_archiving(context);
        context.set_timer(Timer::Checkpoint, self.spec.parameters.checkpoint_timeout);
    }

    /// True for levels that wait for standbys.
    pub(super) fn waits_for_standbys(level: SynchronousCommit) -> bool {
        level >= SynchronousCommit::RemoteWrite
    }
}
