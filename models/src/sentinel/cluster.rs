//! A group of Redis servers with its Sentinels and clients, placed on hosts.
//!
//! | what | names |
//! |---|---|
//! | hosts | `db-1`... for servers; `sentinel-1`... for Sentinels, unless they share the servers' hosts; `app-1` for clients |
//! | processes | `redis-1`..., `sentinel-1`..., `client-1`..., `local-client-1`... on the servers' hosts |
//! | zones | servers, Sentinels and `app-1` are spread over them in turn, each from the first |
//!
//! `redis-1` is the first primary; the others are configured to follow it, or each other in a chain that ends with it
//! ([`SentinelPlan::replicaof`]). A Sentinel learns of replicas from their primary's `INFO`, and so of no replica of a replica until what
//! that follows is promoted. Sentinels know the address of the primary only, and
//! find everything else by themselves in the first seconds.
//!
//! In place of Sentinels there can be an operator, `operator-1` on `app-1`, who elects by hand ([`crate::redis::Elector`]). Each client
//! knows one server then, client 1 the first.
//!
//! The Sentinels can watch further groups, of the same make. Their servers share the hosts of the first group's, in the same
//! order, so that a host takes one primary of each group with it; they are called `group-2-redis-1`... Clients write to the first
//! group, and marks and the roles `primary` and `replica` are about it; servers of others play `other-primary` and `other-replica`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sim_core::{
    Contains, Distribution, EndReason, HostId, ProcessId, ProcessOptions, Seed, SimDuration, SimTime,
    Topology, World, WorldBuilder, ZoneRef, advance_guarded,
};

use super::client::{Activity, AwareClient, AwareClientSpec};
use super::config::{GroupConfig, SentinelDisk, SentinelSpec};
use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::{
    DataDirectory, DirectClient, DirectClientSpec, Election, Elector, ElectorSpec, GroupId, Machine, Packet,
    Parameters, Purpose, RunId, Server, ServerSpec, WaitFor, Waking,
};
use crate::routing::Workload;

sim_core::system! {
    /// Servers, Sentinels and clients.
    pub enum SentinelProcess {
        Server(Server),
        Sentinel(Sentinel),
        AwareClient(AwareClient),
        DirectClient(DirectClient),
        Elector(Elector),
    }
    spec: SentinelProcessSpec,
    timer: SentinelProcessTimer,
    packet: Packet,
    storage: Disk,
}

sim_core::volumes! {
    /// A volume of a server or a Sentinel.
    pub enum Disk { Data(DataDirectory), Sentinel(SentinelDisk) }
    record: DiskRecord,
}

/// The load on a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RedisLoad {
    /// Clients that ask Sentinels.
    pub writers: u16,
    /// Between two requests of one client.
    pub write_interval: SimDuration,
    /// How long they wait for a server at each step.
    pub timeout: SimDuration,
    /// They run on the servers' hosts in turn, and not on `app-1`.
    pub beside_servers: bool,
    /// They listen for `+switch-master`.
    pub subscribes: bool,
    /// What they ask for.
    pub purpose: Purpose,
    /// They read keys from replicas, and not from the primary.
    pub reads_from_replicas: bool,
    /// So many more clients listen to what is published.
    pub listeners: u16,
    /// Client 1 knows the first Sentinel only, client 2 the second, and so on in turn.
    pub own_sentinel: bool,
    /// They ask before each write.
    pub asks_each_time: bool,
    /// When clients start.
    pub start_at: SimDuration,
    /// `WAIT` after each write.
    pub wait_for: Option<WaitFor>,
    /// One more writer on each server's host, which knows that server only and has no time-out.
    pub local_writers: bool,
    /// When clients start no more operations.
    pub stop_at: Option<SimDuration>,
}

/// Everything that a group is built from.
#[derive(Clone, Debug)]
pub struct SentinelPlan {
    /// Servers of a group, at least 1.
    pub servers: u8,
    /// Groups that the Sentinels watch, at least 1. Each has its own servers.
    pub groups: u8,
    /// Sentinels, at least 1; none where an operator elects.
    pub sentinels: u8,
    /// True if Sentinels run on the servers' hosts, one each, in turn.
    pub shared_hosts: bool,
    /// True if each Sentinel runs in a container. They are started together in any case.
    pub containers: bool,
    /// Servers that follow another one than the first at first, by position, in each group.
    pub replicaof: BTreeMap<u8, u8>,
    /// How an operator elects where there are no Sentinels. Each client knows one server then, in turn.
    pub election: Option<Election>,
    /// `sentinel.conf`.
    pub group: GroupConfig,
    /// `redis.conf`.
    pub parameters: Parameters,
    /// Sizes and rates.
    pub machine: Machine,
    /// How long a sync of a server takes.
    pub disk_sync: Distribution,
    /// How long each of the three syncs takes by which a Sentinel saves its file ([`Inputs::save_sync`](crate::redis::Inputs)).
    pub save_sync: Distribution,
    /// How late processes are woken.
    pub waking: Waking,
    /// The load.
    pub load: RedisLoad,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// A group, ready to run any seed.
#[derive(Clone, Debug)]
pub struct SentinelCluster {
    builder: WorldBuilder<SentinelProcess>,
    servers: Arc<[ProcessId]>,
    /// The servers of further groups.
    others: Vec<ProcessId>,
    sentinels: Arc<[ProcessId]>,
    /// The operator, in place of Sentinels.
    elector: Option<ProcessId>,
    clients: Vec<ProcessId>,
    /// Those that know one server only, in the order of the servers.
    local_clients: Vec<ProcessId>,
    listeners: Vec<ProcessId>,
    purpose: Purpose,
    quorum: u32,
}

impl SentinelCluster {
    /// Places a group on these zones.
    ///
    /// # Panics
    /// If it has no servers, or neither Sentinels nor an operator, or there are no zones.
    pub fn new(plan: &SentinelPlan, (mut topology, zones): (Topology, Vec<ZoneRef>)) -> Self {
        let is_watched = (plan.sentinels > 0) != plan.election.is_some();
        assert!(plan.servers > 0 && is_watched && !zones.is_empty(), "a group is somewhere");
        let mut hosts = |name: &str, count: u8| -> Vec<HostId> {
            (0..usize::from(count))
                .map(|index| topology.add_host(zones[index % zones.len()], &format!("{name}-{}", index + 1)))
                .collect()
        };
        let server_hosts = hosts("db", plan.servers);
        let sentinel_hosts = if plan.shared_hosts {
            server_hosts.iter().copied().cycle().take(usize::from(plan.sentinels)).collect()
        } else {
            hosts("sentinel", plan.sentinels)
        };
        let app = hosts("app", 1)[0];
        Self::on(plan, WorldBuilder::new(topology), &server_hosts, &sentinel_hosts, Some(app))
    }

    /// Places a group on these hosts, as a part of a world if the builder is one's. Without a host for clients there are none.
    pub fn on(
        plan: &SentinelPlan,
        builder: WorldBuilder<SentinelProcess>,
        server_hosts: &[HostId],
        sentinel_hosts: &[HostId],
        app: Option<HostId>,
    ) -> Self {
        let mut placing = Placing::new(builder, plan, server_hosts.len());
        let servers: Arc<[ProcessId]> = placing.servers(server_hosts, 0).into();
        let others: Vec<Vec<ProcessId>> =
            (1..usize::from(plan.groups)).map(|group| placing.servers(server_hosts, group)).collect();
        let primaries: Vec<ProcessId> =
            std::iter::once(servers[0]).chain(others.iter().map(|group| group[0])).collect();
        let sentinels: Arc<[ProcessId]> = placing.sentinels(sentinel_hosts, &primaries).into();
        let (mut clients, mut local_clients, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        let mut elector = None;
        match (app, plan.election) {
            (Some(app), Some(election)) => {
                clients = placing.clients_of_one(server_hosts, app, &servers);
                elector = Some(placing.elector(app, election));
            }
            (Some(app), None) => {
                clients = placing.clients(server_hosts, app, &sentinels);
                listeners = clients.split_off(usize::from(plan.load.writers));
                local_clients = placing.local_clients(server_hosts, &servers);
            }
            (None, _) => {}
        }
        let quorum = plan.group.quorum;
        let others = others.into_iter().flatten().collect();
        let builder = placing.builder;
        let purpose = plan.load.purpose;
        Self {
            builder,
            servers,
            others,
            sentinels,
            elector,
            clients,
            local_clients,
            listeners,
            purpose,
            quorum,
        }
    }

    /// What it consists of, for a world of which it is a part.
    pub fn builder(&self) -> &WorldBuilder<SentinelProcess> {
        &self.builder
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<SentinelProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<SentinelProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Adds to a world of this group, or one of which it is a part, what must always hold in it ([`super::invariants`]).
    pub fn add_conditions<P: Contains<SentinelProcess>>(&self, world: &mut World<P>) {
        let servers = [&*self.servers, &*self.others].concat();
        super::invariants::add_to(world, &servers, &self.sentinels, self.quorum);
    }

    /// The servers of the first group, and the Sentinels.
    pub fn members(&self) -> Vec<ProcessId> {
        self.servers.iter().chain(self.sentinels.iter()).copied().collect()
    }

    /// The servers of the first group.
    pub fn servers(&self) -> &[ProcessId] {
        &self.servers
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[ProcessId] {
        &self.sentinels
    }

    /// The clients that ask Sentinels, without those that know one server only.
    pub fn clients(&self) -> &[ProcessId] {
        &self.clients
    }

    /// What the clients that ask Sentinels ask for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The run ID of a server, if it runs.
    pub fn run_id(&self, world: &World<SentinelProcess>, server: ProcessId) -> Option<RunId> {
        match world.process(server)? {
            SentinelProcess::Server(server) => Some(server.run_id()),
            _ => None,
        }
    }

    /// The client on the host of a server that knows this server only, if there is one.
    pub fn client_beside(&self, server: ProcessId) -> Option<ProcessId> {
        let index = self.servers.iter().position(|known| *known == server)?;
        self.local_clients.get(index).copied()
    }

    /// The primary of the newest configuration that a running Sentinel has, or the one that the operator elected last.
    pub fn primary(&self, world: &World<SentinelProcess>) -> Option<ProcessId> {
        if let Some(SentinelProcess::Elector(elector)) =
            self.elector.and_then(|process| world.process(process))
        {
            return elector.elected();
        }
        let configurations = self.sentinels.iter().filter_map(|process| match world.process(*process)? {
            SentinelProcess::Sentinel(sentinel) => sentinel.primary(GroupId(0)),
            _ => None,
        });
        configurations.max_by_key(|(_, epoch)| *epoch).map(|(primary, _)| primary)
    }

    /// The values that the group holds now: those of the primary that the Sentinels or the operator name, of the first server if
    /// nobody does; if it does not run, those in its files. With them sessions that have run out. With listeners, what all of them
    /// have heard. Of a cache, everything that was written: it is in the database.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<SentinelProcess>) -> C {
        if !self.listeners.is_empty() {
            return self.heard_by_all(world).into_iter().collect();
        }
        if matches!(self.purpose, Purpose::Cache(_)) {
            return world.operations().iter().map(|operation| operation.value).collect();
        }
        let primary = self.primary(world).unwrap_or(self.servers[0]);
        let held = match (world.process(primary), world.storage(primary)) {
            (Some(SentinelProcess::Server(server)), _) => server.values(),
            (_, Disk::Data(data)) => data.values(),
            _ => Vec::new(),
        };
        held.into_iter().chain(self.run_out(world)).collect()
    }

    /// Sessions of users that have run out.
    fn run_out<'a>(&'a self, world: &'a World<SentinelProcess>) -> impl Iterator<Item = u64> + 'a {
        let of = |process: &ProcessId| match world.process(*process) {
            Some(SentinelProcess::AwareClient(client)) => client.run_out(world.monotonic(*process)).collect(),
            _ => Vec::new(),
        };
        self.clients.iter().flat_map(of)
    }

    /// The broadcasts that no listener has missed.
    fn heard_by_all(&self, world: &World<SentinelProcess>) -> BTreeSet<u64> {
        let heard = |listener: &ProcessId| match world.process(*listener) {
            Some(SentinelProcess::AwareClient(client)) => client.heard().iter().copied().collect(),
            _ => BTreeSet::new(),
        };
        let all = self.listeners.iter().map(heard);
        all.reduce(|one, other| one.intersection(&other).copied().collect()).unwrap_or_default()
    }
}

/// Adds processes to a world.
struct Placing<'a> {
    builder: WorldBuilder<SentinelProcess>,
    plan: &'a SentinelPlan,
    /// The servers of all groups, which come first.
    servers: Arc<[(String, ProcessId)]>,
}

impl<'a> Placing<'a> {
    fn new(builder: WorldBuilder<SentinelProcess>, plan: &'a SentinelPlan, servers: usize) -> Self {
        let first = builder.next_process().index();
        let named = |index: usize| {
            let number = index % servers + 1;
            let name = match index / servers {
                0 => format!("redis-{number}"),
                group => format!("group-{}-redis-{number}", group + 1),
            };
            (name, ProcessId::from_index(first + index))
        };
        let servers = (0..servers * usize::from(plan.groups)).map(named).collect();
        Self { builder, plan, servers }
    }

    fn add(&mut self, name: String, host: HostId, disk: Disk, spec: SentinelProcessSpec) -> ProcessId {
        let sync =
            if matches!(disk, Disk::Sentinel(_)) { &self.plan.save_sync } else { &self.plan.disk_sync };
        let volume = self.builder.add_volume(host, disk, sync);
        self.builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec })
    }

    /// The servers of a group, counted from 0.
    fn servers(&mut self, hosts: &[HostId], group: usize) -> Vec<ProcessId> {
        let plan = self.plan;
        let named = Arc::clone(&self.servers);
        let spec = ServerSpec {
            marks_service: group == 0,
            namable: Arc::clone(&named),
            machine: plan.machine,
            planted: plan.planted,
            ..ServerSpec::new(plan.parameters.clone())
        };
        let names = &named[group * hosts.len()..];
        let place = |(index, (host, (name, _))): (usize, (&HostId, &(String, ProcessId)))| {
            let upstream = plan.replicaof.get(&(index as u8)).map_or(0, |upstream| usize::from(*upstream));
            let data = DataDirectory::new((index > 0).then(|| names[upstream].1));
            let spec = SentinelProcessSpec::Server(spec.clone());
            self.add(name.clone(), *host, Disk::Data(data), spec)
        };
        hosts.iter().zip(names).enumerate().map(place).collect()
    }

    fn sentinels(&mut self, hosts: &[HostId], primaries: &[ProcessId]) -> Vec<ProcessId> {
        let config = |index: usize| match index {
            0 => self.plan.group.clone(),
            _ => GroupConfig {
                name: format!("{}-{}", self.plan.group.name, index + 1),
                ..self.plan.group.clone()
            },
        };
        let groups: Arc<[(GroupConfig, ProcessId)]> =
            primaries.iter().enumerate().map(|(index, primary)| (config(index), *primary)).collect();
        let (in_container, planted) = (self.plan.containers, self.plan.planted);
        let timer_late = self.plan.waking.timer.sampler();
        let place = |(index, host): (usize, &HostId)| {
            let groups = Arc::clone(&groups);
            let spec = SentinelSpec { groups, in_container, timer_late: timer_late.clone(), planted };
            let disk = Disk::Sentinel(SentinelDisk::default());
            self.add(format!("sentinel-{}", index + 1), *host, disk, SentinelProcessSpec::Sentinel(spec))
        };
        hosts.iter().enumerate().map(place).collect()
    }

    fn clients(&mut self, hosts: &[HostId], app: HostId, sentinels: &Arc<[ProcessId]>) -> Vec<ProcessId> {
        let load = self.plan.load;
        let lateness = self.plan.waking.of_clients();
        let place = |index: u16| {
            let host = if load.beside_servers { hosts[usize::from(index) % hosts.len()] } else { app };
            let number = u32::from(index) + 1;
            let known: Arc<[ProcessId]> = if load.own_sentinel {
                Arc::new([sentinels[usize::from(index) % sentinels.len()]])
            } else {
                Arc::clone(sentinels)
            };
            let is_listener = index >= load.writers;
            let mut workload = workload(number, &load);
            if is_listener {
                // They are there before anybody publishes.
                workload.start_at = SimDuration::ZERO;
            }
            let spec = AwareClientSpec {
                activity: if is_listener { Activity::Listens } else { Activity::Asks(load.purpose) },
                reads_from_replicas: load.reads_from_replicas,
                asks_each_time: load.asks_each_time,
                interval: load.write_interval,
                timeout: load.timeout,
                subscribes: load.subscribes,
                wait_for: load.wait_for,
                lateness: lateness.clone(),
                ..AwareClientSpec::new(workload, known)
            };
            let spec = SentinelProcessSpec::AwareClient(spec);
            let name = if is_listener {
                format!("listener-{}", index - load.writers + 1)
            } else {
                format!("client-{number}")
            };
            self.add(name, host, Disk::Nothing, spec)
        };
        (0..load.writers + load.listeners).map(place).collect()
    }

    /// Clients of one server each, and of all servers in turn. Those of one server begin one after another within an interval, and
    /// so ask for something at a steady rate, whether or not what was asked before is answered.
    fn clients_of_one(&mut self, hosts: &[HostId], app: HostId, servers: &[ProcessId]) -> Vec<ProcessId> {
        let load = self.plan.load;
        let rounds = u64::from(load.writers).div_ceil(servers.len() as u64);
        let place = |index: u16| {
            let (number, place) = (u32::from(index) + 1, usize::from(index) % servers.len());
            let round = u64::from(index) / servers.len() as u64;
            let begins = load.start_at + load.write_interval.scale(round, rounds);
            let spec = DirectClientSpec {
                interval: load.write_interval,
                wait_for: load.wait_for,
                ..DirectClientSpec::new(
                    Workload { start_at: begins, ..workload(number, &load) },
                    servers[place],
                )
            };
            let host = if load.beside_servers { hosts[place] } else { app };
            let spec = SentinelProcessSpec::DirectClient(spec);
            self.add(format!("client-{number}"), host, Disk::Nothing, spec)
        };
        (0..load.writers).map(place).collect()
    }

    fn elector(&mut self, app: HostId, election: Election) -> ProcessId {
        let spec = ElectorSpec { servers: Arc::clone(&self.servers), election };
        self.add("operator-1".to_owned(), app, Disk::Nothing, SentinelProcessSpec::Elector(spec))
    }

    fn local_clients(&mut self, hosts: &[HostId], servers: &[ProcessId]) -> Vec<ProcessId> {
        let load = self.plan.load;
        let servers = hosts.iter().zip(servers).enumerate().filter(|_| load.local_writers);
        let place = |(index, (host, server)): (usize, (&HostId, &ProcessId))| {
            let number = u32::from(load.writers) + index as u32 + 1;
            let spec = DirectClientSpec {
                interval: load.write_interval,
                ..DirectClientSpec::new(workload(number, &load), *server)
            };
            let spec = SentinelProcessSpec::DirectClient(spec);
            self.add(format!("local-client-{}", index + 1), *host, Disk::Nothing, spec)
        };
        servers.map(place).collect()
    }
}

fn workload(number: u32, load: &RedisLoad) -> Workload {
    Workload { start_at: load.start_at, stop_at: load.stop_at, ..Workload::writes(number) }
}
