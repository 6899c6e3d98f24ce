//! The lock family: instances of a service that elect a leader by a lock in Redis, and the document that the leader writes.
//!
//! The table `lock` says where the lock is and how it is used; the keys of `cluster` about Redis, Sentinel and Redis Cluster say what it is on.
//! `workload.writers` is the number of contenders and `workload.write_interval` the time from one effect of the leader to the
//! next. A promise about writable primaries is one about leaders here, and one about acknowledged writes is about the effects
//! that are in the document at the end.

use analysis::SurvivingValues;
use models::Planted;
use models::lock::{LockCluster, LockPlan, LockProcess};
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::world_system::{Cluster, WorldSystem};
use crate::{redis_cluster, sentinel};

/// How long before the horizon contenders start no more effects, so that the last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about locks.
pub const WORDS: FamilyWords = FamilyWords {
    name: "lock",
    roles: &[
        "leader",
        "candidate",
        "follower",
        "contender",
        "store",
        "primary",
        "replica",
        "other-primary",
        "other-replica",
        "redis",
        "sentinel",
        "sentinel-leader",
    ],
    played: &[
        "leader",
        "follower",
        "store",
        "primary",
        "replica",
        "other-primary",
        "other-replica",
        "redis",
        "sentinel",
        "sentinel-leader",
        "none",
    ],
    processes: &["contender", "store", "redis", "sentinel"],
};

/// Leader election by a lock in Redis.
#[derive(Clone, Copy, Debug)]
pub struct Lock;

impl Family for Lock {
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
    let plan = LockPlan {
        kind: scenario.lock.servers,
        group: sentinel::plan(case, stop_at, planted),
        cluster: redis_cluster::plan(case, stop_at, planted),
        lock: scenario.lock.parameters(&scenario.workload),
        contenders: scenario.workload.writers,
        beside_servers: scenario.workload.beside_members,
        stop_at: Some(stop_at),
        planted,
    };
    let cluster = LockCluster::new(&plan, scenario.cluster.places());
    Box::new(WorldSystem::of(case, cluster, stop_at, None))
}

impl Cluster for LockCluster {
    type Process = LockProcess;

    fn world(&self, seed: Seed) -> World<LockProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<LockProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<LockProcess>, _: Option<SimTime>) {
        self.add_conditions(world);
    }

    fn surviving(&self, world: &World<LockProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.contenders().to_vec()
    }

    fn clients(&self) -> &[ProcessId] {
        self.contenders()
    }

    /// Well above the time from one effect to the next, work and round trips included, with the default load (300 ms).
    fn outage_threshold(&self) -> SimDuration {
        SimDuration::from_secs(1)
    }
}
