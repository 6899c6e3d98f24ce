//! Hash slots: which key lies where.
//!
//! The real 16,384 slots are modelled as 60 that a run can tell apart, each of which stands for 273 neighbours that are
//! never separated. No rule depends on the number: a node's set is compared and rebound slot by slot.

use std::fmt;

/// How many slots there are.
pub const SLOT_COUNT: u8 = 60;

/// One hash slot.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub u8);

/// A set of slots (the bitmap of a node).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Slots(u64);

impl Slots {
    /// None.
    pub const NONE: Self = Self(0);

    /// The part with this number, if all slots are dealt out to so many in neighbouring ranges, as `redis-cli --cluster
    /// create` does.
    pub fn part(number: u8, of: u8) -> Self {
        let bound = |number: u8| u16::from(number) * u16::from(SLOT_COUNT) / u16::from(of);
        (bound(number)..bound(number + 1)).fold(Self::NONE, |slots, slot| slots.with(Slot(slot as u8)))
    }

    /// Those of which this is true.
    pub fn of(is_in: impl Fn(Slot) -> bool) -> Self {
        (0..SLOT_COUNT).map(Slot).filter(|slot| is_in(*slot)).fold(Self::NONE, Self::with)
    }

    /// This and one more.
    #[must_use]
    pub fn with(self, slot: Slot) -> Self {
        Self(self.0 | 1 << slot.0)
    }

    /// This without those.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What is in both.
    #[must_use]
    pub fn common(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// True if the slot is among them.
    pub fn contains(self, slot: Slot) -> bool {
        self.0 & 1 << slot.0 != 0
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if these are all.
    pub fn is_all(self) -> bool {
        self.0 == (1 << SLOT_COUNT) - 1
    }

    /// They, in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (0..SLOT_COUNT).map(Slot).filter(move |slot| self.contains(*slot))
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.iter().next();
        match (first, self.iter().last()) {
            (Some(first), Some(last)) => write!(formatter, "slots {}-{}", first.0, last.0),
            _ => formatter.write_str("no slots"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_dealt_to_exactly_one() {
        for of in 1..=15 {
            let mut all = Slots::NONE;
            for number in 0..of {
                let part = Slots::part(number, of);
                assert!(!part.is_empty() && part.common(all).is_empty());
                all = all.union(part);
            }
            assert!(all.is_all(), "{of}");
        }
    }
}
