//! Locks: how long a takeover takes, what each scenario of the catalogue promises, and bugs that are found.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use analysis::stats::{QuantileLevel, Sample, kolmogorov_smirnov};
use models::Planted;
use rayon::prelude::*;
use scenarios::campaign::{Report, ScenarioVerdict, SeedRange, Verdict, run_seed, run_seeds};
use scenarios::catalogue;
use scenarios::exit::Exit;
use scenarios::family::LogLevel;
use sim_core::{Mark, MarkKind, Seed, SimDuration};
use tests::Subject;
use tests::planted::{hunt, scenario_of};

/// Section 6.6 of the fidelity specification: the rest of the time to live and the rest of the poll.
#[test]
fn a_takeover_takes_what_is_left_of_the_lock_and_of_the_poll() {
    let length = |low, high, stream: &mut sim_core::Stream| {
        stream.duration(SimDuration::from_secs(low), SimDuration::from_secs(high))
    };
    for (poll, median) in [(1, 25.5), (5, 27.5), (10, 30.0)] {
        let Subject { case, system } = Subject::from_catalogue(&format!("lock/leader-crash/poll-{poll}s"));
        let takeover = |seed: u64| {
            let run = system.run(Seed(seed), &case.scenario.schedule(Seed(seed)), LogLevel::Off);
            // The second fault kills the leader.
            let is_kill = |mark: &&Mark| mark.kind == MarkKind::Fault && mark.value == 1;
            let killed = run.record.marks.iter().find(is_kill).expect("it fires").at;
            let elected = |mark: &&Mark| mark.kind == MarkKind::Elected && mark.at > killed;
            run.record.marks.iter().find(elected).map(|mark| mark.at.since(killed))
        };
        let takeovers = Sample::new((0..250).into_par_iter().map(takeover).collect::<Vec<_>>());
        let mut stream = Seed(0).stream("formula", poll);
        let mut draw = |_| Some(length(20, 30, &mut stream) + length(0, poll, &mut stream));
        let formula = Sample::new((0..20_000).map(&mut draw));
        // The formula is the one of the table.
        let middle = formula.quantile(QuantileLevel::P50).value.expect("all are finite").as_secs_f64();
        assert!((middle - median).abs() < 0.1, "{middle}");
        let distance = kolmogorov_smirnov(&takeovers, &formula).expect("there are runs");
        assert!(distance.distance < distance.critical_99, "poll {poll} s: {distance:?}");
    }
}

/// Every promise of the catalogue about locks, with a few seeds: what is fenced is never taken back, and what is not is found.
#[test]
fn locks_keep_what_their_scenarios_promise() {
    let shipped = catalogue::scenarios().unwrap();
    let names = shipped.iter().map(|scenario| &scenario.name).filter(|name| name.starts_with("lock/"));
    for name in names {
        let Subject { case, system } = Subject::from_catalogue(name);
        let runs = run_seeds(&case, &*system, SeedRange::first(24), &AtomicBool::new(false), &|_| ());
        let report = Report::new(&case.scenario, &runs);
        assert_eq!(report.verdict, ScenarioVerdict::Kept, "{name}: {report:?}");
    }
}

#[test]
fn planted_bugs_of_locks_are_found() {
    for (bug, runs, verdict) in [
        (Planted::ReleaseWithoutCompare, 200, Verdict::TwoWritablePrimaries),
        (Planted::RenewWithSet, 50, Verdict::ConditionViolated),
        (Planted::CountFromAnswer, 150, Verdict::TwoWritablePrimaries),
        (Planted::SkipElapsedCheck, 50, Verdict::AckedWriteLost),
        (Planted::AcceptAnyToken, 10, Verdict::ConditionViolated),
        (Planted::AcceptEqualToken, 20, Verdict::ConditionViolated),
    ] {
        let scenario = scenario_of(bug);
        let catch = hunt(scenario, bug, 0, Duration::from_mins(2));
        let catch = catch.unwrap_or_else(|runs| panic!("{bug}: not found in {runs} runs"));
        assert!(catch.runs <= runs, "{bug} took {} runs", catch.runs);
        assert_eq!(catch.judgement.verdict, verdict, "{bug}: {:?}", catch.judgement);
        let Subject { case, system } = Subject::from_catalogue(scenario);
        let correct = run_seed(&case, &*system, catch.seed).judgement;
        assert_eq!(correct.verdict.exit(), Exit::Kept, "the correct model, seed {}: {correct:?}", catch.seed);
    }
}
