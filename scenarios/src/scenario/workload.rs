//! The load of a scenario: who writes and reads, how often, and by which way.

use models::redis::Purpose;
use serde::{Deserialize, Serialize};
use sim_core::SimDuration;

use super::routes::{HaproxyKeys, LibpqKeys, PgbouncerKeys};

/// The load of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Workload {
    /// Clients that write.
    pub writers: u16,
    /// Of these, how many wait for no standby.
    pub local_commit_writers: u16,
    /// From the end of a write to the next of the same client.
    pub write_interval: SimDuration,
    /// Bytes of WAL of a write.
    pub wal_per_write: u64,
    /// Clients that read.
    pub readers: u16,
    /// What they ask for.
    pub reads: Reads,
    /// Where, behind proxies.
    pub read_from: ReadFrom,
    /// From the end of a read to the next of the same client.
    pub read_interval: SimDuration,
    /// Whether there is one more client on each member's host, which knows that server only.
    pub local_writers: bool,
    /// How they find the primary.
    pub routing: Routing,
    /// `workload.haproxy`.
    pub haproxy: HaproxyKeys,
    /// `workload.pgbouncer`.
    pub pgbouncer: PgbouncerKeys,
    /// `workload.libpq`.
    pub libpq: LibpqKeys,
    /// How long they wait for an answer.
    pub statement_timeout: SimDuration,
    /// What they do then.
    pub on_timeout: OnTimeout,
    /// Whether they run on the servers' hosts in turn.
    pub beside_members: bool,
    /// Whether they listen for announcements of a new primary.
    pub subscribe: bool,
    /// Clients of Sentinel that listen to what the others publish; none: these write.
    pub listeners: u16,
    /// Whether each knows one Sentinel only, another one in turn.
    pub own_sentinel: bool,
    /// Whether they ask for the primary before each write.
    pub ask_each_time: bool,
    /// When they begin.
    pub starts_after: SimDuration,
    /// `WAIT` after each write.
    pub wait: Option<Wait>,
    /// When clients of Redis Cluster ask for the slot map again.
    pub refresh: Refresh,
    /// Between two writes of a client of each other shard of Redis Cluster; none: nobody writes there.
    pub other_write_interval: Option<SimDuration>,
    /// Between two keys that expire on each primary of Redis Cluster; none: no key does.
    pub expire_interval: Option<SimDuration>,
    /// Whether each write of a client of Redis Cluster is one to two keys, in a transaction.
    pub two_keys: bool,
    /// What clients of Redis keep there under keys with a time to live; none: they write values.
    pub keys: Option<Purpose>,
}

/// How clients find the primary.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// Through `HAProxy`, which asks the REST API of each member.
    #[default]
    Haproxy,
    /// Through `PgBouncer`, which goes through `HAProxy`.
    Pgbouncer,
    /// Through `PgBouncer`, into whose configuration `confd` writes where the leader is.
    PgbouncerConfd,
    /// Through `PgBouncer`, which looks up a name that a script of Patroni's keeps: `on_role_change`.
    PgbouncerDns,
    /// Through the Service of Kubernetes.
    Service,
    /// By themselves: libpq with several hosts and `target_session_attrs=read-write`.
    MultiHost,
}

/// `WAIT` after a write.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// For so many replicas.
    pub replicas: u8,
    /// At most so long.
    pub timeout: SimDuration,
}

/// What readers ask for ([`models::patroni::Reads`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The number of rows.
    #[default]
    Count,
    /// The newest row of each session.
    Newest,
}

/// Where readers read ([`models::patroni::ReadFrom`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// From replicas.
    #[default]
    Replicas,
    /// From the primary.
    Primary,
    /// One from the primary, the next from replicas, and so on.
    Everywhere,
}

/// When clients of Redis Cluster ask for the slot map again ([`models::redis_cluster::Refresh`]).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// After every error, `-MOVED` included.
    #[default]
    OnError,
    /// When a connection fails; `-MOVED` is followed.
    OnLostConnection,
    /// Never; `-MOVED` is followed.
    Never,
}

/// What clients do when a statement takes too long.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// They drop the connection (a socket time-out).
    #[default]
    Drop,
    /// They cancel the statement, and heed the warning that a commit is not replicated.
    Cancel,
    /// They cancel the statement, and their driver drops warnings.
    CancelAndIgnoreWarnings,
}
