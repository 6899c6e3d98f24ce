//! Processes that wait for their disk before they tell what they have come to know, and those who ask them.

use sim_core::{Distribution, ProcessId, SimDuration, SimTime, Stream, TraceEntry};

use super::rows::Row;
use crate::diagnostic::UserError;

/// How often the harness looked at the role of an old primary that came back: what a row says in `role_poll`. Those of the calibration
/// measurements do not, but they show it: the link came with the same answers as the role, and `old_linkup` is `old_demoted`, or 20 ms and
/// more later.
pub(super) fn role_poll(row: &Row) -> Result<SimDuration, UserError> {
    Ok(row.time("role_poll")?.unwrap_or(SimDuration::from_millis(20)))
}

/// From the instant at which something has changed until somebody asks for it who asks so often, and is woken late.
pub(super) fn until_asked(random: &mut Stream, each: SimDuration, late: &Distribution) -> SimDuration {
    let late = late.sampler().draw(random);
    random.duration(SimDuration::ZERO, each + late)
}

/// When a process tells what it knows since an instant: after the save that it is at then or begins then, if there is one. `saved` is how it says
/// that it has saved its file; how long that took follows.
pub(super) fn told(log: &[TraceEntry], saved: &str, process: Option<ProcessId>, at: SimTime) -> SimTime {
    let first = log.partition_point(|entry| entry.at <= at);
    let mut later = log[first..].iter().filter(|entry| entry.process == process);
    let save = later.find_map(|entry| {
        let took: SimDuration = entry.text.strip_prefix(saved)?.parse().ok()?;
        Some((entry.at, took))
    });
    save.filter(|(end, took)| end.since(at) <= *took).map_or(at, |(end, _)| end)
}
