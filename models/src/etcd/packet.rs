//! What travels between etcd members and their clients.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration};

/// A key. Keys sort as text, and a prefix of a key is a range.
pub type Key = Arc<str>;
/// A value: whatever text the client stores.
pub type Value = Arc<str>;

/// A lease. Keys attached to it vanish with it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(pub u64);

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
    /// The member answers.
    Response {
        /// Of the request.
        id: u64,
        /// The answer.
        response: Arc<Response>,
    },
    /// Changes that a watch saw: all changes of one or more whole revisions, in order.
    Watched {
        /// Of the request that created the watch.
        id: u64,
        /// The revision up to which the watch has now seen everything.
        revision: u64,
        /// The changes.
        events: Arc<[Event]>,
    },
    /// Between members; clients never send or receive it.
    Peer(super::PeerMessage),
    /// Between clients of API version 2 and members.
    V2(super::v2::Packet),
}

/// What a client may ask.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// A new lease with at least this time to live.
    Grant {
        /// Time to live; raised to the minimum of the server.
        ttl: SimDuration,
    },
    /// Keeps a lease alive for another time to live. Not a Raft entry: only the leader's lessor knows.
    KeepAlive {
        /// Which lease.
        lease: LeaseId,
    },
    /// Ends a lease and deletes its keys.
    Revoke {
        /// Which lease.
        lease: LeaseId,
    },
    /// Carries out the first list if all comparisons hold, else the second, in one revision. Without comparisons it
    /// is a plain put or delete.
    Txn {
        /// All must hold.
        compare: Vec<Compare>,
        /// If they do.
        then: Vec<Mutation>,
        /// If they do not.
        otherwise: Vec<Mutation>,
    },
    /// Reads all keys with this prefix.
    Range {
        /// The prefix.
        prefix: Key,
        /// True for the latest state (confirmed by a majority), false for whatever this member has applied.
        linearizable: bool,
    },
    /// Sends all changes to keys with this prefix, from this revision on, until the connection closes.
    Watch {
        /// The prefix.
        prefix: Key,
        /// The first revision of interest.
        from_revision: u64,
    },
    /// The client endpoints of all members.
    Members,
}

/// A condition of a transaction.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Compare {
    /// The key was created by this revision; 0 means that it does not exist.
    CreateRevision(Key, u64),
    /// The key was last changed by this revision.
    ModRevision(Key, u64),
    /// The key has this value.
    Value(Key, Value),
}

/// A change.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Mutation {
    /// Stores a value, attached to a lease or to none. Fails the whole transaction if the lease does not exist.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Value,
        /// With which lease it vanishes.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if it exists.
    Delete {
        /// Which key.
        key: Key,
    },
}

/// What a member answers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Response {
    /// The member that answers.
    pub member: ProcessId,
    /// The revision it has applied.
    pub revision: u64,
    /// The Raft term it is in.
    pub raft_term: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
}

/// An answer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// A lease was granted.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// Its time to live.
        ttl: SimDuration,
    },
    /// A lease was kept alive for this long, or was not found.
    KeptAlive {
        /// Absent when the lease does not exist (any more).
        ttl: Option<SimDuration>,
    },
    /// The lease is gone.
    Revoked,
    /// A transaction was carried out.
    Txn {
        /// True if all comparisons held.
        succeeded: bool,
    },
    /// What a range held.
    Range {
        /// In order of keys.
        entries: Vec<KeyValue>,
    },
    /// The watch is set up; changes follow as [`Packet::Watched`].
    Watching,
    /// The members.
    Members(Vec<ProcessId>),
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// No leader, or the leader changed meanwhile (gRPC `Unavailable`). The request may have been carried out.
    Unavailable,
    /// The server's own limit passed (gRPC `DeadlineExceeded`). The request may have been carried out.
    DeadlineExceeded,
    /// The lease that a put named does not exist (gRPC `NotFound`).
    LeaseNotFound,
    /// The leader that a keep-alive reached does not lead, or not yet (`not a primary lessor`, which the forwarding over
    /// HTTP turns into gRPC `Unknown`; etcd-io/etcd#21671).
    NotPrimaryLessor,
}

/// Digests do not tell the two ways of not being served apart.
impl std::hash::Hash for Failure {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let served_as = if *self == Self::NotPrimaryLessor { Self::Unavailable } else { *self };
        std::mem::discriminant(&served_as).hash(state);
    }
}

/// A key with its value and its revisions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// The revision that created it.
    pub create_revision: u64,
    /// The revision that last changed it.
    pub mod_revision: u64,
    /// The lease with which it vanishes.
    pub lease: Option<LeaseId>,
}

/// A change that a watch sees.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// A key was stored.
    Put(KeyValue),
    /// A key was deleted, or vanished with its lease.
    Delete {
        /// The key.
        key: Key,
        /// The revision that deleted it.
        revision: u64,
    },
}
