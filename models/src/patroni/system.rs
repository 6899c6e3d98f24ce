//! The processes of a Patroni cluster as one process type, and the simplest cluster of them.
//!
//! To add roles (proxies, clients), define another system that has [`Node`] as one role and the others beside it, with
//! the same [`Packet`] and [`Disk`]; give its specification `From<NodeSpec>`, and [`add_cluster`] builds into it. The test
//! of this model does so with a client.

use std::sync::Arc;

use sim_core::{
    Damage, Distribution, Holds, HostId, Process, ProcessId, ProcessOptions, Storage, WorldBuilder,
};

use super::config::Configuration;
use super::inputs::{InputSamplers, Inputs};
use super::member::{Member, Peer};
use super::packet::Packet;
use crate::etcd;
use crate::planted::Planted;
use crate::postgres::{self, DataDirectory, DataRecord, MemberId};

sim_core::system! {
    /// The processes of a cluster: etcd members, `PostgreSQL` servers, and a Patroni beside each server.
    pub enum Node {
        Etcd(etcd::Server),
        Postgres(postgres::Server),
        Member(Member),
    }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

/// A volume of a cluster.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// Of a process that keeps nothing.
    #[default]
    Nothing,
    /// Of an etcd member.
    Etcd(etcd::Disk),
    /// Of a `PostgreSQL` server and its Patroni.
    Data(DataDirectory),
}

/// A change of a volume.
#[derive(Clone, Debug)]
pub enum DiskRecord {
    /// Of a process that keeps nothing.
    Nothing,
    /// Of an etcd member.
    Etcd(etcd::DiskRecord),
    /// Of a `PostgreSQL` server and its Patroni.
    Data(DataRecord),
}

impl Storage for Disk {
    type Record = DiskRecord;

    fn wiped(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Etcd(disk) => Self::Etcd(disk.wiped()),
            Self::Data(data) => Self::Data(data.wiped()),
        }
    }

    fn apply(&mut self, record: &DiskRecord) {
        match (self, record) {
            (Self::Etcd(disk), DiskRecord::Etcd(record)) => disk.apply(record),
            (Self::Data(data), DiskRecord::Data(record)) => data.apply(record),
            (Self::Nothing, DiskRecord::Nothing) => {}
            (disk, record) => unreachable!("{record:?} was written to {disk:?}"),
        }
    }

    fn record_count(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Etcd(disk) => disk.record_count(),
            Self::Data(data) => data.record_count(),
        }
    }

    fn damage(&mut self, damage: Damage<'_, DiskRecord>) {
        match self {
            Self::Nothing => {}
            Self::Etcd(disk) => disk.damage(damage.map(|record| match record {
                DiskRecord::Etcd(record) => record,
                other => unreachable!("{other:?} was written to the disk of an etcd member"),
            })),
            Self::Data(data) => data.damage(damage.map(|record| match record {
                DiskRecord::Data(record) => record,
                other => unreachable!("{other:?} was written to a data directory"),
            })),
        }
    }

    fn needs_space(record: &DiskRecord) -> bool {
        match record {
            DiskRecord::Nothing => false,
            DiskRecord::Etcd(record) => etcd::Disk::needs_space(record),
            DiskRecord::Data(record) => DataDirectory::needs_space(record),
        }
    }
}

/// Proxies and clients keep nothing.
impl Holds<()> for Disk {
    fn held(&self) -> &() {
        &()
    }
}

impl Holds<Self> for Disk {
    fn held(&self) -> &Self {
        self
    }
}

impl Holds<etcd::Disk> for Disk {
    fn held(&self) -> &etcd::Disk {
        match self {
            Self::Etcd(disk) => disk,
            other => panic!("an etcd member was placed on {other:?}"),
        }
    }
}

impl Holds<DataDirectory> for Disk {
    fn held(&self) -> &DataDirectory {
        match self {
            Self::Data(data) => data,
            other => panic!("a PostgreSQL server was placed on {other:?}"),
        }
    }
}

impl From<()> for DiskRecord {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<etcd::DiskRecord> for DiskRecord {
    fn from(record: etcd::DiskRecord) -> Self {
        Self::Etcd(record)
    }
}

impl From<DataRecord> for DiskRecord {
    fn from(record: DataRecord) -> Self {
        Self::Data(record)
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
}

/// Adds a cluster to a world: an etcd member on each of the first hosts, a server with its Patroni on each of the
/// second. They are named `etcd-1`, `postgres-1`, `patroni-1` and so on. All data directories hold the same fresh
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
    let names: Arc<[String]> = (1..=member_hosts.len()).map(|number| format!("patroni-{number}")).collect();
    let configuration = Arc::new(options.configuration.clone());
    let inputs = Arc::new(InputSamplers::from(&options.inputs));
    let durations = Arc::new(postgres::Durations::from(&options.inputs));
    let parameters = Arc::new(options.parameters.clone());
    for (peer, host) in members.iter().zip(member_hosts) {
        let number = peer.member.0 + 1;
        let fresh = DataDirectory::new_primary();
        let contents = if peer.member.0 == 0 { fresh } else { fresh.base_backup(None) };
        let volume = builder.add_volume(*host, Disk::Data(contents).into(), sync_latency);
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
                configuration: Arc::clone(&configuration),
                inputs: Arc::clone(&inputs),
                planted: options.planted,
            })
            .into(),
        });
    }
    Cluster { etcd, members }
}
