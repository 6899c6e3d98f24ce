//! Why a run failed: when the failure became likely, and which faults it needed.
//!
//! # The cause curve
//!
//! A failing run is stopped at some instants. At each it is forked many times, and each fork gets another future (see
//! [`sim_core::World::reseed`]): the past and the faults still to come stay, everything that chance decides after the
//! instant is drawn anew. The share of futures that fail says how much of the failure was already decided there. At the
//! end of the run it is one. Where it rises is where the failure was caused; where it was high from the start, the
//! faults alone suffice, and no bad luck was needed. Antithesis shows the same as its likelihood curve.
//!
//! Each share has the exact 95 % interval of Clopper and Pearson. The instants are chosen in two steps: first the start
//! (there a future is another seed under the same faults), the end of the warm-up, and those around the faults; then
//! between those two neighbours whose shares differ most, at a mark between them if there is one, until there are enough
//! or nothing happens between them any more. All instants use the same seeds for their futures.
//!
//! # The counterfactuals
//!
//! For each fault: the same run without it, and futures without it from the instant before it fired. The latter are
//! compared with futures with it from the same instant. A fault without which the same share fails has no part in the
//! failure. What is scheduled after the fault that is taken out (`after-fault`) goes with it.

#[cfg(test)]
mod tests;

use analysis::stats::{ProportionInterval, clopper_pearson};
use rayon::prelude::*;
use serde::Serialize;
use sim_core::{Mark, MarkKind, Schedule, Seed, SimDuration, SimTime, TraceEntry};

use crate::campaign::{Finding, judge_run};
use crate::case::Case;
use crate::execution::Execution;
use crate::family::{Forkable, LogLevel, RunResult};

/// Two instants closer than this are not told apart.
const FINEST: SimDuration = SimDuration::from_millis(1);

/// How much is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Effort {
    /// Futures from each instant.
    pub futures: u32,
    /// The most instants.
    pub instants: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { futures: 50, instants: 30 }
    }
}

/// How many of some futures failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Failed as the run did.
    pub failed: u64,
    /// All.
    pub futures: u64,
    /// The exact 95 % interval of the probability.
    pub interval: ProportionInterval,
}

impl Share {
    fn new(failed: u64, futures: u64) -> Self {
        Self { failed, futures, interval: clopper_pearson(failed, futures) }
    }

    /// The part that failed, from 0 to 1.
    pub fn estimate(self) -> f64 {
        self.failed as f64 / self.futures.max(1) as f64
    }
}

/// One instant of the curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// When the run was forked: everything up to this instant had happened, in nanoseconds of virtual time.
    pub at: SimTime,
    /// The futures from here.
    pub share: Share,
    /// What happened since the instant before, in words.
    pub happened: Vec<String>,
}

/// What the failure would have been without one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counterfactual {
    /// The fault's position in the schedule.
    pub position: usize,
    /// Its kind.
    pub kind: &'static str,
    /// When it fired; none if it did not.
    pub at: Option<SimTime>,
    /// Whom it hit, by name.
    pub hit: Vec<String>,
    /// Whether the same run fails without it; none if it did not fire.
    pub fails_without: Option<bool>,
    /// Futures with it, from the instant before.
    pub with: Option<Share>,
    /// Futures without it, from the same instant.
    pub without: Option<Share>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The failure, by name.
    pub finding: String,
    /// The cause curve, in order of time.
    pub curve: Vec<Point>,
    /// The position in the curve of the instant up to which the share rose most; none if it rose nowhere.
    pub steepest: Option<usize>,
    /// The log of the run in that step: what processes noted and received.
    pub steepest_log: Vec<String>,
    /// One for each fault of the schedule.
    pub faults: Vec<Counterfactual>,
}

/// Explains the run of this seed under this schedule. Futures run on the threads of the current rayon pool; the result
/// does not depend on how many there are.
pub fn explain(
    case: &Case,
    system: &dyn Forkable,
    seed: Seed,
    schedule: &Schedule,
    effort: Effort,
) -> Explanation {
    let result = system.run(seed, schedule, LogLevel::Off);
    let finding = Finding::of(&judge_run(case, system, seed, &result), &result);
    let explainer =
        Explainer { case, system, seed, schedule, effort, finding, result, names: system.process_names() };
    let curve = explainer.curve();
    let steepest = steepest(&curve);
    Explanation {
        finding: explainer.finding.to_string(),
        faults: (0..schedule.0.len()).map(|position| explainer.counterfactual(position)).collect(),
        steepest_log: steepest
            .map_or_else(Vec::new, |position| explainer.log(curve[position - 1].at, curve[position].at)),
        curve,
        steepest,
    }
}

struct Explainer<'a> {
    case: &'a Case,
    system: &'a dyn Forkable,
    seed: Seed,
    schedule: &'a Schedule,
    effort: Effort,
    finding: Finding,
    result: RunResult,
    names: Vec<String>,
}

impl Explainer<'_> {
    fn start(&self) -> Box<dyn Execution> {
        self.system.start(self.seed, self.schedule, LogLevel::Off)
    }

    fn fails(&self, run: Box<dyn Execution>) -> bool {
        let result = run.finish();
        Finding::of(&judge_run(self.case, self.system, self.seed, &result), &result) == self.finding
    }

    /// Gives a run many futures. `change` is what is different in all of them.
    fn futures(&self, present: &dyn Execution, change: &(dyn Fn(&mut dyn Execution) + Sync)) -> Share {
        let seeds = 1..=u64::from(self.effort.futures);
        let forks: Vec<(u64, Box<dyn Execution>)> = seeds.map(|seed| (seed, present.fork())).collect();
        let failed = forks
            .into_par_iter()
            .filter_map(|(seed, mut future)| {
                change(&mut *future);
                future.reseed(Seed(seed));
                self.fails(future).then_some(())
            })
            .count();
        Share::new(failed as u64, u64::from(self.effort.futures))
    }

    fn curve(&self) -> Vec<Point> {
        let mut points: Vec<(SimTime, Share)> = Vec::new();
        let mut run = self.start();
        for at in self.first_instants() {
            run.advance(at);
            points.push((at, self.futures(&*run, &|_| ())));
        }
        while points.len() < self.effort.instants {
            let Some((position, at)) = self.next_instant(&points) else { break };
            let mut run = self.start();
            run.advance(at);
            points.insert(position, (at, self.futures(&*run, &|_| ())));
        }
        // What led to the first instant is the whole ordinary life of the cluster.
        let mut before = points.first().map_or(SimTime::ZERO, |(at, _)| *at);
        let mut point = |(at, share)| {
            let happened = self.happened(before, at);
            before = at;
            Point { at, share, happened }
        };
        points.into_iter().map(&mut point).collect()
    }

    /// The start, where a future is another seed; the end of the warm-up; just before the first fault; after each
    /// beginning and end of one; and the end. Of too many, every second, third, ... is left out.
    fn first_instants(&self) -> Vec<SimTime> {
        let of_faults = |mark: &&Mark| matches!(mark.kind, MarkKind::Fault | MarkKind::FaultEnded);
        let marks = self.result.record.marks.iter().filter(of_faults).map(|mark| mark.at);
        let mut instants: Vec<SimTime> = marks.collect();
        instants.extend(instants.first().map(|first| just_before(*first)));
        instants.extend([SimTime::ZERO, SimTime::ZERO + self.case.scenario.warmup]);
        instants.retain(|at| *at < self.result.record.ended_at);
        instants.push(self.result.record.ended_at);
        instants.sort_unstable();
        instants.dedup();
        let most = (self.effort.instants / 2).max(2);
        let step = instants.len().div_ceil(most);
        let last = instants.len() - 1;
        let kept = |(index, at)| (index % step == 0 || index == last).then_some(at);
        instants.into_iter().enumerate().filter_map(kept).collect()
    }

    /// Between the neighbours whose shares differ most. None if no two neighbours that differ have anything between them.
    fn next_instant(&self, points: &[(SimTime, Share)]) -> Option<(usize, SimTime)> {
        let mut gaps: Vec<usize> = (1..points.len())
            .filter(|position| points[*position].0.since(points[position - 1].0) > FINEST)
            .collect();
        let difference =
            |position: &usize| points[*position].1.failed.abs_diff(points[position - 1].1.failed);
        gaps.sort_by_key(|position| (std::cmp::Reverse(difference(position)), *position));
        let position = *gaps.first().filter(|position| difference(position) > 0)?;
        let (from, to) = (points[position - 1].0, points[position].0);
        let marks: Vec<SimTime> = self
            .result
            .record
            .marks
            .iter()
            .map(|mark| mark.at)
            .filter(|at| at.since(from) >= FINEST && to.since(*at) >= FINEST && *at < to)
            .collect();
        let middle = SimTime::from_nanos(u64::midpoint(from.as_nanos(), to.as_nanos()));
        Some((position, marks.get(marks.len() / 2).copied().unwrap_or(middle)))
    }

    /// Marks after one instant and up to another, in words.
    fn happened(&self, after: SimTime, until: SimTime) -> Vec<String> {
        let between = |mark: &&Mark| mark.at > after && mark.at <= until;
        let tell = |mark: &Mark| match mark.kind {
            MarkKind::Fault | MarkKind::FaultEnded => {
                let position = mark.value as usize;
                let kind = self.schedule.0.get(position).map_or("fault", |fault| fault.fault.kind());
                let what = if mark.kind == MarkKind::Fault { "begins" } else { "ends" };
                format!("{}: fault {position} ({kind}) {what}", mark.at)
            }
            _ => format!(
                "{}: {} {mark}",
                mark.at,
                mark.process.map_or("", |process| &self.names[process.index()])
            ),
        };
        self.result.record.marks.iter().filter(between).map(tell).collect()
    }

    /// The log after one instant and up to another, line by line.
    fn log(&self, after: SimTime, until: SimTime) -> Vec<String> {
        let log = self.system.run(self.seed, self.schedule, LogLevel::Packets).log;
        let tell = |entry: &TraceEntry| {
            let name = entry.process.map_or("", |process| &self.names[process.index()]);
            format!("{}: {name} {}", exact(entry.at), entry.text)
        };
        log.iter().filter(|entry| entry.at > after && entry.at <= until).map(tell).collect()
    }

    fn counterfactual(&self, position: usize) -> Counterfactual {
        let delivered = self.result.faults.iter().find(|fault| fault.index == position);
        let mut answer = Counterfactual {
            position,
            kind: self.schedule.0[position].fault.kind(),
            at: delivered.map(|fault| fault.at),
            hit: Vec::new(),
            fails_without: None,
            with: None,
            without: None,
        };
        let Some(delivered) = delivered else { return answer };
        // Links have two ends, so a process can be named more than once.
        let hit: std::collections::BTreeSet<_> = delivered.processes.iter().collect();
        answer.hit = hit.into_iter().map(|process| self.names[process.index()].clone()).collect();
        let mut without = self.start();
        without.cancel_fault(position);
        answer.fails_without = Some(self.fails(without));
        let mut run = self.start();
        run.advance(just_before(delivered.at));
        answer.with = Some(self.futures(&*run, &|_| ()));
        answer.without = Some(self.futures(&*run, &|future| {
            future.cancel_fault(position);
        }));
        answer
    }
}

/// Seconds with microseconds: steps are short.
fn exact(at: SimTime) -> String {
    let micros = at.as_nanos() / 1_000;
    format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
}

/// The last instant before this one.
fn just_before(at: SimTime) -> SimTime {
    SimTime::from_nanos(at.as_nanos().saturating_sub(1))
}

/// The position of the point up to which the share rose most; the earliest of equals.
fn steepest(curve: &[Point]) -> Option<usize> {
    let rise =
        |position: &usize| curve[*position].share.failed.saturating_sub(curve[position - 1].share.failed);
    (1..curve.len())
        .filter(|position| rise(position) > 0)
        .max_by_key(|position| (rise(position), std::cmp::Reverse(*position)))
}
