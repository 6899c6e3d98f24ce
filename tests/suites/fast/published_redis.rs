//! Published figures of Redis and Sentinel that a model has to give by itself.

use rayon::prelude::*;
use scenarios::campaign::{ScenarioVerdict, Verdict, run_seed};
use sim_core::Seed;
use tests::Subject;

use crate::promises::check;

/// Jepsen's partition of 2013 (aphyr.com/posts/283-jepsen-redis): 1998 of 2000 writes acknowledged, 1126 of them lost, 56.4 %.
///
/// How much is lost depends on how long Sentinel 2.6 waits before it begins, up to 10 s at random: one run is between 49 and 67 %.
#[test]
fn a_partition_costs_as_many_writes_as_jepsen_counted() {
    const RUNS: u64 = 40;
    let Subject { case, system } = Subject::from_catalogue("sentinel/rz01-minority-partition/redis-2-6-13");
    let counts: Vec<(u64, u64)> = (0..RUNS)
        .into_par_iter()
        .map(|seed| run_seed(&case, &*system, Seed(seed)).row)
        .map(|row| (row.acknowledged, row.lost))
        .collect();
    let acknowledged = counts.iter().map(|(acknowledged, _)| acknowledged).sum::<u64>() / RUNS;
    let lost = counts.iter().map(|(_, lost)| lost).sum::<u64>() / RUNS;
    assert!((1_900..=2_000).contains(&acknowledged), "{acknowledged} writes were acknowledged");
    let share = lost as f64 / acknowledged as f64;
    assert!((share - 0.564).abs() <= 0.05, "{lost} of {acknowledged} acknowledged writes were lost");
}

/// A replica of a replica goes on behind data that it does not have, and not in the release that mended it (redis/redis#2694; release notes
/// of 6.0.4).
#[test]
fn a_replica_of_a_replica_diverges_in_the_releases_that_were_told_of() {
    const RUNS: u64 = 20;
    let published = [
        ("rz25-replica-of-a-replica/redis-3-0-3", Verdict::DivergenceFound),
        ("rz25-replica-of-a-replica/redis-3-0-4", Verdict::Kept),
        ("rz25-meaningful-offset/redis-6-0-3", Verdict::DivergenceFound),
        ("rz25-meaningful-offset/redis-6-0-4", Verdict::Kept),
    ];
    for (failure, verdict) in published {
        let (runs, report) = check(&format!("sentinel/{failure}"), RUNS);
        assert_eq!(report.verdict, ScenarioVerdict::Kept, "{failure}: {report:?}");
        let found = runs.outcomes.iter().filter(|outcome| outcome.judgement.verdict == verdict).count();
        assert_eq!(found as u64, RUNS, "{failure}");
    }
}

/// A scenario that does not ask for the divergence fails with it.
#[test]
fn a_divergence_that_nobody_asked_for_is_a_violated_condition() {
    let text = include_str!(
        "../../../scenarios/catalogue/published/redis/rz25-replica-of-a-replica-redis-3-0-3.toml"
    );
    let Subject { case, system } = Subject::from_text(&text.replace("    \"divergence-is-found\",\n", ""));
    let judgement = run_seed(&case, &*system, Seed(0)).judgement;
    assert_eq!(judgement.verdict, Verdict::ConditionViolated);
    assert!(judgement.evidence.starts_with("stream-diverged at "), "{}", judgement.evidence);
}
