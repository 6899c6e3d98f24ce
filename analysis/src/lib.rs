//! From records to knowledge: what a run did to its clients, how sure a campaign is of it, and figures of it.
//!
//! The way through the crate: a [`sim_core::Record`] and the values that survived the run go into [`measure()`],
//! which gives the [`Measures`] of one run. One [`RunRow`] per run goes into the CSV of a campaign, and all rows of
//! a scenario into a [`ScenarioSummary`] with its sample size and confidence intervals. [`plot::ecdf()`] draws them.
//!
//! Nothing here knows a protocol: the words are those of [`sim_core::MarkKind`]. All arithmetic on times is on whole
//! nanoseconds; floating point appears only in probabilities and where a time is printed, so that a summary does not
//! depend on the machine, on the number of threads or on the order in which runs finished.

pub mod measure;
pub mod plot;
mod seconds;
pub mod stats;
mod summary;
mod table;

pub use measure::{
    ClusterPhase, MeasureOptions, Measures, ReadsOf, Successes, SurvivingValues, measure,
    measure_with_successes, phases_at_faults,
};
pub use summary::{
    LossSummary, OverlapSummary, ReadSummary, SUMMARY_FORMAT_VERSION, ScenarioSummary, SummaryBuilder,
    SummaryError, TimeQuantiles,
};
pub use table::{CsvRows, RUN_COLUMNS, RunRow, TableError, write_csv, write_json_lines};
