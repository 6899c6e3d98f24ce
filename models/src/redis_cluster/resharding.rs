//! Moving a slot from one primary to another while clients use it.
//!
//! An operator commands it step by step (`redis-cli --cluster reshard`, [`super::operator`]):
//!
//! ```text
//! target: SETSLOT IMPORTING source      a slot of somebody else: served to who says ASKING
//! source: SETSLOT MIGRATING target      lists that are here are served; for others -ASK, for some of a command's -TRYAGAIN
//! source: MIGRATE lists  --RESTORE-ASKING--> target, --OK--> DEL     again and again, until none is left
//! target: SETSLOT NODE target           a new epoch without a vote, PONG to all
//! source, all other primaries: SETSLOT NODE target
//! ```
//!
//! `MIGRATE` blocks the server that executes it: it waits in its only thread until the other one has answered or time is up
//! ([`super::standstill`]). It answers no PING meanwhile. Once the other server has said OK the lists are deleted
//! here, whether or not a replica there has them (valkey-io/valkey issue 2723).
//!
//! What a slot is open for is kept in the `nodes.conf` of the two primaries, and nowhere else: their replicas do not know. From Valkey 8
//! on they do ([`super::replicated`]).
//!
//! # Sources
//!
//! `cluster.c` of Redis 7 (`clusterCommand`, `getNodeByQuery`, `migrateCommand`) and the cluster specification. A redirection with
//! only some of the keys is `-TRYAGAIN` at the source since 7.0 and was `-ASK` (pull request 9526); primaries only are taken for
//! source and target since 7.0 (9360, 10277); the PONG at the end came with 6.2 (7590).

use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Embedded, Origin, ProcessId, SimDuration,
};

use super::config::Release;
use super::message::NodeId;
use super::node::{ClusterNode, NodeTimer};
use super::slots::{Slot, Slots};
use crate::redis::{Input, ListKey, Packet, Reply, Restore};

/// What `CLUSTER SETSLOT` does to a slot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SetSlot {
    /// `IMPORTING`: it comes from this node.
    Importing(NodeId),
    /// `MIGRATING`: it goes to this node.
    Migrating(NodeId),
    /// `NODE`: it belongs to this node.
    Node(NodeId),
    /// `STABLE`: it neither comes nor goes.
    Stable,
}

/// Slots on their way, as a primary was told (`importing_slots_from`, `migrating_slots_to`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OpenSlots {
    /// Those that come, and where from.
    importing: Vec<(Slot, NodeId)>,
    /// Those that go, and where to.
    migrating: Vec<(Slot, NodeId)>,
}

impl OpenSlots {
    /// True if this slot comes.
    pub(super) fn imports(&self, slot: Slot) -> bool {
        self.importing.iter().any(|(open, _)| *open == slot)
    }

    /// Where this slot goes.
    pub(super) fn target(&self, slot: Slot) -> Option<NodeId> {
        self.migrating.iter().find(|(open, _)| *open == slot).map(|(_, to)| *to)
    }

    fn import(&mut self, slot: Slot, from: NodeId) {
        self.end_import(slot);
        self.importing.push((slot, from));
    }

    fn migrate(&mut self, slot: Slot, to: NodeId) {
        self.end_migration(slot);
        self.migrating.push((slot, to));
    }

    fn end_import(&mut self, slot: Slot) {
        self.importing.retain(|(open, _)| *open != slot);
    }

    fn end_migration(&mut self, slot: Slot) {
        self.migrating.retain(|(open, _)| *open != slot);
    }
}

/// A `MIGRATE` under way.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    /// Who commanded it, and the number of that request.
    asked_by: (ConnectionId, u32),
    /// The connection to the other node.
    link: ConnectionId,
    restore: Arc<Restore>,
}

impl ClusterNode {
    /// The lists of a slot that are here.
    pub(super) fn lists_in(&self, slot: Slot) -> Vec<ListKey> {
        let lists = self.server.log().lists().into_iter();
        lists.filter(|list| self.spec.slot_of(*list) == Some(slot)).collect()
    }

    /// Looks whether every list of the watched slot has gone while that is being moved away. None comes meanwhile, so this has
    /// to be asked only after `SETSLOT` and `MIGRATE`.
    fn look_whether_moved(&mut self) {
        let slot = self.spec.watched;
        self.has_moved = self.table.open.target(slot).is_some() && self.lists_in(slot).is_empty();
    }

    /// Whether `CLUSTER SETSLOT` is possible here. A slot cannot be given away while lists of it are here.
    pub(super) fn may_set_slot(&self, slot: Slot, to: SetSlot) -> bool {
        let me = self.table.me;
        let is_mine = self.table.owner(slot) == Some(me);
        let checks = self.spec.config.release > Release::Redis30;
        let is_possible = |node: NodeId| node != me && (!checks || self.table.peer(node).is_primary());
        self.is_primary()
            && match to {
                SetSlot::Migrating(target) => is_mine && is_possible(target),
                SetSlot::Importing(source) => !is_mine && is_possible(source),
                SetSlot::Node(owner) if owner == me => true,
                SetSlot::Node(owner) => is_possible(owner) && (!is_mine || self.lists_in(slot).is_empty()),
                SetSlot::Stable => true,
            }
    }

    /// `CLUSTER SETSLOT`.
    pub(super) fn set_slot(&mut self, context: &mut impl Context<Self>, slot: Slot, to: SetSlot) -> Reply {
        let done = self.may_set_slot(slot, to);
        if done {
            self.execute_set_slot(context, slot, to);
        }
        context.note(|| format!("SETSLOT {} {to:?}: {}", slot.0, if done { "OK" } else { "refused" }));
        if !done {
            return Reply::Error;
        }
        self.look_whether_moved();
        Reply::Done
    }

    /// What is left to do when `SETSLOT` is possible: on a primary, or on a replica whose primary asks for it.
    pub(super) fn execute_set_slot(&mut self, context: &mut impl Context<Self>, slot: Slot, to: SetSlot) {
        match to {
            SetSlot::Migrating(target) => self.table.open.migrate(slot, target),
            SetSlot::Importing(source) => self.table.open.import(slot, source),
            SetSlot::Node(owner) => self.assign(context, slot, owner),
            SetSlot::Stable => {
                self.table.open.end_import(slot);
                self.table.open.end_migration(slot);
            }
        }
        self.todo.save = true;
        self.todo.update_state = true;
    }

    /// `SETSLOT NODE`.
    fn assign(&mut self, context: &mut impl Context<Self>, slot: Slot, owner: NodeId) {
        let me = self.table.me;
        let was_mine = self.table.owner(slot) == Some(me);
        if self.lists_in(slot).is_empty() {
            self.table.open.end_migration(slot);
        }
        self.table.give(Slots::NONE.with(slot), owner);
        self.table.commanded = self.table.rebindings;
        let follows = self.spec.config.allow_replica_migration && self.spec.config.release > Release::Redis30;
        if was_mine && owner != me && self.slots().is_empty() && follows {
            context.note(|| "has no slots any more".to_owned());
            self.set_primary(context, owner);
        }
        if owner == self.table.my_shard() && self.table.open.imports(slot) {
            self.table.open.end_import(slot);
            if owner != me {
                // Its primary tells the others.
                return;
            }
            self.bump_epoch(context);
            if self.spec.config.release > Release::Redis30 {
                self.announce(context, self.table.others());
            }
        }
    }

    /// `MIGRATE`: the server is blocked from here on.
    pub(super) fn migrate_lists(
        &mut self,
        context: &mut impl Context<Self>,
        asked_by: (ConnectionId, u32),
        (slot, most): (Slot, u8),
        (to, timeout): (ProcessId, SimDuration),
    ) {
        let mut lists = self.lists_in(slot);
        lists.truncate(usize::from(most));
        if !self.is_primary() || lists.is_empty() {
            let reply = if self.is_primary() { Reply::Count(0) } else { Reply::Error };
            return context.send(asked_by.0, Packet::Reply { id: asked_by.1, reply });
        }
        let values = self.server.log().dump(&lists);
        let restore = Arc::new(Restore { slot, lists, values });
        let link = context.connect(to, ConnectOptions::default());
        context.set_timer(NodeTimer::Migrate, timeout);
        self.moving = Some(Moving { asked_by, link, restore });
    }

    /// Lists come from another node (`RESTORE-ASKING`).
    pub(super) fn on_restore(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        restore: &Restore,
    ) {
        // One command for each list, in a pipeline.
        match self.redirection(restore.slot, &restore.lists[..1], true) {
            Some(reply) => context.send(connection, Packet::Reply { id: Restore::ID, reply }),
            None => self.server.restore(&mut Embedded::<_, Self>::new(context), connection, restore),
        }
    }

    /// Something arrives while the node stands still: in a `MIGRATE`, it looks for one answer only.
    pub(super) fn on_packet_while_standing(
        &mut self,
        context: &mut impl Context<Self>,
        from: Origin,
        packet: Packet,
    ) {
        let is_answer = matches!(from, Origin::Connection(connection, _) if self.moves_on(connection));
        match packet {
            Packet::Reply { reply, .. } if is_answer => {
                self.end_moving(context, matches!(reply, Reply::Written { .. }));
            }
            packet => {
                self.hold(|| Input::Packet(from, packet));
            }
        }
    }

    /// True if this is the connection on which lists leave.
    pub(super) fn moves_on(&self, connection: ConnectionId) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.link == connection)
    }

    /// Something happened to the connection on which lists leave.
    pub(super) fn on_moving_link(&mut self, context: &mut impl Context<Self>, event: ConnectionEvent) {
        let Some(moving) = &self.moving else { return };
        match event {
            ConnectionEvent::Opened => {
                context.send(moving.link, Packet::Restore(Arc::clone(&moving.restore)));
            }
            ConnectionEvent::Accepted => {}
            _ => self.end_moving(context, false),
        }
    }

    /// The other node has answered, or does not: goes on with everything that has come meanwhile.
    pub(super) fn end_moving(&mut self, context: &mut impl Context<Self>, done: bool) {
        let Some(moving) = self.moving.take() else { return };
        context.cancel_timer(&NodeTimer::Migrate);
        context.close(moving.link);
        let reply = if done {
            self.server.remove_lists(&mut Embedded::<_, Self>::new(context), &moving.restore.lists);
            self.look_whether_moved();
            Reply::Count(moving.restore.lists.len() as u64)
        } else {
            context.note(|| "MIGRATE failed: error or timeout, or the target refused".to_owned());
            Reply::Error
        };
        let (connection, id) = moving.asked_by;
        context.send(connection, Packet::Reply { id, reply });
        self.go_on(context);
    }

    /// After a slot with lists went to somebody else by a claim: they are deleted (`delKeysInSlot`).
    pub(super) fn delete_lists_of(&mut self, context: &mut impl Context<Self>, slots: Slots) {
        for slot in slots.iter() {
            let lists = self.lists_in(slot);
            if !lists.is_empty() {
                context.note(|| format!("slot {} is lost, and its keys are deleted", slot.0));
                self.server.remove_lists(&mut Embedded::<_, Self>::new(context), &lists);
            }
        }
    }
}
