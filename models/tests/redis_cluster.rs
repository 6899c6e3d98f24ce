//! Redis Cluster as a whole: from a lost primary to clients that are served again.

use models::Planted;
use models::redis::{Machine, Parameters};
use models::redis_cluster::{ClusterConfig, ClusterLoad, ClusterPlan, RedisCluster, Refresh};
use sim_core::{
    Distribution, EndReason, Fault, MarkKind, Record, Schedule, ScheduledFault, Seed, SimDuration, SimTime,
    Target, Topology, Trigger, advance_guarded,
};

fn plan() -> ClusterPlan {
    ClusterPlan {
        nodes: 6,
        shards: 3,
        hosts: 6,
        config: ClusterConfig { node_timeout: SimDuration::from_secs(5), ..ClusterConfig::default() },
        parameters: Parameters {
            repl_diskless_sync_delay: SimDuration::ZERO,
            save: Vec::new(),
            ..Parameters::default()
        },
        machine: Machine::default(),
        disk_sync: Distribution::Constant(SimDuration::from_micros(250)),
        load: ClusterLoad {
            writers: 1,
            write_interval: SimDuration::from_millis(50),
            timeout: SimDuration::from_secs(1),
            beside_nodes: false,
            refresh: Refresh::OnError,
            wait_for: None,
            local_writers: false,
            other_writers: None,
            stop_at: None,
        },
        planted: Planted::Nothing,
    }
}

fn run(
    plan: &ClusterPlan,
    fault: Fault,
    at: SimDuration,
    seed: u64,
    until: SimDuration,
) -> (Record, Vec<u64>) {
    let (topology, zones) = Topology::one_zone();
    let cluster = RedisCluster::new(plan, (topology, zones.to_vec()));
    let mut world = cluster.world(Seed(seed));
    if std::env::var("LOG").is_ok() {
        world.log(false);
    }
    let fault = ScheduledFault { trigger: Trigger::At(at), fault, lasts: None };
    world.schedule(&Schedule(vec![fault])).unwrap();
    let end = advance_guarded(&mut world, SimTime::ZERO + until, 20_000_000);
    for entry in world.log_entries() {
        println!("{} {:?} {}", entry.at, entry.process, entry.text);
    }
    assert_eq!(end, EndReason::Horizon, "seed {seed}");
    let values = cluster.surviving(&world);
    (world.record(end), values)
}

#[test]
fn measure() {
    let n: u64 = std::env::var("N").map_or(64, |n| n.parse().unwrap());
    let nt: u64 = std::env::var("NT").map_or(5, |n| n.parse().unwrap());
    for kind in ["stop", "kill"] {
        let mut plan = plan();
        plan.config.node_timeout = SimDuration::from_secs(nt);
        let mut failed = Vec::new();
        let mut won = Vec::new();
        for seed in 0..n {
            let at = SimDuration::from_secs(20) + SimDuration::from_secs(10).scale(seed, n);
            let target = Target::Role("primary".to_owned());
            let fault = if kind == "kill" { Fault::Kill { target } } else { Fault::Pause { target } };
            let (record, _) = run(&plan, fault, at, seed, at + SimDuration::from_secs(40));
            let find = |kind| {
                record
                    .marks
                    .iter()
                    .find(|m| m.kind == kind && m.at > SimTime::ZERO + at)
                    .map_or(99.0, |m| m.at.since(SimTime::ZERO + at).as_secs_f64())
            };
            failed.push(find(MarkKind::Agreed));
            won.push(find(MarkKind::Elected));
        }
        for (name, v) in [("fail", &mut failed), ("won", &mut won)] {
            v.sort_by(f64::total_cmp);
            let q = |p: f64| v[((v.len() as f64 - 1.0) * p) as usize];
            println!(
                "{kind} NT={nt} {name} min {:.2} p10 {:.2} p50 {:.2} p90 {:.2} max {:.2}",
                v[0],
                q(0.1),
                q(0.5),
                q(0.9),
                q(1.0)
            );
        }
    }
}
