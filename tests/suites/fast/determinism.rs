//! The same scenario and seed give the same run: on one thread and on several, in any order, watched and not, in a
//! forked world, and from build to build.
//!
//! The two scenarios in `tests/data` are light, so that a thousand seeds of each take seconds in a debug build: one
//! crash of a host, and a swarm with every kind of fault.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use analysis::RUN_COLUMNS;
use expect_test::expect;
use models::Placement;
use models::patroni::{Load, PatroniCluster, Plan};
use scenarios::campaign::{run_schedule, run_seed};
use scenarios::exit::Exit;
use scenarios::family::LogLevel;
use sim_core::{
    Digest, EndReason, Fault, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, Trigger,
};
use tests::{Subject, hasim};

const HOST_CRASH: &str = include_str!("../../data/host-crash.toml");
const SWARM: &str = include_str!("../../data/swarm.toml");

/// The seeds of everything that is compared as a whole.
const SEEDS: u64 = 1_000;

/// What a campaign of the command leaves: its end, what it printed, and its files.
#[derive(Debug, PartialEq)]
struct Campaign {
    exit: Exit,
    out: String,
    err: String,
    csv: String,
    json: String,
}

/// All seeds of a scenario in `tests/data`, on this many threads.
fn campaign(name: &str, jobs: u32) -> Campaign {
    let scenario = format!("{}/data/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("determinism").join(name);
    let file = |end: &str| folder.join(format!("{jobs}.{end}")).display().to_string();
    let (csv, json, seeds, jobs) = (file("csv"), file("json"), SEEDS.to_string(), jobs.to_string());
    let repro = folder.display().to_string();
    let flags = ["--seeds", &seeds, "--jobs", &jobs, "--csv", &csv, "--json", &json, "--repro", &repro];
    let (exit, out, err) = hasim(&[&["check", &scenario], &flags[..]].concat());
    let read = |path: &str| fs::read_to_string(path).unwrap();
    Campaign { exit, out, err, csv: read(&csv), json: read(&json) }
}

/// Both scenarios on two threads, once: what every test compares with.
fn reference() -> &'static [(Campaign, Vec<Digest>); 2] {
    static REFERENCE: OnceLock<[(Campaign, Vec<Digest>); 2]> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        ["host-crash", "swarm"].map(|name| {
            let campaign = campaign(name, 2);
            let column = RUN_COLUMNS.iter().position(|(column, _)| *column == "digest").unwrap();
            let digest = |row: &str| row.split(',').nth(column).unwrap().parse().unwrap();
            let digests: Vec<Digest> = campaign.csv.lines().skip(1).map(digest).collect();
            assert_eq!(digests.len() as u64, SEEDS);
            (campaign, digests)
        })
    })
}

/// The digests that these seeds have always had, in debug and release builds. A change that alters them on purpose
/// says so under "Digests" in the changelog.
#[test]
fn a_thousand_seeds_keep_their_digests_from_build_to_build() {
    let combined = reference().each_ref().map(|(_, digests)| {
        let mut combined = Digest::default();
        for digest in digests {
            combined.fold_hash(digest);
        }
        combined.to_string()
    });
    expect![[r#"
        ab437e12ef5bd0e1
        74ce2d77680fee24"#]]
    .assert_eq(&combined.join("\n"));
}

/// A golden digest proves nothing about runs that do nothing.
#[test]
fn seeds_differ_and_their_faults_hit() {
    for (text, (campaign, digests)) in [HOST_CRASH, SWARM].into_iter().zip(reference()) {
        let mut distinct = digests.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), digests.len());
        assert!(!campaign.csv.contains("undecided"), "no run spends its events without reaching its end");
        assert!(!campaign.csv.contains("model-panicked"));
        let Subject { case, system } = Subject::from_text(text);
        let outcomes: Vec<_> = (0..50).map(|seed| run_seed(&case, &*system, Seed(seed))).collect();
        let disturbed = outcomes
            .iter()
            .filter(|outcome| outcome.row.outage.is_none_or(|outage| outage > SimDuration::from_secs(1)));
        assert!(disturbed.count() >= 25, "most runs suffer from their faults");
    }
}

#[test]
fn tables_and_files_do_not_depend_on_the_number_of_threads() {
    for (name, (two, _)) in ["host-crash", "swarm"].into_iter().zip(reference()) {
        assert_eq!(&campaign(name, 1), two, "{name}");
    }
}

/// Nothing survives from one run to the next: neither in a system, which is built once for all seeds, nor elsewhere.
#[test]
fn a_run_does_not_depend_on_the_runs_before_it() {
    let subjects = [HOST_CRASH, SWARM].map(Subject::from_text);
    let digest =
        |subject: &Subject, seed: u64| run_seed(&subject.case, &*subject.system, Seed(seed)).row.digest;
    for seed in (0..200).rev() {
        // Backwards, and the two scenarios in turns.
        for (subject, (_, digests)) in subjects.iter().zip(reference()).rev() {
            assert_eq!(
                digest(subject, seed),
                digests[seed as usize],
                "{} seed {seed}",
                subject.case.scenario.name
            );
        }
    }
}

#[test]
fn a_log_changes_nothing() {
    for (text, (_, digests)) in [HOST_CRASH, SWARM].into_iter().zip(reference()) {
        let Subject { case, system } = Subject::from_text(text);
        for (log, seeds) in [(LogLevel::Story, 100), (LogLevel::Packets, 25)] {
            for seed in (0..seeds).map(Seed) {
                let schedule = case.scenario.schedule(seed);
                let (outcome, result) = run_schedule(&case, &*system, seed, &schedule, log);
                assert_eq!(
                    outcome.row.digest, digests[seed.0 as usize],
                    "{} seed {seed}",
                    case.scenario.name
                );
                assert!(!result.log.is_empty());
            }
        }
    }
}

/// A world that is copied in the middle of a failover goes on as the original does, and the copy owes it nothing.
#[test]
fn a_forked_world_ends_as_the_original() {
    let cluster = PatroniCluster::new(&Plan {
        placement: Placement::ThreeZones,
        load: Load { write_interval: SimDuration::from_millis(50), readers: 1, ..Load::default() },
        ..Plan::default()
    });
    let crash = Schedule(vec![ScheduledFault {
        trigger: Trigger::At(SimDuration::from_secs(25)),
        fault: Fault::PowerOff { target: Target::HostOf("primary".to_owned()) },
        lasts: Some(SimDuration::from_secs(30)),
    }]);
    let at = |seconds| SimTime::ZERO + SimDuration::from_secs(seconds);
    for seed in (0..5).map(Seed) {
        let mut whole = cluster.world(seed);
        whole.schedule(&crash).unwrap();
        let mut original = whole.clone();
        let end = whole.run(at(90), u64::MAX);
        assert_eq!(end, EndReason::Horizon);
        let record = whole.record(end);

        // Before the crash, while nobody is primary, and while the old primary rejoins.
        for fork_at in [20, 35, 57] {
            original.run(at(fork_at), u64::MAX);
            let mut fork = original.clone();
            assert_eq!(fork.digest(), original.digest());
            let end = fork.run(at(90), u64::MAX);
            assert_eq!(fork.record(end), record, "seed {seed}");
            assert_eq!(cluster.surviving::<Vec<u64>>(&fork), cluster.surviving::<Vec<u64>>(&whole));
        }
        original.run(at(90), u64::MAX);
        assert_eq!(original.digest(), whole.digest(), "seed {seed}: forks left the original alone");
    }
}
