//! A platform: a Patroni cluster with its etcd, a group of Redis servers with its Sentinels, and a service that needs both, in one
//! world, on one topology, under one schedule of faults.
//!
//! Neither cluster knows that it is a part. Their models are those that run alone: [`sim_core::system!`] nests, and builders
//! [absorb](sim_core::WorldBuilder::absorb) each other. A test holds each part to what it does alone.
//!
//! | file | subject |
//! |---|---|
//! | `service` | an instance of the service |
//! | `cluster` | everything on hosts |
//!
//! # What is simplified, and what that changes
//!
//! The service is one loop, one request at a time: it looks a session up in Redis by writing to it, and then stores a row in
//! PostgreSQL through the proxy. What the two say to each other in a real service (caches that hold what a failover took back)
//! is not modelled.

mod cluster;
mod service;

pub use cluster::{
    Packet, PlatformCluster, PlatformDisk, PlatformPlan, PlatformProcess, PlatformSpec, PlatformTimer,
};
pub use service::{RedisNeed, Service, ServiceSpec, ServiceTimer};
