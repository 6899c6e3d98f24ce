//! One run as text: its faults, what happened when, and what came of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sim_core::{DeliveredFault, EndReason, Schedule, SimDuration, TraceKind};

use crate::VERSION;
use crate::campaign::{Outcome, seconds};
use crate::family::RunResult;

/// How much of the log is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Detail {
    /// Marks and faults.
    Marks,
    /// The whole log.
    Everything,
}

/// The text of a run. `names` are those of the processes.
pub(super) fn tell(
    names: &[String],
    schedule: &Schedule,
    outcome: &Outcome,
    result: &RunResult,
    detail: Detail,
) -> String {
    let row = &outcome.row;
    let mut text = format!("{} seed {}  hasim {VERSION}\n", row.scenario, row.seed);
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for entry in &result.log {
        if detail == Detail::Marks && !matches!(entry.kind, TraceKind::Mark | TraceKind::Fault) {
            continue;
        }
        // Faults tell about themselves; their marks would only say their numbers again.
        if entry.kind == TraceKind::Mark && entry.process.is_none() {
            continue;
        }
        let name = entry.process.and_then(|process| names.get(process.index())).map_or("", String::as_str);
        let _ = writeln!(text, "{:>10}  {name:width$}  {}", entry.at, entry.text);
    }
    for position in 0..schedule.0.len() {
        let _ = writeln!(text, "fault {position}: {}", fate(names, position, &result.faults));
    }
    let outage = row.outage.map_or("never ended".to_owned(), seconds);
    let _ = writeln!(
        text,
        "writes: {} acknowledged, {} of them lost; longest outage: {outage}; two writable primaries: {}\n\
         digest: {}  events: {}  ended: {} at {}",
        row.acknowledged,
        row.lost,
        if row.overlap == SimDuration::ZERO { "never".to_owned() } else { seconds(row.overlap) },
        row.digest,
        row.events,
        ending(&result.record.end),
        result.record.ended_at,
    );
    if row.reads > 0 {
        let _ = writeln!(
            text,
            "reads: {} answered, {} of them found nothing, {} were stale",
            row.reads, row.empty_reads, row.stale_reads
        );
    }
    let evidence = &outcome.judgement.evidence;
    let separator = if evidence.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "verdict: {}{separator}{evidence}", outcome.judgement.verdict);
    text
}

/// Why the run ended, in words.
fn ending(end: &EndReason) -> &'static str {
    match end {
        EndReason::Horizon => "at its horizon,",
        EndReason::Quiescent => "with nothing left to happen,",
        EndReason::EventBudget => "with its event budget spent,",
        EndReason::Livelock => "in a livelock,",
        EndReason::Violated => "with a violated condition,",
        EndReason::Panicked(_) => "with a panic of a model,",
    }
}

/// What became of the fault with this position.
fn fate(names: &[String], position: usize, delivered: &[DeliveredFault]) -> String {
    let Some(fault) = delivered.iter().find(|fault| fault.index == position) else {
        return "did not fire".to_owned();
    };
    // Links have two ends, so a process can be named more than once.
    let processes: BTreeSet<_> = fault.processes.iter().collect();
    let hit: Vec<&str> =
        processes.iter().filter_map(|process| names.get(process.index()).map(String::as_str)).collect();
    match (hit.is_empty(), fault.accepted) {
        (true, _) => format!("{} at {} hit nobody", fault.kind, fault.at),
        (false, true) => format!("{} at {} hit {}", fault.kind, fault.at, hit.join(", ")),
        (false, false) => format!("{} at {} was not understood by {}", fault.kind, fault.at, hit.join(", ")),
    }
}
