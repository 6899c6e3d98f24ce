//! Hunts the planted bugs and prints a table: which scenario catches each, after how many seeds and seconds, and how it
//! is noticed. Build it in release mode:
//!
//! ```text
//! cargo run --release -p tests --bin hunt                 all bugs, 5 disjoint ranges of seeds each
//! cargo run --release -p tests --bin hunt -- vote-twice   only these
//!   --ranges 9        as many ranges
//!   --scenario NAME   in this scenario and not in the bug's own
//! ```

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use models::Planted;
use tests::planted::{Catch, hunt, scenario_of};

/// How long a search for one bug may take: the limit that every planted bug must keep on two cores.
const LIMIT: Duration = Duration::from_mins(1);
/// Between the first seeds of two ranges.
const STRIDE: u64 = 1_000_000;

#[derive(Parser)]
struct Arguments {
    /// The bugs to hunt; all if none is named.
    bugs: Vec<String>,
    /// How many disjoint ranges of seeds are searched.
    #[arg(long, default_value_t = 5)]
    ranges: u64,
    /// The scenario to hunt in, for all bugs.
    #[arg(long)]
    scenario: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.jobs).build().expect("threads start");
    let (seeds, seconds) = ("median seeds", "median s");
    let (bug, scenario, caught) = ("bug", "scenario", "caught");
    println!("{bug:<24} {scenario:<34} {caught:>8} {seeds:>12} {seconds:>10}  noticed as");
    let wanted =
        |bug: &&Planted| arguments.bugs.is_empty() || arguments.bugs.iter().any(|name| name == bug.name());
    let mut missed = false;
    for bug in Planted::ALL.iter().filter(wanted) {
        let scenario = arguments.scenario.as_deref().unwrap_or_else(|| scenario_of(*bug));
        let search = |range: u64| pool.install(|| hunt(scenario, *bug, range * STRIDE, LIMIT));
        let results: Vec<Result<Catch, u64>> = (0..arguments.ranges).map(search).collect();
        missed |= results.iter().any(Result::is_err);
        println!("{}", line(*bug, scenario, &results));
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn line(bug: Planted, scenario: &str, results: &[Result<Catch, u64>]) -> String {
    let catches: Vec<&Catch> = results.iter().flatten().collect();
    let caught = format!("{}/{}", catches.len(), results.len());
    // A search that found nothing counts as longer than every other.
    let middle = |mut sorted: Vec<f64>| {
        sorted.resize(results.len(), f64::INFINITY);
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let runs = middle(catches.iter().map(|catch| catch.runs as f64).collect());
    let seconds = middle(catches.iter().map(|catch| catch.took.as_secs_f64()).collect());
    let mut names: Vec<String> = catches
        .iter()
        .map(|catch| match catch.judgement.evidence.split_once(" at ") {
            Some((condition, _)) if catch.judgement.verdict.name() == "condition-violated" => {
                condition.to_owned()
            }
            _ => catch.judgement.verdict.name().to_owned(),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    let seeds: Vec<String> = catches.iter().map(|catch| catch.seed.to_string()).collect();
    format!(
        "{:<24} {scenario:<34} {caught:>8} {runs:>12} {seconds:>10.2}  {} (seeds {})",
        bug.name(),
        names.join(", "),
        seeds.join(" ")
    )
}
