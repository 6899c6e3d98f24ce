//! A server that stands still: its one thread waits for the kernel. What comes meanwhile is worked off afterwards.
//!
//! | cause | lasts |
//! |---|---|
//! | a fork ([`super::fork`]) | until the page tables are copied |
//! | `CONFIG REWRITE` in the transaction of a Sentinel ([`super::commands`]) | until the new file and its folder are synced |
//!
//! `CONFIG REWRITE` writes a temporary file, syncs it, renames it and syncs the folder, all in the thread that executes commands
//! (`config.c:rewriteConfigOverwriteFile` of Redis 7.0.15; before 6.0.9 nothing was synced, [`super::release`]). Sentinel sends it between
//! `REPLICAOF` and `CLIENT KILL` (`sentinelSendSlaveOf`): the server has its new role, but nobody hears of it, and no client is cut off, before
//! the disk has done its part. A sync that fails ends the command with an error, and the transaction goes on.

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, SimDuration, StorageFailure, SyncId,
};

use super::packet::{Packet, Reply};
use super::persistence::DataRecord;
use super::release::Change;
use super::server::{Server, ServerTimer, Session};
use super::waiting::Asker;

/// What a server logs when it has rewritten its file (`configRewriteCommand`).
pub const REWRITTEN: &str = "CONFIG REWRITE executed with success.";

/// What has come while a server stands still, in order, and what it waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstill {
    inputs: Vec<Input>,
    /// For how long forks take in all.
    pub(super) forks: SimDuration,
    rewriting: Option<Rewriting>,
}

/// The transaction of a Sentinel, after `REPLICAOF`.
#[derive(Clone, Copy, Debug)]
struct Rewriting {
    asked_by: Asker,
    /// What is being synced: the temporary file, then the folder in which it has its name.
    sync: SyncId,
    is_named: bool,
}

impl Standstill {
    /// Keeps an input for later.
    #[cold]
    pub(super) fn keep(&mut self, input: Input) {
        self.inputs.push(input);
    }

    /// True if it waits for this sync.
    pub(super) fn awaits(&self, sync: SyncId) -> bool {
        self.rewriting.is_some_and(|rewriting| rewriting.sync == sync)
    }
}

/// What a process can be given.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Packet(Origin, Packet),
    Timer(ServerTimer),
    Connection(ConnectionId, ProcessId, ConnectionEvent),
    Synced(SyncId),
    StorageFailed(StorageFailure),
}

impl Input {
    /// True if somebody has sent it on this connection.
    fn is_from(&self, connection: ConnectionId) -> bool {
        matches!(self, Self::Packet(Origin::Connection(from, _), _) if *from == connection)
    }
}

impl Server {
    /// It goes on, with what has come meanwhile. If that makes it stand still again, what is left waits once more.
    pub(super) fn go_on(&mut self, context: &mut impl Context<Self>, inputs: Vec<Input>) {
        for input in inputs {
            match input {
                Input::Packet(from, packet) => self.on_packet(context, from, packet),
                Input::Timer(timer) => self.on_timer(context, timer),
                Input::Connection(connection, peer, event) => {
                    self.on_connection(context, connection, peer, event);
                }
                Input::Synced(sync) => self.on_synced(context, sync),
                Input::StorageFailed(failure) => self.on_storage_failed(context, failure),
            }
        }
    }

    /// The forks are over.
    pub(super) fn on_forked(&mut self, context: &mut impl Context<Self>) {
        if let Some(standstill) = self.standstill.take() {
            self.go_on(context, standstill.inputs);
        }
    }

    /// The second command of the transaction: the server stands still from here on, unless its release syncs nothing.
    pub(super) fn begin_rewrite(&mut self, context: &mut impl Context<Self>, asked_by: Asker) {
        if Change::SyncedRewrite.is_in(self.spec.parameters.version) {
            let sync = context.sync();
            let rewriting = Rewriting { asked_by, sync, is_named: false };
            self.standstill.get_or_insert_default().rewriting = Some(rewriting);
        } else {
            context.write(DataRecord::ReplicaOf(self.follows()));
            context.sync();
            self.end_transaction(context, asked_by, Vec::new());
        }
    }

    /// What the server stands still for is synced.
    pub(super) fn on_rewrite_synced(&mut self, context: &mut impl Context<Self>) {
        let primary = self.follows();
        let Some(standstill) = &mut self.standstill else { return };
        let Some(rewriting) = standstill.rewriting.as_mut().filter(|rewriting| !rewriting.is_named) else {
            context.note(|| REWRITTEN.to_owned());
            return self.end_rewrite(context);
        };
        context.write(DataRecord::ReplicaOf(primary));
        rewriting.is_named = true;
        rewriting.sync = context.sync();
    }

    /// The server goes on.
    pub(super) fn end_rewrite(&mut self, context: &mut impl Context<Self>) {
        let Some(standstill) = self.standstill.take() else { return };
        let Standstill { inputs, rewriting, .. } = *standstill;
        if let Some(Rewriting { asked_by, .. }) = rewriting {
            self.end_transaction(context, asked_by, inputs);
        }
    }

    /// The rest of the transaction. Every client but the sender is cut off, so that all of them ask again who is primary. What they have sent
    /// is never read.
    fn end_transaction(
        &mut self,
        context: &mut impl Context<Self>,
        (sender, id): Asker,
        mut inputs: Vec<Input>,
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
