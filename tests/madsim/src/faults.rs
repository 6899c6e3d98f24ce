//! Faults on this host: what of madsim carries them out.
//!
//! The schedule is the same data as on the native host, and [`sim_core::host::faults`] decides for both whom a fault hits and
//! when. This page is the other half: what then happens. See [`supports`] for what this host can do.

use std::sync::Arc;

use scenarios::family::LogLevel;
use sim_core::host::faults::{Effect, FaultEvent, FaultHost, FaultState};
use sim_core::{Fault, HostId, MarkKind, ProcessId, SimTime, Topology, TraceKind, VolumeId};

use crate::Portable;
use crate::kernel::{Happening, Input, Kernel, Order, World};

/// The kinds of faults that this host carries out, see [`Fault::kind`].
const SUPPORTED: [&str; 21] = [
    "kill",
    "restart",
    "power-off",
    "pause",
    "freeze",
    "partition",
    "bridge",
    "ring",
    "isolate",
    "split",
    "flap",
    "degrade",
    "latency",
    "duplicate",
    "reorder",
    "bandwidth",
    "disk-stall",
    "clock-step",
    "clock-offset",
    "clock-drift",
    "command",
];

/// Whether this host can carry out a fault.
///
/// # Errors
/// What it cannot do, and what it can.
pub(crate) fn supports(fault: &Fault) -> Result<(), String> {
    if let Fault::Flap { fault, .. } = fault {
        return supports(fault);
    }
    let kind = fault.kind();
    if SUPPORTED.contains(&kind) {
        return Ok(());
    }
    Err(format!(
        "the madsim host cannot carry out `{kind}`, only: {}; run this schedule on the native host",
        SUPPORTED.join(", ")
    ))
}

/// The world, as schedules see it.
#[derive(Debug)]
pub(crate) struct MadsimFaults<'w, P: Portable>(pub(crate) &'w mut World<P>);

impl<P: Portable> FaultHost for MadsimFaults<'_, P> {
    fn faults(&self) -> &FaultState {
        &self.0.kernel.faults
    }

    fn faults_mut(&mut self) -> &mut FaultState {
        &mut self.0.kernel.faults
    }

    fn topology(&self) -> &Topology {
        &self.0.kernel.topology
    }

    fn process_count(&self) -> usize {
        self.0.kernel.slots.len()
    }

    fn name_of(&self, process: ProcessId) -> &str {
        &self.0.kernel.slots[process.index()].name
    }

    fn host_of(&self, process: ProcessId) -> HostId {
        self.0.kernel.slots[process.index()].host
    }

    fn processes_on(&self, host: HostId) -> &[ProcessId] {
        &self.0.kernel.hosts[host.index()].processes
    }

    fn volume_of(&self, process: ProcessId) -> Option<VolumeId> {
        self.0.kernel.slots[process.index()].program.as_ref().map(|program| program.volume)
    }

    /// Nothing rots here: kinds that ask for it are refused.
    fn durable_records(&self, _volume: VolumeId) -> u64 {
        0
    }

    fn life_of(&self, process: ProcessId) -> Option<u32> {
        let slot = &self.0.kernel.slots[process.index()];
        slot.running.then_some(slot.incarnation)
    }

    fn plays(&self, process: ProcessId, role: &str) -> bool {
        self.0.states[process.index()].as_ref().is_some_and(|state| state.plays(role))
    }

    fn role_of(&self, process: ProcessId) -> &'static str {
        self.0.states[process.index()].as_ref().map_or("", P::role)
    }

    fn now(&self) -> SimTime {
        self.0.kernel.now
    }

    fn at(&mut self, at: SimTime, event: FaultEvent) {
        self.0.kernel.at(at, Happening::Fault(event));
    }

    fn mark(&mut self, kind: MarkKind, fault: usize) {
        self.0.kernel.mark(None, kind, fault as u64);
    }

    fn is_told(&self) -> bool {
        self.0.kernel.log_level > LogLevel::Off
    }

    fn tell(&mut self, text: String) {
        self.0.kernel.log(LogLevel::Story, None, TraceKind::Fault, || text);
    }

    fn begin(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        let world = &mut *self.0;
        match fault {
            Fault::Kill { .. } => {
                for process in &effect.processes {
                    world.kernel.slots[process.index()].kills += 1;
                    world.kill(*process);
                }
            }
            Fault::Restart { stagger, .. } => {
                let mut at = world.kernel.now;
                for process in &effect.processes {
                    world.kernel.at(at, Happening::Restart(*process, index));
                    at = at + *stagger;
                }
            }
            Fault::PowerOff { .. } => {
                for host in &effect.hosts {
                    world.kernel.hosts[host.index()].outages += 1;
                    world.power_off(*host);
                }
            }
            Fault::Pause { .. } => world.kernel.pause(effect),
            Fault::Freeze { .. } => world.kernel.freeze_all(effect),
            Fault::Partition { .. }
            | Fault::Bridge { .. }
            | Fault::Ring { .. }
            | Fault::Isolate { .. }
            | Fault::Split { .. } => effect.ways.iter().for_each(|way| world.kernel.cut(*way, false)),
            Fault::Degrade { latency, loss, .. } => {
                for link in &effect.links {
                    world.kernel.links.degrade(*link, *latency, *loss, false);
                }
            }
            Fault::Latency { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Bandwidth { .. } => {
                for link in &effect.links {
                    world.kernel.links.shape(*link, index, fault);
                }
            }
            Fault::DiskStall { .. } => world.kernel.stall(&effect.volumes),
            Fault::ClockStep { millis, .. } | Fault::ClockOffset { millis, .. } => {
                world.kernel.step_clocks(&effect.hosts, *millis);
            }
            Fault::ClockDrift { ppm, .. } => world.kernel.change_drifts(&effect.hosts, *ppm),
            Fault::Command { command, .. } => {
                let command: Arc<str> = command.as_str().into();
                for process in &effect.processes {
                    world.kernel.give(*process, Input::Command(Arc::clone(&command), index));
                }
            }
            _ => unreachable!("{} was refused before the run", fault.kind()),
        }
    }

    fn finish(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        let world = &mut *self.0;
        match fault {
            Fault::Kill { .. } => {
                for process in &effect.processes {
                    let slot = &mut world.kernel.slots[process.index()];
                    slot.kills -= 1;
                    if slot.kills == 0 {
                        world.kernel.orders.push(Order::Boot(*process));
                    }
                }
            }
            Fault::PowerOff { .. } => {
                for host in &effect.hosts {
                    world.kernel.hosts[host.index()].outages -= 1;
                    world.power_on(*host);
                }
            }
            Fault::Pause { .. } => world.kernel.resume(effect),
            Fault::Freeze { .. } => effect.hosts.iter().for_each(|host| world.kernel.thaw(*host)),
            Fault::Partition { .. }
            | Fault::Bridge { .. }
            | Fault::Ring { .. }
            | Fault::Isolate { .. }
            | Fault::Split { .. } => effect.ways.iter().for_each(|way| world.kernel.cut(*way, true)),
            Fault::Degrade { latency, loss, .. } => {
                for link in &effect.links {
                    world.kernel.links.degrade(*link, *latency, *loss, true);
                }
            }
            Fault::Latency { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Bandwidth { .. } => {
                effect.links.iter().for_each(|link| world.kernel.links.unshape(*link, index));
            }
            Fault::DiskStall { .. } => world.kernel.end_stall(&effect.volumes),
            Fault::ClockOffset { millis, .. } => {
                world.kernel.step_clocks(&effect.hosts, millis.saturating_neg());
            }
            Fault::ClockDrift { ppm, .. } => {
                world.kernel.change_drifts(&effect.hosts, ppm.saturating_neg());
            }
            Fault::Restart { .. } | Fault::ClockStep { .. } | Fault::Command { .. } => {}
            _ => unreachable!("{} was refused before the run", fault.kind()),
        }
    }
}

impl<P: Portable> World<P> {
    /// One process of a restart has its turn.
    pub(crate) fn restart(&mut self, process: ProcessId, index: usize) {
        let Fault::Restart { delay, .. } = *self.kernel.faults.fault(index) else {
            unreachable!("only a restart puts its turns on the agenda");
        };
        self.kill(process);
        self.kernel.at(self.kernel.now + delay, Happening::Boot(process));
    }
}

impl<P: Portable> Kernel<P> {
    /// Cuts a way, or mends it; madsim's link follows the first cut and the last mend.
    fn cut(&mut self, (from, to): (ProcessId, ProcessId), mend: bool) {
        let [from_node, to_node] = [from, to].map(|process| self.slots[process.index()].node());
        let cuts = self.cuts.entry((from, to)).or_default();
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

    fn stall(&mut self, volumes: &[VolumeId]) {
        for volume in volumes {
            self.volumes[volume.index()].stalls += 1;
        }
    }

    fn end_stall(&mut self, volumes: &[VolumeId]) {
        for volume in volumes {
            let disk = &mut self.volumes[volume.index()];
            disk.stalls -= 1;
            if disk.stalls == 0 {
                for sync in std::mem::take(&mut disk.waiting) {
                    self.start_sync(*volume, sync);
                }
            }
        }
    }

    fn step_clocks(&mut self, hosts: &[HostId], millis: i64) {
        for host in hosts {
            self.hosts[host.index()].clock.step_wall(self.now, millis);
        }
    }

    fn change_drifts(&mut self, hosts: &[HostId], ppm: i32) {
        for host in hosts {
            self.hosts[host.index()].clock.change_drift(self.now, ppm);
        }
    }

    fn lives_of(&self, processes: &[ProcessId]) -> Vec<(ProcessId, u32)> {
        let running = processes.iter().filter(|process| self.slots[process.index()].running);
        running.map(|process| (*process, self.slots[process.index()].incarnation)).collect()
    }

    fn pause(&mut self, effect: &mut Effect) {
        effect.lives = self.lives_of(&effect.processes);
        for (process, _) in &effect.lives {
            self.slots[process.index()].pauses += 1;
            self.mark(Some(*process), MarkKind::Paused, 0);
        }
    }

    fn resume(&mut self, effect: &mut Effect) {
        for (process, incarnation) in std::mem::take(&mut effect.lives) {
            let slot = &mut self.slots[process.index()];
            if slot.incarnation != incarnation {
                continue;
            }
            slot.pauses -= 1;
            slot.waker.take().into_iter().for_each(std::task::Waker::wake);
            // On a frozen machine it runs again only when that thaws, which then leaves the mark.
            if slot.pauses == 0 && self.hosts[slot.host.index()].freezes == 0 {
                self.mark(Some(process), MarkKind::Resumed, 0);
            }
        }
    }

    fn freeze_all(&mut self, effect: &Effect) {
        effect.hosts.iter().for_each(|host| self.freeze(*host));
        for (process, _) in self.lives_of(&effect.processes) {
            self.mark(Some(process), MarkKind::Paused, 0);
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
