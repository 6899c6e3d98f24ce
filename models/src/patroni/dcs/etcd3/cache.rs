//! The local copy of the cluster's keys: one serializable range, then a watch (`etcd3.py:KVCache`; fidelity
//! specification, 3.5).
//!
//! The HA loop never reads etcd; it reads this copy. The copy may be old: nothing but the watch keeps it fresh. It is
//! built again when the watch breaks, when the client uses another endpoint or found none (#2186), when a
//! compare-and-swap failed that the copy said must succeed (#2783), and when it was read in an older Raft term than the
//! client has seen (#3373).
//!
//! Simplified: after a failed attempt the real thread tries again at once; here it pauses [`REBUILD_PAUSE`], so that a
//! refusing etcd does not fill the run with events.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, Context, ProcessId, SimDuration};

use crate::etcd::{self, Answer, Event, Key, KeyValue, LeaseId, Mutation, Request, Response};
use crate::patroni::config::Configuration;
use crate::patroni::dcs::Timeouts;
use crate::patroni::dcs::keys::Keys;
use crate::patroni::dcs::socket_options;
use crate::patroni::member::{Member, Timer};
use crate::patroni::packet::Packet;

/// Between failed attempts to build the copy.
const REBUILD_PAUSE: SimDuration = SimDuration::from_millis(100);

/// The copy and the connection that keeps it fresh.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    prefix: Key,
    entries: BTreeMap<Key, KeyValue>,
    /// True while the watch runs behind a complete copy.
    pub(crate) ready: bool,
    /// Of the answer from which the copy was built.
    pub(crate) raft_term: u64,
    connection: Option<ConnectionId>,
    next_request: u64,
    awaited: u64,
    options: ConnectOptions,
}

/// What the watch saw.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// The value of the leader key changed (also: it came or went).
    pub(super) leader: bool,
    /// The value of the status key changed.
    pub(super) status: bool,
    /// The value of the config key changed.
    pub(super) configuration: bool,
    /// The copy was just completed.
    pub(super) ready: bool,
}

impl Cache {
    /// An empty copy of the keys with this prefix.
    pub(crate) fn new(prefix: Key, configuration: &Configuration) -> Self {
        Self {
            prefix,
            entries: BTreeMap::new(),
            ready: false,
            raft_term: 0,
            connection: None,
            next_request: 0,
            awaited: 0,
            options: socket_options(configuration),
        }
    }

    /// Begins to build the copy from this endpoint.
    pub(crate) fn load(
        &mut self,
        context: &mut impl Context<Member>,
        endpoint: ProcessId,
        timeouts: Timeouts,
    ) {
        self.disconnect(context);
        let connection = context.connect(endpoint, self.options);
        self.connection = Some(connection);
        self.ask(context, Request::Range { prefix: Arc::clone(&self.prefix), linearizable: false });
        context.set_timer(Timer::Cache, timeouts.connect);
    }

    /// Throws the copy away and builds it again at once.
    pub(crate) fn rebuild(&mut self, context: &mut impl Context<Member>) {
        self.disconnect(context);
        context.set_timer(Timer::Cache, SimDuration::ZERO);
    }

    fn disconnect(&mut self, context: &mut impl Context<Member>) {
        self.ready = false;
        if let Some(connection) = self.connection.take() {
            context.close(connection);
        }
    }

    fn ask(&mut self, context: &mut impl Context<Member>, request: Request) {
        let Some(connection) = self.connection else { return };
        self.awaited = self.next_request;
        self.next_request += 1;
        let packet = etcd::Packet::Request { id: self.awaited, request: Arc::new(request) };
        context.send(connection, Packet::Etcd(packet));
    }

    /// True if this is the watch connection.
    pub(crate) fn owns(&self, connection: ConnectionId) -> bool {
        self.connection == Some(connection)
    }

    /// True if an attempt runs whose time may be over; false if there is none.
    pub(crate) fn is_loading(&self) -> bool {
        self.connection.is_some() && !self.ready
    }

    /// The connection was opened or lost. Returns true when the attempt, or the watch, failed.
    pub(crate) fn on_connection(
        &mut self,
        context: &mut impl Context<Member>,
        event: ConnectionEvent,
        timeouts: Timeouts,
    ) -> bool {
        if event == ConnectionEvent::Opened {
            context.set_timer(Timer::Cache, timeouts.total);
            return false;
        }
        self.connection = None;
        self.ready = false;
        Self::pause(context);
        true
    }

    /// Gives the attempt up and makes another one a little later.
    pub(crate) fn give_up(&mut self, context: &mut impl Context<Member>) {
        self.disconnect(context);
        Self::pause(context);
    }

    fn pause(context: &mut impl Context<Member>) {
        context.set_timer(Timer::Cache, REBUILD_PAUSE);
    }

    /// An answer on the watch connection. Returns none when the attempt failed.
    pub(crate) fn on_response(
        &mut self,
        context: &mut impl Context<Member>,
        id: u64,
        response: &Response,
        raft_term: u64,
    ) -> Option<Seen> {
        if id != self.awaited {
            return Some(Seen::default());
        }
        if response.raft_term < raft_term {
            return None;
        }
        match &response.result {
            Ok(Answer::Range { entries }) => {
                self.entries = entries.iter().map(|entry| (Arc::clone(&entry.key), entry.clone())).collect();
                self.raft_term = response.raft_term;
                self.ask(
                    context,
                    Request::Watch { prefix: Arc::clone(&self.prefix), from_revision: response.revision + 1 },
                );
                self.ready = true;
                context.cancel_timer(&Timer::Cache);
                Some(Seen { ready: true, ..Seen::default() })
            }
            Ok(_) => Some(Seen::default()),
            Err(_) => None,
        }
    }

    /// Seen that the watch saw.
    pub(crate) fn on_watched(&mut self, events: &[Event], keys: &Keys) -> Seen {
        let mut seen = Seen::default();
        for event in events {
            let (key, revision) = match event {
                Event::Put(entry) => (&entry.key, entry.mod_revision),
                Event::Delete { key, revision } => (key, *revision),
            };
            let known = self.entries.get(key);
            if known.is_some_and(|entry| entry.mod_revision >= revision) {
                continue;
            }
            let changed = match (known, event) {
                (Some(entry), Event::Put(new)) => entry.value != new.value,
                (None, Event::Delete { .. }) => false,
                (None, Event::Put(_)) | (Some(_), Event::Delete { .. }) => true,
            };
            seen.leader |= changed && *key == keys.leader;
            seen.configuration |= changed && *key == keys.config;
            seen.status |= changed && *key == keys.status && matches!(event, Event::Put(_));
            match event {
                Event::Put(entry) => {
                    self.entries.insert(Arc::clone(key), entry.clone());
                }
                Event::Delete { .. } => {
                    self.entries.remove(key);
                }
            }
        }
        seen
    }

    /// A write of this member succeeded at this revision: it sees it at once.
    pub(crate) fn apply(&mut self, mutations: &[Mutation], revision: u64) {
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, value, lease } => self.put(key, value.clone(), *lease, revision),
                Mutation::Delete { key } => {
                    self.entries.remove(key);
                }
            }
        }
    }

    fn put(&mut self, key: &Key, value: etcd::Value, lease: Option<LeaseId>, revision: u64) {
        let created = self.entries.get(key).map_or(revision, |entry| entry.create_revision);
        self.entries.insert(
            Arc::clone(key),
            KeyValue { key: Arc::clone(key), value, create_revision: created, mod_revision: revision, lease },
        );
    }

    /// A key of the copy.
    pub(crate) fn get(&self, key: &Key) -> Option<&KeyValue> {
        self.entries.get(key)
    }

    /// All keys of the copy, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &KeyValue> {
        self.entries.values()
    }
}
