//! A whole cluster: etcd, members with their `PostgreSQL` servers, proxies and clients, placed on hosts.
//!
//! | what | names |
//! |---|---|
//! | hosts | `db-1`... for members; `etcd-1`... for etcd, unless it shares the members' hosts; `app-1` for proxies and clients; `dns-1` for a name server |
//! | processes | `etcd-1`..., with Kubernetes `api-server-1`... beside them, `postgres-1`..., `patroni-1`..., `haproxy-1` (primary), `haproxy-2` (replicas), `pgbouncer-1`, `confd-1`, `dns-1`, `kube-proxy-1`, `client-1`... for writers and then readers, `local-client-1`... on the members' hosts; `repository-1`, and `operator-1` on `db-1`, if WAL is archived; `namesake-1` |
//! | zones | those of the placement; members and etcd are spread over them in turn, `app-1` and `dns-1` are in the first |
//!
//! The data directories are filled before the first instant: `initdb` on the first member, base backups of it on the
//! others, as after a bootstrap that is not part of the run. Who becomes leader is decided by the normal race.

use std::sync::Arc;

use sim_core::host::{Blueprint, Inspect};
use sim_core::{
    Contains, EndReason, HostId, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, VolumeId,
    WallTime, World, WorldBuilder, ZoneRef, advance_guarded,
};

use super::clients::Clients;
use super::invariants::Watched;
use super::load::{Load, Route};
use super::member::Peer;
use super::namesake::add_namesake;
use super::system::{Cluster, ClusterOptions, Disk, Node, NodeSpec, add_cluster};
use super::version::{Change, Version};
use super::{Configuration, EtcdApi, Inputs, Packet, SynchronousMode};
use crate::backup::{Operator, OperatorSpec, Recovery};
use crate::placement::Placement;
use crate::planted::Planted;
use crate::postgres::{
    self, Archive, ArchiveRepository, ArchiveSettings, Backup, BackupKind, DataDirectory, MemberId,
    Recycling, RepositorySpec,
};
use crate::routing::{
    Application, Confd, HaProxy, MultiHostClient, NameRecord, NameServer, PgBouncer, Service, StickyClient,
};

sim_core::system! {
    /// The processes of a whole cluster: its nodes, proxies and clients.
    pub enum ClusterProcess {
        Node(Node),
        HaProxy(HaProxy),
        PgBouncer(PgBouncer),
        Application(Application),
        MultiHostClient(MultiHostClient),
        StickyClient(StickyClient),
        Service(Service),
        Repository(ArchiveRepository),
        Operator(Operator),
        Confd(Confd),
        NameServer(NameServer),
    }
    spec: ClusterSpec,
    timer: ClusterTimer,
    packet: Packet,
    storage: Disk,
}

impl From<NodeSpec> for ClusterSpec {
    fn from(spec: NodeSpec) -> Self {
        Self::Node(spec)
    }
}

/// Everything that a cluster is built from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Members of the cluster, at least 1.
    pub members: u8,
    /// Members of etcd, at least 1.
    pub etcd_members: u8,
    /// True if etcd runs on the hosts of the members, one each, in turn.
    pub etcd_shares_hosts: bool,
    /// `--pre-vote` of etcd; absent: the default of the release that runs.
    pub etcd_pre_vote: Option<bool>,
    /// Regions and zones.
    pub placement: Placement,
    /// The settings of Patroni.
    pub configuration: Configuration,
    /// Declared inputs.
    pub inputs: Inputs,
    /// The load.
    pub load: Load,
    /// An archive of WAL, with a repository.
    pub archive: Option<ClusterArchive>,
    /// A standby outside of the cluster that streams from this member under its name (`namesake.rs`).
    pub namesake: Option<MemberId>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// `archive_mode: on` with `archive_command` and `restore_command` on all members, and the repository that they copy to and
/// from: `repository-1`, on a host of its own in the last zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClusterArchive {
    /// `archive_timeout`; absent: off.
    pub archive_timeout: Option<SimDuration>,
    /// After how long `restore_command` gives up; absent: when TCP does.
    pub restore_timeout: Option<SimDuration>,
}

impl Plan {
    /// Regions and zones without hosts, and the zones in the order in which hosts are spread over them.
    pub fn topology(&self) -> (Topology, Vec<ZoneRef>) {
        self.placement.topology_with(&self.inputs.links)
    }
}

/// The hosts of a cluster.
#[derive(Clone, Debug)]
pub struct PatroniHosts {
    /// Of members.
    members: Vec<HostId>,
    /// Of members of etcd.
    etcd: Vec<HostId>,
    /// Of proxies and clients.
    app: HostId,
    /// Of the name server, if clients find the primary by a name.
    name_server: Option<HostId>,
    /// Of the repository, if WAL is archived.
    repository: Option<HostId>,
    /// Of the standby outside of the cluster, if there is one.
    namesake: Option<HostId>,
}

impl PatroniHosts {
    /// Adds the hosts of a cluster to a topology: `db-1`..., `etcd-1`..., `app-1`, and `dns-1`, `repository-1` and `namesake-1` if the plan
    /// has a use for them.
    ///
    /// # Panics
    /// If there are no zones.
    pub fn add_to(topology: &mut Topology, zones: &[ZoneRef], plan: &Plan) -> Self {
        let mut hosts = |name: &str, count: u8| -> Vec<HostId> {
            (0..count)
                .map(|index| {
                    topology
                        .add_host(zones[usize::from(index) % zones.len()], &format!("{name}-{}", index + 1))
                })
                .collect()
        };
        let members = hosts("db", plan.members);
        let etcd = if plan.etcd_shares_hosts {
            members.iter().copied().cycle().take(usize::from(plan.etcd_members)).collect()
        } else {
            hosts("etcd", plan.etcd_members)
        };
        let app = hosts("app", 1)[0];
        let name_server = (plan.load.route == Route::Dns).then(|| hosts("dns", 1)[0]);
        let last = *zones.last().expect("a placement has zones");
        let repository = plan.archive.map(|_| topology.add_host(last, "repository-1"));
        let namesake = plan.namesake.map(|_| topology.add_host(last, "namesake-1"));
        Self { members, etcd, app, name_server, repository, namesake }
    }
}

impl Default for Plan {
    /// The cluster of Patroni's documentation: three members and three members of etcd, each on a host of its own, with
    /// the default settings of both and the default load. In one zone.
    fn default() -> Self {
        Self {
            members: 3,
            etcd_members: 3,
            etcd_shares_hosts: false,
            etcd_pre_vote: None,
            placement: Placement::default(),
            configuration: Configuration::default(),
            inputs: Inputs::default(),
            load: Load::default(),
            archive: None,
            namesake: None,
            planted: Planted::Nothing,
        }
    }
}

/// A cluster, ready to run any seed.
#[derive(Clone, Debug)]
pub struct PatroniCluster {
    builder: WorldBuilder<ClusterProcess>,
    cluster: Cluster,
    clients: Vec<ProcessId>,
    local_clients: Vec<ProcessId>,
    /// Where clients connect to for the primary, unless they find it by themselves.
    address: Option<ProcessId>,
    scope: String,
    mode: SynchronousMode,
    version: Version,
    on_kubernetes: bool,
    etcd_api: EtcdApi,
}

impl PatroniCluster {
    /// Places a cluster.
    ///
    /// # Panics
    /// If the plan has no members, or no members of etcd, a Service without Kubernetes, or `confd` with it.
    pub fn new(plan: &Plan) -> Self {
        let (mut topology, zones) = plan.topology();
        let hosts = PatroniHosts::add_to(&mut topology, &zones, plan);
        Self::on(plan, WorldBuilder::new(topology), &hosts)
    }

    /// Places a cluster on these hosts, as a part of a world if the builder is one's.
    ///
    /// # Panics
    /// If the plan has no members, or no members of etcd.
    pub fn on(plan: &Plan, mut builder: WorldBuilder<ClusterProcess>, hosts: &PatroniHosts) -> Self {
        assert!(plan.members > 0 && plan.etcd_members > 0, "a cluster has members, and etcd has, too");
        let on_kubernetes = plan.configuration.kubernetes.is_some();
        assert!(on_kubernetes || plan.load.route != Route::Service, "Services are objects of Kubernetes");
        assert!(!on_kubernetes || plan.load.route != Route::Confd, "confd reads etcd");
        let confd_reads = plan.configuration.etcd_api == EtcdApi::V3 || plan.load.route != Route::Confd;
        assert!(confd_reads, "confd reads etcd by its API version 3");
        let name_server = hosts.name_server.map(|host| add_name_server(&mut builder, host, plan));
        // The repository comes behind the members and before proxies and clients.
        let api_servers = if on_kubernetes { hosts.etcd.len() } else { 0 };
        let before = hosts.etcd.len() + 2 * hosts.members.len() + api_servers;
        let repository = ProcessId::from_index(builder.next_process().index() + before);
        let parameters = postgres::Parameters {
            archive: plan.archive.map(|archive| ArchiveSettings {
                repository,
                archive_mode: true,
                archive_timeout: archive.archive_timeout,
                restores: true,
                restore_timeout: archive.restore_timeout,
            }),
            recycling: Some(Recycling {
                wal_keep_size: plan.configuration.wal_keep_size,
                ..Recycling::default()
            }),
            insert_bytes: plan.load.wal_per_write,
            ..postgres::Parameters::default()
        };
        let options = ClusterOptions {
            configuration: plan.configuration.clone(),
            inputs: plan.inputs.clone(),
            parameters,
            etcd_pre_vote: plan.etcd_pre_vote,
            name_server,
            planted: plan.planted,
        };
        let cluster =
            add_cluster(&mut builder, &hosts.etcd, &hosts.members, &plan.inputs.disk_sync, &options);
        if let Some(host) = hosts.repository {
            add_repository(&mut builder, host, plan);
            let first = (hosts.members[0], cluster.volumes[0]);
            add_operator(&mut builder, first, cluster.members[0], repository);
        }
        let mut clients = Clients {
            builder: &mut builder,
            plan,
            members: &cluster.members,
            api_servers: &cluster.api_servers,
            app: hosts.app,
            etcd: &cluster.etcd,
            name_server,
            number: 0,
        };
        let addresses = clients.add_proxies();
        let (clients, local_clients) = clients.add(&hosts.members, addresses);
        if let Some((member, host)) = plan.namesake.zip(hosts.namesake) {
            let peer = cluster.members[usize::from(member.0)];
            add_namesake(&mut builder, host, peer, &plan.inputs, &options);
        }
        Self {
            builder,
            cluster,
            clients,
            local_clients,
            address: addresses.map(|(primary, _)| primary),
            scope: plan.configuration.scope.clone(),
            mode: plan.configuration.synchronous_mode,
            version: plan.configuration.version,
            on_kubernetes,
            etcd_api: plan.configuration.etcd_api,
        }
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<ClusterProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<ClusterProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Adds to a world of this cluster, or one of which it is a part, what must always hold in it ([`super::invariants`]). From
    /// `quiet_from` on nothing is wrong any more, and has not been for long enough to recover; none if that never comes.
    pub fn add_conditions<P: Contains<ClusterProcess>>(
        &self,
        world: &mut World<P>,
        quiet_from: Option<SimTime>,
    ) {
        Watched {
            etcd: Arc::clone(&self.cluster.etcd),
            members: Arc::clone(&self.cluster.members),
            scope: self.scope.clone(),
            sync_holds: self.mode == SynchronousMode::On
                && self.version.has(Change::ReadSettingsOfRunningServer),
            timelines_hold: self.mode == SynchronousMode::On
                && self.version.has(Change::CompareTimelineBeforeLock),
            etcd_api: self.etcd_api,
            lock_holds: match (self.on_kubernetes, self.etcd_api) {
                (true, _) => false,
                (false, EtcdApi::V2) => true,
                (false, EtcdApi::V3) => self.version.has(Change::PutLeaderOnConditions),
            },
            quiet_from,
        }
        .add_to(world);
    }

    /// What it consists of, for a world of which it is a part.
    pub fn builder(&self) -> &WorldBuilder<ClusterProcess> {
        &self.builder
    }

    /// Where clients connect to for the primary: a proxy or a pooler. None if they find it by themselves.
    pub fn address(&self) -> Option<ProcessId> {
        self.address
    }

    /// What the cluster consists of, for another host of processes than the native kernel.
    pub fn blueprint(&self) -> Blueprint<ClusterProcess> {
        self.builder.blueprint()
    }

    /// The processes whose marks tell about the cluster: members and their servers.
    pub fn members(&self) -> Vec<ProcessId> {
        self.cluster.members.iter().flat_map(|peer| [peer.patroni, peer.postgres]).collect()
    }

    /// The clients that find the primary by themselves or through a proxy, without those that know one server only.
    pub fn clients(&self) -> &[ProcessId] {
        &self.clients
    }

    /// A server that accepts writes now.
    pub fn primary(&self, world: &impl Inspect<ClusterProcess>) -> Option<ProcessId> {
        let mut servers = self.cluster.members.iter().map(|peer| peer.postgres);
        servers.find(|server| plays(world, *server, "primary"))
    }

    /// The client on the host of this server, if the load has clients that know one server only.
    pub fn client_beside(&self, server: ProcessId) -> Option<ProcessId> {
        let index = self.cluster.members.iter().position(|peer| peer.postgres == server)?;
        self.local_clients.get(index).copied()
    }

    /// The rows that the cluster holds now: those of the server that accepts writes and whose Patroni holds the lock;
    /// without one, those of a server that accepts writes; without any, those of the longest log on the highest
    /// timeline, from which an operator would rebuild.
    ///
    /// # Panics
    /// If the world is not one of this cluster.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &impl Inspect<ClusterProcess>) -> C {
        let rank = |peer: &&Peer| {
            let Disk::Data(data) = world.storage(peer.postgres) else { unreachable!("servers keep data") };
            let writable = plays(world, peer.postgres, "primary");
            (
                writable && plays(world, peer.patroni, "patroni-leader"),
                writable,
                data.can_recover(),
                data.history.current,
                data.wal.end(),
                // The first of equals, for a defined choice.
                std::cmp::Reverse(peer.member),
            )
        };
        let best = self.cluster.members.iter().max_by_key(rank).expect("a cluster has members");
        let Disk::Data(data) = world.storage(best.postgres) else { unreachable!("servers keep data") };
        if world.process(best.postgres).is_some() {
            // What a server has replayed does not depend on what became of its log since.
            data.rows().collect()
        } else {
            data.recoverable_rows().collect()
        }
    }
}

/// True if a process of this world runs and plays this role.
fn plays(world: &impl Inspect<ClusterProcess>, process: ProcessId, role: &str) -> bool {
    use sim_core::Process as _;
    world.process(process).is_some_and(|state| state.plays(role))
}

fn add_name_server(builder: &mut WorldBuilder<ClusterProcess>, host: HostId, plan: &Plan) -> ProcessId {
    let volume = builder.add_volume(host, Disk::Name(NameRecord::default()), &plan.inputs.disk_sync);
    builder.add_process(ProcessOptions {
        name: "dns-1".to_owned(),
        host,
        volume,
        starts_with_host: true,
        spec: ClusterSpec::NameServer(()),
    })
}

fn add_repository(builder: &mut WorldBuilder<ClusterProcess>, host: HostId, plan: &Plan) {
    let inputs = crate::backup::Inputs::default();
    // The backup that was taken when the cluster had been set up.
    let mut archive = Archive::default();
    archive.backups.push(Arc::new(Backup {
        kind: BackupKind::Base,
        as_of: WallTime::ZERO,
        contents: DataDirectory::new_primary(),
    }));
    let volume = builder.add_volume(host, Disk::Archive(archive), &plan.inputs.disk_sync);
    builder.add_process(ProcessOptions {
        name: "repository-1".to_owned(),
        host,
        volume,
        starts_with_host: true,
        spec: ClusterSpec::Repository(RepositorySpec {
            latency: inputs.repository_latency.sampler(),
            bytes_per_second: inputs.repository_bytes_per_second,
            compressed: false,
            retention_full: None,
        }),
    });
}

/// Who can bring the files of a member back, beside the first of them.
fn add_operator(
    builder: &mut WorldBuilder<ClusterProcess>,
    (host, volume): (HostId, VolumeId),
    member: Peer,
    repository: ProcessId,
) {
    let inputs = crate::backup::Inputs::default();
    let copying = SimDuration::from_secs(1).scale(DATABASE_BYTES, inputs.base_backup_bytes_per_second);
    builder.add_process(ProcessOptions {
        name: "operator-1".to_owned(),
        host,
        volume,
        starts_with_host: true,
        spec: ClusterSpec::Operator(OperatorSpec {
            watched: member.postgres,
            monitors: false,
            local: member.postgres,
            repository,
            recovery: Recovery::Files,
            check_interval: inputs.check_interval,
            alert_after: inputs.alert_after,
            response: inputs.response.sampler(),
            fencing: inputs.fencing,
            copying,
        }),
    });
}

/// Bytes of the database that is copied back: 3 GB, what [`Inputs::base_backup`] stands for.
const DATABASE_BYTES: u64 = 3_000_000_000;
