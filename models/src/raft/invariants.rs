//! What always holds in a Raft cluster, whatever fails: the safety properties of the thesis (Ongaro 2014, figure 3.2),
//! checked on the states of the nodes while a run goes.
//!
//! | condition | property |
//! |---|---|
//! | `voted-twice` | a node gives one vote in a term (3.4) |
//! | `promise-forgotten` | term and vote, once durable, outlive a restart (3.8) |
//! | `older-term-committed` | a leader counts replicas of entries of its own term only (3.6.2) |
//! | `two-leaders-in-one-term` | Election Safety |
//! | `committed-entries-differ` | State Machine Safety |
//! | `leader-lacks-committed-entry` | Leader Completeness |
//!
//! Log Matching is not compared entry by entry, which would cost a pass over all logs; where it is broken, entries that
//! are committed differ. Nor is it an error here that a node holds less after a restart than before: what it had not
//! synced it may lose, and what it had promised before shows as one of these.

use std::collections::BTreeMap;

use sim_core::{SimTime, Violation};

use super::{Entry, LogIndex, NodeId, Raft, Role, Term};

/// The conditions, and what they remember of a run.
#[derive(Clone, Debug, Default)]
pub struct RaftSafety {
    /// By position; looked at after every handler, so not a map.
    nodes: Vec<Option<Seen>>,
    /// Term and vote that were durable at the last look, whether the node still runs or not.
    promises: BTreeMap<NodeId, (Term, Option<NodeId>)>,
    leaders: BTreeMap<Term, NodeId>,
    /// Everything that some node has held for committed, by index from 1.
    committed: Vec<Committed>,
    newest: Term,
}

/// A node as it was at the last look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    term: Term,
    vote: Option<NodeId>,
    role: Role,
    commit: LogIndex,
    durable: (Term, Option<NodeId>),
}

impl Seen {
    #[inline]
    fn of<T: Clone>(raft: &Raft<T>) -> Self {
        let hard_state = raft.hard_state();
        Self {
            term: hard_state.term,
            vote: hard_state.vote,
            role: raft.role(),
            commit: hard_state.commit,
            durable: raft.durable(),
        }
    }
}

/// An entry that some node has held for committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// What tells its payload apart from all others; none for the entry that begins a term.
    identity: Option<u64>,
    /// The newest term in the cluster when it was first seen to be committed: leaders of later terms must have it.
    newest: Term,
}

impl RaftSafety {
    /// Looks at a node after it did something. `identity` tells payloads apart.
    ///
    /// Nearly always nothing of interest has changed, hence this short look before the long one.
    #[inline]
    pub fn check<T: Clone>(
        &mut self,
        at: SimTime,
        raft: &Raft<T>,
        identity: impl Fn(&T) -> u64,
    ) -> Option<Violation> {
        let now = Seen::of(raft);
        match self.nodes.get(raft.me().index()) {
            Some(Some(before)) if *before == now => None,
            before => {
                let before = before.copied().flatten();
                self.check_change(at, raft, before, now, identity)
            }
        }
    }

    #[inline(never)]
    fn check_change<T: Clone>(
        &mut self,
        at: SimTime,
        raft: &Raft<T>,
        before: Option<Seen>,
        now: Seen,
        identity: impl Fn(&T) -> u64,
    ) -> Option<Violation> {
        let me = raft.me();
        self.remember(me, Some(now));
        self.newest = self.newest.max(now.term);
        let promised = self.promises.get(&me).copied();
        if promised.is_none_or(|(term, _)| now.durable.0 >= term) {
            self.promises.insert(me, now.durable);
        }
        if before.is_none()
            && let Some((term, vote)) = promised
            // A vote that was written and not yet synced outlives a kill: more than was promised. That etcd relies on it
            // from then on, and syncs it later only, is a hole of its own: see the page of `disk`.
            && (now.term < term || (now.term == term && vote.is_some() && now.vote != vote))
        {
            let detail = format!("{me:?} had voted for {vote:?} in term {term}, and starts in {}", now.term);
            return Some(Violation { at, name: "promise-forgotten", detail });
        }
        let commits = |before: Seen| before.role == Role::Leader && before.commit < now.commit;
        if now.role == Role::Leader
            && before.is_some_and(commits)
            && raft.log().term_at(now.commit) != Some(now.term)
        {
            let detail =
                format!("{me:?} leads in term {} and commits entry {} of another", now.term, now.commit);
            return Some(Violation { at, name: "older-term-committed", detail });
        }
        if let Some(before) = before
            && before.term == now.term
            && let (Some(first), Some(second)) = (before.vote, now.vote)
            && first != second
        {
            let detail = format!("{me:?} votes for {first:?} and {second:?} in term {}", now.term);
            return Some(Violation { at, name: "voted-twice", detail });
        }
        let leads = |seen: Seen| (seen.role == Role::Leader).then_some(seen.term);
        if let Some(term) = leads(now)
            && before.and_then(leads) != Some(term)
            && let Some(violation) = self.on_leader(at, raft, &identity)
        {
            return Some(violation);
        }
        let known = before.map_or(0, |before| before.commit);
        self.on_committed(at, raft, known, &identity)
    }

    /// A node ended; what it remembers may be older when it comes back.
    pub fn forget(&mut self, node: NodeId) {
        self.remember(node, None);
    }

    fn remember(&mut self, node: NodeId, seen: Option<Seen>) {
        if self.nodes.len() <= node.index() {
            self.nodes.resize(node.index() + 1, None);
        }
        self.nodes[node.index()] = seen;
    }

    fn on_leader<T: Clone>(
        &mut self,
        at: SimTime,
        raft: &Raft<T>,
        identity: &impl Fn(&T) -> u64,
    ) -> Option<Violation> {
        let (me, term) = (raft.me(), raft.term());
        let first = *self.leaders.entry(term).or_insert(me);
        if first != me {
            let detail = format!("{first:?} and {me:?} lead in term {term}");
            return Some(Violation { at, name: "two-leaders-in-one-term", detail });
        }
        let lacks = |(index, entry): &(LogIndex, &Committed)| {
            entry.newest < term && raft.log().get(*index).is_none_or(|own| !entry.is(own, identity))
        };
        let (index, _) = (1..).zip(&self.committed).find(lacks)?;
        let detail = format!("{me:?} leads in term {term} without committed entry {index}");
        Some(Violation { at, name: "leader-lacks-committed-entry", detail })
    }

    fn on_committed<T: Clone>(
        &mut self,
        at: SimTime,
        raft: &Raft<T>,
        known: LogIndex,
        identity: &impl Fn(&T) -> u64,
    ) -> Option<Violation> {
        for index in known + 1..=raft.commit() {
            let Some(entry) = raft.log().get(index) else { break };
            match self.committed.get(index as usize - 1) {
                Some(committed) if committed.is(entry, identity) => {}
                Some(committed) => {
                    let detail = format!(
                        "{:?} has an entry of term {} at {index}, another node one of term {}",
                        raft.me(),
                        entry.term,
                        committed.term
                    );
                    return Some(Violation { at, name: "committed-entries-differ", detail });
                }
                None => self.committed.push(Committed {
                    term: entry.term,
                    identity: entry.payload.as_ref().map(identity),
                    newest: self.newest,
                }),
            }
        }
        None
    }
}

impl Committed {
    fn is<T>(&self, entry: &Entry<T>, identity: &impl Fn(&T) -> u64) -> bool {
        self.term == entry.term && self.identity == entry.payload.as_ref().map(identity)
    }
}
