//! The data directory: what survives, shared by the server and the local Patroni, which reads and changes it with
//! `pg_controldata`, `pg_rewind`, `pg_basebackup` and configuration files.

use std::sync::Arc;

use serde::Serialize;
use sim_core::{Damage, ProcessId, Storage, WallTime};

use super::slots::Slot;
use super::wal::{
    CHECKPOINT_BYTES, FIRST_POSITION, FIRST_SEGMENT, LONG_PAGE_HEADER_BYTES, Lsn, SEGMENT_BYTES, Timeline,
    TimelineHistory, Wal, WalEntry, WalKind,
};

/// A member of the cluster, by its number. Its name is in the specification of the processes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MemberId(pub u8);

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
    /// The minimum recovery point, and its timeline: a recovery has to replay that far before the data is consistent. None
    /// for a primary: it recovers to the end of its WAL.
    pub minimum: Option<(Lsn, Timeline)>,
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
    /// Members for which there is a physical replication slot.
    pub slots: Vec<MemberId>,
    /// `recovery.signal` exists: recover from the archive up to there, then open for writes
    /// (`recovery_target_action = promote`).
    pub recovery: Option<RecoveryTarget>,
}

/// How far a recovery from the archive goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RecoveryTarget {
    /// To the end of the archive, on the latest timeline.
    Latest,
    /// `recovery_target_time`: up to the last commit that is not later.
    Time(WallTime),
    /// `recovery_target = 'immediate'`: nothing behind the base backup.
    Immediate,
}

/// Where a standby streams from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    /// The server.
    pub server: ProcessId,
    /// The member that it is.
    pub member: MemberId,
    /// Whether `primary_slot_name` names the slot of this standby.
    pub slot: bool,
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
    /// `pg_wal/archive_status`: the next segment that `archive_command` has to copy.
    pub archive_next: u64,
    /// `pg_wal`: the first segment that was not removed.
    pub first_segment: u64,
    /// `pg_replslot`: the slots that hold back WAL before the last checkpoint, as saved with it. All others are at it.
    pub slots: Vec<Slot>,
}

impl DataDirectory {
    /// What `initdb` leaves: stopped in order, one checkpoint, no rows.
    pub fn new_primary() -> Self {
        let checkpoint = WalEntry {
            end: Lsn(FIRST_POSITION.0 + CHECKPOINT_BYTES),
            timeline: Timeline::default(),
            kind: WalKind::Checkpoint { shutdown: true },
            at: WallTime::ZERO,
        };
        Self {
            initialized: true,
            control: ControlFile {
                state: ClusterState::ShutDown,
                checkpoint: checkpoint.end,
                timeline: checkpoint.timeline,
                minimum: None,
            },
            settings: Settings::default(),
            history: TimelineHistory::default(),
            wal: Wal { entries: vec![checkpoint], damaged: Vec::new() },
            incomplete: false,
            archive_next: FIRST_SEGMENT,
            first_segment: FIRST_SEGMENT,
            slots: Vec::new(),
        }
    }

    /// What `pg_basebackup` makes of this data directory: a standby that will stream from `upstream`.
    #[must_use]
    pub fn base_backup(&self, upstream: Option<Upstream>) -> Self {
        let minimum = Some((self.control.checkpoint, self.control.timeline));
        Self {
            control: ControlFile { state: ClusterState::InArchiveRecovery, minimum, ..self.control },
            settings: Settings { standby: true, upstream, ..Settings::default() },
            wal: Wal { entries: self.wal.entries.clone(), damaged: Vec::new() },
            slots: Vec::new(),
            ..self.clone()
        }
    }

    /// Where the record of the last checkpoint begins: behind the record before it, and in a new segment behind the header of its
    /// first page. So a shutdown checkpoint that follows a switch of segments begins behind every fork at the switch.
    pub fn checkpoint_start(&self) -> Lsn {
        let Some(before) = self.wal.count_until(self.control.checkpoint).checked_sub(2) else {
            return self.control.checkpoint.min(FIRST_POSITION);
        };
        let before = self.wal.entries[before].end;
        if before.0.is_multiple_of(SEGMENT_BYTES) { Lsn(before.0 + LONG_PAGE_HEADER_BYTES) } else { before }
    }

    /// Why a recovery cannot end on the timeline of this history (`InitWalRecovery`): the last checkpoint or the minimum recovery
    /// point is not part of it.
    pub fn unreachable(&self, target: &TimelineHistory) -> Option<String> {
        let number = target.current.0;
        if target.timeline_at(self.checkpoint_start()) != self.control.timeline {
            return Some(format!("requested timeline {number} is not a child of this server's history"));
        }
        let (minimum, timeline) = self.control.minimum?;
        let contained = target.timeline_at(Lsn(minimum.0.saturating_sub(1))) == timeline;
        (!contained).then(|| {
            format!(
                "requested timeline {number} does not contain minimum recovery point {minimum} on timeline {}",
                timeline.0
            )
        })
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
    pub fn rewind_records(&self, fork_point: Lsn, leader: &TimelineHistory) -> Vec<DataRecord> {
        let kept = &self.wal.entries[..self.wal.count_until(fork_point)];
        let last = kept.iter().rfind(|entry| matches!(entry.kind, WalKind::Checkpoint { .. }));
        let history = leader.until(fork_point);
        let control = ControlFile {
            state: ClusterState::InArchiveRecovery,
            checkpoint: last.map_or(Lsn(0), |entry| entry.end),
            timeline: last.map_or(Timeline::default(), |entry| entry.timeline),
            minimum: Some((fork_point, history.current)),
        };
        let mut records = vec![
            DataRecord::RewindTo(fork_point),
            DataRecord::History(Arc::new(history)),
            DataRecord::Control(control),
        ];
        if !self.slots.is_empty() {
            records.push(DataRecord::Slots(Arc::new([])));
        }
        records
    }

    /// The values of the rows that a recovery from here would find.
    pub fn recoverable_rows(&self) -> impl Iterator<Item = u64> {
        let end = if self.can_recover() { self.wal.readable_until(self.control.checkpoint) } else { Lsn(0) };
        rows_of(&self.wal.entries[..self.wal.count_until(end)])
    }

    /// The values of all rows whose commit is in the log and that were not dropped, in the order in which they were
    /// committed: what recovery from here would make visible.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        rows_of(&self.wal.entries)
    }

    /// True if the table was dropped.
    pub fn is_dropped(&self) -> bool {
        self.wal.entries.iter().any(|entry| entry.kind == WalKind::DropTable)
    }

    /// The end of the log.
    pub fn last_position(&self) -> Lsn {
        self.wal.end()
    }
}

/// The rows that this log leaves.
fn rows_of(entries: &[WalEntry]) -> impl Iterator<Item = u64> {
    let dropped = entries.iter().rposition(|entry| entry.kind == WalKind::DropTable);
    entries[dropped.map_or(0, |position| position + 1)..].iter().filter_map(|entry| match entry.kind {
        WalKind::Commit { value } => Some(value),
        _ => None,
    })
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
    /// `pg_wal/archive_status`: every segment before this one is archived.
    ArchiveNext(u64),
    /// `pg_wal`: every segment before this one is removed.
    Recycled(u64),
    /// `pg_replslot`: the slots that hold back WAL before the last checkpoint.
    Slots(Arc<[Slot]>),
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
            DataRecord::ArchiveNext(segment) => self.archive_next = *segment,
            DataRecord::Recycled(segment) => self.first_segment = *segment,
            DataRecord::Slots(slots) => self.slots = slots.to_vec(),
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
            Some(
                DataRecord::Control(_)
                | DataRecord::Settings(_)
                | DataRecord::History(_)
                | DataRecord::ArchiveNext(_)
                | DataRecord::Recycled(_)
                | DataRecord::Slots(_),
            )
            | None => return,
        };
        let whole = if matches!(damage, Damage::Torn(_)) { entries.len() / 2 } else { 0 };
        self.wal.entries.extend_from_slice(entries);
        for entry in &entries[whole..] {
            self.wal.mark_damaged(entry.end);
        }
    }

    fn needs_space(record: &DataRecord) -> bool {
        // `pg_control` is overwritten in place, and the state of a slot takes a block that is always there.
        !matches!(
            record,
            DataRecord::Control(_)
                | DataRecord::RewindTo(_)
                | DataRecord::ArchiveNext(_)
                | DataRecord::Recycled(_)
                | DataRecord::Slots(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::INSERT_BYTES;
    use super::super::wal::tests::history;
    use super::*;

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
                at: WallTime::ZERO,
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
            at: WallTime::ZERO,
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

    /// A fork at a switch of segments, behind which there is a shutdown checkpoint.
    #[test]
    fn a_target_must_contain_the_last_checkpoint_and_the_minimum_recovery_point() {
        let mut data = four_rows();
        let end = data.last_position();
        let branch = |at: Lsn| TimelineHistory::default().branch(at);
        assert_eq!(
            data.unreachable(&branch(end)),
            None,
            "a primary that crashed recovers to the end of its log"
        );
        data.control.minimum = Some((end, Timeline(1)));
        assert_eq!(data.unreachable(&branch(end)), None);
        let reason = data.unreachable(&branch(Lsn(end.0 - INSERT_BYTES))).expect("the fork lies before it");
        assert!(reason.contains("does not contain minimum recovery point"), "{reason}");
        let mut append = |kind: WalKind| {
            let end = kind.end_after(data.last_position(), 0);
            let (timeline, at) = (Timeline(1), WallTime::ZERO);
            data.apply(&DataRecord::AppendOne(WalEntry { end, timeline, kind, at }));
            end
        };
        let switch = append(WalKind::Switch);
        let checkpoint = append(WalKind::Checkpoint { shutdown: true });
        data.control = ControlFile { checkpoint, minimum: None, ..data.control };
        let reason = data.unreachable(&branch(switch)).expect("the checkpoint lies behind the fork");
        assert!(reason.contains("is not a child"), "{reason}");
        assert_eq!(data.unreachable(&branch(checkpoint)), None);
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
