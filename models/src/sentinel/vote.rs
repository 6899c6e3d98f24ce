//! Votes and the leader of an epoch (`sentinelVoteLeader`, `sentinelGetLeader`).
//!
//! A vote is written and synced before it is answered, so a Sentinel that restarts votes once in an epoch; for whom it
//! voted it does not remember. The winner needs a majority of all Sentinels ever known, dead ones included, and at
//! least `quorum` votes.
//!
//! There are two numbers: the epoch of the Sentinel, which any message moves, and that of its failover. Votes are compared
//! with the former and the own vote with the latter, as in the real code. While several groups fail at once, winners
//! are therefore not recognised (RZ-09 of the fidelity specification).

use sim_core::Context;

use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::{Epoch, GroupId, RunId};

impl Sentinel {
    /// Votes for the candidate, unless it has voted in this epoch or a later one. Returns its last vote.
    pub(super) fn cast_vote(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        epoch: Epoch,
        candidate: RunId,
    ) -> (Option<RunId>, Epoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            context.note(|| format!("+new-epoch {}", epoch.0));
            self.flush(context);
        }
        let planted = self.spec.planted;
        let group = &mut self.groups[usize::from(id.0)];
        let has_voted = group.leader_epoch >= epoch && planted != Planted::VoteForEveryone;
        if !has_voted && self.epoch <= epoch {
            group.leader = Some(candidate);
            group.leader_epoch = self.epoch;
            context.note(|| format!("+vote-for-leader {:08x} {}", candidate.0, epoch.0));
            if candidate != self.id {
                group.started_at = Some(context.wall() + self.rand.desync(context));
            }
            self.flush(context);
        }
        let group = &self.groups[usize::from(id.0)];
        (group.leader, group.leader_epoch)
    }

    /// The leader of this Sentinel's failover, if there is one.
    pub(super) fn leader(&mut self, context: &mut impl Context<Self>, id: GroupId) -> Option<RunId> {
        let group = &self.groups[usize::from(id.0)];
        let (quorum, epoch) = (group.config.quorum, group.failover_epoch);
        let mut voters = (group.peers.len() + group.ghosts.len()) as u32 + 1;
        if self.spec.planted == Planted::MajorityOfResponders {
            voters = group.peers.iter().filter(|peer| peer.leader.is_some()).count() as u32 + 1;
        }
        let mut votes: Vec<(RunId, u32)> = Vec::new();
        let count = |votes: &mut Vec<(RunId, u32)>, leader: RunId| match votes
            .iter_mut()
            .find(|(candidate, _)| *candidate == leader)
        {
            Some((_, count)) => *count += 1,
            None => votes.push((leader, 1)),
        };
        for peer in &group.peers {
            if let Some(leader) = peer.leader.filter(|_| peer.leader_epoch == self.epoch) {
                count(&mut votes, leader);
            }
        }
        // The first of equals; the real one is the first in an order of hashes.
        let ahead = votes.iter().rev().max_by_key(|(_, count)| *count).map(|(leader, _)| *leader);
        let (mine, my_epoch) = self.cast_vote(context, id, epoch, ahead.unwrap_or(self.id));
        if let Some(mine) = mine.filter(|_| my_epoch == epoch) {
            count(&mut votes, mine);
        }
        let majority = if self.spec.planted == Planted::ElectByQuorum { 1 } else { voters / 2 + 1 };
        let needed = majority.max(quorum);
        let (winner, most) = votes.into_iter().rev().max_by_key(|(_, count)| *count)?;
        (most >= needed).then_some(winner)
    }
}
