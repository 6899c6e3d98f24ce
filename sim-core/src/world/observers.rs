//! Conditions on the states of processes, and which processes each of them looks at.

use crate::fault::Schedule;
use crate::id::ProcessId;
use crate::process::{Process, StateProbe};
use crate::record::Violation;

use super::World;

/// Which conditions look at a process: a bit for each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Observers(u64);

impl Observers {
    #[inline]
    fn positions(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = (left != 0).then(|| left.trailing_zeros() as usize);
            left &= left.wrapping_sub(1);
            next
        })
    }
}

impl<P: Process> World<P> {
    /// Adds a condition that is checked after each handler of these processes from now on.
    ///
    /// # Panics
    /// If there are 64 already: each model has one or two.
    pub fn add_state_probe(&mut self, processes: &[ProcessId], probe: Box<dyn StateProbe<P>>) {
        let position = self.kernel.state_probes.len();
        assert!(position < u64::BITS as usize, "more than 64 conditions on states");
        for process in processes {
            self.kernel.processes[process.index()].observers.0 |= 1 << position;
        }
        self.kernel.state_probes.push(probe);
    }

    /// Shows the state of a process to the conditions that look at it.
    #[inline]
    pub(super) fn observe(&mut self, process: ProcessId) {
        let observers = self.kernel.processes[process.index()].observers;
        if observers != Observers::default() {
            self.show(process, observers);
        }
    }

    #[inline(never)]
    fn show(&mut self, process: ProcessId, observers: Observers) {
        let kernel = &mut self.kernel;
        let Some(state) = &self.states[process.index()] else { return };
        let storage = &kernel.volumes[kernel.processes[process.index()].volume.index()].current;
        for position in observers.positions() {
            let found = kernel.state_probes[position].on_state(kernel.now, process, state, storage);
            if let Some(found) = found {
                keep_first(&mut kernel.violation, found);
            }
        }
    }

    /// Tells the conditions that look at a process that it ended.
    pub(super) fn tell_observers_of_end(&mut self, process: ProcessId) {
        let kernel = &mut self.kernel;
        for position in kernel.processes[process.index()].observers.positions() {
            kernel.state_probes[position].on_end(kernel.now, process);
        }
    }

    /// Tells all conditions of faults that are added to the run.
    pub(super) fn tell_observers_of_faults(&mut self, added: &Schedule) {
        for probe in &mut self.kernel.state_probes {
            probe.on_faults(added);
        }
    }
}

/// A run is about the first violation. Apart, because most runs have none.
#[cold]
fn keep_first(violation: &mut Option<Violation>, found: Violation) {
    violation.get_or_insert(found);
}
