//! What a run of a Patroni cluster costs, and its parts: boot, fork, judge. `cargo bench -p scenarios --bench patroni`

#[path = "../../sim-core/benches/cpu_time.rs"]
mod cpu_time;
mod subject;

use std::hint::black_box;

use analysis::measure;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use scenarios::campaign::{judge, run_schedule, run_seed};
use scenarios::family::LogLevel;
use sim_core::{Seed, SimTime};

use cpu_time::CpuTime;

/// Seeds over which the events of a run are averaged.
const SAMPLE: u64 = 50;

/// A whole run of a campaign: faults, world, events, record, judge, row.
fn schedule(criterion: &mut Criterion<CpuTime>) {
    let (case, system) = subject::host_crash();
    let events: u64 = (0..SAMPLE).map(|seed| run_seed(&case, &*system, Seed(seed)).row.events).sum();
    let mut group = criterion.benchmark_group("patroni");
    group.throughput(Throughput::Elements(events / SAMPLE));
    let mut seeds = (0..SAMPLE).map(Seed).cycle();
    group.bench_function("host crash, 60 s, judged", |bencher| {
        bencher.iter(|| run_seed(&case, &*system, seeds.next().expect("seeds do not end")));
    });
    group.finish();
}

fn judging(criterion: &mut Criterion<CpuTime>) {
    let (case, system) = subject::host_crash();
    let seed = Seed(1);
    let (_, result) = run_schedule(&case, &*system, seed, &case.scenario.schedule(seed), LogLevel::Off);
    let options = system.measure_options();
    criterion.bench_function("patroni/judge", |bencher| {
        bencher.iter(|| {
            let measures = measure(&result.record, &result.surviving, &options);
            black_box(judge(&case.scenario.promises, &result.record, &measures))
        });
    });
}

fn world(criterion: &mut Criterion<CpuTime>) {
    let cluster = subject::cluster();
    let mut seeds = (0..).map(Seed);
    criterion.bench_function("patroni/boot", |bencher| {
        bencher.iter(|| {
            let mut world = cluster.world(seeds.next().expect("seeds do not end"));
            // All processes boot at the first instant.
            world.run(SimTime::ZERO, u64::MAX);
            world
        });
    });
    let warm = subject::world(&cluster, Seed(1));
    criterion.bench_function("patroni/fork, warm", |bencher| {
        bencher.iter_batched(|| (), |()| warm.clone(), BatchSize::LargeInput);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = schedule, judging, world
}
criterion_main!(benches);
