//! A whole Patroni cluster with Kubernetes as its store.

use std::collections::BTreeSet;

use models::patroni::{
    ClusterProcess, Configuration, KubernetesSettings, Load, PatroniCluster, Plan, Route, Version,
};
use sim_core::{
    EndReason, Fault, Mark, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, Trigger,
    World,
};

use crate::patroni_clusters::{players, story};

fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

fn cluster(settings: KubernetesSettings, change: impl FnOnce(&mut Plan)) -> PatroniCluster {
    let configuration = Configuration { kubernetes: Some(settings), ..Configuration::default() };
    let load = Load { route: Route::Service, stop_at: Some(secs(100)), ..Load::default() };
    let mut plan = Plan { configuration, load, ..Plan::default() };
    change(&mut plan);
    PatroniCluster::new(&plan)
}

fn endpoints() -> KubernetesSettings {
    KubernetesSettings { use_endpoints: true, ..KubernetesSettings::default() }
}

fn run(cluster: &PatroniCluster, seed: u64, fault: Option<(u64, Fault)>) -> World<ClusterProcess> {
    let mut world = cluster.world(Seed(seed));
    world.log(false);
    let scheduled =
        fault.map(|(at, fault)| ScheduledFault { trigger: Trigger::At(secs(at)), fault, lasts: None });
    world.schedule(&Schedule(scheduled.into_iter().collect())).expect("the targets exist");
    assert_eq!(world.run(SimTime::ZERO + secs(110), 20_000_000), EndReason::Horizon);
    world
}

/// When something was marked first after an instant.
fn first(world: &World<ClusterProcess>, kind: MarkKind, after: SimTime) -> SimTime {
    let matches = |mark: &&Mark| mark.kind == kind && mark.at >= after;
    world.marks().iter().find(matches).unwrap_or_else(|| panic!("no {kind}: {}", story(world))).at
}

fn acknowledged(world: &mut World<ClusterProcess>) -> usize {
    let record = world.record(EndReason::Horizon);
    record.operations.iter().filter(|operation| operation.is_acknowledged()).count()
}

#[test]
fn a_cluster_forms_whatever_objects_and_addresses_it_uses() {
    for use_endpoints in [true, false] {
        for bypass_api_service in [true, false] {
            let settings =
                KubernetesSettings { use_endpoints, bypass_api_service, retriable_http_codes: Vec::new() };
            let mut world = run(&cluster(settings, |_| {}), 3, None);
            assert_eq!(players(&world, "primary").len(), 1, "{}", story(&world));
            assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
            assert!(acknowledged(&mut world) > 500, "clients reach it through the Service");
        }
    }
}

/// Loops run in step with the leader's, and look half a second after each of its renewals should have come: the third look
/// finds the lock expired, 30.5 s after the last renewal (fidelity specification, 5.1).
#[test]
fn a_dead_leader_is_noticed_half_a_second_after_its_lock_expired() {
    let cluster = cluster(endpoints(), |_| {});
    for seed in 0..5 {
        let crash = Fault::PowerOff { target: Target::HostOf("primary".to_owned()) };
        let world = run(&cluster, seed, Some((40 + seed, crash)));
        let crashed = SimTime::ZERO + secs(40 + seed);
        let renewal = world
            .log_entries()
            .iter()
            .rfind(|entry| entry.at < crashed && entry.text.ends_with("the leader with the lock"));
        let renewed = renewal.expect("there was a leader").at;
        let noticed = first(&world, MarkKind::Suspected, crashed).since(renewed);
        assert!((30_400..30_700).contains(&noticed.as_millis()), "{noticed}: {}", story(&world));
    }
}

/// Before 2.0.0 nothing kept the loops in step (#1515).
#[test]
fn without_steps_a_dead_leader_is_noticed_up_to_a_loop_later() {
    let cluster = cluster(endpoints(), |plan| plan.configuration.version = Version::new(1, 6, 5));
    let late = (0..10).filter(|seed| {
        let crash = Fault::PowerOff { target: Target::HostOf("primary".to_owned()) };
        let world = run(&cluster, *seed, Some((40, crash)));
        let crashed = SimTime::ZERO + secs(40);
        let elected = first(&world, MarkKind::Elected, crashed).since(crashed);
        assert!(elected <= secs(43), "{elected}: {}", story(&world));
        elected > secs(33)
    });
    assert!(late.count() > 0);
}

#[test]
fn a_switchover_takes_the_traffic_with_the_lock() {
    let cluster = cluster(endpoints(), |_| {});
    let switch = Fault::Command {
        target: Target::Role("patroni-leader".to_owned()),
        command: "switchover".to_owned(),
    };
    let mut world = run(&cluster, 5, Some((40, switch)));
    let asked = SimTime::ZERO + secs(40);
    let elected = first(&world, MarkKind::Elected, asked);
    let rerouted = first(&world, MarkKind::Rerouted, asked);
    assert!(rerouted.since(elected) <= secs(2), "{}", story(&world));
    let surviving: BTreeSet<u64> = cluster.surviving(&world);
    let record = world.record(EndReason::Horizon);
    let lost = record.operations.iter().filter(|operation| operation.is_acknowledged());
    assert_eq!(lost.filter(|operation| !surviving.contains(&operation.value)).count(), 0);
}
