//! The platform family: a Patroni cluster, a group of Redis servers with Sentinels and a service that needs both, in one world.
//!
//! The keys of `cluster` and `workload` mean what they mean in the families `patroni` and `sentinel`; `cluster.members` counts the
//! members of the one and the servers of the other. `workload.writers` is the number of instances of the service: each of their
//! requests is a write to Redis and then one to PostgreSQL, and is judged as one write. What is promised about primaries is
//! about PostgreSQL. What always holds in either cluster is checked.

use analysis::SurvivingValues;
use models::Planted;
use models::patroni::{Load, Plan};
use models::platform::{PlatformCluster, PlatformPlan, PlatformProcess};
use models::sentinel::{RedisLoad, SentinelPlan};
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::patroni::{clients_stop_after, quiet_from};
use crate::world_system::{Cluster, WorldSystem};
use crate::{patroni, sentinel};

/// The words of scenario files about platforms.
pub const WORDS: FamilyWords = FamilyWords {
    name: "platform",
    roles: &[
        "primary",
        "standby",
        "postgres",
        "patroni-leader",
        "patroni-replica",
        "patroni",
        "sync-standby",
        "etcd-leader",
        "etcd-follower",
        "etcd",
        "haproxy",
        "pgbouncer",
        "confd",
        "name-server",
        "replica",
        "redis",
        "sentinel",
        "sentinel-leader",
        "service",
        "client",
    ],
    played: &[
        "primary",
        "standby",
        "postgres",
        "patroni-leader",
        "patroni-replica",
        "patroni",
        "etcd-leader",
        "etcd-follower",
        "haproxy",
        "pgbouncer",
        "confd",
        "name-server",
        "replica",
        "redis",
        "sentinel",
        "sentinel-leader",
        "service",
        "none",
    ],
    processes: &[
        "patroni",
        "postgres",
        "etcd",
        "haproxy",
        "pgbouncer",
        "confd",
        "dns",
        "redis",
        "sentinel",
        "service",
    ],
};

/// Patroni, Redis and a service.
#[derive(Clone, Copy, Debug)]
pub struct Platform;

impl Family for Platform {
    fn name(&self) -> &'static str {
        WORDS.name
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(system(case, Planted::Nothing))
    }
}

/// The system of a case, with a rule switched off or not: tests do that to show that the judge notices.
pub fn system(case: &Case, planted: Planted) -> Box<dyn Forkable> {
    let workload = &case.scenario.workload;
    let stop_at = clients_stop_after(case.scenario.horizon);
    let database = patroni::plan(case, planted);
    let redis = sentinel::plan(case, stop_at, planted);
    let plan = PlatformPlan {
        // The service is the only client.
        database: Plan { load: Load { writers: 0, readers: 0, ..database.load }, ..database },
        redis: SentinelPlan { load: RedisLoad { writers: 0, local_writers: false, ..redis.load }, ..redis },
        services: workload.writers,
        need: case.scenario.cluster.redis.need,
        redis_timeout: REDIS_TIMEOUT,
        database_timeout: workload.statement_timeout,
        interval: workload.write_interval,
        stop_at: Some(stop_at),
    };
    Box::new(WorldSystem::of(case, PlatformCluster::new(&plan), stop_at, quiet_from(case)))
}

/// How long the service waits for Redis: that of the clients of the family `sentinel`.
const REDIS_TIMEOUT: SimDuration = SimDuration::from_secs(1);

impl Cluster for PlatformCluster {
    type Process = PlatformProcess;

    fn world(&self, seed: Seed) -> World<PlatformProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<PlatformProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<PlatformProcess>, quiet_from: Option<SimTime>) {
        self.add_conditions(world, quiet_from);
    }

    fn surviving(&self, world: &World<PlatformProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.database().members()
    }

    fn clients(&self) -> &[ProcessId] {
        self.services()
    }
}
