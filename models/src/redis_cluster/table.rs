//! What a node knows of all nodes, itself included: roles, slots, epochs, health (`clusterState.nodes`).

use sim_core::{ConnectionId, ProcessId, WallTime};

use super::config::{NodeSpec, Release};
use super::message::NodeId;
use super::nodes_conf::{KnownHealth, KnownNode, NodesConf};
use super::resharding::OpenSlots;
use super::slots::{Slot, Slots};
use crate::redis::Epoch;

/// Whether a node is held for failed (the flags `PFAIL` and `FAIL`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Health {
    Fine,
    /// `PFAIL`: it does not answer this node.
    PossiblyFailed,
    /// `FAIL`, since then: a majority of primaries says so.
    Failed(WallTime),
}

/// The link to another node: the connection that this side opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    pub(super) since: WallTime,
}

/// What a node knows of one node.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) process: ProcessId,
    pub(super) follows: Option<NodeId>,
    pub(super) slots: Slots,
    pub(super) config_epoch: Epoch,
    pub(super) health: Health,
    /// It had replicas, or took the place of a primary that had (`MIGRATE_TO`).
    pub(super) had_replicas: bool,
    /// When the PING was sent that it has not answered (`ping_sent`).
    pub(super) pinged_at: Option<WallTime>,
    /// When it last answered, as far as this node knows (`pong_received`).
    pub(super) ponged_at: WallTime,
    /// When anything came from it (`data_received`).
    pub(super) heard_at: Option<WallTime>,
    pub(super) link: Option<Link>,
    /// The connection that it opened to this node, once a message has come on it (`inbound_link`).
    pub(super) inbound: Option<ConnectionId>,
    /// Primaries that say that it is down, and when they last said so.
    pub(super) reports: Vec<(NodeId, WallTime)>,
    /// When this node last voted for a replica of it (`voted_time`).
    pub(super) voted_at: Option<WallTime>,
    /// Its replication offset, as it last said.
    pub(super) offset: u64,
    /// Since when it has had no working replica.
    pub(super) orphaned_since: Option<WallTime>,
}

impl Peer {
    pub(super) fn is_primary(&self) -> bool {
        self.follows.is_none()
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(self.health, Health::Failed(_))
    }

    /// A primary with slots: it votes, and it counts for the size of the cluster.
    pub(super) fn is_voter(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }
}

/// All nodes.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) me: NodeId,
    pub(super) peers: Vec<Peer>,
    pub(super) current_epoch: Epoch,
    pub(super) last_vote_epoch: Epoch,
    /// How often slots have changed hands, for those who watch.
    pub(super) rebindings: u64,
    /// The last time at which an operator said so.
    pub(super) commanded: u64,
    /// Slots that this node was told to move.
    pub(super) open: OpenSlots,
    /// Slots that their owner does not claim any more (`owner_not_claiming_slot`).
    pub(super) unclaimed: Slots,
    /// Slots that have been taken from an owner that did not claim them, for those who watch.
    pub(super) taken_unclaimed: Slots,
    release: Release,
}

impl Table {
    pub(super) fn loaded(spec: &NodeSpec, conf: &NodesConf, now: WallTime) -> Self {
        let peer = |(known, process): (&KnownNode, &ProcessId)| Peer {
            process: *process,
            follows: known.follows,
            slots: known.slots,
            config_epoch: known.config_epoch,
            health: match known.health {
                KnownHealth::Fine => Health::Fine,
                KnownHealth::PossiblyFailed => Health::PossiblyFailed,
                KnownHealth::Failed => Health::Failed(now),
            },
            had_replicas: false,
            pinged_at: None,
            ponged_at: now,
            heard_at: None,
            link: None,
            inbound: None,
            reports: Vec::new(),
            voted_at: None,
            offset: 0,
            orphaned_since: None,
        };
        let peers: Vec<Peer> = conf.nodes.iter().zip(spec.nodes.iter()).map(peer).collect();
        let mut table = Self {
            me: spec.id,
            peers,
            current_epoch: conf.current_epoch,
            last_vote_epoch: conf.last_vote_epoch,
            rebindings: 0,
            commanded: 0,
            open: conf.open.clone(),
            unclaimed: Slots::NONE,
            taken_unclaimed: Slots::NONE,
            release: spec.config.release,
        };
        for primary in table.peers.iter().filter_map(|peer| peer.follows).collect::<Vec<_>>() {
            table.peer_mut(primary).had_replicas = true;
        }
        table
    }

    /// What is written to `nodes.conf`.
    pub(super) fn stored(&self) -> NodesConf {
        let line = |peer: &Peer| KnownNode {
            follows: peer.follows,
            slots: peer.slots,
            config_epoch: peer.config_epoch,
            health: match peer.health {
                Health::Fine => KnownHealth::Fine,
                Health::PossiblyFailed => KnownHealth::PossiblyFailed,
                Health::Failed(_) => KnownHealth::Failed,
            },
        };
        NodesConf {
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
            nodes: self.peers.iter().map(line).collect(),
            open: self.open.clone(),
            primary: self.my_primary().map(|primary| self.peer(primary).process),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.peers.len() as u8).map(NodeId)
    }

    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.me;
        self.ids().filter(move |id| *id != me)
    }

    pub(super) fn peer(&self, id: NodeId) -> &Peer {
        &self.peers[id.index()]
    }

    pub(super) fn peer_mut(&mut self, id: NodeId) -> &mut Peer {
        &mut self.peers[id.index()]
    }

    pub(super) fn myself(&self) -> &Peer {
        self.peer(self.me)
    }

    pub(super) fn my_primary(&self) -> Option<NodeId> {
        self.myself().follows
    }

    /// This node if it is a primary, and otherwise whom it follows.
    pub(super) fn my_shard(&self) -> NodeId {
        self.my_primary().unwrap_or(self.me)
    }

    pub(super) fn owner(&self, slot: Slot) -> Option<NodeId> {
        self.ids().find(|id| self.peer(*id).slots.contains(slot))
    }

    /// True if nobody owns the slot, or its owner has ceased to claim it (`isSlotUnclaimed`).
    pub(super) fn is_unclaimed(&self, slot: Slot) -> bool {
        self.unclaimed.contains(slot) || self.owner(slot).is_none()
    }

    /// Takes slots away from whoever has them, and gives them to this node (`clusterDelSlot`, `clusterAddSlot`).
    pub(super) fn give(&mut self, slots: Slots, to: NodeId) {
        for peer in &mut self.peers {
            peer.slots = peer.slots.without(slots);
        }
        self.on_deleted(slots);
        let has_replicas = self.peers.iter().any(|peer| !peer.is_primary());
        let peer = self.peer_mut(to);
        // The first slot makes a primary a place for replicas, where there are any.
        peer.had_replicas |= peer.slots.is_empty() && !slots.is_empty() && has_replicas;
        peer.slots = peer.slots.union(slots);
    }

    /// Takes all slots of a node away, and gives them to nobody (`clusterDelNodeSlots`).
    pub(super) fn disown(&mut self, id: NodeId) {
        let slots = std::mem::replace(&mut self.peer_mut(id).slots, Slots::NONE);
        self.on_deleted(slots);
    }

    /// Before pull request 12564 (7.2.4), that an owner did not claim a slot is held against the next owner, too, until a claim of that one is
    /// heard: for ever against this node, which hears none of its own.
    fn on_deleted(&mut self, slots: Slots) {
        self.rebindings += 1;
        if self.release >= Release::Redis72 {
            self.unclaimed = self.unclaimed.without(slots);
        }
    }

    pub(super) fn replicas(&self, of: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.ids().filter(move |id| self.peer(*id).follows == Some(of))
    }

    /// `clusterCountNonFailingSlaves`.
    pub(super) fn working_replicas(&self, of: NodeId) -> u32 {
        self.replicas(of).filter(|id| !self.peer(*id).is_failed()).count() as u32
    }

    /// Makes a node a replica of another one, or a primary.
    pub(super) fn set_follows(&mut self, node: NodeId, primary: Option<NodeId>) {
        let before = self.peer(node).follows;
        if before == primary {
            return;
        }
        self.peer_mut(node).follows = primary;
        if let Some(before) = before
            && self.replicas(before).next().is_none()
        {
            self.peer_mut(before).had_replicas = false;
        }
        match primary {
            Some(primary) => {
                if before.is_none() {
                    self.peer_mut(node).had_replicas = false;
                }
                self.peer_mut(primary).had_replicas = true;
            }
            // It took the place of a primary that had a replica.
            None => self.peer_mut(node).had_replicas |= node != self.me,
        }
    }

    /// `clusterGetMaxEpoch`.
    pub(super) fn largest_epoch(&self) -> Epoch {
        let epochs = self.peers.iter().map(|peer| peer.config_epoch);
        epochs.fold(self.current_epoch, Epoch::max)
    }
}
