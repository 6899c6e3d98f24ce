//! Elections: when a replica of a failed primary stands, who votes for it, and what it does when it wins.
//!
//! ```text
//! FAIL --(next cron)--> schedule: 500 ms + up to 500 ms + 1 s for each replica that is further
//!      --(then)--> currentEpoch + 1, AUTH_REQUEST to everybody --(a majority of AUTH_ACKs)--> primary in that epoch
//!      --(no majority within two node timeouts)--> expired; the next one after four
//! ```
//!
//! A primary with slots votes once in an epoch, whichever shard asks, and its vote is durable before it leaves. So the
//! replicas of two shards that ask in the same epoch may both fail, and try again four node timeouts later.

use sim_core::{Context, MarkKind, SimDuration, WallTime};

use super::config::Release;
use super::message::{Body, Message, NodeId};
use super::node::ClusterNode;
use super::table::Peer;
use crate::planted::Planted;
use crate::redis::Epoch;

/// The part of the delay that is the same for all: time for FAIL to spread.
const FIXED_DELAY: SimDuration = SimDuration::from_millis(500);
/// The part that is drawn, in whole milliseconds below this.
const RANDOM_DELAY_MILLIS: u64 = 500;
/// For each replica that has more.
const RANK_DELAY: SimDuration = SimDuration::from_secs(1);
/// The least time that an election may take.
const LEAST_TIMEOUT: SimDuration = SimDuration::from_secs(2);

/// The candidacy of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Election {
    /// When it asks for votes, or did (`failover_auth_time`); none: never.
    pub(super) at: Option<WallTime>,
    /// It has asked.
    asked: bool,
    votes: usize,
    rank: u64,
    pub(super) epoch: Epoch,
}

impl ClusterNode {
    /// A majority of the primaries with slots, those included that failed.
    pub(super) fn quorum(&self) -> usize {
        self.size / 2 + 1
    }

    /// `clusterHandleSlaveFailover`: one step towards becoming primary.
    pub(super) fn stand(&mut self, context: &mut impl Context<Self>) {
        let now = context.wall();
        let config = &self.spec.config;
        let timeout = (config.node_timeout * 2).max(LEAST_TIMEOUT);
        let by_command = self.manual.can_start();
        let Some(primary) = self.table.my_primary() else { return };
        let is_called = self.table.peer(primary).is_failed() && !config.replica_no_failover;
        if !(is_called || by_command) || self.table.peer(primary).slots.is_empty() {
            return;
        }
        if !by_command && !self.data_are_recent(context) {
            return;
        }
        let age = self.election.at.map_or(SimDuration::MAX, |at| now.since(at));
        if age > timeout * 2 {
            return self.schedule_election(context, now);
        }
        if !self.election.asked && !self.manual.is_under_way() {
            self.update_rank();
        }
        if self.election.at.is_some_and(|at| now < at) || age > timeout {
            return;
        }
        if !self.election.asked {
            self.table.current_epoch = self.table.current_epoch.next();
            self.election.epoch = self.table.current_epoch;
            self.election.asked = true;
            context.note(|| format!("starting a failover election for epoch {}", self.election.epoch.0));
            self.broadcast(&Body::AuthRequest { force: self.manual.is_under_way() });
            self.todo.save_and_sync();
            self.todo.update_state = true;
        } else if self.election.votes >= self.quorum() {
            self.win(context);
        }
    }

    fn schedule_election(&mut self, context: &mut impl Context<Self>, now: WallTime) {
        let rank = self.rank();
        let random = SimDuration::from_millis(context.random().below(RANDOM_DELAY_MILLIS));
        let mut delay = FIXED_DELAY + random + RANK_DELAY * rank;
        if self.manual.is_under_way() {
            delay = SimDuration::ZERO;
            self.todo.stand = true;
        }
        context.note(|| format!("start of election delayed for {delay} (rank {rank})"));
        let rank = if self.manual.is_under_way() { 0 } else { rank };
        self.election = Election { at: Some(now + delay), asked: false, votes: 0, rank, ..self.election };
        // The other replicas learn how far this one is.
        let siblings: Vec<NodeId> = self.siblings().collect();
        self.announce(context, siblings.into_iter());
    }

    /// The other replicas of this node's primary.
    fn siblings(&self) -> impl Iterator<Item = NodeId> + '_ {
        let primary = self.table.my_primary();
        self.table.others().filter(move |id| primary.is_some() && self.table.peer(*id).follows == primary)
    }

    /// How many other replicas have more (`clusterGetSlaveRank`).
    fn rank(&self) -> u64 {
        let mine = self.my_offset();
        self.siblings().filter(|id| self.table.peer(*id).offset > mine).count() as u64
    }

    /// What the others said meanwhile may make it wait longer, and with Valkey also shorter.
    fn update_rank(&mut self) {
        let (before, now) = (self.election.rank, self.rank());
        let Some(at) = self.election.at else { return };
        if now > before {
            self.election.at = Some(at + RANK_DELAY * (now - before));
            self.election.rank = now;
        } else if now < before && self.spec.config.release >= Release::Valkey8 {
            let earlier = (RANK_DELAY * (before - now)).as_nanos();
            self.election.at = Some(WallTime::from_nanos(at.as_nanos().saturating_sub(earlier)));
            self.election.rank = now;
        }
    }

    /// `cluster-replica-validity-factor`. Ages are whole seconds. A replica that has not been connected since its start
    /// does not know when it was, takes that for 1970, and never stands.
    fn data_are_recent(&self, context: &impl Context<Self>) -> bool {
        let config = &self.spec.config;
        if config.replica_validity_factor == 0 {
            return true;
        }
        let Some(age) = self.data_age(context.monotonic()) else {
            return self.spec.server.planted == Planted::UnknownAgeIsZero;
        };
        let age = if age > config.node_timeout { age - config.node_timeout } else { age };
        let oldest = self.spec.server.parameters.repl_ping_replica_period
            + config.node_timeout * u64::from(config.replica_validity_factor);
        age <= oldest
    }

    fn win(&mut self, context: &mut impl Context<Self>) {
        let epoch = self.election.epoch;
        context.note(|| format!("failover election won in epoch {}", epoch.0));
        let me = self.table.me;
        let myself = self.table.peer_mut(me);
        myself.config_epoch = myself.config_epoch.max(epoch);
        self.won = Some(epoch);
        self.votes_needed = Some(self.quorum());
        self.won_with_unknown_age = self.spec.config.replica_validity_factor > 0
            && !self.manual.is_under_way()
            && self.data_age(context.monotonic()).is_none();
        self.replace_primary(context);
    }

    /// `clusterFailoverReplaceYourMaster`: it has an epoch, and takes the place of its primary.
    pub(super) fn replace_primary(&mut self, context: &mut impl Context<Self>) {
        let (Some(primary), me) = (self.table.my_primary(), self.table.me) else { return };
        let slots = self.table.peer(primary).slots;
        if slots.contains(self.spec.watched) {
            context.mark(MarkKind::Elected, u64::from(self.table.myself().config_epoch.0));
        }
        self.table.set_follows(me, None);
        self.follow(context, None);
        self.table.give(slots, me);
        self.update_state(context);
        self.todo.save_and_sync();
        self.announce(context, self.table.others());
        self.manual.reset();
    }

    /// A vote (`FAILOVER_AUTH_ACK`).
    pub(super) fn on_vote(&mut self, message: &Message) {
        if self.table.peer(message.sender).is_voter() && message.current_epoch >= self.election.epoch {
            self.election.votes += 1;
            self.todo.stand = true;
        }
    }

    /// `clusterSendFailoverAuthIfNeeded`.
    pub(super) fn on_vote_request(
        &mut self,
        context: &mut impl Context<Self>,
        request: &Message,
        force: bool,
    ) {
        let now = context.wall();
        let planted = self.spec.server.planted;
        let candidate = request.sender;
        if !self.table.myself().is_voter() {
            return;
        }
        if let Some(why) = self.refusal(request, force, now) {
            context.note(|| format!("failover auth denied to node {}: {why}", candidate.0 + 1));
            return;
        }
        if let Some(primary) = request.follows {
            self.table.peer_mut(primary).voted_at = Some(now);
        }
        self.table.last_vote_epoch = self.table.current_epoch;
        if planted != Planted::ForgetClusterVote {
            self.todo.save_and_sync();
        }
        context.note(|| {
            let epoch = self.table.current_epoch.0;
            format!("failover auth granted to node {} for epoch {epoch}", candidate.0 + 1)
        });
        self.gave_vote = Some((self.table.current_epoch, candidate));
        self.send(candidate, Body::AuthAck);
    }

    fn refusal(&self, request: &Message, force: bool, now: WallTime) -> Option<&'static str> {
        let planted = self.spec.server.planted;
        if request.current_epoch < self.table.current_epoch {
            return Some("an old epoch");
        }
        if self.table.last_vote_epoch == self.table.current_epoch && planted != Planted::VoteForEveryShard {
            return Some("already voted in this epoch");
        }
        let Some(primary) = self.table.peer(request.sender).follows else { return Some("it is a primary") };
        let primary: &Peer = self.table.peer(primary);
        if !primary.is_failed() && !force {
            return Some("its primary is up");
        }
        let gate = self.spec.config.node_timeout * 2;
        if planted != Planted::VoteForEveryShard && primary.voted_at.is_some_and(|at| now.since(at) < gate) {
            return Some("voted about this primary not long ago");
        }
        let is_newer = |slot: super::Slot| {
            let owner = self.table.owner(slot).filter(|_| !self.table.is_unclaimed(slot));
            owner.is_some_and(|owner| self.table.peer(owner).config_epoch > request.config_epoch)
        };
        if request.slots.iter().any(is_newer) {
            return Some("the epoch of a slot is newer");
        }
        None
    }
}
