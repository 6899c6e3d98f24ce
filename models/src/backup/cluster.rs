//! A server, its backups and an operator, placed on hosts.
//!
//! | host | zone | processes |
//! |---|---|---|
//! | `db-1` | the first | `postgres-1`, the primary; `backup-1` |
//! | `db-2` | the second, or the only one | `postgres-2`, a standby or not there yet; `operator-1` |
//! | `repository-1`, or `db-1` | by [`RepositoryPlace`] | `repository-1` |
//! | `app-1` | the last | `client-1`, ... |

use std::sync::Arc;

use sim_core::{
    Distribution, EndReason, HostId, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, World,
    WorldBuilder, ZoneRef, advance_guarded,
};

use super::inputs::Inputs;
use super::jobs::{BackupJobs, Job, JobsSpec};
use super::operator::{Operator, OperatorSpec, Recovery};
use crate::patroni::{self, Disk, Packet};
use crate::postgres::{
    self, Archive, ArchiveRepository, ArchiveSettings, DataDirectory, MemberId, RepositorySpec, Settings,
    Upstream,
};
use crate::routing::{MultiHostClient, MultiHostClientSpec, Workload};

sim_core::system! {
    /// A server with backups, and its clients.
    pub enum BackupProcess {
        Server(postgres::Server),
        Repository(ArchiveRepository),
        Jobs(BackupJobs),
        Operator(Operator),
        Client(MultiHostClient),
    }
    spec: BackupProcessSpec,
    timer: BackupProcessTimer,
    packet: Packet,
    storage: Disk,
}

/// Where the repository is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RepositoryPlace {
    /// On the host of the primary.
    PrimaryHost,
    /// On a host of its own in the zone of the primary.
    PrimaryZone,
    /// On a host of its own in the last zone: in another region, if there are several.
    #[default]
    OtherZone,
}

/// The load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackupLoad {
    /// Clients that write.
    pub writers: u16,
    /// Between two writes of one client.
    pub write_interval: SimDuration,
    /// How long they wait for an answer.
    pub statement_timeout: SimDuration,
    /// When they start no more operations.
    pub stop_at: SimDuration,
}

/// Everything that it is built from.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// Whether the second server is a standby that streams.
    pub standby: bool,
    /// `archive_timeout`; absent: segments are archived when they are full.
    pub archive_timeout: Option<SimDuration>,
    /// The time-out of `restore_command`.
    pub restore_timeout: Option<SimDuration>,
    /// Whether the repository compresses segments.
    pub compressed: bool,
    /// Where the repository is.
    pub repository: RepositoryPlace,
    /// How many base backups are kept.
    pub retention_full: Option<usize>,
    /// From one base backup to the next.
    pub base_backup_every: Option<SimDuration>,
    /// From one dump to the next.
    pub dump_every: Option<SimDuration>,
    /// The runbook.
    pub recovery: Recovery,
    /// Durations of the models of `PostgreSQL`.
    pub machine: patroni::Inputs,
    /// Durations of people and tools.
    pub inputs: Inputs,
    /// The load.
    pub load: BackupLoad,
}

/// From the start of a run to its first backup: the server runs by then.
const FIRST_BACKUP: SimDuration = SimDuration::from_secs(10);
/// How often a client tries a server again that it could not reach or that is in recovery. Rarely: an outage takes hours.
const RETRY_INTERVAL: SimDuration = SimDuration::from_secs(5);

/// A server with backups, ready to run any seed.
#[derive(Clone, Debug)]
pub struct BackupCluster {
    builder: WorldBuilder<BackupProcess>,
    servers: [ProcessId; 2],
    operator: ProcessId,
    clients: Vec<ProcessId>,
}

impl BackupCluster {
    /// Places it on these zones.
    ///
    /// # Panics
    /// If there are no zones.
    pub fn new(plan: &BackupPlan, (mut topology, zones): (Topology, Vec<ZoneRef>)) -> Self {
        let (Some(first), Some(last)) = (zones.first(), zones.last()) else { panic!("zones are somewhere") };
        let second = zones.get(1).unwrap_or(first);
        let [db, spare] = [topology.add_host(*first, "db-1"), topology.add_host(*second, "db-2")];
        let app = topology.add_host(*last, "app-1");
        let repository = match plan.repository {
            RepositoryPlace::PrimaryHost => db,
            RepositoryPlace::PrimaryZone => topology.add_host(*first, "repository-1"),
            RepositoryPlace::OtherZone => topology.add_host(*last, "repository-1"),
        };
        let mut placing = Placing { builder: WorldBuilder::new(topology), plan };
        let servers =
            [0, 1].map(|offset| ProcessId::from_index(placing.builder.next_process().index() + offset));
        let repository_process = ProcessId::from_index(servers[1].index() + 1);
        let volumes = placing.servers([db, spare], servers, repository_process);
        let repository_volume = placing.volume(repository, Disk::Archive(Archive::default()));
        let spec = RepositorySpec {
            latency: plan.inputs.repository_latency.sampler(),
            bytes_per_second: plan.inputs.repository_bytes_per_second,
            compressed: plan.compressed,
            retention_full: plan.retention_full,
        };
        let spec = BackupProcessSpec::Repository(spec);
        placing.process("repository-1", repository, repository_volume, true, spec);
        placing.jobs(db, volumes[0], servers[0], repository_process);
        let operator = placing.operator(spare, volumes[1], servers, repository_process);
        let clients = placing.clients(app, servers);
        Self { builder: placing.builder, servers, operator, clients }
    }

    /// The world of a seed at its first instant.
    pub fn world(&self, seed: Seed) -> World<BackupProcess> {
        self.builder.build(seed)
    }

    /// Goes on with a run, see [`advance_guarded`]. Compiled here, with the models, for everybody who runs this family.
    pub fn advance(world: &mut World<BackupProcess>, until: SimTime, event_budget: u64) -> EndReason {
        advance_guarded(world, until, event_budget)
    }

    /// The servers and the operator.
    pub fn members(&self) -> Vec<ProcessId> {
        self.servers.into_iter().chain([self.operator]).collect()
    }

    /// The clients.
    pub fn clients(&self) -> &[ProcessId] {
        &self.clients
    }

    /// The rows that clients find at the end: those of the server that accepts writes, of the second if both do; without one,
    /// those of the first.
    ///
    /// # Panics
    /// If the world is not one of this cluster.
    pub fn surviving<C: FromIterator<u64>>(&self, world: &World<BackupProcess>) -> C {
        use sim_core::Process as _;
        let accepts =
            |server: &&ProcessId| world.process(**server).is_some_and(|state| state.plays("primary"));
        let server = self.servers.iter().rev().find(accepts).unwrap_or(&self.servers[0]);
        let Disk::Data(data) = world.storage(*server) else { unreachable!("servers keep data") };
        data.recoverable_rows().collect()
    }
}

/// Adds processes to a world.
struct Placing<'a> {
    builder: WorldBuilder<BackupProcess>,
    plan: &'a BackupPlan,
}

impl Placing<'_> {
    fn volume(&mut self, host: HostId, contents: Disk) -> sim_core::VolumeId {
        self.builder.add_volume(host, contents, &self.plan.machine.disk_sync)
    }

    fn process(
        &mut self,
        name: &str,
        host: HostId,
        volume: sim_core::VolumeId,
        starts_with_host: bool,
        spec: BackupProcessSpec,
    ) -> ProcessId {
        let name = name.to_owned();
        self.builder.add_process(ProcessOptions { name, host, volume, starts_with_host, spec })
    }

    /// Both servers, with their volumes.
    fn servers(
        &mut self,
        hosts: [HostId; 2],
        servers: [ProcessId; 2],
        repository: ProcessId,
    ) -> [sim_core::VolumeId; 2] {
        let plan = self.plan;
        let archives = plan.recovery == Recovery::Archive;
        let parameters = Arc::new(postgres::Parameters {
            insert_bytes: plan.inputs.wal_bytes_per_write,
            archive: archives.then_some(ArchiveSettings {
                repository,
                archive_mode: true,
                archive_timeout: plan.archive_timeout,
                restores: true,
                restore_timeout: plan.restore_timeout,
            }),
            ..postgres::Parameters::default()
        });
        let durations = Arc::new(postgres::Durations::from(&plan.machine));
        let primary = DataDirectory::new_primary();
        let standby =
            primary.base_backup(Some(Upstream { server: servers[0], member: MemberId(0), slot: false }));
        let primary = DataDirectory {
            settings: Settings { slots: vec![MemberId(1)], ..Settings::default() },
            ..primary
        };
        let second = if plan.standby { standby } else { DataDirectory::default() };
        let contents = [(primary, true), (second, plan.standby)];
        let mut number = 0;
        contents.map(|(data, starts)| {
            let index = number;
            number += 1;
            let volume = self.volume(hosts[index], Disk::Data(data));
            let spec = postgres::Spec {
                member: MemberId(index as u8),
                parameters: Arc::clone(&parameters),
                durations: Arc::clone(&durations),
                planted: crate::Planted::Nothing,
            };
            let name = format!("postgres-{}", index + 1);
            self.process(&name, hosts[index], volume, starts, BackupProcessSpec::Server(spec));
            volume
        })
    }

    fn jobs(&mut self, host: HostId, volume: sim_core::VolumeId, server: ProcessId, repository: ProcessId) {
        let inputs = &self.plan.inputs;
        let job = |every: Option<SimDuration>, rate: u64| {
            let lasts = SimDuration::from_secs(1).scale(inputs.database_bytes, rate);
            every.map(|every| Job { first: FIRST_BACKUP, every, lasts })
        };
        let spec = JobsSpec {
            server,
            repository,
            base: job(self.plan.base_backup_every, inputs.base_backup_bytes_per_second),
            dump: job(self.plan.dump_every, inputs.dump_bytes_per_second),
        };
        self.process("backup-1", host, volume, true, BackupProcessSpec::Jobs(spec));
    }

    fn operator(
        &mut self,
        host: HostId,
        volume: sim_core::VolumeId,
        [watched, local]: [ProcessId; 2],
        repository: ProcessId,
    ) -> ProcessId {
        let inputs = &self.plan.inputs;
        let rate = match self.plan.recovery {
            Recovery::Dump => inputs.dump_restore_bytes_per_second,
            _ => inputs.base_backup_bytes_per_second,
        };
        let spec = OperatorSpec {
            watched,
            monitors: true,
            local,
            repository,
            recovery: self.plan.recovery,
            check_interval: inputs.check_interval,
            alert_after: inputs.alert_after,
            response: inputs.response.sampler(),
            fencing: inputs.fencing,
            copying: SimDuration::from_secs(1).scale(inputs.database_bytes, rate),
        };
        self.process("operator-1", host, volume, true, BackupProcessSpec::Operator(spec))
    }

    fn clients(&mut self, app: HostId, servers: [ProcessId; 2]) -> Vec<ProcessId> {
        let load = self.plan.load;
        (1..=load.writers)
            .map(|number| {
                let workload = Workload {
                    start_at: FIRST_BACKUP,
                    stop_at: Some(load.stop_at),
                    ..Workload::writes(u32::from(number))
                };
                let spec = MultiHostClientSpec {
                    retry_interval: RETRY_INTERVAL,
                    interval: load.write_interval,
                    statement_timeout: load.statement_timeout,
                    ..MultiHostClientSpec::new(workload, servers.to_vec())
                };
                let latency = Distribution::Constant(SimDuration::ZERO);
                let volume = self.builder.add_volume(app, Disk::Nothing, &latency);
                let name = format!("client-{number}");
                self.process(&name, app, volume, true, BackupProcessSpec::Client(spec))
            })
            .collect()
    }
}
