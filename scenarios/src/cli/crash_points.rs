//! `hasim crash-points`: a crash at every point of a run.
//!
//! A subcommand of its own, and no mode of `check`: `check` runs many seeds of many scenarios once, this runs one seed of
//! one scenario thousands of times.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize as _, Serialize};
use sim_core::{MarkKind, Seed, SimDuration, SimTime};

use super::{Failure, Terminal, campaign_options, select};
use crate::crash_points::{Crash, Group, NoPoints, Plan, Point, Report, crash_points};
use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::family::{Family, build};
use crate::repro::Repro;
use crate::{VERSION, atomic_file};

const LONG_HELP: &str = "\
One run of the scenario is made. Each instant at which a process was given something (a packet, a timer, a completed \
sync) is a point: there the process is killed, or its host loses power, and the rest of the run goes on. Clients and \
proxies do not crash. A point at which a promise about data or an invariant is broken is a finding and leaves a repro \
file; being served later than the scenario promises is told, and is none.

Examples:
  hasim crash-points patroni/primary-host-crash/sync
  hasim crash-points patroni/switchover/sync --crash power-off --seed 7
  hasim crash-points etcd/swarm --until end --only etcd";

/// Options of `crash-points`.
#[derive(Args, Debug)]
#[command(after_help = LONG_HELP)]
pub(super) struct Options {
    /// The name of a scenario, or a file of your own.
    scenario: String,
    /// The seed, decimal or 0x...
    #[arg(long, default_value = "0", env = "HASIM_SEED", hide_env_values = true)]
    seed: Seed,
    /// What happens at each point.
    #[arg(long, value_enum, default_value_t)]
    crash: CrashWord,
    /// How long the process, or host, is down; a server that Patroni starts is up when Patroni starts it.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    down: SimDuration,
    /// The points begin with the first mark of this kind: fault, suspected, elected, writable, ...
    #[arg(long, value_name = "MARK", default_value = "fault", value_parser = mark)]
    from: MarkKind,
    /// They end with the first mark of this kind after that, or with `end`.
    #[arg(long, value_name = "MARK", default_value = "rerouted", value_parser = mark_or_end)]
    until: UntilWord,
    /// Only these processes, with or without their numbers: etcd, patroni-1, ...; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    #[command(flatten)]
    settings: select::SettingOptions,
    /// How many threads; all processors without. The result does not depend on it.
    #[arg(long, env = "HASIM_JOBS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Writes the numbers and the findings as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where repro files of findings go.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

/// [`Crash`] on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum CrashWord {
    /// SIGKILL of the process.
    #[default]
    Kill,
    /// Its host loses power.
    PowerOff,
}

/// A mark, or the end of the run.
#[derive(Clone, Copy, Debug)]
struct UntilWord(Option<MarkKind>);

/// The layout of the JSON file; grows when a field changes its meaning or goes away.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    version: &'static str,
    scenario: &'a str,
    seed: Seed,
    crash: Crash,
    from: SimTime,
    until: SimTime,
    inputs: u64,
    points: u64,
    victims: u64,
    kept: u64,
    withheld: u64,
    late: u64,
    findings: Vec<FindingDocument<'a>>,
}

#[derive(Serialize)]
struct FindingDocument<'a> {
    finding: String,
    points: u64,
    first: &'a Point,
    evidence: &'a str,
    repro: String,
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let case = select::one_case(&options.scenario, &options.settings.read()?, terminal)?;
    let system = build(families, &case)?;
    if let Some(path) = &options.json {
        atomic_file::check(path)?;
    }
    let schedule = case.scenario.schedule(options.seed);
    let plan = options.plan();
    let points = match crash_points(&case, &*system, options.seed, &schedule, &plan) {
        Ok(points) if points.is_empty() => return Err(nobody(options, &system.process_names()).into()),
        Ok(points) => points,
        Err(NoPoints::NoMark(mark)) => {
            let what = format!("seed {} leaves no mark `{mark}`: there is no first point", options.seed);
            return Err(UserError::new(what).help("another seed, or another `--from`").into());
        }
        Err(NoPoints::Fails(outcome)) => {
            let judgement = &outcome.judgement;
            terminal.print(&format!(
                "seed {} fails without a crash: {}: {}\n",
                options.seed, judgement.verdict, judgement.evidence
            ))?;
            return Ok(judgement.verdict.exit());
        }
    };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs.map_or(0, usize::from))
        .build()
        .map_err(|error| UserError::new(format!("cannot start the threads: {error}")))?;
    let progress = campaign_options::progress_bar(points.len() as u64, terminal.interactive);
    let done = || progress.inc(1);
    let report = threads.install(|| points.try_all(&case, &*system, options.seed, &schedule, &plan, &done));
    progress.finish_and_clear();
    let mut files = Vec::new();
    for (number, group) in report.findings.iter().enumerate() {
        let repro = Repro::new(&case, group.schedule.clone(), &group.outcome);
        let name = repro.file_name().replace(".json", &format!("-crash-{}.json", number + 1));
        let path = options.out.join(name);
        repro.write(&path)?;
        files.push(path);
    }
    terminal.print(&tell(&case.scenario.name, options, &report, &files))?;
    if let Some(path) = &options.json {
        write_json(path, &case.scenario.name, options, &report, &files)?;
    }
    if report.findings.iter().any(|group| !group.is_confirmed()) {
        return Err(Failure::Internal("a crash in a fork was another in the run from the start".to_owned()));
    }
    let gravest = report.findings.iter().map(|group| group.finding.verdict).max();
    Ok(gravest.map_or(Exit::Kept, crate::campaign::Verdict::exit))
}

impl Options {
    fn plan(&self) -> Plan {
        Plan {
            crash: match self.crash {
                CrashWord::Kill => Crash::Kill,
                CrashWord::PowerOff => Crash::PowerOff,
            },
            down: self.down,
            from: self.from,
            until: self.until.0,
            only: self.only.clone(),
        }
    }
}

fn mark(word: &str) -> Result<MarkKind, String> {
    let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word);
    MarkKind::deserialize(word).map_err(|error| error.to_string())
}

fn mark_or_end(word: &str) -> Result<UntilWord, String> {
    if word == "end" {
        return Ok(UntilWord(None));
    }
    mark(word).map(|mark| UntilWord(Some(mark))).map_err(|error| format!("{error}, or `end`"))
}

fn nobody(options: &Options, names: &[String]) -> UserError {
    let what = if options.only.is_empty() {
        "no process was given anything in this window".to_owned()
    } else {
        format!("none of `{}` was given anything in this window", options.only.join("`, `"))
    };
    UserError::new(what).help(format!("the processes are: {}", names.join(", ")))
}

fn tell(scenario: &str, options: &Options, report: &Report, files: &[PathBuf]) -> String {
    let (crash, whom) = match options.crash {
        CrashWord::Kill => ("killed", "processes"),
        CrashWord::PowerOff => ("powered off", "hosts"),
    };
    let mut text = format!("{scenario} seed {}  hasim {VERSION}\n", options.seed);
    let _ = writeln!(
        text,
        "from {} to {}: {} inputs, which are {} crash points of {} {whom}; each {crash}, down for {}",
        report.from, report.until, report.inputs, report.points, report.victims, options.down
    );
    let _ = writeln!(text, "{} of {} points kept every promise", report.kept, report.points);
    if report.withheld > 0 {
        let _ = writeln!(text, "at {} points the budget of the scenario withheld the crash", report.withheld);
    }
    if let Some((point, judgement)) = &report.latest {
        let _ = writeln!(
            text,
            "at {} points clients were served later than promised without the crash, as at {} of {}: {}",
            report.late, point.at, point.victim, judgement.evidence
        );
    }
    for (group, file) in report.findings.iter().zip(files) {
        let Group { finding, points, first, judgement, .. } = group;
        let _ = writeln!(
            text,
            "{finding} at {points} points\n  first: {} {crash} at {}, after {} was given {}\n  {}\n  hasim replay {}",
            first.victim,
            first.at,
            first.process,
            first.after,
            judgement.evidence,
            file.display()
        );
    }
    text
}

fn write_json(
    path: &std::path::Path,
    scenario: &str,
    options: &Options,
    report: &Report,
    files: &[PathBuf],
) -> Result<(), Failure> {
    let findings = report.findings.iter().zip(files).map(|(group, file)| FindingDocument {
        finding: group.finding.to_string(),
        points: group.points,
        first: &group.first,
        evidence: &group.judgement.evidence,
        repro: file.display().to_string(),
    });
    let document = Document {
        format_version: FORMAT_VERSION,
        version: VERSION,
        scenario,
        seed: options.seed,
        crash: options.plan().crash,
        from: report.from,
        until: report.until,
        inputs: report.inputs,
        points: report.points,
        victims: report.victims,
        kept: report.kept,
        withheld: report.withheld,
        late: report.late,
        findings: findings.collect(),
    };
    let mut text =
        serde_json::to_vec_pretty(&document).map_err(|error| Failure::Internal(error.to_string()))?;
    text.push(b'\n');
    atomic_file::write(path, &text)?;
    Ok(())
}
