//! What travels between members and clients of API version 2.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration};

use crate::etcd::{Key, KeyValue, Value};

/// A packet on a connection with an etcd member.
#[derive(Clone, Debug, Hash)]
pub enum Packet {
    /// A client asks. `id` is the client's, unique on its connection.
    Request {
        /// Comes back in the response.
        id: u64,
        /// What it asks.
        request: Arc<Request>,
    },
    /// The member answers. A poll is answered twice: at once with [`Answer::Polling`], the header, and later with what it waited for.
    Response {
        /// Of the request.
        id: u64,
        /// The answer.
        response: Arc<Response>,
    },
}

/// What a client may ask.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// `GET ?recursive=true`: all keys with this prefix.
    Get {
        /// The prefix.
        prefix: Key,
        /// `quorum`: true for the latest state, by way of the log; false for whatever this member has applied.
        quorum: bool,
    },
    /// `GET ?wait=true&waitIndex=`: the first change of this key from an index on, as soon as there is one.
    Poll {
        /// The key.
        key: Key,
        /// The first index of interest.
        index: u64,
    },
    /// `PUT`.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Value,
        /// `ttl`; none: for ever.
        ttl: Option<SimDuration>,
        /// Only if this holds.
        condition: Condition,
    },
    /// `DELETE`.
    Delete {
        /// Which key.
        key: Key,
        /// Only if this holds.
        condition: Condition,
    },
    /// `GET /v2/machines`: the client endpoints of all members.
    Machines,
}

/// A condition of a change.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// None.
    Any,
    /// `prevExist=false`: there is no such key.
    Absent,
    /// `prevValue`: the key has this value.
    Value(Value),
    /// `prevIndex`: the key was last changed at this index; 0 is the same as [`Self::Any`].
    Index(u64),
}

/// What a member answers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Response {
    /// `X-Etcd-Index`: at which its store is.
    pub index: u64,
    /// `X-Raft-Term`: in which the member is.
    pub raft_term: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
}

/// An answer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// What a read found, in order of keys. The revisions of a key are its `createdIndex` and `modifiedIndex`.
    Keys(Vec<KeyValue>),
    /// A change was made, at this index (`modifiedIndex`).
    Changed(u64),
    /// The poll is set up: the header of its answer.
    Polling,
    /// What a poll waited for.
    Polled {
        /// The key is there after the change.
        exists: bool,
        /// `action` is `compareAndSwap`.
        swapped: bool,
    },
    /// The members.
    Machines(Vec<ProcessId>),
}

/// Why a request was refused, with the code of the real answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Failure {
    /// 100.
    KeyNotFound,
    /// 101: the condition does not hold.
    CompareFailed,
    /// 105: the key exists.
    NodeExists,
    /// 300: no leader took the change in time. It may have been carried out.
    RaftInternal,
}
