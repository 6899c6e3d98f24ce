//! One measured quantity beside the simulated one, and the rule by which they agree.

use std::fmt;

use analysis::stats::{KolmogorovSmirnov, Quantile, QuantileLevel, Sample, kolmogorov_smirnov};
use serde::Serialize;
use sim_core::SimDuration;

/// The largest distance of the distributions.
const LARGEST_DISTANCE: f64 = 0.2;

/// What became of a comparison.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// Median and last decile are within 10 % or the least tolerance of the system, and so is the distance of the distributions: at most 0.2, or,
    /// where the samples are so small that chance alone exceeds that once in a hundred times, at most that.
    Agrees,
    /// The median or the last decile is off by more, but within the 95 % interval of the measured one, and the distance is no
    /// more than chance explains: there are too few rows to tell.
    Undecided,
    /// Median and last decile are close, and the distributions are further apart than that.
    ShapeApart,
    /// The median or the last decile is off.
    Apart,
}

impl fmt::Display for Agreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Agrees => "agrees",
            Self::Undecided => "undecided",
            Self::ShapeApart => "shape apart",
            Self::Apart => "apart",
        })
    }
}

/// The quantiles of one sample.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Side {
    /// Observations, those included that never happened.
    pub count: usize,
    /// The first decile with its 95 % interval.
    pub p10: Quantile,
    /// The median.
    pub p50: Quantile,
    /// The last decile.
    pub p90: Quantile,
    /// The observations that happened, in order, in seconds.
    #[serde(rename = "values_s", serialize_with = "seconds")]
    pub values: Vec<SimDuration>,
}

fn seconds<S: serde::Serializer>(values: &[SimDuration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| value.as_secs_f64()))
}

impl From<&Sample> for Side {
    fn from(sample: &Sample) -> Self {
        Self {
            count: sample.len(),
            p10: sample.quantile(QuantileLevel::P10),
            p50: sample.quantile(QuantileLevel::P50),
            p90: sample.quantile(QuantileLevel::P90),
            values: sample.finite().to_vec(),
        }
    }
}

/// A quantity of a point, measured and simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub quantity: &'static str,
    /// What was measured.
    pub measured: Side,
    /// What was simulated.
    pub simulated: Side,
    /// How far the distributions are apart.
    pub distance: KolmogorovSmirnov,
    /// Whether they agree.
    pub agreement: Agreement,
}

impl Comparison {
    /// Compares two samples; none if one of them is empty. A median or a last decile may be off by a tenth of the measured one, or
    /// by `least` if that is more.
    pub(super) fn of(
        quantity: &'static str,
        measured: &Sample,
        simulated: &Sample,
        least: SimDuration,
    ) -> Option<Self> {
        let distance = kolmogorov_smirnov(measured, simulated)?;
        let (measured, simulated) = (Side::from(measured), Side::from(simulated));
        let judged = [(&measured.p50, &simulated.p50), (&measured.p90, &simulated.p90)];
        let close = |measured: &Quantile, simulated: &Quantile| is_close(measured, simulated, least);
        let agreement = if !judged.iter().all(|(measured, simulated)| close(measured, simulated)) {
            let possible = |(measured, simulated): &(&Quantile, &Quantile)| {
                close(measured, simulated) || simulated.value.is_some_and(|value| is_inside(measured, value))
            };
            if judged.iter().all(possible) && distance.distance <= distance.critical_99 {
                Agreement::Undecided
            } else {
                Agreement::Apart
            }
        } else if distance.distance > LARGEST_DISTANCE.max(distance.critical_99) {
            Agreement::ShapeApart
        } else {
            Agreement::Agrees
        };
        Some(Self { quantity, measured, simulated, distance, agreement })
    }
}

/// True if the simulated quantile is as near to the measured one as the rule wants it. Two that are never are equal.
fn is_close(measured: &Quantile, simulated: &Quantile, least: SimDuration) -> bool {
    match (measured.value, simulated.value) {
        (Some(measured), Some(simulated)) => {
            let apart = measured.max(simulated) - measured.min(simulated);
            apart <= (measured / 10).max(least)
        }
        (measured, simulated) => measured == simulated,
    }
}

/// True if the 95 % interval of a quantile holds the value. A sample too small to bound it on a side excludes nothing there.
fn is_inside(quantile: &Quantile, value: SimDuration) -> bool {
    quantile.low.is_none_or(|low| low <= value) && quantile.high.is_none_or(|high| value <= high)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: SimDuration = SimDuration::from_millis(500);

    fn sample(from_millis: u64, count: u64) -> Sample {
        Sample::new((0..count).map(|index| Some(SimDuration::from_millis(from_millis + 10 * index))))
    }

    fn agreement(measured: &Sample, simulated: &Sample) -> Agreement {
        Comparison::of("outage", measured, simulated, LEAST).expect("neither is empty").agreement
    }

    #[test]
    fn a_tenth_or_half_a_second_is_close() {
        assert_eq!(agreement(&sample(20_000, 100), &sample(20_000, 100)), Agreement::Agrees);
        assert_eq!(agreement(&sample(20_000, 100), &sample(23_000, 100)), Agreement::Apart);
        assert_eq!(agreement(&sample(20_000, 100), &sample(21_500, 100)), Agreement::ShapeApart);
        assert_eq!(agreement(&sample(100, 100), &sample(601, 100)), Agreement::Apart);
        assert_eq!(agreement(&sample(100, 100), &sample(599, 100)), Agreement::ShapeApart);
    }

    #[test]
    fn chance_is_allowed_for_in_small_samples() {
        // With 6 against 100, chance alone is above 0.68 once in a hundred times.
        assert_eq!(agreement(&sample(1_000, 6), &sample(1_020, 100)), Agreement::Apart);
        assert_eq!(agreement(&sample(1_400, 6), &sample(1_000, 100)), Agreement::Agrees);
        // Five rows from 2 to 14 s bound a median of 8 s by nothing: 9.5 s is possible.
        let few = Sample::new([2, 5, 8, 11, 14].map(|seconds| Some(SimDuration::from_secs(seconds))));
        let many = Sample::new((0..100).map(|index| Some(SimDuration::from_millis(3_500 + 120 * index))));
        assert_eq!(agreement(&few, &many), Agreement::Undecided);
    }

    #[test]
    fn what_never_happens_on_one_side_only_is_apart() {
        let never = Sample::from_parts(Vec::new(), 10);
        assert_eq!(agreement(&never, &never), Agreement::Agrees);
        assert_eq!(agreement(&never, &sample(1_000, 10)), Agreement::Apart);
        assert!(Comparison::of("outage", &Sample::default(), &never, LEAST).is_none());
    }
}
