//! Faults taking effect and ending.
//!
//! Whom a fault hits and when is decided by [`crate::host::faults`], for every host of processes alike; this page is the
//! native host's side of that. What then happens is in one file for each subject.

mod clocks;
mod disks;
mod network;
mod processes;

use std::sync::Arc;

use crate::fault::{Fault, FaultBudget, Schedule};
use crate::host::faults::{self, Effect, FaultEvent, FaultHost, FaultState};
use crate::id::{HostId, ProcessId, VolumeId};
use crate::process::Process;
use crate::record::MarkKind;
use crate::time::SimTime;
use crate::topology::Topology;
use crate::trace::{TraceKind, TraceLevel};

use super::{Event, Input, Kernel, World};

impl<P: Process> World<P> {
    /// Adds faults. Positions count on from those that were added before.
    ///
    /// # Errors
    /// If a target names a process, host, zone or region that does not exist, or a position that does not come
    /// earlier in the schedule.
    pub fn schedule(&mut self, schedule: &Schedule) -> Result<(), String> {
        self.tell_observers_of_faults(schedule);
        faults::schedule(&mut NativeFaults(self), schedule)
    }

    /// Limits what faults may break from now on.
    pub fn limit_faults(&mut self, budgets: impl Into<Arc<[FaultBudget]>>) {
        self.kernel.faults.limit(budgets.into());
    }

    pub(super) fn on_fault(&mut self, event: FaultEvent) {
        faults::carry_out(&mut NativeFaults(self), event);
    }
}

impl<P: Process> Kernel<P> {
    pub(super) fn trigger_on_mark(&mut self, kind: MarkKind) {
        let queue = &mut self.queue;
        self.faults.on_mark(self.now, kind, |at, event| queue.push(at, Event::Fault(event)));
    }

    /// Those of these processes that run, with the lives that they live.
    fn lives_of(&self, processes: &[ProcessId]) -> Vec<(ProcessId, u32)> {
        let life = |process: &ProcessId| {
            let slot = &self.processes[process.index()];
            slot.running.then_some((*process, slot.incarnation))
        };
        processes.iter().filter_map(life).collect()
    }
}

/// The world, as schedules see it.
struct NativeFaults<'w, P: Process>(&'w mut World<P>);

impl<P: Process> FaultHost for NativeFaults<'_, P> {
    fn faults(&self) -> &FaultState {
        &self.0.kernel.faults
    }

    fn faults_mut(&mut self) -> &mut FaultState {
        &mut self.0.kernel.faults
    }

    fn topology(&self) -> &Topology {
        self.0.topology()
    }

    fn process_count(&self) -> usize {
        self.0.states.len()
    }

    fn name_of(&self, process: ProcessId) -> &str {
        self.0.name(process)
    }

    fn host_of(&self, process: ProcessId) -> HostId {
        self.0.host_of(process)
    }

    fn processes_on(&self, host: HostId) -> &[ProcessId] {
        &self.0.kernel.hosts[host.index()].processes
    }

    fn volume_of(&self, process: ProcessId) -> Option<VolumeId> {
        Some(self.0.kernel.processes[process.index()].volume)
    }

    fn durable_records(&self, volume: VolumeId) -> u64 {
        self.0.kernel.volumes[volume.index()].durable_records()
    }

    fn life_of(&self, process: ProcessId) -> Option<u32> {
        let slot = &self.0.kernel.processes[process.index()];
        slot.running.then_some(slot.incarnation)
    }

    fn plays(&self, process: ProcessId, role: &str) -> bool {
        self.0.process(process).is_some_and(|state| state.plays(role))
    }

    fn role_of(&self, process: ProcessId) -> &'static str {
        self.0.process(process).map_or("", P::role)
    }

    fn now(&self) -> SimTime {
        self.0.kernel.now
    }

    fn at(&mut self, at: SimTime, event: FaultEvent) {
        self.0.kernel.queue.push(at, Event::Fault(event));
    }

    fn mark(&mut self, kind: MarkKind, fault: usize) {
        self.0.kernel.mark(None, kind, fault as u64);
    }

    fn is_told(&self) -> bool {
        self.0.kernel.trace.is_read(TraceLevel::Story)
    }

    fn tell(&mut self, text: String) {
        let kernel = &mut self.0.kernel;
        kernel.trace.add(TraceLevel::Story, kernel.now, None, TraceKind::Fault, || text);
    }

    fn begin(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        self.0.begin(index, fault, effect);
    }

    fn finish(&mut self, index: usize, fault: &Fault, effect: &mut Effect) {
        self.0.finish(index, fault, effect);
    }
}

impl<P: Process> World<P> {
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
            Fault::Flap { .. } => unreachable!("what comes and goes begins each time it comes"),
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
            Fault::Flap { .. } => unreachable!("what comes and goes ends each time it goes"),
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
}
