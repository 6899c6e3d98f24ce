//! What a server is started with, apart from what Patroni writes to its data directory.

use std::sync::Arc;

use sim_core::{ProcessId, Sampler, SimDuration};

use super::MemberId;
use crate::planted::Planted;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Which member of the cluster it is: its `application_name` as a standby.
    pub member: MemberId,
    /// Parameters, the same for all members.
    pub parameters: Arc<Parameters>,
    /// How long things take that are not modelled further, the same for all members.
    pub durations: Arc<Durations>,
    /// A rule that a test switches off.
    pub planted: Planted,
}

impl Spec {
    /// True if this rule is switched off.
    pub(super) fn lacks(&self, rule: Planted) -> bool {
        self.planted == rule
    }
}

/// Parameters of `postgresql.conf` that do not change while a cluster lives. The defaults are those of `PostgreSQL` 15.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// `wal_sender_timeout`: a standby that says nothing for so long is dropped. Default 60 s.
    pub wal_sender_timeout: SimDuration,
    /// `wal_receiver_timeout`: a sender that says nothing for so long is given up. Default 60 s.
    pub wal_receiver_timeout: SimDuration,
    /// `wal_receiver_status_interval`: a standby reports at least this often. Default 10 s.
    pub wal_receiver_status_interval: SimDuration,
    /// `wal_retrieve_retry_interval`: the pace of a standby's attempts to connect. Default 5 s.
    pub wal_retrieve_retry_interval: SimDuration,
    /// `wal_writer_delay`: how long commits with `synchronous_commit = off` wait for their flush. Default 200 ms.
    pub wal_writer_delay: SimDuration,
    /// `checkpoint_timeout`. Default 5 min.
    pub checkpoint_timeout: SimDuration,
    /// How WAL is recycled. Absent, the default here: not at all, and checkpoints come by time alone.
    pub recycling: Option<Recycling>,
    /// Whether standbys report what they have written before it is flushed, as `PostgreSQL` does. It matters to sessions
    /// with `synchronous_commit = remote_write` alone: without it (the default) they are answered when the standby has
    /// flushed, and each write of a cluster costs the simulator one event less for each standby.
    pub reports_written: bool,
    /// WAL of one row in bytes; [`super::INSERT_BYTES`] by default. With more, each write of a slow client stands for all
    /// that a busy database writes until the next.
    pub insert_bytes: u64,
    /// The archive, if there is one.
    pub archive: Option<ArchiveSettings>,
}

/// What decides when WAL is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recycling {
    /// `max_wal_size` in bytes: a checkpoint is due before so much WAL has gathered. Default 1 GB.
    pub max_wal_size: u64,
    /// `wal_keep_size` in bytes: so much WAL is kept for standbys without a slot. Default 0; Patroni sets 128 MB.
    pub wal_keep_size: u64,
}

impl Default for Recycling {
    fn default() -> Self {
        Self { max_wal_size: 1 << 30, wal_keep_size: 0 }
    }
}

/// `archive_mode`, `archive_timeout`, and commands that copy files to and from a repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveSettings {
    /// Where `archive_command` and `restore_command` copy to and from.
    pub repository: ProcessId,
    /// `archive_mode`: `on`, or off. Default off.
    pub archive_mode: bool,
    /// `archive_timeout`: a segment in which rows were written is completed after this at the latest. Absent (0, the
    /// default): when it is full.
    pub archive_timeout: Option<SimDuration>,
    /// Whether there is a `restore_command`.
    pub restores: bool,
    /// After how long `restore_command` gives up by itself, as under `timeout`. Absent: when TCP does.
    pub restore_timeout: Option<SimDuration>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            wal_sender_timeout: SimDuration::from_secs(60),
            wal_receiver_timeout: SimDuration::from_secs(60),
            wal_receiver_status_interval: SimDuration::from_secs(10),
            wal_retrieve_retry_interval: SimDuration::from_secs(5),
            wal_writer_delay: SimDuration::from_millis(200),
            checkpoint_timeout: SimDuration::from_secs(300),
            recycling: None,
            reports_written: false,
            insert_bytes: super::INSERT_BYTES,
            archive: None,
        }
    }
}

/// How long things take that are not modelled further, ready to be drawn from. Made of the declared inputs
/// ([`crate::patroni::Inputs`]).
#[derive(Clone, Debug)]
pub struct Durations {
    /// From the request to promote until the server accepts writes, without WAL left to replay.
    pub promotion: Sampler,
    /// How long it takes to fill and sync a new WAL segment.
    pub segment_fill: Sampler,
    /// From the request for a walreceiver until it asks its upstream.
    pub walreceiver_start: Sampler,
    /// From the start of the postmaster until it accepts connections, without WAL to replay.
    pub postmaster_start: Sampler,
    /// How long the files of the data directory are looked after if the server was not shut down in order.
    pub data_directory_sync: Sampler,
    /// From the first statement on a connection until its backend has authenticated the client.
    pub login: Sampler,
    /// How fast WAL is replayed, in bytes a second.
    pub redo_bytes_per_second: u64,
}

impl Durations {
    /// How long it takes to replay this much WAL.
    pub(super) fn redo(&self, bytes: u64) -> SimDuration {
        SimDuration::from_secs(1).scale(bytes, self.redo_bytes_per_second)
    }
}

impl From<&crate::patroni::Inputs> for Durations {
    fn from(inputs: &crate::patroni::Inputs) -> Self {
        Self {
            promotion: inputs.promotion.sampler(),
            segment_fill: inputs.segment_fill.sampler(),
            walreceiver_start: inputs.walreceiver_start.sampler(),
            postmaster_start: inputs.postmaster_start.sampler(),
            data_directory_sync: inputs.data_directory_sync.sampler(),
            login: inputs.login.sampler(),
            redo_bytes_per_second: inputs.redo_bytes_per_second,
        }
    }
}
