//! Random lengths of time: the only place where floating point touches a run.
//!
//! A distribution is turned once, when the world is built, into a [`Sampler`]: a range, or a table of quantiles in
//! integer nanoseconds. The table is computed with `libm`, whose results are the same on every platform (the
//! methods of `f64` call the platform's library), so samples are too. Drawing costs a table look-up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::random::Stream;
use crate::time::SimDuration;

/// A distribution of lengths of time, as written in scenario files.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// Always this length.
    Constant(SimDuration),
    /// Every length from the first to the second is equally likely.
    Uniform(SimDuration, SimDuration),
    /// `min` plus an exponentially distributed length with this mean.
    Exponential {
        /// The shortest length.
        min: SimDuration,
        /// The mean of what comes on top.
        mean: SimDuration,
    },
    /// Log-normal with this median; `sigma` is the standard deviation of the logarithm, in hundredths.
    LogNormal {
        /// Half of the samples are shorter.
        median: SimDuration,
        /// Standard deviation of the natural logarithm, in hundredths (50 means 0.5).
        sigma_percent: u32,
    },
    /// Measured lengths; a sample interpolates between neighbours in sorted order.
    Empirical(Vec<SimDuration>),
}

impl Distribution {
    /// The form from which lengths are drawn.
    ///
    /// # Panics
    /// If a range is empty or an empirical distribution has no points; scenario files are checked before.
    pub fn sampler(&self) -> Sampler {
        match self {
            Self::Constant(length) => Sampler::Constant(*length),
            Self::Uniform(low, high) => {
                assert!(low <= high, "empty range {low} to {high}");
                // The longest of all possible lengths is not drawn: the count of lengths would not fit.
                Sampler::Uniform { low: *low, lengths: (*high - *low).as_nanos().saturating_add(1) }
            }
            Self::Exponential { min, mean } => {
                let mean = mean.as_nanos() as f64;
                Sampler::table(|quantile| min.as_nanos() as f64 - mean * libm::log1p(-quantile))
            }
            Self::LogNormal { median, sigma_percent } => {
                let (median, sigma) = (median.as_nanos() as f64, f64::from(*sigma_percent) / 100.0);
                Sampler::table(|quantile| median * libm::exp(sigma * normal_quantile(quantile)))
            }
            Self::Empirical(lengths) => {
                assert!(!lengths.is_empty(), "an empirical distribution needs points");
                let mut sorted = lengths.clone();
                sorted.sort_unstable();
                let last = (sorted.len() - 1) as f64;
                Sampler::table(|quantile| {
                    let position = quantile * last;
                    let below = libm::floor(position) as usize;
                    let above = (below + 1).min(sorted.len() - 1);
                    let (low, high) = (sorted[below].as_nanos() as f64, sorted[above].as_nanos() as f64);
                    low + (high - low) * (position - below as f64)
                })
            }
        }
    }

    /// True if the distribution can be sampled: ranges are not empty, measured points exist.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Uniform(low, high) => low <= high,
            Self::Empirical(lengths) => !lengths.is_empty(),
            Self::Constant(_) | Self::Exponential { .. } | Self::LogNormal { .. } => true,
        }
    }
}

/// A distribution ready to be drawn from.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// Always this length; draws nothing from the stream.
    Constant(SimDuration),
    /// One of so many lengths, a nanosecond apart, from the shortest on.
    Uniform {
        /// The shortest.
        low: SimDuration,
        /// How many there are, at least one.
        lengths: u64,
    },
    /// Nanoseconds at evenly spaced quantiles, with linear interpolation between them.
    Table(Arc<[u64; Self::CELLS + 1]>),
}

impl Sampler {
    /// Quantiles 0 to [`Self::CELLS`]; the tail beyond the last cell's middle is cut there.
    const CELLS: usize = 1 << Self::CELL_BITS;
    /// 8 KiB a table: three of them stay in the first-level cache.
    const CELL_BITS: u32 = 10;

    fn table(quantile: impl Fn(f64) -> f64) -> Self {
        let cells = Self::CELLS as f64;
        let point = |index: usize| {
            // The outermost points stand for the middle of the outermost cells: an unbounded tail has no end.
            let position = (index as f64).clamp(0.25, cells - 0.25) / cells;
            libm::round(quantile(position).max(0.0)) as u64
        };
        Self::Table(Arc::new(std::array::from_fn(point)))
    }

    /// One length.
    #[inline(always)]
    pub fn draw(&self, stream: &mut Stream) -> SimDuration {
        match self {
            Self::Constant(length) => *length,
            Self::Uniform { low, lengths } => *low + SimDuration::from_nanos(stream.below(*lengths)),
            Self::Table(points) => {
                let bits = stream.bits();
                let cell = (bits >> (64 - Self::CELL_BITS)) as usize;
                let (low, high) = (points[cell], points[cell + 1]);
                // Other bits than those that chose the cell.
                let within = u128::from(bits as u32);
                SimDuration::from_nanos(low + ((u128::from(high - low) * within) >> 32) as u64)
            }
        }
    }

    /// A typical length (the median): used for time-outs that adapt to the path, never drawn.
    pub fn median(&self) -> SimDuration {
        match self {
            Self::Constant(length) => *length,
            Self::Uniform { low, lengths } => *low + SimDuration::from_nanos((*lengths - 1) / 2),
            Self::Table(points) => SimDuration::from_nanos(points[points.len() / 2]),
        }
    }
}

/// The inverse of the standard normal distribution function (Acklam's rational approximation, relative error below
/// 1.2e-9).
fn normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    const LOW: f64 = 0.02425;
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if probability < LOW {
        let q = libm::sqrt(-2.0 * libm::log(probability));
        horner(&C, q) / (horner(&D, q) * q + 1.0)
    } else if probability > 1.0 - LOW {
        -normal_quantile(1.0 - probability)
    } else {
        let q = probability - 0.5;
        let r = q * q;
        horner(&A, r) * q / (horner(&B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    fn mean_of(distribution: &Distribution) -> f64 {
        let sampler = distribution.sampler();
        let mut stream = Seed(1).stream("distribution", 0);
        (0..200_000).map(|_| sampler.draw(&mut stream).as_secs_f64()).sum::<f64>() / 200_000.0
    }

    #[test]
    fn means_are_those_of_the_formulas() {
        let millis = SimDuration::from_millis;
        let uniform = mean_of(&Distribution::Uniform(millis(10), millis(30)));
        assert!((uniform - 0.020).abs() < 0.000_1, "{uniform}");
        let exponential = mean_of(&Distribution::Exponential { min: millis(5), mean: millis(10) });
        assert!((exponential - 0.015).abs() < 0.000_15, "{exponential}");
        let log_normal = mean_of(&Distribution::LogNormal { median: millis(10), sigma_percent: 50 });
        assert!((log_normal - 0.010 * libm::exp(0.125)).abs() < 0.000_1, "{log_normal}");
    }

    #[test]
    fn empirical_samples_stay_within_the_measured_points() {
        let points = [3, 1, 2].map(SimDuration::from_secs).to_vec();
        let sampler = Distribution::Empirical(points).sampler();
        let mut stream = Seed(1).stream("distribution", 1);
        for _ in 0..1_000 {
            let drawn = sampler.draw(&mut stream);
            assert!(drawn >= SimDuration::from_secs(1) && drawn <= SimDuration::from_secs(3), "{drawn}");
        }
    }
}
