//! Which rows a session sees, and why that order is not the same on a primary and on its standbys.
//!
//! On a primary a row becomes visible when its backend leaves the list of running transactions (`ProcArrayEndTransaction`), and
//! that is after its wait for standbys (`CommitTransaction` in `xact.c` calls it behind `RecordTransactionCommit`). Whoever
//! waits less, because its session says `synchronous_commit = local` or because its wait was cancelled, overtakes those before
//! it in the log. A standby shows rows in the order of the log. So two sessions, one here and one there, may see one of two
//! concurrent writes each, and not the other: a *long fork*, which snapshot isolation excludes (fidelity specification, 4.1 and Z34).
//!
//! # Simplified
//!
//! Backends that are released together become visible in the order of their queue, in one instant. In `PostgreSQL` the
//! scheduler of the operating system decides, so that commits of one level overtake each other as well, by fractions of
//! milliseconds: long forks are possible there where this model shows none. A scenario without any is a statement about the
//! primary alone, never about replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::session_of;

use super::server::{Phase, Server};
use super::{DataDirectory, Lsn, WalEntry, WalKind};

/// The newest visible row of each session, for as much of the log as is visible without gaps. Moved on by reads alone: who
/// only writes does not pay for it.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenLog {
    until: Lsn,
    newest: BTreeMap<u64, u64>,
}

fn add(newest: &mut BTreeMap<u64, u64>, entry: &WalEntry) {
    if let WalKind::Commit { value } = entry.kind {
        let last = newest.entry(session_of(value)).or_default();
        *last = value.max(*last);
    }
}

impl Server {
    /// `SELECT session, max(value) FROM rows GROUP BY session`.
    pub(super) fn newest(&mut self, data: &DataDirectory) -> Arc<[u64]> {
        let is_primary = self.phase == Phase::Primary;
        // Everything before this position is visible.
        let whole_until = match self.commits.first_hidden() {
            _ if !is_primary => Lsn(self.receiving.replayed.0 + 1),
            Some(hidden) => hidden,
            None => Lsn(u64::MAX),
        };
        let log = &data.wal.entries[data.wal.count_until(self.seen.until)..];
        let whole = log.partition_point(|entry| entry.end < whole_until);
        for entry in &log[..whole] {
            add(&mut self.seen.newest, entry);
            self.seen.until = entry.end;
        }
        let mut newest = self.seen.newest.clone();
        if is_primary {
            // Behind it, those that wait for nobody any more.
            let rest = log[whole..].iter().chain(self.commits.buffered());
            for entry in rest.filter(|entry| !self.commits.hides(entry.end)) {
                add(&mut newest, entry);
            }
        }
        newest.into_values().collect()
    }
}
