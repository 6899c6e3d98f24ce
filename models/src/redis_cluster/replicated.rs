//! Replicas that execute `CLUSTER SETSLOT` before their primary does: Valkey 8.
//!
//! ```text
//! operator --SETSLOT--> primary --the same in the stream, REPLCONF GETACK--> replicas that are online: execute it, acknowledge
//!                       primary: executes it, +OK       not all have acknowledged within two seconds: -NOREPLICAS, not executed
//! ```
//!
//! Its server waits for them as in `WAIT` ([`Server::replicate_set_slot`](crate::redis::Server::replicate_set_slot)). So whoever is elected in
//! the place of a primary knows which slots were open, and whose they are. Without a replica that is online the primary
//! executes it at once. Replicas that have executed something keep it when the primary gives up (valkey-io/valkey issue 1664).
//!
//! # Sources
//!
//! valkey-io/valkey pull requests 445 and 879; `cluster_legacy.c:clusterCommandSetSlot`, `CLUSTER_OPERATION_TIMEOUT`. Not modelled of them: the
//! option `TIMEOUT`; who synchronises from nothing is not told which slots are open (`replicateOpenSlots`); a slot that is open towards a
//! node does not follow the failover of that node; shards without slots do not fail over by themselves.

use sim_core::{Context, Embedded, SimDuration};

use super::config::Release;
use super::node::ClusterNode;
use super::resharding::SetSlot;
use super::slots::Slot;
use crate::redis::{Asker, Replicated};

/// `CLUSTER_OPERATION_TIMEOUT`.
const TIMEOUT: SimDuration = SimDuration::from_secs(2);

impl ClusterNode {
    /// `CLUSTER SETSLOT`.
    pub(super) fn on_set_slot(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: Asker,
        slot: Slot,
        to: SetSlot,
    ) {
        let is_first = self.spec.config.release >= Release::Valkey8 && self.may_set_slot(slot, to);
        if is_first && self.server.online_replicas() > 0 {
            let context = &mut Embedded::<_, Self>::new(context);
            return self.server.replicate_set_slot(context, asked_by, (slot, to), TIMEOUT);
        }
        self.set_slot_and_answer(context, asked_by, slot, to);
    }

    fn set_slot_and_answer(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: Asker,
        slot: Slot,
        to: SetSlot,
    ) {
        let reply = self.set_slot(context, slot, to);
        self.outbox.reply(asked_by, reply);
    }

    /// Executes what all replicas have executed.
    pub(super) fn execute_replicated(&mut self, context: &mut impl Context<Self>) {
        for Replicated { asked_by, slot, to } in self.server.take_replicated() {
            self.set_slot_and_answer(context, asked_by, slot, to);
        }
    }

    /// A replica executes what its primary was told about slots.
    pub(super) fn obey_primary(&mut self, context: &mut impl Context<Self>) {
        for (slot, to) in self.server.take_set_slots() {
            context.note(|| format!("SETSLOT {} {to:?}, by the stream", slot.0));
            self.execute_set_slot(context, slot, to);
        }
    }
}
