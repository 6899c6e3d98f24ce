//! What a server does when its disk fails.
//!
//! - *A failed flush* of the WAL is a PANIC everywhere (`issue_xlog_fsync`), and so is one of data files since 11.2, 10.7, ...
//!   (`data_sync_retry = off`, "fsyncgate"): the kernel forgets pages that it could not write, so that trying again would
//!   report a success that did not happen.
//! - *A full disk* is a PANIC when a primary must write WAL (`XLogWrite` runs in a critical section). On a standby, the
//!   walreceiver that cannot make a new segment ends with an error (`XLogFileInit`) and is started again later.
//! - *After a PANIC* the postmaster kills its other children and starts over with a crash recovery, in the same process
//!   (`restart_after_crash = on`). If its startup process fails as well, the postmaster ends ("aborting startup due to
//!   startup process failure"), and what comes then is up to Patroni.
//!
//! The crash recovery of a primary reads the WAL from the page cache, where the pages that were not written still are, and
//! ends with a checkpoint, which makes durable elsewhere what it replayed: that is why a PANIC is the right answer. A standby
//! that starts over makes no checkpoint, and has a hole in its log until the next one; a loss of power shows it, and the
//! standby streams from there.
//!
//! Simplified: a full disk is noticed by the first record, where the present segment (16 MB) and recycled ones would still
//! take some; errors of data files are not told from those of WAL; statements that would only fail for want of space
//! (temporary files, new pages of a table) are not modelled. Checksums of data pages are out of scope.

use sim_core::{Context, MarkKind, StorageFailure};

use super::server::{Phase, Server, Timer};

impl Server {
    pub(super) fn storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        match (self.phase, failure) {
            (Phase::Exited, _) => {}
            (Phase::Standby, StorageFailure::Write(error)) => {
                if self.receiving.is_receiving() {
                    context.note(|| format!("walreceiver ends: could not write WAL: {error}"));
                    self.receiver_failed(context);
                }
            }
            (Phase::Primary | Phase::Standby, _) | (Phase::Promoting, StorageFailure::Sync(..)) => {
                self.crash(context, failure);
            }
            (Phase::Starting { .. } | Phase::Promoting | Phase::Opening { .. } | Phase::Stopping(_), _) => {
                context
                    .note(|| format!("PANIC: {failure}; the startup process or the shutdown fails with it"));
                self.exit(context);
            }
        }
    }

    /// PANIC: sessions, senders and the receiver die with the shared memory, and the postmaster begins anew. Commands of
    /// `pg_ctl` reach the postmaster as before.
    fn crash(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        context.note(|| format!("PANIC: {failure}; all server processes terminated, reinitializing"));
        if self.phase == Phase::Primary {
            let timeline = context.storage().history.current;
            context.mark(MarkKind::ReadOnly, u64::from(timeline.0));
        }
        for session in std::mem::take(&mut self.sessions) {
            context.close(session);
        }
        for sender in &self.sending.senders {
            context.close(sender.connection);
        }
        self.stop_receiver(context);
        for timer in [
            Timer::Promoted,
            Timer::Replayed,
            Timer::WalWriter,
            Timer::WalSender,
            Timer::Checkpoint,
            Timer::Archive,
            Timer::ArchiveTimeout,
            Timer::RestoreCommand,
            Timer::Restored,
            Timer::Login,
        ] {
            context.cancel_timer(&timer);
        }
        let spec = self.spec.clone();
        let checkpoint = self.checkpoint.after_crash();
        *self = Self::start(&spec, context);
        self.checkpoint = checkpoint;
    }
}
