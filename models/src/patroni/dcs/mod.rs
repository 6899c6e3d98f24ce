//! Patroni's distributed configuration store (DCS): what the HA loop asks of it, and the stores that there are
//! (`dcs/__init__.py:AbstractDCS`).
//!
//! The HA loop does not know which store it has. It calls a [`Store`], and looks for what came of it ([`Event`]) after
//! each of its handlers that passed something on to the store.
//!
//! | file | subject |
//! |---|---|
//! | `view` | what a store says about a cluster |
//! | `protocol` | in what stores differ for the client |
//! | `client` | requests with time-outs, endpoint failover and a budget |
//! | `timeouts` | how long one attempt may take |
//! | `keys` | the keys of a cluster in etcd |
//! | `etcd2` | etcd by its API version 2: a key for each thing, some with an end of their own; read in each cycle |
//! | `etcd3` | etcd by its API version 3: a lease, a key for each thing, one watch |
//! | `kubernetes` | the API of Kubernetes: annotations of objects, two watches |

mod client;
mod etcd2;
mod etcd3;
mod keys;
pub(super) mod kubernetes;
mod protocol;
mod timeouts;
mod view;

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, Context, KeepAlive, SimDuration, WallTime};

pub(crate) use client::{Client, Effort, Endpoint, Finished};
use etcd2::Etcd2;
use etcd3::Etcd3;
pub(crate) use keys::Keys;
use kubernetes::Kubernetes;
pub(crate) use protocol::{Judgement, Protocol};
pub(crate) use timeouts::Timeouts;
pub(crate) use view::{MemberKey, StatusKey, SyncKey, View};

use super::config::{Configuration, EtcdApi};
use super::lock::Goal;
use super::member::{Member, Spec, Timer};
use super::packet::Packet;
use super::switchover::FailoverKey;
use crate::postgres::{Lsn, MemberId, TimelineHistory};

/// The store of one member.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// etcd, API version 2.
    Etcd2(Etcd2),
    /// etcd, API version 3.
    Etcd3(Etcd3),
    /// The API of Kubernetes.
    Kubernetes(Kubernetes),
}

/// What came of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// The copy of the cluster's keys changed.
    Changed(Changes),
    /// An operation on the lock came to its end.
    Lock(Goal, LockOutcome),
    /// `/sync` was written at this revision, or not.
    Sync(Option<u64>),
    /// `/failover` was written, or not.
    Failover,
    /// `/failover` was removed, or not.
    FailoverRemoved,
    /// The lock was given back, or the store did not answer.
    Released,
    /// All that a cycle had written is written, or could not be.
    Written,
    /// The keys that a cycle asked for could not be read.
    Unreadable,
    /// The keys were read again, or could not be.
    Reloaded,
    /// The nap is over before its time, for no reason of the cluster's.
    NapOver,
}

/// What came of an operation on the lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LockOutcome {
    /// The lock is held, or, for [`Goal::Member`], the member's key may be written.
    Held {
        /// The revision at which the lock was written; 0 if that was not needed.
        revision: u64,
        /// Keys that were written before have vanished, or will.
        anew: bool,
    },
    /// Somebody else has it, or the answer means as much to Patroni.
    Refused,
    /// The store did not answer.
    Unreachable,
    /// The lock could not be renewed, but who reads the store finds it still held.
    Believed,
}

/// How a cycle comes by its view of the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loading {
    /// There is a complete copy.
    Complete,
    /// The copy is being built: the cycle waits for it, and not for ever.
    Building,
    /// The store was asked: an answer follows, or an [`Event::Unreadable`].
    Asked,
}

/// What a change means to the member.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changes {
    /// The HA loop is to run.
    pub(crate) wakes: bool,
    /// The copy was just completed.
    pub(crate) ready: bool,
    /// Whether the lock is there, if the store itself lets it vanish.
    pub(crate) lock_exists: Option<bool>,
}

/// What a leader says besides keeping its lock (`update_leader`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Publication {
    /// `/status`, if this member's server is a primary.
    pub(crate) status: Option<StatusKey>,
    /// `failsafe`, if it is to be written.
    pub(crate) failsafe: Option<Vec<MemberId>>,
}

/// Calls a method of whatever store it is.
macro_rules! store {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            Self::Etcd2($store) => $call,
            Self::Etcd3($store) => $call,
            Self::Kubernetes($store) => $call,
        }
    };
}

impl Store {
    /// The store of a member that boots.
    pub(crate) fn new(spec: &Spec, context: &mut impl Context<Member>) -> Self {
        match (&spec.configuration.kubernetes, spec.configuration.etcd_api) {
            (Some(settings), _) => Self::Kubernetes(Kubernetes::new(spec, settings, context)),
            (None, EtcdApi::V2) => Self::Etcd2(Etcd2::new(spec, context)),
            (None, EtcdApi::V3) => Self::Etcd3(Etcd3::new(spec, context)),
        }
    }

    /// The interpreter has started: begins to copy the cluster's keys.
    pub(crate) fn start(&mut self, context: &mut impl Context<Member>) {
        match self {
            // Each cycle reads for itself.
            Self::Etcd2(_) => {}
            Self::Etcd3(_) => Etcd3::start(context),
            Self::Kubernetes(_) => Kubernetes::start(context),
        }
    }

    /// A cycle begins.
    pub(crate) fn begin_cycle(&mut self, context: &mut impl Context<Member>) -> Loading {
        let complete = match self {
            Self::Etcd2(store) => {
                store.begin_cycle(context);
                return Loading::Asked;
            }
            Self::Etcd3(store) => store.begin_cycle(context),
            Self::Kubernetes(store) => store.begin_cycle(),
        };
        if complete { Loading::Complete } else { Loading::Building }
    }

    /// Reads the cluster anew in the midst of a task. True if that takes time: an [`Event::Reloaded`] follows.
    pub(crate) fn reload(&mut self, context: &mut impl Context<Member>) -> bool {
        let Self::Etcd2(store) = self else { return false };
        store.reload(context);
        true
    }

    /// A cycle is over, and there is a leader to follow: this long is the nap.
    pub(crate) fn nap(&mut self, context: &mut impl Context<Member>, nap: SimDuration) {
        if let Self::Etcd2(store) = self {
            store.nap(context, nap);
        }
    }

    /// True if the nap of whoever follows a leader is a request to the store, which nothing else interrupts.
    pub(crate) const fn polls_in_naps(&self) -> bool {
        matches!(self, Self::Etcd2(_))
    }

    /// True while such a request is under way.
    pub(crate) const fn is_polling(&self) -> bool {
        matches!(self, Self::Etcd2(store) if store.is_polling())
    }

    /// Reads the copy (`get_cluster`).
    pub(crate) fn view(&mut self, now: WallTime) -> View {
        match self {
            Self::Etcd2(store) => store.view(),
            Self::Etcd3(store) => store.view(now),
            Self::Kubernetes(store) => store.view(now),
        }
    }

    /// Begins an operation on the lock. What came of it, if that is known at once; otherwise an [`Event::Lock`] follows.
    pub(crate) fn lock(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        publication: &Publication,
    ) -> Option<LockOutcome> {
        store!(self, store => store.lock(context, goal, publication))
    }

    /// True as long as a cycle waits for what it has written: an [`Event::Written`] follows.
    pub(crate) fn is_writing(&self) -> bool {
        store!(self, store => store.is_writing())
    }

    /// The lock was kept: writes what the leader says besides.
    pub(crate) fn publish(&mut self, context: &mut impl Context<Member>, publication: &Publication) {
        match self {
            Self::Etcd2(store) => store.publish(context, publication),
            Self::Etcd3(store) => store.publish(context, publication),
            // A renewal has said it all.
            Self::Kubernetes(_) => {}
        }
    }

    /// Gives the lock back, if it is still this member's; an [`Event::Released`] follows. Where the log of a server that was
    /// stopped in order ended is said before that (`delete_leader`), or with Kubernetes along with it: a replica that lags
    /// behind is not to lead.
    pub(crate) fn release(&mut self, context: &mut impl Context<Member>, end: Option<Lsn>) {
        match self {
            Self::Etcd2(store) => store.release(context, end),
            Self::Etcd3(store) => store.release(context, end),
            Self::Kubernetes(store) => store.release(context),
        }
    }

    /// Writes the member's own key.
    pub(crate) fn touch_member(&mut self, context: &mut impl Context<Member>, key: MemberKey) {
        store!(self, store => store.touch_member(context, key));
    }

    /// Writes `/sync` if it is still at the revision of `sync`; an [`Event::Sync`] follows.
    pub(crate) fn write_sync(&mut self, context: &mut impl Context<Member>, sync: &SyncKey) {
        store!(self, store => store.write_sync(context, sync));
    }

    /// Writes `/failover`; an [`Event::Failover`] follows.
    pub(crate) fn write_failover(&mut self, context: &mut impl Context<Member>, key: FailoverKey) {
        store!(self, store => store.write_failover(context, key));
    }

    /// Writes `/config` with maintenance mode on or off.
    pub(crate) fn write_pause(&mut self, context: &mut impl Context<Member>, paused: bool) {
        store!(self, store => store.write_pause(context, paused));
    }

    /// Deletes `/failover`; an [`Event::FailoverRemoved`] follows.
    pub(crate) fn remove_failover(&mut self, context: &mut impl Context<Member>) {
        store!(self, store => store.remove_failover(context));
    }

    /// Writes `/history`.
    pub(crate) fn write_history(&mut self, context: &mut impl Context<Member>, history: &TimelineHistory) {
        store!(self, store => store.write_history(context, history));
    }

    /// Writes `/initialize`.
    pub(crate) fn write_initialize(&mut self, context: &mut impl Context<Member>) {
        store!(self, store => store.write_initialize(context));
    }

    /// A packet arrived that only a store sends.
    pub(crate) fn on_packet(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        store!(self, store => store.on_packet(context, connection, packet));
    }

    /// Something happened to a connection. False if it is none of the store's.
    pub(crate) fn on_connection(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> bool {
        store!(self, store => store.on_connection(context, connection, event))
    }

    /// An attempt of this call, or the pause before its next round, is over.
    pub(crate) fn on_call_timer(&mut self, context: &mut impl Context<Member>, call: u64) {
        store!(self, store => store.on_call_timer(context, call));
    }

    /// The header of a call's request was acknowledged.
    pub(crate) fn on_acknowledged(&mut self, context: &mut impl Context<Member>, call: u64) {
        store!(self, store => store.on_acknowledged(context, call));
    }

    /// An attempt to copy the keys, or to poll one, or the pause before the next, is over.
    pub(crate) fn on_cache_timer(&mut self, context: &mut impl Context<Member>, timer: &Timer) {
        match self {
            Self::Etcd2(store) => store.on_watch_timer(context),
            Self::Etcd3(store) => store.on_cache_timer(context),
            Self::Kubernetes(store) => store.on_cache_timer(context, timer),
        }
    }

    /// What came of something, oldest first. None: there is no more.
    pub(crate) fn next_event(&mut self, context: &mut impl Context<Member>) -> Option<Event> {
        store!(self, store => store.next_event(context))
    }
}

/// `utils.py:keepalive_socket_options`: a dead watch connection is noticed after about `ttl`.
fn socket_options(configuration: &Configuration) -> ConnectOptions {
    let idle = configuration.loop_wait + configuration.retry_timeout;
    let interval = (configuration.ttl.saturating_sub(idle) / 3).max(SimDuration::from_secs(1));
    ConnectOptions {
        user_timeout: Some(configuration.ttl),
        keep_alive: Some(KeepAlive { idle, interval, count: 3 }),
    }
}
