//! Members on bad disks.

use super::*;

fn disk(world: &World<Member>, index: usize) -> &Disk {
    world.storage(ProcessId::from_index(index))
}

fn is_up(world: &World<Member>, index: usize) -> bool {
    world.process(ProcessId::from_index(index)).is_some()
}

fn said(world: &World<Member>, words: &str) -> usize {
    world.log_entries().iter().filter(|entry| entry.text.contains(words)).count()
}

fn leaders(world: &World<Member>) -> Vec<usize> {
    (0..3).filter(|index| is_up(world, *index) && server(world, *index).is_leader()).collect()
}

fn member(index: usize) -> Target {
    Target::Process(format!("etcd-{index}"))
}

/// A write each 100 ms from 4 s to 30 s, to the member that does not lead after it and is not hit by the test.
fn writes() -> Vec<(u64, Request)> {
    (0..260).map(|number| (4_000 + number * 100, put("k", &number.to_string(), None))).collect()
}

/// A cluster that leads and is written to, at 10 s; the writer asks a member that is neither of the first two returned: the
/// leader, and a follower.
fn busy(seed: u64) -> (World<Member>, usize, usize) {
    for asked in 0..3 {
        let mut world = cluster(seed, true, &[(asked, writes())]);
        world.log(false);
        run(&mut world, 10_000);
        let leader = leader(&world);
        if leader != asked {
            return (world, leader, 3 - leader - asked);
        }
    }
    unreachable!("two of three members do not lead")
}

fn acknowledged(world: &World<Member>) -> usize {
    responses(world, 0).iter().filter(|(_, _, response)| response.result.is_ok()).count()
}

/// The longest time between two answers, in seconds.
fn longest_gap(world: &World<Member>) -> f64 {
    let times: Vec<f64> = responses(world, 0)
        .iter()
        .filter(|(_, _, answer)| answer.result.is_ok())
        .map(|(at, ..)| *at)
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

#[test]
fn a_failed_sync_or_a_refused_write_ends_the_leader_until_its_disk_is_sound() {
    for (kind, words) in [
        (Fault::DiskError { target: Target::Role("etcd-leader".into()) }, "could not fsync: input/output"),
        (Fault::DiskFull { target: Target::Role("etcd-leader".into()) }, "could not write: no space left"),
    ] {
        let (mut world, old, _) = busy(1);
        fault(&mut world, 10_100, kind, Some(10_000));
        run(&mut world, 15_000);
        assert!(!is_up(&world, old));
        assert_eq!(said(&world, &format!("failed to save Raft hard state and entries: {words}")), 1);
        assert_eq!(leaders(&world).len(), 1, "the others elect");
        assert!(longest_gap(&world) < 3.0, "{}", longest_gap(&world));
        run(&mut world, 32_000);
        assert!(is_up(&world, old), "its supervisor starts it again at 20.1 s");
        assert_eq!(disk(&world, old).log, disk(&world, (old + 1) % 3).log);
    }
}

#[test]
fn a_leader_with_a_slow_disk_slows_writes_and_is_replaced_when_it_is_too_slow() {
    for seed in 0..10 {
        let slow = |millis| Fault::DiskSlow {
            target: Target::Role("etcd-leader".into()),
            latency: MILLI * millis,
            factor: 1,
        };
        let (mut world, old, _) = busy(seed);
        fault(&mut world, 10_100, slow(300), Some(15_000));
        run(&mut world, 25_000);
        assert_eq!(leaders(&world), [old], "three ticks are too few to replace it");
        // The two others hold a majority of their own: an entry waits for the leader to send it, not for its disk.
        assert!((0.2..0.9).contains(&longest_gap(&world)), "seed {seed}: {}", longest_gap(&world));

        let (mut world, old, _) = busy(seed);
        fault(&mut world, 10_100, slow(4_000), Some(15_000));
        run(&mut world, 14_000);
        assert_ne!(leaders(&world), [old], "seed {seed}: nothing was heard of it for 4 s");
        assert_eq!(leaders(&world).len(), 1, "seed {seed}: and it has heard of its successor");
        assert!((1.0..4.0).contains(&longest_gap(&world)), "seed {seed}: {}", longest_gap(&world));
    }
}

/// Measured by nobody, but said by the code: `raftNode.start` ticks and saves in one loop, and check-quorum counts ticks.
#[test]
fn a_leader_does_not_count_ticks_against_itself_while_it_waits_for_its_disk() {
    let (mut world, old, _) = busy(3);
    // All disks are stalled: nobody ticks, and nobody is replaced.
    for index in 0..3 {
        fault(&mut world, 10_050, Fault::DiskStall { target: member(index) }, Some(5_000));
    }
    let terms = |world: &World<Member>| server(world, old).raft().term();
    let before = terms(&world);
    run(&mut world, 15_000);
    assert_eq!(leaders(&world), [old]);
    run(&mut world, 17_000);
    assert_eq!((leaders(&world), terms(&world)), (vec![old], before));
}

#[test]
fn a_torn_tail_is_repaired_and_the_member_comes_back() {
    let mut torn = 0;
    for seed in 0..20 {
        let (mut world, _, follower) = busy(seed);
        let host = Target::Host(format!("host-{follower}"));
        fault(&mut world, 10_050, Fault::DiskTornWrite { target: host.clone() }, None);
        // Writes come every 100 ms and reach it half a millisecond later; it syncs for 1 to 3 ms.
        let at = responses(&world, 0).last().unwrap().0 * 1_000.0 + 100.0 * 3.0;
        fault(&mut world, at as u64 - 1, Fault::PowerOff { target: host }, Some(2_000));
        run(&mut world, 32_000);
        torn += said(&world, "repaired WAL: truncated where it ends");
        assert!(is_up(&world, follower), "seed {seed}");
        assert_eq!(disk(&world, follower).log, disk(&world, leader(&world)).log, "seed {seed}");
        assert_eq!(acknowledged(&world), 260, "seed {seed}");
    }
    assert!(torn > 3, "{torn} of 20 were caught in the middle of a write");
}

#[test]
fn a_member_with_a_rotten_log_does_not_start_and_the_others_go_on() {
    for seed in 0..5 {
        let (mut world, _, follower) = busy(seed);
        let rot = Fault::DiskCorruption { target: member(follower), newest: None };
        fault(&mut world, 10_100, rot, None);
        run(&mut world, 12_000);
        assert!(is_up(&world, follower), "nobody notices while it runs");
        fault(&mut world, 12_100, Fault::Kill { target: member(follower) }, Some(1_000));
        run(&mut world, 32_000);
        assert!(!is_up(&world, follower));
        assert_eq!(said(&world, "failed to read WAL, cannot be repaired: walpb: crc mismatch"), 1);
        assert_eq!(acknowledged(&world), 260);
    }
}

#[test]
fn a_misdirected_write_is_found_when_the_log_is_read_from_the_disk() {
    let (mut world, _, follower) = busy(2);
    fault(&mut world, 10_100, Fault::DiskMisdirectedWrite { target: member(follower) }, None);
    let host = Target::Host(format!("host-{follower}"));
    fault(&mut world, 12_000, Fault::PowerOff { target: host }, Some(1_000));
    run(&mut world, 32_000);
    assert!(!is_up(&world, follower));
    assert_eq!(said(&world, "crc mismatch"), 1);
}

/// etcd's best known panic: the leader counts on what a follower acknowledged, and its disk has lost. A sync that failed
/// leads there as well: the member ends, reads its log from the page cache when it starts again, and goes on behind a
/// hole that nobody sees before the power fails.
#[test]
fn a_member_whose_disk_lost_what_it_acknowledged_is_ended_by_its_leader() {
    for lies in [true, false] {
        let (mut world, old, follower) = busy(4);
        let target = member(follower);
        if lies {
            fault(&mut world, 10_100, Fault::DiskLies { target }, None);
        } else {
            fault(&mut world, 10_100, Fault::DiskError { target }, Some(500));
        }
        run(&mut world, 13_000);
        assert!(is_up(&world, follower));
        let host = Target::Host(format!("host-{follower}"));
        fault(&mut world, 14_000, Fault::PowerOff { target: host }, Some(1_000));
        run(&mut world, 32_000);
        assert_eq!(leaders(&world), [old]);
        assert_eq!(said(&world, "corrupted, truncated, or lost?"), 1);
        assert!(!is_up(&world, follower));
        assert_eq!(acknowledged(&world), 260, "the other two have everything");
    }
}

/// What the table on the page of the model says: Raft promises nothing when a majority forgets.
#[test]
fn a_majority_of_lying_disks_loses_what_was_acknowledged() {
    let (mut world, _, _) = busy(5);
    for index in 0..3 {
        fault(&mut world, 10_100, Fault::DiskLies { target: member(index) }, None);
        let host = Target::Host(format!("host-{index}"));
        fault(&mut world, 14_000, Fault::PowerOff { target: host }, Some(1_000));
    }
    run(&mut world, 13_999);
    let promised = acknowledged(&world);
    let before = server(&world, 0).store().revision();
    run(&mut world, 20_000);
    let after = server(&world, leader(&world)).store().revision();
    assert!(promised > 90 && after + 30 < before, "{promised} were acknowledged: {before}, then {after}");
}
