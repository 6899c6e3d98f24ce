//! What always holds in an etcd cluster, whatever fails (etcd documentation, "KV API guarantees"), checked on the states
//! of members and clients while a run goes.
//!
//! | condition | file | promise |
//! |---|---|---|
//! | those of Raft | [`crate::raft::invariants`] | all members apply the same |
//! | `stale-answer`, `write-in-the-past`, `read-differs`, `swap-of-another-value`, `acknowledged-write-missing` | `linearizable` | strict serializability |
//! | `two-lock-holders` | `lock` | a lease lasts its time to live after a keep-alive, and only then its keys vanish |
//! | `watch-missed-changes` | `watch` | a watch sees every change from the revision that it asked for |

mod linearizable;
mod lock;
mod watch;

use std::sync::Arc;

use sim_core::{ProcessId, SimTime, StateProbe, Violation, World};

use super::cluster::EtcdProcess;
use super::{Disk, Event, Proposal, Server};
use crate::raft::NodeId;
use crate::raft::invariants::RaftSafety;

pub(super) fn add_to(world: &mut World<EtcdProcess>, servers: &[ProcessId], clients: &[ProcessId]) {
    let processes: Vec<ProcessId> = servers.iter().chain(clients).copied().collect();
    world.add_state_probe(
        &processes,
        Box::new(Conditions { servers: servers.into(), ..Conditions::default() }),
    );
}

/// All conditions of one cluster.
#[derive(Clone, Debug, Default)]
struct Conditions {
    servers: Vec<ProcessId>,
    raft: RaftSafety,
    history: History,
    linearizable: linearizable::Clients,
    lock: lock::Lock,
    watch: watch::Watchers,
}

/// All changes that some member has applied, oldest first. Whoever applies a change first shows it; that all apply the
/// same is a condition of its own.
#[derive(Clone, Debug, Default)]
struct History {
    changes: Vec<(u64, Event)>,
    revision: u64,
}

impl History {
    fn follow(&mut self, server: &Server) {
        let store = server.store();
        if store.revision() > self.revision {
            self.changes.extend_from_slice(store.history_from(self.revision + 1));
            self.revision = store.revision();
        }
    }

    /// The last change of a key at or before a revision.
    fn last_change(&self, key: &str, revision: u64) -> Option<&Event> {
        let until = self.changes.partition_point(|(at, _)| *at <= revision);
        self.changes[..until].iter().rev().map(|(_, event)| event).find(|event| **event.key() == *key)
    }

    /// How many changes there were after one revision and up to another.
    fn count(&self, after: u64, until: u64) -> u64 {
        let position = |revision| self.changes.partition_point(|(at, _)| *at <= revision);
        (position(until) - position(after)) as u64
    }
}

impl StateProbe<EtcdProcess> for Conditions {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &EtcdProcess,
        _storage: &Disk,
    ) -> Option<Violation> {
        match state {
            // A member that cannot read its log, or finds that the log lacks what it has promised, ends before it says
            // anything: what stands in its log then is nobody's.
            EtcdProcess::Server(server) if server.has_exited() => None,
            EtcdProcess::Server(server) => {
                let identity = |proposal: &Arc<Proposal>| proposal.identity();
                let violation = self.raft.check(at, server.raft(), identity);
                self.history.follow(server);
                violation
            }
            EtcdProcess::Client(client) => self
                .linearizable
                .check(at, process, client, &self.history)
                .or_else(|| self.lock.check(at, process, client))
                .or_else(|| self.watch.check(at, process, client, &self.history)),
        }
    }

    fn on_end(&mut self, _at: SimTime, process: ProcessId) {
        if let Some(position) = self.servers.iter().position(|server| *server == process) {
            self.raft.forget(NodeId(position as u8));
        }
    }

    fn clone_box(&self) -> Box<dyn StateProbe<EtcdProcess>> {
        Box::new(self.clone())
    }
}
