//! Nodes and clients, placed on hosts.
//!
//! | what | names |
//! |---|---|
//! | hosts | `db-1`... for nodes, one each unless there are fewer; `app-1` for clients |
//! | processes | `redis-1`..., `client-1`..., `other-client-2`... for the other shards, `local-client-1`... on the nodes' hosts; `operator-1` on `app-1`, if there is one |
//! | zones | hosts are spread over them in turn, so that a replica and its primary are in different ones |
//!
//! The first nodes are primaries, one for each shard; the others follow them in turn, as `redis-cli --cluster create`
//! leaves it. The clients that are judged write to the first shard.

use std::sync::Arc;

use sim_core::{
    Contains, Damage, Distribution, EndReason, Holds, HostId, ProcessId, ProcessOptions, Seed, SimDuration,
    SimTime, Storage, Topology, World, WorldBuilder, ZoneRef, advance_guarded,
};

use super::client::{ClusterClient, ClusterClientSpec, Refresh};
use super::config::{ClusterConfig, NodeSpec, Release};
use super::message::NodeId;
use super::node::ClusterNode;
use super::nodes_conf::{NodeDirectory, NodeRecord, NodesConf};
use super::operator::{ClusterOperator, ClusterOperatorSpec};
use super::slots::{Slot, Slots};
use crate::planted::Planted;
use crate::redis::{
    DirectClient, DirectClientSpec, ListKey, Machine, Packet, Parameters, Purpose, ServerSpec, WaitFor,
    Waking,
};
use crate::routing::{Workload, client_of};

sim_core::system! {
    /// Nodes and clients.
    pub enum ClusterProcess {
        Node(ClusterNode),
        Client(ClusterClient),
        DirectClient(DirectClient),
        Operator(ClusterOperator),
    }
    spec: ClusterProcessSpec,
    timer: ClusterProcessTimer,
    packet: Packet,
    storage: ClusterDisk,
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub enum ClusterDisk {
    /// Of a client.
    #[default]
    Nothing,
    /// Of a node.
    Node(NodeDirectory),
}

/// A change of a volume.
#[derive(Clone, Debug)]
pub enum ClusterRecord {
    /// Of a client.
    Nothing,
    /// Of a node.
    Node(NodeRecord),
}

impl Storage for ClusterDisk {
    type Record = ClusterRecord;

    fn wiped(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Node(directory) => Self::Node(directory.wiped()),
        }
    }

    fn apply(&mut self, record: &ClusterRecord) {
        if let (Self::Node(directory), ClusterRecord::Node(record)) = (self, record) {
            directory.apply(record);
        }
    }

    fn record_count(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Node(directory) => directory.record_count(),
        }
    }

    fn damage(&mut self, damage: Damage<'_, ClusterRecord>) {
        if let Self::Node(directory) = self {
            directory.damage(damage.map(|record| match record {
                ClusterRecord::Node(record) => record,
                ClusterRecord::Nothing => unreachable!("clients write nothing"),
            }));
        }
    }

    fn needs_space(record: &ClusterRecord) -> bool {
        matches!(record, ClusterRecord::Node(record) if NodeDirectory::needs_space(record))
    }
}

impl Holds<()> for ClusterDisk {
    fn held(&self) -> &() {
        &()
    }
}

impl Holds<NodeDirectory> for ClusterDisk {
    fn held(&self) -> &NodeDirectory {
        match self {
            Self::Node(directory) => directory,
            Self::Nothing => panic!("a node was placed on the volume of a client"),
        }
    }
}

impl From<()> for ClusterRecord {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<NodeRecord> for ClusterRecord {
    fn from(record: NodeRecord) -> Self {
        Self::Node(record)
    }
}

/// The load on a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClusterLoad {
    /// Clients of the first shard.
    pub writers: u16,
    /// Between two requests of one client.
    pub write_interval: SimDuration,
    /// What they ask for. String keys stay with the slot that is watched.
    pub purpose: Purpose,
    /// How long they wait for a node.
    pub timeout: SimDuration,
    /// They run on the nodes' hosts in turn, and not on `app-1`.
    pub beside_nodes: bool,
    /// When they ask for the slot map.
    pub refresh: Refresh,
    /// `WAIT` after each write.
    pub wait_for: Option<WaitFor>,
    /// One more writer on each host of a node of the first shard, which knows that node only and has no time-out.
    pub local_writers: bool,
    /// One writer for each other shard, which writes at this interval.
    pub other_writers: Option<SimDuration>,
    /// Between two keys that expire on each primary.
    pub expires_every: Option<SimDuration>,
    /// When clients start no more operations.
    pub stop_at: Option<SimDuration>,
}

/// Everything that a cluster is built from.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// Nodes, at least as many as shards.
    pub nodes: u8,
    /// Shards, at least 1.
    pub shards: u8,
    /// Hosts of nodes, at least 1.
    pub hosts: u8,
    /// The directives about the cluster.
    pub config: ClusterConfig,
    /// The other directives.
    pub parameters: Parameters,
    /// Sizes and rates.
    pub machine: Machine,
    /// How long a sync takes.
    pub disk_sync: Distribution,
    /// How late clients are woken.
    pub waking: Waking,
    /// The load.
    pub load: ClusterLoad,
    /// An operator who moves slots; how many keys one `MIGRATE` moves at most.
    pub operator: Option<u8>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// A cluster, ready to run any seed.
#[derive(Clone, Debug)]
pub struct RedisCluster {
    builder: WorldBuilder<ClusterProcess>,
    nodes: Arc<[ProcessId]>,
    clients: Vec<ProcessId>,
    other_clients: Vec<ProcessId>,
    local_clients: Vec<ProcessId>,
    /// The slots of clients, by their number from 1.
    keys: Arc<[Slot]>,
    purpose: Purpose,
}

impl RedisCluster {
    /// Places a cluster on these zones.
    ///
    /// # Panics
    /// If it has no shard, fewer nodes than shards, or no zones.
    pub fn new(plan: &ClusterPlan, (mut topology, zones): (Topology, Vec<ZoneRef>)) -> Self {
        let node_hosts = plan.add_hosts(&mut topology, &zones);
        let app = topology.add_host(zones[0], "app-1");
        Self::on(plan, WorldBuilder::new(topology), &node_hosts, Some(app))
    }

    /// Places a cluster on these hosts, one for each node, as a part of a world if the builder is one's. Without a host for
    /// clients there are none, and no operator.
    pub fn on(
        plan: &ClusterPlan,
        builder: WorldBuilder<ClusterProcess>,
        node_hosts: &[HostId],
        app: Option<HostId>,
    ) -> Self {
        let mut placing = Placing { builder, plan, keys: plan.keys(), placed: 0 };
        let nodes = placing.nodes(node_hosts);
        let (mut clients, mut other_clients, mut local_clients) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(app) = app {
            clients = placing.clients(node_hosts, app, &nodes);
            other_clients = placing.other_clients(app, &nodes);
            local_clients = placing.local_clients(node_hosts, &nodes);
            placing.operator(app, &nodes);
        }
        let (builder, keys) = (placing.builder, placing.keys);
        Self { builder, nodes, clients, other_clients, local_clients, keys, purpose: plan.load.purpose }
    }

    /// What it consists of, for a world of which it is a part.
    pub fn builder(&self) -> &WorldBuilder<ClusterProcess> {
        &self.builder
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<ClusterProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<ClusterProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Adds to a world of this cluster, or one of which it is a part, what must always hold in it ([`super::invariants`]).
    pub fn add_conditions<P: Contains<ClusterProcess>>(&self, world: &mut World<P>) {
        super::invariants::add_to(world, &self.nodes);
    }

    /// The nodes.
    pub fn nodes(&self) -> &[ProcessId] {
        &self.nodes
    }

    /// The clients that write to the first shard, without those that know one node only.
    pub fn clients(&self) -> &[ProcessId] {
        &self.clients
    }

    /// What the clients of the first shard ask for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The clients of the other shards.
    pub fn other_clients(&self) -> &[ProcessId] {
        &self.other_clients
    }

    /// The clients that know one node only.
    pub fn local_clients(&self) -> &[ProcessId] {
        &self.local_clients
    }

    /// The node that owns a slot: of those that claim it, the one with the largest configuration epoch. Nodes that do not run
    /// count if no other does.
    pub fn owner(&self, world: &World<ClusterProcess>, slot: Slot) -> Option<ProcessId> {
        let running = self.nodes.iter().filter_map(|process| match world.process(*process)? {
            ClusterProcess::Node(node) if node.slots().contains(slot) => {
                Some((node.config_epoch(), *process))
            }
            _ => None,
        });
        let stored = self.nodes.iter().enumerate().filter_map(|(index, process)| {
            let ClusterDisk::Node(directory) = world.storage(*process) else { return None };
            let known = directory.conf.nodes[index];
            known.slots.contains(slot).then_some((known.config_epoch, *process))
        });
        running.max().or_else(|| stored.max()).map(|(_, process)| process)
    }

    /// The values that the cluster holds now: of each list, those that its slot's owner has; if the owner does not run, those in
    /// its files. A list that was moved already while its slot still belongs to the old owner is where `-ASK` leads. With them
    /// sessions that have run out; of a cache, everything that was written: it is in the database.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<ClusterProcess>) -> C {
        if matches!(self.purpose, Purpose::Cache(_)) {
            return world.operations().iter().map(|operation| operation.value).collect();
        }
        let mut slots = self.keys.to_vec();
        slots.sort_unstable();
        slots.dedup();
        let held = slots.into_iter().flat_map(|slot| {
            let owner = self.owner(world, slot);
            let target = owner.and_then(|owner| match world.process(owner) {
                Some(ClusterProcess::Node(node)) => Some(self.nodes[node.migrates(slot)?.index()]),
                _ => None,
            });
            let of = |node: Option<ProcessId>| node.map(|node| held_by(world, node)).unwrap_or_default();
            let (here, there) = (of(owner), of(target));
            let is_here = |value: &u64| here.iter().any(|held| ListKey::of(*held) == ListKey::of(*value));
            let moved: Vec<u64> = there.into_iter().filter(|value| !is_here(value)).collect();
            let keys = &self.keys;
            let is_of_slot = move |value: &u64| {
                let client = (client_of(*value) as usize).checked_sub(1);
                client.and_then(|client| keys.get(client)) == Some(&slot)
            };
            here.into_iter().chain(moved).filter(is_of_slot)
        });
        held.chain(self.run_out(world)).collect()
    }

    /// Sessions of users that have run out.
    fn run_out<'a>(&'a self, world: &'a World<ClusterProcess>) -> impl Iterator<Item = u64> + 'a {
        let of = |process: &ProcessId| match world.process(*process) {
            Some(ClusterProcess::Client(client)) => client.run_out(world.monotonic(*process)).collect(),
            _ => Vec::new(),
        };
        self.clients.iter().flat_map(of)
    }
}

fn held_by(world: &World<ClusterProcess>, node: ProcessId) -> Vec<u64> {
    match (world.process(node), world.storage(node)) {
        (Some(ClusterProcess::Node(node)), _) => node.server().values(),
        (_, ClusterDisk::Node(directory)) => directory.data.values(),
        _ => Vec::new(),
    }
}

/// Adds processes to a world.
struct Placing<'a> {
    builder: WorldBuilder<ClusterProcess>,
    plan: &'a ClusterPlan,
    /// The slots of clients, by their number from 1.
    keys: Arc<[Slot]>,
    /// How many clients are placed.
    placed: u32,
}

impl Placing<'_> {
    fn add(&mut self, name: String, host: HostId, disk: ClusterDisk, spec: ClusterProcessSpec) -> ProcessId {
        let volume = self.builder.add_volume(host, disk, &self.plan.disk_sync);
        self.builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec })
    }

    fn nodes(&mut self, hosts: &[HostId]) -> Arc<[ProcessId]> {
        let plan = self.plan;
        let first = self.builder.next_process().index();
        let nodes: Arc<[ProcessId]> = (first..first + hosts.len()).map(ProcessId::from_index).collect();
        let server = ServerSpec {
            machine: plan.machine,
            expires_every: plan.load.expires_every,
            expires_while_paused: plan.config.release == Release::Redis30,
            marks_service: false,
            planted: plan.planted,
            ..ServerSpec::new(Parameters { version: plan.config.release.server(), ..plan.parameters.clone() })
        };
        let config = Arc::new(plan.config.clone());
        for (index, host) in hosts.iter().enumerate() {
            let id = NodeId(index as u8);
            let spec = NodeSpec {
                server: server.clone(),
                config: Arc::clone(&config),
                nodes: Arc::clone(&nodes),
                id,
                watched: plan.slot_of(0),
                keys: Arc::clone(&self.keys),
            };
            let conf = NodesConf::created(&nodes, plan.shards, id);
            let disk = ClusterDisk::Node(NodeDirectory::new(conf));
            self.add(format!("redis-{}", index + 1), *host, disk, ClusterProcessSpec::Node(spec));
        }
        nodes
    }

    /// The number of the next client, and the slot of its key.
    fn next_client(&mut self) -> (u32, Slot) {
        let slot = self.keys[self.placed as usize];
        self.placed += 1;
        (self.placed, slot)
    }

    fn client_spec(&self, number: u32, nodes: &Arc<[ProcessId]>, slot: Slot) -> ClusterClientSpec {
        let load = self.plan.load;
        ClusterClientSpec {
            lateness: self.plan.waking.of_clients(),
            interval: load.write_interval,
            purpose: load.purpose,
            timeout: load.timeout,
            refresh: load.refresh,
            wait_for: load.wait_for,
            ..ClusterClientSpec::new(workload(number, load.stop_at), Arc::clone(nodes), slot)
        }
    }

    fn clients(&mut self, hosts: &[HostId], app: HostId, nodes: &Arc<[ProcessId]>) -> Vec<ProcessId> {
        let load = self.plan.load;
        let place = |index: u16| {
            let host = if load.beside_nodes { hosts[usize::from(index) % hosts.len()] } else { app };
            let (number, slot) = self.next_client();
            let spec = ClusterProcessSpec::Client(self.client_spec(number, nodes, slot));
            self.add(format!("client-{}", index + 1), host, ClusterDisk::Nothing, spec)
        };
        (0..load.writers).map(place).collect()
    }

    fn other_clients(&mut self, app: HostId, nodes: &Arc<[ProcessId]>) -> Vec<ProcessId> {
        let Some(interval) = self.plan.load.other_writers else { return Vec::new() };
        let shards = self.plan.shards;
        let place = |shard: u8| {
            let (number, slot) = self.next_client();
            // They are there so that it shows whether their shard serves: values in lists, whatever the others ask for.
            let purpose = match self.plan.load.purpose {
                Purpose::PairsOfValues => Purpose::PairsOfValues,
                _ => Purpose::Values,
            };
            let spec = ClusterClientSpec { purpose, interval, ..self.client_spec(number, nodes, slot) };
            let name = format!("other-client-{}", shard + 1);
            self.add(name, app, ClusterDisk::Nothing, ClusterProcessSpec::Client(spec))
        };
        (1..shards).map(place).collect()
    }

    fn local_clients(&mut self, hosts: &[HostId], nodes: &[ProcessId]) -> Vec<ProcessId> {
        let load = self.plan.load;
        if !load.local_writers {
            return Vec::new();
        }
        let first_shard = hosts.iter().zip(nodes).step_by(usize::from(self.plan.shards)).enumerate();
        let place = |(index, (host, node)): (usize, (&HostId, &ProcessId))| {
            let (number, slot) = self.next_client();
            let spec = DirectClientSpec {
                interval: load.write_interval,
                slot: Some(slot),
                wait_for: load.wait_for,
                ..DirectClientSpec::new(workload(number, load.stop_at), *node)
            };
            let spec = ClusterProcessSpec::DirectClient(spec);
            self.add(format!("local-client-{}", index + 1), *host, ClusterDisk::Nothing, spec)
        };
        first_shard.map(place).collect()
    }

    fn operator(&mut self, app: HostId, nodes: &Arc<[ProcessId]>) {
        if let Some(pipeline) = self.plan.operator {
            let spec = ClusterOperatorSpec {
                pipeline,
                ..ClusterOperatorSpec::new(Arc::clone(nodes), self.plan.config.release)
            };
            let spec = ClusterProcessSpec::Operator(spec);
            self.add("operator-1".to_owned(), app, ClusterDisk::Nothing, spec);
        }
    }
}

impl ClusterPlan {
    /// Adds the hosts of the nodes to a topology, and says which node runs on which.
    ///
    /// # Panics
    /// If there is no shard, there are fewer nodes than shards, or no hosts or zones.
    pub fn add_hosts(&self, topology: &mut Topology, zones: &[ZoneRef]) -> Vec<HostId> {
        assert!(self.shards > 0 && self.nodes >= self.shards && self.hosts > 0 && !zones.is_empty());
        let place = |number: u8, places: usize| usize::from(number + number / self.shards) % places;
        let zone_of = |host: u8| zones[place(host, zones.len())];
        let hosts: Vec<HostId> = (0..self.hosts.min(self.nodes))
            .map(|host| topology.add_host(zone_of(host), &format!("db-{}", host + 1)))
            .collect();
        let of_node = |node: u8| {
            let index = if self.hosts >= self.nodes { usize::from(node) } else { place(node, hosts.len()) };
            hosts[index]
        };
        (0..self.nodes).map(of_node).collect()
    }

    /// The slot of a shard to which its clients write; the judged ones write to that of the first.
    pub(crate) fn slot_of(&self, shard: u8) -> Slot {
        Slots::part(shard, self.shards).iter().next().unwrap_or_default()
    }

    /// The slots of all clients in the order in which they are placed.
    fn keys(&self) -> Arc<[Slot]> {
        let others = if self.load.other_writers.is_some() { 1..self.shards } else { 0..0 };
        let writers = std::iter::repeat_n(self.slot_of(0), usize::from(self.load.writers));
        let others = others.map(|shard| self.slot_of(shard));
        let nodes_of_first_shard = self.nodes.div_ceil(self.shards);
        let local = if self.load.local_writers { nodes_of_first_shard } else { 0 };
        writers.chain(others).chain(std::iter::repeat_n(self.slot_of(0), usize::from(local))).collect()
    }
}

fn workload(number: u32, stop_at: Option<SimDuration>) -> Workload {
    Workload { stop_at, ..Workload::writes(number) }
}
