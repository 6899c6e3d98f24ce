//! The table of a campaign, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use analysis::stats::{ProportionInterval, Quantile};
use analysis::{ClusterPhase, ReadSummary, ScenarioSummary, TimeQuantiles};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use sim_core::SimDuration;

use crate::VERSION;
use crate::campaign::{self, Report, SeedRange};

/// Two tables, one line for each scenario in each. The captions say what every number rests on.
pub(super) fn table(reports: &[(&str, &Report)], seeds: SeedRange) -> String {
    let verdicts = aligned(
        &[
            "scenario",
            "verdict",
            "runs",
            "outage p50 (s)",
            "outage p90 (s)",
            "outage p99 (s)",
            "runs not recovered",
            "runs with loss",
            "most writes lost",
            "runs with two primaries",
        ],
        2,
        reports.iter().map(|(name, report)| row(name, report)),
    );
    let mut text = format!(
        "{verdicts}\nhasim {VERSION}, seeds {seeds}; outage: the longest of a run, p50 [95 % confidence interval]; \
         runs: count (exact 95 % interval of the share, or its 95 % upper bound if there was none)\n"
    );
    let rows: Vec<_> =
        reports.iter().filter_map(|(name, report)| phases(name, report.summary.as_ref()?)).collect();
    if !rows.is_empty() {
        let header = ["scenario", "detect (s)", "elect (s)", "promote (s)", "reroute (s)", "worst seed"];
        let _ = writeln!(
            text,
            "\n{}\nphases of the first failover: p50 / p90 (runs that had the phase); the worst seed lost the most \
             writes, or was out of service the longest: `hasim run SCENARIO --seed S` tells it",
            aligned(&header, 1, rows.into_iter())
        );
    }
    let rows: Vec<_> = reports
        .iter()
        .filter_map(|(name, report)| Some(reads(name, report.summary.as_ref()?.reads?)))
        .collect();
    if !rows.is_empty() {
        let header = [
            "scenario",
            "reads",
            "found nothing",
            "stale",
            "runs with stale reads",
            "most in a run",
            "worst seed",
        ];
        let _ = writeln!(
            text,
            "\n{}\nreads that tell what they saw, over all runs; stale: answered with less than what had been acknowledged before",
            aligned(&header, 1, rows.into_iter())
        );
    }
    text
}

/// One table for each scenario whose faults hit something: kinds and roles down, phases across.
pub(super) fn coverage(reports: &[(&str, &Report)]) -> String {
    let mut text = String::new();
    for (name, report) in reports {
        let phases = campaign::phases(&report.coverage);
        let mut rows: BTreeMap<(&str, &str), BTreeMap<ClusterPhase, u64>> = BTreeMap::new();
        for (cell, count) in report.coverage.iter() {
            rows.entry((&cell.fault, &cell.role)).or_default().insert(cell.phase, count);
        }
        if rows.is_empty() {
            let _ = writeln!(text, "\n{name}: no fault hit anything");
            continue;
        }
        let header: Vec<&str> = ["fault", "hit while it was"]
            .into_iter()
            .chain(phases.iter().map(|phase| phase.name()))
            .collect();
        let lines = rows.into_iter().map(|((fault, role), counts)| {
            let count = |phase| counts.get(phase).map_or("-".to_owned(), u64::to_string);
            [fault.to_owned(), role.to_owned()].into_iter().chain(phases.iter().map(count)).collect()
        });
        let _ = writeln!(
            text,
            "\n{}\n{name}: faults that took effect, by what the process that they hit played (a fault on a host counts \
             for each role there) and what the cluster was in the middle of",
            aligned(&header, 2, lines)
        );
    }
    text
}

/// Columns from `right_from` on hold numbers.
pub(super) fn aligned(header: &[&str], right_from: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .force_no_tty()
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(right_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // The style begins each line with the padding of the first cell.
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

fn phases(name: &str, summary: &ScenarioSummary) -> Option<Vec<String>> {
    let phase = |times: &TimeQuantiles| {
        let seconds = |quantile: &Quantile| {
            quantile.value.map_or("-".to_owned(), |length| format!("{:.2}", length.as_secs_f64()))
        };
        if times.count == 0 {
            "-".to_owned()
        } else {
            format!("{} / {} ({})", seconds(&times.p50), seconds(&times.p90), times.count)
        }
    };
    let times = [&summary.detect, &summary.elect, &summary.promote, &summary.reroute];
    if times.iter().all(|times| times.count == 0) {
        return None;
    }
    let mut row = vec![name.to_owned()];
    row.extend(times.map(phase));
    row.push(summary.worst_seed.to_string());
    Some(row)
}

fn reads(name: &str, reads: ReadSummary) -> Vec<String> {
    let ReadSummary { stale_run_probability: ProportionInterval { low, high }, .. } = reads;
    vec![
        name.to_owned(),
        reads.read_total.to_string(),
        reads.empty_total.to_string(),
        reads.stale_total.to_string(),
        share(reads.stale_run_count, low, high, reads.zero_events_upper),
        reads.stale_max.to_string(),
        reads.worst_seed.map_or("-".to_owned(), |seed| seed.to_string()),
    ]
}

fn row(name: &str, report: &Report) -> Vec<String> {
    let verdict = report.verdict.name().to_owned();
    let Some(summary) = &report.summary else {
        return vec![name.to_owned(), verdict, "0".to_owned()];
    };
    let TimeQuantiles { p50, p90, p99, .. } = &summary.outage;
    vec![
        name.to_owned(),
        verdict,
        summary.run_count.to_string(),
        quantile(p50),
        quantile(p90),
        quantile(p99),
        summary.unrecovered_count.to_string(),
        losses(summary),
        summary.loss.lost_max.to_string(),
        overlaps(summary),
    ]
}

fn quantile(quantile: &Quantile) -> String {
    let seconds = |length: SimDuration| format!("{:.1}", length.as_secs_f64());
    let bound = |length: Option<SimDuration>| length.map_or("-".to_owned(), seconds);
    format!(
        "{} [{}, {}]",
        quantile.value.map_or("never".to_owned(), seconds),
        bound(quantile.low),
        bound(quantile.high)
    )
}

fn losses(summary: &ScenarioSummary) -> String {
    let loss = &summary.loss;
    share(loss.run_count, loss.run_probability.low, loss.run_probability.high, loss.zero_events_upper)
}

fn overlaps(summary: &ScenarioSummary) -> String {
    let overlap = &summary.overlap;
    share(
        overlap.run_count,
        overlap.run_probability.low,
        overlap.run_probability.high,
        overlap.zero_events_upper,
    )
}

fn share(count: u64, low: f64, high: f64, upper: Option<f64>) -> String {
    let digits = decimals(upper.unwrap_or(high) * 100.0);
    match upper {
        Some(upper) => format!("0 (< {:.digits$}%)", upper * 100.0),
        None => format!("{count} ({:.digits$}..{:.digits$}%)", low * 100.0, high * 100.0),
    }
}

/// Two decimals, and more where they would round a small bound to nothing.
fn decimals(percent: f64) -> usize {
    (2..8).find(|digits| percent >= 10_f64.powi(1 - *digits)).map_or(8, |digits| digits as usize)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_small_bound_keeps_two_figures() {
        assert_eq!(share(0, 0.0, 0.0, Some(0.003)), "0 (< 0.30%)");
        assert_eq!(share(0, 0.0, 0.0, Some(0.000_03)), "0 (< 0.0030%)");
        assert_eq!(share(67, 0.0663, 0.0694, None), "67 (6.63..6.94%)");
    }
}
