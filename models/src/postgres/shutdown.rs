//! How a server stops.
//!
//! Fast (SIGINT): sessions are terminated at once, those that wait for a standby without an answer. A primary writes a
//! shutdown checkpoint, the last record of its WAL, and waits until each connected standby has flushed it; a silent one
//! is dropped after `wal_sender_timeout`. So an orderly stop leaves no standby behind. Immediate (SIGQUIT): everything
//! ends at once, and the next start is a crash recovery.

use sim_core::{Context, MarkKind, SyncId};

use super::login::Logins;
use super::server::{Phase, Server};
use super::{ClusterState, ControlFile, DataRecord, Lsn, WalKind};

/// A fast stop under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stopping {
    pub(super) was_primary: bool,
    /// Standbys must have flushed this.
    target: Lsn,
    /// The last write of `pg_control`: under way, then complete.
    control: ControlWrite,
    /// `archive_command` failed too often.
    pub(super) archiver_gave_up: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ControlWrite {
    /// Not before the shutdown checkpoint is flushed.
    Waits,
    UnderWay(SyncId),
    Done,
}

impl Server {
    pub(super) fn stop_fast(&mut self, context: &mut impl Context<Self>) {
        let was_primary = match self.phase {
            // Start-up, or the last instant of recovery: nothing is to be drained, and the next start recovers again.
            Phase::Starting { .. } | Phase::Opening { .. } => {
                self.exit(context);
                return;
            }
            Phase::Stopping(_) | Phase::Exited => return,
            Phase::Primary => true,
            Phase::Standby | Phase::Promoting => false,
        };
        context.note(|| "received fast shutdown request".to_owned());
        for session in std::mem::take(&mut self.sessions) {
            context.close(session);
        }
        self.logins = Logins::default();
        self.slowness.abandon_clients();
        self.commits.abandon();
        let mut stopping = Stopping {
            was_primary,
            target: self.sending.flushed,
            control: ControlWrite::Waits,
            archiver_gave_up: false,
        };
        if was_primary {
            let timeline = context.storage().history.current;
            context.mark(MarkKind::ReadOnly, u64::from(timeline.0));
            self.phase = Phase::Stopping(stopping);
            self.switch_for_shutdown(context);
            stopping.target = self.log(context, WalKind::Checkpoint { shutdown: true });
            self.phase = Phase::Stopping(stopping);
            return;
        }
        self.stop_receiver(context);
        self.restartpoint(context);
        let minimum = Some(self.replayed_until(context.storage()));
        let control =
            ControlFile { state: ClusterState::ShutDownInRecovery, minimum, ..context.storage().control };
        context.write(DataRecord::Control(control));
        stopping.control = ControlWrite::UnderWay(context.sync());
        self.phase = Phase::Stopping(stopping);
    }

    /// The shutdown checkpoint of a primary is flushed: `pg_control` says that it stopped in order.
    pub(super) fn shutdown_record_may_be_flushed(&mut self, context: &mut impl Context<Self>) {
        let Phase::Stopping(stopping) = &mut self.phase else {
            return;
        };
        if stopping.control != ControlWrite::Waits || self.sending.flushed < stopping.target {
            return;
        }
        let control = ControlFile {
            state: ClusterState::ShutDown,
            checkpoint: stopping.target,
            timeline: context.storage().history.current,
            minimum: None,
        };
        context.write(DataRecord::Control(control));
        stopping.control = ControlWrite::UnderWay(context.sync());
    }

    pub(super) fn shutdown_may_be_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if let Phase::Stopping(stopping) = &mut self.phase
            && stopping.control == ControlWrite::UnderWay(sync)
        {
            stopping.control = ControlWrite::Done;
            self.stopping_may_be_done(context);
        }
    }

    /// Walsenders whose standby has flushed everything end; with the last of them the server ends.
    pub(super) fn stopping_may_be_done(&mut self, context: &mut impl Context<Self>) {
        let Phase::Stopping(stopping) = self.phase else {
            return;
        };
        if stopping.control != ControlWrite::Done {
            return;
        }
        self.sending.senders.retain(|sender| {
            let reported = sender.standby.positions;
            let done = reported.is_some_and(|positions| positions.flushed >= stopping.target);
            if done {
                context.close(sender.connection);
            }
            !done
        });
        let archives = self.has_to_archive(context) && !stopping.archiver_gave_up;
        if self.sending.senders.is_empty() && !archives {
            self.exit(context);
        }
    }

    /// The postmaster ends.
    pub(super) fn exit(&mut self, context: &mut impl Context<Self>) {
        self.phase = Phase::Exited;
        let me = context.me();
        context.kill(me);
    }
}
