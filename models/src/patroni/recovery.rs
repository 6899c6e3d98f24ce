//! The postmaster is not there: starting it again (`ha.py:recover`; fidelity specification, 2.9).

use sim_core::{Context, HostTime, SimDuration, SyncId, WallTime};

use super::cycle::Cycle;
use super::demotion::DemoteMode;
use super::local::Waiter;
use super::lock::{After, Goal};
use super::member::{Member, Timer};
use super::rest::RoundPurpose;
use super::task::Task;
use super::version::Change;
use crate::planted::Planted;
use crate::postgres::{
    ClusterState, ControlFile, DataRecord, MemberId, Status, SynchronousStandbys, WalEntry, WalKind,
};

/// How often a starting server is asked whether it is ready (`wait_for_startup`).
const POLL: SimDuration = SimDuration::from_secs(1);
/// `postgresql.pg_ctl_timeout`.
const START_TIMEOUT: SimDuration = SimDuration::from_secs(60);

/// A start under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Start {
    spawned: bool,
    limit: SimDuration,
}

/// A crash recovery in single-user mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CrashRecovery {
    since: HostTime,
    /// The sync of what it wrote.
    sync: Option<SyncId>,
}

impl Member {
    /// The server does not run, and nothing is being done about it.
    pub(super) fn on_stopped(&mut self, context: &mut impl Context<Self>) {
        if self.paused() {
            return self.on_stopped_while_paused(context);
        }
        if self.holds_lock() {
            if self.start_failed {
                self.start_failed = false;
                return self.give_lock_back(
                    context,
                    "removed leader key after trying and failing to start postgres",
                );
            }
            return self.lock(context, Goal::Renew(After::Recover));
        }
        self.recover(context);
    }

    /// Chooses how to bring the server back.
    pub(super) fn recover(&mut self, context: &mut impl Context<Self>) {
        let holds_lock = self.holds_lock();
        let state = context.storage().control.state;
        let primary = matches!(
            state,
            ClusterState::InProduction | ClusterState::InCrashRecovery | ClusterState::ShutDown
        );
        let crashed = Self::crashed_as_primary(context) && self.spec.lacks(Planted::RestartAsPrimary);
        if (holds_lock && self.was_primary && primary) || crashed {
            if self.spec.configuration.primary_start_timeout == SimDuration::ZERO {
                self.cycle = Cycle::Polling(RoundPurpose::Candidates);
                let candidates = self.candidates();
                return self.poll(context, RoundPurpose::Candidates, candidates);
            }
            return self.restart_primary(context);
        }
        let leaderless = self.view.leader.is_none();
        if Self::crashed_as_primary(context)
            && !self.crash_recovered
            && (leaderless || self.spec.configuration.use_pg_rewind)
        {
            return self.recover_in_single_user_mode(context);
        }
        if !holds_lock && !leaderless && self.repairs_divergence() {
            return self.ask_leader(context);
        }
        self.restart_standby(context);
    }

    /// Nobody, or somebody, could take over from the dead server (`primary_start_timeout: 0`).
    pub(super) fn on_crash_candidates(&mut self, context: &mut impl Context<Self>, possible: bool) {
        if possible {
            context.note(|| "stopped PostgreSQL to fail over after a crash".to_owned());
            self.demote(context, DemoteMode::Immediate);
            // There is no postmaster to wait for.
            context.set_timer(Timer::Task, SimDuration::ZERO);
        } else {
            self.restart_primary(context);
        }
    }

    fn restart_primary(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "starting primary after failure".to_owned());
        let limit = self.spec.configuration.primary_start_timeout;
        self.start(context, limit);
        self.finish_cycle(context);
    }

    /// Starts the server as a standby of whoever leads, within a cycle.
    pub(super) fn restart_standby(&mut self, context: &mut impl Context<Self>) {
        let me = self.spec.member;
        let leader = self.view.leader().filter(|leader| *leader != me);
        context.note(|| {
            if leader.is_some() {
                "starting as a secondary".to_owned()
            } else {
                "starting as readonly because i had the session lock, or there is no leader".to_owned()
            }
        });
        self.check_divergence = true;
        self.start_standby(context, leader);
        self.finish_cycle(context);
    }

    /// Writes the configuration of a standby and starts the server.
    pub(super) fn start_standby(&mut self, context: &mut impl Context<Self>, leader: Option<MemberId>) {
        self.call_on_demotion(context);
        let upstream = self.upstream_of(leader);
        let mut slots = context.storage().settings.slots.clone();
        self.first_slots(&mut slots);
        self.configure(context, |settings| {
            settings.standby = true;
            settings.upstream = upstream;
            settings.slots = slots;
            settings.synchronous_standbys = SynchronousStandbys::default();
        });
        let written = &context.storage().settings;
        if !written.standby || written.upstream != upstream {
            return self.give_up_start(context);
        }
        self.start(context, START_TIMEOUT);
    }

    /// The files could not be written (a full disk): the exception ends the task before the server is started, and a later
    /// cycle tries again.
    fn give_up_start(&mut self, context: &mut impl Context<Self>) {
        context.note(|| {
            "exception during execution of long running task: no configuration, no start".to_owned()
        });
        self.task = None;
        context.cancel_timer(&Timer::Task);
    }

    fn start(&mut self, context: &mut impl Context<Self>, limit: SimDuration) {
        let spawn = self.spec.inputs.postmaster_spawn.draw(context.random());
        self.starting_since = Some(context.wall());
        self.task = Some(Task::Start(Start { spawned: false, limit }));
        context.set_timer(Timer::Task, spawn);
    }

    /// The postmaster is forked, or it is time to ask whether it is ready.
    pub(super) fn advance_start(&mut self, context: &mut impl Context<Self>, start: Start) {
        if start.spawned {
            return self.ask_status(context, Waiter::Task);
        }
        context.start(self.spec.postgres);
        self.task = Some(Task::Start(Start { spawned: true, ..start }));
        context.set_timer(Timer::Task, POLL);
    }

    /// The starting server answered.
    pub(super) fn on_start_polled(
        &mut self,
        context: &mut impl Context<Self>,
        start: Start,
        status: Option<&Status>,
    ) {
        if !context.is_running(self.spec.postgres) {
            context.note(|| "postmaster died while starting".to_owned());
            self.start_failed = true;
            self.end_task(context);
        } else if status.is_some_and(|status| status.accepts_connections)
            || self.starts_for(context.wall()) > start.limit
        {
            self.end_task(context);
        } else {
            context.set_timer(Timer::Task, POLL);
        }
    }

    /// For how long the server has been starting, by the host's clock: from the moment at which Patroni began to start it
    /// (`time_in_state`).
    fn starts_for(&self, now: WallTime) -> SimDuration {
        self.starting_since.map_or(SimDuration::ZERO, |since| now.since(since))
    }

    /// The lock was renewed for a server that is still starting.
    pub(super) fn on_slow_start(&mut self, context: &mut impl Context<Self>) {
        let limit = self.spec.configuration.primary_start_timeout;
        if self.starts_for(context.wall()) > limit {
            self.cycle = Cycle::Polling(RoundPurpose::Candidates);
            let candidates = self.candidates();
            return self.poll(context, RoundPurpose::Candidates, candidates);
        }
        context.note(|| "PostgreSQL is still starting up".to_owned());
        self.finish_cycle(context);
    }

    /// Nobody, or somebody, could take over from a server that takes too long to start.
    pub(super) fn on_slow_start_candidates(&mut self, context: &mut impl Context<Self>, possible: bool) {
        if possible {
            context.note(|| "demoting self because PostgreSQL startup is taking too long".to_owned());
            self.demote(context, DemoteMode::Immediate);
        } else {
            context.note(|| "PostgreSQL startup takes too long, but failover is not possible".to_owned());
            self.finish_cycle(context);
        }
    }

    /// `postgres --single`: replays the log, and leaves a clean shutdown behind.
    pub(super) fn recover_in_single_user_mode(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "doing crash recovery in a single user mode".to_owned());
        let data = context.storage();
        let redo = data.wal.end().0.saturating_sub(data.control.checkpoint.0);
        let replay = SimDuration::from_secs(1).scale(redo, self.spec.inputs.redo_bytes_per_second.max(1));
        let start = self.spec.inputs.postmaster_start.draw(context.random());
        let sync = self.spec.inputs.data_directory_sync.draw(context.random());
        self.task = Some(Task::CrashRecovery(CrashRecovery { since: context.monotonic(), sync: None }));
        self.crash_recovered = true;
        context.set_timer(Timer::Task, start + sync + replay);
        self.finish_cycle(context);
    }

    pub(super) fn on_crash_recovered(&mut self, context: &mut impl Context<Self>) {
        if !context.storage().can_recover() {
            context.note(|| "crash recovery failed: could not locate a valid checkpoint record".to_owned());
            return self.end_task(context);
        }
        for record in context.storage().recovery_records() {
            context.write(record);
        }
        let data = context.storage();
        let timeline = data.history.current;
        let kind = WalKind::Checkpoint { shutdown: true };
        let end = kind.end_after(data.wal.end(), 0);
        let record = WalEntry { end, timeline, kind, at: context.wall() };
        context.write(DataRecord::AppendOne(record));
        if context.storage().wal.end() != end {
            context.note(|| "crash recovery failed: no space for its checkpoint".to_owned());
            return self.end_task(context);
        }
        context.write(DataRecord::Control(ControlFile {
            state: ClusterState::ShutDown,
            checkpoint: end,
            timeline,
            minimum: None,
        }));
        if let Some(Task::CrashRecovery(recovery)) = &mut self.task {
            recovery.sync = Some(context.sync());
        }
    }

    /// What the recovery wrote is durable: `postgres --single` ends.
    pub(super) fn on_recovery_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        if matches!(&self.task, Some(Task::CrashRecovery(recovery)) if recovery.sync == Some(sync)) {
            self.end_task(context);
        }
    }

    /// The lock was kept while a crash recovery runs: has it taken too long?
    pub(super) fn recovers_for_too_long(&self, now: HostTime) -> bool {
        let limit = self.spec.configuration.primary_start_timeout;
        match &self.task {
            Some(Task::CrashRecovery(recovery)) => {
                now.since(recovery.since) >= limit && self.spec.has(Change::LimitCrashRecovery)
            }
            _ => false,
        }
    }

    /// Somebody, or nobody, could take over from a crash recovery that takes too long.
    pub(super) fn on_long_recovery_candidates(&mut self, context: &mut impl Context<Self>, possible: bool) {
        if possible {
            context.note(|| "terminated crash recovery because of startup timeout".to_owned());
            self.demote(context, DemoteMode::Immediate);
            // There is no postmaster to wait for.
            context.set_timer(Timer::Task, SimDuration::ZERO);
        } else {
            self.finish_cycle(context);
        }
    }
}
