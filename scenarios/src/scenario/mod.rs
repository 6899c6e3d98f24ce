//! Scenario files: a cluster, a load, faults, and what is promised under them.
//!
//! A scenario is a TOML file. Unknown keys are errors. Times carry their unit (`"150ms"`, `"2m 30s"`); where a fault's
//! time may differ from seed to seed it may be a range (`"20s..40s"`), from which each seed draws.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `name` | `family/situation` or `family/situation/variant`, in kebab case | required |
//! | `summary` | one sentence | required |
//! | `family` | which models: `patroni`, `etcd`, `sentinel`, `cluster`, `lock`, `platform`, `backup` | required |
//! | `core` | in the catalogue: whether `check` without names runs it | false |
//! | `promises` | what must hold, see [`Promise`] | required |
//! | `horizon` | when a run ends | required |
//! | `warmup` | how long the cluster has to form; no fault fires before. Sixteen neighbouring seeds share it | `"20s"` |
//! | `event_budget` | the most events of a run: more is a livelock | 20,000,000 |
//! | `cluster.members` | members of the cluster, 1 to 15 | from Helm values, else 3 |
//! | `cluster.etcd` | members of etcd, 1 to 9 | from `patroni.yml`, else 3 |
//! | `cluster.etcd_hosts` | where they run: `own`, or `shared` with the members of the cluster | `own` |
//! | `cluster.topology` | `one-zone`, `three-zones`, `two-regions`, `three-regions` | `three-zones` |
//! | `cluster.watchdog_device` | whether hosts have a usable `/dev/watchdog` | false |
//! | `cluster.round_trips` | recorded round trips: `same_zone`, `same_region`, `between_regions`, each a file | presets |
//! | `cluster.patroni_yml` | a real `patroni.yml`, relative to the scenario file | none |
//! | `cluster.patroni` | settings of Patroni by their real names, over those of the file; `version` for an older release | none |
//! | `cluster.pre_promote` | what the script of `postgresql.pre_promote` does: `lasts`, and `fails_on`, the members on whose hosts it does not exit with 0 | none |
//! | `cluster.member_tags` | tags of single members, as in `patroni-2 = { nofailover = true }`: `nofailover`, `nosync`, `noloadbalance`, `failover_priority`, `replicatefrom` | none |
//! | `cluster.sentinels` | Sentinels, 1 to 15 | from `sentinel.conf`, else 3 |
//! | `cluster.groups` | groups of `cluster.members` servers that the Sentinels watch, 1 to 100; clients write to the first | 1 |
//! | `cluster.sentinel_hosts` | where they run: `own`, or `shared` with the servers | `own` |
//! | `cluster.sentinel_containers` | whether each runs in a container, as process 1 | false |
//! | `cluster.election` | no Sentinels, and an operator who elects by `offset`, or by `history` and offset | none |
//! | `cluster.sentinel_conf`, `cluster.redis_conf` | real files, relative to the scenario file | none |
//! | `cluster.sentinel`, `cluster.redis` | directives by their real names, over those of the files; `quorum` for that of `sentinel monitor` | none |
//! | `cluster.dataset_bytes` | bytes of data on each server that the clients did not write | 0 |
//! | `cluster.archive` | an archive of WAL: `archive_timeout`, `restore_timeout`, see [`Archive`] | none |
//! | `cluster.namesake` | a standby outside of the cluster that streams from this member under its name | none |
//! | `cluster.backup` | backups and how the server is recovered from them, see [`Backup`] | required in the family `backup` |
//! | `cluster.redis_required` | whether requests of a service fail without Redis, in the family `platform` | true |
//! | `cluster.operator` | an operator of Redis Cluster, who moves slots, see [`ClusterOperator`] | none |
//! | `workload.writers` | clients that write | 2 |
//! | `workload.write_interval` | from the end of a write to the next of the same client | `"200ms"` |
//! | `workload.wal_per_write` | bytes of WAL of a write; with more than the 200 of a row, it stands for all that a busy database writes until the next | 200 |
//! | `workload.local_commit_writers` | of the writers, how many say `SET synchronous_commit = local` and wait for no standby | 0 |
//! | `workload.readers` | clients that read now and then | 0 |
//! | `workload.reads` | what they ask for: `count` (of all rows), `newest` (the newest row of each session) | `count` |
//! | `workload.read_from` | behind proxies, where: `replicas`, `primary`, `everywhere` (each reader from one of both, in turn) | `replicas` |
//! | `workload.read_interval` | from the end of a read to the next of the same client | `"1s"` |
//! | `workload.local_writers` | one more client on each member's host, which knows that server only | false |
//! | `workload.routing` | how clients find the primary: `haproxy`, `pgbouncer`, `pgbouncer-confd`, `pgbouncer-dns`, `service` (of Kubernetes), `multi-host` | `haproxy` |
//! | `workload.haproxy` | `inter`, `fastinter`, `downinter`, `fall`, `rise`, `timeout_connect`, `timeout_check`, `balance`, `shutdown_sessions` (`on-marked-down`) | Patroni's template |
//! | `workload.pgbouncer` | `pool_mode`, `server_check_delay`, `server_connect_timeout`, `server_login_retry`, `query_wait_timeout`, `tcp_user_timeout`; `dns_max_ttl`, `dns_nxdomain_ttl` (zero: each new connection is worth a look-up); `confd_interval`, the `-interval` of `confd` | `PgBouncer`'s; 10 s, as in Patroni's image |
//! | `workload.libpq` | of clients: `connect_timeout`, `tcp_user_timeout`, `keepalives_idle`, `keepalives_interval`, `keepalives_count` | the client's; Linux |
//! | `workload.statement_timeout` | how long a client waits for an answer | `"5s"`; `"1s"` in the families `sentinel` and `cluster` |
//! | `workload.on_timeout` | what a client behind a proxy does then: `drop` the connection, `cancel` the statement, `cancel-and-ignore-warnings` | `drop` |
//! | `workload.beside_members` | whether clients run on the servers' hosts in turn, and not on a host of their own | false |
//! | `workload.subscribe` | whether clients listen for `+switch-master` | false |
//! | `workload.own_sentinel` | whether each client knows one Sentinel only, another one in turn | false |
//! | `workload.ask_each_time` | whether clients ask for the primary before each write, and not after errors only | false |
//! | `workload.starts_after` | when clients begin | zero |
//! | `workload.wait` | `WAIT` after each write: `replicas` and `timeout` | none |
//! | `lock.servers` | where the lock is: `sentinel` (the primary of a group), `single`, `cluster` (the first shard of Redis Cluster), or `redlock` (`cluster.members` independent servers) | `sentinel` |
//! | `lock.ttl`, `lock.renewal` | time to live of the key, and from one renewal to the next | `"30s"`, `"10s"` |
//! | `lock.poll`, `lock.poll_jitter` | from one attempt of a follower to the next, and how much that varies | `"5s"`, `"10%"` |
//! | `lock.timeout` | how long a request to Redis may take, finding the primary included | `"1s"`; `"50ms"` for `redlock` |
//! | `lock.retry` | from a renewal that failed to the next attempt | `"1s"` |
//! | `lock.renews_after_error` | false for clients in which one error ends the renewals | true |
//! | `lock.stop` | when a leader stops: `deadline` (before the key can have expired, by its monotonic clock), `when-told` | `deadline` |
//! | `lock.margin` | how long before; Redlock has its own | `"1s"` |
//! | `lock.fencing` | where tokens come from: `off` (there are none), `redis` (`INCR`), `store` | `off` |
//! | `lock.work` | from the leader's look at the lock to the effect that rests on it | `"100ms"` |
//! | `workload.refresh` | when clients of Redis Cluster ask for the slot map again, see [`Refresh`] | `on-error` |
//! | `workload.other_write_interval` | between two writes of one client in each other shard of Redis Cluster | none |
//! | `workload.expire_interval` | between two keys that expire on each primary of Redis Cluster | none |
//! | `workload.two_keys` | whether each write to Redis Cluster is one to two keys of a slot, in a transaction | false |
//! | `fault` | a list of faults: `trigger`, `fault`, `lasts` as in [`sim_core::ScheduledFault`] | none |
//! | `swarm` | random faults instead: `from`, `until`, `faults`, `kinds` or `pairs`, `mix`, as in [`sim_core::SwarmConfig`]; `budget`, as in [`sim_core::FaultBudget`] | none |
//! | `coverage.promised` | cells that some seed has to fill, each `fault`, `role`, `phase` as in [`PromisedCell`] | none |

mod backup;
mod check;
mod check_backup;
mod check_reads;
mod check_redis;
mod check_routes;
mod check_swarm;
mod lock;
mod parse;
mod raw;
mod routes;
mod time_range;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use models::patroni::{FailoverPriority, LinkInputs, PrePromote, Tags};
use models::platform::RedisNeed;
use models::postgres::MemberId;
use serde::{Deserialize, Serialize};
use sim_core::{
    Fault, FaultBudget, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, SwarmConfig, Trigger,
};

pub use backup::{Archive, Backup, Place, RecoverFrom};
pub use lock::Lock;
pub use parse::Companions;
pub use routes::{HaproxyKeys, LibpqKeys, PgbouncerKeys};
pub use time_range::TimeRange;

use crate::campaign::PromisedCell;
use crate::diagnostic::{Remark, Source, Spot, UserError};
use crate::import::{PatroniFile, RedisFile, RedisSettings, Settings};

/// A scenario, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `family/situation/variant`.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// Whether it belongs to the part of the catalogue that is checked when no scenario is named.
    pub core: bool,
    /// What must hold.
    pub promises: Vec<Promise>,
    /// When a run ends.
    pub horizon: SimDuration,
    /// How long the cluster has to form.
    pub warmup: SimDuration,
    /// The most events of a run.
    pub event_budget: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// The load.
    pub workload: Workload,
    /// The lock, in the family `lock`.
    pub lock: Lock,
    /// Where the faults come from.
    pub faults: FaultPlan,
    /// Which faults have to hit whom in the middle of what, in some seed of a whole campaign.
    pub promised_cells: Vec<PromisedCell>,
    /// Remarks about the file.
    pub remarks: Vec<Remark>,
    /// The file.
    pub source: Arc<Source>,
    /// Other files that it names, by the names that it uses.
    pub companions: BTreeMap<String, Arc<Source>>,
}

/// What a scenario promises. Those that end in `found` are judged over the whole campaign, the others run by run: they say
/// that the faults do break something, and that hasim finds it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Promise {
    /// No write that was acknowledged without reservation is missing at the end.
    NoAcknowledgedWriteLost,
    /// At no instant do two processes accept writes.
    AtMostOneWritablePrimary,
    /// No two reads contradict each other about which of two writes came first.
    NoLongFork,
    /// Acknowledged writes may be missing, but only from a stretch of time that is not longer than this: from the
    /// acknowledgement of the oldest that is missing to that of the newest.
    LosesAtMost(SimDuration),
    /// After each outage, a client writes again within this time.
    RecoversWithin(SimDuration),
    /// Once the last fault has ended (or struck, if it stays), the last outage ends within this time.
    ConvergesWithin(SimDuration),
    /// Some seed of the campaign loses an acknowledged write.
    LossIsFound,
    /// Some seed of the campaign loses acknowledged writes from at least this stretch of time.
    LossSpanIsFound(SimDuration),
    /// Some seed of the campaign has two processes accepting writes at one instant.
    OverlapIsFound,
    /// Some seed of the campaign has two reads, each of which sees a write that the other does not.
    LongForkIsFound,
    /// Some seed of the campaign has two processes elected in one term or epoch.
    SharedEpochIsFound,
    /// Some seed of the campaign has an outage of at least this length, or one that does not end.
    OutageIsFound(SimDuration),
}

impl std::fmt::Display for Promise {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAcknowledgedWriteLost => formatter.pad("no-acknowledged-write-lost"),
            Self::AtMostOneWritablePrimary => formatter.pad("at-most-one-writable-primary"),
            Self::NoLongFork => formatter.pad("no-long-fork"),
            Self::LosesAtMost(limit) => formatter.pad(&format!("loses-at-most {limit}")),
            Self::RecoversWithin(limit) => formatter.pad(&format!("recovers-within {limit}")),
            Self::ConvergesWithin(limit) => formatter.pad(&format!("converges-within {limit}")),
            Self::LossIsFound => formatter.pad("loss-is-found"),
            Self::LossSpanIsFound(least) => formatter.pad(&format!("loss-span-is-found {least}")),
            Self::OverlapIsFound => formatter.pad("overlap-is-found"),
            Self::LongForkIsFound => formatter.pad("long-fork-is-found"),
            Self::SharedEpochIsFound => formatter.pad("shared-epoch-is-found"),
            Self::OutageIsFound(least) => formatter.pad(&format!("outage-is-found {least}")),
        }
    }
}

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
    /// Recorded latencies that the scenario names, in place of those of the preset.
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
    /// How an operator elects, if there are no Sentinels.
    pub election: Option<Election>,
    /// The files that the scenario names.
    pub files: Vec<RedisFile>,
    /// The scenario's own settings, over those of the files.
    pub settings: RedisSettings,
    /// Bytes of data on each server that the clients did not write.
    pub dataset_bytes: u64,
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

/// `WAIT` after a write.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// For so many replicas.
    pub replicas: u8,
    /// At most so long.
    pub timeout: SimDuration,
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

/// How clients find the primary.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// Through `HAProxy`, which asks the REST API of each member.
    #[default]
    Haproxy,
    /// Through `PgBouncer`, which goes through `HAProxy`.
    Pgbouncer,
    /// Through `PgBouncer`, into whose configuration `confd` writes where the leader is.
    PgbouncerConfd,
    /// Through `PgBouncer`, which looks up a name that a script of Patroni's keeps: `on_role_change`.
    PgbouncerDns,
    /// Through the Service of Kubernetes.
    Service,
    /// By themselves: libpq with several hosts and `target_session_attrs=read-write`.
    MultiHost,
}

/// The load of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Workload {
    /// Clients that write.
    pub writers: u16,
    /// Of these, how many wait for no standby.
    pub local_commit_writers: u16,
    /// From the end of a write to the next of the same client.
    pub write_interval: SimDuration,
    /// Bytes of WAL of a write.
    pub wal_per_write: u64,
    /// Clients that read.
    pub readers: u16,
    /// What they ask for.
    pub reads: Reads,
    /// Where, behind proxies.
    pub read_from: ReadFrom,
    /// From the end of a read to the next of the same client.
    pub read_interval: SimDuration,
    /// Whether there is one more client on each member's host, which knows that server only.
    pub local_writers: bool,
    /// How they find the primary.
    pub routing: Routing,
    /// `workload.haproxy`.
    pub haproxy: HaproxyKeys,
    /// `workload.pgbouncer`.
    pub pgbouncer: PgbouncerKeys,
    /// `workload.libpq`.
    pub libpq: LibpqKeys,
    /// How long they wait for an answer.
    pub statement_timeout: SimDuration,
    /// What they do then.
    pub on_timeout: OnTimeout,
    /// Whether they run on the servers' hosts in turn.
    pub beside_members: bool,
    /// Whether they listen for announcements of a new primary.
    pub subscribe: bool,
    /// Whether each knows one Sentinel only, another one in turn.
    pub own_sentinel: bool,
    /// Whether they ask for the primary before each write.
    pub ask_each_time: bool,
    /// When they begin.
    pub starts_after: SimDuration,
    /// `WAIT` after each write.
    pub wait: Option<Wait>,
    /// When clients of Redis Cluster ask for the slot map again.
    pub refresh: Refresh,
    /// Between two writes of a client of each other shard of Redis Cluster; none: nobody writes there.
    pub other_write_interval: Option<SimDuration>,
    /// Between two keys that expire on each primary of Redis Cluster; none: no key does.
    pub expire_interval: Option<SimDuration>,
    /// Whether each write of a client of Redis Cluster is one to two keys, in a transaction.
    pub two_keys: bool,
}

/// What readers ask for ([`models::patroni::Reads`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The number of rows.
    #[default]
    Count,
    /// The newest row of each session.
    Newest,
}

/// Where readers read ([`models::patroni::ReadFrom`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// From replicas.
    #[default]
    Replicas,
    /// From the primary.
    Primary,
    /// One from the primary, the next from replicas, and so on.
    Everywhere,
}

/// When clients of Redis Cluster ask for the slot map again ([`models::redis_cluster::Refresh`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// After every error, `-MOVED` included.
    #[default]
    OnError,
    /// When a connection fails; `-MOVED` is followed.
    OnLostConnection,
    /// Never; `-MOVED` is followed.
    Never,
}

/// What clients do when a statement takes too long.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// They drop the connection (a socket time-out).
    #[default]
    Drop,
    /// They cancel the statement, and heed the warning that a commit is not replicated.
    Cancel,
    /// They cancel the statement, and their driver drops warnings.
    CancelAndIgnoreWarnings,
}

/// Where the faults of a seed come from.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultPlan {
    /// Written by hand.
    Written(Vec<PlannedFault>),
    /// Drawn from the seed.
    Swarm(Swarm),
}

/// Random faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Swarm {
    /// What is drawn.
    pub config: SwarmConfig,
    /// What it may break at most.
    pub budgets: Vec<FaultBudget>,
    /// The place of each entry of the mix.
    pub spans: Vec<Range<usize>>,
}

/// A fault whose times may be ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    /// When it fires.
    pub trigger: PlannedTrigger,
    /// What goes wrong.
    pub fault: Fault,
    /// After how long it ends.
    pub lasts: Option<TimeRange>,
    /// Where it stands in the file.
    pub span: Range<usize>,
}

/// [`Trigger`] with ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlannedTrigger {
    /// See [`Trigger::At`].
    At(TimeRange),
    /// See [`Trigger::OnMark`].
    OnMark(MarkKind, u32, TimeRange),
    /// See [`Trigger::AfterFault`].
    AfterFault(usize, TimeRange),
}

impl Scenario {
    /// Reads a scenario file; `companions` gives the text of files that it names.
    ///
    /// # Errors
    /// Anything that is not right with the file.
    pub fn read(source: &Arc<Source>, companions: &dyn Companions) -> Result<Self, UserError> {
        parse::read(source, companions)
    }

    /// The faults of this seed. A fault's times come from a stream of its own: editing one fault leaves the times of
    /// the others as they were.
    pub fn schedule(&self, seed: Seed) -> Schedule {
        match &self.faults {
            FaultPlan::Swarm(swarm) => swarm.config.schedule(seed),
            FaultPlan::Written(faults) => {
                let draw = |(index, fault): (usize, &PlannedFault)| fault.draw(seed, index as u64);
                Schedule(faults.iter().enumerate().map(draw).collect())
            }
        }
    }

    /// Every fault that a seed may bring, in the order of the file, to be checked against the names of the cluster
    /// before the first run. Positions in it are positions for [`Self::fault_spot`].
    pub fn all_faults(&self) -> Schedule {
        match &self.faults {
            FaultPlan::Written(_) => self.schedule(Seed(0)),
            FaultPlan::Swarm(swarm) => Schedule(
                swarm
                    .config
                    .mix
                    .iter()
                    .map(|mix| ScheduledFault {
                        trigger: Trigger::At(swarm.config.from),
                        fault: mix.fault.clone(),
                        lasts: mix.longest,
                    })
                    .collect(),
            ),
        }
    }

    /// True if no fault of any seed can fire before the warm-up is over.
    pub fn begins_undisturbed(&self) -> bool {
        match &self.faults {
            FaultPlan::Written(faults) => faults.iter().all(|fault| match fault.trigger {
                PlannedTrigger::At(at) => at.low >= self.warmup,
                // What they follow does not come before.
                PlannedTrigger::OnMark(..) | PlannedTrigger::AfterFault(..) => true,
            }),
            FaultPlan::Swarm(swarm) => swarm.config.from >= self.warmup,
        }
    }

    /// What the faults may break at most. Faults that are written by hand are meant as they are.
    pub fn budgets(&self) -> &[FaultBudget] {
        match &self.faults {
            FaultPlan::Written(_) => &[],
            FaultPlan::Swarm(swarm) => &swarm.budgets,
        }
    }

    /// Where the fault with this position in [`Self::all_faults`] stands.
    pub fn fault_spot(&self, position: usize) -> Option<Spot> {
        let span = match &self.faults {
            FaultPlan::Written(faults) => faults.get(position)?.span.clone(),
            FaultPlan::Swarm(swarm) => swarm.spans.get(position)?.clone(),
        };
        Some(Spot::new(&self.source, span))
    }

    /// The part of the name before the first slash.
    pub fn family(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl PlannedFault {
    fn draw(&self, seed: Seed, position: u64) -> ScheduledFault {
        let mut stream = seed.stream("fault times", position);
        let trigger = match self.trigger {
            PlannedTrigger::At(at) => Trigger::At(at.draw(&mut stream)),
            PlannedTrigger::OnMark(mark, occurrence, delay) => {
                Trigger::OnMark { mark, occurrence, delay: delay.draw(&mut stream), before: None }
            }
            PlannedTrigger::AfterFault(fault, delay) => {
                Trigger::AfterFault { fault, delay: delay.draw(&mut stream) }
            }
        };
        ScheduledFault {
            trigger,
            fault: self.fault.clone(),
            lasts: self.lasts.map(|lasts| lasts.draw(&mut stream)),
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
