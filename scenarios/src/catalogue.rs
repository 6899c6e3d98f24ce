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
    "backup/seed-001-enhanced.toml",
    "backup/seed-001-enhanced-behind.toml",
    "backup/seed-001-frequent-backups.toml",
    "backup/seed-001-standard.toml",
    "backup/seed-003-hourly-dump.toml",
    "backup/seed-003-region-lost.toml",
    "backup/seed-003-region-returns.toml",
    "backup/seed-004-server-lost.toml",
    "backup/server-lost-archive.toml",
    "backup/server-lost-archive-without-timeout.toml",
    "backup/server-lost-repository-on-primary-host.toml",
    "backup/server-lost-standby.toml",
    "backup/table-dropped-archive.toml",
    "backup/table-dropped-standby.toml",
    "cluster/failover-commanded-force.toml",
    "cluster/failover-commanded-plain.toml",
    "cluster/map-never-refreshed-async.toml",
    "cluster/other-shard-lost-full-coverage.toml",
    "cluster/other-shard-lost-partial-coverage.toml",
    "cluster/primary-host-crash-async.toml",
    "cluster/primary-host-crash-defaults.toml",
    "cluster/primary-isolated-with-clients-async.toml",
    "cluster/primary-killed-async.toml",
    "cluster/primary-paused-async.toml",
    "cluster/replica-migrates-async.toml",
    "published/redis/rz32-minority-primary-async.toml",
    "published/redis/rz32-minority-primary-wait.toml",
    "published/redis/rz33-partition-and-failover-force.toml",
    "published/redis/rz33-partition-and-failover-plain.toml",
    "published/redis/rz35-replica-never-stands-any-age.toml",
    "published/redis/rz35-replica-never-stands-default.toml",
    "published/redis/rz36-old-epoch-refused-takeover.toml",
    "published/redis/rz36-old-epoch-refused-unmended.toml",
    "published/redis/rz37-unsynced-winner-redis-7-0.toml",
    "published/redis/rz37-unsynced-winner-valkey-8.toml",
    "published/redis/rz38-failover-while-keys-expire-redis-3-0.toml",
    "published/redis/rz38-failover-while-keys-expire-redis-7-0.toml",
    "published/redis/rz39-slow-gossip-redis-3-0.toml",
    "published/redis/rz39-slow-gossip-redis-7-0.toml",
    "published/redis/rz40-late-message-redis-3-0.toml",
    "published/redis/rz40-late-message-redis-7-0.toml",
    "published/redis/rz40-old-claim-counts-redis-7-0.toml",
    "published/redis/rz40-old-claim-counts-redis-7-2.toml",
    "published/redis/rz40-slot-taken-back-redis-7-0-12.toml",
    "published/redis/rz40-slot-taken-back-redis-7-2.toml",
    "published/redis/rz40-slot-taken-back-valkey-8.toml",
    "published/redis/rz40-source-told-first-redis-3-0.toml",
    "published/redis/rz40-source-told-first-redis-7-0.toml",
    "published/redis/rz40-target-dies-redis-3-0.toml",
    "published/redis/rz40-target-dies-redis-7-0.toml",
    "published/redis/rz41-primaries-on-one-host-five-shards.toml",
    "published/redis/rz41-primaries-on-one-host-three-shards.toml",
    "cluster/seed-003-other-shard-lost.toml",
    "cluster/seed-003-primary-host-crash.toml",
    "cluster/seed-003-sessions.toml",
    "cluster/slot-moves-async.toml",
    "cluster/slot-moves-operator-killed.toml",
    "cluster/slot-moves-target-host-lost.toml",
    "cluster/slot-moves-two-keys.toml",
    "cluster/slow-disk-redis-7-0.toml",
    "cluster/slow-disk-redis-7-2.toml",
    "cluster/swarm-async.toml",
    "cluster/two-shards-at-once-async.toml",
    "cluster/zone-lost-async.toml",
    "etcd/leader-unheard-slow-disks.toml",
    "etcd/stalled-leader-loses-power.toml",
    "etcd/swarm.toml",
    "etcd/swarm-regions.toml",
    "lock/clock-step-fenced.toml",
    "lock/clock-step-unfenced.toml",
    "lock/cluster-failover-commanded-one-error-ends-renewals.toml",
    "lock/cluster-lost-acquisition-fenced.toml",
    "lock/cluster-lost-acquisition-unfenced.toml",
    "lock/cluster-with-old-primary-fenced.toml",
    "lock/cluster-with-old-primary-unfenced.toml",
    "lock/cluster-idle.toml",
    "lock/leader-crash-poll-10s.toml",
    "lock/leader-crash-poll-1s.toml",
    "lock/leader-crash-poll-5s.toml",
    "lock/leader-frozen-deadline.toml",
    "lock/leader-frozen-deadline-fenced.toml",
    "lock/leader-paused-deadline.toml",
    "lock/leader-paused-deadline-fenced.toml",
    "lock/leader-paused-renewal-in-flight.toml",
    "lock/leader-with-old-primary-bounded.toml",
    "lock/leader-with-old-primary-fenced.toml",
    "lock/leader-with-old-primary-unfenced.toml",
    "lock/operator-deletes-fenced.toml",
    "lock/operator-deletes-unfenced.toml",
    "lock/pause-before-check-redlock.toml",
    "lock/promoted-clock-ahead-fenced.toml",
    "lock/promoted-clock-ahead-unfenced.toml",
    "lock/redis-failover-down-after-30s.toml",
    "lock/redis-failover-down-after-5s.toml",
    "lock/redis-restarts-empty-fenced.toml",
    "lock/redis-restarts-empty-unfenced.toml",
    "lock/redis-restarts-appendonly.toml",
    "lock/redlock-restart-appendonly.toml",
    "lock/redlock-restart-fenced.toml",
    "lock/redlock-restart-unfenced.toml",
    "published/redis/rz28-lost-acquisition-fenced.toml",
    "published/redis/rz28-lost-acquisition-unfenced.toml",
    "published/redis/rz28-lost-acquisition-wait-for-replica.toml",
    "published/redis/rz29-renewal-ends-deadline.toml",
    "published/redis/rz29-renewal-ends-no-more-renewals.toml",
    "published/redis/rz29-renewal-ends-renewals-go-on.toml",
    "published/redis/rz30-clock-step-fenced.toml",
    "published/redis/rz30-clock-step-unfenced.toml",
    "published/redis/rz30-pause-fenced.toml",
    "published/redis/rz30-pause-unfenced.toml",
    "lock/seed-002-leader-crash.toml",
    "lock/seed-002-redis-failover.toml",
    "lock/swarm-fenced.toml",
    "lock/swarm-one-leader.toml",
    "lock/token-from-redis-lost-with-the-lock.toml",
    "patroni/all-data-lost-restored.toml",
    "patroni/cut-from-replicas-then-crash-async.toml",
    "patroni/cut-from-replicas-then-crash-sync.toml",
    "patroni/etcd-and-replica-lost-failsafe.toml",
    "patroni/etcd-disks-slow-then-crash-async.toml",
    "patroni/etcd-leader-crash-async.toml",
    "patroni/etcd-leader-crash-sync.toml",
    "patroni/etcd-leader-disk-slow-async.toml",
    "patroni/etcd-leader-disk-slow-sync.toml",
    "patroni/etcd-quorum-lost-async.toml",
    "patroni/etcd-quorum-lost-failsafe.toml",
    "patroni/etcd-quorum-lost-paused.toml",
    "patroni/etcd-quorum-lost-sync.toml",
    "patroni/etcd-v2-primary-host-crash-sync.toml",
    "patroni/etcd-v2-primary-isolated-sync.toml",
    "patroni/etcd-v2-quorum-lost-async.toml",
    "patroni/former-primary-wakes-sync.toml",
    "patroni/kubernetes-api-outage-failsafe.toml",
    "patroni/kubernetes-api-outage-long.toml",
    "patroni/kubernetes-api-outage-short.toml",
    "patroni/kubernetes-primary-cut-from-api-sync.toml",
    "patroni/kubernetes-primary-host-crash-service.toml",
    "patroni/kubernetes-primary-host-crash-sync.toml",
    "patroni/kubernetes-read-only-sessions-service.toml",
    "patroni/kubernetes-switchover-configmaps.toml",
    "patroni/lagging-replica-async.toml",
    "patroni/pairs-sync.toml",
    "patroni/patroni-killed-async.toml",
    "patroni/patroni-killed-sync.toml",
    "patroni/patroni-stopped-async.toml",
    "patroni/postgres-crash-async.toml",
    "patroni/postgres-crash-sync.toml",
    "patroni/pre-promote-fails-async.toml",
    "patroni/primary-cut-from-etcd-async.toml",
    "patroni/primary-cut-from-etcd-sync.toml",
    "patroni/primary-cut-from-replicas-async.toml",
    "patroni/primary-cut-from-replicas-sync.toml",
    "patroni/primary-disk-full-async.toml",
    "patroni/primary-disk-full-sync.toml",
    "patroni/primary-host-crash-async.toml",
    "patroni/primary-host-crash-paused.toml",
    "patroni/primary-host-crash-pgbouncer.toml",
    "patroni/primary-host-crash-pgbouncer-confd.toml",
    "patroni/primary-host-crash-pgbouncer-dns.toml",
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
    "patroni/regions-parted-three-sync.toml",
    "patroni/regions-parted-two-sync.toml",
    "patroni/rto-model-fast-active.toml",
    "patroni/rto-model-fast-passive.toml",
    "patroni/rto-model-norm-active.toml",
    "patroni/rto-model-norm-passive.toml",
    "patroni/rto-model-safe-active.toml",
    "patroni/rto-model-safe-passive.toml",
    "patroni/rto-model-wide-active.toml",
    "patroni/rto-model-wide-passive.toml",
    "patroni/seed-000-primary-host-crash.toml",
    "patroni/seed-001-primary-host-crash.toml",
    "patroni/seed-001-two-members.toml",
    "patroni/seed-002-primary-host-crash.toml",
    "patroni/seed-003-primary-host-crash.toml",
    "patroni/seed-003-zone-lost.toml",
    "patroni/seed-004-zone-lost.toml",
    "patroni/sessions-of-isolated-primary-kept.toml",
    "patroni/sessions-of-isolated-primary-shut.toml",
    "patroni/silent-primary-tcp-defaults.toml",
    "patroni/silent-primary-tcp-user-timeout.toml",
    "patroni/stale-watch-sync.toml",
    "patroni/standby-wal-rot-then-crash-sync.toml",
    "patroni/standby-wal-rot-sync.toml",
    "patroni/standbys-lost-in-turn-quorum.toml",
    "patroni/standbys-lost-in-turn-sync.toml",
    "patroni/swarm-async.toml",
    "patroni/swarm-etcd-v2.toml",
    "patroni/swarm-kubernetes.toml",
    "patroni/swarm-one-primary.toml",
    "patroni/swarm-sync.toml",
    "patroni/switchover-through-confd-sessions.toml",
    "patroni/switchover-through-confd-transactions.toml",
    "patroni/switchover-through-dns-late-retry.toml",
    "patroni/switchover-through-dns-sessions.toml",
    "patroni/switchover-through-dns-transactions.toml",
    "patroni/switchover-to-member-quorum.toml",
    "patroni/switchover-async.toml",
    "patroni/switchover-fastinter.toml",
    "patroni/switchover-sync.toml",
    "patroni/sync-standby-lost-quorum.toml",
    "patroni/sync-standby-lost-strict.toml",
    "patroni/sync-standby-lost-sync.toml",
    "patroni/sync-standby-stopped-sync.toml",
    "patroni/two-crashes-async.toml",
    "patroni/two-crashes-sync.toml",
    "patroni/two-crashes-two-sync-standbys.toml",
    "published/patroni/z1-async-failover-async.toml",
    "published/patroni/z1-async-failover-sync.toml",
    "published/patroni/z10-left-behind-etcd-patroni-4-0-5.toml",
    "published/patroni/z10-left-behind-etcd-patroni-4-0-6.toml",
    "published/patroni/z11-old-watch-patroni-2-1-2.toml",
    "published/patroni/z11-old-watch-patroni-3-0-3.toml",
    "published/patroni/z12-not-primary-lessor-patroni-4-1-2.toml",
    "published/patroni/z12-not-primary-lessor-patroni-4-1-3.toml",
    "published/patroni/z13-failsafe-not-entered-patroni-4-0-6.toml",
    "published/patroni/z13-failsafe-not-entered-patroni-4-0-7.toml",
    "published/patroni/z13-renewal-carried-out-late.toml",
    "published/patroni/z14-failsafe-two-seconds-fast-network.toml",
    "published/patroni/z14-failsafe-two-seconds-slow-network.toml",
    "published/patroni/z15-stale-failsafe-memory-patroni-3-1-0.toml",
    "published/patroni/z15-stale-failsafe-memory-patroni-3-1-1.toml",
    "published/patroni/z16-lock-overwritten-patroni-4-1-5.toml",
    "published/patroni/z16-lock-overwritten-patroni-4-1-6.toml",
    "published/patroni/z17-late-detection-patroni-1-6-5.toml",
    "published/patroni/z17-late-detection-patroni-2-0-0.toml",
    "published/patroni/z18-hung-watch-patroni-2-1-3.toml",
    "published/patroni/z18-hung-watch-patroni-2-1-4.toml",
    "published/patroni/z19-denied-once-patroni-4-1-0.toml",
    "published/patroni/z19-denied-once-patroni-4-1-1.toml",
    "published/patroni/z19-unauthorized-once-default.toml",
    "published/patroni/z19-unauthorized-once-retriable.toml",
    "published/patroni/z2-lag-limit-large-limit.toml",
    "published/patroni/z2-lag-limit-small-limit.toml",
    "published/patroni/z20-upstream-dropped-async.toml",
    "published/patroni/z20-upstream-dropped-sync.toml",
    "published/patroni/z21-read-only-leader-quorum.toml",
    "published/patroni/z21-read-only-leader-sync.toml",
    "published/patroni/z22-restore-command-repository-apart.toml",
    "published/patroni/z22-restore-command-repository-on-primary-host.toml",
    "published/patroni/z22-restore-command-restore-timeout.toml",
    "published/patroni/z25-handover-without-quorum-patroni-4-0-4.toml",
    "published/patroni/z25-handover-without-quorum-patroni-4-0-5.toml",
    "published/patroni/z25-names-lost-at-restart-patroni-3-1-1.toml",
    "published/patroni/z25-names-lost-at-restart-patroni-3-1-2.toml",
    "published/patroni/z25-own-name-patroni-3-3-2.toml",
    "published/patroni/z25-own-name-patroni-3-3-3.toml",
    "published/patroni/z25-stale-standby-names-patroni-4-0-5.toml",
    "published/patroni/z25-stale-standby-names-patroni-4-0-6.toml",
    "published/patroni/z25-sync-before-caught-up-patroni-2-1-7.toml",
    "published/patroni/z25-sync-before-caught-up-patroni-3-0-0.toml",
    "published/patroni/z26-clock-set-back-watchdog-off.toml",
    "published/patroni/z26-clock-set-back-watchdog-required.toml",
    "published/patroni/z28-endless-failed-start-patroni-2-1-3.toml",
    "published/patroni/z28-endless-failed-start-patroni-2-1-4.toml",
    "published/patroni/z29-endless-crash-recovery-patroni-2-0-0.toml",
    "published/patroni/z29-endless-crash-recovery-patroni-2-0-1.toml",
    "published/patroni/z3-cancelled-wait-warnings-heeded.toml",
    "published/patroni/z3-cancelled-wait-warnings-ignored.toml",
    "published/patroni/z30-slot-not-retained-patroni-4-0-4.toml",
    "published/patroni/z30-slot-not-retained-patroni-4-0-5.toml",
    "published/patroni/z31-demotion-in-thread-patroni-4-0-5.toml",
    "published/patroni/z31-demotion-in-thread-patroni-4-0-6.toml",
    "published/patroni/z32-stale-lock-patroni-1-1-0.toml",
    "published/patroni/z32-stale-lock-patroni-1-2-0.toml",
    "published/patroni/z33-slow-server-patroni-2-1-1.toml",
    "published/patroni/z33-slow-server-patroni-2-1-2.toml",
    "published/patroni/z33-statement-timeout-patroni-4-1-3.toml",
    "published/patroni/z33-statement-timeout-patroni-4-1-4.toml",
    "published/patroni/z34-long-fork-readers-everywhere.toml",
    "published/patroni/z34-long-fork-readers-on-primary.toml",
    "published/patroni/z35-budget-used-up-patroni-1-6-0.toml",
    "published/patroni/z35-budget-used-up-patroni-1-6-1.toml",
    "published/patroni/z36-early-promotion-patroni-4-1-5.toml",
    "published/patroni/z36-early-promotion-race-backoff.toml",
    "published/patroni/z5-same-timeline-check-timeline-off.toml",
    "published/patroni/z5-same-timeline-check-timeline-on.toml",
    "published/patroni/z7-frozen-patroni-patroni-3-0-4.toml",
    "published/patroni/z7-frozen-patroni-patroni-3-1-0.toml",
    "published/patroni/z7-history-window.toml",
    "published/patroni/z8-blind-lock-put-patroni-3-0-2.toml",
    "published/patroni/z8-blind-lock-put-patroni-3-0-3.toml",
    "published/patroni/z9-stuck-etcd-leader-etcd-3-5-12.toml",
    "published/patroni/z9-stuck-etcd-leader-etcd-3-5-13.toml",
    "platform/zone-cut-off-sync.toml",
    "platform/zone-outage-redis-bypassed.toml",
    "platform/zone-outage-redis-required.toml",
    "sentinel/all-restart-synced.toml",
    "sentinel/broadcasts-listeners-deaf.toml",
    "sentinel/broadcasts-primary-host-crash.toml",
    "sentinel/cache-deletions-repeated.toml",
    "sentinel/cache-deletions-swallowed.toml",
    "sentinel/cache-partition-async.toml",
    "sentinel/cache-partition-wait.toml",
    "sentinel/lagging-replica-async.toml",
    "sentinel/leader-restarts-async.toml",
    "sentinel/primary-host-crash-async.toml",
    "sentinel/primary-host-crash-defaults.toml",
    "sentinel/primary-host-crash-wait.toml",
    "sentinel/primary-killed-async.toml",
    "sentinel/primary-killed-defaults.toml",
    "sentinel/primary-paused-async.toml",
    "sentinel/primary-paused-defaults.toml",
    "sentinel/primary-wakes-async.toml",
    "sentinel/replica-of-a-replica-backlog-overrun.toml",
    "sentinel/replicas-away-backlog-freed.toml",
    "published/redis/rz01-minority-partition-min-replicas.toml",
    "published/redis/rz01-minority-partition-redis-2-6-13.toml",
    "published/redis/rz02-offsets-compared-history.toml",
    "published/redis/rz02-offsets-compared-offset.toml",
    "published/redis/rz03-client-beside-old-primary-bounded.toml",
    "published/redis/rz03-client-beside-old-primary-unbounded.toml",
    "published/redis/rz04-failover-commanded-min-replicas.toml",
    "published/redis/rz04-failover-commanded-unbounded.toml",
    "published/redis/rz05-quick-restart-appendonly.toml",
    "published/redis/rz05-quick-restart-empty.toml",
    "published/redis/rz06-long-load-default.toml",
    "published/redis/rz06-long-load-reboot-down-after.toml",
    "published/redis/rz08-split-vote-failover-timeout-10s.toml",
    "published/redis/rz08-split-vote-failover-timeout-default.toml",
    "published/redis/rz08-split-vote-redis-6-2-6.toml",
    "published/redis/rz08-split-vote-redis-6-2-7.toml",
    "published/redis/rz09-winner-not-recognised-many-groups.toml",
    "published/redis/rz09-winner-not-recognised-one-group.toml",
    "published/redis/rz10-two-leaders-many-groups.toml",
    "published/redis/rz10-two-leaders-one-group.toml",
    "published/redis/rz11-no-majority-three-sentinels.toml",
    "published/redis/rz11-no-majority-two-sentinels.toml",
    "published/redis/rz12-ghost-sentinels-redis-6-2-1.toml",
    "published/redis/rz12-ghost-sentinels-redis-7-0-15.toml",
    "published/redis/rz12-ghost-sentinels-reset.toml",
    "published/redis/rz13-address-reused-kept.toml",
    "published/redis/rz13-address-reused-reset.toml",
    "published/redis/rz14-empty-replica-redis-6-0-20.toml",
    "published/redis/rz14-empty-replica-redis-6-2-2.toml",
    "published/redis/rz17-promoted-follows-itself-redis-5-0-7.toml",
    "published/redis/rz17-promoted-follows-itself-redis-5-0-8.toml",
    "published/redis/rz22-full-disk-goes-on.toml",
    "published/redis/rz22-full-disk-stops-writes.toml",
    "published/redis/rz23-resync-storm-redis-2-6-13.toml",
    "published/redis/rz23-resync-storm-redis-2-8-0.toml",
    "published/redis/rz23-resync-storm-small-backlog.toml",
    "published/redis/rz23-wrong-configuration-redis-2-6-13.toml",
    "published/redis/rz23-wrong-configuration-rewritten.toml",
    "published/redis/rz25-meaningful-offset-redis-6-0-3.toml",
    "published/redis/rz25-meaningful-offset-redis-6-0-4.toml",
    "published/redis/rz25-replica-of-a-replica-redis-3-0-3.toml",
    "published/redis/rz25-replica-of-a-replica-redis-3-0-4.toml",
    "published/redis/rz27-switch-missed-asked.toml",
    "published/redis/rz27-switch-missed-subscribed.toml",
    "sentinel/seed-000-primary-host-crash.toml",
    "sentinel/seed-001-primary-host-crash.toml",
    "sentinel/seed-004-cache.toml",
    "sentinel/seed-004-zone-lost.toml",
    "sentinel/sentinel-majority-lost-async.toml",
    "sentinel/sessions-primary-host-crash.toml",
    "sentinel/split-sentinels-async.toml",
    "sentinel/swarm-async.toml",
    "sentinel/voter-restarts-async.toml",
];

/// Files that scenarios of the catalogue name.
const COMPANIONS: &[(&str, &str)] =
    embed!["cluster/seed-003.redis.conf", "patroni/seed-001.values.yaml", "patroni/seed-003.patroni.yml"];

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
    use crate::case::{Case, UserSettings, is_of_redis};

    #[test]
    fn every_shipped_scenario_is_right_and_its_file_is_named_after_it() {
        let scenarios = scenarios().unwrap_or_else(|error| panic!("{}", error.report(false)));
        for scenario in &scenarios {
            let situation = scenario.name.split_once('/').unwrap().1.replace('/', "-");
            // Published failures have the number of their entry in the fidelity specification: z1, rz28 and so on.
            let entry = situation.strip_prefix('r').unwrap_or(&situation);
            let number = entry.strip_prefix('z').and_then(|rest| rest.chars().next());
            let is_published = number.is_some_and(|first| first.is_ascii_digit());
            let folder = match scenario.family() {
                family if is_published && is_of_redis(family) => "published/redis".to_owned(),
                family if is_published => format!("published/{family}"),
                family => family.to_owned(),
            };
            let expected = format!("catalogue/{folder}/{situation}.toml");
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
        let files = [
            "backup",
            "cluster",
            "etcd",
            "lock",
            "patroni",
            "platform",
            "published/patroni",
            "published/redis",
            "sentinel",
        ]
        .into_iter()
        .flat_map(|folder| {
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
