//! The protocols, one folder each: sans-IO state machines on sim-core's `Process`.
//!
//! | folder | what it models | used by |
//! |---|---|---|
//! | [`raft`] | the consensus core of etcd | `etcd` |
//! | [`etcd`] | etcd v3: leases, transactions, watches, reads | `patroni` |
//! | [`kubernetes`] | API servers of Kubernetes in front of etcd | `patroni` |
//! | [`postgres`] | PostgreSQL with streaming replication | `patroni` |
//! | [`patroni`] | Patroni's HA loop, and the cluster as a whole | scenarios |
//! | [`backup`] | backups beside replication, and who brings them back | scenarios |
//! | [`platform`] | Patroni, Redis with Sentinel and a service that needs both, in one world | scenarios |
//! | [`redis`] | Redis servers that replicate | scenarios |
//! | [`redis_cluster`] | Redis Cluster, and clients with a slot map | scenarios |
//! | [`sentinel`] | Redis Sentinel, and clients that ask it | scenarios |
//! | [`lock`] | leader election by a Redis lock, Redlock, fencing | scenarios |
//! | [`routing`] | `HAProxy`, `PgBouncer`, clients with pools | scenarios |
//! | [`placement`] | regions and zones, and what lies between hosts | scenarios |
//! | [`release`] | numbers of releases | all |
//! | [`planted`] | bugs that tests switch on in any of them | tests |
//!
//! Nothing here opens a file, knows a scenario or computes a statistic.

pub mod backup;
pub mod etcd;
pub mod kubernetes;
pub mod lock;
pub mod patroni;
pub mod placement;
pub mod planted;
pub mod platform;
pub mod postgres;
pub mod raft;
pub mod redis;
pub mod redis_cluster;
pub mod release;
pub mod routing;
pub mod sentinel;

pub use placement::{LinkInputs, Placement};
pub use planted::Planted;
pub use release::Release;
