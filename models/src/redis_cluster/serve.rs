//! What a node answers to clients: it serves the keys of its own slots, and names the owner of all others.
//!
//! The order is that of `getNodeByQuery`: a slot that nobody owns, a cluster that is down, a slot of another node. A primary
//! that is paused for a manual failover keeps writes until that is over, and looks at them again then.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, Embedded, Origin, Process, ProcessId};

use super::message::NodeId;
use super::node::ClusterNode;
use super::slots::{SLOT_COUNT, Slot};
use crate::redis::{Command, Packet, Reply};

/// A write that waits for the end of a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postponed {
    pub(super) connection: ConnectionId,
    client: ProcessId,
    id: u32,
    command: Command,
}

impl ClusterNode {
    pub(super) fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        from: Origin,
        id: u32,
        command: Command,
    ) {
        let Origin::Connection(connection, client) = from else { return };
        let reply = match command {
            Command::ClusterSlots => Reply::Slots(self.slot_map()),
            Command::WriteTo(slot, value) => match self.redirection(slot) {
                Some(reply) => reply,
                None if self.manual.pauses_clients() => {
                    self.postponed.push(Postponed { connection, client, id, command });
                    return;
                }
                None => return self.hand_on(context, from, id, Command::Write(value)),
            },
            command => return self.hand_on(context, from, id, command),
        };
        context.send(connection, Packet::Reply { id, reply });
    }

    fn hand_on(&mut self, context: &mut impl Context<Self>, from: Origin, id: u32, command: Command) {
        let packet = Packet::Request { id, command };
        self.server.on_packet(&mut Embedded::<_, Self>::new(context), from, packet);
    }

    fn redirection(&self, slot: Slot) -> Option<Reply> {
        let owner = self.table.owner(slot).filter(|_| self.state.is_ok());
        match owner {
            None => Some(Reply::ClusterDown),
            Some(owner) if owner == self.table.me => None,
            Some(owner) => Some(Reply::Moved(slot, self.table.peer(owner).process)),
        }
    }

    /// `CLUSTER SLOTS`: the owner of each slot.
    fn slot_map(&self) -> Arc<[Option<ProcessId>]> {
        let owner = |slot| self.table.owner(Slot(slot)).map(|owner| self.table.peer(owner).process);
        (0..SLOT_COUNT).map(owner).collect()
    }

    /// The pause is over: writes that waited are looked at again.
    pub(super) fn release_postponed(&mut self, context: &mut impl Context<Self>) {
        for Postponed { connection, client, id, command } in std::mem::take(&mut self.postponed) {
            self.on_request(context, Origin::Connection(connection, client), id, command);
        }
    }

    /// `CLUSTER REPLICATE`, with the number of a node: `cluster-replicate 2`. Refused on a primary that has slots.
    pub(super) fn command_replicate(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let Some(number) = command.strip_prefix("cluster-replicate ") else { return false };
        let Some(id) = number.parse::<u8>().ok().and_then(|number| number.checked_sub(1)).map(NodeId) else {
            return false;
        };
        let is_possible = id.index() < self.table.peers.len()
            && id != self.table.me
            && self.table.peer(id).is_primary()
            && self.slots().is_empty();
        if is_possible {
            self.set_primary(context, id);
        }
        is_possible
    }
}
