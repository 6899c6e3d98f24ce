//! From a run that fails to a smaller one that fails for the same reason.
//!
//! A schedule that a swarm drew holds faults that have nothing to do with the failure. The search leaves out faults
//! (see [`ddmin()`]), replaces triggers by the times at which they fired, shortens the run, weakens and shortens the
//! faults that are left, and reduces the cluster and the load, again and again until none of it works any more. After
//! each step the run must fail as the first one did: with the same [`Finding`]. If acknowledged writes were lost and
//! the cluster recovered, the smaller run must recover, too; else a run cut short in the middle of a failover would pass
//! for one that loses. A smaller run that is not about recovery promises none: it ends too soon after its faults, and the
//! models without the bug must be able to keep what it promises.
//!
//! A change shifts what happens after it, so a run may stop failing for want of bad luck. Where a fault, a member or a
//! client goes, a few other seeds are tried besides. A failure that needs more luck than faults keeps many faults all the same: each of
//! them is a part of what made this one seed fail. So when nothing else helps, a few of its faults are tried under many other seeds.
//!
//! # What the result depends on
//!
//! On the failure and the budget, which counts runs. Candidates are tried one after the other in an order that depends
//! on nothing else. A search may be told to stop early (a limit of wall time, an interrupt); then it says so, and another
//! machine may get further.
//!
//! # Warm starts
//!
//! Candidates begin as forks at the end of the warm-up that their seeds share ([`System::warm_up`]). A candidate that fails is
//! run from the start before it is accepted, so that the repro file rests on a whole run.

mod ddmin;
mod reduce;
pub(crate) mod weaken;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use sim_core::{DeliveredFault, Schedule, Seed, SimDuration, SimTime};

pub use ddmin::ddmin;
use reduce::{Reduction, reduced};

use crate::campaign::{Finding, Outcome, judge_run, run_schedule};
use crate::case::Case;
use crate::execution::Execution;
use crate::exit::Exit;
use crate::family::{Family, Forkable, LogLevel, RunResult, System, build};

/// How many other seeds are tried where the seed of the run does not fail any more.
const OTHER_SEEDS: u64 = 4;

/// So many faults are few: what a person can follow.
const FEW_FAULTS: usize = 3;

/// How many times a few of the faults are tried under another seed.
const LUCKY_SEEDS: u64 = 2_000;

/// How long after its last fault a run goes on at least, in a search for a shorter horizon.
const SHORTEST_REST: SimDuration = SimDuration::from_secs(1);

/// A run that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The scenario and the settings.
    pub case: Case,
    /// The seed.
    pub seed: Seed,
    /// The faults.
    pub schedule: Schedule,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it fails.
    pub finding: Finding,
    /// What became of the faults.
    delivered: Vec<DeliveredFault>,
}

impl Failure {
    /// Runs this once more; none if it does not fail.
    pub fn of(case: &Case, system: &dyn System, seed: Seed, schedule: &Schedule) -> Option<Self> {
        let (outcome, result) = run_schedule(case, system, seed, schedule, LogLevel::Off);
        let finding = Finding::of(&outcome, &result);
        (finding.verdict.exit() != Exit::Kept).then(|| Self {
            case: case.clone(),
            seed,
            schedule: schedule.clone(),
            outcome,
            finding,
            delivered: result.faults,
        })
    }
}

/// How far a search may go.
pub struct Limits<'a> {
    /// The most runs.
    pub runs: u64,
    /// Asked before each run: true ends the search.
    pub stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Limits<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Limits").field("runs", &self.runs).finish_non_exhaustive()
    }
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Nothing can be made simpler any more, by any step that the search knows.
    Fixpoint,
    /// All runs of the budget were used.
    RunsSpent,
    /// It was told to stop: the result may differ from machine to machine.
    Stopped,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest failure that was found; that with which the search began, if nothing could be left out.
    pub failure: Failure,
    /// How many runs it took.
    pub runs: u64,
    /// Why it ended.
    pub ending: Ending,
}

/// Looks for a smaller run that fails as this one does. `families` build its system and those of smaller clusters.
pub fn shrink(families: &[&dyn Family], failure: Failure, limits: &Limits<'_>) -> Shrunk {
    let Ok(system) = build(families, &failure.case) else {
        return Shrunk { failure, runs: 0, ending: Ending::Fixpoint };
    };
    let mut search = Search {
        families,
        limits,
        original: failure.case.clone(),
        rest: rest(&failure),
        recovered: failure.outcome.row.outage.is_some(),
        reduction: Reduction::default(),
        best: failure,
        system,
        warm: None,
        tried: BTreeSet::new(),
        runs: 0,
        ending: Ending::Fixpoint,
    };
    // Each step that succeeds makes the run simpler by its own measure, so this ends.
    while search.round() {}
    search.write_out();
    Shrunk { failure: search.best, runs: search.runs, ending: search.ending }
}

struct Search<'a> {
    families: &'a [&'a dyn Family],
    limits: &'a Limits<'a>,
    original: Case,
    /// How long the first run went on after its last fault.
    rest: SimDuration,
    recovered: bool,
    reduction: Reduction,
    best: Failure,
    /// The system of the best case.
    system: Box<dyn Forkable>,
    /// The warm-up of a block of seeds of the best case, if seeds share it.
    warm: Option<(u64, Box<dyn Execution>)>,
    /// What was tried, so that a later round does not try it again.
    tried: BTreeSet<String>,
    runs: u64,
    ending: Ending,
}

impl Search<'_> {
    /// Tries every step once. True if something became simpler and there is budget for more.
    fn round(&mut self) -> bool {
        let mut better = self.plain_triggers();
        better |= self.fewer_faults();
        better |= self.shorter_run();
        better |= self.smaller_cluster();
        better |= self.each_fault(weaken::shorter);
        better |= self.each_fault(weaken::weaker);
        let warmup = self.best.case.scenario.warmup;
        better |= self.repeat(|best| weaken::simpler_times(&best.schedule, warmup));
        better = better || self.few_faults_with_luck();
        better && self.ending == Ending::Fixpoint
    }

    fn plain_triggers(&mut self) -> bool {
        self.repeat(|best| weaken::plain_triggers(&best.schedule, &best.delivered))
    }

    fn fewer_faults(&mut self) -> bool {
        let schedule = self.best.schedule.clone();
        let positions: Vec<usize> = (0..schedule.0.len()).collect();
        let kept = ddmin(&positions, &mut |part| {
            let part = weaken::keep(&schedule, part);
            self.try_seeds(&part)
        });
        kept.len() < positions.len()
    }

    /// Tries a few of the faults, chosen anew each time, each time under another seed.
    fn few_faults_with_luck(&mut self) -> bool {
        let (seed, schedule) = (self.best.seed, self.best.schedule.clone());
        let mut positions: Vec<usize> = (0..schedule.0.len()).collect();
        if positions.len() <= FEW_FAULTS {
            return false;
        }
        let mut choice = seed.stream("shrink by luck", 0);
        (1..=LUCKY_SEEDS).any(|other| {
            choice.shuffle(&mut positions);
            let mut part = positions[..FEW_FAULTS].to_vec();
            part.sort_unstable();
            self.try_schedule(Seed(seed.0.wrapping_add(other)), &weaken::keep(&schedule, &part))
        })
    }

    fn each_fault(&mut self, simpler: impl Fn(&Schedule, usize) -> Vec<Schedule>) -> bool {
        let mut better = false;
        for position in 0..self.best.schedule.0.len() {
            better |= self.repeat(|best| simpler(&best.schedule, position));
        }
        better
    }

    /// Takes the first of these schedules that still fails, and asks again, until none does.
    fn repeat(&mut self, simpler: impl Fn(&Failure) -> Vec<Schedule>) -> bool {
        let mut better = false;
        while simpler(&self.best).iter().any(|schedule| self.try_schedule(self.best.seed, schedule)) {
            better = true;
        }
        better
    }

    /// Ends the run as soon after the last fault as it still fails, to the second. A cluster that has to come back keeps
    /// the time that it had for it.
    fn shorter_run(&mut self) -> bool {
        let second = SimDuration::from_secs(1).as_nanos();
        let whole = |length: SimDuration| length.as_nanos().div_ceil(second);
        let (last_begin, last_end) = last_fault(&self.best);
        let floor = if self.best.finding.is_about_recovery() {
            last_end + self.rest
        } else {
            last_begin + SHORTEST_REST
        };
        let no_recovery = !self.best.finding.is_about_recovery();
        let before = self.best.case.scenario.horizon;
        let (mut low, mut high) = (whole(floor.max(self.best.case.scenario.warmup)) + 1, whole(before));
        while low < high {
            let middle = u64::midpoint(low, high);
            let horizon = Some(SimDuration::from_secs(middle));
            if self.try_reduction(Reduction { horizon, no_recovery, ..self.reduction.clone() }, 0) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.best.case.scenario.horizon < before
    }

    fn smaller_cluster(&mut self) -> bool {
        let scenario = &self.best.case.scenario;
        let (members, etcd, workload) = (scenario.cluster.members, scenario.cluster.etcd, scenario.workload);
        let base = Reduction::default;
        let mut smaller = Vec::new();
        if workload.readers > 0 {
            smaller.push(vec![Reduction { no_readers: true, ..base() }]);
        }
        if workload.local_writers {
            smaller.push(vec![Reduction { no_local_writers: true, ..base() }]);
        }
        let counts = |from: u8, below: u8, step: usize| (from..below).step_by(step);
        smaller
            .push(counts(1, members, 1).map(|count| Reduction { members: Some(count), ..base() }).collect());
        let etcd = etcd.unwrap_or(0);
        smaller.push(counts(1, etcd, 2).map(|count| Reduction { etcd: Some(count), ..base() }).collect());
        let writers =
            [1, workload.writers / 2].into_iter().filter(|count| (1..workload.writers).contains(count));
        smaller.push(writers.map(|count| Reduction { writers: Some(count), ..base() }).collect());
        let mut better = false;
        for alternatives in smaller {
            for reduction in alternatives {
                let reduction = self.reduction.and(&reduction);
                if self.try_reduction(reduction, OTHER_SEEDS) {
                    better = true;
                    break;
                }
            }
        }
        better
    }

    fn try_seeds(&mut self, schedule: &Schedule) -> bool {
        let seed = self.best.seed.0;
        (0..=OTHER_SEEDS).any(|other| self.try_schedule(Seed(seed.wrapping_add(other)), schedule))
    }

    /// Runs a schedule on the present system. True if it fails as it should; then it is the best.
    fn try_schedule(&mut self, seed: Seed, schedule: &Schedule) -> bool {
        let reduction = self.reduction.clone();
        if !self.is_new(seed, schedule, &reduction) || self.system.check(schedule).is_err() {
            return false;
        }
        let block = self.system.block(seed);
        if self.warm.as_ref().is_none_or(|(warm, _)| *warm != block) {
            if !self.take_run() {
                return false;
            }
            self.warm = self.system.warm_up(seed).map(|warm| (block, warm));
        }
        if !self.take_run() {
            return false;
        }
        let result = match &self.warm {
            Some((_, warm)) => warm.branch(seed, schedule).finish(),
            None => self.system.run(seed, schedule, LogLevel::Off),
        };
        let outcome = judge_run(&self.best.case, &*self.system, seed, &result);
        if !self.is_same(&outcome, &result) || !self.take_run() {
            return false;
        }
        let case = self.best.case.clone();
        self.accept(&case, None, seed, schedule)
    }

    fn try_reduction(&mut self, reduction: Reduction, other_seeds: u64) -> bool {
        let schedule = self.best.schedule.clone();
        let Some(case) = reduced(&self.original, &reduction, &schedule) else { return false };
        let Ok(system) = build(self.families, &case) else { return false };
        if system.check(&schedule).is_err() {
            return false;
        }
        let first = self.best.seed.0;
        for other in 0..=other_seeds {
            let seed = Seed(first.wrapping_add(other));
            if !self.is_new(seed, &schedule, &reduction) || !self.take_run() {
                continue;
            }
            let (outcome, result) = run_schedule(&case, &*system, seed, &schedule, LogLevel::Off);
            if self.is_same(&outcome, &result) {
                self.reduction = reduction;
                self.system = system;
                self.warm = None;
                self.best =
                    Failure { case, seed, schedule, outcome, delivered: result.faults, ..self.best.clone() };
                return true;
            }
        }
        false
    }

    /// Runs from the start, and takes it as the best if it fails as it should.
    fn accept(
        &mut self,
        case: &Case,
        system: Option<Box<dyn Forkable>>,
        seed: Seed,
        schedule: &Schedule,
    ) -> bool {
        let running = system.as_deref().unwrap_or(&*self.system);
        let (outcome, result) = run_schedule(case, running, seed, schedule, LogLevel::Off);
        if !self.is_same(&outcome, &result) {
            return false;
        }
        self.best = Failure {
            case: case.clone(),
            seed,
            schedule: schedule.clone(),
            outcome,
            delivered: result.faults,
            finding: self.best.finding.clone(),
        };
        if let Some(system) = system {
            self.system = system;
            self.warm = None;
        }
        true
    }

    /// Writes the faults into the text of the scenario, which then says by itself what happens.
    fn write_out(&mut self) {
        let schedule = self.best.schedule.clone();
        let Some(case) = reduced(&self.original, &self.reduction, &schedule) else { return };
        if let Ok(system) = build(self.families, &case) {
            let seed = self.best.seed;
            self.accept(&case, Some(system), seed, &schedule);
        }
    }

    fn is_same(&self, outcome: &Outcome, result: &RunResult) -> bool {
        let recovered =
            self.best.finding.is_about_recovery() || !self.recovered || outcome.row.outage.is_some();
        Finding::of(outcome, result) == self.best.finding && recovered
    }

    fn is_new(&mut self, seed: Seed, schedule: &Schedule, reduction: &Reduction) -> bool {
        let schedule = serde_json::to_string(schedule).expect("a schedule has a form in JSON");
        self.tried.insert(format!("{seed} {reduction:?} {schedule}"))
    }

    /// True if there may be another run.
    fn take_run(&mut self) -> bool {
        if self.ending == Ending::Fixpoint {
            if self.runs >= self.limits.runs {
                self.ending = Ending::RunsSpent;
            } else if (self.limits.stop)() {
                self.ending = Ending::Stopped;
            } else {
                self.runs += 1;
            }
        }
        self.ending == Ending::Fixpoint
    }
}

/// When the last fault began and when it ended, as far as any fired.
fn last_fault(failure: &Failure) -> (SimDuration, SimDuration) {
    let mut last = (SimDuration::ZERO, SimDuration::ZERO);
    for fault in &failure.delivered {
        let begin = fault.at.since(SimTime::ZERO);
        let lasts = failure.schedule.0.get(fault.index).and_then(|fault| fault.lasts);
        last = (last.0.max(begin), last.1.max(begin + lasts.unwrap_or_default()));
    }
    last
}

/// How long the run goes on after its last fault.
fn rest(failure: &Failure) -> SimDuration {
    failure.case.scenario.horizon.saturating_sub(last_fault(failure).1)
}
