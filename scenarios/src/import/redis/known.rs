//! The directives that hasim models, with the values that Redis 7.0.15 accepts, and the others that it knows.

/// What a value has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A whole number within a range.
    Integer(u64, u64),
    /// Whole seconds within a range.
    Seconds(u64, u64),
    /// Whole milliseconds, at least so many.
    Milliseconds(u64),
    /// Bytes, with or without a unit such as `mb`.
    Memory,
    /// `yes` or `no`.
    YesNo,
    /// `always`, `everysec` or `no`.
    AppendFsync,
    /// Pairs of seconds and changes, or nothing.
    Save,
    /// A release of Redis or Valkey.
    Release,
    /// The number of a release.
    Version,
}

const INT_MAX: u64 = i32::MAX as u64;

/// Directives of a group in `sentinel.conf`, and `quorum`, which stands in `monitor` there.
pub(super) const SENTINEL: &[(&str, Kind)] = &[
    ("quorum", Kind::Integer(1, INT_MAX)),
    ("down-after-milliseconds", Kind::Milliseconds(1)),
    ("failover-timeout", Kind::Milliseconds(1)),
    ("parallel-syncs", Kind::Integer(1, INT_MAX)),
    ("master-reboot-down-after-period", Kind::Milliseconds(0)),
];

/// Directives of `redis.conf` (`config.c`).
pub(super) const REDIS: &[(&str, Kind)] = &[
    ("replica-priority", Kind::Integer(0, INT_MAX)),
    ("min-replicas-to-write", Kind::Integer(0, INT_MAX)),
    ("min-replicas-max-lag", Kind::Seconds(0, INT_MAX)),
    ("repl-timeout", Kind::Seconds(1, INT_MAX)),
    ("repl-ping-replica-period", Kind::Seconds(1, INT_MAX)),
    ("repl-backlog-size", Kind::Memory),
    ("repl-backlog-ttl", Kind::Seconds(0, INT_MAX)),
    ("repl-diskless-sync", Kind::YesNo),
    ("repl-diskless-sync-delay", Kind::Seconds(0, INT_MAX)),
    ("replica-serve-stale-data", Kind::YesNo),
    ("appendonly", Kind::YesNo),
    ("appendfsync", Kind::AppendFsync),
    ("save", Kind::Save),
    ("stop-writes-on-bgsave-error", Kind::YesNo),
    ("cluster-node-timeout", Kind::Milliseconds(1)),
    ("cluster-replica-validity-factor", Kind::Integer(0, INT_MAX)),
    ("cluster-migration-barrier", Kind::Integer(0, INT_MAX)),
    ("cluster-allow-replica-migration", Kind::YesNo),
    ("cluster-require-full-coverage", Kind::YesNo),
    ("cluster-replica-no-failover", Kind::YesNo),
];

/// Which release servers and Sentinels are. No directive: it stands in scenarios and flags, and in no file of Redis.
pub(super) const VERSION: (&str, Kind) = ("version", Kind::Version);
/// No directive: whose rules the nodes of a cluster follow.
pub(super) const RELEASE: (&str, Kind) = ("release", Kind::Release);

/// The name of today for a directive.
pub(super) fn canonical(name: &str) -> &str {
    match name {
        "slave-priority" => "replica-priority",
        "min-slaves-to-write" => "min-replicas-to-write",
        "min-slaves-max-lag" => "min-replicas-max-lag",
        "repl-ping-slave-period" => "repl-ping-replica-period",
        "slave-serve-stale-data" => "replica-serve-stale-data",
        "slaveof" => "replicaof",
        "slave-read-only" => "replica-read-only",
        "cluster-slave-validity-factor" => "cluster-replica-validity-factor",
        "cluster-slave-no-failover" => "cluster-replica-no-failover",
        other => other,
    }
}

/// A modelled directive with its kind.
pub(super) fn modelled(name: &str) -> Option<(&'static str, Kind)> {
    let name = canonical(name);
    SENTINEL.iter().chain(REDIS).chain([&VERSION, &RELEASE]).copied().find(|(known, _)| *known == name)
}

/// Directives of a group in `sentinel.conf` that are known and have no effect here; the last seven are what a Sentinel
/// writes by itself.
pub(super) const SENTINEL_OTHERS: &[&str] = &[
    "notification-script",
    "client-reconfig-script",
    "auth-pass",
    "auth-user",
    "rename-command",
    "announce-ip",
    "announce-port",
    "deny-scripts-reconfig",
    "sentinel-user",
    "sentinel-pass",
    "resolve-hostnames",
    "announce-hostnames",
    "myid",
    "current-epoch",
    "config-epoch",
    "leader-epoch",
    "known-replica",
    "known-slave",
    "known-sentinel",
];

/// Directives of `redis.conf` that are known and have no effect here.
pub(super) const REDIS_OTHERS: &[&str] = &[
    "acl-pubsub-default",
    "aclfile",
    "acllog-max-len",
    "active-defrag-cycle-max",
    "active-defrag-cycle-min",
    "active-defrag-ignore-bytes",
    "active-defrag-max-scan-fields",
    "active-defrag-threshold-lower",
    "active-defrag-threshold-upper",
    "active-expire-effort",
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "aof-load-truncated",
    "aof-rewrite-incremental-fsync",
    "aof-timestamp-enabled",
    "aof-use-rdb-preamble",
    "appenddirname",
    "appendfilename",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "bind",
    "bind-source-addr",
    "busy-reply-threshold",
    "client-output-buffer-limit",
    "client-query-buffer-limit",
    "cluster-allow-pubsubshard-when-down",
    "cluster-allow-reads-when-down",
    "cluster-announce-bus-port",
    "cluster-announce-hostname",
    "cluster-announce-ip",
    "cluster-announce-port",
    "cluster-announce-tls-port",
    "cluster-config-file",
    "cluster-enabled",
    "cluster-link-sendbuf-limit",
    "cluster-port",
    "cluster-preferred-endpoint-type",
    "crash-log-enabled",
    "crash-memcheck-enabled",
    "daemonize",
    "databases",
    "dbfilename",
    "dir",
    "disable-thp",
    "dynamic-hz",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "hash-max-ziplist-entries",
    "hash-max-ziplist-value",
    "hll-sparse-max-bytes",
    "hz",
    "io-threads",
    "io-threads-do-reads",
    "jemalloc-bg-thread",
    "latency-monitor-threshold",
    "latency-tracking",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lazyfree-lazy-user-flush",
    "lfu-decay-time",
    "lfu-log-factor",
    "list-compress-depth",
    "list-max-listpack-size",
    "list-max-ziplist-size",
    "loadmodule",
    "locale-collate",
    "logfile",
    "loglevel",
    "lua-time-limit",
    "masterauth",
    "masteruser",
    "maxclients",
    "maxmemory",
    "maxmemory-eviction-tenacity",
    "maxmemory-policy",
    "maxmemory-samples",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "oom-score-adj",
    "oom-score-adj-values",
    "pidfile",
    "port",
    "proc-title-template",
    "propagation-error-behavior",
    "protected-mode",
    "rdb-del-sync-files",
    "rdb-save-incremental-fsync",
    "rdbchecksum",
    "rdbcompression",
    "rename-command",
    "repl-disable-tcp-nodelay",
    "repl-diskless-load",
    "repl-diskless-sync-max-replicas",
    "replica-announce-ip",
    "replica-announce-port",
    "replica-announced",
    "replica-ignore-disk-write-errors",
    "replica-ignore-maxmemory",
    "replica-lazy-flush",
    "replica-read-only",
    "replicaof",
    "requirepass",
    "sanitize-dump-payload",
    "set-max-intset-entries",
    "shutdown-on-sigint",
    "shutdown-on-sigterm",
    "shutdown-timeout",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "socket-mark-id",
    "stream-node-max-bytes",
    "stream-node-max-entries",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
    "tcp-keepalive",
    "timeout",
    "tls-auth-clients",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-key-file",
    "tls-port",
    "tls-replication",
    "tracking-table-max-keys",
    "unixsocket",
    "unixsocketperm",
    "user",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
    "zset-max-ziplist-entries",
    "zset-max-ziplist-value",
];
