//! Randomness: one independent stream for each purpose, derived from the seed by name.
//!
//! A run has one [`Seed`]. Every purpose ("the link from a to b", "process 3", "the fault generator") draws from its
//! own [`Stream`], whose state is filled from `ChaCha8` keyed by the seed, with the stream number set to a fixed hash
//! of the purpose. So a new draw in one place never shifts the draws of another, which gives common random numbers
//! across a parameter sweep. The draws themselves come from xoshiro256++ (32 bytes of state): a world with a hundred
//! streams stays cheap to clone, where a hundred `ChaCha8` generators (320 bytes each) would not.
//!
//! Sampling is written here and not taken from `rand`: that crate allows value-breaking changes in minor versions,
//! and a seed must mean the same run for as long as hasim keeps its digests.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::SimDuration;

/// The seed of one run. Decimal or `0x…` on input, decimal on output; a string in JSON, because JavaScript loses
/// integers above 2^53.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of this purpose. `index` tells apart streams of one kind (process 0, process 1, ...).
    pub fn stream(self, purpose: &str, index: u64) -> Stream {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        let mut source = ChaCha8Rng::from_seed(key);
        source.set_stream(stream_number(purpose, index));
        let mut state = [0_u8; 32];
        source.fill_bytes(&mut state);
        Stream { generator: Xoshiro256PlusPlus::from_seed(state), root: source.next_u64() }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0.to_string())
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map(Self).map_err(|_| {
            format!("`{text}` is not a seed: expected a whole number from 0 to {}, decimal or 0x…", u64::MAX)
        })
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One random stream. Everything it gives is the same on every platform and in every version of its dependencies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stream {
    generator: Xoshiro256PlusPlus,
    /// What streams [aside](Self::aside) are derived from.
    root: u64,
}

impl Stream {
    /// A stream for a purpose beside this one. What it gives does not hang on how much was drawn from this one before: a draw that many
    /// of one kind precede, in an order or number that chance decides, is best taken aside. `index` tells such draws apart.
    #[must_use]
    pub fn aside(&self, purpose: &str, index: u64) -> Self {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(self.root ^ stream_number(purpose, index));
        let root = generator.next_u64();
        Self { generator, root }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A uniform number in `0..bound`, by widening multiplication with rejection (Lemire 2019).
    ///
    /// # Panics
    /// If `bound` is zero.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        let product = u128::from(self.bits()) * u128::from(bound);
        if (product as u64) < bound {
            self.below_unless_uneven(bound, product)
        } else {
            (product >> 64) as u64
        }
    }

    /// The rest of [`Self::below`]: apart, because it is once in 2^64 / `bound` draws.
    #[cold]
    fn below_unless_uneven(&mut self, bound: u64, mut product: u128) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        while (product as u64) < threshold {
            product = u128::from(self.bits()) * u128::from(bound);
        }
        (product >> 64) as u64
    }

    /// A uniform number in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "empty range {low}..={high}");
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.bits(),
        }
    }

    /// A uniform length in `low..=high`.
    #[inline]
    pub fn duration(&mut self, low: SimDuration, high: SimDuration) -> SimDuration {
        SimDuration::from_nanos(self.between(low.as_nanos(), high.as_nanos()))
    }

    /// True with the given probability. Probability zero draws nothing.
    #[inline]
    pub fn chance(&mut self, probability: Probability) -> bool {
        probability != Probability::NEVER && self.below(1_000_000) < u64::from(probability.0)
    }

    /// One of the items, each as likely as the others; none if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { Some(&items[self.below(items.len() as u64) as usize]) }
    }

    /// A random order, by Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// A probability in parts per million: exact, so that nothing that orders events depends on floating point.
///
/// Written as `"0.1%"`, or `"1/1000"`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Probability(u32);

impl Probability {
    /// Zero.
    pub const NEVER: Self = Self(0);
    /// One.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many parts per million; more than a million counts as certainty.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// Parts per million.
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let text = format!("{whole}.{rest:04}");
        write!(formatter, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Probability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || {
            format!(
                "`{text}` is not a probability from 0 to 1: write a percentage as \"0.1%\", or \"1/1000\""
            )
        };
        let ppm = if let Some(percent) = text.strip_suffix('%') {
            let (whole, fraction) = percent.trim().split_once('.').unwrap_or((percent.trim(), ""));
            if fraction.len() > 4 {
                return Err(format!(
                    "`{text}` is finer than the millionth part (0.0001%) that hasim resolves"
                ));
            }
            let whole: u64 = whole.parse().map_err(|_| fail())?;
            let fraction: u64 = format!("{fraction:0<4}").parse().map_err(|_| fail())?;
            whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(fraction)).ok_or_else(fail)?
        } else {
            let (top, bottom) = text.split_once('/').ok_or_else(fail)?;
            let top: u64 = top.trim().parse().map_err(|_| fail())?;
            let bottom: u64 = bottom.trim().parse().map_err(|_| fail())?;
            top.checked_mul(1_000_000).and_then(|scaled| scaled.checked_div(bottom)).ok_or_else(fail)?
        };
        u32::try_from(ppm).ok().filter(|ppm| *ppm <= 1_000_000).map(Self).ok_or_else(fail)
    }
}

impl Serialize for Probability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// FNV-1a over the purpose and the index: fixed for ever, unlike the hashers of the standard library.
fn stream_number(purpose: &str, index: u64) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    purpose
        .bytes()
        .chain([0])
        .chain(index.to_le_bytes())
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_aside_hangs_on_its_purpose_and_not_on_what_was_drawn_before() {
        let mut stream = Seed(1).stream("test", 0);
        let mut early = stream.aside("login", 7);
        let before = stream.clone().bits();
        assert_eq!(stream.bits(), before, "it takes nothing from the stream");
        let draws: [u64; 2] = std::array::from_fn(|_| early.bits());
        let mut late = stream.aside("login", 7);
        assert_eq!(std::array::from_fn(|_| late.bits()), draws);
        let others =
            [("login", 8), ("gateway", 7)].map(|(purpose, index)| stream.aside(purpose, index).bits());
        assert!(!others.contains(&draws[0]) && others[0] != others[1]);
        assert_ne!(Seed(2).stream("test", 0).aside("login", 7).bits(), draws[0]);
        assert_eq!(draws, [0xd62c_a3d3_af3f_5da3, 0xff2b_b09c_6a50_b98c], "{draws:#x?}");
    }

    /// Golden values: a change here changes the meaning of every seed that anybody has written down.
    #[test]
    fn streams_give_the_values_they_have_always_given() {
        let mut stream = Seed(1).stream("test", 0);
        let first: Vec<u64> = (0..3).map(|_| stream.bits()).collect();
        assert_eq!(first, GOLDEN, "{first:#x?}");
    }
    const GOLDEN: [u64; 3] = [0x7c8c_f0c4_ef5e_1ee1, 0x03f2_aff3_7400_4f1a, 0x1131_7f5f_e3ab_7a4a];

    #[test]
    fn streams_of_other_names_and_indexes_differ() {
        let first = |purpose: &str, index| Seed(7).stream(purpose, index).bits();
        assert_ne!(first("link", 0), first("link", 1));
        assert_ne!(first("link", 0), first("disk", 0));
        assert_ne!(first("link", 0), Seed(8).stream("link", 0).bits());
    }

    #[test]
    fn below_is_uniform_enough_for_a_chi_square_test() {
        let mut stream = Seed(3).stream("uniform", 0);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[stream.below(10) as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 27.9, "chi-square {chi} exceeds the 99.9 % point for 9 degrees of freedom");
    }

    #[test]
    fn probabilities_read_as_people_write_them() {
        for (text, ppm) in
            [("0.1%", 1_000), ("1/1000", 1_000), ("100%", 1_000_000), ("0.0001%", 1), ("0/5", 0)]
        {
            assert_eq!(text.parse::<Probability>().unwrap().ppm(), ppm, "{text}");
        }
        for text in ["101%", "0.1", "1/0", "2/1", "x%", "0.00001%"] {
            assert!(text.parse::<Probability>().is_err(), "{text}");
        }
    }
}
