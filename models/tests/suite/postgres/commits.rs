//! What a commit waits for, and what it then survives.

use models::postgres::{Answer, Parameters, SyncState};
use sim_core::{COUNTER_BITS, SimDuration};

use super::cluster::{Cluster, MS};

const SECOND: SimDuration = SimDuration::from_secs(1);

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

/// Two sessions write at once; the first waits for `n2`, which does not answer, the other for nobody.
#[test]
fn a_primary_shows_rows_in_the_order_in_which_waits_end_and_a_standby_in_that_of_the_log() {
    let first = |session: u64| session << COUNTER_BITS | 1;
    let mut cluster = Cluster::new();
    cluster.tell("d1", "synchronous first 1 n2");
    cluster.run(MS * 10);
    cluster.stall_disk("h2", SECOND);
    cluster.insert("n1", first(1), "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.newest("n1"), [], "it waits");
    assert_eq!(cluster.newest("n3"), [first(1)], "n3 is not who it waits for");
    cluster.insert("n1", first(2), "local");
    cluster.run(MS * 10);
    assert_eq!(cluster.newest("n1"), [first(2)]);
    cluster.run(SECOND * 2);
    for server in ["n1", "n2", "n3"] {
        assert_eq!(cluster.newest(server), [first(1), first(2)]);
    }
    cluster.insert("n1", first(1) + 1, "off");
    cluster.run(MS);
    assert_eq!(cluster.newest("n1"), [first(1) + 1, first(2)], "visible before it is flushed");
}
