//! The keys that Patroni knows, by section (`docs/yaml_configuration.rst` and `docs/dynamic_configuration.rst` of
//! Patroni 4.1.5).
//!
//! A key of a real file is one of three: modelled by hasim (then a [`super::Settings`] entry), known to Patroni and not
//! modelled (then a note), or unknown to both (then a warning with a suggestion).

/// Whether Patroni knows what stands below a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Below {
    /// Only these keys.
    Keys(&'static [&'static str]),
    /// Names that users choose (settings of `PostgreSQL`, tags, users, labels): anything goes.
    Anything,
}

/// What Patroni knows below the section with this path. A path that is not listed is a value, or a section whose
/// inside hasim does not look into.
pub(super) fn below(path: &str) -> Option<Below> {
    Some(match path {
        "" => Below::Keys(TOP),
        "bootstrap" => Below::Keys(BOOTSTRAP),
        "bootstrap.dcs" => Below::Keys(DYNAMIC),
        "postgresql" => Below::Keys(POSTGRESQL),
        "bootstrap.dcs.postgresql" => Below::Keys(DYNAMIC_POSTGRESQL),
        "restapi" => Below::Keys(RESTAPI),
        "ctl" => Below::Keys(CTL),
        "log" => Below::Keys(LOG),
        "etcd" | "etcd3" => Below::Keys(ETCD),
        "kubernetes" => Below::Keys(KUBERNETES),
        "watchdog" => Below::Keys(WATCHDOG),
        "postgresql.parameters" | "bootstrap.dcs.postgresql.parameters" | "tags" => Below::Anything,
        _ => return None,
    })
}

const TOP: &[&str] = &[
    "scope",
    "name",
    "namespace",
    "log",
    "bootstrap",
    "citus",
    "consul",
    "ctl",
    "etcd",
    "etcd3",
    "exhibitor",
    "kubernetes",
    "multisite",
    "postgresql",
    "raft",
    "restapi",
    "tags",
    "thread_pool_size",
    "thread_stack_size",
    "watchdog",
    "zookeeper",
];

const BOOTSTRAP: &[&str] =
    &["dcs", "method", "initdb", "pg_hba", "pg_ident", "users", "post_bootstrap", "post_init"];

/// Dynamic settings, with the older names that Patroni still reads.
pub(super) const DYNAMIC: &[&str] = &[
    "ttl",
    "loop_wait",
    "retry_timeout",
    "maximum_lag_on_failover",
    "maximum_lag_on_syncnode",
    "max_timelines_history",
    "member_slots_ttl",
    "check_timeline",
    "primary_start_timeout",
    "master_start_timeout",
    "primary_stop_timeout",
    "master_stop_timeout",
    "primary_race_backoff",
    "synchronous_mode",
    "synchronous_mode_strict",
    "synchronous_node_count",
    "failsafe_mode",
    "postgresql",
    "standby_cluster",
    "slots",
    "ignore_slots",
    "pause",
];

const DYNAMIC_POSTGRESQL: &[&str] = &[
    "use_pg_rewind",
    "use_slots",
    "recovery_conf",
    "parameters",
    "pg_hba",
    "pg_ident",
    "bin_dir",
    "bin_name",
    "callbacks",
    "create_replica_methods",
    "basebackup",
    "pg_ctl_timeout",
    "remove_data_directory_on_diverged_timelines",
    "remove_data_directory_on_rewind_failure",
    "before_stop",
    "pre_promote",
    "rewind",
    "use_unix_socket",
    "use_unix_socket_repl",
    "custom_conf",
];

const POSTGRESQL: &[&str] = &[
    "authentication",
    "basebackup",
    "before_stop",
    "bin_dir",
    "bin_name",
    "callbacks",
    "config_dir",
    "connect_address",
    "create_replica_methods",
    "custom_conf",
    "data_dir",
    "database",
    "listen",
    "parameters",
    "pg_ctl_timeout",
    "pg_hba",
    "pg_ident",
    "pgpass",
    "pre_promote",
    "proxy_address",
    "recovery_conf",
    "remove_data_directory_on_diverged_timelines",
    "remove_data_directory_on_rewind_failure",
    "replica_method",
    "rewind",
    "use_pg_rewind",
    "use_slots",
    "use_unix_socket",
    "use_unix_socket_repl",
];

const RESTAPI: &[&str] = &[
    "allowlist",
    "allowlist_include_members",
    "authentication",
    "auth",
    "cafile",
    "certfile",
    "ciphers",
    "connect_address",
    "http_extra_headers",
    "https_extra_headers",
    "keyfile",
    "keyfile_password",
    "listen",
    "proxy_address",
    "request_queue_size",
    "server_tokens",
    "verify_client",
];

const CTL: &[&str] = &["authentication", "cacert", "certfile", "insecure", "keyfile", "keyfile_password"];

const LOG: &[&str] = &[
    "type",
    "level",
    "traceback_level",
    "format",
    "dateformat",
    "static_fields",
    "max_queue_size",
    "dir",
    "mode",
    "file_size",
    "file_num",
    "loggers",
    "deduplicate_heartbeat_logs",
];

const ETCD: &[&str] = &[
    "host",
    "hosts",
    "url",
    "proxy",
    "srv",
    "srv_suffix",
    "protocol",
    "port",
    "use_proxies",
    "username",
    "password",
    "cacert",
    "cert",
    "key",
    "version_prefix",
];

const WATCHDOG: &[&str] = &["mode", "device", "safety_margin", "driver"];

const KUBERNETES: &[&str] = &[
    "bootstrap_labels",
    "bypass_api_service",
    "cacert",
    "context",
    "follower_label_value",
    "labels",
    "leader_label_value",
    "namespace",
    "pod_ip",
    "ports",
    "retriable_http_codes",
    "role_label",
    "scope_label",
    "standby_leader_label_value",
    "tmp_role_label",
    "use_endpoints",
];
