//! How etcd is spoken with (`etcd.py`, `etcd3.py`; fidelity specification, 3.4).

use std::sync::Arc;

use sim_core::Context;

use crate::etcd::{self, Failure, Request, Response};
use crate::patroni::dcs::{Judgement, Protocol};
use crate::patroni::member::Member;
use crate::patroni::packet::Packet;
use crate::patroni::version::{Change, Version};

/// What the client remembers of the answers.
#[derive(Clone, Debug)]
pub(crate) struct Etcd3Protocol {
    version: Version,
    /// The latest Raft term that an answer carried: older answers come from members that were left behind (#3318).
    pub(super) raft_term: u64,
}

impl Etcd3Protocol {
    /// That of a release.
    pub(super) fn new(version: Version) -> Self {
        Self { version, raft_term: 0 }
    }
}

impl Protocol for Etcd3Protocol {
    type Request = Request;
    type Response = Response;

    /// Clusters of one and two endpoints get three and two tries at each.
    fn tries_max(endpoints: usize) -> u64 {
        4 - endpoints.min(3) as u64
    }

    /// Every request to the gateway is a `POST` with a body.
    fn has_body(_request: &Request) -> bool {
        true
    }

    fn packet(id: u64, request: Arc<Request>) -> Packet {
        Packet::Etcd(etcd::Packet::Request { id, request })
    }

    fn discovery(&self) -> Option<Request> {
        Some(Request::Members)
    }

    fn judge(
        &mut self,
        context: &mut impl Context<Member>,
        _request: &Request,
        response: &Response,
    ) -> Judgement {
        if response.raft_term < self.raft_term && self.version.has(Change::RejectOlderRaftTerms) {
            context.note(|| format!("rejecting an answer of Raft term {}: stale", response.raft_term));
            return Judgement::Outdated;
        }
        self.raft_term = self.raft_term.max(response.raft_term);
        match response.result {
            Err(Failure::Unavailable) => Judgement::Failed,
            Err(Failure::NotPrimaryLessor) if self.version.has(Change::RetryNotPrimaryLessor) => {
                Judgement::Failed
            }
            Err(Failure::DeadlineExceeded) => Judgement::Again,
            Ok(_) | Err(Failure::LeaseNotFound | Failure::NotPrimaryLessor) => Judgement::Answer,
        }
    }

    fn repeats_at_endpoint(_request: &Request) -> bool {
        true
    }

    /// Before 4.0.7 it was an exception that nobody expected, and so a plain no.
    fn discovery_failure_is_refusal(&self) -> bool {
        !self.version.has(Change::DiscoveryFailureIsError)
    }
}
