//! What a node answers to clients: it serves the keys of its own slots, and names the owner of all others.
//!
//! The order is that of `getNodeByQuery`: a slot that nobody owns, a cluster that is down, a slot that is being moved, a slot of
//! another node. A primary that is paused for a manual failover keeps writes until that is over, and looks at them again then.
//!
//! String keys (those of locks) have a hash tag in common and lie in the slot that marks are about, beside the lists of the
//! judged clients.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, Embedded, MarkKind, Origin, Process, ProcessId};

use super::config::Release;
use super::message::NodeId;
use super::node::ClusterNode;
use super::slots::{SLOT_COUNT, Slot};
use crate::redis::{Command, ListKey, Packet, Reply};

/// A write that waits for the end of a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postponed {
    pub(super) connection: ConnectionId,
    client: ProcessId,
    id: u32,
    command: Command,
    asks: bool,
}

impl ClusterNode {
    /// A request, after `ASKING` or not.
    pub(super) fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        from: Origin,
        (id, command): (u32, Command),
        asks: bool,
    ) {
        let Origin::Connection(connection, client) = from else { return };
        let (redirection, write) = match command {
            Command::WriteTo(slot, value) => {
                (self.redirection(slot, &[ListKey::of(value)], asks), Command::Write(value))
            }
            Command::WritePairTo(slot, value) => {
                let list = ListKey::of(value);
                (self.redirection(slot, &[list, list.second()], asks), command)
            }
            Command::Key(..) | Command::Get(_) => (self.redirection(self.spec.watched, &[], asks), command),
            _ => return self.on_other_request(context, from, connection, (id, command)),
        };
        match redirection {
            Some(reply) => context.send(connection, Packet::Reply { id, reply }),
            None if self.manual.pauses_clients() && self.is_held_back(command) => {
                self.postponed.push(Postponed { connection, client, id, command, asks });
            }
            None => self.hand_on(context, from, id, write),
        }
    }

    /// What waits while clients are paused for a manual failover: writes, and before 6.2 everything (`CLIENT_PAUSE_WRITE`).
    fn is_held_back(&self, command: Command) -> bool {
        self.spec.config.release == Release::Redis30 || !matches!(command, Command::Get(_))
    }

    /// A request that is neither a write nor a read.
    fn on_other_request(
        &mut self,
        context: &mut impl Context<Self>,
        from: Origin,
        connection: ConnectionId,
        (id, command): (u32, Command),
    ) {
        let reply = match command {
            Command::ClusterSlots => Reply::Slots(self.slot_map()),
            Command::Asking => {
                self.asking.push(connection);
                Reply::Done
            }
            Command::SetSlot(slot, to) => return self.on_set_slot(context, (connection, id), slot, to),
            Command::Migrate { slot, lists, to, timeout } => {
                return self.migrate_lists(context, (connection, id), (slot, lists), (to, timeout));
            }
            command => return self.hand_on(context, from, id, command),
        };
        context.send(connection, Packet::Reply { id, reply });
    }

    /// True if `ASKING` came on this connection last. It counts once.
    pub(super) fn took_asking(&mut self, connection: ConnectionId) -> bool {
        let before = self.asking.len();
        self.asking.retain(|asking| *asking != connection);
        self.asking.len() < before
    }

    fn hand_on(&mut self, context: &mut impl Context<Self>, from: Origin, id: u32, command: Command) {
        let packet = Packet::Request { id, command };
        self.server.on_packet(&mut Embedded::<_, Self>::new(context), from, packet);
    }

    /// Why a command on these lists of a slot is not carried out here; none: it is (`getNodeByQuery`).
    pub(super) fn redirection(&self, slot: Slot, lists: &[ListKey], asks: bool) -> Option<Reply> {
        let Some(owner) = self.table.owner(slot).filter(|_| self.state.is_ok()) else {
            return Some(Reply::ClusterDown);
        };
        let is_missing = |list: &&ListKey| !self.server.log().has_list(**list);
        if owner == self.table.me {
            let target = self.table.open.target(slot)?;
            let missing = lists.iter().filter(is_missing).count();
            let knows_better = self.spec.config.release > Release::Redis30;
            return match missing {
                0 => None,
                _ if missing < lists.len() && knows_better => Some(Reply::TryAgain),
                _ => Some(Reply::Ask(slot, self.table.peer(target).process)),
            };
        }
        if asks && self.table.open.imports(slot) {
            let is_split = lists.len() > 1 && lists.iter().any(|list| is_missing(&list));
            return is_split.then_some(Reply::TryAgain);
        }
        Some(Reply::Moved(slot, self.table.peer(owner).process))
    }

    /// `CLUSTER SLOTS`: the owner of each slot.
    fn slot_map(&self) -> Arc<[Option<ProcessId>]> {
        let owner = |slot| self.table.owner(Slot(slot)).map(|owner| self.table.peer(owner).process);
        (0..SLOT_COUNT).map(owner).collect()
    }

    /// The pause is over: writes that waited are looked at again.
    pub(super) fn release_postponed(&mut self, context: &mut impl Context<Self>) {
        for Postponed { connection, client, id, command, asks } in std::mem::take(&mut self.postponed) {
            self.on_request(context, Origin::Connection(connection, client), (id, command), asks);
        }
    }

    /// Tells the record when it begins or ceases to serve the watched slot.
    pub(super) fn look_at_service(&mut self, context: &mut impl Context<Self>) {
        let now = self.server.accepts_writes()
            && self.state.is_ok()
            && !self.manual.pauses_clients()
            && self.is_watched(self.table.me)
            && !self.has_moved;
        if now != self.serves {
            self.serves = now;
            let kind = if now { MarkKind::Writable } else { MarkKind::ReadOnly };
            context.mark(kind, u64::from(self.config_epoch().0));
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
