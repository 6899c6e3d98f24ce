//! What always holds around a lock, whatever the faults.
//!
//! | condition | name | holds |
//! |---|---|---|
//! | the store never accepts a token that is smaller than one before it (I9) | `token-went-back` | with fencing |
//! | it never accepts one token from two holders | `token-of-two-holders` | with fencing |
//! | no effect takes back another that the writer did not know | `effect-overwritten` | with fencing |
//! | on each server, a lock changes hands only when it is free | `lock-overwritten` | always |
//!
//! That one contender leads at a time (C6) is no such condition: it is a promise that a scenario makes, or refutes.

use std::collections::BTreeMap;

use sim_core::{Contains, Nested, ProcessId, SimTime, StateProbe, Violation, World};

use super::contender::LOCK;
use super::store::{HolderId, Store, StoreDisk, Token};
use crate::redis::{Change, DataDirectory, KeyChange, Server};
use crate::redis_cluster::{ClusterNode, ClusterProcess, NodeDirectory};

/// Adds the conditions on the store to a world.
pub(super) fn add_to_store<P: Contains<Store>>(world: &mut World<P>, store: ProcessId) {
    world.add_state_probe(&[store], Box::new(Nested::<_, Store>::new(Effects::default())));
}

/// Adds the conditions on the servers to a world.
pub(super) fn add_to_servers<Redis, P>(world: &mut World<P>, servers: &[ProcessId])
where
    Redis: Contains<Server> + 'static,
    P: Contains<Redis>,
{
    let probe = Nested::<_, Server>::new(Hands::default());
    world.add_state_probe(servers, Box::new(Nested::<Nested<Hands, Server>, Redis>::new(probe)));
}

/// Adds the conditions on servers that are nodes of a cluster to a world.
pub(super) fn add_to_nodes<P: Contains<ClusterProcess>>(world: &mut World<P>, nodes: &[ProcessId]) {
    let probe = Nested::<_, ClusterNode>::new(OfNodes(Hands::default()));
    world.add_state_probe(nodes, Box::new(Nested::<_, ClusterProcess>::new(probe)));
}

/// What the store has accepted.
#[derive(Clone, Debug, Default)]
struct Effects {
    count: u64,
    last: Option<(Token, HolderId)>,
}

impl StateProbe<Store> for Effects {
    fn on_state(&mut self, at: SimTime, _: ProcessId, store: &Store, _: &StoreDisk) -> Option<Violation> {
        let accepted = store.accepted().filter(|accepted| accepted.count != self.count)?;
        self.count = accepted.count;
        let token = accepted.token?;
        let (before, owner) = *self.last.get_or_insert((token, accepted.holder));
        self.last = Some((token, accepted.holder));
        let (now, then) = (token.number(), before.number());
        if token < before {
            let detail = format!("token {now} was accepted after token {then}");
            return Some(Violation { at, name: "token-went-back", detail });
        }
        if token == before && owner != accepted.holder {
            let detail =
                format!("token {now} was accepted from {:016x} and {:016x}", owner.0, accepted.holder.0);
            return Some(Violation { at, name: "token-of-two-holders", detail });
        }
        accepted.overwrote.then(|| {
            let detail = format!("under token {now}, by {:016x}", accepted.holder.0);
            Violation { at, name: "effect-overwritten", detail }
        })
    }

    fn on_end(&mut self, _: SimTime, _: ProcessId) {
        self.count = 0;
    }

    fn clone_box(&self) -> Box<dyn StateProbe<Store>> {
        Box::new(self.clone())
    }
}

/// The same on the servers in nodes of a cluster.
#[derive(Clone, Debug)]
struct OfNodes(Hands);

impl StateProbe<ClusterNode> for OfNodes {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        node: &ClusterNode,
        directory: &NodeDirectory,
    ) -> Option<Violation> {
        self.0.on_state(at, process, node.server(), &directory.data)
    }

    fn on_end(&mut self, at: SimTime, process: ProcessId) {
        StateProbe::<Server>::on_end(&mut self.0, at, process);
    }

    fn clone_box(&self) -> Box<dyn StateProbe<ClusterNode>> {
        Box::new(self.clone())
    }
}

/// Who holds the lock on each server, as its stream tells it.
#[derive(Clone, Debug, Default)]
struct Hands(BTreeMap<ProcessId, (usize, Option<u64>)>);

impl StateProbe<Server> for Hands {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        server: &Server,
        _: &DataDirectory,
    ) -> Option<Violation> {
        let entries = server.log().entries();
        let (seen, holder) = self.0.entry(process).or_default();
        if entries.len() < *seen || server.is_loading() {
            // Another data set was loaded.
            *seen = entries.len();
            *holder = server.keys().get(LOCK);
            return None;
        }
        let mut overwritten = None;
        for entry in &entries[*seen..] {
            match entry.change {
                Change::Key(LOCK, KeyChange::Set(value, _)) => {
                    overwritten = overwritten.or(holder.filter(|before| *before != value));
                    *holder = Some(value);
                }
                Change::Key(LOCK, KeyChange::Delete) => *holder = None,
                _ => {}
            }
        }
        *seen = entries.len();
        overwritten.map(|before| {
            let by = holder.unwrap_or_default();
            let detail = format!("{by:016x} over {before:016x} on process {}", process.index());
            Violation { at, name: "lock-overwritten", detail }
        })
    }

    fn on_end(&mut self, _: SimTime, process: ProcessId) {
        self.0.remove(&process);
    }

    fn clone_box(&self) -> Box<dyn StateProbe<Server>> {
        Box::new(self.clone())
    }
}
