//! The running digest of a run: every event folds into it, always.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A fingerprint of all events of a run. Two runs with equal digests did the same things in the same order (up to
/// a chance of about 2^-64). It detects nondeterminism, not malice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Digest {
    /// Folds one value in. Order matters.
    #[inline]
    pub fn fold(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9fb2_1c65_1e98_df25);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// The number that it is.
    pub(crate) fn value(self) -> u64 {
        self.0
    }

    /// Folds in whatever a value hashes.
    #[inline]
    pub fn fold_hash(&mut self, value: &impl Hash) {
        value.hash(&mut Folding(self));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 {
            return Err(format!("`{text}` is not a digest: expected 16 hexadecimal digits"));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a digest: expected 16 hexadecimal digits"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Lets derived `Hash` implementations fold into a digest. Integers fold as numbers, so the result does not depend
/// on the byte order of the machine.
struct Folding<'a>(&'a mut Digest);

impl Hasher for Folding<'_> {
    fn finish(&self) -> u64 {
        self.0.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0_u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.0.fold(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.0.fold(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.0.fold(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0.fold(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.0.fold(value as u64);
    }
}
