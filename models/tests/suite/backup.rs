//! A server with backups: what the archive holds, what each way of recovery brings back, and what Patroni does with an archive.

use std::collections::BTreeSet;

use models::Placement;
use models::backup::{
    BackupCluster, BackupLoad, BackupPlan, BackupProcess, Inputs, Recovery, RepositoryPlace,
};
use models::patroni::{self, Disk};
use models::postgres::{FileName, SEGMENT_BYTES, Timeline};
use sim_core::{
    EndReason, Fault, Process, ProcessId, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Trigger, World,
};

const HOUR: u64 = 3_600;

fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

/// A write each 10 s, 1 MB of WAL each; base backups hourly, dumps half-hourly; a segment each minute.
fn plan(recovery: Recovery) -> BackupPlan {
    BackupPlan {
        standby: recovery == Recovery::Standby,
        archive_timeout: Some(secs(60)),
        restore_timeout: None,
        compressed: false,
        repository: RepositoryPlace::OtherZone,
        retention_full: None,
        base_backup_every: Some(secs(HOUR)),
        dump_every: Some(secs(HOUR / 2)),
        recovery,
        machine: patroni::Inputs::default(),
        inputs: Inputs { database_bytes: 5_000_000_000, wal_bytes_per_write: 1_000_000, ..Inputs::default() },
        load: BackupLoad {
            writers: 1,
            write_interval: secs(10),
            statement_timeout: secs(5),
            stop_at: secs(4 * HOUR),
        },
    }
}

struct Ran {
    world: World<BackupProcess>,
    /// Acknowledged writes that are not there at the end, by the second of their acknowledgement.
    lost: Vec<u64>,
    acknowledged: usize,
}

fn run(plan: &BackupPlan, faults: &[(u64, Fault, Option<u64>)]) -> Ran {
    let cluster = BackupCluster::new(plan, Placement::ThreeZones.topology());
    let mut world = cluster.world(Seed(1));
    world.log(false);
    let scheduled = faults.iter().map(|(at, fault, lasts)| ScheduledFault {
        trigger: Trigger::At(secs(*at)),
        fault: fault.clone(),
        lasts: lasts.map(secs),
    });
    world.schedule(&Schedule(scheduled.collect())).expect("the targets exist");
    assert_eq!(world.run(SimTime::ZERO + secs(4 * HOUR), 5_000_000), EndReason::Horizon);
    let surviving: BTreeSet<u64> = cluster.surviving(&world);
    let record = world.record(EndReason::Horizon);
    let writes = record.operations.iter().filter(|operation| operation.is_acknowledged());
    let acknowledged = writes.clone().count();
    let lost = writes
        .filter(|operation| !surviving.contains(&operation.value))
        .map(|operation| {
            operation.completed.expect("it was acknowledged").since(SimTime::ZERO).as_secs_f64() as u64
        })
        .collect();
    Ran { world, lost, acknowledged }
}

impl Ran {
    fn said(&self, words: &str) -> usize {
        self.world.log_entries().iter().filter(|entry| entry.text.contains(words)).count()
    }

    /// The second in which somebody said this first.
    fn when(&self, words: &str) -> u64 {
        let entry = self.world.log_entries().iter().find(|entry| entry.text.contains(words));
        entry.unwrap_or_else(|| panic!("nobody said {words}")).at.since(SimTime::ZERO).as_secs_f64() as u64
    }

    fn named(&self, name: &str) -> ProcessId {
        self.world.process_ids().find(|process| self.world.name(*process) == name).expect("it was placed")
    }

    fn leads(&self, name: &str) -> bool {
        self.world.process(self.named(name)).is_some_and(|state| state.plays("primary"))
    }

    fn archived(&self) -> Vec<FileName> {
        let Disk::Archive(archive) = self.world.storage(self.named("repository-1")) else {
            panic!("a repository keeps an archive")
        };
        archive.files.keys().copied().collect()
    }
}

fn lose(host: &str) -> Fault {
    Fault::PowerOff { target: Target::Host(host.to_owned()) }
}

fn drop_table() -> Fault {
    let target = Target::Process("operator-1".to_owned());
    Fault::Command { target, command: "drop-table".to_owned() }
}

#[test]
fn archive_timeout_completes_a_segment_each_minute_and_none_without_writes() {
    let ran = run(&BackupPlan { recovery: Recovery::Archive, ..plan(Recovery::Archive) }, &[]);
    let segments = ran.archived().len() as u64;
    assert!((4 * HOUR / 60 - 5..=4 * HOUR / 60).contains(&segments), "{segments}");
    let mut idle = plan(Recovery::Archive);
    idle.load.stop_at = secs(HOUR);
    let segments = run(&idle, &[]).archived().len() as u64;
    assert!((HOUR / 60 - 3..=HOUR / 60 + 1).contains(&segments), "{segments}");
}

#[test]
fn without_archive_timeout_segments_are_archived_when_they_are_full() {
    let ran = run(&BackupPlan { archive_timeout: None, ..plan(Recovery::Archive) }, &[]);
    let full = (ran.acknowledged as u64 * 1_000_000) / SEGMENT_BYTES;
    let segments = ran.archived().len() as u64;
    assert!((full - 1..=full).contains(&segments), "{segments} of {full}");
}

#[test]
fn a_recovery_from_the_archive_loses_what_was_not_archived() {
    let ran = run(&plan(Recovery::Archive), &[(2 * HOUR + 55, lose("db-1"), None)]);
    assert!(ran.leads("postgres-2"));
    assert!(!ran.lost.is_empty() && ran.lost.len() <= 7, "{:?}", ran.lost);
    assert!(ran.lost.iter().all(|at| *at > 2 * HOUR + 55 - 65), "{:?}", ran.lost);
    assert!(ran.archived().contains(&FileName::History(Timeline(2))), "the new timeline is archived");
}

#[test]
fn a_base_backup_is_as_the_server_was_when_it_ended_and_a_dump_as_when_it_began() {
    let at = 2 * HOUR + 30 * 60;
    let base = run(&plan(Recovery::BaseBackup), &[(at, lose("db-1"), None)]);
    let copied = 10 + 2 * HOUR + 5_000_000_000 / 85_000_000;
    assert!((copied..copied + 12).contains(&base.lost[0]), "{} after {copied}", base.lost[0]);
    // The dump of two o'clock is there, that of half past two is not.
    let dump = run(&plan(Recovery::Dump), &[(at, lose("db-1"), None)]);
    let begun = 10 + 2 * HOUR;
    assert!((begun..begun + 11).contains(&dump.lost[0]), "{} after {begun}", dump.lost[0]);
    assert!(dump.leads("postgres-2") && base.leads("postgres-2"));
}

#[test]
fn a_recovery_to_the_time_before_a_mistake_loses_nothing() {
    let ran = run(&plan(Recovery::Archive), &[(2 * HOUR + 55, drop_table(), None)]);
    assert_eq!(ran.said("recovery stopping before commit"), 1);
    assert!(ran.leads("postgres-2") && !ran.leads("postgres-1"));
    assert_eq!(ran.lost, [0; 0]);
}

#[test]
fn a_mistake_is_replicated() {
    let ran = run(&plan(Recovery::Standby), &[(2 * HOUR + 55, drop_table(), None)]);
    assert!(ran.leads("postgres-2"));
    assert_eq!(ran.lost.len(), ran.acknowledged);
}

/// The mistake is in a segment that the archive never gets, because the repository is away: the target is never reached.
#[test]
fn a_recovery_whose_target_is_not_in_the_archive_fails() {
    let away = Fault::Kill { target: Target::Process("repository-1".to_owned()) };
    let faults = [
        (2 * HOUR, away, Some(20 * 60)),
        (2 * HOUR + 120, drop_table(), None),
        (2 * HOUR + 130, lose("db-1"), None),
    ];
    let ran = run(&plan(Recovery::Archive), &faults);
    assert_eq!(ran.said("FATAL: recovery ended before configured recovery target was reached"), 1);
    assert!(!ran.leads("postgres-2"));
}

/// Three tries a second apart, then a minute's rest; afterwards everything is copied in order, and nothing is lost.
#[test]
fn the_archiver_goes_on_when_the_repository_is_back() {
    let away = Fault::Kill { target: Target::Process("repository-1".to_owned()) };
    let faults = [(2 * HOUR, away, Some(10 * 60)), (2 * HOUR + 30 * 60, lose("db-1"), None)];
    let ran = run(&plan(Recovery::Archive), &faults);
    let gave_up = ran.said("failed too many times, will try again later");
    assert!((8..=11).contains(&gave_up), "{gave_up}");
    assert!(ran.lost.len() <= 7, "{:?}", ran.lost);
}

#[test]
fn only_the_newest_base_backups_are_kept_with_the_wal_since() {
    let ran = run(&BackupPlan { retention_full: Some(1), ..plan(Recovery::Archive) }, &[]);
    let Disk::Archive(archive) = ran.world.storage(ran.named("repository-1")) else { unreachable!() };
    assert_eq!(
        archive.backups.iter().filter(|backup| backup.kind == models::postgres::BackupKind::Base).count(),
        1
    );
    assert!(archive.files.len() < 65, "{}", archive.files.len());
    let recovered = run(
        &BackupPlan { retention_full: Some(1), ..plan(Recovery::Archive) },
        &[(3 * HOUR + 30 * 60, lose("db-1"), None)],
    );
    assert!(recovered.leads("postgres-2") && recovered.lost.len() <= 7, "{:?}", recovered.lost);
}

/// What the operator does takes the time that the inputs say.
#[test]
fn a_recovery_takes_its_declared_time() {
    let ran = run(&plan(Recovery::Archive), &[(2 * HOUR + 55, lose("db-1"), None)]);
    let paged = ran.when("somebody is paged");
    assert!((60..=90).contains(&(paged - 2 * HOUR - 55)), "{paged}");
    let decided = ran.when("decides to recover");
    assert!((300..=900).contains(&(decided - paged)), "{decided}");
    let copied = ran.when("starts as InArchiveRecovery") - ran.when("copies a Base backup");
    assert_eq!(copied, 5_000_000_000 / 85_000_000);
}
