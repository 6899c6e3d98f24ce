//! The server process: who is connected to it, and what it plays.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, HostTime, MarkKind, Origin, Process, ProcessId, SimDuration,
    StorageFailure, SyncId,
};

use super::history::{History, ReplicationId};
use super::keys::{Key, KeyChange};
use super::log::{Change, Entry, Log};
use super::packet::{Packet, RunId};
use super::parameters::ServerSpec;
use super::persistence::DataDirectory;
use super::primary::Downstream;
use super::relay::Relay;
use super::release;
use super::replica::{LinkState, Upstream};
use super::saving::Saving;
use super::standstill::{Input, Standstill};
use super::waiting::Waiters;
use crate::redis_cluster::{SetSlot, Slot};

/// How often the server looks after replication (`replicationCron`, a thousand milliseconds).
const CRON: SimDuration = SimDuration::from_secs(1);

/// A Redis server.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) spec: ServerSpec,
    pub(super) run_id: RunId,
    pub(super) history: History,
    pub(super) log: Log,
    /// Where it replicates from; none on a primary.
    pub(super) upstream: Option<Upstream>,
    /// Who replicates from it.
    pub(super) downstream: Downstream,
    /// What it gives them while it is a replica, in releases in which that is a stream of its own.
    pub(super) relay: Option<Relay>,
    pub(super) saving: Saving,
    /// It reads its files after a start.
    pub(super) starting: bool,
    pub(super) sessions: Vec<Session>,
    /// Clients that wait for acknowledgements of replicas.
    pub(super) waiters: Waiters,
    /// What its primary was told about slots, for the node of a cluster that it is.
    pub(super) set_slots: Vec<(Slot, SetSlot)>,
    /// Whether it accepts writes, as it last looked.
    pub(super) writable: bool,
    /// Nothing is added to the stream that no client wrote: clients are paused for a manual failover of a cluster.
    pub(super) stream_held: bool,
    /// It stands still.
    pub(super) standstill: Option<Box<Standstill>>,
}

/// A connection that is no replication link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) connection: ConnectionId,
    /// It has subscribed to the channel of the Sentinels.
    pub(super) subscribed: bool,
    /// It has subscribed to the channel of broadcasts.
    pub(super) listens: bool,
}

/// What a server can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ServerTimer {
    /// The second of replication.
    Cron,
    /// A key expires (`activeExpireCycle`).
    Expire,
    /// Its files are read.
    Started,
    /// A snapshot for replicas is made and sent.
    Dumped,
    /// An RDB file is written.
    Saved,
    /// A snapshot of its primary is loaded.
    Loaded,
    /// Who waits on this connection for acknowledgements of replicas has waited long enough.
    Wait(ConnectionId),
    /// A fork is over.
    Forked,
}

impl Server {
    /// What it is called since it was started.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// True if it is a primary, whether or not it accepts writes now.
    pub fn is_primary(&self) -> bool {
        self.upstream.is_none() && !self.starting
    }

    /// True if it accepts writes.
    pub fn accepts_writes(&self) -> bool {
        self.writable
    }

    /// Where it is in which stream.
    pub fn history(&self) -> History {
        self.history
    }

    /// What it holds; nothing while it loads.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The values that it holds, those of string keys with a time to live among them.
    pub fn values(&self) -> Vec<u64> {
        self.log.values().chain(self.keys().volatile_values()).collect()
    }

    /// Whom it follows; none on a primary.
    pub fn follows(&self) -> Option<ProcessId> {
        self.upstream.as_ref().map(|upstream| upstream.primary)
    }

    /// True if it is a replica whose link is up.
    pub fn link_is_up(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.state == LinkState::Connected)
    }

    /// True until its files are read after a start.
    pub fn is_starting(&self) -> bool {
        self.starting
    }

    /// How far it is in the stream that it follows (`replicationGetSlaveOffset`): zero if it would have to ask for everything.
    pub fn replica_offset(&self) -> u64 {
        let knows = self.upstream.as_ref().is_some_and(|upstream| upstream.knows_stream);
        if knows { self.history.offset } else { 0 }
    }

    /// How old its data are, in whole seconds: since the primary last said something, or since the link broke; none if it
    /// has not had a link since its start.
    pub fn data_age(&self, now: HostTime) -> Option<SimDuration> {
        let seconds = |at: HostTime| at.as_nanos() / 1_000_000_000;
        let since = self.upstream.as_ref()?.data_from()?;
        Some(SimDuration::from_secs(seconds(now).saturating_sub(seconds(since))))
    }

    /// Holds back what the server itself adds to the stream, or ceases to.
    pub fn hold_stream(&mut self, held: bool) {
        self.stream_held = held;
    }

    /// How many replicas have acknowledged within `min-replicas-max-lag`, as of the last look.
    pub fn good_replicas(&self) -> u32 {
        self.downstream.good
    }

    /// `REPLICAOF`: follows another server, or becomes a primary.
    pub fn replicate_from(&mut self, context: &mut impl Context<Self>, primary: Option<ProcessId>) {
        match primary {
            Some(primary) => self.follow(context, primary),
            None => self.promote(context),
        }
    }

    /// Executes a change, and hands it to the replicas that follow.
    #[inline]
    pub(super) fn apply(&mut self, context: &mut impl Context<Self>, change: Change) {
        if self.log.has_backlog() {
            self.history.offset += change.bytes();
        }
        let entry = Entry { end: self.history.offset, change };
        self.log.push(entry);
        self.downstream.feed(context, entry);
    }

    /// Tells the record when it begins or ceases to accept writes. An instance that refuses them for want of
    /// replicas or because its disk failed does not accept them.
    pub(super) fn look_at_writability(&mut self, context: &mut impl Context<Self>) {
        let enough = self.downstream.good >= self.spec.parameters.min_replicas_to_write;
        let now = self.is_primary() && enough && !self.saving.refuses_writes(&self.spec.parameters);
        if now != self.writable {
            self.writable = now;
            if !self.spec.marks_service {
                return;
            }
            let kind = if now { MarkKind::Writable } else { MarkKind::ReadOnly };
            context.mark(kind, u64::from(self.history.id.generation));
        }
    }

    fn load(&mut self, context: &mut impl Context<Self>) {
        self.starting = false;
        let data = context.storage();
        let parameters = &self.spec.parameters;
        let version = parameters.version;
        if parameters.appendonly {
            self.log = Log::loaded(&data.append_only, &data.append_only_keys, 0);
        } else if let Some(snapshot) = data.rdb.clone() {
            self.log = Log::loaded(&snapshot.values, &snapshot.keys, snapshot.offset);
            self.history.offset = snapshot.offset;
            if self.upstream.is_some() {
                self.history.id = snapshot.id;
            } else {
                // A primary begins a new stream, and lets those who followed the old one go on.
                self.history.id = snapshot.id.successor(context.random());
                if release::Change::StreamOutlivesRestart.is_in(version) {
                    self.history.previous = Some((snapshot.id, snapshot.offset + 1));
                }
                self.log.create_backlog(snapshot.offset);
            }
            if let Some(upstream) = &mut self.upstream {
                upstream.knows_stream = release::Change::StreamOutlivesPrimary.is_in(version);
            }
        }
        self.saving.loaded(context.monotonic());
        if self.upstream.is_some() {
            self.connect_upstream(context);
        }
        self.look_at_writability(context);
    }

    pub(super) fn forget_session(&mut self, connection: ConnectionId) {
        self.sessions.retain(|session| session.connection != connection);
    }

    /// One of many keys of no interest expires. Only a primary does that; its replicas wait for the `DEL`.
    fn expire_another(&mut self, context: &mut impl Context<Self>) {
        let Some(interval) = self.spec.expires_every else { return };
        context.set_timer(ServerTimer::Expire, interval);
        if self.is_primary() && (!self.stream_held || self.spec.expires_while_paused) {
            self.change(context, Change::Key(Key(u64::MAX), KeyChange::Delete));
        }
    }

    fn cron(&mut self, context: &mut impl Context<Self>) {
        context.set_timer(ServerTimer::Cron, CRON);
        if self.starting {
            return;
        }
        self.look_after_upstream(context);
        self.look_after_replicas(context);
        self.expire(context);
        self.look_after_files(context);
        self.look_at_writability(context);
    }
}

impl Process for Server {
    type Spec = ServerSpec;
    type Packet = Packet;
    type Timer = ServerTimer;
    type Storage = DataDirectory;

    fn boot(spec: &ServerSpec, context: &mut impl Context<Self>) -> Self {
        // Processes of different hosts were not started in the same instant: their seconds are not in step.
        let phase = context.random().duration(SimDuration::ZERO, CRON);
        context.set_timer(ServerTimer::Cron, phase);
        if let Some(interval) = spec.expires_every {
            context.set_timer(ServerTimer::Expire, interval);
        }
        let data = context.storage();
        let mut spec = spec.clone();
        if let Some(appendonly) = data.appendonly {
            Arc::make_mut(&mut spec.parameters).appendonly = appendonly;
        }
        let (replica_of, rotten) = (data.replica_of, data.rotten);
        let loading = Saving::loading_time(&spec, data);
        if let Some(position) = rotten.filter(|_| spec.parameters.appendonly) {
            context.note(|| format!("Bad file format reading the append only file: record {position}; ends"));
            let me = context.me();
            context.kill(me);
        } else {
            context.set_timer(ServerTimer::Started, spec.machine.start + loading);
        }
        let run_id = RunId(context.random().bits() as u32);
        Self {
            run_id,
            history: History::new(ReplicationId::first(context.random())),
            log: Log::default(),
            upstream: replica_of.map(Upstream::new),
            downstream: Downstream::default(),
            relay: Relay::new(spec.parameters.version),
            saving: Saving::default(),
            starting: true,
            sessions: Vec::new(),
            waiters: Waiters::default(),
            set_slots: Vec::new(),
            writable: false,
            stream_held: false,
            standstill: None,
            spec,
        }
    }

    #[inline]
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Some(standstill) = &mut self.standstill {
            return standstill.keep(Input::Packet(from, packet));
        }
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Request { id, command } => self.on_request(context, connection, id, command),
            Packet::Stream(entry) => self.on_stream(context, connection, entry),
            Packet::Acknowledge(offset) => self.on_acknowledgement(context, connection, offset),
            Packet::Psync(_) | Packet::Greeting(_) => self.on_replica(context, from, &packet),
            packet => self.on_upstream(context, connection, packet),
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ServerTimer) {
        if let Some(standstill) = self.standstill.as_mut().filter(|_| timer != ServerTimer::Forked) {
            return standstill.keep(Input::Timer(timer));
        }
        match timer {
            ServerTimer::Cron => self.cron(context),
            ServerTimer::Expire => self.expire_another(context),
            ServerTimer::Started => self.load(context),
            ServerTimer::Dumped => self.on_dumped(context),
            ServerTimer::Saved => self.on_saved(context),
            ServerTimer::Loaded => self.on_loaded(context),
            ServerTimer::Wait(connection) => self.on_wait_over(context, connection),
            ServerTimer::Forked => self.on_forked(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if let Some(standstill) = &mut self.standstill {
            return standstill.keep(Input::Connection(connection, peer, event));
        }
        match event {
            ConnectionEvent::Accepted => {
                self.sessions.push(Session { connection, subscribed: false, listens: false });
            }
            ConnectionEvent::Opened => self.on_upstream_opened(context, connection),
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => {
                if event != ConnectionEvent::Refused {
                    context.close(connection);
                }
                self.forget_session(connection);
                self.forget_waiting(context, connection);
                if self.on_upstream_lost(context, connection, event) || self.downstream.forget(connection) {
                    self.refresh_good_replicas(context);
                }
            }
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if let Some(standstill) = &mut self.standstill {
            if standstill.awaits(sync) {
                return self.on_replacement_synced(context);
            }
            return standstill.keep(Input::Synced(sync));
        }
        self.on_append_synced(context, sync);
    }

    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        if let Some(standstill) = &mut self.standstill {
            return match failure {
                StorageFailure::Sync(sync, _) if standstill.awaits(sync) => {
                    self.end_replacement(context, Some(&failure));
                }
                StorageFailure::Sync(..) => standstill.keep(Input::StorageFailed(failure)),
                StorageFailure::Write(_) => self.on_refused(context, failure),
            };
        }
        self.on_disk_failure(context, failure);
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        if let Some(name) = command.strip_prefix("replicaof ") {
            let Some(primary) = self.spec.named(name) else { return false };
            self.replicate_from(context, Some(primary));
            return true;
        }
        if let Some(line) = command.strip_prefix("config-file ") {
            return self.edit_file(context, line);
        }
        match command {
            "config-rewrite" => return self.rewrite_file(context),
            // `FLUSHALL` and the like are the business of clients; this is what an operator does to a server.
            "replicaof-no-one" => self.replicate_from(context, None),
            "delete-locks" => self.delete_locks(context),
            _ => return false,
        }
        true
    }

    fn plays(&self, role: &str) -> bool {
        role == "redis" || role == self.role()
    }

    fn role(&self) -> &'static str {
        match (self.is_primary(), self.upstream.is_some(), self.spec.marks_service) {
            (true, _, true) => "primary",
            (true, _, false) => "other-primary",
            (false, true, true) => "replica",
            (false, true, false) => "other-replica",
            (false, false, _) => "redis",
        }
    }
}
