//! The Sentinel family: a group of Redis servers, its Sentinels, and clients that ask them.
//!
//! `cluster.members` is the number of servers, `cluster.sentinels` that of Sentinels. Clients find the primary by asking
//! a random Sentinel; `workload.statement_timeout` is how long they wait for a server at each step. With `cluster.election` there
//! are no Sentinels but an operator, and each client knows one server.

use analysis::{ReadsOf, SurvivingValues};
use models::Planted;
use models::patroni;
use models::redis::{self, Machine, Purpose, WaitFor};
use models::sentinel::{RedisLoad, SentinelCluster, SentinelPlan, SentinelProcess};
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::redis_case::reads_for;
use crate::scenario::{Election, EtcdHosts, ReadFrom, Wait};
use crate::world_system::{Cluster, WorldSystem};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about Redis with Sentinel.
pub const WORDS: FamilyWords = FamilyWords {
    name: "sentinel",
    roles: &[
        "primary",
        "replica",
        "other-primary",
        "other-replica",
        "redis",
        "sentinel",
        "sentinel-leader",
        "operator",
        "client",
    ],
    played: &[
        "primary",
        "replica",
        "other-primary",
        "other-replica",
        "redis",
        "sentinel",
        "sentinel-leader",
        "operator",
        "client",
        "none",
    ],
    processes: &["redis", "sentinel", "client", "local-client", "operator"],
};

/// Redis with Sentinel.
#[derive(Clone, Copy, Debug)]
pub struct Sentinel;

impl Family for Sentinel {
    fn name(&self) -> &'static str {
        WORDS.name
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(system(case, Planted::Nothing))
    }
}

/// The system of a case, with a rule switched off or not: tests do that to show that the judge notices.
pub fn system(case: &Case, planted: Planted) -> Box<dyn Forkable> {
    let stop_at = case.scenario.horizon.saturating_sub(QUIET_TAIL);
    let plan = plan(case, stop_at, planted);
    let cluster = SentinelCluster::new(&plan, case.scenario.cluster.places());
    Box::new(WorldSystem::of(case, cluster, stop_at, None))
}

/// The group of a case.
pub(crate) fn plan(case: &Case, stop_at: SimDuration, planted: Planted) -> SentinelPlan {
    let scenario = &case.scenario;
    let (cluster, workload) = (&scenario.cluster, &scenario.workload);
    SentinelPlan {
        servers: cluster.members,
        groups: cluster.redis.groups,
        sentinels: case.redis.sentinels,
        shared_hosts: cluster.redis.sentinel_hosts == EtcdHosts::Shared,
        containers: cluster.redis.sentinel_containers,
        replicaof: cluster.redis.replicaof.clone(),
        election: cluster.redis.election.map(|election| match election {
            Election::Offset => redis::Election::Offset,
            Election::History => redis::Election::History,
        }),
        group: case.redis.group.clone(),
        parameters: case.redis.parameters.clone(),
        machine: Machine {
            dataset: cluster.redis.dataset_bytes,
            fork_per_gigabyte: cluster.redis.fork_per_gigabyte,
            ..Machine::default()
        },
        disk_sync: patroni::Inputs::default().disk_sync,
        save_sync: redis::Inputs::default().save_sync,
        waking: redis::Waking::default(),
        load: RedisLoad {
            writers: workload.writers,
            write_interval: workload.write_interval,
            timeout: workload.statement_timeout,
            beside_servers: workload.beside_members,
            subscribes: workload.subscribe,
            purpose: match workload.keys {
                None if workload.listeners > 0 => Purpose::Broadcasts,
                keys => keys.unwrap_or_default(),
            },
            reads_from_replicas: workload.keys.is_some() && workload.read_from == ReadFrom::Replicas,
            listeners: workload.listeners,
            own_sentinel: workload.own_sentinel,
            asks_each_time: workload.ask_each_time,
            start_at: workload.starts_after,
            wait_for: workload.wait.map(|Wait { replicas, timeout }| WaitFor { replicas, timeout }),
            local_writers: workload.local_writers,
            stop_at: Some(stop_at),
        },
        planted,
    }
}

impl Cluster for SentinelCluster {
    type Process = SentinelProcess;

    fn world(&self, seed: Seed) -> World<SentinelProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<SentinelProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<SentinelProcess>, _: Option<SimTime>) {
        self.add_conditions(world);
    }

    fn surviving(&self, world: &World<SentinelProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.members()
    }

    fn clients(&self) -> &[ProcessId] {
        self.clients()
    }

    fn reads(&self) -> ReadsOf {
        reads_for(self.purpose())
    }
}
