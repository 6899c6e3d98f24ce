//! Physical replication slots, and the WAL that they and `wal_keep_size` hold back from being recycled (`slot.c`, `KeepLogSeg` and
//! `RemoveOldXlogFiles` in `xlog.c`).
//!
//! - A slot belongs to one standby and is at the position up to which that standby has flushed (`restart_lsn`). It stays where
//!   it is while the standby is away, on a primary as on a standby, where only `pg_replication_slot_advance` moves it. A new one
//!   is at the last checkpoint (`ReplicationSlotReserveWal`).
//! - Each complete checkpoint, and each restartpoint of a standby, removes segments that end before the checkpoint, the
//!   position of every slot and the last `wal_keep_size` bytes, and are archived if they have to be.
//! - A standby that asks for a removed segment gets the error "requested WAL segment ... has already been removed", and asks again
//!   and again. Without an archive it comes back by a rebuild alone.
//! - A checkpoint is due when so much WAL was written since the last one that `max_wal_size` would be exceeded at the end of the
//!   next (`XLogCheckpointNeeded`, `CalculateCheckpointSegments`), or replayed, on a standby.
//! - Slots are saved with checkpoints (`CheckPointReplicationSlots`): a crash sets them back.
//!
//! WAL is kept by segments, so a position is the number of a segment here; that changes nothing. The records of a removed
//! segment stay in memory, because they are also the rows.
//!
//! Simplified: `max_slot_wal_keep_size` is -1, its default, so no slot is ever invalidated, and disks do not fill up with what slots
//! hold back. A base backup brings along everything that its source had removed, and until its next restartpoint the copy passes for
//! having it. A rewind leaves slots at the last checkpoint: it removes them, and Patroni makes new ones.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sim_core::Context;

use super::server::{Phase, Server};
use super::wal::SEGMENT_BYTES;
use super::{DataRecord, Lsn, MemberId, Recycling};

/// A physical replication slot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Slot {
    /// Whose.
    pub member: MemberId,
    /// The segment of `restart_lsn`: this one and all behind it are kept.
    pub segment: u64,
}

/// The slots of a server. They add nothing to a digest: they follow from what standbys report.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Slots(pub Vec<Slot>);

impl Hash for Slots {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl Slots {
    /// Where the slot of a member is, if it has one.
    pub fn of(&self, member: MemberId) -> Option<u64> {
        self.0.iter().find(|slot| slot.member == member).map(|slot| slot.segment)
    }

    /// Moves the slot of a member, if it has one. Never backwards.
    fn advance(&mut self, member: MemberId, segment: u64) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.member == member) {
            slot.segment = slot.segment.max(segment);
        }
    }

    /// The first segment that is kept for somebody.
    fn first(&self) -> Option<u64> {
        self.0.iter().map(|slot| slot.segment).min()
    }
}

/// Whether a standby names a slot (`primary_slot_name`). Adds nothing to a digest: it follows from the settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsesSlot(pub bool);

impl Hash for UsesSlot {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

/// `checkpoint_completion_target`: 0.9, as a fraction.
const COMPLETION_TARGET: (u64, u64) = (9, 10);

/// After how many segments a checkpoint is due (`CalculateCheckpointSegments`).
const fn checkpoint_segments(max_wal_size: u64) -> u64 {
    let (numerator, denominator) = COMPLETION_TARGET;
    let segments = max_wal_size / SEGMENT_BYTES * denominator / (denominator + numerator);
    if segments == 0 { 1 } else { segments }
}

/// The first segment that a checkpoint leaves (`KeepLogSeg`), by what is kept for slots and for `wal_keep_size`.
fn first_kept(checkpoint: Lsn, end: Lsn, slots: Option<u64>, wal_keep_size: u64) -> u64 {
    let current = end.segment();
    let kept = slots.map_or(current, |first| first.min(current));
    let by_size = current.saturating_sub(wal_keep_size / SEGMENT_BYTES).max(1);
    checkpoint.segment().min(kept).min(if wal_keep_size > 0 { by_size } else { current })
}

impl Server {
    /// The slots that exist are those of the settings: new ones are made, others dropped.
    pub(super) fn load_slots(&mut self, context: &impl Context<Self>) {
        let data = context.storage();
        let redo = data.control.checkpoint.segment();
        let known = std::mem::take(&mut self.sending.slots.0);
        let position = |member: MemberId| {
            let slot = known.iter().chain(&data.slots).find(|slot| slot.member == member);
            slot.map_or(redo, |slot| slot.segment)
        };
        let wanted = data.settings.slots.iter();
        self.sending.slots.0 =
            wanted.map(|member| Slot { member: *member, segment: position(*member) }).collect();
    }

    /// A standby that streams through its slot has flushed up to here (`PhysicalConfirmReceivedLocation`).
    pub(super) fn confirm_received(&mut self, member: MemberId, flushed: Lsn) {
        self.sending.slots.advance(member, flushed.segment());
    }

    /// `pg_replication_slot_advance`: not beyond what this server has itself.
    pub(super) fn advance_slot(&mut self, member: MemberId, segment: u64) {
        let own = match self.phase {
            Phase::Primary => self.sending.flushed,
            _ => self.receiving.replayed,
        };
        self.sending.slots.advance(member, segment.min(own.segment()));
    }

    /// True if so much WAL followed the last checkpoint that another is due: asked when a segment begins.
    pub(super) fn wal_calls_for_checkpoint(&self, context: &impl Context<Self>, before: Lsn) -> bool {
        let Some(Recycling { max_wal_size, .. }) = self.spec.parameters.recycling else {
            return false;
        };
        let segment = self.sending.flushed.segment();
        let redo = context.storage().control.checkpoint.segment();
        segment > before.segment() && segment >= redo + checkpoint_segments(max_wal_size) - 1
    }

    /// A checkpoint or restartpoint is complete: saves slots, and removes the WAL that nobody needs.
    pub(super) fn recycle_wal(&mut self, context: &mut impl Context<Self>) {
        let Some(Recycling { wal_keep_size, .. }) = self.spec.parameters.recycling else {
            return;
        };
        let data = context.storage();
        let checkpoint = data.control.checkpoint;
        let held_back = self.sending.slots.0.iter().copied();
        let saved: Arc<[Slot]> = held_back.filter(|slot| slot.segment < checkpoint.segment()).collect();
        let mut first =
            first_kept(checkpoint, self.sending.flushed, self.sending.slots.first(), wal_keep_size);
        if self.phase == Phase::Primary && self.archives() {
            first = first.min(data.archive_next);
        }
        let removes = first > data.first_segment;
        if *saved != *data.slots {
            context.write(DataRecord::Slots(saved));
        }
        if removes {
            context.note(|| format!("removes WAL before segment {first}"));
            context.write(DataRecord::Recycled(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: u64 = 1 << 20;

    #[track_caller]
    fn check(checkpoint: u64, end: u64, slots: Option<u64>, keep_megabytes: u64, expected: u64) {
        let position = |segment: u64| Lsn(segment * SEGMENT_BYTES + 5);
        let first = first_kept(position(checkpoint), position(end), slots, keep_megabytes * MEGABYTE);
        assert_eq!(first, expected);
    }

    #[test]
    fn without_slots_the_last_checkpoint_or_the_size_decides() {
        check(40, 50, None, 0, 40);
        check(40, 50, None, 128, 40);
        check(49, 50, None, 128, 42);
        check(5, 6, None, 128, 1);
    }

    #[test]
    fn a_slot_holds_back_what_its_standby_lacks() {
        check(40, 50, Some(7), 128, 7);
        check(40, 50, Some(45), 128, 40);
        check(49, 50, Some(50), 128, 42);
        check(49, 50, Some(60), 0, 49);
    }

    #[test]
    fn the_default_size_calls_for_a_checkpoint_after_half_of_it() {
        assert_eq!(checkpoint_segments(1 << 30), 33);
        assert_eq!(checkpoint_segments(SEGMENT_BYTES), 1);
    }

    #[test]
    fn a_slot_never_moves_backwards() {
        let mut slots = Slots(vec![Slot { member: MemberId(1), segment: 5 }]);
        slots.advance(MemberId(1), 9);
        slots.advance(MemberId(1), 7);
        slots.advance(MemberId(2), 7);
        assert_eq!((slots.of(MemberId(1)), slots.of(MemberId(2))), (Some(9), None));
    }
}
