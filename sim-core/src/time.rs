//! Virtual time: integer nanoseconds, with one type for each clock.
//!
//! [`SimTime`] is the simulator's own time and orders all events; no process ever sees it. A process reads
//! [`HostTime`] (the monotonic clock of its host) or [`WallTime`] (the host's wall clock, which may jump).
//! The three cannot be compared with each other. [`SimDuration`] is a length on any of them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time in nanoseconds, from 0 to about 584 years.
///
/// Written for people as `"1m 30s"`, `"150ms"` or `"1.5s"`; a bare number is refused, because its unit is a guess.
///
/// ```
/// use sim_core::SimDuration;
/// assert_eq!("1m 30s".parse::<SimDuration>().unwrap(), SimDuration::from_secs(90));
/// assert!("90".parse::<SimDuration>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SimDuration(u64);

impl SimDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest representable length; used for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// A length of whole nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A length of whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// A length of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A length of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// The length in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The length in whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The length in seconds, for statistics and display; never for ordering events.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `self - other`, or zero when `other` is longer.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * numerator / denominator`, rounded down, without overflow in between.
    ///
    /// # Panics
    /// If `denominator` is zero.
    #[must_use]
    pub fn scale(self, numerator: u64, denominator: u64) -> Self {
        Self((u128::from(self.0) * u128::from(numerator) / u128::from(denominator)) as u64)
    }
}

impl Add for SimDuration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for SimDuration {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for SimDuration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).expect("a duration is never negative"))
    }
}

impl Mul<u64> for SimDuration {
    type Output = Self;
    fn mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Div<u64> for SimDuration {
    type Output = Self;
    fn div(self, divisor: u64) -> Self {
        Self(self.0 / divisor)
    }
}

impl Sum for SimDuration {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for SimDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(std::time::Duration::from_nanos(self.0)).to_string();
        formatter.pad(&text)
    }
}

/// Why a text is not a [`SimDuration`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: {reason} (write a number and a unit, such as `150ms`, `1.5s` or `2m 30s`)"
)]
pub struct ParseDurationError {
    text: String,
    reason: String,
}

impl FromStr for SimDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: String| ParseDurationError { text: text.to_owned(), reason };
        let parsed = humantime::parse_duration(text).map_err(|error| fail(error.to_string()))?;
        let nanos = u64::try_from(parsed.as_nanos()).map_err(|_| fail("longer than 584 years".to_owned()))?;
        Ok(Self(nanos))
    }
}

impl Serialize for SimDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SimDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = SimDuration;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration with its unit, such as \"150ms\", \"1.5s\" or \"2m 30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SimDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(u64);

        impl $name {
            /// The start of the clock.
            pub const ZERO: Self = Self(0);
            /// Later than every instant of a run.
            pub const NEVER: Self = Self(u64::MAX);

            /// The instant that many nanoseconds after the start of the clock.
            pub const fn from_nanos(nanos: u64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the start of the clock.
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// Seconds since the start of the clock, for statistics and display.
            pub fn as_secs_f64(self) -> f64 {
                self.0 as f64 / 1e9
            }

            /// The time passed since `earlier`, or zero when `earlier` is later.
            pub const fn since(self, earlier: Self) -> SimDuration {
                SimDuration(self.0.saturating_sub(earlier.0))
            }
        }

        impl Add<SimDuration> for $name {
            type Output = Self;
            fn add(self, length: SimDuration) -> Self {
                Self(self.0.saturating_add(length.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let millis = self.0 / 1_000_000;
                formatter.pad(&format!("{}.{:03}s", millis / 1_000, millis % 1_000))
            }
        }
    };
}

instant! {
    /// An instant of the simulator's own time. It orders events and stamps records; processes never see it.
    SimTime
}

instant! {
    /// An instant on a host's monotonic clock: drifts, never jumps, restarts at zero when the host boots.
    HostTime
}

instant! {
    /// An instant on a host's wall clock: may be wrong, may jump in either direction.
    WallTime
}

impl Serialize for SimTime {
    /// Seconds with nine decimals in one integer of nanoseconds would not survive JavaScript; whole
    /// nanoseconds below 2^53 (104 days) do.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_what_they_print() {
        for text in ["0s", "150ms", "1m 30s", "1s 500ms", "3us 7ns"] {
            let parsed: SimDuration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<SimDuration>().unwrap(), parsed, "{text}");
        }
        assert_eq!("1.5s".parse::<SimDuration>().unwrap(), SimDuration::from_millis(1_500));
    }

    #[test]
    fn a_bare_number_is_refused_with_advice() {
        let message = "90".parse::<SimDuration>().unwrap_err().to_string();
        assert!(message.contains("`90`") && message.contains("unit"), "{message}");
    }
}
