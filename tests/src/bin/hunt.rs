//! Hunts the planted bugs, shrinks what it catches and prints a table: which scenario catches each, after how many seeds and
//! seconds, how it is noticed, how many faults the catches had and how many are left (the most of all ranges), and how
//! long the slowest search for less took. Build it in release mode:
//!
//! ```text
//! cargo run --release -p tests --bin hunt                 all bugs, 5 disjoint ranges of seeds each
//! cargo run --release -p tests --bin hunt -- vote-twice   only these
//!   --ranges 9        as many ranges
//!   --scenario NAME   in this scenario and not in the bug's own
//!   --schedules       what is left of each catch, too
//! ```
//!
//! It ends with an error if a search finds nothing within its limit, or if more faults are left than allowed.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use models::Planted;
use rayon::prelude::*;
use tests::planted::{Catch, Small, hunt, scenario_of, shrink_catch};

/// How long a search for one bug may take: the limit that every planted bug must keep on two cores.
const LIMIT: Duration = Duration::from_mins(1);
/// How long the search for a smaller run may take.
const SHRINK_LIMIT: Duration = Duration::from_mins(1);
/// The most faults that may be left of a catch.
const MOST_FAULTS: usize = 3;
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
    /// Print the faults that are left of each catch.
    #[arg(long)]
    schedules: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.jobs).build().expect("threads start");
    println!(
        "{}",
        row(["bug", "scenario", "caught", "median seeds", "median s", "faults", "in s"], "noticed as")
    );
    let wanted =
        |bug: &&Planted| arguments.bugs.is_empty() || arguments.bugs.iter().any(|name| name == bug.name());
    let mut failed = false;
    for bug in Planted::ALL.iter().filter(wanted) {
        let scenario = arguments.scenario.as_deref().unwrap_or_else(|| scenario_of(*bug));
        let search = |range: u64| pool.install(|| hunt(scenario, *bug, range * STRIDE, LIMIT));
        let results: Vec<Result<Catch, u64>> = (0..arguments.ranges).map(search).collect();
        let catches: Vec<&Catch> = results.iter().flatten().collect();
        let shrink = |catch: &&Catch| shrink_catch(scenario, *bug, catch, SHRINK_LIMIT);
        let small: Vec<Small> = pool.install(|| catches.par_iter().map(shrink).collect());
        failed |= catches.len() < results.len() || small.iter().any(|small| small.faults() > MOST_FAULTS);
        println!("{}", line(*bug, scenario, &results, &small));
        if arguments.schedules {
            small.iter().for_each(print_schedule);
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn row([bug, scenario, caught, seeds, seconds, faults, took]: [&str; 7], noticed: &str) -> String {
    format!("{bug:<24} {scenario:<34} {caught:>6} {seeds:>12} {seconds:>9} {faults:>9} {took:>6}  {noticed}")
}

fn line(bug: Planted, scenario: &str, results: &[Result<Catch, u64>], small: &[Small]) -> String {
    let catches: Vec<&Catch> = results.iter().flatten().collect();
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
    let unfinished = if small.iter().any(Small::is_unfinished) { "+" } else { "" };
    let most = |of: fn(&Small) -> usize| small.iter().map(of).max().unwrap_or_default();
    let (before, after) = (most(|small| small.faults_before), most(Small::faults));
    let longest = small.iter().map(|small| small.took).max().unwrap_or_default();
    let (faults, took) =
        (format!("{before} -> {after}{unfinished}"), format!("{:.2}", longest.as_secs_f64()));
    row(
        [
            bug.name(),
            scenario,
            &format!("{}/{}", catches.len(), results.len()),
            &runs.to_string(),
            &format!("{seconds:.2}"),
            &faults,
            &took,
        ],
        &format!("{} (seeds {})", names.join(", "), seeds.join(" ")),
    )
}

fn print_schedule(small: &Small) {
    let failure = &small.shrunk.failure;
    println!(
        "    seed {}, {} long, in {} runs",
        failure.seed, failure.case.scenario.horizon, small.shrunk.runs
    );
    for fault in &failure.schedule.0 {
        println!("    {}", serde_json::to_string(fault).expect("a fault has a form in JSON"));
    }
}
