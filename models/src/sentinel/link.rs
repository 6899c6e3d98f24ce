//! The connections of a Sentinel to an instance, and what they tell about its health.
//!
//! A link towards a black hole counts as connected at once: connecting does not block, and what is sent waits. One to a
//! living host with a closed port is reset after a round trip. So after the crash of a process the clock of its silence
//! starts with the first attempt to reconnect, and after a silent failure with the first PING that is not answered.

use sim_core::{ConnectOptions, ConnectionId, Context, HostTime, ProcessId, SimDuration, SyncId, WallTime};

use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::{Command, GroupId, Packet, Reply};

/// `SENTINEL_PING_PERIOD`.
pub(super) const PING_PERIOD: SimDuration = SimDuration::from_secs(1);
/// `SENTINEL_PUBLISH_PERIOD`.
pub(super) const PUBLISH_PERIOD: SimDuration = SimDuration::from_secs(2);
/// `SENTINEL_MIN_LINK_RECONNECT_PERIOD`.
const YOUNG: SimDuration = SimDuration::from_secs(15);
/// `SENTINEL_MAX_PENDING_COMMANDS`.
const MOST_PENDING: u32 = 100;

/// What was asked on a link. It travels as the number of the request, and comes back with the reply, as the callback does
/// that the real Sentinel registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    Ping,
    Info,
    ReplicaOf,
    Subscribe,
    Opinion(GroupId),
    Publish(GroupId),
}

impl Request {
    fn id(self) -> u32 {
        match self {
            Self::Ping => 0,
            Self::Info => 1,
            Self::ReplicaOf => 2,
            Self::Subscribe => 3,
            Self::Opinion(group) => 0x100 + u32::from(group.0),
            Self::Publish(group) => 0x200 + u32::from(group.0),
        }
    }

    pub(super) fn from_id(id: u32) -> Self {
        let group = GroupId(id as u8);
        match id {
            0 => Self::Ping,
            1 => Self::Info,
            2 => Self::ReplicaOf,
            0x100..0x200 => Self::Opinion(group),
            0x200..0x300 => Self::Publish(group),
            _ => Self::Subscribe,
        }
    }
}

/// A Sentinel saves its file by a temporary file that it syncs, a rename, a sync of the folder, and a sync of the file under
/// its name (`rewriteConfigOverwriteFile`, `sentinelFlushConfig`).
const SYNCS: u32 = 3;
/// What a Sentinel logs when its file is saved, before the time that this took.
pub const SAVED: &str = "Sentinel new configuration saved on disk #took ";

/// What is sent while the configuration file is being synced waits: a Sentinel has one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    pub(super) syncing: Option<SyncId>,
    /// Syncs that follow this one.
    syncs_left: u32,
    /// When the file began to be saved.
    since: HostTime,
    held: Vec<(ConnectionId, Packet)>,
    /// A rule that a test switches off.
    planted: Planted,
}

impl Outbox {
    pub(super) fn new(planted: Planted) -> Self {
        Self { planted, ..Self::default() }
    }

    pub(super) fn send(
        &mut self,
        context: &mut impl Context<Sentinel>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        if self.syncing.is_some() {
            self.held.push((connection, packet));
        } else {
            context.send(connection, packet);
        }
    }

    /// The file was written: nothing leaves before it is saved.
    pub(super) fn save(&mut self, context: &mut impl Context<Sentinel>) {
        self.syncs_left += SYNCS;
        if self.syncing.is_none() {
            self.since = context.monotonic();
            self.sync(context);
        }
    }

    fn sync(&mut self, context: &mut impl Context<Sentinel>) {
        self.syncs_left -= 1;
        self.syncing = Some(context.sync());
    }

    /// A sync completed. True if it was the last one that everything waits for.
    pub(super) fn on_synced(&mut self, context: &mut impl Context<Sentinel>, sync: SyncId) -> bool {
        if self.syncing != Some(sync) {
            return false;
        }
        if self.syncs_left > 0 {
            self.sync(context);
            return false;
        }
        self.syncing = None;
        let took = context.monotonic().since(self.since);
        context.note(|| format!("{SAVED}{}ns", took.as_nanos()));
        for (connection, packet) in self.held.drain(..) {
            context.send(connection, packet);
        }
        true
    }
}

/// A link to an instance.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) command: Option<ConnectionId>,
    pub(super) subscription: Option<ConnectionId>,
    command_since: WallTime,
    subscription_since: WallTime,
    /// When the subscription last carried a message.
    pub(super) heard_at: WallTime,
    /// The oldest PING without an answer (`act_ping_time`).
    pub(super) unanswered: Option<WallTime>,
    pinged_at: Option<WallTime>,
    /// The last acceptable answer to a PING (`last_avail_time`).
    pub(super) available_at: WallTime,
    /// The last answer of any kind (`last_pong_time`).
    pub(super) answered_at: WallTime,
    tried_at: Option<WallTime>,
    /// Commands on this connection without an answer; nothing is pending on one that is missing.
    pending: u32,
}

impl Link {
    pub(super) fn new(now: WallTime) -> Self {
        Self {
            command: None,
            subscription: None,
            command_since: now,
            subscription_since: now,
            heard_at: now,
            unanswered: Some(now),
            pinged_at: None,
            available_at: now,
            answered_at: now,
            tried_at: None,
            pending: 0,
        }
    }

    /// Closes both connections and starts the clocks anew, for another address (`sentinelResetMaster`).
    pub(super) fn reset(&mut self, context: &mut impl Context<Sentinel>, now: WallTime) {
        self.close(context);
        self.unanswered = Some(now);
        self.pinged_at = None;
        self.available_at = now;
        self.answered_at = now;
    }

    pub(super) fn close(&mut self, context: &mut impl Context<Sentinel>) {
        for connection in [self.command.take(), self.subscription.take()].into_iter().flatten() {
            context.close(connection);
        }
    }

    /// True if a connection is missing; the one for messages is not needed to another Sentinel.
    pub(super) fn is_disconnected(&self, subscribes: bool) -> bool {
        self.command.is_none() || (subscribes && self.subscription.is_none())
    }

    /// Builds what is missing, at most once a second, and sends a PING on a new connection.
    pub(super) fn reconnect(
        &mut self,
        context: &mut impl Context<Sentinel>,
        outbox: &mut Outbox,
        address: ProcessId,
        subscribes: bool,
        now: WallTime,
    ) {
        if !self.is_disconnected(subscribes)
            || self.tried_at.is_some_and(|tried| now.since(tried) < PING_PERIOD)
        {
            return;
        }
        self.tried_at = Some(now);
        if self.command.is_none() {
            self.command = Some(context.connect(address, ConnectOptions::default()));
            self.command_since = now;
            if outbox.planted != Planted::LeakPending {
                self.pending = 0;
            }
            self.ping(context, outbox, now);
        }
        if subscribes && self.subscription.is_none() {
            let connection = context.connect(address, ConnectOptions::default());
            self.subscription = Some(connection);
            self.subscription_since = now;
            self.heard_at = now;
            let (id, command) = (Request::Subscribe.id(), Command::Subscribe);
            outbox.send(context, connection, Packet::Request { id, command });
        }
    }

    /// Sends a command. False if there is no connection.
    pub(super) fn ask(
        &mut self,
        context: &mut impl Context<Sentinel>,
        outbox: &mut Outbox,
        request: Request,
        command: Command,
    ) -> bool {
        let Some(connection) = self.command else { return false };
        self.pending += 1;
        outbox.send(context, connection, Packet::Request { id: request.id(), command });
        true
    }

    /// True if nothing periodic may be sent.
    pub(super) fn is_clogged(&self, groups: u32) -> bool {
        self.pending >= MOST_PENDING * groups
    }

    fn ping(&mut self, context: &mut impl Context<Sentinel>, outbox: &mut Outbox, now: WallTime) {
        if self.ask(context, outbox, Request::Ping, Command::Ping) {
            self.pinged_at = Some(now);
            self.unanswered.get_or_insert(now);
        }
    }

    /// Sends the next PING if it is due.
    pub(super) fn ping_if_due(
        &mut self,
        context: &mut impl Context<Sentinel>,
        outbox: &mut Outbox,
        down_after: SimDuration,
        now: WallTime,
    ) {
        let period = down_after.min(PING_PERIOD);
        let rested = self.pinged_at.is_none_or(|at| now.since(at) > period / 2);
        if now.since(self.answered_at) > period && rested {
            self.ping(context, outbox, now);
        }
    }

    /// Any reply on the command connection arrived.
    pub(super) fn on_reply(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// An answer to a PING arrived.
    pub(super) fn on_pong(&mut self, reply: &Reply, now: WallTime) {
        if matches!(reply, Reply::Pong | Reply::Loading | Reply::MasterDown) {
            self.available_at = now;
            self.unanswered = None;
        }
        self.answered_at = now;
    }

    /// A connection is gone. True if it was of this link.
    pub(super) fn on_lost(&mut self, connection: ConnectionId) -> bool {
        if self.command == Some(connection) {
            self.command = None;
        } else if self.subscription == Some(connection) {
            self.subscription = None;
        } else {
            return false;
        }
        true
    }

    /// For how long the instance has been silent.
    pub(super) fn silence(&self, subscribes: bool, now: WallTime) -> SimDuration {
        match self.unanswered {
            Some(since) => now.since(since),
            None if self.is_disconnected(subscribes) => now.since(self.available_at),
            None => SimDuration::ZERO,
        }
    }

    /// Closes connections that look dead, so that they are built anew.
    pub(super) fn recycle(
        &mut self,
        context: &mut impl Context<Sentinel>,
        down_after: SimDuration,
        now: WallTime,
    ) {
        let half = down_after / 2;
        let is_old = now.since(self.command_since) > YOUNG;
        let is_silent = self.unanswered.is_some_and(|since| now.since(since) > half)
            && now.since(self.answered_at) > half;
        if let Some(connection) = self.command.filter(|_| is_old && is_silent) {
            context.close(connection);
            self.command = None;
        }
        let is_old = now.since(self.subscription_since) > YOUNG;
        let is_silent = now.since(self.heard_at) > PUBLISH_PERIOD * 3;
        if let Some(connection) = self.subscription.filter(|_| is_old && is_silent) {
            context.close(connection);
            self.subscription = None;
        }
    }
}
