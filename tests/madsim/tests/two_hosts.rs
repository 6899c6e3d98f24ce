//! The same scenarios on the native host and on madsim: same verdicts, and outages of the same distribution.
//!
//! What is equal by construction: the processes, the schedules of the seeds, the streams that processes and links draw from,
//! volumes, clocks, the judge. What is independent: time, timers, the order of what happens at once, the network with its
//! connections, and how faults are carried out.
//!
//! Equal seeds bring equal schedules to both hosts, so the two samples are not independent, and the test of Kolmogorov and
//! Smirnov rejects less often than it says. The last comparison uses it: run by run, most outages must be the
//! same to a tenth of a second, where outages of different seeds differ by many seconds.

#![cfg(madsim)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it found, and fails by panics"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use analysis::stats::{QuantileLevel, Sample, clopper_pearson, kolmogorov_smirnov};
use models::Planted;
use scenarios::campaign::{Outcome, Report, SeedRange, run_seed, run_seeds};
use scenarios::case::{Case, UserSettings};
use scenarios::catalogue;
use scenarios::family::{LogLevel, System};
use scenarios::patroni::PatroniSystem;
use sim_core::{
    Direction, Dwell, Fault, FaultBudget, Schedule, ScheduledFault, Seed, SimDuration, Target, TraceKind,
    Trigger,
};

use madsim_host::OnMadsim;

/// Runs of each scenario on each host.
const SEEDS: u64 = 100;

/// Outages that differ by less are the same: a few packets and the order of what happens at once.
const SAME: SimDuration = SimDuration::from_millis(100);

/// `kolmogorov_smirnov` gives the distance that rejects at 5 %; each comparison is to reject at 1 %.
const FROM_5_TO_1_PERCENT: f64 = 1.628 / 1.358;

fn systems(name: &str) -> (Case, PatroniSystem, OnMadsim) {
    let scenarios = catalogue::scenarios().unwrap();
    let scenario = scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    let mut case = Case::new(scenario, &UserSettings::default()).unwrap();
    // Runs of madsim cannot be forked. Without a warm-up to share, a seed is one run from the start on both hosts.
    Arc::make_mut(&mut case.scenario).warmup = SimDuration::ZERO;
    let native = PatroniSystem::new(&case, Planted::Nothing);
    let madsim = OnMadsim(native.clone());
    madsim.check(&scenario.all_faults()).unwrap();
    (case, native, madsim)
}

fn sample(outcomes: &[Outcome], measure: Measure) -> Sample {
    Sample::new(outcomes.iter().map(measure))
}

/// Something must be found in as many runs on one host as on the other, up to what so many runs can tell.
#[track_caller]
fn share(name: &str, what: &str, hosts: [&[Outcome]; 2], found: impl Fn(&Outcome) -> bool) {
    let [native, madsim] = hosts.map(|outcomes| outcomes.iter().filter(|outcome| found(outcome)).count());
    let runs = hosts[0].len();
    println!("{name}: {what} in {native} native and {madsim} madsim runs of {runs}");
    let [left, right] = [native, madsim].map(|count| clopper_pearson(count as u64, runs as u64));
    assert!(
        left.low <= right.high && right.low <= left.high,
        "{name}: {what} in {native} of {runs} runs on the native host, in {madsim} on madsim"
    );
}

fn difference(one: SimDuration, other: SimDuration) -> SimDuration {
    one.saturating_sub(other).max(other.saturating_sub(one))
}

type Measure = fn(&Outcome) -> Option<SimDuration>;

#[track_caller]
fn compare(name: &str, seeds: u64, equal_percent: usize) {
    let (case, native, madsim) = systems(name);
    let hosts: [&dyn System; 2] = [&native, &madsim];
    let [first, second] = hosts.map(|system| {
        let runs = run_seeds(&case, system, SeedRange::first(seeds), &AtomicBool::new(false), &|_| {});
        assert!(runs.stopped.is_none());
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
    let agree = first.iter().zip(&second).filter(|(left, right)| {
        let [left, right] = [left, right].map(|outcome| outcome.row.outage);
        left == right || left.zip(right).is_some_and(|(left, right)| difference(left, right) < SAME)
    });
    let agree = agree.count();
    println!("{name}: equal outages, run by run: {agree} of {seeds}");
    assert!(
        agree * 100 >= equal_percent * first.len(),
        "{name}: {agree} of {seeds} outages are equal on both hosts"
    );
    let measures: [(&str, Measure); 3] = [
        ("outage", |outcome| outcome.row.outage),
        ("detect", |outcome| outcome.row.detect),
        ("unavailable", |outcome| Some(outcome.row.unavailable)),
    ];
    for (measure, of) in measures {
        let [left, right] = [&first, &second].map(|outcomes| sample(outcomes, of));
        let Some(distance) = kolmogorov_smirnov(&left, &right) else { continue };
        let critical = distance.critical_95 * FROM_5_TO_1_PERCENT;
        let median = |sample: &Sample| {
            sample.quantile(QuantileLevel::P50).value.map_or_else(|| "never".to_owned(), |it| it.to_string())
        };
        println!(
            "{name}: {measure} median {} native, {} madsim; distance {:.3} of {critical:.3}, n = {seeds} each",
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

/// Percent of runs that must have the same outage on both hosts, where no packet is lost at random.
const NEARLY_ALL: usize = 90;
/// The same, where packets are lost at random: acknowledgements draw from the streams of the links, too, so that other
/// packets are lost, and the two runs part.
const MOST: usize = 50;

#[test]
fn a_primary_that_loses_power_async() {
    compare("patroni/primary-host-crash/async", SEEDS, MOST);
}

#[test]
fn a_primary_that_loses_power_sync() {
    compare("patroni/primary-host-crash/sync", SEEDS, NEARLY_ALL);
}

#[test]
fn a_postmaster_that_is_killed() {
    compare("patroni/postgres-crash/async", SEEDS, NEARLY_ALL);
}

#[test]
fn a_primary_that_is_cut_off() {
    compare("patroni/primary-isolated/async", SEEDS, MOST);
}

#[test]
fn an_etcd_leader_that_loses_power() {
    compare("patroni/etcd-leader-crash/async", SEEDS, NEARLY_ALL);
}

/// Kills, power, pauses, frozen machines, partitions of all directions, bad links, stalled disks, clocks that step, commands.
#[test]
fn a_swarm_of_faults() {
    compare("patroni/swarm/async", SEEDS, MOST);
}

/// Equal seeds give equal runs here, too; and the seed matters.
#[test]
fn a_run_on_madsim_is_a_function_of_its_seed() {
    let (case, _, madsim) = systems("patroni/swarm/async");
    let digest = |seed| run_seed(&case, &madsim, Seed(seed)).row.digest;
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

/// A member of etcd that comes and goes is harmed as long as the fault lasts, so the budget has no room for another one.
#[test]
fn budgets_and_faults_that_come_and_go_are_the_same_on_both_hosts() {
    let (_, mut native, _) = systems("patroni/postgres-crash/async");
    native.budgets = [FaultBudget {
        of: "etcd".to_owned(),
        kinds: Vec::new(),
        together_with: Vec::new(),
        at_most: 1,
        lasting: false,
    }]
    .into();
    let dwell = Dwell { shortest: SimDuration::from_secs(1), longest: SimDuration::from_secs(3) };
    let member = |name: &str| Target::Process(name.to_owned());
    let isolate = Fault::Isolate { target: member("etcd-1"), direction: Direction::Both };
    let flap = Fault::Flap { fault: Box::new(isolate), on: dwell, off: dwell };
    let at = |secs, fault| ScheduledFault {
        trigger: Trigger::At(SimDuration::from_secs(secs)),
        fault,
        lasts: Some(SimDuration::from_secs(10)),
    };
    let kill = |name| Fault::Kill { target: member(name) };
    let schedule = Schedule(vec![at(30, flap), at(35, kill("etcd-2")), at(45, kill("etcd-3"))]);
    let madsim = OnMadsim(native.clone());
    let hosts: [&dyn System; 2] = [&native, &madsim];
    let [left, right] = hosts.map(|system| {
        let run = system.run(Seed(1), &schedule, LogLevel::Story);
        // The names are those of the processes of a whole cluster, on both hosts.
        let told = run.log.iter().filter(|entry| entry.kind == TraceKind::Fault);
        let told: Vec<(u64, String)> =
            told.map(|entry| (entry.at.as_nanos() / 1_000_000, entry.text.clone())).collect();
        let withheld: Vec<bool> = run.faults.iter().map(|fault| fault.withheld).collect();
        assert_eq!(withheld, [false, true, false]);
        told
    });
    assert!(left.len() > 8, "it comes and goes: {left:?}");
    assert_eq!(left, right);
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
