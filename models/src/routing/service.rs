//! The Service of Kubernetes in front of the primary, as `kube-proxy` on the clients' host carries it out.
//!
//! With `use_endpoints` the Service has no selector: Patroni itself writes the address of the leader into its Endpoints, in the
//! same request that takes or gives back the lock. So traffic follows the lock, and arrives before the promotion. With
//! `ConfigMaps` the Service selects by the label `role` of the Pods, which each Patroni writes at the end of a cycle.
//!
//! # Modelled
//!
//! - A list and a watch through one API server at random. While there is none, the rules stay as they are.
//! - A new connection goes to the one address, or is refused if there is none (`REJECT`). Connections that exist stay where
//!   they are, whatever becomes of the address: a dead host leaves them in silence until the client gives them up.
//! - A change takes effect after [`ServiceSpec::programming`].
//!
//! # Simplified
//!
//! - The translation of addresses is a process on the clients' host that relays. A connection that the server refuses looks
//!   opened and then closed to the client.
//! - Readiness probes, which take a Pod that does not answer out of a Service with a selector, do not exist.
//!
//! Sources: `kube-proxy` command line reference (`--iptables-min-sync-period`); Kubernetes documentation, Services without
//! selectors; `docs/kubernetes.rst` of Patroni.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, MarkKind, Origin, Process,
    ProcessId, Sampler, SimDuration,
};

use crate::kubernetes::{self, Answer, Object, Request, Resource, Response, WatchEvent};
use crate::patroni::Packet;

/// Between two attempts to reach an API server (client-go: the first back-off of a reflector is 0.8 s, with jitter).
const REDIAL: SimDuration = SimDuration::from_secs(1);

/// A Service, and where it runs.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The API servers.
    pub api_servers: Arc<[ProcessId]>,
    /// What tells the address: Endpoints of this name, or else the Pods.
    pub endpoints: Option<String>,
    /// The servers, by the names of their Pods.
    pub servers: Vec<(String, ProcessId)>,
    /// From the change of the object until new connections follow it.
    pub programming: Distribution,
}

impl ServiceSpec {
    /// The Service of a cluster. Its programming takes 0.1 to 1 s, an assumption: `kube-proxy` waits for at most
    /// `--iptables-min-sync-period` (1 s), the mirroring of Endpoints and the rules themselves take tenths of a second on
    /// nodes with few Services.
    pub fn new(
        api_servers: Arc<[ProcessId]>,
        endpoints: Option<String>,
        servers: Vec<(String, ProcessId)>,
    ) -> Self {
        let millis = SimDuration::from_millis;
        let programming = Distribution::Uniform(millis(100), millis(1_000));
        Self { api_servers, endpoints, servers, programming }
    }
}

/// What a [`Service`] can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ServiceTimer {
    /// An API server is looked for.
    Dial,
    /// The rules are written.
    Program,
}

/// A Service, as one host carries it out.
#[derive(Clone, Debug)]
pub struct Service {
    spec: ServiceSpec,
    programming: Sampler,
    api: Option<ConnectionId>,
    /// The Pods with the label of the leader, and when they got it.
    leaders: BTreeMap<String, u64>,
    /// Where the objects say that the primary is, as a position among the servers.
    wanted: Option<usize>,
    /// Where new connections go.
    target: Option<usize>,
    /// The other end of each connection.
    ends: BTreeMap<ConnectionId, ConnectionId>,
}

impl Service {
    fn resource(&self) -> Resource {
        if self.spec.endpoints.is_some() { Resource::Endpoints } else { Resource::Pods }
    }

    fn ask(&self, context: &mut impl Context<Self>, id: u64, request: Request) {
        if let Some(connection) = self.api {
            let packet = kubernetes::Packet::Request { id, request: Arc::new(request) };
            context.send(connection, Packet::Kubernetes(packet));
        }
    }

    fn dial(&mut self, context: &mut impl Context<Self>) {
        let Some(server) = context.random().pick(&self.spec.api_servers).copied() else { return };
        // client-go's HTTP/2 health check: a ping after 30 s of silence, lost after 15 s.
        let keep_alive = sim_core::KeepAlive {
            idle: SimDuration::from_secs(30),
            interval: SimDuration::from_secs(15),
            count: 1,
        };
        let options =
            ConnectOptions { user_timeout: Some(SimDuration::from_secs(30)), keep_alive: Some(keep_alive) };
        self.api = Some(context.connect(server, options));
        self.ask(context, 0, Request::List { resource: self.resource() });
    }

    fn on_api(&mut self, context: &mut impl Context<Self>, packet: &kubernetes::Packet) {
        match packet {
            kubernetes::Packet::Response { response, .. } => match &**response {
                Response(Ok(Answer::List { items, resource_version })) => {
                    for item in items {
                        self.look_at(item);
                    }
                    self.follow(context);
                    let (resource, resource_version) = (self.resource(), *resource_version);
                    self.ask(context, 1, Request::Watch { resource, resource_version });
                }
                Response(Ok(_)) => {}
                Response(Err(_)) => {
                    if let Some(connection) = self.api.take() {
                        context.close(connection);
                    }
                    context.set_timer(ServiceTimer::Dial, REDIAL);
                }
            },
            kubernetes::Packet::Watched { event: WatchEvent::Modified(object), .. } => {
                self.look_at(object);
                self.follow(context);
            }
            _ => {}
        }
    }

    /// Takes over what an object says about the address.
    fn look_at(&mut self, object: &Object) {
        if let Some(name) = &self.spec.endpoints {
            if *object.name == **name {
                self.wanted = object.address.as_deref().and_then(|address| self.position(address));
            }
            return;
        }
        if object.annotation("role") == Some("primary") {
            self.leaders.entry(object.name.to_string()).or_insert(object.resource_version);
        } else {
            self.leaders.remove(&*object.name);
        }
        // A Service with two Pods spreads connections over both; here the one that came last has them.
        let last = self.leaders.iter().max_by_key(|(_, since)| **since).map(|(name, _)| name.as_str());
        self.wanted = last.and_then(|name| self.position(name));
    }

    fn position(&self, pod: &str) -> Option<usize> {
        self.spec.servers.iter().position(|(name, _)| name == pod)
    }

    fn follow(&self, context: &mut impl Context<Self>) {
        if self.wanted != self.target {
            let delay = self.programming.draw(context.random());
            context.set_timer(ServiceTimer::Program, delay);
        }
    }

    fn program(&mut self, context: &mut impl Context<Self>) {
        if self.wanted == self.target {
            return;
        }
        self.target = self.wanted;
        if let Some(target) = self.target {
            context.mark(MarkKind::Rerouted, target as u64);
        } else {
            context.note(|| "the Service has no endpoints".to_owned());
        }
    }

    fn accept(&mut self, context: &mut impl Context<Self>, client: ConnectionId) {
        let Some(target) = self.target else {
            return context.close(client);
        };
        let server = context.connect(self.spec.servers[target].1, ConnectOptions::default());
        self.ends.insert(client, server);
        self.ends.insert(server, client);
    }
}

impl Process for Service {
    type Spec = ServiceSpec;
    type Packet = Packet;
    type Timer = ServiceTimer;
    type Storage = ();

    fn boot(spec: &ServiceSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(ServiceTimer::Dial, SimDuration::ZERO);
        Self {
            programming: spec.programming.sampler(),
            api: None,
            leaders: BTreeMap::new(),
            wanted: None,
            target: None,
            ends: BTreeMap::new(),
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Postgres(packet) => {
                if let Some(other) = self.ends.get(&connection) {
                    context.send(*other, Packet::Postgres(packet));
                }
            }
            Packet::Kubernetes(packet) if self.api == Some(connection) => self.on_api(context, &packet),
            Packet::Kubernetes(_) | Packet::Rest(_) | Packet::Etcd(_) | Packet::Name(_) => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ServiceTimer) {
        match timer {
            ServiceTimer::Dial => self.dial(context),
            ServiceTimer::Program => self.program(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        match event {
            ConnectionEvent::Accepted => self.accept(context, connection),
            ConnectionEvent::Opened => {}
            _ if self.api == Some(connection) => {
                self.api = None;
                context.set_timer(ServiceTimer::Dial, REDIAL);
            }
            _ => {
                if let Some(other) = self.ends.remove(&connection) {
                    self.ends.remove(&other);
                    context.close(other);
                }
            }
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "kube-proxy"
    }

    fn role(&self) -> &'static str {
        "kube-proxy"
    }
}
