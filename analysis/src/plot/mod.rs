//! Figures, as SVG: text stays text, and the same data give the same bytes.

mod ecdf;

pub use ecdf::{EcdfSeries, ecdf};
