//! Process and host faults taking effect and ending.

use crate::id::HostId;
use crate::process::Process;
use crate::record::MarkKind;
use crate::world::{Event, World};

use super::Effect;

impl<P: Process> World<P> {
    /// SIGSTOP.
    pub(super) fn pause(&mut self, effect: &Effect) {
        for process in &effect.processes {
            self.kernel.processes[process.index()].pauses += 1;
            self.kernel.mark(Some(*process), MarkKind::Paused, 0);
        }
    }

    /// SIGCONT, for those that still live the life in which they were stopped.
    pub(super) fn resume(&mut self, effect: &Effect) {
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

    /// The hypervisor stops the machine.
    pub(super) fn freeze(&mut self, effect: &Effect) {
        let now = self.kernel.now;
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

    /// The hypervisor lets the machine go on, when no other fault holds it.
    pub(super) fn thaw(&mut self, host: HostId) {
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
}
