//! Network faults taking effect and ending.

use crate::fault::{Direction, Fault};
use crate::id::ProcessId;
use crate::process::Process;
use crate::random::Probability;
use crate::time::SimDuration;
use crate::world::World;

use super::Effect;

impl<P: Process> World<P> {
    /// Nothing passes the ways of a partition any more.
    pub(super) fn cut(&mut self, effect: &Effect) {
        self.kernel.watch_keep_alives(|process| effect.processes.contains(&process));
        for (from, to) in &effect.ways {
            self.kernel.paths.cut(*from, *to);
        }
    }

    /// The ways of a partition are open again, unless another one cuts them.
    pub(super) fn mend(&mut self, effect: &Effect) {
        for (from, to) in &effect.ways {
            self.kernel.paths.mend(*from, *to);
        }
    }

    /// The links of a fault become worse, or better again when it ends.
    pub(super) fn degrade(&mut self, effect: &Effect, latency: SimDuration, loss: Probability, ends: bool) {
        for (from, to) in &effect.links {
            self.kernel.paths.degrade(*from, *to, latency, loss, ends);
        }
    }

    /// The directed ways between two sides.
    pub(super) fn pair_up(&self, fault: &Fault, from: &[ProcessId], to: &[ProcessId], effect: &mut Effect) {
        let direction = match fault {
            Fault::Partition { direction, .. } => *direction,
            _ => Direction::Both,
        };
        for a in from {
            for b in to {
                // Nothing between processes of one host leaves the host.
                if self.host_of(*a) == self.host_of(*b) {
                    continue;
                }
                if direction != Direction::Inbound {
                    effect.ways.push((*a, *b));
                }
                if direction != Direction::Outbound {
                    effect.ways.push((*b, *a));
                }
            }
        }
        effect.links = effect.ways.iter().map(|(a, b)| (self.host_of(*a), self.host_of(*b))).collect();
        effect.links.sort_unstable();
        effect.links.dedup();
    }
}
