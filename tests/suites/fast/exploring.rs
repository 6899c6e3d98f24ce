//! Failures made small and explained, on the models: planted faults in Patroni shrink to a few faults, and fail for the
//! same reason.

use models::Planted;
use proptest::prelude::*;
use scenarios::campaign::{Verdict, run_schedule};
use scenarios::family::LogLevel;
use scenarios::scenario::FaultPlan;
use scenarios::shrink::{Ending, Failure, Limits, shrink};
use scenarios::strategy::schedules;
use sim_core::{Schedule, Seed, SwarmConfig};
use tests::Subject;
use tests::planted::Broken;

/// Shrinks a failure of a broken Patroni, and checks that what is left fails as it did, and does not fail in the
/// Patroni that is right.
fn shrinks(planted: Planted, seed: Seed, schedule: &Schedule) -> Failure {
    let Subject { case, .. } = Subject::from_catalogue("patroni/swarm/sync");
    let family = Broken::family_of(&case, planted);
    let failure =
        Failure::of(&case, &*family.system(&case), seed, schedule).expect("the planted fault shows");
    let finding = failure.finding.clone();
    let found = shrink(&[&family], failure, &Limits { runs: 2_000, stop: &|| false });
    assert_eq!(found.ending, Ending::Fixpoint);
    let small = found.failure;
    assert_eq!(small.finding, finding);
    assert!(small.schedule.0.len() <= 3, "{:?}", small.schedule);
    let right = scenarios::patroni::system(&small.case, Planted::Nothing);
    let (outcome, _) = run_schedule(&small.case, &*right, small.seed, &small.schedule, LogLevel::Off);
    assert_eq!(outcome.judgement.verdict, Verdict::Kept, "{:?}", small.schedule);
    small
}

#[test]
fn a_stale_watch_shrinks_to_the_faults_that_matter() {
    let schedule = serde_json::from_str(include_str!("../../data/schedules/stale-watch.json"));
    shrinks(Planted::KeepWatch, Seed(56_490), &schedule.expect("a schedule"));
}

#[test]
fn a_broken_standby_check_shrinks_to_the_faults_that_matter() {
    let Subject { case, .. } = Subject::from_catalogue("patroni/swarm/sync");
    let broken = scenarios::patroni::system(&case, Planted::IgnoreSync);
    let loses = |seed: &u64| {
        let schedule = case.scenario.schedule(Seed(*seed));
        run_schedule(&case, &*broken, Seed(*seed), &schedule, LogLevel::Off).0.judgement.verdict
            != Verdict::Kept
    };
    let seed = Seed((0..1_000).find(loses).expect("the planted fault was found"));
    shrinks(Planted::IgnoreSync, seed, &case.scenario.schedule(seed));
}

#[test]
fn a_switchover_loses_nothing() {
    scenarios::assert_kept("patroni/switchover/async", 0..4);
}

fn sync_swarm() -> (Subject, SwarmConfig) {
    let subject = Subject::from_catalogue("patroni/swarm/sync");
    let FaultPlan::Swarm(swarm) = subject.case.scenario.faults.clone() else { panic!("it is a swarm") };
    (subject, swarm.config)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The same promise as a property of proptest: schedules and seeds vary independently of each other.
    #[test]
    fn no_schedule_loses_a_write_of_a_synchronous_cluster(schedule in schedules(sync_swarm().1), seed in 0_u64..1_000) {
        let Subject { case, system } = sync_swarm().0;
        let (outcome, _) = run_schedule(&case, &*system, Seed(seed), &schedule, LogLevel::Off);
        prop_assert_eq!(outcome.row.lost, 0, "{}", outcome.judgement.evidence);
    }
}
