use super::*;
use crate::campaign::Verdict;
use crate::testing::{Small, case, scenario_text};

/// The small scenario with a promise that it breaks, and faults that have nothing to do with it. That a campaign covers
/// one of those, too, must not keep it.
fn noisy_scenario() -> String {
    let text = scenario_text("async").replace("loss-is-found", "no-acknowledged-write-lost");
    let noise = |at: u32, fault: &str| {
        format!("\n[[fault]]\ntrigger = {{ at = \"{at}s\" }}\nfault = {fault}\nlasts = \"2s\"\n")
    };
    let degrade =
        "{ degrade = { from = [\"others\"], to = [{ host-of = \"primary\" }], latency = \"3ms\" } }";
    let pause = "{ pause = { target = { role = \"client\" } } }";
    let coverage = "\n[coverage]\npromised = [{ fault = \"pause\" }]\n".to_owned();
    [text, noise(15, degrade), noise(33, pause), noise(38, degrade), noise(41, pause), coverage]
        .concat()
        .replace("horizon", "warmup = \"10s\"\nhorizon")
}

fn failure(text: &str, seeds: u64) -> Failure {
    let case = case(text);
    let system = build(&[&Small], &case).unwrap();
    let failed = |seed: u64| Failure::of(&case, &*system, Seed(seed), &case.scenario.schedule(Seed(seed)));
    (0..seeds).find_map(failed).expect("some seed fails")
}

fn shrunk(failure: &Failure, runs: u64) -> Shrunk {
    shrink(&[&Small], failure.clone(), &Limits { runs, stop: &|| false })
}

#[test]
fn only_the_fault_that_matters_is_left() {
    let failure = failure(&noisy_scenario(), 20);
    let found = shrunk(&failure, 2_000);
    assert_eq!(found.ending, Ending::Fixpoint);
    let small = &found.failure;
    assert_eq!(small.schedule.0.len(), 1, "{:?}", small.schedule);
    assert_eq!(small.schedule.0[0].fault.kind(), "power-off");
    assert_eq!(small.finding.verdict, Verdict::AckedWriteLost);
    assert!(small.case.scenario.horizon < failure.case.scenario.horizon);
    assert!(small.outcome.row.outage.is_some(), "the server came back, as in the first run");
    let text = &small.case.scenario.source.text;
    assert!(!text.contains("recovers-within"), "what it does not show, it does not promise: {text}");
}

/// What is found depends on the failure and the number of runs, and on nothing else.
#[test]
fn the_same_failure_gives_the_same_result() {
    let failure = failure(&noisy_scenario(), 20);
    for runs in [7, 2_000] {
        let [one, two] = [(); 2].map(|()| shrunk(&failure, runs));
        assert_eq!(one.failure.outcome, two.failure.outcome);
        assert_eq!((one.runs, one.ending), (two.runs, two.ending));
    }
}

/// Whatever was left out, the file that is written fails as it says, by itself: its scenario holds the faults.
#[test]
fn the_smaller_scenario_says_what_happens() {
    let found = shrunk(&failure(&noisy_scenario(), 20), 2_000).failure;
    let system = build(&[&Small], &found.case).unwrap();
    assert_eq!(found.case.scenario.schedule(found.seed), found.schedule);
    let again = Failure::of(&found.case, &*system, found.seed, &found.schedule).expect("it fails");
    assert_eq!(again.outcome, found.outcome);
    assert!(found.case.scenario.source.text.contains("[[fault]]\ntrigger = { at = "));
}

#[test]
fn a_search_ends_when_it_is_told_to_and_says_so() {
    let failure = failure(&noisy_scenario(), 20);
    let spent = shrunk(&failure, 5);
    assert_eq!((spent.ending, spent.runs), (Ending::RunsSpent, 5));
    assert_eq!(spent.failure.finding, failure.finding);
    let stopped = shrink(&[&Small], failure.clone(), &Limits { runs: 2_000, stop: &|| true });
    assert_eq!((stopped.ending, stopped.runs), (Ending::Stopped, 0));
    assert_eq!(stopped.failure.outcome.row.digest, failure.outcome.row.digest);
}

/// A cluster that does not come back must be given the same time to do so.
#[test]
fn a_cluster_that_has_to_recover_keeps_its_time() {
    let text = scenario_text("sync").replace("lasts = \"5s\"\n", "");
    let failure = failure(&text, 1);
    assert_eq!(failure.finding.verdict, Verdict::NotRecovered);
    let small = shrunk(&failure, 2_000).failure;
    assert_eq!(small.finding.verdict, Verdict::NotRecovered);
    assert!(small.case.scenario.source.text.contains("recovers-within"));
    assert!(rest(&small) + SimDuration::from_secs(1) > rest(&failure), "{:?}", rest(&small));
}

#[test]
fn a_run_that_keeps_its_promises_is_no_failure() {
    let case = case(&scenario_text("sync"));
    let system = build(&[&Small], &case).unwrap();
    assert!(Failure::of(&case, &*system, Seed(1), &case.scenario.schedule(Seed(1))).is_none());
}
