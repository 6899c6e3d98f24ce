//! The side of a server that replicates from another: the link to its primary, promotion and demotion.
//!
//! Promotion (`replicationUnsetMaster`) gives the stream a new name and remembers the old one up to here, so that the
//! other replicas can go on without a full resynchronisation. Demotion (`replicationSetMaster`) keeps the own name and
//! offset to ask for: that works out only if the new primary holds everything that this server has, which a former
//! primary that fed as little as a PING after the promotion does not (fidelity specification, section 3.3). Then a full
//! resynchronisation discards its data.
//!
//! A replica can have replicas of its own. It hands on to them what it gets, byte for byte and under the same name (from release 2.8 on
//! and before 4.0 it gives them a stream of its own, [`super::relay`]); the PINGs in it are their only sign of life, so that they give
//! it up when it has been without its primary for `repl-timeout`. While its own link is down it has nothing for those who ask
//! (`-NOMASTERLINK`). When it takes a snapshot, it cuts them off and begins a new backlog: they follow it through a snapshot of their
//! own (`replicationAttachToNewMaster`).

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, ProcessId};

use super::log::{Change, Entry, Log, Snapshot};
use super::packet::{Greeting, Packet};
use super::parameters::Machine;
use super::server::{Server, ServerTimer};
use crate::planted::Planted;
use crate::redis_cluster::{SetSlot, Slot};

/// The link of a replica to its primary.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) primary: ProcessId,
    pub(super) state: LinkState,
    connection: Option<ConnectionId>,
    /// When the primary last said something.
    heard_at: HostTime,
    /// Since when the link has been down; none while it is up, and if it never was up.
    pub(super) down_since: Option<HostTime>,
    /// Whether its own history may be asked for (`server.cached_master`).
    pub(super) knows_stream: bool,
    /// The snapshot that is being loaded.
    loading: Option<Arc<Snapshot>>,
    /// By how many bytes it is further than its primary was when that said the same ([`super::meaningful`]).
    pub(super) ahead: u64,
}

/// How far the link is (`server.repl_state`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkState {
    /// Not connected; tried again each second.
    Connect,
    /// Asked for a connection, or greeting.
    Handshake,
    /// Has sent `PSYNC`.
    Psync,
    /// Waits for a snapshot.
    Transfer,
    /// Loads it.
    Loading,
    /// Follows the stream.
    Connected,
}

impl Upstream {
    pub(super) fn new(primary: ProcessId) -> Self {
        Self {
            primary,
            state: LinkState::Connect,
            connection: None,
            heard_at: HostTime::ZERO,
            down_since: None,
            knows_stream: false,
            loading: None,
            ahead: 0,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        self.state == LinkState::Loading
    }

    /// The instant from which the age of the data counts.
    pub(super) fn data_from(&self) -> Option<HostTime> {
        if self.state == LinkState::Connected { Some(self.heard_at) } else { self.down_since }
    }
}

impl Server {
    /// `REPLICAOF host port`.
    pub(super) fn follow(&mut self, context: &mut impl Context<Self>, primary: ProcessId) {
        if self.follows() == Some(primary) {
            return;
        }
        self.end_relay(context);
        let mut upstream = Upstream::new(primary);
        match self.upstream.take() {
            // A former primary takes its own history for what it has of the new one's.
            None => {
                upstream.knows_stream = true;
                self.begin_to_follow(context);
            }
            Some(before) => {
                if let Some(connection) = before.connection {
                    context.close(connection);
                }
                context.cancel_timer(&ServerTimer::Loaded);
                upstream.knows_stream = before.knows_stream;
                if before.state == LinkState::Connected {
                    self.begin_to_follow(context);
                }
            }
        }
        upstream.down_since = Some(context.monotonic());
        self.unblock(context);
        self.upstream = Some(upstream);
        self.look_at_writability(context);
        self.connect_upstream(context);
    }

    /// `REPLICAOF NO ONE`.
    pub(super) fn promote(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = self.upstream.take() else { return };
        if let Some(connection) = upstream.connection {
            context.close(connection);
        }
        context.cancel_timer(&ServerTimer::Loaded);
        if !self.promote_relay() && self.spec.planted != Planted::KeepStreamName {
            let id = self.history.id.successor(context.random());
            self.history.shift(id);
        }
        if upstream.state == LinkState::Connected {
            self.take_pings_back();
        }
        self.downstream.disconnect(context);
        if !self.log.has_backlog() {
            self.log.create_backlog(self.history.offset);
        }
        self.refresh_good_replicas(context);
    }

    /// Asks for a connection to the primary.
    pub(super) fn connect_upstream(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.connection = Some(context.connect(upstream.primary, ConnectOptions::default()));
        upstream.state = LinkState::Handshake;
        upstream.heard_at = context.monotonic();
    }

    pub(super) fn on_upstream_opened(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        if self.upstream_on(connection).is_some() {
            context.send(connection, Packet::Greeting(Greeting::Ping));
        }
    }

    fn upstream_on(&mut self, connection: ConnectionId) -> Option<&mut Upstream> {
        self.upstream.as_mut().filter(|upstream| upstream.connection == Some(connection))
    }

    /// What the primary says, apart from the stream.
    pub(super) fn on_upstream(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        let now = context.monotonic();
        let asks = self.history;
        // From 2.8 on and before 4.0 a refusal is an error like that of a server which has no `PSYNC`.
        let takes_refusal_as_final = self.relay.is_some();
        let Some(upstream) = self.upstream_on(connection) else { return };
        upstream.heard_at = now;
        match packet {
            Packet::Greeted(Greeting::Ping) => {
                context.send(connection, Packet::Greeting(Greeting::ReplConf));
            }
            Packet::Greeted(Greeting::ReplConf) => {
                upstream.state = LinkState::Psync;
                let known = upstream.knows_stream.then_some((asks.id, asks.offset));
                context.send(connection, Packet::Psync(known));
            }
            Packet::NotNow => {
                upstream.knows_stream &= !takes_refusal_as_final;
                self.lose_upstream(context);
            }
            Packet::FullResync => {
                upstream.knows_stream = false;
                upstream.state = LinkState::Transfer;
            }
            Packet::Snapshot(snapshot) => self.on_snapshot(context, snapshot),
            Packet::Continue(id) => self.on_continue(context, id),
            Packet::Batch(entries) => {
                for together in entries.chunk_by(|one, next| one.end == next.end) {
                    match together {
                        [entry] => self.on_stream(context, connection, *entry),
                        entries => self.on_stream_together(context, connection, entries),
                    }
                }
            }
            _ => {}
        }
    }

    /// Something of the stream came on this connection. False: it is not that to the primary.
    #[inline]
    pub(super) fn hears_upstream(&mut self, context: &impl Context<Self>, from: ConnectionId) -> bool {
        let now = context.monotonic();
        let Some(upstream) = self.upstream_on(from) else { return false };
        upstream.heard_at = now;
        true
    }

    /// The next entry of the stream.
    #[inline]
    pub(super) fn on_stream(&mut self, context: &mut impl Context<Self>, from: ConnectionId, entry: Entry) {
        if !self.hears_upstream(context, from) {
            return;
        }
        debug_assert!(
            entry.end > self.history.offset || self.has_meaningful_offset(),
            "the stream goes on where it was"
        );
        let entry = Entry { end: self.own_end(&entry), ..entry };
        self.history.offset = entry.end;
        self.log.push(entry);
        if self.relay.is_none() {
            self.downstream.feed(context, entry);
        }
        match entry.change {
            Change::Write(_) | Change::Key(..) | Change::Remove(_) => {
                self.relay(context, entry.change);
                self.append(context, entry.change);
            }
            Change::GetAck => self.acknowledge(context),
            Change::SetSlot(slot, to) => self.set_slots.push((slot, to)),
            Change::Ping | Change::Rest(_) => {}
        }
    }

    /// What its primary was told about slots since this was asked last.
    #[inline]
    pub fn take_set_slots(&mut self) -> Vec<(Slot, SetSlot)> {
        std::mem::take(&mut self.set_slots)
    }

    fn acknowledge(&self, context: &mut impl Context<Self>) {
        if let Some(Upstream { connection: Some(connection), state: LinkState::Connected, .. }) =
            self.upstream
        {
            context.send(connection, Packet::Acknowledge(self.history.offset));
        }
    }

    fn on_continue(&mut self, context: &mut impl Context<Self>, id: super::ReplicationId) {
        if self.relay.is_some() {
            // From 2.8 on and before 4.0 the answer has no name: it is that which was asked for.
            self.history.id = id;
        } else if id != self.history.id {
            // The same stream under the name that its new primary gave it. Those who follow from here learn the
            // name when they ask again.
            self.history.shift(id);
            self.downstream.disconnect(context);
        }
        if !self.log.has_backlog() {
            self.log.create_backlog(self.history.offset);
        }
        self.link_up(context);
    }

    fn on_snapshot(&mut self, context: &mut impl Context<Self>, snapshot: Arc<Snapshot>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.state = LinkState::Loading;
            upstream.loading = Some(Arc::clone(&snapshot));
        }
        if self.spec.planted != Planted::KeepSubReplicas {
            self.downstream.disconnect(context);
        }
        self.relay_other_data();
        self.begin_load(context, snapshot);
    }

    /// The old data go. Nobody has seen them since the snapshot came.
    pub(super) fn drop_data(&mut self) {
        self.log = Log::default();
    }

    /// The snapshot has the place of the RDB file.
    pub(super) fn load_snapshot(&mut self, context: &mut impl Context<Self>) {
        self.drop_data();
        let loading = self.upstream.as_ref().and_then(|upstream| upstream.loading.as_ref());
        let values = loading.map_or(0, |snapshot| snapshot.values.len() as u64);
        let bytes = self.spec.machine.dataset + values * Change::Write(0).bytes();
        context.set_timer(ServerTimer::Loaded, Machine::time(bytes, self.spec.machine.load_rate));
    }

    /// The snapshot cannot be written: asks for another one (`cancelReplicationHandshake`).
    pub(super) fn give_up_snapshot(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.loading = None;
        if let Some(connection) = upstream.connection.take() {
            context.close(connection);
        }
        self.connect_upstream(context);
    }

    pub(super) fn on_loaded(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        let Some(snapshot) = upstream.loading.take() else { return };
        upstream.knows_stream = true;
        let is_connected = upstream.connection.is_some();
        self.log = Log::loaded(&snapshot.values, &snapshot.keys, snapshot.offset);
        self.log.create_backlog(snapshot.offset);
        self.history = super::History { id: snapshot.id, offset: snapshot.offset, previous: None };
        self.rewrite_append_only(context, snapshot);
        if is_connected {
            self.link_up(context);
        } else {
            self.connect_upstream(context);
        }
    }

    fn link_up(&mut self, context: &mut impl Context<Self>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.state = LinkState::Connected;
            upstream.down_since = None;
            upstream.heard_at = context.monotonic();
            upstream.ahead = 0;
        }
        self.acknowledge(context);
    }

    /// The connection to the primary is gone, if it is this one. True if it was.
    pub(super) fn on_upstream_lost(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> bool {
        let Some(upstream) = self.upstream_on(connection) else { return false };
        upstream.connection = None;
        let was_connected = upstream.state == LinkState::Connected;
        if was_connected {
            upstream.down_since = Some(context.monotonic());
        }
        match upstream.state {
            // It has the file, and finishes.
            LinkState::Loading => {}
            // At once, so that the backlog does not run away; after a refusal, with the next second.
            LinkState::Connected if event != ConnectionEvent::Refused => self.connect_upstream(context),
            _ => upstream.state = LinkState::Connect,
        }
        if was_connected {
            self.go_on_without_primary(context);
        }
        true
    }

    /// The link to the primary was up, and is not any more.
    fn go_on_without_primary(&mut self, context: &mut impl Context<Self>) {
        self.take_pings_back();
        self.relay_without_primary(context);
    }

    /// Gives the connection up, and tries again with the next second.
    fn lose_upstream(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(connection) = upstream.connection.take() {
            context.close(connection);
        }
        let was_connected = upstream.state == LinkState::Connected;
        if was_connected {
            upstream.down_since = Some(context.monotonic());
        }
        upstream.state = LinkState::Connect;
        if was_connected {
            self.go_on_without_primary(context);
        }
    }

    /// The replica's part of `replicationCron`.
    pub(super) fn look_after_upstream(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = &self.upstream else { return };
        let silent = context.monotonic().since(upstream.heard_at) > self.spec.parameters.repl_timeout;
        match upstream.state {
            LinkState::Loading => {}
            LinkState::Connect => self.connect_upstream(context),
            _ if silent => {
                context.note(|| "the primary has been silent for repl-timeout".to_owned());
                self.lose_upstream(context);
            }
            LinkState::Connected => self.acknowledge(context),
            LinkState::Handshake | LinkState::Psync | LinkState::Transfer => {}
        }
    }
}
