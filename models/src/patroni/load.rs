//! The load on a cluster, and the way that it takes: proxies, poolers, and how clients connect.

use sim_core::{ConnectOptions, ProcessId, SimDuration};

use super::RestPath;
use crate::postgres::INSERT_BYTES;
use crate::routing::{Balance, ConfdSpec, HaProxySpec, HealthCheck, PgBouncerSpec, PoolMode};

/// How clients find the primary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Route {
    /// Through `haproxy-1`, which asks the REST API of each member.
    #[default]
    HaProxy,
    /// Through `pgbouncer-1`, which goes through `haproxy-1`.
    PgBouncer,
    /// Through `pgbouncer-1`, which goes to the server that `confd-1` writes into its configuration; readers, too.
    Confd,
    /// Through `pgbouncer-1`, which goes to the server whose address the name server `dns-1` knows; readers, too.
    Dns,
    /// Through the Service of Kubernetes, `kube-proxy-1`; readers, too.
    Service,
    /// By themselves: libpq with several hosts and `target_session_attrs=read-write`.
    MultiHost,
}

/// Where readers read, if they go through proxies. Otherwise they go where writers go, to the primary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReadFrom {
    /// From replicas, through `haproxy-2`.
    #[default]
    Replicas,
    /// From the primary, as writers do.
    Primary,
    /// One reader from the primary, the next from replicas, and so on.
    Everywhere,
}

/// What readers ask for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reads {
    /// The number of rows.
    #[default]
    Count,
    /// The newest row of each session.
    Newest,
}

/// What a client does when a statement takes too long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ImpatientClient {
    /// Drops the connection.
    #[default]
    Drop,
    /// Cancels the statement. A commit that waits for a synchronous standby is answered with a warning then, which the
    /// client heeds: it does not count the write as done.
    Cancel,
    /// Cancels the statement, and its driver drops warnings, as most do: the client takes the answer for a success.
    CancelAndIgnoreWarnings,
}

/// How the proxy is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxySettings {
    /// Checks.
    pub health: HealthCheck,
    /// `balance`.
    pub balance: Balance,
    /// `on-marked-down shutdown-sessions`.
    pub shutdown_sessions: bool,
}

impl Default for ProxySettings {
    /// Patroni's template.
    fn default() -> Self {
        let HaProxySpec { health, balance, shutdown_sessions, .. } =
            HaProxySpec::template(RestPath::Primary, Vec::new());
        Self { health, balance, shutdown_sessions }
    }
}

/// How the pooler is configured: names, units and defaults are `PgBouncer`'s.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolerSettings {
    /// `pool_mode`.
    pub pool_mode: PoolMode,
    /// `server_check_delay`.
    pub server_check_delay: SimDuration,
    /// `server_connect_timeout`.
    pub server_connect_timeout: SimDuration,
    /// `server_login_retry`.
    pub server_login_retry: SimDuration,
    /// `query_wait_timeout`.
    pub query_wait_timeout: SimDuration,
    /// `tcp_user_timeout` of server connections; none by default.
    pub tcp_user_timeout: Option<SimDuration>,
    /// `-interval` of the `confd` that writes its configuration, if one does ([`Route::Confd`]).
    pub confd_interval: SimDuration,
    /// `dns_max_ttl`, if it looks up a name ([`Route::Dns`]).
    pub dns_max_ttl: SimDuration,
    /// `dns_nxdomain_ttl`, likewise.
    pub dns_nxdomain_ttl: SimDuration,
}

impl Default for PoolerSettings {
    fn default() -> Self {
        let spec = PgBouncerSpec::default();
        Self {
            pool_mode: spec.pool_mode,
            server_check_delay: spec.server_check_delay,
            server_connect_timeout: spec.server_connect_timeout,
            server_login_retry: spec.server_login_retry,
            query_wait_timeout: spec.query_wait_timeout,
            tcp_user_timeout: spec.options.user_timeout,
            confd_interval: ConfdSpec::INTERVAL,
            dns_max_ttl: spec.dns_max_ttl,
            dns_nxdomain_ttl: spec.dns_nxdomain_ttl,
        }
    }
}

impl PoolerSettings {
    pub(super) fn in_front_of(self, upstream: Option<ProcessId>) -> PgBouncerSpec {
        let mut spec = PgBouncerSpec { upstream, ..PgBouncerSpec::default() };
        spec.pool_mode = self.pool_mode;
        spec.server_check_delay = self.server_check_delay;
        spec.server_connect_timeout = self.server_connect_timeout;
        spec.server_login_retry = self.server_login_retry;
        spec.query_wait_timeout = self.query_wait_timeout;
        spec.options.user_timeout = self.tcp_user_timeout;
        spec.dns_max_ttl = self.dns_max_ttl;
        spec.dns_nxdomain_ttl = self.dns_nxdomain_ttl;
        spec
    }
}

/// How the connections of clients are configured; what is absent is as the kind of client has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClientSettings {
    /// `connect_timeout`.
    pub connect_timeout: Option<SimDuration>,
    /// `tcp_user_timeout`, `keepalives_idle`, `keepalives_interval`, `keepalives_count`.
    pub tcp: Option<ConnectOptions>,
}

/// The load on a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// Clients that write.
    pub writers: u16,
    /// Of these, how many say `SET synchronous_commit = local`: they wait for no standby.
    pub local_commit_writers: u16,
    /// Between two writes of one client.
    pub write_interval: SimDuration,
    /// WAL of one write in bytes. With more than a row takes, it stands for all that a busy database writes until the next.
    pub wal_per_write: u64,
    /// Clients that read now and then.
    pub readers: u16,
    /// What they ask for.
    pub reads: Reads,
    /// Where.
    pub read_from: ReadFrom,
    /// Between two reads of one client.
    pub read_interval: SimDuration,
    /// How they find the primary.
    pub route: Route,
    /// The proxy.
    pub proxy: ProxySettings,
    /// The pooler.
    pub pooler: PoolerSettings,
    /// Their connections.
    pub client: ClientSettings,
    /// How long they wait for an answer.
    pub statement_timeout: SimDuration,
    /// What they do then, if they go through a proxy; others drop the connection.
    pub on_timeout: ImpatientClient,
    /// One more writer on each member's host, which knows that member's server only, as old connection strings and cron
    /// jobs do. What a cut-off primary acknowledges, it acknowledges to them.
    pub local_writers: bool,
    /// When clients start no more operations, so that a run ends in quiet.
    pub stop_at: Option<SimDuration>,
}

impl Default for Load {
    /// Two writers through `HAProxy`, five times a second each, who wait for an answer for five seconds and never stop.
    fn default() -> Self {
        Self {
            writers: 2,
            write_interval: SimDuration::from_millis(200),
            wal_per_write: INSERT_BYTES,
            local_commit_writers: 0,
            readers: 0,
            reads: Reads::default(),
            read_from: ReadFrom::default(),
            read_interval: SimDuration::from_secs(1),
            route: Route::default(),
            proxy: ProxySettings::default(),
            pooler: PoolerSettings::default(),
            client: ClientSettings::default(),
            statement_timeout: SimDuration::from_secs(5),
            on_timeout: ImpatientClient::default(),
            local_writers: false,
            stop_at: None,
        }
    }
}
