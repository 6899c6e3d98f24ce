//! From the words on the command line to scenarios and cases.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::Terminal;
use crate::case::{Case, UserSettings};
use crate::catalogue;
use crate::diagnostic::{Source, UserError, did_you_mean};
use crate::family::{Family, Forkable, build};
use crate::repro::Repro;
use crate::scenario::{Companions, Scenario};

/// The settings that a person brings.
#[derive(Args, Debug)]
pub(super) struct SettingOptions {
    /// A real patroni.yml, sentinel.conf or redis.conf; scenarios keep the settings that their promise depends on.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one of Patroni's settings, or a directive of Redis or Sentinel, over all files; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingOptions {
    pub(super) fn read(&self) -> Result<UserSettings, UserError> {
        Ok(UserSettings { file: self.config.as_deref().map(read_file).transpose()?, flags: self.set.clone() })
    }
}

/// Reads a text file.
pub(crate) fn read_file(path: &Path) -> Result<Arc<Source>, UserError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| UserError::new(format!("cannot read `{name}`: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => Err(UserError::new(format!(
            "`{name}` is not text: byte {} is not UTF-8",
            error.utf8_error().valid_up_to()
        ))),
    }
}

/// A repro file with what runs it.
pub(super) fn repro(
    path: &Path,
    any_version: bool,
    families: &[&dyn Family],
) -> Result<(Repro, Case, Box<dyn Forkable>), UserError> {
    let source = read_file(path)?;
    let repro = Repro::read(&source, any_version)?;
    let case = repro.case()?;
    let system = build(families, &case)?;
    system.check(&repro.schedule).map_err(|error| {
        UserError::new(format!("the schedule in `{}` does not fit its cluster: {error}", source.name))
    })?;
    Ok((repro, case, system))
}

/// Files beside a scenario file.
struct Beside(PathBuf);

impl Companions for Beside {
    fn read(&self, name: &str) -> Result<String, String> {
        fs::read_to_string(self.0.join(name)).map_err(|error| error.to_string())
    }
}

/// The word that means the whole catalogue.
const ALL: &str = "all";

/// The scenarios that these words mean, or the core of the catalogue without a word, and says how much that leaves out.
pub(super) fn scenarios_or_core(
    words: &[String],
    terminal: &mut Terminal<'_>,
) -> Result<Vec<Arc<Scenario>>, UserError> {
    if !words.is_empty() {
        return scenarios(words);
    }
    let mut catalogue = catalogue::scenarios()?;
    let whole = catalogue.len();
    catalogue.retain(|scenario| scenario.core);
    let core = catalogue.len();
    terminal
        .say(&format!("the core of the catalogue: {core} of {whole} scenarios; `{ALL}` means all of them"));
    Ok(catalogue)
}

/// The scenarios that these words mean: names of the catalogue, the beginnings of names up to a slash, files, and `all`.
pub(crate) fn scenarios(words: &[String]) -> Result<Vec<Arc<Scenario>>, UserError> {
    let catalogue = catalogue::scenarios()?;
    let mut chosen: Vec<Arc<Scenario>> = Vec::new();
    for word in words {
        if Path::new(word).extension().is_some_and(|extension| extension == "toml") {
            chosen.push(from_file(Path::new(word))?);
            continue;
        }
        if word == ALL {
            chosen.extend(catalogue.iter().cloned());
            continue;
        }
        let before = chosen.len();
        let word = word.trim_end_matches('/');
        chosen.extend(catalogue.iter().filter(|scenario| is_meant(&scenario.name, word)).cloned());
        if chosen.len() == before {
            return Err(unknown(word, &catalogue));
        }
    }
    let mut seen = BTreeSet::new();
    chosen.retain(|scenario| seen.insert(scenario.name.clone()));
    Ok(chosen)
}

fn is_meant(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn from_file(path: &Path) -> Result<Arc<Scenario>, UserError> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Scenario::read(&read_file(path)?, &Beside(folder)).map(Arc::new)
}

fn unknown(word: &str, catalogue: &[Arc<Scenario>]) -> UserError {
    let mut known = BTreeSet::new();
    for scenario in catalogue {
        let name = scenario.name.as_str();
        known.insert(name);
        known.extend(name.match_indices('/').map(|(slash, _)| &name[..slash]));
    }
    UserError::new(format!("there is no scenario `{word}`"))
        .help("`hasim list` shows them all, and `all` means all of them; a file of your own ends in .toml")
        .maybe_help(did_you_mean(word, known))
}

/// Makes a case of each scenario and says what there is to say about the files, each thing once.
pub(super) fn cases(
    scenarios: &[Arc<Scenario>],
    user: &UserSettings,
    terminal: &mut Terminal<'_>,
) -> Result<Vec<Case>, UserError> {
    let families: BTreeSet<&str> = scenarios.iter().map(|scenario| scenario.family()).collect();
    let concerned = |scenario: &&Arc<Scenario>| families.len() == 1 || user.concerns(scenario.family());
    let chosen: Vec<&Arc<Scenario>> = scenarios.iter().filter(concerned).collect();
    if chosen.len() < scenarios.len() {
        let left_out = scenarios.len() - chosen.len();
        terminal
            .say(&format!("left out: {left_out} scenarios of other software than these settings are for"));
    }
    let cases: Vec<Case> =
        chosen.into_iter().map(|scenario| Case::new(scenario, user)).collect::<Result<_, _>>()?;
    let mut said = BTreeSet::new();
    let about_files = cases.iter().flat_map(|case| &case.remarks).map(ToString::to_string);
    for text in about_files.chain(overruled(&cases)) {
        if !said.contains(&text) {
            terminal.say(&text);
            said.insert(text);
        }
    }
    Ok(cases)
}

/// A remark for each setting of the person's file that scenarios fix otherwise, which names all that fix it alike.
fn overruled(cases: &[Case]) -> impl Iterator<Item = String> {
    let all = cases.iter().flat_map(|case| &case.overruled);
    all.map(|overruled| {
        let alike = cases.iter().filter(|case| case.overruled.contains(overruled));
        let names: Vec<&str> = alike.map(|case| &*case.scenario.name).collect();
        overruled.remark(&names).to_string()
    })
}

/// A case of the one scenario with this name.
pub(super) fn one_case(
    word: &str,
    user: &UserSettings,
    terminal: &mut Terminal<'_>,
) -> Result<Case, UserError> {
    let mut scenarios = scenarios(&[word.to_owned()])?;
    if let Some(exact) = scenarios.iter().position(|scenario| scenario.name == word) {
        // `etcd/swarm` is a scenario, and the beginning of the name of another.
        scenarios = vec![scenarios.swap_remove(exact)];
    }
    if scenarios.len() > 1 {
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        return Err(UserError::new(format!("`{word}` means {} scenarios", names.len()))
            .help(format!("choose one of: {}", names.join(", "))));
    }
    let mut cases = cases(&scenarios, user, terminal)?;
    Ok(cases.remove(0))
}
