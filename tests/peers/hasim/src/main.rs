//! hasim's kernel, with every feature on.

#[path = "../../../../sim-core/benches/workloads.rs"]
mod workloads;

use sim_core::Seed;
use workload::{Report, Work, run};

fn main() {
    run(|work, seed| match work {
        Work::Ring { nodes, deliveries } => {
            workloads::run_ring(&workloads::ring(nodes), Seed(seed), deliveries);
            Report { events: deliveries, ..Report::default() }
        }
        Work::Mesh { nodes, seconds } => {
            let (builder, counts) = workloads::mesh(nodes);
            workloads::run_mesh(&builder, Seed(seed), seconds);
            Report { events: counts.events.get(), suspicions: counts.suspicions.get(), ..Report::default() }
        }
    });
}
