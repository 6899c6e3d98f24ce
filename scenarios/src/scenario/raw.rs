//! The shape of a scenario file, as serde sees it. Every key is optional here if it has a default; what the values
//! must be is checked in `check`.

use std::collections::BTreeMap;

use serde::Deserialize;
use sim_core::{Fault, FaultBudget, FaultMix, MarkKind, Probability, SimDuration};
use toml::Spanned;

use super::keys::{CacheKeys, SessionKeys};
use super::lock::RawLock;
use super::replicaof::RawReplicaOf;
use super::routes::{HaproxyKeys, LibpqKeys, PgbouncerKeys};
use super::time_range::TimeRange;
use super::{
    Archive, Backup, ClusterOperator, Election, EtcdHosts, OnTimeout, Promise, ReadFrom, Reads, Refresh,
    Routing, TopologyPreset, Wait,
};
use crate::campaign::PromisedCell;
use crate::import::value::{Reading, Toml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    pub(super) name: Spanned<String>,
    pub(super) summary: Spanned<String>,
    pub(super) family: Spanned<String>,
    #[serde(default)]
    pub(super) core: bool,
    pub(super) promises: Spanned<Vec<Spanned<Promise>>>,
    pub(super) horizon: Spanned<SimDuration>,
    pub(super) warmup: Option<Spanned<SimDuration>>,
    pub(super) event_budget: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) cluster: RawCluster,
    #[serde(default)]
    pub(super) workload: RawWorkload,
    pub(super) lock: Option<Spanned<RawLock>>,
    #[serde(default)]
    pub(super) fault: Vec<Spanned<RawFault>>,
    pub(super) swarm: Option<Spanned<RawSwarm>>,
    #[serde(default)]
    pub(super) coverage: RawCoverage,
}

impl RawScenario {
    /// The first promise of a kind.
    pub(super) fn promised(&self, is_of_kind: impl Fn(&Promise) -> bool) -> Option<&Spanned<Promise>> {
        self.promises.get_ref().iter().find(|promise| is_of_kind(promise.get_ref()))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCoverage {
    #[serde(default)]
    pub(super) promised: Vec<Spanned<PromisedCell>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCluster {
    pub(super) members: Option<Spanned<u8>>,
    pub(super) etcd: Option<Spanned<u8>>,
    pub(super) etcd_hosts: Option<EtcdHosts>,
    pub(super) topology: Option<TopologyPreset>,
    pub(super) watchdog_device: Option<bool>,
    pub(super) round_trips: Option<RawRoundTrips>,
    pub(super) tcp_syn_linear_timeouts: Option<Spanned<u8>>,
    pub(super) patroni_yml: Option<Spanned<String>>,
    pub(super) patroni: Option<Spanned<Reading<Toml>>>,
    pub(super) pre_promote: Option<Spanned<RawPrePromote>>,
    #[serde(default)]
    pub(super) member_tags: BTreeMap<Spanned<String>, RawTags>,
    pub(super) sentinels: Option<Spanned<u8>>,
    pub(super) groups: Option<Spanned<u8>>,
    pub(super) sentinel_hosts: Option<EtcdHosts>,
    pub(super) sentinel_containers: Option<bool>,
    pub(super) replicaof: Option<Spanned<RawReplicaOf>>,
    pub(super) election: Option<Spanned<Election>>,
    pub(super) sentinel_conf: Option<Spanned<String>>,
    pub(super) redis_conf: Option<Spanned<String>>,
    pub(super) sentinel: Option<Spanned<Reading<Toml>>>,
    pub(super) redis: Option<Spanned<Reading<Toml>>>,
    pub(super) shards: Option<Spanned<u8>>,
    pub(super) hosts: Option<Spanned<u8>>,
    /// Bytes of data beside what the clients write.
    pub(super) dataset_bytes: Option<u64>,
    pub(super) fork_per_gigabyte: Option<Spanned<SimDuration>>,
    pub(super) archive: Option<Spanned<Archive>>,
    pub(super) namesake: Option<Spanned<String>>,
    pub(super) backup: Option<Spanned<Backup>>,
    pub(super) redis_required: Option<bool>,
    pub(super) operator: Option<Spanned<ClusterOperator>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPrePromote {
    #[serde(default)]
    pub(super) lasts: SimDuration,
    #[serde(default)]
    pub(super) fails_on: Vec<Spanned<String>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTags {
    pub(super) nofailover: Option<bool>,
    pub(super) nosync: Option<bool>,
    pub(super) noloadbalance: Option<bool>,
    pub(super) failover_priority: Option<i32>,
    pub(super) replicatefrom: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoundTrips {
    pub(super) same_zone: Option<Spanned<String>>,
    pub(super) same_region: Option<Spanned<String>>,
    pub(super) between_regions: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkload {
    pub(super) writers: Option<Spanned<u16>>,
    pub(super) write_interval: Option<Spanned<SimDuration>>,
    pub(super) wal_per_write: Option<Spanned<u64>>,
    pub(super) local_commit_writers: Option<Spanned<u16>>,
    pub(super) readers: Option<u16>,
    pub(super) reads: Option<Spanned<Reads>>,
    pub(super) read_from: Option<Spanned<ReadFrom>>,
    pub(super) read_interval: Option<Spanned<SimDuration>>,
    pub(super) local_writers: Option<Spanned<bool>>,
    pub(super) routing: Option<Routing>,
    pub(super) haproxy: Option<Spanned<HaproxyKeys>>,
    pub(super) pgbouncer: Option<Spanned<PgbouncerKeys>>,
    pub(super) libpq: Option<Spanned<LibpqKeys>>,
    pub(super) statement_timeout: Option<Spanned<SimDuration>>,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) beside_members: Option<bool>,
    pub(super) subscribe: Option<bool>,
    pub(super) listeners: Option<Spanned<u16>>,
    pub(super) own_sentinel: Option<bool>,
    pub(super) ask_each_time: Option<bool>,
    pub(super) starts_after: Option<Spanned<SimDuration>>,
    pub(super) wait: Option<Spanned<Wait>>,
    pub(super) refresh: Option<Refresh>,
    pub(super) other_write_interval: Option<Spanned<SimDuration>>,
    pub(super) expire_interval: Option<Spanned<SimDuration>>,
    pub(super) two_keys: Option<Spanned<bool>>,
    pub(super) sessions: Option<Spanned<SessionKeys>>,
    pub(super) cache: Option<Spanned<CacheKeys>>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawTrigger {
    At(TimeRange),
    OnMark {
        mark: MarkKind,
        #[serde(default = "one")]
        occurrence: u32,
        #[serde(default)]
        delay: TimeRange,
    },
    AfterFault {
        fault: usize,
        #[serde(default)]
        delay: TimeRange,
    },
}

const fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFault {
    pub(super) trigger: Spanned<RawTrigger>,
    pub(super) fault: Spanned<Fault>,
    pub(super) lasts: Option<Spanned<TimeRange>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSwarm {
    pub(super) from: SimDuration,
    pub(super) until: Spanned<SimDuration>,
    pub(super) faults: Option<Spanned<u32>>,
    pub(super) kinds: Option<Spanned<Probability>>,
    #[serde(default)]
    pub(super) pairs: bool,
    #[serde(default)]
    pub(super) budget: Vec<Spanned<FaultBudget>>,
    #[serde(default)]
    pub(super) mix: Vec<Spanned<FaultMix>>,
}
