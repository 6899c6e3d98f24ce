//! Which faults hit whom in the middle of what.
//!
//! A campaign may be large and toothless: faults that find nobody, or that only ever hit a cluster at rest. So the
//! faults that took effect are counted in cells of kind x role x phase. The role is what the hit process played at that
//! moment ([`sim_core::Process::role`]); a fault that hits a whole host counts once for each role on it, and one between two sides for
//! the roles of its first side. The phase is what the cluster was in the middle of ([`analysis::ClusterPhase`]).
//!
//! A scenario may promise cells: one that no seed of a whole campaign fills fails the check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use analysis::{ClusterPhase, MeasureOptions, Successes, phases_at_faults};
use serde::{Deserialize, Serialize};

use crate::family::RunResult;

/// The role of a fault that hit nothing that ran, or nothing that has a name for what it plays.
const NO_ROLE: &str = "none";

/// One kind of fault on one role in one phase.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultCell {
    /// The kind, see [`sim_core::Fault::kind`].
    pub fault: String,
    /// What the hit process played.
    pub role: String,
    /// What the cluster was in the middle of.
    pub phase: ClusterPhase,
}

/// A cell that a campaign has to fill. What is left out may be anything.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromisedCell {
    /// The kind, see [`sim_core::Fault::kind`].
    pub fault: String,
    /// What the hit process has to play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the cluster has to be in the middle of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
}

impl PromisedCell {
    fn holds(&self, cell: &FaultCell) -> bool {
        self.fault == cell.fault
            && self.role.as_ref().is_none_or(|role| *role == cell.role)
            && self.phase.is_none_or(|phase| phase == cell.phase)
    }
}

impl fmt::Display for PromisedCell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.fault)?;
        if let Some(role) = &self.role {
            write!(formatter, " of {role}")?;
        }
        if let Some(phase) = self.phase {
            write!(formatter, " while {phase}")?;
        }
        Ok(())
    }
}

/// How many faults fell into each cell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Coverage(BTreeMap<FaultCell, u64>);

/// A row of [`Coverage`] in JSON.
#[derive(Serialize)]
struct CountedCell<'a> {
    #[serde(flatten)]
    cell: &'a FaultCell,
    fault_count: u64,
}

impl Serialize for Coverage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(cell, fault_count)| CountedCell { cell, fault_count }))
    }
}

impl Coverage {
    /// Adds the cells of one run.
    pub fn add(&mut self, cells: &[FaultCell]) {
        for cell in cells {
            match self.0.get_mut(cell) {
                Some(count) => *count += 1,
                None => drop(self.0.insert(cell.clone(), 1)),
            }
        }
    }

    /// The cells that are not empty, in order, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&FaultCell, u64)> {
        self.0.iter().map(|(cell, count)| (cell, *count))
    }

    /// True if some fault fell into the cell.
    pub fn fills(&self, promised: &PromisedCell) -> bool {
        self.0.keys().any(|cell| promised.holds(cell))
    }
}

/// The cells of the faults that took effect in one run.
pub(super) fn cells(result: &RunResult, successes: &Successes, options: &MeasureOptions) -> Vec<FaultCell> {
    let phases = phases_at_faults(&result.record, successes, options);
    let mut cells = Vec::new();
    for fault in result.faults.iter().filter(|fault| fault.accepted && !fault.processes.is_empty()) {
        let interrupted = phases.iter().find(|(position, _)| *position == fault.index as u64);
        let Some((_, phase)) = interrupted else { continue };
        let roles = if fault.roles.is_empty() { &[NO_ROLE][..] } else { &fault.roles };
        cells.extend(roles.iter().map(|role| FaultCell {
            fault: fault.kind.to_owned(),
            role: (*role).to_owned(),
            phase: *phase,
        }));
    }
    cells
}

/// The phases that occur, in the order of a failover, for the columns of a table.
pub fn phases(coverage: &Coverage) -> Vec<ClusterPhase> {
    let seen: BTreeSet<ClusterPhase> = coverage.iter().map(|(cell, _)| cell.phase).collect();
    ClusterPhase::ALL.into_iter().filter(|phase| seen.contains(phase)).collect()
}
