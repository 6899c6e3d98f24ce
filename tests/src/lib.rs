//! What the suites share: scenarios from files and from the catalogue, the command in this process, and folders.

pub mod planted;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use scenarios::case::{Case, UserSettings};
use scenarios::cli::{self, Terminal};
use scenarios::diagnostic::Source;
use scenarios::exit::Exit;
use scenarios::family::{Forkable, build};
use scenarios::scenario::Scenario;
use scenarios::{catalogue, families};

/// A scenario, ready to run.
pub struct Subject {
    /// The scenario with its settings.
    pub case: Case,
    /// What runs seeds.
    pub system: Box<dyn Forkable>,
}

impl Subject {
    /// The scenario in this text.
    ///
    /// # Panics
    /// The text is no scenario.
    pub fn from_text(text: &str) -> Self {
        let files: BTreeMap<String, String> = BTreeMap::new();
        let scenario = Scenario::read(&Source::new("test.toml", text), &files)
            .unwrap_or_else(|error| panic!("{}", error.report(false)));
        Self::new(&Arc::new(scenario))
    }

    /// The shipped scenario with this name.
    ///
    /// # Panics
    /// There is none.
    pub fn from_catalogue(name: &str) -> Self {
        let shipped = catalogue::scenarios().unwrap_or_else(|error| panic!("{}", error.report(false)));
        let scenario = shipped.iter().find(|scenario| scenario.name == name);
        Self::new(scenario.unwrap_or_else(|| panic!("the catalogue has no `{name}`")))
    }

    fn new(scenario: &Arc<Scenario>) -> Self {
        let case = Case::new(scenario, &UserSettings::default());
        let case = case.unwrap_or_else(|error| panic!("{}", error.report(false)));
        let system = build(&families(), &case);
        let system = system.unwrap_or_else(|error| panic!("{}", error.report(false)));
        Self { case, system }
    }
}

/// How the command ends, with what it writes to the standard output and the standard error.
pub fn hasim(arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colours: false };
    let arguments = std::iter::once("hasim").chain(arguments.iter().copied()).map(OsString::from);
    let exit = cli::run(arguments, &families(), &mut terminal);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (exit, text(&out), text(&err))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    PathBuf::from(root)
}
