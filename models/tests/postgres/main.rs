//! The `PostgreSQL` model in a small world: what clients are promised, what survives, and who may follow whom.

mod cluster;
mod disks;
mod hostile;

use cluster::{Cluster, MS, server};
use models::postgres::{Answer, ClusterState, Packet, Parameters, SyncState, Timeline};
use sim_core::{MarkKind, SimDuration};

const SECOND: SimDuration = SimDuration::from_secs(1);

#[test]
fn packets_are_small() {
    assert!(size_of::<Packet>() <= 48, "{}", size_of::<Packet>());
}

#[test]
fn a_commit_without_standbys_is_answered_after_its_flush_and_reaches_them() {
    let mut cluster = Cluster::new();
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
    for server in ["n1", "n2", "n3"] {
        assert_eq!(cluster.rows(server), [1]);
        assert_eq!(cluster.count(server), Some(Answer::Count(1)));
    }
    cluster.insert("n2", 2, "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(2), Some(Answer::ReadOnly));
}

#[test]
fn first_waits_for_the_standby_of_highest_priority_and_any_for_whichever_is_faster() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2 n3");
    cluster.run(MS * 10);
    let states = |cluster: &mut Cluster| -> Vec<SyncState> {
        let status = cluster.status("d1");
        status.replication.iter().map(|row| row.sync).collect()
    };
    assert_eq!(states(&mut cluster), [SyncState::Sync, SyncState::Potential]);
    cluster.stall_disk("h2", SECOND * 20);
    cluster.insert("n1", 1, "on");
    cluster.run(SECOND);
    assert_eq!(cluster.answer(1), None, "n3 has it, but n2 is the one that counts");
    assert_eq!(cluster.rows("n3"), [1]);

    cluster.tell("d1", "synchronous any 1 n2 n3");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(1), Some(Answer::Committed), "the new rule is met");
    assert_eq!(states(&mut cluster), [SyncState::Quorum, SyncState::Quorum]);
    cluster.tell("d1", "synchronous any 2 n2 n3");
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND);
    assert_eq!(cluster.answer(2), None, "both are needed and one is stuck");
    cluster.run(SECOND * 20);
    assert_eq!(cluster.answer(2), Some(Answer::Committed));
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.run(MS * 10);
    assert_eq!(states(&mut cluster), [SyncState::Sync, SyncState::Async]);
}

#[test]
fn with_too_few_standbys_connected_commits_wait_for_ever() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 2 n2 n3");
    cluster.kill("n3");
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.insert("n1", 2, "local");
    cluster.run(SECOND * 300);
    assert_eq!(cluster.answer(1), None);
    assert_eq!(cluster.answer(2), Some(Answer::Committed), "the level local waits for nobody");
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)), "who waits is invisible");
    assert_eq!(cluster.count("n2"), Some(Answer::Count(2)), "but standbys replay the log");
    cluster.tell("d3", "start");
    cluster.run(SECOND * 6);
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
}

#[test]
fn the_wildcard_waits_for_one_standby_whichever_it_is() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous *");
    cluster.kill("n2");
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
    cluster.kill("n3");
    cluster.run(MS * 10);
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND * 60);
    assert_eq!(cluster.answer(2), None);
}

/// What a power failure of the primary right after the acknowledgement leaves on the primary and on the standby n2, which
/// lost its power at the same instant.
fn survivors(level: &str, synchronous: &str) -> (bool, bool) {
    let mut cluster = Cluster::new();
    cluster.tell("d1", synchronous);
    cluster.run(MS * 10);
    cluster.insert("n1", 1, level);
    while cluster.answer(1).is_none() {
        cluster.run(SimDuration::from_micros(10));
    }
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
    // The answer took one latency: half a millisecond ago.
    cluster.power_off("h1", SECOND * 5);
    cluster.power_off("h2", SECOND * 1_000);
    cluster.run(MS);
    (cluster.rows("n1") == [1], cluster.rows("n2") == [1])
}

#[test]
fn each_level_of_synchronous_commit_survives_what_it_promises() {
    assert_eq!(survivors("off", "synchronous -"), (false, false));
    assert_eq!(survivors("local", "synchronous -"), (true, false));
    assert_eq!(survivors("on", "synchronous -"), (true, false), "on its own, on means local");
    assert_eq!(survivors("local", "synchronous first 1 n2"), (true, false));
    assert_eq!(survivors("on", "synchronous first 1 n2"), (true, true));
    assert_eq!(survivors("remote_apply", "synchronous first 1 n2"), (true, true));
}

#[test]
fn remote_write_is_answered_before_the_standby_has_flushed_if_standbys_report_it() {
    for (reports_written, expected) in [(true, Some(Answer::Committed)), (false, None)] {
        let mut cluster = Cluster::with(Parameters { reports_written, ..Parameters::default() });
        cluster.tell("d1", "synchronous first 1 n2");
        cluster.run(MS * 10);
        cluster.stall_disk("h2", SECOND * 5);
        cluster.insert("n1", 1, "remote_write");
        cluster.run(SECOND);
        assert_eq!(cluster.answer(1), expected);
        cluster.insert("n1", 2, "on");
        cluster.run(SECOND);
        assert_eq!(cluster.answer(2), None, "the level on waits for the flush");
    }
}

#[test]
fn commits_with_the_level_off_are_flushed_within_three_delays_of_the_wal_writer() {
    let mut cluster = Cluster::new();
    cluster.insert("n1", 1, "off");
    cluster.run(MS * 5);
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)), "visible at once");
    assert!(cluster.rows("n1").is_empty(), "still in the buffers, which a kill loses");
    cluster.run(MS * 600);
    assert_eq!(cluster.rows("n2"), [1]);
}

#[test]
fn a_standby_never_has_what_its_primary_has_not_flushed() {
    let mut cluster = Cluster::new();
    cluster.stall_disk("h1", SECOND * 5);
    cluster.insert("n1", 1, "off");
    cluster.insert("n1", 2, "local");
    cluster.run(SECOND * 4);
    assert_eq!(cluster.rows("n1"), [1, 2], "written, not flushed");
    assert!(cluster.rows("n2").is_empty() && cluster.rows("n3").is_empty());
    cluster.run(SECOND * 2);
    assert_eq!(cluster.rows("n2"), [1, 2]);
}

#[test]
fn a_restarted_standby_reports_nothing_flushed_that_is_not() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.run(MS * 10);
    cluster.stall_disk("h2", SECOND * 20);
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 100);
    assert_eq!(cluster.rows("n2"), [1], "written");
    cluster.kill("n2");
    cluster.tell("d2", "start");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.answer(1), None, "a power failure of n2 would still lose it");
    cluster.run(SECOND * 20);
    assert_eq!(cluster.answer(1), Some(Answer::Committed));
}

#[test]
fn commits_join_the_flush_that_follows_the_one_under_way() {
    let mut cluster = Cluster::new();
    for value in 1..=50 {
        cluster.insert("n1", value, "on");
    }
    // All 50 arrive within 50 ns of each other. The first is flushed alone (1 ms), the others together (1 ms).
    cluster.run(MS * 2);
    assert_eq!(cluster.answer(1), None, "not before the connection is there");
    cluster.run(MS * 4);
    assert_eq!((cluster.answer(1), cluster.answer(50)), (Some(Answer::Committed), Some(Answer::Committed)));
    assert_eq!(cluster.count("n1"), Some(Answer::Count(50)));
}

#[test]
fn a_cancelled_wait_is_answered_with_a_warning_and_the_row_is_visible() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.kill("n2");
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.run(SECOND);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(0)));
    cluster.tell("client", "cancel n1 1");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(1), Some(Answer::CommittedLocally));
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)));
    // Cancelled while its own flush is under way: it looks when it begins to wait.
    cluster.insert("n1", 2, "on");
    cluster.tell("client", "cancel n1 2");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(2), Some(Answer::CommittedLocally));
    // Where nobody waits, a cancel comes too late.
    cluster.insert("n1", 3, "local");
    cluster.tell("client", "cancel n1 3");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(3), Some(Answer::Committed));
}

#[test]
fn emptying_the_list_of_synchronous_standbys_releases_who_waits() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.power_off("h2", SECOND * 1_000);
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.insert("n1", 2, "remote_apply");
    cluster.run(SECOND * 10);
    assert_eq!((cluster.answer(1), cluster.answer(2)), (None, None));
    cluster.tell("d1", "synchronous -");
    cluster.run(MS * 10);
    assert_eq!((cluster.answer(1), cluster.answer(2)), (Some(Answer::Committed), Some(Answer::Committed)));
}

#[test]
fn a_fast_stop_cuts_waiting_clients_without_an_answer_and_keeps_their_commits() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.kill("n2");
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 100);
    cluster.tell("d1", "stop");
    cluster.run(SECOND);
    assert!(!cluster.runs("n1"));
    assert_eq!(cluster.answer(1), None);
    assert_eq!(cluster.driver("client").lost, [sim_core::ConnectionEvent::Closed]);
    assert_eq!(cluster.rows("n1"), [1]);
    assert_eq!(cluster.data("n1").control.state, ClusterState::ShutDown);
    cluster.tell("d1", "start");
    cluster.run(SECOND);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)));
}

#[test]
fn a_fast_stop_ships_everything_to_the_standbys_first() {
    let mut cluster = Cluster::new();
    cluster.stall_disk("h3", SECOND * 5);
    for value in 1..=20 {
        cluster.insert("n1", value, "off");
    }
    cluster.run(MS);
    cluster.insert("n1", 21, "local");
    cluster.tell("d1", "stop");
    cluster.run(SECOND * 4);
    assert!(cluster.runs("n1"), "waits for the standby whose disk is stuck");
    let status = cluster.status("d1");
    assert!(!status.accepts_connections && !status.in_recovery);
    cluster.insert("n1", 22, "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(22), Some(Answer::ShuttingDown));
    cluster.run(SECOND * 2);
    assert!(!cluster.runs("n1"));
    let end = cluster.data("n1").last_position();
    assert_eq!(cluster.data("n1").control.checkpoint, end, "the shutdown checkpoint is the last record");
    for standby in ["n2", "n3"] {
        assert_eq!(cluster.data(standby).last_position(), end);
        assert_eq!(cluster.rows(standby), cluster.rows("n1"));
    }
    let stops = |kind| cluster.world.marks().iter().filter(|mark| mark.kind == kind).count();
    assert_eq!((stops(MarkKind::Writable), stops(MarkKind::ReadOnly)), (1, 1));
}

#[test]
fn a_fast_stop_waits_for_a_silent_standby_no_longer_than_the_sender_time_out() {
    let mut cluster = Cluster::new();
    cluster.power_off("h2", SECOND * 1_000);
    cluster.run(SECOND * 5);
    cluster.tell("d1", "stop");
    cluster.run(SECOND * 40);
    assert!(cluster.runs("n1"));
    cluster.run(SECOND * 30);
    assert!(!cluster.runs("n1"));
}

#[test]
fn crash_recovery_keeps_all_flushed_commits_acknowledged_or_not() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.kill("n2");
    cluster.run(MS * 10);
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 10);
    cluster.tell("d1", "stop immediate");
    cluster.run(MS * 10);
    assert!(!cluster.runs("n1"));
    assert_eq!(cluster.answer(1), None);
    assert_eq!(cluster.data("n1").control.state, ClusterState::InProduction);
    cluster.tell("d1", "start");
    cluster.run(MS * 20);
    assert_eq!(cluster.data("n1").control.state, ClusterState::InCrashRecovery);
    assert_eq!(cluster.count("n1"), Some(Answer::StartingUp));
    cluster.run(SECOND);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)));
    assert_eq!(cluster.data("n1").history.current, Timeline(1), "recovery in place keeps the timeline");
    let writable = cluster.world.marks().iter().filter(|mark| mark.kind == MarkKind::Writable);
    assert_eq!(writable.map(|mark| mark.value).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_killed_primary_is_found_again_at_the_pace_of_the_retry_interval() {
    let mut cluster = Cluster::new();
    let failures = |cluster: &Cluster| cluster.said("started streaming");
    assert_eq!(failures(&cluster), 2);
    cluster.run(SECOND * 20);
    cluster.kill("n1");
    cluster.run(SECOND);
    // Both tried at once, in vain; the next attempt is 5 s after the failure.
    cluster.tell("d1", "start");
    cluster.run(SECOND * 3);
    assert_eq!(failures(&cluster), 2);
    cluster.run(SECOND * 2);
    assert_eq!(failures(&cluster), 4);
}

#[test]
fn a_promotion_starts_a_new_timeline_and_loses_nothing_that_the_standby_flushed() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.run(MS * 10);
    for value in 1..=10 {
        cluster.insert("n1", value, "on");
    }
    cluster.run(MS * 20);
    cluster.power_off("h1", SECOND * 1_000);
    cluster.run(MS);
    let end = cluster.data("n2").last_position();
    let checkpoint = cluster.data("n2").control;
    cluster.tell("d2", "promote");
    cluster.run(MS * 60);
    assert!(cluster.status("d2").in_recovery, "a promotion takes 70 to 210 ms");
    cluster.run(SECOND);
    let data = cluster.data("n2");
    assert_eq!(data.history.current, Timeline(2));
    assert_eq!(data.history.switches, [(Timeline(1), end)]);
    assert!(!data.settings.standby, "standby.signal is removed");
    assert_eq!(data.control.checkpoint, checkpoint.checkpoint, "no checkpoint ends a promotion");
    assert_eq!(cluster.count("n2"), Some(Answer::Count(10)));
    let writable = cluster.world.marks().iter().rfind(|mark| mark.kind == MarkKind::Writable).unwrap();
    assert_eq!((writable.process, writable.value), (Some(server("n2")), 2));
    cluster.tell("d2", "checkpoint");
    cluster.run(MS * 10);
    assert_eq!(cluster.driver("d2").checkpoints, 1);
    assert_eq!(cluster.data("n2").control.timeline, Timeline(2));
    // The other standby goes over to the new timeline without a restart.
    cluster.tell("d3", "follow n2");
    cluster.insert("n2", 11, "local");
    cluster.run(MS * 50);
    assert_eq!(cluster.data("n3").history, cluster.data("n2").history);
    assert_eq!(cluster.rows("n3"), (1..=11).collect::<Vec<u64>>());
}

/// The old primary was cut off from its standbys and wrote on; n2 was promoted.
fn diverged() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 10);
    cluster.kill("n2");
    cluster.kill("n3");
    cluster.run(MS * 10);
    cluster.insert("n1", 2, "on");
    cluster.run(MS * 10);
    cluster.kill("n1");
    cluster.tell("d2", "start");
    cluster.run(SECOND);
    cluster.tell("d2", "promote");
    cluster.run(SECOND);
    cluster.insert("n2", 3, "on");
    cluster.run(MS * 10);
    cluster
}

#[test]
fn a_diverged_old_primary_is_refused_until_it_is_rewound() {
    let mut cluster = diverged();
    cluster.tell("d1", "follow n2");
    cluster.tell("d1", "start");
    cluster.run(SECOND * 16);
    assert!(!cluster.status("d1").streaming);
    let refusals = cluster.said("behind the point where this server's history left its timeline");
    assert_eq!(refusals, 5, "the first retry comes at once, the others at 5, 10 and 15 s");
    assert_eq!(cluster.count("n1"), Some(Answer::Count(2)), "its own history is what it shows");

    let leader = cluster.data("n2").history.clone();
    let fork = cluster.data("n1").history.fork_point(cluster.data("n1").last_position(), &leader).unwrap();
    assert_eq!(Some(fork), leader.switch_point(Timeline(1)));
    cluster.tell("d1", "stop");
    cluster.run(SECOND);
    assert_eq!(cluster.data("n1").control.state, ClusterState::ShutDownInRecovery);
    cluster.tell("d1", &format!("rewind {} {}", fork.0, fork.0));
    cluster.run(MS * 10);
    cluster.tell("d1", "start");
    cluster.run(SECOND * 6);
    assert!(cluster.status("d1").streaming);
    assert_eq!(cluster.rows("n1"), [1, 3]);
    assert_eq!(cluster.data("n1").history, leader);
}

#[test]
fn a_standby_with_an_empty_data_directory_fetches_everything() {
    let mut cluster = diverged();
    cluster.tell("d3", "empty");
    cluster.tell("d3", "follow n2");
    cluster.tell("d3", "start");
    cluster.run(SECOND * 6);
    assert!(cluster.status("d3").streaming);
    assert_eq!(cluster.rows("n3"), [1, 3]);
    assert_eq!(cluster.data("n3").history, cluster.data("n2").history);
}

#[test]
fn after_a_switchover_the_old_primary_follows_without_a_rewind() {
    let mut cluster = Cluster::new();
    for value in 1..=5 {
        cluster.insert("n1", value, "on");
    }
    cluster.run(MS * 20);
    cluster.tell("d1", "stop");
    cluster.run(SECOND);
    cluster.tell("d2", "promote");
    cluster.run(SECOND);
    let leader = cluster.data("n2").history.clone();
    let stopped = cluster.data("n1");
    assert_eq!(leader.switch_point(Timeline(1)), Some(stopped.control.checkpoint), "what Patroni compares");
    assert_eq!(stopped.history.fork_point(stopped.last_position(), &leader), None);
    cluster.tell("d1", "follow n2");
    cluster.tell("d1", "start");
    cluster.insert("n2", 6, "on");
    cluster.run(SECOND * 6);
    assert!(cluster.status("d1").streaming);
    assert_eq!(cluster.rows("n1"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(cluster.data("n1").control.state, ClusterState::InArchiveRecovery);
    assert_eq!(cluster.status("d1").timeline, Timeline(2));
}

#[test]
fn a_long_crash_recovery_takes_as_long_as_its_redo() {
    // Two starts that differ in nothing but their WAL.
    let start_of = |rows: u64| {
        let mut cluster = Cluster::new();
        for value in 0..rows {
            cluster.insert("n1", value, "off");
        }
        cluster.run(MS * 500);
        cluster.kill("n1");
        cluster.run(MS);
        let from = cluster.world.now();
        cluster.tell("d1", "start");
        cluster.run(SECOND);
        let writable = cluster.world.marks().iter().rfind(|mark| mark.kind == MarkKind::Writable).unwrap().at;
        assert_eq!(cluster.count("n1"), Some(Answer::Count(rows)));
        writable.since(from)
    };
    let (short, long) = (start_of(0), start_of(5_000));
    // 5,000 rows of 200 bytes at 100 MB/s.
    assert_eq!(long.saturating_sub(short), MS * 10);
}

#[test]
fn equal_timeline_numbers_pass_for_the_same_timeline() {
    // Fidelity specification, Z5: n1 and n2 both start timeline 2 and neither knows of the other.
    let mut cluster = diverged();
    cluster.kill("n2");
    cluster.tell("d1", "follow -");
    cluster.tell("d1", "start");
    cluster.run(SECOND);
    cluster.tell("d1", "promote");
    cluster.run(SECOND);
    assert_eq!(cluster.data("n1").history.current, Timeline(2));
    assert_ne!(cluster.data("n1").history, cluster.data("n2").history);
    for value in 4..=6 {
        cluster.insert("n1", value, "on");
    }
    cluster.run(MS * 10);
    cluster.tell("d2", "follow n1");
    cluster.tell("d2", "start");
    cluster.run(SECOND * 6);
    assert_eq!(cluster.rows("n1"), [1, 2, 4, 5, 6]);
    assert!(cluster.rows("n2").contains(&3), "the row of the other history stays: {:?}", cluster.rows("n2"));
    assert!(!cluster.rows("n2").contains(&2), "and one of this history is missing");
}

#[test]
fn a_crash_during_a_promotion_leaves_a_server_that_starts() {
    // 70 to 210 ms of promotion, then 1 ms for the sync of the end-of-recovery record: an instant in each part.
    for (power, micros) in [(true, 50_000), (false, 50_000), (true, 0), (false, 0)] {
        let mut cluster = Cluster::new();
        cluster.insert("n1", 1, "on");
        cluster.run(MS * 10);
        cluster.kill("n1");
        cluster.tell("d2", "promote");
        if micros > 0 {
            cluster.run(SimDuration::from_micros(micros));
        } else {
            while cluster.data("n2").history.current == Timeline(1) {
                cluster.run(SimDuration::from_micros(100));
            }
        }
        if power {
            cluster.power_off("h2", SECOND);
        } else {
            cluster.kill("n2");
        }
        cluster.run(MS);
        assert!(!cluster.runs("n2"));
        let standby = cluster.data("n2").settings.standby;
        assert_eq!(standby, power || micros > 0, "what was written survives a kill, not a power failure");
        cluster.run(SECOND * 2);
        if !power {
            cluster.tell("d2", "start");
        }
        cluster.run(SECOND * 2);
        let expected = if standby { Answer::InRecovery(true) } else { Answer::InRecovery(false) };
        cluster.tell("client", "recovery n2");
        cluster.run(MS * 10);
        assert_eq!(cluster.answer(0), Some(expected));
        assert_eq!(cluster.count("n2"), Some(Answer::Count(1)));
        assert_eq!(cluster.data("n2").history.current, Timeline(if standby { 1 } else { 2 }));
    }
}

#[test]
fn a_silent_standby_is_dropped_after_the_sender_time_out() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.status("d1").replication.len(), 2);
    cluster.power_off("h2", SECOND * 1_000);
    // It reported for the last time up to 10 s ago.
    cluster.run(SECOND * 49);
    assert_eq!(cluster.status("d1").replication.len(), 2);
    cluster.run(SECOND * 12);
    let status = cluster.status("d1");
    assert_eq!(status.replication.len(), 1);
    assert!(status.replication[0].streaming);
    assert_eq!(cluster.said("due to replication timeout"), 1);
}

#[test]
fn a_standby_gives_a_silent_upstream_up_and_follows_it_again_later() {
    let mut cluster = Cluster::new();
    cluster.cut_off("n1", SECOND * 200);
    cluster.run(SECOND * 49);
    assert_eq!(cluster.said("terminates walreceiver"), 0);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.said("terminates walreceiver"), 2);
    assert!(!cluster.status("d2").streaming);
    cluster.run(SECOND * 300);
    assert!(cluster.status("d2").streaming);
}

#[test]
fn a_primary_that_was_stopped_does_not_hold_its_own_absence_against_its_standbys() {
    let timeout = SECOND * 30;
    for offset in 0..15 {
        let mut cluster = Cluster::with(Parameters { wal_sender_timeout: timeout, ..Parameters::default() });
        cluster.run(SECOND * offset);
        cluster.insert("n1", offset, "on");
        cluster.run(MS * 100);
        cluster.pause("n1", SECOND * 40);
        cluster.run(SECOND * 60);
        assert_eq!(cluster.said("terminates"), 0, "paused {offset} s later");
    }
}

#[test]
fn a_quiet_cluster_stays_connected() {
    let mut cluster = Cluster::new();
    cluster.run(SECOND * 3_600);
    assert_eq!(cluster.said("terminates"), 0);
    assert_eq!(cluster.said("started streaming"), 2);
}

#[test]
fn a_slot_that_an_earlier_connection_still_holds_refuses_its_standby() {
    let mut cluster = Cluster::new();
    cluster.tell("d1", "slots n2 n3");
    cluster.power_off("h2", SECOND * 5);
    // The host answers nothing while it is down, and after it is back nothing is sent to it before 30 s of silence.
    cluster.run(SECOND * 12);
    assert!(!cluster.status("d2").streaming);
    assert!(cluster.said("its replication slot is still used") >= 1);
    cluster.run(SECOND * 60);
    assert!(cluster.status("d2").streaming);
}

#[test]
fn a_standby_changes_its_upstream_on_reload_and_streams_from_another_standby() {
    let mut cluster = Cluster::new();
    cluster.tell("d3", "follow -");
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 50);
    assert!(cluster.rows("n3").is_empty());
    cluster.tell("d3", "follow n2");
    cluster.run(MS * 50);
    assert_eq!(cluster.rows("n3"), [1]);
    cluster.insert("n1", 2, "on");
    cluster.run(MS * 50);
    assert_eq!(cluster.rows("n3"), [1, 2]);
    assert_eq!(cluster.status("d1").replication.len(), 1);
    assert_eq!(cluster.status("d2").replication.len(), 1);
    // Promoted, the cascading standby takes its own standby along to the new timeline.
    cluster.kill("n1");
    cluster.tell("d2", "promote");
    cluster.run(SECOND);
    cluster.insert("n2", 3, "on");
    cluster.run(MS * 50);
    assert_eq!(cluster.rows("n3"), [1, 2, 3]);
    assert_eq!(cluster.data("n3").history.current, Timeline(2));
}

#[test]
fn checkpoints_come_by_themselves_and_shorten_recovery() {
    let mut cluster = Cluster::new();
    let before = cluster.data("n1").control.checkpoint;
    cluster.insert("n1", 1, "on");
    cluster.run(SECOND * 301);
    let after = cluster.data("n1").control.checkpoint;
    assert!(after > before);
    cluster.run(SECOND * 900);
    assert_eq!(cluster.data("n1").control.checkpoint, after, "an idle server writes none");
    assert_eq!(cluster.data("n2").control.checkpoint, after, "a restartpoint follows on standbys");
}

#[test]
fn a_write_costs_few_events() {
    let mut cluster = Cluster::new();
    cluster.insert("n1", 0, "on");
    cluster.run(MS * 100);
    let before = cluster.world.events();
    for value in 1..=100 {
        cluster.insert("n1", value, "on");
        cluster.run(MS * 20);
    }
    assert_eq!(cluster.rows("n3").len(), 101);
    let command_events = 100;
    let per_write = (cluster.world.events() - before - command_events) as f64 / 100.0;
    // Query, local sync, two packets of WAL, two syncs, two replies, answer.
    assert!((9.0..9.2).contains(&per_write), "{per_write}");
}

#[test]
fn the_same_run_twice_is_the_same() {
    let digests = [(); 2].map(|()| {
        let mut cluster = diverged();
        cluster.run(SECOND);
        cluster.world.digest()
    });
    assert_eq!(digests[0], digests[1]);
}
