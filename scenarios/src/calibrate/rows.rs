//! Reading the files of measurements: which rows count, and what is wrong with them.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use sim_core::SimDuration;

use crate::cli::select::read_file;
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};

/// A file of measurements.
#[derive(Debug)]
pub(super) struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Columns that nobody knows.
    pub remarks: Vec<Remark>,
}

/// The share of processor time from which on a machine is called busy.
const BUSY: f64 = 0.9;

/// The load average over a minute from which on a machine is called crowded: of what runs on its two processors, each has nine others to
/// share with.
const CROWDED: f64 = 20.0;

/// What else the machine of the measurements did meanwhile.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Machine {
    /// Little.
    Idle,
    /// At least nine tenths of its processor time were used, by whomever.
    Busy,
    /// That, at a load average of 20 and more.
    Crowded,
}

impl Machine {
    /// That of most of these rows.
    pub(super) fn of(rows: &[Row]) -> Result<Self, UserError> {
        let (mut busy, mut crowded) = (0, 0);
        for row in rows {
            if row.share("cpu_busy")?.is_some_and(|share| share >= BUSY) {
                busy += 1;
                crowded += usize::from(row.number("load1")?.is_some_and(|load| load >= CROWDED));
            }
        }
        let most = |count: usize| 2 * count > rows.len();
        Ok(if most(crowded) {
            Self::Crowded
        } else if most(busy) {
            Self::Busy
        } else {
            Self::Idle
        })
    }

    /// The same for models that have no inputs for a crowded machine.
    pub(super) fn at_most_busy(self) -> Self {
        self.min(Self::Busy)
    }

    /// What a point is called, from its settings and its machine.
    pub(super) fn title(self, settings: String) -> String {
        match self {
            Self::Idle => settings,
            Self::Busy => settings + ", busy machine",
            Self::Crowded => settings + ", crowded machine",
        }
    }
}

/// One row: one measured failover.
#[derive(Clone, Debug)]
pub(super) struct Row {
    source: Arc<Source>,
    header: Arc<StringRecord>,
    record: StringRecord,
}

impl Table {
    /// Reads the usable rows of a file that has these columns; others of `known` may be there, too.
    pub(super) fn read(path: &Path, needed: &[&str], known: &[&str]) -> Result<Self, UserError> {
        let mut table = Self::read_all(path, needed, known)?;
        table.rows.retain(|row| !row.is_excluded());
        Ok(table)
    }

    /// The same with the rows that are not to be used.
    pub(super) fn read_all(path: &Path, needed: &[&str], known: &[&str]) -> Result<Self, UserError> {
        let source = read_file(path).map_err(|error| {
            error
                .help("a folder of measurements holds files such as `patroni.csv`: one row for each failover")
        })?;
        let mut reader = ReaderBuilder::new().from_reader(source.text.as_bytes());
        let header = Arc::new(reader.headers().map_err(|error| unreadable(&source, &error))?.clone());
        let name = Spot::new(&source, 0..source.text.lines().next().unwrap_or_default().len());
        for column in needed {
            if !header.iter().any(|known| known == *column) {
                let message = format!("there is no column `{column}`");
                return Err(UserError::at(name, message, "the names of the columns")
                    .maybe_help(did_you_mean(column, header.iter())));
            }
        }
        let is_known = |column: &&str| needed.contains(column) || known.contains(column);
        let remark = |column: &str| Remark {
            weight: Weight::Warning,
            spot: Spot::new(&source, place(&header, 0, column)),
            message: match did_you_mean(column, needed.iter().chain(known).copied()) {
                Some(help) => format!("the column `{column}` is not known and not used; {help}"),
                None => format!("the column `{column}` is not known and not used"),
            },
        };
        let remarks = header.iter().filter(|column| !is_known(column)).map(remark).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| unreadable(&source, &error))?;
            rows.push(Row { source: Arc::clone(&source), header: Arc::clone(&header), record });
        }
        Ok(Self { rows, remarks })
    }
}

/// The bytes of a field, counted from where its row begins. Rows are written without quotes.
fn place(record: &StringRecord, start: usize, field: &str) -> Range<usize> {
    let before = record.iter().take_while(|one| !std::ptr::eq(*one, field) && *one != field);
    let start = start + before.map(|one| one.len() + 1).sum::<usize>();
    start..start + field.len()
}

fn unreadable(source: &Arc<Source>, error: &csv::Error) -> UserError {
    let message = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this row has {len} fields, and the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    let start = error.position().map_or(0, |position| position.byte() as usize).min(source.text.len());
    let length = source.text[start..].lines().next().unwrap_or_default().len();
    UserError::at(Spot::new(source, start..start + length), message, "one field for each column")
}

impl Row {
    /// What a field says; empty if there is no such column.
    pub(super) fn text(&self, column: &str) -> &str {
        self.index(column).map_or("", |index| &self.record[index])
    }

    /// True if the harness itself disturbed this trial: the `note` begins with `excluded`.
    pub(super) fn is_excluded(&self) -> bool {
        self.text("note").starts_with("excluded")
    }

    fn index(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| name == column)
    }

    /// A complaint about a field.
    pub(super) fn wrong(&self, column: &str, expected: impl Display) -> UserError {
        let index = self.index(column).unwrap_or_default();
        let start = self.record.position().map_or(0, |position| position.byte() as usize);
        let start = start + self.record.iter().take(index).map(|field| field.len() + 1).sum::<usize>();
        let text = self.text(column);
        let spot = Spot::new(&self.source, start..start + text.len());
        UserError::at(spot, format!("`{text}` in column `{column}` is not {expected}"), expected.to_string())
    }

    /// Seconds after the fault, or the length of something; none if the field is empty.
    pub(super) fn time(&self, column: &str) -> Result<Option<SimDuration>, UserError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let written = format!("{text}s").parse();
        written.map(Some).map_err(|_| self.wrong(column, "a number of seconds, such as 17.884, not negative"))
    }

    /// The time from one column to another; log lines and polls can change places within milliseconds.
    pub(super) fn between(&self, from: &str, to: &str) -> Result<Option<SimDuration>, UserError> {
        let (from, to) = (self.time(from)?, self.time(to)?);
        Ok(from.zip(to).map(|(from, to)| to.saturating_sub(from)))
    }

    /// A number of things; none if the field is empty.
    pub(super) fn count(&self, column: &str) -> Result<Option<u64>, UserError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| self.wrong(column, "a whole number"))
    }

    /// The time of the day of an instant such as `2026-11-21T11:09:13.517Z`. Trials around midnight are told by their order.
    pub(super) fn time_of_day(&self, column: &str) -> Result<SimDuration, UserError> {
        let text = self.text(column);
        let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
        let parts = parts.map(|(_, time)| time.split(':').collect::<Vec<_>>());
        let time = match parts.as_deref() {
            Some([hours, minutes, seconds]) => format!("{hours}h {minutes}m")
                .parse::<SimDuration>()
                .ok()
                .zip(format!("{seconds}s").parse().ok()),
            _ => None,
        };
        let time = time.map(|(start, seconds): (SimDuration, SimDuration)| start + seconds);
        time.ok_or_else(|| self.wrong(column, "an instant, such as 2026-11-21T11:09:13.517Z"))
    }

    /// Whole seconds.
    pub(super) fn whole_seconds(&self, column: &str) -> Result<SimDuration, UserError> {
        let seconds =
            self.text(column).parse().map_err(|_| self.wrong(column, "a whole number of seconds"))?;
        Ok(SimDuration::from_secs(seconds))
    }

    /// A number that is not negative; none if the field is empty.
    fn number(&self, column: &str) -> Result<Option<f64>, UserError> {
        self.real(column, |number| number.is_finite() && *number >= 0.0, "a number, not negative")
    }

    /// A share from 0 to 1; none if the field is empty.
    pub(super) fn share(&self, column: &str) -> Result<Option<f64>, UserError> {
        self.real(column, |share| (0.0..=1.0).contains(share), "a share from 0 to 1")
    }

    fn real(
        &self,
        column: &str,
        is_possible: impl Fn(&f64) -> bool,
        expected: &str,
    ) -> Result<Option<f64>, UserError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse().ok().filter(is_possible);
        number.map(Some).ok_or_else(|| self.wrong(column, expected))
    }
}
