//! A cluster that is part of a platform behaves as it does alone.
//!
//! While the other parts are idle, each has the same distribution of failovers, by the two-sample test of Kolmogorov and Smirnov
//! at 1 %. Not the same runs: links are numbered over all hosts, so their random streams are others. For the same reason the
//! samples are independent, and besides they have other seeds.

use std::collections::BTreeMap;

use analysis::measure::SurvivingValues;
use analysis::stats::{Sample, kolmogorov_smirnov};
use analysis::{MeasureOptions, measure};
use models::patroni::{Load, PatroniCluster, Plan};
use models::platform::{PlatformCluster, PlatformPlan, RedisNeed};
use models::redis::{Inputs, Machine, Parameters, Purpose, Waking};
use models::sentinel::{GroupConfig, RedisLoad, SentinelCluster, SentinelPlan};
use models::{Placement, Planted};
use rayon::prelude::*;
use sim_core::{
    EndReason, Fault, Process, ProcessId, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Trigger, World, run_guarded,
};

/// Runs of each sample: few in the suite, many where the build is fast.
const SEEDS: u64 = if cfg!(debug_assertions) { 150 } else { 3_000 };

const fn seconds(seconds: u64) -> SimDuration {
    SimDuration::from_secs(seconds)
}

fn database() -> Plan {
    Plan { placement: Placement::ThreeZones, ..Plan::default() }
}

fn redis() -> SentinelPlan {
    SentinelPlan {
        servers: 3,
        groups: 1,
        sentinels: 3,
        shared_hosts: false,
        containers: false,
        replicaof: BTreeMap::new(),
        election: None,
        group: GroupConfig {
            down_after: seconds(5),
            failover_timeout: seconds(60),
            ..GroupConfig::default()
        },
        parameters: Parameters::default(),
        machine: Machine::default(),
        disk_sync: Plan::default().inputs.disk_sync,
        save_sync: Inputs::default().save_sync,
        waking: Waking::default(),
        load: RedisLoad {
            writers: 1,
            write_interval: SimDuration::from_millis(50),
            timeout: seconds(1),
            beside_servers: false,
            subscribes: false,
            purpose: Purpose::Values,
            reads_from_replicas: false,
            listeners: 0,
            own_sentinel: false,
            asks_each_time: false,
            start_at: SimDuration::ZERO,
            wait_for: None,
            local_writers: false,
            stop_at: None,
        },
        planted: Planted::Nothing,
    }
}

fn platform(database: Plan, redis: SentinelPlan) -> PlatformCluster {
    PlatformCluster::new(&PlatformPlan {
        database,
        redis,
        services: 0,
        need: RedisNeed::Required,
        redis_timeout: seconds(1),
        database_timeout: seconds(5),
        interval: SimDuration::from_millis(200),
        stop_at: None,
    })
}

/// A loss of power between 20 s and 30 s, spread evenly by the number of the run.
fn fault(target: Target, run: u64) -> Schedule {
    let at = seconds(20) + seconds(10).scale(run * 37 % SEEDS, SEEDS);
    Schedule(vec![ScheduledFault {
        trigger: Trigger::At(at),
        fault: Fault::PowerOff { target },
        lasts: None,
    }])
}

/// The time without a successful write of these clients.
fn gap<P: Process>(
    mut world: World<P>,
    schedule: &Schedule,
    until: SimDuration,
    clients: &[ProcessId],
) -> Option<SimDuration> {
    world.schedule(schedule).expect("the target exists");
    let record = run_guarded(&mut world, SimTime::ZERO + until, 50_000_000);
    assert_eq!(record.end, EndReason::Horizon);
    let options = MeasureOptions { clients: Some(clients.to_vec()), ..MeasureOptions::default() };
    measure(&record, &SurvivingValues::default(), &options).availability.failover_gap
}

/// Holds two samples of gaps to the same distribution; all of them are longer than `least`.
fn must_agree(alone: Vec<Option<SimDuration>>, part: Vec<Option<SimDuration>>, least: SimDuration) {
    let (alone, part) = (Sample::new(alone), Sample::new(part));
    for sample in [&alone, &part] {
        let lost = sample.finite().iter().filter(|gap| **gap > least).count() as u64;
        assert!(lost > SEEDS * 9 / 10, "the leader was lost in nearly all runs: {sample:?}");
    }
    let distance = kolmogorov_smirnov(&alone, &part).expect("there are runs");
    assert!(distance.distance < distance.critical_99, "{distance:?}");
}

#[test]
fn patroni_has_the_same_failovers_beside_an_idle_redis() {
    let alone = PatroniCluster::new(&database());
    let idle = SentinelPlan { load: RedisLoad { writers: 0, ..redis().load }, ..redis() };
    let part = platform(database(), idle);
    let target = || Target::HostOf("patroni-leader".to_owned());
    let gaps = |seed: u64| {
        let other = seed + SEEDS;
        let (first, second) = (fault(target(), seed), fault(target(), other));
        (
            gap(alone.world(Seed(seed)), &first, seconds(80), alone.clients()),
            gap(part.world(Seed(other)), &second, seconds(80), part.database().clients()),
        )
    };
    let (alone, part) = (0..SEEDS).into_par_iter().map(gaps).unzip();
    must_agree(alone, part, seconds(15));
}

#[test]
fn redis_has_the_same_failovers_beside_an_idle_patroni() {
    let alone = SentinelCluster::new(&redis(), Placement::ThreeZones.topology());
    let idle = Plan { load: Load { writers: 0, ..Load::default() }, ..database() };
    let part = platform(idle, redis());
    let target = |host: &str| Target::Host(host.to_owned());
    let gaps = |seed: u64| {
        let other = seed + SEEDS;
        let (first, second) = (fault(target("db-1"), seed), fault(target("cache-1"), other));
        (
            gap(alone.world(Seed(seed)), &first, seconds(45), alone.clients()),
            gap(part.world(Seed(other)), &second, seconds(45), part.redis().clients()),
        )
    };
    let (alone, part) = (0..SEEDS).into_par_iter().map(gaps).unzip();
    must_agree(alone, part, seconds(5));
}
