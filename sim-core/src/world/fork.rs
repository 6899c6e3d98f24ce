//! What a fork of a world may do differently: other chance, other faults.
//!
//! `World::clone` copies everything, so that both copies go on identically. A fork becomes interesting by a difference,
//! and this file has the two that leave the present as it is and touch the future alone.

use crate::host::{process_stream, volume_stream};
use crate::process::Process;
use crate::random::Seed;

use super::World;

impl<P: Process> World<P> {
    /// Gives the world another future: from now on every random stream (those of the processes, links and volumes, and
    /// the choice among several targets of a fault) draws from a stream of its own derived from `seed`.
    ///
    /// What is decided already stays: the states of processes, timers that are set, packets under way with their time
    /// of arrival, syncs that have begun, and the faults that are scheduled. The digest keeps its past; the seed folds
    /// into it, because it is an input from here on. The same world with the same seed has the same future.
    pub fn reseed(&mut self, seed: Seed) {
        let kernel = &mut self.kernel;
        kernel.digest.fold(seed.0);
        // Not the seed itself: a fork must not repeat the draws with which a run of that seed begins.
        let seed = Seed(seed.stream("fork", 0).bits());
        for slot in &mut kernel.processes {
            slot.random = process_stream(seed, &slot.name);
        }
        for (index, stream) in kernel.volume_streams.iter_mut().enumerate() {
            *stream = volume_stream(seed, index);
        }
        kernel.paths.reseed(seed);
        kernel.faults.reseed(seed);
    }

    /// Cancels the fault with this position if it has not fired. What follows on it ([`crate::Trigger::AfterFault`]) does
    /// not fire either. A fault that has fired goes on and ends as it would. False if there was nothing to cancel.
    pub fn cancel_fault(&mut self, position: usize) -> bool {
        self.kernel.faults.cancel(position)
    }

    /// Cancels every fault that has not fired.
    pub fn cancel_faults(&mut self) {
        for position in 0..self.kernel.faults.count() {
            self.cancel_fault(position);
        }
    }
}
