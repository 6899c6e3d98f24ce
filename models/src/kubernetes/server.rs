//! An API server: receives requests, serves watches from its cache, and fails as it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Distribution, HostTime, Origin, Process, ProcessId, Sampler,
    SimDuration,
};

use super::upstream::Upstream;
use super::work::Work;
use super::{Answer, Packet, Request, Resource, Status};
use crate::etcd;

/// What an API server is started with.
#[derive(Clone, Debug)]
pub struct ApiServerSpec {
    /// `--etcd-servers`: the member on its host.
    pub etcd: ProcessId,
    /// From the arrival of a request until etcd is asked: TLS, authentication, authorization, admission and encoding.
    pub overhead: Distribution,
}

impl ApiServerSpec {
    /// An API server in front of this member of etcd. Its overhead is an assumption, 1 to 5 ms: the service level objective
    /// of Kubernetes for requests to single objects is 1 s at the 99th percentile, and idle servers answer within
    /// milliseconds.
    pub fn new(etcd: ProcessId) -> Self {
        let millis = SimDuration::from_millis;
        Self { etcd, overhead: Distribution::Uniform(millis(1), millis(5)) }
    }
}

/// `--request-timeout`: 60 s; requests that write get 34 s (`endpoints/handlers/rest.go: requestTimeoutUpperBound`).
const REQUEST_TIMEOUT: SimDuration = SimDuration::from_secs(60);
const WRITE_TIMEOUT: SimDuration = SimDuration::from_secs(34);

/// What an API server can be woken for.
#[derive(Clone, Debug, Hash, PartialEq)]
pub enum ApiServerTimer {
    /// etcd is dialled (again).
    Dial,
    /// A request has been admitted.
    Serve(u64),
    /// A request has taken too long.
    Deadline(u64),
    /// Watches that hung are sent what they missed.
    WatchesGoOn,
}

/// One API server.
#[derive(Clone, Debug)]
pub struct ApiServer {
    overhead: Sampler,
    pub(super) upstream: Upstream,
    /// Requests under way, by number.
    pub(super) works: BTreeMap<u64, Work>,
    next_work: u64,
    watches: Vec<Watch>,
    /// The status of every answer, and until when.
    refusal: Option<(u16, HostTime)>,
    /// Until when no watch is sent anything.
    hung_until: Option<HostTime>,
}

/// A watch of a client.
#[derive(Clone, Debug)]
struct Watch {
    connection: ConnectionId,
    id: u64,
    resource: Resource,
    /// The version up to which everything was sent.
    sent: u64,
}

impl ApiServer {
    fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u64,
        request: Arc<Request>,
    ) {
        let number = self.next_work;
        self.next_work += 1;
        let limit = if request.writes() { WRITE_TIMEOUT } else { REQUEST_TIMEOUT };
        self.works.insert(number, Work::new(connection, id, request));
        let delay = self.overhead.draw(context.random());
        context.set_timer(ApiServerTimer::Serve(number), delay);
        context.set_timer(ApiServerTimer::Deadline(number), limit);
    }

    fn admit(&mut self, context: &mut impl Context<Self>, number: u64) {
        let now = context.monotonic();
        match self.refusal.filter(|(_, until)| now < *until) {
            Some((code, _)) => self.answer(context, number, Err(Status::worded(code))),
            None => self.serve(context, number),
        }
    }

    /// Begins a watch, or says that the cache is being built.
    pub(super) fn begin_watch(
        &mut self,
        context: &mut impl Context<Self>,
        number: u64,
        resource: Resource,
        version: u64,
    ) {
        let Some(work) = self.works.get(&number) else { return };
        let (connection, id) = (work.connection, work.id);
        if !self.upstream.ready {
            return self.answer(context, number, Err(Status::worded(429)));
        }
        if self.upstream.changes_after(resource, version).is_none() {
            return self.answer(context, number, Err(Status::plain(410)));
        }
        self.answer(context, number, Ok(Answer::Watching));
        self.watches.push(Watch { connection, id, resource, sent: version });
        self.send_changes(context);
    }

    /// Sends every watch what it has not seen.
    fn send_changes(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        if self.hung_until.is_some_and(|until| now < until) {
            return;
        }
        for watch in &mut self.watches {
            let Some(changes) = self.upstream.changes_after(watch.resource, watch.sent) else { continue };
            for (version, event) in changes {
                let event = event.clone();
                context.send(watch.connection, Packet::Watched { id: watch.id, event });
                watch.sent = version;
            }
        }
    }

    /// etcd is lost: requests fail, and watches end.
    fn on_etcd_lost(&mut self, context: &mut impl Context<Self>) {
        self.upstream.on_lost(context);
        self.end_watches(context);
        let numbers: Vec<u64> = self.works.keys().copied().collect();
        for number in numbers {
            self.answer(context, number, Err(Status::plain(500)));
        }
    }

    fn end_watches(&mut self, context: &mut impl Context<Self>) {
        for watch in std::mem::take(&mut self.watches) {
            context.close(watch.connection);
        }
    }

    fn on_etcd(&mut self, context: &mut impl Context<Self>, packet: etcd::Packet) {
        match packet {
            etcd::Packet::Response { id, response } => {
                if !self.upstream.waits_for(id) {
                    self.on_etcd_response(context, id, &response);
                } else if !self.upstream.on_response(context, &response) {
                    self.on_etcd_lost(context);
                }
            }
            etcd::Packet::Watched { events, .. } => {
                self.upstream.on_watched(&events);
                self.send_changes(context);
            }
            etcd::Packet::Request { .. } | etcd::Packet::Peer(_) | etcd::Packet::V2(_) => {}
        }
    }
}

/// The words of a command after its verb: what, and for how long.
fn lasting<'a>(command: &'a str, verb: &str) -> Option<(&'a str, SimDuration)> {
    let (what, duration) = command.strip_prefix(verb)?.split_once(" for ")?;
    Some((what.trim(), duration.trim().parse().ok()?))
}

impl Process for ApiServer {
    type Spec = ApiServerSpec;
    type Packet = Packet;
    type Timer = ApiServerTimer;
    type Storage = ();

    fn boot(spec: &ApiServerSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(ApiServerTimer::Dial, SimDuration::ZERO);
        Self {
            overhead: spec.overhead.sampler(),
            upstream: Upstream::new(spec.etcd),
            works: BTreeMap::new(),
            next_work: 0,
            watches: Vec::new(),
            refusal: None,
            hung_until: None,
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Request { id, request } => self.on_request(context, connection, id, request),
            Packet::Etcd(packet) if self.upstream.owns(connection) => self.on_etcd(context, packet),
            Packet::Etcd(_) | Packet::Response { .. } | Packet::Watched { .. } => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ApiServerTimer) {
        match timer {
            ApiServerTimer::Dial => self.upstream.dial(context),
            ApiServerTimer::Serve(number) => self.admit(context, number),
            ApiServerTimer::Deadline(number) => self.answer(context, number, Err(Status::plain(504))),
            ApiServerTimer::WatchesGoOn => self.send_changes(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened) {
            return;
        }
        if self.upstream.owns(connection) {
            return self.on_etcd_lost(context);
        }
        // A request whose client is gone is carried out all the same.
        self.watches.retain(|watch| watch.connection != connection);
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let now = context.monotonic();
        if let Some((code, duration)) = lasting(command, "answer ") {
            let Some(code) = code.parse().ok().filter(|code| [401, 403, 429, 500, 503, 504].contains(code))
            else {
                return false;
            };
            context.note(|| format!("answers {code} for {duration}"));
            self.refusal = Some((code, now + duration));
            return true;
        }
        if let Some(("watches", duration)) = lasting(command, "hang ") {
            context.note(|| format!("watches hang for {duration}"));
            self.hung_until = Some(now + duration);
            context.set_timer(ApiServerTimer::WatchesGoOn, duration);
            return true;
        }
        false
    }

    fn plays(&self, role: &str) -> bool {
        role == "api-server"
    }

    fn role(&self) -> &'static str {
        "api-server"
    }
}
