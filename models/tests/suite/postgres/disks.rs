//! What bad disks do to servers, and what the next start makes of it.

use models::postgres::{Answer, Parameters};
use sim_core::{Fault, Seed, SimDuration, Target};

use super::cluster::{Cluster, MS};

const SECOND: SimDuration = SimDuration::from_secs(1);

fn error(target: Target) -> Fault {
    Fault::DiskError { target }
}

fn full(target: Target) -> Fault {
    Fault::DiskFull { target }
}

fn rot_newest(target: Target) -> Fault {
    Fault::DiskCorruption { target, newest: Some(1) }
}

/// Rows 1 to `last`, on all three servers.
fn cluster_with(last: u64) -> Cluster {
    let mut cluster = Cluster::new();
    for value in 1..=last {
        cluster.insert("n1", value, "on");
        cluster.run(MS * 10);
    }
    cluster
}

fn restart(cluster: &mut Cluster, server: &str) {
    cluster.kill(server);
    cluster.run(MS);
    cluster.tell(&server.replace('n', "d"), "start");
    cluster.run(SECOND * 10);
}

#[test]
fn a_failed_flush_is_a_panic_and_the_postmaster_recovers_by_itself() {
    let mut cluster = Cluster::new();
    // To connect takes 1 ms, the statement arrives 0.5 ms later and is flushed after another one; the sync of the
    // recovery follows and ends at 3.5 ms.
    cluster.harm("n1", error, Some(MS * 3));
    cluster.insert("n1", 1, "on");
    cluster.run(MS * 4);
    assert_eq!(cluster.said("PANIC: could not fsync: input/output error"), 1);
    assert!(cluster.runs("n1"), "restart_after_crash");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.answer(1), None);
    assert_eq!(cluster.driver("client").lost.len(), 1, "the session died");
    assert_eq!(cluster.count("n1"), Some(Answer::Count(1)), "the recovery read it from the page cache");
    assert_eq!(cluster.rows("n2"), [1], "and sent it to standbys");
    // The kernel has marked the pages of the log as clean and never writes them, but the checkpoint that ended the
    // recovery has made the row durable elsewhere.
    cluster.power_off("h1", MS);
    cluster.run(SECOND * 10);
    assert_eq!(cluster.rows("n1"), [1]);
    assert_eq!(cluster.said("incorrect resource manager data checksum"), 0);
}

#[test]
fn a_standby_streams_what_a_failed_flush_left_out_of_its_log() {
    let mut cluster = cluster_with(1);
    cluster.harm("n2", error, Some(MS * 4));
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND * 10);
    cluster.insert("n1", 3, "on");
    cluster.run(SECOND);
    assert_eq!(cluster.rows("n2"), [1, 2, 3]);
    // It recovered from the page cache and made no checkpoint: its log has a hole.
    cluster.power_off("h2", MS);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.said("incorrect resource manager data checksum"), 1);
    assert_eq!(cluster.rows("n2"), [1, 2, 3]);
}

#[test]
fn a_disk_that_fails_on_ends_the_postmaster() {
    let mut cluster = cluster_with(1);
    cluster.harm("n1", error, Some(SECOND * 60));
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND * 5);
    assert!(!cluster.runs("n1"), "crash recovery could not sync the data directory");
    cluster.tell("d1", "start");
    cluster.run(SECOND * 5);
    assert!(!cluster.runs("n1"));
    cluster.run(SECOND * 60);
    assert!(!cluster.runs("n1"), "Patroni starts it, not its supervisor");
    cluster.tell("d1", "start");
    cluster.run(SECOND * 5);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(2)));
}

#[test]
fn a_primary_without_space_ends_and_has_lost_nothing() {
    let mut cluster = cluster_with(2);
    cluster.harm("n1", full, Some(SECOND * 60));
    cluster.run(SECOND);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(2)), "reading needs no space");
    cluster.insert("n1", 3, "on");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.said("PANIC: could not write: no space left on device; all server processes"), 1);
    assert_eq!(cluster.said("the startup process or the shutdown fails"), 1, "no room for the checkpoint");
    assert!(!cluster.runs("n1"));
    assert_eq!(cluster.answer(3), None);
    cluster.run(SECOND * 60);
    cluster.tell("d1", "start");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.count("n1"), Some(Answer::Count(2)));
    cluster.insert("n1", 4, "on");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.rows("n2"), [1, 2, 4], "standbys come back");
}

#[test]
fn a_standby_without_space_waits_and_catches_up() {
    let mut cluster = cluster_with(1);
    cluster.harm("n2", full, Some(SECOND * 30));
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND * 20);
    assert!(cluster.said("walreceiver ends: could not write WAL: no space left on device") > 1, "it retries");
    assert_eq!(cluster.count("n2"), Some(Answer::Count(1)), "it serves reads meanwhile");
    assert_eq!(cluster.said("PANIC"), 0);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.count("n2"), Some(Answer::Count(2)));
}

#[test]
fn a_standby_whose_flush_fails_starts_over_and_catches_up() {
    let mut cluster = cluster_with(1);
    cluster.harm("n2", error, Some(MS * 4));
    cluster.insert("n1", 2, "on");
    cluster.run(SECOND * 20);
    assert_eq!(cluster.said("PANIC: could not fsync"), 1);
    assert_eq!(cluster.count("n2"), Some(Answer::Count(2)));
    assert_eq!(cluster.answer(2), Some(Answer::Committed));
}

#[test]
fn a_checkpoint_that_a_crash_cut_off_is_answered_after_recovery() {
    let mut cluster = cluster_with(1);
    cluster.harm("n1", error, Some(MS * 3 / 2));
    cluster.tell("d1", "checkpoint");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.said("PANIC"), 1);
    assert_eq!(cluster.driver("d1").checkpoints, 1);
}

#[test]
fn a_torn_write_is_the_end_of_the_log_and_costs_nothing_that_was_answered() {
    let mut cluster = cluster_with(2);
    cluster.harm("n1", |target| Fault::DiskTornWrite { target }, None);
    cluster.insert("n1", 3, "on");
    // Half a millisecond to get there, a millisecond to flush.
    cluster.run(MS);
    cluster.power_off("h1", MS);
    cluster.run(SECOND * 10);
    assert_eq!(cluster.said("incorrect resource manager data checksum"), 1);
    cluster.tell("client", "disconnect");
    assert_eq!(cluster.count("n1"), Some(Answer::Count(2)));
    cluster.insert("n1", 4, "on");
    cluster.run(SECOND * 10);
    assert_eq!(cluster.rows("n1"), [1, 2, 4]);
    assert_eq!(cluster.rows("n2"), [1, 2, 4]);
}

#[test]
fn a_standby_with_a_rotten_log_streams_it_again() {
    let mut cluster = cluster_with(5);
    cluster.harm("n2", rot_newest, None);
    cluster.run(MS);
    assert_eq!(cluster.count("n2"), Some(Answer::Count(5)), "nobody notices while it runs");
    restart(&mut cluster, "n2");
    assert_eq!(cluster.said("incorrect resource manager data checksum"), 1);
    assert_eq!(cluster.rows("n2"), [1, 2, 3, 4, 5]);
    assert!(cluster.data("n2").wal.damaged.is_empty());
}

#[test]
fn a_primary_with_a_rotten_log_goes_on_without_the_end_and_nobody_is_told() {
    let mut cluster = cluster_with(5);
    cluster.harm("n1", rot_newest, None);
    restart(&mut cluster, "n1");
    assert_eq!(cluster.count("n1"), Some(Answer::Count(4)), "row 5 was acknowledged");
    assert_eq!(cluster.rows("n2"), [1, 2, 3, 4, 5]);
    assert!(cluster.said("is ahead of this server's") > 0);
    // The checkpoint of the recovery and row 6 take the place of row 5: the standby has nothing to go on from.
    cluster.insert("n1", 6, "on");
    cluster.run(SECOND * 20);
    assert_eq!(cluster.answer(6), Some(Answer::Committed));
    assert_eq!(cluster.rows("n1"), [1, 2, 3, 4, 6]);
    assert_eq!(cluster.rows("n2"), [1, 2, 3, 4, 5]);
    assert!(cluster.said("ends within a record of this server's") > 0);
}

#[test]
fn without_the_record_of_its_checkpoint_a_server_does_not_start() {
    let mut cluster = cluster_with(3);
    cluster.tell("d1", "checkpoint");
    cluster.run(MS * 10);
    cluster.harm("n1", rot_newest, None);
    restart(&mut cluster, "n1");
    assert!(!cluster.runs("n1"));
    assert_eq!(cluster.said("PANIC: could not locate a valid checkpoint record"), 1);
    assert_eq!(cluster.data("n1").recoverable_rows().count(), 0);
}

#[test]
fn what_a_lying_disk_acknowledged_is_gone_with_the_power() {
    let mut cluster = cluster_with(2);
    cluster.harm("n1", |target| Fault::DiskLies { target }, None);
    cluster.insert("n1", 3, "on");
    cluster.run(MS * 10);
    assert_eq!(cluster.answer(3), Some(Answer::Committed));
    cluster.power_off("h1", MS);
    cluster.run(SECOND * 10);
    assert_eq!(cluster.rows("n1"), [1, 2]);
    assert_eq!(cluster.said("1 lost that the disk had acknowledged"), 1);
}

#[test]
fn a_misdirected_write_ends_the_log_at_the_first_of_the_two_that_is_read() {
    let mut cluster = cluster_with(3);
    cluster.harm("n1", |target| Fault::DiskMisdirectedWrite { target }, None);
    for value in [4, 5] {
        cluster.insert("n1", value, "on");
        cluster.run(MS * 10);
    }
    assert_eq!(cluster.rows("n1"), [1, 2, 3, 4, 5], "the page cache has it where it belongs");
    cluster.power_off("h1", MS);
    cluster.run(SECOND * 10);
    let left: Vec<u64> = cluster.data("n1").recoverable_rows().collect();
    assert!(left.len() <= 3, "row 4 was written elsewhere, and behind it nothing is read: {left:?}");
}

/// Random harm to all disks, with restarts and losses of power: no server panics, and each that can start serves.
#[test]
fn random_harm_to_disks_is_survived() {
    let kinds: [fn(Target) -> Fault; 8] = [
        error,
        full,
        rot_newest,
        |target| Fault::DiskCorruption { target, newest: None },
        |target| Fault::DiskTornWrite { target },
        |target| Fault::DiskLies { target },
        |target| Fault::DiskMisdirectedWrite { target },
        |target| Fault::DiskSlow { target, latency: MS * 5, factor: 20 },
    ];
    let mut hits = 0;
    for seed in 0..40 {
        let mut random = Seed(seed).stream("harm", 0);
        let mut cluster = Cluster::seeded(Parameters::default(), Seed(seed));
        for value in 1..60 {
            let number = random.between(1, 3);
            let (server, driver) = (format!("n{number}"), format!("d{number}"));
            let lasts = MS * random.between(1, 8_000);
            match random.below(10) {
                kind @ 0..4 => {
                    let kind = kinds[kind as usize * 2 + random.below(2) as usize];
                    cluster.harm(&server, kind, Some(lasts));
                }
                4 => cluster.power_off(&format!("h{number}"), lasts),
                5 => cluster.kill(&server),
                6 => cluster.try_tell(&driver, "start"),
                7 => cluster.try_tell(&driver, "checkpoint"),
                8 => cluster.try_tell(&driver, "promote"),
                _ => cluster.try_tell(&driver, "stop"),
            }
            cluster.insert(&server, value, "on");
            cluster.run(MS * random.between(1, 3_000));
        }
        hits += cluster.said("PANIC") + cluster.said("checksum");
        cluster.run(SECOND * 30);
        for server in ["n1", "n2", "n3"] {
            cluster.try_tell(&server.replace('n', "d"), "start");
            cluster.run(SECOND * 15);
            let usable = cluster.data(server).can_recover();
            assert!(cluster.runs(server) || !usable, "seed {seed}: {server} does not start");
        }
    }
    assert!(hits > 40, "the harm was noticed {hits} times");
}
