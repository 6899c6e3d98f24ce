//! From the start of the postmaster to a running server, and from a standby to a primary (`StartupXLOG`).

use std::sync::Arc;

use sim_core::{Context, SimDuration, SyncId};

use super::parameters::Spec;
use super::server::{Phase, Server, Timer};
use super::{ClusterState, ControlFile, DataDirectory, DataRecord, Lsn, Settings, WalEntry, WalKind};
use crate::planted::Planted;

impl Server {
    /// The postmaster starts: the state of the data directory decides what comes.
    pub(super) fn start(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let mut server = Self {
            spec: spec.clone(),
            phase: Phase::Starting { sync: None, replayed: false },
            promotion_wanted: false,
            sessions: Vec::new(),
            logins: super::login::Logins::default(),
            commits: super::commit::CommitPath::default(),
            sending: super::walsender::WalSending::default(),
            receiving: super::walreceiver::WalReceiving::default(),
            checkpoint: super::checkpoint::Checkpointing::default(),
            archiving: super::archive::Archiving::default(),
            restoring: super::restore::Restoring::default(),
            slowness: super::slowness::Slowness::default(),
            visible: 0,
            seen: super::visibility::SeenLog::default(),
            dropped: false,
        };
        if !context.storage().initialized {
            context.note(|| "cannot start: the data directory is empty".to_owned());
            server.exit(context);
            return server;
        }
        if !context.storage().can_recover() {
            context.note(|| "PANIC: could not locate a valid checkpoint record".to_owned());
            server.exit(context);
            return server;
        }
        if context.storage().settings.standby && server.restores() {
            server.look_for_target(context);
        } else {
            server.begin_recovery(context);
        }
        server
    }

    /// Replays its own WAL. Who is to stay in recovery and knows how far it is to go (or stopped in order) recovers as from
    /// an archive at once, others after they have recovered from their crash (`InitWalRecovery`).
    pub(super) fn begin_recovery(&mut self, context: &mut impl Context<Self>) {
        Self::end_log_where_it_is_readable(context);
        let data = context.storage();
        let control = data.control;
        let backlog = data.wal.end().0.saturating_sub(control.checkpoint.0);
        let crashed = matches!(control.state, ClusterState::InProduction | ClusterState::InCrashRecovery);
        let stays = data.settings.standby || data.settings.recovery.is_some();
        let (state, minimum) = if stays && (control.minimum.is_some() || !crashed) {
            let redo = (data.checkpoint_start(), control.timeline);
            (ClusterState::InArchiveRecovery, control.minimum.max(Some(redo)))
        } else if crashed {
            (ClusterState::InCrashRecovery, control.minimum)
        } else {
            (control.state, control.minimum)
        };
        context.note(|| format!("starts as {state:?} with {backlog} bytes to replay"));
        if (state, minimum) != (control.state, control.minimum) {
            context.write(DataRecord::Control(ControlFile { state, minimum, ..control }));
        }
        self.receiving.replayed = control.checkpoint;
        self.phase = Phase::Starting { sync: Some(context.sync()), replayed: false };
        let durations = &self.spec.durations;
        let mut start = durations.postmaster_start.draw(context.random()) + durations.redo(backlog);
        if !matches!(control.state, ClusterState::ShutDown | ClusterState::ShutDownInRecovery) {
            // The kernel may hold pages that an earlier life did not sync: every file is synced first (`SyncDataDirectory`).
            start += durations.data_directory_sync.draw(context.random());
        }
        context.set_timer(Timer::Started, start);
    }

    /// A record with a wrong checksum is taken for the end of the log (`ReadRecord`). A standby fetches what follows from its
    /// upstream; a primary goes on without it.
    fn end_log_where_it_is_readable(context: &mut impl Context<Self>) {
        let records = context.storage().recovery_records();
        if let Some(DataRecord::RewindTo(end)) = records.first() {
            let (end, lost) = (*end, context.storage().wal.end().0 - end.0);
            context.note(|| {
                format!("incorrect resource manager data checksum in record at {end}: {lost} bytes follow")
            });
        }
        for record in records {
            context.write(record);
        }
    }

    pub(super) fn replayed_own_wal(&mut self, context: &mut impl Context<Self>) {
        if let Phase::Starting { sync, replayed } = &mut self.phase {
            *replayed = true;
            if sync.is_none() {
                self.recovered(context);
            }
        }
    }

    pub(super) fn synced_data_directory(&mut self, context: &mut impl Context<Self>, done: SyncId) {
        if let Phase::Starting { sync, replayed } = &mut self.phase
            && sync.take_if(|awaited| *awaited == done).is_some()
            && *replayed
        {
            self.recovered(context);
        }
    }

    /// The server's own WAL is replayed, and durable.
    fn recovered(&mut self, context: &mut impl Context<Self>) {
        // A recovery ends with a checkpoint: who asked for one before the crash has it.
        self.checkpoint.tell_requesters(context);
        let data = context.storage();
        self.visible = data.rows().count() as u64;
        self.sending.flushed = data.wal.end();
        self.sending.flushed_count = data.wal.entries.len();
        self.receiving.replayed = self.sending.flushed;
        self.receiving.replayed_count = self.sending.flushed_count;
        let recovery = data.settings.recovery;
        self.load_slots(context);
        let data = context.storage();
        if data.settings.standby || recovery.is_some() {
            if data.control.state == ClusterState::InCrashRecovery {
                let minimum = Some(self.replayed_until(data));
                let control = ControlFile { state: ClusterState::InArchiveRecovery, minimum, ..data.control };
                context.write(DataRecord::Control(control));
            }
            context.note(|| "consistent recovery state reached: accepts read-only connections".to_owned());
            self.phase = Phase::Standby;
            self.apply_synchronous_standbys(context);
            context.set_timer(Timer::Checkpoint, self.spec.parameters.checkpoint_timeout);
            if self.promotion_wanted {
                self.promote(context);
            } else if let Some(target) = recovery {
                self.recover_from_archive(context, target);
            } else if self.restores() {
                self.restore_segments(context);
            } else {
                self.start_receiver(context);
            }
            return;
        }
        let mut control = data.control;
        if control.state != ClusterState::ShutDown {
            // After a crash, a checkpoint ends recovery.
            control.timeline = data.history.current;
            control.minimum = None;
            control.checkpoint = Self::append_directly(context, WalKind::Checkpoint { shutdown: false });
        }
        control.state = ClusterState::InProduction;
        context.write(DataRecord::Control(control));
        let sync = context.sync();
        self.phase = Phase::Opening { sync, promoted: false };
    }

    /// `pg_ctl promote`: the walreceiver stops, everything received is replayed, then the new timeline begins.
    pub(super) fn promote(&mut self, context: &mut impl Context<Self>) {
        match self.phase {
            Phase::Starting { .. } if context.storage().settings.standby => self.promotion_wanted = true,
            Phase::Standby => {
                context.note(|| "received promote request".to_owned());
                let pause = self.pause_without_receiver(context.monotonic());
                self.stop_receiver(context);
                self.phase = Phase::Promoting;
                if pause > SimDuration::ZERO {
                    context.set_timer(Timer::WalRetrieveRetry, pause);
                } else {
                    self.read_the_rest(context);
                }
            }
            _ => context.note(|| "is not a standby: ignores the promote request".to_owned()),
        }
    }

    /// A promotion reads what there still is in the archive, and replays it.
    pub(super) fn read_the_rest(&mut self, context: &mut impl Context<Self>) {
        if self.restores() {
            self.restore_then_open(context);
        } else {
            self.set_promotion_timer(context);
        }
    }

    /// Nothing is left to be read: replays the rest and begins a new timeline.
    pub(super) fn set_promotion_timer(&mut self, context: &mut impl Context<Self>) {
        let durations = &self.spec.durations;
        let mut promotion = durations.promotion.draw(context.random());
        if context.random().below(4) == 0 {
            // The log ends in the last quarter of its segment: before it accepts writes, the server makes the next one, which the
            // new timeline cannot have yet (`PreallocXlogFiles`). Where in its segment a log of years ends is anybody's guess.
            promotion += durations.segment_fill.draw(context.random());
        }
        context.set_timer(Timer::Promoted, promotion + self.remaining_redo(context));
    }

    /// The end of recovery: the new timeline's history, `standby.signal` removed, the end-of-recovery record and
    /// `pg_control`, in this order and durable before the first write. A server that is killed in between starts as a
    /// primary of the new timeline if its history file was written, and as a standby of the old one if it was not.
    pub(super) fn end_recovery(&mut self, context: &mut impl Context<Self>) {
        if self.phase != Phase::Promoting {
            return;
        }
        if self.spec.lacks(Planted::EndRecoveryEarly) {
            let end = Lsn(context.storage().wal.end().0.saturating_sub(1));
            context.write(DataRecord::RewindTo(end));
        }
        let data: &DataDirectory = context.storage();
        self.visible = data.rows().count() as u64;
        let history = if self.spec.lacks(Planted::SameTimeline) {
            Arc::new(data.history.clone())
        } else {
            Arc::new(data.history.branch_behind(self.newest_timeline(), data.wal.end()))
        };
        let settings = Settings { standby: false, upstream: None, recovery: None, ..data.settings.clone() };
        // `pg_control` keeps the last checkpoint, which is on the old timeline: the reason why Patroni waits for a
        // checkpoint before it lets others rewind to this server. A crash before that has to recover onto the new timeline.
        let timeline = history.current;
        let control = ControlFile { state: ClusterState::InProduction, ..data.control };
        self.archive_new_timeline(context, &history);
        context.write(DataRecord::History(history));
        context.write(DataRecord::Settings(Arc::new(settings)));
        let end = Self::append_directly(context, WalKind::EndOfRecovery);
        context.write(DataRecord::Control(ControlFile { minimum: Some((end, timeline)), ..control }));
        let sync = context.sync();
        self.phase = Phase::Opening { sync, promoted: true };
        self.receiving.replayed = end;
        self.announce_history(context);
    }

    /// Writes a record of the startup process, which does not go through the buffers.
    fn append_directly(context: &mut impl Context<Self>, kind: WalKind) -> Lsn {
        let data = context.storage();
        let end = kind.end_after(data.wal.end(), 0);
        let (timeline, at) = (data.history.current, context.wall());
        context.write(DataRecord::AppendOne(WalEntry { end, timeline, kind, at }));
        end
    }
}
