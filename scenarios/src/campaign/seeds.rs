//! Which seeds a campaign runs.

use std::fmt;
use std::str::FromStr;

use sim_core::Seed;

/// Seeds from the first to before the end. Written as `1000` (the first thousand) or `5000..6000`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeedRange {
    first: u64,
    end: u64,
}

impl SeedRange {
    /// The first `count` seeds.
    pub const fn first(count: u64) -> Self {
        Self { first: 0, end: count }
    }

    /// From one seed to before another.
    ///
    /// # Panics
    /// If there is none.
    pub fn between(first: u64, end: u64) -> Self {
        assert!(first < end, "a range has seeds");
        Self { first, end }
    }

    /// Only this seed.
    ///
    /// # Panics
    /// If it is the greatest there is, which no range reaches.
    pub fn one(seed: Seed) -> Self {
        Self { first: seed.0, end: seed.0.checked_add(1).expect("ranges end below the greatest seed") }
    }

    /// The first one.
    pub const fn first_seed(self) -> Seed {
        Seed(self.first)
    }

    /// How many.
    pub const fn len(self) -> u64 {
        self.end - self.first
    }

    /// Never: a range without seeds cannot be written.
    pub const fn is_empty(self) -> bool {
        self.first == self.end
    }

    /// The range in pieces of at most `length` seeds, in order.
    ///
    /// # Panics
    /// If `length` is zero.
    pub fn windows(self, length: u64) -> impl Iterator<Item = Self> {
        assert!(length > 0, "windows hold seeds");
        let starts = std::iter::successors(Some(self.first), move |first| first.checked_add(length));
        starts
            .take_while(move |first| *first < self.end)
            .map(move |first| Self { first, end: first.saturating_add(length).min(self.end) })
    }

    /// True if this seed is one of them.
    pub const fn contains(self, seed: Seed) -> bool {
        self.first <= seed.0 && seed.0 < self.end
    }

    /// All of them, in order.
    pub fn to_vec(self) -> Vec<Seed> {
        (self.first..self.end).map(Seed).collect()
    }
}

impl fmt::Display for SeedRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.first, self.end)
    }
}

impl FromStr for SeedRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<Seed>().map(|seed| seed.0);
        let (first, end) = match text.split_once("..") {
            Some((first, end)) => (number(first)?, number(end)?),
            None => (0, number(text)?),
        };
        if first >= end {
            return Err(format!(
                "`{text}` holds no seed: write how many, as `1000`, or from where to before where, as `0..1000`"
            ));
        }
        Ok(Self { first, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_the_range_in_pieces() {
        let texts = |range: SeedRange| range.windows(4).map(|window| window.to_string()).collect::<Vec<_>>();
        assert_eq!(texts("3..12".parse().unwrap()), ["3..7", "7..11", "11..12"]);
        assert_eq!(texts(SeedRange::first(4)), ["0..4"]);
        let last = SeedRange { first: u64::MAX - 1, end: u64::MAX };
        assert_eq!(last.windows(1_024).collect::<Vec<_>>(), [last]);
    }

    #[test]
    fn ranges_read_as_people_write_them() {
        assert_eq!("10".parse(), Ok(SeedRange { first: 0, end: 10 }));
        assert_eq!("5..7".parse(), Ok(SeedRange { first: 5, end: 7 }));
        assert_eq!("0x10..0x12".parse(), Ok(SeedRange { first: 16, end: 18 }));
        for text in ["0", "7..5", "5..5", "x", "..", "-1"] {
            assert!(text.parse::<SeedRange>().is_err(), "{text}");
        }
    }
}
