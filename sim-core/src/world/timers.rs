//! Timers of a process. A timer that is moved later leaves its queue entry where it is: failure detectors are re-armed
//! at every heartbeat, and a fresh entry each time would double the cost of the queue.

use std::hash::Hash;

use crate::digest::Digest;
use crate::id::ProcessId;
use crate::process::Process;
use crate::queue::Order;
use crate::time::SimDuration;

use super::{Event, Input, Kernel};

#[derive(Clone, Debug)]
struct Entry<T> {
    timer: T,
    /// When it fires, if it is set. Its sequence number was taken when it was set.
    due: Option<Order>,
    /// The entry in the queue that stands for it, no later than `due`.
    queued: Option<Order>,
}

#[derive(Clone, Debug)]
pub(crate) struct Timers<T> {
    entries: Vec<Entry<T>>,
    /// The slot that was set last: mostly the one that is set next, and then the others need not be compared.
    last_set: usize,
    /// A byte of the hash of the timer in each of the first slots, zero in those that have none. Where there are more than a few
    /// timers, which one is set is up to whoever happens to write, so the search has no steps that a processor could guess wrong.
    tags: u128,
}

/// How many slots have a tag: as many as are compared at once.
const TAGGED: usize = size_of::<u128>();

/// So many timers are looked through one by one: those of a client, which it sets by turns.
const FEW: usize = 6;

/// Never zero.
fn tag(timer: &impl Hash) -> u8 {
    let mut digest = Digest::default();
    digest.fold_hash(timer);
    (digest.value() >> (u64::BITS - u8::BITS)) as u8 | 1
}

impl<T> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), last_set: 0, tags: 0 }
    }

    /// Forgets all: the process ended. Their queue entries are recognised as stale when they come up.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.tags = 0;
    }
}

impl<T: std::fmt::Debug> Timers<T> {
    /// The timer in this slot, for people; none if the process that set it ended.
    pub(crate) fn name(&self, slot: u32) -> Option<String> {
        self.entries.get(slot as usize).map(|entry| format!("{:?}", entry.timer))
    }
}

impl<T: Clone + Hash + PartialEq> Timers<T> {
    /// The slot of a timer.
    #[inline(always)]
    fn position(&self, timer: &T) -> Option<usize> {
        const ONES: u128 = u128::MAX / 0xff;
        const HIGHS: u128 = ONES << 7;
        if self.entries.len() <= FEW {
            return self.entries.iter().position(|entry| entry.timer == *timer);
        }
        // Bytes that are equal become zero, and the highest bit of those is set then; that of a byte above one may be, too.
        let differing = self.tags ^ (ONES * u128::from(tag(timer)));
        let mut equal = differing.wrapping_sub(ONES) & !differing & HIGHS;
        while equal != 0 {
            let slot = equal.trailing_zeros() as usize / 8;
            if self.entries.get(slot).is_some_and(|entry| entry.timer == *timer) {
                return Some(slot);
            }
            equal &= equal - 1;
        }
        let rest = self.entries.get(TAGGED..)?;
        rest.iter().position(|entry| entry.timer == *timer).map(|position| TAGGED + position)
    }

    /// Sets or moves a timer. Returns what must be pushed to the queue, if anything.
    fn set(&mut self, timer: T, due: Order) -> Option<u32> {
        if self.entries.get(self.last_set).is_none_or(|entry| entry.timer != timer) {
            self.last_set = self.position(&timer).unwrap_or_else(|| self.free_slot(timer));
        }
        let slot = self.last_set;
        let entry = &mut self.entries[slot];
        entry.due = Some(due);
        if entry.queued.is_some_and(|queued| queued <= due) {
            return None;
        }
        entry.queued = Some(due);
        Some(slot as u32)
    }

    /// A slot for a timer that has none.
    fn free_slot(&mut self, timer: T) -> usize {
        let is_free = |entry: &Entry<T>| entry.due.is_none() && entry.queued.is_none();
        let slot = self.entries.iter().position(is_free).unwrap_or(self.entries.len());
        if slot < TAGGED {
            self.tags = self.tags & !(0xff << (8 * slot)) | u128::from(tag(&timer)) << (8 * slot);
        }
        let entry = Entry { timer, due: None, queued: None };
        match self.entries.get_mut(slot) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        slot
    }

    fn cancel(&mut self, timer: &T) {
        if let Some(slot) = self.position(timer) {
            self.entries[slot].due = None;
        }
    }
}

impl<P: Process> Kernel<P> {
    pub(crate) fn set_timer(&mut self, process: ProcessId, timer: P::Timer, delay: SimDuration) {
        let slot = &mut self.processes[process.index()];
        let real = self.hosts[slot.host.index()].clock.real(delay);
        let due = self.queue.reserve(self.now + real);
        if let Some(slot) = slot.timers.set(timer, due) {
            self.queue.push_reserved(due, Event::Timer { process, slot });
        }
    }

    pub(crate) fn cancel_timer(&mut self, process: ProcessId, timer: &P::Timer) {
        self.processes[process.index()].timers.cancel(timer);
    }

    /// The timer for which this queue entry stands, if it is due now.
    pub(crate) fn due_timer(&mut self, process: ProcessId, slot: u32, order: Order) -> Option<P::Timer> {
        let owner = &mut self.processes[process.index()];
        let entry = owner.timers.entries.get_mut(slot as usize)?;
        if entry.queued != Some(order) {
            return None;
        }
        entry.queued = None;
        let due = entry.due?;
        if due > order {
            entry.queued = Some(due);
            self.queue.push_reserved(due, Event::Timer { process, slot });
            return None;
        }
        if self.standings.of(process).is_hindered() {
            // While the clock of the machine stands still, `postpone_timers` queues it again when it goes on. Else it stays set
            // while it waits in line: what the process does before may still cancel or move it.
            if self.hosts[owner.host.index()].freezes == 0 {
                self.line_up(process, Input::DueTimer(slot, due));
            }
            return None;
        }
        entry.due = None;
        Some(entry.timer.clone())
    }

    /// A timer that waited in line, unless it was cancelled or moved meanwhile.
    pub(crate) fn take_due_timer(&mut self, process: ProcessId, slot: u32, due: Order) -> Option<P::Timer> {
        let entry = self.processes[process.index()].timers.entries.get_mut(slot as usize)?;
        (entry.due == Some(due)).then(|| {
            entry.due = None;
            entry.timer.clone()
        })
    }

    /// The machine of this process stood still for `length`: its timers have as much left as before.
    pub(crate) fn postpone_timers(&mut self, process: ProcessId, length: SimDuration) {
        let mut again: Vec<(Order, u32)> = Vec::new();
        let now = self.now;
        for (slot, entry) in self.processes[process.index()].timers.entries.iter_mut().enumerate() {
            let Some(due) = &mut entry.due else { continue };
            due.at = (due.at + length).max(now);
            if entry.queued.is_none() {
                entry.queued = Some(*due);
                again.push((*due, slot as u32));
            }
        }
        for (due, slot) in again {
            self.queue.push_reserved(due, Event::Timer { process, slot });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::SimTime;

    proptest! {
        /// More timers than have tags, and more than there are tags.
        #[test]
        fn a_timer_keeps_its_slot_until_it_is_over(steps in prop::collection::vec((0_u16..600, 0_u8..3), 0..200)) {
            let mut timers = Timers::new();
            let mut expected: Vec<(u16, Order)> = Vec::new();
            for (number, (timer, step)) in steps.into_iter().enumerate() {
                // Few different ones at first, then many.
                let timer = timer % (number as u16 / 4 + 1);
                let due = Order { at: SimTime::from_nanos(number as u64), sequence: number as u64 };
                expected.retain(|(other, _)| *other != timer);
                if step > 0 {
                    timers.set(timer, due);
                    expected.push((timer, due));
                } else {
                    timers.cancel(&timer);
                    // Its entry in the queue comes up.
                    for entry in timers.entries.iter_mut().filter(|entry| entry.due.is_none()) {
                        entry.queued = None;
                    }
                }
                for (timer, due) in &expected {
                    let slot = timers.position(timer).expect("it is set");
                    prop_assert_eq!(timers.entries[slot].due, Some(*due));
                }
                let set = timers.entries.iter().filter(|entry| entry.due.is_some()).count();
                prop_assert_eq!(set, expected.len(), "no timer is set twice");
            }
        }
    }
}
