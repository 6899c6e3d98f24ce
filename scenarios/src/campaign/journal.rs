//! The journal of a campaign: finished runs, one line each, so that a killed campaign goes on where it was.
//!
//! # Format
//!
//! A text file of JSON lines (version 1). The first line is the [`Identity`] of the campaign. Each other line is one
//! finished run with everything that a campaign learns from it; times are whole nanoseconds, so that a campaign that goes
//! on gives the same bytes as one that was never stopped. Lines come in the order in which runs finished. A line is
//! written at once when its run ends, with one call to the system, so a killed process leaves at most one torn line, the
//! last. It is not forced to the disk: after a loss of power some seeds at the end may be missing and are run again.
//!
//! The file is locked while a campaign writes it. What is read back is believed; only the build is not: two builds of hasim
//! may call themselves by one version, so the command repeats one journaled run of each scenario first.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use analysis::RunRow;
use serde::{Deserialize, Serialize};
use sim_core::{Digest, Probability, Seed, SimDuration};

use super::{FaultCell, Judgement, Outcome, SeedRange, Verdict};
use crate::VERSION;
use crate::case::Case;
use crate::diagnostic::UserError;

/// The version of the layout; grows when a field changes its meaning or goes away.
const FORMAT_VERSION: u32 = 1;

/// What a campaign is: everything that its results are a function of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    hasim_journal: u32,
    hasim_version: String,
    seeds: String,
    recheck: Probability,
    set: Vec<String>,
    config: Option<Digest>,
    scenarios: Vec<ScenarioIdentity>,
}

/// A scenario, by its name and a fingerprint of all its text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct ScenarioIdentity {
    name: String,
    text: Digest,
}

impl Identity {
    /// The campaign over these cases, which have the settings of one user.
    pub fn new(cases: &[Case], seeds: SeedRange, recheck: Probability) -> Self {
        let fingerprint = |texts: &mut dyn Iterator<Item = &str>| {
            let mut digest = Digest::default();
            texts.for_each(|text| digest.fold_hash(&text));
            digest
        };
        let user = cases.first().map(|case| &case.user);
        let scenarios = cases.iter().map(|case| {
            let scenario = &case.scenario;
            let companions = scenario.companions.values().map(|file| file.text.as_str());
            let mut texts = std::iter::once(scenario.source.text.as_str()).chain(companions);
            ScenarioIdentity { name: scenario.name.clone(), text: fingerprint(&mut texts) }
        });
        Self {
            hasim_journal: FORMAT_VERSION,
            hasim_version: VERSION.to_owned(),
            seeds: seeds.to_string(),
            recheck,
            set: user.map(|user| user.flags.clone()).unwrap_or_default(),
            config: user
                .and_then(|user| user.file.as_ref())
                .map(|file| fingerprint(&mut std::iter::once(file.text.as_str()))),
            scenarios: scenarios.collect(),
        }
    }

    /// How the campaign of a journal differs from this one, in words; none if it does not.
    fn difference(&self, journal: &Self) -> Option<String> {
        if self.hasim_version != journal.hasim_version {
            return Some(format!(
                "it is from hasim {}, and this is hasim {}",
                journal.hasim_version, self.hasim_version
            ));
        }
        let names = |identity: &Self| {
            let names: Vec<&str> = identity.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
            names.join(", ")
        };
        let (ours, theirs) = (names(self), names(journal));
        if ours != theirs {
            return Some(format!("it is of {theirs}; this campaign is of {ours}"));
        }
        let mut pairs = self.scenarios.iter().zip(&journal.scenarios);
        if let Some((changed, _)) = pairs.find(|(ours, theirs)| ours.text != theirs.text) {
            return Some(format!("the text of `{}` has changed since", changed.name));
        }
        if self.seeds != journal.seeds {
            return Some(format!("it is of the seeds {}; this campaign is of {}", journal.seeds, self.seeds));
        }
        if self.set != journal.set {
            let flags = |set: &[String]| if set.is_empty() { "none".to_owned() } else { set.join(" ") };
            return Some(format!(
                "its `--set` flags are: {}; those of this campaign: {}",
                flags(&journal.set),
                flags(&self.set)
            ));
        }
        if self.config != journal.config {
            return Some("the file of `--config` is another one, or has changed since".to_owned());
        }
        (self.recheck != journal.recheck)
            .then(|| format!("it has `--recheck {}`; this campaign has {}", journal.recheck, self.recheck))
    }
}

/// A journal that is open for one campaign.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Written to at its end. Lines of several threads do not mix, because each is one call of a file that was opened
    /// for appending.
    file: File,
    reader: BufReader<File>,
    /// Where the lines are that were there already: scenario, seed and byte.
    index: Vec<(u32, Seed, u64)>,
    scenarios: Vec<String>,
}

impl Journal {
    /// Opens the journal of this campaign, or begins it. A torn end is cut off.
    ///
    /// # Errors
    /// It is that of another campaign, is no journal, is in use, or the system refuses.
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, UserError> {
        let refused = |error: &io::Error| {
            UserError::new(format!("cannot use `{}` as a journal: {error}", path.display()))
        };
        let open = || {
            let file = File::options().read(true).append(true).create(true).open(path)?;
            let reader = BufReader::new(File::open(path)?);
            Ok((file, reader))
        };
        let (file, reader) = open().map_err(|error: io::Error| refused(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(UserError::new(format!("another hasim writes the journal `{}`", path.display()))
                    .help("wait for its end, or use another file"));
            }
            Err(TryLockError::Error(error)) => return Err(refused(&error)),
        }
        let scenarios = identity.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        let mut journal = Self { path: path.to_owned(), file, reader, index: Vec::new(), scenarios };
        let end = journal.scan(identity)?;
        journal.file.set_len(end).map_err(|error| refused(&error))?;
        if end == 0 {
            journal.write_line(identity)?;
        }
        Ok(journal)
    }

    /// How many runs it holds that were finished before.
    pub fn finished_count(&self) -> u64 {
        self.index.len() as u64
    }

    /// Reads the file once and remembers where its lines are. Returns where the last whole one ends.
    fn scan(&mut self, identity: &Identity) -> Result<u64, UserError> {
        let mut line = String::new();
        let mut end = 0;
        loop {
            let whole = self.next_line(&mut line)?;
            if end == 0 {
                if !whole && (line.is_empty() || line.starts_with("{\"hasim_journal\":")) {
                    return Ok(0);
                }
                self.check_identity(identity, &line)?;
            } else {
                let Some(parsed) = serde_json::from_str::<Line>(&line).ok().filter(|_| whole) else {
                    break;
                };
                if (parsed.scenario as usize) < self.scenarios.len() {
                    self.index.push((parsed.scenario, parsed.seed, end));
                }
            }
            end += line.len() as u64;
        }
        self.index.sort_unstable();
        // A seed that was journaled twice (its line was out of reach once) is one run.
        self.index.dedup_by_key(|(scenario, seed, _)| (*scenario, *seed));
        Ok(end)
    }

    /// The next line with its end; false if the file ends before the line does, or the line is not text.
    fn next_line(&mut self, line: &mut String) -> Result<bool, UserError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut bytes);
        read.map_err(|error| self.refused(&error))?;
        let text = std::str::from_utf8(&bytes);
        line.clear();
        line.push_str(text.unwrap_or_default());
        Ok(text.is_ok() && line.ends_with('\n'))
    }

    fn check_identity(&self, identity: &Identity, line: &str) -> Result<(), UserError> {
        let path = self.path.display();
        let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let version = value.as_ref().and_then(|value| value.get("hasim_journal")?.as_u64());
        let Some(version) = version else {
            return Err(UserError::new(format!("`{path}` is not a journal of hasim, and is left as it is"))
                .help("name a file that does not exist yet"));
        };
        let other = if version == u64::from(FORMAT_VERSION) {
            let found: Result<Identity, _> = serde_json::from_str(line);
            found.map_or_else(
                |error| Some(format!("its first line is damaged ({error})")),
                |found| identity.difference(&found),
            )
        } else {
            Some(format!("it has the format version {version}; hasim {VERSION} reads {FORMAT_VERSION}"))
        };
        match other {
            None => Ok(()),
            Some(difference) => {
                Err(UserError::new(format!("`{path}` is the journal of another campaign: {difference}"))
                    .help("repeat the command that began it, or name another file for this campaign"))
            }
        }
    }

    /// The runs of these seeds that were finished before.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn finished(
        &mut self,
        scenario: &str,
        seeds: SeedRange,
    ) -> Result<BTreeMap<Seed, Outcome>, UserError> {
        let Some(position) = self.scenarios.iter().position(|name| name == scenario) else {
            return Ok(BTreeMap::new());
        };
        let wanted = |(at, seed, _): &(u32, Seed, u64)| *at as usize == position && seeds.contains(*seed);
        let start = self
            .index
            .partition_point(|(at, seed, _)| (*at as usize, *seed) < (position, seeds.first_seed()));
        let mut places: Vec<u64> =
            self.index[start..].iter().take_while(|entry| wanted(entry)).map(|(_, _, at)| *at).collect();
        // In the order of the file, in which neighbours are near each other.
        places.sort_unstable();
        let mut found = BTreeMap::new();
        let mut line = String::new();
        for place in places {
            self.reader.seek(SeekFrom::Start(place)).map_err(|error| self.refused(&error))?;
            self.next_line(&mut line)?;
            let parsed: Line = serde_json::from_str(&line).map_err(|error| {
                UserError::new(format!("`{}` changed while it was read: {error}", self.path.display()))
            })?;
            found.insert(parsed.seed, parsed.outcome(scenario));
        }
        Ok(found)
    }

    /// One of the runs of this scenario that were finished before, to be compared with this build.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn sample(&mut self, scenario: &str) -> Result<Option<Outcome>, UserError> {
        let Some(position) = self.scenarios.iter().position(|name| name == scenario) else {
            return Ok(None);
        };
        let first = self.index.partition_point(|(at, _, _)| (*at as usize) < position);
        let Some((_, seed, _)) = self.index.get(first).filter(|(at, _, _)| *at as usize == position) else {
            return Ok(None);
        };
        let seed = *seed;
        Ok(self.finished(scenario, SeedRange::one(seed))?.remove(&seed))
    }

    /// Adds a finished run.
    ///
    /// # Errors
    /// The system refuses (the disk is full, say).
    ///
    /// # Panics
    /// If the scenario of the run is not one of those that the journal was opened with.
    pub fn append(&self, outcome: &Outcome) -> Result<(), UserError> {
        let position = self.scenarios.iter().position(|name| *name == outcome.row.scenario);
        let position = position.expect("a journal is opened with the scenarios of its campaign");
        self.write_line(&Line::new(position as u32, outcome))
    }

    fn write_line(&self, line: &impl Serialize) -> Result<(), UserError> {
        let mut text = serde_json::to_vec(line).expect("a line holds text, numbers and lists");
        text.push(b'\n');
        (&self.file).write_all(&text).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &io::Error) -> UserError {
        UserError::new(format!("cannot go on with the journal `{}`: {error}", self.path.display()))
            .help("what it holds is whole: the same command goes on from it")
    }
}

/// Longer than any line: evidence of a panic is the longest part of one.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// A finished run, exactly.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The position in [`Identity::scenarios`].
    scenario: u32,
    seed: Seed,
    verdict: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    evidence: String,
    digest: Digest,
    events: u64,
    simulated_ns: u64,
    faults: u64,
    acknowledged: u64,
    lost: u64,
    lost_span_ns: Option<u64>,
    warned_lost: u64,
    phantom: u64,
    overlap_ns: u64,
    overlap_writes: u64,
    unavailable_ns: u64,
    outage_ns: Option<u64>,
    failover_gap_ns: Option<u64>,
    detect_ns: Option<u64>,
    elect_ns: Option<u64>,
    promote_ns: Option<u64>,
    reroute_ns: Option<u64>,
    recovered: bool,
    #[serde(default)]
    long_forks: u64,
    #[serde(default)]
    stale_reads: u64,
    #[serde(default)]
    reads_of_lost: u64,
    #[serde(default)]
    shared_epochs: u64,
    #[serde(default)]
    reads: u64,
    #[serde(default)]
    empty_reads: u64,
    missed_faults: u32,
    cells: Vec<FaultCell>,
    rechecked: bool,
}

impl Line {
    fn new(scenario: u32, outcome: &Outcome) -> Self {
        let row = &outcome.row;
        let nanos = |length: Option<SimDuration>| length.map(SimDuration::as_nanos);
        Self {
            scenario,
            seed: row.seed,
            verdict: row.verdict.clone(),
            evidence: outcome.judgement.evidence.clone(),
            digest: row.digest,
            events: row.events,
            simulated_ns: row.simulated.as_nanos(),
            faults: row.faults,
            acknowledged: row.acknowledged,
            lost: row.lost,
            lost_span_ns: nanos(row.lost_span),
            warned_lost: row.warned_lost,
            phantom: row.phantom,
            overlap_ns: row.overlap.as_nanos(),
            overlap_writes: row.overlap_writes,
            unavailable_ns: row.unavailable.as_nanos(),
            outage_ns: nanos(row.outage),
            failover_gap_ns: nanos(row.failover_gap),
            detect_ns: nanos(row.detect),
            elect_ns: nanos(row.elect),
            promote_ns: nanos(row.promote),
            reroute_ns: nanos(row.reroute),
            recovered: row.recovered,
            long_forks: row.long_forks,
            stale_reads: row.stale_reads,
            reads_of_lost: row.reads_of_lost,
            shared_epochs: row.shared_epochs,
            reads: row.reads,
            empty_reads: row.empty_reads,
            missed_faults: outcome.missed_faults,
            cells: outcome.cells.clone(),
            rechecked: outcome.rechecked,
        }
    }

    fn outcome(self, scenario: &str) -> Outcome {
        let length = SimDuration::from_nanos;
        let lengths = |nanos: Option<u64>| nanos.map(SimDuration::from_nanos);
        let named = Verdict::ALL.into_iter().find(|verdict| verdict.name() == self.verdict);
        Outcome {
            row: RunRow {
                scenario: scenario.to_owned(),
                seed: self.seed,
                verdict: self.verdict,
                digest: self.digest,
                events: self.events,
                simulated: length(self.simulated_ns),
                faults: self.faults,
                acknowledged: self.acknowledged,
                lost: self.lost,
                lost_span: lengths(self.lost_span_ns),
                warned_lost: self.warned_lost,
                phantom: self.phantom,
                overlap: length(self.overlap_ns),
                overlap_writes: self.overlap_writes,
                unavailable: length(self.unavailable_ns),
                outage: lengths(self.outage_ns),
                failover_gap: lengths(self.failover_gap_ns),
                detect: lengths(self.detect_ns),
                elect: lengths(self.elect_ns),
                promote: lengths(self.promote_ns),
                reroute: lengths(self.reroute_ns),
                recovered: self.recovered,
                long_forks: self.long_forks,
                stale_reads: self.stale_reads,
                reads_of_lost: self.reads_of_lost,
                shared_epochs: self.shared_epochs,
                reads: self.reads,
                empty_reads: self.empty_reads,
            },
            judgement: Judgement {
                // The version is that of this build, so the name is known.
                verdict: named.unwrap_or(Verdict::Undecided),
                evidence: self.evidence,
            },
            missed_faults: self.missed_faults,
            cells: self.cells,
            rechecked: self.rechecked,
        }
    }
}
