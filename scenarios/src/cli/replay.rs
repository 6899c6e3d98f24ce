//! `hasim replay`: the same run again, and a comparison.

use std::path::PathBuf;

use clap::Args;

use super::run::LogOptions;
use super::{Failure, Terminal, select, timeline};
use crate::VERSION;
use crate::campaign::run_schedule;
use crate::exit::Exit;
use crate::family::Family;
use crate::repro::Expected;

/// Options of `replay`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// A repro file, as `hasim check` writes it.
    file: PathBuf,
    /// Tries a file from another version of hasim.
    #[arg(long)]
    any_version: bool,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let (repro, case, system) = select::repro(&options.file, options.any_version, families)?;
    let (outcome, result) = run_schedule(&case, &*system, repro.seed, &repro.schedule, options.log.level());
    let names = system.process_names();
    let text = timeline::tell(&names, &repro.schedule, &outcome, &result, options.log.detail());
    terminal.print(&text)?;
    let found = Expected::of(&outcome);
    if found == repro.expected {
        terminal.print("replayed: the same digest and verdict as in the file\n")?;
        return Ok(outcome.judgement.verdict.exit());
    }
    let expected = &repro.expected;
    terminal.print(&format!(
        "not the same: the file has digest {} and verdict {}, this run has digest {} and verdict {}\n",
        expected.digest, expected.verdict, found.digest, found.verdict
    ))?;
    if repro.hasim_version == VERSION {
        // The same version must give the same run: either hasim is not deterministic, or two builds that differ
        // call themselves by one version.
        return Err(Failure::Internal("a run did not repeat".to_owned()));
    }
    Ok(outcome.judgement.verdict.exit())
}
