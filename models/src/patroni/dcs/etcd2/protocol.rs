//! How API version 2 of etcd is spoken with (`etcd.py:EtcdClient`).

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use crate::etcd;
use crate::etcd::v2::{self, Answer, Failure, Request, Response};
use crate::patroni::dcs::{Judgement, Protocol, Timeouts};
use crate::patroni::member::Member;
use crate::patroni::packet::Packet;
use crate::patroni::version::{Change, Version};

/// What the client remembers of the answers.
#[derive(Clone, Debug)]
pub(crate) struct Etcd2Protocol {
    version: Version,
    /// The latest Raft term that an answer carried.
    raft_term: u64,
}

impl Etcd2Protocol {
    /// That of a release.
    pub(super) const fn new(version: Version) -> Self {
        Self { version, raft_term: 0 }
    }

    /// True if the Raft term of an answer is not older than one seen before (`_check_cluster_raft_term`).
    pub(super) fn accepts(&mut self, raft_term: u64) -> bool {
        if raft_term < self.raft_term && self.version.has(Change::RejectOlderRaftTerms) {
            return false;
        }
        self.raft_term = self.raft_term.max(raft_term);
        true
    }
}

impl Protocol for Etcd2Protocol {
    type Request = Request;
    type Response = Response;

    /// Clusters of one and two endpoints get three and two tries at each.
    fn tries_max(endpoints: usize) -> u64 {
        4 - endpoints.min(3) as u64
    }

    /// Before 1.6.1, clusters of two and three got two tries at each, and connecting as much time as an attempt
    /// (`_build_request_parameters`).
    fn timeouts(&self, endpoints: usize, budget: SimDuration) -> Timeouts {
        if self.version.has(Change::RetryUntilBudgetEnds) {
            return Timeouts::divide(endpoints, budget, Self::tries_max);
        }
        let tries = match endpoints {
            0 | 1 => 3,
            2 | 3 => 2,
            _ => 1,
        };
        let total = budget / u64::from(tries) / endpoints as u64;
        Timeouts { endpoints, total, connect: total, tries }
    }

    /// `Etcd` leaves the options of `urllib3` as they are, `TCP_NODELAY` among them: no body waits for an acknowledgement. In 12 failovers of a real
    /// cluster the next lock was there 15 to 25 ms after the end of the one before (`tests/data/measured/failover-etcd-v2.csv`).
    fn has_body(_request: &Request) -> bool {
        false
    }

    fn packet(id: u64, request: Arc<Request>) -> Packet {
        Packet::Etcd(etcd::Packet::V2(v2::Packet::Request { id, request }))
    }

    fn discovery(&self) -> Option<Request> {
        Some(Request::Machines)
    }

    /// Only what is found or changed is answered with a Raft term.
    fn judge(
        &mut self,
        context: &mut impl Context<Member>,
        _request: &Request,
        response: &Response,
    ) -> Judgement {
        match response.result {
            Ok(Answer::Machines(_)) => Judgement::Answer,
            Ok(_) if self.accepts(response.raft_term) => Judgement::Answer,
            Ok(_) => {
                context.note(|| format!("rejecting an answer of Raft term {}: stale", response.raft_term));
                Judgement::Outdated
            }
            Err(Failure::RaftInternal) if self.repeats_rounds() => Judgement::AgainAfter(None),
            Err(_) => Judgement::Answer,
        }
    }

    fn repeats_at_endpoint(_request: &Request) -> bool {
        true
    }

    /// A plain `EtcdException` until 4.0.7, which a renewal took for a no.
    fn discovery_failure_is_refusal(&self) -> bool {
        !self.version.has(Change::DiscoveryFailureIsError)
    }

    fn repeats_rounds(&self) -> bool {
        self.version.has(Change::RetryUntilBudgetEnds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Since 1.6.1 as with API version 3; before, `retry_timeout` is shared out among all tries.
    #[test]
    fn budgets_are_divided_as_each_release_divides_them() {
        let divide = |version, endpoints| {
            let timeouts = Etcd2Protocol::new(version).timeouts(endpoints, SimDuration::from_secs(10));
            (timeouts.endpoints, timeouts.total.as_millis(), timeouts.connect.as_millis(), timeouts.tries)
        };
        let (old, new) = (Version::new(1, 6, 0), Version::new(1, 6, 1));
        assert_eq!([1, 2, 3, 5].map(|count| divide(new, count).1), [3_333, 2_500, 3_333, 2_000]);
        assert_eq!(divide(new, 3), (3, 3_333, 1_666, 1));
        assert_eq!(divide(old, 1), (1, 3_333, 3_333, 3));
        assert_eq!(divide(old, 3), (3, 1_666, 1_666, 2));
        assert_eq!(divide(old, 5), (5, 2_000, 2_000, 1));
    }

    #[test]
    fn older_raft_terms_are_rejected_since_4_0_6() {
        for (version, rejects) in [(Version::new(4, 0, 5), false), (Version::new(4, 0, 6), true)] {
            let mut protocol = Etcd2Protocol::new(version);
            assert!(protocol.accepts(7) && protocol.accepts(7) && protocol.accepts(9));
            assert_eq!(protocol.accepts(8), !rejects);
            assert!(protocol.accepts(9));
        }
    }
}
