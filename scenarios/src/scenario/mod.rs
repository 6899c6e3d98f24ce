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
//! | `cluster.tcp_syn_linear_timeouts` | the setting of Linux on all hosts, 0 to 127 | 4, as since Linux 6.5 |
//! | `cluster.patroni_yml` | a real `patroni.yml`, relative to the scenario file | none |
//! | `cluster.patroni` | settings of Patroni by their real names, over those of the file; `version` for an older release | none |
//! | `cluster.pre_promote` | what the script of `postgresql.pre_promote` does: `lasts`, and `fails_on`, the members on whose hosts it does not exit with 0 | none |
//! | `cluster.member_tags` | tags of single members, as in `patroni-2 = { nofailover = true }`: `nofailover`, `nosync`, `noloadbalance`, `failover_priority`, `replicatefrom` | none |
//! | `cluster.sentinels` | Sentinels, 1 to 15 | from `sentinel.conf`, else 3 |
//! | `cluster.groups` | groups of `cluster.members` servers that the Sentinels watch, 1 to 100; clients write to the first | 1 |
//! | `cluster.sentinel_hosts` | where they run: `own`, or `shared` with the servers | `own` |
//! | `cluster.sentinel_containers` | whether each runs in a container, as process 1 | false |
//! | `cluster.replicaof` | which server follows which other one at first, as in `redis-3 = "redis-2"`; in each group | all follow `redis-1` |
//! | `cluster.election` | no Sentinels, and an operator who elects by `offset`, or by `history` and offset | none |
//! | `cluster.sentinel_conf`, `cluster.redis_conf` | real files, relative to the scenario file | none |
//! | `cluster.sentinel`, `cluster.redis` | directives by their real names, over those of the files; `quorum` for that of `sentinel monitor` | none |
//! | `cluster.dataset_bytes` | bytes of data on each server that the clients did not write | 0 |
//! | `cluster.fork_per_gigabyte` | for how long a server stands still when it forks for a snapshot, for each 10^9 bytes of data | `"0s"` |
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
//! | `workload.read_from` | behind proxies, where: `replicas`, `primary`, `everywhere` (each reader from one of both, in turn); with sessions or a cache under Sentinels: `primary`, `replicas` | `replicas`; `primary` |
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
//! | `workload.listeners` | `sentinel`: so many clients listen, and the others publish instead of writing | 0 |
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
//! | `workload.sessions` | clients of Redis log users in and look whether they are: `ttl`, `logins`, see [`Sessions`](models::redis::Sessions) | none |
//! | `workload.cache` | clients of Redis cache what is in a database: `ttl`, `updates`, `entries`, `repeats_deletion`, see [`Cache`](models::redis::Cache) | none |
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
mod cluster;
mod keys;
mod lock;
mod parse;
mod planned_faults;
mod promise;
mod raw;
mod replicaof;
mod routes;
mod time_range;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{FaultBudget, Schedule, ScheduledFault, Seed, SimDuration, Trigger};

pub use backup::{Archive, Backup, Place, RecoverFrom};
pub use cluster::{Cluster, ClusterOperator, Election, EtcdHosts, MemberTags, RedisCluster, TopologyPreset};
pub use lock::Lock;
pub use parse::Companions;
pub use planned_faults::{FaultPlan, PlannedFault, PlannedTrigger, Swarm};
pub use promise::Promise;
pub use routes::{HaproxyKeys, LibpqKeys, PgbouncerKeys};
pub use time_range::TimeRange;
pub use workload::{OnTimeout, ReadFrom, Reads, Refresh, Routing, Wait, Workload};

use crate::campaign::PromisedCell;
use crate::diagnostic::{Remark, Source, Spot, UserError};

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

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
