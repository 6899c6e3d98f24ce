//! What must always hold among the nodes of a cluster, whatever the faults (I5, I6 and I8 of the fidelity specification).
//!
//! | condition | name |
//! |---|---|
//! | a node votes for one candidate in an epoch, also across restarts | `two-votes-in-one-epoch` |
//! | a vote that has left is in `nodes.conf` | `vote-not-written` |
//! | no two nodes win an election in one epoch | `two-primaries-in-one-epoch` |
//! | who wins has the votes of a majority of the primaries, in that epoch | `elected-without-majority` |
//! | who wins has been connected to its primary since its start, unless data of any age will do | `elected-with-unknown-age` |
//! | a node takes a slot from its owner only for one with a larger configuration epoch | `slot-to-older-epoch` |
//! | servers at one offset of one stream hold the same data | `stream-diverged` |
//!
//! `CLUSTER FAILOVER TAKEOVER` is no election, and may take an epoch that somebody else has: the collision is resolved
//! later. An operator who moves a slot rebinds it as he likes. The slots of a primary that says that it is a replica now are
//! nobody's, and go to whoever claims them first, even if what it says is old. From Redis 7.0.13 on, a slot that its owner does not
//! claim any more goes to whoever does. Before Valkey 8 a winner keeps its election when it is demoted (its pull request 782 ends that), and wins
//! it once more if it holds its new primary for failed still: it takes the slots with its old epoch, until somebody tells it. The swarm of
//! the catalogue found that.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::{Contains, Nested, ProcessId, SimTime, StateProbe, Violation, World};

use super::cluster::{ClusterDisk, ClusterProcess};
use super::message::NodeId;
use super::node::ClusterNode;
use super::slots::Slot;
use crate::redis::{Epoch, STREAM_DIVERGED, Streams};

/// Adds the conditions to a world of which the nodes are a part, or the whole.
pub(super) fn add_to<P: Contains<ClusterProcess>>(world: &mut World<P>, nodes: &[ProcessId]) {
    let conditions = Conditions {
        nodes: nodes.to_vec(),
        streams: Streams::of(nodes),
        votes: BTreeMap::new(),
        voters: BTreeMap::new(),
        winners: BTreeMap::new(),
        seen: vec![Seen::default(); nodes.len()],
    };
    world.add_state_probe(nodes, Box::new(Nested::<_, ClusterProcess>::new(conditions)));
}

/// What has been seen of all nodes.
#[derive(Clone, Debug)]
struct Conditions {
    nodes: Vec<ProcessId>,
    streams: Streams,
    /// For whom a node voted in an epoch.
    votes: BTreeMap<(ProcessId, Epoch), NodeId>,
    /// Who voted for a candidate in an epoch.
    voters: BTreeMap<(Epoch, NodeId), BTreeSet<ProcessId>>,
    winners: BTreeMap<Epoch, ProcessId>,
    seen: Vec<Seen>,
}

/// What was last seen of one life of a node.
#[derive(Clone, Debug, Default)]
struct Seen {
    vote: Option<(Epoch, NodeId)>,
    won: Option<Epoch>,
    rebindings: Option<u64>,
    owners: BTreeMap<Slot, (NodeId, Epoch)>,
}

impl Conditions {
    fn look(
        &mut self,
        process: ProcessId,
        node: &ClusterNode,
        disk: &ClusterDisk,
    ) -> Option<(&'static str, String)> {
        let index = process.index() - self.nodes[0].index();
        if let Some(detail) = self.streams.look(process, node.server()) {
            return Some((STREAM_DIVERGED, detail));
        }
        let seen = &mut self.seen[index];
        if let (Some((epoch, _)), ClusterDisk::Node(directory)) = (node.gave_vote, disk)
            && !node.stands_still()
            && directory.conf.last_vote_epoch < epoch
        {
            return Some(("vote-not-written", format!("epoch {}", epoch.0)));
        }
        if let Some((epoch, candidate)) = node.gave_vote.filter(|_| seen.vote != node.gave_vote) {
            seen.vote = node.gave_vote;
            self.voters.entry((epoch, candidate)).or_default().insert(process);
            let first = *self.votes.entry((process, epoch)).or_insert(candidate);
            if first != candidate {
                let (one, other) = (first.0 + 1, candidate.0 + 1);
                return Some((
                    "two-votes-in-one-epoch",
                    format!("nodes {one} and {other}, epoch {}", epoch.0),
                ));
            }
        }
        if let Some(epoch) = node.won.filter(|_| seen.won != node.won) {
            seen.won = node.won;
            let first = *self.winners.entry(epoch).or_insert(process);
            if first != process {
                return Some(("two-primaries-in-one-epoch", format!("epoch {}", epoch.0)));
            }
            if node.won_with_unknown_age {
                return Some(("elected-with-unknown-age", format!("epoch {}", epoch.0)));
            }
            let votes = self.voters.get(&(epoch, NodeId(index as u8))).map_or(0, BTreeSet::len);
            let needed = node.votes_needed.unwrap_or_default();
            if votes < needed {
                return Some((
                    "elected-without-majority",
                    format!("{votes} of {needed} in epoch {}", epoch.0),
                ));
            }
        }
        let (rebindings, bindings) = node.bindings();
        if seen.rebindings == Some(rebindings) {
            return None;
        }
        let is_first = seen.rebindings.replace(rebindings).is_none();
        let was_commanded = node.rebound_by_command(rebindings);
        let mut wrong = None;
        // What nobody owns any more is forgotten.
        let owners_before = std::mem::take(&mut seen.owners);
        for (slot, owner, epoch) in bindings {
            seen.owners.insert(slot, (owner, epoch));
            if let Some(&(before, older)) =
                owners_before.get(&slot).filter(|(before, _)| *before != owner && !is_first)
                && epoch <= older
                && !node.has_taken_unclaimed(slot)
                && !was_commanded
                && !(owner.index() == index && node.repeats_election(epoch))
            {
                let (from, to) = (before.0 + 1, owner.0 + 1);
                wrong = Some(format!("slot {} from node {from} ({}) to {to} ({})", slot.0, older.0, epoch.0));
            }
        }
        wrong.map(|detail| ("slot-to-older-epoch", detail))
    }
}

impl StateProbe<ClusterProcess> for Conditions {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &ClusterProcess,
        disk: &ClusterDisk,
    ) -> Option<Violation> {
        let ClusterProcess::Node(node) = state else { return None };
        let (name, detail) = self.look(process, node, disk)?;
        Some(Violation { at, name, detail: format!("{detail} (process {})", process.index()) })
    }

    fn on_end(&mut self, _: SimTime, process: ProcessId) {
        self.streams.forget(process);
        if let Some(position) = self.nodes.iter().position(|node| *node == process) {
            self.seen[position] = Seen::default();
        }
    }

    fn clone_box(&self) -> Box<dyn StateProbe<ClusterProcess>> {
        Box::new(self.clone())
    }
}
