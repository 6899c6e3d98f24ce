//! Two clients never believe at one instant that they hold the lock.
//!
//! A holder believes it until the time to live has passed since it sent its last keep-alive that was answered. The lease
//! begins anew when the leader handles the keep-alive, which is later; so the belief ends before the lease does, if clocks
//! run alike. Clocks here differ by some parts per million, for which [`TOLERANCE`] is ample.

use std::collections::BTreeMap;

use sim_core::{HostTime, ProcessId, SimDuration, SimTime, Violation};

use crate::etcd::client::Client;

/// What clocks may be apart after a time to live.
const TOLERANCE: SimDuration = SimDuration::from_millis(20);

/// Who believes to hold the lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Lock {
    /// By client: until when by its own clock, and by that of the simulator.
    beliefs: BTreeMap<ProcessId, (HostTime, SimTime)>,
}

impl Lock {
    pub(super) fn check(&mut self, at: SimTime, process: ProcessId, client: &Client) -> Option<Violation> {
        let Some(until) = client.holds_until() else {
            self.beliefs.remove(&process);
            return None;
        };
        if self.beliefs.get(&process).is_some_and(|(known, _)| *known == until) {
            return None;
        }
        let left = until.since(client.looked_at());
        if left <= TOLERANCE {
            self.beliefs.remove(&process);
            return None;
        }
        let ends = at + left.saturating_sub(TOLERANCE);
        let other = self.beliefs.iter().find(|(other, (_, ends))| **other != process && *ends > at);
        let violation = other.map(|(other, (_, ends))| Violation {
            at,
            name: "two-lock-holders",
            detail: format!("{process:?} and, until {ends}, {other:?}"),
        });
        self.beliefs.insert(process, (until, ends));
        violation
    }
}
