//! A copy of the objects of one kind: a list, then a watch from its version (`kubernetes.py:ObjectCache`).
//!
//! The copy counts as complete while the watch lives, and nobody notices a watch that is not sent anything: it has no
//! time-out but that of the dead connection. It is built again when the watch ends, and, since 2.1.4, when a write that
//! named a version of the copy was refused (#2283).

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, Context, ProcessId, SimDuration};

use crate::kubernetes::{self, Name, Object, Request, Resource, WatchEvent};
use crate::patroni::config::Configuration;
use crate::patroni::dcs::socket_options;
use crate::patroni::member::{Member, Timer};
use crate::patroni::packet::Packet;

/// After a list that failed (`ObjectCache._list`).
const PAUSE: SimDuration = SimDuration::from_secs(1);

/// A copy and the watch that keeps it fresh.
#[derive(Clone, Debug)]
pub(super) struct ObjectCache {
    pub(super) resource: Resource,
    timer: Timer,
    objects: BTreeMap<Name, Arc<Object>>,
    /// True while the watch runs behind a complete copy.
    pub(super) ready: bool,
    /// A list is under way.
    pub(super) lists: bool,
    watch: Option<ConnectionId>,
    options: ConnectOptions,
    connect_timeout: SimDuration,
}

/// A change that was new to the copy.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) name: Name,
    pub(super) before: Option<Arc<Object>>,
    pub(super) after: Option<Arc<Object>>,
}

impl ObjectCache {
    pub(super) fn new(resource: Resource, timer: Timer, configuration: &Configuration) -> Self {
        Self {
            resource,
            timer,
            objects: BTreeMap::new(),
            ready: false,
            lists: false,
            watch: None,
            options: socket_options(configuration),
            connect_timeout: configuration.retry_timeout,
        }
    }

    /// Throws the watch away and builds the copy again at once (`kill_stream`). A list that is under way goes on.
    pub(super) fn rebuild(&mut self, context: &mut impl Context<Member>) {
        self.stop(context);
        if !self.lists {
            context.set_timer(self.timer.clone(), SimDuration::ZERO);
        }
    }

    fn stop(&mut self, context: &mut impl Context<Member>) {
        self.ready = false;
        if let Some(connection) = self.watch.take() {
            context.close(connection);
        }
    }

    /// True if the copy is to be listed now: the pause is over, or connecting for the watch took too long.
    pub(super) fn is_due(&mut self, context: &mut impl Context<Member>) -> bool {
        self.stop(context);
        !std::mem::replace(&mut self.lists, true)
    }

    /// The list could not be had.
    pub(super) fn on_list_failed(&mut self, context: &mut impl Context<Member>) {
        self.lists = false;
        context.set_timer(self.timer.clone(), PAUSE);
    }

    /// The list came: watches from its version on, at this API server.
    pub(super) fn on_list(
        &mut self,
        context: &mut impl Context<Member>,
        items: &[Arc<Object>],
        resource_version: u64,
        server: ProcessId,
    ) {
        self.lists = false;
        self.objects = items.iter().map(|item| (Arc::clone(&item.name), Arc::clone(item))).collect();
        self.ready = true;
        let connection = context.connect(server, self.options);
        self.watch = Some(connection);
        let request = Arc::new(Request::Watch { resource: self.resource, resource_version });
        context.send(connection, Packet::Kubernetes(kubernetes::Packet::Request { id: 0, request }));
        context.set_timer(self.timer.clone(), self.connect_timeout);
    }

    pub(super) fn owns(&self, connection: ConnectionId) -> bool {
        self.watch == Some(connection)
    }

    /// The watch's connection was opened or lost.
    pub(super) fn on_connection(&mut self, context: &mut impl Context<Member>, event: ConnectionEvent) {
        if event == ConnectionEvent::Opened {
            context.cancel_timer(&self.timer);
        } else {
            self.watch = None;
            self.rebuild(context);
        }
    }

    /// A change that the watch saw, if it is new.
    pub(super) fn on_watched(&mut self, event: &WatchEvent) -> Option<Change> {
        match event {
            WatchEvent::Modified(object) => self.put(object),
            WatchEvent::Deleted { name, resource_version } => {
                let known = self.objects.get(name)?;
                if known.resource_version >= *resource_version {
                    return None;
                }
                let before = self.objects.remove(name);
                Some(Change { name: Arc::clone(name), before, after: None })
            }
        }
    }

    /// Takes an object over if it is newer than that of the copy: a change that the watch saw, or a write of this member.
    pub(super) fn put(&mut self, object: &Arc<Object>) -> Option<Change> {
        let known = self.objects.get(&object.name);
        if known.is_some_and(|known| known.resource_version >= object.resource_version) {
            return None;
        }
        let before = self.objects.insert(Arc::clone(&object.name), Arc::clone(object));
        Some(Change { name: Arc::clone(&object.name), before, after: Some(Arc::clone(object)) })
    }

    /// An object of the copy.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(name)
    }

    /// All objects of the copy, in order of their names.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }
}
