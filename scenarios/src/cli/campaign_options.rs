//! What commands that run many seeds have in common: which seeds, on how many threads.
//!
//! Each of these flags can be given by an environment variable as well; a flag on the command line wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::ThreadPool;
use sim_core::{Probability, SimDuration};

use crate::campaign::SeedRange;
use crate::diagnostic::UserError;

/// Seeds and threads.
#[derive(Args, Debug)]
pub(super) struct SeedOptions {
    /// How many seeds of each scenario, or which: A..B without B.
    #[arg(long, default_value = "1000", value_name = "N|A..B", env = "HASIM_SEEDS", hide_env_values = true)]
    pub(super) seeds: SeedRange,
    /// How many threads; all processors without. The result does not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024), env = "HASIM_JOBS", hide_env_values = true)]
    jobs: Option<u16>,
}

impl SeedOptions {
    /// The threads.
    pub(super) fn threads(&self) -> Result<ThreadPool, UserError> {
        threads(self.jobs)
    }
}

/// So many threads; as many as there are processors without a number.
pub(super) fn threads(jobs: Option<u16>) -> Result<ThreadPool, UserError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(jobs.map_or(0, usize::from))
        .build()
        .map_err(|error| UserError::new(format!("cannot start the threads: {error}")))
}

/// A length of time that is not zero.
pub(super) fn budget(text: &str) -> Result<SimDuration, String> {
    let length: SimDuration = text.parse().map_err(|error| format!("{error}"))?;
    if length == SimDuration::ZERO {
        return Err("a budget of no time runs no seed: write one as `60s` or `10m`".to_owned());
    }
    Ok(length)
}

/// A share of the runs; `0` needs no percent sign.
pub(super) fn share(text: &str) -> Result<Probability, String> {
    if text == "0" { Ok(Probability::NEVER) } else { text.parse() }
}

/// The first interrupt stops taking seeds, the second ends the command.
pub(super) fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    // Only one handler can be set in a process; where there is one already (tests), interrupts are its business.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    stop
}

/// A bar on the standard error, if a person watches.
pub(super) fn progress_bar(length: u64, interactive: bool) -> ProgressBar {
    if !interactive {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} eta {eta} {msg}")
        .expect("the template is well formed");
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style)
}
