//! The commit path of a primary: WAL buffers, group commit, and the wait for standbys.
//!
//! ```text
//!   insert ──► WAL buffers ──► flush (one at a time; what comes meanwhile joins the next) ──► answer, or
//!                                                                                             wait for standbys ──► answer
//! ```
//!
//! The buffers are in shared memory: a killed postmaster loses them, a power failure loses them and what was not yet
//! flushed. Only commits with `synchronous_commit = off` are answered before.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{ConnectionId, Context, SyncId, WallTime};

use super::server::{Phase, Server, Timer};
use super::{
    Answer, DataDirectory, DataRecord, Lsn, SyncMethod, SynchronousCommit, SynchronousStandbys, Timeline,
    WalEntry, WalKind, synchronous,
};
use crate::planted::Planted;

/// The state of the commit path.
#[derive(Clone, Debug, Default)]
pub(super) struct CommitPath {
    timeline: Timeline,
    /// The end of the WAL, including the buffers.
    pub(super) inserted: Lsn,
    /// The WAL buffers: records not yet handed to the operating system.
    buffer: Vec<WalEntry>,
    /// The flush under way and the records it makes durable.
    flush: Option<(SyncId, Arc<[WalEntry]>)>,
    /// Commits that wait for their local flush, in order of position.
    pending: VecDeque<Commit>,
    /// Commits that wait for standbys: one queue for each level (written, flushed, replayed), in order of position.
    waiting: [VecDeque<Commit>; 3],
    /// The last position that was acknowledged without reservation to a session whose level waits for standbys.
    pub(super) acknowledged: Lsn,
    /// `synchronous_standby_names` as last loaded.
    pub(super) synchronous: SynchronousStandbys,
}

/// A commit that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Commit {
    end: Lsn,
    connection: ConnectionId,
    query: u64,
    level: SynchronousCommit,
    /// The client cancelled during the local flush: the backend looks when it begins to wait for standbys.
    cancelled: bool,
}

impl CommitPath {
    pub(super) fn begin(&mut self, data: &DataDirectory) {
        self.timeline = data.history.current;
        self.inserted = data.wal.end();
        self.acknowledged = Lsn(0);
    }

    /// Nobody gets an answer any more: sessions are terminated. Their commits stay.
    pub(super) fn abandon(&mut self) {
        self.pending.clear();
        for queue in &mut self.waiting {
            queue.clear();
        }
    }

    fn append(&mut self, kind: WalKind, insert_bytes: u64, at: WallTime) -> Lsn {
        self.inserted = kind.end_after(self.inserted, insert_bytes);
        self.buffer.push(WalEntry { end: self.inserted, timeline: self.timeline, kind, at });
        self.inserted
    }

    /// True if a row was written behind this position.
    pub(super) fn has_rows_behind(&self, position: Lsn, data: &DataDirectory) -> bool {
        let written = data.wal.entries.iter().rev().take_while(|entry| entry.end > position);
        self.buffer.iter().chain(written).any(WalEntry::is_commit)
    }

    /// Where the first commit ends that is in the log and that sessions do not see yet.
    pub(super) fn first_hidden(&self) -> Option<Lsn> {
        self.hidden().map(|commit| commit.end).min()
    }

    /// True if sessions do not see the commit that ends here yet.
    pub(super) fn hides(&self, end: Lsn) -> bool {
        self.hidden().any(|commit| commit.end == end)
    }

    fn hidden(&self) -> impl Iterator<Item = &Commit> {
        self.pending.iter().chain(self.waiting.iter().flatten())
    }

    /// The WAL buffers.
    pub(super) fn buffered(&self) -> &[WalEntry] {
        &self.buffer
    }

    fn queue(&mut self, level: SynchronousCommit) -> &mut VecDeque<Commit> {
        &mut self.waiting[level as usize - SynchronousCommit::RemoteWrite as usize]
    }
}

impl Server {
    pub(super) fn insert(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        query: u64,
        value: u64,
        level: SynchronousCommit,
    ) {
        let bytes = self.spec.parameters.insert_bytes;
        let end = self.commits.append(WalKind::Commit { value }, bytes, context.wall());
        if level == SynchronousCommit::Off {
            self.visible += 1;
            Self::answer(context, connection, query, Answer::Committed);
            if self.commits.flush.is_none() && self.commits.buffer.len() == 1 {
                context.set_timer(Timer::WalWriter, self.spec.parameters.wal_writer_delay);
            }
            return;
        }
        let commit = Commit { end, connection, query, level, cancelled: false };
        if self.spec.lacks(Planted::AcknowledgeBeforeFlush) {
            self.complete(context, commit);
        } else {
            self.commits.pending.push_back(commit);
        }
        self.flush(context);
    }

    /// Appends a record that belongs to no session, and flushes it.
    pub(super) fn log(&mut self, context: &mut impl Context<Self>, kind: WalKind) -> Lsn {
        let end = self.commits.append(kind, self.spec.parameters.insert_bytes, context.wall());
        self.flush(context);
        end
    }

    /// Hands the buffers to the operating system and flushes them, unless a flush is under way: then they join the next.
    pub(super) fn flush(&mut self, context: &mut impl Context<Self>) {
        if self.commits.flush.is_some() || self.commits.buffer.is_empty() {
            return;
        }
        let entries: Arc<[WalEntry]> = self.commits.buffer.as_slice().into();
        self.commits.buffer.clear();
        if let [entry] = *entries {
            context.write(DataRecord::AppendOne(entry));
        } else {
            context.write(DataRecord::Append(Arc::clone(&entries)));
        }
        self.commits.flush = Some((context.sync(), entries));
    }

    /// True if the sync was a flush of the primary's WAL.
    pub(super) fn on_wal_flushed(&mut self, context: &mut impl Context<Self>, sync: SyncId) -> bool {
        let Some((_, entries)) = self.commits.flush.take_if(|(awaited, _)| *awaited == sync) else {
            return false;
        };
        let before = self.sending.flushed;
        self.sending.flushed = entries.last().map_or(before, |entry| entry.end);
        self.sending.flushed_count += entries.len();
        self.ship(context, Some(entries));
        self.flush(context);
        self.pass_on_flushed(context);
        self.segment_may_be_complete(context);
        self.checkpoint_record_may_be_flushed(context);
        if self.wal_calls_for_checkpoint(context, before) {
            self.request_checkpoint(context, None);
        }
        true
    }

    /// Commits whose local flush is complete are answered or go on to wait for standbys.
    fn pass_on_flushed(&mut self, context: &mut impl Context<Self>) {
        let alone = self.commits.synchronous.method == SyncMethod::Nobody;
        let mut waits = false;
        while let Some(commit) = self.commits.pending.front().copied() {
            if commit.end > self.sending.flushed {
                break;
            }
            self.commits.pending.pop_front();
            if alone || !Self::waits_for_standbys(commit.level) {
                self.complete(context, commit);
            } else if commit.cancelled {
                self.complete_locally(context, commit);
            } else {
                self.commits.queue(commit.level).push_back(commit);
                waits = true;
            }
        }
        if waits {
            self.release_waiting(context);
        }
    }

    /// Answers the commits that enough standbys have, in the order of their queue.
    pub(super) fn release_waiting(&mut self, context: &mut impl Context<Self>) {
        if self.commits.waiting.iter().all(VecDeque::is_empty) {
            return;
        }
        let any = SynchronousStandbys { method: SyncMethod::Wildcard, members: Vec::new() };
        let rule = if self.spec.lacks(Planted::AnyStandbyCounts) { &any } else { &self.commits.synchronous };
        let Some(reached) = synchronous::released(self.sending.standbys(), rule) else {
            return;
        };
        for queue in 0..self.commits.waiting.len() {
            while let Some(commit) = self.commits.waiting[queue].front().copied() {
                if commit.end > reached.of(commit.level) {
                    break;
                }
                self.commits.waiting[queue].pop_front();
                self.complete(context, commit);
            }
        }
    }

    /// Makes a commit visible and answers it.
    fn complete(&mut self, context: &mut impl Context<Self>, commit: Commit) {
        if Self::waits_for_standbys(commit.level) {
            self.commits.acknowledged = self.commits.acknowledged.max(commit.end);
        }
        self.visible += 1;
        Self::answer(context, commit.connection, commit.query, Answer::Committed);
    }

    /// A client gives up. A commit that waits for a standby cannot be undone any more: it becomes visible and is answered
    /// with a warning. During the local flush the backend does not look; it does as soon as it would wait.
    pub(super) fn on_cancel(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        query: u64,
    ) {
        let is_meant = |commit: &Commit| commit.connection == connection && commit.query == query;
        if let Some(commit) = self.commits.pending.iter_mut().find(|commit| is_meant(commit)) {
            commit.cancelled = true;
            return;
        }
        for queue in &mut self.commits.waiting {
            let position = queue.iter().position(is_meant);
            if let Some(commit) = position.and_then(|position| queue.remove(position)) {
                self.complete_locally(context, commit);
                return;
            }
        }
    }

    /// Makes a commit visible and answers it with the warning that standbys may lack it.
    fn complete_locally(&mut self, context: &mut impl Context<Self>, commit: Commit) {
        self.visible += 1;
        Self::answer(context, commit.connection, commit.query, Answer::CommittedLocally);
    }

    /// Loads `synchronous_standby_names`. When it became empty, everybody who waits is released.
    pub(super) fn apply_synchronous_standbys(&mut self, context: &mut impl Context<Self>) {
        let rule = &context.storage().settings.synchronous_standbys;
        let reads_once = self.phase == Phase::Primary && self.spec.lacks(Planted::IgnoreReload);
        if *rule == self.commits.synchronous || reads_once {
            return;
        }
        self.commits.synchronous = rule.clone();
        let rule = &self.commits.synchronous;
        context.note(|| format!("synchronous_standby_names: {:?} of {:?}", rule.method, rule.members));
        if self.phase != Phase::Primary {
            return;
        }
        if self.commits.synchronous.method == SyncMethod::Nobody {
            for queue in 0..self.commits.waiting.len() {
                while let Some(commit) = self.commits.waiting[queue].pop_front() {
                    self.complete(context, commit);
                }
            }
        } else {
            self.release_waiting(context);
        }
    }
}
