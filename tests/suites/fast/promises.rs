//! What the shipped scenarios promise, with a few hundred seeds: that what is safe is kept, and that what is not safe is
//! found to be broken. `hasim check` runs the whole catalogue with thousands.

use std::sync::atomic::AtomicBool;

use models::Planted;
use scenarios::campaign::{Report, Runs, ScenarioVerdict, SeedRange, run_seeds};
use scenarios::family::{LogLevel, System};
use sim_core::{Seed, SimDuration};
use tests::Subject;

pub(crate) fn check(name: &str, seeds: u64) -> (Runs, Report) {
    let Subject { case, system } = Subject::from_catalogue(name);
    let runs = run_seeds(&case, &*system, SeedRange::first(seeds), &AtomicBool::new(false), &|_| ());
    let report = Report::new(&case.scenario, &runs);
    (runs, report)
}

/// Synchronous replication keeps acknowledged writes through any mixture of faults.
#[test]
fn synchronous_replication_loses_nothing_in_random_faults() {
    let (runs, report) = check("patroni/swarm/sync", 200);
    let lossy: Vec<_> = runs
        .outcomes
        .iter()
        .filter(|outcome| outcome.row.lost > 0)
        .map(|outcome| (outcome.row.seed, &outcome.judgement.evidence))
        .collect();
    assert!(lossy.is_empty(), "seeds that lost acknowledged writes: {lossy:?}");
    // Nothing would be lost either if nothing was written, or if no fault ever hit.
    let disturbed =
        |outage: Option<SimDuration>| outage.is_none_or(|outage| outage > SimDuration::from_secs(5));
    let disturbed = runs.outcomes.iter().filter(|outcome| disturbed(outcome.row.outage)).count();
    assert!(disturbed > 50, "only {disturbed} of 200 swarms stopped the writes for longer than 5 s");
    assert!(report.summary.is_some());
}

/// The same faults do break what does not wait for a standby: the campaign above can fail.
#[test]
fn asynchronous_replication_is_found_to_lose() {
    let (_, report) = check("patroni/swarm/async", 60);
    let loss = report.summary.expect("all runs ended").loss;
    assert!(loss.run_count > 0, "no seed lost anything");
}

/// A primary that sleeps longer than `ttl` wakes up writable beside its successor.
#[test]
fn without_a_watchdog_a_paused_primary_wakes_up_beside_another() {
    let (runs, report) = check("patroni/primary-paused/watchdog-off", 4);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    let overlapping = runs.outcomes.iter().filter(|outcome| outcome.row.overlap > SimDuration::ZERO).count();
    assert!(overlapping > 0);
}

/// The watchdog resets the machine before the lock can be somebody else's.
#[test]
fn with_a_required_watchdog_a_paused_primary_never_wakes_up_as_one() {
    let (runs, report) = check("patroni/primary-paused/watchdog-required", 12);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    assert!(runs.outcomes.iter().all(|outcome| outcome.row.overlap == SimDuration::ZERO));
}

/// The lock of a primary whose server does not come up is given up `primary_start_timeout` after Patroni began to start it (it asks once a
/// second), and not at the next cycle after that.
#[test]
fn the_start_timeout_counts_from_the_attempt() {
    let (runs, _) = check("patroni/rto-model/norm-active", 32);
    let seconds = SimDuration::from_secs;
    let (start, loop_wait, poll) = (seconds(25), seconds(5), seconds(1));
    for outcome in &runs.outcomes {
        let given_up = outcome.row.detect.expect("somebody else takes over");
        let longest = loop_wait + start + poll + SimDuration::from_millis(300);
        assert!((start..=longest).contains(&given_up), "seed {}: after {given_up}", outcome.row.seed);
    }
}

/// A member that races although `/sync` does not name it promotes without what was acknowledged: the campaign that
/// finds nothing in the correct model finds this.
#[test]
fn a_broken_standby_check_is_found_within_a_thousand_seeds() {
    let Subject { case, .. } = Subject::from_catalogue("patroni/swarm/sync");
    let broken = scenarios::patroni::system(&case, Planted::IgnoreSync);
    let options = broken.measure_options();
    let loses = |seed: u64| {
        let run = broken.run(Seed(seed), &case.scenario.schedule(Seed(seed)), LogLevel::Off);
        analysis::measure(&run.record, &run.surviving, &options).loss.lost > 0
    };
    assert!((0..1_000).any(loses), "the planted fault was not found");
}

/// A former leader that looks at its old copy of the keys takes the lock again while nobody holds it, and promotes
/// without what its successor acknowledged. Patroni before 2.1.3 did that; a random schedule found it here.
#[test]
fn a_watch_that_outlives_the_outage_of_etcd_loses_writes() {
    let Subject { case, system } = Subject::from_catalogue("patroni/stale-watch/sync");
    let lost = |system: &dyn System, seed: u64| {
        let run = system.run(Seed(seed), &case.scenario.schedule(Seed(seed)), LogLevel::Off);
        analysis::measure(&run.record, &run.surviving, &system.measure_options()).loss.lost
    };
    let broken = scenarios::patroni::system(&case, Planted::KeepWatch);
    let seed = (0..1_000).find(|seed| lost(&*broken, *seed) > 0).expect("the planted fault was found");
    assert_eq!(lost(&*system, seed), 0, "seed {seed}");
}

/// Asynchronous replication without fencing loses what the old primary acknowledges; `min-replicas-to-write` bounds it.
#[test]
fn replicas_that_must_be_there_bound_what_a_cut_off_redis_primary_loses() {
    let (open, _) = check("sentinel/rz03-client-beside-old-primary/unbounded", 8);
    let (bounded, report) = check("sentinel/rz03-client-beside-old-primary/bounded", 8);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    let most = |runs: &Runs| runs.outcomes.iter().map(|outcome| outcome.row.lost).max();
    assert!(
        most(&bounded) > Some(50) && most(&open) > most(&bounded).map(|lost| 3 * lost),
        "{:?}",
        most(&open)
    );
}

/// An empty primary that is back before anybody noticed empties its replicas; one with an append-only file does not.
#[test]
fn persistence_decides_what_a_quick_restart_of_redis_costs() {
    for (variant, loses) in [("empty", true), ("appendonly", false)] {
        let (runs, report) = check(&format!("sentinel/rz05-quick-restart/{variant}"), 8);
        assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
        assert!(runs.outcomes.iter().all(|outcome| (outcome.row.lost > 0) == loses), "{variant}");
    }
}

/// Random faults break the promises of asynchronous replication and never those of Sentinel's epochs.
#[test]
fn sentinels_come_back_from_random_faults() {
    let (runs, report) = check("sentinel/swarm/async", 60);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    assert!(runs.outcomes.iter().filter(|outcome| outcome.row.lost > 0).count() > 10);
}

/// Patroni that is told to stop hands the lock over: the others need not wait until it expires.
#[test]
fn an_orderly_stop_hands_over_before_the_lock_expires() {
    let (runs, report) = check("patroni/patroni-stopped/async", 8);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    let stopped =
        |outage: Option<SimDuration>| outage.is_some_and(|outage| outage > SimDuration::from_secs(2));
    assert!(runs.outcomes.iter().all(|outcome| stopped(outcome.row.outage)), "nobody was stopped");
}

/// In maintenance mode nobody takes over, and nobody steps down.
#[test]
fn a_paused_cluster_does_nothing_by_itself() {
    for name in ["patroni/primary-host-crash/paused", "patroni/etcd-quorum-lost/paused"] {
        let (_, report) = check(name, 8);
        assert_eq!(report.verdict, ScenarioVerdict::Kept, "{name}: {report:?}");
    }
}

/// A published failure shows in the release that had it, and not in the one that mended it.
#[test]
fn releases_of_etcd_and_patroni_differ_as_published() {
    for (broken, mended) in [
        ("patroni/z9-stuck-etcd-leader/etcd-3-5-12", "patroni/z9-stuck-etcd-leader/etcd-3-5-13"),
        ("patroni/z10-left-behind-etcd/patroni-4-0-5", "patroni/z10-left-behind-etcd/patroni-4-0-6"),
        (
            "patroni/z29-endless-crash-recovery/patroni-2-0-0",
            "patroni/z29-endless-crash-recovery/patroni-2-0-1",
        ),
        (
            "patroni/z15-stale-failsafe-memory/patroni-3-1-0",
            "patroni/z15-stale-failsafe-memory/patroni-3-1-1",
        ),
        (
            "patroni/z25-handover-without-quorum/patroni-4-0-4",
            "patroni/z25-handover-without-quorum/patroni-4-0-5",
        ),
        (
            "patroni/z25-names-lost-at-restart/patroni-3-1-1",
            "patroni/z25-names-lost-at-restart/patroni-3-1-2",
        ),
        ("patroni/z25-own-name/patroni-3-3-2", "patroni/z25-own-name/patroni-3-3-3"),
        ("patroni/z25-stale-standby-names/patroni-4-0-5", "patroni/z25-stale-standby-names/patroni-4-0-6"),
        ("patroni/z28-endless-failed-start/patroni-2-1-3", "patroni/z28-endless-failed-start/patroni-2-1-4"),
        ("patroni/z30-slot-not-retained/patroni-4-0-4", "patroni/z30-slot-not-retained/patroni-4-0-5"),
        ("patroni/z31-demotion-in-thread/patroni-4-0-5", "patroni/z31-demotion-in-thread/patroni-4-0-6"),
        ("patroni/z32-stale-lock/patroni-1-1-0", "patroni/z32-stale-lock/patroni-1-2-0"),
        ("patroni/z33-slow-server/patroni-2-1-1", "patroni/z33-slow-server/patroni-2-1-2"),
        ("patroni/z33-statement-timeout/patroni-4-1-3", "patroni/z33-statement-timeout/patroni-4-1-4"),
        ("patroni/z34-long-fork/readers-everywhere", "patroni/z34-long-fork/readers-on-primary"),
        ("patroni/z35-budget-used-up/patroni-1-6-0", "patroni/z35-budget-used-up/patroni-1-6-1"),
        ("patroni/z36-early-promotion/patroni-4-1-5", "patroni/z36-early-promotion/race-backoff"),
    ] {
        for name in [broken, mended] {
            let (_, report) = check(name, 30);
            assert_eq!(report.verdict, ScenarioVerdict::Kept, "{name}: {report:?}");
        }
    }
}
