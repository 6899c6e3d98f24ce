//! All operations take effect in one order that respects time (etcd documentation: strict serializability).
//!
//! A checker of histories has to search for such an order; here the answers name it: each carries the revision at which it
//! happened. What is left is to compare, operation by operation, so the check costs next to nothing and misses
//! nothing:
//!
//! - an answer is not older than any answer that had arrived anywhere before its question was asked, and a write is newer;
//! - a read holds, of each register, the last change at or before its revision;
//! - a compare-and-swap succeeded only if the register was as expected right before its revision;
//! - what was written is in the history at that revision.

use std::collections::BTreeMap;

use sim_core::{ProcessId, SimTime, Violation};

use super::History;
use crate::etcd::client::{Ask, Client, Done};
use crate::etcd::{Event, KeyValue};

/// What the clients have been told.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    /// The newest revision that any client was told of.
    newest: u64,
    /// For each client: operations begun and answered at the last look, and the newest revision when the last began.
    seen: BTreeMap<ProcessId, (u64, u64, u64)>,
}

impl Clients {
    pub(super) fn check(
        &mut self,
        at: SimTime,
        process: ProcessId,
        client: &Client,
        history: &History,
    ) -> Option<Violation> {
        let (begun, answered, floor) = self.seen.get(&process).copied().unwrap_or_default();
        let (now_answered, done) = client.answered();
        let mut violation = None;
        if now_answered != answered
            && let Some(done) = done
            && has_revision(done)
        {
            violation = judge(done, floor, history).map(|(name, detail)| Violation {
                at,
                name,
                detail: format!("{detail} ({process:?})"),
            });
            self.newest = self.newest.max(done.revision);
        }
        let floor = if client.begun() == begun { floor } else { self.newest };
        self.seen.insert(process, (client.begun(), now_answered, floor));
        violation
    }
}

/// Leases have no place in the order of revisions: a member answers for them whatever it has applied itself.
fn has_revision(done: &Done) -> bool {
    matches!(done.ask, Ask::Row(_) | Ask::Swap { .. } | Ask::Read | Ask::Acquire(..))
}

fn judge(done: &Done, floor: u64, history: &History) -> Option<(&'static str, String)> {
    let revision = done.revision;
    let is_write = done.succeeded && done.ask != Ask::Read;
    if revision < floor {
        let detail = format!("an answer of revision {revision}, asked for when {floor} was known");
        return Some(("stale-answer", detail));
    }
    if is_write && revision == floor {
        return Some((
            "write-in-the-past",
            format!("a write at revision {revision}, which was known before"),
        ));
    }
    match &done.ask {
        Ask::Read => done.entries.iter().find_map(|entry| read_differs(entry, revision, history)),
        Ask::Swap { key, expected, value } if done.succeeded => {
            let before = match history.last_change(key, revision - 1) {
                Some(Event::Put(entry)) => entry.mod_revision,
                Some(Event::Delete { .. }) | None => 0,
            };
            if before != *expected {
                let detail = format!("{key} was expected at revision {expected} and was at {before}");
                return Some(("swap-of-another-value", detail));
            }
            is_missing(key, *value, revision, history)
        }
        Ask::Row(value) if done.succeeded => is_missing(&format!("row/{value}"), *value, revision, history),
        _ => None,
    }
}

fn read_differs(entry: &KeyValue, revision: u64, history: &History) -> Option<(&'static str, String)> {
    match history.last_change(&entry.key, revision) {
        Some(Event::Put(last)) if *last == *entry => None,
        _ => {
            let detail = format!("{} was read at revision {revision} as it was not", entry.key);
            Some(("read-differs", detail))
        }
    }
}

fn is_missing(key: &str, value: u64, revision: u64, history: &History) -> Option<(&'static str, String)> {
    match history.last_change(key, revision) {
        Some(Event::Put(last)) if last.mod_revision == revision && *last.value == *value.to_string() => None,
        _ => Some(("acknowledged-write-missing", format!("{key} was not written at revision {revision}"))),
    }
}
