//! The cluster bus: links, what is sent on them, and when.
//!
//! Each pair of nodes has two links, one opened by each side. PINGs go out on the own link and are answered on the same
//! one; everything else goes out on the own link.
//!
//! ```text
//! each 100 ms:  open missing links
//! each 1 s:     of five random nodes, PING the one that answered longest ago
//! each 100 ms:  PING who has not answered for half a node timeout; a PING without an answer for half a node timeout, on a
//!               link older than a node timeout: open the link anew; without an answer for a node timeout: PFAIL
//! ```
//!
//! What one turn of the event loop wants to send leaves after `nodes.conf` is synced, if that turn demands it: a vote is
//! durable before anybody learns of it.

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, Context, Embedded, Process};

use super::config::Release;
use super::message::{Body, Gossip, Message, NodeId};
use super::node::ClusterNode;
use super::table::{Health, Link};
use crate::planted::Planted;
use crate::redis::{Asker, Packet, Reply};

/// Entries about random nodes in a message, at least.
const LEAST_GOSSIP: usize = 3;

/// What leaves at the end of a turn of the event loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    queue: Vec<(ConnectionId, Packet)>,
}

impl Outbox {
    fn push(&mut self, connection: ConnectionId, message: Arc<Message>) {
        self.queue.push((connection, Packet::Bus(message)));
    }

    /// Answers a client.
    pub(super) fn reply(&mut self, (connection, id): Asker, reply: Reply) {
        self.queue.push((connection, Packet::Reply { id, reply }));
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, context: &mut impl Context<ClusterNode>) {
        for (connection, packet) in self.queue.drain(..) {
            context.send(connection, packet);
        }
    }
}

impl ClusterNode {
    /// Opens the links that are missing (`clusterNodeCronHandleReconnect`). The PING that goes out when a link is
    /// established is sent by [`Self::on_link_opened`].
    pub(super) fn open_links(&mut self, context: &mut impl Context<Self>) {
        let now = context.wall();
        self.possibly_failed = 0;
        for id in self.table.others() {
            let peer = self.table.peer_mut(id);
            self.possibly_failed += usize::from(peer.health == Health::PossiblyFailed);
            if peer.link.is_none() {
                let connection = context.connect(peer.process, ConnectOptions::default());
                peer.link = Some(Link { connection, since: now });
            }
        }
    }

    /// A link is established: it begins with a PING, and an older one that was not answered keeps its age.
    pub(super) fn on_link_opened(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        let older = self.table.peer(id).pinged_at;
        self.ping(context, id);
        if older.is_some() {
            self.table.peer_mut(id).pinged_at = older;
        }
    }

    /// A node that has opened its link anew has closed the one before, but what it had sent on that may still be under way, and
    /// says what it was then. The first message on the new link ends the old one (`setClusterNodeToInboundClusterLink`).
    pub(super) fn replace_inbound_link(
        &mut self,
        context: &mut impl Context<Self>,
        from: ConnectionId,
        sender: NodeId,
    ) {
        let peer = self.table.peer_mut(sender);
        if peer.link.is_some_and(|link| link.connection == from) || peer.inbound == Some(from) {
            return;
        }
        let process = peer.process;
        if let Some(older) = peer.inbound.replace(from) {
            context.note(|| format!("replacing the inbound link from node {}", sender.0 + 1));
            let mut context = Embedded::<_, Self>::new(context);
            self.server.on_connection(&mut context, older, process, ConnectionEvent::Closed);
        }
    }

    /// Which node a link of this side leads to.
    pub(super) fn linked_to(&self, connection: ConnectionId) -> Option<NodeId> {
        let is_link =
            |id: &NodeId| self.table.peer(*id).link.is_some_and(|link| link.connection == connection);
        self.table.others().find(is_link)
    }

    /// Once a second: of five random nodes, the one that answered longest ago is asked.
    pub(super) fn ping_someone(&mut self, context: &mut impl Context<Self>) {
        let mut oldest: Option<NodeId> = None;
        for _ in 0..5 {
            let id = NodeId(context.random().below(self.table.peers.len() as u64) as u8);
            let peer = self.table.peer(id);
            if id == self.table.me || peer.link.is_none() || peer.pinged_at.is_some() {
                continue;
            }
            if oldest.is_none_or(|oldest| self.table.peer(oldest).ponged_at > peer.ponged_at) {
                oldest = Some(id);
            }
        }
        if let Some(id) = oldest {
            self.ping(context, id);
        }
    }

    pub(super) fn ping(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        if self.table.peer(id).link.is_none() {
            return;
        }
        self.table.peer_mut(id).pinged_at = Some(context.wall());
        let gossip = self.gossip(context);
        self.send(id, Body::Ping(gossip));
    }

    /// Announces this node to others without being asked (`clusterBroadcastPong`).
    pub(super) fn announce(&mut self, context: &mut impl Context<Self>, to: impl Iterator<Item = NodeId>) {
        for id in to {
            if self.table.peer(id).link.is_some() {
                let gossip = self.gossip(context);
                self.send(id, Body::Pong(gossip));
            }
        }
    }

    /// Answers a PING on the link on which it came.
    pub(super) fn answer(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        let gossip = self.gossip(context);
        let message = self.message(Body::Pong(gossip));
        self.outbox.push(connection, Arc::new(message));
    }

    /// Sends on the own link, if there is one.
    pub(super) fn send(&mut self, to: NodeId, body: Body) {
        if let Some(link) = self.table.peer(to).link {
            let message = self.message(body);
            self.outbox.push(link.connection, Arc::new(message));
        }
    }

    pub(super) fn broadcast(&mut self, body: &Body) {
        let message = Arc::new(self.message(body.clone()));
        for id in self.table.others() {
            if let Some(link) = self.table.peer(id).link {
                self.outbox.push(link.connection, Arc::clone(&message));
            }
        }
    }

    /// `clusterBuildMessageHdr`.
    fn message(&self, body: Body) -> Message {
        let shard = self.table.peer(self.table.my_shard());
        Message {
            sender: self.table.me,
            follows: self.table.my_primary(),
            current_epoch: self.table.current_epoch,
            config_epoch: shard.config_epoch,
            slots: shard.slots,
            offset: self.my_offset(),
            paused: self.table.my_primary().is_none() && self.manual.is_under_way(),
            body,
        }
    }

    /// What a PING or PONG says about others: some at random, and all that this node holds for possibly failed.
    fn gossip(&self, context: &mut impl Context<Self>) -> Box<[Gossip]> {
        let count = self.table.peers.len();
        let mut fresh = count.saturating_sub(2);
        let wanted = (count / 10).max(LEAST_GOSSIP).min(fresh);
        let mut chosen: Vec<NodeId> = Vec::with_capacity(wanted + self.possibly_failed);
        let adds_suspects = self.spec.config.release > Release::Redis30
            && self.spec.server.planted != Planted::GossipWithoutSuspects;
        let mut tries = wanted * 3;
        while fresh > 0 && chosen.len() < wanted && tries > 0 {
            tries -= 1;
            let id = NodeId(context.random().below(count as u64) as u8);
            let peer = self.table.peer(id);
            if id == self.table.me || (adds_suspects && peer.health == Health::PossiblyFailed) {
                continue;
            }
            if peer.link.is_none() && peer.slots.is_empty() {
                fresh -= 1;
            } else if !chosen.contains(&id) {
                fresh -= 1;
                chosen.push(id);
            }
        }
        if adds_suspects {
            let suspects =
                self.table.others().filter(|id| self.table.peer(*id).health == Health::PossiblyFailed);
            chosen.extend(suspects.take(self.possibly_failed));
        }
        let entry = |id: NodeId| {
            let peer = self.table.peer(id);
            Gossip {
                node: id,
                ponged_at_secs: peer.ponged_at.as_nanos() / 1_000_000_000,
                is_down: peer.health != Health::Fine,
            }
        };
        chosen.into_iter().map(entry).collect()
    }
}
