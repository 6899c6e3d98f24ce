use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim_core::{Probability, SimDuration};

use super::*;
use crate::campaign::report::ScenarioVerdict;
use crate::family::{Family, build};
use crate::scenario::Promise;
use crate::testing::unruly::{LEAKS, LIVELOCKS, PANICS, TOILS, UNRULY, Unruly};
use crate::testing::{Small, case, scenario_text};

fn runs(text: &str, seeds: SeedRange, jobs: usize) -> (Case, Runs) {
    runs_of(&Small, text, seeds, jobs)
}

fn runs_of(family: &dyn Family, text: &str, seeds: SeedRange, jobs: usize) -> (Case, Runs) {
    let case = case(text);
    let system = build(&[family], &case).unwrap();
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
    assert_eq!(report.not_found, [Promise::LossIsFound]);
}

#[test]
fn an_outage_is_found_when_some_seed_has_one_as_long() {
    let verdict = |least: &str| {
        let text = scenario_text("sync").replace("\"no-acknowledged-write-lost\"", least);
        let (case, runs) = runs(&text, SeedRange::first(5), 1);
        Report::new(&case.scenario, &runs).verdict
    };
    assert_eq!(verdict("{ outage-is-found = \"1s\" }"), ScenarioVerdict::Kept);
    assert_eq!(verdict("{ outage-is-found = \"60s\" }"), ScenarioVerdict::NotFound);
}

#[test]
fn a_divergence_is_demanded_of_the_campaign_and_ends_its_run_without_harm() {
    let text = scenario_text("sync")
        .replace("\"no-acknowledged-write-lost\"", "\"divergence-is-found\", { outage-is-found = \"60s\" }");
    let (case, mut runs) = runs(&text, SeedRange::first(5), 1);
    let report = Report::new(&case.scenario, &runs);
    assert_eq!(
        report.not_found,
        case.scenario.promises[..2],
        "nothing diverges here, and no outage is as long"
    );
    let diverged = &mut runs.outcomes[3];
    diverged.judgement.verdict = Verdict::DivergenceFound;
    // It ended before anybody could have written again.
    diverged.row.outage = None;
    let report = Report::new(&case.scenario, &runs);
    assert_eq!(report.not_found, [Promise::OutageIsFound(SimDuration::from_secs(60))]);
    assert_eq!((report.verdict, report.failed_seeds), (ScenarioVerdict::NotFound, Vec::new()));
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
        roles: Vec::new(),
        accepted: true,
        withheld: false,
    };
    let stage = [fault(1, "degrade", true), fault(2, "kill", false)];
    assert_eq!(timed_fault(&stage), None);
    let all = [&stage[..], &[fault(3, "power-off", true), fault(4, "kill", true)]].concat();
    assert_eq!(timed_fault(&all), Some(SimTime::from_nanos(3)));
}

/// The runs of a campaign that are run twice with this share.
fn rechecked(seeds: SeedRange, recheck: Probability, journal: Option<&mut Journal>, stop: &Stop<'_>) -> Runs {
    let case = case(UNRULY);
    let system = build(&[&Unruly], &case).unwrap();
    let campaign = Campaign {
        case: &case,
        system: &*system,
        seeds,
        recheck: Some(Recheck { share: recheck, system: &*system }),
    };
    let mut outcomes = Vec::new();
    let mut keep = |outcome| {
        outcomes.push(outcome);
        Ok(())
    };
    let stopped = campaign.run(stop, journal, &|_| (), &mut keep).unwrap();
    Runs { outcomes, seeds, stopped }
}

#[test]
fn models_that_go_wrong_are_findings_and_the_campaign_goes_on() {
    use Verdict::{Kept, Livelock, ModelPanicked, Undecided};
    let (case, runs) = runs_of(&Unruly, UNRULY, SeedRange::first(7), 2);
    let found = |seed: u64| &runs.outcomes[seed as usize].judgement;
    let verdicts: Vec<Verdict> = (0..7).map(|seed| found(seed).verdict).collect();
    assert_eq!(verdicts, [Kept, ModelPanicked, Livelock, Undecided, Kept, Kept, Kept]);
    let evidence = &found(PANICS).evidence;
    assert!(evidence.contains("the client has had enough") && evidence.contains("at 30"), "{evidence}");
    let evidence = &found(LIVELOCKS).evidence;
    assert!(evidence.starts_with("virtual time all but stood still at 30"), "{evidence}");
    let evidence = &found(TOILS).evidence;
    assert!(evidence.contains("virtual time went on"), "{evidence}");
    let report = Report::new(&case.scenario, &runs);
    assert_eq!(report.verdict, ScenarioVerdict::Violated);
    assert_eq!(report.failed_seeds, [Seed(PANICS), Seed(LIVELOCKS)]);
}

#[test]
fn a_run_that_does_not_repeat_is_caught_and_located() {
    let stop = AtomicBool::new(false);
    let runs = rechecked(SeedRange::first(7), Probability::ALWAYS, None, &Stop::on(&stop));
    let leaking = &runs.outcomes[LEAKS as usize];
    assert_eq!(leaking.judgement.verdict, Verdict::NotRepeated);
    assert_eq!(leaking.row.verdict, "not-repeated");
    let evidence = &leaking.judgement.evidence;
    // The boot, and 301 ticks that are the same; the next comes at another time.
    assert!(evidence.contains("event 303 is the first that differs: 30."), "{evidence}");
    assert!(evidence.contains("client-1: timer Tick; and again: 30."), "{evidence}");
    let report = Report::new(&case(UNRULY).scenario, &runs);
    assert_eq!(report.verdict, ScenarioVerdict::NotRepeated);
    assert_eq!(report.verdict.exit(), crate::exit::Exit::Internal);
    assert_eq!((report.not_repeated_seeds, report.rechecked_count), (vec![Seed(LEAKS)], 7));
    // A panic, a livelock and a spent budget repeat themselves.
    assert_eq!(report.failed_seeds, [Seed(PANICS), Seed(LIVELOCKS)]);
}

#[test]
fn about_the_share_that_was_asked_for_is_run_twice() {
    let stop = AtomicBool::new(false);
    let share: Probability = "5%".parse().unwrap();
    let runs = rechecked("1000..3000".parse().unwrap(), share, None, &Stop::on(&stop));
    let count = runs.outcomes.iter().filter(|outcome| outcome.rechecked).count();
    // 100 expected, with a standard deviation of 10.
    assert!((60..140).contains(&count), "{count}");
    let again = rechecked("1000..3000".parse().unwrap(), share, None, &Stop::on(&stop));
    assert_eq!(runs, again);
}

#[test]
fn a_campaign_goes_on_from_its_journal() {
    let folder = std::env::temp_dir().join(format!("hasim-journal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("runs.jsonl");
    let (seeds, share) = ("10..2100".parse().unwrap(), "5%".parse().unwrap());
    let identity = Identity::new(&[case(UNRULY)], seeds, share);
    let never = AtomicBool::new(false);
    let whole = rechecked(seeds, share, None, &Stop::on(&never));

    // Nothing is run when the time is spent already, and that is written down as such.
    let mut journal = Journal::open(&path, &identity).unwrap();
    let spent = Stop::on(&never).at(TimeBudget::start(Some(SimDuration::from_nanos(1))).share(1));
    let none = rechecked(seeds, share, Some(&mut journal), &spent);
    assert_eq!((none.outcomes.len(), none.stopped), (0, Some(StopReason::Budget)));
    // A second campaign cannot write to the same file meanwhile.
    let error = Journal::open(&path, &identity).unwrap_err();
    assert!(error.message().contains("another hasim writes"), "{}", error.message());
    rechecked(seeds, share, Some(&mut journal), &Stop::on(&never));
    drop(journal);

    // Whatever is cut off the end, and whatever is missing in between, the campaign ends as if nothing had happened.
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len() as u64, 1 + seeds.len());
    let holes: String =
        lines.iter().enumerate().filter(|(at, _)| at % 3 == 0).map(|(_, line)| *line).collect();
    for kept in [&text[..text.len() - 20], &text[..40], &text[..lines[0].len()], "", &holes, &text] {
        std::fs::write(&path, kept).unwrap();
        let mut journal = Journal::open(&path, &identity).unwrap();
        let before = journal.finished_count();
        assert_eq!(
            before,
            kept.matches("\"seed\"").count() as u64 - u64::from(!kept.ends_with('\n') && kept.len() > 200)
        );
        assert_eq!(rechecked(seeds, share, Some(&mut journal), &Stop::on(&never)), whole);
        drop(journal);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count() as u64, 1 + seeds.len());
    }

    for (other, said) in [
        (
            Identity::new(&[case(UNRULY)], SeedRange::first(5), share),
            "of the seeds 10..2100; this campaign is of 0..5",
        ),
        (Identity::new(&[case(UNRULY)], seeds, Probability::NEVER), "has `--recheck 5%`"),
        (
            Identity::new(&[case(&UNRULY.replace("60s", "61s"))], seeds, share),
            "the text of `patroni/test/unruly` has changed",
        ),
        (
            Identity::new(&[case(&scenario_text("sync"))], seeds, share),
            "is of patroni/test/unruly; this campaign is of patroni/test/sync",
        ),
    ] {
        let error = Journal::open(&path, &other).unwrap_err();
        assert!(error.message().contains(said), "{}", error.message());
    }
    let newer = text.replace("\"hasim_version\":\"", "\"hasim_version\":\"9.");
    std::fs::write(&path, &newer).unwrap();
    assert!(Journal::open(&path, &identity).unwrap_err().message().contains("it is from hasim 9."));
    std::fs::write(&path, "my notes\n").unwrap();
    assert!(Journal::open(&path, &identity).unwrap_err().message().contains("is not a journal of hasim"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_promised_cell_that_stays_empty_fails_the_check() {
    let text = scenario_text("sync");
    let promise = |cell: &str| format!("{text}\n[coverage]\npromised = [{cell}]\n");
    let report = |text: &str| {
        let (case, runs) = runs(text, SeedRange::first(3), 1);
        Report::new(&case.scenario, &runs)
    };
    let filled = report(&promise("{ fault = \"power-off\", phase = \"steady\" }"));
    assert_eq!(filled.verdict, ScenarioVerdict::Kept, "{filled:?}");
    assert_eq!(serde_json::to_value(&filled.coverage).unwrap()[0]["fault_count"], 3);
    let empty = report(&promise("{ fault = \"power-off\", role = \"primary\", phase = \"electing\" }"));
    assert_eq!(empty.verdict, ScenarioVerdict::NotCovered);
    assert_eq!(empty.not_covered[0].to_string(), "power-off of primary while electing");
}
