//! Requests to a store with time-outs, endpoint failover, and a budget (`etcd.py`, `etcd3.py`; fidelity specification,
//! 3.4). What differs between stores is their [`Protocol`].
//!
//! A *retried* call tries the current endpoint, then the others in a fixed order that was shuffled at the start. When
//! all failed, it asks for the list of endpoints, pauses, and goes round again while its budget allows a second for
//! an endpoint. The budget bounds the start of attempts and not their end: with silent endpoints a call takes longer
//! than `retry_timeout` (11.7 s for three endpoints of etcd and 10 s). A *single* call tries one endpoint once.
//!
//! An endpoint may have several processes behind it, as the Service in front of API servers has: each connection reaches
//! one of them at random.
//!
//! A request with a body leaves in two segments, header and body, because `http.client` sends them apart. `urllib3` would switch Nagle's
//! algorithm off (`TCP_NODELAY`), but Patroni sets options of its own instead (`etcd3.py:set_socket_options`,
//! `kubernetes.py:set_ttl` with `keepalive_socket_options`), and that one is not among them. So the body waits until the header is acknowledged,
//! and Linux acknowledges it at once only on a connection that has not answered anything yet: see [`DELAYED_ACK`]. That is 40 ms of each
//! request; a loop of a leader has three, a race two. Seen with Patroni 4.1.5 and etcd 3.4.23: a `put` takes 2 to 3 ms on a new connection and
//! 44 to 49 ms on one that was used before.
//!
//! Simplified: the list that a discovery returns is not used, because modelled clusters do not change their
//! members; only the time that it takes counts. Calls of different threads share the pooled connection of an endpoint.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, ProcessId, Sampler, SimDuration,
    WallTime,
};

use super::protocol::{Judgement, Protocol};
use super::timeouts::Timeouts;
use crate::patroni::config::Configuration;
use crate::patroni::member::{Member, Timer};

/// First pause between rounds; doubles up to [`DELAY_MAX`] (`utils.py:Retry`).
const DELAY_FIRST: SimDuration = SimDuration::from_millis(100);
const DELAY_MAX: SimDuration = SimDuration::from_secs(1);
/// Added to each pause: uniform from 0 to this.
const JITTER: SimDuration = SimDuration::from_millis(800);

/// For how long Linux does not acknowledge what it may acknowledge with an answer (`TCP_DELACK_MIN`, `include/net/tcp.h`), ...
const DELAYED_ACK: SimDuration = SimDuration::from_millis(40);
/// ... until the next tick of its clock: `CONFIG_HZ=250`, as Debian and the kernels of clouds have it.
const TICK: SimDuration = SimDuration::from_millis(4);

/// How hard a call tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effort {
    /// Until its budget (`retry_timeout`) is used up.
    Retried,
    /// One endpoint, once.
    Single,
}

/// A call came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Finished<T, P: Protocol> {
    /// What it was for.
    pub(crate) purpose: T,
    /// What was asked.
    pub(crate) request: Arc<P::Request>,
    /// The answer, or none: an error of the store.
    pub(crate) response: Option<Arc<P::Response>>,
    /// Without an answer: the failure counts as a refusal and not as an error of the store.
    pub(crate) is_refusal: bool,
}

/// The client of one Patroni.
#[derive(Clone, Debug)]
pub(crate) struct Client<T, P: Protocol> {
    pub(crate) protocol: P,
    /// In the order in which they are tried.
    endpoints: Vec<Endpoint>,
    /// The one that answered last.
    current: usize,
    pool: Vec<Option<Pooled>>,
    calls: Vec<Call<T, P>>,
    next_call: u64,
    next_request: u64,
    /// What an endpoint takes for a request beside what is modelled of it.
    service: Sampler,
    budget: SimDuration,
    /// The last retried call failed: the next one starts with a discovery.
    discover_first: bool,
    /// The current endpoint changed since this was last cleared: the watch must be restarted.
    pub(crate) switched: bool,
    /// None answered a retried call since this was last cleared: the watch must be restarted, because one that outlives
    /// the outage goes on to show the past (#2186).
    pub(crate) exhausted: bool,
    /// Calls that came to their end, oldest first.
    pub(crate) finished: VecDeque<Finished<T, P>>,
}

/// An address, and the processes that answer there.
pub(crate) type Endpoint = Arc<[ProcessId]>;

/// Somebody who answers at this address.
fn resolve(endpoint: &Endpoint, context: &mut impl Context<Member>) -> ProcessId {
    match &**endpoint {
        [process] => *process,
        several => *context.random().pick(several).expect("somebody answers at an address"),
    }
}

/// From now until a host acknowledges a segment that it need not acknowledge at once: after a delay, at a tick of its clock.
fn acknowledged_in(now: HostTime) -> SimDuration {
    let due = now.as_nanos() + DELAYED_ACK.as_nanos();
    SimDuration::from_nanos(due.next_multiple_of(TICK.as_nanos()) - now.as_nanos())
}

#[derive(Clone, Copy, Debug)]
struct Pooled {
    connection: ConnectionId,
    asked_for: HostTime,
    /// How long the handshake took; none: it goes on.
    round_trip: Option<SimDuration>,
}

impl Pooled {
    fn is_open(&self) -> bool {
        self.round_trip.is_some()
    }
}

#[derive(Clone, Debug)]
struct Call<T, P: Protocol> {
    id: u64,
    purpose: T,
    request: Arc<P::Request>,
    effort: Effort,
    stop: WallTime,
    delay: SimDuration,
    timeouts: Timeouts,
    phase: Phase,
    /// The endpoint at which the round began.
    first: usize,
    /// How many endpoints further the round is.
    step: usize,
    tries_left: u32,
    attempt: u64,
    attempt_started: HostTime,
    /// The attempt is not on its way yet: its body waits for the acknowledgement of its header, or the endpoint has not come to it.
    held: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Trying,
    Discovering { initial: bool },
    Sleeping,
}

impl<T: Clone, P: Protocol> Client<T, P> {
    /// A client that knows these endpoints, each of which takes this long for a request beside what is modelled of it; the order
    /// of trying is shuffled.
    pub(crate) fn new(
        protocol: P,
        mut endpoints: Vec<Endpoint>,
        service: &Sampler,
        configuration: &Configuration,
        context: &mut impl Context<Member>,
    ) -> Self {
        context.random().shuffle(&mut endpoints);
        Self {
            protocol,
            pool: vec![None; endpoints.len()],
            endpoints,
            current: 0,
            calls: Vec::new(),
            next_call: 0,
            next_request: 0,
            service: service.clone(),
            budget: configuration.retry_timeout,
            discover_first: false,
            switched: false,
            exhausted: false,
            finished: VecDeque::new(),
        }
    }

    /// Somebody at the endpoint that is used first.
    pub(crate) fn endpoint(&self, context: &mut impl Context<Member>) -> ProcessId {
        resolve(&self.endpoints[self.current], context)
    }

    /// Uses the next endpoint from now on.
    pub(crate) fn switch(&mut self) {
        self.current = (self.current + 1) % self.endpoints.len();
        self.switched = true;
    }

    /// What one attempt may cost within the whole budget.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.protocol.timeouts(self.endpoints.len(), self.budget)
    }

    /// Sends a request. [`Self::finished`] has the result later.
    pub(crate) fn call(
        &mut self,
        context: &mut impl Context<Member>,
        purpose: T,
        request: P::Request,
        effort: Effort,
    ) {
        let id = self.next_call;
        self.next_call += 1;
        let discovers = self.discover_first && self.protocol.discovery().is_some();
        let initial = effort == Effort::Retried && discovers;
        let timeouts = self.timeouts();
        self.calls.push(Call {
            id,
            purpose,
            request: Arc::new(request),
            effort,
            stop: context.wall() + self.budget,
            delay: DELAY_FIRST,
            timeouts,
            phase: if initial { Phase::Discovering { initial } } else { Phase::Trying },
            first: self.current,
            step: 0,
            tries_left: timeouts.tries,
            attempt: 0,
            attempt_started: context.monotonic(),
            held: false,
        });
        let index = self.calls.len() - 1;
        self.attempt(context, index);
    }

    fn attempt(&mut self, context: &mut impl Context<Member>, index: usize) {
        let attempt = self.next_request;
        self.next_request += 1;
        let call = &mut self.calls[index];
        let endpoint = (call.first + call.step) % self.endpoints.len();
        let now = context.monotonic();
        let pooled = *self.pool[endpoint].get_or_insert_with(|| {
            let process = resolve(&self.endpoints[endpoint], context);
            let connection = context.connect(process, ConnectOptions::default());
            Pooled { connection, asked_for: now, round_trip: None }
        });
        call.attempt = attempt;
        call.attempt_started = now;
        let timeout = if pooled.is_open() { call.timeouts.total } else { call.timeouts.connect };
        context.set_timer(Timer::Call(call.id), timeout);
        let request = Self::asked(&self.protocol, call);
        let held = pooled.round_trip.filter(|_| P::has_body(&request));
        let held = held.map_or(SimDuration::ZERO, |round_trip| round_trip + acknowledged_in(now));
        // Aside: how many requests there are until something rare is drawn is as chance has it.
        let service = self.service.draw(&mut context.random().aside("gateway", attempt));
        call.held = held + service > SimDuration::ZERO;
        if call.held {
            context.set_timer(Timer::Body(call.id), held + service);
        } else {
            context.send(pooled.connection, P::packet(attempt, request));
        }
    }

    /// What an attempt of this call asks an endpoint.
    fn asked(protocol: &P, call: &Call<T, P>) -> Arc<P::Request> {
        let discovery = (call.phase != Phase::Trying).then(|| protocol.discovery()).flatten();
        discovery.map_or_else(|| Arc::clone(&call.request), Arc::new)
    }

    /// The header of an attempt was acknowledged, and the endpoint has come to it: its body follows.
    pub(crate) fn on_acknowledged(&mut self, context: &mut impl Context<Member>, id: u64) {
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id && call.held) else {
            return;
        };
        call.held = false;
        let endpoint = (call.first + call.step) % self.endpoints.len();
        if let Some(pooled) = self.pool[endpoint] {
            let request = Self::asked(&self.protocol, call);
            context.send(pooled.connection, P::packet(call.attempt, request));
        }
    }

    /// True if a call for this goes on.
    pub(crate) fn has_call_for(&self, purpose: &T) -> bool
    where
        T: PartialEq,
    {
        self.calls.iter().any(|call| call.purpose == *purpose)
    }

    /// True if this is a connection of the pool.
    pub(crate) fn owns(&self, connection: ConnectionId) -> bool {
        self.endpoint_of(connection).is_some()
    }

    fn endpoint_of(&self, connection: ConnectionId) -> Option<usize> {
        self.pool.iter().position(|pooled| pooled.is_some_and(|pooled| pooled.connection == connection))
    }

    /// A connection of the pool was opened or lost.
    pub(crate) fn on_connection(
        &mut self,
        context: &mut impl Context<Member>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) {
        let Some(endpoint) = self.endpoint_of(connection) else {
            return;
        };
        if event == ConnectionEvent::Opened {
            let now = context.monotonic();
            if let Some(pooled) = &mut self.pool[endpoint] {
                pooled.round_trip = Some(now.since(pooled.asked_for));
            }
            for call in self.calls.iter().filter(|call| self.uses(call, endpoint)) {
                let left = call.timeouts.total.saturating_sub(now.since(call.attempt_started));
                context.set_timer(Timer::Call(call.id), left);
            }
        } else {
            let was_open = self.pool[endpoint].take().is_some_and(|pooled| pooled.is_open());
            self.fail_users(context, endpoint, was_open);
        }
    }

    fn uses(&self, call: &Call<T, P>, endpoint: usize) -> bool {
        call.phase != Phase::Sleeping && (call.first + call.step) % self.endpoints.len() == endpoint
    }

    /// The connection with this endpoint is gone, and with it all attempts on it.
    fn fail_users(&mut self, context: &mut impl Context<Member>, endpoint: usize, was_open: bool) {
        let attempts: Vec<u64> =
            self.calls.iter().filter(|call| self.uses(call, endpoint)).map(|call| call.attempt).collect();
        for attempt in attempts {
            if let Some(index) = self.calls.iter().position(|call| call.attempt == attempt) {
                let call = &mut self.calls[index];
                if was_open && !P::repeats_at_endpoint(&call.request) {
                    call.tries_left = 1;
                }
                self.fail(context, index);
            }
        }
    }

    /// The time of an attempt, or of a pause, is over.
    pub(crate) fn on_timer(&mut self, context: &mut impl Context<Member>, id: u64) {
        let Some(index) = self.calls.iter().position(|call| call.id == id) else {
            return;
        };
        let call = &mut self.calls[index];
        if call.phase == Phase::Sleeping {
            call.phase = Phase::Trying;
            call.first = self.current;
            call.step = 0;
            call.tries_left = call.timeouts.tries;
            self.attempt(context, index);
            return;
        }
        let endpoint = (call.first + call.step) % self.endpoints.len();
        let pooled = self.pool[endpoint].take();
        if let Some(pooled) = pooled {
            context.close(pooled.connection);
        }
        self.fail_users(context, endpoint, pooled.is_some_and(|pooled| pooled.is_open()));
    }

    /// An attempt failed: goes on with the next, with a discovery, or gives up.
    fn fail(&mut self, context: &mut impl Context<Member>, index: usize) {
        let endpoints = self.endpoints.len();
        let call = &mut self.calls[index];
        call.held = false;
        match call.phase {
            Phase::Trying if call.effort == Effort::Single => {
                if call.first == self.current {
                    self.switch();
                }
                self.finish(context, index, None);
            }
            Phase::Trying => {
                call.tries_left -= 1;
                if call.tries_left == 0 {
                    call.step += 1;
                    call.tries_left = call.timeouts.tries;
                }
                if call.step == call.timeouts.endpoints && !self.protocol.repeats_rounds() {
                    return self.give_up(context, index);
                }
                if call.step == call.timeouts.endpoints && self.protocol.discovery().is_none() {
                    return self.pause(context, index);
                }
                if call.step == call.timeouts.endpoints {
                    call.phase = Phase::Discovering { initial: false };
                    call.step = 0;
                    call.timeouts = self.protocol.timeouts(endpoints, self.budget);
                }
                self.attempt(context, index);
            }
            Phase::Discovering { initial } => {
                call.step += 1;
                if call.step < endpoints {
                    self.attempt(context, index);
                } else if initial {
                    let is_refusal = self.protocol.discovery_failure_is_refusal();
                    self.end_call(context, index, None, is_refusal);
                } else {
                    self.pause(context, index);
                }
            }
            Phase::Sleeping => {}
        }
    }

    /// Pauses before another round, if the budget allows one.
    fn pause(&mut self, context: &mut impl Context<Member>, index: usize) {
        let jitter = context.random().duration(SimDuration::ZERO, JITTER);
        let call = &mut self.calls[index];
        let sleep = call.delay + jitter;
        call.delay = (call.delay * 2).min(DELAY_MAX);
        let left = call.stop.since(context.wall()).saturating_sub(sleep);
        call.timeouts = self.protocol.timeouts(self.endpoints.len(), left);
        if call.timeouts.endpoints == 0 {
            self.give_up(context, index);
        } else {
            call.phase = Phase::Sleeping;
            context.set_timer(Timer::Call(call.id), sleep);
        }
    }

    /// No endpoint has answered in time.
    fn give_up(&mut self, context: &mut impl Context<Member>, index: usize) {
        self.discover_first = true;
        self.exhausted = true;
        self.finish(context, index, None);
    }

    /// Pauses before the request is repeated as a new one (`Retry.__call__`).
    fn pause_after_answer(
        &mut self,
        context: &mut impl Context<Member>,
        index: usize,
        pause: Option<SimDuration>,
    ) {
        let jitter = context.random().duration(SimDuration::ZERO, JITTER);
        let timeouts = self.timeouts();
        let call = &mut self.calls[index];
        let sleep = pause.unwrap_or(call.delay + jitter);
        call.delay = (call.delay * 2).min(DELAY_MAX);
        if call.stop <= context.wall() + sleep {
            return self.finish(context, index, None);
        }
        call.timeouts = timeouts;
        call.phase = Phase::Sleeping;
        context.set_timer(Timer::Call(call.id), sleep);
    }

    /// An answer arrived on a connection of the pool.
    pub(crate) fn on_response(
        &mut self,
        context: &mut impl Context<Member>,
        id: u64,
        response: &Arc<P::Response>,
    ) {
        let Some(index) = self.calls.iter().position(|call| call.attempt == id) else {
            return;
        };
        let request = Arc::clone(&self.calls[index].request);
        let judgement = self.protocol.judge(context, &request, response);
        if judgement == Judgement::Outdated {
            return self.fail(context, index);
        }
        let call = &mut self.calls[index];
        if let Phase::Discovering { initial } = call.phase {
            self.discover_first = false;
            if initial {
                call.phase = Phase::Trying;
                call.first = self.current;
                call.step = 0;
                self.attempt(context, index);
            } else {
                self.pause(context, index);
            }
            return;
        }
        match judgement {
            Judgement::Outdated | Judgement::Failed => self.fail(context, index),
            Judgement::Again if call.effort == Effort::Retried => self.pause(context, index),
            Judgement::AgainAfter(pause) if call.effort == Effort::Retried => {
                self.pause_after_answer(context, index, pause);
            }
            Judgement::Again | Judgement::AgainAfter(_) => self.finish(context, index, None),
            Judgement::Answer => {
                let endpoint = (call.first + call.step) % self.endpoints.len();
                if endpoint != self.current {
                    self.current = endpoint;
                    self.switched = true;
                }
                self.finish(context, index, Some(Arc::clone(response)));
            }
        }
    }

    fn finish(
        &mut self,
        context: &mut impl Context<Member>,
        index: usize,
        response: Option<Arc<P::Response>>,
    ) {
        self.end_call(context, index, response, false);
    }

    fn end_call(
        &mut self,
        context: &mut impl Context<Member>,
        index: usize,
        response: Option<Arc<P::Response>>,
        is_refusal: bool,
    ) {
        let call = self.calls.remove(index);
        context.cancel_timer(&Timer::Call(call.id));
        if call.held {
            context.cancel_timer(&Timer::Body(call.id));
        }
        self.finished.push_back(Finished {
            purpose: call.purpose,
            request: call.request,
            response,
            is_refusal,
        });
    }
}
