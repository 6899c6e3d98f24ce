//! Campaigns: many seeds of one case, in parallel, reduced in the order of the seeds.
//!
//! A run is a pure function of its seed, and what is computed from the runs is computed in the order of the seeds. So what
//! a campaign says does not depend on the number of threads, and a campaign that was killed and goes on from its
//! [`Journal`] says the same as one that was not. An interrupted campaign, and one whose time was spent, are the
//! exception: how many seeds they got to depends on luck, and they say so.
//!
//! Seeds are run in windows: `WINDOW` of them at a time are spread over the threads, and what they leave is handed on
//! in order before the next window begins. So the memory of a campaign does not hold its runs.
//!
//! A share of the seeds is run twice ([`Campaign::recheck`]): determinism is not believed but watched.

mod coverage;
mod finding;
mod journal;
mod judge;
mod recheck;
mod report;
mod seeds;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use analysis::{RunRow, Successes, measure_with_successes};
use rayon::prelude::*;
use sim_core::{DeliveredFault, Schedule, Seed, SimTime};

pub use coverage::{Coverage, FaultCell, PromisedCell, phases};
pub use finding::Finding;
pub use journal::{Identity, Journal};
pub(crate) use judge::seconds;
pub use judge::{Judgement, Verdict, judge};
pub use recheck::{Difference, Recheck, first_difference, repeats};
pub use report::{MOST_FAILURES, Report, ReportBuilder, ScenarioVerdict, Summed};
pub use seeds::SeedRange;
pub use stop::{Stop, StopReason, TimeBudget};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::Execution;
use crate::family::{LogLevel, RunResult, System};

/// How many seeds are under way or wait for their turn at a time. Small enough for memory, and so large that threads
/// seldom wait for the last run of a window.
const WINDOW: u64 = 1_024;

/// What a campaign learns from a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The numbers.
    pub row: RunRow,
    /// The verdict.
    pub judgement: Judgement,
    /// How many faults hit nobody.
    pub missed_faults: u32,
    /// What the other faults hit.
    pub cells: Vec<FaultCell>,
    /// Whether it was run twice.
    pub rechecked: bool,
}

/// The runs of a campaign in the order of their seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// One for each seed that was run.
    pub outcomes: Vec<Outcome>,
    /// The seeds that were asked for.
    pub seeds: SeedRange,
    /// Why not all of them were run.
    pub stopped: Option<StopReason>,
}

/// A campaign over one case.
#[derive(Clone, Copy)]
pub struct Campaign<'a> {
    /// The case.
    pub case: &'a Case,
    /// The system that was built from it.
    pub system: &'a dyn System,
    /// The seeds.
    pub seeds: SeedRange,
    /// Which of them are run twice, if any.
    pub recheck: Option<Recheck<'a>>,
}

impl std::fmt::Debug for Campaign<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Campaign")
            .field("scenario", &self.case.scenario.name)
            .field("seeds", &self.seeds)
            .field("recheck", &self.recheck)
            .finish_non_exhaustive()
    }
}

impl Campaign<'_> {
    /// Runs the seeds on the threads of the current rayon pool until `stop` says so, except those that the journal has.
    /// `done` hears of each finished run, in any order; `take` gets them in the order of their seeds.
    ///
    /// # Errors
    /// The journal cannot be read or written, or `take` refuses.
    pub fn run(
        &self,
        stop: &Stop<'_>,
        mut journal: Option<&mut Journal>,
        done: &(dyn Fn(&Outcome) + Sync),
        take: &mut (dyn FnMut(Outcome) -> Result<(), UserError> + Send),
    ) -> Result<Option<StopReason>, UserError> {
        let name = &self.case.scenario.name;
        for window in self.seeds.windows(WINDOW) {
            let mut known = match &mut journal {
                Some(journal) => journal.finished(name, window)?,
                None => BTreeMap::new(),
            };
            let missing: Vec<Seed> =
                window.to_vec().into_iter().filter(|seed| !known.contains_key(seed)).collect();
            known.values().for_each(done);
            let journal = journal.as_deref();
            let run = |seed: Seed, warm: Option<&dyn Execution>| {
                if stop.reason().is_some() {
                    return Ok(None);
                }
                let outcome = self.run_seed(seed, warm);
                if let Some(journal) = journal {
                    journal.append(&outcome)?;
                }
                done(&outcome);
                Ok(Some(outcome))
            };
            let run_block = |seeds: &[Seed]| -> Result<Vec<Option<Outcome>>, UserError> {
                let warm = (seeds.len() > 1).then(|| self.system.warm_up(seeds[0])).flatten();
                seeds.iter().map(|seed| run(*seed, warm.as_deref())).collect()
            };
            let alike = |one: &Seed, other: &Seed| self.system.block(*one) == self.system.block(*other);
            let blocks: Vec<&[Seed]> = missing.chunk_by(alike).collect();
            let found: Vec<Vec<Option<Outcome>>> =
                blocks.into_par_iter().with_max_len(1).map(run_block).collect::<Result<_, UserError>>()?;
            let whole = found.iter().flatten().all(Option::is_some);
            known.extend(found.into_iter().flatten().flatten().map(|outcome| (outcome.row.seed, outcome)));
            known.into_values().try_for_each(&mut *take)?;
            if !whole {
                // A deadline does not move and a flag stays set, so the reason is still there.
                return Ok(Some(stop.reason().unwrap_or(StopReason::Interrupt)));
            }
        }
        Ok(None)
    }

    /// One run, from the end of its warm-up if that is there, and for some seeds the same run again from its start.
    fn run_seed(&self, seed: Seed, warm: Option<&dyn Execution>) -> Outcome {
        let schedule = self.case.scenario.schedule(seed);
        let result = match warm {
            Some(warm) => warm.branch(seed, &schedule).finish(),
            None => self.system.run(seed, &schedule, LogLevel::Off),
        };
        let mut outcome = judge_run(self.case, self.system, seed, &result);
        if let Some(recheck) = self.recheck.filter(|recheck| recheck.is_chosen(seed)) {
            outcome.rechecked = true;
            if let Err(evidence) = repeats(recheck.system, seed, &schedule, &result) {
                outcome.judgement = Judgement { verdict: Verdict::NotRepeated, evidence };
                Verdict::NotRepeated.name().clone_into(&mut outcome.row.verdict);
            }
        }
        outcome
    }
}

/// Runs every seed of the range on the threads of the current rayon pool, until `stop` is set, and keeps them all: for
/// a few hundred. `done` hears of each finished run, in any order.
///
/// # Panics
/// Never: without a journal there is nothing that could be refused.
pub fn run_seeds(
    case: &Case,
    system: &dyn System,
    seeds: SeedRange,
    stop: &AtomicBool,
    done: &(dyn Fn(&Outcome) + Sync),
) -> Runs {
    let campaign = Campaign { case, system, seeds, recheck: None };
    let mut outcomes = Vec::new();
    let mut keep = |outcome| {
        outcomes.push(outcome);
        Ok(())
    };
    let stopped = campaign.run(&Stop::on(stop), None, done, &mut keep).expect("nothing here can fail");
    Runs { outcomes, seeds, stopped }
}

/// Runs one seed with the schedule that it draws, without a log.
pub fn run_seed(case: &Case, system: &dyn System, seed: Seed) -> Outcome {
    let schedule = case.scenario.schedule(seed);
    run_schedule(case, system, seed, &schedule, LogLevel::Off).0
}

/// Runs one seed under a given schedule.
pub fn run_schedule(
    case: &Case,
    system: &dyn System,
    seed: Seed,
    schedule: &Schedule,
    log: LogLevel,
) -> (Outcome, RunResult) {
    let result = system.run(seed, schedule, log);
    (judge_run(case, system, seed, &result), result)
}

/// Measures and judges what a run left.
pub fn judge_run(case: &Case, system: &dyn System, seed: Seed, result: &RunResult) -> Outcome {
    let mut options = system.measure_options();
    options.fault = options.fault.or_else(|| timed_fault(&result.faults));
    let successes = Successes::of(&result.record, &options);
    let measures = measure_with_successes(&result.record, &result.surviving, &successes, &options);
    let judgement = judge(&case.scenario.promises, &result.record, &measures);
    let row =
        RunRow::new(case.scenario.name.as_str(), seed, judgement.verdict.name(), &result.record, &measures);
    let missed_faults = result.faults.iter().filter(|fault| fault.processes.is_empty()).count() as u32;
    let cells = coverage::cells(result, &successes, &options);
    Outcome { row, judgement, missed_faults, cells, rechecked: false }
}

/// The fault from which a failover is timed: the first that hit somebody and is more than a slow link, which scenarios
/// use to set the stage. None leaves it to the measures.
fn timed_fault(faults: &[DeliveredFault]) -> Option<SimTime> {
    faults.iter().find(|fault| fault.kind != "degrade" && !fault.processes.is_empty()).map(|fault| fault.at)
}
