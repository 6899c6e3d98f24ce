//! The archiver of a primary (`pgarch.c`), and what completes segments before they are full.
//!
//! - `archive_command` copies one file at a time: the history of a new timeline first, then segments in order. A command that
//!   fails is repeated after a second, three times in all ([`RETRIES`]), then a minute later ([`WAKE_INTERVAL`]). It has no
//!   time-out of its own: a silent repository holds it for as long as TCP does (131 s for a connection).
//! - `archive_timeout`: every so often the checkpointer switches to a new segment if a row was written since the last switch
//!   (`CheckArchiveTimeout`). A loss of the server takes what was written since the last segment that is archived: the time-out
//!   and the copy, and without a time-out up to 16 MB of WAL, however long these took to write.
//! - A fast stop switches the segment, and the archiver copies what is left before the server ends; it gives up after three
//!   failures.
//! - A promoted server archives from the segment in which its timeline begins. What the former primary had not archived of the
//!   segments before is missing from the archive (`archive_mode = always` would help, which is not modelled).
//!
//! Simplified: `archive_status` is one number, written without a sync; a loss of power makes the archiver copy a file again.

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, HostTime, SimDuration};

use super::server::{Phase, Server, Timer};
use super::wal::{FIRST_SEGMENT, SEGMENT_BYTES};
use super::{ArchiveFile, DataRecord, FileName, Lsn, Packet, Repository, TimelineHistory, WalKind};

/// `NUM_ARCHIVE_RETRIES`.
const RETRIES: u8 = 3;
/// The pause between two of them.
const RETRY_PAUSE: SimDuration = SimDuration::from_secs(1);
/// `PGARCH_AUTOWAKE_INTERVAL`.
const WAKE_INTERVAL: SimDuration = SimDuration::from_secs(60);

/// The state of the archiver.
#[derive(Clone, Debug, Default)]
pub(super) struct Archiving {
    /// The history of a new timeline, not copied yet.
    history: Option<Arc<TimelineHistory>>,
    /// `archive_command` is running.
    command: Option<ConnectionId>,
    /// How often in a row it has failed for this file.
    failures: u8,
    /// The segment that was being written when it was last looked.
    segment: u64,
    /// When that segment was begun, and where.
    begun: (HostTime, Lsn),
}

impl Archiving {
    pub(super) fn is(&self, connection: ConnectionId) -> bool {
        self.command == Some(connection)
    }
}

impl Server {
    /// True if this server archives while it is a primary.
    pub(super) fn archives(&self) -> bool {
        self.spec.parameters.archive.is_some_and(|archive| archive.archive_mode)
    }

    /// The server accepts writes from now on.
    pub(super) fn begin_archiving(&mut self, context: &mut impl Context<Self>) {
        if !self.archives() {
            return;
        }
        self.archiving.segment = self.sending.flushed.segment();
        self.archiving.begun = (context.monotonic(), self.sending.flushed);
        if let Some(timeout) = self.spec.parameters.archive.and_then(|archive| archive.archive_timeout) {
            context.set_timer(Timer::ArchiveTimeout, timeout);
        }
        self.archive(context);
    }

    /// A timeline begins at the end of this server's WAL.
    pub(super) fn archive_new_timeline(
        &mut self,
        context: &mut impl Context<Self>,
        history: &Arc<TimelineHistory>,
    ) {
        if self.archives() {
            self.archiving.history = Some(Arc::clone(history));
            let segment = context.storage().wal.end().segment();
            context.write(DataRecord::ArchiveNext(segment));
        }
    }

    /// WAL was flushed: perhaps a segment is complete.
    pub(super) fn segment_may_be_complete(&mut self, context: &mut impl Context<Self>) {
        let segment = self.sending.flushed.segment();
        if self.archives() && segment > self.archiving.segment {
            self.archiving.segment = segment;
            self.archiving.begun = (context.monotonic(), Lsn(segment * SEGMENT_BYTES));
            if self.archiving.failures == 0 {
                self.archive(context);
            }
        }
    }

    pub(super) fn archive_timeout_is_due(&mut self, context: &mut impl Context<Self>) {
        let Some(timeout) = self.spec.parameters.archive.and_then(|archive| archive.archive_timeout) else {
            return;
        };
        if self.phase != Phase::Primary {
            return;
        }
        let (begun, at) = self.archiving.begun;
        let age = context.monotonic().since(begun);
        if age < timeout {
            context.set_timer(Timer::ArchiveTimeout, timeout - age);
            return;
        }
        self.archiving.begun.0 = context.monotonic();
        context.set_timer(Timer::ArchiveTimeout, timeout);
        if self.commits.has_rows_behind(at, context.storage()) {
            self.log(context, WalKind::Switch);
        }
    }

    /// Runs `archive_command` for the next file, if there is one.
    pub(super) fn archive(&mut self, context: &mut impl Context<Self>) {
        let Some(archive) = self.spec.parameters.archive.filter(|archive| archive.archive_mode) else {
            return;
        };
        if self.archiving.command.is_some() || !matches!(self.phase, Phase::Primary | Phase::Stopping(_)) {
            return;
        }
        let data = context.storage();
        let next = data.archive_next.max(FIRST_SEGMENT);
        let file = if let Some(history) = &self.archiving.history {
            ArchiveFile::History(Arc::clone(history))
        } else if next < self.sending.flushed.segment() {
            ArchiveFile::Segment(data.history.current, next, data.wal.segment(next).into())
        } else {
            return;
        };
        let command = context.connect(archive.repository, ConnectOptions::default());
        context.send(command, Packet::Repository(Repository::Put(file)));
        self.archiving.command = Some(command);
    }

    /// `archive_command` has ended.
    pub(super) fn archived(&mut self, context: &mut impl Context<Self>, success: bool) {
        let Some(command) = self.archiving.command.take() else {
            return;
        };
        context.close(command);
        if success {
            self.archiving.failures = 0;
            if self.archiving.history.take().is_none() {
                let next = context.storage().archive_next.max(FIRST_SEGMENT);
                context.write(DataRecord::ArchiveNext(next + 1));
            }
            self.archive(context);
        } else {
            self.archiving.failures += 1;
            if self.archiving.failures < RETRIES {
                context.set_timer(Timer::Archive, RETRY_PAUSE);
            } else {
                let next = self.next_file(context);
                context.note(|| {
                    format!(
                        "archiving write-ahead log file {next:?} failed too many times, will try again later"
                    )
                });
                self.archiving.failures = 0;
                context.set_timer(Timer::Archive, WAKE_INTERVAL);
                if let Phase::Stopping(stopping) = &mut self.phase {
                    stopping.archiver_gave_up = true;
                }
            }
        }
        self.stopping_may_be_done(context);
    }

    fn next_file(&self, context: &impl Context<Self>) -> FileName {
        let data = context.storage();
        match &self.archiving.history {
            Some(history) => FileName::History(history.current),
            None => FileName::Segment(data.history.current, data.archive_next.max(FIRST_SEGMENT)),
        }
    }

    /// True while a stopping server waits for its archiver.
    pub(super) fn has_to_archive(&self, context: &impl Context<Self>) -> bool {
        self.archives()
            && (self.archiving.history.is_some()
                || context.storage().archive_next.max(FIRST_SEGMENT) < self.sending.flushed.segment())
    }

    /// A primary that stops in order leaves no half segment behind.
    pub(super) fn switch_for_shutdown(&mut self, context: &mut impl Context<Self>) {
        if self.archives() {
            self.log(context, WalKind::Switch);
        }
    }
}
