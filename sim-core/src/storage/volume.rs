//! One volume of a host: contents in the page cache, contents on the medium, and what is on its way between them.

use std::collections::VecDeque;

use crate::distribution::Sampler;
use crate::id::{ProcessId, SyncId};
use crate::random::Stream;
use crate::time::SimTime;

use super::{Damage, DiskError, DiskTrouble, Storage};

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
    /// The position up to which a lying disk acknowledged.
    acknowledged: u64,
    /// Syncs complete in the order in which they were asked for.
    pub(crate) busy_until: SimTime,
    pub(crate) sync_latency: Sampler,
    /// Syncs asked for during a stall, to be started when it ends.
    pub(crate) waiting: Vec<PendingSync>,
    pub(crate) trouble: DiskTrouble,
}

/// A sync that was asked for while the disk was stalled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingSync {
    pub(crate) process: ProcessId,
    pub(crate) incarnation: u32,
    pub(crate) sync: SyncId,
    pub(crate) position: u64,
}

/// What a loss of power cost, for the timeline.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PowerLoss {
    /// Records whose sync was acknowledged and that are gone: the disk had lied.
    pub(crate) acknowledged: u64,
    /// A record was torn.
    pub(crate) torn: bool,
}

impl<S: Storage> Volume<S> {
    pub(crate) fn new(contents: S, sync_latency: Sampler) -> Self {
        Self {
            durable: contents.clone(),
            current: contents,
            tail: VecDeque::new(),
            synced: 0,
            acknowledged: 0,
            busy_until: SimTime::ZERO,
            sync_latency,
            waiting: Vec::new(),
            trouble: DiskTrouble::NONE,
        }
    }

    pub(crate) fn write(&mut self, record: S::Record) -> Result<(), DiskError> {
        if let Some(error) = self.trouble.refuses_growth()
            && S::needs_space(&record)
        {
            return Err(error);
        }
        self.current.apply(&record);
        self.tail.push_back(record);
        Ok(())
    }

    /// The position that a sync asked for now will make durable.
    pub(crate) fn position(&self) -> u64 {
        self.synced + self.tail.len() as u64
    }

    /// The sync up to this position completed. Returns how many records went astray.
    pub(crate) fn make_durable(&mut self, position: u64, random: &mut Stream) -> u32 {
        if self.trouble.lies > 0 {
            self.acknowledged = self.acknowledged.max(position);
            return 0;
        }
        let mut astray = 0;
        while self.synced < position {
            let Some(record) = self.tail.pop_front() else {
                // The host lost power after the sync was asked for.
                break;
            };
            self.synced += 1;
            if self.trouble.misdirections == 0 {
                self.durable.apply(&record);
                continue;
            }
            self.trouble.misdirections -= 1;
            astray += 1;
            let count = self.durable.record_count();
            let over = (count > 0).then(|| random.below(count));
            self.durable.damage(Damage::Misdirected { record: &record, over });
        }
        astray
    }

    /// The sync up to this position failed: what it covered stays in the page cache, and nobody will try to write it again.
    pub(crate) fn fail_sync(&mut self, position: u64) {
        while self.synced < position {
            let Some(record) = self.tail.pop_front() else {
                return;
            };
            self.synced += 1;
            self.durable.damage(Damage::Lost(&record));
        }
    }

    /// The disk stops lying: what it acknowledged becomes durable now.
    pub(crate) fn come_clean(&mut self, random: &mut Stream) {
        self.make_durable(self.acknowledged, random);
    }

    /// The record at this position rots, on the medium and for readers: its page is taken to have left the page cache.
    pub(crate) fn rot(&mut self, position: u64) {
        self.durable.damage(Damage::Rotten(position));
        self.current.damage(Damage::Rotten(position));
    }

    /// How many records on the medium can rot.
    pub(crate) fn durable_records(&self) -> u64 {
        self.durable.record_count()
    }

    /// The host lost power: only durable contents remain, and syncs under way never complete.
    ///
    /// On a disk that tears, the write-back of the page cache was under way: the first so many unsynced records reached the
    /// medium, and of the next one a part.
    pub(crate) fn lose_power(&mut self, now: SimTime, random: &mut Stream) -> PowerLoss {
        let mut loss = PowerLoss { acknowledged: self.acknowledged.saturating_sub(self.synced), torn: false };
        let position = self.position();
        if self.trouble.tears > 0 && !self.tail.is_empty() {
            let whole = random.below(self.tail.len() as u64);
            loss.acknowledged = loss.acknowledged.saturating_sub(whole);
            loss.torn = true;
            for record in self.tail.drain(..).take(whole as usize + 1).enumerate() {
                match record {
                    (index, record) if index as u64 == whole => self.durable.damage(Damage::Torn(&record)),
                    (_, record) => self.durable.apply(&record),
                }
            }
        }
        self.start_over(now, position);
        loss
    }

    /// The volume is replaced by an empty one. Syncs under way never complete.
    pub(crate) fn wipe(&mut self, now: SimTime) {
        self.durable = self.durable.wiped();
        self.start_over(now, self.position());
    }

    /// Only durable contents remain; positions count on from here.
    fn start_over(&mut self, now: SimTime, position: u64) {
        self.tail.clear();
        self.synced = position;
        self.acknowledged = 0;
        self.current.clone_from(&self.durable);
        self.busy_until = now;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use crate::time::SimDuration;

    /// A log whose readers see what became of each record.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Log(Vec<Entry>);

    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Entry {
        Whole(u32),
        Torn(u32),
        Rotten(u32),
        Astray(u32),
    }

    use Entry::{Astray, Rotten, Torn, Whole};

    impl Storage for Log {
        type Record = u32;

        fn apply(&mut self, record: &u32) {
            self.0.push(Whole(*record));
        }

        fn record_count(&self) -> u64 {
            self.0.len() as u64
        }

        fn damage(&mut self, damage: Damage<'_, u32>) {
            match damage {
                Damage::Torn(record) => self.0.push(Torn(*record)),
                Damage::Lost(_) | Damage::Misdirected { over: None, .. } => {}
                Damage::Rotten(position) => {
                    if let Some(Whole(record)) = self.0.get(position as usize).copied() {
                        self.0[position as usize] = Rotten(record);
                    }
                }
                Damage::Misdirected { record, over: Some(over) } => self.0[over as usize] = Astray(*record),
            }
        }

        fn needs_space(record: &u32) -> bool {
            *record != 0
        }
    }

    fn volume() -> (Volume<Log>, Stream) {
        let latency = Sampler::Constant(SimDuration::ZERO);
        (Volume::new(Log::default(), latency), Seed(1).stream("volume", 0))
    }

    fn sync(volume: &mut Volume<Log>, random: &mut Stream) {
        let position = volume.position();
        volume.make_durable(position, random);
    }

    fn write(volume: &mut Volume<Log>, records: impl IntoIterator<Item = u32>) {
        for record in records {
            volume.write(record).unwrap();
        }
    }

    fn crash(volume: &mut Volume<Log>, random: &mut Stream) -> (Vec<Entry>, PowerLoss) {
        let loss = volume.lose_power(SimTime::ZERO, random);
        (volume.current.0.clone(), loss)
    }

    #[test]
    fn power_loss_keeps_what_was_synced_and_nothing_else() {
        let (mut volume, mut random) = volume();
        write(&mut volume, [1, 2]);
        let position = volume.position();
        write(&mut volume, [3]);
        volume.make_durable(position, &mut random);
        assert_eq!(volume.current, Log(vec![Whole(1), Whole(2), Whole(3)]));
        assert_eq!(crash(&mut volume, &mut random).0, [Whole(1), Whole(2)]);
        write(&mut volume, [4]);
        sync(&mut volume, &mut random);
        assert_eq!(crash(&mut volume, &mut random).0, [Whole(1), Whole(2), Whole(4)]);
    }

    #[test]
    fn a_full_disk_refuses_what_needs_space_and_takes_the_rest() {
        let (mut volume, _) = volume();
        volume.trouble.full = 1;
        assert_eq!(volume.write(7), Err(DiskError::NoSpace));
        assert_eq!(volume.write(0), Ok(()));
        assert_eq!(volume.current, Log(vec![Whole(0)]));
        volume.trouble.full = 0;
        assert_eq!(volume.write(7), Ok(()));
    }

    #[test]
    fn what_a_failed_sync_covered_is_readable_until_the_power_fails() {
        let (mut volume, mut random) = volume();
        write(&mut volume, [1, 2]);
        let position = volume.position();
        volume.fail_sync(position);
        write(&mut volume, [3]);
        sync(&mut volume, &mut random);
        assert_eq!(volume.current, Log(vec![Whole(1), Whole(2), Whole(3)]));
        assert_eq!(crash(&mut volume, &mut random).0, [Whole(3)]);
    }

    #[test]
    fn a_lying_disk_keeps_what_it_acknowledged_only_if_the_power_lasts() {
        let (mut volume, mut random) = volume();
        write(&mut volume, [1]);
        sync(&mut volume, &mut random);
        volume.trouble.lies = 1;
        write(&mut volume, [2]);
        sync(&mut volume, &mut random);
        write(&mut volume, [3]);
        let mut unlucky = volume.clone();
        let (left, loss) = crash(&mut unlucky, &mut random);
        assert_eq!(left, [Whole(1)]);
        assert_eq!(loss, PowerLoss { acknowledged: 1, torn: false }, "record 3 was never acknowledged");
        volume.trouble.lies = 0;
        volume.come_clean(&mut random);
        assert_eq!(crash(&mut volume, &mut random).0, [Whole(1), Whole(2)]);
    }

    #[test]
    fn a_torn_write_leaves_a_beginning_of_the_unsynced_records_and_a_broken_one() {
        let mut lengths = Vec::new();
        for seed in 0..20 {
            let (mut volume, _) = volume();
            let mut random = Seed(seed).stream("volume", 0);
            write(&mut volume, [1]);
            sync(&mut volume, &mut random);
            write(&mut volume, 2..6);
            volume.trouble.tears = 1;
            let (left, loss) = crash(&mut volume, &mut random);
            let (last, before) = left.split_last().unwrap();
            assert_eq!(*last, Torn(left.len() as u32));
            assert!(before.iter().zip(1..).all(|(entry, number)| *entry == Whole(number)));
            assert!(loss.torn);
            lengths.push(left.len());
        }
        assert_eq!(lengths.iter().min(), Some(&2));
        assert_eq!(lengths.iter().max(), Some(&5));
    }

    #[test]
    fn a_misdirected_write_is_seen_when_the_page_cache_is_gone() {
        let (mut volume, mut random) = volume();
        write(&mut volume, [1]);
        sync(&mut volume, &mut random);
        volume.trouble.misdirections = 1;
        write(&mut volume, [2, 3]);
        sync(&mut volume, &mut random);
        assert_eq!(volume.current, Log(vec![Whole(1), Whole(2), Whole(3)]));
        assert_eq!(crash(&mut volume, &mut random).0, [Astray(2), Whole(3)]);
    }

    #[test]
    fn rot_is_seen_by_readers() {
        let (mut volume, mut random) = volume();
        write(&mut volume, [1, 2]);
        sync(&mut volume, &mut random);
        write(&mut volume, [3]);
        assert_eq!(volume.durable_records(), 2);
        volume.rot(0);
        assert_eq!(volume.current, Log(vec![Rotten(1), Whole(2), Whole(3)]));
    }
}
