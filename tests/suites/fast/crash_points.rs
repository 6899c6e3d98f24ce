//! The enumeration of crash points: it finds what needs a crash at the right instant, and nothing in correct models.

use std::collections::BTreeSet;

use models::Planted;
use scenarios::campaign::{Verdict, run_schedule};
use scenarios::crash_points::{Crash, NoPoints, Plan, Report, crash_points};
use scenarios::family::{Forkable, LogLevel};
use scenarios::repro::Repro;
use sim_core::{MarkKind, Seed};
use tests::Subject;
use tests::planted::Broken;

/// Syncs of the primary take a few milliseconds for a second: commits are acknowledged when theirs is over.
const SLOW_DISK: &str = r#"name = "patroni/slow-disk"
summary = "The disk of the primary is slow for a second. Replication is asynchronous."
family = "patroni"
promises = ["no-acknowledged-write-lost", { recovers-within = "20s" }]
horizon = "60s"

[cluster.patroni]
synchronous_mode = false

[workload]
write_interval = "50ms"

[[fault]]
trigger = { at = "30s" }
fault = { disk-slow = { target = { role = "primary" }, latency = "3ms" } }
lasts = "1s"
"#;

fn enumerate(subject: &Subject, system: &dyn Forkable, seed: u64, plan: &Plan) -> Report {
    let (case, seed) = (&subject.case, Seed(seed));
    let schedule = case.scenario.schedule(seed);
    let points = crash_points(case, system, seed, &schedule, plan);
    let points = points.unwrap_or_else(|reason| panic!("nothing to enumerate: {reason:?}"));
    let report = points.try_all(case, system, seed, &schedule, plan, &|| ());
    assert_eq!(report.points, points.len() as u64);
    report
}

/// A server that acknowledges before it has flushed is harmless, unless its host loses power in the milliseconds until
/// then.
#[test]
fn a_bug_that_needs_a_crash_at_the_right_instant_is_found() {
    let subject = Subject::from_text(SLOW_DISK);
    let plan = Plan {
        crash: Crash::PowerOff,
        until: Some(MarkKind::FaultEnded),
        only: vec!["postgres".to_owned()],
        ..Plan::default()
    };
    let bug = Planted::AcknowledgeBeforeFlush;
    let broken = Broken::family_of(&subject.case, bug).system(&subject.case);
    let report = enumerate(&subject, &*broken, 0, &plan);
    let group = report.findings.first().expect("the bug shows at some point");
    assert_eq!(group.finding.verdict, Verdict::AckedWriteLost);
    assert!(group.points < report.points / 2, "it needs the right instant: {group:?}");
    assert!(group.is_confirmed(), "the run from the start is the fork: {group:?}");

    let repro = Repro::new(&subject.case, group.schedule.clone(), &group.outcome);
    let text = serde_json::to_string(&repro).expect("a repro has a form in JSON");
    let read: Repro = serde_json::from_str(&text).expect("and can be read");
    assert_eq!(read.schedule, group.schedule, "nanoseconds survive the file");
    let correct = run_schedule(&subject.case, &*subject.system, Seed(0), &read.schedule, LogLevel::Off).0;
    assert_eq!(correct.judgement.verdict, Verdict::Kept, "{:?}", correct.judgement);

    let report = enumerate(&subject, &*subject.system, 0, &plan);
    assert!(report.findings.is_empty(), "the correct model: {:?}", report.findings);
}

/// From the loss of the primary's host until clients reach the new primary, every process of the cluster killed after
/// everything that it was given.
#[test]
fn correct_models_survive_every_crash_point_of_a_synchronous_failover() {
    let subject = Subject::from_catalogue("patroni/primary-host-crash/sync");
    let report = enumerate(&subject, &*subject.system, 0, &Plan::default());
    assert!(report.points > 1_000 && report.victims >= 7, "{report:?}");
    assert_eq!(report.kept + report.late, report.points, "{:?}", report.findings);
    assert!(report.inputs >= report.points, "inputs of one instant are one point");
}

#[test]
fn only_what_was_asked_for_crashes_and_a_window_needs_its_mark() {
    let subject = Subject::from_catalogue("patroni/switchover/sync");
    let schedule = subject.case.scenario.schedule(Seed(1));
    let only = |only: &[&str], from: MarkKind| Plan {
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        from,
        ..Plan::default()
    };
    let find = |plan: &Plan| crash_points(&subject.case, &*subject.system, Seed(1), &schedule, plan);
    let all = find(&Plan::default()).expect("there are points").len();
    let some = find(&only(&["etcd", "patroni-1"], MarkKind::Fault)).expect("there are points");
    assert!(!some.is_empty() && some.len() < all);
    let victims: BTreeSet<&str> = some.victims().collect();
    assert_eq!(victims, BTreeSet::from(["etcd-1", "etcd-2", "etcd-3", "patroni-1"]));
    let none = find(&only(&[], MarkKind::Agreed)).expect_err("Patroni leaves no such mark");
    assert_eq!(none, NoPoints::NoMark(MarkKind::Agreed));
}
