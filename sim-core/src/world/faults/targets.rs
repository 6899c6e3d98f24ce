//! From targets to processes: names are checked before the run, roles are resolved when the fault fires.

use crate::fault::{Fault, Target, Trigger};
use crate::id::{HostId, ProcessId};
use crate::process::Process;
use crate::topology::Place;
use crate::world::{Kernel, World};

use super::Effect;

impl<P: Process> Kernel<P> {
    pub(super) fn processes_of(&self, hosts: &[HostId]) -> Vec<ProcessId> {
        hosts.iter().flat_map(|host| self.hosts[host.index()].processes.iter().copied()).collect()
    }

    /// The hosts of these processes, each once, in order.
    pub(super) fn hosts_of(&self, processes: &[ProcessId]) -> Vec<HostId> {
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

    /// Whom a fault hits that fires now.
    pub(super) fn aim(&mut self, fault: &Fault) -> Effect {
        let mut effect = Effect::default();
        match fault {
            Fault::Partition { from, to, .. } | Fault::Degrade { from, to, .. } => {
                let [from, to] = self.resolve_sides(from, to);
                if !from.is_empty() && !to.is_empty() {
                    effect.processes = [from.as_slice(), &to].concat();
                    effect.harmed = Some(from.len());
                    self.pair_up(fault, &from, &to, &mut effect);
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
        effect
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
}
