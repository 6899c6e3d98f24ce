//! The side of a server that is replicated from: answering `PSYNC`, feeding the stream, counting acknowledgements. Who waits for those is in
//! [`super::waiting`].
//!
//! ```text
//! replica:  PING  REPLCONF  PSYNC id offset
//! here:     id and offset known, backlog reaches back -> CONTINUE, what is missing, then the stream as it grows
//!           otherwise -> FULLRESYNC, [delay for others], dump, snapshot, (first acknowledgement), stream
//! ```
//!
//! A write is executed, and its reply and its bytes of the stream go to the kernel in the same turn of the event loop
//! (`beforeSleep`), the stream first. With `appendfsync always`, both wait for the sync.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, HostTime, Origin, ProcessId, SimDuration};

use super::log::{Change, Entry, Snapshot};
use super::packet::{Greeting, Packet};
use super::parameters::Machine;
use super::release;
use super::server::{Server, ServerTimer};
use crate::planted::Planted;

/// Everybody who replicates from a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Downstream {
    links: Vec<Link>,
    /// The snapshot that is being made.
    dump: Option<Arc<Snapshot>>,
    /// Replicas that acknowledged lately, as of the last look.
    pub(super) good: u32,
    /// Since when there has been no replica.
    alone_since: Option<HostTime>,
    /// When the last PING was fed.
    pinged_at: Option<HostTime>,
    /// Entries are held back until the append-only file is synced.
    pub(super) corked: bool,
}

/// A connected replica.
#[derive(Clone, Debug)]
struct Link {
    connection: ConnectionId,
    process: ProcessId,
    state: LinkState,
    /// The stream was sent up to here.
    sent: u64,
    acknowledged: u64,
    /// When it last acknowledged, in whole seconds.
    acknowledged_at: u64,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LinkState {
    /// Waits for a snapshot since then (`WAIT_BGSAVE_START`).
    Waiting(HostTime),
    /// The snapshot that it will get is being made.
    Dumping,
    /// The snapshot is on its way; the stream begins with the first acknowledgement.
    Sent,
    /// Gets the stream.
    Online,
}

impl Downstream {
    /// The replicas.
    pub(super) fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.links.iter().map(|link| link.process)
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Sends an entry to every replica that is online.
    #[inline]
    pub(super) fn feed(&mut self, context: &mut impl Context<Server>, entry: Entry) {
        if self.corked {
            return;
        }
        for link in self.links.iter_mut().filter(|link| link.state == LinkState::Online) {
            link.sent = entry.end;
            context.send(link.connection, Packet::Stream(entry));
        }
    }

    /// Sends entries with one end to every replica that is online.
    pub(super) fn feed_all(&mut self, context: &mut impl Context<Server>, entries: &Arc<[Entry]>) {
        let Some(last) = entries.last().filter(|_| !self.corked) else { return };
        for link in self.links.iter_mut().filter(|link| link.state == LinkState::Online) {
            link.sent = last.end;
            context.send(link.connection, Packet::Batch(Arc::clone(entries)));
        }
    }

    /// Everybody who waits for a snapshot gets the one that is being made, up to this offset.
    fn will_get_dump(&mut self, offset: u64) {
        for link in &mut self.links {
            if matches!(link.state, LinkState::Waiting(_)) {
                link.state = LinkState::Dumping;
                link.sent = offset;
            }
        }
    }

    /// Forgets a replica. True if it was one.
    pub(super) fn forget(&mut self, connection: ConnectionId) -> bool {
        let before = self.links.len();
        self.links.retain(|link| link.connection != connection);
        self.links.len() < before
    }

    /// Cuts all replicas off (`disconnectSlaves`).
    pub(super) fn disconnect(&mut self, context: &mut impl Context<Server>) {
        for link in self.links.drain(..) {
            context.close(link.connection);
        }
        self.dump = None;
        context.cancel_timer(&ServerTimer::Dumped);
    }

    pub(super) fn acknowledged(&self, offset: u64, planted: Planted) -> u32 {
        let has = |link: &Link| if planted == Planted::CountSent { link.sent } else { link.acknowledged };
        let counts = |link: &&Link| link.state == LinkState::Online && has(link) >= offset;
        self.links.iter().filter(counts).count() as u32
    }
}

/// The clock of lags: whole seconds (`server.unixtime`).
fn unix_time(context: &impl Context<Server>) -> u64 {
    context.wall().as_nanos() / 1_000_000_000
}

impl Server {
    pub(super) fn on_replica(&mut self, context: &mut impl Context<Self>, from: Origin, packet: &Packet) {
        let Origin::Connection(connection, process) = from else { return };
        match *packet {
            Packet::Greeting(Greeting::Ping) if self.starting => context.send(connection, Packet::NotNow),
            Packet::Greeting(step) => context.send(connection, Packet::Greeted(step)),
            // A replica without its primary, or one that loads, has nothing to give.
            Packet::Psync(_) if self.is_loading() || (self.upstream.is_some() && !self.link_is_up()) => {
                context.send(connection, Packet::NotNow);
            }
            Packet::Psync(asked) => self.on_psync(context, connection, process, asked),
            _ => {}
        }
    }

    fn on_psync(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        process: ProcessId,
        asked: Option<(super::ReplicationId, u64)>,
    ) {
        self.forget_session(connection);
        let size = self.spec.parameters.repl_backlog_size;
        let version = self.spec.parameters.version;
        let partial = asked.filter(|(id, offset)| {
            release::Change::PartialResync.is_in(version) && self.can_continue(*id, *offset, size)
        });
        let (stream, offset) = self.fed();
        let mut link = Link {
            connection,
            process,
            state: LinkState::Online,
            sent: offset,
            acknowledged: 0,
            acknowledged_at: unix_time(context),
        };
        if let Some((_, offset)) = partial {
            context.send(connection, Packet::Continue(stream));
            link.sent = offset;
            self.downstream.links.push(link);
            self.catch_up(context);
        } else {
            link.state = LinkState::Waiting(context.monotonic());
            self.downstream.links.push(link);
            context.send(connection, Packet::FullResync);
            if !self.begin_relay() && !self.log.has_backlog() {
                let keeps = self.spec.planted == Planted::KeepNameWithoutBacklog;
                // Writes without a backlog left no trace in the offset: what it meant before means nothing now.
                if !keeps {
                    self.history.id = self.history.id.renamed(context.random());
                    self.history.previous = None;
                    self.history.offset += 1;
                }
                self.log.create_backlog(self.history.offset);
            }
            let parameters = &self.spec.parameters;
            if !parameters.repl_diskless_sync || parameters.repl_diskless_sync_delay == SimDuration::ZERO {
                self.start_dump(context);
            }
        }
        self.refresh_good_replicas(context);
    }

    /// The stream that its replicas get, and how far it is.
    fn fed(&self) -> (super::ReplicationId, u64) {
        match self.own_relay() {
            Some(relay) => (self.own_stream(), relay.offset()),
            None => (self.history.id, self.history.offset),
        }
    }

    /// What comes in that stream after this offset.
    fn fed_after(&self, offset: u64) -> [&[Entry]; 2] {
        match self.own_relay() {
            Some(relay) => [&[], relay.after(offset)],
            None => [self.log.earlier_after(offset), self.log.after(offset)],
        }
    }

    /// True if a replica that has this stream up to `offset` can go on here, with a backlog of this size.
    fn can_continue(&self, id: super::ReplicationId, offset: u64, size: u64) -> bool {
        let (stream, end) = self.fed();
        if self.relay.is_none() {
            let known = self.history.contains(id, offset)
                || (self.spec.planted == Planted::ContinueAnyStream && offset <= end);
            return known && self.log.reaches_back_to(offset, end, size);
        }
        let reaches = match self.own_relay() {
            Some(relay) => relay.reaches_back_to(offset, size),
            None => offset <= end && self.log.reaches_back_to(offset, end, size),
        };
        id.is_same_stream(stream) && reaches
    }

    /// Sends every online replica what it was not sent yet.
    pub(super) fn catch_up(&mut self, context: &mut impl Context<Self>) {
        let (_, end) = self.fed();
        let cuts = self.has_meaningful_offset();
        for index in 0..self.downstream.links.len() {
            let Link { connection, state, mut sent, .. } = self.downstream.links[index];
            if state != LinkState::Online || sent >= end {
                continue;
            }
            if let Some(rest) = self.log.rest_of_command(sent).filter(|_| cuts) {
                context.send(connection, Packet::Stream(rest));
                sent = rest.end;
            }
            for part in self.fed_after(sent) {
                match part {
                    [] => {}
                    [entry] => context.send(connection, Packet::Stream(*entry)),
                    entries => context.send(connection, Packet::Batch(entries.into())),
                }
            }
            self.downstream.links[index].sent = end;
        }
    }

    /// Begins a snapshot for everybody who waits for one, unless one is being made.
    fn start_dump(&mut self, context: &mut impl Context<Self>) {
        if let Some(offset) = self.downstream.dump.as_ref().map(|snapshot| snapshot.offset) {
            if self.shares_dumps() {
                self.downstream.will_get_dump(offset);
            }
            return;
        }
        let (stream, end) = self.fed();
        let snapshot = self.log.snapshot(stream, end);
        self.downstream.will_get_dump(snapshot.offset);
        let (bytes, forks) = (self.data_bytes(), self.fork(context));
        context.set_timer(ServerTimer::Dumped, forks + Machine::time(bytes, self.spec.machine.dump_rate));
        self.downstream.dump = Some(snapshot);
    }

    pub(super) fn on_dumped(&mut self, context: &mut impl Context<Self>) {
        let Some(snapshot) = self.downstream.dump.take() else { return };
        for link in &mut self.downstream.links {
            if link.state == LinkState::Dumping {
                link.state = LinkState::Sent;
                context.send(link.connection, Packet::Snapshot(Arc::clone(&snapshot)));
            }
        }
        // Replicas that came while it was made waited for the next one.
        if self.downstream.links.iter().any(|link| matches!(link.state, LinkState::Waiting(_)))
            && !self.spec.parameters.repl_diskless_sync
        {
            self.start_dump(context);
        }
    }

    pub(super) fn on_acknowledgement(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        offset: u64,
    ) {
        let now = unix_time(context);
        let links = &mut self.downstream.links;
        let Some(link) = links.iter_mut().find(|link| link.connection == connection) else { return };
        link.acknowledged = link.acknowledged.max(offset);
        link.acknowledged_at = now;
        if link.state == LinkState::Sent {
            link.state = LinkState::Online;
            self.catch_up(context);
            self.refresh_good_replicas(context);
        }
        self.answer_waiting(context);
    }

    /// `refreshGoodSlavesCount`.
    pub(super) fn refresh_good_replicas(&mut self, context: &mut impl Context<Self>) {
        let now = unix_time(context);
        let most = self.spec.parameters.min_replicas_max_lag.as_millis() / 1_000;
        let planted = self.spec.planted;
        let good = |link: &&Link| {
            let lately = now.saturating_sub(link.acknowledged_at) <= most || planted == Planted::IgnoreLag;
            link.state == LinkState::Online && lately
        };
        self.downstream.good = self.downstream.links.iter().filter(good).count() as u32;
        self.look_at_writability(context);
    }

    /// The primary's part of `replicationCron`.
    pub(super) fn look_after_replicas(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let parameters = Arc::clone(&self.spec.parameters);
        let pings = self.upstream.is_none() || self.relay.is_some();
        if pings && !self.downstream.links.is_empty() && !self.stream_held {
            let period = parameters.repl_ping_replica_period;
            if self.downstream.pinged_at.is_none_or(|at| now.since(at) >= period) {
                self.downstream.pinged_at = Some(now);
                if self.own_relay().is_some() {
                    self.relay(context, Change::Ping);
                } else {
                    self.apply(context, Change::Ping);
                }
            }
        }
        self.drop_silent_replicas(context, parameters.repl_timeout);
        for link in &self.downstream.links {
            if !matches!(link.state, LinkState::Online | LinkState::Sent) {
                context.send(link.connection, Packet::KeepAlive);
            }
        }
        if self.downstream.links.is_empty() {
            let since = *self.downstream.alone_since.get_or_insert(now);
            let limit = parameters.repl_backlog_ttl;
            let is_over = limit > SimDuration::ZERO && now.since(since) > limit;
            if is_over && self.upstream.is_none() && self.log.has_backlog() {
                if self.spec.planted != Planted::KeepNameWithoutBacklog {
                    self.history.id = self.history.id.renamed(context.random());
                    self.history.previous = None;
                }
                self.log.free_backlog();
            }
            if let Some(relay) = self.relay.as_mut().filter(|_| is_over) {
                relay.free_backlog();
            }
        } else {
            self.downstream.alone_since = None;
        }
        let delay = parameters.repl_diskless_sync_delay;
        let ripe = |link: &Link| matches!(link.state, LinkState::Waiting(since) if now.since(since) >= delay);
        if self.downstream.links.iter().any(ripe) {
            self.start_dump(context);
        }
        self.refresh_good_replicas(context);
    }

    fn drop_silent_replicas(&mut self, context: &mut impl Context<Self>, limit: SimDuration) {
        let (now, limit) = (unix_time(context), limit.as_millis() / 1_000);
        let links = &mut self.downstream.links;
        let mut index = 0;
        while index < links.len() {
            let link = &links[index];
            if link.state == LinkState::Online && now.saturating_sub(link.acknowledged_at) > limit {
                context.note(|| "disconnecting a timed out replica".to_owned());
                context.close(link.connection);
                links.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// How many replicas follow the stream now.
    pub fn online_replicas(&self) -> u32 {
        self.downstream.links.iter().filter(|link| link.state == LinkState::Online).count() as u32
    }

    /// How many replicas have acknowledged what comes before this offset.
    pub(super) fn replicas_at(&self, offset: u64) -> u32 {
        self.downstream.acknowledged(offset, self.spec.planted)
    }
}
