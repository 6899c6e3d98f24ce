//! A scenario as a test of Rust, in three lines.
//!
//! ```
//! // With #[test] above it, this is a whole test.
//! fn a_switchover_loses_nothing() {
//!     scenarios::assert_kept("patroni/switchover/async", 0..4);
//! }
//! # a_switchover_loses_nothing();
//! ```
//!
//! A run that fails is shrunk, and the smaller run is kept as a file in the folder [`REGRESSIONS`] beside the
//! `Cargo.toml` of the tested package. From then on the test begins with it, so that a failure that was found once is
//! found at once until it is mended. Add the folder to version control; remove a file to forget it.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use sim_core::Seed;

use crate::campaign::{Outcome, Report, ScenarioVerdict, SeedRange, run_schedule, run_seeds};
use crate::case::{Case, UserSettings};
use crate::cli::select;
use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::families;
use crate::family::{LogLevel, System, build};
use crate::repro::Repro;
use crate::shrink::{Failure, Limits, shrink};

/// The folder of runs that failed before, relative to the package that is tested.
pub const REGRESSIONS: &str = "hasim-regressions";

/// The most runs of a search for a smaller failure.
const SHRINK_RUNS: u64 = 2_000;

/// Runs these seeds of a scenario, a name of the catalogue or a file that ends in `.toml`, after all runs of the
/// scenario that failed before.
///
/// # Panics
/// If a promise is not kept, with the seed, the evidence, the smallest schedule that was found and the line that
/// replays it. If there is no such scenario, or its file is not right.
pub fn assert_kept(scenario: &str, seeds: Range<u64>) {
    if let Err(message) = check(scenario, seeds, Path::new(REGRESSIONS)) {
        panic!("{message}");
    }
}

fn check(scenario: &str, seeds: Range<u64>, regressions: &Path) -> Result<(), String> {
    let report = |error: UserError| error.report(false);
    let case = case(scenario).map_err(report)?;
    replay_regressions(&case.scenario.name, regressions)?;
    let system = build(&families(), &case).map_err(report)?;
    let seeds: SeedRange = format!("{}..{}", seeds.start, seeds.end).parse()?;
    let runs = run_seeds(&case, &*system, seeds, &AtomicBool::new(false), &|_| ());
    let name = &case.scenario.name;
    if let Some(first) = runs.outcomes.iter().find(|outcome| outcome.judgement.verdict.exit() != Exit::Kept) {
        return Err(failure(&case, &*system, first, regressions));
    }
    match Report::new(&case.scenario, &runs) {
        report if report.verdict == ScenarioVerdict::Kept => Ok(()),
        report => {
            let missing: Vec<String> = report.not_found.iter().map(ToString::to_string).collect();
            Err(format!("{name}: no seed of {seeds} made true: {}", missing.join(", ")))
        }
    }
}

fn case(scenario: &str) -> Result<Case, UserError> {
    let found = select::scenarios(&[scenario.to_owned()])?;
    match found.as_slice() {
        [one] => Case::new(one, &UserSettings::default()),
        _ => Err(UserError::new(format!("`{scenario}` means {} scenarios", found.len()))),
    }
}

/// Runs every file of the folder that is about this scenario, in the order of their names.
fn replay_regressions(scenario: &str, folder: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    for file in files {
        let report = |error: UserError| error.report(false);
        // The file may be from an earlier version: what counts is whether this one keeps the promise.
        let repro = Repro::read(&select::read_file(&file).map_err(report)?, true).map_err(report)?;
        if repro.scenario != scenario {
            continue;
        }
        let case = repro.case().map_err(report)?;
        let system = build(&families(), &case).map_err(report)?;
        system.check(&repro.schedule).map_err(|error| format!("{}: {error}", file.display()))?;
        let (outcome, _) = run_schedule(&case, &*system, repro.seed, &repro.schedule, LogLevel::Off);
        if outcome.judgement.verdict.exit() != Exit::Kept {
            let judgement = &outcome.judgement;
            return Err(format!(
                "{scenario}: a run that failed before fails again: {}: {}\n  hasim replay {}",
                judgement.verdict,
                judgement.evidence,
                file.display()
            ));
        }
    }
    Ok(())
}

/// Shrinks a failure and keeps it.
fn failure(case: &Case, system: &dyn System, outcome: &Outcome, regressions: &Path) -> String {
    let seed: Seed = outcome.row.seed;
    let (name, judgement) = (&case.scenario.name, &outcome.judgement);
    let mut message = format!("{name} seed {seed}: {}: {}\n", judgement.verdict, judgement.evidence);
    let schedule = case.scenario.schedule(seed);
    let repro = match Failure::of(case, system, seed, &schedule) {
        Some(failure) => {
            let limits = Limits { runs: SHRINK_RUNS, stop: &|| false };
            let small = shrink(&families(), failure, &limits).failure;
            for fault in &small.schedule.0 {
                let fault = serde_json::to_string(fault).unwrap_or_default();
                let _ = writeln!(message, "  {fault}");
            }
            Repro::new(&small.case, small.schedule, &small.outcome)
        }
        None => Repro::new(case, schedule, outcome),
    };
    let file = regressions.join(repro.file_name());
    match repro.write(&file) {
        Ok(()) => {
            let _ = write!(message, "  hasim replay {}", file.display());
        }
        Err(error) => message += &error.report(false),
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shipped swarm that loses, with the promise that it does not.
    fn broken_scenario(folder: &Path) -> String {
        let text = include_str!("../catalogue/patroni/swarm-async.toml")
            .replace("loss-is-found", "no-acknowledged-write-lost");
        let file = folder.join("mine.toml");
        fs::create_dir_all(folder).unwrap();
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    #[test]
    fn a_failure_is_shrunk_kept_and_found_again_at_once() {
        let folder = std::env::temp_dir().join(format!("hasim-assertion-{}", std::process::id()));
        let scenario = broken_scenario(&folder);
        let regressions = folder.join(REGRESSIONS);
        let first = check(&scenario, 31..32, &regressions).unwrap_err();
        assert!(first.contains("seed 31") && first.contains("acked-write-lost"), "{first}");
        assert!(first.contains("partition"), "{first}");
        // No seed of this range fails; the file does.
        let again = check(&scenario, 0..1, &regressions).unwrap_err();
        assert!(again.contains("fails again"), "{again}");
        // Files of other scenarios are none of its business.
        assert_eq!(check("patroni/switchover/async", 0..1, &regressions), Ok(()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn mistakes_are_told() {
        let nowhere = Path::new("does-not-exist");
        let unknown = check("patroni/switchovr/async", 0..1, nowhere).unwrap_err();
        assert!(unknown.contains("there is no scenario"), "{unknown}");
        let many = check("patroni/switchover", 0..1, nowhere).unwrap_err();
        assert!(many.contains("`patroni/switchover` means 3 scenarios"), "{many}");
        let none = check("patroni/switchover/async", 3..3, nowhere).unwrap_err();
        assert!(none.contains("holds no seed"), "{none}");
        let not_found = check("patroni/swarm/async", 0..1, nowhere).unwrap_err();
        assert!(not_found.contains("loss-is-found"), "{not_found}");
    }
}
