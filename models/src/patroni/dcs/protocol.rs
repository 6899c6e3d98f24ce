//! How one store is spoken with: all in which the [`Client`](super::client::Client) of one differs from that of another.

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use super::timeouts::Timeouts;
use crate::patroni::member::Member;
use crate::patroni::packet::Packet;

/// What an answer means to the call that gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// It is the answer.
    Answer,
    /// It comes from the past, of an endpoint that was left behind: as if it had not answered.
    Outdated,
    /// The endpoint cannot serve the request: another one may.
    Failed,
    /// The same, but the request may be repeated after a pause; a call that does not retry fails.
    Again,
    /// It may be repeated after this pause, or after one of the usual length, with the time-outs of a new request, as long as
    /// the budget is not used up.
    AgainAfter(Option<SimDuration>),
}

/// How one store is spoken with.
pub(crate) trait Protocol: Clone + std::fmt::Debug {
    /// What is asked.
    type Request: Clone + std::fmt::Debug;
    /// What is answered.
    type Response: Clone + std::fmt::Debug;

    /// The most attempts at each of so many endpoints.
    fn tries_max(endpoints: usize) -> u64;

    /// What a round over so many endpoints may cost within this budget.
    fn timeouts(&self, endpoints: usize, budget: SimDuration) -> Timeouts {
        Timeouts::divide(endpoints, budget, Self::tries_max)
    }

    /// True if the request has a body, which travels in a segment of its own.
    fn has_body(request: &Self::Request) -> bool;

    /// A request as it travels.
    fn packet(id: u64, request: Arc<Self::Request>) -> Packet;

    /// Asks an endpoint where the others are. None: all are known.
    fn discovery(&self) -> Option<Self::Request>;

    /// Looks at an answer.
    fn judge(
        &mut self,
        context: &mut impl Context<Member>,
        request: &Self::Request,
        response: &Self::Response,
    ) -> Judgement;

    /// True if a request that was sent and not answered may be sent to the same endpoint again.
    fn repeats_at_endpoint(request: &Self::Request) -> bool;

    /// True if a call whose first discovery fails counts as refused, and not as an error of the store.
    fn discovery_failure_is_refusal(&self) -> bool;

    /// True if a call whose endpoints all failed goes round again within its budget.
    fn repeats_rounds(&self) -> bool {
        true
    }
}
