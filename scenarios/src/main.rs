//! The hasim command.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use mimalloc::MiMalloc;
use scenarios::cli::{self, Terminal};

/// A run frees half a megabyte of history and logs at its end. The C library gives that back to the system each time, and a campaign that has
/// many writes spent an eighth of its time on getting it again, page by page.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    listen(cli::log_level(arguments.iter().cloned()));
    let (mut out, mut err) = (io::BufWriter::new(io::stdout()), io::stderr());
    let interactive = err.is_terminal();
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive, colours: interactive };
    cli::run(arguments, &scenarios::families(), &mut terminal).into()
}

/// Sets up tracing on the standard error, if it is asked for by `--log-level` or `RUST_LOG`. Without it the models
/// format nothing.
fn listen(level: Option<tracing::Level>) {
    use tracing_subscriber::EnvFilter;
    let filter = match level {
        Some(level) => EnvFilter::new(level.to_string()),
        None => match EnvFilter::try_from_default_env() {
            Ok(filter) => filter,
            Err(_) => return,
        },
    };
    tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(io::stderr).init();
}
