//! `restore_command`: recovery from the archive, and what a standby asks the archive for (`xlogrecovery.c`, `xlogarchive.c`).
//!
//! `restore_command` is called for one file at a time, and the startup process does nothing else meanwhile. A command that
//! fails says that there is no such file: a repository that cannot be reached ends a recovery as an archive that ends does.
//! (Above exit code 125, or killed by a signal, it would end the server; tools that know the difference use that.)
//!
//! | who | which files, in this order |
//! |---|---|
//! | a recovery or a standby that begins, and a standby that lost its upstream or was given another | histories of newer timelines, until one is missing (`findNewestTimeLine`, `rescanLatestTimeLine`) |
//! | then, but not after a change of `primary_conninfo` | segments from the end of its WAL on, each on the newest timeline first (`XLogFileReadAnyTLI`), until one is missing |
//! | the end of a recovery, and a promotion, after both | the segment of the last record again (`FinishWalRecovery`), histories for a number that is free, the history of the timeline that ends (`writeTimeLineHistory`) |
//!
//! So a promotion calls the command five times at least. With a repository on the dead host of the former primary and
//! without a time-out, each takes the 127 s of an unanswered connection, 131 s since Linux 6.5 (fidelity specification of Patroni, Z22).
//!
//! The newest timeline is the target of a standby that starts, and its WAL has to lead there: if its last checkpoint or its minimum
//! recovery point lies behind the fork, the server ends (`InitWalRecovery`; [`DataDirectory::unreachable`]), as often as it is
//! started (fidelity specification, Z28). One that runs already goes on without the newer timeline.
//!
//! A recovery to a time ends before the first commit that is later. If the archive ends before, so does the server ("recovery
//! ended before configured recovery target was reached").
//!
//! Simplified: histories that a walreceiver fetched from a leader that this server cannot follow are not kept, so that without an
//! archive no start fails for them. A server that starts does not ask for the history of its own timeline; the records of a segment are replayed
//! when all of it was copied; queries on a server in recovery see it at once; pauses (`recovery_target_action = pause`) and
//! `archive_cleanup_command` are left out.

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, SyncId};

use super::server::{Phase, Server, Timer};
use super::{
    ArchiveFile, DataDirectory, DataRecord, FileName, Lsn, Packet, RecoveryTarget, Repository, Timeline,
    TimelineHistory, WalEntry, WalKind,
};

/// What the startup process wants from the archive.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoring {
    step: Step,
    /// `restore_command` is running.
    command: Option<ConnectionId>,
    /// The segment that is wanted.
    segment: u64,
    /// On which timelines it is still to be looked for, the newest last.
    timelines: Vec<Timeline>,
    /// The newest history that leads through this server's WAL, if it is newer than the server's own.
    history: Option<Arc<TimelineHistory>>,
    /// The newest timeline that the archive knows.
    newest: Timeline,
    /// The history of the newest timeline that a server that starts has found.
    target: Option<Arc<TimelineHistory>>,
    /// The flush of a restored segment, and how many bytes of it are to be replayed.
    flush: Option<(SyncId, u64)>,
    /// The recovery target is reached.
    reached: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Nothing,
    /// Newer timelines are looked for.
    Timelines(Then),
    /// Segments are fetched and replayed.
    Segments(Then),
    /// The segment of the last record.
    LastSegment,
    /// A free number for the new timeline.
    FreeNumber,
    /// The history of the timeline that ends.
    EndedHistory,
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// The replay of the server's own WAL.
    Replay,
    /// Streaming, after the segments of the archive.
    Stream,
    /// Streaming, at once.
    StreamAtOnce,
    /// The end of recovery.
    Open,
}

impl Restoring {
    pub(super) fn is(&self, connection: ConnectionId) -> bool {
        self.command == Some(connection)
    }

    fn is_busy(&self) -> bool {
        self.step != Step::Nothing
    }
}

impl Server {
    /// True if this server has a `restore_command`.
    pub(super) fn restores(&self) -> bool {
        self.spec.parameters.archive.is_some_and(|archive| archive.restores)
    }

    /// A standby that starts looks for the newest timeline, before anything else.
    pub(super) fn look_for_target(&mut self, context: &mut impl Context<Self>) {
        self.look_for_timelines(context, Then::Replay);
    }

    /// The newest timeline is known.
    fn target_is_known(&mut self, context: &mut impl Context<Self>) {
        self.restoring.step = Step::Nothing;
        let target = self.restoring.target.take();
        let data: &DataDirectory = context.storage();
        if let Some(reason) = target.and_then(|target| data.unreachable(&target)) {
            context.note(|| format!("FATAL: {reason}"));
            self.exit(context);
        } else {
            self.begin_recovery(context);
        }
    }

    /// A standby that has started goes on with segments.
    pub(super) fn restore_segments(&mut self, context: &mut impl Context<Self>) {
        self.restoring.step = Step::Segments(Then::Stream);
        self.restoring.segment = context.storage().wal.end().segment();
        self.next_segment(context);
    }

    /// A standby looks into the archive before it streams.
    pub(super) fn restore_then_stream(&mut self, context: &mut impl Context<Self>, segments: bool) {
        if !self.restoring.is_busy() {
            let then = if segments { Then::Stream } else { Then::StreamAtOnce };
            self.look_for_timelines(context, then);
        }
    }

    /// A recovery from the archive begins: `recovery.signal` is there.
    pub(super) fn recover_from_archive(&mut self, context: &mut impl Context<Self>, target: RecoveryTarget) {
        context.note(|| format!("starting archive recovery: {target:?}"));
        if !self.restores() {
            context
                .note(|| "FATAL: must specify restore_command when standby mode is not enabled".to_owned());
            self.exit(context);
        } else if target == RecoveryTarget::Immediate {
            self.restoring.newest = context.storage().history.current;
            self.archive_is_read(context);
        } else {
            self.look_for_timelines(context, Then::Open);
        }
    }

    /// A promotion reads what there is in the archive before it ends recovery. A command that is running is not
    /// interrupted.
    pub(super) fn restore_then_open(&mut self, context: &mut impl Context<Self>) {
        match &mut self.restoring.step {
            Step::Timelines(then) | Step::Segments(then) => *then = Then::Open,
            _ => self.look_for_timelines(context, Then::Open),
        }
    }

    fn look_for_timelines(&mut self, context: &mut impl Context<Self>, then: Then) {
        let known = self.restoring.history.as_ref().map_or(Timeline::default(), |history| history.current);
        self.restoring.newest = context.storage().history.current.max(known);
        self.restoring.step = Step::Timelines(then);
        self.restore(context, FileName::History(Timeline(self.restoring.newest.0 + 1)));
    }

    /// Calls `restore_command`.
    fn restore(&mut self, context: &mut impl Context<Self>, file: FileName) {
        let Some(archive) = self.spec.parameters.archive else {
            return;
        };
        context.note(|| format!("executing restore command for {file:?}"));
        let command = context.connect(archive.repository, ConnectOptions::default());
        context.send(command, Packet::Repository(Repository::Get(file)));
        self.restoring.command = Some(command);
        if let Some(timeout) = archive.restore_timeout {
            context.set_timer(Timer::RestoreCommand, timeout);
        }
    }

    /// `restore_command` ended, with a file or without.
    pub(super) fn restored(&mut self, context: &mut impl Context<Self>, file: Option<ArchiveFile>) {
        let Some(command) = self.restoring.command.take() else {
            return;
        };
        context.close(command);
        context.cancel_timer(&Timer::RestoreCommand);
        let starts = self.restoring.step == Step::Timelines(Then::Replay);
        if !starts && !matches!(self.phase, Phase::Standby | Phase::Promoting) {
            return;
        }
        match (self.restoring.step, file) {
            (Step::Timelines(then), Some(ArchiveFile::History(history))) => {
                self.adopt(context, &history);
                if then == Then::Replay {
                    self.restoring.target = Some(Arc::clone(&history));
                }
                self.restore(context, FileName::History(Timeline(history.current.0 + 1)));
            }
            (Step::Timelines(Then::Replay), _) => self.target_is_known(context),
            (Step::Timelines(Then::StreamAtOnce), _) => self.archive_is_searched(context, Then::Stream),
            (Step::Timelines(then), _) => {
                self.restoring.step = Step::Segments(then);
                self.restoring.segment = context.storage().wal.end().segment();
                self.next_segment(context);
            }
            (Step::Segments(_), Some(ArchiveFile::Segment(_, _, entries))) => {
                self.replay_segment(context, &entries);
            }
            (Step::Segments(then), _) => self.try_older_timeline(context, then),
            (Step::LastSegment, _) => {
                self.restoring.step = Step::FreeNumber;
                self.restore(context, FileName::History(Timeline(self.restoring.newest.0 + 1)));
            }
            (Step::FreeNumber, Some(_)) => {
                self.restoring.newest.0 += 1;
                self.restore(context, FileName::History(Timeline(self.restoring.newest.0 + 1)));
            }
            (Step::FreeNumber, None) => {
                self.restoring.step = Step::EndedHistory;
                self.restore(context, FileName::History(context.storage().history.current));
            }
            (Step::EndedHistory, _) => {
                self.restoring.step = Step::Nothing;
                self.set_promotion_timer(context);
            }
            (Step::Nothing, _) => {}
        }
    }

    /// Takes a newer timeline for the one to follow, if it leads through this server's WAL.
    fn adopt(&mut self, context: &impl Context<Self>, history: &Arc<TimelineHistory>) {
        self.restoring.newest = self.restoring.newest.max(history.current);
        let data = context.storage();
        let leaves = history.switch_point(data.history.current);
        if leaves.is_some_and(|at| at >= data.wal.end()) {
            self.restoring.history = Some(Arc::clone(history));
        }
    }

    fn followed<'a>(&'a self, context: &'a impl Context<Self>) -> &'a TimelineHistory {
        self.restoring.history.as_deref().unwrap_or(&context.storage().history)
    }

    fn next_segment(&mut self, context: &mut impl Context<Self>) {
        let Step::Segments(then) = self.restoring.step else {
            return;
        };
        let (own, segment) = (context.storage().history.current, self.restoring.segment);
        let mut begins = Lsn(0);
        let mut timelines = Vec::new();
        for (timeline, ends) in self.followed(context).spans(Lsn(u64::MAX)) {
            if timeline >= own && begins.segment() <= segment {
                timelines.push(timeline);
            }
            begins = ends;
        }
        self.restoring.timelines = timelines;
        self.try_older_timeline(context, then);
    }

    fn try_older_timeline(&mut self, context: &mut impl Context<Self>, then: Then) {
        match self.restoring.timelines.pop() {
            Some(timeline) => self.restore(context, FileName::Segment(timeline, self.restoring.segment)),
            None => self.archive_is_searched(context, then),
        }
    }

    /// The archive has no more.
    fn archive_is_searched(&mut self, context: &mut impl Context<Self>, then: Then) {
        if then == Then::Open {
            let target = context.storage().settings.recovery;
            if matches!(target, Some(RecoveryTarget::Time(_))) && !self.restoring.reached {
                context.note(|| {
                    "FATAL: recovery ended before configured recovery target was reached".to_owned()
                });
                self.exit(context);
                return;
            }
            self.archive_is_read(context);
        } else {
            self.restoring.step = Step::Nothing;
            self.stream(context);
        }
    }

    /// Everything is read: recovery ends.
    fn archive_is_read(&mut self, context: &mut impl Context<Self>) {
        self.phase = Phase::Promoting;
        self.restoring.step = Step::LastSegment;
        let data = context.storage();
        let last = Lsn(data.wal.end().0.saturating_sub(1)).segment();
        self.restore(context, FileName::Segment(data.history.current, last));
    }

    /// Writes the records of a segment that this server lacks, up to the recovery target.
    fn replay_segment(&mut self, context: &mut impl Context<Self>, entries: &[WalEntry]) {
        let data = context.storage();
        let (end, own) = (data.wal.end(), data.history.current);
        let history = self.followed(context);
        let belongs = |entry: &&WalEntry| {
            entry.end > end
                && history.contains(entry.timeline)
                && history.switch_point(entry.timeline).is_none_or(|at| entry.end <= at)
        };
        let mut new: Vec<WalEntry> = entries.iter().filter(belongs).copied().collect();
        if let Some(RecoveryTarget::Time(target)) = data.settings.recovery {
            let commits =
                |entry: &WalEntry| matches!(entry.kind, WalKind::Commit { .. } | WalKind::DropTable);
            if let Some(later) = new.iter().position(|entry| commits(entry) && entry.at > target) {
                new.truncate(later);
                self.restoring.reached = true;
            }
        }
        let replays =
            new.iter().rfind(|entry| entry.kind != WalKind::Switch).map_or(0, |last| last.end.0 - end.0);
        if let Some(last) = new.last() {
            if last.timeline > own {
                let history = Arc::new(self.followed(context).until(last.end));
                context.write(DataRecord::History(history));
            }
            context.write(DataRecord::Append(new.into()));
        }
        self.restoring.flush = Some((context.sync(), replays));
    }

    /// True if the sync was that of a restored segment.
    pub(super) fn on_restored_flushed(&mut self, context: &mut impl Context<Self>, sync: SyncId) -> bool {
        let Some((_, bytes)) = self.restoring.flush.take_if(|(awaited, _)| *awaited == sync) else {
            return false;
        };
        context.set_timer(Timer::Restored, self.spec.durations.redo(bytes));
        true
    }

    /// A restored segment is replayed.
    pub(super) fn replayed_segment(&mut self, context: &mut impl Context<Self>) {
        if !matches!(self.phase, Phase::Standby | Phase::Promoting) {
            return;
        }
        let data = context.storage();
        self.visible = data.rows().count() as u64;
        self.sending.flushed = data.wal.end();
        self.sending.flushed_count = data.wal.entries.len();
        self.receiving.replayed = self.sending.flushed;
        self.receiving.replayed_count = self.sending.flushed_count;
        if self.restoring.reached {
            context.note(|| "recovery stopping before commit: the recovery target is reached".to_owned());
            self.archive_is_read(context);
        } else {
            self.restoring.segment += 1;
            self.next_segment(context);
        }
    }

    /// The newest timeline that the archive knows, for the number of the next.
    pub(super) fn newest_timeline(&self) -> Timeline {
        self.restoring.newest
    }
}
