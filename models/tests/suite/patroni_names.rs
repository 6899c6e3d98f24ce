//! A whole Patroni cluster whose members tell a name server who leads, by the callback `on_role_change`.

use models::patroni::{ClusterProcess, Disk, Load, PatroniCluster, Plan, Route};
use sim_core::{
    EndReason, Fault, Process, ProcessId, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Trigger, World,
};

fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

fn at(at: u64, fault: Fault, lasts: Option<u64>) -> ScheduledFault {
    ScheduledFault { trigger: Trigger::At(secs(at)), fault, lasts: lasts.map(secs) }
}

fn run(faults: Vec<ScheduledFault>) -> World<ClusterProcess> {
    let load = Load { route: Route::Dns, stop_at: Some(secs(100)), ..Load::default() };
    let mut world = PatroniCluster::new(&Plan { load, ..Plan::default() }).world(Seed(5));
    world.log(false);
    world.schedule(&Schedule(faults)).expect("the targets exist");
    assert_eq!(world.run(SimTime::ZERO + secs(110), 20_000_000), EndReason::Horizon);
    world
}

fn switchover() -> Fault {
    Fault::Command { target: Target::Role("patroni-leader".to_owned()), command: "switchover".to_owned() }
}

fn name_server_off() -> Fault {
    Fault::PowerOff { target: Target::HostOf("name-server".to_owned()) }
}

fn primary(world: &World<ClusterProcess>) -> ProcessId {
    let plays = |process: &ProcessId| world.process(*process).is_some_and(|state| state.plays("primary"));
    world.process_ids().find(plays).expect("somebody leads")
}

/// What the name server says now.
fn named(world: &World<ClusterProcess>) -> Option<ProcessId> {
    let server = world.process_ids().find(|process| world.name(*process) == "dns-1").expect("there is one");
    let Disk::Name(record) = world.storage(server) else { panic!("name servers keep a record") };
    record.address
}

fn noted(world: &World<ClusterProcess>, text: &str) -> bool {
    world.log_entries().iter().any(|entry| entry.text.contains(text))
}

#[test]
fn a_promotion_gives_the_name_its_address() {
    let first = run(Vec::new());
    assert_eq!(named(&first), Some(primary(&first)));
    let second = run(vec![at(40, switchover(), None)]);
    assert_eq!(named(&second), Some(primary(&second)));
    assert_ne!(primary(&first), primary(&second));
}

#[test]
fn an_update_is_sent_again_for_some_seconds_and_then_no_more() {
    // The server is away from before the promotion on, which comes some 3 s after the command.
    let short = run(vec![at(35, name_server_off(), Some(13)), at(40, switchover(), None)]);
    assert_eq!(named(&short), Some(primary(&short)));
    let long = run(vec![at(35, name_server_off(), Some(25)), at(40, switchover(), None)]);
    assert!(noted(&long, "could not update the name"));
    assert!(named(&long).is_some_and(|address| address != primary(&long)), "the old address stays");
}

#[test]
fn a_script_that_runs_is_killed_by_the_callback_of_a_demotion() {
    // The new leader loses its lock while its script waits for an answer.
    let faults =
        vec![at(35, name_server_off(), Some(40)), at(40, switchover(), None), at(44, switchover(), None)];
    let world = run(faults);
    assert!(noted(&world, "killed the on_role_change script"));
}
