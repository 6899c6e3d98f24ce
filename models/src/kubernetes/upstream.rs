//! An API server's connection with etcd, and its watch cache: the objects as one watch of etcd shows them
//! (`storage/cacher`).

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, KeepAlive, ProcessId, SimDuration};

use super::object::{REGISTRY, named_by};
use super::server::{ApiServer, ApiServerTimer};
use super::{Object, Packet, Resource, WatchEvent};
use crate::etcd::{self, Event, Key, KeyValue};

/// Between two attempts to connect (gRPC: the first back-off is 1 s).
const REDIAL: SimDuration = SimDuration::from_secs(1);

/// `storage/storagebackend/factory/etcd3.go`: `keepaliveTime` 30 s, `keepaliveTimeout` 10 s.
const OPTIONS: ConnectOptions = ConnectOptions {
    user_timeout: Some(SimDuration::from_secs(40)),
    keep_alive: Some(KeepAlive {
        idle: SimDuration::from_secs(30),
        interval: SimDuration::from_secs(10),
        count: 1,
    }),
};

/// The connection and the cache.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    member: ProcessId,
    connection: Option<ConnectionId>,
    next_request: u64,
    /// The request that builds the cache, and then the one that watches.
    building: Option<u64>,
    /// The cache is complete, and the watch runs.
    pub(super) ready: bool,
    objects: BTreeMap<Key, Arc<Object>>,
    /// Every change since the cache was built, with its revision.
    events: Vec<(u64, Resource, WatchEvent)>,
    /// The revision at which the cache was built: older watches cannot go on from it.
    built_at: u64,
}

impl Upstream {
    pub(super) fn new(member: ProcessId) -> Self {
        Self {
            member,
            connection: None,
            next_request: 0,
            building: None,
            ready: false,
            objects: BTreeMap::new(),
            events: Vec::new(),
            built_at: 0,
        }
    }

    /// Connects, and begins to build the cache.
    pub(super) fn dial(&mut self, context: &mut impl Context<ApiServer>) {
        self.connection = Some(context.connect(self.member, OPTIONS));
        let prefix: Key = REGISTRY.into();
        self.building = self.ask(context, etcd::Request::Range { prefix, linearizable: true });
    }

    /// Sends a request; none without a connection.
    pub(super) fn ask(
        &mut self,
        context: &mut impl Context<ApiServer>,
        request: etcd::Request,
    ) -> Option<u64> {
        let connection = self.connection?;
        let id = self.next_request;
        self.next_request += 1;
        let packet = etcd::Packet::Request { id, request: Arc::new(request) };
        context.send(connection, Packet::Etcd(packet));
        Some(id)
    }

    pub(super) fn owns(&self, connection: ConnectionId) -> bool {
        self.connection == Some(connection)
    }

    /// The connection is lost: the cache is worth nothing any more.
    pub(super) fn on_lost(&mut self, context: &mut impl Context<ApiServer>) {
        self.connection = None;
        self.building = None;
        self.ready = false;
        context.set_timer(ApiServerTimer::Dial, REDIAL);
    }

    /// True if an answer is to a request of the cache.
    pub(super) fn waits_for(&self, id: u64) -> bool {
        self.building == Some(id)
    }

    /// An answer to a request of the cache. False if the cache cannot be built with it: the connection is given up.
    pub(super) fn on_response(
        &mut self,
        context: &mut impl Context<ApiServer>,
        response: &etcd::Response,
    ) -> bool {
        match &response.result {
            Ok(etcd::Answer::Range { entries }) => {
                self.fill(entries, response.revision);
                self.building = self.ask(
                    context,
                    etcd::Request::Watch { prefix: REGISTRY.into(), from_revision: response.revision + 1 },
                );
                self.ready = true;
            }
            Ok(_) => {}
            Err(_) => {
                if let Some(connection) = self.connection {
                    context.close(connection);
                }
                return false;
            }
        }
        true
    }

    fn fill(&mut self, entries: &[KeyValue], revision: u64) {
        self.objects = entries
            .iter()
            .filter_map(|entry| Some((Arc::clone(&entry.key), Arc::new(Object::from_entry(entry)?))))
            .collect();
        self.events.clear();
        self.built_at = revision;
    }

    /// Changes that the watch saw.
    pub(super) fn on_watched(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Put(entry) => {
                    if let Some(object) = Object::from_entry(entry).map(Arc::new) {
                        let resource = object.resource;
                        self.objects.insert(Arc::clone(&entry.key), Arc::clone(&object));
                        self.events.push((entry.mod_revision, resource, WatchEvent::Modified(object)));
                    }
                }
                Event::Delete { key, revision } => {
                    self.objects.remove(key);
                    if let Some((resource, name)) = named_by(key) {
                        let event = WatchEvent::Deleted { name, resource_version: *revision };
                        self.events.push((*revision, resource, event));
                    }
                }
            }
        }
    }

    /// An object as the cache has it.
    pub(super) fn cached(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The changes of a kind after a version, oldest first; none if the cache does not reach back so far.
    pub(super) fn changes_after(
        &self,
        resource: Resource,
        version: u64,
    ) -> Option<impl Iterator<Item = (u64, &WatchEvent)>> {
        (self.ready && version >= self.built_at).then(|| {
            let start = self.events.partition_point(|(revision, ..)| *revision <= version);
            self.events[start..]
                .iter()
                .filter(move |(_, of, _)| *of == resource)
                .map(|(revision, _, event)| (*revision, event))
        })
    }
}
