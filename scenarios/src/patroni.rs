//! The Patroni family: from a case to a cluster, and from a seed to a run.

use std::sync::Arc;

use models::Planted;
use models::patroni::{
    ClusterProcess, ImpatientClient, Inputs, Load, PatroniCluster, Placement, Plan, Route,
};
use sim_core::{FaultBudget, Schedule, Seed, SimDuration, SimTime, World};

use analysis::MeasureOptions;

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::{Execution, WorldExecution};
use crate::family::{Family, FamilyWords, FaultError, Forkable, LogLevel, RunResult, System, add_faults};
use crate::scenario::{EtcdHosts, FaultPlan, OnTimeout, Routing, TopologyPreset};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// The words of scenario files about Patroni.
pub const WORDS: FamilyWords = FamilyWords {
    name: "patroni",
    roles: &[
        "primary",
        "standby",
        "postgres",
        "patroni-leader",
        "patroni-replica",
        "patroni",
        "sync-standby",
        "etcd-leader",
        "etcd-follower",
        "etcd",
        "client",
        "haproxy",
        "pgbouncer",
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
        "client",
        "haproxy",
        "pgbouncer",
        "none",
    ],
    processes: &["patroni", "postgres", "etcd", "haproxy", "pgbouncer", "client", "local-client"],
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

fn plan(case: &Case, planted: Planted) -> Plan {
    let scenario = &case.scenario;
    let (cluster, workload) = (&scenario.cluster, &scenario.workload);
    Plan {
        members: cluster.members,
        etcd_members: case.etcd_members,
        etcd_shares_hosts: cluster.etcd_hosts == EtcdHosts::Shared,
        etcd_pre_vote: true,
        placement: cluster.topology.into(),
        configuration: case.configuration.clone(),
        inputs: Inputs { links: cluster.links.clone(), ..Inputs::default() },
        load: Load {
            writers: workload.writers,
            write_interval: workload.write_interval,
            readers: workload.readers,
            read_interval: workload.read_interval,
            route: match workload.routing {
                Routing::Haproxy => Route::HaProxy,
                Routing::Pgbouncer => Route::PgBouncer,
                Routing::MultiHost => Route::MultiHost,
            },
            statement_timeout: workload.statement_timeout,
            on_timeout: match workload.on_timeout {
                OnTimeout::Drop => ImpatientClient::Drop,
                OnTimeout::Cancel => ImpatientClient::Cancel,
                OnTimeout::CancelAndIgnoreWarnings => ImpatientClient::CancelAndIgnoreWarnings,
            },
            local_writers: workload.local_writers,
            stop_at: Some(clients_stop_after(scenario.horizon)),
        },
        planted,
    }
}

impl From<TopologyPreset> for Placement {
    fn from(preset: TopologyPreset) -> Self {
        match preset {
            TopologyPreset::OneZone => Self::OneZone,
            TopologyPreset::ThreeZones => Self::ThreeZones,
            TopologyPreset::TwoRegions => Self::TwoRegions,
            TopologyPreset::ThreeRegions => Self::ThreeRegions,
        }
    }
}

/// How long after the last fault of a swarm the cluster has come to rest: two cycles longer than the slowest way down, by
/// `primary_stop_timeout`, crash recovery or a base backup, takes.
const SETTLING: SimDuration = SimDuration::from_secs(60);

/// When the faults of a swarm are over and what they led to as well. Faults that were written by hand may last for ever.
fn quiet_from(case: &Case) -> Option<SimTime> {
    match &case.scenario.faults {
        FaultPlan::Swarm(swarm) => Some(SimTime::ZERO + swarm.config.until + SETTLING),
        FaultPlan::Written(_) => None,
    }
}

const fn clients_stop_after(horizon: SimDuration) -> SimDuration {
    horizon.saturating_sub(QUIET_TAIL)
}

/// A cluster of a case, ready to run any seed.
#[derive(Clone, Debug)]
pub struct PatroniSystem {
    /// The cluster.
    pub cluster: Arc<PatroniCluster>,
    /// What faults may break at most.
    pub budgets: Arc<[FaultBudget]>,
    /// When a run ends.
    pub horizon: SimTime,
    /// When clients stop asking.
    pub clients_stop_at: SimTime,
    /// The most events of a run.
    pub event_budget: u64,
    /// From when on nothing is wrong any more.
    quiet_from: Option<SimTime>,
}

impl PatroniSystem {
    /// Places the cluster of a case, with a rule of Patroni switched off or not.
    pub fn new(case: &Case, planted: Planted) -> Self {
        let scenario = &case.scenario;
        Self {
            cluster: Arc::new(PatroniCluster::new(&plan(case, planted))),
            budgets: scenario.budgets().into(),
            horizon: SimTime::ZERO + scenario.horizon,
            clients_stop_at: SimTime::ZERO + clients_stop_after(scenario.horizon),
            event_budget: scenario.event_budget,
            quiet_from: quiet_from(case),
        }
    }
}

impl System for PatroniSystem {
    fn process_names(&self) -> Vec<String> {
        let world = self.cluster.world(Seed(0));
        world.process_ids().map(|process| world.name(process).to_owned()).collect()
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions {
            members: Some(self.cluster.members()),
            clients: Some(self.cluster.clients().to_vec()),
            observed_until: Some(self.clients_stop_at),
            ..MeasureOptions::default()
        }
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut self.cluster.world(Seed(0)), schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        self.start(seed, schedule, log).finish()
    }
}

impl Forkable for PatroniSystem {
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let cluster = Arc::clone(&self.cluster);
        let surviving = move |world: &World<ClusterProcess>| cluster.surviving(world);
        let mut world = self.cluster.world(seed);
        self.cluster.add_conditions(&mut world, self.quiet_from, schedule.spares_durable_records());
        world.limit_faults(Arc::clone(&self.budgets));
        Box::new(WorldExecution::new(world, schedule, log, self.horizon, self.event_budget, surviving))
    }
}
