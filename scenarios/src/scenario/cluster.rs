//! The cluster of a scenario: members, stores, hosts, and what is particular to Redis.

use std::collections::BTreeMap;

use models::patroni::{FailoverPriority, PrePromote, Tags};
use models::platform::RedisNeed;
use models::postgres::MemberId;
use models::{LinkInputs, Placement};
use serde::{Deserialize, Serialize};
use sim_core::{SimDuration, Topology, ZoneRef};

use super::backup::{Archive, Backup};
use crate::import::{PatroniFile, RedisFile, RedisSettings, Settings};

/// The cluster of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Members of the cluster.
    pub members: u8,
    /// The scenario itself says how many.
    pub members_written: bool,
    /// Members of etcd, if the scenario says so.
    pub etcd: Option<u8>,
    /// Where etcd runs.
    pub etcd_hosts: EtcdHosts,
    /// Regions, zones and their latencies.
    pub topology: TopologyPreset,
    /// Whether hosts have a usable watchdog device.
    pub watchdog_device: bool,
    /// What the scenario says of the network, in place of what the preset has.
    pub links: LinkInputs,
    /// The `patroni.yml` that the scenario names.
    pub file: Option<PatroniFile>,
    /// The scenario's own settings, over those of the file.
    pub settings: Settings,
    /// What the script of `pre_promote` does, if the scenario says so.
    pub pre_promote: Option<PrePromote>,
    /// Tags of single members, by their position; what is absent is as in the settings.
    pub member_tags: BTreeMap<u8, MemberTags>,
    /// What a cluster of Redis has instead.
    pub redis: RedisCluster,
    /// An archive of WAL, in the family `patroni`.
    pub archive: Option<Archive>,
    /// In the family `patroni`, a standby outside of the cluster with the name of this member, by its position.
    pub namesake: Option<u8>,
    /// Backups, in the family `backup`.
    pub backup: Option<Backup>,
}

/// Tags of one member, over those of the settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemberTags {
    /// `nofailover`.
    pub nofailover: Option<bool>,
    /// `nosync`.
    pub nosync: Option<bool>,
    /// `noloadbalance`.
    pub noloadbalance: Option<bool>,
    /// `failover_priority`; 0 and less mean `nofailover`.
    pub failover_priority: Option<i32>,
    /// `replicatefrom`, as a position.
    pub replicatefrom: Option<u8>,
}

impl MemberTags {
    /// The complete tags.
    pub fn over(self, below: Tags) -> Tags {
        let by_priority = self.failover_priority.map_or(below.nofailover, |priority| priority <= 0);
        Tags {
            nofailover: self.nofailover.unwrap_or(by_priority),
            nosync: self.nosync.unwrap_or(below.nosync),
            noloadbalance: self.noloadbalance.unwrap_or(below.noloadbalance),
            failover_priority: self.failover_priority.map_or(below.failover_priority, FailoverPriority),
            replicatefrom: self.replicatefrom.map(MemberId).or(below.replicatefrom),
        }
    }
}

/// The part of a cluster that is about Redis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisCluster {
    /// Sentinels, if the scenario says so.
    pub sentinels: Option<u8>,
    /// Groups that they watch.
    pub groups: u8,
    /// Where they run.
    pub sentinel_hosts: EtcdHosts,
    /// They run in containers.
    pub sentinel_containers: bool,
    /// Servers that follow another one than the first at first, by position.
    pub replicaof: BTreeMap<u8, u8>,
    /// How an operator elects, if there are no Sentinels.
    pub election: Option<Election>,
    /// The files that the scenario names.
    pub files: Vec<RedisFile>,
    /// The scenario's own settings, over those of the files.
    pub settings: RedisSettings,
    /// Bytes of data on each server that the clients did not write.
    pub dataset_bytes: u64,
    /// For how long a server stands still when it forks, for each 10^9 bytes of data.
    pub fork_per_gigabyte: SimDuration,
    /// What a service does without it, in the family `platform`.
    pub need: RedisNeed,
    /// Shards of Redis Cluster.
    pub shards: u8,
    /// Hosts of its nodes, if there are fewer than nodes.
    pub node_hosts: Option<u8>,
    /// Who moves its slots.
    pub operator: Option<ClusterOperator>,
}

/// How an operator elects a primary by hand ([`models::redis::Election`]).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Election {
    /// The largest offset.
    Offset,
    /// The latest history, then the largest offset.
    History,
}

/// An operator of Redis Cluster, who moves slots by `redis-cli` ([`models::redis_cluster::ClusterOperator`]).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ClusterOperator {
    /// `--cluster-pipeline`: keys that one `MIGRATE` moves, at most.
    #[serde(default = "ten")]
    pub pipeline: u8,
}

const fn ten() -> u8 {
    10
}

/// Where the members of etcd run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcdHosts {
    /// On hosts of their own.
    #[default]
    Own,
    /// On the hosts of the members of the cluster, one each.
    Shared,
}

impl Cluster {
    /// Regions and zones without hosts, and the zones in the order in which hosts are spread over them.
    pub fn places(&self) -> (Topology, Vec<ZoneRef>) {
        Placement::from(self.topology).topology_with(&self.links)
    }
}

/// Presets of [`sim_core::Topology`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyPreset {
    /// One region with one zone.
    OneZone,
    /// One region with three zones.
    #[default]
    ThreeZones,
    /// Two regions with one zone each.
    TwoRegions,
    /// Three regions with one zone each.
    ThreeRegions,
}

impl From<TopologyPreset> for Placement {
    fn from(preset: TopologyPreset) -> Self {
        match preset {
            TopologyPreset::OneZone => Self::OneZone,
            TopologyPreset::ThreeZones => Self::ThreeZones,
            TopologyPreset::TwoRegions => Self::TwoRegions,
            TopologyPreset::ThreeRegions => Self::ThreeRegions,
        }
    }
}
