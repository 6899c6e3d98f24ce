//! What a fork costs a server of Redis and everybody who asks it meanwhile.

use models::redis::{Machine, Parameters, SavePoint};
use sim_core::{ProcessId, SimDuration, World};

use super::redis::{Cluster, Node, OTHER, PRIMARY, REPLICA, run, seconds, server, state};

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
