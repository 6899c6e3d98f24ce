//! Client B of the measurements: on the host of the old primary, connected to it alone.

use analysis::measure::SurvivingValues;
use sim_core::{Operation, Outcome, ProcessId, Record, SimDuration, SimTime};

use super::rows::Row;
use crate::diagnostic::UserError;

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

    /// The acknowledged writes that are gone, as the time that they took at the [pace] of this client from this instant on.
    pub(super) fn doomed(
        &self,
        surviving: &SurvivingValues,
        from: SimTime,
        interval: SimDuration,
    ) -> SimDuration {
        let gone = self.acknowledged().filter(|one| !surviving.contains(one.value)).count() as u64;
        let later =
            self.acknowledged().filter(|one| one.completed.is_some_and(|at| at > from)).count() as u64;
        pace(gone, self.served_after(from).map(|served| (served, later)), interval)
    }
}

/// The same in a row of the measurements: `b_lost` writes, at the pace of `b_acked_after` until `b_last_ack`.
pub(super) fn doomed(
    row: &Row,
    from: SimDuration,
    interval: SimDuration,
) -> Result<Option<SimDuration>, UserError> {
    let Some(gone) = row.count("b_lost")? else { return Ok(None) };
    let others = match row.count("b_acked_after")?.filter(|count| *count > 0) {
        Some(count) => row.time("b_last_ack")?.map(|last| (last.saturating_sub(from), count)),
        None => None,
    };
    Ok(Some(pace(gone, others, interval)))
}

/// The time that these many writes took, when others took so long; without others, one interval each. A client that sleeps between two
/// writes is slower by what it takes to wake up, and that is no part of what is compared.
fn pace(writes: u64, others: Option<(SimDuration, u64)>, interval: SimDuration) -> SimDuration {
    match others {
        Some((took, count)) => took.scale(writes, count),
        _ => interval * writes,
    }
}
