//! `PgBouncer` in front of one address: a proxy or a server, fixed, written by [`super::Confd`], or looked up (`name.rs`).
//!
//! # Modelled
//!
//! - Session and transaction pooling. Once a server was reached, clients log in at once whatever the state of the server:
//!   `PgBouncer` answers from what the server said at its last login. Only the statements wait.
//! - One connection attempt at a time. After a failed one, none for `server_login_retry`, counted from its start;
//!   clients queue meanwhile, up to `query_wait_timeout`. So a failed attempt at the wrong moment costs up to 15 s more
//!   than the failover itself.
//! - After a failed attempt, whatever its reason, new requests fail at once while there is no other server connection
//!   (`check_fast_fail`); those that waited already go on waiting.
//! - A server connection that was idle for `server_check_delay` is checked by a query before it is used. A dead one
//!   among the fresher ones is found by the client's own statement. The check has no time-out: on a silent host the
//!   client that it is made for waits for TCP, or until `query_wait_timeout`.
//! - A server connection that dies takes the client that is linked to it along.
//! - The last connection that was used is used next (`server_round_robin` = 0).
//! - `RELOAD` (SIGHUP) with another `host`: nobody is given a connection to the old one any more. Those without a client are
//!   closed, those of clients when they are given back: with session pooling when the client leaves, so that a session on a
//!   server that lives on as a standby stays there (`server_fast_close` = 0). An attempt to connect that runs is broken off and
//!   counts as failed, so that the next one waits for `server_login_retry` although its address is new.
//!
//! # Simplified
//!
//! - Login is one query and its answer; so is the check, which in reality is an empty query (`server_check_query`
//!   `<empty>`). `server_reset_query` takes no time.
//! - A cancel request travels on the server connection, not on one of its own; for a client that waits it is dropped.
//! - `server_lifetime` (3600 s), `server_idle_timeout` (600 s), the reserve pool and limits on clients are left out: runs
//!   last minutes.
//! - Connections without a client are closed at the reload, and not by the next round of the janitor, up to 1/3 s later.
//! - The process keeps its configuration file itself, when it is told of a change; it is on the disk at once.
//!
//! Sources: `PgBouncer`'s manual (`doc/config.md`) and `src/objects.c` (`launch_new_connection`, `find_server`,
//! `check_fast_fail`, `disconnect_server`, `release_server`, `tag_pool_dirty`), `src/janitor.c` (`check_unused_servers`).

mod file;
mod name;
mod servers;

use std::collections::VecDeque;

use serde::Serialize;
use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, KeepAlive, Origin, Process, ProcessId,
    SimDuration,
};

pub use self::file::ConfigurationFile;
pub use self::name::HostName;
use self::name::Name;
use crate::patroni;
use crate::postgres::{Answer, Packet, Statement};

/// `pool_mode`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// A server connection stays with its client until the client disconnects.
    #[default]
    Session,
    /// A server connection returns to the pool after each transaction.
    Transaction,
}

/// The configuration of `PgBouncer` for one database and user. Names, units and defaults are `PgBouncer`'s.
#[derive(Clone, Debug)]
pub struct PgBouncerSpec {
    /// `host` and `port` of the database, for all time. Without, its [`ConfigurationFile`] decides: until that names one,
    /// there is no database, and clients are turned away.
    pub upstream: Option<ProcessId>,
    /// `host` of the database is a name instead.
    pub host_name: Option<HostName>,
    /// `dns_max_ttl`; 15 s.
    pub dns_max_ttl: SimDuration,
    /// `dns_nxdomain_ttl`; 15 s.
    pub dns_nxdomain_ttl: SimDuration,
    /// `pool_mode`; session.
    pub pool_mode: PoolMode,
    /// `default_pool_size`; 20.
    pub pool_size: usize,
    /// `server_check_delay`; 30 s.
    pub server_check_delay: SimDuration,
    /// `server_connect_timeout`: for connecting and logging in; 15 s.
    pub server_connect_timeout: SimDuration,
    /// `server_login_retry`; 15 s.
    pub server_login_retry: SimDuration,
    /// `query_wait_timeout`; 120 s.
    pub query_wait_timeout: SimDuration,
    /// `tcp_keepalive` (1: with the times of the operating system) and `tcp_user_timeout` (0: none), for server
    /// connections.
    pub options: ConnectOptions,
}

impl PgBouncerSpec {
    /// `PgBouncer` with default settings in front of this address.
    pub fn new(upstream: ProcessId) -> Self {
        Self { upstream: Some(upstream), ..Self::default() }
    }
}

impl Default for PgBouncerSpec {
    /// Default settings, and no database yet.
    fn default() -> Self {
        Self {
            upstream: None,
            host_name: None,
            dns_max_ttl: SimDuration::from_secs(15),
            dns_nxdomain_ttl: SimDuration::from_secs(15),
            pool_mode: PoolMode::Session,
            pool_size: 20,
            server_check_delay: SimDuration::from_secs(30),
            server_connect_timeout: SimDuration::from_secs(15),
            server_login_retry: SimDuration::from_secs(15),
            query_wait_timeout: SimDuration::from_secs(120),
            options: ConnectOptions { user_timeout: None, keep_alive: Some(KeepAlive::LINUX) },
        }
    }
}

/// A running `PgBouncer`.
#[derive(Clone, Debug)]
pub struct PgBouncer {
    spec: PgBouncerSpec,
    /// `host` and `port` of the database, as last read.
    upstream: Option<ProcessId>,
    /// `host` of the database, if that is a name.
    name: Option<Name>,
    clients: Vec<Option<Client>>,
    servers: Vec<Option<Server>>,
    /// Clients that wait for a server connection, by slot, longest first.
    queue: VecDeque<usize>,
    /// When the last attempt to connect began.
    last_connect: HostTime,
    /// The last attempt did not end in a login (`last_connect_failed`, `last_login_failed`).
    last_connect_failed: bool,
    /// Whether the last server that was logged in to is in recovery: the part of its welcome that clients ask for.
    welcome: Option<bool>,
    /// [`PgBouncerTimer::QueryWait`] is set.
    watches_queue: bool,
}

/// What [`PgBouncer`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PgBouncerTimer {
    /// `server_connect_timeout` of the attempt that runs.
    ServerConnect,
    /// `server_login_retry` is over.
    LoginRetry,
    /// `query_wait_timeout` of the client that waits longest.
    QueryWait,
    /// The name server has had enough time to answer.
    LookUp,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    connection: ConnectionId,
    server: Option<usize>,
    /// A statement that was not yet sent on, and its number.
    waiting: Option<(u64, Statement)>,
    waiting_since: HostTime,
    /// A statement was sent on and not answered.
    running: bool,
    /// It has asked for its login.
    greeted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    connection: ConnectionId,
    /// Where it leads to.
    address: ProcessId,
    state: ServerState,
    /// When its last client left it.
    last_used: HostTime,
    /// It leads to an address of before a reload, or that the name had before (`close_needed`).
    obsolete: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServerState {
    /// Connecting and logging in.
    Login,
    /// In the pool.
    Idle,
    /// The check query runs.
    Tested,
    /// Linked to the client of this slot.
    Active(usize),
}

/// The number of `PgBouncer`'s own queries. Clients count from one.
const OWN_QUERY: u64 = 0;

impl PgBouncer {
    /// How many clients wait for a server connection.
    pub fn waiting_count(&self) -> usize {
        self.queue.len()
    }

    /// How many server connections are open or asked for.
    pub fn server_count(&self) -> usize {
        self.servers.iter().flatten().count()
    }

    // Clients.

    fn accept(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        let client = Client {
            connection,
            server: None,
            waiting: None,
            waiting_since: context.monotonic(),
            running: false,
            greeted: false,
        };
        put(&mut self.clients, client);
    }

    fn on_query(&mut self, context: &mut impl Context<Self>, slot: usize, query: u64, statement: Statement) {
        let now = context.monotonic();
        let Some(client) = self.clients[slot].as_mut() else {
            return;
        };
        let is_login = !client.greeted && matches!(statement, Statement::LogIn { .. });
        client.greeted = true;
        if let Some(in_recovery) = self.welcome.filter(|_| is_login) {
            let (connection, server) = (client.connection, context.me());
            let answer = Answer::InRecovery(in_recovery);
            context.send(connection, Packet::Answer { query, answer, server }.into());
            return;
        }
        // Who gets a server is logged in there already.
        let statement =
            if let Statement::LogIn { .. } = statement { Statement::IsInRecovery } else { statement };
        client.waiting = Some((query, statement));
        if client.server.is_some() {
            self.send_on(context, slot);
            return;
        }
        client.waiting_since = now;
        self.queue.push_back(slot);
        self.serve_queue(context);
        if self.queue.back() != Some(&slot) {
            return;
        }
        let has_database = self.upstream.is_some() || self.name.is_some();
        if !has_database || self.last_connect_failed && !self.has_logged_in_servers() {
            self.drop_client(context, slot);
        } else if !self.watches_queue {
            self.watch_queue(context);
        }
    }

    /// Sends on the statement of a client that has a server connection.
    fn send_on(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(client) = self.clients[slot].as_mut() else {
            return;
        };
        if let Some(server) = client.server.and_then(|server| self.servers[server])
            && let Some((query, statement)) = client.waiting.take()
        {
            client.running = true;
            context.send(server.connection, Packet::Query { query, statement }.into());
        }
    }

    fn drop_client(&mut self, context: &mut impl Context<Self>, slot: usize) {
        if let Some(client) = self.clients[slot] {
            context.close(client.connection);
            self.forget_client(context, slot);
        }
    }

    /// The client's connection is gone.
    fn forget_client(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(client) = self.clients[slot].take() else {
            return;
        };
        let was_first = self.queue.front() == Some(&slot);
        self.queue.retain(|waiting| *waiting != slot);
        if was_first {
            self.watch_queue(context);
        }
        let Some(server) = client.server else {
            return;
        };
        if client.running {
            // "client disconnected while a query was running": the server connection is not clean.
            self.drop_server(context, server);
            self.serve_queue(context);
        } else {
            self.release(context, server);
        }
    }

    fn watch_queue(&mut self, context: &mut impl Context<Self>) {
        let first = self.queue.front().and_then(|slot| self.clients[*slot]);
        if let Some(client) = first {
            let waited = context.monotonic().since(client.waiting_since);
            let left = self.spec.query_wait_timeout.saturating_sub(waited);
            context.set_timer(PgBouncerTimer::QueryWait, left);
        } else if self.watches_queue {
            context.cancel_timer(&PgBouncerTimer::QueryWait);
        }
        self.watches_queue = first.is_some();
    }

    /// Gives idle server connections to those who wait, has stale ones checked for the others, and asks for new ones
    /// (`per_loop_activate`).
    fn serve_queue(&mut self, context: &mut impl Context<Self>) {
        let mut moved = false;
        while let Some(slot) = self.queue.front().copied() {
            let Some(index) = self.last_used_idle() else {
                break;
            };
            let Some(server) = self.servers[index].as_mut() else {
                break;
            };
            if context.monotonic().since(server.last_used) >= self.spec.server_check_delay {
                break;
            }
            server.state = ServerState::Active(slot);
            if let Some(client) = self.clients[slot].as_mut() {
                client.server = Some(index);
            }
            self.queue.pop_front();
            moved = true;
            self.send_on(context, slot);
        }
        if moved && self.watches_queue {
            self.watch_queue(context);
        }
        if !self.queue.is_empty() {
            self.serve_the_rest(context);
        }
    }

    /// No fresh connection is left: each client that waits is worth one check, or else a new connection.
    fn serve_the_rest(&mut self, context: &mut impl Context<Self>) {
        let in_state = |state| move |server: &&Server| server.state == state;
        let tested = self.servers.iter().flatten().filter(in_state(ServerState::Tested)).count();
        for _ in tested..self.queue.len() {
            let Some(server) = self.last_used_idle().and_then(|index| self.servers[index].as_mut()) else {
                self.launch_connection(context);
                return;
            };
            server.state = ServerState::Tested;
            ask(context, server.connection, Statement::IsInRecovery);
        }
    }

    fn client_of(&self, connection: ConnectionId) -> Option<usize> {
        find(&self.clients, |client| client.connection == connection)
    }

    fn server_of(&self, connection: ConnectionId) -> Option<usize> {
        find(&self.servers, |server| server.connection == connection)
    }
}

impl Process for PgBouncer {
    type Spec = PgBouncerSpec;
    type Packet = patroni::Packet;
    type Timer = PgBouncerTimer;
    type Storage = ConfigurationFile;

    fn boot(spec: &PgBouncerSpec, context: &mut impl Context<Self>) -> Self {
        Self {
            spec: spec.clone(),
            upstream: spec.upstream.or(context.storage().host),
            name: spec.host_name.as_ref().map(|host| Name::new(host.name_server, context)),
            clients: Vec::new(),
            servers: Vec::new(),
            queue: VecDeque::new(),
            last_connect: context.monotonic(),
            last_connect_failed: false,
            welcome: None,
            watches_queue: false,
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: patroni::Packet) {
        let packet = match packet {
            patroni::Packet::Postgres(packet) => packet,
            patroni::Packet::Name(packet) => return self.on_name_packet(context, packet),
            _ => return,
        };
        let Origin::Connection(connection, _) = from else {
            if let Packet::ReloadPooler { host } = packet {
                self.reload(context, host);
            }
            return;
        };
        match packet {
            Packet::Query { query, statement } => {
                if let Some(slot) = self.client_of(connection) {
                    self.on_query(context, slot, query, statement);
                }
            }
            Packet::Answer { query, .. } | Packet::Newest { query, .. } => {
                if let Some(index) = self.server_of(connection) {
                    self.on_answer(context, index, query, packet);
                }
            }
            Packet::Cancel { .. } => {
                let client = self.client_of(connection).and_then(|slot| self.clients[slot]);
                if let Some(client) = client.filter(|client| client.running)
                    && let Some(server) = client.server.and_then(|server| self.servers[server])
                {
                    context.send(server.connection, packet.into());
                }
            }
            Packet::Control(_)
            | Packet::Status(_)
            | Packet::StatusCancelled
            | Packet::ReloadPooler { .. }
            | Packet::CheckpointDone
            | Packet::Replication(_)
            | Packet::Repository(_) => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: PgBouncerTimer) {
        match timer {
            PgBouncerTimer::ServerConnect if self.name.is_some_and(|name| name.is_awaited()) => {
                self.stop_waiting_for_name();
                self.attempt_failed(context);
                self.serve_queue(context);
            }
            PgBouncerTimer::ServerConnect => {
                if let Some(index) = find(&self.servers, |server| server.state == ServerState::Login) {
                    self.server_lost(context, index);
                }
            }
            PgBouncerTimer::LoginRetry => self.serve_queue(context),
            PgBouncerTimer::LookUp => self.on_look_up_timeout(context),
            PgBouncerTimer::QueryWait => {
                self.watches_queue = false;
                if let Some(slot) = self.queue.front().copied() {
                    self.drop_client(context, slot);
                }
            }
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if event == ConnectionEvent::Accepted {
            self.accept(context, connection);
        } else if let Some(slot) = self.client_of(connection) {
            self.forget_client(context, slot);
        } else if let Some(index) = self.server_of(connection) {
            if event == ConnectionEvent::Opened {
                let nonce = context.random().bits() as u32;
                ask(context, connection, Statement::LogIn { nonce });
            } else {
                self.server_lost(context, index);
            }
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "pgbouncer"
    }

    fn role(&self) -> &'static str {
        "pgbouncer"
    }
}

/// A query of `PgBouncer`'s own.
fn ask(context: &mut impl Context<PgBouncer>, connection: ConnectionId, statement: Statement) {
    let query = Packet::Query { query: OWN_QUERY, statement };
    context.send(connection, query.into());
}

/// Puts an item into the first free slot.
fn put<T>(slots: &mut Vec<Option<T>>, item: T) {
    match slots.iter_mut().find(|slot| slot.is_none()) {
        Some(slot) => *slot = Some(item),
        None => slots.push(Some(item)),
    }
}

/// The slot of the item that satisfies the condition.
fn find<T>(slots: &[Option<T>], matches: impl Fn(&T) -> bool) -> Option<usize> {
    slots.iter().position(|slot| slot.as_ref().is_some_and(&matches))
}
