//! Leader election by a lock in Redis: contenders, the lock on one server, on a group with Sentinels, on a shard of Redis Cluster or
//! on several independent servers (Redlock), and a resource that the lock protects, with and without fencing tokens.
//!
//! | file | subject |
//! |---|---|
//! | `contender` | acquires, renews, acts, stops |
//! | `lease` | what it holds; a round of requests to all servers |
//! | `store` | the protected resource |
//! | `parameters` | the settings |
//! | [`invariants`] | what must always hold |
//! | `cluster` | servers, Sentinels or nodes, contenders and the store on hosts |
//!
//! # Sources
//!
//! Section 5 of the fidelity specification of Redis: the documentation of distributed locks with its Redlock, Redisson's watch
//! dog (30 s, 10 s), the exchange between Kleppmann and antirez of 2016. The keys are in [`crate::redis`].
//!
//! # What is simplified, and what that changes
//!
//! - A contender draws a new random value for each attempt, as Redlock does. A client whose value is its own name would find
//!   its own key after an attempt whose answer was lost, and wait for it to expire.
//! - It asks all servers of Redlock at once and waits for all answers or the time-out. The reference client asks one after
//!   the other, which takes longer and is checked in the same way.
//! - A leader that stops interrupts its work. One in another thread would go on to the effect; that is the same as a pause in
//!   the middle of the work, which is not interrupted.
//! - A follower looks at the lock by trying to get it. Nobody is told when it is free.

mod cluster;
mod contender;
mod effects;
pub mod invariants;
mod lease;
mod parameters;
mod store;

pub use cluster::{LockCluster, LockDisk, LockPlan, LockProcess, LockServers, LockSpec, LockTimer, Packet};
pub use contender::{Contender, ContenderSpec, ContenderTimer, LOCK};
pub use parameters::{Fencing, LockParameters, StopRule};
pub use store::{
    Accepted, HolderId, Store, StoreDisk, StorePacket, StoreRecord, StoreReply, StoreRequest, StoreSpec,
    Token, Version,
};
