//! Redis Cluster.
mod bus;
mod client;
mod cluster;
mod config;
mod election;
mod failure;
mod manual;
mod message;
mod migration;
mod node;
mod nodes_conf;
mod receive;
mod serve;
mod slots;
mod state;
mod table;

pub use client::{ClusterClient, ClusterClientSpec, ClusterClientTimer, Refresh};
pub use cluster::{
    ClusterDisk, ClusterLoad, ClusterPlan, ClusterProcess, ClusterProcessSpec, ClusterProcessTimer, ClusterRecord, RedisCluster,
};
pub use config::{ClusterConfig, NodeSpec, Release};
pub use message::{Body, Gossip, Message, NodeId};
pub use node::{ClusterNode, NodeTimer};
pub use nodes_conf::{KnownHealth, KnownNode, NodeDirectory, NodeRecord, NodesConf};
pub use slots::{SLOT_COUNT, Slot, Slots};
