//! `hasim list`.

use std::fmt::Write as _;

use clap::Args;

use super::{Failure, Terminal, select};
use crate::catalogue;
use crate::exit::Exit;

/// Options of `list`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Names, or beginnings of names up to a slash; all without.
    scenarios: Vec<String>,
    /// Explains the keys of scenario files instead.
    #[arg(long, conflicts_with = "scenarios")]
    keys: bool,
}

pub(super) fn run(options: &Options, terminal: &mut Terminal<'_>) -> Result<Exit, Failure> {
    if options.keys {
        terminal.print(catalogue::README)?;
        return Ok(Exit::Kept);
    }
    let mut text = String::new();
    let whole = options.scenarios.is_empty();
    let chosen = if whole { catalogue::scenarios()? } else { select::scenarios(&options.scenarios)? };
    for scenario in chosen {
        let promises: Vec<String> = scenario.promises.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "{}{}\n    {}\n    promises: {}",
            scenario.name,
            if scenario.core { "  (core)" } else { "" },
            scenario.summary,
            promises.join(", ")
        );
    }
    terminal.print(&text)?;
    Ok(Exit::Kept)
}
