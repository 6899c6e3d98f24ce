//! Where the command writes to.

use std::io::{self, Write};

/// The two streams of the command, and what they can do.
pub struct Terminal<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Talk.
    pub err: &'a mut dyn Write,
    /// Whether a person watches the standard error: then there is a progress bar.
    pub interactive: bool,
    /// Whether errors may have colours.
    pub colours: bool,
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Terminal")
            .field("interactive", &self.interactive)
            .field("colours", &self.colours)
            .finish_non_exhaustive()
    }
}

impl Terminal<'_> {
    /// Writes data. Whoever closed the pipe has seen enough: the command goes on to its end and its exit code.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        unless_closed(self.out.write_all(text.as_bytes()))
    }

    /// Writes out what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.out.flush())
    }

    /// Writes a line of talk. If nobody can hear it, nothing else can be done about it either.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", text.trim_end());
    }
}

fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
