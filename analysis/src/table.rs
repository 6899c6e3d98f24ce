//! One row per run: the main product of a campaign, as CSV and as JSON lines.
//!
//! [`RUN_COLUMNS`] is the one place where the columns are defined. Units are in the names (`_s`: seconds with six
//! decimals, `_count`: how many). An empty field means "never", or "not applicable". Seeds are decimal strings, since
//! a seed above 2^53 does not survive a spreadsheet or JavaScript; read the column as text (pandas:
//! `dtype={"seed": str}`).

use std::io::Write;

use serde::Serialize;
use sim_core::{Digest, Record, Seed, SimDuration, SimTime};

use crate::measure::{Measures, Phases};
use crate::seconds::{number, number_or_null, or_empty, six_decimals};

/// The columns of the CSV, in order, each with its meaning.
pub const RUN_COLUMNS: [(&str, &str); 28] = [
    ("scenario", "the scenario's name"),
    ("seed", "the run's seed, decimal"),
    ("verdict", "the judge's verdict, in kebab case"),
    ("digest", "fingerprint of all events, 16 hexadecimal digits"),
    ("event_count", "events processed"),
    ("simulated_s", "virtual length of the run"),
    ("fault_count", "faults that took effect"),
    ("acknowledged_count", "writes acknowledged without reservation"),
    ("lost_count", "of these, absent at the end"),
    ("lost_s", "from the acknowledgement of the oldest lost write to that of the newest; empty: none lost"),
    ("warned_lost_count", "writes answered with a warning and absent at the end"),
    ("phantom_count", "writes answered with an error and present at the end"),
    ("overlap_s", "time in which two or more processes accepted writes"),
    ("overlap_write_count", "writes acknowledged in such a time"),
    ("unavailable_s", "all outages together, as far as the run saw them"),
    ("outage_s", "the longest outage; 0: none; empty: the run had not recovered at its end"),
    (
        "failover_gap_s",
        "longest gap between successful writes that ended after the fault; empty: not recovered",
    ),
    ("detect_s", "phase fault to suspected (restart in place: to writable); empty: did not happen"),
    ("elect_s", "phase suspected to elected"),
    ("promote_s", "phase elected to writable"),
    ("reroute_s", "phase writable to the first success of the new primary"),
    ("recovered", "true or false: a write succeeded after the last fault, and no outage was open at the end"),
    (
        "long_fork_count",
        "reads that contradict another about which of two writes came first; 0 if reads count rows",
    ),
    (
        "stale_read_count",
        "reads that lack a write acknowledged before they were asked; 0 if reads count rows",
    ),
    ("lost_read_count", "reads that saw a write which is absent at the end; 0 if reads count rows"),
    ("shared_epoch_count", "elections in a term or epoch in which another process had been elected"),
    ("read_count", "reads that were answered and tell what they saw; 0 if reads count rows"),
    (
        "empty_read_count",
        "of these, reads of a key that was not there: cache misses, users who are not logged in any more",
    ),
];

/// What a campaign keeps of one run. The columns are explained in [`RUN_COLUMNS`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RunRow {
    /// The scenario's name.
    pub scenario: String,
    /// The run's seed.
    pub seed: Seed,
    /// The judge's verdict, in kebab case.
    pub verdict: String,
    /// Fingerprint of all events.
    pub digest: Digest,
    /// Events processed.
    #[serde(rename = "event_count")]
    pub events: u64,
    /// Virtual length of the run.
    #[serde(rename = "simulated_s", serialize_with = "number")]
    pub simulated: SimDuration,
    /// Faults that took effect.
    #[serde(rename = "fault_count")]
    pub faults: u64,
    /// Writes acknowledged without reservation.
    #[serde(rename = "acknowledged_count")]
    pub acknowledged: u64,
    /// Of these, absent at the end.
    #[serde(rename = "lost_count")]
    pub lost: u64,
    /// From the acknowledgement of the oldest lost write to that of the newest; none when none was lost.
    #[serde(rename = "lost_s", serialize_with = "number_or_null")]
    pub lost_span: Option<SimDuration>,
    /// Writes answered with a warning and absent at the end.
    #[serde(rename = "warned_lost_count")]
    pub warned_lost: u64,
    /// Writes answered with an error and present at the end.
    #[serde(rename = "phantom_count")]
    pub phantom: u64,
    /// Time in which two or more processes accepted writes.
    #[serde(rename = "overlap_s", serialize_with = "number")]
    pub overlap: SimDuration,
    /// Writes acknowledged in such a time.
    #[serde(rename = "overlap_write_count")]
    pub overlap_writes: u64,
    /// All outages together, as far as the run saw them.
    #[serde(rename = "unavailable_s", serialize_with = "number")]
    pub unavailable: SimDuration,
    /// The longest outage; none when the run had not recovered at its end.
    #[serde(rename = "outage_s", serialize_with = "number_or_null")]
    pub outage: Option<SimDuration>,
    /// The longest gap between successful writes that ended after the fault; none when not recovered.
    #[serde(rename = "failover_gap_s", serialize_with = "number_or_null")]
    pub failover_gap: Option<SimDuration>,
    /// Phase fault to suspected.
    #[serde(rename = "detect_s", serialize_with = "number_or_null")]
    pub detect: Option<SimDuration>,
    /// Phase suspected to elected.
    #[serde(rename = "elect_s", serialize_with = "number_or_null")]
    pub elect: Option<SimDuration>,
    /// Phase elected to writable.
    #[serde(rename = "promote_s", serialize_with = "number_or_null")]
    pub promote: Option<SimDuration>,
    /// Phase writable to the first success of the new primary.
    #[serde(rename = "reroute_s", serialize_with = "number_or_null")]
    pub reroute: Option<SimDuration>,
    /// True when a write succeeded after the last fault and no outage was open at the end.
    pub recovered: bool,
    /// Reads that contradict another about which of two writes came first.
    #[serde(rename = "long_fork_count")]
    pub long_forks: u64,
    /// Reads that lack a write acknowledged before they were asked.
    #[serde(rename = "stale_read_count")]
    pub stale_reads: u64,
    /// Reads that saw a write which is absent at the end.
    #[serde(rename = "lost_read_count")]
    pub reads_of_lost: u64,
    /// Elections in a term or epoch in which another process had been elected.
    #[serde(rename = "shared_epoch_count")]
    pub shared_epochs: u64,
    /// Reads that were answered and tell what they saw.
    #[serde(rename = "read_count")]
    pub reads: u64,
    /// Of these, reads of a key that was not there.
    #[serde(rename = "empty_read_count")]
    pub empty_reads: u64,
}

impl RunRow {
    /// The row of one run.
    pub fn new(
        scenario: impl Into<String>,
        seed: Seed,
        verdict: impl Into<String>,
        record: &Record,
        measures: &Measures,
    ) -> Self {
        let phases: Phases = measures.phases.unwrap_or_default();
        Self {
            scenario: scenario.into(),
            seed,
            verdict: verdict.into(),
            digest: record.digest,
            events: record.events,
            simulated: record.ended_at.since(SimTime::ZERO),
            faults: measures.fault_count,
            acknowledged: measures.loss.acknowledged,
            lost: measures.loss.lost,
            lost_span: measures.loss.lost_span,
            warned_lost: measures.loss.warned_lost,
            phantom: measures.loss.phantom,
            overlap: measures.overlap.total,
            overlap_writes: measures.overlap.writes,
            unavailable: measures.availability.unavailable,
            outage: measures.availability.outage,
            failover_gap: measures.availability.failover_gap,
            detect: phases.detect,
            elect: phases.elect,
            promote: phases.promote,
            reroute: phases.reroute,
            recovered: measures.availability.recovered,
            long_forks: measures.reads.long_forks,
            stale_reads: measures.reads.stale,
            reads_of_lost: measures.reads.of_lost,
            shared_epochs: measures.shared_epochs,
            reads: measures.reads.observed,
            empty_reads: measures.reads.empty,
        }
    }

    /// The fields in the order of [`RUN_COLUMNS`].
    fn fields(&self) -> [String; RUN_COLUMNS.len()] {
        [
            self.scenario.clone(),
            self.seed.to_string(),
            self.verdict.clone(),
            self.digest.to_string(),
            self.events.to_string(),
            six_decimals(self.simulated),
            self.faults.to_string(),
            self.acknowledged.to_string(),
            self.lost.to_string(),
            or_empty(self.lost_span),
            self.warned_lost.to_string(),
            self.phantom.to_string(),
            six_decimals(self.overlap),
            self.overlap_writes.to_string(),
            six_decimals(self.unavailable),
            or_empty(self.outage),
            or_empty(self.failover_gap),
            or_empty(self.detect),
            or_empty(self.elect),
            or_empty(self.promote),
            or_empty(self.reroute),
            self.recovered.to_string(),
            self.long_forks.to_string(),
            self.stale_reads.to_string(),
            self.reads_of_lost.to_string(),
            self.shared_epochs.to_string(),
            self.reads.to_string(),
            self.empty_reads.to_string(),
        ]
    }
}

/// Why a table or a summary could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The CSV could not be written.
    #[error("cannot write the results as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// The JSON could not be written.
    #[error("cannot write the results as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The output refused the data.
    #[error("cannot write the results: {0}")]
    Output(#[from] std::io::Error),
}

/// Writes rows as they come, after a header.
#[derive(Debug)]
pub struct CsvRows<W: Write>(csv::Writer<W>);

impl<W: Write> CsvRows<W> {
    /// Writes the header.
    pub fn new(output: W) -> Result<Self, TableError> {
        let mut writer = csv::Writer::from_writer(output);
        writer.write_record(RUN_COLUMNS.map(|(name, _)| name))?;
        Ok(Self(writer))
    }

    /// Writes one line.
    pub fn write(&mut self, row: &RunRow) -> Result<(), TableError> {
        Ok(self.0.write_record(row.fields())?)
    }

    /// Gives the output back when everything is in it.
    pub fn finish(self) -> Result<W, TableError> {
        self.0.into_inner().map_err(|error| TableError::Output(error.into_error()))
    }
}

/// Writes the header and one line per row, in the order given.
pub fn write_csv<'a>(
    output: impl Write,
    rows: impl IntoIterator<Item = &'a RunRow>,
) -> Result<(), TableError> {
    let mut writer = CsvRows::new(output)?;
    rows.into_iter().try_for_each(|row| writer.write(row))?;
    writer.finish()?.flush()?;
    Ok(())
}

/// Writes one JSON object per line, in the order given. Times are numbers of seconds, "never" is null.
pub fn write_json_lines<'a>(
    mut output: impl Write,
    rows: impl IntoIterator<Item = &'a RunRow>,
) -> Result<(), TableError> {
    for row in rows {
        serde_json::to_writer(&mut output, row)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use expect_test::expect;

    use super::*;

    pub(crate) fn row(seed: u64, outage_millis: Option<u64>) -> RunRow {
        RunRow {
            scenario: "patroni/primary-crash/async".to_owned(),
            seed: Seed(seed),
            verdict: "pass".to_owned(),
            digest: "00000000000000ff".parse().unwrap(),
            events: 12,
            simulated: SimDuration::from_secs(120),
            faults: 1,
            acknowledged: 2_000,
            lost: 0,
            lost_span: None,
            warned_lost: 0,
            phantom: 0,
            overlap: SimDuration::ZERO,
            overlap_writes: 0,
            unavailable: SimDuration::from_millis(outage_millis.unwrap_or(60_000)),
            outage: outage_millis.map(SimDuration::from_millis),
            failover_gap: outage_millis.map(SimDuration::from_millis),
            detect: outage_millis.map(|_| SimDuration::from_millis(25_000)),
            elect: None,
            promote: outage_millis.map(|_| SimDuration::from_nanos(1_500_000_400)),
            reroute: None,
            recovered: outage_millis.is_some(),
            long_forks: 0,
            stale_reads: 0,
            reads_of_lost: 0,
            shared_epochs: 0,
            reads: 0,
            empty_reads: 0,
        }
    }

    #[test]
    fn the_csv_has_units_fixed_decimals_and_empty_fields_for_never() {
        let mut output = Vec::new();
        write_csv(&mut output, &[row(u64::MAX, Some(27_250)), row(7, None)]).unwrap();
        expect![[r"
            scenario,seed,verdict,digest,event_count,simulated_s,fault_count,acknowledged_count,lost_count,lost_s,warned_lost_count,phantom_count,overlap_s,overlap_write_count,unavailable_s,outage_s,failover_gap_s,detect_s,elect_s,promote_s,reroute_s,recovered,long_fork_count,stale_read_count,lost_read_count,shared_epoch_count,read_count,empty_read_count
            patroni/primary-crash/async,18446744073709551615,pass,00000000000000ff,12,120.000000,1,2000,0,,0,0,0.000000,0,27.250000,27.250000,27.250000,25.000000,,1.500000,,true,0,0,0,0,0,0
            patroni/primary-crash/async,7,pass,00000000000000ff,12,120.000000,1,2000,0,,0,0,0.000000,0,60.000000,,,,,,,false,0,0,0,0,0,0
        "]]
        .assert_eq(&String::from_utf8(output).unwrap());
    }

    #[test]
    fn the_json_has_the_same_columns_in_the_same_order() {
        let mut output = Vec::new();
        write_json_lines(&mut output, &[row(u64::MAX, None)]).unwrap();
        let text = String::from_utf8(output).unwrap();
        let mut from = 0;
        for (name, _) in RUN_COLUMNS {
            let key = format!("\"{name}\":");
            let found = text[from..].find(&key).unwrap_or_else(|| panic!("{key} is missing or out of order"));
            from += found + key.len();
        }
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.as_object().unwrap().len(), RUN_COLUMNS.len());
        assert_eq!(value["seed"], "18446744073709551615");
        assert!(value["outage_s"].is_null());
    }
}
