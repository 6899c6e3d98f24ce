//! What a campaign says about one scenario.

use analysis::stats::Sample;
use analysis::{ScenarioSummary, SummaryBuilder};
use serde::{Serialize, Serializer};
use sim_core::{Seed, SimDuration};

use super::{Coverage, Outcome, PromisedCell, Runs, SeedRange, StopReason, Verdict};
use crate::VERSION;
use crate::exit::Exit;
use crate::scenario::{Promise, Scenario};

/// The most failures that a campaign keeps with their evidence: those of the lowest seeds.
pub const MOST_FAILURES: usize = 5;

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
    /// The campaign is complete, and no fault fell into a cell that the scenario promises to cover.
    NotCovered,
    /// Nothing is known to be broken, and not all was judged.
    Undecided,
    /// Some run was not the same when it was run again: nothing that was measured can be relied on.
    NotRepeated,
}

impl ScenarioVerdict {
    /// The name in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Violated => "violated",
            Self::NotFound => "not-found",
            Self::NotCovered => "not-covered",
            Self::Undecided => "undecided",
            Self::NotRepeated => "not-repeated",
        }
    }

    /// How a command ends that found this.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Kept => Exit::Kept,
            Self::Violated | Self::NotFound | Self::NotCovered => Exit::Violated,
            Self::Undecided => Exit::Undecided,
            Self::NotRepeated => Exit::Internal,
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
    pub seeds: SeedRange,
    /// False if not all of them were run.
    pub complete: bool,
    /// Why not. How many were run depends on luck then.
    pub stopped_by: Option<StopReason>,
    /// Promises about the campaign that it did not make true.
    pub not_found: Vec<Promise>,
    /// Cells of faults that were promised and that no run filled.
    pub not_covered: Vec<PromisedCell>,
    /// The seeds whose run broke a promise.
    pub failed_seeds: Vec<Seed>,
    /// The seeds whose run was not the same when it was run again.
    pub not_repeated_seeds: Vec<Seed>,
    /// How many runs were run twice and compared.
    pub rechecked_count: u64,
    /// Runs in which some fault hit nobody.
    pub runs_with_missed_faults: u64,
    /// What the faults hit: how many of each kind on each role in each phase.
    pub coverage: Coverage,
    /// The numbers; none if no run was finished.
    pub summary: Option<ScenarioSummary>,
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// Sums up runs as they come, in the order of their seeds, and forgets them.
#[derive(Clone, Debug)]
pub struct ReportBuilder<'a> {
    scenario: &'a Scenario,
    summary: SummaryBuilder,
    failed_seeds: Vec<Seed>,
    not_repeated_seeds: Vec<Seed>,
    undecided_count: u64,
    rechecked_count: u64,
    runs_with_missed_faults: u64,
    coverage: Coverage,
    failures: Vec<Outcome>,
    /// The longest outage of all runs; one that did not end is longer than any.
    longest_outage: SimDuration,
    /// The longest stretch of time from which acknowledged writes are missing, in any run.
    longest_lost_span: Option<SimDuration>,
    /// Runs in which two reads contradict each other.
    runs_with_long_fork: u64,
    runs_with_shared_epoch: u64,
    runs_with_divergence: u64,
}

/// What a [`ReportBuilder`] makes of its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Summed {
    /// The report.
    pub report: Report,
    /// The first [`MOST_FAILURES`] runs that were not kept.
    pub failures: Vec<Outcome>,
    /// How many runs were not kept in all.
    pub failure_count: u64,
    /// All outages, for a figure.
    pub outages: Sample,
}

impl<'a> ReportBuilder<'a> {
    /// Nothing was run yet.
    pub fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            summary: SummaryBuilder::default(),
            failed_seeds: Vec::new(),
            not_repeated_seeds: Vec::new(),
            undecided_count: 0,
            rechecked_count: 0,
            runs_with_missed_faults: 0,
            coverage: Coverage::default(),
            failures: Vec::new(),
            longest_outage: SimDuration::ZERO,
            longest_lost_span: None,
            runs_with_long_fork: 0,
            runs_with_shared_epoch: 0,
            runs_with_divergence: 0,
        }
    }

    /// Adds the run with the next seed.
    ///
    /// # Panics
    /// If it does not come after those before it.
    pub fn add(&mut self, outcome: &Outcome) {
        self.summary.add(&outcome.row).expect("runs come in the order of their seeds");
        let (seed, verdict) = (outcome.row.seed, outcome.judgement.verdict);
        match verdict {
            Verdict::Kept => {}
            Verdict::DivergenceFound => self.runs_with_divergence += 1,
            Verdict::Undecided => self.undecided_count += 1,
            Verdict::NotRepeated => self.not_repeated_seeds.push(seed),
            _ => self.failed_seeds.push(seed),
        }
        if verdict.exit() != Exit::Kept && self.failures.len() < MOST_FAILURES {
            self.failures.push(outcome.clone());
        }
        self.rechecked_count += u64::from(outcome.rechecked);
        self.runs_with_missed_faults += u64::from(outcome.missed_faults > 0);
        self.coverage.add(&outcome.cells);
        // A run that ended where its finding was made says nothing about what would have come.
        if verdict != Verdict::DivergenceFound {
            let outage = outcome.row.outage.unwrap_or(SimDuration::MAX);
            self.longest_outage = self.longest_outage.max(outage);
        }
        self.runs_with_long_fork += u64::from(outcome.row.long_forks > 0);
        self.runs_with_shared_epoch += u64::from(outcome.row.shared_epochs > 0);
        self.longest_lost_span = self.longest_lost_span.max(outcome.row.lost_span);
    }

    /// The report.
    pub fn finish(self, seeds: SeedRange, stopped_by: Option<StopReason>) -> Summed {
        let (runs_with_loss, runs_with_overlap) =
            (self.summary.runs_with_loss(), self.summary.runs_with_overlap());
        let runs_with_stale_read = self.summary.runs_with_stale_read();
        let unfound = |promise: &Promise| match promise {
            Promise::LossIsFound => runs_with_loss == 0,
            Promise::LossSpanIsFound(least) => self.longest_lost_span.is_none_or(|span| span < *least),
            Promise::LongForkIsFound => self.runs_with_long_fork == 0,
            Promise::StaleReadIsFound => runs_with_stale_read == 0,
            Promise::SharedEpochIsFound => self.runs_with_shared_epoch == 0,
            Promise::DivergenceIsFound => self.runs_with_divergence == 0,
            Promise::OverlapIsFound => runs_with_overlap == 0,
            Promise::OutageIsFound(least) => self.longest_outage < *least,
            _ => false,
        };
        let not_found: Vec<Promise> = self.scenario.promises.iter().copied().filter(unfound).collect();
        let promised = self.scenario.promised_cells.iter();
        let not_covered: Vec<PromisedCell> =
            promised.filter(|cell| !self.coverage.fills(cell)).cloned().collect();
        let failure_count =
            (self.failed_seeds.len() + self.not_repeated_seeds.len()) as u64 + self.undecided_count;
        let undecided = match stopped_by {
            None => self.undecided_count > 0,
            Some(StopReason::Interrupt) => true,
            // Who gives a campaign a time takes the seeds it gets to; but what was not found may be in the others.
            Some(StopReason::Budget) => {
                let nothing = self.summary.run_count() == 0;
                nothing || self.undecided_count > 0 || !not_found.is_empty() || !not_covered.is_empty()
            }
        };
        let verdict = if !self.not_repeated_seeds.is_empty() {
            ScenarioVerdict::NotRepeated
        } else if !self.failed_seeds.is_empty() {
            ScenarioVerdict::Violated
        } else if undecided {
            ScenarioVerdict::Undecided
        } else if !not_found.is_empty() {
            ScenarioVerdict::NotFound
        } else if !not_covered.is_empty() {
            ScenarioVerdict::NotCovered
        } else {
            ScenarioVerdict::Kept
        };
        let (summary, outages) = self.summary.finish(VERSION).ok().unzip();
        let report = Report {
            verdict,
            promises: self.scenario.promises.clone(),
            seeds,
            complete: stopped_by.is_none(),
            stopped_by,
            not_found,
            not_covered,
            failed_seeds: self.failed_seeds,
            not_repeated_seeds: self.not_repeated_seeds,
            rechecked_count: self.rechecked_count,
            runs_with_missed_faults: self.runs_with_missed_faults,
            coverage: self.coverage,
            summary,
        };
        Summed { report, failures: self.failures, failure_count, outages: outages.unwrap_or_default() }
    }
}

impl Report {
    /// Sums up the runs of a scenario.
    pub fn new(scenario: &Scenario, runs: &Runs) -> Self {
        let mut builder = ReportBuilder::new(scenario);
        runs.outcomes.iter().for_each(|outcome| builder.add(outcome));
        builder.finish(runs.seeds, runs.stopped).report
    }
}
