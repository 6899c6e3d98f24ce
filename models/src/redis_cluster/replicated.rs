//! Replicas that execute `CLUSTER SETSLOT` before their primary does: Valkey 8.
//!
//! ```text
//! operator --SETSLOT--> primary --the same in the stream, REPLCONF GETACK--> replicas that are online: execute it, acknowledge
//!                       primary: executes it, +OK       not all have acknowledged within two seconds: -NOREPLICAS, not executed
//! ```
//!
//! So whoever is elected in the place of a primary knows which slots were open, and whose they are. Without a replica that is online the primary
//! executes it at once. Replicas that have executed something keep it when the primary gives up (valkey-io/valkey issue 1664).
//!
//! # Sources
//!
//! valkey-io/valkey pull requests 445 and 879; `cluster_legacy.c:clusterCommandSetSlot`, `CLUSTER_OPERATION_TIMEOUT`. Not modelled of them: the
//! option `TIMEOUT`; who synchronises from nothing is not told which slots are open (`replicateOpenSlots`); a slot that is open towards a
//! node does not follow the failover of that node; shards without slots do not fail over by themselves.

use sim_core::{ConnectionId, Context, Embedded, SimDuration};

use super::config::Release;
use super::node::{ClusterNode, NodeTimer};
use super::resharding::SetSlot;
use super::slots::Slot;
use crate::redis::{Packet, Reply};

/// `CLUSTER_OPERATION_TIMEOUT`.
const TIMEOUT: SimDuration = SimDuration::from_secs(2);

/// A `SETSLOT` that replicas execute first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicating {
    /// Who commanded it, and the number of that request.
    asked_by: (ConnectionId, u32),
    slot: Slot,
    to: SetSlot,
    /// The offset behind it.
    offset: u64,
    /// How many replicas have to acknowledge that.
    replicas: u32,
}

impl Replicating {
    pub(super) fn is_asked_by(&self, connection: ConnectionId) -> bool {
        self.asked_by.0 == connection
    }
}

impl ClusterNode {
    /// `CLUSTER SETSLOT`.
    pub(super) fn on_set_slot(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: (ConnectionId, u32),
        slot: Slot,
        to: SetSlot,
    ) {
        let replicas = self.server.online_replicas();
        let is_first = self.spec.config.release >= Release::Valkey8 && self.may_set_slot(slot, to);
        if is_first && replicas > 0 {
            let offset = self.server.replicate_set_slot(&mut Embedded::<_, Self>::new(context), slot, to);
            context.set_timer(NodeTimer::Replicate(asked_by.0), TIMEOUT);
            return self.replicating.push(Replicating { asked_by, slot, to, offset, replicas });
        }
        let reply = self.set_slot(context, slot, to);
        context.send(asked_by.0, Packet::Reply { id: asked_by.1, reply });
    }

    /// Executes what all replicas have executed. Who is no primary any more refuses it.
    pub(super) fn execute_replicated(&mut self, context: &mut impl Context<Self>) {
        let is_ready = |node: &Self, replicating: &Replicating| {
            !node.is_primary() || node.server.replicas_at(replicating.offset) >= replicating.replicas
        };
        while let Some(index) = self.replicating.iter().position(|replicating| is_ready(self, replicating)) {
            let Replicating { asked_by: (connection, id), slot, to, .. } = self.replicating.remove(index);
            context.cancel_timer(&NodeTimer::Replicate(connection));
            let reply = self.set_slot(context, slot, to);
            context.send(connection, Packet::Reply { id, reply });
        }
    }

    /// Time is up for a command that came on this connection.
    pub(super) fn give_up_replicating(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        let position = self.replicating.iter().position(|replicating| replicating.is_asked_by(connection));
        let Some(index) = position else { return };
        let Replicating { asked_by: (_, id), slot, to, .. } = self.replicating.remove(index);
        context.note(|| format!("SETSLOT {} {to:?}: not enough good replicas to write", slot.0));
        context.send(connection, Packet::Reply { id, reply: Reply::NoReplicas });
    }

    /// A replica executes what its primary was told about slots.
    pub(super) fn obey_primary(&mut self, context: &mut impl Context<Self>) {
        for (slot, to) in self.server.take_set_slots() {
            context.note(|| format!("SETSLOT {} {to:?}, by the stream", slot.0));
            self.execute_set_slot(context, slot, to);
        }
    }
}
