//! How a length of time is written in tables: seconds with exactly six decimals.

use serde::Serializer;
use sim_core::SimDuration;

/// Seconds with six decimals, rounded half up from the nanoseconds. Integer arithmetic, so it is the same text on
/// every platform, and exact for every representable length.
pub(crate) fn six_decimals(length: SimDuration) -> String {
    let micros = (u128::from(length.as_nanos()) + 500) / 1_000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The text of a field that may be missing: empty when it is.
pub(crate) fn or_empty(length: Option<SimDuration>) -> String {
    length.map(six_decimals).unwrap_or_default()
}

/// For JSON: a number of seconds.
pub(crate) fn number<S: Serializer>(length: &SimDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(length.as_secs_f64())
}

/// For JSON: a number of seconds, or null.
#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
pub(crate) fn number_or_null<S: Serializer>(
    length: &Option<SimDuration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match length {
        Some(length) => number(length, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_six_decimals_and_round_half_up() {
        for (nanos, text) in [
            (0, "0.000000"),
            (1_499, "0.000001"),
            (1_500, "0.000002"),
            (999_999_500, "1.000000"),
            (61_250_000_000, "61.250000"),
            (u64::MAX, "18446744073.709552"),
        ] {
            assert_eq!(six_decimals(SimDuration::from_nanos(nanos)), text);
        }
        assert_eq!(or_empty(None), "");
    }
}
