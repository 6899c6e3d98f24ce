//! Redis Cluster: Redis servers that share the keys among them, watch each other, and replace a failed primary by a vote.
//!
//! A [`ClusterNode`] holds a [`redis::Server`](crate::redis::Server), whose replication it commands, and talks to all other
//! nodes on the *bus*.
//!
//! ```text
//! fault --(PING unanswered for cluster-node-timeout)--> PFAIL, each by itself --(gossip to a primary)--> FAIL, told to all
//!       --(500 ms + up to 500 ms + 1 s for each replica that has more)--> AUTH_REQUEST --(votes)--> primary, PONG to all
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `node` | the process: cron, end of a turn of the event loop, roles |
//! | `bus`, `message` | links, PINGs, gossip; what travels |
//! | `failure` | PFAIL, reports, FAIL |
//! | `election` | who stands when, votes, what the winner does |
//! | `receive` | roles, slots, epochs from others; UPDATE; collisions of epochs |
//! | `state` | whether the cluster is up: minority, coverage, delays |
//! | `serve` | what clients are answered |
//! | `resharding` | slots that move: `CLUSTER SETSLOT`, `MIGRATE` |
//! | `replicated` | replicas that execute `CLUSTER SETSLOT` first: Valkey 8 |
//! | `operator` | who commands that |
//! | `standstill` | waiting for `MIGRATE` and for the disk |
//! | `manual` | `CLUSTER FAILOVER`, plain, `FORCE` and `TAKEOVER` |
//! | `migration` | replicas that go to orphaned primaries |
//! | `table`, `slots`, `nodes_conf` | what a node knows, and keeps on disk |
//! | `config` | directives, releases |
//! | `client` | a client with a slot map |
//! | `cluster` | nodes and clients on hosts |
//! | [`invariants`] | what must always hold |
//!
//! # Marks and roles
//!
//! A cluster has several primaries at once. Marks and the roles `primary` and `replica` are about one shard, the first, to
//! which the judged clients write; nodes of other shards play `other-primary` and `other-replica`. `Suspected` is PFAIL of
//! that primary at any node, `Agreed` is FAIL, `Elected` and `Writable` carry the configuration epoch. A primary is
//! writable while the cluster is up in its own view. `Rerouted` is when another node first knows the new owner.
//!
//! # Sources
//!
//! `cluster.c` of Redis 7.0.15, as the fidelity specification of Redis describes it in section 4; the text of release 7.2,
//! read for the order of steps. Ages are measured on the wall clock, as there. [`Release`] says what other releases do
//! otherwise.
//!
//! # What is simplified, and what that changes
//!
//! - 60 slots stand for 16,384, and a node is called by its place and not by a random name. Nobody meets or is forgotten:
//!   a cluster begins as `redis-cli --cluster create` leaves it.
//! - String keys (sessions, caches, locks) are all taken for keys of the slot that is watched.
//! - A slot that is moved is one of those 60 and costs what one of the 16,384 would. A primary that restarts does not compare its
//!   keys with its slots (`verifyClusterConfigWithData`), `redis-cli --cluster fix` does not exist, and string keys do not move:
//!   nobody moves a slot with such keys.
//! - There are no shard ids. From Redis 7.2 on, when a primary says that it is a replica in its own shard, its slots go to the other one at
//!   once, or it keeps them if it is known by a newer epoch (pull request 10536). Here they are nobody's until somebody claims them.
//! - While a node loads a snapshot it answers PINGs and does nothing else, as its thread does between two chunks.
//! - `cluster-allow-reads-when-down`, limits of link buffers, host names and sharded Pub/Sub are left out. Nobody reads
//!   from replicas (`READONLY`).

mod bus;
mod client;
mod cluster;
mod config;
mod election;
mod failure;
pub mod invariants;
mod manual;
mod message;
mod migration;
mod node;
mod nodes_conf;
mod operator;
mod receive;
mod replicated;
mod resharding;
mod serve;
mod slots;
mod standstill;
mod state;
mod table;

pub use client::{ClusterClient, ClusterClientSpec, ClusterClientTimer, Refresh};
pub use cluster::{
    ClusterDisk, ClusterLoad, ClusterPlan, ClusterProcess, ClusterProcessSpec, ClusterProcessTimer,
    ClusterRecord, RedisCluster,
};
pub use config::{ClusterConfig, NodeSpec, Release};
pub use message::{Body, Gossip, Message, NodeId};
pub use node::{ClusterNode, NodeTimer};
pub use nodes_conf::{KnownHealth, KnownNode, NodeDirectory, NodeRecord, NodesConf};
pub use operator::{ClusterOperator, ClusterOperatorSpec};
pub use resharding::{OpenSlots, SetSlot};
pub use slots::{SLOT_COUNT, Slot, Slots};
pub use standstill::SAVED;
