//! Client B of the measurements: on the host of the old primary, connected to it alone.

use analysis::measure::SurvivingValues;
use sim_core::{Operation, Outcome, ProcessId, Record, SimDuration, SimTime};

/// The client beside the old primary, and what it asked.
pub(super) struct Beside<'r> {
    pub(super) record: &'r Record,
    pub(super) old_primary: ProcessId,
    pub(super) client: ProcessId,
}

impl Beside<'_> {
    fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.record.operations.iter().filter(|one| one.client == self.client)
    }

    fn acknowledged(&self) -> impl Iterator<Item = &Operation> {
        self.operations().filter(|one| one.is_acknowledged())
    }

    /// When the old primary first refused a write after the fault.
    pub(super) fn refused(&self, fault: SimTime) -> Option<SimTime> {
        let refused = self.operations().filter(|one| {
            let by_old_primary = one.outcome == Outcome::Failed && one.served_by == Some(self.old_primary);
            one.invoked > fault && by_old_primary
        });
        refused.filter_map(|one| one.completed).min()
    }

    /// How long after an instant the old primary last acknowledged a write; none if it did not any more.
    pub(super) fn served_after(&self, from: SimTime) -> Option<SimDuration> {
        let last = self.acknowledged().filter_map(|one| one.completed).max()?;
        (last > from).then(|| last.since(from))
    }

    /// How many acknowledged writes are gone.
    pub(super) fn doomed(&self, surviving: &SurvivingValues) -> u64 {
        self.acknowledged().filter(|one| !surviving.contains(one.value)).count() as u64
    }
}
