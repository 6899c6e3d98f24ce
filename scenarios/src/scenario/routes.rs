//! How proxies, poolers and clients of a scenario are configured, by the names of `HAProxy`, `PgBouncer` and libpq. What is
//! absent is as in Patroni's template (`HAProxy`) or as the software has it by default.

use models::patroni::{ClientSettings, PoolerSettings, ProxySettings};
use models::routing::{Balance, PoolMode};
use serde::Deserialize;
use sim_core::{ConnectOptions, KeepAlive, SimDuration};

/// `workload.haproxy`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HaproxyKeys {
    inter: Option<SimDuration>,
    fastinter: Option<SimDuration>,
    downinter: Option<SimDuration>,
    fall: Option<u32>,
    rise: Option<u32>,
    timeout_connect: Option<SimDuration>,
    timeout_check: Option<SimDuration>,
    balance: Option<BalanceKey>,
    shutdown_sessions: Option<bool>,
}

/// `balance`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum BalanceKey {
    Roundrobin,
    First,
}

/// `workload.pgbouncer`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PgbouncerKeys {
    pool_mode: Option<PoolModeKey>,
    server_check_delay: Option<SimDuration>,
    server_connect_timeout: Option<SimDuration>,
    server_login_retry: Option<SimDuration>,
    query_wait_timeout: Option<SimDuration>,
    tcp_user_timeout: Option<SimDuration>,
    confd_interval: Option<SimDuration>,
    dns_max_ttl: Option<SimDuration>,
    dns_nxdomain_ttl: Option<SimDuration>,
}

/// `pool_mode`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum PoolModeKey {
    Session,
    Transaction,
}

/// `workload.libpq`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LibpqKeys {
    connect_timeout: Option<SimDuration>,
    tcp_user_timeout: Option<SimDuration>,
    keepalives_idle: Option<SimDuration>,
    keepalives_interval: Option<SimDuration>,
    keepalives_count: Option<u32>,
}

impl HaproxyKeys {
    /// The complete settings.
    pub fn complete(self) -> ProxySettings {
        let mut settings = ProxySettings::default();
        let health = &mut settings.health;
        health.inter = self.inter.unwrap_or(health.inter);
        health.fastinter = self.fastinter.or(health.fastinter);
        health.downinter = self.downinter.or(health.downinter);
        health.fall = self.fall.unwrap_or(health.fall);
        health.rise = self.rise.unwrap_or(health.rise);
        health.timeout_connect = self.timeout_connect.unwrap_or(health.timeout_connect);
        health.timeout_check = self.timeout_check.or(health.timeout_check);
        settings.balance = match self.balance {
            Some(BalanceKey::First) => Balance::First,
            Some(BalanceKey::Roundrobin) => Balance::RoundRobin,
            None => settings.balance,
        };
        settings.shutdown_sessions = self.shutdown_sessions.unwrap_or(settings.shutdown_sessions);
        settings
    }

    /// A number that `HAProxy` refuses: its key, and what it expects.
    pub(super) fn refused(&self) -> Option<(&'static str, &'static str)> {
        let times = [("inter", self.inter), ("fastinter", self.fastinter), ("downinter", self.downinter)];
        let zero = times.into_iter().find(|(_, time)| *time == Some(SimDuration::ZERO));
        let counts = [("fall", self.fall), ("rise", self.rise)];
        let none = counts.into_iter().find(|(_, count)| *count == Some(0));
        zero.map(|(key, _)| (key, "a time above 0")).or(none.map(|(key, _)| (key, "1 or more")))
    }
}

impl PgbouncerKeys {
    /// The complete settings.
    pub fn complete(self) -> PoolerSettings {
        let mut settings = PoolerSettings::default();
        settings.pool_mode = match self.pool_mode {
            Some(PoolModeKey::Transaction) => PoolMode::Transaction,
            Some(PoolModeKey::Session) => PoolMode::Session,
            None => settings.pool_mode,
        };
        settings.server_check_delay = self.server_check_delay.unwrap_or(settings.server_check_delay);
        settings.server_connect_timeout =
            self.server_connect_timeout.unwrap_or(settings.server_connect_timeout);
        settings.server_login_retry = self.server_login_retry.unwrap_or(settings.server_login_retry);
        settings.query_wait_timeout = self.query_wait_timeout.unwrap_or(settings.query_wait_timeout);
        settings.tcp_user_timeout = self.tcp_user_timeout.filter(|timeout| *timeout > SimDuration::ZERO);
        settings.confd_interval = self.confd_interval.unwrap_or(settings.confd_interval);
        settings.dns_max_ttl = self.dns_max_ttl.unwrap_or(settings.dns_max_ttl);
        settings.dns_nxdomain_ttl = self.dns_nxdomain_ttl.unwrap_or(settings.dns_nxdomain_ttl);
        settings
    }

    /// A number with which `confd` would read without a pause: its key, and what it expects.
    pub(super) fn refused(&self) -> Option<(&'static str, &'static str)> {
        (self.confd_interval == Some(SimDuration::ZERO)).then_some(("confd_interval", "a time above 0"))
    }
}

impl LibpqKeys {
    /// The complete settings: TCP keep-alives are on, with the times of Linux where nothing is said.
    pub fn complete(self) -> ClientSettings {
        let system = KeepAlive::LINUX;
        let says_tcp = self.tcp_user_timeout.is_some()
            || self.keepalives_idle.is_some()
            || self.keepalives_interval.is_some()
            || self.keepalives_count.is_some();
        let tcp = says_tcp.then(|| ConnectOptions {
            user_timeout: self.tcp_user_timeout.filter(|timeout| *timeout > SimDuration::ZERO),
            keep_alive: Some(KeepAlive {
                idle: self.keepalives_idle.unwrap_or(system.idle),
                interval: self.keepalives_interval.unwrap_or(system.interval),
                count: self.keepalives_count.unwrap_or(system.count),
            }),
        });
        ClientSettings { connect_timeout: self.connect_timeout, tcp }
    }
}
