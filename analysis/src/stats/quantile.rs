//! Quantiles from order statistics, with exact intervals that assume no distribution.
//!
//! The point estimate is the linear interpolation of Hyndman and Fan's type 7 (the default of R and `NumPy`), on whole
//! nanoseconds. The interval is the binomial one (Conover, *Practical Nonparametric Statistics*, section 3.2): the
//! number of observations below the true p-quantile is binomial(n, p), so two order statistics enclose it with at least
//! the stated confidence whatever the distribution. Its ends are observations, never interpolations, except that in very
//! small samples (the 99th percentile of two, say) the interpolated estimate can lie outside; then the interval is
//! widened to it, which can only raise the confidence.
//!
//! A run that never recovered is *censored*: its time is longer than every observed one. It stands as "never" behind all
//! finite values and is counted in n. So with 10 % censored runs the 99th percentile is "never", which is the truth.

use serde::Serialize;
use sim_core::SimDuration;
use statrs::distribution::{Binomial, DiscreteCDF};

/// Observations in order, with those that never ended at the back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    finite: Vec<SimDuration>,
    censored_count: usize,
}

/// Which quantile: a share in parts per million, so that no index depends on rounding of floating point.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct QuantileLevel(u32);

impl QuantileLevel {
    /// The first decile.
    pub const P10: Self = Self(100_000);
    /// The median.
    pub const P50: Self = Self(500_000);
    /// The last decile.
    pub const P90: Self = Self(900_000);
    /// The 99th percentile.
    pub const P99: Self = Self(990_000);

    /// So many parts per million; more than a million counts as the maximum.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// As a probability.
    pub fn probability(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

/// A quantile and its 95 % interval. Serialised in seconds; null as the value means "never".
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Quantile {
    /// The estimate; none when it falls among the runs that never ended (or the sample is empty).
    #[serde(rename = "value_s", serialize_with = "crate::seconds::number_or_null")]
    pub value: Option<SimDuration>,
    /// Lower end of the interval; none when the sample is too small to bound the quantile from below, or when even
    /// the lower end is "never".
    #[serde(rename = "low_s", serialize_with = "crate::seconds::number_or_null")]
    pub low: Option<SimDuration>,
    /// Upper end of the interval; none when the sample is too small to bound the quantile from above, or when the
    /// upper end is "never".
    #[serde(rename = "high_s", serialize_with = "crate::seconds::number_or_null")]
    pub high: Option<SimDuration>,
}

impl Sample {
    /// A sample from observations in any order, where none is a run that never ended.
    pub fn new(observations: impl IntoIterator<Item = Option<SimDuration>>) -> Self {
        let mut sample = Self::default();
        for observation in observations {
            match observation {
                Some(length) => sample.finite.push(length),
                None => sample.censored_count += 1,
            }
        }
        Self::from_parts(sample.finite, sample.censored_count)
    }

    /// A sample from the lengths that ended, in any order, and the number of those that never did.
    pub fn from_parts(mut finite: Vec<SimDuration>, censored_count: usize) -> Self {
        finite.sort_unstable();
        Self { finite, censored_count }
    }

    /// The number of observations, censored ones included.
    pub fn len(&self) -> usize {
        self.finite.len() + self.censored_count
    }

    /// True when there is no observation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many never ended.
    pub fn censored_count(&self) -> usize {
        self.censored_count
    }

    /// The observed lengths, ascending.
    pub fn finite(&self) -> &[SimDuration] {
        &self.finite
    }

    /// A quantile with its 95 % interval.
    pub fn quantile(&self, level: QuantileLevel) -> Quantile {
        let (low, high) = interval_ranks(self.len(), level);
        let observation = |rank: usize| self.finite.get(rank - 1).copied();
        let value = self.interpolated(level);
        let low = low.and_then(observation);
        let high = high.and_then(observation);
        Quantile {
            value,
            low: low.map(|low| value.map_or(low, |value| low.min(value))),
            high: value.and_then(|value| high.map(|high| high.max(value))),
        }
    }

    /// Type 7: position `(n - 1) p`, counted from zero, interpolated between its neighbours.
    fn interpolated(&self, level: QuantileLevel) -> Option<SimDuration> {
        let scaled = u128::from(level.0) * (self.len().checked_sub(1)? as u128);
        let (index, rest) = ((scaled / 1_000_000) as usize, (scaled % 1_000_000) as u64);
        let below = *self.finite.get(index)?;
        if rest == 0 {
            return Some(below);
        }
        let above = *self.finite.get(index + 1)?;
        Some(below + (above - below).scale(rest, 1_000_000))
    }
}

/// The ranks (from 1 to n) of the two observations that enclose the quantile with 95 % confidence, 2.5 % on each side;
/// none on a side where no observation does.
fn interval_ranks(n: usize, level: QuantileLevel) -> (Option<usize>, Option<usize>) {
    const TAIL: f64 = 0.025;
    if n == 0 {
        return (None, None);
    }
    let below = Binomial::new(level.probability(), n as u64).expect("a level is a probability");
    // P(fewer than `rank` observations lie below the quantile), growing with the rank.
    let fewer_than = |rank: usize| below.cdf(rank as u64 - 1);
    // The largest rank whose observation lies above the quantile with at most 2.5 %.
    let low = partition(1, n + 1, |rank| fewer_than(rank) <= TAIL) - 1;
    // The smallest rank whose observation lies below the quantile with at most 2.5 %.
    let high = partition(1, n + 1, |rank| fewer_than(rank) < 1.0 - TAIL);
    ((low >= 1).then_some(low), (high <= n).then_some(high))
}

/// The first number in `from..to` for which the condition fails, or `to`; it must hold first and fail afterwards.
fn partition(mut from: usize, mut to: usize, holds: impl Fn(usize) -> bool) -> usize {
    while from < to {
        let middle = usize::midpoint(from, to);
        if holds(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sim_core::Seed;

    use super::*;

    fn seconds(values: &[u64]) -> Sample {
        Sample::new(values.iter().map(|value| Some(SimDuration::from_secs(*value))))
    }

    #[test]
    fn type_seven_interpolates_as_in_the_textbook() {
        // R: quantile(c(1, 2, 3, 4, 10), c(.1, .5, .9)) = 1.4, 3.0, 7.6.
        let sample = seconds(&[10, 4, 1, 3, 2]);
        let value = |level| sample.quantile(level).value.unwrap();
        assert_eq!(value(QuantileLevel::P10), SimDuration::from_millis(1_400));
        assert_eq!(value(QuantileLevel::P50), SimDuration::from_secs(3));
        assert_eq!(value(QuantileLevel::P90), SimDuration::from_millis(7_600));
        assert_eq!(value(QuantileLevel::from_ppm(2_000_000)), SimDuration::from_secs(10));
    }

    #[test]
    fn the_ranks_are_those_of_the_binomial_tables() {
        // Median, n = 10: P(B <= 1) = 11/1024 = 0.0107 and P(B <= 2) = 0.0547, so ranks 2 and 9 (97.9 %).
        assert_eq!(interval_ranks(10, QuantileLevel::P50), (Some(2), Some(9)));
        // Median, n = 5: 1/32 = 0.031 on each side is more than 2.5 %, so no interval; n = 6: 1/64, the extremes.
        assert_eq!(interval_ranks(5, QuantileLevel::P50), (None, None));
        assert_eq!(interval_ranks(6, QuantileLevel::P50), (Some(1), Some(6)));
        // 99th percentile: an upper end needs 0.99^n <= 0.025, which is n >= 368.
        assert_eq!(interval_ranks(367, QuantileLevel::P99).1, None);
        assert_eq!(interval_ranks(368, QuantileLevel::P99).1, Some(368));
        assert_eq!(interval_ranks(0, QuantileLevel::P50), (None, None));
    }

    #[test]
    fn in_a_tiny_sample_the_interval_is_widened_to_the_estimate() {
        // P(both of two lie below the 99th percentile) is 0.9801, so rank 2 is the lower end, above the estimate 1.99.
        assert_eq!(interval_ranks(2, QuantileLevel::P99), (Some(2), None));
        let found = seconds(&[1, 2]).quantile(QuantileLevel::P99);
        assert_eq!(found.value, Some(SimDuration::from_millis(1_990)));
        assert_eq!((found.low, found.high), (found.value, None));
    }

    #[test]
    fn censored_runs_stand_behind_all_others_and_are_counted() {
        let sample = Sample::new(
            [Some(1), Some(2), None, Some(3), None].map(|value| value.map(SimDuration::from_secs)),
        );
        assert_eq!((sample.len(), sample.censored_count()), (5, 2));
        assert_eq!(sample.quantile(QuantileLevel::P50).value, Some(SimDuration::from_secs(3)));
        // Position 0.6 * 4 = 2.4 lies between the third value and "never".
        assert_eq!(sample.quantile(QuantileLevel::from_ppm(600_000)).value, None);
        assert_eq!(Sample::default().quantile(QuantileLevel::P50).value, None);
    }

    /// The promise of the interval, checked by simulation on uniform numbers, whose true quantiles are known. With
    /// 2,000 trials the standard error of the coverage is 0.5 %, so 93.5 % allows for three of them.
    #[test]
    fn the_interval_covers_the_true_quantile_as_often_as_it_says() {
        const TRIALS: u64 = 2_000;
        for (n, level) in [
            (40, QuantileLevel::P50),
            (100, QuantileLevel::P10),
            (100, QuantileLevel::P90),
            (500, QuantileLevel::P99),
        ] {
            let truth = SimDuration::from_nanos(u64::from(level.0) * 1_000);
            let covered = (0..TRIALS)
                .filter(|trial| {
                    let mut stream = Seed(20).stream("coverage", *trial);
                    let sample = Sample::new(
                        (0..n).map(|_| Some(SimDuration::from_nanos(stream.below(1_000_000_000)))),
                    );
                    let found = sample.quantile(level);
                    found.low.is_none_or(|low| low <= truth) && found.high.is_none_or(|high| truth <= high)
                })
                .count();
            let share = covered as f64 / TRIALS as f64;
            assert!((0.935..0.995).contains(&share), "n {n}, {level:?}: covered {share}");
        }
    }

    proptest! {
        #[test]
        fn the_estimate_lies_in_its_interval_and_the_order_of_runs_does_not_matter(
            mut values in prop::collection::vec(prop::option::weighted(0.9, 0_u64..1_000_000), 1..200),
            ppm in 0_u32..=1_000_000,
        ) {
            let level = QuantileLevel::from_ppm(ppm);
            let build = |values: &[Option<u64>]| {
                Sample::new(values.iter().map(|value| value.map(SimDuration::from_nanos)))
            };
            let sample = build(&values);
            let found = sample.quantile(level);
            if let (Some(low), Some(value)) = (found.low, found.value) {
                prop_assert!(low <= value);
            }
            if let (Some(high), Some(value)) = (found.high, found.value) {
                prop_assert!(value <= high);
            }
            values.reverse();
            prop_assert_eq!(build(&values), sample);
        }
    }
}
