//! Both clusters and the service, placed on hosts.
//!
//! | what | names |
//! |---|---|
//! | hosts | those of [`crate::patroni::PatroniCluster`]; `cache-1`... for Redis servers, `sentinel-1`... unless they share those; `service-1`... |
//! | processes | those of both clusters; `service-1`... |
//! | zones | each kind is spread over them in turn: those of the Patroni cluster from the first, where the proxy is, the others from the second, so that the loss of a zone that takes the first primary of Redis does not take the proxy |

use std::sync::Arc;

use sim_core::{
    Contains, Distribution, EndReason, HostId, Part, ProcessId, ProcessOptions, Seed, SimDuration, SimTime,
    Topology, World, WorldBuilder, ZoneRef, advance_guarded,
};

use super::service::{RedisNeed, Service, ServiceSpec};
use crate::patroni::{self, ClusterProcess, ClusterSpec, PatroniCluster, PatroniHosts, Plan};
use crate::postgres;
use crate::redis::{self, GroupId, ServerSource};
use crate::routing::{Work, Workload};
use crate::sentinel::{self, SentinelCluster, SentinelPlan, SentinelProcess, SentinelProcessSpec};

sim_core::packets! {
    /// What travels in a platform.
    pub enum Packet { Database(patroni::Packet), Redis(redis::Packet) }
}

sim_core::volumes! {
    /// A volume of a platform.
    pub enum PlatformDisk { Database(patroni::Disk), Redis(sentinel::Disk) }
    record: PlatformDiskRecord,
}

sim_core::system! {
    /// Both clusters, and the instances of the service.
    pub enum PlatformProcess {
        Database(ClusterProcess),
        Redis(SentinelProcess),
        Service(Service),
    }
    spec: PlatformSpec,
    timer: PlatformTimer,
    packet: Packet,
    storage: PlatformDisk,
}

impl From<ClusterSpec> for PlatformSpec {
    fn from(spec: ClusterSpec) -> Self {
        Self::Database(spec)
    }
}

impl From<SentinelProcessSpec> for PlatformSpec {
    fn from(spec: SentinelProcessSpec) -> Self {
        Self::Redis(spec)
    }
}

/// The service talks to a proxy as any other client of it does.
impl From<postgres::Packet> for Packet {
    fn from(packet: postgres::Packet) -> Self {
        Self::Database(packet.into())
    }
}

/// Everything that a platform is built from.
#[derive(Clone, Debug)]
pub struct PlatformPlan {
    /// The Patroni cluster, with a load of its own if one is wanted besides.
    pub database: Plan,
    /// The group of Redis servers, with a load of its own if the database has none.
    pub redis: SentinelPlan,
    /// Instances of the service.
    pub services: u16,
    /// What they do without Redis.
    pub need: RedisNeed,
    /// How long they wait for Redis.
    pub redis_timeout: SimDuration,
    /// How long they wait for the database.
    pub database_timeout: SimDuration,
    /// From the end of a request to the next of the same instance.
    pub interval: SimDuration,
    /// When they start no more requests.
    pub stop_at: Option<SimDuration>,
}

/// A platform, ready to run any seed.
#[derive(Clone, Debug)]
pub struct PlatformCluster {
    builder: WorldBuilder<PlatformProcess>,
    database: PatroniCluster,
    redis: SentinelCluster,
    services: Vec<ProcessId>,
}

impl PlatformCluster {
    /// Places a platform.
    ///
    /// # Panics
    /// If a part of it has no members, if there are instances of the service and no proxy, or if both clusters have clients of
    /// their own, which would have the same names.
    pub fn new(plan: &PlatformPlan) -> Self {
        let (mut topology, zones) = plan.database.topology();
        let database_hosts = PatroniHosts::add_to(&mut topology, &zones, &plan.database);
        let zones: Vec<ZoneRef> = zones[1..].iter().chain(&zones[..1]).copied().collect();
        let cache_hosts = add_hosts(&mut topology, &zones, "cache", u16::from(plan.redis.servers));
        let sentinels = u16::from(plan.redis.sentinels);
        let sentinel_hosts = if plan.redis.shared_hosts {
            cache_hosts.iter().copied().cycle().take(usize::from(sentinels)).collect()
        } else {
            add_hosts(&mut topology, &zones, "sentinel", sentinels)
        };
        let has_load = plan.redis.load.writers > 0;
        let redis_app = has_load.then(|| add_hosts(&mut topology, &zones, "cache-app", 1)[0]);
        let service_hosts = add_hosts(&mut topology, &zones, "service", plan.services);
        let mut builder = WorldBuilder::new(topology.clone());
        let part = WorldBuilder::beside(topology.clone(), &builder);
        let database = PatroniCluster::on(&plan.database, part, &database_hosts);
        builder.absorb(database.builder().clone());
        let part = WorldBuilder::beside(topology, &builder);
        let redis = SentinelCluster::on(&plan.redis, part, &cache_hosts, &sentinel_hosts, redis_app);
        builder.absorb(redis.builder().clone());
        let mut platform = Self { builder, database, redis, services: Vec::new() };
        platform.add_services(plan, &service_hosts);
        platform
    }

    fn add_services(&mut self, plan: &PlatformPlan, hosts: &[HostId]) {
        let sentinels: Arc<[ProcessId]> = self.redis.sentinels().into();
        let commit = plan.database.configuration.synchronous_commit;
        for (index, host) in hosts.iter().enumerate() {
            let number = u32::from(plan.database.load.writers) + index as u32 + 1;
            let work = Work::Write(commit);
            let spec = ServiceSpec {
                workload: Workload { work, stop_at: plan.stop_at, ..Workload::writes(number) },
                redis: ServerSource::Sentinels(Arc::clone(&sentinels), GroupId(0)),
                need: plan.need,
                redis_timeout: plan.redis_timeout,
                database: self.database.address().expect("the service knows a proxy"),
                database_timeout: plan.database_timeout,
                interval: plan.interval,
            };
            let nothing = Distribution::Constant(SimDuration::ZERO);
            let volume = self.builder.add_volume(*host, PlatformDisk::Nothing, &nothing);
            self.services.push(self.builder.add_process(ProcessOptions {
                name: format!("service-{}", index + 1),
                host: *host,
                volume,
                starts_with_host: true,
                spec: PlatformSpec::Service(spec),
            }));
        }
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<PlatformProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<PlatformProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// Adds what must always hold in each part; see [`PatroniCluster::add_conditions`].
    pub fn add_conditions<P>(&self, world: &mut World<P>, quiet_from: Option<SimTime>)
    where
        P: Contains<ClusterProcess> + Contains<SentinelProcess>,
    {
        self.database.add_conditions(world, quiet_from);
        self.redis.add_conditions(world);
    }

    /// The Patroni cluster.
    pub fn database(&self) -> &PatroniCluster {
        &self.database
    }

    /// The group of Redis servers.
    pub fn redis(&self) -> &SentinelCluster {
        &self.redis
    }

    /// The instances of the service.
    pub fn services(&self) -> &[ProcessId] {
        &self.services
    }

    /// The rows that the database holds; see [`PatroniCluster::surviving`].
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<PlatformProcess>) -> C {
        self.database.surviving(&Part::<PlatformProcess, _>::of(world))
    }
}

fn add_hosts(topology: &mut Topology, zones: &[ZoneRef], name: &str, count: u16) -> Vec<HostId> {
    (0..usize::from(count))
        .map(|index| topology.add_host(zones[index % zones.len()], &format!("{name}-{}", index + 1)))
        .collect()
}
