//! `hasim check`: campaigns over scenarios.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use analysis::plot::{EcdfSeries, ecdf};
use analysis::stats::Sample;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{Failure, Terminal, select, shrink, table};
use crate::campaign::{Outcome, Report, Runs, SeedRange, run_seeds};
use crate::case::Case;
use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::family::{Family, System, build};
use crate::repro::Repro;
use crate::{VERSION, atomic_file};

/// Options of `check`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Names, beginnings of names up to a slash, or files of your own; the whole catalogue without.
    scenarios: Vec<String>,
    /// How many seeds of each scenario, or which: A..B without B.
    #[arg(long, default_value = "1000", value_name = "N|A..B")]
    seeds: SeedRange,
    /// How many threads; all processors without. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    #[command(flatten)]
    settings: select::SettingOptions,
    /// Writes what the table says, and more, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes one line for each run as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draws the distribution of outages as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Where repro files of failed runs go.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    repro: PathBuf,
    /// Leaves the first failure of each scenario as it is, and does not look for a smaller one.
    #[arg(long)]
    no_shrink: bool,
}

/// The most repro files that a campaign writes for one scenario; those of the lowest seeds.
const MOST_REPROS: usize = 5;

/// The layout of the JSON file; grows when a field changes its meaning or goes away.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    version: &'static str,
    exit_code: u8,
    scenarios: Vec<&'a Report>,
}

/// What came of one scenario.
struct Checked {
    case: Case,
    runs: Runs,
    report: Report,
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let scenarios = select::scenarios(&options.scenarios)?;
    let cases = select::cases(&scenarios, &options.settings.read()?, terminal)?;
    // Everything is built and tried before the first run: a mistake in the last scenario should not cost a night.
    let systems: Vec<Box<dyn System>> =
        cases.iter().map(|case| build(families, case)).collect::<Result<_, _>>()?;
    for path in [&options.csv, &options.json, &options.plot].into_iter().flatten() {
        atomic_file::check(path)?;
    }
    let stop = stop_on_interrupt();
    let progress = progress_bar(options.seeds.len() * cases.len() as u64, terminal.interactive);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs.map_or(0, usize::from))
        .build()
        .map_err(|error| UserError::new(format!("cannot start the threads: {error}")))?;
    let mut checked = Vec::new();
    for (case, system) in cases.into_iter().zip(&systems) {
        progress.set_message(case.scenario.name.clone());
        let done = |_: &Outcome| progress.inc(1);
        let runs = threads.install(|| run_seeds(&case, &**system, options.seeds, &stop, &done));
        let report = Report::new(&case.scenario, &runs);
        checked.push(Checked { case, runs, report });
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    progress.finish_and_clear();
    let exit = overall(&checked, systems.len());
    show(options, &checked, terminal)?;
    if !options.no_shrink {
        for (one, system) in checked.iter().zip(&systems) {
            shrink_first(options, families, one, &**system, terminal)?;
        }
    }
    write_files(options, &checked, exit)?;
    Ok(exit)
}

/// The gravest end of all scenarios; scenarios that an interrupt left out are undecided.
fn overall(checked: &[Checked], wanted: usize) -> Exit {
    let left_out = if checked.len() < wanted { Exit::Undecided } else { Exit::Kept };
    checked.iter().map(|one| one.report.verdict.exit()).fold(left_out, Exit::max)
}

/// The first interrupt stops taking seeds, the second ends the command.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    // Only one handler can be set in a process; where there is one already (tests), interrupts are its business.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    stop
}

fn progress_bar(length: u64, interactive: bool) -> ProgressBar {
    if !interactive {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} eta {eta} {msg}")
        .expect("the template is well formed");
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style)
}

fn write_files(options: &Options, checked: &[Checked], exit: Exit) -> Result<(), Failure> {
    let rows = || checked.iter().flat_map(|one| one.runs.outcomes.iter().map(|outcome| &outcome.row));
    if let Some(path) = &options.csv {
        let mut text = Vec::new();
        analysis::write_csv(&mut text, rows()).map_err(|error| Failure::Internal(error.to_string()))?;
        atomic_file::write(path, &text)?;
    }
    if let Some(path) = &options.json {
        let document = Document {
            format_version: FORMAT_VERSION,
            version: VERSION,
            exit_code: exit.code(),
            scenarios: checked.iter().map(|one| &one.report).collect(),
        };
        let mut text =
            serde_json::to_vec_pretty(&document).map_err(|error| Failure::Internal(error.to_string()))?;
        text.push(b'\n');
        atomic_file::write(path, &text)?;
    }
    if let Some(path) = &options.plot {
        let series: Vec<EcdfSeries> = checked
            .iter()
            .map(|one| EcdfSeries {
                label: one.case.scenario.name.clone(),
                sample: Sample::new(one.runs.outcomes.iter().map(|outcome| outcome.row.outage)),
            })
            .collect();
        let title = format!("Longest outage of a run (hasim {VERSION}, seeds {})", options.seeds);
        atomic_file::write(path, ecdf(&series, &title).as_bytes())?;
    }
    Ok(())
}

fn show(options: &Options, checked: &[Checked], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let reports: Vec<(String, Report)> =
        checked.iter().map(|one| (one.case.scenario.name.clone(), one.report.clone())).collect();
    terminal.print(&table::table(&reports, options.seeds))?;
    for one in checked {
        show_failures(options, one, terminal)?;
    }
    Ok(())
}

/// What the table does not say of a scenario: what went wrong, and how to see it again.
fn show_failures(options: &Options, one: &Checked, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let (name, report) = (&one.case.scenario.name, &one.report);
    let finished = one.runs.outcomes.len();
    let mut lines = Vec::new();
    if !report.complete {
        lines.push(format!("{name}: interrupted after {finished} of {} seeds", report.seeds.len()));
    }
    if report.runs_with_missed_faults > 0 {
        let missed = report.runs_with_missed_faults;
        lines.push(format!("{name}: in {missed} of {finished} runs a fault found nobody to hit"));
    }
    for promise in &report.not_found {
        lines.push(format!("{name}: `{promise}` was promised, and none of {finished} runs made it true"));
    }
    let not_kept = |outcome: &&Outcome| outcome.judgement.verdict.exit() != Exit::Kept;
    let failures: Vec<&Outcome> = one.runs.outcomes.iter().filter(not_kept).collect();
    for outcome in failures.iter().take(MOST_REPROS) {
        let (seed, judgement) = (outcome.row.seed, &outcome.judgement);
        let repro = Repro::new(&one.case, one.case.scenario.schedule(seed), outcome);
        let path = options.repro.join(repro.file_name());
        repro.write(&path)?;
        lines.push(format!("{name} seed {seed}: {}: {}", judgement.verdict, judgement.evidence));
        lines.push(format!("  hasim replay {}", path.display()));
    }
    if failures.len() > MOST_REPROS {
        lines
            .push(format!("{name}: and {} more seeds; `--csv` lists them all", failures.len() - MOST_REPROS));
    }
    if !lines.is_empty() {
        terminal.print(&(lines.join("\n") + "\n"))?;
    }
    Ok(())
}

/// Looks for a smaller run that fails as the first failure of the scenario does. Its own file stays.
fn shrink_first(
    options: &Options,
    families: &[&dyn Family],
    one: &Checked,
    system: &dyn System,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let failed = |outcome: &&Outcome| outcome.judgement.verdict.exit() == Exit::Violated;
    let Some(outcome) = one.runs.outcomes.iter().find(failed) else { return Ok(()) };
    let repro = Repro::new(&one.case, one.case.scenario.schedule(outcome.row.seed), outcome);
    let file = options.repro.join(repro.file_name());
    if let Some(text) = shrink::of_campaign(families, &one.case, system, outcome, &file)? {
        let (name, seed) = (&one.case.scenario.name, outcome.row.seed);
        terminal.print(&format!("{name} seed {seed}: {text}"))?;
    }
    Ok(())
}
