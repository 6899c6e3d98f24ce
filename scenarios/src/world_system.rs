//! The system of a family whose clusters run in the native kernel: what is the same for all of them.
//!
//! While a cluster forms nothing happens to it, and every seed would wait for that anew. So seeds share warm-ups: a block of
//! [`SEEDS_A_WARMUP`] neighbours begins as one run, whose world is forked at the end of the warm-up; there each seed gets random
//! streams of its own ([`World::reseed`]) and its faults. That holds for a seed that is run by itself as well: where a run comes
//! from makes no difference to it. Runs of one block find the same primary and the same phases of timers at the end of the warm-up;
//! when faults strike is up to each of them.

use std::sync::Arc;

use analysis::{MeasureOptions, ReadsOf, SurvivingValues};
use sim_core::{EndReason, FaultBudget, Process, ProcessId, Schedule, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::execution::{Course, Execution, Subject, WorldExecution};
use crate::family::{FaultError, Forkable, LogLevel, RunResult, System, add_faults};

/// How many seeds begin alike. More would save little, as the warm-up is then a small part of their time, and would make neighbours
/// more alike than need be.
pub const SEEDS_A_WARMUP: u64 = 16;

/// A cluster of a family, ready to run any seed.
pub trait Cluster: Send + Sync + 'static {
    /// Its processes.
    type Process: Process;

    /// The world of a seed, before its first event.
    fn world(&self, seed: Seed) -> World<Self::Process>;

    /// Goes on with a run, as [`sim_core::advance_guarded`] does.
    fn advance(world: &mut World<Self::Process>, until: SimTime, event_budget: u64) -> EndReason;

    /// Adds what always holds. `quiet_from` is when nothing is wrong any more, if ever.
    fn add_conditions(&self, world: &mut World<Self::Process>, quiet_from: Option<SimTime>);

    /// What the final world holds.
    fn surviving(&self, world: &World<Self::Process>) -> SurvivingValues;

    /// The processes that make it up.
    fn members(&self) -> Vec<ProcessId>;

    /// The processes whose operations are judged.
    fn clients(&self) -> &[ProcessId];

    /// What clients read.
    fn reads(&self) -> ReadsOf {
        ReadsOf::default()
    }

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
    /// Until when seeds of one block are one run, if faults do not come earlier.
    shared_until: Option<SimTime>,
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
            shared_until: (scenario.begins_undisturbed() && scenario.warmup > SimDuration::ZERO)
                .then_some(SimTime::ZERO + scenario.warmup),
        }
    }

    fn execution(&self, seed: Seed, log: LogLevel) -> WorldExecution<C::Process, Running<C>> {
        let mut world = self.cluster.world(seed);
        self.cluster.add_conditions(&mut world, self.quiet_from);
        world.limit_faults(Arc::clone(&self.budgets));
        let subject = Running(Arc::clone(&self.cluster));
        WorldExecution::new(world, log, self.horizon, self.event_budget, subject)
    }
}

/// The cluster of an execution.
struct Running<C>(Arc<C>);

impl<C> Clone for Running<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Cluster> Subject<C::Process> for Running<C> {
    fn advance(world: &mut World<C::Process>, until: SimTime, event_budget: u64) -> EndReason {
        C::advance(world, until, event_budget)
    }

    fn surviving(&self, world: &World<C::Process>) -> SurvivingValues {
        self.0.surviving(world)
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
            reads: self.cluster.reads(),
            ..MeasureOptions::default()
        }
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut self.cluster.world(Seed(0)), schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        self.start(seed, schedule, log).finish()
    }

    fn block(&self, seed: Seed) -> u64 {
        if self.shared_until.is_some() { seed.0 / SEEDS_A_WARMUP } else { seed.0 }
    }

    fn warm_up(&self, seed: Seed) -> Option<Box<dyn Execution>> {
        let until = self.shared_until?;
        let mut beginning = self.start(seed, &Schedule::default(), LogLevel::Off);
        // What happens at the last instant of the warm-up happens before a seed goes its own way.
        beginning.advance(SimTime::from_nanos(until.as_nanos() - 1));
        Some(beginning)
    }
}

impl<C: Cluster> Forkable for WorldSystem<C>
where
    World<C::Process>: Send + 'static,
{
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        Box::new(match self.shared_until {
            Some(until) => {
                let course = Course::new(until, seed, schedule.clone());
                self.execution(Seed(self.block(seed)), log).after_warmup(course)
            }
            None => self.execution(seed, log).under(schedule),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::etcd::Etcd;
    use crate::family::build;

    fn subject() -> (Case, Box<dyn Forkable>) {
        let scenarios = catalogue::scenarios().unwrap();
        let scenario = scenarios.iter().find(|scenario| scenario.name == "etcd/swarm").unwrap();
        let case = Case::new(scenario, &crate::case::UserSettings::default()).unwrap();
        let system = build(&[&Etcd], &case).unwrap();
        (case, system)
    }

    #[test]
    fn neighbours_begin_alike_and_go_their_own_ways() {
        let (case, system) = subject();
        let warm = SimTime::ZERO + case.scenario.warmup;
        let seeds = [32, 33, 48].map(Seed);
        assert_eq!(seeds.map(|seed| system.block(seed)), [2, 2, 3]);
        let mut runs = seeds.map(|seed| system.start(seed, &case.scenario.schedule(seed), LogLevel::Off));
        for run in &mut runs {
            assert_eq!(run.advance(SimTime::from_nanos(warm.as_nanos() - 1)), None);
        }
        assert_eq!(runs[0].digest(), runs[1].digest());
        assert_ne!(runs[0].digest(), runs[2].digest());
        let [first, second, _] = runs.map(|run| run.finish().record.digest);
        assert_ne!(first, second);
    }

    #[test]
    fn a_run_from_a_shared_warm_up_is_the_run() {
        let (case, system) = subject();
        let warm = system.warm_up(Seed(32)).unwrap();
        for seed in [33, 47].map(Seed) {
            let schedule = case.scenario.schedule(seed);
            let whole = system.run(seed, &schedule, LogLevel::Off);
            assert_eq!(warm.branch(seed, &schedule).finish(), whole);
            let mut alone = system.start(seed, &schedule, LogLevel::Off);
            assert!(alone.advance_events(1_000).is_none());
            assert_eq!(alone.finish(), whole);
        }
    }

    #[test]
    fn faults_can_be_cancelled_and_added_before_the_warm_up_is_over() {
        let (case, system) = subject();
        let seed = Seed(5);
        let schedule = case.scenario.schedule(seed);
        let whole = system.run(seed, &schedule, LogLevel::Off);
        let mut spared = system.start(seed, &schedule, LogLevel::Off);
        assert!(spared.cancel_fault(0));
        assert!(!spared.cancel_fault(0), "it is cancelled already");
        assert!(!spared.cancel_fault(schedule.0.len()), "there is none");
        assert!(spared.finish().faults.iter().all(|fault| fault.index != 0));
        let mut added = system.start(seed, &Schedule::default(), LogLevel::Off);
        added.add_faults(&schedule).unwrap();
        assert_eq!(added.finish(), whole);
        let mut other = system.start(seed, &schedule, LogLevel::Off);
        other.reseed(Seed(1));
        assert_ne!(other.finish().record.digest, whole.record.digest);
    }
}
