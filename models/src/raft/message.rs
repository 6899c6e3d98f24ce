//! What nodes send each other. Everything but appends is small and copied without allocation.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::{Entry, LogIndex};

/// A node: its position among the voters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u8);

impl NodeId {
    /// Its position.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a set of nodes.
    pub(super) const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// A term: at most one leader is elected in each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Term(pub u64);

impl Term {
    /// The following term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A message. All carry the term of the sender, except that pre-votes carry the term that would follow.
#[derive(Clone, Debug, Hash)]
pub enum Message<T> {
    /// Asks for a vote.
    VoteRequest {
        /// The term for which.
        term: Term,
        /// The term of the candidate's last entry.
        last_term: Term,
        /// The index of the candidate's last entry.
        last_index: LogIndex,
        /// True if it only asks what the answer would be.
        pre: bool,
    },
    /// Answers a request for a vote.
    Vote {
        /// The term for which it is granted; the voter's own term if it is refused.
        term: Term,
        /// Whether it is granted.
        granted: bool,
        /// Of the request.
        pre: bool,
    },
    /// Entries for a follower, or only a new commit index.
    Append(Arc<Append<T>>),
    /// The follower's log equals the leader's up to an index.
    Appended {
        /// The follower's term.
        term: Term,
        /// The last index that is equal for sure, and durable.
        index: LogIndex,
    },
    /// The entry before the appended ones is missing or different.
    AppendRefused {
        /// The follower's term.
        term: Term,
        /// The index of the entry that does not fit.
        rejected: LogIndex,
        /// The last index that the follower has.
        last_index: LogIndex,
    },
    /// The leader is there.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// What is committed, as far as this follower is known to hold it.
        commit: LogIndex,
        /// The newest round of confirmations for readers.
        round: u64,
    },
    /// The follower heard it. Also tells a deposed leader of the newer term.
    HeartbeatAnswer {
        /// The follower's term.
        term: Term,
        /// Of the heartbeat.
        round: u64,
    },
    /// A follower asks how far a linearizable reader must wait.
    ReadRequest {
        /// The follower's term.
        term: Term,
        /// The reader's number at the follower.
        number: u64,
    },
    /// The leader answers: a read at this index or later is linearizable.
    ReadAnswer {
        /// The leader's term.
        term: Term,
        /// Of the request.
        number: u64,
        /// The commit index when the request arrived.
        index: LogIndex,
    },
}

impl<T> Message<T> {
    /// The term it carries.
    pub fn term(&self) -> Term {
        match self {
            Self::VoteRequest { term, .. }
            | Self::Vote { term, .. }
            | Self::Appended { term, .. }
            | Self::AppendRefused { term, .. }
            | Self::Heartbeat { term, .. }
            | Self::HeartbeatAnswer { term, .. }
            | Self::ReadRequest { term, .. }
            | Self::ReadAnswer { term, .. } => *term,
            Self::Append(append) => append.term,
        }
    }

    /// True if only a leader sends it.
    pub fn is_from_leader(&self) -> bool {
        matches!(self, Self::Append(_) | Self::Heartbeat { .. })
    }
}

/// Entries on their way to a follower.
#[derive(Clone, Debug, Hash)]
pub struct Append<T> {
    /// The leader's term.
    pub term: Term,
    /// The index of the entry before the first one.
    pub previous_index: LogIndex,
    /// Its term.
    pub previous_term: Term,
    /// What the leader has committed.
    pub commit: LogIndex,
    /// The entries.
    pub entries: Vec<Entry<T>>,
}
