//! Patroni, and the `PostgreSQL` cluster that it keeps available.
//!
//! A [`Member`] is Patroni on one host, beside a [`crate::postgres::Server`] with which it shares the data directory. All
//! members run the same loop against the same etcd, or the same API of Kubernetes; whoever holds the *leader key* runs its server as the primary.
//! *Leader* (holds the key) and *primary* (accepts writes) are two things, and most failures live in the time between.
//!
//! ```text
//!      etcd                        Patroni (one on each host)                     PostgreSQL
//!   leader key  ◄─ keep-alive ──┐  ┌────────────────────────┐ ── start, stop, ──► postmaster
//!   members/*   ◄─ put ─────────┤  │ HA loop   (cycle.rs)   │    promote, reload     │
//!   /sync       ◄─ CAS ─────────┼──┤ one task  (task.rs)    │ ◄─ status ─────────────┤
//!   /status, /history ◄─ put ───┘  │ watcher   (dcs)        │                        │ walsender
//!        └────────── watch ──────► │ REST API  (rest.rs)    │ ◄── polls of others    ▼
//!                                  └────────────────────────┘                     standbys
//! ```
//!
//! # The algorithm
//!
//! Every `loop_wait` the leader keeps its lease alive, publishes its flushed position and manages its synchronous
//! standbys; the others follow it. When the leader stops doing so, its lease runs out after `ttl`, the leader key vanishes,
//! the watch wakes all others, each asks all others how much WAL they have, and whoever finds nobody ahead tries to create
//! the key. One succeeds, and promotes its server.
//!
//! | subject | file | fidelity specification |
//! |---|---|---|
//! | when the loop runs | `schedule.rs` | 2.2, 2.3 |
//! | one cycle, in order | `cycle.rs` | 2.4 |
//! | leader and followers | `healthy.rs` | 2.6 |
//! | the leader race | `race.rs` | 2.5 |
//! | `primary_race_backoff` | `backoff.rs` | 1.1, 2.5 (1) |
//! | promotion | `promotion.rs` | 2.6 c to j |
//! | DCS errors, demotions | `demotion.rs` | 2.7 |
//! | failsafe mode | `failsafe.rs` | 2.7 |
//! | maintenance mode | `pause.rs` | 2.4 (3) |
//! | SIGTERM | `termination.rs` | 2.11 |
//! | `pre_promote` | `pre_promote.rs` | 2.6 d |
//! | `on_role_change` | `callback.rs` | 2.6 |
//! | switchovers | `switchover.rs` | 2.5 (5) |
//! | synchronous standbys | `synchronous.rs` | 2.8 |
//! | quorum commit | `quorum.rs`, `quorum_commit.rs` | 2.8, 2.5 (12) |
//! | starting a dead server | `recovery.rs` | 2.9 |
//! | divergence, `pg_rewind`, rebuild | `rejoin.rs` | 2.10 |
//! | a query that runs into its time-out | `slow_server.rs` | 7 (Z33) |
//! | a start beside a running server | `joining.rs` | 7 (Z25) |
//! | who streams under a member's name | `namesake.rs` | 7 (Z25) |
//! | replication slots | `slots.rs` | 1.1, 2.4 (11) |
//! | lock and lease | `lock.rs`, `dcs/etcd3/lock.rs` | 3.3 |
//! | time-outs and endpoint failover | `dcs/timeouts.rs`, `dcs/client.rs` | 3.4 |
//! | the copy of the keys | `dcs/etcd3/cache.rs` | 3.5 |
//! | API version 2 of etcd | `dcs/etcd2` | 7 (Z32, Z35) |
//! | Kubernetes in place of etcd | `dcs/kubernetes` | 1.5 |
//! | REST API and polls | `rest.rs` | 2.5, 2.6 |
//! | watchdog | `watchdog.rs` | 1.2 |
//! | what changed between releases | `version.rs` | 7 |
//!
//! # Sources
//!
//! Patroni 4.1.5 (`ha.py`, `etcd.py`, `etcd3.py`, `kubernetes.py`, `__main__.py`, `rewind.py`, `sync.py`, `api.py`, `watchdog/base.py`), as
//! read in the fidelity specification of this project, whose section numbers the files name. Durations that are not
//! derived are in `inputs.rs`, each with its source.
//!
//! # Marks
//!
//! `Suspected`: the watch of a member, with API version 2 of etcd also a read, first shows that the leader key is gone (every member, once for
//! each loss). `Elected`:
//! a member created the leader key; the value is the revision of etcd. On Kubernetes nothing vanishes: a member leaves
//! `Suspected` when it first finds the lock absent, by its own clock. `Writable` and `ReadOnly` come from the server.
//!
//! Members play `patroni`, `patroni-leader` (holds the lock by its own view: after a partition there may be two),
//! `patroni-replica`, and `sync-standby` (named in `/sync` by its own view). They understand the command `switchover`, sent
//! to the leader: the new leader is whoever wins the race, or with `switchover patroni-2` that member; `pause` and `resume`,
//! sent to any member; and `stop`, which is SIGTERM.
//!
//! # Simplified, and what that changes
//!
//! - Handlers take no time. What Python needs between the deletion of the key and the first poll is a declared input
//!   and so is the time that a former primary takes to stop after it learns that its lock is lost (0.4 to 1.0 s); what it
//!   needs elsewhere is missing. Phases of seconds are not affected. That each request to the store waits for an acknowledgement is
//!   modelled (`dcs/client.rs`).
//! - The requests of one operation on the lock have a budget each instead of one together (`lock.rs`).
//! - Writes whose failure is ignored (`/status`, `/history`, the member's key) do not hold up the cycle. When etcd dies
//!   between the keep-alive and them, the real loop is late by one time-out.
//! - `/primary` and `/replica` are answered without asking the server (`rest.rs`).
//! - A new cluster starts from prepared data directories as standbys of nobody; its first leader is promoted to timeline 2.
//! - `pg_rewind` and rebuilds: see `rejoin.rs`.
//!
//! # Left out
//!
//! Standby clusters, manual failover without a leader.

mod backoff;
mod callback;
mod clients;
mod cluster;
mod config;
mod cycle;
mod dcs;
mod demotion;
mod failsafe;
mod healthy;
mod inputs;
pub mod invariants;
mod joining;
mod load;
mod local;
mod lock;
mod member;
mod namesake;
mod packet;
mod pause;
mod pre_promote;
mod promotion;
mod quorum;
mod quorum_commit;
mod race;
mod recovery;
mod rejoin;
mod rest;
mod schedule;
mod slots;
mod slow_server;
mod switchover;
mod synchronous;
mod system;
mod task;
mod termination;
mod version;
mod watchdog;

pub use cluster::{
    ClusterArchive, ClusterProcess, ClusterSpec, ClusterTimer, PatroniCluster, PatroniHosts, Plan,
};
pub use config::{
    Adjustment, Configuration, EtcdApi, FailoverPriority, KubernetesSettings, SynchronousMode, Tags,
    Timeouts, Watchdog, WatchdogMode,
};
pub use inputs::Inputs;
pub use load::{
    ClientSettings, ImpatientClient, Load, PoolerSettings, ProxySettings, ReadFrom, Reads, Route,
};
pub use member::Peer;
pub use packet::{MemberReport, MemberRole, Packet, Rest, RestPath};
pub use pre_promote::PrePromote;
pub use rest::RoundPurpose;
pub use system::{Cluster, ClusterOptions, Disk, DiskRecord, Node, NodeSpec, NodeTimer, add_cluster};
pub use version::{MODELLED, OLDEST, OLDEST_ON_ETCD_V2, OLDEST_ON_KUBERNETES, Version};
