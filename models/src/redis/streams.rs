//! Invariants I5 and I6 of the fidelity specification: servers at one offset of one stream hold the same data.

use sim_core::ProcessId;

use super::history::ReplicationId;
use super::server::Server;

/// The name of the condition.
pub const STREAM_DIVERGED: &str = "stream-diverged";

/// Where each server was last seen.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    first: usize,
    seen: Vec<Option<Seen>>,
}

/// A server after one of its handlers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    /// Where it is in its stream.
    at: (ReplicationId, u64),
    /// Where it is in the one that it gives its replicas, where that is another one.
    relayed: Option<(ReplicationId, u64)>,
    /// The digest of its data.
    digest: u64,
}

impl Seen {
    fn places(self) -> impl Iterator<Item = (ReplicationId, u64)> {
        std::iter::once(self.at).chain(self.relayed)
    }

    /// A place in a stream at which both were.
    fn meets(self, other: Self) -> Option<(ReplicationId, u64)> {
        self.places()
            .find(|one| other.places().any(|other| one.0.is_same_stream(other.0) && one.1 == other.1))
    }
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
        let history = server.history();
        let (at, digest) = ((history.id, history.offset), server.log().digest());
        let now = Seen { at, relayed: server.relayed(), digest };
        if self.seen[index] == Some(now) {
            return None;
        }
        self.seen[index] = Some(now);
        let mut differing = self.seen.iter().flatten().filter(|seen| seen.digest != digest);
        let (stream, offset) = differing.find_map(|seen| now.meets(*seen))?;
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
