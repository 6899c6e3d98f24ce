//! What a server of Redis that stands still costs itself and everybody who asks it meanwhile: in a fork, and until a snapshot is synced.

use models::redis::release::Version;
use models::redis::{Machine, Parameters, SavePoint};
use sim_core::{Fault, ProcessId, SimDuration, SimTime, World};

use super::redis::{Cluster, Node, OTHER, PRIMARY, REPLICA, process, run, schedule, seconds, server, state};

/// Three servers with 1 GB of data each, whose forks take so long; snapshots are written to disk.
fn cluster(fork: SimDuration) -> Cluster {
    let cluster = Cluster::default();
    let parameters = Parameters { repl_diskless_sync: false, ..cluster.parameters };
    let machine = Machine { dataset: 1_000_000_000, fork_per_gigabyte: fork, ..cluster.machine };
    Cluster { parameters, machine, ..cluster }
}

/// How many events with this text a process has had.
fn had(world: &World<Node>, process: ProcessId, text: &str) -> usize {
    let entries = world.log_entries().iter();
    entries.filter(|entry| entry.process == Some(process) && entry.text.contains(text)).count()
}

#[test]
fn nobody_is_answered_during_a_fork_and_everybody_afterwards() {
    let mut world = cluster(seconds(3)).world(20);
    run(&mut world, 1);
    let before = server(&world, PRIMARY).log().len();
    run(&mut world, 3);
    assert_eq!(server(&world, PRIMARY).log().len(), before, "it stands still");
    run(&mut world, 30);
    let primary = state(&world, PRIMARY);
    assert!(primary.2 > before + 1_000, "{primary:?}");
    assert_eq!([state(&world, REPLICA), state(&world, OTHER)], [primary, primary]);
}

/// `syncCommand`: a child that writes to disk for one replica does so for all that come meanwhile.
#[test]
fn replicas_that_come_at_once_cost_one_fork() {
    for (fork, snapshots) in [(seconds(3), 1), (SimDuration::ZERO, 2)] {
        let mut world = cluster(fork).world(4);
        world.log(true);
        run(&mut world, 40);
        assert_eq!(had(&world, PRIMARY, "Dumped"), snapshots, "{fork:?}");
        for replica in [REPLICA, OTHER] {
            assert_eq!(had(&world, replica, "FullResync"), 1, "{fork:?}");
            assert_eq!(state(&world, replica), state(&world, PRIMARY), "{fork:?}");
        }
    }
}

#[test]
fn a_save_point_forks_as_well() {
    let mut cluster = cluster(seconds(3));
    cluster.parameters.save = vec![SavePoint { after: seconds(20), changes: 1 }];
    let mut world = cluster.world(60);
    world.log(true);
    run(&mut world, 19);
    assert_eq!(had(&world, PRIMARY, "Forked"), 1, "for the replicas");
    run(&mut world, 22);
    let before = server(&world, PRIMARY).log().len();
    run(&mut world, 23);
    assert_eq!(server(&world, PRIMARY).log().len(), before, "it stands still");
    run(&mut world, 26);
    assert_eq!(had(&world, PRIMARY, "Forked"), 2);
    assert!(server(&world, PRIMARY).log().len() > before);
}

/// When a process had the first event with this text.
fn first(world: &World<Node>, process: ProcessId, text: &str) -> SimTime {
    let mut entries = world.log_entries().iter();
    let entry = entries.find(|entry| entry.process == Some(process) && entry.text.contains(text));
    entry.unwrap_or_else(|| panic!("{text}")).at
}

#[test]
fn a_replica_loads_what_it_has_synced() {
    for (version, syncs) in [((6, 0, 8), 0), ((6, 0, 9), 1), ((7, 0, 2), 1), ((7, 0, 3), 2), ((7, 0, 15), 2)]
    {
        let cluster = Cluster::default();
        let version = Version::new(version.0, version.1, version.2);
        let parameters = Parameters { version, ..cluster.parameters };
        let mut world = Cluster { parameters, sync: seconds(2), ..cluster }.world(10);
        world.log(true);
        run(&mut world, 20);
        let (came, loaded) = (first(&world, REPLICA, "Snapshot"), first(&world, REPLICA, "Loaded"));
        assert_eq!(loaded.since(came).as_millis() / 1000, 2 * syncs, "{version}");
        assert_eq!(state(&world, REPLICA), state(&world, PRIMARY), "{version}");
    }
}

/// While it stands still it is asked in vain, also by the primary, which is told afterwards how far it is.
#[test]
fn a_replica_that_syncs_a_snapshot_acknowledges_nothing() {
    let mut world = Cluster { sync: seconds(2), ..Cluster::default() }.world(10);
    run(&mut world, 3);
    assert_eq!(server(&world, PRIMARY).good_replicas(), 0);
    run(&mut world, 6);
    assert_eq!(server(&world, PRIMARY).good_replicas(), 2);
}

#[test]
fn a_snapshot_that_cannot_be_synced_is_asked_for_again() {
    let mut world = Cluster::default().world(10);
    world.log(true);
    schedule(&mut world, &[(0, Fault::DiskError { target: process("redis-2") }, 5)]);
    run(&mut world, 4);
    assert!(had(&world, REPLICA, "trying to sync the snapshot failed") > 0);
    assert!(!server(&world, REPLICA).link_is_up());
    run(&mut world, 15);
    assert!(had(&world, REPLICA, "FullResync") > 1);
    assert_eq!(state(&world, REPLICA), state(&world, PRIMARY));
}

#[test]
fn a_snapshot_for_which_there_is_no_space_is_asked_for_again_until_there_is() {
    for version in [Version::new(6, 0, 8), Version::new(7, 0, 15)] {
        let cluster = Cluster::default();
        let parameters = Parameters { version, ..cluster.parameters };
        let mut world = Cluster { parameters, ..cluster }.world(10);
        world.log(true);
        schedule(&mut world, &[(0, Fault::DiskFull { target: process("redis-2") }, 8)]);
        run(&mut world, 7);
        assert!(had(&world, REPLICA, "writing what the primary sends failed") > 1, "{version}");
        assert!(!server(&world, REPLICA).link_is_up(), "{version}");
        run(&mut world, 20);
        assert_eq!(state(&world, REPLICA), state(&world, PRIMARY), "{version}");
    }
}

#[test]
fn a_replica_keeps_its_data_when_there_is_no_space_for_others() {
    let mut world = Cluster::default().world(10);
    world.log(true);
    run(&mut world, 10);
    let before = server(&world, REPLICA).log().len();
    let command = |command: &str| Fault::Command { target: process("redis-2"), command: command.to_owned() };
    // A stream of its own, which nobody else knows.
    let faults = [
        (11, Fault::DiskFull { target: process("redis-2") }, 0),
        (11, command("replicaof-no-one"), 0),
        (12, command("replicaof redis-3"), 0),
    ];
    schedule(&mut world, &faults);
    run(&mut world, 30);
    assert!(had(&world, REPLICA, "writing what the primary sends failed") > 0);
    assert!(!server(&world, REPLICA).link_is_up());
    assert!(server(&world, REPLICA).log().len() >= before, "it has what it had");
}
