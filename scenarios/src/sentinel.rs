//! The Sentinel family: a group of Redis servers, its Sentinels, and clients that ask them.
//!
//! `cluster.members` is the number of servers, `cluster.sentinels` that of Sentinels. Clients find the primary by asking
//! a random Sentinel; `workload.statement_timeout` is how long they wait for a server at each step.

use std::sync::Arc;

use analysis::MeasureOptions;
use models::Planted;
use models::patroni::Inputs;
use models::redis::{Machine, WaitFor};
use models::sentinel::{RedisLoad, SentinelCluster, SentinelPlan, SentinelProcess};
use sim_core::{FaultBudget, Schedule, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::{Execution, WorldExecution};
use crate::family::{Family, FamilyWords, FaultError, Forkable, LogLevel, RunResult, System, add_faults};
use crate::scenario::{EtcdHosts, Wait};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about Redis with Sentinel.
pub const WORDS: FamilyWords = FamilyWords {
    name: "sentinel",
    roles: &["primary", "replica", "redis", "sentinel", "sentinel-leader", "client"],
    played: &["primary", "replica", "redis", "sentinel", "sentinel-leader", "client", "none"],
    processes: &["redis", "sentinel", "client", "local-client"],
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
    let scenario = &case.scenario;
    let (cluster, workload) = (&scenario.cluster, &scenario.workload);
    let stop_at = scenario.horizon.saturating_sub(QUIET_TAIL);
    let plan = SentinelPlan {
        servers: cluster.members,
        sentinels: case.redis.sentinels,
        shared_hosts: cluster.redis.sentinel_hosts == EtcdHosts::Shared,
        group: case.redis.group.clone(),
        parameters: case.redis.parameters.clone(),
        machine: Machine { dataset: cluster.redis.dataset_bytes, ..Machine::default() },
        disk_sync: Inputs::default().disk_sync,
        load: RedisLoad {
            writers: workload.writers,
            write_interval: workload.write_interval,
            timeout: workload.statement_timeout,
            beside_servers: workload.beside_members,
            subscribes: workload.subscribe,
            wait_for: workload.wait.map(|Wait { replicas, timeout }| WaitFor { replicas, timeout }),
            local_writers: workload.local_writers,
            stop_at: Some(stop_at),
        },
        planted,
    };
    Box::new(SentinelSystem {
        cluster: Arc::new(SentinelCluster::new(&plan, cluster.topology.build())),
        budgets: scenario.budgets().into(),
        horizon: SimTime::ZERO + scenario.horizon,
        clients_stop_at: SimTime::ZERO + stop_at,
        event_budget: scenario.event_budget,
    })
}

struct SentinelSystem {
    cluster: Arc<SentinelCluster>,
    budgets: Arc<[FaultBudget]>,
    horizon: SimTime,
    clients_stop_at: SimTime,
    event_budget: u64,
}

impl System for SentinelSystem {
    fn process_names(&self) -> Vec<String> {
        let world = self.cluster.world(Seed(0));
        world.process_ids().map(|process| world.name(process).to_owned()).collect()
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions {
            members: Some(self.cluster.members()),
            clients: Some(self.cluster.clients().to_vec()),
            observed_until: Some(self.clients_stop_at),
            ..MeasureOptions::default()
        }
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut self.cluster.world(Seed(0)), schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        self.start(seed, schedule, log).finish()
    }
}

impl Forkable for SentinelSystem {
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let cluster = Arc::clone(&self.cluster);
        let surviving = move |world: &World<SentinelProcess>| cluster.surviving(world);
        let mut world = self.cluster.world(seed);
        self.cluster.add_conditions(&mut world);
        world.limit_faults(Arc::clone(&self.budgets));
        Box::new(WorldExecution::new(world, schedule, log, self.horizon, self.event_budget, surviving))
    }
}
