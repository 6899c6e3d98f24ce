//! Replication slots, and WAL that is recycled.

use models::postgres::{MemberId, Parameters, Recycling, SEGMENT_BYTES};

use super::SECOND;
use super::cluster::{Cluster, MS};

/// Servers whose rows are large, so that a few of them call for a checkpoint.
fn busy() -> Cluster {
    Cluster::with(Parameters {
        insert_bytes: SEGMENT_BYTES / 2,
        recycling: Some(Recycling { max_wal_size: 16 * SEGMENT_BYTES, wal_keep_size: 4 * SEGMENT_BYTES }),
        ..Parameters::default()
    })
}

/// A standby is away while the others write much.
fn write_much(cluster: &mut Cluster, first: u64, rows: u64) {
    for value in first..first + rows {
        cluster.insert("n1", value, "local");
        cluster.run(MS * 200);
    }
}

#[test]
fn without_a_slot_the_wal_that_a_standby_lacks_is_recycled() {
    let mut cluster = busy();
    cluster.power_off("h2", SECOND * 30);
    write_much(&mut cluster, 0, 60);
    let kept = cluster.data("n1").last_position().segment() - cluster.data("n1").first_segment;
    assert!((4..14).contains(&kept), "{kept} segments are kept");
    assert!(cluster.data("n3").first_segment > 1, "a standby recycles at its restartpoints");
    cluster.run(SECOND * 60);
    assert!(!cluster.status("d2").streaming);
    assert!(cluster.said("already been removed") > 2, "it asks again and again");
    assert!(cluster.status("d3").streaming);
}

#[test]
fn a_rebuilt_standby_streams_in_spite_of_recycled_wal() {
    let mut cluster = busy();
    write_much(&mut cluster, 0, 40);
    assert!(cluster.data("n1").first_segment > 1);
    cluster.tell("d3", "stop");
    cluster.run(SECOND);
    cluster.tell("d3", "empty");
    cluster.tell("d3", "follow n1");
    cluster.tell("d3", "start");
    cluster.run(SECOND * 60);
    assert!(cluster.status("d3").streaming);
    assert_eq!(cluster.rows("n3").len(), 40);
}

#[test]
fn a_slot_keeps_it_also_over_a_crash() {
    let mut cluster = busy();
    cluster.tell("d1", "slots n2 n3");
    cluster.tell("d2", "follow n1 slot");
    cluster.run(SECOND);
    write_much(&mut cluster, 0, 5);
    cluster.power_off("h2", SECOND * 60);
    write_much(&mut cluster, 5, 40);
    let (first, held) = (cluster.data("n1").first_segment, cluster.status("d1").slots.of(MemberId(2)));
    assert!(held.is_some_and(|held| held >= first && held < 6), "held {held:?}, first {first}");
    cluster.kill("n1");
    cluster.tell("d1", "start");
    cluster.run(SECOND * 20);
    write_much(&mut cluster, 45, 40);
    cluster.run(SECOND * 60);
    assert!(cluster.status("d2").streaming);
    assert_eq!(cluster.rows("n2").len(), 85);
    assert_eq!(cluster.said("already been removed"), 0);
}

#[test]
fn a_standby_whose_slot_does_not_exist_is_refused() {
    let mut cluster = Cluster::new();
    cluster.tell("d2", "follow n1 slot");
    cluster.run(SECOND * 20);
    assert!(!cluster.status("d2").streaming);
    assert!(cluster.said("slot does not exist") > 2);
    cluster.tell("d1", "slots n2");
    cluster.run(SECOND * 10);
    assert!(cluster.status("d2").streaming);
}
