//! The Sentinel process: its tick, its connections, its file.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, MarkKind, Origin, Process, ProcessId, SimDuration,
    StorageFailure, SyncId, WallTime,
};

use super::config::{GroupState, SentinelDisk, SentinelSpec, SentinelState};
use super::down::{self, Role};
use super::group::{FailoverState, Group};
use super::link::{Link, Outbox, Request};
use super::rand::Rand;
use crate::redis::{Command, Epoch, GroupId, Hello, Packet, Reply, RunId};

/// `SENTINEL_TILT_TRIGGER`.
const TILT_TRIGGER: SimDuration = SimDuration::from_secs(2);
/// `SENTINEL_TILT_PERIOD`.
const TILT_PERIOD: SimDuration = SimDuration::from_secs(30);

/// A Sentinel.
#[derive(Clone, Debug)]
pub struct Sentinel {
    pub(super) spec: SentinelSpec,
    pub(super) id: RunId,
    pub(super) epoch: Epoch,
    pub(super) groups: Vec<Group>,
    /// The order in which a tick looks at them: that of a hash table whose function each process draws anew.
    turns: Vec<GroupId>,
    /// Links to other Sentinels, shared by all groups.
    pub(super) peers: Vec<(ProcessId, Link)>,
    pub(super) tilt_since: Option<WallTime>,
    ticked_at: Option<WallTime>,
    /// Clients that subscribed to `+switch-master`.
    subscribers: Vec<ConnectionId>,
    pub(super) outbox: Outbox,
    pub(super) rand: Rand,
    /// A tick waits for the file to be saved.
    tick_waits: bool,
    /// A tick is over when the file is saved.
    tick_ends_late: bool,
}

/// What a Sentinel can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SentinelTimer {
    /// The next tick.
    Tick,
}

impl Sentinel {
    /// Its id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Its current epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many groups it watches.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The primary of a group as it tells clients, with the epoch of that configuration.
    pub fn primary(&self, group: GroupId) -> Option<(ProcessId, Epoch)> {
        let group = self.groups.get(usize::from(group.0))?;
        Some((group.current_primary(), group.config_epoch))
    }

    /// For whom it voted last in a group, and in which epoch. None if it does not remember.
    pub fn vote(&self, group: GroupId) -> Option<(RunId, Epoch)> {
        let group = self.groups.get(usize::from(group.0))?;
        group.leader.map(|leader| (leader, group.leader_epoch))
    }

    /// The configuration under which it is switching a group over, from its election to the end.
    pub fn leads(&self, group: GroupId) -> Option<Epoch> {
        let group = self.groups.get(usize::from(group.0))?;
        (group.state > FailoverState::WaitStart && !group.forced).then_some(group.failover_epoch)
    }

    /// Whether it holds the primary that it watches for subjectively, and for objectively down. Neither, while it
    /// replaces it.
    pub fn opinion_of_primary(&self, group: GroupId) -> Option<(bool, bool)> {
        let group = self.groups.get(usize::from(group.0))?;
        let is_current = group.current_primary() == group.primary.address;
        Some((is_current && group.primary.down, is_current && group.agreed))
    }

    /// The promotion that it has seen as the elected leader, with its epoch, until the failover ends.
    pub fn promotion(&self, group: GroupId) -> Option<(Epoch, ProcessId)> {
        let group = self.groups.get(usize::from(group.0))?;
        let is_seen = group.state >= FailoverState::Reconfigure && !group.forced;
        group.promoted.filter(|_| is_seen).map(|promoted| (group.failover_epoch, promoted))
    }

    /// True while its file is being saved, so that nothing leaves it.
    pub(super) fn holds_back(&self) -> bool {
        self.outbox.syncing.is_some()
    }

    /// True while it does nothing because its clock was odd.
    pub fn is_in_tilt(&self) -> bool {
        self.tilt_since.is_some()
    }

    fn tick(&mut self, context: &mut impl Context<Self>) {
        if self.outbox.syncing.is_some() {
            self.tick_waits = true;
            return;
        }
        let now = context.wall();
        let odd = self.ticked_at.is_some_and(|before| now < before || now.since(before) > TILT_TRIGGER);
        if odd {
            context.note(|| "+tilt #tilt mode entered".to_owned());
            self.tilt_since = Some(now);
        }
        self.ticked_at = Some(now);
        for turn in 0..self.turns.len() {
            self.handle_group(context, self.turns[turn], now);
        }
        let updated = |group: &Group| group.state == FailoverState::UpdateConfig;
        if let Some(index) = self.groups.iter().position(updated) {
            let promoted = self.groups[index].current_primary();
            self.switch(context, GroupId(index as u8), promoted, now);
        }
        self.arm_tick(context);
    }

    /// The next tick is counted from the end of this one, which the file that it saves belongs to.
    fn arm_tick(&mut self, context: &mut impl Context<Self>) {
        if self.outbox.syncing.is_some() {
            self.tick_ends_late = true;
            return;
        }
        // The frequency is drawn anew, so that Sentinels fall out of step: 10 to 19 ticks a second.
        let frequency = 10 + self.rand.below(context, 10);
        // `aeApiPoll` waits in whole milliseconds, rounded up.
        let rounding = SimDuration::from_micros(context.random().below(1_000));
        let late = rounding + self.spec.timer_late.draw(context.random());
        context.set_timer(SentinelTimer::Tick, SimDuration::from_millis(1_000 / frequency) + late);
    }

    fn handle_group(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        let index = usize::from(id.0);
        self.monitor_primary(context, id, now);
        let tilted = self.tilted(context, now);
        if !tilted {
            let group = &mut self.groups[index];
            let role = Role::Primary { is_watched: group.is_watched };
            down::look_at(context, &mut group.primary, &group.config, role, now);
            down::look_at_agreement(context, group, now);
            if self.start_failover_if_needed(context, id, now) {
                self.ask_peers(context, id, now, true);
            }
            self.step_failover(context, id, now);
            self.ask_peers(context, id, now, false);
        }
        self.handle_replicas(context, id, tilted, now);
        self.handle_peers(context, id, tilted, now);
    }

    /// True while the acting half rests.
    fn tilted(&mut self, context: &mut impl Context<Self>, now: WallTime) -> bool {
        match self.tilt_since {
            Some(since) if now.since(since) < TILT_PERIOD => true,
            Some(_) => {
                context.note(|| "-tilt #tilt mode exited".to_owned());
                self.tilt_since = None;
                false
            }
            None => false,
        }
    }

    /// Writes the configuration file and syncs it. Nothing leaves before that is done.
    pub(super) fn flush(&mut self, context: &mut impl Context<Self>) {
        let state = SentinelState {
            id: self.id,
            epoch: self.epoch,
            groups: self.groups.iter().map(|group| group.state(self.spec.planted)).collect(),
        };
        context.write(Arc::new(state));
        self.outbox.save(context);
    }

    /// Takes another primary, and tells clients that listen.
    pub(super) fn switch(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        primary: ProcessId,
        now: WallTime,
    ) {
        let group = &mut self.groups[usize::from(id.0)];
        let (was_told, old) = (group.current_primary(), group.primary.address);
        context.note(|| {
            let name = &group.config.name;
            format!("+switch-master {name} process {} process {}", old.index(), primary.index())
        });
        group.switch(context, primary, now);
        if was_told != primary {
            group.mark(context, MarkKind::Rerouted, primary.index() as u64);
        }
        for connection in &self.subscribers {
            self.outbox.send(context, *connection, Packet::SwitchPrimary(id, primary));
        }
        self.flush(context);
    }

    pub(super) fn hello(&self, me: ProcessId, id: GroupId) -> Hello {
        let group = &self.groups[usize::from(id.0)];
        Hello {
            sentinel: me,
            id: self.id,
            epoch: self.epoch,
            group: id,
            primary: group.current_primary(),
            config_epoch: group.config_epoch,
        }
    }

    /// The replicas of a group that are not subjectively down.
    fn replicas_up(&self, id: GroupId) -> Arc<[ProcessId]> {
        let group = self.groups.get(usize::from(id.0));
        let replicas = group.into_iter().flat_map(|group| &group.replicas);
        replicas.filter(|replica| !replica.down).map(|replica| replica.address).collect()
    }

    fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        from: ConnectionId,
        id: u32,
        command: Command,
    ) {
        let reply = match command {
            Command::Ping => Reply::Pong,
            Command::GetPrimary(group) => Reply::Primary(self.primary(group).map(|(primary, _)| primary)),
            Command::GetReplicas(group) => Reply::Replicas(self.replicas_up(group)),
            Command::Subscribe => {
                self.subscribers.push(from);
                Reply::Done
            }
            Command::Publish(hello) => {
                self.on_hello(context, hello);
                Reply::Done
            }
            Command::IsPrimaryDown { primary, epoch, candidate } => {
                self.opinion(context, primary, epoch, candidate)
            }
            _ => Reply::Done,
        };
        self.outbox.send(context, from, Packet::Reply { id, reply });
    }

    fn on_reply(&mut self, context: &mut impl Context<Self>, from: ConnectionId, id: u32, reply: &Reply) {
        let now = context.wall();
        if let Some(peer) = self.peers.iter().position(|(_, link)| link.command == Some(from)) {
            return self.on_peer_reply(peer, id, reply, now);
        }
        let found = self.groups.iter_mut().enumerate().find_map(|(index, group)| {
            let mut instances = std::iter::once(&mut group.primary).chain(&mut group.replicas);
            let place = instances.position(|instance| instance.link.command == Some(from))?;
            Some((GroupId(index as u8), place))
        });
        let Some((group_id, place)) = found else { return };
        let group = &mut self.groups[usize::from(group_id.0)];
        let instance = if place == 0 { &mut group.primary } else { &mut group.replicas[place - 1] };
        instance.link.on_reply();
        match (Request::from_id(id), reply) {
            (Request::Info, Reply::Info(info)) => {
                self.on_info(context, group_id, place.checked_sub(1), info, now);
            }
            (Request::Publish(_), Reply::Done) => instance.published_at = Some(now),
            (Request::Ping, reply) => {
                instance.link.on_pong(reply, now);
                if *reply == Reply::Pong {
                    instance.rebooted_at = None;
                }
            }
            _ => {}
        }
    }

    fn on_peer_reply(&mut self, peer: usize, id: u32, reply: &Reply, now: WallTime) {
        let (address, link) = &mut self.peers[peer];
        let address = *address;
        link.on_reply();
        match (Request::from_id(id), reply) {
            (Request::Ping, reply) => link.on_pong(reply, now),
            (Request::Opinion(group), Reply::Opinion { down, leader, epoch }) => {
                self.on_opinion(group, address, (*down, *leader, *epoch), now);
            }
            (Request::Publish(group), Reply::Done) => {
                let peers = &mut self.groups[usize::from(group.0)].peers;
                if let Some(peer) = peers.iter_mut().find(|peer| peer.address == address) {
                    peer.published_at = Some(now);
                }
            }
            _ => {}
        }
    }

    fn on_lost(&mut self, connection: ConnectionId) {
        self.subscribers.retain(|subscriber| *subscriber != connection);
        let links = self.peers.iter_mut().map(|(_, link)| link);
        let instances = self
            .groups
            .iter_mut()
            .flat_map(|group| std::iter::once(&mut group.primary).chain(&mut group.replicas));
        for link in links.chain(instances.map(|instance| &mut instance.link)) {
            if link.on_lost(connection) {
                return;
            }
        }
    }

    fn on_message(&mut self, context: &mut impl Context<Self>, from: ConnectionId, hello: Hello) {
        let now = context.wall();
        let instances = self
            .groups
            .iter_mut()
            .flat_map(|group| std::iter::once(&mut group.primary).chain(&mut group.replicas));
        for instance in instances.filter(|instance| instance.link.subscription == Some(from)) {
            instance.link.heard_at = now;
        }
        self.on_hello(context, hello);
    }
}

/// The link to another Sentinel.
pub(super) fn link_to(links: &mut Vec<(ProcessId, Link)>, address: ProcessId, now: WallTime) -> &mut Link {
    let position = links.iter().position(|(known, _)| *known == address).unwrap_or_else(|| {
        links.push((address, Link::new(now)));
        links.len() - 1
    });
    &mut links[position].1
}

impl Process for Sentinel {
    type Spec = SentinelSpec;
    type Packet = Packet;
    type Timer = SentinelTimer;
    type Storage = SentinelDisk;

    fn boot(spec: &SentinelSpec, context: &mut impl Context<Self>) -> Self {
        let first = context.random().duration(SimDuration::ZERO, SimDuration::from_millis(100));
        context.set_timer(SentinelTimer::Tick, first);
        let now = context.wall();
        let stored = context.storage().0.clone();
        let (id, epoch) = match &stored {
            Some(state) => (state.id, state.epoch),
            None => (RunId(context.random().bits() as u32), Epoch(0)),
        };
        let groups = spec.groups.iter().enumerate().map(|(index, (config, primary))| {
            let written = GroupState {
                primary: *primary,
                config_epoch: Epoch(0),
                leader_epoch: Epoch(0),
                replicas: Vec::new(),
                sentinels: Vec::new(),
                ghosts: Vec::new(),
            };
            let state = stored.as_ref().and_then(|state| state.groups.get(index)).unwrap_or(&written);
            Group::new(config.clone(), index == 0, state, now)
        });
        let mut turns: Vec<GroupId> = (0..spec.groups.len()).map(|index| GroupId(index as u8)).collect();
        context.random().shuffle(&mut turns);
        let mut sentinel = Self {
            id,
            epoch,
            groups: groups.collect(),
            turns,
            peers: Vec::new(),
            tilt_since: None,
            ticked_at: None,
            subscribers: Vec::new(),
            outbox: Outbox::new(spec.planted),
            rand: Rand::new(spec, context),
            tick_waits: false,
            tick_ends_late: false,
            spec: spec.clone(),
        };
        if stored.is_none() {
            sentinel.flush(context);
        }
        sentinel
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Request { id, command } => self.on_request(context, connection, id, command),
            Packet::Reply { id, reply } => self.on_reply(context, connection, id, &reply),
            Packet::Message(hello) => self.on_message(context, connection, hello),
            _ => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, _: SentinelTimer) {
        self.tick(context);
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        match event {
            ConnectionEvent::Accepted | ConnectionEvent::Opened => {}
            ConnectionEvent::Refused => self.on_lost(connection),
            ConnectionEvent::Closed | ConnectionEvent::Reset | ConnectionEvent::TimedOut => {
                context.close(connection);
                self.on_lost(connection);
            }
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if !self.outbox.on_synced(context, sync) {
            return;
        }
        if std::mem::take(&mut self.tick_ends_late) {
            self.arm_tick(context);
        } else if std::mem::take(&mut self.tick_waits) {
            self.tick(context);
        }
    }

    /// A file that cannot be written is logged, and life goes on (`sentinelFlushConfig`).
    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        context.note(|| format!("WARNING: Sentinel was not able to save the new configuration: {failure}"));
        if let StorageFailure::Sync(sync, _) = failure {
            self.on_synced(context, sync);
        }
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        match command {
            "failover" => self.force_failover(context, GroupId(0)),
            "reset" => {
                let now = context.wall();
                self.groups[0].reset(context, now);
                context.note(|| format!("+reset-master master {}", self.groups[0].config.name));
                self.flush(context);
                true
            }
            _ => false,
        }
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "sentinel" => true,
            "sentinel-leader" => self.groups.iter().any(Group::is_led),
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        if self.groups.iter().any(Group::is_led) { "sentinel-leader" } else { "sentinel" }
    }
}
