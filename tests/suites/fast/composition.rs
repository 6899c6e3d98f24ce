//! A cluster that is part of a platform behaves as it does alone.
//!
//! While the other parts are idle, the Patroni cluster has the same run, seed by seed: its processes, hosts and volumes come first,
//! so that all its random streams are the same. The group of Redis servers comes second and has other streams; its failovers
//! have the same distribution, by the two-sample test of Kolmogorov and Smirnov at 1 %. Both groups are in three zones, and the
//! place of the first primary differs by one zone, which all links between zones are indifferent to.

use analysis::measure::SurvivingValues;
use analysis::stats::{Sample, kolmogorov_smirnov};
use analysis::{MeasureOptions, measure};
use models::Planted;
use models::patroni::{Load, PatroniCluster, Placement, Plan};
use models::platform::{PlatformCluster, PlatformPlan, RedisNeed};
use models::redis::{Machine, Parameters};
use models::sentinel::{GroupConfig, RedisLoad, SentinelCluster, SentinelPlan};
use rayon::prelude::*;
use sim_core::{
    EndReason, Fault, Process, ProcessId, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Trigger, World, run_guarded,
};

/// Runs of each.
const SEEDS: u64 = 150;

const fn seconds(seconds: u64) -> SimDuration {
    SimDuration::from_secs(seconds)
}

fn database() -> Plan {
    Plan { placement: Placement::ThreeZones, ..Plan::default() }
}

fn redis() -> SentinelPlan {
    SentinelPlan {
        servers: 3,
        sentinels: 3,
        shared_hosts: false,
        group: GroupConfig {
            down_after: seconds(5),
            failover_timeout: seconds(60),
            ..GroupConfig::default()
        },
        parameters: Parameters::default(),
        machine: Machine::default(),
        disk_sync: Plan::default().inputs.disk_sync,
        load: RedisLoad {
            writers: 1,
            write_interval: SimDuration::from_millis(50),
            timeout: seconds(1),
            beside_servers: false,
            subscribes: false,
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

/// A loss of power between two instants, drawn by the number of the run.
fn fault(target: Target, from: SimDuration, over: SimDuration, seed: u64) -> Schedule {
    let at = from + over.scale(seed * 37 % SEEDS, SEEDS);
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

#[test]
fn patroni_has_the_same_failovers_beside_an_idle_redis() {
    let alone = PatroniCluster::new(&database());
    let part =
        platform(database(), SentinelPlan { load: RedisLoad { writers: 0, ..redis().load }, ..redis() });
    let gaps = |seed: u64| {
        let schedule = fault(Target::HostOf("patroni-leader".to_owned()), seconds(20), seconds(10), seed);
        let alone = gap(alone.world(Seed(seed)), &schedule, seconds(80), alone.clients());
        let part = gap(part.world(Seed(seed)), &schedule, seconds(80), part.database().clients());
        (alone, part)
    };
    let gaps: Vec<_> = (0..SEEDS).into_par_iter().map(gaps).collect();
    let (alone, part): (Vec<_>, Vec<_>) = gaps.iter().copied().unzip();
    assert_eq!(alone, part);
    let recovered: Vec<_> = alone.iter().flatten().collect();
    assert!(
        recovered.iter().all(|gap| **gap > seconds(15)),
        "the leader was lost in all runs: {recovered:?}"
    );
    assert!(recovered.len() as u64 > SEEDS * 9 / 10);
}

#[test]
fn redis_has_the_same_distribution_of_failovers_beside_an_idle_patroni() {
    let alone = SentinelCluster::new(&redis(), Placement::ThreeZones.topology());
    let idle = Plan { load: Load { writers: 0, ..Load::default() }, ..database() };
    let part = platform(idle, redis());
    let gaps = |seed: u64| {
        // Not the same seeds: equal streams of random numbers would make the samples alike for another reason.
        let schedule =
            |host: &str, seed| fault(Target::Host(host.to_owned()), seconds(20), seconds(10), seed);
        let first = gap(alone.world(Seed(seed)), &schedule("db-1", seed), seconds(45), alone.clients());
        let other = seed + SEEDS;
        let second =
            gap(part.world(Seed(other)), &schedule("cache-1", other), seconds(45), part.redis().clients());
        (first, second)
    };
    let gaps: Vec<_> = (0..SEEDS).into_par_iter().map(gaps).collect();
    let (alone, part): (Vec<_>, Vec<_>) = gaps.into_iter().unzip();
    let (alone, part) = (Sample::new(alone), Sample::new(part));
    assert!(
        alone.finite().iter().all(|gap| *gap > seconds(5)),
        "the primary was lost in all runs: {alone:?}"
    );
    let distance = kolmogorov_smirnov(&alone, &part).expect("there are runs");
    assert!(distance.distance < distance.critical_99, "{distance:?}\n{alone:?}\n{part:?}");
}
