//! Births and deaths: processes, hosts, volumes and watchdogs.

use crate::id::{HostId, ProcessId, SyncId, VolumeId};
use crate::process::Process;
use crate::record::MarkKind;
use crate::storage::PendingSync;
use crate::time::SimDuration;

use super::{Event, Kernel, NativeContext, World};

impl<P: Process> World<P> {
    /// Boots a process from its specification and its volume, unless it runs or its host has no power.
    pub(crate) fn boot(&mut self, process: ProcessId) {
        let kernel = &mut self.kernel;
        let slot = &mut kernel.processes[process.index()];
        if slot.running || !kernel.hosts[slot.host.index()].powered {
            return;
        }
        slot.running = true;
        kernel.mark(Some(process), MarkKind::Started, 0);
        let spec = kernel.processes[process.index()].spec.clone();
        let mut context = NativeContext { kernel, me: process };
        self.states[process.index()] = Some(P::boot(&spec, &mut context));
        if self.kernel.processes[process.index()].observed {
            self.observe(process);
        }
    }

    /// SIGKILL: the kernel of the host closes the connections of the process.
    pub(crate) fn kill(&mut self, process: ProcessId) {
        if self.end_life(process) {
            for (id, side) in self.kernel.connections.ends_at(|other| other == process) {
                self.kernel.close_end(id, side);
            }
        }
    }

    fn end_life(&mut self, process: ProcessId) -> bool {
        self.states[process.index()] = None;
        let slot = &mut self.kernel.processes[process.index()];
        if !slot.running {
            return false;
        }
        slot.running = false;
        slot.incarnation += 1;
        slot.pauses = 0;
        slot.backlog.clear();
        slot.timers.clear();
        let observed = slot.observed;
        self.kernel.mark(Some(process), MarkKind::Stopped, 0);
        if observed {
            for probe in &mut self.kernel.state_probes {
                probe.on_end(self.kernel.now, process);
            }
        }
        true
    }

    /// The host loses power. Nobody hears of it.
    pub(crate) fn power_off(&mut self, host: HostId) {
        let processes = self.kernel.hosts[host.index()].processes.clone();
        self.kernel.watch_keep_alives(|process| processes.contains(&process));
        let machine = &mut self.kernel.hosts[host.index()];
        machine.powered = false;
        machine.watchdog = None;
        let volumes = machine.volumes.clone();
        for process in &processes {
            self.end_life(*process);
        }
        let kernel = &mut self.kernel;
        for volume in volumes {
            kernel.volumes[volume.index()].lose_power(kernel.now);
        }
        for (id, side) in kernel.connections.ends_at(|process| processes.contains(&process)) {
            kernel.forget_end(id, side);
        }
    }

    /// The host gets power and starts what is set to start with it.
    pub(crate) fn power_on(&mut self, host: HostId) {
        let machine = &mut self.kernel.hosts[host.index()];
        if machine.powered {
            return;
        }
        machine.powered = true;
        machine.clock.reboot(self.kernel.now);
        for process in machine.processes.clone() {
            if self.kernel.processes[process.index()].starts_with_host {
                self.boot(process);
            }
        }
    }

    /// Gives a paused process everything that arrived meanwhile, in order.
    pub(crate) fn drain_backlog(&mut self, process: ProcessId) {
        let backlog = std::mem::take(&mut self.kernel.processes[process.index()].backlog);
        for input in backlog {
            self.give(process, input);
        }
    }

    pub(crate) fn on_watchdog(&mut self, host: HostId) {
        let machine = &mut self.kernel.hosts[host.index()];
        machine.watchdog_pending = false;
        let Some(deadline) = machine.watchdog else { return };
        if deadline > self.kernel.now {
            machine.watchdog_pending = true;
            self.kernel.queue.push(deadline, Event::Watchdog { host });
            return;
        }
        if machine.freezes > 0 {
            // Does not count while the machine is paused: the thaw moves the deadline and asks again.
            return;
        }
        let reboot_time = machine.reboot_time;
        self.power_off(host);
        self.kernel.queue.push(self.kernel.now + reboot_time, Event::PowerOn { host });
    }
}

impl<P: Process> Kernel<P> {
    pub(crate) fn feed_watchdog(&mut self, host: HostId, timeout: SimDuration) {
        let machine = &mut self.hosts[host.index()];
        let deadline = self.now + machine.clock.real(timeout);
        machine.watchdog = Some(deadline);
        if !machine.watchdog_pending {
            machine.watchdog_pending = true;
            self.queue.push(deadline, Event::Watchdog { host });
        }
    }

    pub(crate) fn sync(&mut self, process: ProcessId) -> SyncId {
        let slot = &mut self.processes[process.index()];
        let sync = SyncId(slot.next_sync);
        slot.next_sync += 1;
        let (volume, incarnation) = (slot.volume, slot.incarnation);
        let position = self.volumes[volume.index()].position();
        self.start_sync(volume, PendingSync { process, incarnation, sync, position });
        sync
    }

    pub(crate) fn start_sync(&mut self, id: VolumeId, pending: PendingSync) {
        let volume = &mut self.volumes[id.index()];
        if volume.stalled {
            volume.waiting.push(pending);
            return;
        }
        let latency = volume.sync_latency.draw(&mut self.volume_streams[id.index()]);
        volume.busy_until = volume.busy_until.max(self.now) + latency;
        let PendingSync { process, incarnation, sync, position } = pending;
        let at = volume.busy_until;
        self.queue.push(at, Event::Synced { volume: id, process, incarnation, sync, position });
    }

    /// True when the process that asked for it still lives and must hear of it.
    pub(crate) fn sync_completed(
        &mut self,
        id: VolumeId,
        process: ProcessId,
        incarnation: u32,
        sync: SyncId,
        position: u64,
    ) -> bool {
        let volume = &mut self.volumes[id.index()];
        if volume.stalled {
            volume.waiting.push(PendingSync { process, incarnation, sync, position });
            return false;
        }
        volume.make_durable(position);
        self.processes[process.index()].incarnation == incarnation
    }
}
