//! A repository of archived WAL and backups: an object store, or a backup host.
//!
//! It answers one request on a connection, after a latency and the time that the bytes take ([`RepositorySpec`]). What it has
//! acknowledged is durable; what was on its way when it died has to be sent again. It is reachable as its host is: a repository
//! on the host of the primary dies with it, and one in another region outlives a region.
//!
//! The newest [`RepositorySpec::retention_full`] base backups are kept, with the WAL that recovery from the oldest of them
//! needs, and as many dumps as there were in this time.
//!
//! Simplified: each transfer has the whole rate for itself; a segment counts with all of its 16 MB unless
//! [`RepositorySpec::compressed`]; a backup's transfer is part of the time that taking it needs, so its bytes count only when
//! it is fetched, which who fetches it waits for. An object store of several zones is one process on one host.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, Sampler, SimDuration, Storage, SyncId,
};

use super::{
    ArchiveFile, Backup, BackupKind, FileName, Packet, Repository as Message, SEGMENT_BYTES, WalEntry,
    WalKind,
};

/// How a repository is set up.
#[derive(Clone, Debug)]
pub struct RepositorySpec {
    /// From a request to the first byte of the answer.
    pub latency: Sampler,
    /// How fast one transfer is, in bytes a second.
    pub bytes_per_second: u64,
    /// Segments are compressed: the empty rest of one that was not full takes nothing.
    pub compressed: bool,
    /// How many base backups are kept (`repo1-retention-full` of pgBackRest); absent: all.
    pub retention_full: Option<usize>,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// WAL and timeline histories.
    pub files: BTreeMap<FileName, ArchiveFile>,
    /// Backups, in the order in which they arrived.
    pub backups: Vec<Arc<Backup>>,
}

/// A change of what is kept.
#[derive(Clone, Debug)]
pub enum ArchiveRecord {
    /// A file of the archive.
    File(ArchiveFile),
    /// A backup; after it, at most so many base backups are kept.
    Backup(Arc<Backup>, Option<usize>),
}

impl Storage for Archive {
    type Record = ArchiveRecord;

    fn apply(&mut self, record: &ArchiveRecord) {
        match record {
            ArchiveRecord::File(file) => {
                self.files.insert(file.name(), file.clone());
            }
            ArchiveRecord::Backup(backup, retention) => {
                self.backups.push(Arc::clone(backup));
                if let Some(kept) = retention {
                    self.expire(*kept);
                }
            }
        }
    }
}

impl Archive {
    /// Forgets what is older than the newest so many base backups.
    fn expire(&mut self, kept: usize) {
        let bases: Vec<&Arc<Backup>> =
            self.backups.iter().filter(|backup| backup.kind == BackupKind::Base).collect();
        let Some(oldest) = bases.len().checked_sub(kept).and_then(|first| bases.get(first)) else {
            return;
        };
        let (as_of, segment) = (oldest.as_of, oldest.contents.last_position().segment());
        self.backups.retain(|backup| backup.as_of >= as_of);
        self.files.retain(|name, _| match name {
            FileName::History(_) => true,
            FileName::Segment(_, number) => *number >= segment,
        });
    }

    /// The latest backup of this kind that is not later than a time.
    pub fn latest(&self, kind: BackupKind, until: Option<sim_core::WallTime>) -> Option<&Arc<Backup>> {
        let fits =
            |backup: &&Arc<Backup>| backup.kind == kind && until.is_none_or(|until| backup.as_of <= until);
        self.backups.iter().filter(fits).max_by_key(|backup| backup.as_of)
    }
}

/// A repository.
#[derive(Clone, Debug)]
pub struct ArchiveRepository {
    spec: RepositorySpec,
    /// Requests that are being transferred or stored.
    requests: Vec<(ConnectionId, Request)>,
    /// What waits for its sync.
    stored: Vec<(SyncId, ConnectionId)>,
}

#[derive(Clone, Debug)]
enum Request {
    Put(ArchiveRecord),
    Answer(Message),
}

/// What a repository is woken for: the transfer on this connection is complete.
pub type RepositoryTimer = ConnectionId;

impl ArchiveRepository {
    fn bytes_of(&self, file: &ArchiveFile) -> u64 {
        match file {
            ArchiveFile::History(_) => 0,
            ArchiveFile::Segment(_, number, entries) if self.spec.compressed => {
                let written = |entry: &WalEntry| entry.kind != WalKind::Switch;
                let end = entries.iter().rfind(|entry| written(entry)).map_or(0, |entry| entry.end.0);
                end.saturating_sub(number * SEGMENT_BYTES).min(SEGMENT_BYTES)
            }
            ArchiveFile::Segment(..) => SEGMENT_BYTES,
        }
    }

    fn begin(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        request: Request,
        bytes: u64,
    ) {
        self.requests.push((connection, request));
        let latency = self.spec.latency.draw(context.random());
        let transfer = SimDuration::from_secs(1).scale(bytes, self.spec.bytes_per_second);
        context.set_timer(connection, latency + transfer);
    }

    fn answer(context: &mut impl Context<Self>, connection: ConnectionId, message: Message) {
        context.send(connection, Packet::Repository(message));
    }
}

impl Process for ArchiveRepository {
    type Spec = RepositorySpec;
    type Packet = Packet;
    type Timer = RepositoryTimer;
    type Storage = Archive;

    fn boot(spec: &RepositorySpec, _: &mut impl Context<Self>) -> Self {
        Self { spec: spec.clone(), requests: Vec::new(), stored: Vec::new() }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let (Origin::Connection(connection, _), Packet::Repository(message)) = (from, packet) else {
            return;
        };
        let (request, bytes) = match message {
            Message::Put(file) => {
                let bytes = self.bytes_of(&file);
                (Request::Put(ArchiveRecord::File(file)), bytes)
            }
            Message::PutBackup(backup) => {
                (Request::Put(ArchiveRecord::Backup(backup, self.spec.retention_full)), 0)
            }
            Message::Get(name) => match context.storage().files.get(&name) {
                Some(file) => (Request::Answer(Message::Found(file.clone())), self.bytes_of(file)),
                None => (Request::Answer(Message::Missing), 0),
            },
            Message::GetBackup { kind, until } => {
                let backup = context.storage().latest(kind, until).map(Arc::clone);
                (Request::Answer(backup.map_or(Message::Missing, Message::Backup)), 0)
            }
            Message::Stored | Message::Found(_) | Message::Missing | Message::Backup(_) => {
                unreachable!("only a repository answers")
            }
        };
        self.begin(context, connection, request, bytes);
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, connection: RepositoryTimer) {
        let Some(position) = self.requests.iter().position(|(waiting, _)| *waiting == connection) else {
            return;
        };
        match self.requests.swap_remove(position).1 {
            Request::Put(record) => {
                context.write(record);
                self.stored.push((context.sync(), connection));
            }
            Request::Answer(message) => Self::answer(context, connection, message),
        }
    }

    fn on_connection(
        &mut self,
        _: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if matches!(event, ConnectionEvent::Closed | ConnectionEvent::Reset | ConnectionEvent::TimedOut) {
            self.requests.retain(|(waiting, _)| *waiting != connection);
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.stored).into_iter().partition(|(awaited, _)| *awaited == sync);
        self.stored = waiting;
        for (_, connection) in done {
            Self::answer(context, connection, Message::Stored);
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "repository"
    }

    fn role(&self) -> &'static str {
        "repository"
    }
}
