//! Finding out that a node has failed.
//!
//! *Possibly failed* (`PFAIL`) is the view of one node: a PING is unanswered, and nothing has come from there, both for longer
//! than `cluster-node-timeout`. *Failed* (`FAIL`) is agreed upon: a node that holds another one for possibly failed counts
//! the primaries that say so, each for at most two node timeouts, and itself if it is one. That is looked at when gossip
//! arrives and never else. Whoever counts a majority tells everybody, and who is told does not ask.
//!
//! A process that crashed closes its connections. Then there is no PING to wait for until the last answer is half a node
//! timeout old, or the node is picked at random; a host that is silent may owe an answer already.

use sim_core::{Context, MarkKind, SimDuration, WallTime};

use super::message::{Body, Gossip, NodeId};
use super::node::ClusterNode;
use super::table::Health;

impl ClusterNode {
    /// The part of the cron about each node: PINGs that are due, links that are stuck, nodes that are silent.
    pub(super) fn look_at_nodes(&mut self, context: &mut impl Context<Self>) {
        let now = context.wall();
        let limit = self.spec.config.node_timeout;
        for id in self.table.others() {
            let peer = self.table.peer_mut(id);
            let silence = peer.heard_at.map_or(SimDuration::MAX, |at| now.since(at));
            let unanswered = peer.pinged_at.map(|at| now.since(at));
            let is_stuck = unanswered.is_some_and(|age| age > limit / 2) && silence > limit / 2;
            if let Some(link) = peer.link.filter(|link| now.since(link.since) > limit && is_stuck) {
                context.close(link.connection);
                peer.link = None;
            }
            let is_primary = self.table.myself().is_primary();
            let peer = self.table.peer(id);
            if peer.link.is_some() && unanswered.is_none() && now.since(peer.ponged_at) > limit / 2 {
                self.ping(context, id);
                continue;
            }
            if is_primary && peer.link.is_some() && self.manual.is_asked_by(id) {
                self.ping(context, id);
                continue;
            }
            let Some(unanswered) = unanswered else { continue };
            if unanswered.min(silence) > limit && peer.health == Health::Fine {
                self.suspect(context, id);
            }
        }
    }

    fn suspect(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        context.note(|| format!("node {} possibly failing", id.0 + 1));
        if self.is_watched(id) {
            context.mark(MarkKind::Suspected, 0);
        }
        self.table.peer_mut(id).health = Health::PossiblyFailed;
        self.todo.update_state = true;
    }

    /// What another node says about others (`clusterProcessGossipSection`).
    pub(super) fn on_gossip(&mut self, context: &mut impl Context<Self>, from: NodeId, entries: &[Gossip]) {
        let now = context.wall();
        let from_primary = self.table.peer(from).is_primary();
        let me = self.table.me;
        for entry in entries.iter().filter(|entry| entry.node != me) {
            let peer = self.table.peer_mut(entry.node);
            if from_primary && entry.is_down {
                match peer.reports.iter_mut().find(|(reporter, _)| *reporter == from) {
                    Some((_, at)) => *at = now,
                    None => peer.reports.push((from, now)),
                }
                self.fail_if_agreed(context, entry.node);
            } else if from_primary {
                self.forget_old_reports(entry.node, now);
                self.table.peer_mut(entry.node).reports.retain(|(reporter, _)| *reporter != from);
            }
            if !entry.is_down && self.table.peer(entry.node).pinged_at.is_none() {
                self.forget_old_reports(entry.node, now);
                let peer = self.table.peer_mut(entry.node);
                let told = WallTime::from_nanos(entry.ponged_at_secs * 1_000_000_000);
                // Not what lies in the future by more than half a second.
                if peer.reports.is_empty() && told <= now + SimDuration::from_millis(500) {
                    peer.ponged_at = peer.ponged_at.max(told);
                }
            }
        }
    }

    fn forget_old_reports(&mut self, about: NodeId, now: WallTime) {
        let limit = self.spec.config.node_timeout * 2;
        self.table.peer_mut(about).reports.retain(|(_, at)| now.since(*at) <= limit);
    }

    /// `markNodeAsFailingIfNeeded`.
    fn fail_if_agreed(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        if self.table.peer(id).health != Health::PossiblyFailed {
            return;
        }
        let now = context.wall();
        self.forget_old_reports(id, now);
        let mine = usize::from(self.table.myself().is_primary());
        if self.table.peer(id).reports.len() + mine < self.quorum() {
            return;
        }
        context.note(|| format!("marking node {} as failing (quorum reached)", id.0 + 1));
        self.fail(context, id);
        self.broadcast(&Body::Fail(id));
    }

    /// A `FAIL` message is believed.
    pub(super) fn on_fail(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        if id != self.table.me && !self.table.peer(id).is_failed() {
            context.note(|| format!("told that node {} has failed", id.0 + 1));
            self.fail(context, id);
        }
    }

    fn fail(&mut self, context: &mut impl Context<Self>, id: NodeId) {
        if self.is_watched(id) {
            context.mark(MarkKind::Agreed, 0);
        }
        self.table.peer_mut(id).health = Health::Failed(context.wall());
        self.todo.save = true;
        self.todo.update_state = true;
    }

    /// A node answered (`clearNodeFailureIfNeeded`): replicas are fine at once, and so are primaries without slots. One with
    /// slots has to have been failed for two node timeouts without anybody taking its slots.
    pub(super) fn on_answered(&mut self, now: WallTime, id: NodeId) {
        let limit = self.spec.config.node_timeout * 2;
        let peer = self.table.peer_mut(id);
        let is_fine_again = match peer.health {
            Health::Fine => return,
            Health::PossiblyFailed => true,
            Health::Failed(since) => !peer.is_voter() || now.since(since) > limit,
        };
        if is_fine_again {
            peer.health = Health::Fine;
            self.todo.save = true;
            self.todo.update_state = true;
        }
    }
}
