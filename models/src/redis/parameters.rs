//! The directives of `redis.conf` that are modelled, and what else a server is started with.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration};

use super::release::{MODELLED, Version};
use crate::planted::Planted;

/// When the append-only file is synced (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AppendFsync {
    /// Before the reply to each write.
    Always,
    /// Once a second, by another thread.
    #[default]
    EverySecond,
    /// When the operating system likes to.
    No,
}

/// One pair of the directive `save`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavePoint {
    /// After so many seconds since the last save...
    pub after: SimDuration,
    /// ...with at least so many changes.
    pub changes: u64,
}

/// Directives of `redis.conf`, under their own names. The defaults are those of Redis 7.0.15.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameters {
    /// Which release it is; no directive. 7.0.15.
    pub version: Version,
    /// `replica-priority`: lower is preferred by Sentinel, 0 is never promoted. 100.
    pub replica_priority: u32,
    /// `min-replicas-to-write`: writes are refused with fewer replicas that acknowledged lately. 0: off.
    pub min_replicas_to_write: u32,
    /// `min-replicas-max-lag`: what "lately" means, in whole seconds. 10 s.
    pub min_replicas_max_lag: SimDuration,
    /// `repl-timeout`: silence after which either side gives the replication link up. 60 s.
    pub repl_timeout: SimDuration,
    /// `repl-ping-replica-period`: PINGs in the replication stream; they advance the offset. 10 s.
    pub repl_ping_replica_period: SimDuration,
    /// `repl-backlog-size` in bytes: how far back a partial resynchronisation reaches. 1 MiB.
    pub repl_backlog_size: u64,
    /// `repl-backlog-ttl`: a primary without replicas for so long frees its backlog and changes its replication id;
    /// zero: never. 1 h.
    pub repl_backlog_ttl: SimDuration,
    /// `repl-diskless-sync`: whether a full resynchronisation waits for `repl-diskless-sync-delay`. Yes since 7.0.
    pub repl_diskless_sync: bool,
    /// `repl-diskless-sync-delay`: how long it waits for more replicas. 5 s.
    pub repl_diskless_sync_delay: SimDuration,
    /// `replica-serve-stale-data`: without it, a replica whose link is down answers with `-MASTERDOWN`. Yes.
    pub replica_serve_stale_data: bool,
    /// `appendonly`. No.
    pub appendonly: bool,
    /// `appendfsync`. Every second.
    pub appendfsync: AppendFsync,
    /// `save`: `3600 1 300 100 60 10000`.
    pub save: Vec<SavePoint>,
    /// `stop-writes-on-bgsave-error`: yes. A failed save then makes PING fail as well.
    pub stop_writes_on_bgsave_error: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        let point = |seconds, changes| SavePoint { after: SimDuration::from_secs(seconds), changes };
        Self {
            version: MODELLED,
            replica_priority: 100,
            min_replicas_to_write: 0,
            min_replicas_max_lag: SimDuration::from_secs(10),
            repl_timeout: SimDuration::from_secs(60),
            repl_ping_replica_period: SimDuration::from_secs(10),
            repl_backlog_size: 1 << 20,
            repl_backlog_ttl: SimDuration::from_secs(3600),
            repl_diskless_sync: true,
            repl_diskless_sync_delay: SimDuration::from_secs(5),
            replica_serve_stale_data: true,
            appendonly: false,
            appendfsync: AppendFsync::EverySecond,
            save: vec![point(3600, 1), point(300, 100), point(60, 10_000)],
            stop_writes_on_bgsave_error: true,
        }
    }
}

/// What the models do not look into: sizes and rates of the machine.
///
/// The rates are the starting assumptions of the fidelity specification, section 3.4 (100 to 200 MB/s to dump, 100 to
/// 300 MB/s to load); they matter only when `dataset` is large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Bytes of data that the clients of the run did not write: what a dump, a transfer and a load carry besides.
    pub dataset: u64,
    /// Bytes of a second of dumping and sending.
    pub dump_rate: u64,
    /// Bytes of a second of loading an RDB file.
    pub load_rate: u64,
    /// Bytes of a second of loading an append-only file: issue 4561 of redis/redis measured 10 GB in 200 s.
    pub append_load_rate: u64,
    /// From the start of the process until it listens: dynamic linking, reading `redis.conf`.
    pub start: SimDuration,
    /// For how long a server stands still when it forks, for each 10^9 bytes of data. Zero: forks take no time. 239 ms were measured on
    /// old types of instances of EC2, 9 to 23 ms on most machines (redis.io, "Diagnosing latency issues").
    pub fork_per_gigabyte: SimDuration,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            dataset: 0,
            dump_rate: 150_000_000,
            load_rate: 200_000_000,
            append_load_rate: 50_000_000,
            start: SimDuration::from_millis(10),
            fork_per_gigabyte: SimDuration::ZERO,
        }
    }
}

impl Machine {
    /// How long so many bytes take at a rate.
    pub(super) fn time(bytes: u64, rate: u64) -> SimDuration {
        SimDuration::from_secs(1).scale(bytes, rate.max(1))
    }
}

/// What a server is started with, beside its data directory.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// `redis.conf`, without `replicaof`: that is in the data directory, because it is rewritten.
    pub parameters: Arc<Parameters>,
    /// Sizes and rates.
    pub machine: Machine,
    /// Between two keys that expire, if any do: each is a `DEL` in the stream.
    pub expires_every: Option<SimDuration>,
    /// Keys expire while clients are paused, as in old releases (issue 4027 of redis/redis).
    pub expires_while_paused: bool,
    /// It is one of those that marks and roles are about, and marks when it begins and ceases to accept writes. A server of a
    /// cluster leaves that to its node, and one of a further group of Sentinels' plays `other-primary` or `other-replica`.
    pub marks_service: bool,
    /// Servers that an operator can name in `REPLICAOF`.
    pub namable: Arc<[(String, ProcessId)]>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

impl ServerSpec {
    /// A server with these parameters.
    pub fn new(parameters: Parameters) -> Self {
        let planted = Planted::Nothing;
        Self {
            parameters: Arc::new(parameters),
            machine: Machine::default(),
            expires_every: None,
            expires_while_paused: false,
            marks_service: true,
            namable: Arc::new([]),
            planted,
        }
    }

    /// The server that an operator names so, if it can be named.
    pub(super) fn named(&self, name: &str) -> Option<ProcessId> {
        self.namable.iter().find(|(known, _)| known == name).map(|(_, process)| *process)
    }
}
