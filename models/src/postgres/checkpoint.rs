//! Checkpoints, and restartpoints on standbys: they move the point at which the next recovery starts.

use sim_core::{ConnectionId, Context, SyncId};

use super::server::{Phase, Server, Timer};
use super::{ControlFile, DataDirectory, DataRecord, Lsn, Packet, Timeline, WalKind};

/// The state of the checkpointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpointing {
    /// The record whose flush is awaited.
    record: Option<Lsn>,
    /// The write of `pg_control` under way.
    control: Option<SyncId>,
    /// Who is told when it is complete.
    requesters: Vec<ConnectionId>,
}

impl Checkpointing {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.requesters.retain(|requester| *requester != connection);
    }

    /// Who still waits for a checkpoint that a crash cut off.
    pub(super) fn after_crash(&mut self) -> Self {
        Self { requesters: std::mem::take(&mut self.requesters), ..Self::default() }
    }

    pub(super) fn tell_requesters(&mut self, context: &mut impl Context<Server>) {
        for requester in std::mem::take(&mut self.requesters) {
            context.send(requester, Packet::CheckpointDone);
        }
    }
}

impl Server {
    pub(super) fn checkpoint_is_due(&mut self, context: &mut impl Context<Self>) {
        context.set_timer(Timer::Checkpoint, self.spec.parameters.checkpoint_timeout);
        let idle = match self.phase {
            Phase::Primary => self.commits.inserted == context.storage().control.checkpoint,
            _ => false,
        };
        if !idle {
            self.request_checkpoint(context, None);
        }
    }

    /// Starts a checkpoint, or joins the one under way.
    pub(super) fn request_checkpoint(
        &mut self,
        context: &mut impl Context<Self>,
        requester: Option<ConnectionId>,
    ) {
        if !matches!(self.phase, Phase::Primary | Phase::Standby | Phase::Promoting) {
            return;
        }
        self.checkpoint.requesters.extend(requester);
        if self.checkpoint.record.is_some() || self.checkpoint.control.is_some() {
            return;
        }
        match self.phase {
            Phase::Primary => {
                let end = self.log(context, WalKind::Checkpoint { shutdown: false });
                self.checkpoint.record = Some(end);
            }
            Phase::Standby | Phase::Promoting => {
                self.restartpoint(context);
                self.checkpoint.control = Some(context.sync());
            }
            _ => {}
        }
    }

    /// Moves the start of the next recovery to the last checkpoint of the primary that was replayed. What it writes of data
    /// pages moves the minimum recovery point with it.
    pub(super) fn restartpoint(&mut self, context: &mut impl Context<Self>) {
        let data = context.storage();
        let replayed = &data.wal.entries[..self.receiving.replayed_count];
        let checkpoint = replayed
            .iter()
            .rev()
            .take_while(|entry| entry.end > data.control.checkpoint)
            .find(|entry| matches!(entry.kind, WalKind::Checkpoint { .. }));
        if let Some(checkpoint) = checkpoint {
            let control = ControlFile {
                checkpoint: checkpoint.end,
                timeline: checkpoint.timeline,
                minimum: Some(self.replayed_until(data)),
                ..data.control
            };
            context.write(DataRecord::Control(control));
        }
    }

    /// How far a server in recovery has replayed, and on which timeline.
    pub(super) fn replayed_until(&self, data: &DataDirectory) -> (Lsn, Timeline) {
        let last = self.receiving.replayed_count.checked_sub(1).map(|last| data.wal.entries[last]);
        last.map_or((Lsn(0), Timeline::default()), |last| (last.end, last.timeline))
    }

    /// WAL was flushed: if that completes a checkpoint record, `pg_control` follows.
    pub(super) fn checkpoint_record_may_be_flushed(&mut self, context: &mut impl Context<Self>) {
        if let Phase::Stopping(_) = self.phase {
            self.shutdown_record_may_be_flushed(context);
            return;
        }
        let flushed = self.sending.flushed;
        if let Some(end) = self.checkpoint.record.take_if(|end| *end <= flushed) {
            let data = context.storage();
            let timeline = data.history.current;
            let control = ControlFile { checkpoint: end, timeline, minimum: None, ..data.control };
            context.write(DataRecord::Control(control));
            self.checkpoint.control = Some(context.sync());
        }
    }

    pub(super) fn on_control_file_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if self.checkpoint.control.take_if(|awaited| *awaited == sync).is_some() {
            self.recycle_wal(context);
            self.checkpoint.tell_requesters(context);
        }
        self.shutdown_may_be_synced(context, sync);
    }
}
