//! One connection of a client with `PostgreSQL`: login, one statement at a time, and what the client may conclude.
//!
//! Connecting means two round trips: TCP, then a statement `SELECT pg_is_in_recovery()` that stands for the start-up
//! packet, authentication and libpq's question for `target_session_attrs`. A server that starts up or shuts down, or a
//! proxy without a server, ends the connection at this point, when nothing was sent that could have had an effect.
//!
//! | what happens | outcome |
//! |---|---|
//! | `COMMIT` acknowledged, rows returned | ok |
//! | `COMMIT` acknowledged with the warning that the wait for a standby was cancelled | ok with warning |
//! | refused, or lost during login; read-only (25006); starting up (57P03) | failed: nothing was done |
//! | the connection is lost, or the client gives up, after the statement was sent | unknown |
//! | shutting down (57P01, 57P03) in answer to the statement | unknown for a write, failed for a read |

use std::sync::Arc;

use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, OperationId, OperationKind, Outcome,
    Process, ProcessId,
};

use super::workload::{Progress, Work};
use crate::postgres::{Answer, Packet, Statement};

/// One connection, open or not, and the operation that uses it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    connection: Option<ConnectionId>,
    logged_in: bool,
    /// The last statement that was sent.
    query: u64,
    operation: Option<Running>,
    /// The operation is kept back.
    held: bool,
}

/// An operation that was invoked and is not complete.
#[derive(Clone, Copy, Debug)]
struct Running {
    id: OperationId,
    statement: Statement,
    /// The statement is on its way.
    sent: bool,
    /// A warning is not noticed.
    ignores_warnings: bool,
}

/// What a connection event or a packet meant to the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// Nothing that the client must act on.
    Nothing,
    /// The session is usable. An operation that waited for it was sent.
    LoggedIn {
        /// `pg_is_in_recovery()`.
        in_recovery: bool,
    },
    /// The operation is complete, and the session can be used again.
    Done(Outcome),
    /// The connection is gone. An operation that used it is complete.
    Lost,
}

impl Session {
    /// Starts to connect.
    pub(crate) fn open<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        host: ProcessId,
        options: ConnectOptions,
    ) {
        debug_assert!(self.connection.is_none(), "a session has one connection");
        self.connection = Some(context.connect(host, options));
        self.logged_in = false;
    }

    /// Invokes the next operation. Sends it at once, or after the login.
    pub(crate) fn invoke<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
    ) {
        debug_assert!(self.operation.is_none(), "one statement at a time");
        let (kind, value, statement) = match progress.work() {
            Work::Write(commit) => {
                let value = progress.next_value();
                (OperationKind::Write, value, Statement::Insert { value, commit })
            }
            Work::Count => (OperationKind::Read, 0, Statement::Count),
            Work::Newest => (OperationKind::Read, 0, Statement::Newest),
        };
        let ignores_warnings = progress.ignores_warnings();
        let id = context.invoke(kind, value);
        self.operation = Some(Running { id, statement, sent: false, ignores_warnings });
        if self.logged_in {
            self.send_operation(context);
        }
    }

    /// Invokes the next operation and keeps it back until it is [released](Self::release).
    pub(crate) fn prepare<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
    ) {
        self.held = true;
        self.invoke(context, progress);
    }

    /// Sends the operation that was kept back, at once or after the login.
    pub(crate) fn release<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.held = false;
        if self.logged_in {
            self.send_operation(context);
        }
    }

    /// Asks the server to cancel the running statement, as drivers do, and goes on waiting for its answer.
    pub(crate) fn cancel<P: Process<Packet: From<Packet>>>(&self, context: &mut impl Context<P>) {
        if let Some(connection) = self.connection {
            context.send(connection, Packet::Cancel { query: self.query }.into());
        }
    }

    /// Gives up the connection and whatever uses it.
    pub(crate) fn abandon<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let Some(connection) = self.connection.take() {
            context.close(connection);
        }
        self.logged_in = false;
        self.held = false;
        if let Some(operation) = self.operation.take() {
            let outcome = if operation.sent { Outcome::Unknown } else { Outcome::Failed };
            context.complete(operation.id, Completion::without_answer(outcome));
        }
    }

    /// Something happened to a connection; ignored if it is not this one.
    pub(crate) fn on_connection<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> News {
        if self.connection != Some(connection) {
            return News::Nothing;
        }
        match event {
            ConnectionEvent::Accepted => News::Nothing,
            ConnectionEvent::Opened => {
                let nonce = context.random().bits() as u32;
                self.send(context, Statement::LogIn { nonce });
                News::Nothing
            }
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => {
                self.abandon(context);
                News::Lost
            }
        }
    }

    /// A packet arrived; ignored if it is not on this connection.
    pub(crate) fn on_packet<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        packet: &Packet,
    ) -> News {
        let (query, answer, server) = match packet {
            Packet::Answer { query, answer, server } => (*query, *answer, *server),
            Packet::Newest { query, newest, server } => {
                return self.on_newest(context, connection, *query, newest, *server);
            }
            _ => return News::Nothing,
        };
        if self.connection != Some(connection) || query != self.query {
            return News::Nothing;
        }
        let ends_connection = matches!(answer, Answer::StartingUp | Answer::ShuttingDown);
        if !self.logged_in {
            if let Answer::InRecovery(in_recovery) = answer {
                self.logged_in = true;
                self.send_operation(context);
                return News::LoggedIn { in_recovery };
            }
            self.abandon(context);
            return News::Lost;
        }
        let Some(operation) = self.operation.take() else {
            return News::Nothing;
        };
        let (outcome, value) = match conclude(answer, operation.statement) {
            (Outcome::OkWithWarning, value) if operation.ignores_warnings => (Outcome::Ok, value),
            concluded => concluded,
        };
        let completion = Completion { outcome, served_by: Some(server), value };
        context.complete(operation.id, completion);
        if ends_connection {
            self.abandon(context);
            return News::Lost;
        }
        News::Done(outcome)
    }

    fn on_newest<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        query: u64,
        newest: &Arc<[u64]>,
        server: ProcessId,
    ) -> News {
        if self.connection != Some(connection) || query != self.query {
            return News::Nothing;
        }
        let Some(operation) = self.operation.take() else {
            return News::Nothing;
        };
        context.observe(operation.id, Arc::clone(newest));
        context.complete(operation.id, Completion::answered(Outcome::Ok, server));
        News::Done(Outcome::Ok)
    }

    /// True while it has a connection or asks for one.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// True if the connection is this session's.
    pub(crate) fn has(&self, connection: ConnectionId) -> bool {
        self.connection == Some(connection)
    }

    /// True once the login is complete.
    pub(crate) fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// True while an operation is incomplete.
    pub(crate) fn is_busy(&self) -> bool {
        self.operation.is_some()
    }

    fn send_operation<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let Some(operation) = self.operation.as_mut().filter(|_| !self.held) {
            operation.sent = true;
            let statement = operation.statement;
            self.send(context, statement);
        }
    }

    fn send<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        statement: Statement,
    ) {
        if let Some(connection) = self.connection {
            self.query += 1;
            let query = self.query;
            context.send(connection, Packet::Query { query, statement }.into());
        }
    }
}

/// What an answer says about an operation, and the value that it returns.
fn conclude(answer: Answer, statement: Statement) -> (Outcome, Option<u64>) {
    let is_write = matches!(statement, Statement::Insert { .. });
    match answer {
        Answer::Committed => (Outcome::Ok, None),
        Answer::CommittedLocally => (Outcome::OkWithWarning, None),
        Answer::Count(count) => (Outcome::Ok, Some(count)),
        // The statement may have been running: a session that waits for a standby is terminated after its local commit.
        Answer::ShuttingDown if is_write => (Outcome::Unknown, None),
        Answer::ShuttingDown
        | Answer::ReadOnly
        | Answer::StartingUp
        | Answer::UndefinedTable
        | Answer::InRecovery(_) => (Outcome::Failed, None),
    }
}
