//! A watch misses nothing: the changes that a watcher was sent up to a revision are all that there were.

use std::collections::BTreeMap;

use sim_core::{ProcessId, SimTime, Violation};

use super::History;
use crate::etcd::client::Client;

/// What the watchers have seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers {
    packets: BTreeMap<ProcessId, u64>,
}

impl Watchers {
    pub(super) fn check(
        &mut self,
        at: SimTime,
        process: ProcessId,
        client: &Client,
        history: &History,
    ) -> Option<Violation> {
        let watched = client.watched();
        let packets = self.packets.entry(process).or_default();
        if *packets == watched.packets {
            return None;
        }
        *packets = watched.packets;
        let there_were = history.count(watched.from, watched.to);
        (watched.changes != there_were).then(|| Violation {
            at,
            name: "watch-missed-changes",
            detail: format!(
                "{process:?} saw {} of {there_were} changes after revision {} and up to {}",
                watched.changes, watched.from, watched.to
            ),
        })
    }
}
