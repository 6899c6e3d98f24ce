//! What a campaign costs as a whole: schedules a core-second, two threads against one, memory of a forked world.
//! `cargo bench -p scenarios --bench campaign`
//!
//! Prints figures and asserts nothing about them: they are those of the machine, and of what else it does.

#![allow(clippy::print_stdout, reason = "a program that prints figures")]

mod subject;

use std::fs;
use std::sync::atomic::AtomicBool;

use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};
use scenarios::campaign::{SeedRange, run_seeds};
use scenarios::case::Case;
use scenarios::family::{Forkable, System};
use sim_core::Seed;

/// That of the command.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SEEDS: u64 = 1_000;
const ROUNDS: usize = 5;
const FORKS: usize = 500;

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags for a harness that this program does not have.
    report("Patroni, host crash, 60 s simulated, 20 writes a second, judged", subject::host_crash());
    println!("  memory of a warm fork           {:>10.0} KiB", fork_kib());
    report("Sentinel, primary killed, 30 s simulated, 200 writes a second, judged", subject::sentinel_kill());
}

fn report(title: &str, (case, system): (Case, Box<dyn Forkable>)) {
    let [one, two] = campaigns(&case, &*system);
    println!("{title}");
    println!("  events a run                    {:>10.0}", one.events);
    println!("  executed, warm-ups shared       {:>10.0}", one.executed);
    println!("  schedules per core-second       {:>10.0}", 1.0 / one.cpu);
    println!("  CPU time an executed event      {:>10.1} ns", one.cpu / one.executed * 1e9);
    println!("  schedules a second, 1 thread    {:>10.0}", 1.0 / one.wall);
    println!("  schedules a second, 2 threads   {:>10.0}", 1.0 / two.wall);
    println!("  2 threads against 1, wall       {:>10.2} x", one.wall / two.wall);
    println!("  2 threads against 1, CPU time   {:>10.2} x", 2.0 * one.cpu / two.cpu);
}

struct Cost {
    /// Of a run, from the start of its world.
    events: f64,
    /// The same without those of a warm-up that was executed for a neighbouring seed.
    executed: f64,
    cpu: f64,
    wall: f64,
}

/// The least of several rounds, on one thread and on two, in turns.
fn campaigns(case: &Case, system: &dyn Forkable) -> [Cost; 2] {
    let seeds = SeedRange::first(SEEDS);
    let shared = shared_events(system, seeds) as f64;
    let mut least = [1, 2].map(|_| Cost { events: 0.0, executed: 0.0, cpu: f64::MAX, wall: f64::MAX });
    for _ in 0..ROUNDS {
        for (threads, least) in (1..).zip(&mut least) {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            let start = [ClockId::ProcessCPUTime, ClockId::Monotonic].map(seconds);
            let runs = pool.install(|| run_seeds(case, system, seeds, &AtomicBool::new(false), &|_| {}));
            let [cpu, wall] = [ClockId::ProcessCPUTime, ClockId::Monotonic].map(seconds);
            let count = runs.outcomes.len() as f64;
            let events: u64 = runs.outcomes.iter().map(|outcome| outcome.row.events).sum();
            least.events = events as f64 / count;
            least.executed = (events as f64 - shared) / count;
            least.cpu = least.cpu.min((cpu - start[0]) / count);
            least.wall = least.wall.min((wall - start[1]) / count);
        }
    }
    least
}

/// How many events of these runs a campaign does not execute, because neighbouring seeds begin alike.
fn shared_events(system: &dyn System, seeds: SeedRange) -> u64 {
    let shared = |block: &[Seed]| {
        let warm = system.warm_up(block[0]).map_or(0, |warm| warm.events());
        warm * (block.len() as u64 - 1)
    };
    seeds.to_vec().chunk_by(|one, other| system.block(*one) == system.block(*other)).map(shared).sum()
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What the resident memory of this process grows by for each world that is forked from a warm one.
fn fork_kib() -> f64 {
    let warm = subject::world(&subject::cluster(), Seed(1));
    let before = resident_kib();
    let forks: Vec<_> = (0..FORKS).map(|_| warm.clone()).collect();
    (resident_kib() - before) / forks.len() as f64
}

/// As Linux counts it; not a number elsewhere.
fn resident_kib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(f64::NAN)
}
