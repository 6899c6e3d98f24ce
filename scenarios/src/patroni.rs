//! The Patroni family: from a case to a cluster, and from a seed to a run.

use models::Planted;
use models::patroni::{
    ClusterArchive, ClusterProcess, ImpatientClient, Inputs, Load, PatroniCluster, Plan, Route,
};
use models::postgres::MemberId;
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use analysis::SurvivingValues;

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FamilyWords, Forkable};
use crate::scenario::{EtcdHosts, FaultPlan, OnTimeout, ReadFrom, Reads, Routing};
use crate::world_system::{Cluster, WorldSystem};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about Patroni.
pub const WORDS: FamilyWords = FamilyWords {
    name: "patroni",
    roles: &[
        "primary",
        "standby",
        "streaming-standby",
        "postgres",
        "patroni-leader",
        "patroni-replica",
        "patroni",
        "sync-standby",
        "etcd-leader",
        "etcd-follower",
        "etcd",
        "api-server",
        "client",
        "haproxy",
        "pgbouncer",
        "confd",
        "name-server",
        "kube-proxy",
        "repository",
        "operator",
    ],
    played: &[
        "primary",
        "standby",
        "postgres",
        "patroni-leader",
        "patroni-replica",
        "patroni",
        "etcd-leader",
        "etcd-follower",
        "api-server",
        "client",
        "haproxy",
        "pgbouncer",
        "confd",
        "name-server",
        "kube-proxy",
        "repository",
        "operator",
        "none",
    ],
    processes: &[
        "patroni",
        "postgres",
        "etcd",
        "api-server",
        "haproxy",
        "pgbouncer",
        "confd",
        "dns",
        "kube-proxy",
        "client",
        "local-client",
        "repository",
        "operator",
    ],
};

/// Patroni with etcd and PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Patroni;

impl Family for Patroni {
    fn name(&self) -> &'static str {
        WORDS.name
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(system(case, Planted::Nothing))
    }
}

/// The system of a case, with a rule of Patroni switched off or not: tests do that to show that the judge notices.
pub fn system(case: &Case, planted: Planted) -> Box<dyn Forkable> {
    Box::new(PatroniSystem::new(case, planted))
}

/// The cluster of a case.
pub(crate) fn plan(case: &Case, planted: Planted) -> Plan {
    let scenario = &case.scenario;
    let (cluster, workload) = (&scenario.cluster, &scenario.workload);
    Plan {
        members: case.members,
        etcd_members: case.etcd_members,
        etcd_shares_hosts: cluster.etcd_hosts == EtcdHosts::Shared,
        etcd_pre_vote: None,
        placement: cluster.topology.into(),
        configuration: case.configuration.clone(),
        inputs: Inputs { links: cluster.links.clone(), ..Inputs::default() },
        load: Load {
            writers: workload.writers,
            write_interval: workload.write_interval,
            wal_per_write: workload.wal_per_write,
            local_commit_writers: workload.local_commit_writers,
            readers: workload.readers,
            reads: match workload.reads {
                Reads::Count => models::patroni::Reads::Count,
                Reads::Newest => models::patroni::Reads::Newest,
            },
            read_from: match workload.read_from {
                ReadFrom::Replicas => models::patroni::ReadFrom::Replicas,
                ReadFrom::Primary => models::patroni::ReadFrom::Primary,
                ReadFrom::Everywhere => models::patroni::ReadFrom::Everywhere,
            },
            read_interval: workload.read_interval,
            route: match workload.routing {
                Routing::Haproxy => Route::HaProxy,
                Routing::Pgbouncer => Route::PgBouncer,
                Routing::PgbouncerConfd => Route::Confd,
                Routing::PgbouncerDns => Route::Dns,
                Routing::Service => Route::Service,
                Routing::MultiHost => Route::MultiHost,
            },
            proxy: workload.haproxy.complete(),
            pooler: workload.pgbouncer.complete(),
            client: workload.libpq.complete(),
            statement_timeout: workload.statement_timeout,
            on_timeout: match workload.on_timeout {
                OnTimeout::Drop => ImpatientClient::Drop,
                OnTimeout::Cancel => ImpatientClient::Cancel,
                OnTimeout::CancelAndIgnoreWarnings => ImpatientClient::CancelAndIgnoreWarnings,
            },
            local_writers: workload.local_writers,
            stop_at: Some(clients_stop_after(scenario.horizon)),
        },
        archive: cluster.archive.as_ref().map(|archive| ClusterArchive {
            archive_timeout: archive.archive_timeout.filter(|timeout| *timeout > SimDuration::ZERO),
            restore_timeout: archive.restore_timeout.as_ref().map(|timeout| *timeout.get_ref()),
        }),
        namesake: cluster.namesake.map(MemberId),
        planted,
    }
}

/// How long after the last fault of a swarm the cluster has come to rest: two cycles longer than the slowest way down, by
/// `primary_stop_timeout`, crash recovery or a base backup, takes.
const SETTLING: SimDuration = SimDuration::from_secs(60);

/// When the faults of a swarm are over and what they led to as well. Faults that were written by hand may last for ever.
pub(crate) fn quiet_from(case: &Case) -> Option<SimTime> {
    match &case.scenario.faults {
        FaultPlan::Swarm(swarm) => Some(SimTime::ZERO + swarm.config.until + SETTLING),
        FaultPlan::Written(_) => None,
    }
}

pub(crate) const fn clients_stop_after(horizon: SimDuration) -> SimDuration {
    horizon.saturating_sub(QUIET_TAIL)
}

/// A cluster of a case, ready to run any seed.
pub type PatroniSystem = WorldSystem<PatroniCluster>;

impl PatroniSystem {
    /// Places the cluster of a case, with a rule of Patroni switched off or not.
    pub fn new(case: &Case, planted: Planted) -> Self {
        let cluster = PatroniCluster::new(&plan(case, planted));
        Self::of(case, cluster, clients_stop_after(case.scenario.horizon), quiet_from(case))
    }
}

impl Cluster for PatroniCluster {
    type Process = ClusterProcess;

    fn world(&self, seed: Seed) -> World<ClusterProcess> {
        self.world(seed)
    }

    fn advance(world: &mut World<ClusterProcess>, until: SimTime, event_budget: u64) -> EndReason {
        Self::advance(world, until, event_budget)
    }

    fn add_conditions(&self, world: &mut World<ClusterProcess>, quiet_from: Option<SimTime>) {
        self.add_conditions(world, quiet_from);
    }

    fn surviving(&self, world: &World<ClusterProcess>) -> SurvivingValues {
        self.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.members()
    }

    fn clients(&self) -> &[ProcessId] {
        self.clients()
    }
}
