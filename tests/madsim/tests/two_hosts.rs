//! The same scenarios on the native host and on madsim: same verdicts, and outages of the same distribution.
//!
//! What is equal by construction: the processes, the schedules of the seeds, the streams that processes and links draw from,
//! volumes, clocks, the judge. What is independent: time, timers, the order of what happens at once, the network with its
//! connections, and how faults are carried out.

#![cfg(madsim)]

use std::sync::atomic::AtomicBool;

use analysis::stats::{Sample, clopper_pearson, kolmogorov_smirnov};
use models::patroni::Planted;
use scenarios::campaign::{Outcome, Report, SeedRange, run_seed, run_seeds};
use scenarios::case::{Case, UserSettings};
use scenarios::catalogue;
use scenarios::family::{LogLevel, System};
use scenarios::patroni::PatroniSystem;
use sim_core::{Seed, SimDuration};

use madsim_host::OnMadsim;

/// Runs of each scenario on each host.
const SEEDS: u64 = 100;

/// `kolmogorov_smirnov` gives the distance that rejects at 5 %; four scenarios are compared, each is to reject at 1 %.
const FROM_5_TO_1_PERCENT: f64 = 1.628 / 1.358;

fn systems(name: &str) -> (Case, PatroniSystem, OnMadsim) {
    let scenarios = catalogue::scenarios().unwrap();
    let scenario = scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    let case = Case::new(scenario, &UserSettings::default()).unwrap();
    let native = PatroniSystem::new(&case, Planted::Nothing);
    let madsim = OnMadsim(native.clone());
    madsim.check(&scenario.all_faults()).unwrap();
    (case, native, madsim)
}

fn sample(outcomes: &[Outcome], measure: fn(&Outcome) -> Option<SimDuration>) -> Sample {
    Sample::new(outcomes.iter().map(measure))
}

/// Something must be found in as many runs on one host as on the other, up to what so many runs can tell.
#[track_caller]
fn share(name: &str, what: &str, hosts: [&[Outcome]; 2], found: impl Fn(&Outcome) -> bool) {
    let [native, madsim] = hosts.map(|outcomes| outcomes.iter().filter(|outcome| found(outcome)).count());
    println!("{name}: {what} in {native} native and {madsim} madsim runs of {SEEDS}");
    let [left, right] = [native, madsim].map(|count| clopper_pearson(count as u64, SEEDS));
    assert!(
        left.low <= right.high && right.low <= left.high,
        "{name}: {what} in {native} of {SEEDS} runs on the native host, in {madsim} on madsim"
    );
}

#[track_caller]
fn compare(name: &str) {
    let (case, native, madsim) = systems(name);
    let hosts: [&dyn System; 2] = [&native, &madsim];
    let [first, second] = hosts.map(|system| {
        let runs = run_seeds(&case, system, SeedRange::first(SEEDS), &AtomicBool::new(false), &|_| {});
        assert!(runs.is_complete());
        runs
    });
    let [left, right] = [&first, &second].map(|runs| Report::new(&case.scenario, runs).verdict);
    assert_eq!(left, right, "{name}: the verdict on the scenario, native and madsim");
    let (first, second) = (first.outcomes, second.outcomes);
    let mut verdicts: Vec<&str> =
        first.iter().chain(&second).map(|outcome| outcome.judgement.verdict.name()).collect();
    verdicts.sort_unstable();
    verdicts.dedup();
    for verdict in verdicts {
        share(name, verdict, [&first, &second], |outcome| outcome.judgement.verdict.name() == verdict);
    }
    share(name, "lost writes", [&first, &second], |outcome| outcome.row.lost > 0);
    let measures: [(&str, fn(&Outcome) -> Option<SimDuration>); 3] = [
        ("outage", |outcome| outcome.row.outage),
        ("detect", |outcome| outcome.row.detect),
        ("unavailable", |outcome| Some(outcome.row.unavailable)),
    ];
    for (measure, of) in measures {
        let [left, right] = [&first, &second].map(|outcomes| sample(outcomes, of));
        let Some(distance) = kolmogorov_smirnov(&left, &right) else { continue };
        let critical = distance.critical_95 * FROM_5_TO_1_PERCENT;
        let median = |sample: &Sample| sample.finite().get(sample.finite().len() / 2).copied();
        println!(
            "{name}: {measure} median {:?} native, {:?} madsim; distance {:.3} of {critical:.3}, n = {SEEDS} each",
            median(&left),
            median(&right),
            distance.distance
        );
        assert!(
            distance.distance <= critical,
            "{name}: {measure} differs between the hosts: distance {:.3}, above {critical:.3}",
            distance.distance
        );
    }
}

#[test]
fn a_primary_that_loses_power_async() {
    compare("patroni/primary-host-crash/async");
}

#[test]
fn a_primary_that_loses_power_sync() {
    compare("patroni/primary-host-crash/sync");
}

#[test]
fn a_postmaster_that_is_killed() {
    compare("patroni/postgres-crash/async");
}

#[test]
fn a_primary_that_is_cut_off() {
    compare("patroni/primary-isolated/async");
}

#[test]
fn an_etcd_leader_that_loses_power() {
    compare("patroni/etcd-leader-crash/async");
}

/// Equal seeds give equal runs here, too; and the seed matters.
#[test]
fn a_run_on_madsim_is_a_function_of_its_seed() {
    let (case, _, madsim) = systems("patroni/swarm/async");
    let digest = |seed| run_seed(&case, &madsim, Seed(seed)).row.digest;
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

/// The log is for people and changes nothing.
#[test]
fn a_log_on_madsim_changes_nothing() {
    let (case, _, madsim) = systems("patroni/postgres-crash/async");
    let schedule = case.scenario.schedule(Seed(3));
    let [silent, told] = [LogLevel::Off, LogLevel::Packets].map(|log| madsim.run(Seed(3), &schedule, log));
    assert_eq!(silent.record, told.record);
    assert!(silent.log.is_empty() && !told.log.is_empty());
}
