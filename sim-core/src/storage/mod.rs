//! Volumes: what survives a crash of the process, what survives a crash of the host, and what a bad disk does to it.
//!
//! A process changes its volume by writing records. A record takes effect for readers at once (the page cache) and
//! becomes durable when a later sync completes. Killing a process loses nothing that was written; powering a host
//! off loses everything that was not synced.
//!
//! # When the disk misbehaves
//!
//! Disks fail in two ways (see [`Fault`](crate::Fault) for the faults themselves):
//!
//! - *They say so.* A write is refused or a sync fails, and the process is told by
//!   [`Process::on_storage_failed`](crate::Process::on_storage_failed). A refused write has left nothing behind. After a
//!   failed sync the records that it covered stay readable, because they are in the page cache, but they never reach
//!   the medium: Linux marks pages that it could not write as clean and reports the error once, so that a later sync
//!   succeeds without them (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
//! - *They do not.* A record is torn, rots, lands in another's place, or was never written although its sync was
//!   acknowledged (Bairavasundaram et al., "An Analysis of Data Corruption in the Storage Stack", FAST 2008). Nobody
//!   is told. The kernel tells the contents instead, by [`Storage::damage`]: what became of a record is a question of the
//!   format, so the storage type of a model answers it, and its processes find out when they read the volume at boot,
//!   as the real software does.
//!
//! Simplified: damage hits whole records and not sectors; a reader that runs does not notice damage before it boots
//! again; writes to the page cache take no time and report nothing but a lack of space.

mod disk;
mod volume;

use std::fmt::{self, Debug};

use crate::id::SyncId;

pub(crate) use disk::DiskTrouble;
pub(crate) use volume::{PendingSync, Volume};

/// The contents of a volume. `Default` is an empty volume, as on a new or wiped disk.
pub trait Storage: Clone + Debug + Default {
    /// One change, the unit that is written, synced and lost.
    type Record: Clone + Debug;

    /// Carries out one change. Must depend on nothing but its arguments: it runs once for the page cache and once
    /// more when the record becomes durable.
    fn apply(&mut self, record: &Self::Record);

    /// What is left of it when the volume is wiped: an empty volume of the same kind.
    #[must_use]
    fn wiped(&self) -> Self {
        Self::default()
    }

    /// How many records lie in the contents, each at a place of its own: what can rot and what a misdirected write can
    /// overwrite. They count from 0, oldest first. Contents without such records (the default) cannot rot.
    fn record_count(&self) -> u64 {
        0
    }

    /// Damages the contents. The default is what happens to a format that replaces itself as a whole (a new file renamed
    /// over the old one): a record that was not written in full, or not where it belongs, was never written.
    fn damage(&mut self, damage: Damage<'_, Self::Record>) {
        let _ = damage;
    }

    /// True if the record needs free space on the disk; false if it overwrites or frees what is there. Only the former
    /// are refused when the disk is full.
    fn needs_space(record: &Self::Record) -> bool {
        let _ = record;
        true
    }
}

/// Storage for processes that keep nothing.
impl Storage for () {
    type Record = ();
    fn apply(&mut self, (): &()) {}
}

/// What can happen to the contents of a volume behind the back of those who use it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Damage<'a, Record> {
    /// The power failed while this record was being written behind all others: its beginning is there, its end is not,
    /// and its checksum does not fit.
    Torn(&'a Record),
    /// This record was never written, and no reader of the medium will find it, but others will be written behind it.
    /// Its place holds what was there before.
    Lost(&'a Record),
    /// The record at this position rotted: its checksum does not fit any more.
    Rotten(u64),
    /// This record was written to the place of another: its own place holds what was there before, and the other's place
    /// holds this record, with a valid checksum.
    Misdirected {
        /// The record that went astray.
        record: &'a Record,
        /// The position of the record that it overwrote; none if nothing was there.
        over: Option<u64>,
    },
}

impl<'a, Record> Damage<'a, Record> {
    /// The same damage to a part of the contents, for storage that is made of the storage of others.
    pub fn map<Part>(self, part: impl FnOnce(&'a Record) -> &'a Part) -> Damage<'a, Part> {
        match self {
            Self::Torn(record) => Damage::Torn(part(record)),
            Self::Lost(record) => Damage::Lost(part(record)),
            Self::Rotten(position) => Damage::Rotten(position),
            Self::Misdirected { record, over } => Damage::Misdirected { record: part(record), over },
        }
    }

    /// The record that did not get to its place; none if one rotted that was there.
    pub fn record(&self) -> Option<&'a Record> {
        match self {
            Self::Torn(record) | Self::Lost(record) | Self::Misdirected { record, .. } => Some(record),
            Self::Rotten(_) => None,
        }
    }

    /// The position of the record that was hit where it lay.
    pub fn victim(&self) -> Option<u64> {
        match self {
            Self::Rotten(position) => Some(*position),
            Self::Misdirected { over, .. } => *over,
            Self::Torn(_) | Self::Lost(_) => None,
        }
    }
}

/// Why a disk did not do what it was asked to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DiskError {
    /// EIO: the device failed.
    InputOutput,
    /// ENOSPC: no space is left.
    NoSpace,
}

impl fmt::Display for DiskError {
    /// As `strerror` says it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InputOutput => "input/output error",
            Self::NoSpace => "no space left on device",
        })
    }
}

/// What a process is told when its disk fails.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StorageFailure {
    /// A write was refused: the record is not there, not even for readers. Told once for each record.
    Write(DiskError),
    /// This sync failed: what it covered is readable, but not durable, and no later sync makes it so.
    Sync(SyncId, DiskError),
}

impl StorageFailure {
    /// Why.
    pub const fn error(self) -> DiskError {
        match self {
            Self::Write(error) | Self::Sync(_, error) => error,
        }
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => write!(formatter, "could not write: {error}"),
            Self::Sync(_, error) => write!(formatter, "could not fsync: {error}"),
        }
    }
}
