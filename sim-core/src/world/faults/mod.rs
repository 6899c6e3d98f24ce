//! Faults taking effect and ending.
//!
//! This page decides whom a fault hits and when; what then happens is in one file for each subject.

mod budget;
mod clocks;
mod disks;
mod network;
mod processes;
mod targets;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fault::{Fault, FaultBudget, Trigger};
use crate::id::{HostId, ProcessId};
use crate::process::Process;
use crate::random::Stream;
use crate::record::MarkKind;
use crate::time::{SimDuration, SimTime};
use crate::trace::{TraceKind, TraceLevel};

use super::{Event, Input, Kernel, World};

/// What became of a fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeliveredFault {
    /// Its position in the schedule.
    pub index: usize,
    /// When it fired.
    pub at: SimTime,
    /// Its kind, see [`Fault::kind`].
    pub kind: &'static str,
    /// Whom it hit. Empty when nobody matched its target: the fault missed.
    pub processes: Vec<ProcessId>,
    /// False for a command that the process does not know.
    pub accepted: bool,
    /// True when the budget of the run did not allow it (see [`crate::FaultBudget`]): it hit nobody.
    pub withheld: bool,
}

/// The schedule as it is carried out.
#[derive(Clone, Debug)]
pub(crate) struct FaultState {
    faults: Vec<Planned>,
    pub(crate) delivered: Vec<DeliveredFault>,
    stream: Stream,
    /// Positions of faults that shall not fire any more, in no order.
    cancelled: Vec<usize>,
    /// How often each kind of mark was left since the first fault fired.
    mark_counts: Vec<(MarkKind, u32)>,
    /// What the schedule may break at most.
    budgets: Arc<[FaultBudget]>,
    /// Whom each budget of harm that lasts has counted.
    lasting: Vec<Vec<ProcessId>>,
}

#[derive(Clone, Debug)]
struct Planned {
    trigger: Trigger,
    fault: Fault,
    lasts: Option<SimDuration>,
    /// What it did, to be undone; filled when it fires.
    effect: Effect,
}

#[derive(Clone, Debug, Default)]
struct Effect {
    processes: Vec<ProcessId>,
    /// How many of them, from the first on, are the side that a partition cuts off; all for other faults.
    harmed: Option<usize>,
    /// The lives of the processes when the fault fired: a new life is not paused.
    incarnations: Vec<u32>,
    hosts: Vec<HostId>,
    /// Directed ways between processes.
    ways: Vec<(ProcessId, ProcessId)>,
    /// Directed ways between hosts.
    links: Vec<(HostId, HostId)>,
}

impl FaultState {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            faults: Vec::new(),
            delivered: Vec::new(),
            stream,
            cancelled: Vec::new(),
            mark_counts: Vec::new(),
            budgets: Arc::default(),
            lasting: Vec::new(),
        }
    }

    pub(crate) fn reseed(&mut self, stream: Stream) {
        self.stream = stream;
    }

    pub(crate) fn is_cancelled(&self, index: usize) -> bool {
        self.cancelled.contains(&index)
    }

    pub(crate) fn cancel(&mut self, index: usize) {
        self.cancelled.push(index);
    }

    pub(crate) fn count(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn command_refused(&mut self, fault: u32) {
        for delivered in self.delivered.iter_mut().filter(|delivered| delivered.index == fault as usize) {
            delivered.accepted = false;
        }
    }
}

impl<P: Process> Kernel<P> {
    pub(crate) fn add_fault(&mut self, trigger: Trigger, fault: Fault, lasts: Option<SimDuration>) {
        let index = self.faults.faults.len() as u32;
        if let Trigger::At(at) = trigger {
            self.queue.push(SimTime::ZERO + at, Event::FaultFires { fault: index });
        }
        self.faults.faults.push(Planned { trigger, fault, lasts, effect: Effect::default() });
    }

    pub(crate) fn trigger_on_mark(&mut self, kind: MarkKind) {
        if self.faults.delivered.is_empty() {
            return;
        }
        let counts = &mut self.faults.mark_counts;
        let position = counts.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
            counts.push((kind, 0));
            counts.len() - 1
        });
        counts[position].1 += 1;
        let count = counts[position].1;
        for (index, planned) in self.faults.faults.iter().enumerate() {
            if let Trigger::OnMark { mark, occurrence, delay, before } = &planned.trigger
                && (*mark, *occurrence) == (kind, count)
                && before.is_none_or(|before| self.now + *delay <= SimTime::ZERO + before)
            {
                self.queue.push(self.now + *delay, Event::FaultFires { fault: index as u32 });
            }
        }
    }
}

impl<P: Process> World<P> {
    pub(crate) fn fire_fault(&mut self, index: usize) {
        let planned = &self.kernel.faults.faults[index];
        let (fault, lasts) = (planned.fault.clone(), planned.lasts);
        let now = self.kernel.now;
        let mut effect = self.aim(&fault);
        let withheld = !effect.processes.is_empty() && !self.kernel.afford(&fault, &effect);
        if withheld {
            effect = Effect::default();
        }
        let incarnation = |process: &ProcessId| self.kernel.processes[process.index()].incarnation;
        effect.incarnations = effect.processes.iter().map(incarnation).collect();
        self.kernel.faults.delivered.push(DeliveredFault {
            index,
            at: now,
            kind: fault.kind(),
            processes: effect.processes.clone(),
            accepted: true,
            withheld,
        });
        self.tell(&fault, &effect, if withheld { "is withheld by the budget" } else { "begins" });
        if !withheld {
            self.kernel.mark(None, MarkKind::Fault, index as u64);
            self.begin(index, &fault, &effect);
            if let Some(lasts) = lasts {
                self.kernel.queue.push(now + lasts, Event::FaultEnds { fault: index as u32 });
            }
        }
        self.kernel.faults.faults[index].effect = effect;
        let followers: Vec<(u32, SimDuration)> = (self.kernel.faults.faults.iter().enumerate())
            .filter_map(|(other, planned)| match planned.trigger {
                Trigger::AfterFault { fault, delay } if fault == index => Some((other as u32, delay)),
                _ => None,
            })
            .collect();
        for (fault, delay) in followers {
            self.kernel.queue.push(now + delay, Event::FaultFires { fault });
        }
    }

    fn begin(&mut self, index: usize, fault: &Fault, effect: &Effect) {
        match fault {
            Fault::Kill { .. } => effect.processes.iter().for_each(|process| self.kill(*process)),
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_off(*host)),
            Fault::Pause { .. } => self.pause(effect),
            Fault::Freeze { .. } => self.freeze(effect),
            Fault::Partition { .. } => self.cut(effect),
            Fault::Degrade { latency, loss, .. } => self.degrade(effect, *latency, *loss, false),
            Fault::DiskStall { .. } => self.stall_disks(&effect.hosts, true),
            Fault::ClockStep { millis, .. } => self.step_clocks(&effect.hosts, *millis),
            Fault::ClockDrift { ppm, .. } => self.change_drifts(&effect.hosts, *ppm),
            Fault::Command { command, .. } => {
                let command: Arc<str> = command.as_str().into();
                for process in &effect.processes {
                    self.give(*process, Input::Command(Arc::clone(&command), index as u32));
                }
            }
        }
    }

    pub(crate) fn end_fault(&mut self, index: usize) {
        let planned = &mut self.kernel.faults.faults[index];
        let fault = planned.fault.clone();
        let effect = std::mem::take(&mut planned.effect);
        self.tell(&fault, &effect, "ends");
        self.kernel.mark(None, MarkKind::FaultEnded, index as u64);
        match &fault {
            Fault::Kill { .. } => effect.processes.iter().for_each(|process| self.boot(*process)),
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_on(*host)),
            Fault::Pause { .. } => self.resume(&effect),
            Fault::Freeze { .. } => effect.hosts.iter().for_each(|host| self.thaw(*host)),
            Fault::Partition { .. } => self.mend(&effect),
            Fault::Degrade { latency, loss, .. } => self.degrade(&effect, *latency, *loss, true),
            Fault::DiskStall { .. } => self.stall_disks(&effect.hosts, false),
            Fault::ClockDrift { ppm, .. } => self.change_drifts(&effect.hosts, -*ppm),
            Fault::ClockStep { .. } | Fault::Command { .. } => {}
        }
    }

    fn tell(&mut self, fault: &Fault, effect: &Effect, what: &str) {
        let kernel = &mut self.kernel;
        let names = || {
            // A process at both ends of a link is there twice.
            let processes: BTreeSet<_> = effect.processes.iter().collect();
            let named: Vec<&str> =
                processes.iter().map(|process| &*kernel.processes[process.index()].name).collect();
            match (fault, named.is_empty()) {
                (_, true) => "nobody is hit".to_owned(),
                (Fault::Partition { .. } | Fault::Degrade { .. }, _) => {
                    format!("{} directed ways among {}", effect.ways.len(), named.join(", "))
                }
                _ => named.join(", "),
            }
        };
        kernel.trace.add(TraceLevel::Story, kernel.now, None, TraceKind::Fault, || {
            format!("{} {what}: {}", fault.kind(), names())
        });
    }
}
