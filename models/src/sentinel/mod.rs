//! Redis Sentinel: processes that watch groups of Redis servers, agree that a primary is down, and promote a replica.
//!
//! A [`Sentinel`] has one thread and a tick of 52 to 100 ms, drawn anew each time so that Sentinels fall out of step. One
//! tick looks at everything and takes at most one step of a failover:
//!
//! ```text
//! fault --(down-after)--> +sdown --(ask the others)--> +odown, +try-failover --(votes)--> +elected-leader
//!       --> +selected-slave --> REPLICAOF NO ONE --(INFO each second)--> +promoted-slave --> others re-pointed
//!       --> +switch-master of the leader; the others' with the first hello after +promoted-slave
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `process` | the tick, TILT, requests and replies |
//! | `monitor` | who is asked what, and when |
//! | `link` | connections, PING, when a link is built anew |
//! | `down` | subjectively and objectively down |
//! | `vote` | votes, epochs, leaders |
//! | `rand` | the random numbers that keep Sentinels apart, or do not |
//! | `failover` | the steps of a failover, which replica is promoted |
//! | `info` | discovery, promotions that are seen, strays that are put right |
//! | `hello` | other Sentinels, and their configurations |
//! | `group` | what is known of a group |
//! | [`invariants`] | what must always hold |
//! | `config` | `sentinel.conf`, as written by the operator and by the Sentinel |
//! | `client` | a client that asks Sentinels where the primary is |
//! | `cluster` | servers, Sentinels and clients on hosts |
//!
//! # Marks
//!
//! `Suspected` is `+sdown` of a primary, `Agreed` is `+odown`, `Elected` is `+elected-leader` with the epoch. `Writable` and
//! `ReadOnly` are those of the servers. `Rerouted` is the instant at which a Sentinel begins to answer clients with
//! another address.
//!
//! # Sources
//!
//! `sentinel.c` of Redis 7.0.15, as the fidelity specification of Redis describes it in section 2. All ages are measured
//! on the wall clock, as there, so that clock faults do what they do to the real one.
//!
//! # What is simplified, and what that changes
//!
//! - A Sentinel that saves its file is blocked for three syncs. Here only its ticks and what it sends wait; what
//!   arrives meanwhile is taken note of at once. That shortens nothing that is measured, because nothing leaves.
//! - After a pause, the real event loop reads its sockets before it looks at its timers. Here the tick that was due comes
//!   first. Pauses of more than two seconds end in TILT either way.
//! - Scripts, host names, authentication and `SCRIPT KILL` are left out.
//! - An address is a process. One that a server of another group takes over (RZ-13) is a process that is told to follow that group.

mod client;
mod cluster;
mod config;
mod down;
mod failover;
mod group;
mod hello;
mod info;
pub mod invariants;
mod link;
mod monitor;
mod process;
mod rand;
mod vote;

pub use client::{Activity, AwareClient, AwareClientSpec, AwareClientTimer};
pub use cluster::{
    Disk, DiskRecord, RedisLoad, SentinelCluster, SentinelPlan, SentinelProcess, SentinelProcessSpec,
    SentinelProcessTimer,
};
pub use config::{GroupConfig, GroupState, SentinelDisk, SentinelSpec, SentinelState};
pub use link::SAVED;
pub use process::{Sentinel, SentinelTimer};
