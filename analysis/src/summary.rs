//! One scenario's runs in numbers that carry their sample size, their intervals, their seeds and the version.
//!
//! A summary is a function of the set of rows: they are put in order of their seeds first, sums are integers, and
//! quantiles come from sorted nanoseconds. So it has the same bytes for one thread or many.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use sim_core::{Seed, SimDuration};

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
}

impl ScenarioSummary {
    /// Sums up the runs of one scenario, in any order. `version` is that of the hasim that ran them.
    pub fn new(rows: &[RunRow], version: impl Into<String>) -> Result<Self, SummaryError> {
        let mut rows: Vec<&RunRow> = rows.iter().collect();
        rows.sort_by_key(|row| row.seed);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Err(SummaryError::Empty);
        };
        if let Some(other) = rows.iter().find(|row| row.scenario != first.scenario) {
            return Err(SummaryError::Mixed {
                first: first.scenario.clone(),
                second: other.scenario.clone(),
            });
        }
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].seed == pair[1].seed) {
            return Err(SummaryError::Repeated { seed: pair[0].seed });
        }
        let mut verdicts = BTreeMap::new();
        for row in &rows {
            *verdicts.entry(row.verdict.clone()).or_insert(0) += 1;
        }
        let censored = |time: fn(&RunRow) -> Option<SimDuration>| {
            TimeQuantiles::new(&Sample::new(rows.iter().map(|row| time(row))))
        };
        let happened = |time: fn(&RunRow) -> Option<SimDuration>| {
            TimeQuantiles::new(&Sample::new(rows.iter().filter_map(|row| time(row)).map(Some)))
        };
        Ok(Self {
            format_version: SUMMARY_FORMAT_VERSION,
            version: version.into(),
            scenario: first.scenario.clone(),
            first_seed: first.seed,
            last_seed: last.seed,
            run_count: rows.len() as u64,
            verdicts,
            unrecovered_count: rows.iter().filter(|row| !row.recovered).count() as u64,
            worst_seed: rows.iter().max_by_key(|row| badness(row)).map_or(first.seed, |row| row.seed),
            outage: censored(|row| row.outage),
            failover_gap: TimeQuantiles::new(&Sample::new(
                rows.iter()
                    .filter(|row| !row.recovered || row.failover_gap.is_some())
                    .map(|row| row.failover_gap),
            )),
            detect: happened(|row| row.detect),
            elect: happened(|row| row.elect),
            promote: happened(|row| row.promote),
            reroute: happened(|row| row.reroute),
            loss: LossSummary::new(&rows),
            overlap: OverlapSummary::new(&rows),
        })
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

/// Larger is worse.
fn badness(row: &RunRow) -> impl Ord + use<> {
    (row.lost, row.outage.unwrap_or(SimDuration::MAX), std::cmp::Reverse(row.seed))
}

fn zero_upper(events: u64, runs: u64) -> Option<f64> {
    (events == 0).then(|| zero_events_upper(runs))
}

impl LossSummary {
    fn new(rows: &[&RunRow]) -> Self {
        let runs = rows.len() as u64;
        let run_count = rows.iter().filter(|row| row.lost > 0).count() as u64;
        let lost_max = rows.iter().map(|row| row.lost).max().unwrap_or(0);
        Self {
            run_count,
            run_probability: clopper_pearson(run_count, runs),
            zero_events_upper: zero_upper(run_count, runs),
            acknowledged_total: rows.iter().map(|row| row.acknowledged).sum(),
            lost_total: rows.iter().map(|row| row.lost).sum(),
            lost_max,
            lost_span_max: rows.iter().filter_map(|row| row.lost_span).max().unwrap_or_default(),
            worst_seed: rows.iter().find(|row| lost_max > 0 && row.lost == lost_max).map(|row| row.seed),
            warned_lost_total: rows.iter().map(|row| row.warned_lost).sum(),
        }
    }
}

impl OverlapSummary {
    fn new(rows: &[&RunRow]) -> Self {
        let runs = rows.len() as u64;
        let run_count = rows.iter().filter(|row| row.overlap > SimDuration::ZERO).count() as u64;
        Self {
            run_count,
            run_probability: clopper_pearson(run_count, runs),
            zero_events_upper: zero_upper(run_count, runs),
            total: rows.iter().map(|row| row.overlap).sum(),
            max: rows.iter().map(|row| row.overlap).max().unwrap_or_default(),
            write_total: rows.iter().map(|row| row.overlap_writes).sum(),
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
