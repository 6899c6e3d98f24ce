//! Times in scenario files that each seed draws anew.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use sim_core::{SimDuration, Stream};

/// A time between two others, both included; a single time is a range of one.
///
/// Written as `"30s"` or `"20s..40s"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeRange {
    /// The earliest or shortest.
    pub low: SimDuration,
    /// The latest or longest.
    pub high: SimDuration,
}

impl TimeRange {
    /// No time at all.
    pub const ZERO: Self = Self { low: SimDuration::ZERO, high: SimDuration::ZERO };

    /// A time of the range, each nanosecond as likely as the others. A range of one draws nothing.
    pub fn draw(self, stream: &mut Stream) -> SimDuration {
        if self.low == self.high { self.low } else { stream.duration(self.low, self.high) }
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(formatter, "{}", self.low)
        } else {
            write!(formatter, "{}..{}", self.low, self.high)
        }
    }
}

impl FromStr for TimeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.trim().parse::<SimDuration>().map_err(|error| error.to_string());
        let Some((low, high)) = text.split_once("..") else {
            let only = parse(text)?;
            return Ok(Self { low: only, high: only });
        };
        let (low, high) = (parse(low)?, parse(high)?);
        if low > high {
            return Err(format!("`{text}` ends before it begins: write `{high}..{low}`"));
        }
        Ok(Self { low, high })
    }
}

impl<'de> Deserialize<'de> for TimeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TimeRange;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time with its unit, such as \"30s\", or a range, such as \"20s..40s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeRange, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use sim_core::Seed;

    use super::*;

    #[test]
    fn ranges_read_back_what_they_print() {
        for text in ["30s", "20s..40s", "0s..150ms"] {
            let range: TimeRange = text.parse().unwrap();
            assert_eq!(range.to_string().parse::<TimeRange>().unwrap(), range, "{text}");
        }
        let message = "40s..20s".parse::<TimeRange>().unwrap_err();
        assert!(message.contains("20s..40s"), "{message}");
        assert!("20..40".parse::<TimeRange>().is_err());
    }

    #[test]
    fn draws_stay_inside_and_differ() {
        let range: TimeRange = "20s..40s".parse().unwrap();
        let mut stream = Seed(1).stream("test", 0);
        let draws: Vec<SimDuration> = (0..100).map(|_| range.draw(&mut stream)).collect();
        assert!(draws.iter().all(|draw| (range.low..=range.high).contains(draw)));
        assert!(draws.iter().any(|draw| *draw != draws[0]));
    }
}
