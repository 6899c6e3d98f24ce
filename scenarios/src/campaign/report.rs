//! What a campaign says about one scenario.

use analysis::ScenarioSummary;
use serde::{Serialize, Serializer};
use sim_core::{Seed, SimDuration};

use super::{Outcome, Runs, Verdict};
use crate::VERSION;
use crate::exit::Exit;
use crate::scenario::{Promise, Scenario};

/// The verdict over all runs of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioVerdict {
    /// Every promise was kept in every run, and every demanded finding was made.
    Kept,
    /// Some run broke a promise.
    Violated,
    /// The campaign is complete and a demanded finding was not made.
    NotFound,
    /// Nothing is known to be broken, and not all was judged.
    Undecided,
}

impl ScenarioVerdict {
    /// The name in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Violated => "violated",
            Self::NotFound => "not-found",
            Self::Undecided => "undecided",
        }
    }

    /// How a command ends that found this.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Kept => Exit::Kept,
            Self::Violated | Self::NotFound => Exit::Violated,
            Self::Undecided => Exit::Undecided,
        }
    }
}

/// A campaign over one scenario, summed up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: ScenarioVerdict,
    /// What was promised.
    pub promises: Vec<Promise>,
    /// The seeds that were asked for.
    #[serde(serialize_with = "as_text")]
    pub seeds: super::SeedRange,
    /// False if the campaign was interrupted.
    pub complete: bool,
    /// Promises about the campaign that it did not make true.
    pub not_found: Vec<Promise>,
    /// The seeds whose run broke a promise.
    pub failed_seeds: Vec<Seed>,
    /// Runs in which some fault hit nobody.
    pub runs_with_missed_faults: u64,
    /// The numbers; none if no run was finished.
    pub summary: Option<ScenarioSummary>,
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

impl Report {
    /// Sums up the runs of a scenario.
    pub fn new(scenario: &Scenario, runs: &Runs) -> Self {
        let outcomes = &runs.outcomes;
        let rows: Vec<_> = outcomes.iter().map(|outcome| outcome.row.clone()).collect();
        let failed = |outcome: &&Outcome| outcome.judgement.verdict.exit() == Exit::Violated;
        let failed_seeds: Vec<Seed> =
            outcomes.iter().filter(failed).map(|outcome| outcome.row.seed).collect();
        let not_found: Vec<Promise> = scenario
            .promises
            .iter()
            .copied()
            .filter(|promise| match promise {
                Promise::LossIsFound => rows.iter().all(|row| row.lost == 0),
                Promise::OverlapIsFound => rows.iter().all(|row| row.overlap == SimDuration::ZERO),
                _ => false,
            })
            .collect();
        let complete = runs.is_complete();
        let undecided = |outcome: &Outcome| outcome.judgement.verdict == Verdict::Undecided;
        let verdict = if !failed_seeds.is_empty() {
            ScenarioVerdict::Violated
        } else if !complete || outcomes.iter().any(undecided) {
            ScenarioVerdict::Undecided
        } else if !not_found.is_empty() {
            ScenarioVerdict::NotFound
        } else {
            ScenarioVerdict::Kept
        };
        Self {
            verdict,
            promises: scenario.promises.clone(),
            seeds: runs.seeds,
            complete,
            not_found,
            failed_seeds,
            runs_with_missed_faults: outcomes.iter().filter(|outcome| outcome.missed_faults > 0).count()
                as u64,
            summary: ScenarioSummary::new(&rows, VERSION).ok(),
        }
    }
}
