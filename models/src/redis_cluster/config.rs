//! The directives of `redis.conf` about Redis Cluster, and what a node is started with.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration};

use super::message::NodeId;
use super::slots::Slot;
use crate::redis::release::{MODELLED, Version};
use crate::redis::{ListKey, ServerSpec};

/// Whose rules a node follows, where releases differ.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Release {
    /// Redis 3.0: nodes gossip about random others only (issue 3929, commit 02777bb); what a replica that changed its primary
    /// says about the age of its data is the time since 1970 until it has synchronised (PR 5081, commit 677d10b); keys
    /// expire while clients are paused, and whether a manual failover can start is looked at each 100 ms only (issue 4027); a
    /// node that is connected to anew still reads what comes late on the connection before (pull request 9774 ends that). A
    /// stream ends with its primary: who follows a promoted replica synchronises from nothing.
    Redis30,
    /// Redis 7.0 up to 7.0.12: a slot can be taken with a larger epoch than its owner's only.
    Redis70_12,
    /// Redis 7.0 from 7.0.13 on, and 7.0.15 as Debian 12 has it: a slot that its owner does not claim any more can be taken without a larger
    /// epoch (PR 12344). That it was not claimed is held against an owner that an operator or an election has given it since, too.
    #[default]
    Redis70,
    /// Redis 7.2, from 7.2.4 on: that is forgotten when the slot changes hands (PR 12564).
    Redis72,
    /// Valkey 8: besides, the rank may also shrink while a replica waits and the election is begun anew when a new primary
    /// appears (PR 782), a replica of a new primary counts nothing of what it had before (PR 885), and what primaries are told
    /// about slots their replicas execute first (PR 445).
    Valkey8,
}

impl Release {
    /// The release of the server that the rules of replication are those of.
    pub(super) const fn server(self) -> Version {
        match self {
            Self::Redis30 => Version::new(3, 0, 0),
            Self::Redis70_12 | Self::Redis70 | Self::Redis72 | Self::Valkey8 => MODELLED,
        }
    }

    /// Every release, with the name that settings use.
    pub const ALL: [(&str, Self); 5] = [
        ("redis-3.0", Self::Redis30),
        ("redis-7.0.12", Self::Redis70_12),
        ("redis-7.0", Self::Redis70),
        ("redis-7.2", Self::Redis72),
        ("valkey-8", Self::Valkey8),
    ];
}

/// Directives of `redis.conf`, under their own names. The defaults are those of Redis 7.0.15.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterConfig {
    /// `cluster-node-timeout`: 15 s.
    pub node_timeout: SimDuration,
    /// `cluster-replica-validity-factor`: how many node timeouts old the data of a candidate may be. 10; 0: any.
    pub replica_validity_factor: u32,
    /// `cluster-migration-barrier`: replicas that a primary keeps when one of them goes to an orphaned one. 1.
    pub migration_barrier: u32,
    /// `cluster-allow-replica-migration`: yes.
    pub allow_replica_migration: bool,
    /// `cluster-require-full-coverage`: a slot without a living owner stops the whole cluster. Yes.
    pub require_full_coverage: bool,
    /// `cluster-replica-no-failover`: replicas stand by command only. No.
    pub replica_no_failover: bool,
    /// No directive: the release.
    pub release: Release,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            node_timeout: SimDuration::from_secs(15),
            replica_validity_factor: 10,
            migration_barrier: 1,
            allow_replica_migration: true,
            require_full_coverage: true,
            replica_no_failover: false,
            release: Release::default(),
        }
    }
}

/// What a node is started with, beside its directory.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The Redis server.
    pub server: ServerSpec,
    /// The directives of the cluster.
    pub config: Arc<ClusterConfig>,
    /// All nodes, in the order of their names.
    pub nodes: Arc<[ProcessId]>,
    /// Which of them this is.
    pub id: NodeId,
    /// The slot whose owner is the primary that marks and roles are about.
    pub watched: Slot,
    /// The slots of clients' lists, by the number of the client from 1: what a hash of the name would give.
    pub keys: Arc<[Slot]>,
}

impl NodeSpec {
    /// The slot of a list.
    pub(super) fn slot_of(&self, list: ListKey) -> Option<Slot> {
        self.keys.get((list.client() as usize).checked_sub(1)?).copied()
    }
}
