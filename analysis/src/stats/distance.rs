//! The distance of two samples: for holding simulated times against measured ones.

use serde::Serialize;

use super::Sample;

/// The two-sample distance of Kolmogorov and Smirnov: the largest difference of the two empirical distributions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KolmogorovSmirnov {
    /// The distance, from 0 (same distribution) to 1 (disjoint).
    pub distance: f64,
    /// Distances above this one reject "same distribution" at 5 % (`1.358 sqrt((n + m) / (n m))`, the large-sample
    /// value; conservative where values are tied).
    pub critical_95: f64,
    /// The same at 1 % (`1.628 sqrt((n + m) / (n m))`).
    pub critical_99: f64,
    /// Size of the first sample, censored observations included.
    pub first_count: u64,
    /// Size of the second.
    pub second_count: u64,
}

/// The distance of two samples; none when one is empty. Censored observations lie behind all others, so a different
/// share of them is part of the distance. Computed on integers, hence the same everywhere.
pub fn kolmogorov_smirnov(first: &Sample, second: &Sample) -> Option<KolmogorovSmirnov> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let (first_count, second_count) = (first.len() as u64, second.len() as u64);
    let (left, right) = (first.finite(), second.finite());
    let (mut passed_left, mut passed_right) = (0, 0);
    let mut largest = 0_u128;
    // After each distinct value both distributions have taken their step; only there can the difference be largest.
    while passed_left < left.len() || passed_right < right.len() {
        let next = match (left.get(passed_left), right.get(passed_right)) {
            (Some(one), Some(other)) => *one.min(other),
            (Some(only), None) | (None, Some(only)) => *only,
            (None, None) => break,
        };
        passed_left += left[passed_left..].partition_point(|value| *value <= next);
        passed_right += right[passed_right..].partition_point(|value| *value <= next);
        let difference = (passed_left as u128 * u128::from(second_count))
            .abs_diff(passed_right as u128 * u128::from(first_count));
        largest = largest.max(difference);
    }
    let product = first_count as f64 * second_count as f64;
    let scale = ((first_count + second_count) as f64 / product).sqrt();
    Some(KolmogorovSmirnov {
        distance: largest as f64 / product,
        critical_95: 1.358 * scale,
        critical_99: 1.628 * scale,
        first_count,
        second_count,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sim_core::SimDuration;

    use super::*;

    fn sample(values: &[Option<u64>]) -> Sample {
        Sample::new(values.iter().map(|value| value.map(SimDuration::from_secs)))
    }

    fn distance(first: &[Option<u64>], second: &[Option<u64>]) -> f64 {
        kolmogorov_smirnov(&sample(first), &sample(second)).unwrap().distance
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "quotients of small integers")]
    fn hand_computed_distances() {
        let some = |values: &[u64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(distance(&some(&[1, 2, 3]), &some(&[1, 2, 3])), 0.0);
        assert_eq!(distance(&some(&[1, 2]), &some(&[3, 4, 5])), 1.0);
        // After 2: 2/4 against 0/2.
        assert_eq!(distance(&some(&[1, 2, 3, 4]), &some(&[3, 4])), 0.5);
        // Never recovered: 1/2 against 0.
        assert_eq!(distance(&[Some(1), None], &some(&[1, 1])), 0.5);
        assert!(kolmogorov_smirnov(&Sample::default(), &sample(&[Some(1)])).is_none());
    }

    proptest! {
        #[test]
        fn it_is_symmetric_and_bounded(
            first in prop::collection::vec(prop::option::weighted(0.9, 0_u64..50), 1..60),
            second in prop::collection::vec(prop::option::weighted(0.9, 0_u64..50), 1..60),
        ) {
            let there = distance(&first, &second);
            let back = distance(&second, &first);
            prop_assert!((there - back).abs() < f64::EPSILON);
            prop_assert!((0.0..=1.0).contains(&there));
            prop_assert!(distance(&first, &first) < f64::EPSILON);
        }

        /// Against the definition, evaluated at every value.
        #[test]
        fn it_is_the_largest_difference_of_the_distributions(
            first in prop::collection::vec(0_u64..30, 1..40),
            second in prop::collection::vec(0_u64..30, 1..40),
        ) {
            let share = |values: &[u64], limit: u64| {
                values.iter().filter(|value| **value <= limit).count() as f64 / values.len() as f64
            };
            let expected = (0..30).map(|at| (share(&first, at) - share(&second, at)).abs()).fold(0.0, f64::max);
            let wrap = |values: &[u64]| values.iter().copied().map(Some).collect::<Vec<_>>();
            prop_assert!((distance(&wrap(&first), &wrap(&second)) - expected).abs() < 1e-9);
        }
    }
}
