//! `HAProxy` in TCP mode in front of the members, as Patroni's template configures it.
//!
//! One process stands for one `listen` section: `option httpchk HEAD /primary` on one port, `/replica` on another.
//!
//! # Modelled
//!
//! - Checks: see [`HealthCheck`]. The next check starts `inter` after the end of the one before. A member that answers
//!   503 is therefore down within 6 to 9 s and a new one up within 3 to 6 s; but each check of a silent host takes the
//!   connect limit of 3 s, so that one is down after 15 to 18 s.
//! - Before its first check a server counts as up, so a proxy that was just started sends clients to standbys for up to
//!   one interval.
//! - `on-marked-down shutdown-sessions`; `retries 2`, with a second's wait after a refused connection (none after a
//!   time-out) and without redispatch to another server; `timeout connect`.
//! - No server is up: the client's connection is accepted and closed at once.
//! - `balance roundrobin`, `HAProxy`'s default, also for the primary: while the old primary's host is silent and not yet
//!   marked down, every other new connection goes there and waits for `timeout connect`.
//! - No keep-alives of its own (`option clitcpka` and `srvtcpka` are not in the template).
//!
//! # Simplified
//!
//! - `timeout client` and `timeout server` are one idle time-out for both directions, the shorter of the two.
//! - Half-closed connections do not exist: the end of one side is the end of the session.
//! - `maxconn` (100 in the template) does not limit.
//!
//! Sources: `haproxy.cfg` of Patroni 4.1.5; `HAProxy`'s configuration manual; `src/check.c` (`process_chk_conn`),
//! `src/backend.c` (`back_handle_st_cer`).

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, MarkKind, Origin, Process, ProcessId,
    SimDuration,
};

use super::{Health, HealthCheck, Transition};
use crate::patroni::{Packet, Rest, RestPath};
use crate::postgres;

/// A `server` line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyServer {
    /// Answers the health checks: the member's REST API.
    pub rest: ProcessId,
    /// Takes the traffic: the member's `PostgreSQL`, or a pooler in front of it.
    pub traffic: ProcessId,
}

/// How the server for a new session is chosen among those that are up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// `balance roundrobin`: in turn. `HAProxy`'s default.
    #[default]
    RoundRobin,
    /// `balance first`: the first of the list, as long as its `maxconn` allows.
    First,
}

/// The configuration of one `listen` section.
#[derive(Clone, Debug)]
pub struct HaProxySpec {
    /// The `server` lines. At least one.
    pub servers: Vec<ProxyServer>,
    /// `option httpchk HEAD ...`: the path of the check.
    pub check: RestPath,
    /// `inter`, `fall`, `rise` and the time-outs of checks. Its `timeout_connect` holds for sessions, too.
    pub health: HealthCheck,
    /// `balance`.
    pub balance: Balance,
    /// `retries`: further attempts to connect to the chosen server; 2 (`HAProxy`'s default: 3).
    pub retries: u8,
    /// The shorter of `timeout client` and `timeout server`; 30 min.
    pub timeout_idle: SimDuration,
    /// `on-marked-down shutdown-sessions`; true in Patroni's template, false in `HAProxy`'s defaults.
    pub shutdown_sessions: bool,
}

impl HaProxySpec {
    /// Patroni's template with these members and this path.
    pub fn template(check: RestPath, servers: Vec<ProxyServer>) -> Self {
        Self {
            servers,
            check,
            health: HealthCheck::default(),
            balance: Balance::default(),
            retries: 2,
            timeout_idle: SimDuration::from_secs(30 * 60),
            shutdown_sessions: true,
        }
    }
}

/// `HAProxy` waits this long before it connects again after an error (`back_handle_st_cer`), or `timeout connect` if
/// that is shorter.
const TURN_AROUND: SimDuration = SimDuration::from_secs(1);

/// One `listen` section of a running `HAProxy`.
#[derive(Clone, Debug)]
pub struct HaProxy {
    spec: HaProxySpec,
    servers: Vec<Server>,
    sessions: Vec<Option<Session>>,
    /// Connections of sessions, of either side.
    ends: BTreeMap<ConnectionId, End>,
    /// The server that a new session would reach, or the last that one could have reached.
    target: usize,
    /// Where round robin goes on.
    next: usize,
}

/// What [`HaProxy`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HaProxyTimer {
    /// `inter`: the next check of this server.
    Check(usize),
    /// The connection or the answer of a check of this server takes too long.
    CheckTimeout(usize),
    /// `timeout connect` of this session.
    Connect(usize),
    /// The wait before this session connects again.
    TurnAround(usize),
    /// `timeout client` or `timeout server` of this session.
    Idle(usize),
}

#[derive(Clone, Debug)]
struct Server {
    health: Health,
    /// The connection of the check that runs.
    check: Option<ConnectionId>,
}

#[derive(Clone, Debug)]
struct Session {
    client: ConnectionId,
    server: usize,
    /// None during the wait before another attempt.
    upstream: Option<ConnectionId>,
    established: bool,
    retries_left: u8,
    /// What the client sent before the server's connection was established.
    pending: VecDeque<postgres::Packet>,
    last_activity: HostTime,
}

#[derive(Clone, Copy, Debug)]
struct End {
    session: usize,
    is_client: bool,
}

impl HaProxy {
    /// True if new sessions may go to this server.
    pub fn is_up(&self, server: usize) -> bool {
        self.servers[server].health.is_up(&self.spec.health)
    }

    /// How many sessions are open or opening.
    pub fn session_count(&self) -> usize {
        self.sessions.iter().flatten().count()
    }

    // Checks.

    fn start_check(&mut self, context: &mut impl Context<Self>, server: usize) {
        let connection = context.connect(self.spec.servers[server].rest, ConnectOptions::default());
        self.servers[server].check = Some(connection);
        context.send(connection, Packet::Rest(Rest::Get(self.spec.check)));
        context.set_timer(HaProxyTimer::CheckTimeout(server), self.spec.health.connect_limit());
    }

    fn end_check(&mut self, context: &mut impl Context<Self>, server: usize, passed: bool) {
        let Some(connection) = self.servers[server].check.take() else {
            return;
        };
        context.close(connection);
        context.cancel_timer(&HaProxyTimer::CheckTimeout(server));
        let state = &mut self.servers[server];
        let transition = state.health.report(&self.spec.health, passed);
        context.set_timer(HaProxyTimer::Check(server), state.health.interval(&self.spec.health));
        match transition {
            Some(Transition::Up) => self.server_up(context, server),
            Some(Transition::Down) => self.server_down(context, server),
            None => {}
        }
    }

    fn server_up(&mut self, context: &mut impl Context<Self>, server: usize) {
        context.note(|| format!("server {server} is UP"));
        if self.target != server {
            self.retarget(context, server);
        }
    }

    fn server_down(&mut self, context: &mut impl Context<Self>, server: usize) {
        context.note(|| format!("server {server} is DOWN"));
        if self.spec.shutdown_sessions {
            for slot in 0..self.sessions.len() {
                if self.sessions[slot].as_ref().is_some_and(|session| session.server == server) {
                    self.end_session(context, slot);
                }
            }
        }
        if self.target == server
            && let Some(other) = (0..self.servers.len()).find(|server| self.is_up(*server))
        {
            self.retarget(context, other);
        }
    }

    fn retarget(&mut self, context: &mut impl Context<Self>, server: usize) {
        self.target = server;
        if self.spec.check == RestPath::Primary {
            context.mark(MarkKind::Rerouted, server as u64);
        }
    }

    fn check_of(&self, connection: ConnectionId) -> Option<usize> {
        self.servers.iter().position(|server| server.check == Some(connection))
    }

    // Sessions.

    fn choose(&mut self) -> Option<usize> {
        let count = self.servers.len();
        let start = match self.spec.balance {
            Balance::First => 0,
            Balance::RoundRobin => self.next,
        };
        let chosen = (start..start + count).map(|index| index % count).find(|server| self.is_up(*server))?;
        self.next = (chosen + 1) % count;
        Some(chosen)
    }

    fn accept(&mut self, context: &mut impl Context<Self>, client: ConnectionId) {
        let Some(server) = self.choose() else {
            context.close(client);
            return;
        };
        let slot = self.sessions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        self.sessions[slot] = Some(Session {
            client,
            server,
            upstream: None,
            established: false,
            retries_left: self.spec.retries,
            pending: VecDeque::new(),
            last_activity: context.monotonic(),
        });
        let end = End { session: slot, is_client: true };
        self.ends.insert(client, end);
        context.set_timer(HaProxyTimer::Idle(slot), self.spec.timeout_idle);
        self.connect_upstream(context, slot);
    }

    fn connect_upstream(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(session) = self.sessions[slot].as_mut() else {
            return;
        };
        let to = self.spec.servers[session.server].traffic;
        let upstream = context.connect(to, ConnectOptions::default());
        session.upstream = Some(upstream);
        let end = End { session: slot, is_client: false };
        self.ends.insert(upstream, end);
        context.set_timer(HaProxyTimer::Connect(slot), self.spec.health.timeout_connect);
    }

    fn established(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(session) = self.sessions[slot].as_mut() else {
            return;
        };
        context.cancel_timer(&HaProxyTimer::Connect(slot));
        session.established = true;
        let Some(upstream) = session.upstream else {
            return;
        };
        for packet in std::mem::take(&mut session.pending) {
            context.send(upstream, Packet::Postgres(packet));
        }
    }

    /// The server's connection was not established. `wait`: the failure came at once and would again.
    fn connect_failed(&mut self, context: &mut impl Context<Self>, slot: usize, wait: bool) {
        let Some(session) = self.sessions[slot].as_mut() else {
            return;
        };
        if let Some(upstream) = session.upstream.take() {
            self.ends.remove(&upstream);
            context.close(upstream);
        }
        context.cancel_timer(&HaProxyTimer::Connect(slot));
        if session.retries_left == 0 {
            self.end_session(context, slot);
            return;
        }
        session.retries_left -= 1;
        if wait {
            let delay = TURN_AROUND.min(self.spec.health.timeout_connect);
            context.set_timer(HaProxyTimer::TurnAround(slot), delay);
        } else {
            self.connect_upstream(context, slot);
        }
    }

    fn end_session(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(session) = self.sessions[slot].take() else {
            return;
        };
        for connection in [Some(session.client), session.upstream].into_iter().flatten() {
            self.ends.remove(&connection);
            context.close(connection);
        }
        for timer in [HaProxyTimer::Connect(slot), HaProxyTimer::TurnAround(slot), HaProxyTimer::Idle(slot)] {
            context.cancel_timer(&timer);
        }
    }

    fn relay(&mut self, context: &mut impl Context<Self>, end: End, packet: postgres::Packet) {
        let Some(session) = self.sessions[end.session].as_mut() else {
            return;
        };
        session.last_activity = context.monotonic();
        match session.upstream {
            _ if !end.is_client => context.send(session.client, Packet::Postgres(packet)),
            Some(upstream) if session.established => context.send(upstream, Packet::Postgres(packet)),
            _ => session.pending.push_back(packet),
        }
    }

    fn idle_check(&mut self, context: &mut impl Context<Self>, slot: usize) {
        let Some(session) = self.sessions[slot].as_ref() else {
            return;
        };
        let idle = context.monotonic().since(session.last_activity);
        if idle >= self.spec.timeout_idle {
            self.end_session(context, slot);
        } else {
            context.set_timer(HaProxyTimer::Idle(slot), self.spec.timeout_idle - idle);
        }
    }
}

impl Process for HaProxy {
    type Spec = HaProxySpec;
    type Packet = Packet;
    type Timer = HaProxyTimer;
    type Storage = ();

    fn boot(spec: &HaProxySpec, context: &mut impl Context<Self>) -> Self {
        let count = spec.servers.len();
        assert!(count > 0, "a proxy needs at least one server");
        for server in 0..count {
            context.set_timer(HaProxyTimer::Check(server), spec.health.first_check(server, count));
        }
        let server = Server { health: Health::unchecked(&spec.health), check: None };
        Self {
            spec: spec.clone(),
            servers: vec![server; count],
            sessions: Vec::new(),
            ends: BTreeMap::new(),
            target: 0,
            next: 0,
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            return;
        };
        match packet {
            Packet::Postgres(packet) => {
                if let Some(end) = self.ends.get(&connection).copied() {
                    self.relay(context, end, packet);
                }
            }
            Packet::Rest(Rest::Response { status, .. }) => {
                if let Some(server) = self.check_of(connection) {
                    self.end_check(context, server, status == 200);
                }
            }
            Packet::Rest(Rest::Get(_) | Rest::Failsafe { .. })
            | Packet::Etcd(_)
            | Packet::Kubernetes(_)
            | Packet::Name(_) => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: HaProxyTimer) {
        match timer {
            HaProxyTimer::Check(server) => self.start_check(context, server),
            HaProxyTimer::CheckTimeout(server) => self.end_check(context, server, false),
            HaProxyTimer::Connect(slot) => self.connect_failed(context, slot, false),
            HaProxyTimer::TurnAround(slot) => self.connect_upstream(context, slot),
            HaProxyTimer::Idle(slot) => self.idle_check(context, slot),
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
            return;
        }
        if let Some(server) = self.check_of(connection) {
            match (event, self.spec.health.timeout_check) {
                (ConnectionEvent::Opened, Some(timeout)) => {
                    context.set_timer(HaProxyTimer::CheckTimeout(server), timeout);
                }
                (ConnectionEvent::Opened, None) => {}
                _ => self.end_check(context, server, false),
            }
            return;
        }
        let Some(end) = self.ends.get(&connection).copied() else {
            return;
        };
        let connecting = self.sessions[end.session].as_ref().is_some_and(|session| !session.established);
        match event {
            ConnectionEvent::Opened => self.established(context, end.session),
            _ if !end.is_client && connecting => self.connect_failed(context, end.session, true),
            _ => self.end_session(context, end.session),
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "haproxy"
    }

    fn role(&self) -> &'static str {
        "haproxy"
    }
}
