//! What `cluster.backup` and `cluster.archive` must be.

use super::RecoverFrom;
use super::check::Checker;
use super::raw::RawCluster;
use crate::diagnostic::UserError;

/// The most bytes of WAL that one write may have: a segment.
const MOST_WAL_OF_A_WRITE: u64 = models::postgres::SEGMENT_BYTES;

impl Checker<'_> {
    /// Archives and backups.
    pub(super) fn backups(&self, cluster: &RawCluster) -> Result<(), UserError> {
        if let Some(archive) = &cluster.archive {
            let archive = archive.get_ref();
            self.positive(archive.restore_timeout.as_ref(), &sim_core::SimDuration::ZERO, "restore_timeout")?;
        }
        let Some(spanned) = &cluster.backup else {
            return Ok(());
        };
        let backup = spanned.get_ref();
        let zero = sim_core::SimDuration::ZERO;
        self.positive(backup.restore_timeout.as_ref(), &zero, "restore_timeout")?;
        self.positive(backup.base_backup_every.as_ref(), &zero, "base_backup_every")?;
        self.positive(backup.dump_every.as_ref(), &zero, "dump_every")?;
        self.positive(backup.retention_full.as_ref(), &0, "retention_full")?;
        if backup.archive_timeout.is_some() && backup.recover_from != RecoverFrom::Archive {
            return Err(self.wrong(
                spanned,
                "without an archive there is nothing for `archive_timeout` to do".to_owned(),
                "leave `archive_timeout` out, or recover from the archive".to_owned(),
            ));
        }
        match backup.wal_bytes_per_write {
            Some(bytes) if bytes.get() > MOST_WAL_OF_A_WRITE => Err(self.wrong(
                spanned,
                format!("a write of {bytes} bytes of WAL is more than a segment"),
                format!("expected `wal_bytes_per_write` up to {MOST_WAL_OF_A_WRITE}"),
            )),
            _ => Ok(()),
        }
    }
}
