//! Promotions, timelines, and old primaries that come back.

use models::patroni::Inputs;
use models::postgres::{Answer, ClusterState, Parameters, Timeline};
use sim_core::{Distribution, MarkKind, Seed, SimDuration};

use super::cluster::{Cluster, MS, server};

const SECOND: SimDuration = SimDuration::from_secs(1);

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

#[test]
fn every_fourth_promotion_fills_the_next_segment_before_it_is_over() {
    let inputs = Inputs { segment_fill: Distribution::Constant(SECOND), ..Inputs::default() };
    let is_slow = |seed| {
        let mut cluster = Cluster::on_machines(Parameters::default(), &inputs, Seed(seed));
        // At times the first attempt to stream fails, and for 5 s a promotion would wait besides.
        cluster.run(SECOND * 5);
        cluster.power_off("h1", SECOND * 1_000);
        cluster.tell("d2", "promote");
        cluster.run(MS * 300);
        let slow = cluster.status("d2").in_recovery;
        cluster.run(SECOND);
        assert!(
            !cluster.status("d2").in_recovery,
            "a promotion takes 70 to 210 ms, and a second to fill a segment"
        );
        slow
    };
    let slow = (0..60).filter(|seed| is_slow(*seed)).count();
    assert!((8..=22).contains(&slow), "{slow} of 60");
}

/// The host of the primary is gone, so that an attempt to reach it hangs. The same happens to a standby that streams again since less than 5 s.
#[test]
fn a_promotion_in_the_middle_of_an_attempt_to_connect_waits_as_after_a_failure() {
    let promoted_after = |attempt_hangs: bool| {
        let mut cluster = Cluster::new();
        cluster.kill("n1");
        // Attempts at 0 and 5 s are refused; the next one is at 10 s.
        cluster.run(SECOND * 7);
        if attempt_hangs {
            cluster.power_off("h1", SECOND * 1_000);
        }
        cluster.run(SECOND * 4);
        promotion_of_n2(&mut cluster)
    };
    let (between, amid) = (promoted_after(false), promoted_after(true));
    assert!(between <= MS * 500, "{between}: the request wakes a startup process that sleeps");
    assert!((SECOND * 4..SECOND * 5).contains(&amid), "{amid}: the rest of `wal_retrieve_retry_interval`");
}

/// The stream ends, and the next walreceiver is asked for at once: the request comes before it is refused, or after.
#[test]
fn a_promotion_while_a_walreceiver_starts_waits_as_after_a_failure() {
    let promoted_after = |start: SimDuration| {
        let inputs = Inputs { walreceiver_start: Distribution::Constant(start), ..Inputs::default() };
        let mut cluster = Cluster::on_machines(Parameters::default(), &inputs, Seed(1));
        cluster.run(SECOND * 10);
        cluster.kill("n1");
        cluster.run(MS * 500);
        promotion_of_n2(&mut cluster)
    };
    let (refused, starting) = (promoted_after(MS * 400), promoted_after(MS * 600));
    assert!(refused <= MS * 500, "{refused}: nobody tries to connect");
    assert!(
        (MS * 4_500..MS * 5_000).contains(&starting),
        "{starting}: the stream ended half a second before"
    );
}

/// How long it takes n2, to a tenth of a second.
fn promotion_of_n2(cluster: &mut Cluster) -> SimDuration {
    cluster.tell("d2", "promote");
    let mut waited = SimDuration::ZERO;
    while cluster.status("d2").in_recovery {
        cluster.run(MS * 100);
        waited += MS * 100;
    }
    waited
}

/// The old primary was cut off from its standbys and wrote on; n2 was promoted.
pub(crate) fn diverged() -> Cluster {
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
        // The login takes up to 47 ms.
        cluster.run(MS * 60);
        assert_eq!(cluster.answer(0), Some(expected));
        assert_eq!(cluster.count("n2"), Some(Answer::Count(1)));
        assert_eq!(cluster.data("n2").history.current, Timeline(if standby { 1 } else { 2 }));
    }
}
