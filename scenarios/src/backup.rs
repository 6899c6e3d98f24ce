//! The backup family: one server, its backups, and an operator who recovers from them on a second host.
//!
//! There is no Patroni: its heartbeats over days would be millions of events, and no tier but replication has anything to do
//! with it. `cluster.backup` says what is backed up and from what the operator recovers, `cluster.topology` where things are,
//! `workload.writers`, `write_interval` and `statement_timeout` what the clients do. See [`models::backup`].

use analysis::SurvivingValues;
use models::backup::{BackupCluster, BackupLoad, BackupProcess};
use sim_core::{EndReason, ProcessId, Seed, SimDuration, SimTime, World};

use crate::case::Case;
use crate::diagnostic::{Spot, UserError};
use crate::family::{Family, FamilyWords, Forkable};
use crate::world_system::{Cluster, WorldSystem};

/// The words of scenario files about backups.
pub const WORDS: FamilyWords = FamilyWords {
    name: "backup",
    roles: &["primary", "standby", "postgres", "repository", "backup", "operator", "client"],
    played: &["primary", "standby", "postgres", "repository", "backup", "operator", "client", "none"],
    processes: &["postgres", "repository", "backup", "operator", "client"],
};

/// A server with backups.
#[derive(Clone, Copy, Debug)]
pub struct Backup;

/// The system of a case: a cluster, and how long its clients may be without service before that is an outage.
struct Watched {
    cluster: BackupCluster,
    outage_threshold: SimDuration,
}

impl Family for Backup {
    fn name(&self) -> &'static str {
        WORDS.name
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        let scenario = &case.scenario;
        let workload = &scenario.workload;
        let Some(backup) = &scenario.cluster.backup else {
            return Err(UserError::at(
                Spot::new(&scenario.source, 0..0),
                "a scenario of the family `backup` says from what is recovered",
                "expected `cluster.backup` with `recover_from`",
            ));
        };
        let quiet = workload.write_interval + workload.statement_timeout;
        let stop_at = scenario.horizon.saturating_sub(quiet);
        let load = BackupLoad {
            writers: workload.writers,
            write_interval: workload.write_interval,
            statement_timeout: workload.statement_timeout,
            stop_at,
        };
        let cluster = BackupCluster::new(&backup.plan(load), scenario.cluster.places());
        // Between two writes of one client there is no outage.
        let outage_threshold = quiet + workload.write_interval;
        Ok(Box::new(WorldSystem::of(case, Watched { cluster, outage_threshold }, stop_at, None)))
    }
}

impl Cluster for Watched {
    type Process = BackupProcess;

    fn world(&self, seed: Seed) -> World<BackupProcess> {
        self.cluster.world(seed)
    }

    fn advance(world: &mut World<BackupProcess>, until: SimTime, event_budget: u64) -> EndReason {
        BackupCluster::advance(world, until, event_budget)
    }

    fn add_conditions(&self, _: &mut World<BackupProcess>, _: Option<SimTime>) {}

    fn surviving(&self, world: &World<BackupProcess>) -> SurvivingValues {
        self.cluster.surviving(world)
    }

    fn members(&self) -> Vec<ProcessId> {
        self.cluster.members()
    }

    fn clients(&self) -> &[ProcessId] {
        self.cluster.clients()
    }

    fn outage_threshold(&self) -> SimDuration {
        self.outage_threshold
    }
}
