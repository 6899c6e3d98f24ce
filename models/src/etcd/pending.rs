//! Requests that a member has not answered yet.

use std::sync::Arc;

use sim_core::{ConnectionId, HostTime};

use super::{Key, LeaseId, Proposal};
use crate::raft::{LogIndex, NodeId};

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) asker: Asker,
    pub(super) work: Work,
    /// When the server gives up.
    pub(super) deadline: HostTime,
    /// How often the leader had changed when it began.
    pub(super) leader_changes: u64,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asker {
    /// A client, on this connection, with this request.
    Client(ConnectionId, u64),
    /// A client of API version 2, likewise.
    V2Client(ConnectionId, u64),
    /// Another member, with this number.
    Peer(NodeId, u64),
    /// Nobody: the server works for itself.
    Nobody,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A change that waits to be applied, or to be sent to a leader.
    Change { proposal: Arc<Proposal>, sent: bool },
    /// A linearizable read that waits for its index, or until that is applied.
    Read { prefix: Key, index: Option<LogIndex> },
    /// A keep-alive.
    KeepAlive { lease: LeaseId, stage: Stage },
    /// The leader wants to be sure that it leads before it revokes leases.
    ConfirmLeadership { leases: Vec<LeaseId> },
}

/// How far a keep-alive is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Waits for a timer.
    Retrying,
    /// The leader was asked.
    Forwarded(NodeId),
    /// The leader's lessor waits until everything committed is applied.
    AwaitingApplied(LogIndex),
    /// The leader confirms that it leads.
    Confirming,
    /// Expired; waits for the revocation.
    AwaitingRevocation,
}
