//! `CLUSTER FAILOVER`, by the command of an operator on a replica.
//!
//! ```text
//! plain:     MFSTART -> the primary pauses writes, PINGs with its offset -> the replica has all of it -> election, no delay,
//!            votes although the primary is well. Within 5 s, or not at all.
//! FORCE:     the election at once; the primary is not asked.
//! TAKEOVER:  no election either: the replica takes the next epoch by itself.
//! ```

use sim_core::{Context, SimDuration, WallTime};

use super::message::{Body, NodeId};
use super::node::ClusterNode;

/// `CLUSTER_MF_TIMEOUT`.
const LIMIT: SimDuration = SimDuration::from_secs(5);

/// A manual failover, on the replica that takes over or on the primary that it asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manual {
    until: Option<WallTime>,
    /// On the primary: who asked.
    asked_by: Option<NodeId>,
    /// On the replica: the offset at which the primary paused.
    offset: Option<u64>,
    can_start: bool,
}

impl Manual {
    pub(super) fn is_under_way(self) -> bool {
        self.until.is_some()
    }

    pub(super) fn is_asked_by(self, replica: NodeId) -> bool {
        self.is_under_way() && self.asked_by == Some(replica)
    }

    /// True on a primary that keeps its clients waiting.
    pub(super) fn pauses_clients(self) -> bool {
        self.asked_by.is_some()
    }

    pub(super) fn can_start(self) -> bool {
        self.is_under_way() && self.can_start
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl ClusterNode {
    /// `CLUSTER FAILOVER`. False: refused.
    pub(super) fn command_failover(&mut self, context: &mut impl Context<Self>, how: &str) -> bool {
        let Some(primary) = self.table.my_primary() else { return false };
        let peer = self.table.peer(primary);
        if how.is_empty() && (peer.is_failed() || peer.link.is_none()) {
            return false;
        }
        self.manual = Manual { until: Some(context.wall() + LIMIT), ..Manual::default() };
        match how {
            "force" => {
                self.manual.can_start = true;
                self.todo.stand = true;
            }
            "takeover" => {
                self.bump_epoch(context);
                self.replace_primary(context);
            }
            _ => self.send(primary, Body::ManualStart),
        }
        true
    }

    /// `clusterBumpConfigEpochWithoutConsensus`.
    pub(super) fn bump_epoch(&mut self, context: &mut impl Context<Self>) {
        let (largest, me) = (self.table.largest_epoch(), self.table.me);
        if self.table.myself().config_epoch == largest && largest.0 != 0 {
            return;
        }
        self.table.current_epoch = self.table.current_epoch.next();
        let epoch = self.table.current_epoch;
        self.table.peer_mut(me).config_epoch = epoch;
        context.note(|| format!("new configuration epoch {} without consensus", epoch.0));
        self.todo.save_and_sync();
    }

    /// A replica asks this primary to pause.
    pub(super) fn on_manual_start(&mut self, context: &mut impl Context<Self>, from: NodeId) {
        if self.table.peer(from).follows != Some(self.table.me) {
            return;
        }
        context.note(|| format!("manual failover requested by node {}", from.0 + 1));
        self.manual =
            Manual { until: Some(context.wall() + LIMIT), asked_by: Some(from), ..Manual::default() };
        self.ping(context, from);
    }

    /// The primary, which has paused, says how far it is.
    pub(super) fn on_paused_offset(&mut self, from: NodeId, offset: u64) {
        let is_ours = self.table.my_primary() == Some(from);
        if is_ours && self.manual.is_under_way() && self.manual.offset.is_none() {
            self.manual.offset = Some(offset);
        }
    }

    /// `manualFailoverCheckTimeout`.
    pub(super) fn end_manual_failover(&mut self, context: &mut impl Context<Self>) {
        if self.manual.until.is_some_and(|until| until < context.wall()) {
            context.note(|| "manual failover timed out".to_owned());
            self.manual.reset();
        }
    }

    /// `clusterHandleManualFailover`: looked at after each turn of the event loop.
    pub(super) fn wait_for_offset(&mut self) {
        let manual = &mut self.manual;
        if manual.is_under_way() && !manual.can_start && manual.offset == Some(self.server.replica_offset()) {
            manual.can_start = true;
            self.todo.stand = true;
        }
    }
}
