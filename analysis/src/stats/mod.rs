//! Statistics that say how sure they are: quantiles with exact intervals, rare events, distances of samples.

mod distance;
mod quantile;
mod rare;

pub use distance::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use quantile::{Quantile, QuantileLevel, Sample};
pub use rare::{ProportionInterval, clopper_pearson, zero_events_upper};
