//! `hasim completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Failure, Terminal};
use crate::exit::Exit;

/// Options of `completions`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(options: &Options, terminal: &mut Terminal<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "hasim", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Kept)
}
