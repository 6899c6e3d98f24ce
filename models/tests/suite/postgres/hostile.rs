//! Random mistreatment, then repair: no server panics, every data directory is in order at every instant, and in the end all
//! three can be made one cluster again with a rewind.

use models::postgres::{DataDirectory, Parameters, WalEntry};
use sim_core::{Seed, SimDuration, Stream};

use super::cluster::{Cluster, MS};

const SECOND: SimDuration = SimDuration::from_secs(1);
const SERVERS: [&str; 3] = ["n1", "n2", "n3"];
const DRIVERS: [&str; 3] = ["d1", "d2", "d3"];
const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

fn mistreat(cluster: &mut Cluster, random: &mut Stream, value: &mut u64) {
    let one = random.below(3) as usize;
    let other = random.below(3) as usize;
    let lasts = MS * random.between(1, 90_000);
    match random.below(20) {
        0 => cluster.kill(SERVERS[one]),
        1 => cluster.power_off(HOSTS[one], lasts),
        2 => cluster.stall_disk(HOSTS[one], lasts),
        3 => cluster.cut_off(SERVERS[one], lasts),
        4 => cluster.pause(SERVERS[one], lasts),
        5 => cluster.freeze(HOSTS[one], lasts),
        6 => cluster.try_tell(DRIVERS[one], "promote"),
        7 => cluster.try_tell(DRIVERS[one], "stop"),
        8 => cluster.try_tell(DRIVERS[one], "stop immediate"),
        9 | 10 => cluster.try_tell(DRIVERS[one], "start"),
        11 if one != other => cluster.try_tell(DRIVERS[one], &format!("follow {}", SERVERS[other])),
        12 => cluster.try_tell(DRIVERS[one], "synchronous first 1 n1 n2 n3"),
        13 => cluster.try_tell(DRIVERS[one], "synchronous any 1 n1 n2 n3"),
        14 => cluster.try_tell(DRIVERS[one], "synchronous -"),
        15 => cluster.try_tell(DRIVERS[one], "checkpoint"),
        _ => {
            let level = ["off", "local", "remote_write", "on", "remote_apply"][random.below(5) as usize];
            for _ in 0..random.between(1, 20) {
                *value += 1;
                cluster.insert(SERVERS[one], *value, level);
            }
        }
    }
    let pause =
        if random.below(2) == 0 { MS * random.between(0, 20) } else { MS * random.between(0, 20_000) };
    cluster.run(pause);
    for server in SERVERS {
        check_directory(cluster.data(server));
    }
}

/// What must hold for every data directory at every instant.
fn check_directory(data: &DataDirectory) {
    let wal = &data.wal.entries;
    assert!(wal.is_sorted_by(|a, b| a.end < b.end), "records are in order");
    assert!(wal.is_sorted_by_key(|entry| entry.timeline), "timelines only go up");
    assert_eq!(data.history, data.history.until(data.last_position()), "no timeline without a record of it");
    assert!(data.control.checkpoint <= data.last_position());
    assert!(wal.last().is_some_and(|last| last.timeline <= data.history.current));
}

/// Makes the server with the longest WAL of the highest timeline the primary, and the others its standbys.
fn repair(cluster: &mut Cluster) {
    cluster.run(SECOND * 100);
    for driver in DRIVERS {
        cluster.tell(driver, "disconnect");
        cluster.tell(driver, "stop");
    }
    cluster.run(SECOND * 130);
    for (server, driver) in SERVERS.into_iter().zip(DRIVERS) {
        cluster.tell(driver, "stop immediate");
        cluster.run(MS * 10);
        assert!(!cluster.runs(server), "{server} stops");
        cluster.tell(driver, "synchronous -");
        cluster.run(MS * 10);
    }
    let leader = (0..3)
        .max_by_key(|index| {
            let data = cluster.data(SERVERS[*index]);
            (data.history.current, data.last_position())
        })
        .expect("there are three");
    cluster.tell(DRIVERS[leader], "follow -");
    cluster.tell(DRIVERS[leader], "start");
    cluster.run(SECOND);
    cluster.tell(DRIVERS[leader], "promote");
    cluster.run(SECOND);
    let history = cluster.data(SERVERS[leader]).history.clone();
    let ends: Vec<String> = history.switches.iter().map(|(_, end)| end.0.to_string()).collect();
    let wal: Vec<WalEntry> = cluster.data(SERVERS[leader]).wal.entries.clone();
    for index in (0..3).filter(|index| *index != leader) {
        let own = &cluster.data(SERVERS[index]).wal.entries;
        let common = own.iter().zip(&wal).take_while(|(own, leader)| own == leader).count();
        if common < own.len() {
            let fork = own[common - 1].end;
            cluster.tell(DRIVERS[index], &format!("rewind {} {}", fork.0, ends.join(",")));
        }
        cluster.tell(DRIVERS[index], &format!("follow {}", SERVERS[leader]));
        cluster.tell(DRIVERS[index], "start");
    }
    cluster.run(SECOND * 12);
    // A connection from before may still be waiting for its next retransmission.
    cluster.tell("client", "disconnect");
    cluster.insert(SERVERS[leader], u64::MAX, "on");
    cluster.run(SECOND);
    assert!(cluster.rows(SERVERS[leader]).contains(&u64::MAX), "the primary accepts writes again");
    for server in SERVERS {
        assert_eq!(cluster.rows(server), cluster.rows(SERVERS[leader]), "{server} follows");
        assert_eq!(cluster.data(server).history, history);
    }
}

#[test]
fn mistreated_servers_keep_their_directories_in_order_and_can_be_repaired() {
    // What must have happened often enough for this test to mean something.
    let rare = [
        "received promote request",
        "received fast shutdown request",
        "refuses to stream",
        "due to replication timeout",
        "terminates walreceiver",
        "starts as InCrashRecovery",
        "is not a standby: ignores",
    ];
    let mut seen = [0; 7];
    for seed in 0..1_000 {
        let mut cluster = Cluster::seeded(Parameters::default(), Seed(seed));
        let mut random = Seed(seed).stream("mistreatment", 0);
        let mut value = 0;
        for _ in 0..40 {
            mistreat(&mut cluster, &mut random, &mut value);
        }
        for (count, words) in seen.iter_mut().zip(rare) {
            *count += cluster.said(words);
        }
        repair(&mut cluster);
    }
    for (count, words) in seen.into_iter().zip(rare) {
        assert!(count > 50, "`{words}` happened {count} times");
    }
}
