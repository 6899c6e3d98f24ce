//! `hasim selfcheck`: is a run really a function of its seed?

use clap::Args;
use rayon::prelude::*;
use sim_core::{Digest, Seed};

use super::campaign_options::{self, SeedOptions};
use super::{Failure, Terminal, select};
use crate::campaign::first_difference;
use crate::case::Case;
use crate::exit::Exit;
use crate::family::{Family, Forkable, LogLevel, System, build};

/// Options of `selfcheck`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Names, beginnings of names up to a slash, files of your own, or `all`; the core of the catalogue without.
    scenarios: Vec<String>,
    #[command(flatten)]
    seeds: SeedOptions,
    #[command(flatten)]
    settings: select::SettingOptions,
}

/// The most seeds of a scenario whose first difference is looked for.
const MOST_DIFFERENCES: usize = 5;

/// Fingerprint and number of events of one run.
type Fingerprint = (Seed, Digest, u64);

pub(super) fn run(
    options: &Options,
    families: &[&dyn Family],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let scenarios = select::scenarios_or_core(&options.scenarios, terminal)?;
    let cases = select::cases(&scenarios, &options.settings.read()?, terminal)?;
    // Two systems of each, so that nothing one of them keeps reaches the second run.
    let systems: Vec<[Box<dyn Forkable>; 2]> = cases
        .iter()
        .map(|case| Ok([build(families, case)?, build(families, case)?]))
        .collect::<Result<_, Failure>>()?;
    let interrupted = campaign_options::stop_on_interrupt();
    let threads = options.seeds.threads()?;
    let seeds = options.seeds.seeds.to_vec();
    let progress =
        campaign_options::progress_bar(2 * seeds.len() as u64 * cases.len() as u64, terminal.interactive);
    let mut exit = Exit::Kept;
    for (case, [first, second]) in cases.iter().zip(&systems) {
        progress.set_message(case.scenario.name.clone());
        let fingerprint = |system: &dyn System, seed: Seed, log: LogLevel| -> Option<Fingerprint> {
            if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                return None;
            }
            let record = system.run(seed, &case.scenario.schedule(seed), log).record;
            progress.inc(1);
            Some((seed, record.digest, record.events))
        };
        let (forwards, mut backwards): (Vec<_>, Vec<_>) = threads.install(|| {
            let once = seeds.par_iter().with_max_len(1);
            let again = seeds.par_iter().rev().with_max_len(1);
            (
                once.map(|seed| fingerprint(&**first, *seed, LogLevel::Off)).collect(),
                again.map(|seed| fingerprint(&**second, *seed, LogLevel::Story)).collect(),
            )
        });
        backwards.reverse();
        exit = exit.max(progress.suspend(|| compare(case, &**first, &forwards, &backwards, terminal))?);
    }
    progress.finish_and_clear();
    Ok(exit)
}

/// Says what differs, and where.
fn compare(
    case: &Case,
    system: &dyn Forkable,
    once: &[Option<Fingerprint>],
    again: &[Option<Fingerprint>],
    terminal: &mut Terminal<'_>,
) -> Result<Exit, Failure> {
    let name = &case.scenario.name;
    let pairs: Vec<(Fingerprint, Fingerprint)> =
        once.iter().zip(again).filter_map(|(once, again)| Some(((*once)?, (*again)?))).collect();
    let different: Vec<_> = pairs.iter().filter(|(once, again)| once != again).collect();
    let (compared, all) = (pairs.len(), once.len());
    if different.is_empty() {
        let text = format!("{name}: {compared} seeds, each run twice, and no difference");
        if compared < all {
            terminal.print(&format!("{text}; interrupted before the other {}\n", all - compared))?;
            return Ok(Exit::Undecided);
        }
        terminal.print(&format!("{text}\n"))?;
        return Ok(Exit::Kept);
    }
    let count = different.len();
    terminal.print(&format!("{name}: {count} of {compared} seeds were not the same when run again\n"))?;
    for ((seed, digest, events), (_, digest_again, events_again)) in different.iter().take(MOST_DIFFERENCES) {
        terminal.print(&format!(
            "{name} seed {seed}: digest {digest} after {events} events, and {digest_again} after {events_again} \
             when run again\n"
        ))?;
        let schedule = case.scenario.schedule(*seed);
        let found = match first_difference(system, *seed, &schedule) {
            Some(difference) => {
                format!(
                    "  event {} is the first that differs\n    one run:   {}\n    the other: {}\n",
                    difference.event, difference.one, difference.other
                )
            }
            None => "  two runs side by side do not differ, so it depends on what ran before\n".to_owned(),
        };
        terminal.print(&found)?;
    }
    Ok(Exit::Internal)
}
