//! One connection of a client with a server: one request at a time, and what the client may conclude.
//!
//! | what happens | outcome of an operation |
//! |---|---|
//! | the server answers that it is done | ok |
//! | the same, and a `WAIT` that follows counts too few replicas, or is `-UNBLOCKED` | ok with warning |
//! | `-READONLY`, `-NOREPLICAS`, `-LOADING`, `-MISCONF`, `-MASTERDOWN` | failed: nothing was done |
//! | `-MOVED`, `-ASK`, `-TRYAGAIN`, `-CLUSTERDOWN` | none yet: the client sends it again |
//! | the connection is lost, or the client gives up, before it was sent | failed |
//! | the same, after it was sent | unknown |

use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, OperationId, Outcome,
    Process, ProcessId, SimDuration,
};

use super::packet::{Command, Packet, Reply};
use super::requests::{Progressed, Purpose, Requests, Step};
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
    /// What it asks for.
    requests: Requests,
    connection: Option<(ConnectionId, ProcessId)>,
    /// The stream behind the last write on this connection: what `WAIT` is about.
    written: u64,
    request: u32,
    operation: Option<Running>,
}

/// An operation that was invoked and is not complete.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// None: whoever wanted something has it already.
    id: Option<OperationId>,
    step: Step,
    /// It is on its way.
    sent: bool,
    /// By another connection than this one.
    elsewhere: bool,
}

impl Running {
    const fn new(id: Option<OperationId>, step: Step) -> Self {
        Self { id, step, sent: false, elsewhere: false }
    }
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
    /// The request has a step more, which the client sends.
    Next,
    /// An answer to something else than an operation.
    Answer(Reply),
    /// The connection is gone. An operation that used it is complete.
    Lost,
}

impl Session {
    /// A session for this purpose, whose keys lie in this slot of a cluster; none: there is no cluster.
    pub(crate) fn new(purpose: Purpose, slot: Option<Slot>) -> Self {
        Self { slot, requests: Requests::of(purpose), ..Self::default() }
    }

    /// Sessions of users that have run out by this time of the client.
    pub(crate) fn run_out(&self, now: HostTime) -> impl Iterator<Item = u64> + '_ {
        self.requests.run_out(now)
    }

    /// Starts to connect.
    pub(crate) fn open<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        server: ProcessId,
    ) {
        debug_assert!(self.connection.is_none(), "a session has one connection");
        self.connection = Some((context.connect(server, ConnectOptions::default()), server));
        self.written = 0;
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

    /// Invokes the next request, which waits for a connection to a server.
    #[inline]
    pub(crate) fn invoke<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
    ) {
        debug_assert!(self.operation.is_none(), "one request at a time");
        let (id, step) = self.requests.begin(context, progress);
        self.operation = Some(Running::new(id, step));
    }

    /// Sends the request that was invoked.
    #[inline]
    pub(crate) fn send_request<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let Some(operation) = &mut self.operation {
            operation.sent = true;
            let command = self.requests.command(context, operation.step, self.slot);
            self.ask(context, command);
        }
    }

    /// The read that is to be sent, to be answered by another connection than this one: [`Self::on_read`]. None if it is no read.
    pub(crate) fn read<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &impl Context<P>,
    ) -> Option<Command> {
        let operation = self.operation.as_mut().filter(|operation| operation.step.is_read())?;
        (operation.sent, operation.elsewhere) = (true, true);
        Some(self.requests.command(context, operation.step, self.slot))
    }

    /// The answer to the read that was sent elsewhere, and who gave it.
    pub(crate) fn on_read<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        reply: &Reply,
        server: ProcessId,
    ) -> News {
        match self.operation.filter(|_| self.is_reading()) {
            Some(operation) => self.go_on(context, operation, reply, server),
            None => News::Nothing,
        }
    }

    /// True while a read is on its way by another connection.
    pub(crate) fn is_reading(&self) -> bool {
        self.operation.is_some_and(|operation| operation.elsewhere)
    }

    /// Sends the request that was invoked to a node that imports its slot.
    pub(crate) fn send_asking<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.ask(context, Command::Asking);
        self.send_request(context);
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
        let was_sent = self.operation.is_some_and(|operation| operation.sent);
        self.give_up(context, if was_sent { Outcome::Unknown } else { Outcome::Failed });
    }

    /// Gives up an operation that was not sent, or not carried out.
    pub(crate) fn fail_operation<P: Process<Packet = Packet>>(&mut self, context: &mut impl Context<P>) {
        self.give_up(context, Outcome::Failed);
    }

    fn give_up<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>, outcome: Outcome) {
        if let Some(operation) = self.operation.take() {
            self.requests.give_up(operation.step);
            if let Some(id) = operation.id {
                context.complete(id, Completion::without_answer(outcome));
            }
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
                if self.is_reading() {
                    self.close(context);
                } else {
                    self.abandon(context);
                }
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
        let Some(operation) = self.operation.filter(|operation| operation.sent && !operation.elsewhere)
        else {
            return News::Answer(reply);
        };
        if matches!(reply, Reply::Moved(..) | Reply::Ask(..) | Reply::TryAgain | Reply::ClusterDown) {
            self.operation = Some(Running { sent: false, ..operation });
            return News::Redirected(reply);
        }
        let wanted = wait_for.filter(|_| operation.step.is_waited_for());
        match (&reply, wanted) {
            // What was not there to be deleted may have been deleted before, on this connection.
            (Reply::Written { .. } | Reply::Nil, Some(WaitFor { replicas, timeout })) => {
                if let Reply::Written { offset } = reply {
                    self.written = offset;
                }
                self.ask(context, Command::Wait { offset: self.written, replicas, timeout });
                News::Nothing
            }
            (Reply::Count(_) | Reply::Unblocked, Some(wanted)) => {
                let reached = matches!(reply, Reply::Count(reached) if reached >= u64::from(wanted.replicas));
                let outcome = if reached { Outcome::Ok } else { Outcome::OkWithWarning };
                self.requests.on_written(operation.step, outcome);
                self.finish(context, operation, Completion::answered(outcome, server), None)
            }
            _ => self.go_on(context, operation, &reply, server),
        }
    }

    /// What an answer to a command means for the request.
    #[inline]
    fn go_on<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        operation: Running,
        reply: &Reply,
        server: ProcessId,
    ) -> News {
        let answered = Completion::answered;
        match self.requests.on_answer(context, operation.step, reply, operation.elsewhere) {
            Progressed::Next(step) => {
                self.operation = Some(Running::new(operation.id, step));
                News::Next
            }
            Progressed::DoneBut(value, step) => {
                let completion = Completion { value: Some(value), ..answered(Outcome::Ok, server) };
                self.finish(context, operation, completion, Some(step))
            }
            Progressed::Done(outcome, value) => {
                let completion = Completion { value, ..answered(outcome, server) };
                self.finish(context, operation, completion, None)
            }
        }
    }

    /// Whoever asked has an answer. There may be a step more.
    #[inline]
    fn finish<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        operation: Running,
        completion: Completion,
        next: Option<Step>,
    ) -> News {
        if let Some(id) = operation.id {
            context.complete(id, completion);
        }
        self.operation = next.map(|step| Running::new(None, step));
        if next.is_some() { News::Next } else { News::Done(completion.outcome) }
    }
}
