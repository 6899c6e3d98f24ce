//! The `PostgreSQL` model in a small world: what clients are promised, what survives, and who may follow whom.

mod cluster;
mod commits;
mod disks;
mod hostile;
mod logins;
mod promotion;
mod replication;
mod slots;
mod stops;

use models::postgres::Packet;
use sim_core::SimDuration;

use cluster::{Cluster, MS};
use promotion::diverged;

const SECOND: SimDuration = SimDuration::from_secs(1);

#[test]
fn packets_are_small() {
    assert!(size_of::<Packet>() <= 48, "{}", size_of::<Packet>());
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
