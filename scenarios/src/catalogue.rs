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
    "patroni/etcd-and-replica-lost-failsafe.toml",
    "patroni/etcd-leader-crash-async.toml",
    "patroni/etcd-leader-crash-sync.toml",
    "patroni/etcd-leader-disk-slow-async.toml",
    "patroni/etcd-leader-disk-slow-sync.toml",
    "patroni/etcd-quorum-lost-async.toml",
    "patroni/etcd-quorum-lost-failsafe.toml",
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
    "patroni/primary-host-crash-quorum.toml",
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
    "patroni/standbys-lost-in-turn-quorum.toml",
    "patroni/standbys-lost-in-turn-sync.toml",
    "patroni/swarm-async.toml",
    "patroni/swarm-one-primary.toml",
    "patroni/swarm-sync.toml",
    "patroni/switchover-to-member-quorum.toml",
    "patroni/switchover-async.toml",
    "patroni/switchover-sync.toml",
    "patroni/sync-standby-lost-quorum.toml",
    "patroni/sync-standby-lost-strict.toml",
    "patroni/sync-standby-lost-sync.toml",
    "patroni/two-crashes-async.toml",
    "patroni/two-crashes-sync.toml",
    "patroni/two-crashes-two-sync-standbys.toml",
    "published/patroni/z1-async-failover-async.toml",
    "published/patroni/z1-async-failover-sync.toml",
    "published/patroni/z11-old-watch-patroni-2-1-2.toml",
    "published/patroni/z11-old-watch-patroni-2-1-3.toml",
    "published/patroni/z13-failsafe-not-entered-patroni-4-0-6.toml",
    "published/patroni/z13-failsafe-not-entered-patroni-4-0-7.toml",
    "published/patroni/z14-failsafe-two-seconds-fast-network.toml",
    "published/patroni/z14-failsafe-two-seconds-slow-network.toml",
    "published/patroni/z25-sync-before-caught-up-patroni-2-1-7.toml",
    "published/patroni/z25-sync-before-caught-up-patroni-3-0-0.toml",
    "published/patroni/z26-clock-set-back-watchdog-off.toml",
    "published/patroni/z26-clock-set-back-watchdog-required.toml",
    "published/patroni/z3-cancelled-wait-warnings-heeded.toml",
    "published/patroni/z3-cancelled-wait-warnings-ignored.toml",
    "published/patroni/z5-same-timeline-check-timeline-off.toml",
    "published/patroni/z5-same-timeline-check-timeline-on.toml",
    "published/patroni/z7-frozen-patroni-patroni-3-0-4.toml",
    "published/patroni/z7-frozen-patroni-patroni-3-1-0.toml",
    "published/patroni/z8-blind-lock-put-patroni-3-0-2.toml",
    "published/patroni/z8-blind-lock-put-patroni-3-0-3.toml",
    "published/redis/rz01-minority-partition-min-replicas.toml",
    "published/redis/rz01-minority-partition-redis-2-6-13.toml",
    "published/redis/rz03-client-beside-old-primary-bounded.toml",
    "published/redis/rz03-client-beside-old-primary-unbounded.toml",
    "published/redis/rz04-failover-commanded-min-replicas.toml",
    "published/redis/rz04-failover-commanded-unbounded.toml",
    "published/redis/rz05-quick-restart-appendonly.toml",
    "published/redis/rz05-quick-restart-empty.toml",
    "published/redis/rz06-long-load-default.toml",
    "published/redis/rz06-long-load-reboot-down-after.toml",
    "published/redis/rz11-no-majority-three-sentinels.toml",
    "published/redis/rz11-no-majority-two-sentinels.toml",
    "published/redis/rz14-empty-replica-redis-6-0-20.toml",
    "published/redis/rz14-empty-replica-redis-6-2-2.toml",
    "published/redis/rz17-promoted-follows-itself-redis-5-0-7.toml",
    "published/redis/rz17-promoted-follows-itself-redis-5-0-8.toml",
    "published/redis/rz22-full-disk-goes-on.toml",
    "published/redis/rz22-full-disk-stops-writes.toml",
    "sentinel/all-restart-synced.toml",
    "sentinel/lagging-replica-async.toml",
    "sentinel/primary-host-crash-async.toml",
    "sentinel/primary-host-crash-wait.toml",
    "sentinel/primary-killed-async.toml",
    "sentinel/primary-paused-async.toml",
    "sentinel/replicas-away-backlog-freed.toml",
    "sentinel/seed-000-primary-host-crash.toml",
    "sentinel/seed-001-primary-host-crash.toml",
    "sentinel/seed-004-zone-lost.toml",
    "sentinel/sentinel-majority-lost-async.toml",
    "sentinel/split-sentinels-async.toml",
    "sentinel/swarm-async.toml",
    "sentinel/voter-restarts-async.toml",
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
            // Published failures have the number of their entry in the fidelity specification: z1, z2 and so on.
            let number = situation.strip_prefix('z').and_then(|rest| rest.chars().next());
            let is_published = number.is_some_and(|first| first.is_ascii_digit());
            let folder = if is_published { "published/" } else { "" };
            let expected = format!("catalogue/{folder}{}/{situation}.toml", scenario.family());
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
        let files = ["etcd", "patroni", "published/patroni", "sentinel"].into_iter().flat_map(|folder| {
            let path = format!("{}/catalogue/{folder}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_dir(path).unwrap().map(move |entry| (folder, entry.unwrap().file_name()))
        });
        for (folder, name) in files {
            let path = format!("{folder}/{}", name.into_string().unwrap());
            let embedded = SCENARIOS.iter().chain(COMPANIONS).any(|(known, _)| *known == path);
            assert!(embedded, "{path} is not embedded");
        }
    }
}
