//! Writing the data set to the disk: the append-only file and RDB files, and what a failing disk does to a server.
//!
//! - `appendfsync always`: the reply to a write, and its bytes for the replicas, leave when the sync has completed. A
//!   failed write or sync is fatal.
//! - `everysec`: another thread syncs once a second. While the disk stalls, the sync of the last second is still under way,
//!   and the next begins when it ends (`flushAppendOnlyFile` would block the server after two seconds; here writes go
//!   on, which loses up to the length of the stall instead of blocking).
//! - An RDB file is written by a child when a `save` point is reached, which is looked at once a second. If it fails,
//!   `stop-writes-on-bgsave-error` refuses writes and lets PING fail, which Sentinel takes for no answer at all, until a
//!   later save succeeds (tried again after five seconds).

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{ConnectionId, Context, DiskError, HostTime, SimDuration, StorageFailure, SyncId};

use super::log::{Change, Snapshot};
use super::packet::{Packet, Reply};
use super::parameters::{AppendFsync, Machine, Parameters, ServerSpec};
use super::persistence::{DataDirectory, DataRecord};
use super::replica::Upstream;
use super::server::{Server, ServerTimer};
use crate::planted::Planted;

/// `CONFIG_BGSAVE_RETRY_DELAY`.
const RETRY: SimDuration = SimDuration::from_secs(5);

/// What a server knows about its files.
#[derive(Clone, Debug, Default)]
pub(super) struct Saving {
    /// Writes whose reply waits for a sync of the append-only file.
    unsynced: VecDeque<Unsynced>,
    /// Changes since the last save.
    dirty: u64,
    saved_at: HostTime,
    /// A save failed then, and none has succeeded since.
    failed_at: Option<HostTime>,
    /// The RDB file under way.
    child: Option<Arc<Snapshot>>,
    /// The sync of the RDB file that was written.
    rdb_sync: Option<(SyncId, u64)>,
    /// The append-only file could not be written.
    append_failed: bool,
    /// The sync of the last second.
    second_sync: Option<SyncId>,
    appended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Unsynced {
    sync: SyncId,
    connection: ConnectionId,
    id: u32,
    reply: Answer,
}

/// What a write is answered with.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The offset behind it.
    Offset(u64),
    /// The number that a counter has reached.
    Number(u64),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Offset(offset) => Self::Written { offset },
            Answer::Number(number) => Self::Count(number),
        }
    }
}

impl Saving {
    /// How long a start takes to read the files.
    pub(super) fn loading_time(spec: &ServerSpec, data: &DataDirectory) -> SimDuration {
        let machine = &spec.machine;
        let (values, rate) = if spec.parameters.appendonly {
            (data.append_only.len(), machine.append_load_rate)
        } else {
            (data.rdb.as_ref().map_or(0, |snapshot| snapshot.values.len()), machine.load_rate)
        };
        let base = if values > 0 { machine.dataset } else { 0 };
        Machine::time(base + values as u64 * Change::Write(0).bytes(), rate)
    }

    pub(super) fn loaded(&mut self, now: HostTime) {
        self.saved_at = now;
    }

    /// True while writes are refused because the disk failed (`writeCommandsDeniedByDiskError`).
    pub(super) fn refuses_writes(&self, parameters: &Parameters) -> bool {
        self.append_failed || (parameters.stop_writes_on_bgsave_error && self.failed_at.is_some())
    }
}

impl Server {
    /// Bytes of the data set.
    pub(super) fn data_bytes(&self) -> u64 {
        self.spec.machine.dataset + self.log.len() * Change::Write(0).bytes()
    }

    /// Executes a write of a client that is not refused, and answers it when the rules allow.
    /// A counter says which `number` it has reached.
    pub(super) fn commit(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u32,
        change: Change,
        number: Option<u64>,
    ) {
        self.cork();
        self.change(context, change);
        self.answer(context, connection, id, number);
    }

    /// A write begins: with `appendfsync always`, replicas get nothing before the sync.
    pub(super) fn cork(&mut self) {
        let parameters = &self.spec.parameters;
        self.downstream.corked = parameters.appendonly
            && parameters.appendfsync == AppendFsync::Always
            && self.spec.planted != Planted::AnswerBeforeAppendSync;
    }

    /// The write is executed: answers it, now or after the sync.
    pub(super) fn answer(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u32,
        number: Option<u64>,
    ) {
        let reply = number.map_or(Answer::Offset(self.history.offset), Answer::Number);
        if self.downstream.corked {
            let sync = context.sync();
            self.saving.unsynced.push_back(Unsynced { sync, connection, id, reply });
        } else {
            context.send(connection, Packet::Reply { id, reply: reply.into() });
        }
    }

    /// Executes a change of the data set, hands it to the replicas, and adds it to the append-only file.
    #[inline]
    pub(super) fn change(&mut self, context: &mut impl Context<Self>, change: Change) {
        self.apply(context, change);
        self.append(context, change);
    }

    /// Adds a change of the data set to the append-only file, and counts it for the save points.
    #[inline]
    pub(super) fn append(&mut self, context: &mut impl Context<Self>, change: Change) {
        let record = match change {
            Change::Write(value) => DataRecord::Append(value),
            Change::Key(key, change) => DataRecord::AppendKey(key, change),
            Change::Remove(list) => DataRecord::AppendRemove(list),
            Change::Ping | Change::GetAck | Change::SetSlot(..) | Change::Rest(_) => return,
        };
        self.saving.dirty += 1;
        if self.spec.parameters.appendonly {
            self.saving.appended = true;
            context.write(record);
        }
    }

    /// Adds one command that adds several values to the append-only file.
    pub(super) fn append_all(&mut self, context: &mut impl Context<Self>, values: &Arc<[u64]>) {
        self.saving.dirty += values.len() as u64;
        if self.spec.parameters.appendonly {
            self.saving.appended = true;
            context.write(DataRecord::AppendAll(Arc::clone(values)));
        }
    }

    /// After a full resynchronisation, a new append-only file begins with the snapshot.
    pub(super) fn rewrite_append_only(&mut self, context: &mut impl Context<Self>, snapshot: Arc<Snapshot>) {
        if self.spec.parameters.appendonly {
            context.write(DataRecord::Rewrite(snapshot));
            self.saving.appended = true;
        }
    }

    /// The part of the server's cron that is about files.
    pub(super) fn look_after_files(&mut self, context: &mut impl Context<Self>) {
        let parameters = Arc::clone(&self.spec.parameters);
        if parameters.appendonly
            && parameters.appendfsync == AppendFsync::EverySecond
            && self.saving.appended
            && self.saving.second_sync.is_none()
        {
            self.saving.appended = false;
            self.saving.second_sync = Some(context.sync());
        }
        let now = context.monotonic();
        let saving = &mut self.saving;
        let retries = saving.failed_at.is_none_or(|at| now.since(at) > RETRY);
        let passed = now.since(saving.saved_at);
        let is_due =
            parameters.save.iter().any(|point| saving.dirty >= point.changes && passed > point.after);
        if saving.child.is_none() && saving.rdb_sync.is_none() && retries && is_due {
            saving.child = Some(self.log.snapshot(self.history.id, self.history.offset));
            saving.rdb_sync = None;
            let (bytes, forks) = (self.data_bytes(), self.fork(context));
            context.set_timer(ServerTimer::Saved, forks + Machine::time(bytes, self.spec.machine.dump_rate));
        }
    }

    pub(super) fn on_saved(&mut self, context: &mut impl Context<Self>) {
        if let Some(snapshot) = self.saving.child.take() {
            let saved = snapshot.values.len() as u64;
            context.write(DataRecord::Rdb(snapshot));
            self.saving.rdb_sync = Some((context.sync(), saved));
        }
    }

    pub(super) fn on_append_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if self.saving.second_sync == Some(sync) {
            self.saving.second_sync = None;
            self.saving.append_failed = false;
        }
        if let Some((_, saved)) = self.saving.rdb_sync.filter(|(awaited, _)| *awaited == sync) {
            self.saving.rdb_sync = None;
            self.saving.failed_at = None;
            self.saving.saved_at = context.monotonic();
            self.saving.dirty = self.log.len().saturating_sub(saved);
            self.look_at_writability(context);
        }
        let mut released = false;
        while let Some(unsynced) = self.saving.unsynced.front().copied().filter(|first| first.sync <= sync) {
            if !released {
                self.downstream.corked = false;
                self.catch_up(context);
                released = true;
            }
            self.saving.unsynced.pop_front();
            let Unsynced { connection, id, reply, .. } = unsynced;
            context.send(connection, Packet::Reply { id, reply: reply.into() });
        }
    }

    pub(super) fn on_disk_failure(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        // A replica that loads writes nothing else.
        if matches!(failure, StorageFailure::Write(_))
            && self.upstream.as_ref().is_some_and(Upstream::is_loading)
        {
            context.note(|| format!("writing what the primary sends failed: {failure}"));
            return self.give_up_snapshot(context);
        }
        let parameters = &self.spec.parameters;
        if parameters.appendonly && parameters.appendfsync == AppendFsync::Always {
            context.note(|| format!("Can't write or sync the append only file ({failure}); ends"));
            let me = context.me();
            context.kill(me);
            return;
        }
        let rdb_failed = match failure {
            StorageFailure::Sync(sync, _) => self.saving.rdb_sync.is_some_and(|(awaited, _)| awaited == sync),
            StorageFailure::Write(DiskError::NoSpace | DiskError::InputOutput) => {
                self.saving.rdb_sync.is_some()
            }
        };
        if rdb_failed {
            context.note(|| format!("Background saving error: {failure}"));
            self.saving.rdb_sync = None;
            self.saving.failed_at = Some(context.monotonic());
        } else if parameters.appendonly {
            context.note(|| format!("Error writing to the AOF file: {failure}"));
            self.saving.append_failed = true;
            self.saving.second_sync = None;
        }
        self.look_at_writability(context);
    }
}
