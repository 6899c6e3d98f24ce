//! Contenders, what they contend for, and the servers with their lock, placed on hosts.
//!
//! | what | names |
//! |---|---|
//! | hosts | `db-1`... for servers or nodes; `sentinel-1`... for Sentinels, unless they share the servers' hosts; `app-1`... for contenders, unless they do; `store-1` |
//! | processes | `redis-1`..., `sentinel-1`..., `contender-1`..., `store-1` |
//! | zones | each kind is spread over them in turn, from the first; nodes of a cluster so that those of a shard are in different ones |

use std::sync::Arc;

use sim_core::host::Inspect;
use sim_core::{
    EndReason, HostId, Part, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, World,
    WorldBuilder, ZoneRef, advance_guarded,
};

use super::contender::{Contender, ContenderSpec};
use super::invariants;
use super::parameters::LockParameters;
use super::store::{Store, StoreDisk, StorePacket, StoreSpec};
use crate::planted::Planted;
use crate::redis::{self, DataDirectory, GroupId, ServerSource, ServerSpec};
use crate::redis_cluster::{ClusterDisk, ClusterPlan, ClusterProcess, ClusterProcessSpec, RedisCluster};
use crate::routing::Workload;
use crate::sentinel::{self, SentinelCluster, SentinelPlan, SentinelProcess, SentinelProcessSpec};

sim_core::packets! {
    /// What travels around a lock.
    pub enum Packet { Redis(redis::Packet), Store(StorePacket) }
}

sim_core::volumes! {
    /// A volume around a lock.
    pub enum LockDisk { Redis(sentinel::Disk), Cluster(ClusterDisk), Store(StoreDisk) }
    record: LockDiskRecord,
}

sim_core::system! {
    /// Servers with their Sentinels or nodes of a cluster, contenders, and the store.
    pub enum LockProcess {
        Redis(SentinelProcess),
        Cluster(ClusterProcess),
        Contender(Contender),
        Store(Store),
    }
    spec: LockSpec,
    timer: LockTimer,
    packet: Packet,
    storage: LockDisk,
}

impl From<SentinelProcessSpec> for LockSpec {
    fn from(spec: SentinelProcessSpec) -> Self {
        Self::Redis(spec)
    }
}

impl From<ClusterProcessSpec> for LockSpec {
    fn from(spec: ClusterProcessSpec) -> Self {
        Self::Cluster(spec)
    }
}

/// Where the lock is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LockServers {
    /// On the primary of a group that Sentinels watch.
    #[default]
    Sentinel,
    /// On one server.
    Single,
    /// On the primary of a shard of Redis Cluster.
    Cluster,
    /// On more than half of several servers that know nothing of each other.
    Redlock,
}

/// Everything that contenders and their lock are built from.
#[derive(Clone, Debug)]
pub struct LockPlan {
    /// Where the lock is.
    pub kind: LockServers,
    /// The servers and their Sentinels. Its load is not used, and without Sentinels neither are they.
    pub group: SentinelPlan,
    /// The nodes, if the lock is on Redis Cluster. Their load is not used.
    pub cluster: ClusterPlan,
    /// The lock.
    pub lock: LockParameters,
    /// Contenders, at least 1.
    pub contenders: u16,
    /// True if they run on the servers' hosts in turn.
    pub beside_servers: bool,
    /// When they start no more effects.
    pub stop_at: Option<SimDuration>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// Contenders and their lock, ready to run any seed.
#[derive(Clone, Debug)]
pub struct LockCluster {
    builder: WorldBuilder<LockProcess>,
    /// The group, if there are Sentinels.
    group: Option<SentinelCluster>,
    /// The nodes, if the lock is on Redis Cluster.
    nodes: Option<RedisCluster>,
    servers: Arc<[ProcessId]>,
    contenders: Vec<ProcessId>,
    store: ProcessId,
}

impl LockCluster {
    /// Places everything on these zones.
    ///
    /// # Panics
    /// If there are no servers, no contenders or no zones.
    pub fn new(plan: &LockPlan, (mut topology, zones): (Topology, Vec<ZoneRef>)) -> Self {
        assert!(plan.contenders > 0 && plan.group.servers > 0, "somebody contends for something");
        let group = &plan.group;
        let node_hosts =
            (plan.kind == LockServers::Cluster).then(|| plan.cluster.add_hosts(&mut topology, &zones));
        let mut hosts = |name: &str, count: u16| -> Vec<HostId> {
            (0..usize::from(count))
                .map(|index| topology.add_host(zones[index % zones.len()], &format!("{name}-{}", index + 1)))
                .collect()
        };
        let servers = if plan.kind == LockServers::Single { 1 } else { group.servers };
        let server_hosts = node_hosts.unwrap_or_else(|| hosts("db", u16::from(servers)));
        let sentinel_hosts = match (plan.kind, group.shared_hosts) {
            (LockServers::Sentinel, false) => hosts("sentinel", u16::from(group.sentinels)),
            _ => server_hosts.iter().copied().cycle().take(usize::from(group.sentinels)).collect(),
        };
        let contender_hosts = if plan.beside_servers {
            server_hosts.iter().copied().cycle().take(usize::from(plan.contenders)).collect()
        } else {
            hosts("app", plan.contenders)
        };
        let store_host = hosts("store", 1)[0];
        let mut placing = Placing { builder: WorldBuilder::new(topology.clone()), plan };
        let (mut group, mut nodes) = (None, None);
        let (servers, sources): (Arc<[ProcessId]>, Vec<ServerSource>) = match plan.kind {
            LockServers::Sentinel => {
                let part = WorldBuilder::beside(topology, &placing.builder);
                let placed = SentinelCluster::on(&plan.group, part, &server_hosts, &sentinel_hosts, None);
                placing.builder.absorb(placed.builder().clone());
                let source = ServerSource::Sentinels(placed.sentinels().into(), GroupId(0));
                let servers = placed.servers().into();
                group = Some(placed);
                (servers, vec![source])
            }
            LockServers::Cluster => {
                let part = WorldBuilder::beside(topology, &placing.builder);
                let placed = RedisCluster::on(&plan.cluster, part, &server_hosts, None);
                placing.builder.absorb(placed.builder().clone());
                let servers: Arc<[ProcessId]> = placed.nodes().into();
                let source = ServerSource::Cluster(Arc::clone(&servers), plan.cluster.slot_of(0));
                nodes = Some(placed);
                (servers, vec![source])
            }
            LockServers::Single | LockServers::Redlock => {
                let servers = placing.independent_servers(&server_hosts);
                let sources = servers.iter().copied().map(ServerSource::Fixed).collect();
                (servers.into(), sources)
            }
        };
        let sources: Arc<[ServerSource]> = sources.into();
        let store = StoreSpec { planted: plan.planted };
        let store = placing.add(
            "store-1".to_owned(),
            store_host,
            LockDisk::Store(StoreDisk::default()),
            LockSpec::Store(store),
        );
        let mut contenders = Vec::new();
        for (index, host) in contender_hosts.iter().enumerate() {
            let number = index as u32 + 1;
            let spec = ContenderSpec {
                workload: Workload { stop_at: plan.stop_at, ..Workload::writes(number) },
                parameters: plan.lock,
                servers: Arc::clone(&sources),
                store,
                planted: plan.planted,
            };
            let name = format!("contender-{number}");
            contenders.push(placing.add(name, *host, LockDisk::Nothing, LockSpec::Contender(spec)));
        }
        Self { builder: placing.builder, group, nodes, servers, contenders, store }
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<LockProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<LockProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Adds what must always hold ([`invariants`]).
    pub fn add_conditions(&self, world: &mut World<LockProcess>) {
        if let Some(group) = &self.group {
            group.add_conditions(world);
        }
        if let Some(nodes) = &self.nodes {
            nodes.add_conditions(world);
            invariants::add_to_nodes(world, &self.servers);
        } else {
            invariants::add_to_servers::<SentinelProcess, _>(world, &self.servers);
        }
        invariants::add_to_store(world, self.store);
    }

    /// The contenders: those of which one leads, and whose effects are judged.
    pub fn contenders(&self) -> &[ProcessId] {
        &self.contenders
    }

    /// The servers with the lock.
    pub fn servers(&self) -> &[ProcessId] {
        &self.servers
    }

    /// The store.
    pub fn store(&self) -> ProcessId {
        self.store
    }

    /// The effects in the document.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<LockProcess>) -> C {
        let part = Part::<LockProcess, _>::of(world);
        let store: &StoreDisk = Inspect::<Store>::storage(&part, self.store);
        store.effects().collect()
    }
}

/// Adds processes to a world.
struct Placing<'a> {
    builder: WorldBuilder<LockProcess>,
    plan: &'a LockPlan,
}

impl Placing<'_> {
    fn add(&mut self, name: String, host: HostId, disk: LockDisk, spec: LockSpec) -> ProcessId {
        let volume = self.builder.add_volume(host, disk, &self.plan.group.disk_sync);
        self.builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec })
    }

    /// Servers that know nothing of each other.
    fn independent_servers(&mut self, hosts: &[HostId]) -> Vec<ProcessId> {
        let spec = ServerSpec {
            machine: self.plan.group.machine,
            planted: self.plan.planted,
            ..ServerSpec::new(self.plan.group.parameters.clone())
        };
        let place = |(index, host): (usize, &HostId)| {
            let disk = sentinel::Disk::Data(DataDirectory::default());
            let spec = SentinelProcessSpec::Server(spec.clone());
            self.add(format!("redis-{}", index + 1), *host, disk.into(), spec.into())
        };
        hosts.iter().enumerate().map(place).collect()
    }
}
