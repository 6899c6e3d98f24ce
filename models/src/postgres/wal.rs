//! The write-ahead log: positions, timelines and how they branch, records.

use std::fmt;
use std::hash::{Hash, Hasher};

use sim_core::WallTime;

/// A position in the write-ahead log, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    /// As `PostgreSQL` prints it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A timeline number. Each promotion starts a new one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timeline(pub u32);

impl Default for Timeline {
    fn default() -> Self {
        Self(1)
    }
}

/// Where each timeline ended and the next began, oldest first; the current timeline is not in the list.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TimelineHistory {
    /// (timeline, where it ended).
    pub switches: Vec<(Timeline, Lsn)>,
    /// The timeline that this history leads to.
    pub current: Timeline,
}

impl TimelineHistory {
    /// Where `timeline` ended and the next began; absent for the current timeline and for one that is not part of it.
    pub fn switch_point(&self, timeline: Timeline) -> Option<Lsn> {
        let switch = self.switches.iter().find(|(ended, _)| *ended == timeline);
        switch.map(|(_, at)| *at)
    }

    /// True if this history leads through `timeline`.
    pub fn contains(&self, timeline: Timeline) -> bool {
        timeline == self.current || self.switch_point(timeline).is_some()
    }

    /// The timeline to which a record that begins here belongs (`tliOfPointInHistory`).
    pub fn timeline_at(&self, position: Lsn) -> Timeline {
        let ended = self.switches.iter().find(|(_, end)| position < *end);
        ended.map_or(self.current, |(timeline, _)| *timeline)
    }

    /// The history after a promotion at this position: the next timeline number that this history does not know. Two
    /// servers that cannot see each other choose the same.
    #[must_use]
    pub fn branch(&self, at: Lsn) -> Self {
        let mut switches = self.switches.clone();
        switches.push((self.current, at));
        let current = Timeline(self.current.0 + 1);
        Self { switches, current }
    }

    /// The same with the number that follows this one, the highest that an archive knows.
    #[must_use]
    pub fn branch_behind(&self, highest: Timeline, at: Lsn) -> Self {
        let current = Timeline(self.current.0.max(highest.0) + 1);
        Self { current, ..self.branch(at) }
    }

    /// Where a server with this history, whose WAL ends at `own_end`, left the history of a leader: the position to which
    /// it must be rewound. Absent if all of its WAL is part of the leader's history, so that it can just stream.
    ///
    /// As `pg_rewind` finds the common ancestor: the last timeline that has the same number and the same beginning in
    /// both, up to where the first of the two left it. A walsender and Patroni compare less: for them, equal timeline
    /// numbers mean the same timeline ("same timeline number on two histories", fidelity specification, Z5).
    pub fn fork_point(&self, own_end: Lsn, leader: &Self) -> Option<Lsn> {
        let mut common = Lsn(0);
        for ((own, own_until), (other, other_until)) in self.spans(own_end).zip(leader.spans(Lsn(u64::MAX))) {
            if own != other {
                break;
            }
            common = own_until.min(other_until);
            if own_until != other_until {
                break;
            }
        }
        (common < own_end).then_some(common)
    }

    /// This history as it was when its WAL ended at `position`: later timelines had not begun.
    #[must_use]
    pub fn until(&self, position: Lsn) -> Self {
        let later = self.switches.iter().position(|(_, ended)| *ended >= position);
        match later {
            None => self.clone(),
            Some(index) => {
                Self { switches: self.switches[..index].to_vec(), current: self.switches[index].0 }
            }
        }
    }

    /// The timelines and where each ended, the current one at `end`.
    pub(super) fn spans(&self, end: Lsn) -> impl Iterator<Item = (Timeline, Lsn)> {
        self.switches.iter().copied().chain([(self.current, end)])
    }
}

/// One record of the write-ahead log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WalEntry {
    /// The position after the record.
    pub end: Lsn,
    /// The timeline on which it was written.
    pub timeline: Timeline,
    /// What it says.
    pub kind: WalKind,
    /// When it was written, by the wall clock of the server that wrote it (`xact_time` of a commit record). Asked for by
    /// `recovery_target_time` alone.
    pub at: WallTime,
}

/// The time is left out: it follows from the rest, and the digest of a run without an archive does not depend on it.
impl Hash for WalEntry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.end, self.timeline, self.kind).hash(state);
    }
}

impl WalEntry {
    pub(super) fn is_commit(&self) -> bool {
        matches!(self.kind, WalKind::Commit { .. })
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WalKind {
    /// A row with this value was inserted and committed.
    Commit {
        /// The value.
        value: u64,
    },
    /// A checkpoint completed; `shutdown` when the server stopped in order.
    Checkpoint {
        /// The last record that an orderly shutdown writes.
        shutdown: bool,
    },
    /// The first record of a new timeline after a promotion.
    EndOfRecovery,
    /// The rest of the segment is left empty (`pg_switch_wal`, `archive_timeout`).
    Switch,
    /// `DROP TABLE`: all rows so far are gone.
    DropTable,
}

/// The write-ahead log.
#[derive(Clone, Debug, Default)]
pub struct Wal {
    /// All records, in order of position.
    pub entries: Vec<WalEntry>,
    /// The ends of those whose place holds something else by now, in order: a reader stops before them.
    pub damaged: Vec<Lsn>,
}

impl Wal {
    /// The end of the last record.
    pub fn end(&self) -> Lsn {
        self.entries.last().map_or(Lsn(0), |entry| entry.end)
    }

    /// Where a reader that begins at `from` stops: before the first record whose checksum is wrong, or at the end.
    pub fn readable_until(&self, from: Lsn) -> Lsn {
        let Some(damaged) = self.damaged.iter().find(|end| **end > from) else {
            return self.end();
        };
        match self.count_until(*damaged).checked_sub(2) {
            Some(before) => self.entries[before].end,
            None => Lsn(0),
        }
    }

    pub(super) fn mark_damaged(&mut self, end: Lsn) {
        if let Err(position) = self.damaged.binary_search(&end) {
            self.damaged.insert(position, end);
        }
    }

    /// How many records end at or before this position.
    pub fn count_until(&self, position: Lsn) -> usize {
        self.entries.partition_point(|entry| entry.end <= position)
    }

    /// The records that end in this segment.
    pub fn segment(&self, number: u64) -> &[WalEntry] {
        let until = |end: u64| self.count_until(Lsn(end));
        &self.entries[until(number * SEGMENT_BYTES)..until((number + 1) * SEGMENT_BYTES)]
    }

    /// True if a record starts or the log ends at this position.
    pub fn has_boundary_at(&self, position: Lsn) -> bool {
        let before = self.count_until(position);
        let end = before.checked_sub(1).map_or(Lsn(0), |last| self.entries[last].end);
        end == position
    }
}

/// `wal_segment_size`, in bytes.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// The segment where the WAL of a new cluster begins: the second (`bootstrap_data` in `xlog.c`, because position 0 means
/// "invalid").
pub(super) const FIRST_SEGMENT: u64 = 1;

/// Where the WAL of a new cluster begins.
pub(super) const FIRST_POSITION: Lsn = Lsn(FIRST_SEGMENT * SEGMENT_BYTES);

impl Lsn {
    /// The segment in which a record that begins here lies.
    pub const fn segment(self) -> u64 {
        self.0 / SEGMENT_BYTES
    }
}

/// WAL of a row inserted and committed on its own, in bytes. An assumption: a heap record of a narrow row (about 70 bytes),
/// a record of its primary key (64), a commit record (40), each aligned to 8 bytes, and some full-page images and page
/// headers. Only positions in bytes depend on it: lag limits and the time that redo takes.
pub const INSERT_BYTES: u64 = 200;

/// WAL of a checkpoint in bytes: a record header of 24, a data header of 2 and `CheckPoint` of 88, aligned to 8.
pub const CHECKPOINT_BYTES: u64 = 120;

/// WAL of the end of recovery in bytes: a record header of 24, a data header of 2 and `xl_end_of_recovery` of 16, aligned
/// to 8.
pub const END_OF_RECOVERY_BYTES: u64 = 48;

/// The header of the first page of a segment in bytes (`SizeOfXLogLongPHD`): no record begins before it. Other headers of pages
/// are part of [`INSERT_BYTES`].
pub(super) const LONG_PAGE_HEADER_BYTES: u64 = 40;

impl WalKind {
    /// Where its record ends, if it begins there and a row takes so many bytes.
    pub const fn end_after(self, start: Lsn, insert_bytes: u64) -> Lsn {
        match self {
            Self::Commit { .. } => Lsn(start.0 + insert_bytes),
            Self::DropTable => Lsn(start.0 + INSERT_BYTES),
            Self::Checkpoint { .. } => Lsn(start.0 + CHECKPOINT_BYTES),
            Self::EndOfRecovery => Lsn(start.0 + END_OF_RECOVERY_BYTES),
            Self::Switch => Lsn((start.segment() + 1) * SEGMENT_BYTES),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::DataDirectory;
    use super::*;

    /// A history whose timelines ended at these positions; the current one is the next.
    pub(in super::super) fn history(ends: &[u64]) -> TimelineHistory {
        ends.iter().fold(TimelineHistory::default(), |history, end| history.branch(Lsn(*end)))
    }

    #[track_caller]
    fn check_fork(own: &[u64], own_end: u64, leader: &[u64], expected: Option<u64>) {
        let fork = history(own).fork_point(Lsn(own_end), &history(leader));
        assert_eq!(fork, expected.map(Lsn));
    }

    #[test]
    fn who_has_nothing_of_his_own_needs_no_rewind() {
        check_fork(&[], 100, &[], None);
        check_fork(&[], 100, &[100], None);
        check_fork(&[], 90, &[100, 200], None);
        check_fork(&[100], 150, &[100, 200], None);
    }

    #[test]
    fn what_was_written_behind_the_fork_must_go() {
        check_fork(&[], 101, &[100], Some(100));
        check_fork(&[100], 250, &[100, 200], Some(200));
        check_fork(&[100, 300], 400, &[100, 200], Some(200));
        // The own promotion came before the leader's, or after it, on the same timeline.
        check_fork(&[100], 150, &[120], Some(100));
        check_fork(&[120], 150, &[100], Some(100));
        // The own timelines are not known to a leader that stayed behind.
        check_fork(&[100, 110], 150, &[], Some(100));
    }

    #[test]
    fn a_history_is_known_up_to_a_position() {
        let whole = history(&[100, 200]);
        assert_eq!(whole.until(Lsn(100)), history(&[]));
        assert_eq!(whole.until(Lsn(101)), history(&[100]));
        assert_eq!(whole.until(Lsn(201)), whole);
        assert_eq!(whole.switch_point(Timeline(2)), Some(Lsn(200)));
        assert_eq!(whole.switch_point(Timeline(3)), None);
        assert!(whole.contains(Timeline(3)) && !whole.contains(Timeline(4)));
    }

    #[test]
    fn positions_look_like_those_of_postgresql() {
        assert_eq!(Lsn(0x1_0000_00A0).to_string(), "1/A0");
        assert_eq!(DataDirectory::new_primary().last_position().to_string(), "0/1000078");
    }
}
