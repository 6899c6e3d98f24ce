//! Raft: the consensus core of etcd, as a value without input and output.
//!
//! [`Raft`] is told what happened (a message, an expired timer, a proposal, a completed sync) and leaves what must
//! happen (messages, writes, committed entries, deadlines) to be taken out by whoever drives it. It knows no
//! network, no disk and no clock of its own, so one core serves etcd, a bare [`Node`] for experiments, and others.
//!
//! ```text
//!   step, propose, on_election_timer, on_heartbeat_timer          next_message   -> network
//!              |                                                  begin_write    -> disk, then on_persisted
//!              v                                                  next_committed -> state machine
//!            Raft  ------------------------------------------->   next_read      -> linearizable readers
//!                                                                 election_deadline, next_heartbeat -> timers
//! ```
//!
//! # The rules, and where they come from
//!
//! The reference is etcd's `raft` package (`raft.go`, 3.4 to 3.6); the thesis (Ongaro 2014) where they agree.
//!
//! - *Elections.* A follower that hears no leader for its election timeout asks for votes in the next term. The timeout
//!   is drawn anew whenever a node changes its term or its role: 10 to 19 ticks for etcd. A voter grants one vote for
//!   each term, to candidates whose log is at least as long as its own (last term, then last index).
//!   What restarts the wait differs: see [`Restart`].
//! - *Pre-vote* ([`Config::pre_vote`]): the candidate first asks, without raising its term, whether it would win.
//! - *Check-quorum* ([`Config::check_quorum`]): a leader that did not hear a majority during one whole election
//!   timeout resigns, and nodes that heard a leader within the minimum election timeout ignore requests for votes.
//!   The two measure time in their own ticks: a candidate that draws the shortest timeout and whose ticks come
//!   earlier than the voter's is ignored, and has to wait for another timeout. It is why one election in ten
//!   without any collision of candidates takes two rounds.
//! - *Log.* The leader appends, followers accept what fits their log (probe, then optimistic replication), and the leader
//!   commits entries of its own term that a majority holds. A new leader first appends an empty entry.
//! - *Durability.* While a write is being synced, nothing leaves the node (etcd's loop saves before it goes on). A leader
//!   sends what it has before it syncs; everybody else afterwards, so votes and acknowledgements are durable before
//!   they are answered. A leader counts its own entries, and a candidate its own vote, only when they are durable.
//! - *Reads* (`ReadIndex`): the leader notes its commit index, confirms its leadership by a round of heartbeats, and lets
//!   the reader wait until that index is applied. A leader that has not committed in its term yet lets reads wait.
//!
//! # Time
//!
//! etcd counts ticks of 100 ms. A queue entry for each tick would dominate the cost of an idle cluster, so the core
//! computes when the n-th tick of its own ticker will be: the instants are those of etcd, including the phase of each
//! node's ticker, which is drawn at boot. [`Timing::Range`] has no ticks: timeouts are drawn from a continuous
//! range, as in the thesis.
//!
//! # Simplified
//!
//! - No snapshots and no log compaction: etcd compacts every 100,000 entries (10,000 since 3.6), which no modelled
//!   run reaches. A member that was away for long is caught up from the log.
//! - No membership changes, no leadership transfer, no learners.
//! - No limit on entries in flight or on the size of a message.
//! - After a pause of the process, a timer that is more than a tick late counts as re-armed at that moment: Go's
//!   tickers drop the ticks of a pause, and a follower of a healthy leader had counted at most one before it.

mod config;
mod core;
mod disk;
mod election;
pub mod invariants;
mod log;
mod message;
mod node;
mod replication;

#[cfg(test)]
mod tests;

pub use config::{Config, Restart, Timing};
pub use core::{HardState, Raft, Role, Write};
pub use disk::{Condition, Disk, DiskRecord};
pub use log::{Entry, Log, LogIndex};
pub use message::{Append, Message, NodeId, Term};
pub use node::{Node, NodeSpec, NodeTimer};
