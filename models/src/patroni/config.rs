//! Patroni's settings, complete and in range: what a member runs with after Patroni has read, completed and adjusted
//! its files. Names, units, defaults and ranges are Patroni's (`patroni/config.py`, `docs/dynamic_configuration.rst`,
//! `docs/yaml_configuration.rst` of Patroni 4.1.5).

use serde::Serialize;
use sim_core::SimDuration;

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
    /// `postgresql.use_pg_rewind`; default false.
    pub use_pg_rewind: bool,
    /// `postgresql.remove_data_directory_on_diverged_timelines`; default false.
    pub remove_data_directory_on_diverged_timelines: bool,
    /// `postgresql.parameters.synchronous_commit` as sessions use it; default on.
    pub synchronous_commit: crate::postgres::SynchronousCommit,
    /// `watchdog`.
    pub watchdog: Watchdog,
    /// `tags` of every member.
    pub tags: Tags,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            scope: "batman".to_owned(),
            ttl: SimDuration::from_secs(30),
            loop_wait: SimDuration::from_secs(10),
            retry_timeout: SimDuration::from_secs(10),
            maximum_lag_on_failover: 1_048_576,
            check_timeline: false,
            primary_start_timeout: SimDuration::from_secs(300),
            primary_stop_timeout: SimDuration::ZERO,
            synchronous_mode: SynchronousMode::Off,
            synchronous_mode_strict: false,
            synchronous_node_count: 1,
            maximum_lag_on_syncnode: None,
            use_pg_rewind: false,
            remove_data_directory_on_diverged_timelines: false,
            synchronous_commit: crate::postgres::SynchronousCommit::On,
            watchdog: Watchdog::default(),
            tags: Tags::default(),
        }
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
}
