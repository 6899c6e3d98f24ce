//! A member: carries out what its Raft core wants, and hands everything else to where it belongs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, HostTime, Origin, Process, ProcessId, SimDuration,
    StorageFailure, Stream, SyncId,
};

use super::lessor::{Lessor, SCAN_INTERVAL};
use super::links::{Link, REDIAL_INTERVAL, STREAM_OPTIONS};
use super::pending::{Pending, Stage, Work};
use super::version::Change;
use super::watch::Watch;
use super::{Disk, DiskRecord, Packet, PeerMessage, Proposal, Spec, Store, v2};
use crate::raft::{Condition, Config, NodeId, Raft, Role, Term, Timing};

/// What a member can be woken for.
#[derive(Clone, Debug, Hash, PartialEq)]
pub enum Timer {
    /// `--election-timeout` and its random part: no leader was heard.
    Election,
    /// `--heartbeat-interval`: the leader's tick.
    Heartbeat,
    /// The lessor's scan, every 500 ms when something can have expired.
    LeaseScan,
    /// The request timeout of the oldest request.
    RequestTimeout,
    /// Reads without an answer are asked for again.
    ReadRetry,
    /// The keep-alive with this number is tried again.
    KeepAliveRetry(u64),
    /// The peer at this position is dialled (again), or its dial takes too long.
    Dial(u8),
    /// The leader looks for expired keys of API version 2.
    Sync,
}

/// A member of an etcd cluster.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) spec: Spec,
    pub(super) raft: Raft<Arc<Proposal>>,
    pub(super) store: Store,
    pub(super) lessor: Lessor,
    pub(super) links: Vec<Link>,
    pub(super) watches: Vec<Watch>,
    /// The store of API version 2.
    pub(super) v2: v2::Store,
    /// Its clients that wait for a change.
    pub(super) polls: Vec<v2::Poll>,
    pub(super) started_at: HostTime,
    /// When the leader looks for expired keys.
    pub(super) next_sync: HostTime,
    /// By number; numbers ascend with time.
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) next_number: u64,
    /// The leader as of the last look, and how often it changed.
    pub(super) known_leader: Option<NodeId>,
    pub(super) leader_changes: u64,
    known_term: Term,
    /// The leader's last tick: it doubts its leadership when this is old.
    pub(super) last_tick: HostTime,
    armed_election: HostTime,
    armed_heartbeat: HostTime,
    pub(super) armed_request_timeout: bool,
    /// What a leader that is stuck in a save wants to revoke, and only its successor can (before 3.4.31 / 3.5.13).
    pub(super) held: Vec<Arc<Proposal>>,
    /// Since when the loop that ticks has been saving.
    saving_since: Option<HostTime>,
    /// Gone as soon as the kernel carries it out.
    exited: bool,
}

impl Server {
    /// The consensus core, for tests and reports.
    pub fn raft(&self) -> &Raft<Arc<Proposal>> {
        &self.raft
    }

    /// True once it has ended by itself: it answers nobody any more, whatever it has read or counted before.
    pub(crate) const fn has_exited(&self) -> bool {
        self.exited
    }

    /// What this member has applied.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What this member has applied of API version 2.
    pub fn v2_store(&self) -> &v2::Store {
        &self.v2
    }

    /// True while this member believes that it leads.
    pub fn is_leader(&self) -> bool {
        self.raft.role() == Role::Leader
    }

    /// Carries out everything that the last input led to.
    pub(super) fn drive(&mut self, context: &mut impl Context<Self>) {
        if self.raft.has_lost_log() {
            self.exit(context, || {
                "tocommit is out of range: was the raft log corrupted, truncated, or lost?".to_owned()
            });
            return;
        }
        self.watch_leader(context);
        loop {
            if let Some(write) = self.raft.begin_write() {
                let (record, must_sync) = (DiskRecord::of(&write), write.must_sync);
                context.write(record);
                if must_sync {
                    context.sync();
                    self.saving_since = Some(context.monotonic());
                }
            }
            while let Some((to, message)) = self.raft.next_message() {
                self.send_to_peer(context, to, PeerMessage::Raft(message));
            }
            // Applying may lead to more: a new leader's first entry lets keep-alives and reads go on.
            if !self.apply_committed(context) && !self.advance_reads(context) {
                break;
            }
        }
        self.arm_timers(context);
    }

    /// `Fatal` or a panic: the process ends.
    fn exit(&mut self, context: &mut impl Context<Self>, why: impl FnOnce() -> String) {
        context.note(why);
        self.exited = true;
        context.kill(context.me());
    }

    /// Whether a tick that is due now is lost: the loop that ticks is also the one that saves (`raftNode.start`), and
    /// while it waits for the disk, one tick waits for it and the others never come. A wait of less than a tick
    /// delays a tick by as much, which is left out.
    fn loses_ticks(&self, now: HostTime) -> bool {
        self.saving_since.is_some_and(|since| now.since(since) > self.spec.heartbeat_interval)
    }

    /// True while the loop that ticks waits for its disk.
    pub(super) const fn is_saving(&self) -> bool {
        self.saving_since.is_some()
    }

    /// The tick is done, unless requests came before it. A member that stood still has both waiting when it goes on, the tick
    /// and what was asked meanwhile, and which of their goroutines runs first is open.
    fn ticked(&mut self, now: HostTime, random: &mut Stream) {
        let stood_still = now.since(self.armed_heartbeat) > self.spec.doubt_after();
        if !stood_still || random.below(2) == 0 {
            self.last_tick = now;
        }
    }

    /// The save is complete: the loop ticks again.
    fn saved(&mut self, now: HostTime) {
        if self.loses_ticks(now)
            && let Some(since) = self.saving_since
        {
            self.raft.skip_ticks(now, now.since(since));
            // What is due now has to be armed anew: it was passed over when its timer fired.
            self.armed_election = HostTime::NEVER;
            self.armed_heartbeat = HostTime::NEVER;
        }
        self.saving_since = None;
    }

    /// Sends on what waited for the save.
    fn release_held(&mut self, context: &mut impl Context<Self>) {
        for proposal in std::mem::take(&mut self.held) {
            self.propose(context, &proposal);
        }
    }

    fn arm_timers(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        if let Some(deadline) = self.raft.election_deadline()
            && deadline != self.armed_election
        {
            self.armed_election = deadline;
            context.set_timer(Timer::Election, deadline.since(now));
        }
        if let Some(due) = self.raft.next_heartbeat()
            && due != self.armed_heartbeat
        {
            self.armed_heartbeat = due;
            context.set_timer(Timer::Heartbeat, due.since(now));
        }
        self.arm_sync(context);
    }

    /// True if leases are this member's business. The loop that saves also tells the lessor that another member leads: while
    /// it is stuck, a deposed leader's lessor goes on, unless it makes sure (`Change::EnsureLeadership`).
    pub(super) fn keeps_leases(&self) -> bool {
        self.is_leader() || (!self.spec.has(Change::EnsureLeadership) && self.lessor.is_primary())
    }

    /// Notices that the leader or the term changed.
    fn watch_leader(&mut self, context: &mut impl Context<Self>) {
        if self.saving_since.is_some() && self.lessor.is_primary() && !self.spec.has(Change::EnsureLeadership)
        {
            return;
        }
        let (leader, term) = (self.raft.leader(), self.raft.term());
        if (leader, term) == (self.known_leader, self.known_term) {
            return;
        }
        self.known_leader = leader;
        self.known_term = term;
        self.leader_changes += 1;
        self.last_tick = context.monotonic();
        if !self.is_leader() || leader.is_none() {
            self.lessor.demote();
            context.cancel_timer(&Timer::LeaseScan);
        }
        match leader {
            Some(leader) if leader == self.raft.me() => {
                // A leader of an earlier term that was elected again starts over as well.
                self.lessor.demote();
                context.note(|| format!("etcd leader in term {term}"));
            }
            Some(leader) => {
                context.note(|| format!("follows etcd member {} in term {term}", leader.0));
            }
            None => context.note(|| format!("no etcd leader in term {term}")),
        }
        self.leader_changed(context);
    }

    pub(super) fn send_to_peer(&self, context: &mut impl Context<Self>, to: NodeId, message: PeerMessage) {
        if let Link::Open(connection) = self.links[to.index()] {
            context.send(connection, Packet::Peer(message));
        }
    }

    fn dial(&mut self, context: &mut impl Context<Self>, peer: u8) {
        let link = &mut self.links[usize::from(peer)];
        if let Link::Opening(connection) = *link {
            context.close(connection);
        }
        let connection = context.connect(self.spec.peers[usize::from(peer)], STREAM_OPTIONS);
        *link = Link::Opening(connection);
        context.set_timer(Timer::Dial(peer), self.spec.dial_timeout());
    }

    fn on_link(&mut self, context: &mut impl Context<Self>, peer: u8, event: ConnectionEvent) {
        let link = &mut self.links[usize::from(peer)];
        if let (ConnectionEvent::Opened, Some(connection)) = (event, link.connection()) {
            *link = Link::Open(connection);
            context.cancel_timer(&Timer::Dial(peer));
            return;
        }
        *link = Link::Down;
        context.set_timer(Timer::Dial(peer), REDIAL_INTERVAL);
        let node = NodeId(peer);
        self.raft.report_unreachable(node);
        let forwarded: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| {
                matches!(pending.work, Work::KeepAlive { stage: Stage::Forwarded(to), .. } if to == node)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in forwarded {
            self.retry_keep_alive(context, number);
        }
        self.drive(context);
    }

    fn on_peer(&mut self, context: &mut impl Context<Self>, from: ProcessId, message: PeerMessage) {
        let Some(from) = self.spec.peers.iter().position(|peer| *peer == from) else {
            debug_assert!(false, "only members send peer messages");
            return;
        };
        let from = NodeId(from as u8);
        match message {
            PeerMessage::Raft(message) => {
                self.raft.step(context.monotonic(), from, message, context.random());
            }
            PeerMessage::Propose(proposal) => {
                // A member that does not lead drops it, as etcd does with proposals forwarded to a deposed leader
                // when no newer one is known.
                if let Err(proposal) = self.raft.propose(proposal)
                    && let Some(leader) = self.raft.leader()
                    && leader != from
                {
                    self.send_to_peer(context, leader, PeerMessage::Propose(proposal));
                }
            }
            PeerMessage::KeepAlive { number, lease } => {
                self.on_forwarded_keep_alive(context, from, number, lease);
            }
            PeerMessage::KeptAlive { number, renewal } => self.on_kept_alive(context, number, renewal),
        }
        self.drive(context);
    }
}

impl Process for Server {
    type Spec = Spec;
    type Packet = Packet;
    type Timer = Timer;
    type Storage = Disk;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let now = context.monotonic();
        let me = context.me();
        let position = spec.peers.iter().position(|peer| *peer == me);
        let me = NodeId(position.expect("a member is listed among its peers") as u8);
        let timing = Timing::Ticks { tick: spec.heartbeat_interval, election_ticks: spec.election_ticks() };
        let mut config = Config::etcd(me, spec.peers.len() as u8, timing, spec.pre_vote);
        config.planted = spec.planted;
        let disk = context.storage().clone();
        let raft = Raft::new(config, &disk, now, context.random());
        let phase = SimDuration::from_nanos(context.random().below(SCAN_INTERVAL.as_nanos()));
        let mut server = Self {
            spec: spec.clone(),
            raft,
            store: Store::default(),
            lessor: Lessor::new(now + phase),
            links: vec![Link::Down; spec.peers.len()],
            watches: Vec::new(),
            v2: v2::Store::default(),
            polls: Vec::new(),
            started_at: now,
            next_sync: HostTime::NEVER,
            pending: BTreeMap::new(),
            // Numbers of an earlier life are in the log; etcd avoids them by the time of day, here they are random.
            next_number: context.random().bits() >> 1,
            known_leader: None,
            leader_changes: 0,
            known_term: disk.hard_state.term,
            last_tick: now,
            armed_election: HostTime::NEVER,
            armed_heartbeat: HostTime::NEVER,
            armed_request_timeout: false,
            held: Vec::new(),
            saving_since: None,
            exited: false,
        };
        match disk.condition {
            Condition::Sound => {}
            Condition::Ended => {
                context.note(|| "repaired WAL: truncated where it ends".to_owned());
                // The next save makes it durable; if the power fails before, it is only done again.
                context.write(DiskRecord::repair(&disk));
            }
            Condition::Corrupt => {
                let why = "failed to read WAL, cannot be repaired: walpb: crc mismatch";
                server.exit(context, || why.to_owned());
                return server;
            }
        }
        for peer in (0..spec.peers.len() as u8).filter(|peer| *peer != me.0) {
            server.dial(context, peer);
        }
        server.drive(context);
        server
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if self.exited {
            return;
        }
        match (packet, from) {
            (Packet::Peer(message), from) => self.on_peer(context, from.process(), message),
            (Packet::Request { id, request }, Origin::Connection(connection, _)) => {
                self.on_request(context, connection, id, &request);
                self.drive(context);
            }
            (Packet::V2(v2::Packet::Request { id, request }), Origin::Connection(connection, _)) => {
                self.on_v2_request(context, connection, id, &request);
                self.drive(context);
            }
            (packet, _) => debug_assert!(false, "clients send requests on connections, not {packet:?}"),
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Timer) {
        let now = context.monotonic();
        match timer {
            _ if self.exited => return,
            Timer::Election | Timer::Heartbeat if self.loses_ticks(now) => return,
            Timer::Election => {
                self.armed_election = HostTime::NEVER;
                self.raft.on_election_timer(now, context.random());
            }
            Timer::Heartbeat => {
                self.ticked(now, context.random());
                self.armed_heartbeat = HostTime::NEVER;
                self.raft.on_heartbeat_timer(now, context.random());
            }
            Timer::LeaseScan => self.scan_leases(context),
            Timer::RequestTimeout => self.give_up_requests(context),
            Timer::ReadRetry => self.retry_reads(context),
            Timer::KeepAliveRetry(number) => self.advance_keep_alive(context, number),
            Timer::Dial(peer) => self.dial(context, peer),
            Timer::Sync => self.on_sync_timer(context),
        }
        self.drive(context);
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if self.exited {
            return;
        }
        let own = self.links.iter().position(|link| link.connection() == Some(connection));
        match (own, event) {
            (Some(position), event) => self.on_link(context, position as u8, event),
            (None, ConnectionEvent::Accepted) if self.spec.peers.contains(&peer) => {
                context.configure(connection, STREAM_OPTIONS);
            }
            (None, ConnectionEvent::Accepted | ConnectionEvent::Opened) => {}
            (None, _) => self.forget_client(connection),
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, _sync: SyncId) {
        if self.exited {
            return;
        }
        let now = context.monotonic();
        self.saved(now);
        self.raft.on_persisted(now, context.random());
        self.drive(context);
        self.release_held(context);
    }

    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        self.exit(context, || format!("failed to save Raft hard state and entries: {failure}"));
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "etcd" => true,
            "etcd-leader" => self.is_leader(),
            "etcd-follower" => !self.is_leader(),
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        if self.is_leader() { "etcd-leader" } else { "etcd-follower" }
    }
}
