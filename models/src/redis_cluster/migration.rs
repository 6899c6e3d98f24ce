//! Replica migration: a primary that has lost all its replicas gets one of a shard that has more than it needs.

use sim_core::{Context, SimDuration};

use super::message::NodeId;
use super::node::ClusterNode;
use super::table::Health;

/// `CLUSTER_SLAVE_MIGRATION_DELAY`: how long a primary has to be without replicas.
const DELAY: SimDuration = SimDuration::from_secs(5);

impl ClusterNode {
    /// Whether this replica is needed elsewhere, and goes there.
    pub(super) fn migrate_if_needed(&mut self, context: &mut impl Context<Self>) {
        let Some(mine) = self.table.my_primary() else { return };
        let primaries = || {
            self.table.ids().filter(|id| {
                let peer = self.table.peer(*id);
                peer.is_primary() && !peer.is_failed()
            })
        };
        let most = primaries().map(|id| self.table.working_replicas(id)).max().unwrap_or_default();
        let any_orphaned =
            primaries().any(|id| self.is_orphaned(id) && !self.table.peer(id).slots.is_empty());
        let is_here = !self.table.peer(mine).is_failed() && self.table.working_replicas(mine) == most;
        if any_orphaned
            && most >= 2
            && is_here
            && self.spec.config.allow_replica_migration
            && self.state.is_ok()
        {
            self.migrate(context, mine, most);
        }
    }

    fn is_orphaned(&self, id: NodeId) -> bool {
        let peer = self.table.peer(id);
        peer.is_primary() && !peer.is_failed() && peer.had_replicas && self.table.working_replicas(id) == 0
    }

    /// `clusterHandleSlaveMigration`.
    fn migrate(&mut self, context: &mut impl Context<Self>, mine: NodeId, most: u32) {
        let now = context.wall();
        let is_well = |id: &NodeId| self.table.peer(*id).health == Health::Fine;
        let stay = self.table.replicas(mine).filter(is_well).count() as u32;
        if stay <= self.spec.config.migration_barrier {
            return;
        }
        let mut target = None;
        let mut candidate = self.table.me;
        for id in self.table.ids() {
            let is_orphaned = self.is_orphaned(id);
            let peer = self.table.peer_mut(id);
            if is_orphaned {
                peer.orphaned_since.get_or_insert(now);
                if target.is_none() && !peer.slots.is_empty() {
                    target = Some(id);
                }
            } else {
                peer.orphaned_since = None;
            }
            if self.table.peer(id).is_primary() && self.table.working_replicas(id) == most {
                candidate = self.table.replicas(id).fold(candidate, NodeId::min);
            }
        }
        let Some(target) = target.filter(|_| candidate == self.table.me) else { return };
        if self.table.peer(target).orphaned_since.is_some_and(|since| now.since(since) > DELAY) {
            context.note(|| format!("migrating to orphaned primary {}", target.0 + 1));
            self.set_primary(context, target);
        }
    }
}
