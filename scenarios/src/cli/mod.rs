//! The `hasim` command: one file for each subcommand.
//!
//! Data goes to the standard output, talk (progress, warnings, errors) to the standard error. Exit codes are those of
//! [`Exit`].

mod check;
mod completions;
mod explain;
mod list;
mod replay;
mod run;
mod select;
mod shrink;
mod table;
mod terminal;
mod timeline;

use std::ffi::OsString;
use std::io;

use clap::{Parser, Subcommand};

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

Exit codes: 0 every promise kept, 1 a promise broken, 2 undecided or interrupted, 64 wrong usage or input, \
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
    /// Makes a failing run smaller and writes a smaller repro file.
    Shrink(shrink::Options),
    /// Shows when a failing run was decided, and which of its faults it needed.
    Explain(explain::Options),
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
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, terminal),
    };
    let result = match &parsed.command {
        Command::List(options) => list::run(options, terminal),
        Command::Check(options) => check::run(options, families, terminal),
        Command::Run(options) => run::run(options, families, terminal),
        Command::Replay(options) => replay::run(options, families, terminal),
        Command::Shrink(options) => shrink::run(options, families, terminal),
        Command::Explain(options) => explain::run(options, families, terminal),
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
fn usage(error: &clap::Error, terminal: &mut Terminal<'_>) -> Exit {
    let text = if terminal.colours { error.render().ansi().to_string() } else { error.render().to_string() };
    if error.use_stderr() {
        terminal.say(text.trim_end());
        return Exit::Usage;
    }
    if terminal.print(&text).and_then(|()| terminal.flush()).is_err() {
        return Exit::Internal;
    }
    Exit::Kept
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes snapshots with them")]
mod tests;
