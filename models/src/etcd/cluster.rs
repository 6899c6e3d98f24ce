//! etcd alone, with clients that put it to the test.
//!
//! Members `etcd-1`, ... run on hosts of the same names; clients `client-1`, ... on `app-1`, ... each. Both are spread
//! over the zones in turn.

use std::sync::Arc;

use sim_core::{
    Distribution, EndReason, HostId, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, World,
    WorldBuilder, ZoneRef, advance_guarded,
};

use super::client::{Client, ClientSpec, Work};
use super::{Disk, Packet, Server, Spec};
use crate::planted::Planted;

sim_core::system! {
    /// Members of etcd and their clients.
    pub enum EtcdProcess { Server(Server), Client(Client) }
    spec: EtcdProcessSpec,
    timer: EtcdProcessTimer,
    packet: Packet,
    storage: Disk,
}

/// Everything that a cluster is built from.
#[derive(Clone, Debug)]
pub struct EtcdPlan {
    /// Members, at least 1.
    pub members: u8,
    /// Clients with rows and registers.
    pub writers: u16,
    /// Between two operations of one of them, at most.
    pub write_interval: SimDuration,
    /// Clients that contend for the lock.
    pub lockers: u16,
    /// Clients that watch all keys.
    pub watchers: u16,
    /// How long clients wait for an answer, at most.
    pub request_timeout: SimDuration,
    /// When clients begin no more operations.
    pub stop_at: SimDuration,
    /// How long a sync takes.
    pub disk_sync: Distribution,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// A cluster, ready to run any seed.
#[derive(Clone, Debug)]
pub struct EtcdCluster {
    builder: WorldBuilder<EtcdProcess>,
    servers: Arc<[ProcessId]>,
    clients: Vec<ProcessId>,
}

impl EtcdCluster {
    /// Places a cluster on these zones.
    ///
    /// # Panics
    /// If it has no members, or there are no zones.
    pub fn new(plan: &EtcdPlan, (mut topology, zones): (Topology, Vec<ZoneRef>)) -> Self {
        assert!(plan.members > 0 && !zones.is_empty(), "etcd has members, and they are somewhere");
        let mut hosts = |name: &str, count: usize| -> Vec<HostId> {
            (0..count)
                .map(|index| topology.add_host(zones[index % zones.len()], &format!("{name}-{}", index + 1)))
                .collect()
        };
        let work: Vec<Work> =
            [(Work::Registers, plan.writers), (Work::Lock, plan.lockers), (Work::Watch, plan.watchers)]
                .into_iter()
                .flat_map(|(work, count)| std::iter::repeat_n(work, usize::from(count)))
                .collect();
        let member_hosts = hosts("etcd", usize::from(plan.members));
        let client_hosts = hosts("app", work.len());
        let mut builder = WorldBuilder::new(topology);
        let servers: Arc<[ProcessId]> = (0..member_hosts.len()).map(ProcessId::from_index).collect();
        let spec = Spec { planted: plan.planted, ..Spec::new(servers.to_vec()) };
        for (index, host) in member_hosts.into_iter().enumerate() {
            let volume = builder.add_volume(host, Disk::default(), &plan.disk_sync);
            builder.add_process(ProcessOptions {
                name: format!("etcd-{}", index + 1),
                host,
                volume,
                starts_with_host: true,
                spec: EtcdProcessSpec::Server(spec.clone()),
            });
        }
        let mut clients = Vec::new();
        for (index, (host, work)) in client_hosts.into_iter().zip(work).enumerate() {
            let volume =
                builder.add_volume(host, Disk::default(), &Distribution::Constant(SimDuration::ZERO));
            let spec = ClientSpec {
                number: index as u32 + 1,
                members: Arc::clone(&servers),
                work,
                interval: plan.write_interval,
                request_timeout: plan.request_timeout,
                stop_at: plan.stop_at,
            };
            clients.push(builder.add_process(ProcessOptions {
                name: format!("client-{}", index + 1),
                host,
                volume,
                starts_with_host: true,
                spec: EtcdProcessSpec::Client(spec),
            }));
        }
        Self { builder, servers, clients }
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<EtcdProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<EtcdProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// The members.
    pub fn servers(&self) -> &[ProcessId] {
        &self.servers
    }

    /// The clients.
    pub fn clients(&self) -> &[ProcessId] {
        &self.clients
    }

    /// Adds to a world of this cluster what must always hold in it ([`super::invariants`]).
    pub fn add_conditions(&self, world: &mut World<EtcdProcess>) {
        super::invariants::add_to(world, &self.servers, &self.clients);
    }

    /// The rows that the cluster holds now: those of the running member that has applied most.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<EtcdProcess>) -> C {
        let stores = self.servers.iter().filter_map(|server| match world.process(*server)? {
            EtcdProcess::Server(server) => Some(server.store()),
            EtcdProcess::Client(_) => None,
        });
        let best = stores.max_by_key(|store| store.revision());
        let rows = best.into_iter().flat_map(|store| store.range("row/"));
        rows.filter_map(|entry| entry.value.parse().ok()).collect()
    }
}
