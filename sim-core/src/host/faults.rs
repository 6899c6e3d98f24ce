//! A schedule as it is carried out, on any host of processes: when a fault fires, whom it hits, whether the budget allows
//! it, when it comes, goes and ends, and what follows on it.
//!
//! What a fault does is the business of the host, which says so by [`FaultHost::begin`] and [`FaultHost::finish`]. Whom it
//! hits is on the page of `targets`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fault::{Dwell, Fault, FaultBudget, Schedule, ScheduledFault, Trigger};
use crate::id::{HostId, ProcessId, VolumeId};
use crate::random::{Seed, Stream};
use crate::record::MarkKind;
use crate::time::{SimDuration, SimTime};
use crate::topology::Topology;

use super::budget::afford;
use super::fault_target_stream;
use super::targets::{aim, check_targets};

/// A host of processes, as schedules see it.
pub trait FaultHost: Sized {
    /// The schedule and what became of it.
    fn faults(&self) -> &FaultState;
    /// The same, to be changed.
    fn faults_mut(&mut self) -> &mut FaultState;
    /// Hosts, zones and regions.
    fn topology(&self) -> &Topology;
    /// How many processes there are, running or not.
    fn process_count(&self) -> usize;
    /// What schedules call a process.
    fn name_of(&self, process: ProcessId) -> &str;
    /// Where it is.
    fn host_of(&self, process: ProcessId) -> HostId;
    /// Everybody on a host, in order.
    fn processes_on(&self, host: HostId) -> &[ProcessId];
    /// The volume that it mounts, if it has one.
    fn volume_of(&self, process: ProcessId) -> Option<VolumeId>;
    /// How many records of a volume are durable and can rot.
    fn durable_records(&self, volume: VolumeId) -> u64;
    /// Which of its lives a process lives, counted from the first; none if it does not run.
    fn life_of(&self, process: ProcessId) -> Option<u32>;
    /// [`Process::plays`](crate::Process::plays) of its present state; false if it does not run.
    fn plays(&self, process: ProcessId, role: &str) -> bool;
    /// [`Process::role`](crate::Process::role) of its present state; empty if it does not run.
    fn role_of(&self, process: ProcessId) -> &'static str;

    /// The instant at which the fault fires or ends.
    fn now(&self) -> SimTime;
    /// Has [`carry_out`] called with this event at this instant.
    fn at(&mut self, at: SimTime, event: FaultEvent);
    /// Leaves a mark with the position of a fault.
    fn mark(&mut self, kind: MarkKind, fault: usize);
    /// Whether anybody reads the log.
    fn is_told(&self) -> bool;
    /// Writes to the log.
    fn tell(&mut self, text: String);
    /// Lets the fault with this position take effect; one that comes and goes does so each time it comes, and `fault` is
    /// then what comes and goes.
    fn begin(&mut self, index: usize, fault: &Fault, effect: &mut Effect);
    /// Undoes what [`Self::begin`] did.
    fn finish(&mut self, index: usize, fault: &Fault, effect: &mut Effect);
}

/// What a schedule has a host do later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FaultEvent {
    /// The fault with this position fires.
    Fires(usize),
    /// It ends.
    Ends(usize),
    /// It comes and goes, and does so now.
    Flaps(usize),
}

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
    /// What they played when it hit them, see [`Process::role`](crate::Process::role): each word once, in order. Of a
    /// fault between two sides, the first side's. Processes that did not run play nothing.
    pub roles: Vec<&'static str>,
    /// False for a command that the process does not know.
    pub accepted: bool,
    /// True when the budget of the run did not allow it (see [`FaultBudget`]): it hit nobody.
    pub withheld: bool,
}

/// Whom a fault hit, and what of it lasts.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    /// Whom it hit; of a fault between two sides, both.
    pub processes: Vec<ProcessId>,
    /// Their machines, where the fault hits whole machines.
    pub hosts: Vec<HostId>,
    /// The first of two sides, where the fault tells them apart.
    pub from: Vec<ProcessId>,
    /// For what is bound to a life: those that were hit. A new life is not paused.
    pub lives: Vec<(ProcessId, u32)>,
    /// Volumes, where the fault hits disks.
    pub volumes: Vec<VolumeId>,
    /// Directed ways between processes.
    pub ways: Vec<(ProcessId, ProcessId)>,
    /// Directed ways between hosts.
    pub links: Vec<(HostId, HostId)>,
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
    pub(super) fn aimed_at(&self) -> &[ProcessId] {
        if self.from.is_empty() { &self.processes } else { &self.from }
    }
}

/// The schedule as it is carried out.
#[derive(Clone, Debug)]
pub struct FaultState {
    pub(super) planned: Vec<Planned>,
    delivered: Vec<DeliveredFault>,
    stream: Stream,
    seed: Seed,
    /// Positions of faults that shall not fire any more, in no order.
    cancelled: Vec<usize>,
    /// How often each kind of mark was left since the first fault fired.
    mark_counts: Vec<(MarkKind, u32)>,
    /// What the schedule may break at most.
    pub(super) budgets: Arc<[FaultBudget]>,
    /// Whom each budget of harm that lasts has counted.
    pub(super) lasting: Vec<Vec<ProcessId>>,
}

#[derive(Clone, Debug)]
pub(super) struct Planned {
    trigger: Trigger,
    pub(super) fault: Fault,
    lasts: Option<SimDuration>,
    /// What it did, to be undone; filled when it fires.
    pub(super) effect: Effect,
}

impl FaultState {
    /// An empty schedule without a budget, for a run of this seed.
    pub fn new(seed: Seed) -> Self {
        Self {
            planned: Vec::new(),
            delivered: Vec::new(),
            stream: fault_target_stream(seed),
            seed,
            cancelled: Vec::new(),
            mark_counts: Vec::new(),
            budgets: Arc::default(),
            lasting: Vec::new(),
        }
    }

    /// Limits what faults may break from now on.
    pub fn limit(&mut self, budgets: Arc<[FaultBudget]>) {
        self.lasting = vec![Vec::new(); budgets.len()];
        self.budgets = budgets;
    }

    /// What became of the faults that have fired, in the order in which they fired.
    pub fn delivered(&self) -> &[DeliveredFault] {
        &self.delivered
    }

    /// How many faults the schedule has.
    pub fn count(&self) -> usize {
        self.planned.len()
    }

    /// The fault with this position.
    ///
    /// # Panics
    /// If the schedule is shorter.
    pub fn fault(&self, index: usize) -> &Fault {
        &self.planned[index].fault
    }

    /// Chooses among what a fault could hit.
    pub(crate) const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn reseed(&mut self, seed: Seed) {
        self.stream = fault_target_stream(seed);
        self.seed = seed;
    }

    /// The fault with this position shall not fire. False if it has, if it was cancelled before, or if there is none.
    pub(crate) fn cancel(&mut self, index: usize) -> bool {
        let fired = self.delivered.iter().any(|delivered| delivered.index == index);
        let pending = !fired && index < self.planned.len() && !self.cancelled.contains(&index);
        if pending {
            self.cancelled.push(index);
        }
        pending
    }

    /// The process did not know the command of the fault with this position.
    pub fn command_refused(&mut self, index: usize) {
        for delivered in self.delivered.iter_mut().filter(|delivered| delivered.index == index) {
            delivered.accepted = false;
        }
    }

    /// Counts a mark, and names the faults that wait for it with the instants at which they fire.
    pub fn on_mark(&mut self, now: SimTime, kind: MarkKind, mut fires: impl FnMut(SimTime, FaultEvent)) {
        if self.delivered.is_empty() {
            return;
        }
        let position = self.mark_counts.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
            self.mark_counts.push((kind, 0));
            self.mark_counts.len() - 1
        });
        self.mark_counts[position].1 += 1;
        let count = self.mark_counts[position].1;
        for (index, planned) in self.planned.iter().enumerate() {
            if let Trigger::OnMark { mark, occurrence, delay, before } = &planned.trigger
                && (*mark, *occurrence) == (kind, count)
                && before.is_none_or(|before| now + *delay <= SimTime::ZERO + before)
            {
                fires(now + *delay, FaultEvent::Fires(index));
            }
        }
    }
}

/// Adds faults. Positions count on from those that were added before, also in what refers to other faults.
///
/// # Errors
/// If a target names a process, host, zone or region that does not exist, or a position that does not come before. The
/// faults before that one are added.
pub fn schedule(host: &mut impl FaultHost, schedule: &Schedule) -> Result<(), String> {
    for ScheduledFault { trigger, fault, lasts } in &schedule.0 {
        check_targets(host, trigger, fault)?;
        let index = host.faults().count();
        if let Trigger::At(at) = trigger {
            host.at(SimTime::ZERO + *at, FaultEvent::Fires(index));
        }
        host.faults_mut().planned.push(Planned {
            trigger: trigger.clone(),
            fault: fault.clone(),
            lasts: *lasts,
            effect: Effect::default(),
        });
    }
    Ok(())
}

/// Does what the host was told to do now by [`FaultHost::at`].
pub fn carry_out(host: &mut impl FaultHost, event: FaultEvent) {
    match event {
        FaultEvent::Fires(index) if host.faults().cancelled.contains(&index) => {}
        FaultEvent::Fires(index) => fire(host, index),
        FaultEvent::Ends(index) => end(host, index),
        FaultEvent::Flaps(index) => flap(host, index),
    }
}

fn fire(host: &mut impl FaultHost, index: usize) {
    let planned = &host.faults().planned[index];
    let (fault, lasts) = (planned.fault.clone(), planned.lasts);
    let now = host.now();
    let mut effect = aim(host, &fault);
    let withheld = !effect.processes.is_empty() && !afford(host, &fault, &effect);
    if withheld {
        effect = Effect::default();
    }
    let delivered = DeliveredFault {
        index,
        at: now,
        kind: fault.kind(),
        processes: effect.processes.clone(),
        roles: roles_hit(host, &effect),
        accepted: true,
        withheld,
    };
    host.faults_mut().delivered.push(delivered);
    tell(host, &fault, &effect, if withheld { "is withheld by the budget" } else { "begins" });
    if !withheld {
        host.mark(MarkKind::Fault, index);
        begin(host, index, &fault, &mut effect);
        if let Some(lasts) = lasts {
            host.at(now + lasts, FaultEvent::Ends(index));
        }
    }
    host.faults_mut().planned[index].effect = effect;
    let followers: Vec<(usize, SimDuration)> = (host.faults().planned.iter().enumerate())
        .filter_map(|(other, planned)| match planned.trigger {
            Trigger::AfterFault { fault, delay } if fault == index => Some((other, delay)),
            _ => None,
        })
        .collect();
    for (fault, delay) in followers {
        host.at(now + delay, FaultEvent::Fires(fault));
    }
}

/// What the processes that a fault was aimed at play now.
fn roles_hit(host: &impl FaultHost, effect: &Effect) -> Vec<&'static str> {
    let roles = effect.aimed_at().iter().map(|process| host.role_of(*process));
    let roles: BTreeSet<&str> = roles.filter(|role| !role.is_empty()).collect();
    roles.into_iter().collect()
}

fn begin(host: &mut impl FaultHost, index: usize, fault: &Fault, effect: &mut Effect) {
    let Fault::Flap { fault, on, off } = fault else {
        host.begin(index, fault, effect);
        return;
    };
    if !effect.processes.is_empty() {
        let stream = host.faults().seed.stream("fault flaps", index as u64);
        effect.flapping = Some(Flapping { stream, on: false });
        turn(host, index, fault, *on, *off, effect);
    }
}

fn end(host: &mut impl FaultHost, index: usize) {
    let planned = &mut host.faults_mut().planned[index];
    let fault = planned.fault.clone();
    let mut effect = std::mem::take(&mut planned.effect);
    tell(host, &fault, &effect, "ends");
    host.mark(MarkKind::FaultEnded, index);
    match &fault {
        Fault::Flap { fault, .. } => {
            if effect.flapping.take().is_some_and(|flapping| flapping.on) {
                host.finish(index, fault, &mut effect);
            }
        }
        fault => host.finish(index, fault, &mut effect),
    }
}

/// A dwell time of a flapping fault is over.
fn flap(host: &mut impl FaultHost, index: usize) {
    let planned = &mut host.faults_mut().planned[index];
    let Fault::Flap { fault, on, off } = planned.fault.clone() else {
        unreachable!("only a flapping fault queues its turns");
    };
    let mut effect = std::mem::take(&mut planned.effect);
    // Without, the fault ended before this turn came up.
    if effect.flapping.is_some() {
        turn(host, index, &fault, on, off, &mut effect);
    }
    host.faults_mut().planned[index].effect = effect;
}

/// Comes if it was gone, goes if it was there, and decides for how long.
fn turn(host: &mut impl FaultHost, index: usize, fault: &Fault, on: Dwell, off: Dwell, effect: &mut Effect) {
    let Some(flapping) = &mut effect.flapping else { return };
    flapping.on = !flapping.on;
    let comes = flapping.on;
    let dwell = if comes { on } else { off };
    let length = flapping.stream.duration(dwell.shortest, dwell.longest);
    host.at(host.now() + length, FaultEvent::Flaps(index));
    tell(host, fault, effect, if comes { "comes" } else { "goes" });
    if comes {
        host.begin(index, fault, effect);
    } else {
        host.finish(index, fault, effect);
    }
}

fn tell(host: &mut impl FaultHost, fault: &Fault, effect: &Effect, what: &str) {
    if !host.is_told() {
        return;
    }
    // A process at both ends of a link is there twice.
    let processes: BTreeSet<_> = effect.processes.iter().collect();
    let named: Vec<&str> = processes.iter().map(|process| host.name_of(**process)).collect();
    let names = named.join(", ");
    let whom = if named.is_empty() {
        "nobody is hit".to_owned()
    } else if effect.ways.is_empty() {
        names
    } else {
        format!("{} directed ways among {names}", effect.ways.len())
    };
    host.tell(format!("{fault} {what}: {whom}"));
}
