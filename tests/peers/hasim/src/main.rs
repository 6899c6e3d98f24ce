//! hasim's kernel, with every feature on.

#[path = "../../../../sim-core/benches/workloads.rs"]
mod workloads;

use sim_core::Seed;
use workload::{Report, Work, run};

fn main() {
    // As in a campaign: what a world is built from is the same for all seeds.
    run(|work| -> Box<dyn FnMut(u64) -> Report> {
        match work {
            Work::Ring { nodes, deliveries } => {
                let builder = workloads::ring(nodes);
                Box::new(move |seed| {
                    workloads::run_ring(&builder, Seed(seed), deliveries);
                    Report { events: deliveries, ..Report::default() }
                })
            }
            Work::Mesh { nodes, seconds } => {
                let (builder, counts) = workloads::mesh(nodes);
                Box::new(move |seed| {
                    workloads::run_mesh(&builder, Seed(seed), seconds);
                    Report {
                        events: counts.events.take(),
                        suspicions: counts.suspicions.take(),
                        ..Report::default()
                    }
                })
            }
        }
    });
}
