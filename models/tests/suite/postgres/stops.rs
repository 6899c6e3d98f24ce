//! Servers that stop, crash and recover.

use models::postgres::{Answer, ClusterState, Timeline};
use sim_core::{MarkKind, SimDuration};

use super::cluster::{Cluster, MS};

const SECOND: SimDuration = SimDuration::from_secs(1);

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
