//! Builds the engines, runs them in turns on the same work, and prints what an event cost each, with the ratio to hasim.
//!
//! Figures are CPU time of the process, so other load on the machine hardly counts; of several rounds the least is taken,
//! because noise only ever adds. The engines agree on what they did: the table says how many events that was.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use workload::{Report, Work};

const ROUNDS: usize = 5;

struct Engine {
    name: &'static str,
    program: PathBuf,
    /// How many times slower than hasim it was when this was written, roughly: it gets that much less to do.
    share: u64,
}

fn main() {
    let madsim_flags = Some("--cfg madsim");
    let engines = [
        Engine { name: "hasim", program: build("engine-hasim", "peers", None), share: 1 },
        Engine { name: "madsim", program: build("engine-madsim", "peers-madsim", madsim_flags), share: 20 },
        Engine { name: "turmoil", program: build("engine-turmoil", "peers", None), share: 200 },
    ];
    println!(
        "CPU time an event, least of {ROUNDS} rounds in turns; in brackets, how many times that of hasim\n"
    );
    println!("{:<22}{:>10}{:>22}{:>22}", "work", "hasim", "madsim", "turmoil");
    for (title, work, seeds) in [
        ("ring, 3 nodes", Work::Ring { nodes: 3, deliveries: 100_000 }, 40),
        ("ring, 16 nodes", Work::Ring { nodes: 16, deliveries: 100_000 }, 40),
        ("ring, 100 nodes", Work::Ring { nodes: 100, deliveries: 20_000 }, 200),
        ("mesh, 7 nodes, 60 s", Work::Mesh { nodes: 7, seconds: 60 }, 200),
    ] {
        let mut least = [f64::INFINITY; 3];
        let mut done = [(0, 0); 3];
        for _ in 0..ROUNDS {
            for (position, engine) in engines.iter().enumerate() {
                let seeds = (seeds / engine.share).max(1);
                let report = run(engine, work, seeds);
                least[position] = least[position].min(report.cpu_ns as f64 / report.events as f64);
                done[position] = (report.events / seeds, report.suspicions / seeds);
            }
        }
        let [hasim, madsim, turmoil] = least;
        let cell = |cost: f64| format!("{cost:.0} ns ({:.0} x)", cost / hasim);
        println!("{title:<22}{:>10}{:>22}{:>22}", format!("{hasim:.1} ns"), cell(madsim), cell(turmoil));
        let events = done.map(|(events, suspicions)| match work {
            Work::Ring { .. } => format!("{events}"),
            Work::Mesh { .. } => format!("{events} ({suspicions})"),
        });
        println!("{:<22}{:>10}{:>22}{:>22}", "  events", events[0], events[1], events[2]);
    }
    println!("\nEvents are those of one seed; in brackets, how many of them were suspicions.");
}

/// Builds an engine in release mode and returns its program. Engines with other flags have another target folder.
fn build(package: &str, folder: &str, flags: Option<&str>) -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."));
    let target = root.join("target").join(folder);
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", package, "--manifest-path"]);
    cargo.arg(root.join("tests/peers/Cargo.toml")).arg("--target-dir").arg(&target);
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
    }
    let status = cargo.status().expect("cargo, which runs this program, can be run");
    assert!(status.success(), "{package} could not be built: see above");
    target.join("release").join(package)
}

fn run(engine: &Engine, work: Work, seeds: u64) -> Report {
    let output = Command::new(&engine.program)
        .args(work.arguments())
        .args(["1", &seeds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", engine.program.display()));
    assert!(output.status.success(), "{} failed at {work:?}: see above", engine.name);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{} printed no report: {error}", engine.name))
}
