//! A run that is under way: it can be stopped at any instant, looked at, forked and treated differently.
//!
//! [`crate::family::System::run`] is the whole of it in one call. What needs more goes step by step: `hasim explain`
//! forks a failing run at many instants and gives each fork another future, a comparison of two runs steps both to the
//! first event that differs, an enumeration of crash points forks at each event.
//!
//! There is one dynamic call for each advance, and none for each event.

use analysis::SurvivingValues;
use sim_core::{
    DeliveredFault, Digest, EndReason, Mark, Process, Schedule, Seed, SimTime, World, advance_guarded,
};

use crate::family::{FaultError, LogLevel, RunResult, add_faults};

/// A run at some instant of its virtual time.
pub trait Execution: Send {
    /// The instant up to which everything has happened.
    fn now(&self) -> SimTime;

    /// When the run ends at the latest.
    fn horizon(&self) -> SimTime;

    /// How many events have been processed.
    fn events(&self) -> u64;

    /// The digest of these events.
    fn digest(&self) -> Digest;

    /// The marks so far.
    fn marks(&self) -> &[Mark];

    /// What became of the faults that have fired, in the order in which they fired.
    fn delivered_faults(&self) -> &[DeliveredFault];

    /// Processes every event up to and including this instant, or the horizon if that is earlier. Says why the run
    /// ended, if it did; an ended run does not go on. Panics of models end the run, not the caller.
    fn advance(&mut self, until: SimTime) -> Option<EndReason>;

    /// Processes single events until so many were processed in all. Says why the run ended, if it did before.
    fn advance_events(&mut self, total: u64) -> Option<EndReason>;

    /// A copy that goes on by itself, from this instant, identically until it is treated differently.
    fn fork(&self) -> Box<dyn Execution>;

    /// Gives the run another future; see [`World::reseed`].
    fn reseed(&mut self, seed: Seed);

    /// Cancels the fault with this position, unless it has fired; see [`World::cancel_fault`].
    fn cancel_fault(&mut self, position: usize) -> bool;

    /// Cancels every fault that has not fired.
    fn cancel_faults(&mut self);

    /// Adds faults. Positions count on from those that were added before, also in what refers to other faults.
    ///
    /// # Errors
    /// The first fault whose target does not exist.
    fn add_faults(&mut self, schedule: &Schedule) -> Result<(), FaultError>;

    /// Goes on to the end, and says what the run leaves.
    fn finish(self: Box<Self>) -> RunResult;
}

/// The execution of a world. `S` reads from the final world what outlived the run.
pub struct WorldExecution<P: Process, S> {
    world: World<P>,
    horizon: SimTime,
    event_budget: u64,
    surviving: S,
    ended: Option<EndReason>,
}

impl<P, S> WorldExecution<P, S>
where
    P: Process,
    S: Fn(&World<P>) -> SurvivingValues,
{
    /// The run of this world under a schedule.
    ///
    /// # Panics
    /// If the schedule names what the world does not have; systems check schedules before.
    pub fn new(
        mut world: World<P>,
        schedule: &Schedule,
        log: LogLevel,
        horizon: SimTime,
        event_budget: u64,
        surviving: S,
    ) -> Self {
        if log > LogLevel::Off {
            world.log(log == LogLevel::Packets);
        }
        add_faults(&mut world, schedule).expect("the schedule was checked");
        Self { world, horizon, event_budget, surviving, ended: None }
    }

    fn go(&mut self, until: SimTime, events: u64) -> Option<EndReason> {
        if self.ended.is_none() {
            let until = until.min(self.horizon);
            let reason = advance_guarded(&mut self.world, until, events.min(self.event_budget));
            let paused = match reason {
                EndReason::Horizon => until < self.horizon,
                EndReason::EventBudget => self.world.events() < self.event_budget,
                EndReason::Quiescent | EndReason::Violated | EndReason::Panicked(_) => false,
            };
            self.ended = (!paused).then_some(reason);
        }
        self.ended.clone()
    }
}

impl<P, S> Execution for WorldExecution<P, S>
where
    P: Process,
    World<P>: Send + 'static,
    S: Fn(&World<P>) -> SurvivingValues + Clone + Send + 'static,
{
    fn now(&self) -> SimTime {
        self.world.now()
    }

    fn horizon(&self) -> SimTime {
        self.horizon
    }

    fn events(&self) -> u64 {
        self.world.events()
    }

    fn digest(&self) -> Digest {
        self.world.digest()
    }

    fn marks(&self) -> &[Mark] {
        self.world.marks()
    }

    fn delivered_faults(&self) -> &[DeliveredFault] {
        self.world.delivered_faults()
    }

    fn advance(&mut self, until: SimTime) -> Option<EndReason> {
        self.go(until, u64::MAX)
    }

    fn advance_events(&mut self, total: u64) -> Option<EndReason> {
        self.go(self.horizon, total)
    }

    fn fork(&self) -> Box<dyn Execution> {
        Box::new(Self {
            world: self.world.clone(),
            horizon: self.horizon,
            event_budget: self.event_budget,
            surviving: self.surviving.clone(),
            ended: self.ended.clone(),
        })
    }

    fn reseed(&mut self, seed: Seed) {
        self.world.reseed(seed);
    }

    fn cancel_fault(&mut self, position: usize) -> bool {
        self.world.cancel_fault(position)
    }

    fn cancel_faults(&mut self) {
        self.world.cancel_faults();
    }

    fn add_faults(&mut self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut self.world, schedule)
    }

    fn finish(mut self: Box<Self>) -> RunResult {
        let end = self.go(self.horizon, u64::MAX).expect("a run ends at its horizon at the latest");
        RunResult {
            surviving: (self.surviving)(&self.world),
            faults: self.world.delivered_faults().to_vec(),
            log: self.world.log_entries().to_vec(),
            record: self.world.record(end),
        }
    }
}

impl<P: Process, S> std::fmt::Debug for WorldExecution<P, S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WorldExecution")
            .field("now", &self.world.now())
            .field("events", &self.world.events())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
