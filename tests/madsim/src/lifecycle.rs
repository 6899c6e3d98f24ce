//! Births and deaths: processes and hosts.

use std::task::Waker;

use sim_core::{HostId, MarkKind, ProcessId};

use crate::Portable;
use crate::context::MadsimContext;
use crate::kernel::{Order, World};

impl<P: Portable> World<P> {
    /// Boots a process, unless it runs or its host has no power. True if its task has to be started.
    pub(crate) fn boot(&mut self, process: ProcessId) -> bool {
        let kernel = &mut self.kernel;
        let slot = &mut kernel.slots[process.index()];
        let Some(program) = &slot.program else { return false };
        if slot.running || slot.endpoint.is_none() {
            return false;
        }
        let spec = program.spec.clone();
        slot.running = true;
        kernel.mark(Some(process), MarkKind::Started, 0);
        let state = P::boot(&spec, &mut MadsimContext { kernel, me: process });
        self.states[process.index()] = Some(state);
        true
    }

    /// SIGKILL: the kernel of the host closes the connections of the process.
    pub(crate) fn kill(&mut self, process: ProcessId) {
        if self.end_life(process) {
            let now = self.kernel.now;
            self.kernel.with_stack(process, |stack, effects| stack.close_all(now, effects));
        }
    }

    fn end_life(&mut self, process: ProcessId) -> bool {
        let slot = &mut self.kernel.slots[process.index()];
        if !slot.running || slot.program.is_none() {
            return false;
        }
        slot.running = false;
        slot.incarnation += 1;
        slot.pauses = 0;
        slot.inbox.clear();
        slot.timers.clear();
        // Its task sees that its life is over.
        slot.waker.take().into_iter().for_each(Waker::wake);
        self.states[process.index()] = None;
        self.kernel.mark(Some(process), MarkKind::Stopped, 0);
        true
    }

    /// The host loses power. Nobody hears of it.
    pub(crate) fn power_off(&mut self, host: HostId) {
        let machine = &mut self.kernel.hosts[host.index()];
        machine.powered = false;
        machine.watchdog = None;
        let (processes, volumes) = (machine.processes.clone(), machine.volumes.clone());
        for process in processes {
            self.end_life(process);
            let kernel = &mut self.kernel;
            let slot = &mut kernel.slots[process.index()];
            slot.stack.forget_all();
            slot.endpoint = None;
            slot.stack_waker = None;
            kernel.orders.push(Order::KillNode(slot.node()));
        }
        for volume in volumes {
            let disk = &mut self.kernel.volumes[volume.index()];
            disk.volume.lose_power(self.kernel.now, &mut disk.stream);
            disk.waiting.clear();
        }
    }

    /// The host gets power: its nodes start again, and boot what starts with the host.
    pub(crate) fn power_on(&mut self, host: HostId) {
        let kernel = &mut self.kernel;
        let machine = &mut kernel.hosts[host.index()];
        if machine.powered || machine.outages > 0 {
            return;
        }
        machine.powered = true;
        machine.clock.reboot(kernel.now);
        let frozen = machine.freezes > 0;
        for process in machine.processes.clone() {
            let node = kernel.slots[process.index()].node();
            kernel.orders.push(Order::RestartNode(node));
            if frozen {
                // Its processes start when it thaws.
                kernel.orders.push(Order::PauseNode(node));
            }
        }
    }
}
