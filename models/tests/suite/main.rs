//! The models in worlds of their own. One program holds all of it: a world is compiled once, and not for each subject.

mod backup;
mod kubernetes;
mod patroni;
mod patroni_clusters;
mod patroni_disks;
mod patroni_etcd2;
mod patroni_kubernetes;
mod patroni_names;
mod postgres;
mod redis;
mod redis_chains;
mod redis_cluster;
mod redis_standstill;
mod routing;
mod sentinel;
mod sessions_and_caches;
