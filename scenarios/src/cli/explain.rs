//! `hasim explain`: when a failure became likely, and which faults it needed.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Failure, Terminal, select};
use crate::campaign::run_schedule;
use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::explain::{Effort, Explanation, Share, explain};
use crate::family::{Family, LogLevel};
use crate::repro::Repro;
use crate::{VERSION, atomic_file};

const LONG_HELP: &str = "\
The failing run is stopped at some instants. From each it goes on many times, with another future each time: what has \
happened and the faults still to come stay; latencies, losses, lengths of syncs, time-outs with jitter, and the choice \
among several targets of a fault are drawn anew. The share of futures that fail says how much of the failure was \
decided by then.";

/// Options of `explain`.
#[derive(Args, Debug)]
#[command(after_help = LONG_HELP)]
pub(super) struct Options {
    /// A repro file, as `hasim check` and `hasim shrink` write it.
    file: PathBuf,
    /// How many futures from each instant.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    futures: u32,
    /// The most instants.
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(2..=1_000))]
    instants: u16,
    /// How many threads; all processors without. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Writes the curve and the counterfactuals as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Tries a file from another version of hasim.
    #[arg(long)]
    any_version: bool,
}

/// The layout of the JSON file; grows when a field changes its meaning or goes away.
const FORMAT_VERSION: u32 = 1;

/// How wide a bar is that stands for all futures.
const BAR: usize = 20;

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    version: &'static str,
    scenario: &'a str,
    seed: sim_core::Seed,
    explanation: &'a Explanation,
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let (repro, case, system) = select::repro(&options.file, options.any_version, families)?;
    if let Some(path) = &options.json {
        atomic_file::check(path)?;
    }
    let (outcome, _) = run_schedule(&case, &*system, repro.seed, &repro.schedule, LogLevel::Off);
    let exit = outcome.judgement.verdict.exit();
    if exit == Exit::Kept {
        terminal.print("this run keeps its promises: there is nothing to explain\n")?;
        return Ok(exit);
    }
    let effort = Effort { futures: options.futures, instants: usize::from(options.instants) };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs.map_or(0, usize::from))
        .build()
        .map_err(|error| UserError::new(format!("cannot start the threads: {error}")))?;
    let explanation = threads.install(|| explain(&case, &*system, repro.seed, &repro.schedule, effort));
    terminal.print(&tell(&repro, &outcome.judgement.evidence, &explanation))?;
    if let Some(path) = &options.json {
        let document = Document {
            format_version: FORMAT_VERSION,
            version: VERSION,
            scenario: &repro.scenario,
            seed: repro.seed,
            explanation: &explanation,
        };
        let mut text =
            serde_json::to_vec_pretty(&document).map_err(|error| Failure::Internal(error.to_string()))?;
        text.push(b'\n');
        atomic_file::write(path, &text)?;
    }
    Ok(exit)
}

fn tell(repro: &Repro, evidence: &str, explanation: &Explanation) -> String {
    let mut text = format!("{} seed {}  hasim {VERSION}\n", repro.scenario, repro.seed);
    let _ = writeln!(text, "{}: {evidence}\n", explanation.finding);
    text.push_str(
        "when it was decided: of the futures from each instant, how many fail\n\
         (the past and the faults to come stay; everything that chance decides later is drawn anew)\n",
    );
    for (position, point) in explanation.curve.iter().enumerate() {
        let filled = (point.share.estimate() * BAR as f64).round() as usize;
        let bar = "#".repeat(filled) + &".".repeat(BAR.saturating_sub(filled));
        let arrow = if explanation.steepest == Some(position) { "<-" } else { "  " };
        let line =
            format!("{:>10}  {bar}  {} {arrow} {}", point.at, share(point.share), brief(&point.happened));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    match explanation.steepest {
        Some(position) => steepest(&mut text, explanation, position),
        None => text.push_str("\nnowhere does the share rise: the faults suffice, whatever chance does\n"),
    }
    text.push_str(
        "\nwhich faults it needed: the same run without one, and futures from the instant before it\n",
    );
    for fault in &explanation.faults {
        let Some(at) = fault.at else {
            let _ = writeln!(text, "fault {} ({}) did not fire", fault.position, fault.kind);
            continue;
        };
        let verdict = if fault.fails_without == Some(true) { "still fails" } else { "does not fail" };
        let told = |share: Option<Share>| share.map(self::share).unwrap_or_default();
        let _ = writeln!(
            text,
            "fault {} ({}) at {at}, which hit {}: without it the run {verdict}\n    futures with it {}, without it {}",
            fault.position,
            fault.kind,
            if fault.hit.is_empty() { "nobody".to_owned() } else { fault.hit.join(", ") },
            told(fault.with).trim_start(),
            told(fault.without).trim_start()
        );
    }
    text
}

fn steepest(text: &mut String, explanation: &Explanation, position: usize) {
    let (before, after) = (&explanation.curve[position - 1], &explanation.curve[position]);
    let _ = writeln!(
        text,
        "\nthe steepest step: from {} to {} of {} futures between {} and {}",
        before.share.failed, after.share.failed, after.share.futures, before.at, after.at
    );
    if after.happened.is_empty() {
        text.push_str("    no fault and no mark lies between: see `hasim replay FILE --log` for this time\n");
    }
    for line in &after.happened {
        let _ = writeln!(text, "    {line}");
    }
}

/// `37/50 (59.7..85.4%)`.
fn share(share: Share) -> String {
    let percent = |share: f64| share * 100.0;
    let counts = format!("{}/{}", share.failed, share.futures);
    format!("{counts:>7} ({:.1}..{:.1}%)", percent(share.interval.low), percent(share.interval.high))
}

/// The last of what happened, without its time, and how much more there was.
fn brief(happened: &[String]) -> String {
    let Some(last) = happened.last() else { return String::new() };
    let last = last.split_once(": ").map_or(last.as_str(), |(_, what)| what);
    if happened.len() == 1 { last.to_owned() } else { format!("{last} (and {} more)", happened.len() - 1) }
}
