//! The event queue: ordered by (time, sequence number), so that ties never depend on memory or hashing.
//!
//! 16-byte keys over a slab of payloads, which are moved only twice. The keys of the next few events are in a sorted list,
//! those of all others in a binary heap: most events are packets that arrive before nearly everything else that is
//! pending, so they are put near the end of the list and never see the heap. Timers, which are further away, do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::SimTime;

/// Bits of a key's second word that hold the slab slot; the rest is the sequence number.
const SLOT_BITS: u32 = 24;

/// The list is refilled with so many keys when it is empty.
const REFILL: usize = 16;

/// The list gives half of itself to the heap when it would grow longer.
const LONGEST: usize = 64;

/// When an event happens, and its place among those of the same instant.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Order {
    pub(crate) at: SimTime,
    pub(crate) sequence: u64,
}

/// A payload that leaves a free slot behind.
///
/// Not an `Option`: taking a payload out of one copies its tag and the rest of its bytes apart. Without, the benchmarks of
/// the kernel took 5 to 9 % less time, probably because no field is read across two such copies any more.
pub(crate) trait Vacant {
    /// What a free slot holds. Owns nothing: it is never dropped.
    const VACANT: Self;
}

/// An event that was popped, and whose payload is still to be taken.
#[derive(Debug)]
pub(crate) struct Due(u32);

/// Pending events with payloads of type `T`.
#[derive(Clone, Debug)]
pub(crate) struct Queue<T> {
    /// The keys of the next events, latest first. A key is time, sequence number and slab slot in one integer, so that
    /// one comparison orders two. Empty only if nothing is pending.
    near: Vec<u128>,
    /// The keys of all others: none is before any of `near`.
    far: BinaryHeap<Reverse<u128>>,
    slab: Vec<T>,
    free: Vec<u32>,
    next_sequence: u64,
}

impl<T: Vacant> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            near: Vec::with_capacity(LONGEST),
            far: BinaryHeap::with_capacity(64),
            slab: Vec::with_capacity(64),
            free: Vec::with_capacity(64),
            next_sequence: 0,
        }
    }

    /// A sequence number for an event that will be pushed later, if at all.
    #[inline]
    pub(crate) fn reserve(&mut self, at: SimTime) -> Order {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Order { at, sequence }
    }

    #[inline]
    pub(crate) fn push(&mut self, at: SimTime, event: T) {
        let order = self.reserve(at);
        self.push_reserved(order, event);
    }

    /// # Panics
    /// If 2^24 events are pending or 2^40 were pushed: a model that floods the world.
    #[inline]
    pub(crate) fn push_reserved(&mut self, order: Order, event: T) {
        let slot = if let Some(slot) = self.free.pop() {
            // The vacant payload owns nothing, so forgetting it saves the look at what there is to drop.
            std::mem::forget(std::mem::replace(&mut self.slab[slot as usize], event));
            u64::from(slot)
        } else {
            let slot = self.slab.len();
            assert!(slot < 1 << SLOT_BITS, "more than 2^24 events are pending");
            self.slab.push(event);
            slot as u64
        };
        assert!(order.sequence < 1 << (64 - SLOT_BITS), "more than 2^40 events in one run");
        let key = order.sequence << SLOT_BITS | slot;
        self.insert(u128::from(order.at.as_nanos()) << 64 | u128::from(key));
    }

    #[inline]
    fn insert(&mut self, key: u128) {
        if self.near.len() == LONGEST {
            self.far.extend(self.near.drain(..LONGEST / 2).map(Reverse));
        }
        if self.near.first().is_some_and(|latest| key > *latest) {
            self.far.push(Reverse(key));
            return;
        }
        // From the end, because a packet is nearly always due before most of the list; what is due before it makes room on
        // the way.
        let mut place = self.near.len();
        self.near.push(key);
        while place > 0 && self.near[place - 1] < key {
            self.near[place] = self.near[place - 1];
            place -= 1;
        }
        self.near[place] = key;
    }

    /// Moves the next keys of the heap to the empty list.
    fn refill(&mut self) {
        for _ in 0..REFILL {
            let Some(Reverse(key)) = self.far.pop() else { break };
            self.near.push(key);
        }
        self.near.reverse();
    }

    fn order_of(both: u128) -> (Order, u32) {
        let (at, key) = ((both >> 64) as u64, both as u64);
        let order = Order { at: SimTime::from_nanos(at), sequence: key >> SLOT_BITS };
        (order, (key & ((1 << SLOT_BITS) - 1)) as u32)
    }

    #[inline]
    pub(crate) fn next_at(&self) -> Option<SimTime> {
        self.near.last().map(|key| SimTime::from_nanos((key >> 64) as u64))
    }

    /// What [`Self::pop`] would give.
    pub(crate) fn peek(&self) -> Option<(Order, &T)> {
        let (order, slot) = Self::order_of(*self.near.last()?);
        Some((order, &self.slab[slot as usize]))
    }

    /// The earliest event leaves the order; its payload stays in its slot until it is taken.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Order, Due)> {
        let (order, slot) = Self::order_of(self.near.pop()?);
        if self.near.is_empty() {
            self.refill();
        }
        Some((order, Due(slot)))
    }

    /// The payload of an event that was popped. Apart from [`Self::pop`], so that no `Option` is around it.
    #[inline]
    pub(crate) fn take(&mut self, Due(slot): Due) -> T {
        self.free.push(slot);
        std::mem::replace(&mut self.slab[slot as usize], T::VACANT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Vacant for u64 {
        const VACANT: Self = Self::MAX;
    }

    proptest! {
        /// Against a naive reference: a stable sort by time.
        #[test]
        fn events_come_out_by_time_and_then_in_the_order_of_pushing(times in prop::collection::vec(0_u64..20, 0..200)) {
            let mut queue = Queue::new();
            for (index, at) in times.iter().enumerate() {
                queue.push(SimTime::from_nanos(*at), index as u64);
            }
            let mut expected: Vec<u64> = (0..times.len() as u64).collect();
            expected.sort_by_key(|index| times[*index as usize]);
            let popped: Vec<u64> = std::iter::from_fn(|| {
                let seen = queue.peek().map(|(order, index)| (order, *index));
                let popped = queue.pop().map(|(order, due)| (order, queue.take(due)));
                assert_eq!(seen, popped);
                popped.map(|(_, index)| index)
            })
            .collect();
            prop_assert_eq!(popped, expected);
        }

        /// The same while events come and go, with more pending than the list holds.
        #[test]
        fn the_order_holds_while_events_come_and_go(steps in prop::collection::vec((0_u64..1_000, 0_u8..4), 0..600)) {
            let mut queue = Queue::new();
            let mut pending: Vec<(u64, u64)> = Vec::new();
            for (number, (delay, pops)) in steps.into_iter().enumerate() {
                let now = pending.first().map_or(0, |(at, _)| *at);
                queue.push(SimTime::from_nanos(now + delay), number as u64);
                pending.push((now + delay, number as u64));
                pending.sort_unstable();
                // Now and then two leave, so that the queue grows and shrinks.
                for _ in 0..pops.saturating_sub(1).min(pending.len() as u8) {
                    let (order, due) = queue.pop().unwrap();
                    prop_assert_eq!((order.at.as_nanos(), queue.take(due)), pending.remove(0));
                }
            }
        }

        #[test]
        fn slots_are_used_again(times in prop::collection::vec(0_u64..1000, 1..300)) {
            let mut queue = Queue::new();
            for at in &times {
                queue.push(SimTime::from_nanos(*at), *at);
                queue.push(SimTime::from_nanos(*at + 1), *at);
                for _ in 0..2 {
                    let (_, due) = queue.pop().unwrap();
                    queue.take(due);
                }
            }
            prop_assert_eq!(queue.slab.len(), 2);
        }
    }
}
