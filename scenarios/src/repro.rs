//! Repro files: one run that failed, complete enough to fail again anywhere.
//!
//! A file holds everything that a run is a function of: the text of the scenario and of the files it names, the user's
//! settings, the seed, the schedule as data, and the version of hasim. And it holds what must come out: the digest and
//! the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sim_core::{Digest, Schedule, Seed};

use crate::VERSION;
use crate::atomic_file;
use crate::campaign::Outcome;
use crate::case::{Case, UserSettings};
use crate::diagnostic::{Source, Spot, UserError};
use crate::scenario::Scenario;

/// The version of the layout; grows when a field changes its meaning or goes away.
pub const FORMAT_VERSION: u32 = 1;

/// What every version of the layout begins with.
#[derive(Deserialize)]
struct Header {
    format_version: u32,
}

/// A run that can be repeated.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Repro {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of hasim that ran it.
    pub hasim_version: String,
    /// The name of the scenario.
    pub scenario: String,
    /// The text of the scenario.
    pub scenario_toml: String,
    /// The files that the scenario names, by name.
    #[serde(default)]
    pub companions: BTreeMap<String, String>,
    /// The user's `patroni.yml`.
    #[serde(default)]
    pub config: Option<ConfigFile>,
    /// The user's `--set` flags.
    #[serde(default)]
    pub set: Vec<String>,
    /// The seed.
    pub seed: Seed,
    /// The faults.
    pub schedule: Schedule,
    /// What must come out.
    pub expected: Expected,
}

/// A configuration file of the user.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// What messages call it: the name without folders.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a run came to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The verdict, by name.
    pub verdict: String,
    /// The evidence, on one line.
    pub evidence: String,
    /// The digest of all events.
    pub digest: Digest,
}

impl Repro {
    /// What is needed to repeat this run.
    pub fn new(case: &Case, schedule: Schedule, outcome: &Outcome) -> Self {
        let scenario = &case.scenario;
        let companion = |(name, source): (&String, &Arc<Source>)| (name.clone(), source.text.clone());
        Self {
            format_version: FORMAT_VERSION,
            hasim_version: VERSION.to_owned(),
            scenario: scenario.name.clone(),
            scenario_toml: scenario.source.text.clone(),
            companions: scenario.companions.iter().map(companion).collect(),
            config: case
                .user
                .file
                .as_ref()
                .map(|file| ConfigFile { name: base_name(&file.name), text: file.text.clone() }),
            set: case.user.flags.clone(),
            seed: outcome.row.seed,
            schedule,
            expected: Expected::of(outcome),
        }
    }

    /// The usual name of the file.
    pub fn file_name(&self) -> String {
        format!("hasim-failure-{}-seed-{}.json", self.scenario.replace('/', "-"), self.seed)
    }

    /// Writes the file, as a whole or not at all.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Panics
    /// Never: everything in a repro has a form in JSON.
    pub fn write(&self, path: &Path) -> Result<(), UserError> {
        let mut text =
            serde_json::to_string_pretty(self).expect("a repro has no maps with keys that are not text");
        text.push('\n');
        atomic_file::write(path, text.as_bytes())
    }

    /// Reads a file. Other versions of hasim are refused, unless `any_version` is set: the same seed means another
    /// run there.
    ///
    /// # Errors
    /// It is damaged, or from another version.
    pub fn read(source: &Arc<Source>, any_version: bool) -> Result<Self, UserError> {
        let damaged = |error: &serde_json::Error| {
            let at = source.byte_at(error.line(), error.column());
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
            UserError::at(Spot::new(source, at..at), "this is not a whole repro file of hasim", reason)
                .help("copy the file again, or make a new one with `hasim check`")
        };
        let header: Header = serde_json::from_str(&source.text).map_err(|error| damaged(&error))?;
        if header.format_version != FORMAT_VERSION {
            return Err(UserError::new(format!(
                "`{}` has the format version {}; hasim {VERSION} reads {FORMAT_VERSION}",
                source.name, header.format_version
            ))
            .help("replay it with the version of hasim that wrote it"));
        }
        let repro: Self = serde_json::from_str(&source.text).map_err(|error| damaged(&error))?;
        if repro.hasim_version != VERSION && !any_version {
            return Err(UserError::new(format!(
                "`{}` is from hasim {}, and this is hasim {VERSION}: the same seed may mean another run",
                source.name, repro.hasim_version
            ))
            .help("replay it with that version, or try it here with `--any-version`"));
        }
        Ok(repro)
    }

    /// The case to run.
    ///
    /// # Errors
    /// The scenario or the settings inside are not right for this version.
    pub fn case(&self) -> Result<Case, UserError> {
        let source = Source::new(format!("{}.toml", self.scenario), self.scenario_toml.clone());
        let scenario = Arc::new(Scenario::read(&source, &self.companions)?);
        let config = self.config.as_ref();
        let user = UserSettings {
            file: config.map(|file| Source::new(file.name.clone(), file.text.clone())),
            flags: self.set.clone(),
        };
        Case::new(&scenario, &user)
    }
}

impl Expected {
    /// What this run came to.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            verdict: outcome.judgement.verdict.name().to_owned(),
            evidence: outcome.judgement.evidence.clone(),
            digest: outcome.row.digest,
        }
    }
}

/// Folders are about one machine and do not belong into a file for others.
fn base_name(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}
