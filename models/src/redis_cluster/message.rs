//! What travels on the cluster bus.

use crate::redis::Epoch;

use super::slots::Slots;

/// A node, by the order of its name. Real names are random; here a node is called by its place in the cluster.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u8);

impl NodeId {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A message: a header that is the same for all kinds, and a body (`clusterMsg`).
#[derive(Clone, Debug, Hash)]
pub struct Message {
    /// Who sent it.
    pub sender: NodeId,
    /// Whom the sender follows; none if it is a primary.
    pub follows: Option<NodeId>,
    /// `currentEpoch`.
    pub current_epoch: Epoch,
    /// `configEpoch`, of the sender or, if it is a replica, of its primary.
    pub config_epoch: Epoch,
    /// The slots of the sender or, if it is a replica, of its primary.
    pub slots: Slots,
    /// The replication offset.
    pub offset: u64,
    /// The sender has paused its clients for a manual failover (`CLUSTERMSG_FLAG0_PAUSED`).
    pub paused: bool,
    /// The rest.
    pub body: Body,
}

/// What a message is about.
#[derive(Clone, Debug, Hash)]
pub enum Body {
    /// `PING`, which is answered.
    Ping(Box<[Gossip]>),
    /// `PONG`, an answer or an announcement.
    Pong(Box<[Gossip]>),
    /// `FAIL`: this node is to be held for failed.
    Fail(NodeId),
    /// `FAILOVER_AUTH_REQUEST`: a replica asks for votes.
    AuthRequest {
        /// Also if the primary is well (`CLUSTERMSG_FLAG0_FORCEACK`).
        force: bool,
    },
    /// `FAILOVER_AUTH_ACK`: a vote.
    AuthAck,
    /// `MFSTART`: a replica asks its primary to pause for a manual failover.
    ManualStart,
    /// `UPDATE`: the sender of some slots is told who owns them.
    Update {
        /// The owner.
        node: NodeId,
        /// Its configuration epoch.
        config_epoch: Epoch,
        /// Its slots.
        slots: Slots,
    },
}

/// What a node says about another one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Gossip {
    /// About whom.
    pub node: NodeId,
    /// When it last answered the sender, in whole seconds.
    pub ponged_at_secs: u64,
    /// The sender holds it for possibly or certainly failed.
    pub is_down: bool,
}
