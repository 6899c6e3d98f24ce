//! Terms, votes and the protection of a living leader.

use sim_core::{HostTime, Stream};

use super::replication::Progress;
use super::{Entry, LogIndex, Message, NodeId, Raft, Restart, Role, Term};
use crate::planted::Planted;

impl<T: Clone> Raft<T> {
    /// The election timer fired: campaigns, if the timeout really is over.
    pub fn on_election_timer(&mut self, now: HostTime, random: &mut Stream) {
        if self.role == Role::Leader || now < self.election_deadline {
            return;
        }
        let late = now.since(self.election_deadline);
        self.election_deadline = self.ticker.timeout_from(now);
        self.waiting_since = now;
        if late > self.ticker.tolerance() {
            // The process was paused: the ticks of that time never came.
            return;
        }
        if self.config.pre_vote {
            self.become_pre_candidate(now, random);
        } else {
            self.become_candidate(now, random);
        }
    }

    /// The heartbeat timer of a leader fired.
    pub fn on_heartbeat_timer(&mut self, now: HostTime, random: &mut Stream) {
        if self.role != Role::Leader || now < self.heartbeat_due {
            return;
        }
        self.heartbeat_due = self.ticker.next_heartbeat(now);
        self.heartbeats += 1;
        if self.heartbeats >= self.ticker.heartbeats_per_window() {
            self.heartbeats = 0;
            if self.config.check_quorum && !self.heard_majority() {
                self.become_follower(now, self.term, None, random);
                return;
            }
        }
        self.broadcast_heartbeat();
    }

    /// Compares terms before anything else. False if the message has no further effect.
    pub(super) fn meet_term(
        &mut self,
        now: HostTime,
        from: NodeId,
        message: &Message<T>,
        random: &mut Stream,
    ) -> bool {
        let term = message.term();
        if term < self.term {
            self.answer_older_term(from, message);
            return false;
        }
        if term == self.term {
            return true;
        }
        match message {
            Message::VoteRequest { .. } if self.is_protecting_leader(now) => return false,
            // A question about a later term, or the permission to begin it, does not begin it.
            Message::VoteRequest { pre: true, .. } | Message::Vote { pre: true, granted: true, .. } => {}
            _ => {
                let leader = message.is_from_leader().then_some(from);
                self.become_follower(now, term, leader, random);
            }
        }
        true
    }

    fn answer_older_term(&mut self, from: NodeId, message: &Message<T>) {
        let term = self.term;
        if message.is_from_leader() && (self.config.check_quorum || self.config.pre_vote) {
            // Without an answer, a node that came back with a newer term would be stuck: it ignores the leader,
            // and everybody who hears the leader ignores its requests for votes.
            self.send(from, Message::HeartbeatAnswer { term, round: 0 });
        } else if let Message::VoteRequest { pre: true, .. } = message {
            self.send(from, Message::Vote { term, granted: false, pre: true });
        }
    }

    /// True while this node heard a leader within the shortest election timeout.
    fn is_protecting_leader(&self, now: HostTime) -> bool {
        if !self.config.check_quorum || self.leader.is_none() {
            return false;
        }
        self.role == Role::Leader || now < self.ticker.shortest_from(self.waiting_since)
    }

    pub(super) fn on_vote_request(
        &mut self,
        now: HostTime,
        from: NodeId,
        term: Term,
        last: (Term, LogIndex),
        pre: bool,
        random: &mut Stream,
    ) {
        let may_vote = self.vote == Some(from)
            || (self.vote.is_none() && self.leader.is_none())
            || (pre && term > self.term)
            || self.config.lacks(Planted::VoteTwice);
        let is_long_enough = last >= (self.log.last_term(), self.log.last_index())
            || self.config.lacks(Planted::VoteWithoutLogCheck);
        let granted = may_vote && is_long_enough;
        if granted && !pre {
            self.vote = Some(from);
            self.hear_from(now, random);
        }
        let term = if granted { term } else { self.term };
        self.send(from, Message::Vote { term, granted, pre });
    }

    pub(super) fn on_vote(
        &mut self,
        now: HostTime,
        from: NodeId,
        term: Term,
        granted: bool,
        pre: bool,
        random: &mut Stream,
    ) {
        let expected = if pre { Role::PreCandidate } else { Role::Candidate };
        if self.role != expected || (pre && granted && term != self.term.next()) {
            return;
        }
        if granted {
            self.granted |= from.bit();
        } else {
            self.refused |= from.bit();
        }
        self.count_votes(now, random);
    }

    fn count_votes(&mut self, now: HostTime, random: &mut Stream) {
        let majority = self.config.majority();
        let needed = majority - u32::from(self.config.lacks(Planted::ElectByMinority));
        if self.granted.count_ones() >= needed {
            if self.role == Role::PreCandidate {
                self.become_candidate(now, random);
            } else {
                self.become_leader(now, random);
            }
        } else if self.refused.count_ones() >= majority {
            self.become_follower(now, self.term, None, random);
        }
    }

    fn become_pre_candidate(&mut self, now: HostTime, random: &mut Stream) {
        self.role = Role::PreCandidate;
        self.leader = None;
        self.campaign(self.term.next(), true, now, random);
    }

    fn become_candidate(&mut self, now: HostTime, random: &mut Stream) {
        self.role = Role::Candidate;
        self.term = self.term.next();
        self.vote = Some(self.config.me);
        self.leader = None;
        self.wait_anew(now, random);
        self.campaign(self.term, false, now, random);
    }

    fn campaign(&mut self, term: Term, pre: bool, now: HostTime, random: &mut Stream) {
        // A vote for oneself is as good as any other: only when it is durable. A pre-vote binds nobody.
        self.granted = if pre { self.config.me.bit() } else { 0 };
        self.refused = 0;
        let (last_term, last_index) = (self.log.last_term(), self.log.last_index());
        for node in self.others() {
            self.send(node, Message::VoteRequest { term, last_term, last_index, pre });
        }
        self.count_votes(now, random);
    }

    /// A write is durable: if it was this candidate's vote for itself, it counts now.
    pub(super) fn count_own_vote(&mut self, now: HostTime, random: &mut Stream) {
        if self.role == Role::Candidate && self.written.term == self.term {
            self.granted |= self.config.me.bit();
            self.count_votes(now, random);
        }
    }

    fn become_leader(&mut self, now: HostTime, random: &mut Stream) {
        self.role = Role::Leader;
        self.leader = Some(self.config.me);
        self.ticker.draw(random);
        self.heartbeats = 0;
        self.heartbeat_due = self.ticker.next_heartbeat(now);
        self.forget_reads();
        let next = self.log.last_index() + 1;
        self.progress.fill(Progress::from(next));
        if !self.config.lacks(Planted::CommitOlderTerms) {
            self.log.push(Entry { term: self.term, payload: None });
        }
        self.broadcast_append();
    }

    pub(super) fn become_follower(
        &mut self,
        now: HostTime,
        term: Term,
        leader: Option<NodeId>,
        random: &mut Stream,
    ) {
        let was_leader = self.role == Role::Leader;
        if term > self.term {
            self.term = term;
            self.vote = None;
        }
        self.role = Role::Follower;
        self.leader = leader;
        self.forget_reads();
        if was_leader || leader.is_some() || self.config.restart == Restart::AtNewTerm {
            self.wait_anew(now, random);
        }
    }

    /// A message of the current term's leader arrived.
    #[inline]
    pub(super) fn hear_leader(&mut self, now: HostTime, from: NodeId, random: &mut Stream) {
        debug_assert!(self.role != Role::Leader, "two leaders in {:?}", self.term);
        if self.role == Role::Follower {
            self.leader = Some(from);
            self.hear_from(now, random);
        } else {
            self.become_follower(now, self.term, Some(from), random);
        }
    }

    /// The leader was heard, or a vote granted: waits from now.
    #[inline]
    fn hear_from(&mut self, now: HostTime, random: &mut Stream) {
        if self.config.restart == Restart::AtContact {
            self.ticker.draw(random);
        }
        self.waiting_since = now;
        self.election_deadline = self.ticker.timeout_from(now);
    }

    /// Waits from now, for a newly drawn timeout.
    fn wait_anew(&mut self, now: HostTime, random: &mut Stream) {
        self.ticker.draw(random);
        self.waiting_since = now;
        self.election_deadline = self.ticker.timeout_from(now);
    }
}
