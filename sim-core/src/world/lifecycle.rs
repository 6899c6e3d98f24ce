//! Births and deaths: processes, hosts and watchdogs.

use crate::id::{HostId, ProcessId};
use crate::process::Process;
use crate::record::MarkKind;
use crate::time::SimDuration;

use super::context::NativeContext;
use super::{Deferred, Event, Input, Kernel, World};

impl<P: Process> World<P> {
    /// Boots a process from its specification and its volume, unless it runs or its host has no power. On a frozen
    /// machine it boots when that goes on.
    pub(crate) fn boot(&mut self, process: ProcessId) {
        let kernel = &mut self.kernel;
        let slot = &mut kernel.processes[process.index()];
        let host = &mut kernel.hosts[slot.host.index()];
        if host.powered && host.freezes > 0 {
            host.deferred.push(Deferred::Boot(process));
            return;
        }
        if slot.running || !host.powered {
            return;
        }
        slot.running = true;
        slot.disk_failed = false;
        kernel.update_standing(process);
        kernel.mark(Some(process), MarkKind::Started, 0);
        let spec = kernel.processes[process.index()].spec.clone();
        let mut context = NativeContext { kernel, me: process };
        self.states[process.index()] = Some(P::boot(&spec, &mut context));
        self.observe(process);
    }

    /// SIGKILL: the kernel of the host closes the connections of the process. On a frozen machine that happens when it
    /// goes on.
    pub(crate) fn kill(&mut self, process: ProcessId) {
        let slot = &self.kernel.processes[process.index()];
        let host = &mut self.kernel.hosts[slot.host.index()];
        if host.freezes > 0 {
            host.deferred.push(Deferred::Kill(process, slot.incarnation));
            return;
        }
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
        slot.busy_until = None;
        slot.listening.hangs = 0;
        slot.listening.unaccepted.clear();
        slot.timers.clear();
        self.kernel.update_standing(process);
        self.kernel.mark(Some(process), MarkKind::Stopped, 0);
        self.tell_observers_of_end(process);
        true
    }

    /// The host loses power. Nobody hears of it.
    pub(crate) fn power_off(&mut self, host: HostId) {
        let processes = self.kernel.hosts[host.index()].processes.clone();
        self.kernel.watch_keep_alives(|process| processes.contains(&process));
        let machine = &mut self.kernel.hosts[host.index()];
        machine.powered = false;
        machine.watchdog = None;
        machine.deferred.clear();
        let volumes = machine.volumes.clone();
        self.kernel.update_standings(host);
        for process in &processes {
            self.end_life(*process);
        }
        let kernel = &mut self.kernel;
        for volume in volumes {
            kernel.lose_unsynced(volume);
        }
        for (id, side) in kernel.connections.ends_at(|process| processes.contains(&process)) {
            kernel.forget_end(id, side);
        }
    }

    /// The host gets power and starts what is set to start with it, unless a fault keeps it off. A frozen machine boots
    /// when that goes on.
    pub(crate) fn power_on(&mut self, host: HostId) {
        let machine = &mut self.kernel.hosts[host.index()];
        if machine.powered || machine.outages > 0 {
            return;
        }
        if machine.freezes > 0 {
            machine.deferred.push(Deferred::PowerOn);
            return;
        }
        machine.powered = true;
        machine.clock.reboot(self.kernel.now);
        let processes = machine.processes.clone();
        self.kernel.update_standings(host);
        for process in processes {
            if self.kernel.processes[process.index()].starts_with_host {
                self.boot(process);
            }
        }
    }

    /// Gives a process that was held up everything that arrived meanwhile, in order: at once, or one by one if its host
    /// is slow. Does nothing while something else holds it up.
    pub(crate) fn drain_backlog(&mut self, process: ProcessId) {
        while !self.kernel.standing(process).is_hindered() {
            let Some(input) = self.kernel.next_in_line(process) else { return };
            self.handle(process, input);
        }
        self.kernel.serve_next(process);
    }

    /// A process on a slow host has worked long enough on its oldest input for it to take effect.
    pub(crate) fn on_served(&mut self, process: ProcessId) {
        let slot = &mut self.kernel.processes[process.index()];
        if slot.busy_until != Some(self.kernel.now) {
            return;
        }
        slot.busy_until = None;
        if slot.pauses > 0 || self.kernel.hosts[slot.host.index()].freezes > 0 {
            // Goes on when it resumes; the work on this input begins anew.
            return;
        }
        if let Some(input) = self.kernel.next_in_line(process) {
            self.handle(process, input);
        }
        self.kernel.serve_next(process);
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
    /// Puts an input behind those that wait for this process.
    #[cold]
    pub(crate) fn line_up(&mut self, process: ProcessId, input: Input<P>) {
        self.processes[process.index()].backlog.push_back(input);
        self.serve_next(process);
    }

    /// On a slow host, lets the process begin to work on its oldest input, unless it is busy or stopped.
    fn serve_next(&mut self, process: ProcessId) {
        let slot = &mut self.processes[process.index()];
        let host = &self.hosts[slot.host.index()];
        let is_free = slot.pauses == 0 && slot.busy_until.is_none() && !slot.backlog.is_empty();
        if is_free && host.freezes == 0 && host.service > SimDuration::ZERO {
            let at = self.now + host.service;
            slot.busy_until = Some(at);
            self.queue.push(at, Event::Served { process });
        }
    }

    /// The oldest input that waits for this process. Timers that were cancelled or moved meanwhile are left out.
    fn next_in_line(&mut self, process: ProcessId) -> Option<Input<P>> {
        loop {
            match self.processes[process.index()].backlog.pop_front()? {
                Input::DueTimer(slot, due) => {
                    if let Some(timer) = self.take_due_timer(process, slot, due) {
                        return Some(Input::Timer(timer));
                    }
                }
                input => return Some(input),
            }
        }
    }

    pub(crate) fn feed_watchdog(&mut self, host: HostId, timeout: SimDuration) {
        let machine = &mut self.hosts[host.index()];
        let deadline = self.now + machine.clock.real(timeout);
        machine.watchdog = Some(deadline);
        if !machine.watchdog_pending {
            machine.watchdog_pending = true;
            self.queue.push(deadline, Event::Watchdog { host });
        }
    }
}
