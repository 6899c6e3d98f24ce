//! Whether the cluster is up, as a node sees it (`clusterUpdateState`).
//!
//! It is down for a node that reaches no majority of the primaries with slots, or, with `cluster-require-full-coverage`, that
//! knows of a slot whose owner failed. A primary that was among the minority waits before it serves again, so that it can
//! be told of a successor; so does one that has just started. The wait is no proof: one link of its own suffices for the
//! majority, and those on which it would be told may be between two requests to connect for longer
//! (`cluster/rz32-minority-primary/async`, with Linux before 6.5).

use sim_core::{Context, SimDuration, WallTime};

use super::node::ClusterNode;
use super::slots::Slots;
use super::table::Health;
use crate::planted::Planted;

/// `CLUSTER_MAX_REJOIN_DELAY`.
const LONGEST_REJOIN_DELAY: SimDuration = SimDuration::from_secs(5);
/// `CLUSTER_MIN_REJOIN_DELAY`.
const SHORTEST_REJOIN_DELAY: SimDuration = SimDuration::from_millis(500);
/// `CLUSTER_WRITABLE_DELAY`.
const WRITABLE_DELAY: SimDuration = SimDuration::from_secs(2);

/// What a node thinks of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClusterState {
    ok: bool,
    /// When it was first looked at.
    began_at: Option<WallTime>,
    /// When this node was last among the minority.
    minority_at: Option<WallTime>,
}

impl ClusterState {
    pub(super) fn is_ok(self) -> bool {
        self.ok
    }
}

impl ClusterNode {
    /// Looks at the state of the cluster anew.
    pub(super) fn update_state(&mut self, context: &mut impl Context<Self>) {
        self.todo.update_state = false;
        let now = context.wall();
        let is_primary = self.table.myself().is_primary();
        let began_at = *self.state.began_at.get_or_insert(now);
        if is_primary && !self.state.ok && now.since(began_at) < WRITABLE_DELAY {
            return;
        }
        let covered = self.table.peers.iter().filter(|peer| !peer.is_failed());
        let covered = covered.fold(Slots::NONE, |slots, peer| slots.union(peer.slots)).is_all();
        let voters = || self.table.peers.iter().filter(|peer| peer.is_voter());
        let reachable = voters().filter(|peer| peer.health == Health::Fine).count();
        self.size = voters().count();
        let mut ok = covered || !self.spec.config.require_full_coverage;
        let serves_anyhow = self.spec.server.planted == Planted::ServeInMinority;
        if reachable < self.quorum() && !serves_anyhow {
            ok = false;
            self.state.minority_at = Some(now);
        }
        if ok == self.state.ok {
            return;
        }
        let delay = self.spec.config.node_timeout.clamp(SHORTEST_REJOIN_DELAY, LONGEST_REJOIN_DELAY);
        let was_cut_off = self.state.minority_at.is_some_and(|at| now.since(at) < delay);
        if ok && is_primary && was_cut_off {
            return;
        }
        context.note(|| format!("cluster state changed: {}", if ok { "ok" } else { "fail" }));
        self.state.ok = ok;
    }
}
