//! Numbers of releases of the modelled software.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The number of a release.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Release {
    /// `4` of 4.1.5.
    pub major: u16,
    /// `1` of 4.1.5.
    pub minor: u16,
    /// `5` of 4.1.5.
    pub patch: u16,
}

impl Release {
    /// A release.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Release {
    type Err = String;

    /// `major.minor.patch`; a missing patch is 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a release: expected major.minor.patch, as 3.0.2");
        let mut numbers = [0_u16; 3];
        let parts: Vec<&str> = text.trim().split('.').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(wrong());
        }
        for (number, part) in numbers.iter_mut().zip(parts) {
            *number = part.parse().map_err(|_| wrong())?;
        }
        let [major, minor, patch] = numbers;
        Ok(Self { major, minor, patch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_ordered_by_number_and_not_by_text() {
        let read = |text: &str| text.parse::<Release>();
        assert_eq!(read("3.0.2"), Ok(Release::new(3, 0, 2)));
        assert_eq!(read("4.1"), Ok(Release::new(4, 1, 0)));
        assert!(read("4.10.0").unwrap() > read("4.9.9").unwrap());
        for text in ["", "4", "4.1.5.1", "v4.1.5", "4.x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
