//! Backups and archives: what the scenarios of the catalogue promise, those about published documents among them.

use scenarios::campaign::ScenarioVerdict;
use scenarios::catalogue;
use sim_core::SimDuration;

use crate::promises::check;

/// Claims that are kept are kept by every seed, and those that are not are found out.
#[test]
fn every_promise_about_backups_and_about_the_documents_holds() {
    let shipped = catalogue::scenarios().unwrap();
    let names = shipped.iter().map(|scenario| scenario.name.as_str());
    let chosen: Vec<&str> =
        names.filter(|name| name.starts_with("backup/") || name.starts_with("patroni/seed-")).collect();
    assert!(chosen.len() >= 20, "{chosen:?}");
    for name in chosen {
        let (_, report) = check(name, 48);
        assert_eq!(
            report.verdict,
            ScenarioVerdict::Kept,
            "{name}: {:?} {:?}",
            report.not_found,
            report.failed_seeds
        );
    }
}

/// Z22: five calls of 127 s stand between the lock and the first write, and nothing else does.
#[test]
fn a_promotion_waits_for_a_repository_that_died_with_the_primary() {
    let outage = |variant: &str| {
        let (runs, report) = check(&format!("patroni/z22-restore-command/{variant}"), 4);
        assert_eq!(report.verdict, ScenarioVerdict::Kept, "{variant}: {report:?}");
        let outages = runs.outcomes.iter().map(|outcome| outcome.row.outage.expect("it recovers"));
        outages.max().expect("there are runs")
    };
    let dead = outage("repository-on-primary-host");
    let apart = outage("repository-apart");
    let calls = SimDuration::from_secs(5 * 127);
    assert!(dead > apart + calls - SimDuration::from_secs(10), "{dead}");
    assert!(dead < apart + calls + SimDuration::from_secs(10), "{dead}");
    assert!(outage("restore-timeout") < apart + SimDuration::from_secs(35));
}

/// Everything but the archive is gone: one member is restored from it, and the others clone that one.
#[test]
fn a_cluster_without_data_comes_back_from_its_archive() {
    let (runs, report) = check("patroni/all-data-lost/restored", 16);
    assert_eq!(report.verdict, ScenarioVerdict::Kept, "{report:?}");
    assert!(runs.outcomes.iter().any(|outcome| outcome.row.lost > 0));
}
