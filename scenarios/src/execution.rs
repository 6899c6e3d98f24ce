//! A run that is under way: it can be stopped at any instant, looked at, forked and treated differently.
//!
//! [`System::run`](crate::family::System::run) is the whole of it in one call. What needs more goes step by step: `hasim explain`
//! forks a failing run at many instants and gives each fork another future, a comparison of two runs steps both to the
//! first event that differs, an enumeration of crash points forks at each event.
//!
//! There is one dynamic call for each advance, and none for each event.

use std::collections::BTreeSet;

use analysis::SurvivingValues;
use sim_core::{
    DeliveredFault, Digest, EndReason, Mark, NextEvent, Process, ProcessId, Schedule, Seed, SimTime, World,
    advance_guarded, is_livelock,
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

    /// The event that is processed next, for people; none if none is left. Looking changes nothing.
    fn next_event(&self) -> Option<NextEvent>;

    /// The marks so far.
    fn marks(&self) -> &[Mark];

    /// What became of the faults that have fired, in the order in which they fired.
    fn delivered_faults(&self) -> &[DeliveredFault];

    /// Where a process lives.
    fn residence(&self, process: ProcessId) -> Residence;

    /// Processes every event up to and including this instant, or the horizon if that is earlier. Says why the run
    /// ended, if it did; an ended run does not go on. Panics of models end the run, not the caller.
    fn advance(&mut self, until: SimTime) -> Option<EndReason>;

    /// Processes single events until so many were processed in all. Says why the run ended, if it did before.
    fn advance_events(&mut self, total: u64) -> Option<EndReason>;

    /// A copy that goes on by itself, from this instant, identically until it is treated differently.
    fn fork(&self) -> Box<dyn Execution>;

    /// A copy that goes on as the run of another seed under another schedule, with which this one has its warm-up in common
    /// ([`System::warm_up`](crate::family::System::warm_up)).
    ///
    /// # Panics
    /// If this run has gone its own way already, or the schedule names what the world does not have.
    fn branch(&self, seed: Seed, schedule: &Schedule) -> Box<dyn Execution>;

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

/// Where a process lives, and who starts it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Residence {
    /// The name of its host.
    pub host: String,
    /// True if it is started with the host: by its service manager, and not by another process.
    pub starts_with_host: bool,
}

/// What the execution of a world needs to know of what runs in it.
pub trait Subject<P: Process>: Clone + Send + 'static {
    /// Goes on with a run, as [`advance_guarded`] does. Models that do it themselves are not compiled once more here.
    fn advance(world: &mut World<P>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Reads from the final world what outlived the run.
    fn surviving(&self, world: &World<P>) -> SurvivingValues;
}

impl<P: Process, F: Fn(&World<P>) -> SurvivingValues + Clone + Send + 'static> Subject<P> for F {
    fn surviving(&self, world: &World<P>) -> SurvivingValues {
        self(world)
    }
}

/// What a run does from the end of its warm-up on, which it shares with other seeds.
#[derive(Clone, Debug)]
pub struct Course {
    /// The end of the warm-up. What happens at this instant still belongs to it.
    until: SimTime,
    seed: Seed,
    schedule: Schedule,
    /// Positions of faults that shall not fire.
    cancelled: BTreeSet<usize>,
}

impl Course {
    /// The course of a seed under a schedule.
    pub fn new(until: SimTime, seed: Seed, schedule: Schedule) -> Self {
        Self { until, seed, schedule, cancelled: BTreeSet::new() }
    }

    fn take<P: Process>(self, world: &mut World<P>) {
        world.reseed(self.seed);
        add_faults(world, &self.schedule).expect("the schedule was checked");
        for position in self.cancelled {
            world.cancel_fault(position);
        }
    }
}

/// The execution of a world, in which `S` runs.
#[derive(Clone)]
pub struct WorldExecution<P: Process, S> {
    world: World<P>,
    /// Until the warm-up is over.
    course: Option<Course>,
    horizon: SimTime,
    event_budget: u64,
    subject: S,
    ended: Option<EndReason>,
}

impl<P: Process, S: Subject<P>> WorldExecution<P, S> {
    /// The run of this world, in which nothing goes wrong.
    pub fn new(mut world: World<P>, log: LogLevel, horizon: SimTime, event_budget: u64, subject: S) -> Self {
        if log > LogLevel::Off {
            world.log(log == LogLevel::Packets);
        }
        Self { world, course: None, horizon, event_budget, subject, ended: None }
    }

    /// The same under a schedule.
    ///
    /// # Panics
    /// If the schedule names what the world does not have; systems check schedules before.
    #[must_use]
    pub fn under(mut self, schedule: &Schedule) -> Self {
        add_faults(&mut self.world, schedule).expect("the schedule was checked");
        self
    }

    /// The same with a course of its own after the warm-up.
    #[must_use]
    pub fn after_warmup(mut self, course: Course) -> Self {
        self.course = Some(course);
        self
    }

    fn go(&mut self, until: SimTime, events: u64) -> Option<EndReason> {
        let until = until.min(self.horizon);
        if let Some(warm) = self.course.as_ref().map(|course| course.until).filter(|warm| *warm <= until) {
            // Not by the clock: several things may happen at the last instant of the warm-up.
            if self.go_straight(warm, events) != Some(EndReason::Horizon) || self.ended.is_some() {
                return self.ended.clone();
            }
            if let Some(course) = self.course.take() {
                course.take(&mut self.world);
            }
        }
        self.go_straight(until, events);
        self.ended.clone()
    }

    /// Advances the world, and says why it stopped; none if the run had ended before.
    fn go_straight(&mut self, until: SimTime, events: u64) -> Option<EndReason> {
        if self.ended.is_some() {
            return None;
        }
        let reason = S::advance(&mut self.world, until, events.min(self.event_budget));
        let paused = match reason {
            EndReason::Horizon => until < self.horizon,
            EndReason::EventBudget => self.world.events() < self.event_budget,
            EndReason::Quiescent | EndReason::Livelock | EndReason::Violated | EndReason::Panicked(_) => {
                false
            }
        };
        if !paused {
            self.ended = Some(match &reason {
                EndReason::EventBudget if is_livelock(&self.world, self.horizon, S::advance) => {
                    EndReason::Livelock
                }
                reason => reason.clone(),
            });
        }
        Some(reason)
    }
}

impl<P, S> Execution for WorldExecution<P, S>
where
    P: Process,
    World<P>: Send + 'static,
    S: Subject<P>,
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

    fn next_event(&self) -> Option<NextEvent> {
        self.world.next_event()
    }

    fn marks(&self) -> &[Mark] {
        self.world.marks()
    }

    fn delivered_faults(&self) -> &[DeliveredFault] {
        self.world.delivered_faults()
    }

    fn residence(&self, process: ProcessId) -> Residence {
        Residence {
            host: self.world.topology().host_name(self.world.host_of(process)).to_owned(),
            starts_with_host: self.world.starts_with_host(process),
        }
    }

    fn advance(&mut self, until: SimTime) -> Option<EndReason> {
        self.go(until, u64::MAX)
    }

    fn advance_events(&mut self, total: u64) -> Option<EndReason> {
        self.go(self.horizon, total)
    }

    fn fork(&self) -> Box<dyn Execution> {
        Box::new(self.clone())
    }

    fn branch(&self, seed: Seed, schedule: &Schedule) -> Box<dyn Execution> {
        let until = self.course.as_ref().expect("the warm-up is not over").until;
        Box::new(self.clone().after_warmup(Course::new(until, seed, schedule.clone())))
    }

    fn reseed(&mut self, seed: Seed) {
        self.world.reseed(seed);
        if let Some(course) = &mut self.course {
            // Another future goes on beyond the warm-up, and does not repeat there how it began.
            course.seed = Seed(seed.stream("after the warm-up", 0).bits());
        }
    }

    fn cancel_fault(&mut self, position: usize) -> bool {
        match &mut self.course {
            Some(course) => position < course.schedule.0.len() && course.cancelled.insert(position),
            None => self.world.cancel_fault(position),
        }
    }

    fn cancel_faults(&mut self) {
        match &mut self.course {
            Some(course) => course.cancelled.extend(0..course.schedule.0.len()),
            None => self.world.cancel_faults(),
        }
    }

    fn add_faults(&mut self, schedule: &Schedule) -> Result<(), FaultError> {
        let Some(course) = &mut self.course else { return add_faults(&mut self.world, schedule) };
        let known = course.schedule.0.len();
        course.schedule.0.extend(schedule.0.iter().cloned());
        add_faults(&mut self.world.clone(), &course.schedule).map_err(|error| {
            course.schedule.0.truncate(known);
            FaultError { position: error.position - known, ..error }
        })
    }

    fn finish(mut self: Box<Self>) -> RunResult {
        let end = self.go(self.horizon, u64::MAX).expect("a run ends at its horizon at the latest");
        RunResult {
            surviving: self.subject.surviving(&self.world),
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

#[cfg(test)]
mod tests {
    use sim_core::SimDuration;

    use super::*;
    use crate::case::Case;
    use crate::family::{Forkable, build};
    use crate::testing::{Small, case, scenario_text};

    fn subject() -> (Case, Box<dyn Forkable>, Schedule) {
        let case = case(&scenario_text("async"));
        let system = build(&[&Small], &case).unwrap();
        let schedule = case.scenario.schedule(Seed(4));
        (case, system, schedule)
    }

    fn at(seconds: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(seconds)
    }

    #[test]
    fn a_run_in_steps_is_the_run_in_one_go() {
        let (_, system, schedule) = subject();
        let whole = system.run(Seed(4), &schedule, LogLevel::Story);
        let mut steps = system.start(Seed(4), &schedule, LogLevel::Story);
        assert_eq!(steps.advance_events(10), None);
        assert_eq!(steps.events(), 10);
        for seconds in [1, 25, 59] {
            assert_eq!(steps.advance(at(seconds)), None);
            assert_eq!(steps.now(), at(seconds));
        }
        assert!(!steps.marks().is_empty() && !steps.delivered_faults().is_empty());
        let fork = steps.fork();
        assert_eq!(steps.advance(at(1_000)), Some(EndReason::Horizon));
        assert_eq!((steps.now(), steps.digest()), (steps.horizon(), whole.record.digest));
        assert_eq!(steps.finish(), whole);
        assert_eq!(fork.finish(), whole, "a fork has the history of the run that it was taken from");
    }

    #[test]
    fn a_fork_goes_another_way_and_its_origin_does_not() {
        let (_, system, schedule) = subject();
        let whole = system.run(Seed(4), &schedule, LogLevel::Off);
        let mut run = system.start(Seed(4), &schedule, LogLevel::Off);
        run.advance(at(10));
        let futures = [1, 2, 1].map(|seed| {
            let mut fork = run.fork();
            fork.reseed(Seed(seed));
            fork.finish().record.digest
        });
        assert_eq!(futures[0], futures[2]);
        assert_ne!(futures[0], futures[1]);
        let mut spared = run.fork();
        assert!(spared.cancel_fault(0));
        assert!(!spared.cancel_fault(0), "it is cancelled already");
        assert!(spared.finish().faults.is_empty());
        let mut cancelled = run.fork();
        cancelled.cancel_faults();
        cancelled.add_faults(&schedule).unwrap();
        assert_eq!(cancelled.finish().faults.len(), 1, "the added one");
        assert_eq!(run.finish(), whole);
    }

    #[test]
    fn a_run_out_of_its_budget_goes_no_further() {
        let text = scenario_text("async").replace("horizon", "event_budget = 1000\nhorizon");
        let case = case(&text);
        let system = build(&[&Small], &case).unwrap();
        let mut run = system.start(Seed(4), &case.scenario.schedule(Seed(4)), LogLevel::Off);
        assert_eq!(run.advance_events(999), None);
        assert_eq!(run.advance_events(2_000), Some(EndReason::EventBudget));
        assert_eq!(run.advance(at(60)), Some(EndReason::EventBudget));
        assert_eq!(run.finish().record.events, 1_000);
    }
}
