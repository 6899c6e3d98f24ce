//! The processes of a Patroni cluster as one process type, and the simplest cluster of them.
//!
//! To add roles (proxies, clients), define another system that has [`Node`] as one role and the others beside it, with
//! the same [`Packet`] and [`Disk`]; give its specification `From<NodeSpec>`, and [`add_cluster`] builds into it. The test
//! of this model does so with a client.

use std::sync::Arc;

use sim_core::{Distribution, Holds, HostId, Process, ProcessId, ProcessOptions, VolumeId, WorldBuilder};

use super::config::Configuration;
use super::inputs::{InputSamplers, Inputs};
use super::member::{Member, Peer};
use super::packet::Packet;
use crate::etcd;
use crate::kubernetes::{ApiServer, ApiServerSpec};
use crate::planted::Planted;
use crate::postgres::{self, Archive, DataDirectory, MemberId};
use crate::routing::{ConfigurationFile, NameRecord};

sim_core::system! {
    /// The processes of a cluster: etcd members, `PostgreSQL` servers, and a Patroni beside each server.
    pub enum Node {
        Etcd(etcd::Server),
        Postgres(postgres::Server),
        Member(Member),
        ApiServer(ApiServer),
    }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

sim_core::volumes! {
    /// A volume of a cluster: of an etcd member, of a `PostgreSQL` server and its Patroni, of a repository of archived WAL and
    /// backups, of a pooler, or of a name server. Proxies and clients keep nothing.
    pub enum Disk {
        Etcd(etcd::Disk),
        Data(DataDirectory),
        Archive(Archive),
        Pooler(ConfigurationFile),
        Name(NameRecord),
    }
    record: DiskRecord,
}

impl Holds<Self> for Disk {
    fn held(&self) -> &Self {
        self
    }
}

/// What a cluster consists of, apart from where it is.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// The settings of all members.
    pub configuration: Configuration,
    /// How long the real software takes for what the models do not look into.
    pub inputs: Inputs,
    /// Parameters of all servers.
    pub parameters: postgres::Parameters,
    /// `--pre-vote` of etcd; absent: the default of the release of etcd.
    pub etcd_pre_vote: Option<bool>,
    /// The name server that members tell of their promotion, if they have such a callback.
    pub name_server: Option<ProcessId>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// The processes of a cluster that was added to a world.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The etcd members.
    pub etcd: Arc<[ProcessId]>,
    /// The members, with their servers.
    pub members: Arc<[Peer]>,
    /// The volumes of the members.
    pub volumes: Arc<[VolumeId]>,
    /// The API servers, if the store is Kubernetes: one beside each etcd member.
    pub api_servers: Arc<[ProcessId]>,
}

/// Adds a cluster to a world: an etcd member on each of the first hosts, a server with its Patroni on each of the
/// second, and with Kubernetes as the store an API server beside each etcd member. They are named `etcd-1`, `postgres-1`,
/// `patroni-1`, `api-server-1` and so on. All data directories hold the same fresh
/// cluster (`initdb` on the first host, base backups of it on the others), so that any member may lead first.
pub fn add_cluster<P>(
    builder: &mut WorldBuilder<P>,
    etcd_hosts: &[HostId],
    member_hosts: &[HostId],
    sync_latency: &Distribution,
    options: &ClusterOptions,
) -> Cluster
where
    P: Process<Spec: From<NodeSpec>, Storage: From<Disk>>,
{
    let first = builder.next_process().index();
    let process = |offset: usize| ProcessId::from_index(first + offset);
    let etcd: Arc<[ProcessId]> = (0..etcd_hosts.len()).map(process).collect();
    let mut etcd_spec = etcd::Spec::new(etcd.to_vec()).of_release(options.configuration.etcd_version);
    etcd_spec.pre_vote = options.etcd_pre_vote.unwrap_or(etcd_spec.pre_vote);
    etcd_spec.planted = options.planted;
    for (index, host) in etcd_hosts.iter().enumerate() {
        let volume = builder.add_volume(*host, Disk::Etcd(etcd::Disk::default()).into(), sync_latency);
        builder.add_process(ProcessOptions {
            name: format!("etcd-{}", index + 1),
            host: *host,
            volume,
            starts_with_host: true,
            spec: NodeSpec::Etcd(etcd_spec.clone()).into(),
        });
    }
    let members: Arc<[Peer]> = (0..member_hosts.len())
        .map(|index| Peer {
            member: MemberId(index as u8),
            postgres: process(etcd_hosts.len() + 2 * index),
            patroni: process(etcd_hosts.len() + 2 * index + 1),
        })
        .collect();
    let with_kubernetes = options.configuration.kubernetes.is_some();
    let api_servers: Arc<[ProcessId]> = (0..if with_kubernetes { etcd.len() } else { 0 })
        .map(|index| process(etcd_hosts.len() + 2 * member_hosts.len() + index))
        .collect();
    let names: Arc<[String]> = (1..=member_hosts.len()).map(|number| format!("patroni-{number}")).collect();
    let configuration = Arc::new(options.configuration.clone());
    let inputs = Arc::new(InputSamplers::from(&options.inputs));
    let durations = Arc::new(postgres::Durations::from(&options.inputs));
    let parameters = Arc::new(options.parameters.clone());
    let mut volumes = Vec::new();
    for (peer, host) in members.iter().zip(member_hosts) {
        let number = peer.member.0 + 1;
        let fresh = DataDirectory::new_primary();
        let contents = if peer.member.0 == 0 { fresh } else { fresh.base_backup(None) };
        let volume = builder.add_volume(*host, Disk::Data(contents).into(), sync_latency);
        volumes.push(volume);
        builder.add_process(ProcessOptions {
            name: format!("postgres-{number}"),
            host: *host,
            volume,
            // Patroni starts it.
            starts_with_host: false,
            spec: NodeSpec::Postgres(postgres::Spec {
                member: peer.member,
                parameters: Arc::clone(&parameters),
                durations: Arc::clone(&durations),
                planted: options.planted,
            })
            .into(),
        });
        builder.add_process(ProcessOptions {
            name: format!("patroni-{number}"),
            host: *host,
            volume,
            starts_with_host: true,
            spec: NodeSpec::Member(super::member::Spec {
                member: peer.member,
                names: Arc::clone(&names),
                postgres: peer.postgres,
                peers: Arc::clone(&members),
                etcd: Arc::clone(&etcd),
                api_servers: Arc::clone(&api_servers),
                name_server: options.name_server,
                configuration: Arc::clone(&configuration),
                inputs: Arc::clone(&inputs),
                planted: options.planted,
            })
            .into(),
        });
    }
    for index in 0..api_servers.len() {
        let host = etcd_hosts[index];
        let volume = builder.add_volume(host, Disk::Nothing.into(), sync_latency);
        builder.add_process(ProcessOptions {
            name: format!("api-server-{}", index + 1),
            host,
            volume,
            starts_with_host: true,
            spec: NodeSpec::ApiServer(ApiServerSpec::new(etcd[index])).into(),
        });
    }
    Cluster { etcd, members, volumes: volumes.into(), api_servers }
}
