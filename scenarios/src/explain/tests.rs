use super::*;
use crate::family::build;
use crate::testing::{Small, case, scenario_text};

/// The server loses power at a time that differs from seed to seed, with writes it acknowledged and did not sync.
fn explained(jobs: usize) -> Explanation {
    let noise = "\n[[fault]]\ntrigger = { at = \"40s\" }\nfault = { pause = { target = { role = \"client\" } } }\nlasts = \"2s\"\n";
    let text = scenario_text("async").replace("loss-is-found", "no-acknowledged-write-lost") + noise;
    let case = case(&text);
    let system = build(&[&Small], &case).unwrap();
    let explain_seed = |seed: u64, effort: Effort| {
        let (seed, schedule) = (Seed(seed), case.scenario.schedule(Seed(seed)));
        let result = system.run(seed, &schedule, LogLevel::Off);
        let lost = judge_run(&case, &*system, seed, &result).row.lost > 0;
        lost.then(|| explain(&case, &*system, seed, &schedule, effort))
    };
    // At most instants the power fails amid a write, whatever chance does; a seed is wanted with which chance matters.
    let chance = |seed: &u64| {
        explain_seed(*seed, Effort { futures: 10, instants: 4 }).is_some_and(|found| found.steepest.is_some())
    };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().unwrap();
    threads.install(|| {
        let seed = (0..60).find(chance).expect("chance matters with some seed that loses");
        explain_seed(seed, Effort { futures: 20, instants: 12 }).expect("it loses again")
    })
}

#[test]
fn the_curve_ends_in_certainty_and_rises_before_the_power_is_lost() {
    let explanation = explained(1);
    assert_eq!(explanation.finding, "acked-write-lost");
    let curve = &explanation.curve;
    assert!(curve.windows(2).all(|pair| pair[0].at < pair[1].at), "in order of time");
    assert_eq!(curve.last().unwrap().share.failed, 20, "at the end nothing is open");
    let power_off = explanation.faults[0].at.unwrap();
    // After the power is gone nothing can be saved any more; before, latencies that are drawn anew decide which writes
    // are on their way.
    let (before, after): (Vec<_>, Vec<_>) = curve.iter().partition(|point| point.at < power_off);
    assert!(after.iter().all(|point| point.share.failed == 20), "{after:?}");
    assert!(before.iter().any(|point| point.share.failed < 20), "{before:?}");
    let steepest = explanation.steepest.unwrap();
    assert!(curve[steepest - 1].at < power_off);
}

#[test]
fn a_fault_that_matters_is_told_from_one_that_does_not() {
    let explanation = explained(1);
    let [power_off, pause] = explanation.faults.as_slice() else { panic!("two faults") };
    assert_eq!((power_off.kind, power_off.fails_without), ("power-off", Some(false)));
    assert_eq!(power_off.hit, ["postgres-1"]);
    assert_eq!(power_off.without.unwrap().failed, 0);
    assert!(power_off.with.unwrap().failed > 0);
    assert_eq!((pause.kind, pause.fails_without), ("pause", Some(true)));
    assert_eq!(pause.with, pause.without);
}

#[test]
fn an_explanation_does_not_depend_on_the_number_of_threads() {
    assert_eq!(explained(1), explained(2));
}
