//! Volumes: what survives a crash of the process, and what survives a crash of the host.
//!
//! A process changes its volume by writing records. A record takes effect for readers at once (the page cache) and
//! becomes durable when a later sync completes. Killing a process loses nothing that was written; powering a host
//! off loses everything that was not synced.

use std::collections::VecDeque;
use std::fmt::Debug;

use crate::distribution::Sampler;
use crate::id::{ProcessId, SyncId};
use crate::time::SimTime;

/// The contents of a volume. `Default` is an empty volume, as on a new or wiped disk.
pub trait Storage: Clone + Debug + Default {
    /// One change, the unit that is written, synced and lost.
    type Record: Clone + Debug;

    /// Carries out one change. Must depend on nothing but its arguments: it runs once for the page cache and once
    /// more when the record becomes durable.
    fn apply(&mut self, record: &Self::Record);

    /// What is left of it when the volume is wiped: an empty volume of the same kind.
    #[must_use]
    fn wiped(&self) -> Self {
        Self::default()
    }
}

/// Storage for processes that keep nothing.
impl Storage for () {
    type Record = ();
    fn apply(&mut self, (): &()) {}
}

/// One volume of a host.
#[derive(Clone, Debug)]
pub(crate) struct Volume<S: Storage> {
    /// What a process reads: durable contents plus all written records.
    pub(crate) current: S,
    durable: S,
    /// Written but not yet durable.
    tail: VecDeque<S::Record>,
    /// How many records were ever made durable: positions count from here.
    synced: u64,
    /// Syncs complete in the order in which they were asked for.
    pub(crate) busy_until: SimTime,
    pub(crate) sync_latency: Sampler,
    /// Syncs asked for during a stall, to be started when it ends.
    pub(crate) stalled: bool,
    pub(crate) waiting: Vec<PendingSync>,
}

/// A sync that was asked for while the disk was stalled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingSync {
    pub(crate) process: ProcessId,
    pub(crate) incarnation: u32,
    pub(crate) sync: SyncId,
    pub(crate) position: u64,
}

impl<S: Storage> Volume<S> {
    pub(crate) fn new(contents: S, sync_latency: Sampler) -> Self {
        Self {
            durable: contents.clone(),
            current: contents,
            tail: VecDeque::new(),
            synced: 0,
            busy_until: SimTime::ZERO,
            sync_latency,
            stalled: false,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, record: S::Record) {
        self.current.apply(&record);
        self.tail.push_back(record);
    }

    /// The position that a sync asked for now will make durable.
    pub(crate) fn position(&self) -> u64 {
        self.synced + self.tail.len() as u64
    }

    pub(crate) fn make_durable(&mut self, position: u64) {
        while self.synced < position {
            let Some(record) = self.tail.pop_front() else {
                // The host lost power after the sync was asked for.
                return;
            };
            self.durable.apply(&record);
            self.synced += 1;
        }
    }

    /// The volume is replaced by an empty one. Syncs under way never complete.
    pub(crate) fn wipe(&mut self, now: SimTime) {
        self.durable = self.durable.wiped();
        self.lose_power(now);
    }

    /// The host lost power: only durable contents remain, and syncs under way never complete.
    pub(crate) fn lose_power(&mut self, now: SimTime) {
        self.synced += self.tail.len() as u64;
        self.tail.clear();
        self.current.clone_from(&self.durable);
        self.busy_until = now;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SimDuration;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Log(Vec<u32>);

    impl Storage for Log {
        type Record = u32;
        fn apply(&mut self, record: &u32) {
            self.0.push(*record);
        }
    }

    #[test]
    fn power_loss_keeps_what_was_synced_and_nothing_else() {
        let mut volume = Volume::new(Log::default(), Sampler::Constant(SimDuration::ZERO));
        volume.write(1);
        volume.write(2);
        let position = volume.position();
        volume.write(3);
        volume.make_durable(position);
        assert_eq!(volume.current, Log(vec![1, 2, 3]));
        volume.lose_power(SimTime::ZERO);
        assert_eq!(volume.current, Log(vec![1, 2]));
        volume.write(4);
        volume.make_durable(volume.position());
        volume.lose_power(SimTime::ZERO);
        assert_eq!(volume.current, Log(vec![1, 2, 4]));
    }
}
