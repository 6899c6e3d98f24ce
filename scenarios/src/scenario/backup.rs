//! `cluster.backup` and `cluster.archive`: what scenario files say about archived WAL and backups.

use std::num::NonZeroU64;

use models::backup::{BackupPlan, Inputs, Recovery, RepositoryPlace};
use serde::Deserialize;
use sim_core::{Distribution, SimDuration};
use toml::Spanned;

use super::TimeRange;

/// `cluster.backup`: a single server, its backups, and how it is recovered from them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The runbook.
    pub recover_from: RecoverFrom,
    /// `archive_timeout`; 0: off.
    pub archive_timeout: Option<SimDuration>,
    /// The time-out of `restore_command`.
    pub restore_timeout: Option<Spanned<SimDuration>>,
    /// Whether the repository compresses WAL.
    pub compressed: Option<bool>,
    /// Where the repository is.
    pub repository: Option<Place>,
    /// How many base backups are kept.
    pub retention_full: Option<Spanned<usize>>,
    /// From one base backup to the next.
    pub base_backup_every: Option<Spanned<SimDuration>>,
    /// From one dump to the next.
    pub dump_every: Option<Spanned<SimDuration>>,
    /// Bytes of the database.
    pub database_bytes: Option<u64>,
    /// WAL of one write.
    pub wal_bytes_per_write: Option<NonZeroU64>,
    /// The rate of one transfer with the repository.
    pub repository_bytes_per_second: Option<NonZeroU64>,
    /// The rate of base backups, both ways.
    pub base_backup_bytes_per_second: Option<NonZeroU64>,
    /// The rate of `pg_dump`.
    pub dump_bytes_per_second: Option<NonZeroU64>,
    /// The rate of `pg_restore`.
    pub dump_restore_bytes_per_second: Option<NonZeroU64>,
    /// How long monitoring fails before somebody is paged.
    pub alert_after: Option<SimDuration>,
    /// From the page to the decision.
    pub response: Option<TimeRange>,
}

/// From where the data are brought back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum RecoverFrom {
    /// A standby.
    Standby,
    /// A base backup and the archive.
    Archive,
    /// A base backup.
    BaseBackup,
    /// A dump.
    Dump,
}

/// Where the repository is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the host of the primary.
    PrimaryHost,
    /// In its zone.
    PrimaryZone,
    /// In the last zone.
    OtherZone,
}

/// `cluster.archive`: a repository beside a cluster of Patroni.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `archive_timeout`; 0: off.
    pub archive_timeout: Option<SimDuration>,
    /// The time-out of `restore_command`.
    pub restore_timeout: Option<Spanned<SimDuration>>,
}

impl Backup {
    /// Base backups are taken daily if the runbook needs them, dumps hourly.
    const DAY: SimDuration = SimDuration::from_secs(24 * 3_600);
    const HOUR: SimDuration = SimDuration::from_secs(3_600);

    /// Fills a plan with what is written here.
    pub fn plan(&self, load: models::backup::BackupLoad) -> BackupPlan {
        let recovery = match self.recover_from {
            RecoverFrom::Standby => Recovery::Standby,
            RecoverFrom::Archive => Recovery::Archive,
            RecoverFrom::BaseBackup => Recovery::BaseBackup,
            RecoverFrom::Dump => Recovery::Dump,
        };
        let base = matches!(recovery, Recovery::Archive | Recovery::BaseBackup).then_some(Self::DAY);
        let dump = (recovery == Recovery::Dump).then_some(Self::HOUR);
        BackupPlan {
            standby: recovery == Recovery::Standby,
            archive_timeout: self.archive_timeout.filter(|timeout| *timeout > SimDuration::ZERO),
            restore_timeout: value(self.restore_timeout.as_ref()),
            compressed: self.compressed.unwrap_or_default(),
            repository: match self.repository.unwrap_or(Place::OtherZone) {
                Place::PrimaryHost => RepositoryPlace::PrimaryHost,
                Place::PrimaryZone => RepositoryPlace::PrimaryZone,
                Place::OtherZone => RepositoryPlace::OtherZone,
            },
            retention_full: value(self.retention_full.as_ref()),
            base_backup_every: value(self.base_backup_every.as_ref()).or(base),
            dump_every: value(self.dump_every.as_ref()).or(dump),
            recovery,
            machine: models::patroni::Inputs::default(),
            inputs: self.inputs(),
            load,
        }
    }

    fn inputs(&self) -> Inputs {
        let default = Inputs::default();
        let rate = |written: Option<NonZeroU64>, default: u64| written.map_or(default, NonZeroU64::get);
        Inputs {
            database_bytes: self.database_bytes.unwrap_or(default.database_bytes),
            wal_bytes_per_write: rate(self.wal_bytes_per_write, default.wal_bytes_per_write),
            repository_bytes_per_second: rate(
                self.repository_bytes_per_second,
                default.repository_bytes_per_second,
            ),
            base_backup_bytes_per_second: rate(
                self.base_backup_bytes_per_second,
                default.base_backup_bytes_per_second,
            ),
            dump_bytes_per_second: rate(self.dump_bytes_per_second, default.dump_bytes_per_second),
            dump_restore_bytes_per_second: rate(
                self.dump_restore_bytes_per_second,
                default.dump_restore_bytes_per_second,
            ),
            alert_after: self.alert_after.unwrap_or(default.alert_after),
            response: self
                .response
                .map_or(default.response, |range| Distribution::Uniform(range.low, range.high)),
            ..default
        }
    }
}

pub(super) fn value<T: Copy>(written: Option<&Spanned<T>>) -> Option<T> {
    written.map(|written| *written.get_ref())
}
