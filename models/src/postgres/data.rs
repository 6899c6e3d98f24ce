//! The data directory: what survives, shared by the server and the local Patroni, which reads and changes it with
//! `pg_controldata`, `pg_rewind`, `pg_basebackup` and configuration files.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sim_core::{Damage, ProcessId, Storage};

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

/// A member of the cluster, by its number. Its name is in the specification of the processes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MemberId(pub u8);

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

    /// The history after a promotion at this position: the next timeline number that this history does not know. Two
    /// servers that cannot see each other choose the same.
    #[must_use]
    pub fn branch(&self, at: Lsn) -> Self {
        let mut switches = self.switches.clone();
        switches.push((self.current, at));
        let current = Timeline(self.current.0 + 1);
        Self { switches, current }
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
    fn spans(&self, end: Lsn) -> impl Iterator<Item = (Timeline, Lsn)> {
        self.switches.iter().copied().chain([(self.current, end)])
    }
}

/// One record of the write-ahead log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WalEntry {
    /// The position after the record.
    pub end: Lsn,
    /// The timeline on which it was written.
    pub timeline: Timeline,
    /// What it says.
    pub kind: WalKind,
}

impl WalEntry {
    fn is_commit(&self) -> bool {
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

    fn mark_damaged(&mut self, end: Lsn) {
        if let Err(position) = self.damaged.binary_search(&end) {
            self.damaged.insert(position, end);
        }
    }

    /// How many records end at or before this position.
    pub fn count_until(&self, position: Lsn) -> usize {
        self.entries.partition_point(|entry| entry.end <= position)
    }

    /// True if a record starts or the log ends at this position.
    pub fn has_boundary_at(&self, position: Lsn) -> bool {
        let before = self.count_until(position);
        let end = before.checked_sub(1).map_or(Lsn(0), |last| self.entries[last].end);
        end == position
    }
}

/// `pg_control`'s `Database cluster state`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ClusterState {
    /// Stopped in order as a primary.
    #[default]
    ShutDown,
    /// Stopped in order as a standby.
    ShutDownInRecovery,
    /// A primary runs, or was killed while it ran.
    InProduction,
    /// A standby runs, or was killed while it ran.
    InArchiveRecovery,
    /// A primary replays its own log after a crash, or was killed while it did.
    InCrashRecovery,
}

/// `pg_control`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ControlFile {
    /// The state of the cluster.
    pub state: ClusterState,
    /// The end of the last completed checkpoint: recovery starts there.
    pub checkpoint: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
}

/// What `postgresql.conf` and friends say that changes while a cluster lives. Patroni writes it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Settings {
    /// `standby.signal` exists: start in recovery and stay there.
    pub standby: bool,
    /// `primary_conninfo` and `primary_slot_name`; absent: no walreceiver.
    pub upstream: Option<Upstream>,
    /// `synchronous_standby_names`.
    pub synchronous_standbys: SynchronousStandbys,
    /// Members for which a physical replication slot retains WAL.
    pub slots: Vec<MemberId>,
}

/// Where a standby streams from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    /// The server.
    pub server: ProcessId,
    /// The member that it is.
    pub member: MemberId,
}

/// `synchronous_standby_names`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct SynchronousStandbys {
    /// How many, and how they are chosen.
    pub method: SyncMethod,
    /// The names, in order of priority; for [`SyncMethod::Wildcard`] empty.
    pub members: Vec<MemberId>,
}

/// How synchronous standbys are chosen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SyncMethod {
    /// The list is empty: commits wait for no standby.
    #[default]
    Nobody,
    /// `FIRST k (...)`: the first k of the list that stream.
    First(u8),
    /// `ANY k (...)`: any k of the list.
    Any(u8),
    /// `*`: any one that streams, which Patroni 4.1.5 writes in strict mode without candidates.
    Wildcard,
}

/// The contents of the volume that a `PostgreSQL` server and its Patroni share.
#[derive(Clone, Debug, Default)]
pub struct DataDirectory {
    /// False on an empty disk: `initdb` or a base backup must fill it.
    pub initialized: bool,
    /// `pg_control`.
    pub control: ControlFile,
    /// `postgresql.conf`, `standby.signal`, slots.
    pub settings: Settings,
    /// The timelines up to the one that this server writes or follows.
    pub history: TimelineHistory,
    /// `pg_wal`, and with it the rows: every record is applied.
    pub wal: Wal,
    /// A base backup or a rewind is not on the disk in full, though it seemed to be: no server starts from this.
    pub incomplete: bool,
}

impl DataDirectory {
    /// What `initdb` leaves: stopped in order, one checkpoint, no rows.
    pub fn new_primary() -> Self {
        let checkpoint = WalEntry {
            end: Lsn(FIRST_POSITION.0 + CHECKPOINT_BYTES),
            timeline: Timeline::default(),
            kind: WalKind::Checkpoint { shutdown: true },
        };
        Self {
            initialized: true,
            control: ControlFile {
                state: ClusterState::ShutDown,
                checkpoint: checkpoint.end,
                timeline: checkpoint.timeline,
            },
            settings: Settings::default(),
            history: TimelineHistory::default(),
            wal: Wal { entries: vec![checkpoint], damaged: Vec::new() },
            incomplete: false,
        }
    }

    /// What `pg_basebackup` makes of this data directory: a standby that will stream from `upstream`.
    #[must_use]
    pub fn base_backup(&self, upstream: Option<Upstream>) -> Self {
        Self {
            control: ControlFile { state: ClusterState::InArchiveRecovery, ..self.control },
            settings: Settings { standby: true, upstream, ..Settings::default() },
            wal: Wal { entries: self.wal.entries.clone(), damaged: Vec::new() },
            ..self.clone()
        }
    }

    /// True if a recovery can begin: the record of the last checkpoint can be read.
    pub fn can_recover(&self) -> bool {
        !self.incomplete && self.wal.damaged.binary_search(&self.control.checkpoint).is_err()
    }

    /// What a recovery makes of a log that cannot be read to its end: it takes the first record with a wrong checksum for the
    /// end, and new records will take the place of those behind it. Nothing for a log that can be read.
    pub fn recovery_records(&self) -> Vec<DataRecord> {
        let end = self.wal.readable_until(self.control.checkpoint);
        if end == self.wal.end() {
            return Vec::new();
        }
        vec![DataRecord::RewindTo(end), DataRecord::History(Arc::new(self.history.until(end)))]
    }

    /// What `pg_rewind` changes to make this data directory, up to a fork point, part of a leader's history again: the
    /// WAL behind it goes, the histories are the leader's, and recovery starts from the last checkpoint before it.
    pub fn rewind_records(&self, fork_point: Lsn, leader: &TimelineHistory) -> [DataRecord; 3] {
        let kept = &self.wal.entries[..self.wal.count_until(fork_point)];
        let last = kept.iter().rfind(|entry| matches!(entry.kind, WalKind::Checkpoint { .. }));
        let control = ControlFile {
            state: ClusterState::InArchiveRecovery,
            checkpoint: last.map_or(Lsn(0), |entry| entry.end),
            timeline: last.map_or(Timeline::default(), |entry| entry.timeline),
        };
        [
            DataRecord::RewindTo(fork_point),
            DataRecord::History(Arc::new(leader.until(fork_point))),
            DataRecord::Control(control),
        ]
    }

    /// The values of the rows that a recovery from here would find.
    pub fn recoverable_rows(&self) -> impl Iterator<Item = u64> {
        let end = if self.can_recover() { self.wal.readable_until(self.control.checkpoint) } else { Lsn(0) };
        self.rows()
            .take(self.wal.entries[..self.wal.count_until(end)].iter().filter(|e| e.is_commit()).count())
    }

    /// The values of all rows whose commit is in the log, in the order in which they were committed: what recovery from
    /// here would make visible.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.wal.entries.iter().filter_map(|entry| match entry.kind {
            WalKind::Commit { value } => Some(value),
            WalKind::Checkpoint { .. } | WalKind::EndOfRecovery => None,
        })
    }

    /// The end of the log.
    pub fn last_position(&self) -> Lsn {
        self.wal.end()
    }
}

/// Where the WAL of a new cluster begins: the second segment of 16 MiB (`bootstrap_data` in `xlog.c` starts with segment
/// 1, because position 0 means "invalid").
const FIRST_POSITION: Lsn = Lsn(16 << 20);

/// WAL of a row inserted and committed on its own, in bytes. An assumption: a heap record of a narrow row (about 70 bytes),
/// a record of its primary key (64), a commit record (40), each aligned to 8 bytes, and some full-page images and page
/// headers. Only positions in bytes depend on it: lag limits and the time that redo takes.
pub const INSERT_BYTES: u64 = 200;

/// WAL of a checkpoint in bytes: a record header of 24, a data header of 2 and `CheckPoint` of 88, aligned to 8.
pub const CHECKPOINT_BYTES: u64 = 120;

/// WAL of the end of recovery in bytes: a record header of 24, a data header of 2 and `xl_end_of_recovery` of 16, aligned
/// to 8.
pub const END_OF_RECOVERY_BYTES: u64 = 48;

impl WalKind {
    /// How long its record is, in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Commit { .. } => INSERT_BYTES,
            Self::Checkpoint { .. } => CHECKPOINT_BYTES,
            Self::EndOfRecovery => END_OF_RECOVERY_BYTES,
        }
    }
}

/// A change of the data directory.
#[derive(Clone, Debug)]
pub enum DataRecord {
    /// WAL records, in order, behind those that are there.
    Append(Arc<[WalEntry]>),
    /// One WAL record.
    AppendOne(WalEntry),
    /// `pg_control`.
    Control(ControlFile),
    /// Configuration files.
    Settings(Arc<Settings>),
    /// A history file was written or fetched.
    History(Arc<TimelineHistory>),
    /// `pg_rewind`: forget all WAL behind this position, as if it had never been written.
    RewindTo(Lsn),
    /// `initdb` or `pg_basebackup`: the contents are replaced.
    Replace(Arc<DataDirectory>),
}

impl Storage for DataDirectory {
    type Record = DataRecord;

    fn apply(&mut self, record: &DataRecord) {
        match record {
            DataRecord::Append(entries) => self.wal.entries.extend_from_slice(entries),
            DataRecord::AppendOne(entry) => self.wal.entries.push(*entry),
            DataRecord::Control(control) => self.control = *control,
            DataRecord::Settings(settings) => self.settings = (**settings).clone(),
            DataRecord::History(history) => self.history = (**history).clone(),
            DataRecord::RewindTo(position) => {
                let keep = self.wal.entries.partition_point(|entry| entry.end <= *position);
                self.wal.entries.truncate(keep);
                self.wal.damaged.retain(|end| end <= position);
            }
            DataRecord::Replace(contents) => *self = (**contents).clone(),
        }
    }

    fn record_count(&self) -> u64 {
        self.wal.entries.len() as u64
    }

    fn damage(&mut self, damage: Damage<'_, DataRecord>) {
        if let Some(victim) = damage.victim().and_then(|position| self.wal.entries.get(position as usize)) {
            self.wal.mark_damaged(victim.end);
        }
        let entries = match damage.record() {
            Some(DataRecord::AppendOne(entry)) => std::slice::from_ref(entry),
            Some(DataRecord::Append(entries)) => entries,
            Some(DataRecord::RewindTo(_) | DataRecord::Replace(_)) => {
                // Many files: some of them are as before.
                self.incomplete = true;
                return;
            }
            // `pg_control` fits into a sector, the others are renamed into place: as before.
            Some(DataRecord::Control(_) | DataRecord::Settings(_) | DataRecord::History(_)) | None => return,
        };
        let whole = if matches!(damage, Damage::Torn(_)) { entries.len() / 2 } else { 0 };
        self.wal.entries.extend_from_slice(entries);
        for entry in &entries[whole..] {
            self.wal.mark_damaged(entry.end);
        }
    }

    fn needs_space(record: &DataRecord) -> bool {
        // `pg_control` is overwritten in place.
        !matches!(record, DataRecord::Control(_) | DataRecord::RewindTo(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history whose timelines ended at these positions; the current one is the next.
    fn history(ends: &[u64]) -> TimelineHistory {
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

    #[test]
    fn a_rewind_leaves_the_common_part_and_starts_from_its_last_checkpoint() {
        let mut data = DataDirectory::new_primary();
        let start = data.last_position();
        for value in 0..4 {
            let end = Lsn(data.last_position().0 + INSERT_BYTES);
            data.apply(&DataRecord::AppendOne(WalEntry {
                end,
                timeline: Timeline(1),
                kind: WalKind::Commit { value },
            }));
        }
        let fork = Lsn(start.0 + 2 * INSERT_BYTES);
        for record in data.rewind_records(fork, &history(&[fork.0, fork.0 + 500])) {
            data.apply(&record);
        }
        assert_eq!(data.rows().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(data.last_position(), fork);
        assert_eq!(data.history, history(&[]), "the leader's timeline 2 begins behind what is left");
        assert_eq!(data.control.checkpoint, start);
    }

    /// A log with the rows 0 to 3 behind its checkpoint.
    fn four_rows() -> DataDirectory {
        let mut data = DataDirectory::new_primary();
        for value in 0..4 {
            data.apply(&append(&data, &[value]));
        }
        data
    }

    fn append(data: &DataDirectory, values: &[u64]) -> DataRecord {
        let end = data.last_position().0;
        let entry = |(value, number): (&u64, u64)| WalEntry {
            end: Lsn(end + number * INSERT_BYTES),
            timeline: Timeline(1),
            kind: WalKind::Commit { value: *value },
        };
        DataRecord::Append(values.iter().zip(1..).map(entry).collect())
    }

    fn recover(data: &mut DataDirectory) -> Vec<u64> {
        let recoverable: Vec<u64> = data.recoverable_rows().collect();
        for record in data.recovery_records() {
            data.apply(&record);
        }
        assert_eq!(data.rows().collect::<Vec<_>>(), recoverable);
        recoverable
    }

    #[test]
    fn a_recovery_takes_a_bad_checksum_for_the_end_of_the_log() {
        let mut data = four_rows();
        data.damage(Damage::Rotten(3));
        assert_eq!(recover(&mut data), [0, 1], "the checkpoint is record 0");
        data.apply(&append(&data, &[9]));
        assert_eq!(recover(&mut data), [0, 1, 9], "new records take the place of the bad ones");
    }

    #[test]
    fn a_torn_write_keeps_its_first_records_and_a_lost_one_none() {
        let mut torn = four_rows();
        torn.damage(Damage::Torn(&append(&torn, &[4, 5])));
        assert_eq!(recover(&mut torn), [0, 1, 2, 3, 4]);
        let mut lost = four_rows();
        lost.damage(Damage::Lost(&append(&lost, &[4, 5])));
        lost.apply(&append(&lost, &[6]));
        assert_eq!(recover(&mut lost), [0, 1, 2, 3], "what lies behind the hole is not reached");
    }

    #[test]
    fn a_misdirected_write_is_missing_and_spoils_another() {
        let mut data = four_rows();
        data.damage(Damage::Misdirected { record: &append(&data, &[4]), over: Some(2) });
        assert_eq!(recover(&mut data), [0]);
    }

    #[test]
    fn damage_before_the_last_checkpoint_is_not_read_and_at_it_fatal() {
        let mut data = four_rows();
        data.control.checkpoint = data.wal.entries[2].end;
        data.damage(Damage::Rotten(1));
        assert!(data.can_recover());
        assert_eq!(recover(&mut data), [0, 1, 2, 3]);
        data.damage(Damage::Rotten(2));
        assert!(!data.can_recover());
        assert_eq!(data.recoverable_rows().count(), 0);
    }

    #[test]
    fn an_unfinished_backup_cannot_be_started_from() {
        let mut data = four_rows();
        let backup = DataRecord::Replace(Arc::new(four_rows()));
        data.damage(Damage::Lost(&backup));
        assert!(!data.can_recover());
        data.apply(&backup);
        assert!(data.can_recover());
    }
}
