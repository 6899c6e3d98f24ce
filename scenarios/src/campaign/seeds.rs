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

    /// How many.
    pub const fn len(self) -> u64 {
        self.end - self.first
    }

    /// Never: a range without seeds cannot be written.
    pub const fn is_empty(self) -> bool {
        self.first == self.end
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
    fn ranges_read_as_people_write_them() {
        assert_eq!("10".parse(), Ok(SeedRange { first: 0, end: 10 }));
        assert_eq!("5..7".parse(), Ok(SeedRange { first: 5, end: 7 }));
        assert_eq!("0x10..0x12".parse(), Ok(SeedRange { first: 16, end: 18 }));
        for text in ["0", "7..5", "5..5", "x", "..", "-1"] {
            assert!(text.parse::<SeedRange>().is_err(), "{text}");
        }
    }
}
