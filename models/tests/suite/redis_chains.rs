//! Replication of Redis in a chain: a primary, a replica, and a replica of that.

use models::redis::Parameters;
use models::redis::release::Version;
use sim_core::{Direction, Fault, ProcessId, Target, World};

use super::redis::{Cluster, Node, OTHER, PRIMARY, REPLICA, process, run, schedule, seconds, server, state};

/// A chain of one release.
fn chain((major, minor, patch): (u16, u16, u16), parameters: Parameters) -> Cluster {
    let parameters = Parameters { version: Version::new(major, minor, patch), ..parameters };
    Cluster { parameters, is_chain: true, ..Cluster::default() }
}

fn plain() -> Parameters {
    Cluster::default().parameters
}

/// The first two servers cannot reach each other.
fn cut() -> Fault {
    let host = |name: &str| vec![Target::Host(name.to_owned())];
    Fault::Partition { from: host("db-1"), to: host("db-2"), direction: Direction::Both }
}

/// How many packets of a kind a process has got since the log began.
fn heard(world: &World<Node>, receiver: ProcessId, packet: &str) -> usize {
    let entries = world.log_entries().iter();
    entries.filter(|entry| entry.process == Some(receiver) && entry.text.contains(packet)).count()
}

fn digest(world: &World<Node>, process: ProcessId) -> u64 {
    server(world, process).log().digest()
}

#[test]
fn a_replica_hands_on_what_its_primary_sends() {
    let mut world = chain((7, 0, 15), plain()).world(10);
    run(&mut world, 12);
    let primary = state(&world, PRIMARY);
    assert!(primary.2 > 1_900, "{primary:?}");
    assert_eq!(state(&world, REPLICA), primary);
    assert_eq!(state(&world, OTHER), primary, "the same stream, and the same place in it");
    assert_eq!(server(&world, OTHER).follows(), Some(REPLICA));
    assert_eq!(server(&world, PRIMARY).good_replicas(), 1, "the primary knows its own replica only");
    assert_eq!(server(&world, REPLICA).relayed(), None);
}

#[test]
fn before_release_4_it_gives_its_replicas_a_stream_of_its_own() {
    let mut world = chain((3, 2, 13), plain()).world(10);
    run(&mut world, 12);
    let (primary, other) = (state(&world, PRIMARY), state(&world, OTHER));
    assert_eq!(state(&world, REPLICA), primary);
    assert_ne!(other.0, primary.0);
    assert_eq!(Some((other.0, other.1)), server(&world, REPLICA).relayed());
    assert_eq!((other.2, digest(&world, OTHER)), (primary.2, digest(&world, PRIMARY)), "it holds everything");
}

/// Whether a replica holds what the replica that it follows does, after it has hung while that took a snapshot, and whether it
/// had to take one, too.
fn hangs_through_a_snapshot(version: (u16, u16, u16)) -> (bool, bool) {
    let short = Parameters { repl_timeout: seconds(3), repl_backlog_size: 1 << 16, ..plain() };
    let mut world = chain(version, short).world(28);
    let hang = Fault::Pause { target: process("redis-3") };
    // The backlog holds 64 KiB and 10 kB are written in each second: 14 s are too much, and 4 s are not.
    schedule(&mut world, &[(8, hang, 18), (9, cut(), 10)]);
    run(&mut world, 5);
    world.log(true);
    run(&mut world, 32);
    assert_eq!(
        heard(&world, REPLICA, "FullResync"),
        1,
        "{version:?}: the one in the middle takes a snapshot"
    );
    assert_eq!(digest(&world, REPLICA), digest(&world, PRIMARY));
    (digest(&world, OTHER) == digest(&world, REPLICA), heard(&world, OTHER, "FullResync") > 0)
}

/// RZ-25 of the fidelity specification, redis/redis#2694.
#[test]
fn the_data_of_a_replica_of_a_replica_depend_on_the_release() {
    let versions = [(2, 8, 21), (2, 8, 22), (3, 0, 3), (3, 0, 4), (3, 2, 13), (4, 0, 0), (7, 0, 15)];
    let (holds, goes_on) = ((true, true), (false, false));
    assert_eq!(versions.map(hangs_through_a_snapshot), [goes_on, holds, goes_on, holds, holds, holds, holds]);
}

/// Whether the last of a chain loses its connection, and has to take a snapshot, when the one before it loses the primary for a moment
/// and goes on where it was.
fn loses_the_primary_for_a_moment(version: (u16, u16, u16)) -> (bool, bool) {
    let mut world = chain(version, plain()).world(12);
    let host = |name: &str| vec![Target::Host(name.to_owned())];
    let reset = Fault::ConnectionReset { from: host("db-1"), to: host("db-2"), told: sim_core::Told::Both };
    schedule(&mut world, &[(6, reset, 0)]);
    run(&mut world, 5);
    world.log(true);
    run(&mut world, 14);
    assert_eq!(heard(&world, REPLICA, "Continue"), 1, "{version:?}");
    assert_eq!(digest(&world, OTHER), digest(&world, PRIMARY), "{version:?}");
    (heard(&world, OTHER, "Greeted") > 0, heard(&world, OTHER, "FullResync") > 0)
}

/// The other half of commit c1e94b6.
#[test]
fn replicas_of_a_replica_stay_when_it_loses_its_primary_from_3_0_4_on() {
    let (stays, begins_anew) = ((false, false), (true, true));
    assert_eq!(loses_the_primary_for_a_moment((3, 0, 3)), begins_anew);
    assert_eq!(loses_the_primary_for_a_moment((3, 0, 4)), stays);
    assert_eq!(loses_the_primary_for_a_moment((7, 0, 15)), stays);
}

#[test]
fn replicas_of_a_replica_go_on_when_it_is_promoted() {
    for version in [(2, 8, 24), (3, 2, 13), (4, 0, 0), (7, 0, 15)] {
        let mut world = chain(version, plain()).world(8);
        let promote = Fault::Command { target: process("redis-2"), command: "replicaof-no-one".into() };
        schedule(&mut world, &[(6, promote, 0)]);
        run(&mut world, 5);
        world.log(true);
        run(&mut world, 9);
        let (replica, other) = (state(&world, REPLICA), state(&world, OTHER));
        assert!(replica.2 < state(&world, PRIMARY).2, "{version:?}: the client stays with the old primary");
        assert_eq!((other.0, other.1, other.2), replica, "{version:?}");
        assert_eq!(other.0.generation, 2, "{version:?}");
        assert_eq!(heard(&world, OTHER, "FullResync"), 0, "{version:?}");
    }
}

#[test]
fn a_replica_that_follows_another_primary_leaves_no_place_behind_it_that_fits() {
    for version in [(3, 0, 3), (3, 2, 13), (7, 0, 15)] {
        let mut world = chain(version, plain()).world(8);
        let command =
            |name: &str, command: &str| Fault::Command { target: process(name), command: command.into() };
        // The chain is turned round: the last one is the primary, and the others follow it through the one in the middle.
        let faults = [
            (6, command("redis-3", "replicaof-no-one"), 0),
            (7, command("redis-2", "replicaof redis-3"), 0),
            (8, command("redis-1", "replicaof redis-2"), 0),
        ];
        schedule(&mut world, &faults);
        run(&mut world, 16);
        for process in [PRIMARY, REPLICA] {
            assert_eq!(digest(&world, process), digest(&world, OTHER), "{version:?} {process:?}");
        }
        assert!(server(&world, PRIMARY).link_is_up(), "{version:?}");
    }
}

/// Parameters with a PING in each second.
fn pinging((major, minor, patch): (u16, u16, u16)) -> Parameters {
    let version = Version::new(major, minor, patch);
    Parameters { version, repl_ping_replica_period: seconds(1), ..plain() }
}

/// By how many bytes each server of a chain is ahead of the primary, when the connection between the first two was reset after some PINGs.
fn ahead_after_a_reset(version: (u16, u16, u16)) -> [u64; 2] {
    let mut world = chain(version, pinging(version)).world(4);
    let host = |name: &str| vec![Target::Host(name.to_owned())];
    let reset = Fault::ConnectionReset { from: host("db-1"), to: host("db-2"), told: sim_core::Told::Both };
    schedule(&mut world, &[(8, reset, 0)]);
    run(&mut world, 5);
    world.log(true);
    run(&mut world, 12);
    assert_eq!(heard(&world, REPLICA, "Continue"), 1, "{version:?}");
    assert_eq!(heard(&world, OTHER, "Greeted"), 0, "{version:?}: the last one stays connected");
    let primary = state(&world, PRIMARY);
    [REPLICA, OTHER].map(|process| {
        let here = state(&world, process);
        assert_eq!((here.0, here.2), (primary.0, primary.2), "{version:?}");
        here.1 - primary.1
    })
}

/// redis/redis#7306.
#[test]
fn pings_that_are_taken_back_count_twice_for_a_replica_of_a_replica() {
    let [replica, other] = ahead_after_a_reset((6, 0, 3));
    assert_eq!(replica, 0);
    assert!(other >= 3 * 14 && other % 14 == 0, "{other}");
    assert_eq!(ahead_after_a_reset((5, 0, 14)), [0, 0]);
    assert_eq!(ahead_after_a_reset((6, 0, 4)), [0, 0]);
}

/// What the "meaningful offset" is for (redis/redis#7002): a primary that nobody wrote to, and which went on with its PINGs, follows the
/// new one without a snapshot.
#[test]
fn a_former_primary_without_writes_of_its_own_goes_on_in_release_6_0() {
    for (version, snapshots) in [((5, 0, 14), 1), ((6, 0, 3), 0), ((6, 0, 4), 1)] {
        let mut world = Cluster { parameters: pinging(version), ..Cluster::default() }.world(4);
        let command = |name: &str, text: &str| Fault::Command { target: process(name), command: text.into() };
        let faults = [
            (6, cut(), 4),
            (8, command("redis-2", "replicaof-no-one"), 0),
            (12, command("redis-1", "replicaof redis-2"), 0),
        ];
        schedule(&mut world, &faults);
        run(&mut world, 11);
        world.log(true);
        run(&mut world, 16);
        assert_eq!(heard(&world, PRIMARY, "FullResync"), snapshots, "{version:?}");
        assert!(server(&world, PRIMARY).link_is_up(), "{version:?}");
        assert_eq!(state(&world, PRIMARY), state(&world, REPLICA), "{version:?}");
    }
}
