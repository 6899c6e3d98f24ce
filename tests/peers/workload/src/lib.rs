//! The work that every engine does, as parameters, and how an engine reports what it cost.
//!
//! `sim-core/benches/workloads.rs` describes the two protocols. Each engine is a program of its own (madsim replaces
//! functions of the C library in its whole process) with the same command line, and prints one [`Report`] as JSON.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Shortest latency of a packet.
pub const LATENCY_MIN: Duration = Duration::from_millis(1);
/// Longest latency of a packet.
pub const LATENCY_MAX: Duration = Duration::from_millis(10);
/// Between two heartbeats of a node of the mesh.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// Silence after which a node of the mesh suspects another.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// Lost packets of the mesh.
pub const LOSS: f64 = 0.01;
/// Between two crashes in the mesh.
pub const CRASH_EVERY: Duration = Duration::from_secs(10);
/// From a crash to the restart.
pub const DOWN_FOR: Duration = Duration::from_secs(2);

/// What to simulate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// So many nodes with a token each, until tokens were delivered so many times.
    Ring { nodes: usize, deliveries: u64 },
    /// So many nodes for so many simulated seconds.
    Mesh { nodes: usize, seconds: u64 },
}

impl Work {
    /// As a command line, which [`run`] reads.
    pub fn arguments(self) -> [String; 3] {
        match self {
            Self::Ring { nodes, deliveries } => ["ring".into(), nodes.to_string(), deliveries.to_string()],
            Self::Mesh { nodes, seconds } => ["mesh".into(), nodes.to_string(), seconds.to_string()],
        }
    }

    fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [kind, nodes, size] = arguments else { return None };
        let (nodes, size) = (nodes.parse().ok()?, size.parse().ok()?);
        match kind.as_str() {
            "ring" => Some(Self::Ring { nodes, deliveries: size }),
            "mesh" => Some(Self::Mesh { nodes, seconds: size }),
            _ => None,
        }
    }
}

/// What an engine did.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Deliveries, ticks and suspicions that reached a handler.
    pub events: u64,
    /// Of these, suspicions.
    pub suspicions: u64,
    /// CPU time of the process for it, in nanoseconds.
    pub cpu_ns: u64,
}

/// Reads the work and the seeds (`WORK NODES SIZE FIRST_SEED SEEDS`) from the command line, does the work once for each
/// seed, and prints a [`Report`] of them all. `prepare` makes what the engine shares among seeds, if it can share anything, which is
/// a part of what is measured.
///
/// # Panics
/// If the command line is something else: only `compare` writes it.
pub fn run<S: FnMut(u64) -> Report>(prepare: impl FnOnce(Work) -> S) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (work, seeds) = arguments.split_at_checked(3).expect("usage: WORK NODES SIZE FIRST_SEED SEEDS");
    let work = Work::from_arguments(work).expect("WORK is `ring` or `mesh`, NODES and SIZE are numbers");
    let [first, count] = seeds else { panic!("usage: WORK NODES SIZE FIRST_SEED SEEDS") };
    let [first, count]: [u64; 2] = [first, count].map(|text| text.parse().expect("seeds are numbers"));
    let mut total = Report::default();
    let start = cpu_ns();
    let mut simulate = prepare(work);
    for seed in first..first + count {
        let Report { events, suspicions, .. } = simulate(seed);
        total.events += events;
        total.suspicions += suspicions;
    }
    total.cpu_ns = cpu_ns() - start;
    println!("{}", serde_json::to_string(&total).expect("numbers are JSON"));
}

/// CPU time of this process.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
