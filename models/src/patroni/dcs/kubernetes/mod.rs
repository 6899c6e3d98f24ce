//! The API of Kubernetes as Patroni's store (`kubernetes.py`; fidelity specification, 1.5).
//!
//! | object | annotations | fidelity specification |
//! |---|---|---|
//! | Endpoints `<scope>`, or `ConfigMap` `<scope>-leader` | the lock, `optime`, `failsafe`; with Endpoints the address of the leader | 1.5 |
//! | `<scope>-config` | `initialize`, `history` | |
//! | `<scope>-sync`, `<scope>-failover` | as the keys of etcd | |
//! | Pod of each member | `status`, and the label `role` | |
//!
//! There is no lease: whether the lock is held, each observer judges for itself (`record.rs`). A renewal is a change of the
//! leader object, which wakes all others, so that loops run in step (since 2.0.0; #1515). A Pod outlives its Patroni, so that
//! the key of a dead member stays.
//!
//! A Service over these Endpoints has the new leader's address with its lock; one over a label of the Pods waits for the key of
//! the member, which is written at the end of a cycle (`routing/service.rs`).
//!
//! # Simplified, and what that changes
//!
//! - One member is one Pod of the same name, whose address never changes. `kubernetes.labels`, `scope_label`, `role_label`
//!   and `namespace` name things; the names do not matter here.
//! - The list of API servers (`bypass_api_service`) is not refreshed in each cycle, which costs time when they are
//!   silent, and is asked of each in turn when all failed, where the real client asks the Service.
//! - Without `bypass_api_service` each new connection reaches an API server at random, as behind `kube-proxy`; one that is
//!   dead stays among them, where the real Service drops it when its lease of 15 s has run out.
//! - Writes whose failure is ignored do not hold up the cycle.

mod cache;
mod leader;
mod protocol;
mod record;

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Sampler, SimDuration, WallTime};

use self::cache::{Change, ObjectCache};
use self::leader::Operation;
use self::protocol::{CONFLICT, Call, object_of, status_of};
use self::record::{LEADER, Observed};
use super::view::{
    PAUSED, SYSTEM_IDENTIFIER, failover_from_value, failover_to_value, history_from_value, history_to_value,
    member_named, members_from_value, paused_to_value,
};
use super::{Changes, Client, Effort, Endpoint, Event, Finished, MemberKey, StatusKey, SyncKey, View};
use crate::kubernetes::{self, Answer, Name, Object, Patch, Request, Resource, Response};
use crate::patroni::config::KubernetesSettings;
use crate::patroni::member::{Member, Spec, Timer};
use crate::patroni::packet::Packet;
use crate::patroni::switchover::FailoverKey;
use crate::patroni::version;
use crate::postgres::TimelineHistory;

pub(super) use self::protocol::KubernetesProtocol;

/// Annotations beside those of the lock.
const OPTIME: &str = "optime";
const FAILSAFE: &str = "failsafe";
const INITIALIZE: &str = "initialize";
const HISTORY: &str = "history";
const STATUS: &str = "status";
const ROLE: &str = "role";
/// The model keeps what these objects say in one annotation.
const SYNC: &str = "sync";
const FAILOVER: &str = "failover";
const CONFIG: &str = "config";

/// What a call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// The cycle's operation on the lock.
    Lock,
    /// The cycle's write of the sync object.
    Sync,
    /// A write whose failure is ignored.
    Plain,
    /// The lock is given back.
    Release,
    /// The object of a switchover.
    Failover,
    /// It is to go.
    FailoverRemoval,
    /// The cluster-wide settings.
    Configuration,
    /// A list of objects, for a copy.
    List(Resource),
}

/// Names of the objects of one cluster.
#[derive(Clone, Debug)]
struct Names {
    leader: Name,
    config: Name,
    sync: Name,
    failover: Name,
}

/// The API of Kubernetes, as one member uses it.
#[derive(Clone, Debug)]
pub(crate) struct Kubernetes {
    spec: Spec,
    settings: KubernetesSettings,
    names: Names,
    client: Client<Purpose, KubernetesProtocol>,
    /// Endpoints or `ConfigMaps`.
    kinds: ObjectCache,
    pods: ObjectCache,
    observed: Observed,
    operation: Option<Operation>,
    /// What the member has not heard of.
    events: VecDeque<Event>,
}

impl Kubernetes {
    pub(super) fn new(
        spec: &Spec,
        settings: &KubernetesSettings,
        context: &mut impl Context<Member>,
    ) -> Self {
        let configuration = &spec.configuration;
        let scope = &configuration.scope;
        let name = |suffix: &str| -> Name { format!("{scope}{suffix}").into() };
        let resource = if settings.use_endpoints { Resource::Endpoints } else { Resource::ConfigMaps };
        let endpoints: Vec<Endpoint> = if settings.bypass_api_service {
            spec.api_servers.iter().map(|server| Arc::from([*server])).collect()
        } else {
            vec![Arc::clone(&spec.api_servers)]
        };
        Self {
            names: Names {
                leader: name(if settings.use_endpoints { "" } else { "-leader" }),
                config: name("-config"),
                sync: name("-sync"),
                failover: name("-failover"),
            },
            // How long API servers take is in their own specification.
            client: Client::new(
                KubernetesProtocol::new(settings),
                endpoints,
                &Sampler::Constant(SimDuration::ZERO),
                configuration,
                context,
            ),
            kinds: ObjectCache::new(resource, Timer::Cache, configuration),
            pods: ObjectCache::new(Resource::Pods, Timer::PodCache, configuration),
            observed: Observed::default(),
            operation: None,
            events: VecDeque::new(),
            settings: settings.clone(),
            spec: spec.clone(),
        }
    }

    fn name(&self) -> &str {
        self.spec.name(self.spec.member)
    }

    fn settings(&self) -> &KubernetesSettings {
        &self.settings
    }

    pub(super) fn start(context: &mut impl Context<Member>) {
        context.set_timer(Timer::Cache, SimDuration::ZERO);
        context.set_timer(Timer::PodCache, SimDuration::ZERO);
    }

    pub(super) fn begin_cycle(&self) -> bool {
        self.kinds.ready && self.pods.ready
    }

    /// Loads the copies (`get_cluster`). The time of the load is what the lock is judged by.
    pub(super) fn view(&mut self, now: WallTime) -> View {
        let names = Arc::clone(&self.spec.names);
        let leader = self.kinds.get(&self.names.leader);
        self.observed.load(leader, now);
        let mut view = View { judges_lock: true, ..View::default() };
        let holder = self.observed.holder(now, self.spec.configuration.ttl);
        view.leader = holder.and_then(|holder| member_named(holder, &names));
        if let Some(object) = leader {
            view.status = StatusKey::from_value(object.annotation(OPTIME).unwrap_or_default(), &names);
            let failsafe = object.annotation(FAILSAFE);
            view.failsafe = failsafe.map_or_else(Vec::new, |text| members_from_value(text, &names));
        }
        if let Some(object) = self.kinds.get(&self.names.config) {
            view.initialized = object.annotation(INITIALIZE).is_some();
            if let Some(history) = object.annotation(HISTORY) {
                view.history = history_from_value(history);
                view.has_history = true;
            }
        }
        if let Some(object) = self.kinds.get(&self.names.sync) {
            let text = object.annotation(SYNC).unwrap_or_default();
            view.sync = SyncKey::from_value(text, object.resource_version, &names);
        }
        let config = self.kinds.get(&self.names.config).and_then(|object| object.annotation(CONFIG));
        view.paused = config.is_some_and(|text| text == PAUSED);
        let failover = self.kinds.get(&self.names.failover).and_then(|object| object.annotation(FAILOVER));
        view.failover = failover.and_then(|text| failover_from_value(text, &names));
        let member = |pod: &Arc<Object>| {
            MemberKey::from_value(member_named(&pod.name, &names)?, pod.annotation(STATUS)?)
        };
        view.members = self.pods.objects().filter_map(member).collect();
        view.members.sort_unstable_by_key(|member| member.member);
        view
    }

    pub(super) fn touch_member(&mut self, context: &mut impl Context<Member>, member: MemberKey) {
        let role = self.role_label();
        let patch = Patch {
            annotations: vec![
                (Name::from(STATUS), Some(member.to_value())),
                (Name::from(ROLE), Some(role.into())),
            ],
            address: None,
        };
        let name: Name = self.name().into();
        let request = Request::Patch { resource: Resource::Pods, name, resource_version: None, patch };
        self.call(context, Purpose::Plain, request, Effort::Single);
    }

    /// The label by which a Service without addresses of its own finds the primary: who has the lock, promoted or not.
    fn role_label(&self) -> &'static str {
        let leader = self.kinds.get(&self.names.leader).and_then(|object| object.annotation(LEADER));
        if leader == Some(self.name()) { "primary" } else { "replica" }
    }

    /// The label of this member's Pod is not what it should be.
    fn label_is_wrong(&self) -> bool {
        let label = self.pods.get(self.name()).and_then(|pod| pod.annotation(ROLE));
        label.is_some_and(|label| label != self.role_label())
    }

    pub(super) fn write_sync(&mut self, context: &mut impl Context<Member>, sync: &SyncKey) {
        let patch = annotation(SYNC, Some(sync.to_value(&self.spec.names)));
        let version = (sync.revision > 0).then_some(sync.revision);
        let request = self.write_request(Arc::clone(&self.names.sync), version, patch);
        self.call(context, Purpose::Sync, request, Effort::Retried);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.client.has_call_for(&Purpose::Plain)
    }

    pub(super) fn write_failover(&mut self, context: &mut impl Context<Member>, key: FailoverKey) {
        let value = failover_to_value(key, &self.spec.names);
        let request = self.merge_request(Arc::clone(&self.names.failover), annotation(FAILOVER, Some(value)));
        self.call(context, Purpose::Failover, request, Effort::Single);
    }

    pub(super) fn write_pause(&mut self, context: &mut impl Context<Member>, paused: bool) {
        let value = paused_to_value(paused);
        let request = self.merge_request(Arc::clone(&self.names.config), annotation(CONFIG, Some(value)));
        self.call(context, Purpose::Configuration, request, Effort::Retried);
    }

    pub(super) fn remove_failover(&mut self, context: &mut impl Context<Member>) {
        let request = self.merge_request(Arc::clone(&self.names.failover), annotation(FAILOVER, None));
        self.call(context, Purpose::FailoverRemoval, request, Effort::Single);
    }

    pub(super) fn write_history(&mut self, context: &mut impl Context<Member>, history: &TimelineHistory) {
        let patch = annotation(HISTORY, Some(history_to_value(history)));
        let request = self.merge_request(Arc::clone(&self.names.config), patch);
        self.call(context, Purpose::Plain, request, Effort::Single);
    }

    pub(super) fn write_initialize(&mut self, context: &mut impl Context<Member>) {
        let patch = annotation(INITIALIZE, Some(SYSTEM_IDENTIFIER.into()));
        let request = self.merge_request(Arc::clone(&self.names.config), patch);
        self.call(context, Purpose::Plain, request, Effort::Retried);
    }

    /// A conditional write: of this version, or of an object that does not exist (`_patch_or_create`).
    fn write_request(&self, name: Name, resource_version: Option<u64>, patch: Patch) -> Request {
        let resource = self.kinds.resource;
        if resource_version.is_some() {
            Request::Patch { resource, name, resource_version, patch }
        } else {
            Request::Create { resource, name, patch }
        }
    }

    /// An unconditional write.
    fn merge_request(&self, name: Name, patch: Patch) -> Request {
        let resource = self.kinds.resource;
        if self.kinds.get(&name).is_some() {
            Request::Patch { resource, name, resource_version: None, patch }
        } else {
            Request::Create { resource, name, patch }
        }
    }

    fn call(
        &mut self,
        context: &mut impl Context<Member>,
        purpose: Purpose,
        request: Request,
        effort: Effort,
    ) {
        let call = Call { request: Arc::new(request), retries_forbidden: false };
        self.client.call(context, purpose, call, effort);
    }

    /// Something that is known at once is told as soon as this handler is over.
    fn tell(&mut self, context: &mut impl Context<Member>, event: Event) {
        self.events.push_back(event);
        context.set_timer(Timer::StoreEvent, SimDuration::ZERO);
    }

    /// A conditional write was refused: the watches may be dead (#2283).
    fn distrust_copies(&mut self, context: &mut impl Context<Member>) {
        if self.spec.has(version::Change::RestartWatchesAfterConflict) {
            self.kinds.rebuild(context);
            self.pods.rebuild(context);
        }
    }

    pub(super) fn on_packet(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        packet: Packet,
    ) {
        let Packet::Kubernetes(packet) = packet else { return };
        match packet {
            kubernetes::Packet::Response { response, .. } if self.watches(connection).is_some() => {
                if response.0.is_err()
                    && let Some(cache) = self.watches(connection)
                {
                    cache.rebuild(context);
                }
            }
            kubernetes::Packet::Response { id, response } if self.client.owns(connection) => {
                self.client.on_response(context, id, &response);
            }
            kubernetes::Packet::Watched { event, .. } => {
                if self.kinds.owns(connection) {
                    if let Some(change) = self.kinds.on_watched(&event) {
                        self.on_change(&change);
                    }
                } else if self.pods.owns(connection) {
                    self.pods.on_watched(&event);
                }
            }
            _ => {}
        }
    }

    fn watches(&mut self, connection: ConnectionId) -> Option<&mut ObjectCache> {
        [&mut self.kinds, &mut self.pods].into_iter().find(|cache| cache.owns(connection))
    }

    /// Any change of the leader object wakes whoever does not lead by it, and a change of the leader everybody; Pods wake
    /// nobody (fidelity specification, 2.3).
    fn on_change(&mut self, change: &Change) {
        if change.name != self.names.leader {
            return;
        }
        let leader = |object: &Option<Arc<Object>>| {
            object.as_ref().and_then(|object| object.annotation(LEADER).map(str::to_owned))
        };
        let (before, after) = (leader(&change.before), leader(&change.after));
        let in_step = self.spec.has(version::Change::WakeOnLeaderObject);
        if before != after || (in_step && after.as_deref() != Some(self.name())) {
            self.events.push_back(Event::Changed(Changes { wakes: true, ..Changes::default() }));
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
        } else if let Some(cache) = self.watches(connection) {
            cache.on_connection(context, event);
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

    pub(super) fn on_cache_timer(&mut self, context: &mut impl Context<Member>, timer: &Timer) {
        let cache = if *timer == Timer::Cache { &mut self.kinds } else { &mut self.pods };
        let resource = cache.resource;
        if cache.is_due(context) {
            self.call(context, Purpose::List(resource), Request::List { resource }, Effort::Retried);
        }
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
        finished: &Finished<Purpose, KubernetesProtocol>,
    ) -> Option<Event> {
        let response = finished.response.as_deref();
        match finished.purpose {
            Purpose::Lock => return self.on_lock_finished(context, finished),
            Purpose::List(resource) => return self.on_listed(context, resource, response),
            Purpose::Plain
            | Purpose::Configuration
            | Purpose::Sync
            | Purpose::Failover
            | Purpose::FailoverRemoval
            | Purpose::Release => {}
        }
        let written = object_of(response);
        if let Some(object) = written {
            let pods = object.resource == Resource::Pods;
            let cache = if pods { &mut self.pods } else { &mut self.kinds };
            cache.put(object);
        }
        let conditional =
            matches!(*finished.request.request, Request::Patch { resource_version: Some(_), .. });
        if conditional && status_of(response) == Some(CONFLICT) {
            self.distrust_copies(context);
        }
        match finished.purpose {
            Purpose::Sync => Some(Event::Sync(written.map(|object| object.resource_version))),
            Purpose::Failover => Some(Event::Failover),
            Purpose::FailoverRemoval => Some(Event::FailoverRemoved),
            Purpose::Release => Some(Event::Released),
            Purpose::Plain => (!self.is_writing()).then_some(Event::Written),
            Purpose::Configuration | Purpose::Lock | Purpose::List(_) => None,
        }
    }

    fn on_listed(
        &mut self,
        context: &mut impl Context<Member>,
        resource: Resource,
        response: Option<&Response>,
    ) -> Option<Event> {
        let endpoint = self.client.endpoint(context);
        let cache = if resource == Resource::Pods { &mut self.pods } else { &mut self.kinds };
        let Some(Response(Ok(Answer::List { items, resource_version }))) = response else {
            cache.on_list_failed(context);
            return None;
        };
        cache.on_list(context, items, *resource_version, endpoint);
        let ready = self.begin_cycle();
        ready.then_some(Event::Changed(Changes { ready, ..Changes::default() }))
    }
}

fn annotation(name: &str, value: Option<Name>) -> Patch {
    Patch { annotations: vec![(Name::from(name), value)], address: None }
}

/// The value of `/sync` in a sync object, for those who look from outside.
pub(in crate::patroni) fn sync_of(object: &Object, scope: &str) -> Option<Name> {
    let is_sync = object.name.strip_prefix(scope) == Some("-sync");
    is_sync.then(|| object.annotation(SYNC).unwrap_or_default().into())
}
