//! Logins: the postmaster forks a backend, which authenticates its client, before the first statement is answered.
//!
//! Source: `postmaster.c:BackendStartup`, `auth.c:ClientAuthentication`. A login costs processor time on both sides (fork, the
//! 4,096 rounds of SCRAM), hence a declared input ([`Inputs::login`](crate::patroni::Inputs::login)).
//! The first statement is answered as the server is when the login is complete. Connections of standbys and of Patroni have
//! no login here: theirs is in what was measured of them.
//!
//! The logins of each client have a stream of their own, so that how long one takes does not hang on whose request came first: clients that
//! lose their connections together arrive within microseconds of each other.

use sim_core::{ConnectionId, Context, HostTime, ProcessId, Sampler, Seed, SimDuration};

use super::Statement;
use super::server::{Server, Timer};

/// Backends that authenticate their clients.
#[derive(Clone, Debug)]
pub(super) struct Logins {
    under_way: Vec<Login>,
    /// What this life of the server derives the streams of its clients from.
    seed: Seed,
    /// How many logins each client has begun.
    begun: Vec<(ProcessId, u32)>,
}

/// A backend that authenticates its client, and the first statement on its connection.
#[derive(Clone, Copy, Debug)]
struct Login {
    due: HostTime,
    connection: ConnectionId,
    query: u64,
}

impl Logins {
    /// None yet.
    pub(super) fn new(seed: Seed) -> Self {
        Self { under_way: Vec::new(), seed, begun: Vec::new() }
    }

    fn next(&self) -> Option<HostTime> {
        self.under_way.iter().map(|login| login.due).min()
    }

    /// The client has left.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.under_way.retain(|login| login.connection != connection);
    }

    /// All clients are sent away.
    pub(super) fn abandon(&mut self) {
        self.under_way.clear();
    }

    /// How long the next login of a client takes.
    fn draw(&mut self, length: &Sampler, client: ProcessId) -> SimDuration {
        let position = self.begun.iter().position(|(other, _)| *other == client).unwrap_or_else(|| {
            self.begun.push((client, 0));
            self.begun.len() - 1
        });
        let (_, begun) = &mut self.begun[position];
        *begun += 1;
        let index = (client.index() as u64) << 32 | u64::from(*begun);
        length.draw(&mut self.seed.stream("login", index))
    }
}

impl Server {
    /// A client asks its first question: it is answered when the backend has authenticated it.
    pub(super) fn log_in(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        client: ProcessId,
        query: u64,
    ) {
        let takes = self.logins.draw(&self.spec.durations.login, client);
        // A server that starts or stops refuses its clients before it asks who they are (`canAcceptConnections`).
        if takes == SimDuration::ZERO || !self.phase.serves_reads() {
            self.answer_query(context, connection, query, Statement::IsInRecovery);
            return;
        }
        let due = context.monotonic() + takes;
        self.logins.under_way.push(Login { due, connection, query });
        self.await_logins(context);
    }

    /// Some logins are complete.
    pub(super) fn logged_in(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let (complete, waiting): (Vec<Login>, _) =
            std::mem::take(&mut self.logins.under_way).into_iter().partition(|login| login.due <= now);
        self.logins.under_way = waiting;
        for login in complete {
            self.answer_query(context, login.connection, login.query, Statement::IsInRecovery);
        }
        self.await_logins(context);
    }

    fn await_logins(&self, context: &mut impl Context<Self>) {
        if let Some(due) = self.logins.next() {
            context.set_timer(Timer::Login, due.since(context.monotonic()));
        }
    }
}
