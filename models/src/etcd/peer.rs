//! What members send each other.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration, WallTime};

use super::{LeaseId, Request, v2};
use crate::raft;

/// A change that goes through Raft.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Proposal {
    /// The member that was asked, and will answer.
    pub origin: ProcessId,
    /// The number under which it waits there.
    pub number: u64,
    /// What to change.
    pub command: Command,
}

impl Proposal {
    /// What tells it apart from all others: numbers are random at each boot of a member and count on from there.
    pub fn identity(&self) -> u64 {
        self.number ^ (self.origin.index() as u64).rotate_right(8)
    }
}

/// What an entry of the log changes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// Creates a lease.
    Grant {
        /// Its identity, chosen by the member that was asked.
        lease: LeaseId,
        /// Its time to live.
        ttl: SimDuration,
    },
    /// Ends a lease and deletes its keys.
    Revoke {
        /// Which one.
        lease: LeaseId,
    },
    /// A transaction ([`Request::Txn`]).
    Txn(Arc<Request>),
    /// A request of API version 2.
    V2 {
        /// What was asked.
        request: Arc<v2::Request>,
        /// When the key that it puts expires, if ever.
        end: Option<WallTime>,
    },
    /// `SYNC`: keys of API version 2 that have expired by then are deleted.
    Sync {
        /// The time of the leader that proposed it.
        by: WallTime,
    },
}

/// What members send each other. Heartbeats and their answers are copied without allocation.
#[derive(Clone, Debug, Hash)]
pub enum PeerMessage {
    /// Between the Raft cores.
    Raft(raft::Message<Arc<Proposal>>),
    /// A follower forwards a proposal to the leader.
    Propose(Arc<Proposal>),
    /// A follower forwards a keep-alive to the leader (`leasehttp`).
    KeepAlive {
        /// Comes back in the answer.
        number: u64,
        /// Which lease.
        lease: LeaseId,
    },
    /// The leader answers.
    KeptAlive {
        /// Of the keep-alive.
        number: u64,
        /// What became of it.
        renewal: Renewal,
    },
}

/// What became of a keep-alive.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Renewal {
    /// The lease lives on for this long.
    Renewed(SimDuration),
    /// There is no such lease.
    NotFound,
    /// The member that was asked does not lead; try again.
    NotPrimary,
}

const _: () = assert!(size_of::<super::Packet>() <= 48, "packets stay small");
