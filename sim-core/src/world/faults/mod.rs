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

use crate::fault::{Dwell, Fault, FaultBudget, Trigger};
use crate::host::fault_target_stream;
use crate::id::{HostId, ProcessId, VolumeId};
use crate::process::Process;
use crate::random::{Seed, Stream};
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
    /// What they played when it hit them, see [`Process::role`]: each word once, in order. Of a fault between two
    /// sides, the first side's. Processes that did not run play nothing.
    pub roles: Vec<&'static str>,
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
    seed: Seed,
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

/// Whom a fault hit, and what of it lasts.
#[derive(Clone, Debug, Default)]
struct Effect {
    processes: Vec<ProcessId>,
    hosts: Vec<HostId>,
    /// The first of two sides, where the fault tells them apart.
    from: Vec<ProcessId>,
    /// For what is bound to a life: those that were hit. A new life is not paused.
    lives: Vec<(ProcessId, u32)>,
    volumes: Vec<VolumeId>,
    /// Directed ways between processes.
    ways: Vec<(ProcessId, ProcessId)>,
    /// Directed ways between hosts.
    links: Vec<(HostId, HostId)>,
    /// Only for a fault that comes and goes.
    flapping: Option<Flapping>,
}

#[derive(Clone, Debug)]
struct Flapping {
    /// Draws the dwell times.
    stream: Stream,
    /// Whether the fault is there now.
    on: bool,
}

impl Effect {
    /// Those whom the fault was meant for: of two sides, the first.
    fn aimed_at(&self) -> &[ProcessId] {
        if self.from.is_empty() { &self.processes } else { &self.from }
    }
}

impl FaultState {
    pub(crate) fn new(seed: Seed) -> Self {
        let stream = fault_target_stream(seed);
        Self {
            faults: Vec::new(),
            delivered: Vec::new(),
            stream,
            seed,
            cancelled: Vec::new(),
            mark_counts: Vec::new(),
            budgets: Arc::default(),
            lasting: Vec::new(),
        }
    }

    pub(crate) fn reseed(&mut self, seed: Seed) {
        self.stream = fault_target_stream(seed);
        self.seed = seed;
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
        self.kernel.faults.delivered.push(DeliveredFault {
            index,
            at: now,
            kind: fault.kind(),
            processes: effect.processes.clone(),
            roles: self.roles_hit(&effect),
            accepted: true,
            withheld,
        });
        self.tell(&fault, &effect, if withheld { "is withheld by the budget" } else { "begins" });
        if !withheld {
            self.kernel.mark(None, MarkKind::Fault, index as u64);
            self.begin(index, &fault, &mut effect);
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

    /// What the processes that a fault was aimed at play now.
    fn roles_hit(&self, effect: &Effect) -> Vec<&'static str> {
        let states = effect.aimed_at().iter().filter_map(|process| self.process(*process));
        let roles: BTreeSet<&str> = states.map(P::role).filter(|role| !role.is_empty()).collect();
        roles.into_iter().collect()
    }

    /// Lets a fault take effect; a fault that comes and goes does so each time it comes.
    fn begin(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        match fault {
            Fault::Kill { .. } => self.kill_all(&effect.processes),
            Fault::Restart { stagger, .. } => self.begin_restarts(index, &effect.processes, *stagger),
            Fault::Wipe { delay, .. } => self.wipe(&effect.processes, *delay),
            Fault::Slow { service, factor, .. } => {
                self.slow_down(&effect.hosts, *service * u64::from(*factor), false);
            }
            Fault::PowerOff { .. } => self.begin_outages(&effect.hosts),
            Fault::Pause { .. } => self.pause(effect),
            Fault::Freeze { .. } => self.freeze(effect),
            Fault::Partition { .. }
            | Fault::Bridge { .. }
            | Fault::Ring { .. }
            | Fault::Isolate { .. }
            | Fault::Split { .. } => self.cut(effect),
            Fault::Flap { fault, on, off } => self.begin_flapping(index, fault, *on, *off, effect),
            Fault::Degrade { latency, loss, .. } => self.degrade(effect, *latency, *loss, false),
            Fault::Latency { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Bandwidth { .. } => self.begin_shaping(index, fault, effect),
            Fault::ConnectionReset { told, .. } => self.reset_connections(effect, *told),
            Fault::HalfOpen { answer, .. } => self.lose_connections(effect, *answer),
            Fault::HangOnConnect { answer, .. } => self.hang(effect, *answer),
            Fault::DiskStall { .. }
            | Fault::DiskSlow { .. }
            | Fault::DiskError { .. }
            | Fault::DiskFull { .. }
            | Fault::DiskTornWrite { .. }
            | Fault::DiskLies { .. }
            | Fault::DiskMisdirectedWrite { .. }
            | Fault::DiskCorruption { .. } => self.begin_disk_fault(fault, effect),
            Fault::ClockStep { millis, .. } | Fault::ClockOffset { millis, .. } => {
                self.step_clocks(&effect.hosts, *millis);
            }
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
        let mut effect = std::mem::take(&mut planned.effect);
        self.tell(&fault, &effect, "ends");
        self.kernel.mark(None, MarkKind::FaultEnded, index as u64);
        self.finish(index, &fault, &mut effect);
    }

    /// Undoes what `begin` did.
    fn finish(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        match fault {
            Fault::Kill { .. } => self.end_kills(&effect.processes),
            Fault::Slow { service, factor, .. } => {
                self.slow_down(&effect.hosts, *service * u64::from(*factor), true);
            }
            Fault::PowerOff { .. } => self.end_outages(&effect.hosts),
            Fault::Pause { .. } => self.resume(effect),
            Fault::Freeze { .. } => effect.hosts.iter().for_each(|host| self.thaw(*host)),
            Fault::Partition { .. }
            | Fault::Bridge { .. }
            | Fault::Ring { .. }
            | Fault::Isolate { .. }
            | Fault::Split { .. } => self.mend(effect),
            Fault::Flap { fault, .. } => self.end_flapping(index, fault, effect),
            Fault::Degrade { latency, loss, .. } => self.degrade(effect, *latency, *loss, true),
            Fault::Latency { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Bandwidth { .. } => self.end_shaping(index, effect),
            Fault::HangOnConnect { answer, .. } => self.end_hang(effect, *answer),
            Fault::DiskStall { .. }
            | Fault::DiskSlow { .. }
            | Fault::DiskError { .. }
            | Fault::DiskFull { .. }
            | Fault::DiskTornWrite { .. }
            | Fault::DiskLies { .. }
            | Fault::DiskMisdirectedWrite { .. } => self.end_disk_fault(fault, effect),
            Fault::ClockOffset { millis, .. } => self.step_clocks(&effect.hosts, millis.saturating_neg()),
            Fault::ClockDrift { ppm, .. } => self.change_drifts(&effect.hosts, ppm.saturating_neg()),
            Fault::Restart { .. }
            | Fault::Wipe { .. }
            | Fault::ConnectionReset { .. }
            | Fault::HalfOpen { .. }
            | Fault::ClockStep { .. }
            | Fault::DiskCorruption { .. }
            | Fault::Command { .. } => {}
        }
    }

    fn begin_flapping(&mut self, index: usize, fault: &Fault, on: Dwell, off: Dwell, effect: &mut Effect) {
        if effect.processes.is_empty() {
            return;
        }
        let stream = self.kernel.faults.seed.stream("fault flaps", index as u64);
        effect.flapping = Some(Flapping { stream, on: false });
        self.turn(index, fault, on, off, effect);
    }

    fn end_flapping(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        if effect.flapping.take().is_some_and(|flapping| flapping.on) {
            self.finish(index, fault, effect);
        }
    }

    /// A dwell time of a flapping fault is over.
    pub(crate) fn flap(&mut self, index: usize) {
        let planned = &mut self.kernel.faults.faults[index];
        let Fault::Flap { fault, on, off } = planned.fault.clone() else {
            unreachable!("only a flapping fault queues its turns");
        };
        let mut effect = std::mem::take(&mut planned.effect);
        // Without, the fault ended before this turn came up.
        if effect.flapping.is_some() {
            self.turn(index, &fault, on, off, &mut effect);
        }
        self.kernel.faults.faults[index].effect = effect;
    }

    /// Comes if it was gone, goes if it was there, and decides for how long.
    fn turn(&mut self, index: usize, fault: &Fault, on: Dwell, off: Dwell, effect: &mut Effect) {
        let Some(flapping) = &mut effect.flapping else { return };
        flapping.on = !flapping.on;
        let comes = flapping.on;
        let dwell = if comes { on } else { off };
        let length = flapping.stream.duration(dwell.shortest, dwell.longest);
        self.kernel.queue.push(self.kernel.now + length, Event::FaultFlaps { fault: index as u32 });
        self.tell(fault, effect, if comes { "comes" } else { "goes" });
        if comes {
            self.begin(index, fault, effect);
        } else {
            self.finish(index, fault, effect);
        }
    }

    fn tell(&mut self, fault: &Fault, effect: &Effect, what: &str) {
        let kernel = &mut self.kernel;
        let names = || {
            // A process at both ends of a link is there twice.
            let processes: BTreeSet<_> = effect.processes.iter().collect();
            let named: Vec<&str> =
                processes.iter().map(|process| &*kernel.processes[process.index()].name).collect();
            if named.is_empty() {
                "nobody is hit".to_owned()
            } else if effect.ways.is_empty() {
                named.join(", ")
            } else {
                format!("{} directed ways among {}", effect.ways.len(), named.join(", "))
            }
        };
        kernel.trace.add(TraceLevel::Story, kernel.now, None, TraceKind::Fault, || {
            format!("{fault} {what}: {}", names())
        });
    }
}
