//! The `hasim` command: one file for each subcommand.
//!
//! Data goes to the standard output, talk (progress, warnings, errors) to the standard error. Exit codes are those of
//! [`Exit`].

mod calibrate;
mod campaign_options;
mod check;
mod completions;
mod crash_points;
mod explain;
mod list;
mod replay;
mod run;
pub(crate) mod select;
mod selfcheck;
mod shrink;
mod table;
mod terminal;
mod timeline;

use std::ffi::OsString;
use std::io;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};

pub use terminal::Terminal;

use crate::diagnostic::UserError;
use crate::exit::Exit;
use crate::family::Family;

/// Deterministic simulation testbed for high-availability protocols.
#[derive(Debug, Parser)]
#[command(name = "hasim", bin_name = "hasim", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Shows what runs do, on the standard error, stamped with virtual time: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<tracing::Level>,
}

const AFTER_HELP: &str = "\
Examples:
  hasim list
  hasim check patroni/primary-host-crash --seeds 10000
  hasim check --config patroni.yml --set ttl=20 --csv runs.csv --plot outage.svg
  hasim run patroni/switchover/sync --seed 7 --log
  hasim replay hasim-failure-patroni-swarm-sync-seed-17.json
  hasim shrink hasim-failure-patroni-swarm-sync-seed-17.json
  hasim explain hasim-failure-patroni-swarm-sync-seed-17-small.json
  hasim crash-points patroni/switchover/sync --crash power-off
  hasim calibrate measurements --plot calibration.svg

Environment, for those who cannot change the command line (a flag wins): HASIM_SEEDS (--seeds), HASIM_SEED (--seed of \
`run`), HASIM_JOBS (--jobs), HASIM_BUDGET (--budget).

Exit codes: 0 every promise kept, 1 a promise broken or a measured point missed, 2 undecided or interrupted, 64 wrong usage or input, \
70 internal error or a run that did not repeat.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the scenarios with what they promise.
    List(list::Options),
    /// Runs many seeds of scenarios and judges their promises.
    Check(check::Options),
    /// Runs one seed and tells what happened.
    Run(run::Options),
    /// Repeats a run from a repro file and compares.
    Replay(replay::Options),
    /// Runs seeds twice and looks for the first event that differs.
    Selfcheck(selfcheck::Options),
    /// Makes a failing run smaller and writes a smaller repro file.
    Shrink(shrink::Options),
    /// Shows when a failing run was decided, and which of its faults it needed.
    Explain(explain::Options),
    /// Takes one run, and crashes one process or host at every point of it.
    CrashPoints(crash_points::Options),
    /// Holds the models to failovers that were measured on the real software.
    Calibrate(calibrate::Options),
    /// Prints a completion script for a shell.
    Completions(completions::Options),
}

/// Why a subcommand ended early.
#[derive(Debug)]
enum Failure {
    /// The person got something wrong, or the system refused a file.
    User(UserError),
    /// The output is closed or broken.
    Output(io::Error),
    /// hasim is wrong.
    Internal(String),
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        Self::User(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the command with these arguments (the first is the name of the program) and says how it ended.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, &arguments, terminal),
    };
    let result = match &parsed.command {
        Command::List(options) => list::run(options, terminal),
        Command::Check(options) => check::run(options, families, terminal),
        Command::Run(options) => run::run(options, families, terminal),
        Command::Replay(options) => replay::run(options, families, terminal),
        Command::Selfcheck(options) => selfcheck::run(options, families, terminal),
        Command::Shrink(options) => shrink::run(options, families, terminal),
        Command::Explain(options) => explain::run(options, families, terminal),
        Command::CrashPoints(options) => crash_points::run(options, families, terminal),
        Command::Calibrate(options) => calibrate::run(options, terminal),
        Command::Completions(options) => completions::run(options, terminal),
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(Failure::User(error)) => {
            terminal.say(&error.report(terminal.colours));
            Exit::Usage
        }
        Err(Failure::Output(error)) => {
            terminal.say(&format!("cannot write the output: {error}"));
            Exit::Internal
        }
        Err(Failure::Internal(message)) => {
            terminal.say(&format!("hasim has a bug: {message}"));
            Exit::Internal
        }
    };
    if terminal.flush().is_err() {
        return Exit::Internal.max(exit);
    }
    exit
}

/// The level that `--log-level` asks for, found before everything else is parsed, because tracing is set up first.
pub fn log_level(arguments: impl IntoIterator<Item = OsString>) -> Option<tracing::Level> {
    Arguments::try_parse_from(arguments).ok()?.log_level
}

/// Help and version are no errors; everything else that clap reports is one of usage.
fn usage(error: &clap::Error, arguments: &[OsString], terminal: &mut Terminal<'_>) -> Exit {
    let text = if terminal.colours { error.render().ansi().to_string() } else { error.render().to_string() };
    if error.use_stderr() {
        terminal.say(text.trim_end());
        if let Some(variable) = guilty_variable(error, arguments) {
            terminal.say(&format!("The value is that of the environment variable {variable}."));
        }
        return Exit::Usage;
    }
    if terminal.print(&text).and_then(|()| terminal.flush()).is_err() {
        return Exit::Internal;
    }
    Exit::Kept
}

/// The environment variable whose value clap refused, which its message does not name.
fn guilty_variable(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    // It is written as in a usage line: `--seeds <N|A..B>`.
    let flag = argument.split([' ', '=']).next()?;
    let written = |word: &OsString| {
        let word = word.to_string_lossy();
        word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    };
    if arguments.iter().any(written) {
        return None;
    }
    let command = Arguments::command();
    let mut known = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let named =
        known.find(|known| known.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long)))?;
    named.get_env().map(|variable| variable.to_string_lossy().into_owned())
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes snapshots with them")]
mod tests;
