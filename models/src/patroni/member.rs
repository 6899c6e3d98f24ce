//! Patroni on one host, as a process: what it consists of, and where its events go.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, MarkKind, Origin, Process, ProcessId, SimDuration,
    StorageFailure, SyncId, WallTime,
};

use super::backoff::Backoff;
use super::callback::Callback;
use super::config::{Configuration, Tags};
use super::cycle::Cycle;
use super::dcs::{Changes, Event, MemberKey, Store, View};
use super::failsafe::Failsafe;
use super::inputs::InputSamplers;
use super::local::Local;
use super::packet::{Packet, Rest};
use super::rest::{Round, RoundPurpose};
use super::schedule::Schedule;
use super::slots::Retention;
use super::switchover::FailoverKey;
use super::synchronous::Bookkeeping;
use super::task::Task;
use super::version::Change;
use crate::planted::Planted;
use crate::postgres::{DataDirectory, MemberId, Status};

/// What a member is started with.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Which member this is.
    pub member: MemberId,
    /// `name` of each member; a [`MemberId`] is a position in this list.
    pub names: Arc<[String]>,
    /// The `PostgreSQL` server on this host.
    pub postgres: ProcessId,
    /// All members of the cluster, this one included.
    pub peers: Arc<[Peer]>,
    /// `etcd3.hosts`, or `etcd.hosts`.
    pub etcd: Arc<[ProcessId]>,
    /// The API servers of Kubernetes, if that is the store.
    pub api_servers: Arc<[ProcessId]>,
    /// The name server that the script of `on_role_change` tells of a promotion, if there is such a script.
    pub name_server: Option<ProcessId>,
    /// The settings.
    pub configuration: Arc<Configuration>,
    /// Declared inputs, ready to be drawn from.
    pub inputs: Arc<InputSamplers>,
    /// A rule that a test switched off.
    pub planted: Planted,
}

/// Where a member of the cluster is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Which member.
    pub member: MemberId,
    /// Its Patroni, with the REST API.
    pub patroni: ProcessId,
    /// Its `PostgreSQL` server.
    pub postgres: ProcessId,
}

impl Spec {
    /// Where a member is.
    ///
    /// # Panics
    /// If there is no such member: the cluster was built wrongly.
    pub fn peer(&self, member: MemberId) -> Peer {
        *self
            .peers
            .iter()
            .find(|peer| peer.member == member)
            .expect("peers holds every member that names holds")
    }

    /// True if the release that runs has this change.
    pub(super) fn has(&self, change: Change) -> bool {
        self.configuration.version.has(change)
    }

    /// True if this rule is switched off.
    pub(super) fn lacks(&self, rule: Planted) -> bool {
        self.planted == rule
    }

    /// The name of a member.
    pub fn name(&self, member: MemberId) -> &str {
        &self.names[usize::from(member.0)]
    }
}

/// What Patroni can be woken for.
#[derive(Clone, Debug, Hash, PartialEq)]
pub enum Timer {
    /// The interpreter has started; the first cycle begins.
    Started,
    /// The nap between two cycles is over.
    Nap,
    /// `retry_timeout`: the cycle waited long enough for the copy of the keys.
    View,
    /// Half of `retry_timeout`: the cycle waited long enough for `PostgreSQL`.
    Query,
    /// An attempt of this call to etcd, or the pause before its next round, is over.
    Call(u64),
    /// The header of this call's request was acknowledged.
    Body(u64),
    /// An attempt to build the copy of the keys, or the pause before the next, is over.
    Cache,
    /// The requests of a round of polls are ready to be sent.
    Round(RoundPurpose),
    /// A poll of this member took too long.
    Poll(RoundPurpose, MemberId),
    /// The next step of the asynchronous task.
    Task,
    /// The pause in which a new synchronous standby catches up is over.
    SyncSettled,
    /// The same as [`Self::Cache`] for the copy of the Pods.
    PodCache,
    /// The store has something to tell.
    StoreEvent,
    /// The script of `on_role_change` has waited long enough for an answer.
    Callback,
    /// A pause of the poll in a nap is over.
    Watch,
}

/// Patroni on one host.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) spec: Spec,
    /// False while the interpreter starts.
    started: bool,
    pub(super) store: Store,
    pub(super) schedule: Schedule,
    pub(super) cycle: Cycle,
    /// The wake-up event was set while a cycle ran.
    pub(super) woken: bool,
    /// The cluster as this cycle sees it.
    pub(super) view: View,
    /// The last view in which there was a leader.
    pub(super) old_view: View,
    pub(super) local: Local,
    /// What the server said in this cycle.
    pub(super) status: Option<Arc<Status>>,
    /// The server runs, answered before, and did not answer in this cycle.
    pub(super) server_is_slow: bool,
    /// The query of the loop ran into its time-out in this cycle.
    pub(super) query_cancelled: bool,
    /// Since when the server has been starting: the start of the attempt, if Patroni makes one.
    pub(super) starting_since: Option<WallTime>,
    /// The asynchronous executor: at most one task.
    pub(super) task: Option<Task>,
    pub(super) rounds: Vec<Round>,
    /// `leader_expiry`: until when this member believes in its lock.
    pub(super) leader_expiry: Option<WallTime>,
    /// This Patroni has run its server as a primary, and not demoted it since.
    pub(super) was_primary: bool,
    /// An attempt to start the server failed.
    pub(super) start_failed: bool,
    /// Single-user crash recovery was done since the server last ran.
    pub(super) crash_recovered: bool,
    /// It is to be checked whether the server has forked from the leader (`REWIND_STATUS.CHECK`).
    pub(super) check_divergence: bool,
    /// The switchover for which the API looks for candidates.
    pub(super) requested: Option<FailoverKey>,
    pub(super) backoff: Backoff,
    /// The script of `pre_promote` has failed, and the lock is still held.
    pub(super) pre_promote_failed: bool,
    /// When the lock was given back because of that.
    pub(super) released_lock_at: Option<WallTime>,
    /// SIGTERM came.
    pub(super) terminating: bool,
    pub(super) checkpoint_asked: bool,
    /// `checkpoint_after_promote`.
    pub(super) checkpoint_done: bool,
    pub(super) watchdog_armed: bool,
    pub(super) sync: Bookkeeping,
    pub(super) failsafe: Failsafe,
    pub(super) retention: Retention,
    pub(super) callback: Callback,
    pub(super) written_key: Option<MemberKey>,
    /// The leader key was seen by the watch: its loss is worth a mark.
    leader_seen: bool,
}

impl Member {
    /// Sets the wake-up event: a nap ends at once, unless the store is polled in it, and a running cycle is followed by another.
    pub(super) fn wake(&mut self, context: &mut impl Context<Self>) {
        if self.cycle == Cycle::Napping {
            if self.store.is_polling() {
                return;
            }
            self.schedule.wake(context.wall());
            context.set_timer(Timer::Nap, SimDuration::ZERO);
        } else {
            self.woken = true;
        }
    }

    /// True if this member holds the lock, by its view.
    pub(super) fn holds_lock(&self) -> bool {
        self.view.leader() == Some(self.spec.member)
    }

    /// Its own tags.
    pub(super) fn tags(&self) -> Tags {
        self.spec.configuration.tags_of(self.spec.member)
    }

    /// Its own name.
    pub(super) fn name(&self) -> &str {
        self.spec.name(self.spec.member)
    }

    /// The members other than this one.
    pub(super) fn others(&self) -> Vec<MemberId> {
        let me = self.spec.member;
        self.spec.peers.iter().map(|peer| peer.member).filter(|member| *member != me).collect()
    }

    /// Carries out what came of what the store was asked or told.
    fn on_store(&mut self, context: &mut impl Context<Self>) {
        while let Some(event) = self.store.next_event(context) {
            match event {
                Event::Changed(changes) => self.on_changes(context, changes),
                Event::Lock(goal, outcome) => self.on_lock(context, goal, outcome),
                Event::Sync(written) => self.on_sync_written(context, written),
                Event::Failover => self.wake(context),
                Event::FailoverRemoved => self.on_failover_removed(context),
                Event::Released => self.on_released(context),
                Event::Written => self.on_written(context),
                Event::Unreadable => self.on_unreadable(context),
                Event::Reloaded => self.on_reloaded(context),
                Event::NapOver if self.cycle == Cycle::Napping => {
                    context.set_timer(Timer::Nap, SimDuration::ZERO);
                }
                Event::NapOver => {}
            }
        }
    }

    fn on_changes(&mut self, context: &mut impl Context<Self>, changes: Changes) {
        if let Some(exists) = changes.lock_exists {
            self.notice_lock(context, exists);
        }
        if changes.wakes {
            self.wake(context);
        }
        if changes.ready && self.cycle == Cycle::AwaitingView {
            self.on_view(context);
        }
    }

    /// Whether the lock is there; each loss is worth a mark.
    pub(super) fn notice_lock(&mut self, context: &mut impl Context<Self>, exists: bool) {
        if self.leader_seen && !exists {
            context.note(|| "the leader key has vanished".to_owned());
            context.mark(MarkKind::Suspected, 0);
        }
        self.leader_seen = exists;
    }
}

impl Process for Member {
    type Spec = Spec;
    type Packet = Packet;
    type Timer = Timer;
    type Storage = DataDirectory;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let start = spec.inputs.patroni_start.draw(context.random());
        context.set_timer(Timer::Started, start);
        Self {
            started: false,
            store: Store::new(spec, context),
            schedule: Schedule::new(context.wall()),
            cycle: Cycle::Napping,
            woken: false,
            view: View::default(),
            old_view: View::default(),
            local: Local::default(),
            status: None,
            server_is_slow: false,
            query_cancelled: false,
            starting_since: None,
            task: None,
            rounds: Vec::new(),
            leader_expiry: None,
            was_primary: false,
            start_failed: false,
            crash_recovered: false,
            check_divergence: true,
            requested: None,
            backoff: Backoff::default(),
            pre_promote_failed: false,
            released_lock_at: None,
            terminating: false,
            checkpoint_asked: false,
            checkpoint_done: false,
            watchdog_armed: false,
            sync: Bookkeeping::default(),
            failsafe: Failsafe::default(),
            retention: Retention::default(),
            callback: Callback::default(),
            written_key: None,
            leader_seen: false,
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            if let Packet::Name(packet) = packet {
                self.on_name_packet(context, packet);
            }
            return;
        };
        match packet {
            // The port is not open before the interpreter has started.
            _ if !self.started => context.close(connection),
            packet @ (Packet::Etcd(_) | Packet::Kubernetes(_)) => {
                self.store.on_packet(context, connection, packet);
                self.on_store(context);
            }
            Packet::Postgres(packet) if self.is_local(connection) => self.on_local_packet(context, &packet),
            Packet::Postgres(_) | Packet::Name(_) => {}
            Packet::Rest(Rest::Get(_) | Rest::Failsafe { .. }) if self.terminating => {
                context.close(connection);
            }
            Packet::Rest(Rest::Get(path)) => self.on_rest_request(context, connection, path),
            Packet::Rest(Rest::Response { status, report }) => {
                self.on_rest_response(context, connection, status, report);
            }
            Packet::Rest(Rest::Failsafe { leader }) => self.on_failsafe_request(context, connection, leader),
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Timer) {
        match timer {
            Timer::Started => {
                self.started = true;
                self.schedule = Schedule::new(context.wall());
                self.store.start(context);
                self.join_running_server(context);
                self.begin_cycle(context);
            }
            Timer::Nap => self.begin_cycle(context),
            Timer::View => self.on_view_timeout(context),
            Timer::Query => self.on_query_timeout(context),
            Timer::Call(id) => {
                self.store.on_call_timer(context, id);
                self.on_store(context);
            }
            Timer::Body(id) => self.store.on_acknowledged(context, id),
            Timer::Cache | Timer::PodCache | Timer::Watch => {
                self.store.on_cache_timer(context, &timer);
                self.on_store(context);
            }
            Timer::StoreEvent => self.on_store(context),
            Timer::Round(purpose) => self.advance_round(context, purpose),
            Timer::Poll(purpose, member) => self.on_poll_timeout(context, purpose, member),
            Timer::Task => self.on_task_timer(context),
            Timer::SyncSettled => self.on_sync_settled(context),
            Timer::Callback => self.on_callback_timer(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if event == ConnectionEvent::Accepted {
            return;
        }
        if self.store.on_connection(context, connection, event) {
            self.on_store(context);
        } else if event != ConnectionEvent::Opened {
            if self.is_local(connection) {
                self.on_local_lost(context);
            } else {
                self.on_poll_lost(context, connection);
            }
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        self.on_recovery_synced(context, sync);
    }

    /// Files of the data directory could not be written: an exception that ends the HA loop's cycle with a line in the log, or
    /// a tool that fails. What was to be written is looked at again in a later cycle. Simplified: the cycle goes on.
    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        context.note(|| format!("unexpected exception: {failure}"));
        self.check_divergence = true;
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        if let Some(name) = command.strip_prefix("switchover ") {
            return self.on_switchover_to(context, name);
        }
        match command {
            "switchover" => self.on_switchover(context, None),
            "pause" | "resume" => self.on_pause(context, command == "pause"),
            // A thread of the REST API loads the cluster, and with it what the HA loop shares with it (#3718).
            "GET /cluster" => {
                self.store.view(context.wall());
            }
            "stop" if self.started => self.terminate(context),
            "stop" => Self::exit(context),
            _ => return false,
        }
        true
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "patroni" => true,
            "patroni-leader" => self.holds_lock(),
            "patroni-replica" => self.started && !self.holds_lock(),
            "sync-standby" => self.view.sync.standbys.contains(&self.spec.member),
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        match (self.started, self.holds_lock()) {
            (_, true) => "patroni-leader",
            (true, false) => "patroni-replica",
            (false, false) => "patroni",
        }
    }
}
