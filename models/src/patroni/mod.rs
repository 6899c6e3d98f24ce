//! Patroni, and the PostgreSQL cluster that it keeps available.

mod cluster;
mod config;
mod cycle;
mod dcs;
mod demotion;
mod healthy;
mod inputs;
mod local;
mod lock;
mod member;
mod packet;
mod promotion;
mod race;
mod recovery;
mod rejoin;
mod rest;
mod schedule;
mod synchronous;
mod system;
mod task;
mod watchdog;

pub use cluster::{Load, PatroniCluster, Placement, Plan, Route};
pub use config::{Adjustment, Configuration, SynchronousMode, Tags, Timeouts, Watchdog, WatchdogMode};
pub use inputs::Inputs;
pub use packet::{MemberReport, MemberRole, Packet, Rest, RestPath};
pub use rest::RoundPurpose;
pub use system::{Cluster, ClusterOptions, Disk, DiskRecord, Node, NodeSpec, NodeTimer, add_cluster};
