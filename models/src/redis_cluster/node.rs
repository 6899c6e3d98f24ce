//! The process of a node: a Redis server, and what makes it one of a cluster.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Embedded, Embeds, HostTime, Origin, Process, ProcessId,
    SimDuration, StorageFailure, SyncId,
};

use super::bus::Outbox;
use super::config::{NodeSpec, Release};
use super::election::Election;
use super::manual::Manual;
use super::message::{Message, NodeId};
use super::nodes_conf::{NodeDirectory, NodeRecord};
use super::resharding::{Moving, OpenSlots};
use super::serve::Postponed;
use super::slots::{Slot, Slots};
use super::standstill::Standstill;
use super::state::ClusterState;
use super::table::Table;
use crate::planted::Planted;
use crate::redis::{DataDirectory, DataRecord, Epoch, Input, Packet, Server, ServerTimer};

/// From one cron to the next (`run_with_period(100)`).
const CRON: SimDuration = SimDuration::from_millis(100);
/// From the beginning of its event loop to the first (`aeCreateTimeEvent` in `initServer`).
const FIRST_CRON: SimDuration = SimDuration::from_millis(1);
/// The event loop sleeps for whole milliseconds, so timers are up to this late.
const ROUNDING: SimDuration = SimDuration::from_millis(1);

/// A node of Redis Cluster.
#[derive(Clone, Debug)]
pub struct ClusterNode {
    pub(super) spec: NodeSpec,
    pub(super) server: Server,
    pub(super) table: Table,
    pub(super) outbox: Outbox,
    pub(super) election: Election,
    pub(super) manual: Manual,
    pub(super) state: ClusterState,
    pub(super) todo: Todo,
    /// Primaries with slots, as of the last look at the state.
    pub(super) size: usize,
    /// Nodes that were possibly failed when the last cron began.
    pub(super) possibly_failed: usize,
    pub(super) postponed: Vec<Postponed>,
    /// What came on the bus since the process started, which its event loop reads when its files are loaded. (A real one reads the
    /// bus now and then while it loads, too.)
    unread: Vec<(ConnectionId, Arc<Message>)>,
    /// Connections on which `ASKING` came last.
    pub(super) asking: Vec<ConnectionId>,
    /// The watched slot is being moved away, and all its lists have gone.
    pub(super) has_moved: bool,
    /// The server waits for a `MIGRATE`.
    pub(super) moving: Option<Moving>,
    /// What else it waits for, and what comes meanwhile.
    pub(super) standstill: Standstill,
    /// For those who watch: the last vote that was given, the last election that was won, and the votes that it took.
    pub(super) gave_vote: Option<(Epoch, NodeId)>,
    pub(super) won: Option<Epoch>,
    pub(super) votes_needed: Option<usize>,
    pub(super) won_with_unknown_age: bool,
    iteration: u64,
    /// When the next cron is due.
    cron_at: HostTime,
    /// It has been connected to the primary that it follows.
    has_met_primary: bool,
    /// It serves the watched slot, as the record was last told.
    pub(super) serves: bool,
}

/// What is left to do at the end of a turn of the event loop (`todo_before_sleep`).
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the original")]
pub(super) struct Todo {
    pub(super) save: bool,
    sync: bool,
    pub(super) update_state: bool,
    pub(super) stand: bool,
}

impl Todo {
    pub(super) fn save_and_sync(&mut self) {
        self.save = true;
        self.sync = true;
    }
}

/// What a node can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NodeTimer {
    /// The cron of the cluster.
    Cron,
    /// Something of the server.
    Server(ServerTimer),
    /// A `MIGRATE` takes too long.
    Migrate,
}

impl Embeds<Server> for ClusterNode {
    fn wrap_packet(packet: Packet) -> Packet {
        packet
    }

    fn wrap_timer(timer: ServerTimer) -> NodeTimer {
        NodeTimer::Server(timer)
    }

    fn storage(outer: &NodeDirectory) -> &DataDirectory {
        &outer.data
    }

    fn wrap_record(record: DataRecord) -> NodeRecord {
        NodeRecord::Data(record)
    }
}

impl ClusterNode {
    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The slots that it serves, in its own view.
    pub fn slots(&self) -> Slots {
        self.table.myself().slots
    }

    /// Its configuration epoch.
    pub fn config_epoch(&self) -> Epoch {
        self.table.myself().config_epoch
    }

    /// True if it is a primary, in its own view.
    pub fn is_primary(&self) -> bool {
        self.table.myself().is_primary()
    }

    /// True if it has ever taken the slot from an owner that did not claim it any more.
    pub(super) fn has_taken_unclaimed(&self, slot: Slot) -> bool {
        self.table.taken_unclaimed.contains(slot)
    }

    /// True if it may take slots once more by an election that it has won.
    pub(super) fn repeats_election(&self, epoch: Epoch) -> bool {
        self.spec.config.release < Release::Valkey8 && self.won == Some(epoch)
    }

    /// Its view of who owns which slot, with the configuration epochs, and a number that changes with it.
    pub(super) fn bindings(&self) -> (u64, impl Iterator<Item = (Slot, NodeId, Epoch)> + '_) {
        let of = |id: NodeId| {
            let peer = self.table.peer(id);
            peer.slots.iter().map(move |slot| (slot, id, peer.config_epoch))
        };
        (self.table.rebindings, self.table.ids().flat_map(of))
    }

    /// True if the rebinding with this number was one that an operator commanded.
    pub(super) fn rebound_by_command(&self, number: u64) -> bool {
        number > 0 && self.table.commanded == number
    }

    /// Who owns a slot, in its own view.
    pub fn owner_of(&self, slot: Slot) -> Option<ProcessId> {
        self.table.owner(slot).map(|owner| self.table.peer(owner).process)
    }

    /// Where a slot of this node is being moved to, as a number of a node.
    pub fn migrates(&self, slot: Slot) -> Option<NodeId> {
        self.table.open.target(slot)
    }

    /// True if the node owns the slot that marks are about.
    pub(super) fn is_watched(&self, id: NodeId) -> bool {
        self.table.peer(id).slots.contains(self.spec.watched)
    }

    /// The replication offset that it tells others (`replicationGetSlaveOffset`, `master_repl_offset`).
    pub(super) fn my_offset(&self) -> u64 {
        let forgets = self.spec.config.release >= Release::Valkey8
            && self.spec.server.planted != Planted::KeepOffsetOfOldPrimary;
        if self.is_primary() {
            self.server.history().offset
        } else if forgets && !self.has_met_primary {
            0
        } else {
            self.server.replica_offset()
        }
    }

    /// How long ago this replica heard from its primary; none: not since its start.
    pub(super) fn data_age(&self, now: HostTime) -> Option<SimDuration> {
        if self.spec.config.release == Release::Redis30 && !self.has_met_primary {
            return None;
        }
        self.server.data_age(now)
    }

    /// `clusterSetMaster`.
    pub(super) fn set_primary(&mut self, context: &mut impl Context<Self>, primary: NodeId) {
        let me = self.table.me;
        if self.is_primary() {
            self.table.open = OpenSlots::default();
            self.has_moved = false;
        }
        self.table.set_follows(me, Some(primary));
        self.manual.reset();
        if self.spec.config.release >= Release::Valkey8 {
            self.election.at = None;
        }
        let process = self.table.peer(primary).process;
        self.follow(context, Some(process));
        self.todo.save_and_sync();
        self.todo.update_state = true;
    }

    pub(super) fn follow(&mut self, context: &mut impl Context<Self>, primary: Option<ProcessId>) {
        self.has_met_primary = false;
        self.server.replicate_from(&mut Embedded::<_, Self>::new(context), primary);
    }

    fn cron(&mut self, context: &mut impl Context<Self>) {
        self.iteration += 1;
        self.open_links(context);
        if self.iteration.is_multiple_of(10) {
            self.ping_someone(context);
        }
        self.look_at_nodes(context);
        self.end_manual_failover(context);
        if !self.is_primary() {
            self.wait_for_offset();
            self.stand(context);
            self.migrate_if_needed(context);
        }
        if self.todo.update_state || !self.state.is_ok() {
            self.update_state(context);
        }
    }

    fn set_cron(&mut self, context: &mut impl Context<Self>, delay: SimDuration) {
        self.cron_at = context.monotonic() + delay;
        context.set_timer(NodeTimer::Cron, delay);
    }

    /// The end of a turn of the event loop (`clusterBeforeSleep`): what has piled up is done, `nodes.conf` is written, and
    /// messages leave.
    pub(super) fn before_sleep(&mut self, context: &mut impl Context<Self>) {
        if self.stands_still() || self.is_in_turn() {
            return;
        }
        if self.server.is_loading() {
            return self.outbox.flush(context);
        }
        self.has_met_primary |= self.server.link_is_up();
        self.obey_primary(context);
        self.execute_replicated(context);
        // Redis 3.0 looks once in a cron.
        if !self.is_primary() && self.spec.config.release > Release::Redis30 {
            self.wait_for_offset();
        }
        if std::mem::take(&mut self.todo.stand) {
            self.stand(context);
        }
        if self.todo.update_state {
            self.update_state(context);
        }
        if std::mem::take(&mut self.todo.save) {
            let lasts = std::mem::take(&mut self.todo.sync);
            self.save(context, lasts);
            if lasts {
                return;
            }
        }
        self.server.hold_stream(self.manual.pauses_clients());
        if !self.manual.pauses_clients() {
            self.release_postponed(context);
        }
        self.outbox.flush(context);
        self.look_at_service(context);
    }

    fn on_link_lost(&mut self, connection: ConnectionId) -> bool {
        if let Some(id) = self.linked_to(connection) {
            self.table.peer_mut(id).link = None;
            return true;
        }
        if let Some(id) = self.table.others().find(|id| self.table.peer(*id).inbound == Some(connection)) {
            self.table.peer_mut(id).inbound = None;
        }
        false
    }
}

impl Process for ClusterNode {
    type Spec = NodeSpec;
    type Packet = Packet;
    type Timer = NodeTimer;
    type Storage = NodeDirectory;

    fn boot(spec: &NodeSpec, context: &mut impl Context<Self>) -> Self {
        let conf = Arc::clone(&context.storage().conf);
        let server = Server::boot(&spec.server, &mut Embedded::<_, Self>::new(context));
        let mut node = Self {
            table: Table::loaded(spec, &conf, context.wall()),
            server,
            outbox: Outbox::default(),
            election: Election::default(),
            manual: Manual::default(),
            state: ClusterState::default(),
            todo: Todo::default(),
            size: 1,
            possibly_failed: 0,
            postponed: Vec::new(),
            unread: Vec::new(),
            asking: Vec::new(),
            has_moved: false,
            moving: None,
            standstill: Standstill::default(),
            gave_vote: None,
            won: None,
            votes_needed: None,
            won_with_unknown_age: false,
            iteration: 0,
            cron_at: HostTime::ZERO,
            has_met_primary: false,
            serves: false,
            spec: spec.clone(),
        };
        if context.monotonic() == HostTime::ZERO {
            // Those that a run begins with were started at unrelated times, and each asks somebody at its own part of the second.
            node.iteration = context.random().below(10);
            let phase = context.random().duration(SimDuration::ZERO, CRON);
            node.set_cron(context, phase);
        }
        node
    }

    #[inline]
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if self.stands_still() {
            return self.on_packet_while_standing(context, from, packet);
        }
        match packet {
            Packet::Bus(message) => {
                if let Origin::Connection(connection, _) = from {
                    if self.server.is_starting() {
                        self.unread.push((connection, message));
                    } else {
                        self.on_message(context, connection, &message);
                    }
                }
            }
            Packet::Request { id, command } => {
                let asks = matches!(from, Origin::Connection(connection, _) if self.took_asking(connection));
                self.on_request(context, from, (id, command), asks);
            }
            Packet::Restore(restore) => {
                if let Origin::Connection(connection, _) = from {
                    self.on_restore(context, connection, &restore);
                }
            }
            packet => self.server.on_packet(&mut Embedded::<_, Self>::new(context), from, packet),
        }
        self.before_sleep(context);
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: NodeTimer) {
        // Only the end of its time interrupts a `MIGRATE`, and only the end of a fork ends that.
        let ends_standstill = timer == NodeTimer::Server(ServerTimer::Forked);
        if timer != NodeTimer::Migrate && !ends_standstill && self.hold(|| Input::Timer(timer)) {
            return;
        }
        match timer {
            NodeTimer::Migrate => return self.end_moving(context, false),
            NodeTimer::Server(timer) => {
                self.server.on_timer(&mut Embedded::<_, Self>::new(context), timer);
                if timer == ServerTimer::Started {
                    if self.cron_at == HostTime::ZERO {
                        self.set_cron(context, FIRST_CRON);
                    }
                    for (connection, message) in std::mem::take(&mut self.unread) {
                        self.on_message(context, connection, &message);
                    }
                }
            }
            NodeTimer::Cron if context.monotonic().since(self.cron_at) > ROUNDING => {
                // It stood still. An event loop reads its sockets before it looks at its timers.
                return self.set_cron(context, SimDuration::ZERO);
            }
            NodeTimer::Cron => {
                let late = context.random().duration(SimDuration::ZERO, ROUNDING);
                self.set_cron(context, CRON + late);
                // Loading its files, or a snapshot, takes the thread: nothing is done that is not an answer.
                if !self.server.is_loading() {
                    self.cron(context);
                }
            }
        }
        self.end_turn(context, ends_standstill);
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if self.moves_on(connection) {
            return self.on_moving_link(context, event);
        }
        if self.hold(|| Input::Connection(connection, peer, event)) {
            return;
        }
        match event {
            ConnectionEvent::Opened if self.linked_to(connection).is_some() => {
                if let Some(id) = self.linked_to(connection) {
                    self.on_link_opened(context, id);
                }
            }
            ConnectionEvent::Accepted | ConnectionEvent::Opened => {
                self.server.on_connection(&mut Embedded::<_, Self>::new(context), connection, peer, event);
            }
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => {
                self.postponed.retain(|postponed| postponed.connection != connection);
                self.asking.retain(|asking| *asking != connection);
                if self.on_link_lost(connection) {
                    if event != ConnectionEvent::Refused {
                        context.close(connection);
                    }
                } else {
                    self.server.on_connection(
                        &mut Embedded::<_, Self>::new(context),
                        connection,
                        peer,
                        event,
                    );
                }
            }
        }
        self.before_sleep(context);
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if self.on_saved(context, sync) {
            return;
        }
        let ends_standstill = self.server.awaits(sync);
        if !ends_standstill && self.hold(|| Input::Synced(sync)) {
            return;
        }
        self.server.on_synced(&mut Embedded::<_, Self>::new(context), sync);
        self.end_turn(context, ends_standstill);
    }

    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        if self.dies_of(context, &failure) {
            return;
        }
        let ends_standstill = matches!(failure, StorageFailure::Sync(sync, _) if self.server.awaits(sync));
        if !ends_standstill && self.hold(|| Input::StorageFailed(failure)) {
            return;
        }
        self.server.on_storage_failed(&mut Embedded::<_, Self>::new(context), failure);
        self.end_turn(context, ends_standstill);
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        // A server that is blocked obeys nobody.
        if self.stands_still() {
            return false;
        }
        let done = match command {
            "cluster-failover" => self.command_failover(context, ""),
            "cluster-failover force" => self.command_failover(context, "force"),
            "cluster-failover takeover" => self.command_failover(context, "takeover"),
            "cluster-bumpepoch" => {
                self.bump_epoch(context);
                true
            }
            "delete-locks" => self.server.on_command(&mut Embedded::<_, Self>::new(context), command),
            _ => self.command_replicate(context, command),
        };
        self.before_sleep(context);
        done
    }

    fn plays(&self, role: &str) -> bool {
        let is_primary = self.is_primary() && !self.slots().is_empty();
        let is_watched = self.is_watched(self.table.my_shard());
        match role {
            "redis" => true,
            "primary" => is_primary && is_watched,
            "replica" => !self.is_primary() && is_watched,
            "other-primary" => is_primary && !is_watched,
            "other-replica" => !self.is_primary() && !is_watched,
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        let roles = ["primary", "replica", "other-primary", "other-replica"];
        roles.into_iter().find(|role| self.plays(role)).unwrap_or("redis")
    }
}
