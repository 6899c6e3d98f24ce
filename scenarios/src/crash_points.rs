//! Every point of a run at which a process, or a host, could crash: one run for each.
//!
//! Random schedules hit the middle of an exchange now and then. Here nothing is left to luck: one run is made, and each instant
//! at which a process was given something (a packet, a timer, a completed sync, an event of a connection) is a point
//! at which it is killed, or its host loses power, just after it has acted on it and before anything else happens. What
//! follows is the rest of the same run, with this one fault more.
//!
//! # Which points there are
//!
//! A process that did nothing between two points has one: only what it was given counts, and not what time it is. Before it
//! was given the next thing it was in the same state, and so was its volume, except that a sync may have completed: that
//! the process is given, too. Inputs in the same nanosecond are one point, after the last of them, because a schedule names an
//! instant. Clients and proxies are left out: their crash is a crash of nobody who has promised anything.
//!
//! # What a finding is
//!
//! A point at which the run breaks what it kept without the crash: an invariant, a lost write, two primaries. How fast a
//! cluster is back is promised for the faults of the scenario and not for one more, so points at which it takes longer than
//! promised, or is not back at the end, are counted and told, and are no findings.
//!
//! The base run is not repeated: it goes on from point to point, and each point is a fork of it ([`Execution::fork`]). A
//! finding is confirmed by a run from the start under a schedule that has the crash as an ordinary fault at an instant,
//! which is what the repro file holds.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;
use sim_core::{
    Fault, Mark, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, TraceKind, Trigger,
};

use crate::campaign::{Finding, Judgement, Outcome, Verdict, judge_run, run_schedule};
use crate::case::Case;
use crate::execution::{Execution, Residence};
use crate::family::{Forkable, LogLevel};

/// Processes that promise nothing, without their numbers.
const BYSTANDERS: &[&str] = &["client", "local-client", "haproxy", "pgbouncer", "confd"];

/// How many forks exist at a time: enough to keep the threads busy, few enough for memory.
const WINDOW: usize = 256;

/// What happens at each point.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crash {
    /// The process is killed: what it wrote is there when it starts again, synced or not.
    #[default]
    Kill,
    /// Its host loses power, and everything that was not synced.
    PowerOff,
}

/// Which points are tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// What happens.
    pub crash: Crash,
    /// How long the process, or host, is down. Processes that another process starts, as Patroni starts its server, are left to
    /// it.
    pub down: SimDuration,
    /// The points begin with the first mark of this kind.
    pub from: MarkKind,
    /// They end with the first mark of this kind after it; with the run, without.
    pub until: Option<MarkKind>,
    /// Only processes with these names, with or without their numbers; all but clients and proxies if empty.
    pub only: Vec<String>,
}

impl Default for Plan {
    /// The failover: from the first fault on, until clients reach the new primary.
    fn default() -> Self {
        Self {
            crash: Crash::Kill,
            down: SimDuration::from_secs(10),
            from: MarkKind::Fault,
            until: Some(MarkKind::Rerouted),
            only: Vec::new(),
        }
    }
}

/// One point.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Point {
    /// The crash comes after everything that happened up to this instant, in nanoseconds of virtual time.
    pub at: SimTime,
    /// The process, or the host.
    pub victim: String,
    /// The process that was given something.
    pub process: String,
    /// What it was given last.
    pub after: String,
}

/// Points at which the run fails in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// How it fails.
    pub finding: Finding,
    /// At how many points.
    pub points: u64,
    /// The first of them.
    pub first: Point,
    /// What the judge says of that one.
    pub judgement: Judgement,
    /// The schedule with the crash, and the run that it gives from the start.
    pub schedule: Schedule,
    /// That run.
    pub outcome: Outcome,
}

impl Group {
    /// True if the run from the start fails as the fork did.
    pub fn is_confirmed(&self) -> bool {
        self.outcome.judgement == self.judgement
    }
}

/// What came of all points.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The first instant of the window.
    pub from: SimTime,
    /// The last.
    pub until: SimTime,
    /// What processes were given in the window, each input of its own.
    pub inputs: u64,
    /// Points that were tried.
    pub points: u64,
    /// How many processes, or hosts, crash at some point.
    pub victims: u64,
    /// Points at which a budget of the scenario did not allow the crash.
    pub withheld: u64,
    /// Points at which every promise was kept.
    pub kept: u64,
    /// Points at which clients were served later than promised, or not yet at the end.
    pub late: u64,
    /// One of those, the one that took longest.
    pub latest: Option<(Point, Judgement)>,
    /// The findings, in the order of their first points.
    pub findings: Vec<Group>,
}

/// Why there is nothing to enumerate.
#[derive(Clone, Debug, PartialEq)]
pub enum NoPoints {
    /// The run fails by itself.
    Fails(Box<Outcome>),
    /// The run leaves no mark of this kind.
    NoMark(MarkKind),
}

/// Finds the points of the run of this seed under this schedule.
///
/// # Errors
/// The run fails without a crash, or has no window.
pub fn crash_points(
    case: &Case,
    system: &dyn Forkable,
    seed: Seed,
    schedule: &Schedule,
    plan: &Plan,
) -> Result<Enumeration, NoPoints> {
    let (outcome, result) = run_schedule(case, system, seed, schedule, LogLevel::Packets);
    if outcome.judgement.verdict != Verdict::Kept {
        return Err(NoPoints::Fails(Box::new(outcome)));
    }
    let marks = &result.record.marks;
    let first = |kind: MarkKind, after: SimTime| {
        marks.iter().find(|mark: &&Mark| mark.kind == kind && mark.at >= after).map(|mark| mark.at)
    };
    let from = first(plan.from, SimTime::ZERO).ok_or(NoPoints::NoMark(plan.from))?;
    let until = plan.until.and_then(|kind| first(kind, from)).unwrap_or(result.record.ended_at);
    let start = system.start(seed, schedule, LogLevel::Off);
    let names = system.process_names();
    let mut inputs = 0;
    let mut points: BTreeMap<(SimTime, String), (Point, Residence)> = BTreeMap::new();
    for entry in result.log {
        let (TraceKind::Delivery, Some(process)) = (entry.kind, entry.process) else { continue };
        let name = &names[process.index()];
        if entry.at < from || entry.at > until || !plan.means(name) {
            continue;
        }
        inputs += 1;
        let residence = start.residence(process);
        let victim = match plan.crash {
            Crash::Kill => name.clone(),
            Crash::PowerOff => residence.host.clone(),
        };
        let point = Point { at: entry.at, victim: victim.clone(), process: name.clone(), after: entry.text };
        points.insert((entry.at, victim), (point, residence));
    }
    Ok(Enumeration { from, until, inputs, points: points.into_values().collect() })
}

/// All points of a run, in the order of time.
#[derive(Clone, Debug)]
pub struct Enumeration {
    from: SimTime,
    until: SimTime,
    inputs: u64,
    points: Vec<(Point, Residence)>,
}

impl Enumeration {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Who crashes, point by point.
    pub fn victims(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(|(point, _)| point.victim.as_str())
    }

    /// Tries all of them, on the threads of the current rayon pool; the result does not depend on how many there are.
    /// `done` hears of each point that was tried.
    ///
    /// # Panics
    /// Never, with the system and the schedule of which these are the points: victims have the names that it gave.
    pub fn try_all(
        &self,
        case: &Case,
        system: &dyn Forkable,
        seed: Seed,
        schedule: &Schedule,
        plan: &Plan,
        done: &(dyn Fn() + Sync),
    ) -> Report {
        let victims: BTreeSet<&str> = self.victims().collect();
        let mut report = Report {
            from: self.from,
            until: self.until,
            inputs: self.inputs,
            points: self.points.len() as u64,
            victims: victims.len() as u64,
            withheld: 0,
            kept: 0,
            late: 0,
            latest: None,
            findings: Vec::new(),
        };
        let mut spine = system.start(seed, schedule, LogLevel::Off);
        for window in self.points.chunks(WINDOW) {
            let forks: Vec<(&Point, ScheduledFault, Box<dyn Execution>)> = window
                .iter()
                .map(|(point, residence)| {
                    spine.advance(point.at);
                    (point, plan.fault(point, residence), spine.fork())
                })
                .collect();
            let tried: Vec<_> = forks
                .into_par_iter()
                .map(|(point, fault, mut fork)| {
                    fork.add_faults(&Schedule(vec![fault.clone()])).expect("the victim has a name");
                    let result = fork.finish();
                    let outcome = judge_run(case, system, seed, &result);
                    let withheld = result
                        .faults
                        .iter()
                        .any(|delivered| delivered.withheld && delivered.index == schedule.0.len());
                    done();
                    (point, fault, Finding::of(&outcome, &result), outcome.judgement, withheld)
                })
                .collect();
            for (point, fault, finding, judgement, withheld) in tried {
                report.withheld += u64::from(withheld);
                report.take(point, finding, judgement, || {
                    let mut whole = schedule.clone();
                    whole.0.push(fault);
                    let outcome = run_schedule(case, system, seed, &whole, LogLevel::Off).0;
                    (whole, outcome)
                });
            }
        }
        report
    }
}

impl Plan {
    /// True if processes of this name crash.
    fn means(&self, name: &str) -> bool {
        let kind = name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok());
        let kind = kind.map_or(name, |(kind, _)| kind);
        if self.only.is_empty() {
            return !BYSTANDERS.contains(&kind);
        }
        self.only.iter().any(|only| only == name || only == kind)
    }

    /// The crash as data.
    fn fault(&self, point: &Point, residence: &Residence) -> ScheduledFault {
        // Everything of this nanosecond has happened, and nothing of the next.
        let at = point.at.since(SimTime::ZERO) + SimDuration::from_nanos(1);
        let (fault, ends) = match self.crash {
            Crash::Kill => {
                let target = Target::Process(point.victim.clone());
                (Fault::Kill { target }, residence.starts_with_host)
            }
            Crash::PowerOff => (Fault::PowerOff { target: Target::Host(point.victim.clone()) }, true),
        };
        ScheduledFault { trigger: Trigger::At(at), fault, lasts: ends.then_some(self.down) }
    }
}

impl Report {
    fn take(
        &mut self,
        point: &Point,
        finding: Finding,
        judgement: Judgement,
        confirm: impl FnOnce() -> (Schedule, Outcome),
    ) {
        if judgement.verdict == Verdict::Kept {
            self.kept += 1;
        } else if finding.is_about_recovery() {
            self.late += 1;
            let worst = self.latest.as_ref().is_none_or(|(_, latest)| judgement.verdict > latest.verdict);
            if worst {
                self.latest = Some((point.clone(), judgement));
            }
        } else if let Some(group) = self.findings.iter_mut().find(|group| group.finding == finding) {
            group.points += 1;
        } else {
            let (schedule, outcome) = confirm();
            let first = point.clone();
            self.findings.push(Group { finding, points: 1, first, judgement, schedule, outcome });
        }
    }
}
