//! What a message does to a node (`clusterProcessPacket`).

use sim_core::{ConnectionId, Context, MarkKind};

use super::config::Release;
use super::message::{Body, Gossip, Message, NodeId};
use super::node::ClusterNode;
use super::slots::Slots;
use crate::redis::Epoch;

impl ClusterNode {
    pub(super) fn on_message(
        &mut self,
        context: &mut impl Context<Self>,
        from: ConnectionId,
        message: &Message,
    ) {
        let now = context.wall();
        let sender = message.sender;
        if self.spec.config.release > Release::Redis30 {
            self.replace_inbound_link(context, from, sender);
        }
        self.table.current_epoch = self.table.current_epoch.max(message.current_epoch);
        let peer = self.table.peer_mut(sender);
        peer.heard_at = Some(now);
        if message.config_epoch > peer.config_epoch {
            peer.config_epoch = message.config_epoch;
            self.todo.save_and_sync();
        }
        self.table.peer_mut(sender).offset = message.offset;
        if message.paused {
            self.on_paused_offset(sender, message.offset);
        }
        match &message.body {
            Body::Ping(gossip) => {
                self.answer(context, from);
                self.on_configuration(context, message, gossip);
            }
            Body::Pong(gossip) => {
                // An answer comes on the own link, an announcement on the other one.
                if self.linked_to(from) == Some(sender) {
                    let peer = self.table.peer_mut(sender);
                    peer.ponged_at = now;
                    peer.pinged_at = None;
                    self.on_answered(now, sender);
                }
                self.on_configuration(context, message, gossip);
            }
            Body::Fail(failed) => self.on_fail(context, *failed),
            Body::AuthRequest { force } => self.on_vote_request(context, message, *force),
            Body::AuthAck => self.on_vote(message),
            Body::ManualStart => self.on_manual_start(context, sender),
            Body::Update { node, config_epoch, slots } => {
                self.on_update(context, *node, *config_epoch, *slots);
            }
        }
    }

    fn on_update(&mut self, context: &mut impl Context<Self>, node: NodeId, epoch: Epoch, slots: Slots) {
        if self.table.peer(node).config_epoch >= epoch {
            return;
        }
        if node != self.table.me {
            self.table.set_follows(node, None);
        }
        self.table.peer_mut(node).config_epoch = epoch;
        self.todo.save_and_sync();
        self.rebind(context, node, epoch, slots);
    }

    /// The part of a PING or PONG that says who the sender is and what it has.
    fn on_configuration(&mut self, context: &mut impl Context<Self>, message: &Message, gossip: &[Gossip]) {
        let sender = message.sender;
        if self.table.peer(sender).follows != message.follows {
            if message.follows.is_some() && self.table.peer(sender).is_primary() {
                // A primary became a replica: its slots are nobody's until somebody claims them.
                self.table.disown(sender);
            }
            self.table.set_follows(sender, message.follows);
            self.todo.save = true;
            self.todo.update_state = true;
        }
        let shard = message.follows.unwrap_or(sender);
        let differs = self.table.peer(shard).slots != message.slots;
        if differs && message.follows.is_none() {
            self.rebind(context, sender, message.config_epoch, message.slots);
        }
        if differs {
            self.send_update_if_old(message);
        }
        let both_primaries = self.table.myself().is_primary() && self.table.peer(sender).is_primary();
        if both_primaries && message.config_epoch == self.table.myself().config_epoch {
            self.resolve_collision(context, sender);
        }
        self.on_gossip(context, sender, gossip);
    }

    /// `clusterUpdateSlotsConfigWith`: rebinds slots that a node claims with a larger epoch than their owner has.
    fn rebind(&mut self, context: &mut impl Context<Self>, claimer: NodeId, epoch: Epoch, claimed: Slots) {
        if claimer == self.table.me {
            return;
        }
        let shard = self.table.my_shard();
        let watched_before = self.table.owner(self.spec.watched);
        let mut won = Slots::NONE;
        for slot in claimed.iter() {
            let owner = self.table.owner(slot);
            if owner == Some(claimer) {
                self.table.unclaimed = self.table.unclaimed.without(Slots::NONE.with(slot));
                continue;
            }
            // A slot that an operator moves here is not given away by a claim.
            if self.table.open.imports(slot) {
                continue;
            }
            let is_older = owner.is_none_or(|owner| self.table.peer(owner).config_epoch < epoch);
            if is_older || self.table.is_unclaimed(slot) {
                won = won.with(slot);
            }
        }
        let ours = won.common(self.table.peer(shard).slots);
        let mine = won.common(self.slots());
        if !won.is_empty() {
            self.table.taken_unclaimed = self.table.taken_unclaimed.union(won.common(self.table.unclaimed));
            self.table.give(won, claimer);
            self.table.unclaimed = self.table.unclaimed.without(won);
            self.todo.save_and_sync();
            self.todo.update_state = true;
        }
        if self.spec.config.release >= Release::Redis70 {
            let not_claimed = self.table.peer(claimer).slots.without(claimed);
            self.table.unclaimed = self.table.unclaimed.union(not_claimed);
        }
        let owner = self.table.owner(self.spec.watched);
        if owner != watched_before
            && let Some(owner) = owner
        {
            context.mark(MarkKind::Rerouted, u64::from(owner.0));
        }
        let follows_slots = self.spec.config.allow_replica_migration || ours == claimed;
        if !ours.is_empty() && self.table.peer(shard).slots.is_empty() && follows_slots {
            context
                .note(|| format!("configuration change detected: now a replica of node {}", claimer.0 + 1));
            self.set_primary(context, claimer);
        } else if let Some(primary) = self.table.my_primary()
            && let Some(above) = self.table.peer(primary).follows
            && above != self.table.me
        {
            context.note(|| format!("a replica of a replica: now a replica of node {}", above.0 + 1));
            self.set_primary(context, above);
        } else {
            self.delete_lists_of(context, mine);
        }
    }

    /// A node that claims what belongs to somebody with a larger epoch is told.
    fn send_update_if_old(&mut self, message: &Message) {
        let owner = message.slots.iter().find_map(|slot| {
            let owner = self.table.owner(slot).filter(|owner| *owner != message.sender)?;
            let is_newer = self.table.peer(owner).config_epoch > message.config_epoch;
            (is_newer && !self.table.is_unclaimed(slot)).then_some(owner)
        });
        if let Some(owner) = owner {
            let peer = self.table.peer(owner);
            let (config_epoch, slots) = (peer.config_epoch, peer.slots.without(self.table.unclaimed));
            self.send(message.sender, Body::Update { node: owner, config_epoch, slots });
        }
    }

    /// `clusterHandleConfigEpochCollision`: of two primaries with one epoch, the one with the smaller name takes another.
    fn resolve_collision(&mut self, context: &mut impl Context<Self>, other: NodeId) {
        let me = self.table.me;
        if other > me {
            self.table.current_epoch = self.table.current_epoch.next();
            let epoch = self.table.current_epoch;
            self.table.peer_mut(me).config_epoch = epoch;
            context.note(|| format!("epoch collision with node {}: now {}", other.0 + 1, epoch.0));
            self.todo.save_and_sync();
        }
    }
}
