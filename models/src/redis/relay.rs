//! What a replica gives its own replicas from release 2.8 on and before 4.0 ("PSYNC2"): a stream of its own, and not that of its primary.
//!
//! ```text
//!   primary --stream of the primary--> replica, executes --stream of the replica--> replica of the replica
//! ```
//!
//! The stream has the run id of the process for a name and an offset of its own (`server.runid`, `master_repl_offset`), beside
//! the position in the stream of the primary (`server.master->replrunid`, `reploff`). It carries the writes that the replica
//! executes, and PINGs of its own; those of the primary stay here (`call`, `replicationFeedSlaves`, `replicationCron`). There is
//! none, and its offset stands still, until the first replica asks for it (`createReplicationBacklog`).
//!
//! From release 4.0 on a replica hands on what it gets, under the same name ([`super::history`]). Before 2.8 nobody asks for a
//! place in a stream: everything is sent anew, whosever it is, and that is modelled like the newer rule.
//!
//! Sources: `replication.c` and `networking.c` of Redis 2.8 and 3.0; commit c1e94b6 of redis/redis and issue 2694.
//!
//! # What is simplified, and what that changes
//!
//! - `REPLICAOF` sets the offset back to zero in these releases. Here it goes on, so that no offset of before fits.
//! - A replica that is promoted keeps its replicas. Here they are cut off, and go on where they were, a few round trips later.

use std::sync::Arc;

use sim_core::Context;

use super::history::{History, ReplicationId};
use super::log::{Change, Entry, Log};
use super::release;
use super::server::Server;

/// The stream of a process that is a replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Relay {
    offset: u64,
    backlog: Option<Backlog>,
}

/// What can be sent again of it.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// From this offset on.
    pub(super) from: u64,
    pub(super) entries: Vec<Entry>,
}

impl Relay {
    /// The stream of a process that starts, if it has one of its own in this release.
    pub(super) fn new(version: release::Version) -> Option<Self> {
        let is_named = release::Change::PartialResync.is_in(version);
        (is_named && !release::Change::StreamOutlivesPrimary.is_in(version)).then(Self::default)
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) const fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Begins one, unless there is one. No offset of before fits (`createReplicationBacklog`).
    pub(super) fn create_backlog(&mut self) {
        if self.backlog.is_none() {
            self.offset += 1;
            self.backlog = Some(Backlog { from: self.offset, entries: Vec::new() });
        }
    }

    /// Nobody goes on from here (`freeReplicationBacklog`).
    pub(super) fn free_backlog(&mut self) {
        self.backlog = None;
    }

    /// True if everything after `from` is in a backlog of this size.
    pub(super) fn reaches_back_to(&self, from: u64, size: u64) -> bool {
        let within = |backlog: &Backlog| (backlog.from..=self.offset).contains(&from);
        self.backlog.as_ref().is_some_and(within) && self.offset - from <= size
    }

    /// The entries after this offset.
    pub(super) fn after(&self, offset: u64) -> &[Entry] {
        self.backlog.as_ref().map_or(&[], |backlog| backlog.after(offset))
    }

    /// Adds changes that are one command, of so many bytes. None while nobody has asked for the stream.
    fn push(&mut self, changes: impl Iterator<Item = Change>, bytes: u64) -> Option<Arc<[Entry]>> {
        let backlog = self.backlog.as_mut()?;
        self.offset += bytes;
        let entries: Arc<[Entry]> = changes.map(|change| Entry { end: self.offset, change }).collect();
        backlog.entries.extend_from_slice(&entries);
        Some(entries)
    }
}

impl Backlog {
    /// The entries after this offset.
    pub(super) fn after(&self, offset: u64) -> &[Entry] {
        &self.entries[self.entries.partition_point(|entry| entry.end <= offset)..]
    }
}

impl Server {
    /// The stream of its own that it gives its replicas; none on a primary, and in releases in which it hands on what it gets.
    pub(super) fn own_relay(&self) -> Option<&Relay> {
        self.relay.as_ref().filter(|_| self.upstream.is_some())
    }

    /// A replica asks for its stream. False: that is not one of its own.
    pub(super) fn begin_relay(&mut self) -> bool {
        let relays = self.own_relay().is_some();
        if let Some(relay) = self.relay.as_mut().filter(|_| relays) {
            relay.create_backlog();
        }
        relays
    }

    /// Where it is in the stream that it gives its replicas, if that is one of its own and somebody has asked for it.
    pub fn relayed(&self) -> Option<(ReplicationId, u64)> {
        let relay = self.own_relay().filter(|relay| relay.has_backlog())?;
        Some((self.own_stream(), relay.offset))
    }

    /// The name of the stream of its own.
    pub(super) fn own_stream(&self) -> ReplicationId {
        self.history.id.of_process(self.run_id)
    }

    /// Hands a change on.
    pub(super) fn relay(&mut self, context: &mut impl Context<Self>, change: Change) {
        let Some(relay) = &mut self.relay else { return };
        let Some(entries) = relay.push(std::iter::once(change), change.bytes()) else { return };
        self.downstream.feed(context, entries[0]);
    }

    /// Hands changes on that are one command.
    pub(super) fn relay_together(&mut self, context: &mut impl Context<Self>, entries: &[Entry], bytes: u64) {
        let Some(relay) = &mut self.relay else { return };
        let Some(entries) = relay.push(entries.iter().map(|entry| entry.change), bytes) else { return };
        self.downstream.feed_all(context, &entries);
    }

    /// It follows another server from now on: nobody can go on behind it (`replicationSetMaster`).
    pub(super) fn end_relay(&mut self, context: &mut impl Context<Self>) {
        let own = self.own_stream();
        let Some(relay) = &mut self.relay else { return };
        if self.history.id.is_same_stream(own) {
            relay.offset = relay.offset.max(self.history.offset);
        }
        if relay.has_backlog() {
            relay.free_backlog();
            self.downstream.disconnect(context);
        }
    }

    /// It has lost its primary (`replicationHandleMasterDisconnection`). Replicas of its own are cut off at once in old releases, and
    /// stay in newer ones, which cut them off when a snapshot has to be taken.
    pub(super) fn relay_without_primary(&mut self, context: &mut impl Context<Self>) {
        if !release::Change::SubReplicasResync.is_in(self.spec.parameters.version) {
            self.downstream.disconnect(context);
        }
    }

    /// Its data are those of a snapshot from now on (`syncWithMaster`, `readSyncBulkPayload`). Where the backlog stays, replicas that
    /// come later go on behind data that are gone.
    pub(super) fn relay_other_data(&mut self) {
        if release::Change::SubReplicasResync.is_in(self.spec.parameters.version)
            && let Some(relay) = &mut self.relay
        {
            relay.free_backlog();
        }
    }

    /// A replica with replicas is promoted, and its own stream is the group's from now on (`replicationUnsetMaster`). False if there
    /// is none, or nobody follows it.
    pub(super) fn promote_relay(&mut self) -> bool {
        let own = self.own_stream();
        let Some(relay) = &mut self.relay else { return false };
        let Some(backlog) = relay.backlog.take().filter(|_| !self.downstream.is_empty()) else {
            return false;
        };
        let values: Vec<u64> = self.log.values().collect();
        self.log = Log::with_backlog(&values, self.log.keys(), backlog);
        self.history = History { offset: relay.offset, ..History::new(own.promoted()) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_stands_still_until_somebody_asks_for_it() {
        let mut relay = Relay::default();
        let write = Change::Write(1);
        assert_eq!(relay.push(std::iter::once(write), write.bytes()), None);
        assert_eq!(relay.offset(), 0);
        relay.create_backlog();
        let from = relay.offset();
        assert!(relay.reaches_back_to(from, 1_000));
        assert!(!relay.reaches_back_to(from - 1, 1_000), "an offset of before");
        relay.push(std::iter::once(write), write.bytes());
        assert_eq!(relay.after(from), [Entry { end: from + write.bytes(), change: write }]);
        assert!(!relay.reaches_back_to(from, write.bytes() - 1), "more than its size");
        relay.free_backlog();
        assert!(!relay.reaches_back_to(relay.offset(), 1_000), "nothing is kept");
        relay.create_backlog();
        assert!(!relay.reaches_back_to(from + write.bytes(), 1_000), "an offset of before");
    }
}
