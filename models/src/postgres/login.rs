//! Logins: the postmaster forks a backend, which authenticates its client, before the first statement is answered.
//!
//! Source: `postmaster.c:BackendStartup`, `auth.c:ClientAuthentication`. A login costs processor time on both sides (fork, the
//! 4,096 rounds of SCRAM), hence a declared input ([`Inputs::login`](crate::patroni::Inputs::login)).
//! The first statement is answered as the server is when the login is complete. Connections of standbys and of Patroni have
//! no login here: theirs is in what was measured of them.
//!
//! How long a login takes hangs on the client's nonce, and not on whose request came first: clients that lose their connections together
//! arrive within microseconds of each other.

use sim_core::{ConnectionId, Context, HostTime, SimDuration};

use super::Statement;
use super::server::{Server, Timer};

/// Backends that authenticate their clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Logins(Vec<Login>);

/// A backend that authenticates its client, and the first statement on its connection.
#[derive(Clone, Copy, Debug)]
struct Login {
    due: HostTime,
    connection: ConnectionId,
    query: u64,
}

impl Logins {
    fn next(&self) -> Option<HostTime> {
        self.0.iter().map(|login| login.due).min()
    }

    /// The client has left.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.0.retain(|login| login.connection != connection);
    }
}

impl Server {
    /// A client asks its first question: it is answered when the backend has authenticated it.
    pub(super) fn log_in(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        nonce: u32,
        query: u64,
    ) {
        let takes = self.spec.durations.login.draw(&mut context.random().aside("login", u64::from(nonce)));
        // A server that starts or stops refuses its clients before it asks who they are (`canAcceptConnections`).
        if takes == SimDuration::ZERO || !self.phase.serves_reads() {
            self.answer_query(context, connection, query, Statement::IsInRecovery);
            return;
        }
        let due = context.monotonic() + takes;
        self.logins.0.push(Login { due, connection, query });
        self.await_logins(context);
    }

    /// Some logins are complete.
    pub(super) fn logged_in(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let (complete, waiting): (Vec<Login>, _) =
            std::mem::take(&mut self.logins.0).into_iter().partition(|login| login.due <= now);
        self.logins.0 = waiting;
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
