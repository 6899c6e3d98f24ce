//! The canary: bugs that are planted in the models and must be found, quickly, by the search and the judge that everybody
//! uses. When one of these tests fails, no "kept" of any campaign means anything.
//!
//! `cargo run --release -p tests --bin hunt` hunts all of them, and says how long each takes.

use std::collections::BTreeSet;
use std::time::Duration;

use models::Planted;
use scenarios::campaign::{Verdict, run_seed};
use scenarios::exit::Exit;
use tests::Subject;
use tests::planted::{Catch, hunt, scenario_of};

/// Far more than these searches need on a busy machine; the limit that counts is the number of runs.
const LIMIT: Duration = Duration::from_mins(2);

/// Finds a bug within so many runs, and shows that the same run of the correct model is in order.
#[track_caller]
fn must_be_found(bug: Planted, runs: u64) -> Catch {
    let scenario = scenario_of(bug);
    let catch =
        hunt(scenario, bug, 0, LIMIT).unwrap_or_else(|runs| panic!("{bug}: not found in {runs} runs"));
    assert!(catch.runs <= runs, "{bug} took {} runs", catch.runs);
    let Subject { case, system } = Subject::from_catalogue(scenario);
    let correct = run_seed(&case, &*system, catch.seed).judgement;
    assert_eq!(correct.verdict.exit(), Exit::Kept, "the correct model, seed {}: {correct:?}", catch.seed);
    catch
}

/// The way of a user's bug: random faults, a client that was promised something, and the history that says it is gone.
#[test]
fn a_planted_bug_is_found_by_what_the_clients_were_promised() {
    let catch = must_be_found(Planted::EndRecoveryEarly, 200);
    assert_eq!(catch.judgement.verdict, Verdict::AckedWriteLost);
}

/// One of each model, found by a condition that always holds.
#[test]
fn planted_bugs_are_found_by_conditions() {
    for (bug, runs) in [
        (Planted::VoteWithoutLogCheck, 100),
        (Planted::KeepOldLease, 50),
        (Planted::AcknowledgeBeforeFlush, 20),
        (Planted::BlindPut, 50),
    ] {
        assert_eq!(must_be_found(bug, runs).judgement.verdict, Verdict::ConditionViolated, "{bug}");
    }
}

#[test]
fn every_planted_bug_has_a_name_of_its_own_and_a_scenario_in_the_catalogue() {
    let names: BTreeSet<&str> = Planted::ALL.iter().map(|bug| bug.name()).collect();
    assert_eq!(names.len(), Planted::ALL.len());
    assert!(names.len() >= 20);
    let scenarios: BTreeSet<&str> = Planted::ALL.iter().map(|bug| scenario_of(*bug)).collect();
    for scenario in scenarios {
        Subject::from_catalogue(scenario);
    }
}

/// Redis Cluster: by conditions on votes and epochs, by what is lost, by how long it takes.
#[test]
fn planted_bugs_of_redis_cluster_are_found() {
    for (bug, runs, verdict) in [
        (Planted::ForgetClusterVote, 20, Verdict::ConditionViolated),
        (Planted::VoteForEveryShard, 600, Verdict::ConditionViolated),
        (Planted::UnknownAgeIsZero, 5, Verdict::ConditionViolated),
        (Planted::KeepOffsetOfOldPrimary, 10, Verdict::AckedWriteLost),
    ] {
        assert_eq!(must_be_found(bug, runs).judgement.verdict, verdict, "{bug}");
    }
    must_be_found(Planted::ServeInMinority, 10);
    must_be_found(Planted::GossipWithoutSuspects, 20);
}

/// Redis and Sentinel: by conditions on streams, votes and opinions, by what is lost, by how long it takes.
#[test]
fn planted_bugs_of_redis_and_sentinel_are_found() {
    for (bug, runs, verdict) in [
        (Planted::ContinueAnyStream, 20, Verdict::ConditionViolated),
        (Planted::AnswerBeforeAppendSync, 20, Verdict::AckedWriteLost),
        (Planted::AgreeWithSilence, 50, Verdict::ConditionViolated),
        (Planted::LeaveStrays, 10, Verdict::AckedWriteLost),
        (Planted::MajorityOfResponders, 20, Verdict::ConditionViolated),
        (Planted::KeepNameWithoutBacklog, 10, Verdict::ConditionViolated),
        (Planted::KeepSubReplicas, 5, Verdict::ConditionViolated),
        (Planted::IgnoreLag, 5, Verdict::AckedWriteLost),
        (Planted::LeakPending, 10, Verdict::AckedWriteLost),
    ] {
        assert_eq!(must_be_found(bug, runs).judgement.verdict, verdict, "{bug}");
    }
    must_be_found(Planted::ReconfigurePromoted, 10);
    must_be_found(Planted::ListPrimaryAsReplica, 20);
}
