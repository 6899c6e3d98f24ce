//! Determinism is not believed but watched: some runs are run twice, and what differs is looked for.

use std::fmt;

use sim_core::{NextEvent, Probability, Schedule, Seed};

use crate::family::{Forkable, LogLevel, RunResult};

/// What a campaign runs twice.
#[derive(Clone, Copy)]
pub struct Recheck<'a> {
    /// The share of its seeds.
    pub share: Probability,
    /// The system of the campaign, whose runs can be put side by side.
    pub system: &'a dyn Forkable,
}

impl Recheck<'_> {
    /// Whether this seed is run twice. The choice depends on the seed alone, through a stream of its own, so it is the
    /// same in every campaign and on any number of threads.
    pub(super) fn is_chosen(&self, seed: Seed) -> bool {
        self.share == Probability::ALWAYS || seed.stream("campaign recheck", 0).chance(self.share)
    }
}

impl fmt::Debug for Recheck<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recheck").field("share", &self.share).finish_non_exhaustive()
    }
}

/// Runs a seed again, in a fresh world and with another level of the log, and compares everything that it leaves.
///
/// # Errors
/// What differs, on one line.
pub fn repeats(
    system: &dyn Forkable,
    seed: Seed,
    schedule: &Schedule,
    first: &RunResult,
) -> Result<(), String> {
    let second = system.run(seed, schedule, LogLevel::Story);
    let (one, two) = (&first.record, &second.record);
    if one.digest != two.digest || one.events != two.events {
        let where_from = match first_difference(system, seed, schedule) {
            Some(difference) => difference.to_string(),
            None => "two runs side by side do not differ, so it depends on what ran before".to_owned(),
        };
        return Err(format!(
            "digest {} after {} events, and {} after {} when run again; {where_from}",
            one.digest, one.events, two.digest, two.events
        ));
    }
    if one != two {
        return Err(format!("equal digests {}, and other histories, marks or ends", one.digest));
    }
    if first.surviving != second.surviving || first.faults != second.faults {
        return Err(format!("equal digests {}, and other surviving values or delivered faults", one.digest));
    }
    Ok(())
}

/// The first event after which two runs of one seed are not the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Its number, from 1.
    pub event: u64,
    /// What the one run was about to do.
    pub one: String,
    /// What the other was about to do.
    pub other: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, one, other } = self;
        if one == other {
            return write!(formatter, "event {event} is the first that differs, in what it causes: {one}");
        }
        write!(formatter, "event {event} is the first that differs: {one}; and again: {other}")
    }
}

/// Runs a seed twice side by side, event by event, with different levels of the log, up to the first event after which
/// the digests differ; none if they never do.
///
/// Side by side, and not by bisection with a new pair of runs for each probe: a run that does not repeat itself would
/// move the place while it is looked for.
pub fn first_difference(system: &dyn Forkable, seed: Seed, schedule: &Schedule) -> Option<Difference> {
    let names = system.process_names();
    let mut one = system.start(seed, schedule, LogLevel::Off);
    let mut other = system.start(seed, schedule, LogLevel::Story);
    loop {
        let next = [&one, &other].map(|run| tell(run.next_event(), &names));
        let event = one.events() + 1;
        let ends = [one.advance_events(event), other.advance_events(event)];
        if one.digest() != other.digest() || ends[0] != ends[1] {
            let [one, other] = next;
            return Some(Difference { event, one, other });
        }
        if ends[0].is_some() {
            return None;
        }
    }
}

fn tell(next: Option<NextEvent>, names: &[String]) -> String {
    let Some(next) = next else { return "the end of the run".to_owned() };
    let name = next.process.and_then(|process| names.get(process.index()));
    let (seconds, nanos) = (next.at.as_nanos() / 1_000_000_000, next.at.as_nanos() % 1_000_000_000);
    let name = name.map_or("world", String::as_str);
    // To the nanosecond: two runs may part by less than people read.
    format!("{seconds}.{nanos:09}s {name}: {}", next.what.replace('\n', " "))
}
