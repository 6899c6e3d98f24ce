//! The event queue: ordered by (time, sequence number), so that ties never depend on memory or hashing.
//!
//! 16-byte keys over a slab of payloads, which are moved only twice. The keys of the next few milliseconds are in a wheel
//! of short sorted buckets, those of all others in a binary heap, and the earlier of the two firsts is the next: packets,
//! which are most events, see the wheel only, and timers, which are further away, mostly the heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::SimTime;

/// Bits of a key's second word that hold the slab slot; the rest is the sequence number.
const SLOT_BITS: u32 = 24;

/// How many buckets the wheel has: the bits of a word that tells which are empty.
const BUCKETS: usize = u64::BITS as usize;

/// A bucket holds the keys of 2^18 ns, a quarter of a millisecond; all of them, of 17 ms.
const STRETCH_BITS: u32 = 18;

/// How many keys a bucket holds. They are moved one by one, so it is short; the heap takes what is too much.
const BUCKET_KEYS: usize = 8;

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
    /// A key is time, sequence number and slab slot in one integer, so that one comparison orders two.
    near: Wheel,
    far: BinaryHeap<Reverse<u128>>,
    slab: Vec<T>,
    free: Vec<u32>,
    next_sequence: u64,
}

impl<T: Vacant> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            near: Wheel::new(),
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
    #[inline(always)]
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
        let key = u128::from(order.at.as_nanos()) << 64 | u128::from(order.sequence << SLOT_BITS | slot);
        if !self.near.insert(key) {
            self.far.push(Reverse(key));
        }
    }

    fn order_of(both: u128) -> (Order, u32) {
        let (at, key) = ((both >> 64) as u64, both as u64);
        let order = Order { at: SimTime::from_nanos(at), sequence: key >> SLOT_BITS };
        (order, (key & ((1 << SLOT_BITS) - 1)) as u32)
    }

    /// The key of the earliest event, and whether it is in the wheel.
    #[inline]
    fn first(&self) -> Option<(u128, bool)> {
        match (self.near.first(), self.far.peek()) {
            (Some(near), Some(Reverse(far))) => Some(if near < *far { (near, true) } else { (*far, false) }),
            (Some(near), None) => Some((near, true)),
            (None, Some(Reverse(far))) => Some((*far, false)),
            (None, None) => None,
        }
    }

    /// When the earliest event is due.
    pub(crate) fn next_at(&self) -> Option<SimTime> {
        self.first().map(|(key, _)| Self::order_of(key).0.at)
    }

    /// The earliest event.
    pub(crate) fn peek(&self) -> Option<(Order, &T)> {
        let (order, slot) = Self::order_of(self.first()?.0);
        Some((order, &self.slab[slot as usize]))
    }

    /// The earliest event leaves the order if it is due by `limit`; its payload stays in its slot until it is taken.
    #[inline]
    pub(crate) fn pop_by(&mut self, limit: SimTime) -> Option<(Order, Due)> {
        let (key, is_near) = self.first()?;
        let (order, slot) = Self::order_of(key);
        if order.at > limit {
            return None;
        }
        if is_near {
            self.near.remove_first();
        } else {
            self.far.pop();
        }
        self.near.advance(order.at);
        Some((order, Due(slot)))
    }

    /// The payload of an event that was popped. Apart from [`Self::pop_by`], so that no `Option` is around it.
    #[inline]
    pub(crate) fn take(&mut self, Due(slot): Due) -> T {
        self.free.push(slot);
        std::mem::replace(&mut self.slab[slot as usize], T::VACANT)
    }
}

/// The keys of what is due soon, in buckets by time. What does not fit in is refused.
#[derive(Clone, Debug)]
struct Wheel {
    /// Where the keys of a stretch of time are: its number modulo [`BUCKETS`].
    buckets: Box<[Bucket; BUCKETS]>,
    /// Which buckets are not empty, a bit each.
    occupied: u64,
    /// The number of the stretch that has begun: none of the keys is before it.
    current: u64,
}

/// The keys of one stretch of time, latest first.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    keys: [u128; BUCKET_KEYS],
    length: usize,
}

impl Wheel {
    fn new() -> Self {
        Self {
            buckets: Box::new([Bucket { keys: [0; BUCKET_KEYS], length: 0 }; BUCKETS]),
            occupied: 0,
            current: 0,
        }
    }

    /// Takes a key in; false if it is too far away, or its bucket is full.
    #[inline]
    fn insert(&mut self, key: u128) -> bool {
        let number = (key >> (64 + STRETCH_BITS)) as u64;
        if number.wrapping_sub(self.current) >= BUCKETS as u64 {
            return false;
        }
        let index = number as usize % BUCKETS;
        let Bucket { keys, length } = &mut self.buckets[index];
        if *length >= BUCKET_KEYS {
            return false;
        }
        let mut place = *length;
        while place > 0 && keys[place - 1] < key {
            keys[place] = keys[place - 1];
            place -= 1;
        }
        keys[place] = key;
        *length += 1;
        self.occupied |= 1 << index;
        true
    }

    /// The bucket with the earliest keys.
    #[inline]
    fn first_index(&self) -> usize {
        let current = self.current as usize % BUCKETS;
        let ahead = self.occupied.rotate_right(current as u32).trailing_zeros() as usize;
        (current + ahead) % BUCKETS
    }

    /// The earliest key.
    #[inline]
    fn first(&self) -> Option<u128> {
        if self.occupied == 0 {
            return None;
        }
        let Bucket { keys, length } = &self.buckets[self.first_index()];
        Some(keys[(*length - 1) % BUCKET_KEYS])
    }

    /// Removes the earliest key, which must exist.
    #[inline]
    fn remove_first(&mut self) {
        let index = self.first_index();
        let length = &mut self.buckets[index].length;
        *length -= 1;
        self.occupied &= !(u64::from(*length == 0) << index);
    }

    /// It is now this time: no key is earlier. Never goes back: what is pushed before it belongs to the heap.
    #[inline]
    fn advance(&mut self, now: SimTime) {
        self.current = self.current.max(now.as_nanos() >> STRETCH_BITS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: SimTime = SimTime::NEVER;

    impl Vacant for u64 {
        const VACANT: Self = Self::MAX;
    }

    /// Times in one bucket, in several, and beyond the wheel.
    fn nanos() -> impl Strategy<Value = u64> {
        const STRETCH: u64 = 1 << STRETCH_BITS;
        prop_oneof![0..20_u64, 0..4 * STRETCH, 0..3 * BUCKETS as u64 * STRETCH]
    }

    proptest! {
        /// Against a naive reference: a stable sort by time.
        #[test]
        fn events_come_out_by_time_and_then_in_the_order_of_pushing(times in prop::collection::vec(nanos(), 0..200)) {
            let mut queue = Queue::new();
            for (index, at) in times.iter().enumerate() {
                queue.push(SimTime::from_nanos(*at), index as u64);
            }
            let mut expected: Vec<u64> = (0..times.len() as u64).collect();
            expected.sort_by_key(|index| times[*index as usize]);
            let popped: Vec<u64> = std::iter::from_fn(|| {
                let seen = queue.peek().map(|(order, index)| (order, *index));
                let popped = queue.pop_by(END).map(|(order, due)| (order, queue.take(due)));
                assert_eq!(seen, popped);
                popped.map(|(_, index)| index)
            })
            .collect();
            prop_assert_eq!(popped, expected);
        }

        /// The same while events come and go, and time with them.
        #[test]
        fn the_order_holds_while_events_come_and_go(steps in prop::collection::vec((nanos(), 0_u8..4), 0..600)) {
            let mut queue = Queue::new();
            let mut pending: Vec<(u64, u64)> = Vec::new();
            for (number, (delay, pops)) in steps.into_iter().enumerate() {
                let now = pending.first().map_or(0, |(at, _)| *at);
                queue.push(SimTime::from_nanos(now + delay), number as u64);
                pending.push((now + delay, number as u64));
                pending.sort_unstable();
                // Now and then two leave, so that the queue grows and shrinks.
                for _ in 0..pops.saturating_sub(1).min(pending.len() as u8) {
                    let next = SimTime::from_nanos(pending[0].0);
                    if let Some(before) = pending[0].0.checked_sub(1) {
                        prop_assert!(queue.pop_by(SimTime::from_nanos(before)).is_none());
                    }
                    let (order, due) = queue.pop_by(next).unwrap();
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
                    let (_, due) = queue.pop_by(END).unwrap();
                    queue.take(due);
                }
            }
            prop_assert_eq!(queue.slab.len(), 2);
        }
    }
}
