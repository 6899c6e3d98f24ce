//! Backups by the clock, on the host of the server (`cron`).
//!
//! A dump shows the database as it was when it began, because it is one transaction; a base backup with its WAL (`-X stream`)
//! as it was when it ended. Both can be used once they are in the repository. A server that is down or in recovery when a
//! backup is due, or that ends meanwhile, has none this time; nobody tries again before the next is due.

use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, SimDuration,
};

use crate::postgres::{
    Backup, BackupKind, ClusterState, ControlFile, DataDirectory, Packet, Repository, Settings, WalEntry,
    WalKind,
};

/// What is backed up, and when.
#[derive(Clone, Debug)]
pub struct JobsSpec {
    /// The server of this host.
    pub server: ProcessId,
    /// Where backups are kept.
    pub repository: ProcessId,
    /// Base backups.
    pub base: Option<Job>,
    /// Dumps.
    pub dump: Option<Job>,
}

/// A backup that is taken again and again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Job {
    /// From the start of this process to the first.
    pub first: SimDuration,
    /// From the start of one to that of the next.
    pub every: SimDuration,
    /// How long it takes.
    pub lasts: SimDuration,
}

/// What backups wait for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum JobTimer {
    /// A backup is due.
    Due(BackupKind),
    /// Everything is read and copied.
    Copied(BackupKind),
}

/// The backups of one server.
#[derive(Clone, Debug)]
pub struct BackupJobs {
    spec: JobsSpec,
    /// The dump that is being written.
    dump: Option<Arc<Backup>>,
    uploads: Vec<(ConnectionId, BackupKind)>,
}

impl BackupJobs {
    fn job(&self, kind: BackupKind) -> Option<Job> {
        match kind {
            BackupKind::Base => self.spec.base,
            BackupKind::Dump => self.spec.dump,
        }
    }

    fn serves(&self, context: &impl Context<Self>) -> bool {
        let data = context.storage();
        context.is_running(self.spec.server)
            && !data.settings.standby
            && data.control.state == ClusterState::InProduction
    }

    fn begin(&mut self, context: &mut impl Context<Self>, kind: BackupKind) {
        let Some(job) = self.job(kind) else {
            return;
        };
        context.set_timer(JobTimer::Due(kind), job.every);
        if !self.serves(context) {
            context.note(|| format!("no {kind:?} backup: the server does not accept writes"));
            return;
        }
        if kind == BackupKind::Dump {
            self.dump = Some(Arc::new(dump(context)));
        }
        context.note(|| format!("{kind:?} backup begins"));
        context.set_timer(JobTimer::Copied(kind), job.lasts);
    }

    fn upload(&mut self, context: &mut impl Context<Self>, kind: BackupKind) {
        let serves = self.serves(context);
        let backup = match kind {
            BackupKind::Dump => self.dump.take(),
            BackupKind::Base => Some(Arc::new(base_backup(context))),
        };
        let Some(backup) = backup.filter(|_| serves) else {
            context.note(|| format!("{kind:?} backup failed: the server went away"));
            return;
        };
        let connection = context.connect(self.spec.repository, ConnectOptions::default());
        context.send(connection, Packet::Repository(Repository::PutBackup(backup)));
        self.uploads.push((connection, kind));
    }
}

/// What `pg_basebackup` takes, without `standby.signal`.
fn base_backup(context: &impl Context<BackupJobs>) -> Backup {
    let contents = DataDirectory { settings: Settings::default(), ..context.storage().base_backup(None) };
    Backup { kind: BackupKind::Base, as_of: context.wall(), contents }
}

/// What loading a dump into a new cluster makes: the rows, and nothing of the history.
fn dump(context: &impl Context<BackupJobs>) -> Backup {
    let mut contents = DataDirectory::new_primary();
    let (at, timeline) = (context.wall(), contents.history.current);
    for value in context.storage().rows() {
        let kind = WalKind::Commit { value };
        let end = kind.end_after(contents.wal.end(), crate::postgres::INSERT_BYTES);
        contents.wal.entries.push(WalEntry { end, timeline, kind, at });
    }
    let kind = WalKind::Checkpoint { shutdown: true };
    let end = kind.end_after(contents.wal.end(), 0);
    contents.wal.entries.push(WalEntry { end, timeline, kind, at });
    contents.control = ControlFile { checkpoint: end, ..contents.control };
    Backup { kind: BackupKind::Dump, as_of: at, contents }
}

impl Process for BackupJobs {
    type Spec = JobsSpec;
    type Packet = Packet;
    type Timer = JobTimer;
    type Storage = DataDirectory;

    fn boot(spec: &JobsSpec, context: &mut impl Context<Self>) -> Self {
        let jobs = Self { spec: spec.clone(), dump: None, uploads: Vec::new() };
        for kind in [BackupKind::Base, BackupKind::Dump] {
            if let Some(job) = jobs.job(kind) {
                context.set_timer(JobTimer::Due(kind), job.first);
            }
        }
        jobs
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let (Origin::Connection(connection, _), Packet::Repository(Repository::Stored)) = (from, packet)
            && let Some(position) = self.uploads.iter().position(|(upload, _)| *upload == connection)
        {
            let (_, kind) = self.uploads.swap_remove(position);
            context.close(connection);
            context.note(|| format!("{kind:?} backup is in the repository"));
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: JobTimer) {
        match timer {
            JobTimer::Due(kind) => self.begin(context, kind),
            JobTimer::Copied(kind) => self.upload(context, kind),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if event == ConnectionEvent::Opened {
            return;
        }
        if let Some(position) = self.uploads.iter().position(|(upload, _)| *upload == connection) {
            let (_, kind) = self.uploads.swap_remove(position);
            context.note(|| format!("{kind:?} backup failed: lost the repository"));
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "backup"
    }

    fn role(&self) -> &'static str {
        "backup"
    }
}
