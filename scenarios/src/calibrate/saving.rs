//! Processes that wait for their disk before they tell what they have come to know.

use sim_core::{ProcessId, SimDuration, SimTime, TraceEntry};

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
