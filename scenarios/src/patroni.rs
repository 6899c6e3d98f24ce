//! The Patroni family: from a case to a cluster, and from a seed to a run.

use models::patroni::{Inputs, Load, PatroniCluster, Placement, Plan, Planted, Route};
use sim_core::{Schedule, Seed, SimDuration, SimTime, run_guarded};

use analysis::MeasureOptions;

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::family::{Family, FaultError, LogLevel, RunResult, System, add_faults};
use crate::scenario::{EtcdHosts, Routing, TopologyPreset};

/// How long before the horizon clients stop asking, so that what they asked last is answered.
const QUIET_TAIL: SimDuration = SimDuration::from_secs(5);

/// Patroni with etcd and PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Patroni;

impl Family for Patroni {
    fn name(&self) -> &'static str {
        "patroni"
    }

    fn build(&self, case: &Case) -> Result<Box<dyn System>, UserError> {
        Ok(system(case, Planted::Nothing))
    }
}

/// The system of a case, with a rule of Patroni switched off or not: tests do that to show that the judge notices.
pub fn system(case: &Case, planted: Planted) -> Box<dyn System> {
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
        placement: match cluster.topology {
            TopologyPreset::OneZone => Placement::OneZone,
            TopologyPreset::ThreeZones => Placement::ThreeZones,
            TopologyPreset::TwoRegions => Placement::TwoRegions,
            TopologyPreset::ThreeRegions => Placement::ThreeRegions,
        },
        configuration: case.configuration.clone(),
        inputs: Inputs::default(),
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
            local_writers: workload.local_writers,
            stop_at: Some(clients_stop_after(scenario.horizon)),
        },
        planted,
    }
}

const fn clients_stop_after(horizon: SimDuration) -> SimDuration {
    horizon.saturating_sub(QUIET_TAIL)
}

/// A cluster of a case, ready to run any seed.
#[derive(Clone, Debug)]
pub struct PatroniSystem {
    /// The cluster.
    pub cluster: PatroniCluster,
    /// When a run ends.
    pub horizon: SimTime,
    /// When clients stop asking.
    pub clients_stop_at: SimTime,
    /// The most events of a run.
    pub event_budget: u64,
}

impl PatroniSystem {
    /// Places the cluster of a case, with a rule of Patroni switched off or not.
    pub fn new(case: &Case, planted: Planted) -> Self {
        let scenario = &case.scenario;
        Self {
            cluster: PatroniCluster::new(&plan(case, planted)),
            horizon: SimTime::ZERO + scenario.horizon,
            clients_stop_at: SimTime::ZERO + clients_stop_after(scenario.horizon),
            event_budget: scenario.event_budget,
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
        let mut world = self.cluster.world(seed);
        match log {
            LogLevel::Off => {}
            LogLevel::Story => world.log(false),
            LogLevel::Packets => world.log(true),
        }
        add_faults(&mut world, schedule).expect("the schedule was checked");
        let record = run_guarded(&mut world, self.horizon, self.event_budget);
        RunResult {
            record,
            surviving: self.cluster.surviving(&world),
            faults: world.delivered_faults().to_vec(),
            log: world.log_entries().to_vec(),
        }
    }
}
