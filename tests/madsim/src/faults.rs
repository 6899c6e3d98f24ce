//! Faults on this host: whom they hit, and what of madsim carries them out.
//!
//! The schedule is the same data as on the native host, resolved by the same rules: roles when the fault fires, one of several
//! by the stream of the seed. See [`supports`] for what this host can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scenarios::family::LogLevel;
use sim_core::{
    DeliveredFault, Direction, Fault, HostId, MarkKind, Place, ProcessId, ScheduledFault, SimTime, Stream,
    Target, TraceKind, Trigger,
};

use crate::Portable;
use crate::kernel::{Happening, Input, Kernel, Order, World};

/// The kinds of faults that this host carries out, see [`Fault::kind`].
const SUPPORTED: [&str; 10] = [
    "kill",
    "power-off",
    "pause",
    "freeze",
    "partition",
    "degrade",
    "disk-stall",
    "clock-step",
    "clock-drift",
    "command",
];

/// Whether this host can carry out a fault.
///
/// # Errors
/// What it cannot do, and what it can.
pub(crate) fn supports(fault: &Fault) -> Result<(), String> {
    let kind = fault.kind();
    if SUPPORTED.contains(&kind) {
        return Ok(());
    }
    Err(format!(
        "the madsim host cannot carry out `{kind}`, only: {}; run this schedule on the native host",
        SUPPORTED.join(", ")
    ))
}

/// The schedule as it is carried out.
#[derive(Debug)]
pub(crate) struct FaultState {
    planned: Vec<Planned>,
    pub(crate) delivered: Vec<DeliveredFault>,
    stream: Stream,
    /// How often each kind of mark was left since the first fault fired.
    marks: Vec<(MarkKind, u32)>,
    /// How many partitions cut the way from one process to another.
    cuts: BTreeMap<(ProcessId, ProcessId), u32>,
}

#[derive(Debug)]
struct Planned {
    scheduled: ScheduledFault,
    effect: Effect,
}

/// What a fault did, to be undone.
#[derive(Clone, Debug, Default)]
struct Effect {
    processes: Vec<ProcessId>,
    /// The lives of the processes when it fired: a new life is not paused.
    incarnations: Vec<u32>,
    hosts: Vec<HostId>,
    ways: Vec<(ProcessId, ProcessId)>,
}

impl FaultState {
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { planned: Vec::new(), delivered: Vec::new(), stream, marks: Vec::new(), cuts: BTreeMap::new() }
    }

    /// The process does not know the command.
    pub(crate) fn refused(&mut self, fault: usize) {
        for delivered in self.delivered.iter_mut().filter(|delivered| delivered.index == fault) {
            delivered.accepted = false;
        }
    }

    /// The faults that wait for this mark, with the instants at which they fire.
    pub(crate) fn on_mark(&mut self, now: SimTime, kind: MarkKind) -> Vec<(SimTime, usize)> {
        if self.delivered.is_empty() {
            return Vec::new();
        }
        let position = self.marks.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
            self.marks.push((kind, 0));
            self.marks.len() - 1
        });
        self.marks[position].1 += 1;
        let count = self.marks[position].1;
        let waits = |(index, planned): (usize, &Planned)| match &planned.scheduled.trigger {
            Trigger::OnMark { mark, occurrence, delay, before }
                if (*mark, *occurrence) == (kind, count)
                    && before.is_none_or(|before| now + *delay <= SimTime::ZERO + before) =>
            {
                Some((now + *delay, index))
            }
            _ => None,
        };
        self.planned.iter().enumerate().filter_map(waits).collect()
    }
}

impl<P: Portable> Kernel<P> {
    pub(crate) fn add_fault(&mut self, scheduled: ScheduledFault) {
        let index = self.faults.planned.len();
        if let Trigger::At(at) = scheduled.trigger {
            self.at(SimTime::ZERO + at, Happening::FaultFires(index));
        }
        self.faults.planned.push(Planned { scheduled, effect: Effect::default() });
    }

    fn processes_of(&self, hosts: &[HostId]) -> Vec<ProcessId> {
        hosts.iter().flat_map(|host| self.hosts[host.index()].processes.iter().copied()).collect()
    }

    fn hosts_of(&self, processes: &[ProcessId]) -> Vec<HostId> {
        let mut hosts: Vec<HostId> =
            processes.iter().map(|process| self.slots[process.index()].host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    fn in_place(&self, place: &Place) -> Vec<ProcessId> {
        self.processes_of(&self.topology.hosts_of(|other| other == place))
    }

    /// Cuts a way, or mends it; madsim's link follows the first cut and the last mend.
    fn cut(&mut self, (from, to): (ProcessId, ProcessId), mend: bool) {
        let [from_node, to_node] = [from, to].map(|process| self.slots[process.index()].node());
        let cuts = self.faults.cuts.entry((from, to)).or_default();
        if mend {
            *cuts -= 1;
            if *cuts == 0 {
                self.orders.push(Order::Unclog(from_node, to_node));
            }
        } else {
            *cuts += 1;
            if *cuts == 1 {
                self.orders.push(Order::Clog(from_node, to_node));
            }
        }
    }

    fn stall_disks(&mut self, hosts: &[HostId], stalled: bool) {
        for host in hosts {
            for volume in self.hosts[host.index()].volumes.clone() {
                let disk = &mut self.volumes[volume.index()];
                disk.stalled = stalled;
                if !stalled {
                    for sync in std::mem::take(&mut disk.waiting) {
                        self.start_sync(volume, sync);
                    }
                }
            }
        }
    }

    fn freeze(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.hosts[host.index()];
        machine.freezes += 1;
        if machine.freezes > 1 {
            return;
        }
        machine.frozen_since = now;
        machine.clock.freeze(now, true);
        for process in machine.processes.clone() {
            self.orders.push(Order::PauseNode(self.slots[process.index()].node()));
        }
    }

    fn thaw(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.hosts[host.index()];
        machine.freezes -= 1;
        if machine.freezes > 0 {
            return;
        }
        let length = now.since(machine.frozen_since);
        machine.clock.freeze(now, false);
        if let Some(deadline) = &mut machine.watchdog {
            *deadline = *deadline + length;
            let deadline = *deadline;
            if !machine.watchdog_pending {
                machine.watchdog_pending = true;
                self.at(deadline, Happening::Watchdog(host));
            }
        }
        for process in self.hosts[host.index()].processes.clone() {
            let slot = &mut self.slots[process.index()];
            // The clock stood still: everything that it times has as much left as before.
            slot.stack.postpone(length);
            for timer in &mut slot.timers {
                timer.due = timer.due + length;
            }
            self.orders.push(Order::ResumeNode(slot.node()));
            let resumes = slot.running && slot.pauses == 0;
            slot.waker.take().into_iter().for_each(std::task::Waker::wake);
            if resumes {
                self.mark(Some(process), MarkKind::Resumed, 0);
            }
        }
    }
}

impl<P: Portable> World<P> {
    /// The processes that a target means now; `named` are those of the other targets of the fault.
    fn resolve(&mut self, target: &Target, named: &[ProcessId]) -> Vec<ProcessId> {
        let playing = |world: &Self, role: &str| -> Vec<ProcessId> {
            let plays =
                |(_, state): &(usize, &Option<P>)| state.as_ref().is_some_and(|state| state.plays(role));
            let found = world.states.iter().enumerate().filter(plays);
            found.map(|(index, _)| ProcessId::from_index(index)).collect()
        };
        let all = (0..self.states.len()).map(ProcessId::from_index);
        match target {
            Target::Process(name) => {
                all.filter(|process| *self.kernel.slots[process.index()].name == **name).collect()
            }
            Target::Host(name) => self.kernel.in_place(&Place::Host(name.clone())),
            Target::Zone(name) => self.kernel.in_place(&Place::Zone(name.clone())),
            Target::Region(name) => self.kernel.in_place(&Place::Region(name.clone())),
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
                let found = self.kernel.faults.delivered.iter().find(|delivered| delivered.index == *index);
                found.map(|delivered| delivered.processes.clone()).unwrap_or_default()
            }
            Target::Others => all.filter(|process| !named.contains(process)).collect(),
        }
    }

    fn resolve_sides(&mut self, from: &[Target], to: &[Target]) -> [Vec<ProcessId>; 2] {
        let mut sides = [from, to].map(|targets| {
            let outright = targets.iter().filter(|target| **target != Target::Others);
            outright.flat_map(|target| self.resolve(target, &[])).collect::<Vec<_>>()
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

    /// Whom and what a fault hits now.
    #[allow(
        unreachable_patterns,
        reason = "kinds that this host does not know yet were refused before the run"
    )]
    fn effect_of(&mut self, fault: &Fault) -> Effect {
        let mut effect = Effect::default();
        match fault {
            Fault::Partition { from, to, .. } | Fault::Degrade { from, to, .. } => {
                let direction = match fault {
                    Fault::Partition { direction, .. } => *direction,
                    _ => Direction::Both,
                };
                let [from, to] = self.resolve_sides(from, to);
                if !from.is_empty() && !to.is_empty() {
                    effect.ways = self.ways(&from, &to, direction);
                    effect.processes = [from, to].concat();
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
            _ => unreachable!("{} was refused before the run", fault.kind()),
        }
        let incarnation = |process: &ProcessId| self.kernel.slots[process.index()].incarnation;
        effect.incarnations = effect.processes.iter().map(incarnation).collect();
        effect
    }

    fn ways(
        &self,
        from: &[ProcessId],
        to: &[ProcessId],
        direction: Direction,
    ) -> Vec<(ProcessId, ProcessId)> {
        let mut ways = Vec::new();
        for a in from {
            for b in to {
                // Nothing between processes of one host leaves the host.
                if self.kernel.slots[a.index()].host == self.kernel.slots[b.index()].host {
                    continue;
                }
                if direction != Direction::Inbound {
                    ways.push((*a, *b));
                }
                if direction != Direction::Outbound {
                    ways.push((*b, *a));
                }
            }
        }
        ways
    }

    fn links(&self, effect: &Effect) -> Vec<(HostId, HostId)> {
        let host = |process: ProcessId| self.kernel.slots[process.index()].host;
        let mut links: Vec<_> = effect.ways.iter().map(|(from, to)| (host(*from), host(*to))).collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    pub(crate) fn fire_fault(&mut self, index: usize) {
        let ScheduledFault { fault, lasts, .. } = self.kernel.faults.planned[index].scheduled.clone();
        let effect = self.effect_of(&fault);
        // Of a fault between two sides, those of both; coverage is counted on the native host.
        let states = effect.processes.iter().filter_map(|process| self.states[process.index()].as_ref());
        let roles: BTreeSet<&str> = states.map(P::role).filter(|role| !role.is_empty()).collect();
        let roles = roles.into_iter().collect();
        let kernel = &mut self.kernel;
        let now = kernel.now;
        kernel.faults.delivered.push(DeliveredFault {
            index,
            at: now,
            kind: fault.kind(),
            processes: effect.processes.clone(),
            roles,
            accepted: true,
            withheld: false,
        });
        kernel.tell(&fault, &effect, "begins");
        kernel.mark(None, MarkKind::Fault, index as u64);
        self.begin(index, &fault, &effect);
        let kernel = &mut self.kernel;
        if let Some(lasts) = lasts {
            kernel.at(now + lasts, Happening::FaultEnds(index));
        }
        kernel.faults.planned[index].effect = effect;
        let follows = |(other, planned): (usize, &Planned)| match planned.scheduled.trigger {
            Trigger::AfterFault { fault, delay } if fault == index => Some((other, delay)),
            _ => None,
        };
        let followers: Vec<_> = kernel.faults.planned.iter().enumerate().filter_map(follows).collect();
        for (fault, delay) in followers {
            kernel.at(now + delay, Happening::FaultFires(fault));
        }
    }

    #[allow(
        unreachable_patterns,
        reason = "kinds that this host does not know yet were refused before the run"
    )]
    fn begin(&mut self, index: usize, fault: &Fault, effect: &Effect) {
        let now = self.kernel.now;
        match fault {
            Fault::Kill { .. } => effect.processes.iter().for_each(|process| self.kill(*process)),
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_off(*host)),
            Fault::Pause { .. } => {
                for process in &effect.processes {
                    self.kernel.slots[process.index()].pauses += 1;
                    self.kernel.mark(Some(*process), MarkKind::Paused, 0);
                }
            }
            Fault::Freeze { .. } => {
                effect.hosts.iter().for_each(|host| self.kernel.freeze(*host));
                for process in &effect.processes {
                    self.kernel.mark(Some(*process), MarkKind::Paused, 0);
                }
            }
            Fault::Partition { .. } => effect.ways.iter().for_each(|way| self.kernel.cut(*way, false)),
            Fault::Degrade { latency, loss, .. } => {
                for link in self.links(effect) {
                    self.kernel.links.degrade(link, *latency, *loss, false);
                }
            }
            Fault::DiskStall { .. } => self.kernel.stall_disks(&effect.hosts, true),
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
                    self.kernel.give(*process, Input::Command(Arc::clone(&command), index));
                }
            }
            _ => unreachable!("{} was refused before the run", fault.kind()),
        }
    }

    #[allow(
        unreachable_patterns,
        reason = "kinds that this host does not know yet were refused before the run"
    )]
    pub(crate) fn end_fault(&mut self, index: usize) {
        let planned = &mut self.kernel.faults.planned[index];
        let fault = planned.scheduled.fault.clone();
        let effect = std::mem::take(&mut planned.effect);
        let now = self.kernel.now;
        self.kernel.tell(&fault, &effect, "ends");
        self.kernel.mark(None, MarkKind::FaultEnded, index as u64);
        match &fault {
            Fault::Kill { .. } => {
                self.kernel.orders.extend(effect.processes.iter().copied().map(Order::Boot));
            }
            Fault::PowerOff { .. } => effect.hosts.iter().for_each(|host| self.power_on(*host)),
            Fault::Pause { .. } => {
                for (process, incarnation) in effect.processes.iter().zip(&effect.incarnations) {
                    let slot = &mut self.kernel.slots[process.index()];
                    if slot.incarnation != *incarnation {
                        continue;
                    }
                    slot.pauses -= 1;
                    slot.waker.take().into_iter().for_each(std::task::Waker::wake);
                    // On a frozen machine it runs again only when that thaws, which then leaves the mark.
                    if slot.pauses == 0 && self.kernel.hosts[slot.host.index()].freezes == 0 {
                        self.kernel.mark(Some(*process), MarkKind::Resumed, 0);
                    }
                }
            }
            Fault::Freeze { .. } => effect.hosts.iter().for_each(|host| self.kernel.thaw(*host)),
            Fault::Partition { .. } => effect.ways.iter().for_each(|way| self.kernel.cut(*way, true)),
            Fault::Degrade { latency, loss, .. } => {
                for link in self.links(&effect) {
                    self.kernel.links.degrade(link, *latency, *loss, true);
                }
            }
            Fault::DiskStall { .. } => self.kernel.stall_disks(&effect.hosts, false),
            Fault::ClockDrift { ppm, .. } => {
                for host in &effect.hosts {
                    self.kernel.hosts[host.index()].clock.change_drift(now, -*ppm);
                }
            }
            Fault::ClockStep { .. } | Fault::Command { .. } => {}
            _ => unreachable!("{} was refused before the run", fault.kind()),
        }
    }
}

impl<P: Portable> Kernel<P> {
    fn tell(&mut self, fault: &Fault, effect: &Effect, what: &str) {
        if self.log_level == LogLevel::Off {
            return;
        }
        let names: Vec<&str> =
            effect.processes.iter().map(|process| &*self.slots[process.index()].name).collect();
        let text = format!("{} {what}: {}", fault.kind(), names.join(", "));
        self.log(LogLevel::Story, None, TraceKind::Fault, || text);
    }
}
