//! What stands between clients and `PostgreSQL`, and the clients.
//!
//! A failover is over when a client succeeds again. Between the promotion of a standby and that moment lie the health
//! checks of a proxy, the pauses of a pooler and the time-outs of the client itself, which often take longer than the
//! failover.
//!
//! ```text
//! Application ──► PgBouncer ──► HaProxy ──► PostgreSQL        one address, checks decide
//!                                   └─────► REST API          HEAD /primary every 3 s
//! Application ──► PgBouncer ────────────► PostgreSQL        confd writes the address: the leader key decides
//! Application ──► PgBouncer ────────────► PostgreSQL        the address of a name: the last promotion decides
//! Application ──► Service ──────────────► PostgreSQL        an object of Kubernetes decides
//! MultiHostClient ────────────────────────► PostgreSQL (all)  the client decides: the first not in recovery
//! StickyClient ───────────────────────────► PostgreSQL (one)  nobody decides: split brain becomes visible
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `health` | the counting health check, for any load balancer |
//! | `haproxy` | `HAProxy` with Patroni's template |
//! | `pgbouncer` | `PgBouncer` |
//! | `confd` | `confd`, which writes `PgBouncer`'s configuration |
//! | `name_server` | a name server, which a script of Patroni's tells where the primary is |
//! | `service` | a Service of Kubernetes |
//! | `session` | one connection of a client, and what it may conclude from how it ends |
//! | `workload` | what clients ask, unique values, start and end |
//! | `application` | an application with a connection pool and one address |
//! | `multi_host` | a client that looks for the primary itself |
//! | `sticky` | a client that never leaves its server |
//!
//! # What to expect (fidelity specification of Patroni, section 5.7)
//!
//! With Patroni's template, a new primary takes traffic 3 to 6 s after its `/primary` turns 200 (which it does with the
//! leader lock, before it is writable), an old one that answers 503 loses its sessions after 6 to 9 s. For a silent host
//! the specification derives 9 to 12 s from the documented parameters; `HAProxy`'s source starts the next check `inter`
//! after the *end* of the one before, and each takes 3 s to fail, so it is 15 to 18 s here.
//!
//! Each process says on its own page what it models, what it simplifies and where its rules come from.

mod application;
mod confd;
mod haproxy;
mod health;
mod multi_host;
mod name_server;
mod pgbouncer;
mod service;
mod session;
mod sticky;
mod workload;

pub use application::{Application, ApplicationSpec, ApplicationTimer, OnTimeout, StatementTimeout};
pub use confd::{Confd, ConfdSpec, ConfdTimer};
pub use haproxy::{Balance, HaProxy, HaProxySpec, HaProxyTimer, ProxyServer};
pub use health::{Health, HealthCheck, Transition};
pub use multi_host::{MultiHostClient, MultiHostClientSpec, MultiHostClientTimer};
pub use name_server::{NameChange, NamePacket, NameRecord, NameServer};
pub use pgbouncer::{ConfigurationFile, HostName, PgBouncer, PgBouncerSpec, PgBouncerTimer, PoolMode};
pub use service::{Service, ServiceSpec, ServiceTimer};
pub(crate) use session::{News, Session};
pub use sticky::{StickyClient, StickyClientSpec, StickyClientTimer};
pub(crate) use workload::{Progress, as_of_client, client_of};
pub use workload::{Work, Workload};
