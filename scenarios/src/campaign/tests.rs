use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::campaign::report::ScenarioVerdict;
use crate::family::build;
use crate::testing::{Small, case, scenario_text};

fn runs(text: &str, seeds: SeedRange, jobs: usize) -> (Case, Runs) {
    let case = case(text);
    let system = build(&[&Small], &case).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().unwrap();
    let stop = AtomicBool::new(false);
    let runs = pool.install(|| run_seeds(&case, &*system, seeds, &stop, &|_| ()));
    (case, runs)
}

#[test]
fn a_campaign_does_not_depend_on_the_number_of_threads() {
    let text = scenario_text("async");
    let (_, one) = runs(&text, SeedRange::first(40), 1);
    let (_, two) = runs(&text, SeedRange::first(40), 2);
    assert_eq!(one, two);
    let digests: Vec<_> = one.outcomes.iter().map(|outcome| outcome.row.digest).collect();
    assert_ne!(digests[0], digests[1], "seeds differ");
    let seeds: Vec<u64> = one.outcomes.iter().map(|outcome| outcome.row.seed.0).collect();
    assert_eq!(seeds, (0..40).collect::<Vec<u64>>());
}

#[test]
fn what_is_lost_is_found_and_what_is_safe_is_kept() {
    let (case, lossy) = runs(&scenario_text("async"), SeedRange::first(20), 2);
    let report = Report::new(&case.scenario, &lossy);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    assert!(report.summary.unwrap().loss.lost_total > 0);

    let (case, safe) = runs(&scenario_text("sync"), SeedRange::first(20), 2);
    let report = Report::new(&case.scenario, &safe);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    assert_eq!(report.summary.unwrap().loss.lost_total, 0);
}

#[test]
fn a_broken_promise_fails_with_its_seeds() {
    let text = scenario_text("async").replace("loss-is-found", "no-acknowledged-write-lost");
    let (case, runs) = runs(&text, SeedRange::first(20), 2);
    let report = Report::new(&case.scenario, &runs);
    assert_eq!(report.verdict, ScenarioVerdict::Violated);
    let first = &runs.outcomes[report.failed_seeds[0].0 as usize];
    assert_eq!(first.judgement.verdict, Verdict::AckedWriteLost);
    assert!(first.judgement.evidence.starts_with("lost "), "{}", first.judgement.evidence);
}

#[test]
fn a_finding_that_is_not_made_fails_the_campaign() {
    let text = scenario_text("sync").replace("no-acknowledged-write-lost", "loss-is-found");
    let (case, runs) = runs(&text, SeedRange::first(5), 1);
    let report = Report::new(&case.scenario, &runs);
    assert_eq!(report.verdict, ScenarioVerdict::NotFound);
    assert_eq!(report.not_found, [crate::scenario::Promise::LossIsFound]);
}

#[test]
fn recovery_is_held_against_its_limit() {
    let verdict = |text: &str| runs(text, SeedRange::first(1), 1).1.outcomes[0].judgement.verdict;
    let text = scenario_text("sync");
    assert_eq!(verdict(&text), Verdict::Kept);
    assert_eq!(verdict(&text.replace("\"20s\"", "\"2s\"")), Verdict::RecoveryTooSlow);
    assert_eq!(verdict(&text.replace("lasts = \"5s\"\n", "")), Verdict::NotRecovered);
    let budget = text.replace("horizon", "event_budget = 1000\nhorizon");
    assert_eq!(verdict(&budget), Verdict::Undecided);
}

#[test]
fn an_interrupted_campaign_says_so() {
    let case = case(&scenario_text("sync"));
    let system = build(&[&Small], &case).unwrap();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = |_: &Outcome| {
        if count.fetch_add(1, Ordering::Relaxed) == 3 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let runs = pool.install(|| run_seeds(&case, &*system, SeedRange::first(50), &stop, &done));
    assert_eq!(runs.outcomes.len(), 4);
    let report = Report::new(&case.scenario, &runs);
    assert!(!report.complete);
    assert_eq!(report.verdict, ScenarioVerdict::Undecided);
}

#[test]
fn a_fault_on_something_that_does_not_exist_points_into_the_file() {
    let text = scenario_text("sync").replace("host-of = \"primary\"", "host = \"db-7\"");
    let case = case(&text);
    let error = build(&[&Small], &case).err().unwrap();
    assert_eq!(error.spot().unwrap().to_string(), "test.toml:12:9");
    assert_eq!(error.message(), "no host is named `db-7`; there are: db-1, app-1");
}

#[test]
fn a_fault_of_a_swarm_that_cannot_hit_points_into_the_file() {
    let text = scenario_text("sync");
    let written = text.find("[[fault]]").unwrap();
    let swarm = "[swarm]\nfrom = \"20s\"\nuntil = \"40s\"\nfaults = 2\nkinds = \"50%\"\n\n[[swarm.mix]]\n\
                 fault = { kill = { target = { role = \"primary\" } } }\n\n[[swarm.mix]]\n\
                 fault = { kill = { target = { process = \"nobody-1\" } } }\n";
    let case = case(&format!("{}{swarm}", &text[..written]));
    let error = build(&[&Small], &case).err().unwrap();
    let spot = error.spot().unwrap();
    assert!(
        spot.source.text[spot.span.clone()].contains("nobody-1") || spot.to_string().contains(":19:"),
        "{spot}"
    );
}

#[test]
fn a_failover_is_timed_from_the_first_fault_that_is_more_than_a_slow_link() {
    let fault = |at: u64, kind: &'static str, hit: bool| DeliveredFault {
        index: 0,
        at: SimTime::from_nanos(at),
        kind,
        processes: hit.then_some(sim_core::ProcessId::from_index(0)).into_iter().collect(),
        accepted: true,
    };
    let stage = [fault(1, "degrade", true), fault(2, "kill", false)];
    assert_eq!(timed_fault(&stage), None);
    let all = [&stage[..], &[fault(3, "power-off", true), fault(4, "kill", true)]].concat();
    assert_eq!(timed_fault(&all), Some(SimTime::from_nanos(3)));
}
