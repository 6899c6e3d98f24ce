//! What an event of the kernel costs, on protocols that do next to nothing themselves, with every feature of the kernel
//! on. `cargo bench -p sim-core`

mod cpu_time;
mod workloads;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sim_core::Seed;

use cpu_time::CpuTime;

const DELIVERIES: u64 = 100_000;
const MESH_NODES: usize = 7;
const MESH_SECONDS: u64 = 60;

fn ring(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(DELIVERIES));
    for nodes in [3, 16, 100] {
        let builder = workloads::ring(nodes);
        let mut seeds = (0..).map(Seed);
        group.bench_function(format!("{nodes} nodes"), |bencher| {
            bencher.iter(|| {
                let seed = seeds.next().expect("seeds do not end");
                black_box(workloads::run_ring(&builder, seed, DELIVERIES).digest())
            });
        });
    }
    group.finish();
}

fn mesh(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("mesh");
    let (builder, counts) = workloads::mesh(MESH_NODES);
    workloads::run_mesh(&builder, Seed(0), MESH_SECONDS);
    // Seeds differ in what is lost: by less than a hundredth of the events.
    group.throughput(Throughput::Elements(counts.events.get()));
    let mut seeds = (0..).map(Seed);
    group.bench_function(format!("{MESH_NODES} nodes, {MESH_SECONDS} s"), |bencher| {
        bencher.iter(|| {
            let seed = seeds.next().expect("seeds do not end");
            black_box(workloads::run_mesh(&builder, seed, MESH_SECONDS).digest())
        });
    });
    group.finish();
}

fn build(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("build");
    let (builder, _) = workloads::mesh(MESH_NODES);
    let mut seeds = (0..).map(Seed);
    group.bench_function(format!("mesh of {MESH_NODES} nodes"), |bencher| {
        bencher.iter(|| builder.build(seeds.next().expect("seeds do not end")));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = ring, mesh, build
}
criterion_main!(benches);
