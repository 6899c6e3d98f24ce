//! One scenario's runs in numbers that carry their sample size, their intervals, their seeds and the version.
//!
//! A summary is a function of the set of rows: they are put in order of their seeds first, sums are integers, and
//! quantiles come from sorted nanoseconds. So it has the same bytes for one thread or many.

mod reads;

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use sim_core::{Seed, SimDuration};

pub use self::reads::ReadSummary;
use self::reads::ReadSums;
use crate::seconds::number;
use crate::stats::{ProportionInterval, Quantile, QuantileLevel, Sample, clopper_pearson, zero_events_upper};
use crate::table::{RunRow, TableError};

/// The version of the JSON layout; grows when a field changes its meaning or goes away.
pub const SUMMARY_FORMAT_VERSION: u32 = 1;

/// What a campaign found out about one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioSummary {
    /// The layout of this document.
    pub format_version: u32,
    /// The version of hasim that ran the campaign.
    pub version: String,
    /// The scenario's name.
    pub scenario: String,
    /// The lowest seed.
    pub first_seed: Seed,
    /// The highest seed.
    pub last_seed: Seed,
    /// How many runs; fewer than the range of seeds when the campaign was cut short.
    pub run_count: u64,
    /// How many runs had each verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Runs that had not recovered at their end.
    pub unrecovered_count: u64,
    /// The worst run, to look at first: the most writes lost, then not recovered, then the longest outage, then the lowest
    /// seed.
    pub worst_seed: Seed,
    /// The longest outage of each run. Runs that did not recover count as "never".
    pub outage: TimeQuantiles,
    /// The gap between successful writes around the fault. Runs that did not recover count as "never".
    pub failover_gap: TimeQuantiles,
    /// Phase fault to suspected, of the runs in which it happened.
    pub detect: TimeQuantiles,
    /// Phase suspected to elected, of the runs in which it happened.
    pub elect: TimeQuantiles,
    /// Phase elected to writable, of the runs in which it happened.
    pub promote: TimeQuantiles,
    /// Phase writable to the first success of the new primary, of the runs in which it happened.
    pub reroute: TimeQuantiles,
    /// Acknowledged writes that were lost.
    pub loss: LossSummary,
    /// Times with two or more writable processes.
    pub overlap: OverlapSummary,
    /// What readers were told; null if none tells what it saw.
    pub reads: Option<ReadSummary>,
}

/// Quantiles of a time over runs, each with its 95 % interval.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct TimeQuantiles {
    /// Observations, censored ones included.
    pub count: u64,
    /// Of these, runs that never got there within their horizon.
    pub censored_count: u64,
    /// The first decile.
    pub p10: Quantile,
    /// The median.
    pub p50: Quantile,
    /// The last decile.
    pub p90: Quantile,
    /// The 99th percentile.
    pub p99: Quantile,
    /// The longest that ended; none without one.
    #[serde(rename = "max_s", serialize_with = "crate::seconds::number_or_null")]
    pub max: Option<SimDuration>,
}

impl TimeQuantiles {
    fn new(sample: &Sample) -> Self {
        Self {
            count: sample.len() as u64,
            censored_count: sample.censored_count() as u64,
            p10: sample.quantile(QuantileLevel::P10),
            p50: sample.quantile(QuantileLevel::P50),
            p90: sample.quantile(QuantileLevel::P90),
            p99: sample.quantile(QuantileLevel::P99),
            max: sample.finite().last().copied(),
        }
    }
}

/// Acknowledged writes lost over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossSummary {
    /// Runs that lost at least one acknowledged write.
    pub run_count: u64,
    /// Exact 95 % interval (Clopper-Pearson) of the probability that a run does.
    pub run_probability: ProportionInterval,
    /// When no run did: the one-sided 95 % upper bound of that probability; null otherwise.
    #[serde(serialize_with = "crate::stats::share_or_null")]
    pub zero_events_upper: Option<f64>,
    /// Acknowledged writes, over all runs.
    pub acknowledged_total: u64,
    /// Lost ones, over all runs.
    pub lost_total: u64,
    /// The most that one run lost.
    pub lost_max: u64,
    /// The longest time from the oldest lost acknowledgement of a run to its newest.
    #[serde(rename = "lost_max_s", serialize_with = "number")]
    pub lost_span_max: SimDuration,
    /// The lowest seed among the runs that lost the most, to look at; null when nothing was lost.
    pub worst_seed: Option<Seed>,
    /// Writes answered with a warning and lost, over all runs.
    pub warned_lost_total: u64,
}

/// Times with two or more writable processes, over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OverlapSummary {
    /// Runs with such a time.
    pub run_count: u64,
    /// Exact 95 % interval (Clopper-Pearson) of the probability that a run has one.
    pub run_probability: ProportionInterval,
    /// When no run did: the one-sided 95 % upper bound of that probability; null otherwise.
    #[serde(serialize_with = "crate::stats::share_or_null")]
    pub zero_events_upper: Option<f64>,
    /// Its length, over all runs.
    #[serde(rename = "total_s", serialize_with = "number")]
    pub total: SimDuration,
    /// The longest in one run.
    #[serde(rename = "max_s", serialize_with = "number")]
    pub max: SimDuration,
    /// Writes acknowledged in such times, over all runs.
    pub write_total: u64,
}

/// Why rows cannot be summed up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SummaryError {
    /// There is nothing to sum up.
    #[error("no run to sum up: the campaign finished none, give it more time or more seeds")]
    Empty,
    /// The rows belong to several scenarios.
    #[error("runs of `{first}` and of `{second}` in one summary: sum up each scenario by itself")]
    Mixed {
        /// One scenario.
        first: String,
        /// Another one.
        second: String,
    },
    /// A seed occurs twice, which would count one observation twice.
    #[error("seed {seed} occurs twice: an overlap of two shards? give each run once")]
    Repeated {
        /// The seed.
        seed: Seed,
    },
    /// A builder was given rows out of order.
    #[error("seed {seed} came after seed {last}: add runs in the order of their seeds")]
    Disordered {
        /// The seed.
        seed: Seed,
        /// The one before.
        last: Seed,
    },
}

impl ScenarioSummary {
    /// Sums up the runs of one scenario, in any order. `version` is that of the hasim that ran them.
    pub fn new(rows: &[RunRow], version: impl Into<String>) -> Result<Self, SummaryError> {
        let mut rows: Vec<&RunRow> = rows.iter().collect();
        rows.sort_by_key(|row| row.seed);
        let mut sum = SummaryBuilder::default();
        for row in rows {
            sum.add(row)?;
        }
        sum.finish(version).map(|(summary, _)| summary)
    }
}

/// Sums up rows as they come, in the order of their seeds. It keeps six times of each run, of 8 bytes each (exact quantiles
/// need them all), and nothing else that grows with the number of runs.
#[derive(Clone, Debug, Default)]
pub struct SummaryBuilder {
    scenario: Option<String>,
    first_seed: Option<Seed>,
    last_seed: Option<Seed>,
    run_count: u64,
    verdicts: BTreeMap<String, u64>,
    unrecovered_count: u64,
    worst: Option<(Badness, Seed)>,
    outage: Observations,
    failover_gap: Observations,
    detect: Observations,
    elect: Observations,
    promote: Observations,
    reroute: Observations,
    loss: LossSums,
    overlap: OverlapSums,
    reads: ReadSums,
}

/// Larger is worse.
type Badness = (u64, SimDuration);

/// Times in the order of the runs.
#[derive(Clone, Debug, Default)]
struct Observations {
    finite: Vec<SimDuration>,
    censored: u64,
}

impl Observations {
    fn censored(&mut self, time: Option<SimDuration>) {
        match time {
            Some(time) => self.finite.push(time),
            None => self.censored += 1,
        }
    }

    fn happened(&mut self, time: Option<SimDuration>) {
        self.finite.extend(time);
    }

    fn sample(self) -> Sample {
        Sample::from_parts(self.finite, self.censored as usize)
    }
}

#[derive(Clone, Debug, Default)]
struct LossSums {
    run_count: u64,
    acknowledged_total: u64,
    lost_total: u64,
    lost_max: u64,
    lost_span_max: SimDuration,
    worst_seed: Option<Seed>,
    warned_lost_total: u64,
}

#[derive(Clone, Debug, Default)]
struct OverlapSums {
    run_count: u64,
    total: SimDuration,
    max: SimDuration,
    write_total: u64,
}

impl SummaryBuilder {
    /// Adds a run.
    ///
    /// # Errors
    /// It belongs to another scenario than the runs before, or does not come after them in the order of seeds.
    pub fn add(&mut self, row: &RunRow) -> Result<(), SummaryError> {
        let scenario = self.scenario.get_or_insert_with(|| row.scenario.clone());
        if *scenario != row.scenario {
            return Err(SummaryError::Mixed { first: scenario.clone(), second: row.scenario.clone() });
        }
        match self.last_seed {
            Some(last) if last == row.seed => return Err(SummaryError::Repeated { seed: row.seed }),
            Some(last) if last > row.seed => return Err(SummaryError::Disordered { seed: row.seed, last }),
            _ => {}
        }
        self.first_seed.get_or_insert(row.seed);
        self.last_seed = Some(row.seed);
        self.run_count += 1;
        match self.verdicts.get_mut(&row.verdict) {
            Some(count) => *count += 1,
            None => drop(self.verdicts.insert(row.verdict.clone(), 1)),
        }
        self.unrecovered_count += u64::from(!row.recovered);
        let badness = (row.lost, row.outage.unwrap_or(SimDuration::MAX));
        if self.worst.is_none_or(|(worst, _)| badness > worst) {
            self.worst = Some((badness, row.seed));
        }
        self.outage.censored(row.outage);
        if !row.recovered || row.failover_gap.is_some() {
            self.failover_gap.censored(row.failover_gap);
        }
        self.detect.happened(row.detect);
        self.elect.happened(row.elect);
        self.promote.happened(row.promote);
        self.reroute.happened(row.reroute);
        self.loss.add(row);
        self.overlap.add(row);
        self.reads.add(row);
        Ok(())
    }

    /// How many runs were added.
    pub fn run_count(&self) -> u64 {
        self.run_count
    }

    /// How many of them lost an acknowledged write.
    pub fn runs_with_loss(&self) -> u64 {
        self.loss.run_count
    }

    /// In how many of them two or more processes accepted writes at one instant.
    pub fn runs_with_overlap(&self) -> u64 {
        self.overlap.run_count
    }

    /// In how many of them a read was stale.
    pub fn runs_with_stale_read(&self) -> u64 {
        self.reads.stale_run_count()
    }

    /// The summary, and all outages for a figure. `version` is that of the hasim that ran them.
    ///
    /// # Errors
    /// No run was added.
    pub fn finish(self, version: impl Into<String>) -> Result<(ScenarioSummary, Sample), SummaryError> {
        let (Some(scenario), Some(first_seed), Some(last_seed), Some((_, worst_seed))) =
            (self.scenario, self.first_seed, self.last_seed, self.worst)
        else {
            return Err(SummaryError::Empty);
        };
        let outage = self.outage.sample();
        let quantiles = |times: Observations| TimeQuantiles::new(&times.sample());
        let summary = ScenarioSummary {
            format_version: SUMMARY_FORMAT_VERSION,
            version: version.into(),
            scenario,
            first_seed,
            last_seed,
            run_count: self.run_count,
            verdicts: self.verdicts,
            unrecovered_count: self.unrecovered_count,
            worst_seed,
            outage: TimeQuantiles::new(&outage),
            failover_gap: quantiles(self.failover_gap),
            detect: quantiles(self.detect),
            elect: quantiles(self.elect),
            promote: quantiles(self.promote),
            reroute: quantiles(self.reroute),
            loss: self.loss.summary(self.run_count),
            overlap: self.overlap.summary(self.run_count),
            reads: self.reads.summary(self.run_count),
        };
        Ok((summary, outage))
    }
}

impl ScenarioSummary {
    /// Writes the summary as indented JSON with a line end. Times are numbers of seconds, "never" is null.
    pub fn write_json(&self, mut output: impl Write) -> Result<(), TableError> {
        serde_json::to_writer_pretty(&mut output, self)?;
        output.write_all(b"\n")?;
        Ok(())
    }
}

fn zero_upper(events: u64, runs: u64) -> Option<f64> {
    (events == 0).then(|| zero_events_upper(runs))
}

impl LossSums {
    fn add(&mut self, row: &RunRow) {
        self.run_count += u64::from(row.lost > 0);
        self.acknowledged_total += row.acknowledged;
        self.lost_total += row.lost;
        if row.lost > self.lost_max {
            (self.lost_max, self.worst_seed) = (row.lost, Some(row.seed));
        }
        self.lost_span_max = self.lost_span_max.max(row.lost_span.unwrap_or_default());
        self.warned_lost_total += row.warned_lost;
    }

    fn summary(self, runs: u64) -> LossSummary {
        LossSummary {
            run_count: self.run_count,
            run_probability: clopper_pearson(self.run_count, runs),
            zero_events_upper: zero_upper(self.run_count, runs),
            acknowledged_total: self.acknowledged_total,
            lost_total: self.lost_total,
            lost_max: self.lost_max,
            lost_span_max: self.lost_span_max,
            worst_seed: self.worst_seed,
            warned_lost_total: self.warned_lost_total,
        }
    }
}

impl OverlapSums {
    fn add(&mut self, row: &RunRow) {
        self.run_count += u64::from(row.overlap > SimDuration::ZERO);
        self.total += row.overlap;
        self.max = self.max.max(row.overlap);
        self.write_total += row.overlap_writes;
    }

    fn summary(self, runs: u64) -> OverlapSummary {
        OverlapSummary {
            run_count: self.run_count,
            run_probability: clopper_pearson(self.run_count, runs),
            zero_events_upper: zero_upper(self.run_count, runs),
            total: self.total,
            max: self.max,
            write_total: self.write_total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::row;

    #[test]
    fn censored_runs_push_the_quantiles_up_and_stay_in_the_count() {
        let rows: Vec<RunRow> =
            (0..10).map(|seed| row(seed, (seed < 8).then_some(1_000 * (seed + 1)))).collect();
        let summary = ScenarioSummary::new(&rows, "0.1.0").unwrap();
        assert_eq!(
            (summary.outage.count, summary.outage.censored_count, summary.unrecovered_count),
            (10, 2, 2)
        );
        assert_eq!(summary.outage.p50.value, Some(SimDuration::from_millis(5_500)));
        assert_eq!(summary.outage.p90.value, None);
        assert_eq!(summary.outage.max, Some(SimDuration::from_secs(8)));
        assert_eq!((summary.detect.count, summary.elect.count), (8, 0));
        assert_eq!(summary.loss.run_count, 0);
        assert!((summary.loss.zero_events_upper.unwrap() - 0.258_866).abs() < 1e-4);
    }

    #[test]
    fn losses_and_overlaps_add_up_and_name_the_worst_seed() {
        let mut rows: Vec<RunRow> = (0..4).map(|seed| row(seed, Some(1_000))).collect();
        for (index, lost) in [(1, 5), (2, 9), (3, 9)] {
            rows[index].lost = lost;
            rows[index].lost_span = Some(SimDuration::from_millis(lost * 10));
        }
        rows[3].overlap = SimDuration::from_secs(2);
        rows[3].verdict = "acked-write-lost".to_owned();
        let summary = ScenarioSummary::new(&rows, "0.1.0").unwrap();
        assert_eq!((summary.loss.run_count, summary.loss.lost_total, summary.loss.lost_max), (3, 23, 9));
        assert_eq!((summary.loss.worst_seed, summary.worst_seed), (Some(Seed(2)), Seed(2)));
        assert_eq!(
            (summary.loss.zero_events_upper, summary.loss.lost_span_max),
            (None, SimDuration::from_millis(90))
        );
        assert_eq!((summary.overlap.run_count, summary.overlap.max), (1, SimDuration::from_secs(2)));
        assert_eq!(summary.verdicts.values().copied().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn the_order_of_the_rows_does_not_show() {
        let mut rows: Vec<RunRow> = (0..50).map(|seed| row(seed, Some(seed * 37 % 11 * 100))).collect();
        let json =
            |rows: &[RunRow]| serde_json::to_string(&ScenarioSummary::new(rows, "0.1.0").unwrap()).unwrap();
        let before = json(&rows);
        Seed(1).stream("order", 0).shuffle(&mut rows);
        assert_eq!(json(&rows), before);
        assert!(before.starts_with(r#"{"format_version":1,"version":"0.1.0","#), "{before}");
        assert!(before.contains(r#""first_seed":"0","last_seed":"49""#), "{before}");
    }

    #[test]
    fn rows_that_do_not_belong_together_are_refused_with_advice() {
        assert_eq!(ScenarioSummary::new(&[], "0.1.0"), Err(SummaryError::Empty));
        let repeated = ScenarioSummary::new(&[row(3, None), row(3, None)], "0.1.0");
        assert_eq!(repeated, Err(SummaryError::Repeated { seed: Seed(3) }));
        let mut other = row(4, None);
        other.scenario = "other".to_owned();
        assert!(matches!(
            ScenarioSummary::new(&[row(3, None), other], "0.1.0"),
            Err(SummaryError::Mixed { .. })
        ));
    }
}
