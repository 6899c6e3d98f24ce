//! etcd as Patroni's store (`etcd.py`, `etcd3.py`; fidelity specification, 3.3 to 3.5).
//!
//! Each thing has a key of its own, and whoever leads has a lease with which the leader key vanishes. `cache.rs` keeps the
//! copy of the keys, `lock.rs` holds the operations on the lock, and `protocol.rs` what the client makes of the answers.

mod cache;
mod lock;
mod protocol;

use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, SimDuration, WallTime};

use self::cache::{Cache, Seen};
use self::lock::LockStep;
pub(super) use self::protocol::Etcd3Protocol;
use super::keys::{self, Keys};
use super::view::{
    SYSTEM_IDENTIFIER, failover_to_value, history_to_value, members_to_value, paused_to_value,
};
use super::{Changes, Client, Effort, Event, Finished, MemberKey, Publication, StatusKey, SyncKey, View};
use crate::etcd::{self, Answer, Compare, LeaseId, Mutation, Request};
use crate::patroni::lock::Goal;
use crate::patroni::member::{Member, Spec, Timer};
use crate::patroni::packet::Packet;
use crate::patroni::switchover::FailoverKey;
use crate::patroni::version::Change;
use crate::planted::Planted;
use crate::postgres::{Lsn, TimelineHistory};

/// What a call to etcd is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// The cycle's operation on the lock or the lease.
    Lock,
    /// The cycle's compare-and-swap of `/sync`.
    Sync,
    /// A write whose failure is ignored.
    Plain,
    /// A demotion says how far its server came before it gives the lock back.
    LastStatus,
    /// A demotion gives the lock back.
    Release,
    /// The key of a switchover.
    Failover,
    /// It is to go.
    FailoverRemoval,
    /// The cluster-wide settings.
    Configuration,
}

/// etcd, as one member uses it.
#[derive(Clone, Debug)]
pub(crate) struct Etcd3 {
    spec: Spec,
    keys: Keys,
    client: Client<Purpose, Etcd3Protocol>,
    cache: Cache,
    lease: Option<LeaseId>,
    /// The lease was kept alive in this cycle.
    lease_fresh: bool,
    written_status: StatusKey,
    /// The operation on the lock that waits for an answer.
    operation: Option<(Goal, LockStep)>,
    /// What the watch has seen and the member has not heard of.
    changes: Option<Changes>,
}

impl Etcd3 {
    pub(super) fn new(spec: &Spec, context: &mut impl Context<Member>) -> Self {
        let keys = Keys::new(&spec.configuration.scope, &spec.names);
        let endpoints = spec.etcd.iter().map(|member| Arc::from([*member])).collect();
        let protocol = Etcd3Protocol::new(spec.configuration.version);
        Self {
            client: Client::new(protocol, endpoints, &spec.inputs.gateway, &spec.configuration, context),
            cache: Cache::new(Arc::clone(&keys.prefix), &spec.configuration),
            keys,
            lease: None,
            lease_fresh: false,
            written_status: StatusKey::default(),
            operation: None,
            changes: None,
            spec: spec.clone(),
        }
    }

    fn name(&self) -> &str {
        self.spec.name(self.spec.member)
    }

    pub(super) fn start(context: &mut impl Context<Member>) {
        context.set_timer(Timer::Cache, SimDuration::ZERO);
    }

    pub(super) fn begin_cycle(&mut self, context: &mut impl Context<Member>) -> bool {
        self.lease_fresh = false;
        let old = self.cache.raft_term < self.client.protocol.raft_term;
        if self.cache.ready && old && self.spec.has(Change::RebuildOldCopy) {
            // The copy may come from a member that was left behind (#3373).
            self.cache.rebuild(context);
        }
        self.cache.ready
    }

    pub(super) fn view(&self, _now: WallTime) -> View {
        keys::read(self.cache.entries(), &self.keys, &self.spec.names)
    }

    pub(super) fn publish(&mut self, context: &mut impl Context<Member>, publication: &Publication) {
        if let Some(status) = publication.status.as_ref().filter(|status| **status != self.written_status) {
            self.written_status = status.clone();
            let key = Arc::clone(&self.keys.status);
            let value = status.to_value(&self.spec.names);
            self.put_plain(context, Mutation::Put { key, value, lease: None });
        }
        if let Some(members) = &publication.failsafe {
            let value = members_to_value(members, &self.spec.names);
            let key = Arc::clone(&self.keys.failsafe);
            self.put_plain(context, Mutation::Put { key, value, lease: None });
        }
    }

    pub(super) fn release(&mut self, context: &mut impl Context<Member>, end: Option<Lsn>) {
        let Some(optime) = end else { return self.delete_leader(context) };
        self.written_status.optime = optime;
        let key = Arc::clone(&self.keys.status);
        let value = self.written_status.to_value(&self.spec.names);
        let request = Self::unconditional(Mutation::Put { key, value, lease: None });
        self.client.call(context, Purpose::LastStatus, request, Effort::Single);
    }

    fn delete_leader(&mut self, context: &mut impl Context<Member>) {
        let leader = Arc::clone(&self.keys.leader);
        let request = Request::Txn {
            compare: vec![Compare::Value(leader.clone(), self.name().into())],
            then: vec![Mutation::Delete { key: leader }],
            otherwise: Vec::new(),
        };
        self.client.call(context, Purpose::Release, request, Effort::Retried);
    }

    pub(super) fn touch_member(&mut self, context: &mut impl Context<Member>, member: MemberKey) {
        let key = Arc::clone(&self.keys.members[usize::from(self.spec.member.0)]);
        self.put_plain(context, Mutation::Put { key, value: member.to_value(), lease: self.lease });
    }

    pub(super) fn write_sync(&mut self, context: &mut impl Context<Member>, sync: &SyncKey) {
        let key = Arc::clone(&self.keys.sync);
        let compare = match sync.revision {
            0 => Compare::CreateRevision(key.clone(), 0),
            revision => Compare::ModRevision(key.clone(), revision),
        };
        let value = sync.to_value(&self.spec.names);
        let request = Request::Txn {
            compare: vec![compare],
            then: vec![Mutation::Put { key, value, lease: None }],
            otherwise: Vec::new(),
        };
        self.client.call(context, Purpose::Sync, request, Effort::Retried);
    }

    pub(super) fn write_failover(&mut self, context: &mut impl Context<Member>, key: FailoverKey) {
        let value = failover_to_value(key, &self.spec.names);
        let request =
            Self::unconditional(Mutation::Put { key: Arc::clone(&self.keys.failover), value, lease: None });
        self.client.call(context, Purpose::Failover, request, Effort::Retried);
    }

    pub(super) fn write_pause(&mut self, context: &mut impl Context<Member>, paused: bool) {
        let value = paused_to_value(paused);
        let request =
            Self::unconditional(Mutation::Put { key: Arc::clone(&self.keys.config), value, lease: None });
        self.client.call(context, Purpose::Configuration, request, Effort::Retried);
    }

    pub(super) fn remove_failover(&mut self, context: &mut impl Context<Member>) {
        let request = Self::unconditional(Mutation::Delete { key: Arc::clone(&self.keys.failover) });
        self.client.call(context, Purpose::FailoverRemoval, request, Effort::Single);
    }

    pub(super) fn write_history(&mut self, context: &mut impl Context<Member>, history: &TimelineHistory) {
        let key = Arc::clone(&self.keys.history);
        self.put_plain(context, Mutation::Put { key, value: history_to_value(history), lease: None });
    }

    pub(super) fn write_initialize(&mut self, context: &mut impl Context<Member>) {
        let key = Arc::clone(&self.keys.initialize);
        self.put_plain(context, Mutation::Put { key, value: SYSTEM_IDENTIFIER.into(), lease: None });
    }

    pub(super) fn is_writing(&self) -> bool {
        self.client.has_call_for(&Purpose::Plain)
    }

    /// Writes a key whose failure is ignored.
    fn put_plain(&mut self, context: &mut impl Context<Member>, mutation: Mutation) {
        self.client.call(context, Purpose::Plain, Self::unconditional(mutation), Effort::Single);
    }

    /// A change for which nothing is compared.
    fn unconditional(mutation: Mutation) -> Request {
        Request::Txn { compare: Vec::new(), then: vec![mutation], otherwise: Vec::new() }
    }

    pub(super) fn on_packet(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        let Packet::Etcd(packet) = packet else { return };
        let of_watch = self.cache.owns(connection);
        match packet {
            etcd::Packet::Response { id, response } if of_watch => {
                let rejects = self.spec.has(Change::RejectOlderRaftTerms);
                let term = if rejects { self.client.protocol.raft_term } else { 0 };
                if let Some(seen) = self.cache.on_response(context, id, &response, term) {
                    self.note_changes(seen);
                } else {
                    self.cache.give_up(context);
                    self.client.switch();
                    self.client.switched = false;
                }
            }
            etcd::Packet::Response { id, response } if self.client.owns(connection) => {
                self.client.on_response(context, id, &response);
            }
            etcd::Packet::Watched { events, .. } if of_watch => {
                let seen = self.cache.on_watched(&events, &self.keys);
                self.note_changes(seen);
            }
            _ => {}
        }
    }

    /// Changes of the leader key wake everybody, changes of the status those who do not lead (fidelity specification, 2.3).
    fn note_changes(&mut self, seen: Seen) {
        let leader = self.cache.get(&self.keys.leader);
        let own = leader.is_some_and(|entry| *entry.value == *self.name());
        self.changes = Some(Changes {
            wakes: seen.leader || seen.configuration || (seen.status && !own),
            ready: seen.ready,
            lock_exists: Some(leader.is_some()),
        });
    }

    pub(super) fn on_connection(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> bool {
        if self.client.owns(connection) {
            self.client.on_connection(context, connection, event);
        } else if self.cache.owns(connection) {
            if self.cache.on_connection(context, event, self.client.timeouts()) {
                self.client.switch();
                self.client.switched = false;
            }
        } else {
            return false;
        }
        true
    }

    pub(super) fn on_call_timer(&mut self, context: &mut impl Context<Member>, call: u64) {
        self.client.on_timer(context, call);
    }

    pub(super) fn on_acknowledged(&mut self, context: &mut impl Context<Member>, call: u64) {
        self.client.on_acknowledged(context, call);
    }

    pub(super) fn on_cache_timer(&mut self, context: &mut impl Context<Member>) {
        if self.cache.is_loading() {
            self.cache.give_up(context);
            self.client.switch();
            self.client.switched = false;
        } else if !self.cache.ready {
            let endpoint = self.client.endpoint(context);
            self.cache.load(context, endpoint, self.client.timeouts());
        }
    }

    pub(super) fn next_event(&mut self, context: &mut impl Context<Member>) -> Option<Event> {
        if let Some(changes) = self.changes.take() {
            return Some(Event::Changed(changes));
        }
        while let Some(finished) = self.client.finished.pop_front() {
            if let Some(event) = self.on_finished(context, &finished) {
                return Some(event);
            }
        }
        self.follow_endpoint(context);
        None
    }

    /// A call came to its end.
    fn on_finished(
        &mut self,
        context: &mut impl Context<Member>,
        finished: &Finished<Purpose, Etcd3Protocol>,
    ) -> Option<Event> {
        let mut written = None;
        if let (Request::Txn { then, .. }, Some(response)) = (&*finished.request, &finished.response)
            && matches!(response.result, Ok(Answer::Txn { succeeded: true }))
        {
            self.cache.apply(then, response.revision);
            written = Some(response.revision);
        }
        match finished.purpose {
            Purpose::Plain => (!self.is_writing()).then_some(Event::Written),
            Purpose::Configuration => None,
            Purpose::Failover => Some(Event::Failover),
            Purpose::FailoverRemoval => Some(Event::FailoverRemoved),
            Purpose::LastStatus => {
                self.delete_leader(context);
                None
            }
            Purpose::Release => Some(Event::Released),
            Purpose::Sync => {
                if written.is_none() {
                    self.cache.rebuild(context);
                }
                Some(Event::Sync(written))
            }
            Purpose::Lock => {
                let (goal, step) = self.operation.take()?;
                let outcome = self.on_lock_finished(context, goal, step, finished)?;
                Some(Event::Lock(goal, outcome))
            }
        }
    }

    /// Restarts the watch when the client uses another endpoint, or found none.
    fn follow_endpoint(&mut self, context: &mut impl Context<Member>) {
        let switched = std::mem::take(&mut self.client.switched);
        let exhausted = std::mem::take(&mut self.client.exhausted);
        let restarts = self.spec.has(Change::RestartWatchAfterOutage) && !self.spec.lacks(Planted::KeepWatch);
        if switched || (exhausted && restarts) {
            self.cache.rebuild(context);
        }
    }
}
