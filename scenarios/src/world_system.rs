//! The system of a family whose clusters run in the native kernel: what is the same for all of them.

use std::sync::Arc;

use analysis::{MeasureOptions, SurvivingValues};
use sim_core::{FaultBudget, Process, ProcessId, Schedule, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::execution::{Execution, WorldExecution};
use crate::family::{FaultError, Forkable, LogLevel, RunResult, System, add_faults};

/// A cluster of a family, ready to run any seed.
pub trait Cluster: Send + Sync + 'static {
    /// Its processes.
    type Process: Process;

    /// The world of a seed, before its first event.
    fn world(&self, seed: Seed) -> World<Self::Process>;

    /// Adds what always holds. `quiet_from` is when nothing is wrong any more, if ever.
    fn add_conditions(
        &self,
        world: &mut World<Self::Process>,
        quiet_from: Option<SimTime>,
        schedule: &Schedule,
    );

    /// What the final world holds.
    fn surviving(&self, world: &World<Self::Process>) -> SurvivingValues;

    /// The processes that make it up.
    fn members(&self) -> Vec<ProcessId>;

    /// The processes whose operations are judged.
    fn clients(&self) -> &[ProcessId];

    /// How long a client may be left without service before that is an outage.
    fn outage_threshold(&self) -> SimDuration {
        MeasureOptions::default().outage_threshold
    }
}

/// A cluster of a case, with everything of the case that a run needs but the seed and the schedule.
#[derive(Clone, Debug)]
pub struct WorldSystem<C> {
    /// The cluster.
    pub cluster: Arc<C>,
    /// What faults may break at most.
    pub budgets: Arc<[FaultBudget]>,
    /// When a run ends.
    pub horizon: SimTime,
    /// When clients stop asking.
    pub clients_stop_at: SimTime,
    /// The most events of a run.
    pub event_budget: u64,
    /// From when on nothing is wrong any more.
    quiet_from: Option<SimTime>,
}

impl<C: Cluster> WorldSystem<C> {
    /// The system of a case, whose clients stop asking after this time.
    pub fn of(case: &Case, cluster: C, clients_stop_after: SimDuration, quiet_from: Option<SimTime>) -> Self {
        let scenario = &case.scenario;
        Self {
            cluster: Arc::new(cluster),
            budgets: scenario.budgets().into(),
            horizon: SimTime::ZERO + scenario.horizon,
            clients_stop_at: SimTime::ZERO + clients_stop_after,
            event_budget: scenario.event_budget,
            quiet_from,
        }
    }
}

impl<C: Cluster> System for WorldSystem<C>
where
    World<C::Process>: Send + 'static,
{
    fn process_names(&self) -> Vec<String> {
        let world = self.cluster.world(Seed(0));
        world.process_ids().map(|process| world.name(process).to_owned()).collect()
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions {
            members: Some(self.cluster.members()),
            clients: Some(self.cluster.clients().to_vec()),
            observed_until: Some(self.clients_stop_at),
            outage_threshold: self.cluster.outage_threshold(),
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

impl<C: Cluster> Forkable for WorldSystem<C>
where
    World<C::Process>: Send + 'static,
{
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let cluster = Arc::clone(&self.cluster);
        let surviving = move |world: &World<C::Process>| cluster.surviving(world);
        let mut world = self.cluster.world(seed);
        self.cluster.add_conditions(&mut world, self.quiet_from, schedule);
        world.limit_faults(Arc::clone(&self.budgets));
        Box::new(WorldExecution::new(world, schedule, log, self.horizon, self.event_budget, surviving))
    }
}
