//! Patroni's settings, complete and in range: what a member runs with after Patroni has read, completed and adjusted
//! its files. Names, units, defaults and ranges are Patroni's (`patroni/config.py`, `docs/dynamic_configuration.rst`,
//! `docs/yaml_configuration.rst` of Patroni 4.1.5).

use std::collections::BTreeMap;

use serde::Serialize;
use sim_core::SimDuration;

use super::pre_promote::PrePromote;
use super::version::{MODELLED, Version};
use crate::postgres::MemberId;

/// The settings of a cluster. All members of a modelled cluster share them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Configuration {
    /// `scope`: the name of the cluster.
    pub scope: String,
    /// `ttl`: time to live of the leader key and of the members' keys. At least 20 s; default 30 s.
    pub ttl: SimDuration,
    /// `loop_wait`: period of the HA loop. At least 1 s; default 10 s.
    pub loop_wait: SimDuration,
    /// `retry_timeout`: budget of one retried operation on etcd. At least 3 s; default 10 s.
    pub retry_timeout: SimDuration,
    /// `maximum_lag_on_failover` in bytes; default 1 MiB.
    pub maximum_lag_on_failover: u64,
    /// `primary_race_backoff`: how long a standby puts the race off while WAL arrives from the primary; default 0, not at all. No
    /// release before 4.2.0 knows it.
    pub primary_race_backoff: SimDuration,
    /// `check_timeline`; default false.
    pub check_timeline: bool,
    /// `primary_start_timeout`: default 300 s; 0 means fail over at once when `PostgreSQL` has crashed.
    pub primary_start_timeout: SimDuration,
    /// `primary_stop_timeout`: 0 (the default) is without limit. Only in synchronous mode.
    pub primary_stop_timeout: SimDuration,
    /// `synchronous_mode`; default off.
    pub synchronous_mode: SynchronousMode,
    /// `synchronous_mode_strict`; default false.
    pub synchronous_mode_strict: bool,
    /// `synchronous_node_count`; default 1.
    pub synchronous_node_count: u8,
    /// `maximum_lag_on_syncnode` in bytes; absent (-1, the default) means no limit.
    pub maximum_lag_on_syncnode: Option<u64>,
    /// `failsafe_mode`; default false.
    pub failsafe_mode: bool,
    /// `postgresql.use_slots`: members stream through replication slots; default true.
    pub use_slots: bool,
    /// `member_slots_ttl`: how long the slot of a member without a key is retained; default 30 min. 0: not at all, as before
    /// 4.0.0.
    pub member_slots_ttl: SimDuration,
    /// `postgresql.parameters.wal_keep_size` in bytes; default 128 MB. At least 16 MB.
    pub wal_keep_size: u64,
    /// `postgresql.use_pg_rewind`; default false.
    pub use_pg_rewind: bool,
    /// `postgresql.pre_promote`: a script, and what it does; none by default.
    pub pre_promote: Option<PrePromote>,
    /// `postgresql.remove_data_directory_on_diverged_timelines`; default false.
    pub remove_data_directory_on_diverged_timelines: bool,
    /// `postgresql.parameters.synchronous_commit` as sessions use it; default on.
    pub synchronous_commit: crate::postgres::SynchronousCommit,
    /// `watchdog`.
    pub watchdog: Watchdog,
    /// `tags` of every member that [`Self::member_tags`] does not list.
    pub tags: Tags,
    /// `tags` of single members.
    pub member_tags: BTreeMap<MemberId, Tags>,
    /// Which release runs. Not a setting of Patroni but the software itself.
    pub version: Version,
    /// Which release of etcd runs. Not a setting of Patroni either.
    pub etcd_version: crate::release::Release,
    /// Which version of its API Patroni speaks with etcd: `etcd3` or `etcd`.
    #[serde(skip_serializing_if = "EtcdApi::is_default")]
    pub etcd_api: EtcdApi,
    /// `kubernetes`: the store is the API of Kubernetes; without, it is etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesSettings>,
}

/// `kubernetes`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct KubernetesSettings {
    /// `use_endpoints`: the lock is in Endpoints, and so the address of the leader with it; default false: in a `ConfigMap`.
    pub use_endpoints: bool,
    /// `bypass_api_service`: connects to the API servers themselves, and not through their Service; default false.
    pub bypass_api_service: bool,
    /// `retriable_http_codes`: asked for again like 500, 503 and 504; default none.
    pub retriable_http_codes: Vec<u16>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            scope: "batman".to_owned(),
            ttl: SimDuration::from_secs(30),
            loop_wait: SimDuration::from_secs(10),
            retry_timeout: SimDuration::from_secs(10),
            maximum_lag_on_failover: 1_048_576,
            primary_race_backoff: SimDuration::ZERO,
            check_timeline: false,
            primary_start_timeout: SimDuration::from_secs(300),
            primary_stop_timeout: SimDuration::ZERO,
            synchronous_mode: SynchronousMode::Off,
            synchronous_mode_strict: false,
            synchronous_node_count: 1,
            maximum_lag_on_syncnode: None,
            failsafe_mode: false,
            use_slots: true,
            member_slots_ttl: SimDuration::from_secs(1_800),
            wal_keep_size: 128 << 20,
            use_pg_rewind: false,
            pre_promote: None,
            remove_data_directory_on_diverged_timelines: false,
            synchronous_commit: crate::postgres::SynchronousCommit::On,
            watchdog: Watchdog::default(),
            tags: Tags::default(),
            member_tags: BTreeMap::new(),
            version: MODELLED,
            etcd_version: crate::etcd::MODELLED,
            etcd_api: EtcdApi::default(),
            kubernetes: None,
        }
    }
}

/// The section of `patroni.yml` that describes etcd.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcdApi {
    /// `etcd`: API version 2.
    V2,
    /// `etcd3`: API version 3.
    #[default]
    V3,
}

impl EtcdApi {
    /// True for what most clusters have; it is not mentioned.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Configuration {
    /// The tags of a member.
    pub fn tags_of(&self, member: MemberId) -> Tags {
        self.member_tags.get(&member).copied().unwrap_or(self.tags)
    }
}

/// `synchronous_mode`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SynchronousMode {
    /// Replication is asynchronous.
    #[default]
    Off,
    /// Patroni chooses synchronous standbys by priority and records them in `/sync`.
    On,
    /// Any `synchronous_node_count` of the standbys have to have a commit; `/sync` records how many a candidate must ask.
    Quorum,
}

/// `watchdog`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Watchdog {
    /// `mode`; default automatic.
    pub mode: WatchdogMode,
    /// `safety_margin`: the watchdog fires this long before the leader key expires; default 5 s. Absent (-1): half of
    /// the time to live.
    pub safety_margin: Option<SimDuration>,
    /// Whether the hosts have a usable `/dev/watchdog`. Not a setting of Patroni but of the machines; in the mode
    /// `automatic` it decides.
    pub device_present: bool,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            mode: WatchdogMode::Automatic,
            safety_margin: Some(SimDuration::from_secs(5)),
            device_present: false,
        }
    }
}

/// `watchdog.mode`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogMode {
    /// Never.
    Off,
    /// If there is a usable device.
    #[default]
    Automatic,
    /// A member without a usable device does not become leader.
    Required,
}

/// `tags`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Tags {
    /// Never becomes leader.
    pub nofailover: bool,
    /// Never becomes a synchronous standby.
    pub nosync: bool,
    /// `/replica` answers 503: readers are not sent here.
    pub noloadbalance: bool,
    /// `replicatefrom`: streams from this member instead of the leader, while it has a key.
    pub replicatefrom: Option<MemberId>,
    /// `failover_priority`: among members with equal positions the highest goes first.
    pub failover_priority: FailoverPriority,
}

/// `failover_priority`; default 1. 0 and less mean `nofailover`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct FailoverPriority(pub i32);

impl Default for FailoverPriority {
    fn default() -> Self {
        Self(1)
    }
}

/// The default adds nothing to a digest: a member without the tag does not mention it.
impl std::hash::Hash for FailoverPriority {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        if *self != Self::default() {
            self.0.hash(state);
        }
    }
}

/// `ttl`, `loop_wait` and `retry_timeout` as written, in whole seconds, before Patroni has adjusted them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// `ttl` in seconds.
    pub ttl: i64,
    /// `loop_wait` in seconds.
    pub loop_wait: i64,
    /// `retry_timeout` in seconds.
    pub retry_timeout: i64,
}

/// What Patroni changed in the [`Timeouts`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Adjustment {
    /// The key whose value was changed.
    pub key: &'static str,
    /// What Patroni does and why, in one sentence.
    pub message: String,
}

impl Timeouts {
    /// The least values that Patroni accepts.
    const LEAST: Self = Self { ttl: 20, loop_wait: 1, retry_timeout: 3 };

    /// What Patroni makes of the values, and what it changes (`Config._validate_and_adjust_timeouts` in
    /// `patroni/config.py`): each is raised to its minimum first; then, so that a primary gives up before its lock
    /// expires, `loop_wait + 2 * retry_timeout <= ttl` is enforced by lowering `loop_wait`, and `retry_timeout` only
    /// if a `loop_wait` of 1 is not enough.
    #[must_use]
    pub fn adjust(self) -> (Self, Vec<Adjustment>) {
        let mut adjustments = Vec::new();
        let mut at_least = |key: &'static str, value: i64, least: i64| {
            if value < least {
                adjustments.push(Adjustment {
                    key,
                    message: format!(
                        "`{key}` is {value} s; Patroni raises it to {least} s, the least it accepts"
                    ),
                });
            }
            value.max(least)
        };
        let loop_wait = at_least("loop_wait", self.loop_wait, Self::LEAST.loop_wait);
        let retry_timeout = at_least("retry_timeout", self.retry_timeout, Self::LEAST.retry_timeout);
        let ttl = at_least("ttl", self.ttl, Self::LEAST.ttl);
        let raised = Self { ttl, loop_wait, retry_timeout };
        let adjusted = raised.within_rule();
        for (key, before, after) in [
            ("loop_wait", loop_wait, adjusted.loop_wait),
            ("retry_timeout", retry_timeout, adjusted.retry_timeout),
        ] {
            if before != after {
                adjustments.push(Adjustment {
                    key,
                    message: format!(
                        "`loop_wait` + 2 * `retry_timeout` is {loop_wait} s + 2 * {retry_timeout} s, more than the \
                         `ttl` of {ttl} s; Patroni lowers `{key}` from {before} s to {after} s"
                    ),
                });
            }
        }
        (adjusted, adjustments)
    }

    /// The rule that a primary notices in time that it lost its lock.
    fn within_rule(self) -> Self {
        let least = Self::LEAST.loop_wait;
        let doubled = self.retry_timeout.saturating_mul(2);
        if doubled.saturating_add(least) > self.ttl {
            Self { loop_wait: least, retry_timeout: (self.ttl - least) / 2, ..self }
        } else if doubled.saturating_add(self.loop_wait) > self.ttl {
            Self { loop_wait: self.ttl - doubled, ..self }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: [i64; 3], after: [i64; 3], changed: &[&str]) {
        let [ttl, loop_wait, retry_timeout] = before;
        let (adjusted, adjustments) = Timeouts { ttl, loop_wait, retry_timeout }.adjust();
        assert_eq!([adjusted.ttl, adjusted.loop_wait, adjusted.retry_timeout], after, "{adjustments:?}");
        let keys: Vec<&str> = adjustments.iter().map(|adjustment| adjustment.key).collect();
        assert_eq!(keys, changed);
    }

    #[test]
    fn values_within_the_rule_stay() {
        check([30, 10, 10], [30, 10, 10], &[]);
        check([20, 1, 3], [20, 1, 3], &[]);
    }

    #[test]
    fn values_below_the_minimum_are_raised() {
        check([5, 0, -1], [20, 1, 3], &["loop_wait", "retry_timeout", "ttl"]);
        check([30, 10, 1], [30, 10, 3], &["retry_timeout"]);
    }

    #[test]
    fn loop_wait_is_lowered_first() {
        check([25, 10, 10], [25, 5, 10], &["loop_wait"]);
        check([21, 10, 10], [21, 1, 10], &["loop_wait"]);
    }

    #[test]
    fn retry_timeout_is_lowered_when_the_least_loop_wait_is_not_enough() {
        check([20, 10, 10], [20, 1, 9], &["loop_wait", "retry_timeout"]);
        check([5, 10, 10], [20, 1, 9], &["ttl", "loop_wait", "retry_timeout"]);
        check([20, 1, 10], [20, 1, 9], &["retry_timeout"]);
        check([30, 10, i64::MAX], [30, 1, 14], &["loop_wait", "retry_timeout"]);
    }
}
