//! etcd as Patroni's store by its API version 2: the section `etcd` (`etcd.py:EtcdClient`, `Etcd`).
//!
//! There is no lease and no copy of the keys: the leader key and those of the members have a time to live of their own, and each cycle begins
//! with a read of all keys. It does not ask for a quorum, so that a member of etcd that is cut off answers with the past.
//!
//! ```text
//!   cycle:  GET all ─► ... ─► renew:   PUT leader if it is me ─── there is none ──► PUT leader if there is none
//!           (of one           acquire: PUT leader if there is none                     │
//!            member)          member:  PUT members/<name>, every time                  ▼
//!   nap of whoever follows:  long poll for the next change of the leader key ─► the next cycle
//! ```
//!
//! A renewal is a change of the leader key, so that the loops of the others run in step with the leader's, as on Kubernetes. `watch.rs` is the
//! poll, `lock.rs` holds the operations on the lock, and `protocol.rs` what the client makes of the answers, and what it did before 1.6.1.
//!
//! # Simplified, and what that changes
//!
//! - The reads in the midst of a cycle are left out but for that of a former primary that looks whom to follow: the one after the lock was
//!   taken, say. They take a millisecond each, or fail where the next request would.
//! - The connections of polls are kept apart from those of other requests.
//! - An index of a key that is not there is none (`prevIndex=0`), so that the first `/sync` is written whoever wrote one since it was
//!   read: real, and not simplified.

mod lock;
mod protocol;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Sampler, SimDuration};

use self::lock::LockStep;
use self::protocol::Etcd2Protocol;
use self::watch::{Outcome, Watch};
use super::keys::{self, Keys};
use super::view::{
    SYSTEM_IDENTIFIER, failover_to_value, history_to_value, members_to_value, paused_to_value,
};
use super::{Changes, Client, Effort, Event, Finished, MemberKey, Publication, StatusKey, SyncKey, View};
use crate::etcd::v2::{Answer, Condition, Request};
use crate::etcd::{self, Key, KeyValue, Value, v2};
use crate::patroni::lock::Goal;
use crate::patroni::member::{Member, Spec};
use crate::patroni::packet::Packet;
use crate::patroni::switchover::FailoverKey;
use crate::patroni::version::Change;
use crate::postgres::{Lsn, TimelineHistory};

/// What a call to etcd is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// The cycle's read of all keys.
    View,
    /// A former primary looks whom to follow.
    Reload,
    /// The cycle's operation on the lock.
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
pub(crate) struct Etcd2 {
    spec: Spec,
    keys: Keys,
    client: Client<Purpose, Etcd2Protocol>,
    /// What the last read found, and at which index.
    entries: Vec<KeyValue>,
    index: u64,
    written_status: StatusKey,
    watch: Watch,
    /// The operation on the lock that waits for an answer.
    operation: Option<(Goal, LockStep)>,
    /// What the member has not heard of.
    events: VecDeque<Event>,
}

impl Etcd2 {
    pub(super) fn new(spec: &Spec, context: &mut impl Context<Member>) -> Self {
        let endpoints = spec.etcd.iter().map(|member| Arc::from([*member])).collect();
        let protocol = Etcd2Protocol::new(spec.configuration.version);
        // No gateway stands before the members.
        let service = Sampler::Constant(SimDuration::ZERO);
        Self {
            keys: Keys::new(&spec.configuration.scope, &spec.names),
            client: Client::new(protocol, endpoints, &service, &spec.configuration, context),
            entries: Vec::new(),
            index: 0,
            written_status: StatusKey::default(),
            watch: Watch::default(),
            operation: None,
            events: VecDeque::new(),
            spec: spec.clone(),
        }
    }

    fn name(&self) -> &str {
        self.spec.name(self.spec.member)
    }

    /// A poll that is still under way has run into its time-out.
    pub(super) fn begin_cycle(&mut self, context: &mut impl Context<Member>) {
        if self.watch.time_out(context) {
            self.client.switch();
        }
        self.read(context, Purpose::View);
    }

    /// Reads all keys again; an [`Event::Reloaded`] follows.
    pub(super) fn reload(&mut self, context: &mut impl Context<Member>) {
        self.read(context, Purpose::Reload);
    }

    fn read(&mut self, context: &mut impl Context<Member>, purpose: Purpose) {
        let request = Request::Get { prefix: Arc::clone(&self.keys.prefix), quorum: false };
        self.call(context, purpose, request, Effort::Retried);
    }

    /// Keeps what a read found, if it was answered.
    fn keep(&mut self, response: Option<&v2::Response>) -> bool {
        let Some(v2::Response { index, result: Ok(Answer::Keys(entries)), .. }) = response else {
            return false;
        };
        self.entries.clone_from(entries);
        self.index = *index;
        self.watch.succeeded();
        true
    }

    pub(super) fn view(&self) -> View {
        // Nobody tells when the lock is lost: whoever reads finds out.
        View { judges_lock: true, ..keys::read(self.entries.iter(), &self.keys, &self.spec.names) }
    }

    /// The cycle is over, and there is a leader to follow: polls for the next change of its key, for so long.
    pub(super) fn nap(&mut self, context: &mut impl Context<Member>, nap: SimDuration) {
        let Some(leader) = self.entries.iter().find(|entry| entry.key == self.keys.leader) else { return };
        let index = self.index.max(leader.mod_revision + 1);
        let endpoint = self.client.endpoint(context);
        self.watch.begin(context, endpoint, &self.keys.leader, index, nap);
    }

    /// True while a poll is under way, which nothing else interrupts.
    pub(super) const fn is_polling(&self) -> bool {
        self.watch.is_under_way()
    }

    pub(super) fn publish(&mut self, context: &mut impl Context<Member>, publication: &Publication) {
        if let Some(status) = publication.status.as_ref().filter(|status| **status != self.written_status) {
            self.written_status = status.clone();
            let value = status.to_value(&self.spec.names);
            self.put_plain(context, Arc::clone(&self.keys.status), value);
        }
        if let Some(members) = &publication.failsafe {
            let value = members_to_value(members, &self.spec.names);
            self.put_plain(context, Arc::clone(&self.keys.failsafe), value);
        }
    }

    pub(super) fn release(&mut self, context: &mut impl Context<Member>, end: Option<Lsn>) {
        let Some(optime) = end else { return self.delete_leader(context) };
        self.written_status.optime = optime;
        let value = self.written_status.to_value(&self.spec.names);
        let request = put(Arc::clone(&self.keys.status), value, None, Condition::Any);
        self.call(context, Purpose::LastStatus, request, Effort::Single);
    }

    fn delete_leader(&mut self, context: &mut impl Context<Member>) {
        let condition = Condition::Value(self.name().into());
        let request = Request::Delete { key: Arc::clone(&self.keys.leader), condition };
        self.call(context, Purpose::Release, request, Effort::Single);
    }

    pub(super) fn touch_member(&mut self, context: &mut impl Context<Member>, member: MemberKey) {
        let key = Arc::clone(&self.keys.members[usize::from(self.spec.member.0)]);
        let request = put(key, member.to_value(), Some(self.spec.configuration.ttl), Condition::Any);
        self.call(context, Purpose::Plain, request, Effort::Single);
    }

    pub(super) fn write_sync(&mut self, context: &mut impl Context<Member>, sync: &SyncKey) {
        let value = sync.to_value(&self.spec.names);
        let request = put(Arc::clone(&self.keys.sync), value, None, Condition::Index(sync.revision));
        self.call(context, Purpose::Sync, request, Effort::Retried);
    }

    pub(super) fn write_failover(&mut self, context: &mut impl Context<Member>, key: FailoverKey) {
        let value = failover_to_value(key, &self.spec.names);
        let request = put(Arc::clone(&self.keys.failover), value, None, Condition::Any);
        self.call(context, Purpose::Failover, request, Effort::Single);
    }

    pub(super) fn write_pause(&mut self, context: &mut impl Context<Member>, paused: bool) {
        let request = put(Arc::clone(&self.keys.config), paused_to_value(paused), None, Condition::Any);
        self.call(context, Purpose::Configuration, request, Effort::Single);
    }

    /// The key stays, and names nobody (`manual_failover` without names).
    pub(super) fn remove_failover(&mut self, context: &mut impl Context<Member>) {
        let found = self.entries.iter().find(|entry| entry.key == self.keys.failover);
        let condition = Condition::Index(found.map_or(0, |entry| entry.mod_revision));
        let request = put(Arc::clone(&self.keys.failover), "".into(), None, condition);
        self.call(context, Purpose::FailoverRemoval, request, Effort::Single);
    }

    pub(super) fn write_history(&mut self, context: &mut impl Context<Member>, history: &TimelineHistory) {
        self.put_plain(context, Arc::clone(&self.keys.history), history_to_value(history));
    }

    pub(super) fn write_initialize(&mut self, context: &mut impl Context<Member>) {
        let value = SYSTEM_IDENTIFIER.into();
        let request = put(Arc::clone(&self.keys.initialize), value, None, Condition::Absent);
        self.call(context, Purpose::Plain, request, Effort::Retried);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.client.has_call_for(&Purpose::Plain)
    }

    /// Writes a key whose failure is ignored.
    fn put_plain(&mut self, context: &mut impl Context<Member>, key: Key, value: Value) {
        self.call(context, Purpose::Plain, put(key, value, None, Condition::Any), Effort::Single);
    }

    /// Before 1.6.1, every request went once to all members.
    fn call(
        &mut self,
        context: &mut impl Context<Member>,
        purpose: Purpose,
        request: Request,
        effort: Effort,
    ) {
        let every = !self.spec.has(Change::RetryUntilBudgetEnds);
        self.client.call(context, purpose, request, if every { Effort::Retried } else { effort });
    }

    pub(super) fn on_packet(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        let Packet::Etcd(etcd::Packet::V2(v2::Packet::Response { id, response })) = packet else { return };
        if self.client.owns(connection) {
            self.client.on_response(context, id, &response);
        } else if self.watch.owns(connection) {
            let protocol = &mut self.client.protocol;
            let outcome = self.watch.on_response(context, id, &response, |term| protocol.accepts(term));
            self.on_watch(context, outcome);
        }
    }

    pub(super) fn on_connection(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> bool {
        if self.client.owns(connection) {
            self.client.on_connection(context, connection, event);
        } else if self.watch.owns(connection) {
            if event != ConnectionEvent::Opened {
                let outcome = self.watch.on_lost();
                self.on_watch(context, outcome);
            }
        } else {
            return false;
        }
        true
    }

    /// A pause of the watch is over.
    pub(super) fn on_watch_timer(&mut self, context: &mut impl Context<Member>) {
        let endpoint = self.client.endpoint(context);
        let outcome = self.watch.on_timer(context, endpoint);
        self.on_watch(context, outcome);
    }

    fn on_watch(&mut self, context: &mut impl Context<Member>, outcome: Outcome) {
        match outcome {
            Outcome::Waits => {}
            Outcome::Changed { exists } => self.events.push_back(Event::Changed(Changes {
                wakes: true,
                ready: false,
                lock_exists: Some(exists),
            })),
            Outcome::Ended => {
                self.client.switch();
                self.events.push_back(Event::NapOver);
            }
            Outcome::Failed => {
                self.client.switch();
                let endpoint = self.client.endpoint(context);
                self.watch.try_again(context, endpoint);
            }
        }
    }

    pub(super) fn on_call_timer(&mut self, context: &mut impl Context<Member>, call: u64) {
        self.client.on_timer(context, call);
    }

    pub(super) fn on_acknowledged(&mut self, context: &mut impl Context<Member>, call: u64) {
        self.client.on_acknowledged(context, call);
    }

    pub(super) fn next_event(&mut self, context: &mut impl Context<Member>) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        while let Some(finished) = self.client.finished.pop_front() {
            if let Some(event) = self.on_finished(context, &finished) {
                return Some(event);
            }
        }
        None
    }

    /// A call came to its end.
    fn on_finished(
        &mut self,
        context: &mut impl Context<Member>,
        finished: &Finished<Purpose, Etcd2Protocol>,
    ) -> Option<Event> {
        let response = finished.response.as_deref();
        let written = match response {
            Some(v2::Response { result: Ok(Answer::Changed(index)), .. }) => Some(*index),
            _ => None,
        };
        match finished.purpose {
            Purpose::View if self.keep(response) => {
                self.written_status = self.view().status;
                Some(Event::Changed(Changes { ready: true, ..Changes::default() }))
            }
            Purpose::View => Some(Event::Unreadable),
            Purpose::Reload => {
                if !self.keep(response) {
                    self.entries.clear();
                }
                Some(Event::Reloaded)
            }
            Purpose::Plain => (!self.is_writing()).then_some(Event::Written),
            Purpose::Configuration => None,
            Purpose::Failover => Some(Event::Failover),
            Purpose::FailoverRemoval => Some(Event::FailoverRemoved),
            Purpose::LastStatus => {
                self.delete_leader(context);
                None
            }
            Purpose::Release => Some(Event::Released),
            Purpose::Sync => Some(Event::Sync(written)),
            Purpose::Lock => {
                let (goal, step) = self.operation.take()?;
                let outcome = self.on_lock_finished(context, goal, step, finished)?;
                Some(Event::Lock(goal, outcome))
            }
        }
    }
}

fn put(key: Key, value: Value, ttl: Option<SimDuration>, condition: Condition) -> Request {
    Request::Put { key, value, ttl, condition }
}
