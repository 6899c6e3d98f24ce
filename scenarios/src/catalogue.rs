//! The shipped scenarios, embedded in the command.

use std::sync::Arc;

use crate::diagnostic::{Source, UserError};
use crate::scenario::{Companions, Scenario};

/// The documentation of the catalogue and of the keys of scenario files.
pub const README: &str = include_str!("../catalogue/README.md");

macro_rules! embed {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../catalogue/", $path)))),+]
    };
}

/// File names, relative to the catalogue, and texts; sorted by the names of the scenarios.
const SCENARIOS: &[(&str, &str)] = embed![
    "etcd/swarm.toml",
    "etcd/swarm-regions.toml",
    "patroni/cut-from-replicas-then-crash-async.toml",
    "patroni/cut-from-replicas-then-crash-sync.toml",
    "patroni/etcd-leader-crash-async.toml",
    "patroni/etcd-leader-crash-sync.toml",
    "patroni/etcd-leader-disk-slow-async.toml",
    "patroni/etcd-leader-disk-slow-sync.toml",
    "patroni/etcd-quorum-lost-async.toml",
    "patroni/etcd-quorum-lost-sync.toml",
    "patroni/former-primary-wakes-sync.toml",
    "patroni/lagging-replica-async.toml",
    "patroni/pairs-sync.toml",
    "patroni/patroni-killed-async.toml",
    "patroni/patroni-killed-sync.toml",
    "patroni/postgres-crash-async.toml",
    "patroni/postgres-crash-sync.toml",
    "patroni/primary-cut-from-etcd-async.toml",
    "patroni/primary-cut-from-etcd-sync.toml",
    "patroni/primary-cut-from-replicas-async.toml",
    "patroni/primary-cut-from-replicas-sync.toml",
    "patroni/primary-disk-full-async.toml",
    "patroni/primary-disk-full-sync.toml",
    "patroni/primary-host-crash-async.toml",
    "patroni/primary-host-crash-sync.toml",
    "patroni/primary-isolated-with-clients-async.toml",
    "patroni/primary-isolated-with-clients-sync.toml",
    "patroni/primary-isolated-async.toml",
    "patroni/primary-isolated-sync.toml",
    "patroni/primary-paused-sync.toml",
    "patroni/primary-paused-watchdog-off.toml",
    "patroni/primary-paused-watchdog-required.toml",
    "patroni/primary-wal-rot-sync.toml",
    "patroni/seed-003-primary-host-crash.toml",
    "patroni/stale-watch-sync.toml",
    "patroni/standby-wal-rot-then-crash-sync.toml",
    "patroni/standby-wal-rot-sync.toml",
    "patroni/swarm-async.toml",
    "patroni/swarm-one-primary.toml",
    "patroni/swarm-sync.toml",
    "patroni/switchover-async.toml",
    "patroni/switchover-sync.toml",
    "patroni/sync-standby-lost-strict.toml",
    "patroni/sync-standby-lost-sync.toml",
    "patroni/two-crashes-async.toml",
    "patroni/two-crashes-sync.toml",
    "sentinel/all-restart-synced.toml",
    "sentinel/failover-commanded-async.toml",
    "sentinel/jepsen-partition-async.toml",
    "sentinel/primary-host-crash-async.toml",
    "sentinel/primary-isolated-with-clients-async.toml",
    "sentinel/primary-isolated-with-clients-bounded.toml",
    "sentinel/primary-killed-async.toml",
    "sentinel/primary-paused-async.toml",
    "sentinel/primary-restarts-appendonly.toml",
    "sentinel/primary-restarts-empty.toml",
    "sentinel/replica-cut-from-successor-async.toml",
    "sentinel/seed-failover-under-ten-seconds.toml",
    "sentinel/sentinel-majority-lost-async.toml",
    "sentinel/split-sentinels-async.toml",
    "sentinel/swarm-async.toml",
];

/// Files that scenarios of the catalogue name.
const COMPANIONS: &[(&str, &str)] = embed!["patroni/seed-003.patroni.yml"];

struct Embedded;

impl Companions for Embedded {
    fn read(&self, name: &str) -> Result<String, String> {
        COMPANIONS
            .iter()
            .find(|(path, _)| path.rsplit('/').next() == Some(name))
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| "the catalogue has no such file".to_owned())
    }
}

/// All shipped scenarios.
///
/// # Errors
/// A shipped file is wrong; a test reads them all.
pub fn scenarios() -> Result<Vec<Arc<Scenario>>, UserError> {
    SCENARIOS
        .iter()
        .map(|(path, text)| {
            let source = Source::new(format!("catalogue/{path}"), *text);
            Scenario::read(&source, &Embedded).map(Arc::new)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, UserSettings};

    #[test]
    fn every_shipped_scenario_is_right_and_its_file_is_named_after_it() {
        let scenarios = scenarios().unwrap_or_else(|error| panic!("{}", error.report(false)));
        for scenario in &scenarios {
            let situation = scenario.name.split_once('/').unwrap().1.replace('/', "-");
            let expected = format!("catalogue/{}/{situation}.toml", scenario.family());
            assert_eq!(scenario.source.name, expected);
            let case = Case::new(scenario, &UserSettings::default()).unwrap();
            let warnings: Vec<_> = case
                .remarks
                .iter()
                .filter(|remark| remark.weight == crate::diagnostic::Weight::Warning)
                .collect();
            assert!(warnings.is_empty(), "{warnings:?}");
        }
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn every_file_of_the_catalogue_is_embedded() {
        let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue");
        for family in ["etcd", "patroni", "sentinel"] {
            for entry in std::fs::read_dir(format!("{catalogue}/{family}")).unwrap() {
                let path = format!("{family}/{}", entry.unwrap().file_name().into_string().unwrap());
                let embedded = SCENARIOS.iter().chain(COMPANIONS).any(|(known, _)| *known == path);
                assert!(embedded, "{path} is not embedded");
            }
        }
    }
}
