//! The identity of a data set: which stream of changes it is a prefix of, and how long that prefix is.

use std::fmt;

use sim_core::Stream;

use super::packet::RunId;

/// The name of a stream of changes (`master_replid`).
///
/// The real one is 40 random hexadecimal digits. The generation is no part of it: it counts the promotions that led to
/// this stream, so that records and judges can tell which of two primaries is the older one. No rule of Redis sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReplicationId {
    /// How many promotions led here; 1 for a stream that began from nothing.
    pub generation: u32,
    random: u32,
}

impl ReplicationId {
    /// A stream that begins from nothing.
    pub fn first(random: &mut Stream) -> Self {
        Self { generation: 1, random: random.bits() as u32 }
    }

    /// A stream that goes on from this one.
    #[must_use]
    pub fn successor(self, random: &mut Stream) -> Self {
        Self { generation: self.generation + 1, random: random.bits() as u32 }
    }

    /// Another name for a stream that nobody else follows.
    #[must_use]
    pub fn renamed(self, random: &mut Stream) -> Self {
        Self { random: random.bits() as u32, ..self }
    }

    /// The name of what a process gives its replicas in releases in which that is the run id of the process.
    #[must_use]
    pub(super) fn of_process(self, run_id: RunId) -> Self {
        Self { random: run_id.0, ..self }
    }

    /// The same stream after a promotion that has not changed its name.
    #[must_use]
    pub(super) fn promoted(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    /// True if both have one name: that is all that a server compares.
    pub(super) fn is_same_stream(self, other: Self) -> bool {
        self.random == other.random
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.random)
    }
}

/// Where a server is in which stream (`master_replid`, `master_repl_offset`, `master_replid2`, `second_repl_offset`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct History {
    /// The stream.
    pub id: ReplicationId,
    /// Bytes of it that were applied.
    pub offset: u64,
    /// The stream before the last promotion, and the first byte that is not shared with it any more.
    pub previous: Option<(ReplicationId, u64)>,
}

impl History {
    /// A history that begins from nothing.
    pub fn new(id: ReplicationId) -> Self {
        Self { id, offset: 0, previous: None }
    }

    /// Begins a stream of its own from here (`shiftReplicationId`): who followed the old one up to here can go on.
    pub fn shift(&mut self, id: ReplicationId) {
        self.previous = Some((self.id, self.offset + 1));
        self.id = id;
    }

    /// True if a replica that has applied this stream up to `offset` has nothing that is missing here
    /// (`masterTryPartialResynchronization`). Whether the backlog reaches back far enough is another question.
    pub fn contains(&self, id: ReplicationId, offset: u64) -> bool {
        let asked = offset + 1;
        if offset > self.offset {
            return false;
        }
        id == self.id || self.previous.is_some_and(|(previous, end)| id == previous && asked <= end)
    }
}

#[cfg(test)]
mod tests {
    use sim_core::Seed;

    use super::*;

    #[test]
    fn a_promoted_server_knows_its_old_stream_up_to_the_promotion_only() {
        let mut random = Seed(1).stream("test", 0);
        let first = ReplicationId::first(&mut random);
        let mut history = History::new(first);
        history.offset = 100;
        let second = first.successor(&mut random);
        history.shift(second);
        history.offset = 150;
        for (id, offset, expected) in [
            (first, 100, true),
            (first, 60, true),
            (first, 101, false),
            (second, 150, true),
            (second, 151, false),
            (second.successor(&mut random), 10, false),
        ] {
            assert_eq!(history.contains(id, offset), expected, "{id} {offset}");
        }
        assert_eq!(second.generation, 2);
        history.offset = 90;
        assert!(!history.contains(first, 100), "nobody goes on from what is not here any more");
    }
}
