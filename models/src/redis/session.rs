//! One connection of a client with a server: one request at a time, and what the client may conclude.
//!
//! | what happens | outcome of a write |
//! |---|---|
//! | the server answers that it is done | ok |
//! | the same, and a `WAIT` that follows counts too few replicas, or is `-UNBLOCKED` | ok with warning |
//! | `-READONLY`, `-NOREPLICAS`, `-LOADING`, `-MISCONF`, `-MASTERDOWN` | failed: nothing was done |
//! | `-MOVED`, `-ASK`, `-TRYAGAIN`, `-CLUSTERDOWN` | none yet: the client sends it again |
//! | the connection is lost, or the client gives up, before the write was sent | failed |
//! | the same, after it was sent | unknown |

use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, OperationId, OperationKind, Outcome,
    Process, ProcessId, SimDuration,
};

use super::packet::{Command, Packet, Reply};
use crate::redis_cluster::Slot;
use crate::routing::Progress;

/// How sure a client wants to be of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitFor {
    /// `WAIT` for so many replicas.
    pub replicas: u8,
    /// At most so long.
    pub timeout: SimDuration,
}

/// One connection, open or not, and the operation that uses it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Where its key lies in a cluster.
    slot: Option<Slot>,
    /// It writes to two keys at once, in a transaction.
    pair: bool,
    /// It publishes, and does not write.
    broadcasts: bool,
    connection: Option<(ConnectionId, ProcessId)>,
    request: u32,
    operation: Option<Running>,
}

/// An operation that was invoked and is not complete.
#[derive(Clone, Copy, Debug)]
struct Running {
    id: OperationId,
    value: u64,
    /// It is on its way.
    sent: bool,
}

/// What a connection event or a packet meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// Nothing that the client must act on.
    Nothing,
    /// The connection is open.
    Opened,
    /// The operation is complete.
    Done(Outcome),
    /// `-MOVED`, `-ASK`, `-TRYAGAIN` or `-CLUSTERDOWN`: nothing was done, and the operation waits to be sent elsewhere or again.
    Redirected(Reply),
    /// An answer to something else than an operation.
    Answer(Reply),
    /// The connection is gone. An operation that used it is complete.
    Lost,
}

impl Session {
    /// A session whose key lies in this slot of a cluster; none: there is no cluster.
    pub(crate) fn with_key(slot: Option<Slot>) -> Self {
        Self { slot, ..Self::default() }
    }

    /// A session whose two keys lie in this slot of a cluster, and are written to together.
    pub(crate) fn with_two_keys(slot: Slot) -> Self {
        Self { slot: Some(slot), pair: true, ..Self::default() }
    }

    /// A session that publishes. Who is told that this was done is told nothing of who has heard it.
    pub(crate) fn for_broadcasts() -> Self {
        Self { broadcasts: true, ..Self::default() }
    }

    /// Starts to connect.
    pub(crate) fn open<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        server: ProcessId,
    ) {
        debug_assert!(self.connection.is_none(), "a session has one connection");
        self.connection = Some((context.connect(server, ConnectOptions::default()), server));
    }

    /// Sends a request that is no operation of the history.
    pub(crate) fn ask<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        command: Command,
    ) {
        if let Some((connection, _)) = self.connection {
            self.request = self.request.wrapping_add(1);
            context.send(connection, Packet::Request { id: self.request, command }.into());
        }
    }

    /// Invokes the next write, which waits for a connection to a server.
    #[inline]
    pub(crate) fn invoke<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
    ) {
        debug_assert!(self.operation.is_none(), "one write at a time");
        let value = progress.next_value();
        let id = context.invoke(OperationKind::Write, value);
        self.operation = Some(Running { id, value, sent: false });
    }

    /// Sends the write that was invoked.
    #[inline]
    pub(crate) fn send_write<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let Some(operation) = &mut self.operation {
            operation.sent = true;
            let value = operation.value;
            let command = match self.slot {
                None if self.broadcasts => Command::Broadcast(value),
                None => Command::Write(value),
                Some(slot) if self.pair => Command::WritePairTo(slot, value),
                Some(slot) => Command::WriteTo(slot, value),
            };
            self.ask(context, command);
        }
    }

    /// Sends the write that was invoked to a node that imports its slot.
    pub(crate) fn send_asking<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.ask(context, Command::Asking);
        self.send_write(context);
    }

    /// Closes the connection. An operation that was not sent goes on waiting.
    pub(crate) fn close<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let Some((connection, _)) = self.connection.take() {
            context.close(connection);
        }
    }

    /// True while an operation is incomplete.
    pub(crate) fn is_busy(&self) -> bool {
        self.operation.is_some()
    }

    /// Gives up the connection and whatever uses it.
    pub(crate) fn abandon<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.close(context);
        if let Some(operation) = self.operation.take() {
            let outcome = if operation.sent { Outcome::Unknown } else { Outcome::Failed };
            context.complete(operation.id, Completion::without_answer(outcome));
        }
    }

    /// Gives up an operation that was not sent, or not carried out.
    pub(crate) fn fail_operation<P: Process<Packet = Packet>>(&mut self, context: &mut impl Context<P>) {
        if let Some(operation) = self.operation.take() {
            context.complete(operation.id, Completion::without_answer(Outcome::Failed));
        }
    }

    /// Something happened to a connection; ignored if it is not this one.
    pub(crate) fn on_connection<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> News {
        if self.connection.is_none_or(|(mine, _)| mine != connection) {
            return News::Nothing;
        }
        match event {
            ConnectionEvent::Accepted => News::Nothing,
            ConnectionEvent::Opened => News::Opened,
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => {
                self.abandon(context);
                News::Lost
            }
        }
    }

    /// A packet arrived; ignored if it is not the answer that this connection waits for.
    #[inline]
    pub(crate) fn on_packet<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        from: ConnectionId,
        packet: Packet,
        wait_for: Option<WaitFor>,
    ) -> News {
        let Packet::Reply { id, reply } = packet else { return News::Nothing };
        let Some((_, server)) = self.connection.filter(|(mine, _)| *mine == from && id == self.request)
        else {
            return News::Nothing;
        };
        let Some(operation) = self.operation.filter(|operation| operation.sent) else {
            return News::Answer(reply);
        };
        if matches!(reply, Reply::Moved(..) | Reply::Ask(..) | Reply::TryAgain | Reply::ClusterDown) {
            self.operation = Some(Running { sent: false, ..operation });
            return News::Redirected(reply);
        }
        let outcome = match (reply, wait_for) {
            (Reply::Written { offset }, Some(WaitFor { replicas, timeout })) => {
                self.ask(context, Command::Wait { offset, replicas, timeout });
                return News::Nothing;
            }
            (Reply::Written { .. }, None) => Outcome::Ok,
            (Reply::Count(_), None) if self.broadcasts => Outcome::Ok,
            (Reply::Count(reached), Some(wanted)) if reached >= u64::from(wanted.replicas) => Outcome::Ok,
            (Reply::Count(_) | Reply::Unblocked, Some(_)) => Outcome::OkWithWarning,
            _ => Outcome::Failed,
        };
        self.operation = None;
        context.complete(operation.id, Completion::answered(outcome, server));
        News::Done(outcome)
    }
}
