//! Process and host faults taking effect and ending.
//!
//! Each counts on its target, so that faults of one kind may overlap in any way: a host is back when its last outage
//! ends, a process runs when its last pause ends.

use crate::fault::Fault;
use crate::host::faults::Effect;
use crate::id::{HostId, ProcessId, VolumeId};
use crate::process::Process;
use crate::record::MarkKind;
use crate::time::SimDuration;
use crate::world::{Deferred, Event, World};

impl<P: Process> World<P> {
    /// SIGKILL, and nobody starts it again before the fault ends but its own supervisor.
    pub(super) fn kill_all(&mut self, processes: &[ProcessId]) {
        for process in processes {
            self.kernel.processes[process.index()].kills += 1;
            self.kill(*process);
        }
    }

    /// Starts those again that no other kill holds down.
    pub(super) fn end_kills(&mut self, processes: &[ProcessId]) {
        for process in processes {
            let slot = &mut self.kernel.processes[process.index()];
            slot.kills -= 1;
            if slot.kills == 0 {
                self.boot(*process);
            }
        }
    }

    /// The first comes at once, the next ones each a `stagger` later.
    pub(super) fn begin_restarts(&mut self, index: usize, processes: &[ProcessId], stagger: SimDuration) {
        let mut at = self.kernel.now;
        for process in processes {
            self.kernel.queue.push(at, Event::Restart { process: *process, fault: index as u32 });
            at = at + stagger;
        }
    }

    /// One process of a restart has its turn.
    pub(crate) fn restart(&mut self, process: ProcessId, index: usize) {
        let Fault::Restart { delay, .. } = *self.kernel.faults.fault(index) else {
            unreachable!("only a restart queues its turns");
        };
        self.kill(process);
        self.boot_later(process, delay);
    }

    /// Starts a process that has just ended after a delay, which the end of a disk fault does not cut short.
    fn boot_later(&mut self, process: ProcessId, delay: SimDuration) {
        self.kernel.processes[process.index()].disk_failed = false;
        self.kernel.queue.push(self.kernel.now + delay, Event::Boot { process });
    }

    /// Empties the volumes of these processes. Everybody who mounts one of them loses it.
    pub(super) fn wipe(&mut self, processes: &[ProcessId], delay: SimDuration) {
        let now = self.kernel.now;
        let mut volumes: Vec<VolumeId> =
            processes.iter().map(|process| self.kernel.processes[process.index()].volume).collect();
        volumes.sort_unstable();
        volumes.dedup();
        for process in processes {
            let slot = &self.kernel.processes[process.index()];
            let restarts = slot.running && slot.starts_with_host;
            self.kill(*process);
            if restarts {
                self.boot_later(*process, delay);
            }
        }
        for volume in volumes {
            self.kernel.volumes[volume.index()].wipe(now);
        }
    }

    /// Each input of a process on these hosts takes this much longer, or less when the fault ends.
    pub(super) fn slow_down(&mut self, hosts: &[HostId], service: SimDuration, ends: bool) {
        for host in hosts {
            let machine = &mut self.kernel.hosts[host.index()];
            machine.service = if ends { machine.service - service } else { machine.service + service };
            machine.hindered = machine.freezes > 0 || machine.service > SimDuration::ZERO;
            let (hindered, processes) = (machine.hindered, machine.processes.clone());
            self.kernel.update_standings(*host);
            if hindered {
                continue;
            }
            for process in processes {
                self.kernel.processes[process.index()].busy_until = None;
                self.drain_backlog(process);
            }
        }
    }

    /// The hosts lose power; one that has none stays without for longer.
    pub(super) fn begin_outages(&mut self, hosts: &[HostId]) {
        for host in hosts {
            self.kernel.hosts[host.index()].outages += 1;
            self.power_off(*host);
        }
    }

    /// The hosts boot that no other fault keeps without power.
    pub(super) fn end_outages(&mut self, hosts: &[HostId]) {
        for host in hosts {
            self.kernel.hosts[host.index()].outages -= 1;
            self.power_on(*host);
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, effect: &mut Effect) {
        effect.lives = self.kernel.lives_of(&effect.processes);
        for (process, _) in &effect.lives {
            self.kernel.processes[process.index()].pauses += 1;
            self.kernel.update_standing(*process);
            self.kernel.mark(Some(*process), MarkKind::Paused, 0);
        }
    }

    /// SIGCONT, for those that still live the life in which they were stopped.
    pub(super) fn resume(&mut self, effect: &mut Effect) {
        for (process, incarnation) in std::mem::take(&mut effect.lives) {
            let slot = &mut self.kernel.processes[process.index()];
            if slot.incarnation != incarnation {
                continue;
            }
            slot.pauses -= 1;
            let (pauses, host) = (slot.pauses, slot.host);
            self.kernel.update_standing(process);
            // On a frozen machine it runs again only when that thaws, which then leaves the mark.
            if pauses == 0 && self.kernel.hosts[host.index()].freezes == 0 {
                self.kernel.mark(Some(process), MarkKind::Resumed, 0);
                self.drain_backlog(process);
            }
        }
    }

    /// The hypervisor stops the machines.
    pub(super) fn freeze(&mut self, effect: &Effect) {
        let now = self.kernel.now;
        self.kernel.watch_keep_alives(|process| effect.processes.contains(&process));
        for host in &effect.hosts {
            let machine = &mut self.kernel.hosts[host.index()];
            machine.freezes += 1;
            machine.hindered = true;
            if machine.freezes == 1 {
                machine.frozen_since = now;
                machine.clock.freeze(now, true);
            }
            self.kernel.update_standings(*host);
        }
        for (process, _) in self.kernel.lives_of(&effect.processes) {
            self.kernel.mark(Some(process), MarkKind::Paused, 0);
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
        machine.hindered = machine.service > SimDuration::ZERO;
        let length = now.since(machine.frozen_since);
        machine.clock.freeze(now, false);
        self.kernel.update_standings(host);
        self.catch_up(host);
        let machine = &mut self.kernel.hosts[host.index()];
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

    /// Does what was asked for while the machine stood still. Signals come before anything that waits for a process.
    fn catch_up(&mut self, host: HostId) {
        for deferred in std::mem::take(&mut self.kernel.hosts[host.index()].deferred) {
            let now = self.kernel.now;
            match deferred {
                Deferred::Kill(process, incarnation) => {
                    if self.kernel.processes[process.index()].incarnation == incarnation {
                        self.kill(process);
                    }
                }
                Deferred::Boot(process) => self.kernel.queue.push(now, Event::Boot { process }),
                Deferred::PowerOn => self.kernel.queue.push(now, Event::PowerOn { host }),
            }
        }
    }
}
