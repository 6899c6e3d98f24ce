//! Figures, as SVG: text stays text, and the same data give the same bytes.

mod ecdf;
mod panels;

pub use ecdf::{EcdfSeries, ecdf};
pub use panels::{Panel, panels};
