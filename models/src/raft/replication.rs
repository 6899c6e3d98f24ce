//! What a leader knows of its followers, and how entries get to them and become committed.

use std::sync::Arc;

use super::{Append, LogIndex, Message, NodeId, Raft, Role};
use crate::planted::Planted;

/// What a leader knows of one node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last index that is known to be equal and durable there.
    pub(super) matched: LogIndex,
    /// The first index to send next.
    pub(super) next: LogIndex,
    /// True while appends are sent without waiting for answers; false while the leader probes where the logs part.
    pub(super) replicates: bool,
    /// True if a probe was sent that nobody answered yet. Cleared by the answer to a heartbeat.
    pub(super) probe_sent: bool,
    /// True if it was heard since check-quorum last looked.
    pub(super) heard: bool,
    /// The newest round of confirmations for readers that it answered.
    pub(super) read_round: u64,
}

impl Progress {
    pub(super) fn from(next: LogIndex) -> Self {
        Self { next, ..Self::default() }
    }

    fn probe(&mut self) {
        self.replicates = false;
        self.probe_sent = false;
        self.next = self.matched + 1;
    }
}

/// A read that waits until the leader is sure that it still leads.
#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    from: NodeId,
    number: u64,
    /// Absent until the leader has committed an entry of its own term.
    round: Option<(u64, LogIndex)>,
}

impl<T: Clone> Raft<T> {
    /// Asks how far a linearizable reader must wait. False if no leader is known. The answer may never come: messages
    /// are lost and leaders change, so ask again after a while.
    pub fn request_read(&mut self, number: u64) -> bool {
        match self.leader {
            Some(leader) if leader == self.config.me => self.begin_read(leader, number),
            Some(leader) => {
                let term = self.term;
                self.send(leader, Message::ReadRequest { term, number });
            }
            None => return false,
        }
        true
    }

    /// The next read whose index is confirmed; it may proceed once that index is applied.
    pub fn next_read(&mut self) -> Option<(u64, LogIndex)> {
        self.confirmed.pop_front()
    }

    /// The way to a node is known to be broken: appends on their way are probably lost.
    pub fn report_unreachable(&mut self, node: NodeId) {
        let progress = &mut self.progress[node.index()];
        if self.role == Role::Leader && progress.replicates {
            progress.probe();
        }
    }

    pub(super) fn broadcast_append(&mut self) {
        for node in self.others() {
            self.send_append(node, true);
        }
        if self.config.lacks(Planted::CountUnsyncedEntries) {
            self.progress[self.config.me.index()].matched = self.log.last_index();
        }
        if self.config.nodes == 1 {
            self.advance_commit();
        }
    }

    /// Sends what a node lacks, as far as it may be sent to now.
    fn send_append(&mut self, node: NodeId, even_if_empty: bool) -> bool {
        let last = self.log.last_index();
        let progress = &mut self.progress[node.index()];
        if progress.probe_sent || (!even_if_empty && progress.next > last) {
            return false;
        }
        let previous_index = progress.next - 1;
        let entries = self.log.from(progress.next).to_vec();
        if progress.replicates {
            progress.next = last + 1;
        } else {
            progress.probe_sent = true;
        }
        let append = Append {
            term: self.term,
            previous_index,
            previous_term: self.log.term_at(previous_index).expect("a leader has its whole log"),
            commit: self.commit,
            entries,
        };
        self.send(node, Message::Append(Arc::new(append)));
        true
    }

    pub(super) fn broadcast_heartbeat(&mut self) {
        let (term, round) = (self.term, self.read_round);
        for node in self.others() {
            // A follower must not commit what it may not hold.
            let commit = self.commit.min(self.progress[node.index()].matched);
            self.send(node, Message::Heartbeat { term, commit, round });
        }
    }

    pub(super) fn on_append(&mut self, from: NodeId, append: &Append<T>) {
        let term = self.term;
        let index = append.previous_index;
        if index < self.commit {
            let index = self.commit;
            self.send(from, Message::Appended { term, index });
            return;
        }
        let own = self.log.term_at(index);
        let fits = own == Some(append.previous_term)
            || (own.is_some() && self.config.lacks(Planted::SkipLogMatching));
        if !fits {
            let last_index = self.log.last_index();
            self.send(from, Message::AppendRefused { term, rejected: index, last_index });
            return;
        }
        for (index, entry) in (index + 1..).zip(&append.entries) {
            match self.log.term_at(index) {
                Some(term) if term == entry.term => continue,
                Some(_) => self.truncate_from(index),
                None => {}
            }
            self.log.push(entry.clone());
        }
        let index = index + append.entries.len() as LogIndex;
        self.commit_to(append.commit.min(index));
        self.send(from, Message::Appended { term, index });
    }

    pub(super) fn on_appended(&mut self, from: NodeId, index: LogIndex) {
        if self.role != Role::Leader {
            return;
        }
        let progress = &mut self.progress[from.index()];
        progress.heard = true;
        let was_probing = !progress.replicates;
        if index > progress.matched || (was_probing && index + 1 >= progress.next) {
            progress.matched = progress.matched.max(index);
            progress.next = progress.next.max(index + 1);
            progress.probe_sent = false;
            if was_probing {
                progress.replicates = true;
                progress.next = progress.matched + 1;
            }
            if !self.advance_commit() && was_probing {
                self.send_append(from, true);
            }
            self.send_append(from, false);
        }
    }

    pub(super) fn on_append_refused(&mut self, from: NodeId, rejected: LogIndex, last_index: LogIndex) {
        if self.role != Role::Leader {
            return;
        }
        let progress = &mut self.progress[from.index()];
        progress.heard = true;
        if progress.replicates {
            if rejected <= progress.matched {
                return;
            }
            progress.probe();
        } else {
            if progress.next - 1 != rejected {
                return;
            }
            progress.next = rejected.min(last_index + 1).max(progress.matched + 1);
            progress.probe_sent = false;
        }
        self.send_append(from, true);
    }

    pub(super) fn on_heartbeat_answer(&mut self, from: NodeId, round: u64) {
        if self.role != Role::Leader {
            return;
        }
        let last = self.log.last_index();
        let progress = &mut self.progress[from.index()];
        progress.heard = true;
        progress.probe_sent = false;
        progress.read_round = progress.read_round.max(round);
        if progress.matched < last {
            self.send_append(from, true);
        }
        if !self.reads.is_empty() {
            self.confirm_reads();
        }
    }

    /// True if a majority was heard since the last call; begins the next window.
    pub(super) fn heard_majority(&mut self) -> bool {
        let mut heard = 1;
        for node in self.others() {
            heard += u32::from(std::mem::take(&mut self.progress[node.index()].heard));
        }
        heard >= self.config.majority()
    }

    /// Commits what a majority holds, if the newest of it is of this term. True if that is more than before.
    pub(super) fn advance_commit(&mut self) -> bool {
        let majority = self.config.majority() as usize;
        let mut matched = [0; 32];
        let matched = &mut matched[..self.progress.len()];
        for (slot, progress) in matched.iter_mut().zip(&self.progress) {
            *slot = progress.matched;
        }
        matched.sort_unstable();
        let needed = majority - usize::from(self.config.lacks(Planted::CommitMinority));
        let index = matched[matched.len() - needed.max(1)];
        let is_of_this_term =
            self.log.term_at(index) == Some(self.term) || self.config.lacks(Planted::CommitOlderTerms);
        if index <= self.commit || !is_of_this_term {
            return false;
        }
        self.commit_to(index);
        self.start_waiting_reads();
        for node in self.others() {
            self.send_append(node, true);
        }
        true
    }

    pub(super) fn begin_read(&mut self, from: NodeId, number: u64) {
        self.reads.push_back(PendingRead { from, number, round: None });
        self.start_waiting_reads();
    }

    /// Starts a round of confirmation for reads that have none, once an entry of this term is committed.
    fn start_waiting_reads(&mut self) {
        if self.reads.back().is_none_or(|read| read.round.is_some())
            || (self.log.term_at(self.commit) != Some(self.term)
                && !self.config.lacks(Planted::ReadBeforeFirstCommit))
        {
            return;
        }
        self.read_round += 1;
        let round = Some((self.read_round, self.commit));
        for read in self.reads.iter_mut().filter(|read| read.round.is_none()) {
            read.round = round;
        }
        self.broadcast_heartbeat();
        self.confirm_reads();
    }

    fn confirm_reads(&mut self) {
        let me = self.config.me;
        while let Some((round, index)) = self.reads.front().and_then(|read| read.round) {
            let confirmations = self.others().filter(|node| {
                let progress = self.progress[node.index()];
                progress.read_round >= round
            });
            if 1 + (confirmations.count() as u32) < self.config.majority()
                && !self.config.lacks(Planted::ReadWithoutQuorum)
            {
                return;
            }
            let Some(read) = self.reads.pop_front() else {
                return;
            };
            if read.from == me {
                self.confirmed.push_back((read.number, index));
            } else {
                let (term, number) = (self.term, read.number);
                self.send(read.from, Message::ReadAnswer { term, number, index });
            }
        }
    }

    /// Reads do not survive a change of role: whoever asked asks again.
    pub(super) fn forget_reads(&mut self) {
        self.reads.clear();
    }
}
