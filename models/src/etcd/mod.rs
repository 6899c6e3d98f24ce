//! etcd: a key-value store with leases, transactions and watches, replicated by Raft. This page is about API version 3.
//!
//! A [`Server`] is one member. Clients connect to any member and exchange [`Packet`]s; members keep a connection to each
//! other for Raft and for what they forward to the leader.
//!
//! ```text
//!   client --Txn, Grant, Revoke--> member --(forwards)--> leader: Raft entry -> synced by a majority -> applied by all
//!   client --KeepAlive-----------> member --(forwards)--> leader's lessor: expiry moves, nothing is replicated
//!   client --Range linearizable--> member: ReadIndex from the leader, waits until applied
//!   client --Range serializable--> member: whatever it has applied
//!   applied entry -> store (one revision) -> watches of every member -> answer of the member that was asked
//! ```
//!
//! # The rules, and where they come from
//!
//! The reference is etcd 3.5 with the defaults of `embed/config.go`; the consensus rules are on [`crate::raft`]'s page.
//!
//! - *Leases* (`lessor.go`): only the leader's lessor decides expiry, on its host's monotonic clock. It looks every 500 ms
//!   and proposes to revoke what has expired; the applied revocation deletes all keys of the lease in one revision. So a
//!   key vanishes its time to live plus up to 0.5 s after the last keep-alive. A proposed revocation is repeated
//!   after the request timeout. The shortest time to live is 1.5 election timeouts in whole seconds (2 s).
//! - *Keep-alives* are not replicated. A new leader gives every lease its whole time to live plus one election timeout, as
//!   soon as it has applied the empty entry of its term. Without a leader nobody counts, and leases last.
//! - A keep-alive that finds its lease expired waits for the revocation and then reports that there is none. The leader
//!   applies what is committed before it renews (since 3.4.38 / 3.5.23), and confirms its leadership by a
//!   read first if its ticks are older than three ticks (since 3.4.31 / 3.5.13): after a pause it may be deposed.
//!   Older releases can be chosen by their number (`version.rs`).
//! - *Requests* wait for a leader. The server gives up after 5 s plus two election timeouts (7 s). A proposal that was on
//!   its way to a leader that died is lost and nobody tells: the client waits until that limit, or its own.
//! - *Reads*: a reader is refused with `Unavailable` when a new leader appears while it waits (`ErrLeaderChanged`).
//! - *Watches* are served by the member they are made at, from what it has applied, in whole revisions, and begin with the
//!   history from the revision that they ask for. They end with the connection.
//! - *Peers* (`rafthttp`): each member dials each other one; a broken stream is dialled again after 100 ms; a dial takes at
//!   most 1 s plus an election timeout. A stream on which nothing gets through for 5 s is given up, so that what piles
//!   up for a silent peer is bounded. What was sent before a partition of less than that arrives late.
//!
//! - *Disks* (`raftNode.start`, `storage/wal`): one loop ticks, sends and saves. While it waits for a sync, no heartbeat leaves and
//!   nothing is answered, and of the ticks that come meanwhile all but one are lost. A leader whose syncs take longer than
//!   an election timeout is replaced as soon as it has something to save, and hears of it from its successor (messages are
//!   read by another goroutine, `node.run`). A write that is refused or a sync that fails is fatal ("failed to save Raft hard state and entries").
//!   What a member makes of a damaged log is on the page of `raft/disk.rs`. Who died stays dead until the fault that
//!   killed it ends: the supervisor that restarts it in vain meanwhile is left out.
//!
//! # What survives a bad disk
//!
//! | fault of the disks of a minority | the cluster | the member |
//! |---|---|---|
//! | stalled or slow | goes on with another leader; a slow leader below the election timeout slows all writes | catches up |
//! | error, full | goes on | ends; starts again when the fault ends |
//! | torn last record | goes on | loses nothing that it answered for |
//! | record rotted, misdirected write | goes on | does not start again: to be wiped and added anew by an operator (not modelled) |
//! | synced records lost (a lying disk, a write that went astray without a victim, a failed sync, each with a loss of power) | may elect who lacks committed entries, or elect twice in a term: Raft promises nothing here | may have voted twice; ends if the leader notices |
//!
//! # Simplified
//!
//! - One connection from each member to each other one instead of several streams and a pipeline; while it is down, messages
//!   to that peer are dropped and the leader probes.
//! - The volume holds the log, and the store is rebuilt from it at boot. No snapshots, compaction or quota.
//! - The server itself takes no time: latency comes from the network and from syncs.
//! - A full disk is noticed by the first record. etcd allocates its log in segments of 64 MB and would go on to the end of
//!   the present one. Its quota on the size of the database (the `NOSPACE` alarm) is another matter and left out.
//! - No authentication, no learners, no change of membership; transactions have no reads and no nested transactions.
//! - Read-only transactions go through the log as well (etcd serves them like reads).
//! - A request that the server gives up is answered `Unavailable` if the leader changed meanwhile, else
//!   `DeadlineExceeded`.
//!
//! # API version 2
//!
//! Its store, its requests and its times to live are in `v2`.
//!
//! # Clients
//!
//! [`Client`] puts etcd to the test alone, without Patroni; [`EtcdCluster`] is a cluster with such clients, and
//! [`invariants`] says what must always hold in it.
//!
//! # Roles for faults
//!
//! `etcd` (any member), `etcd-leader` (a member that believes it leads: during a partition there may be two),
//! `etcd-follower` (the others).

mod apply;
mod client;
mod cluster;
pub mod invariants;
mod lessor;
mod links;
mod packet;
mod peer;
mod pending;
mod requests;
mod server;
mod spec;
mod store;
pub mod v2;
mod version;
mod watch;

#[cfg(test)]
mod tests;

pub use client::{Ask, Client, ClientSpec, ClientTimer, Done, Watched, Work};
pub use cluster::{EtcdCluster, EtcdPlan, EtcdProcess, EtcdProcessSpec, EtcdProcessTimer};
pub use packet::{
    Answer, Compare, Event, Failure, Key, KeyValue, LeaseId, Mutation, Packet, Request, Response, Value,
};
pub use peer::{Command, PeerMessage, Proposal, Renewal};
pub use server::{Server, Timer};
pub use spec::Spec;
pub use store::Store;
pub use version::{MODELLED, OLDEST};

/// The volume of a member.
pub type Disk = crate::raft::Disk<std::sync::Arc<Proposal>>;
/// One change of a member's volume.
pub type DiskRecord = crate::raft::DiskRecord<std::sync::Arc<Proposal>>;
