//! `hasim check`: campaigns over scenarios.

use std::fs::File;
use std::io::{BufWriter, Seek as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use analysis::plot::{EcdfSeries, ecdf};
use analysis::{CsvRows, TableError};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use sim_core::{Probability, SimDuration};

use super::campaign_options::{self, SeedOptions};
use super::{Failure, Terminal, select, shrink, table};
use crate::campaign::{
    Campaign, Identity, Journal, Outcome, Recheck, Report, ReportBuilder, Stop, StopReason, Summed,
    TimeBudget, Verdict, run_seed,
};
use crate::case::Case;
use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::family::{Family, Forkable, build};
use crate::repro::Repro;
use crate::{VERSION, atomic_file};

/// Options of `check`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Names, beginnings of names up to a slash, files of your own, or `all`; the core of the catalogue without.
    scenarios: Vec<String>,
    #[command(flatten)]
    seeds: SeedOptions,
    /// Stops taking new seeds after this much time, such as 60s; how many were run depends on the machine then.
    #[arg(long, value_name = "TIME", value_parser = campaign_options::budget, env = "HASIM_BUDGET", hide_env_values = true)]
    budget: Option<SimDuration>,
    /// Which share of the runs is run twice and compared, from 0 to 100%.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = campaign_options::share)]
    recheck: Probability,
    /// Keeps finished runs in this file; the same command goes on from it after it was killed.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    settings: select::SettingOptions,
    /// Shows what the faults hit: how many of each kind on each role in each phase.
    #[arg(long)]
    coverage: bool,
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
    summed: Summed,
}

/// The lines of the CSV, in a file without a name until the campaign is over: a killed campaign leaves nothing behind, and
/// a long one does not keep its rows in memory.
type Rows = CsvRows<BufWriter<File>>;

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let scenarios = select::scenarios_or_core(&options.scenarios, terminal)?;
    let cases = select::cases(&scenarios, &options.settings.read()?, terminal)?;
    // Everything is built and tried before the first run: a mistake in the last scenario should not cost a night.
    let systems: Vec<Box<dyn Forkable>> =
        cases.iter().map(|case| build(families, case)).collect::<Result<_, _>>()?;
    for path in [&options.csv, &options.json, &options.plot].into_iter().flatten() {
        atomic_file::check(path)?;
    }
    let mut journal = open_journal(options, &cases, &systems, terminal)?;
    let mut rows = options.csv.as_ref().map(|_| spool()).transpose()?;
    let interrupted = campaign_options::stop_on_interrupt();
    let progress =
        campaign_options::progress_bar(options.seeds.seeds.len() * cases.len() as u64, terminal.interactive);
    let threads = options.seeds.threads()?;
    let budget = TimeBudget::start(options.budget);
    let mut checked = Vec::new();
    for (position, (case, system)) in cases.into_iter().zip(&systems).enumerate() {
        progress.set_message(case.scenario.name.clone());
        let stop = Stop::on(&interrupted).at(budget.share(systems.len() - position));
        let recheck = Some(Recheck { share: options.recheck, system: &**system });
        let campaign = Campaign { case: &case, system: &**system, seeds: options.seeds.seeds, recheck };
        let (journal, rows) = (journal.as_mut(), rows.as_mut());
        let summed = threads.install(|| sum_up(&campaign, &stop, journal, rows, &progress))?;
        checked.push(Checked { case, summed });
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    progress.finish_and_clear();
    let exit = overall(&checked, systems.len());
    show(options, &checked, terminal)?;
    write_files(options, &checked, rows, exit)?;
    if !options.no_shrink && !interrupted.load(Ordering::Relaxed) {
        shrink_failures(options, families, &checked, &systems, terminal)?;
    }
    Ok(exit)
}

/// Runs one campaign and hands each run on as it comes.
fn sum_up(
    campaign: &Campaign<'_>,
    stop: &Stop<'_>,
    journal: Option<&mut Journal>,
    mut rows: Option<&mut Rows>,
    progress: &ProgressBar,
) -> Result<Summed, UserError> {
    let mut builder = ReportBuilder::new(&campaign.case.scenario);
    let mut take = |outcome: Outcome| {
        builder.add(&outcome);
        match &mut rows {
            Some(rows) => rows.write(&outcome.row).map_err(|error| cannot_keep_rows(&error)),
            None => Ok(()),
        }
    };
    let stopped = campaign.run(stop, journal, &|_| progress.inc(1), &mut take)?;
    Ok(builder.finish(campaign.seeds, stopped))
}

fn cannot_keep_rows(error: &dyn std::fmt::Display) -> UserError {
    UserError::new(format!("cannot keep the rows of the CSV in a temporary file: {error}"))
        .help("make room, or set `TMPDIR` to a folder with more")
}

fn spool() -> Result<Rows, UserError> {
    let file = tempfile::tempfile().map_err(|error| cannot_keep_rows(&error))?;
    CsvRows::new(BufWriter::new(file)).map_err(|error| cannot_keep_rows(&error))
}

/// Opens the journal, and repeats one run of each scenario that it holds: another build of hasim may call itself by the
/// same version, and its runs do not belong into one table with those of this one.
fn open_journal(
    options: &Options,
    cases: &[Case],
    systems: &[Box<dyn Forkable>],
    terminal: &mut Terminal<'_>,
) -> Result<Option<Journal>, UserError> {
    let Some(path) = &options.journal else { return Ok(None) };
    let identity = Identity::new(cases, options.seeds.seeds, options.recheck);
    let mut journal = Journal::open(path, &identity)?;
    for (case, system) in cases.iter().zip(systems) {
        let name = &case.scenario.name;
        let Some(before) = journal.sample(name)? else { continue };
        let seed = before.row.seed;
        let again = run_seed(case, &**system, seed);
        if again.row.digest != before.row.digest {
            return Err(UserError::new(format!(
                "`{}` was written by another build of hasim {VERSION}: `{name}` seed {seed} has the digest {} \
                 there and {} here",
                path.display(),
                before.row.digest,
                again.row.digest
            ))
            .help("go on with the build that began it, or name another file for this campaign"));
        }
    }
    let all = options.seeds.seeds.len() * cases.len() as u64;
    if journal.finished_count() > 0 {
        let done = journal.finished_count();
        terminal.say(&format!("{}: going on after {done} of {all} runs", path.display()));
    }
    Ok(Some(journal))
}

/// The gravest end of all scenarios; scenarios that an interrupt left out are undecided.
fn overall(checked: &[Checked], wanted: usize) -> Exit {
    let left_out = if checked.len() < wanted { Exit::Undecided } else { Exit::Kept };
    checked.iter().map(|one| one.summed.report.verdict.exit()).fold(left_out, Exit::max)
}

fn write_files(
    options: &Options,
    checked: &[Checked],
    rows: Option<Rows>,
    exit: Exit,
) -> Result<(), Failure> {
    if let (Some(path), Some(rows)) = (&options.csv, rows) {
        let content = || {
            let mut file =
                rows.finish()?.into_inner().map_err(|error| TableError::Output(error.into_error()))?;
            file.rewind()?;
            Ok(file)
        };
        let mut file = content().map_err(|error: TableError| cannot_keep_rows(&error))?;
        atomic_file::copy(path, &mut file)?;
    }
    if let Some(path) = &options.json {
        let document = Document {
            format_version: FORMAT_VERSION,
            version: VERSION,
            exit_code: exit.code(),
            scenarios: checked.iter().map(|one| &one.summed.report).collect(),
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
                sample: one.summed.outages.clone(),
            })
            .collect();
        let title = format!("Longest outage of a run (hasim {VERSION}, seeds {})", options.seeds.seeds);
        atomic_file::write(path, ecdf(&series, &title).as_bytes())?;
    }
    Ok(())
}

fn show(options: &Options, checked: &[Checked], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let reports: Vec<(&str, &Report)> =
        checked.iter().map(|one| (one.case.scenario.name.as_str(), &one.summed.report)).collect();
    terminal.print(&table::table(&reports, options.seeds.seeds))?;
    if options.coverage {
        terminal.print(&table::coverage(&reports))?;
    }
    for one in checked {
        show_failures(options, one, terminal)?;
    }
    Ok(())
}

/// What the table does not say of a scenario: what went wrong, and how to see it again.
fn show_failures(options: &Options, one: &Checked, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let (name, report) = (&one.case.scenario.name, &one.summed.report);
    let finished = report.summary.as_ref().map_or(0, |summary| summary.run_count);
    let mut lines = Vec::new();
    let all = report.seeds.len();
    match report.stopped_by {
        Some(StopReason::Interrupt) => lines.push(format!("{name}: interrupted after {finished} of {all} seeds")),
        Some(StopReason::Budget) => lines.push(format!(
            "{name}: the time was spent after {finished} of {all} seeds; how many that are depends on the machine, \
             and all numbers here with it"
        )),
        None => {}
    }
    if report.runs_with_missed_faults > 0 {
        let missed = report.runs_with_missed_faults;
        lines.push(format!("{name}: in {missed} of {finished} runs a fault found nobody to hit"));
    }
    for promise in &report.not_found {
        lines.push(format!("{name}: `{promise}` was promised, and none of {finished} runs made it true"));
    }
    for cell in &report.not_covered {
        lines.push(format!(
            "{name}: coverage of `{cell}` was promised, and no fault of {finished} runs (of the seeds {}) was that; \
             `--coverage` shows what they hit",
            report.seeds
        ));
    }
    for outcome in &one.summed.failures {
        let (seed, judgement) = (outcome.row.seed, &outcome.judgement);
        lines.push(format!("{name} seed {seed}: {}: {}", judgement.verdict, judgement.evidence));
        if judgement.verdict == Verdict::NotRepeated {
            // A file that says what must come out would be a lie.
            lines.push(format!("  hasim selfcheck {name} --seeds {seed}..{}", seed.0.saturating_add(1)));
            continue;
        }
        let repro = Repro::new(&one.case, one.case.scenario.schedule(seed), outcome);
        let path = options.repro.join(repro.file_name());
        repro.write(&path)?;
        lines.push(format!("  hasim replay {}", path.display()));
    }
    let more = one.summed.failure_count - one.summed.failures.len() as u64;
    if more > 0 {
        lines.push(format!("{name}: and {more} more seeds; `--csv` lists them all"));
    }
    if !lines.is_empty() {
        terminal.print(&(lines.join("\n") + "\n"))?;
    }
    Ok(())
}

/// Looks for smaller runs that fail as the first failure of each scenario does. Their own files stay.
fn shrink_failures(
    options: &Options,
    families: &[&dyn Family],
    checked: &[Checked],
    systems: &[Box<dyn Forkable>],
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let late = shrink::deadline(Some(shrink::LIMIT_IN_CHECK));
    let failed = |outcome: &&Outcome| outcome.judgement.verdict.exit() == Exit::Violated;
    for (one, system) in checked.iter().zip(systems) {
        let Some(outcome) = one.summed.failures.iter().find(failed) else { continue };
        if late() {
            break;
        }
        let (name, seed) = (&one.case.scenario.name, outcome.row.seed);
        let repro = Repro::new(&one.case, one.case.scenario.schedule(seed), outcome);
        let file = options.repro.join(repro.file_name());
        if let Some(text) = shrink::of_campaign(families, &one.case, &**system, outcome, &file, &*late)? {
            terminal.print(&format!("{name} seed {seed}: {text}"))?;
        }
    }
    Ok(())
}
