//! The etcd family: etcd alone, with clients that put it to the test.
//!
//! `cluster.etcd` is the number of members, `cluster.topology` where they are; `workload.writers` clients work with rows
//! and registers, [`LOCKERS`] more contend for a lock, and one watches. `workload.write_interval` and
//! `workload.statement_timeout` are the most that a client rests between two operations and waits for an answer.

use std::sync::Arc;

use analysis::MeasureOptions;
use models::Planted;
use models::etcd::{EtcdCluster, EtcdPlan, EtcdProcess};
use models::patroni::Inputs;
use sim_core::{FaultBudget, Schedule, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::{Execution, WorldExecution};
use crate::family::{Family, FamilyWords, FaultError, Forkable, LogLevel, RunResult, System, add_faults};

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
    Box::new(EtcdSystem {
        cluster: Arc::new(EtcdCluster::new(&plan, scenario.cluster.topology.build())),
        budgets: scenario.budgets().into(),
        horizon: SimTime::ZERO + scenario.horizon,
        clients_stop_at: SimTime::ZERO + stop_at,
        event_budget: scenario.event_budget,
    })
}

struct EtcdSystem {
    cluster: Arc<EtcdCluster>,
    budgets: Arc<[FaultBudget]>,
    horizon: SimTime,
    clients_stop_at: SimTime,
    event_budget: u64,
}

impl System for EtcdSystem {
    fn process_names(&self) -> Vec<String> {
        let world = self.cluster.world(Seed(0));
        world.process_ids().map(|process| world.name(process).to_owned()).collect()
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions {
            members: Some(self.cluster.servers().to_vec()),
            clients: Some(self.cluster.clients().to_vec()),
            observed_until: Some(self.clients_stop_at),
            // Ten times the longest rest between two writes of the default load.
            outage_threshold: SimDuration::from_secs(1),
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

impl Forkable for EtcdSystem {
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let cluster = Arc::clone(&self.cluster);
        let surviving = move |world: &World<EtcdProcess>| cluster.surviving(world);
        let mut world = self.cluster.world(seed);
        self.cluster.add_conditions(&mut world);
        world.limit_faults(Arc::clone(&self.budgets));
        Box::new(WorldExecution::new(world, schedule, log, self.horizon, self.event_budget, surviving))
    }
}
