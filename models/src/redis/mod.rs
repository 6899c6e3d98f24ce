//! Redis: a server that replicates, persists and answers clients.
//!
//! A [`Server`] is a primary or a replica. Clients, replicas and Sentinels connect to it and exchange [`Packet`]s.
//!
//! ```text
//!   client --RPUSH--> primary: executed, fed to the replicas, answered; all in one turn of its event loop
//!   replica --PSYNC id offset--> primary: CONTINUE and what is missing, or FULLRESYNC and a snapshot
//!   replica --REPLCONF ACK offset, each second--> primary: counts for WAIT and for min-replicas-to-write
//!   Sentinel --REPLICAOF--> server: another role, written to redis.conf, all clients cut off
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `history` | the name of a stream, and who may go on with whose |
//! | `log` | the data set and the backlog |
//! | `keys` | string keys with a time to live: locks, counters, sessions, caches |
//! | `lists` | several lists at once: transactions, lists that move to another server |
//! | `primary` | `PSYNC`, feeding, acknowledgements, `min-replicas-to-write` |
//! | `waiting` | clients that wait for acknowledgements: `WAIT`, `CLUSTER SETSLOT` |
//! | `replica` | the link to the primary, promotion, demotion |
//! | `relay` | what a replica gives its own replicas before release 4.0 |
//! | `meaningful` | PINGs that are taken back, in release 6.0 before 6.0.4 |
//! | `fork` | what it takes to make a snapshot |
//! | `standstill` | how a server stands still: forks, files that are synced |
//! | `saving`, `persistence` | append-only file, RDB file, what a restart finds |
//! | `server` | connections, timers, roles |
//! | `commands` | what is answered to commands, and what they change |
//! | `info` | what `INFO` says |
//! | `link` | how a client finds a primary |
//! | `session`, `direct` | a client's connection, and a client that stays with one server |
//! | `requests` | what clients ask for: values, broadcasts, sessions of users, a cache |
//! | `configuration` | `redis.conf` while a server runs |
//! | `elector` | an operator who elects a primary by hand |
//! | `parameters` | `redis.conf` |
//! | `packet` | everything on the wire |
//! | [`release`] | what changed between releases |
//! | `streams` | a condition that always holds |
//!
//! # Sources
//!
//! `replication.c`, `server.c`, `rdb.c` and `aof.c` of Redis 7.0.15, as the fidelity specification of Redis describes
//! them in section 3.
//!
//! # What is simplified, and what that changes
//!
//! - An address is a process. Nobody takes over another's address.
//! - The data set is values that clients write once each, in a list for each client, and string keys. An entry of the
//!   stream has the length of its command. `SELECT` is left out, so offsets are some bytes smaller than real ones.
//! - The time of an operation is not modelled: a server is never busy, but for forks, and those only where a scenario says how long they
//!   take, and while a Sentinel makes it rewrite its file. A script that blocks it, or a swap storm, is a pause of the process.
//! - Output buffers have no limit, so a slow replica is never cut off for that reason.
//! - Dumps and loads take their bytes by a rate ([`Machine`]); during a load nothing else is slower.
//! - `SHUTDOWN` (waiting for replicas), `FAILOVER` and `CLIENT PAUSE` are not modelled.
//!
//! # How a node of Redis Cluster is built on it
//!
//! A server knows no cluster. [`crate::redis_cluster::ClusterNode`] holds one and speaks for it: it hands on everything that
//! is not for the bus, answers `MOVED` and `CLUSTERDOWN` by itself, and commands the server through its public methods.

mod commands;
mod configuration;
mod direct;
mod elector;
mod fork;
mod history;
mod info;
mod inputs;
mod keys;
mod link;
mod lists;
mod log;
mod meaningful;
mod packet;
mod parameters;
mod persistence;
mod primary;
mod relay;
pub mod release;
mod replica;
mod requests;
mod saving;
mod server;
mod session;
mod standstill;
mod streams;
mod waiting;

pub use commands::{MASTER_MODE, REPLICA_OF};
pub use direct::{DirectClient, DirectClientSpec, DirectClientTimer};
pub use elector::{Election, Elector, ElectorSpec};
pub use history::{History, ReplicationId};
pub use info::{Info, RoleInfo};
pub use inputs::{Inputs, Lateness, Waking};
pub use keys::{Key, KeyChange, KeyCommand, Keys, WallMillis};
pub use link::ServerSource;
pub(crate) use link::{Link, LinkNews, Links};
pub use log::{Change, Entry, ListKey, Log, Snapshot};
pub use packet::{Command, Epoch, Greeting, GroupId, Hello, Packet, Reply, Restore, RunId};
pub use parameters::{AppendFsync, Machine, Parameters, SavePoint, ServerSpec};
pub use persistence::{DataDirectory, DataRecord};
pub use requests::{Cache, Purpose, Sessions};
pub use server::{Server, ServerTimer};
pub use session::WaitFor;
pub(crate) use session::{News, Session};
pub use standstill::{Input, REWRITTEN, SNAPSHOT_SYNCED};
pub use streams::STREAM_DIVERGED;
pub(crate) use streams::Streams;
pub use waiting::{Asker, Replicated};
