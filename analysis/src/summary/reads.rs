//! What readers were told, over all runs of a scenario.

use serde::Serialize;
use sim_core::Seed;

use super::zero_upper;
use crate::stats::{ProportionInterval, clopper_pearson};
use crate::table::RunRow;

/// What readers were told, over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReadSummary {
    /// Reads that were answered and tell what they saw.
    pub read_total: u64,
    /// Of these, reads of a key that was not there.
    pub empty_total: u64,
    /// Reads that lack a write acknowledged before they were asked.
    pub stale_total: u64,
    /// Runs with such a read.
    pub stale_run_count: u64,
    /// Exact 95 % interval (Clopper-Pearson) of the probability that a run has one.
    pub stale_run_probability: ProportionInterval,
    /// When no run did: the one-sided 95 % upper bound of that probability; null otherwise.
    #[serde(serialize_with = "crate::stats::share_or_null")]
    pub zero_events_upper: Option<f64>,
    /// The most of them in one run.
    pub stale_max: u64,
    /// The lowest seed among the runs with the most, to look at; null when no read was stale.
    pub worst_seed: Option<Seed>,
}

/// Sums of reads.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadSums {
    read_total: u64,
    empty_total: u64,
    stale_total: u64,
    stale_run_count: u64,
    stale_max: u64,
    worst_seed: Option<Seed>,
}

impl ReadSums {
    pub(super) fn add(&mut self, row: &RunRow) {
        self.read_total += row.reads;
        self.empty_total += row.empty_reads;
        self.stale_total += row.stale_reads;
        self.stale_run_count += u64::from(row.stale_reads > 0);
        if row.stale_reads > self.stale_max {
            (self.stale_max, self.worst_seed) = (row.stale_reads, Some(row.seed));
        }
    }

    pub(super) const fn stale_run_count(&self) -> u64 {
        self.stale_run_count
    }

    /// None if no read told what it saw.
    pub(super) fn summary(self, runs: u64) -> Option<ReadSummary> {
        (self.read_total > 0).then(|| ReadSummary {
            read_total: self.read_total,
            empty_total: self.empty_total,
            stale_total: self.stale_total,
            stale_run_count: self.stale_run_count,
            stale_run_probability: clopper_pearson(self.stale_run_count, runs),
            zero_events_upper: zero_upper(self.stale_run_count, runs),
            stale_max: self.stale_max,
            worst_seed: self.worst_seed,
        })
    }
}
