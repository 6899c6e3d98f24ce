//! The member's own `PostgreSQL`: queries over the local socket, `pg_controldata`, and configuration files.

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context};

use super::member::{Member, Timer};
use super::packet::Packet;
use super::version::Change;
use crate::postgres::{
    self, ClusterState, Control, DataRecord, Lsn, MemberId, Settings, Status, SynchronousStandbys, Upstream,
};

/// What a member knows about its `PostgreSQL`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local {
    connection: Option<ConnectionId>,
    waiting: Vec<Waiter>,
}

/// Who asked for the status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waiter {
    /// The HA cycle.
    Cycle,
    /// The asynchronous task.
    Task,
    /// The pass over synchronous standbys, a second time.
    Sync,
    /// A request to the REST API on this connection.
    Rest(ConnectionId),
}

/// `PostgreSQL` in the words of a cycle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServerState {
    /// There is no postmaster.
    Stopped,
    /// There is one, and it does not let anybody in (`starting`).
    Starting,
    /// It answers.
    Running,
}

impl Member {
    /// Asks the local server for its status; the answer, or its absence, comes back to the waiter.
    pub(super) fn ask_status(&mut self, context: &mut impl Context<Self>, waiter: Waiter) {
        if !context.is_running(self.spec.postgres) {
            self.on_status(context, waiter, None);
            return;
        }
        self.local.waiting.push(waiter);
        if waiter == Waiter::Cycle {
            context.set_timer(Timer::Query, self.spec.configuration.retry_timeout / 2);
        }
        self.control(context, Control::Status);
    }

    /// Sends a command to the local server, if it runs.
    pub(super) fn control(&mut self, context: &mut impl Context<Self>, control: Control) {
        if !context.is_running(self.spec.postgres) {
            return;
        }
        let server = self.spec.postgres;
        let connection =
            *self.local.connection.get_or_insert_with(|| context.connect(server, ConnectOptions::default()));
        context.send(connection, Packet::Postgres(postgres::Packet::Control(control)));
    }

    /// True if this is the connection with the local server.
    pub(super) fn is_local(&self, connection: ConnectionId) -> bool {
        self.local.connection == Some(connection)
    }

    /// The connection with the local server was lost: the server ended, or did not exist.
    pub(super) fn on_local_lost(&mut self, context: &mut impl Context<Self>) {
        self.local.connection = None;
        if context.is_running(self.spec.postgres) {
            // Somebody else has started it again meanwhile. Signals and queries go to the postmaster that is there.
            if !self.local.waiting.is_empty() {
                self.control(context, Control::Status);
            }
            self.repeat_command(context);
            return;
        }
        self.checkpoint_asked = false;
        self.resolve_waiting(context, None);
        self.on_server_gone(context);
    }

    /// Sends what the server is being asked for once more.
    fn repeat_command(&mut self, context: &mut impl Context<Self>) {
        if let Some(command) = self.command_under_way() {
            self.control(context, command);
        } else if self.checkpoint_asked {
            self.control(context, Control::Checkpoint);
        }
    }

    /// The server answered.
    pub(super) fn on_local_packet(&mut self, context: &mut impl Context<Self>, packet: &postgres::Packet) {
        match packet {
            postgres::Packet::Status(status) => self.resolve_waiting(context, Some(status)),
            postgres::Packet::StatusCancelled => self.on_status_cancelled(context),
            postgres::Packet::CheckpointDone => self.on_checkpoint_done(context),
            _ => {}
        }
    }

    /// Who waits for the status.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.local.waiting)
    }

    fn resolve_waiting(&mut self, context: &mut impl Context<Self>, status: Option<&Arc<Status>>) {
        for waiter in self.take_waiting() {
            self.on_status(context, waiter, status.cloned());
        }
    }

    /// The query of the cycle is sent once more, within the time that it has.
    pub(super) fn ask_again(&mut self, context: &mut impl Context<Self>) {
        self.local.waiting.push(Waiter::Cycle);
        self.control(context, Control::Status);
    }

    /// The server told the loop that its query took too long.
    pub(super) fn on_cancelled_for_loop(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&Timer::Query);
        self.query_cancelled = true;
        self.on_cycle_status(context, None);
    }

    /// The query of the cycle took too long: a stopped or overloaded server.
    pub(super) fn on_query_timeout(&mut self, context: &mut impl Context<Self>) {
        let waits = |waiter: &Waiter| *waiter == Waiter::Cycle;
        if self.local.waiting.iter().any(waits) {
            self.local.waiting.retain(|waiter| !waits(waiter));
            self.on_status(context, Waiter::Cycle, None);
        }
    }

    pub(super) fn on_status(
        &mut self,
        context: &mut impl Context<Self>,
        waiter: Waiter,
        status: Option<Arc<Status>>,
    ) {
        match waiter {
            Waiter::Cycle => {
                context.cancel_timer(&Timer::Query);
                self.query_cancelled = false;
                self.on_cycle_status(context, status);
            }
            Waiter::Task => self.on_task_status(context, status.as_deref()),
            Waiter::Sync => self.on_sync_status(context, status),
            Waiter::Rest(connection) => self.answer_patroni(context, connection, status),
        }
    }

    /// Rewrites the configuration files and reloads the server if they changed. Returns whether they did.
    pub(super) fn configure(
        &mut self,
        context: &mut impl Context<Self>,
        change: impl FnOnce(&mut Settings),
    ) -> bool {
        let mut settings = context.storage().settings.clone();
        change(&mut settings);
        if settings == context.storage().settings {
            return false;
        }
        context.write(DataRecord::Settings(Arc::new(settings)));
        context.sync();
        self.control(context, Control::Reload);
        true
    }

    /// Sets `synchronous_standby_names`.
    pub(super) fn set_synchronous_standbys(
        &mut self,
        context: &mut impl Context<Self>,
        standbys: SynchronousStandbys,
    ) -> bool {
        self.configure(context, |settings| settings.synchronous_standbys = standbys)
    }

    /// `primary_conninfo` for this leader.
    pub(super) fn upstream_of(&self, leader: Option<MemberId>) -> Option<Upstream> {
        let me = self.spec.member;
        let cascade = self.tags().replicatefrom;
        let source = cascade.filter(|source| *source != me && self.view.member(*source).is_some());
        let leader = source.or(leader).filter(|leader| *leader != me)?;
        let slot = self.spec.configuration.use_slots;
        Some(Upstream { server: self.spec.peer(leader).postgres, member: leader, slot })
    }

    /// What the server is doing, by this status.
    pub(super) fn server_state(&self, context: &impl Context<Self>) -> ServerState {
        match &self.status {
            _ if !context.is_running(self.spec.postgres) => ServerState::Stopped,
            Some(status) if status.accepts_connections => ServerState::Running,
            None if self.query_cancelled => ServerState::Running,
            _ => ServerState::Starting,
        }
    }

    /// True if the server is a primary: by its own word, or, while it does not answer, by its files. Before 2.1.2 the question ended
    /// in an exception while a server that runs was too slow to answer, and what depended on it was not done.
    pub(super) fn is_primary(&self, context: &impl Context<Self>) -> bool {
        match &self.status {
            _ if !context.is_running(self.spec.postgres) => false,
            None if self.server_is_slow && !self.spec.has(Change::CachedRoleOfSlowServer) => false,
            Some(status) if status.accepts_connections => !status.in_recovery,
            _ => !context.storage().settings.standby,
        }
    }

    /// True if `pg_controldata` tells of a primary that was not shut down in order.
    pub(super) fn crashed_as_primary(context: &impl Context<Self>) -> bool {
        matches!(context.storage().control.state, ClusterState::InProduction | ClusterState::InCrashRecovery)
    }
}

/// The position that a member reports: what it has received or replayed, or, on a primary, flushed.
pub(crate) fn position_of(status: &Status) -> Lsn {
    if status.in_recovery { status.received.max(status.replayed) } else { status.flushed }
}
