//! The etcd family: etcd alone, with clients that put it to the test.
//!
//! `cluster.etcd` is the number of members, `cluster.topology` where they are; `workload.writers` clients work with rows
//! and registers, `LOCKERS` more contend for a lock, and one watches. `workload.write_interval` and
//! `workload.statement_timeout` are the most that a client rests between two operations and waits for an answer.

use analysis::SurvivingValues;
use models::Planted;
use models::etcd::{EtcdCluster, EtcdPlan, EtcdProcess};
use models::patroni::Inputs;
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::world_system::{Cluster, WorldSystem};

/// Clients that contend for the lock: two would do, three make the races more varied.
const LOCKERS: u16 = 3;
/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(10);

/// The words of scenario files about etcd.
pub const WORDS: FamilyWords = FamilyWords {
    name: "etcd",
    roles: &["etcd-leader", "etcd-follower", "etcd", "client", "lock-holder"],
    played: &["etcd-leader", "etcd-follower", "client", "none"],
    processes: &["etcd", "client"],
};

/// etcd alone.
#[derive(Clone, Copy, Debug)]
pub struct Etcd;

impl Family for Etcd {
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
    let plan = EtcdPlan {
        members: case.etcd_members,
        writers: scenario.workload.writers,
        write_interval: scenario.workload.write_interval,
        lockers: LOCKERS,
        watchers: 1,
        request_timeout: scenario.workload.statement_timeout,
        stop_at,
        disk_sync: Inputs::default().disk_sync,
        planted,
    };
    let cluster = EtcdCluster::new(&plan, scenario.cluster.places());
    Box::new(WorldSystem::of(case, cluster, stop_at, None))
}

impl Cluster for EtcdCluster {
    type Process = EtcdProcess;

    fn world(&self, seed: Seed) -> World<EtcdProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<EtcdProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<EtcdProcess>, _: Option<SimTime>) {
        self.add_conditions(world);
    }

    fn surviving(&self, world: &World<EtcdProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.servers().to_vec()
    }

    fn clients(&self) -> &[ProcessId] {
        self.clients()
    }

    /// Ten times the longest rest between two writes of the default load.
    fn outage_threshold(&self) -> SimDuration {
        SimDuration::from_secs(1)
    }
}
