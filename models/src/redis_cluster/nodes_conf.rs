//! The volume of a node: its data directory, and `nodes.conf`.
//!
//! `nodes.conf` is written as a whole and takes the place of the old one; up to Redis 7.0 it is written over, which takes no space on a
//! full disk. Whom a node follows stands there and not in `redis.conf`, so the server's `replicaof` is what `nodes.conf` says.

use std::sync::Arc;

use sim_core::{Damage, ProcessId, Storage};

use super::message::NodeId;
use super::resharding::OpenSlots;
use super::slots::Slots;
use crate::redis::{DataDirectory, DataRecord, Epoch};

/// The contents of `nodes.conf`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodesConf {
    /// `currentEpoch`.
    pub current_epoch: Epoch,
    /// `lastVoteEpoch`.
    pub last_vote_epoch: Epoch,
    /// One line for each node.
    pub nodes: Vec<KnownNode>,
    /// Slots that this node was told to move: the end of its own line.
    pub open: OpenSlots,
    /// The process that this node follows.
    pub primary: Option<ProcessId>,
}

/// A line of `nodes.conf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownNode {
    /// Whom it follows; none: a primary.
    pub follows: Option<NodeId>,
    /// Its slots.
    pub slots: Slots,
    /// Its configuration epoch.
    pub config_epoch: Epoch,
    /// What its flags say.
    pub health: KnownHealth,
}

/// The flags `fail?` and `fail`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownHealth {
    /// Neither.
    Fine,
    /// `fail?`.
    PossiblyFailed,
    /// `fail`.
    Failed,
}

impl NodesConf {
    /// What `redis-cli --cluster create` leaves on node `id`: the first `shards` nodes are primaries with equal parts of the
    /// slots, the others follow them in turn, and each node has a configuration epoch of its own.
    pub fn created(processes: &[ProcessId], shards: u8, id: NodeId) -> Self {
        let node = |index: usize| {
            let number = index as u8;
            let follows = (number >= shards).then(|| NodeId((number - shards) % shards));
            KnownNode {
                follows,
                slots: if follows.is_none() { Slots::part(number, shards) } else { Slots::NONE },
                config_epoch: Epoch(u32::from(number) + 1),
                health: KnownHealth::Fine,
            }
        };
        let nodes: Vec<KnownNode> = (0..processes.len()).map(node).collect();
        Self {
            current_epoch: Epoch(nodes.len() as u32),
            last_vote_epoch: Epoch(0),
            open: OpenSlots::default(),
            primary: nodes[id.index()].follows.map(|primary| processes[primary.index()]),
            nodes,
        }
    }
}

/// The volume.
#[derive(Clone, Debug, Default)]
pub struct NodeDirectory {
    /// The data.
    pub data: DataDirectory,
    /// `nodes.conf`.
    pub conf: Arc<NodesConf>,
}

impl NodeDirectory {
    /// A node without data.
    pub fn new(conf: NodesConf) -> Self {
        Self { data: DataDirectory::new(conf.primary), conf: Arc::new(conf) }
    }
}

/// A change of the volume.
#[derive(Clone, Debug)]
pub enum NodeRecord {
    /// Of the data.
    Data(DataRecord),
    /// A new `nodes.conf`.
    Conf(Arc<NodesConf>),
    /// The same, written over the old one.
    ConfInPlace(Arc<NodesConf>),
}

impl From<DataRecord> for NodeRecord {
    fn from(record: DataRecord) -> Self {
        Self::Data(record)
    }
}

impl Storage for NodeDirectory {
    type Record = NodeRecord;

    /// `nodes.conf` is kept: a node without it would be another node, which nobody here adds to the cluster.
    fn wiped(&self) -> Self {
        Self { data: self.data.wiped(), conf: Arc::clone(&self.conf) }
    }

    fn apply(&mut self, record: &NodeRecord) {
        match record {
            NodeRecord::Data(record) => self.data.apply(record),
            NodeRecord::Conf(conf) | NodeRecord::ConfInPlace(conf) => {
                self.data.replica_of = conf.primary;
                self.conf = Arc::clone(conf);
            }
        }
    }

    fn record_count(&self) -> u64 {
        self.data.record_count()
    }

    fn damage(&mut self, damage: Damage<'_, NodeRecord>) {
        // A new `nodes.conf` is complete before it takes the place of the old one, so it never ends in the middle.
        match damage {
            Damage::Torn(_) | Damage::Lost(_) | Damage::Misdirected { over: None, .. } => {}
            Damage::Rotten(position) | Damage::Misdirected { over: Some(position), .. } => {
                self.data.damage(Damage::Rotten(position));
            }
        }
    }

    fn needs_space(record: &NodeRecord) -> bool {
        match record {
            NodeRecord::Data(record) => DataDirectory::needs_space(record),
            NodeRecord::Conf(_) => true,
            NodeRecord::ConfInPlace(_) => false,
        }
    }
}
