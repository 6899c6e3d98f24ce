//! The PostgreSQL model in a small world: what clients are promised, what survives, and who may follow whom.

mod cluster;

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
