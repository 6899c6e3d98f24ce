//! A server that stands still: its one thread waits for the kernel. What comes meanwhile is worked off afterwards.
//!
//! | cause | lasts |
//! |---|---|
//! | a fork ([`super::fork`]) | until the page tables are copied |
//! | `CONFIG REWRITE` in the transaction of a Sentinel ([`super::commands`]) | until the new file and its folder are synced |
//! | a snapshot that a replica has received ([`super::replica`]) | the same |
//!
//! A file that takes the place of another one is synced under a name of its own, renamed, and its folder is synced, all in the thread that executes
//! commands. Sentinel sends `CONFIG REWRITE` between `REPLICAOF` and `CLIENT KILL` (`sentinelSendSlaveOf`): the server has its new role, but
//! nobody hears of it, and no client is cut off, before the disk has done its part. A sync that fails ends the command with an error, and the transaction
//! goes on. A replica drops its old data before it syncs the snapshot, and loads it afterwards; if that fails it asks its primary for another one. If
//! the disk is full the snapshot is not written at all: the replica keeps what it has, and asks for another one. (Here those who follow it are
//! cut off all the same, and one before 6.0.9 has lost its old data by then.)
//!
//! Sources: `config.c:rewriteConfigOverwriteFile` and `replication.c:readSyncBulkPayload` of Redis 7.0.15. Before 6.0.9 neither file was synced (pull requests
//! 7824 and 7839), before 7.0.3 no folder (pull request 10737). A sync takes as long for a large snapshot as for a small file, since a replica has the
//! kernel write each 8 MB of it while it comes in (`REPL_MAX_WRITTEN_BEFORE_FSYNC`).

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, HostTime, Origin, Process, ProcessId, SimDuration,
    StorageFailure, SyncId,
};

use super::log::Snapshot;
use super::packet::{Packet, Reply};
use super::persistence::DataRecord;
use super::release::Change;
use super::server::{Server, ServerTimer, Session};
use super::waiting::Asker;

/// What a server logs when it has rewritten its file (`configRewriteCommand`).
pub const REWRITTEN: &str = "CONFIG REWRITE executed with success.";

/// How a replica begins to say that what its primary has sent is synced; for how long it stood still follows.
pub const SNAPSHOT_SYNCED: &str = "MASTER <-> REPLICA sync: snapshot synced #took ";

/// What has come while a server stands still, in order, and what it waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstill {
    inputs: Vec<Input<ServerTimer>>,
    /// For how long forks take in all.
    pub(super) forks: SimDuration,
    replacing: Option<Replacing>,
}

/// A file that takes the place of another one.
#[derive(Clone, Debug)]
struct Replacing {
    /// What is being synced: the temporary file, then the folder in which it has its name.
    sync: SyncId,
    /// The file, until it is renamed.
    unnamed: Option<DataRecord>,
    since: HostTime,
    then: Then,
}

/// What is done when a file has taken its place.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The rest of the transaction of a Sentinel.
    EndTransaction(Asker),
    /// It is a snapshot, and is loaded.
    Load,
}

impl Standstill {
    /// Keeps an input for later.
    #[cold]
    pub(super) fn keep(&mut self, input: Input<ServerTimer>) {
        self.inputs.push(input);
    }

    /// True if it waits for this sync.
    pub(super) fn awaits(&self, sync: SyncId) -> bool {
        self.replacing.as_ref().is_some_and(|replacing| replacing.sync == sync)
    }
}

/// What a process can be given.
#[derive(Clone, Debug)]
pub enum Input<Timer> {
    /// A packet.
    Packet(Origin, Packet),
    /// A timer.
    Timer(Timer),
    /// Something that happened to a connection.
    Connection(ConnectionId, ProcessId, ConnectionEvent),
    /// The end of a sync.
    Synced(SyncId),
    /// A failure of its disk.
    StorageFailed(StorageFailure),
}

impl<Timer> Input<Timer> {
    /// True if somebody has sent it on this connection.
    fn is_from(&self, connection: ConnectionId) -> bool {
        matches!(self, Self::Packet(Origin::Connection(from, _), _) if *from == connection)
    }

    /// Gives it to the process.
    pub fn give<P>(self, to: &mut P, context: &mut impl Context<P>)
    where
        P: Process<Packet = Packet, Timer = Timer>,
    {
        match self {
            Self::Packet(from, packet) => to.on_packet(context, from, packet),
            Self::Timer(timer) => to.on_timer(context, timer),
            Self::Connection(connection, peer, event) => to.on_connection(context, connection, peer, event),
            Self::Synced(sync) => to.on_synced(context, sync),
            Self::StorageFailed(failure) => to.on_storage_failed(context, failure),
        }
    }
}

impl Server {
    /// It goes on, with what has come meanwhile. If that makes it stand still again, what is left waits once more.
    pub(super) fn go_on(&mut self, context: &mut impl Context<Self>, inputs: Vec<Input<ServerTimer>>) {
        for input in inputs {
            input.give(self, context);
        }
    }

    /// The forks are over.
    pub(super) fn on_forked(&mut self, context: &mut impl Context<Self>) {
        if let Some(standstill) = self.standstill.take() {
            self.go_on(context, standstill.inputs);
        }
    }

    /// True while it stands still.
    #[inline]
    pub fn stands_still(&self) -> bool {
        self.standstill.is_some()
    }

    /// True if it stands still until this sync has ended.
    pub fn awaits(&self, sync: SyncId) -> bool {
        self.standstill.as_ref().is_some_and(|standstill| standstill.awaits(sync))
    }

    /// The second command of the transaction.
    pub(super) fn begin_rewrite(&mut self, context: &mut impl Context<Self>, asked_by: Asker) {
        self.replace_file(context, DataRecord::ReplicaOf(self.follows()), Then::EndTransaction(asked_by));
    }

    /// A snapshot is here. It was written while it came in; that is told here if there was no space for it. Nobody sees the old data meanwhile.
    pub(super) fn begin_load(&mut self, context: &mut impl Context<Self>, snapshot: Arc<Snapshot>) {
        context.write(DataRecord::Incoming);
        self.replace_file(context, DataRecord::Received(snapshot), Then::Load);
    }

    /// The disk has refused a write while this server stands still.
    pub(super) fn on_refused(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        let Some(standstill) = &mut self.standstill else { return };
        let is_loading = |replacing: &Replacing| matches!(replacing.then, Then::Load);
        if !standstill.replacing.as_ref().is_some_and(is_loading) {
            return standstill.keep(Input::StorageFailed(failure));
        }
        let inputs = std::mem::take(&mut standstill.inputs);
        self.standstill = None;
        self.on_disk_failure(context, failure);
        self.go_on(context, inputs);
    }

    /// The server stands still from here on, unless its release syncs nothing.
    fn replace_file(&mut self, context: &mut impl Context<Self>, file: DataRecord, then: Then) {
        if Change::SyncedFiles.is_in(self.spec.parameters.version) {
            let (sync, since) = (context.sync(), context.monotonic());
            let replacing = Replacing { sync, unnamed: Some(file), since, then };
            self.standstill.get_or_insert_default().replacing = Some(replacing);
            return;
        }
        context.write(file);
        match then {
            Then::EndTransaction(asked_by) => {
                context.sync();
                self.end_transaction(context, asked_by, Vec::new());
            }
            Then::Load => self.load_snapshot(context),
        }
    }

    /// What the server stands still for is synced.
    pub(super) fn on_replacement_synced(&mut self, context: &mut impl Context<Self>) {
        let syncs_folder = Change::SyncedFolders.is_in(self.spec.parameters.version);
        let replacing = self.standstill.as_mut().and_then(|standstill| standstill.replacing.as_mut());
        let Some(replacing) = replacing else { return };
        if let Some(file) = replacing.unnamed.take() {
            context.write(file);
            if syncs_folder {
                replacing.sync = context.sync();
                return;
            }
        }
        self.end_replacement(context, None);
    }

    /// The server goes on: the file has its place, or the disk has failed.
    pub(super) fn end_replacement(
        &mut self,
        context: &mut impl Context<Self>,
        failure: Option<&StorageFailure>,
    ) {
        let Some(standstill) = self.standstill.take() else { return };
        let Standstill { inputs, replacing, .. } = *standstill;
        let Some(Replacing { since, then, .. }) = replacing else { return };
        match then {
            Then::EndTransaction(asked_by) => {
                context.note(|| match failure {
                    None => REWRITTEN.to_owned(),
                    Some(failure) => format!("CONFIG REWRITE failed: {failure}"),
                });
                self.end_transaction(context, asked_by, inputs);
            }
            Then::Load => {
                if let Some(failure) = failure {
                    context.note(|| format!("trying to sync the snapshot failed: {failure}"));
                    self.drop_data();
                    self.give_up_snapshot(context);
                } else {
                    let took = context.monotonic().since(since);
                    context.note(|| format!("{SNAPSHOT_SYNCED}{}ns", took.as_nanos()));
                    self.load_snapshot(context);
                }
                self.go_on(context, inputs);
            }
        }
    }

    /// The rest of the transaction. Every client but the sender is cut off, so that all of them ask again who is primary. What they have sent
    /// is never read.
    fn end_transaction(
        &mut self,
        context: &mut impl Context<Self>,
        (sender, id): Asker,
        mut inputs: Vec<Input<ServerTimer>>,
    ) {
        let (kept, cut): (_, Vec<Session>) =
            self.sessions.iter().partition(|session| session.connection == sender);
        self.sessions = kept;
        for Session { connection, .. } in cut {
            inputs.retain(|input| !input.is_from(connection));
            context.close(connection);
            self.forget_waiting(context, connection);
        }
        context.send(sender, Packet::Reply { id, reply: Reply::Done });
        self.go_on(context, inputs);
    }
}
