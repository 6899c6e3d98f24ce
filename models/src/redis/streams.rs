//! Invariants I5 and I6 of the fidelity specification: servers at one offset of one stream hold the same data.

use sim_core::ProcessId;

use super::history::ReplicationId;
use super::server::Server;

/// The name of the condition.
pub(crate) const STREAM_DIVERGED: &str = "stream-diverged";

/// Where each server was last seen: its stream, its offset, the digest of its data.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    first: usize,
    seen: Vec<Option<(ReplicationId, u64, u64)>>,
}

impl Streams {
    /// For servers with consecutive numbers.
    pub(crate) fn of(servers: &[ProcessId]) -> Self {
        Self { first: servers.first().map_or(0, |first| first.index()), seen: vec![None; servers.len()] }
    }

    /// Looks at a server after one of its handlers. Says what is wrong.
    pub(crate) fn look(&mut self, process: ProcessId, server: &Server) -> Option<String> {
        let index = process.index() - self.first;
        // Without a backlog the offset stands still while writes go on; nobody shares the stream then.
        if server.is_loading() || !server.log().has_backlog() {
            self.seen[index] = None;
            return None;
        }
        let (history, digest) = (server.history(), server.log().digest());
        let now = (history.id, history.offset, digest);
        if self.seen[index] == Some(now) {
            return None;
        }
        self.seen[index] = Some(now);
        let differs =
            |seen: &&(ReplicationId, u64, u64)| (seen.0, seen.1) == (now.0, now.1) && seen.2 != now.2;
        self.seen.iter().flatten().find(differs)?;
        let (stream, offset) = (history.id, history.offset);
        Some(format!("process {} at offset {offset} of stream {stream}", process.index()))
    }

    /// Forgets a server that ended.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        let index = process.index().checked_sub(self.first);
        if let Some(seen) = index.and_then(|index| self.seen.get_mut(index)) {
            *seen = None;
        }
    }
}
