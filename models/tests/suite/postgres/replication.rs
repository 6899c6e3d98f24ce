//! Streaming: what standbys receive and report, and connections that fall silent.

use models::postgres::{Answer, Parameters, Timeline};
use sim_core::SimDuration;

use super::cluster::{Cluster, MS};
use super::promotion::diverged;

const SECOND: SimDuration = SimDuration::from_secs(1);

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
    cluster.tell("d2", "follow n1 slot");
    cluster.run(SECOND);
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
