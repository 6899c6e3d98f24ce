//! Faults taking effect and ending.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fault::{Direction, Fault, Target, Trigger};
use crate::id::{HostId, ProcessId};
use crate::process::Process;
use crate::random::Stream;
use crate::record::MarkKind;
use crate::time::{SimDuration, SimTime};
use crate::topology::Place;
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
    /// How many of them, from the first, are the first side of a fault between two sides; zero for other faults.
    first_side: usize,
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
            if let Trigger::OnMark { mark, occurrence, delay } = &planned.trigger
                && (*mark, *occurrence) == (kind, count)
            {
                self.queue.push(self.now + *delay, Event::FaultFires { fault: index as u32 });
            }
        }
    }

    fn processes_of(&self, hosts: &[HostId]) -> Vec<ProcessId> {
        hosts.iter().flat_map(|host| self.hosts[host.index()].processes.iter().copied()).collect()
    }

    /// The hosts of these processes, each once, in order.
    fn hosts_of(&self, processes: &[ProcessId]) -> Vec<HostId> {
        let mut hosts: Vec<HostId> =
            processes.iter().map(|process| self.processes[process.index()].host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

impl<P: Process> World<P> {
    pub(crate) fn check_targets(&self, trigger: &Trigger, fault: &Fault) -> Result<(), String> {
        let position = self.kernel.faults.faults.len();
        let earlier = |index: usize| {
            if index < position {
                Ok(())
            } else {
                Err(format!("fault {position} refers to fault {index}, which does not come before it"))
            }
        };
        if let Trigger::AfterFault { fault, .. } = trigger {
            earlier(*fault)?;
        }
        let topology = self.topology();
        let place = |kind: &str, name: &str, known: Vec<&str>| {
            if known.contains(&name) {
                Ok(())
            } else {
                Err(format!("no {kind} is named `{name}`; there are: {}", known.join(", ")))
            }
        };
        let places = |wanted: fn(&Place) -> bool| {
            topology.places().filter(move |place| wanted(place)).map(Place::name)
        };
        for target in fault.targets() {
            match target {
                Target::Process(name) => {
                    place("process", name, self.process_ids().map(|process| self.name(process)).collect())?;
                }
                Target::Host(name) => place("host", name, places(|p| matches!(p, Place::Host(_))).collect())?,
                Target::Zone(name) => place("zone", name, places(|p| matches!(p, Place::Zone(_))).collect())?,
                Target::Region(name) => {
                    place("region", name, places(|p| matches!(p, Place::Region(_))).collect())?;
                }
                Target::SameAs(index) => earlier(*index)?,
                Target::Role(_) | Target::HostOf(_) | Target::Every(_) | Target::Others => {}
            }
        }
        Ok(())
    }

    /// The processes a target means now; `named` are those of the other targets of the same fault.
    fn resolve(&mut self, target: &Target, named: &[ProcessId]) -> Vec<ProcessId> {
        let playing = |world: &Self, role: &str| -> Vec<ProcessId> {
            let plays = |process: &ProcessId| world.process(*process).is_some_and(|state| state.plays(role));
            world.process_ids().filter(plays).collect()
        };
        match target {
            Target::Process(name) => self.find(name).into_iter().collect(),
            Target::Host(name) => self.in_place(&Place::Host(name.clone())),
            Target::Zone(name) => self.in_place(&Place::Zone(name.clone())),
            Target::Region(name) => self.in_place(&Place::Region(name.clone())),
            Target::Every(role) => playing(self, role),
            Target::Role(role) | Target::HostOf(role) => {
                let candidates = playing(self, role);
                let chosen: Vec<ProcessId> =
                    self.kernel.faults.stream.pick(&candidates).copied().into_iter().collect();
                if matches!(target, Target::HostOf(_)) {
                    self.kernel.processes_of(&self.kernel.hosts_of(&chosen))
                } else {
                    chosen
                }
            }
            Target::SameAs(index) => {
                let delivered =
                    self.kernel.faults.delivered.iter().find(|delivered| delivered.index == *index);
                delivered.map(|delivered| delivered.processes.clone()).unwrap_or_default()
            }
            Target::Others => self.process_ids().filter(|process| !named.contains(process)).collect(),
        }
    }

    fn in_place(&self, wanted: &Place) -> Vec<ProcessId> {
        let hosts = self.topology().hosts_of(|place| place == wanted);
        self.kernel.processes_of(&hosts)
    }

    /// Both sides of a partition: targets named outright first, `Others` last.
    fn resolve_sides(&mut self, from: &[Target], to: &[Target]) -> [Vec<ProcessId>; 2] {
        let mut sides = [from, to].map(|targets| {
            let mut side = Vec::new();
            for target in targets.iter().filter(|target| **target != Target::Others) {
                side.extend(self.resolve(target, &[]));
            }
            side
        });
        let named = sides.concat();
        for (side, targets) in sides.iter_mut().zip([from, to]) {
            if targets.contains(&Target::Others) {
                side.extend(self.resolve(&Target::Others, &named));
            }
            side.sort_unstable();
            side.dedup();
        }
        sides
    }

    pub(crate) fn fire_fault(&mut self, index: usize) {
        let planned = &self.kernel.faults.faults[index];
        let (fault, lasts) = (planned.fault.clone(), planned.lasts);
        let now = self.kernel.now;
        let mut effect = Effect::default();
        match &fault {
            Fault::Partition { from, to, .. } | Fault::Degrade { from, to, .. } => {
                let [from, to] = self.resolve_sides(from, to);
                if !from.is_empty() && !to.is_empty() {
                    effect.processes = [from.as_slice(), &to].concat();
                    effect.first_side = from.len();
                    self.pair_up(&fault, &from, &to, &mut effect);
                }
            }
            Fault::Kill { target } | Fault::Pause { target } | Fault::Command { target, .. } => {
                effect.processes = self.resolve(target, &[]);
            }
            Fault::PowerOff { target }
            | Fault::Freeze { target }
            | Fault::DiskStall { target }
            | Fault::ClockStep { target, .. }
            | Fault::ClockDrift { target, .. } => {
                let processes = self.resolve(target, &[]);
                effect.hosts = self.kernel.hosts_of(&processes);
                if matches!(fault, Fault::PowerOff { .. }) {
                    effect.hosts.retain(|host| self.kernel.hosts[host.index()].powered);
                }
                effect.processes = self.kernel.processes_of(&effect.hosts);
            }
        }
        let incarnation = |process: &ProcessId| self.kernel.processes[process.index()].incarnation;
        effect.incarnations = effect.processes.iter().map(incarnation).collect();
        self.kernel.faults.delivered.push(DeliveredFault {
            index,
            at: now,
            kind: fault.kind(),
            processes: effect.processes.clone(),
            roles: self.roles_hit(&effect),
            accepted: true,
        });
        self.tell(&fault, &effect, "begins");
        self.kernel.mark(None, MarkKind::Fault, index as u64);
        self.begin(index, &fault, &effect);
        if let Some(lasts) = lasts {
            self.kernel.queue.push(now + lasts, Event::FaultEnds { fault: index as u32 });
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
        let aimed_at = if effect.first_side > 0 { effect.first_side } else { effect.processes.len() };
        let states = effect.processes[..aimed_at].iter().filter_map(|process| self.process(*process));
        let roles: BTreeSet<&str> = states.map(P::role).filter(|role| !role.is_empty()).collect();
        roles.into_iter().collect()
    }

    fn pair_up(&self, fault: &Fault, from: &[ProcessId], to: &[ProcessId], effect: &mut Effect) {
        let direction = match fault {
            Fault::Partition { direction, .. } => *direction,
            _ => Direction::Both,
        };
        for a in from {
            for b in to {
                // Nothing between processes of one host leaves the host.
                if self.host_of(*a) == self.host_of(*b) {
                    continue;
                }
                if direction != Direction::Inbound {
                    effect.ways.push((*a, *b));
                }
                if direction != Direction::Outbound {
                    effect.ways.push((*b, *a));
                }
            }
        }
        effect.links = effect.ways.iter().map(|(a, b)| (self.host_of(*a), self.host_of(*b))).collect();
        effect.links.sort_unstable();
        effect.links.dedup();
    }

    fn begin(&mut self, index: usize, fault: &Fault, effect: &Effect) {
        let now = self.kernel.now;
        match fault {
            Fault::Kill { .. } => effect.processes.iter().for_each(|process| self.kill(*process)),
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_off(*host)),
            Fault::Pause { .. } => {
                for process in &effect.processes {
                    self.kernel.processes[process.index()].pauses += 1;
                    self.kernel.mark(Some(*process), MarkKind::Paused, 0);
                }
            }
            Fault::Freeze { .. } => {
                self.kernel.watch_keep_alives(|process| effect.processes.contains(&process));
                for host in &effect.hosts {
                    let machine = &mut self.kernel.hosts[host.index()];
                    machine.freezes += 1;
                    if machine.freezes == 1 {
                        machine.frozen_since = now;
                        machine.clock.freeze(now, true);
                    }
                }
                for process in &effect.processes {
                    self.kernel.mark(Some(*process), MarkKind::Paused, 0);
                }
            }
            Fault::Partition { .. } => {
                self.kernel.watch_keep_alives(|process| effect.processes.contains(&process));
                for (from, to) in &effect.ways {
                    self.kernel.paths.cut(*from, *to);
                }
            }
            Fault::Degrade { latency, loss, .. } => {
                for (from, to) in &effect.links {
                    self.kernel.paths.degrade(*from, *to, *latency, *loss, false);
                }
            }
            Fault::DiskStall { .. } => self.stall_disks(&effect.hosts, true),
            Fault::ClockStep { millis, .. } => {
                for host in &effect.hosts {
                    self.kernel.hosts[host.index()].clock.step_wall(now, *millis);
                }
            }
            Fault::ClockDrift { ppm, .. } => {
                for host in &effect.hosts {
                    self.kernel.hosts[host.index()].clock.change_drift(now, *ppm);
                }
            }
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
        let now = self.kernel.now;
        self.tell(&fault, &effect, "ends");
        self.kernel.mark(None, MarkKind::FaultEnded, index as u64);
        match &fault {
            Fault::Kill { .. } => effect.processes.iter().for_each(|process| self.boot(*process)),
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_on(*host)),
            Fault::Pause { .. } => {
                for (process, incarnation) in effect.processes.iter().zip(&effect.incarnations) {
                    if self.kernel.processes[process.index()].incarnation != *incarnation {
                        continue;
                    }
                    let slot = &mut self.kernel.processes[process.index()];
                    slot.pauses -= 1;
                    // On a frozen machine it runs again only when that thaws, which then leaves the mark.
                    if slot.pauses == 0 && self.kernel.hosts[slot.host.index()].freezes == 0 {
                        self.kernel.mark(Some(*process), MarkKind::Resumed, 0);
                        self.drain_backlog(*process);
                    }
                }
            }
            Fault::Freeze { .. } => effect.hosts.iter().for_each(|host| self.thaw(*host)),
            Fault::Partition { .. } => {
                for (from, to) in &effect.ways {
                    self.kernel.paths.mend(*from, *to);
                }
            }
            Fault::Degrade { latency, loss, .. } => {
                for (from, to) in &effect.links {
                    self.kernel.paths.degrade(*from, *to, *latency, *loss, true);
                }
            }
            Fault::DiskStall { .. } => self.stall_disks(&effect.hosts, false),
            Fault::ClockDrift { ppm, .. } => {
                for host in &effect.hosts {
                    self.kernel.hosts[host.index()].clock.change_drift(now, -*ppm);
                }
            }
            Fault::ClockStep { .. } | Fault::Command { .. } => {}
        }
    }

    fn thaw(&mut self, host: HostId) {
        let now = self.kernel.now;
        let machine = &mut self.kernel.hosts[host.index()];
        machine.freezes -= 1;
        if machine.freezes > 0 {
            return;
        }
        let length = now.since(machine.frozen_since);
        machine.clock.freeze(now, false);
        if let Some(deadline) = &mut machine.watchdog {
            *deadline = *deadline + length;
            if !machine.watchdog_pending {
                machine.watchdog_pending = true;
                self.kernel.queue.push(*deadline, Event::Watchdog { host });
            }
        }
        for process in machine.processes.clone() {
            self.kernel.postpone_timers(process, length);
            let slot = &self.kernel.processes[process.index()];
            // A process that is still paused by itself keeps its backlog and stays silent.
            if slot.running && slot.pauses == 0 {
                self.kernel.mark(Some(process), MarkKind::Resumed, 0);
                self.drain_backlog(process);
            }
        }
    }

    fn stall_disks(&mut self, hosts: &[HostId], stalled: bool) {
        for host in hosts {
            for volume in self.kernel.hosts[host.index()].volumes.clone() {
                self.kernel.volumes[volume.index()].stalled = stalled;
                if !stalled {
                    for pending in std::mem::take(&mut self.kernel.volumes[volume.index()].waiting) {
                        self.kernel.start_sync(volume, pending);
                    }
                }
            }
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
                (_, true) => "nobody matches its target".to_owned(),
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
