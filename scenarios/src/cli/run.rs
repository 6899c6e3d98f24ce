//! `hasim run`: one seed, told.

use clap::Args;
use sim_core::Seed;

use super::{Failure, Terminal, select, timeline};
use crate::campaign::run_schedule;
use crate::exit::Exit;
use crate::family::{Family, LogLevel, build};

/// Options of `run`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The name of a scenario, or a file of your own.
    scenario: String,
    /// The seed, decimal or 0x...
    #[arg(long, default_value = "0", env = "HASIM_SEED", hide_env_values = true)]
    seed: Seed,
    #[command(flatten)]
    settings: select::SettingOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// How much is told.
#[derive(Args, Debug)]
pub(super) struct LogOptions {
    /// Tells what each process notes, too, and not only marks and faults.
    #[arg(long)]
    log: bool,
    /// Tells of every packet, too.
    #[arg(long)]
    packets: bool,
}

impl LogOptions {
    pub(super) const fn level(&self) -> LogLevel {
        if self.packets { LogLevel::Packets } else { LogLevel::Story }
    }

    pub(super) const fn detail(&self) -> timeline::Detail {
        if self.packets || self.log { timeline::Detail::Everything } else { timeline::Detail::Marks }
    }
}

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let case = select::one_case(&options.scenario, &options.settings.read()?, terminal)?;
    let system = build(families, &case)?;
    let schedule = case.scenario.schedule(options.seed);
    let (outcome, result) = run_schedule(&case, &*system, options.seed, &schedule, options.log.level());
    let text = timeline::tell(&system.process_names(), &schedule, &outcome, &result, options.log.detail());
    terminal.print(&text)?;
    Ok(outcome.judgement.verdict.exit())
}
