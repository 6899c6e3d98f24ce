//! Clients that wait until replicas have acknowledged what comes before an offset: in `WAIT`, and from Valkey 8 on in `CLUSTER SETSLOT`.
//!
//! ```text
//! client --command--> primary: remembers the client (clients_waiting_acks), REPLCONF GETACK in the stream
//!                     enough replicas have acknowledged    WAIT: how many have    SETSLOT: executed
//!                     time is up                           WAIT: how many have    SETSLOT: -NOREPLICAS
//!                     follows somebody else                -UNBLOCKED
//! ```
//!
//! Whoever waits is looked at when a replica has acknowledged something. What executes `SETSLOT` is the node of a cluster that the server
//! is part of ([`Server::take_replicated`]).
//!
//! # Sources
//!
//! `replication.c:waitCommand`, `processClientsWaitingReplicas` of Redis 7; `blocked.c:blockClientForReplicaAck`, `replyToBlockedClientTimedOut`
//! of Valkey, which are the same for both commands.

use sim_core::{ConnectionId, Context, SimDuration};

use super::log::Change;
use super::packet::{Packet, Reply};
use super::server::{Server, ServerTimer};
use crate::redis_cluster::{SetSlot, Slot};

/// Who commanded something: on which connection, and the number of that request.
pub type Asker = (ConnectionId, u32);

/// Those who wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters {
    waiting: Vec<Waiting>,
    /// `SETSLOT` that all replicas have executed.
    replicated: Vec<Replicated>,
}

/// A client that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    asked_by: Asker,
    offset: u64,
    /// How many replicas have to acknowledge that.
    replicas: u32,
    command: Waits,
}

/// The command in which a client waits.
#[derive(Clone, Copy, Debug)]
enum Waits {
    Wait,
    SetSlot(Slot, SetSlot),
}

/// A `CLUSTER SETSLOT` that all replicas have executed.
#[derive(Clone, Copy, Debug)]
pub struct Replicated {
    /// Who commanded it.
    pub asked_by: Asker,
    /// The slot.
    pub slot: Slot,
    /// What is to be done to it.
    pub to: SetSlot,
}

impl Waiters {
    /// Takes those who wait and are like that.
    fn take(&mut self, is_taken: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        self.waiting.extract_if(.., |waiting| is_taken(waiting)).collect()
    }
}

impl Server {
    /// `WAIT`: answers at once if enough replicas have acknowledged, asks all of them otherwise.
    pub(super) fn wait(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: Asker,
        (offset, replicas): (u64, u32),
        timeout: SimDuration,
    ) {
        let reached = self.replicas_at(offset);
        if self.upstream.is_some() || reached >= replicas {
            let reply =
                if self.upstream.is_some() { Reply::ReadOnly } else { Reply::Count(u64::from(reached)) };
            return context.send(asked_by.0, Packet::Reply { id: asked_by.1, reply });
        }
        self.block(context, Waiting { asked_by, offset, replicas, command: Waits::Wait }, timeout);
    }

    /// Hands `CLUSTER SETSLOT` to the replicas that are online, and waits until all of them have executed it. It is executed here
    /// afterwards ([`Self::take_replicated`]).
    pub fn replicate_set_slot(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: Asker,
        (slot, to): (Slot, SetSlot),
        timeout: SimDuration,
    ) {
        self.apply(context, Change::SetSlot(slot, to));
        let (offset, replicas) = (self.history.offset, self.online_replicas());
        let command = Waits::SetSlot(slot, to);
        self.block(context, Waiting { asked_by, offset, replicas, command }, timeout);
    }

    /// `blockClientForReplicaAck`, `replicationRequestAckFromSlaves`.
    fn block(&mut self, context: &mut impl Context<Self>, waiting: Waiting, timeout: SimDuration) {
        context.set_timer(ServerTimer::Wait(waiting.asked_by.0), timeout);
        self.waiters.waiting.push(waiting);
        self.apply(context, Change::GetAck);
    }

    /// A replica has acknowledged something: looks who has waited long enough (`processClientsWaitingReplicas`).
    pub(super) fn answer_waiting(&mut self, context: &mut impl Context<Self>) {
        let Self { waiters, downstream, spec, .. } = self;
        let reached = |offset| downstream.acknowledged(offset, spec.planted);
        for Waiting { asked_by, offset, command, .. } in
            waiters.take(|waiting| reached(waiting.offset) >= waiting.replicas)
        {
            context.cancel_timer(&ServerTimer::Wait(asked_by.0));
            match command {
                Waits::Wait => {
                    let reply = Reply::Count(u64::from(reached(offset)));
                    context.send(asked_by.0, Packet::Reply { id: asked_by.1, reply });
                }
                Waits::SetSlot(slot, to) => waiters.replicated.push(Replicated { asked_by, slot, to }),
            }
        }
    }

    /// What all replicas have executed since this was asked last, for the node of a cluster to execute and to answer.
    #[inline]
    pub fn take_replicated(&mut self) -> Vec<Replicated> {
        std::mem::take(&mut self.waiters.replicated)
    }

    /// Time is up for who waits on this connection (`replyToBlockedClientTimedOut`).
    pub(super) fn on_wait_over(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        for Waiting { asked_by, offset, command, .. } in
            self.waiters.take(|waiting| waiting.asked_by.0 == connection)
        {
            let reply = match command {
                Waits::Wait => Reply::Count(u64::from(self.replicas_at(offset))),
                Waits::SetSlot(slot, to) => {
                    context.note(|| format!("SETSLOT {} {to:?}: not enough good replicas to write", slot.0));
                    Reply::NoReplicas
                }
            };
            context.send(connection, Packet::Reply { id: asked_by.1, reply });
        }
    }

    /// The role changes: who waits is told (`disconnectAllBlockedClients`).
    pub(super) fn unblock(&mut self, context: &mut impl Context<Self>) {
        for Waiting { asked_by: (connection, id), .. } in self.waiters.take(|_| true) {
            context.cancel_timer(&ServerTimer::Wait(connection));
            context.send(connection, Packet::Reply { id, reply: Reply::Unblocked });
        }
    }

    /// Who waited on this connection is gone.
    pub(super) fn forget_waiting(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        if !self.waiters.take(|waiting| waiting.asked_by.0 == connection).is_empty() {
            context.cancel_timer(&ServerTimer::Wait(connection));
        }
    }
}
