//! What a leader does with its lock: it reads the document in the store, works, and writes it back.

use sim_core::{Completion, ConnectOptions, Context, MarkKind, OperationKind, Outcome, SimDuration};

use super::contender::{Contender, ContenderTimer, Running};
use super::lease::Lease;
use super::parameters::Fencing;
use super::store::{StorePacket, StoreReply, StoreRequest, Token};

/// How long it waits for the store.
const STORE_TIMEOUT: SimDuration = SimDuration::from_secs(1);

impl Contender {
    /// Reads the document, under its token if it has one.
    pub(super) fn open_store(&mut self, context: &mut impl Context<Self>) {
        self.close_store(context);
        self.store = Some(context.connect(self.spec.store, ConnectOptions::default()));
        context.set_timer(ContenderTimer::Store, STORE_TIMEOUT);
        if let Some(Lease { holder, token, .. }) = self.lease {
            let request = match self.spec.parameters.fencing {
                Fencing::Store => StoreRequest::OpenFenced(holder),
                Fencing::Redis | Fencing::Off => StoreRequest::Open(holder, token),
            };
            self.ask_store(context, request);
        }
    }

    /// Leaves the store. What was on its way may have arrived or not.
    pub(super) fn close_store(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&ContenderTimer::Store);
        if let Some(connection) = self.store.take() {
            context.close(connection);
        }
        if self.is_writing() {
            self.complete(context, Completion::without_answer(Outcome::Unknown));
        }
    }

    /// True while an effect is on its way.
    pub(super) fn is_writing(&self) -> bool {
        self.operation.is_some_and(|operation| operation.sent)
    }

    /// The store does not answer, or its connection is lost.
    pub(super) fn lose_store(&mut self, context: &mut impl Context<Self>) {
        self.close_store(context);
        if self.lease.is_none() {
            return;
        }
        if self.lease.is_some_and(|lease| lease.version.is_some())
            && self.spec.parameters.fencing == Fencing::Redis
        {
            // Another connection needs another token, and that comes with another turn.
            return self.step_down(context, "it lost the store");
        }
        // Who refuses once refuses twice.
        context.set_timer(ContenderTimer::Open, self.spec.parameters.retry);
    }

    fn ask_store(&mut self, context: &mut impl Context<Self>, request: StoreRequest) {
        if let Some(connection) = self.store {
            self.store_request = self.store_request.wrapping_add(1);
            context.send(connection, StorePacket::Request(self.store_request, request).into());
        }
    }

    pub(super) fn on_store(&mut self, context: &mut impl Context<Self>, reply: StoreReply) {
        context.cancel_timer(&ContenderTimer::Store);
        let me = context.me();
        let Some(lease) = &mut self.lease else {
            // It is no leader any more, and hears what became of its last effect.
            let outcome = if reply == StoreReply::Fenced { Outcome::Failed } else { Outcome::Ok };
            if self.is_writing() {
                self.complete(context, Completion::answered(outcome, me));
            }
            return self.close_store(context);
        };
        match reply {
            StoreReply::Opened(version, token) => {
                lease.version = Some(version);
                lease.token = token;
                if !self.acts {
                    self.acts = true;
                    context.mark(MarkKind::Writable, token.map_or(0, Token::number));
                }
                self.look(context);
            }
            StoreReply::Stored(version) => {
                lease.version = Some(version);
                self.complete(context, Completion::answered(Outcome::Ok, me));
                context.set_timer(ContenderTimer::Look, self.spec.parameters.interval);
            }
            StoreReply::Fenced => {
                if self.is_writing() {
                    self.complete(context, Completion::answered(Outcome::Failed, me));
                }
                self.step_down(context, "the store has seen a newer token");
            }
        }
    }

    /// Looks whether it still leads, and if so works on the next effect.
    pub(super) fn look(&mut self, context: &mut impl Context<Self>) {
        let Some(lease) = &self.lease else { return };
        if context.monotonic() >= lease.deadline {
            return self.step_down(context, "its time is over");
        }
        if self.operation.is_some() {
            context.set_timer(ContenderTimer::Write, self.spec.parameters.work);
        }
    }

    /// Writes what it has worked on, without another look.
    pub(super) fn write(&mut self, context: &mut impl Context<Self>) {
        let (Some(Lease { holder, token, version: Some(base), .. }), Some(operation)) =
            (self.lease, &mut self.operation)
        else {
            return;
        };
        operation.sent = true;
        let value = operation.value;
        context.set_timer(ContenderTimer::Store, STORE_TIMEOUT);
        self.ask_store(context, StoreRequest::Put { holder, token, base, value });
    }

    /// The effect was written, or not; it wants to write the next.
    fn complete(&mut self, context: &mut impl Context<Self>, completion: Completion) {
        if let Some(operation) = self.operation.take() {
            context.complete(operation.id, completion);
        }
        self.invoke(context);
    }

    pub(super) fn invoke(&mut self, context: &mut impl Context<Self>) {
        if !self.progress.has_ended(context) {
            let value = self.progress.next_value();
            let id = context.invoke(OperationKind::Write, value);
            self.operation = Some(Running { id, value, sent: false });
        }
    }
}
