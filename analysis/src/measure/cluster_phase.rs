//! What a cluster was in the middle of when a fault fired.
//!
//! A campaign that only ever hits a cluster at rest has not tested its failover. So each fault is counted under the phase
//! that it interrupted. The phases are those of [`super::phases`], as a state that the marks move:
//!
//! | phase | begins with | means |
//! |---|---|---|
//! | `forming` | the start of the run | nobody has ever accepted writes |
//! | `rerouting` | `Writable` (or `Resumed`) of a member | a member accepts writes, no client has succeeded since |
//! | `steady` | the first success of a client after it | clients are served |
//! | `detecting` | the last member stops accepting writes | nobody has noticed yet |
//! | `electing` | `Suspected` | somebody holds the leader for failed |
//! | `promoting` | `Elected` | a new leader is chosen and does not accept writes yet |
//! | `stalled` | silence of the clients in `steady` | a member accepts writes, and no write has succeeded for longer than the outage threshold |
//! | `two-primaries` | `Writable` or `Resumed` of a second member | it hides the other phases while it lasts |
//!
//! `electing` and `promoting` can also end without a new primary: when the suspicion was wrong, or the old leader won
//! again. They end for this table when clients write successfully while some member accepts writes.
//!
//! Only marks of the members and writes of the clients in [`MeasureOptions`] count. Simplified: a success counts for
//! the cluster, whichever server gave it, so a client that is locked in with an isolated old primary makes the cluster
//! `steady` here while the others elect.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sim_core::{Mark, MarkKind, ProcessId, Record, SimTime};

use super::MeasureOptions;
use super::successes::Successes;
use super::writable::WritableState;

/// What a cluster is in the middle of; see the module's table.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterPhase {
    /// Nobody has ever accepted writes.
    Forming,
    /// Clients are served.
    Steady,
    /// A member accepts writes, and no client has succeeded for longer than the outage threshold.
    Stalled,
    /// No member accepts writes, and nobody has noticed yet.
    Detecting,
    /// The leader is held for failed.
    Electing,
    /// A new leader is chosen and does not accept writes yet.
    Promoting,
    /// A member accepts writes, and no client has succeeded since it does.
    Rerouting,
    /// Two or more members accept writes.
    TwoPrimaries,
}

impl ClusterPhase {
    /// All of them, in the order of a failover.
    pub const ALL: [Self; 8] = [
        Self::Forming,
        Self::Steady,
        Self::Stalled,
        Self::Detecting,
        Self::Electing,
        Self::Promoting,
        Self::Rerouting,
        Self::TwoPrimaries,
    ];

    /// The name in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Steady => "steady",
            Self::Stalled => "stalled",
            Self::Detecting => "detecting",
            Self::Electing => "electing",
            Self::Promoting => "promoting",
            Self::Rerouting => "rerouting",
            Self::TwoPrimaries => "two-primaries",
        }
    }
}

impl fmt::Display for ClusterPhase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The phase that each fault interrupted, in the order in which they fired, with the fault's position in the schedule.
/// Faults that found nobody to hit are among them.
pub fn phases_at_faults(
    record: &Record,
    successes: &Successes,
    options: &MeasureOptions,
) -> Vec<(u64, ClusterPhase)> {
    let mut found = Vec::new();
    let mut cluster = Cluster::default();
    for mark in &record.marks {
        match mark.process {
            // The mark of a fault stands before everything that the fault causes.
            None if mark.kind == MarkKind::Fault => {
                found.push((mark.value, cluster.phase(mark.at, successes, options)));
            }
            Some(process) if options.includes(process) => cluster.take(process, mark, successes),
            _ => {}
        }
    }
    found
}

/// The state that the marks move.
struct Cluster {
    members: BTreeMap<ProcessId, WritableState>,
    writable: usize,
    /// The phase by marks alone, and since when.
    stage: Stage,
    since: SimTime,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Stage {
    Forming,
    Detecting,
    Electing,
    Promoting,
    Writable,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { members: BTreeMap::new(), writable: 0, stage: Stage::Forming, since: SimTime::ZERO }
    }
}

impl Cluster {
    fn take(&mut self, process: ProcessId, mark: &Mark, successes: &Successes) {
        let state = self.members.entry(process).or_default();
        let before = state.is_writable();
        state.take(mark);
        let (was, after) = (self.writable, state.is_writable());
        self.writable = was + usize::from(after) - usize::from(before);
        let stage = match mark.kind {
            // Who is not the first to suspect adds nothing, unless the suspicion before came to its end.
            MarkKind::Suspected if self.stage != Stage::Forming && !self.is_choosing(mark.at, successes) => {
                Stage::Electing
            }
            MarkKind::Elected if self.stage != Stage::Forming => Stage::Promoting,
            _ if after && !before => Stage::Writable,
            _ if was > 0 && self.writable == 0 && self.stage == Stage::Writable => Stage::Detecting,
            _ => return,
        };
        (self.stage, self.since) = (stage, mark.at);
    }

    /// True from a suspicion until somebody accepts writes, or clients show that it was wrong.
    fn is_choosing(&self, at: SimTime, successes: &Successes) -> bool {
        matches!(self.stage, Stage::Electing | Stage::Promoting) && !self.is_served(at, successes)
    }

    /// True when a member accepts writes and clients have succeeded since the stage began.
    fn is_served(&self, at: SimTime, successes: &Successes) -> bool {
        self.writable > 0 && successes.last_until(at).is_some_and(|last| last >= self.since)
    }

    fn phase(&self, at: SimTime, successes: &Successes, options: &MeasureOptions) -> ClusterPhase {
        if self.writable > 1 {
            return ClusterPhase::TwoPrimaries;
        }
        if self.stage != Stage::Forming && self.is_served(at, successes) {
            let last = successes.last_until(at).expect("clients were served");
            let silent = at.since(last) > options.outage_threshold;
            return if silent { ClusterPhase::Stalled } else { ClusterPhase::Steady };
        }
        match self.stage {
            Stage::Forming => ClusterPhase::Forming,
            Stage::Detecting => ClusterPhase::Detecting,
            Stage::Electing => ClusterPhase::Electing,
            Stage::Promoting => ClusterPhase::Promoting,
            Stage::Writable => ClusterPhase::Rerouting,
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_core::Outcome;

    use super::*;
    use crate::measure::testing::Script;

    fn phases(script: Script) -> Vec<ClusterPhase> {
        let options = MeasureOptions::default();
        let record = script.record();
        let successes = Successes::of(&record, &options);
        phases_at_faults(&record, &successes, &options).into_iter().map(|(_, phase)| phase).collect()
    }

    #[test]
    fn each_phase_of_a_failover_is_told_apart() {
        use ClusterPhase::{Detecting, Electing, Forming, Promoting, Rerouting, Steady};
        let found = phases(
            Script::new(60_000)
                .fault(100)
                .mark(1_000, MarkKind::Writable, 0, 1)
                .fault(1_050)
                .fault(2_200)
                .mark(3_000, MarkKind::Stopped, 0, 0)
                .fault(10_000)
                .mark(20_000, MarkKind::Suspected, 1, 0)
                .fault(20_500)
                .mark(21_000, MarkKind::Elected, 1, 2)
                .fault(21_500)
                .mark(22_000, MarkKind::Writable, 1, 2)
                .fault(22_100)
                .fault(23_100)
                .write(1_000, 1_100, Outcome::Ok, 0)
                .write(1_900, 2_000, Outcome::Ok, 0)
                .write(22_000, 23_000, Outcome::Ok, 1),
        );
        assert_eq!(found, [Forming, Rerouting, Steady, Detecting, Electing, Promoting, Rerouting, Steady]);
    }

    #[test]
    fn the_fault_that_kills_the_primary_found_it_alive() {
        let script = Script::new(9_000)
            .mark(1_000, MarkKind::Writable, 0, 1)
            .fault(2_000)
            .mark(2_000, MarkKind::Stopped, 0, 0)
            .fault(2_000)
            .write(1_500, 1_600, Outcome::Ok, 0);
        assert_eq!(phases(script), [ClusterPhase::Steady, ClusterPhase::Detecting]);
    }

    #[test]
    fn silent_clients_of_a_writable_primary_are_stalled() {
        let script = Script::new(9_000)
            .mark(1_000, MarkKind::Writable, 0, 1)
            .fault(2_000)
            .fault(2_101)
            .write(1_500, 1_600, Outcome::Ok, 0)
            .pending(1_700);
        assert_eq!(phases(script), [ClusterPhase::Steady, ClusterPhase::Stalled]);
    }

    #[test]
    fn a_primary_that_wakes_up_beside_its_successor_makes_two() {
        let script = Script::new(9_000)
            .mark(1_000, MarkKind::Writable, 0, 1)
            .mark(2_000, MarkKind::Paused, 0, 0)
            .mark(3_000, MarkKind::Writable, 1, 2)
            .mark(4_000, MarkKind::Resumed, 0, 0)
            .fault(4_100)
            .mark(5_000, MarkKind::ReadOnly, 0, 0)
            .fault(5_100)
            .write(4_000, 5_050, Outcome::Ok, 1);
        assert_eq!(phases(script), [ClusterPhase::TwoPrimaries, ClusterPhase::Steady]);
    }

    #[test]
    fn a_false_suspicion_ends_when_clients_are_served() {
        let script = Script::new(9_000)
            .mark(1_000, MarkKind::Writable, 0, 1)
            .mark(2_000, MarkKind::Suspected, 1, 0)
            .fault(2_050)
            .fault(2_200)
            .write(1_500, 1_600, Outcome::Ok, 0)
            .write(2_050, 2_100, Outcome::Ok, 0);
        assert_eq!(phases(script), [ClusterPhase::Electing, ClusterPhase::Steady]);
    }

    #[test]
    fn names_are_those_of_the_files() {
        for phase in ClusterPhase::ALL {
            let json = serde_json::to_string(&phase).unwrap();
            assert_eq!(json, format!("\"{phase}\""));
        }
    }
}
