//! What the tests of whole Patroni clusters look at.

use models::patroni::ClusterProcess;
use sim_core::{Process, ProcessId, World};

/// Who plays a role.
pub(crate) fn players(world: &World<ClusterProcess>, role: &str) -> Vec<ProcessId> {
    let plays = |process: &ProcessId| world.process(*process).is_some_and(|state| state.plays(role));
    world.process_ids().filter(plays).collect()
}

/// Everything that was noted, a line each.
pub(crate) fn story(world: &World<ClusterProcess>) -> String {
    let lines = world.log_entries().iter().map(|entry| {
        let name = entry.process.map_or("-", |process| world.name(process));
        format!("{} {name:12} {}\n", entry.at, entry.text)
    });
    lines.collect()
}
