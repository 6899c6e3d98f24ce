//! The family `cluster`: Redis Cluster, and clients with a slot map.
//!
//! `cluster.members` is the number of nodes, `cluster.shards` how many of them are primaries at first; the others are their
//! replicas in turn. The judged clients write to the first shard; `workload.statement_timeout` is how long they wait for a
//! node. Roles tell that shard from the others.

use analysis::{ReadsOf, SurvivingValues};
use models::Planted;
use models::patroni::Inputs;
use models::redis::{Machine, Purpose, WaitFor, Waking};
use models::redis_cluster::{self as model, ClusterLoad, ClusterPlan, ClusterProcess, RedisCluster};
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::redis_case::reads_for;
use crate::scenario::{Refresh, Wait};
use crate::world_system::{Cluster, WorldSystem};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about Redis Cluster.
pub const WORDS: FamilyWords = FamilyWords {
    name: "cluster",
    roles: &["primary", "replica", "other-primary", "other-replica", "redis", "client", "operator"],
    played: &["primary", "replica", "other-primary", "other-replica", "redis", "client", "operator", "none"],
    processes: &["redis", "client", "other-client", "local-client", "operator"],
};

/// Redis Cluster.
#[derive(Clone, Copy, Debug)]
pub struct RedisClusterFamily;

impl Family for RedisClusterFamily {
    fn name(&self) -> &'static str {
        WORDS.name
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(system(case, Planted::Nothing))
    }
}

/// The system of a case, with a rule switched off or not: tests do that to show that the judge notices.
pub fn system(case: &Case, planted: Planted) -> Box<dyn Forkable> {
    let scenario = &case.scenario;
    let stop_at = scenario.horizon.saturating_sub(QUIET_TAIL);
    let plan = plan(case, stop_at, planted);
    let cluster = RedisCluster::new(&plan, scenario.cluster.places());
    Box::new(WorldSystem::of(case, cluster, stop_at, None))
}

/// The cluster of a case.
pub(crate) fn plan(case: &Case, stop_at: SimDuration, planted: Planted) -> ClusterPlan {
    let scenario = &case.scenario;
    let (cluster, workload) = (&scenario.cluster, &scenario.workload);
    ClusterPlan {
        nodes: cluster.members,
        shards: cluster.redis.shards,
        hosts: cluster.redis.node_hosts.unwrap_or(cluster.members),
        config: case.redis.cluster.clone(),
        parameters: case.redis.parameters.clone(),
        machine: Machine { dataset: cluster.redis.dataset_bytes, ..Machine::default() },
        disk_sync: Inputs::default().disk_sync,
        waking: Waking::default(),
        load: ClusterLoad {
            writers: workload.writers,
            write_interval: workload.write_interval,
            purpose: match workload.keys {
                None if workload.two_keys => Purpose::PairsOfValues,
                keys => keys.unwrap_or_default(),
            },
            timeout: workload.statement_timeout,
            beside_nodes: workload.beside_members,
            refresh: match workload.refresh {
                Refresh::OnError => model::Refresh::OnError,
                Refresh::OnLostConnection => model::Refresh::OnLostConnection,
                Refresh::Never => model::Refresh::Never,
            },
            wait_for: workload.wait.map(|Wait { replicas, timeout }| WaitFor { replicas, timeout }),
            local_writers: workload.local_writers,
            other_writers: workload.other_write_interval,
            expires_every: workload.expire_interval,
            stop_at: Some(stop_at),
        },
        operator: cluster.redis.operator.map(|operator| operator.pipeline),
        planted,
    }
}

impl Cluster for RedisCluster {
    type Process = ClusterProcess;

    fn world(&self, seed: Seed) -> World<ClusterProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<ClusterProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<ClusterProcess>, _: Option<SimTime>) {
        self.add_conditions(world);
    }

    fn surviving(&self, world: &World<ClusterProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.nodes().to_vec()
    }

    fn clients(&self) -> &[ProcessId] {
        self.clients()
    }

    fn reads(&self) -> ReadsOf {
        reads_for(self.purpose())
    }
}
