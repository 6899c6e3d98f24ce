//! `hasim shrink`: a smaller run that fails for the same reason.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use sim_core::SimDuration;

use super::{Failure, Terminal, select};
use crate::campaign::Outcome;
use crate::case::Case;
use crate::exit::Exit;
use crate::family::{Family, System};
use crate::repro::Repro;
use crate::shrink::{self, Ending, Limits, Shrunk};

/// The most runs of a search, unless it is said otherwise.
pub(super) const RUNS: u64 = 2_000;

/// How long `hasim check` looks for smaller failures by itself, all scenarios together.
pub(super) const LIMIT_IN_CHECK: SimDuration = SimDuration::from_secs(20);

/// Options of `shrink`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// A repro file, as `hasim check` writes it.
    file: PathBuf,
    /// Where the smaller repro file goes; beside the other one, with `-small` in its name, without.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The most runs of the search.
    #[arg(long, value_name = "N", default_value_t = RUNS)]
    runs: u64,
    /// Stops after so much time, too. How far the search gets then depends on the machine.
    #[arg(long, value_name = "TIME")]
    budget: Option<SimDuration>,
    /// Tries a file from another version of hasim.
    #[arg(long)]
    any_version: bool,
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let (repro, case, system) = select::repro(&options.file, options.any_version, families)?;
    let Some(failure) = shrink::Failure::of(&case, &*system, repro.seed, &repro.schedule) else {
        terminal.print("this run keeps its promises: there is nothing to shrink\n")?;
        return Ok(Exit::Kept);
    };
    let out = options.out.clone().unwrap_or_else(|| small_name(&options.file));
    let text = search(families, failure, options.runs, &*deadline(options.budget), &out)?;
    terminal.print(&text)?;
    Ok(repro_exit(&repro))
}

/// Shrinks the failure of a campaign. None if it does not fail again, which the judge would have to explain.
pub(super) fn of_campaign(
    families: &[&dyn Family],
    case: &Case,
    system: &dyn System,
    outcome: &Outcome,
    file: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Option<String>, Failure> {
    let seed = outcome.row.seed;
    let Some(failure) = shrink::Failure::of(case, system, seed, &case.scenario.schedule(seed)) else {
        return Ok(None);
    };
    search(families, failure, RUNS, stop, &small_name(file)).map(Some)
}

fn search(
    families: &[&dyn Family],
    failure: shrink::Failure,
    runs: u64,
    stop: &dyn Fn() -> bool,
    out: &Path,
) -> Result<String, Failure> {
    let before = describe(&failure);
    let shrunk = shrink::shrink(families, failure, &Limits { runs, stop });
    let repro = Repro::new(&shrunk.failure.case, shrunk.failure.schedule.clone(), &shrunk.failure.outcome);
    repro.write(out)?;
    Ok(tell(&before, &shrunk, out))
}

/// Whether so much wall time has passed. The one clock of the command that decides anything; what it decides is said.
#[expect(
    clippy::disallowed_methods,
    reason = "a limit of wall time needs a clock; results say when it was hit"
)]
pub(super) fn deadline(budget: Option<SimDuration>) -> Box<dyn Fn() -> bool> {
    let begin = Instant::now();
    match budget {
        Some(budget) => Box::new(move || begin.elapsed() >= Duration::from_nanos(budget.as_nanos())),
        None => Box::new(|| false),
    }
}

fn describe(failure: &shrink::Failure) -> String {
    let (count, scenario) = (failure.schedule.0.len(), &failure.case.scenario);
    format!(
        "{count} {}, {} events, {} long, {} members, seed {}",
        if count == 1 { "fault" } else { "faults" },
        failure.outcome.row.events,
        scenario.horizon,
        scenario.cluster.members,
        failure.seed
    )
}

fn tell(before: &str, shrunk: &Shrunk, out: &Path) -> String {
    let ending = match shrunk.ending {
        Ending::Fixpoint => "nothing more can be left out",
        Ending::RunsSpent => "all runs of the budget were used: more may find a smaller one (`--runs`)",
        Ending::Stopped => "stopped by the time limit: `hasim shrink` without one gets further",
    };
    let judgement = &shrunk.failure.outcome.judgement;
    let mut schedule = String::new();
    for fault in &shrunk.failure.schedule.0 {
        let fault = serde_json::to_string(fault).expect("a fault has a form in JSON");
        let _ = writeln!(schedule, "    {fault}");
    }
    format!(
        "shrunk in {} runs; {ending}\n  before: {before}\n  after:  {}\n{schedule}  {}: {}\n  hasim replay {}\n",
        shrunk.runs,
        describe(&shrunk.failure),
        judgement.verdict,
        judgement.evidence,
        out.display()
    )
}

fn small_name(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    file.with_file_name(format!("{stem}-small.json"))
}

fn repro_exit(repro: &Repro) -> Exit {
    if repro.expected.verdict == crate::campaign::Verdict::Undecided.name() {
        Exit::Undecided
    } else {
        Exit::Violated
    }
}
