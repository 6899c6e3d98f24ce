//! Campaigns: many seeds of one case, in parallel, reduced in the order of the seeds.
//!
//! A run is a pure function of its seed, results are collected by position, and everything that is computed from them
//! is computed after the last one, in order. So what a campaign says does not depend on the number of threads. An
//! interrupted campaign is the exception: which seeds it got to depends on luck, and it says that it is incomplete.

mod finding;
mod judge;
mod report;
mod seeds;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use analysis::{RunRow, measure};
use rayon::prelude::*;
use sim_core::{DeliveredFault, Schedule, Seed, SimTime};

pub use finding::Finding;
pub(crate) use judge::seconds;
pub use judge::{Judgement, Verdict, judge};
pub use report::{Report, ScenarioVerdict};
pub use seeds::SeedRange;

use crate::case::Case;
use crate::family::{LogLevel, RunResult, System};

/// What a campaign keeps of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The numbers.
    pub row: RunRow,
    /// The verdict.
    pub judgement: Judgement,
    /// How many faults hit nobody.
    pub missed_faults: u32,
}

/// The runs of a campaign in the order of their seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// One for each seed that was run.
    pub outcomes: Vec<Outcome>,
    /// The seeds that were asked for.
    pub seeds: SeedRange,
}

impl Runs {
    /// True if every seed was run.
    pub fn is_complete(&self) -> bool {
        self.outcomes.len() as u64 == self.seeds.len()
    }
}

/// Runs every seed of the range on the threads of the current rayon pool, until `stop` is set. `done` hears of each
/// finished run, in any order.
pub fn run_seeds(
    case: &Case,
    system: &dyn System,
    seeds: SeedRange,
    stop: &AtomicBool,
    done: &(dyn Fn(&Outcome) + Sync),
) -> Runs {
    let outcomes: Vec<Option<Outcome>> = seeds
        .to_vec()
        .into_par_iter()
        .with_max_len(16)
        .map(|seed| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let outcome = run_seed(case, system, seed);
            done(&outcome);
            Some(outcome)
        })
        .collect();
    Runs { outcomes: outcomes.into_iter().flatten().collect(), seeds }
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
    let measures = measure(&result.record, &result.surviving, &options);
    let judgement = judge(&case.scenario.promises, &result.record, &measures);
    let row =
        RunRow::new(case.scenario.name.as_str(), seed, judgement.verdict.name(), &result.record, &measures);
    let missed_faults = result.faults.iter().filter(|fault| fault.processes.is_empty()).count() as u32;
    Outcome { row, judgement, missed_faults }
}

/// The fault from which a failover is timed: the first that hit somebody and is more than a slow link, which scenarios
/// use to set the stage. None leaves it to the measures.
fn timed_fault(faults: &[DeliveredFault]) -> Option<SimTime> {
    faults.iter().find(|fault| fault.kind != "degrade" && !fault.processes.is_empty()).map(|fault| fault.at)
}
