//! What a world is about to do, for people: where two runs part is told by the next event of each.

use crate::id::ProcessId;
use crate::process::Process;
use crate::time::SimTime;

use super::{Event, World};

/// The event that a world processes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NextEvent {
    /// When, on the simulator's clock.
    pub at: SimTime,
    /// Whom it is meant for, if it is one process.
    pub process: Option<ProcessId>,
    /// What it is, on one line.
    pub what: String,
}

impl<P: Process> World<P> {
    /// The event that [`Self::step`] would process. Looking changes nothing.
    pub fn next_event(&self) -> Option<NextEvent> {
        let (order, event) = self.kernel.queue.peek()?;
        let (process, what) = match event {
            Event::Segment { connection, to, segment, .. } => {
                let process =
                    self.kernel.connections.get(*connection).map(|c| c.ends[usize::from(*to)].process);
                (process, format!("segment of {connection:?}: {segment:?}"))
            }
            Event::Timer { process, slot } => {
                let timers = &self.kernel.processes[process.index()].timers;
                (Some(*process), format!("timer {}", timers.name(*slot).unwrap_or_default()))
            }
            Event::Datagram { from, to, packet } => {
                (Some(*to), format!("datagram of {}: {packet:?}", self.name(*from)))
            }
            Event::Synced { process, sync, .. } => (Some(*process), format!("{sync:?} completes")),
            Event::Boot { process } => (Some(*process), "boot".to_owned()),
            Event::Kill { process, .. } => (Some(*process), "kill".to_owned()),
            other => (None, format!("{other:?}")),
        };
        Some(NextEvent { at: order.at, process, what })
    }
}
