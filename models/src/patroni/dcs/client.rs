//! Requests to etcd with time-outs, endpoint failover, and a budget (`etcd.py`, `etcd3.py`; fidelity specification,
//! 3.4).
//!
//! A *retried* call tries the current endpoint, then the others in a fixed order that was shuffled at the start. When
//! all failed, it asks each for the list of members, pauses, and goes round again while its budget allows a second for
//! an endpoint. The budget bounds the start of attempts and not their end: with silent endpoints a call takes longer
//! than `retry_timeout` (11.7 s for three endpoints and 10 s). A *single* call tries one endpoint once.
//!
//! Simplified: the list of members that a discovery returns is not used, because modelled clusters do not change their
//! members; only the time that it takes counts. Calls of different threads share the pooled connection of an endpoint.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, ProcessId, SimDuration, WallTime,
};

use super::timeouts::Timeouts;
use crate::etcd::{self, Failure, Request, Response};
use crate::patroni::config::Configuration;
use crate::patroni::member::{Member, Timer};
use crate::patroni::packet::Packet;
use crate::patroni::version::Change;
use crate::release::Release;

/// First pause between rounds; doubles up to [`DELAY_MAX`] (`utils.py:Retry`).
const DELAY_FIRST: SimDuration = SimDuration::from_millis(100);
const DELAY_MAX: SimDuration = SimDuration::from_secs(1);
/// Added to each pause: uniform from 0 to this.
const JITTER: SimDuration = SimDuration::from_millis(800);

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
pub(crate) struct Finished<T> {
    /// What it was for.
    pub(crate) purpose: T,
    /// What was asked.
    pub(crate) request: Arc<Request>,
    /// The answer, or none: a DCS error.
    pub(crate) response: Option<Arc<Response>>,
    /// Without an answer: the failure counts as a refusal and not as an error of the DCS.
    pub(crate) is_refusal: bool,
}

/// The client of one Patroni.
#[derive(Clone, Debug)]
pub(crate) struct Client<T> {
    /// In the order in which they are tried.
    endpoints: Vec<ProcessId>,
    /// The one that answered last.
    current: usize,
    pool: Vec<Option<Pooled>>,
    calls: Vec<Call<T>>,
    next_call: u64,
    next_request: u64,
    budget: SimDuration,
    version: Release,
    /// The latest Raft term that an answer carried: older answers come from members that were left behind (#3318).
    pub(crate) raft_term: u64,
    /// The last retried call failed: the next one starts with a discovery.
    discover_first: bool,
    /// The current endpoint changed since this was last cleared: the watch must be restarted.
    pub(crate) switched: bool,
    /// None answered a retried call since this was last cleared: the watch must be restarted, because one that outlives
    /// the outage goes on to show the past (#2186).
    pub(crate) exhausted: bool,
    /// Calls that came to their end, oldest first.
    pub(crate) finished: VecDeque<Finished<T>>,
}

#[derive(Clone, Copy, Debug)]
struct Pooled {
    connection: ConnectionId,
    open: bool,
}

#[derive(Clone, Debug)]
struct Call<T> {
    id: u64,
    purpose: T,
    request: Arc<Request>,
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
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Trying,
    Discovering { initial: bool },
    Sleeping,
}

impl<T: Clone> Client<T> {
    /// A client that knows these endpoints; the order of trying is shuffled.
    pub(crate) fn new(
        endpoints: &[ProcessId],
        configuration: &Configuration,
        context: &mut impl Context<Member>,
    ) -> Self {
        let mut endpoints = endpoints.to_vec();
        context.random().shuffle(&mut endpoints);
        Self {
            pool: vec![None; endpoints.len()],
            endpoints,
            current: 0,
            calls: Vec::new(),
            next_call: 0,
            next_request: 0,
            budget: configuration.retry_timeout,
            version: configuration.version,
            raft_term: 0,
            discover_first: false,
            switched: false,
            exhausted: false,
            finished: VecDeque::new(),
        }
    }

    /// The endpoint that is used first.
    pub(crate) fn endpoint(&self) -> ProcessId {
        self.endpoints[self.current]
    }

    /// Uses the next endpoint from now on.
    pub(crate) fn switch(&mut self) {
        self.current = (self.current + 1) % self.endpoints.len();
        self.switched = true;
    }

    /// What one attempt may cost within the whole budget.
    pub(crate) fn timeouts(&self) -> Timeouts {
        Timeouts::divide(self.endpoints.len(), self.budget)
    }

    /// Sends a request. [`Self::finished`] has the result later.
    pub(crate) fn call(
        &mut self,
        context: &mut impl Context<Member>,
        purpose: T,
        request: Request,
        effort: Effort,
    ) {
        let id = self.next_call;
        self.next_call += 1;
        let initial = effort == Effort::Retried && self.discover_first;
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
        });
        let index = self.calls.len() - 1;
        self.attempt(context, index);
    }

    fn attempt(&mut self, context: &mut impl Context<Member>, index: usize) {
        let attempt = self.next_request;
        self.next_request += 1;
        let call = &mut self.calls[index];
        let endpoint = (call.first + call.step) % self.endpoints.len();
        let pooled = *self.pool[endpoint].get_or_insert_with(|| Pooled {
            connection: context.connect(self.endpoints[endpoint], ConnectOptions::default()),
            open: false,
        });
        call.attempt = attempt;
        call.attempt_started = context.monotonic();
        let request =
            if call.phase == Phase::Trying { Arc::clone(&call.request) } else { Arc::new(Request::Members) };
        let packet = etcd::Packet::Request { id: attempt, request };
        context.send(pooled.connection, Packet::Etcd(packet));
        let timeout = if pooled.open { call.timeouts.total } else { call.timeouts.connect };
        context.set_timer(Timer::Call(call.id), timeout);
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
            self.pool[endpoint] = Some(Pooled { connection, open: true });
            let now = context.monotonic();
            for call in self.calls.iter().filter(|call| self.uses(call, endpoint)) {
                let left = call.timeouts.total.saturating_sub(now.since(call.attempt_started));
                context.set_timer(Timer::Call(call.id), left);
            }
        } else {
            self.pool[endpoint] = None;
            self.fail_users(context, endpoint);
        }
    }

    fn uses(&self, call: &Call<T>, endpoint: usize) -> bool {
        call.phase != Phase::Sleeping && (call.first + call.step) % self.endpoints.len() == endpoint
    }

    /// The connection with this endpoint is gone, and with it all attempts on it.
    fn fail_users(&mut self, context: &mut impl Context<Member>, endpoint: usize) {
        let attempts: Vec<u64> =
            self.calls.iter().filter(|call| self.uses(call, endpoint)).map(|call| call.attempt).collect();
        for attempt in attempts {
            if let Some(index) = self.calls.iter().position(|call| call.attempt == attempt) {
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
        if let Some(pooled) = self.pool[endpoint].take() {
            context.close(pooled.connection);
        }
        self.fail_users(context, endpoint);
    }

    /// An attempt failed: goes on with the next, with a discovery, or gives up.
    fn fail(&mut self, context: &mut impl Context<Member>, index: usize) {
        let endpoints = self.endpoints.len();
        let call = &mut self.calls[index];
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
                if call.step == call.timeouts.endpoints {
                    call.phase = Phase::Discovering { initial: false };
                    call.step = 0;
                    call.timeouts = Timeouts::divide(endpoints, self.budget);
                }
                self.attempt(context, index);
            }
            Phase::Discovering { initial } => {
                call.step += 1;
                if call.step < endpoints {
                    self.attempt(context, index);
                } else if initial {
                    // Before 4.0.7 an exception that nobody expected, and so a plain no.
                    let is_refusal = !Change::DiscoveryFailureIsError.is_in(self.version);
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
        call.timeouts = Timeouts::divide(self.endpoints.len(), left);
        if call.timeouts.endpoints == 0 {
            self.discover_first = true;
            self.exhausted = true;
            self.finish(context, index, None);
        } else {
            call.phase = Phase::Sleeping;
            context.set_timer(Timer::Call(call.id), sleep);
        }
    }

    /// An answer arrived on a connection of the pool.
    pub(crate) fn on_response(
        &mut self,
        context: &mut impl Context<Member>,
        id: u64,
        response: &Arc<Response>,
    ) {
        let Some(index) = self.calls.iter().position(|call| call.attempt == id) else {
            return;
        };
        if response.raft_term < self.raft_term && Change::RejectOlderRaftTerms.is_in(self.version) {
            context.note(|| format!("rejecting an answer of Raft term {}: stale", response.raft_term));
            self.fail(context, index);
            return;
        }
        self.raft_term = self.raft_term.max(response.raft_term);
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
        match response.result {
            Err(Failure::Unavailable) => self.fail(context, index),
            Err(Failure::NotPrimaryLessor) if Change::RetryNotPrimaryLessor.is_in(self.version) => {
                self.fail(context, index);
            }
            Err(Failure::DeadlineExceeded) if call.effort == Effort::Retried => self.pause(context, index),
            Err(Failure::DeadlineExceeded) => self.finish(context, index, None),
            Ok(_) | Err(Failure::LeaseNotFound | Failure::NotPrimaryLessor) => {
                let endpoint = (call.first + call.step) % self.endpoints.len();
                if endpoint != self.current {
                    self.current = endpoint;
                    self.switched = true;
                }
                self.finish(context, index, Some(Arc::clone(response)));
            }
        }
    }

    fn finish(&mut self, context: &mut impl Context<Member>, index: usize, response: Option<Arc<Response>>) {
        self.end_call(context, index, response, false);
    }

    fn end_call(
        &mut self,
        context: &mut impl Context<Member>,
        index: usize,
        response: Option<Arc<Response>>,
        is_refusal: bool,
    ) {
        let call = self.calls.remove(index);
        context.cancel_timer(&Timer::Call(call.id));
        self.finished.push_back(Finished {
            purpose: call.purpose,
            request: call.request,
            response,
            is_refusal,
        });
    }
}
