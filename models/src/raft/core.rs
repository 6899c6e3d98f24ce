//! The node: its state, what goes in, and what comes out.

use std::collections::VecDeque;

use sim_core::{HostTime, SimDuration, Stream};

use super::config::Ticker;
use super::replication::{PendingRead, Progress};
use super::{Config, Disk, Entry, Log, LogIndex, Message, NodeId, Term};
use crate::planted::Planted;

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads its term.
    Leader,
}

/// What must survive a crash besides the log. Term and vote are synced before anything depends on them; the commit
/// index is only a hint how much of the log may be applied at once after a restart.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct HardState {
    /// The newest term the node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// What it knows to be committed.
    pub commit: LogIndex,
}

/// What a node wants to be written.
#[derive(Debug)]
pub struct Write<'a, T> {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// Where the entries belong.
    pub first_index: LogIndex,
    /// The new entries.
    pub entries: &'a [Entry<T>],
    /// True if it must be synced, and [`Raft::on_persisted`] called then. Otherwise the write alone is enough.
    pub must_sync: bool,
}

/// A node of a Raft cluster.
#[derive(Clone, Debug)]
pub struct Raft<T> {
    pub(super) config: Config,
    pub(super) ticker: Ticker,
    pub(super) role: Role,
    pub(super) term: Term,
    pub(super) vote: Option<NodeId>,
    pub(super) leader: Option<NodeId>,
    pub(super) log: Log<T>,
    pub(super) commit: LogIndex,
    applied: LogIndex,
    /// When this node last heard its leader, voted or began to wait.
    pub(super) waiting_since: HostTime,
    /// When it stops waiting; a leader does not wait.
    pub(super) election_deadline: HostTime,
    pub(super) heartbeat_due: HostTime,
    /// Heartbeats since check-quorum last looked.
    pub(super) heartbeats: u64,
    /// Sets of nodes that answered the current campaign.
    pub(super) granted: u32,
    pub(super) refused: u32,
    pub(super) progress: Vec<Progress>,
    pub(super) read_round: u64,
    pub(super) reads: VecDeque<PendingRead>,
    /// Reads that may proceed once their index is applied.
    pub(super) confirmed: VecDeque<(u64, LogIndex)>,
    /// Made since the last write began.
    pub(super) outbox: VecDeque<(NodeId, Message<T>)>,
    /// Waits for the write under way.
    held: Vec<(NodeId, Message<T>)>,
    /// May leave.
    released: VecDeque<(NodeId, Message<T>)>,
    /// The first entry that no write has covered yet.
    unwritten: LogIndex,
    /// The last durable entry.
    stable: LogIndex,
    /// Term, vote and commit index as of the last write.
    pub(super) written: HardState,
    /// Whether term, vote and commit index were saved since this node started. `etcd` compares what it saves with what it has
    /// saved in this life (`WAL.Save`, whose `state` `ReadAll` leaves empty), so the first time it always syncs.
    state_saved: bool,
    /// The last entry of the write under way.
    writing: Option<LogIndex>,
    /// A leader counts on an entry that this node does not have.
    lost_log: bool,
    /// Term and vote that are known to be durable.
    durable: (Term, Option<NodeId>),
}

impl<T: Clone> Raft<T> {
    /// A node that starts from its volume, as a follower that begins to wait for a leader.
    ///
    /// # Panics
    /// If there are no nodes, or more than 32.
    pub fn new(config: Config, disk: &Disk<T>, now: HostTime, random: &mut Stream) -> Self {
        assert!((1..=32).contains(&config.nodes), "a cluster has 1 to 32 nodes, not {}", config.nodes);
        let ticker = Ticker::new(config.timing, now, random);
        let log = disk.log.clone();
        let last = log.last_index();
        Self {
            election_deadline: ticker.timeout_from(now),
            heartbeat_due: HostTime::NEVER,
            progress: vec![Progress::default(); usize::from(config.nodes)],
            vote: if config.lacks(Planted::ForgetVote) { None } else { disk.hard_state.vote },
            config,
            ticker,
            role: Role::Follower,
            term: disk.hard_state.term,
            leader: None,
            log,
            commit: disk.hard_state.commit.min(last),
            applied: 0,
            waiting_since: now,
            heartbeats: 0,
            granted: 0,
            refused: 0,
            read_round: 0,
            reads: VecDeque::new(),
            confirmed: VecDeque::new(),
            outbox: VecDeque::new(),
            held: Vec::new(),
            released: VecDeque::new(),
            unwritten: last + 1,
            stable: last,
            written: disk.hard_state,
            state_saved: false,
            writing: None,
            lost_log: false,
            // What it reads may not be durable: a killed process leaves writes that nobody has synced.
            durable: (Term(0), None),
        }
    }

    /// A message of another node arrived.
    pub fn step(&mut self, now: HostTime, from: NodeId, message: Message<T>, random: &mut Stream) {
        if !self.meet_term(now, from, &message, random) {
            return;
        }
        match message {
            Message::VoteRequest { term, last_term, last_index, pre } => {
                self.on_vote_request(now, from, term, (last_term, last_index), pre, random);
            }
            Message::Vote { term, granted, pre } => self.on_vote(now, from, term, granted, pre, random),
            Message::Append(append) => {
                self.hear_leader(now, from, random);
                self.on_append(from, &append);
            }
            Message::Heartbeat { commit, round, .. } => {
                self.hear_leader(now, from, random);
                // A leader names only what this node has acknowledged as durable.
                self.lost_log |= commit > self.log.last_index();
                self.commit_to(commit.min(self.log.last_index()));
                let term = self.term;
                self.send(from, Message::HeartbeatAnswer { term, round });
            }
            Message::Appended { index, .. } => self.on_appended(from, index),
            Message::AppendRefused { rejected, last_index, .. } => {
                self.on_append_refused(from, rejected, last_index);
            }
            Message::HeartbeatAnswer { round, .. } => self.on_heartbeat_answer(from, round),
            Message::ReadRequest { number, .. } => {
                if self.role == Role::Leader {
                    self.begin_read(from, number);
                }
            }
            Message::ReadAnswer { number, index, .. } => self.confirmed.push_back((number, index)),
        }
    }

    /// Adds an entry if this node leads; gives the payload back otherwise.
    pub fn propose(&mut self, payload: T) -> Result<LogIndex, T> {
        if self.role != Role::Leader {
            return Err(payload);
        }
        self.log.push(Entry { term: self.term, payload: Some(payload) });
        self.broadcast_append();
        Ok(self.log.last_index())
    }

    /// What must be written now. None while a write is being synced, or if there is nothing to write.
    ///
    /// A write that must be synced is under way until [`Self::on_persisted`] is called.
    pub fn begin_write(&mut self) -> Option<Write<'_, T>> {
        if self.writing.is_some() {
            return None;
        }
        let hard_state = self.hard_state();
        let first_index = self.unwritten;
        let last = self.log.last_index();
        let state_changed = hard_state != self.written;
        let must_sync = first_index <= last
            || (hard_state.term, hard_state.vote) != (self.written.term, self.written.vote)
            || (state_changed && !self.state_saved);
        if !self.outbox.is_empty() {
            let answers_early = self.config.lacks(Planted::AnswerBeforeSync);
            if !must_sync || self.role == Role::Leader || answers_early {
                self.release();
            } else {
                self.hold_back();
            }
        }
        if !must_sync && !state_changed {
            return None;
        }
        self.state_saved |= state_changed;
        if must_sync {
            self.writing = Some(last);
            self.unwritten = last + 1;
        }
        self.written = hard_state;
        Some(Write { hard_state, first_index, entries: self.log.from(first_index), must_sync })
    }

    /// Lets go of what was said since the last time, in order.
    #[inline]
    fn release(&mut self) {
        if self.released.is_empty() {
            std::mem::swap(&mut self.released, &mut self.outbox);
        } else {
            self.released.append(&mut self.outbox);
        }
    }

    /// The write under way is durable.
    pub fn on_persisted(&mut self, now: HostTime, random: &mut Stream) {
        let Some(last) = self.writing.take() else {
            return;
        };
        self.stable = self.stable.max(last);
        // Only one write is under way at a time, and what needs no sync changes neither of the two.
        self.durable = (self.written.term, self.written.vote);
        self.released.extend(self.held.drain(..));
        self.count_own_vote(now, random);
        if self.role == Role::Leader {
            let me = self.config.me.index();
            self.progress[me].matched = self.stable;
            self.advance_commit();
        }
    }

    /// The next message that may leave. Call [`Self::begin_write`] first: it decides what may.
    #[inline]
    pub fn next_message(&mut self) -> Option<(NodeId, Message<T>)> {
        self.released.pop_front()
    }

    /// The next entry to apply: committed, and durable here.
    ///
    /// # Panics
    /// Never: what is committed is in the log.
    #[inline]
    pub fn next_committed(&mut self) -> Option<(LogIndex, &Entry<T>)> {
        if self.applied >= self.commit.min(self.stable) {
            return None;
        }
        self.applied += 1;
        let entry = self.log.get(self.applied).expect("what is committed is in the log");
        Some((self.applied, entry))
    }

    /// When this node stops waiting for a leader. None while it leads.
    pub fn election_deadline(&self) -> Option<HostTime> {
        (self.role != Role::Leader).then_some(self.election_deadline)
    }

    /// When this node speaks next as leader. None while it does not lead.
    pub fn next_heartbeat(&self) -> Option<HostTime> {
        (self.role == Role::Leader).then_some(self.heartbeat_due)
    }

    /// This node's position.
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// What it is at the moment.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The leader that it follows; itself if it leads.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// What it knows to be committed.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// What it has handed out for application.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// True if a leader counts on an entry that this node acknowledged and does not have: its disk has lost it. The real
    /// software ends itself here; what this node says from now on is worth nothing.
    pub fn has_lost_log(&self) -> bool {
        self.lost_log
    }

    /// The process did not tick for this long, because it waited for its disk. A tick that came meanwhile is made up for
    /// at once, the others are lost (Go's ticker keeps one): timeouts that are counted in ticks end later.
    pub fn skip_ticks(&mut self, now: HostTime, lasted: SimDuration) {
        let lost = self.ticker.whole_ticks(lasted);
        self.waiting_since = self.waiting_since + lost;
        self.election_deadline = (self.election_deadline + lost).max(now);
        if self.role == Role::Leader {
            self.heartbeat_due = now;
        }
    }

    /// Its log.
    pub fn log(&self) -> &Log<T> {
        &self.log
    }

    /// Term and vote that were synced last in this life: what it has promised to others.
    pub fn durable(&self) -> (Term, Option<NodeId>) {
        self.durable
    }

    /// Term, vote and commit index.
    pub fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit }
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message<T>) {
        self.outbox.push_back((to, message));
    }

    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + use<T> {
        let me = self.config.me;
        (0..self.config.nodes).map(NodeId).filter(move |node| *node != me)
    }

    /// Keeps messages until the write that begins is durable.
    fn hold_back(&mut self) {
        let asks = self.config.asks_while_syncing;
        for (to, message) in self.outbox.drain(..) {
            if asks && matches!(message, Message::VoteRequest { .. }) {
                self.released.push_back((to, message));
            } else {
                self.held.push((to, message));
            }
        }
    }

    pub(super) fn commit_to(&mut self, index: LogIndex) {
        self.commit = self.commit.max(index);
    }

    /// Drops entries that conflict with a leader's, which are about to take their place.
    pub(super) fn truncate_from(&mut self, index: LogIndex) {
        debug_assert!(index > self.commit, "committed entries never conflict");
        self.log.truncate_from(index);
        self.unwritten = self.unwritten.min(index);
        self.stable = self.stable.min(index - 1);
        if let Some(last) = &mut self.writing {
            *last = (*last).min(index - 1);
        }
    }
}
