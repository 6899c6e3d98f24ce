//! The ways down (`ha.py:demote`; fidelity specification, 2.7).
//!
//! | mode | stop | leader key | then |
//! |---|---|---|---|
//! | offline | fast | stays | read-only standby without upstream; the HA loop waits for it |
//! | graceful | checkpoint, fast | released when a candidate has everything | 2 s, then follows |
//! | immediate | immediate | released | 2 s, then follows |
//! | immediate-nolock | immediate | is somebody else's | follows |
//! | final (`termination.rs`) | fast | released when a candidate has everything | Patroni ends |
//!
//! The watchdog stays armed until the server has stopped. Since 4.1.0 each but the last first asks another `postgres` for `archive_mode` and
//! `archive_command` (`rewind.py:get_archive_command`), whatever for; meanwhile the server goes on to serve.
//!
//! From 2.1.6 until 4.0.6 an offline demotion was a task of the executor, and the loop went on beside it: it kept the lock if etcd was back before
//! the server had stopped, stopped it at once if the lock was lost, and if etcd still did not answer it began a second demotion, for which it waited
//! (#3372; Z31). Of what two at once did to each other nothing is modelled: a postmaster that stops ignores another SIGINT, and of two starts
//! the second finds `postmaster.pid` and ends, or restarts what the first has started. That the data directory suffers is claimed in #3649 and was
//! doubted there.
//!
//! One published mistake of demotions shows nothing here.
//! Before 4.1.4 a `primary_stop_timeout` shorter than the watchdog's disarmed it while backends were still alive (#3639, #3661; Z33): the
//! wait for them (`wait_for_user_backends_to_close`) ended with that time-out, and the postmaster and they were killed after as much again.
//! Here sessions end with the request to stop, and no backend is left. One that hangs would change no promise: the setting is looked at
//! in synchronous mode alone, and what such a backend commits when it goes on waits for a standby, which has a new leader, or leads itself,
//! by the time that it matters, and confirms nothing any more. Only sessions that wait for nobody (`synchronous_commit = local`) could be
//! told of a commit that is lost, and they can be in any failover. The report itself has not seen a loss.

use std::sync::Arc;

use sim_core::{Context, HostTime, SimDuration};

use super::cycle::Cycle;
use super::member::{Member, Timer};
use super::packet::MemberReport;
use super::rest::RoundPurpose;
use super::task::Task;
use super::version::Change;
use crate::postgres::{ClusterState, Control, Lsn, StopMode};

/// How often a stopping postmaster is looked at.
const STOP_POLL: SimDuration = SimDuration::from_millis(50);
/// How often `pg_control` is looked at in a graceful demotion (`STOP_POLLING_INTERVAL`).
const CONTROL_POLL: SimDuration = SimDuration::from_secs(1);
/// For candidates to receive the shutdown checkpoint.
const GRACE: SimDuration = SimDuration::from_secs(1);
/// "Give a time to somebody to take the leader lock".
const AFTER_RELEASE: SimDuration = SimDuration::from_secs(2);

/// How to demote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DemoteMode {
    /// etcd does not answer.
    Offline,
    /// A switchover.
    Graceful,
    /// The server is not worth keeping the lock for.
    Immediate,
    /// The lock is lost already.
    ImmediateNoLock,
    /// Patroni itself ends.
    Final {
        /// It leads.
        leads: bool,
    },
}

/// A demotion under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Demotion {
    mode: DemoteMode,
    stage: Stage,
    /// When the stop began.
    since: HostTime,
    /// The loop goes on meanwhile.
    in_background: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Waits for the answers about archiving.
    Inquiring,
    /// Waits for the end of the cycle, which holds the executor (`async_executor.py:run`).
    Scheduled,
    /// On its way to the checkpoint.
    Preparing,
    Checkpointing,
    Stopping,
    Grace,
    AskingReceivers,
    Releasing,
    Resting,
    /// Reads who leads now, from a store of which there is no copy.
    Reading,
}

impl Demotion {
    /// The server is being stopped, and the loop goes on meanwhile as if it had nothing to do with it.
    pub(crate) const fn stops_in_background(self) -> bool {
        self.in_background && matches!(self.stage, Stage::Scheduled | Stage::Stopping)
    }

    /// What the server is being asked for.
    pub(crate) fn command(self) -> Option<Control> {
        match self.stage {
            Stage::Checkpointing => Some(Control::Checkpoint),
            Stage::Stopping => Some(Control::Stop(stop_mode(self.mode))),
            _ => None,
        }
    }
}

fn stop_mode(mode: DemoteMode) -> StopMode {
    match mode {
        DemoteMode::Offline | DemoteMode::Graceful | DemoteMode::Final { .. } => StopMode::Fast,
        DemoteMode::Immediate | DemoteMode::ImmediateNoLock => StopMode::Immediate,
    }
}

/// True if others are to get everything, and then the lock.
const fn hands_over(mode: DemoteMode) -> bool {
    matches!(mode, DemoteMode::Graceful | DemoteMode::Final { leads: true })
}

impl Member {
    /// Begins a demotion; another task is given up.
    pub(super) fn demote(&mut self, context: &mut impl Context<Self>, mode: DemoteMode) {
        let inquires = self.spec.has(Change::InquireBeforeDemotion);
        let stage = match mode {
            DemoteMode::Graceful => Stage::Scheduled,
            DemoteMode::Offline | DemoteMode::Immediate | DemoteMode::ImmediateNoLock if inquires => {
                Stage::Inquiring
            }
            _ => Stage::Stopping,
        };
        self.start_demotion(context, mode, stage, false);
        if stage == Stage::Scheduled {
            self.finish_cycle(context);
            return;
        }
        self.cycle = Cycle::Demoting;
        if stage == Stage::Inquiring {
            let delay = self.spec.inputs.archive_inquiry.draw(context.random());
            context.set_timer(Timer::Task, delay);
        } else {
            self.stop_server(context, mode);
        }
    }

    fn start_demotion(
        &mut self,
        context: &mut impl Context<Self>,
        mode: DemoteMode,
        stage: Stage,
        in_background: bool,
    ) {
        self.task = Some(Task::Demote(Demotion { mode, stage, since: context.monotonic(), in_background }));
    }

    /// etcd does not answer: the server is to stop. From 2.1.6 until 4.0.6 the executor saw to it, and the loop only waited if it found that it
    /// had asked it to before.
    pub(super) fn demote_offline(&mut self, context: &mut impl Context<Self>) {
        let in_executor = self.spec.has(Change::DemoteInExecutor) && !self.spec.has(Change::DemoteInLoop);
        match self.task {
            None if in_executor => {
                self.start_demotion(context, DemoteMode::Offline, Stage::Scheduled, true);
                self.end_cycle(context);
            }
            Some(Task::Demote(_)) => {
                context.note(|| "AsyncExecutor is busy, demoting from the main thread".to_owned());
                self.cycle = Cycle::Demoting;
            }
            _ => self.demote(context, DemoteMode::Offline),
        }
    }

    /// True while the executor stops the server for a loop that goes on.
    pub(super) fn demotes_in_background(&self) -> bool {
        matches!(self.task, Some(Task::Demote(demotion)) if demotion.stops_in_background())
    }

    /// The cycle that decided to hand over, or to demote in the background, is over.
    pub(super) fn begin_demotion(&mut self, context: &mut impl Context<Self>) {
        if let Some(Task::Demote(demotion)) = self.task
            && demotion.stage == Stage::Scheduled
        {
            if demotion.in_background {
                self.enter(demotion, Stage::Stopping);
                return self.stop_server(context, demotion.mode);
            }
            self.enter(demotion, Stage::Preparing);
            let delay = self.spec.inputs.handover.draw(context.random());
            context.set_timer(Timer::Task, delay);
        }
    }

    pub(super) fn on_demotion_checkpoint(&mut self, context: &mut impl Context<Self>) {
        if let Some(Task::Demote(demotion)) = self.task
            && demotion.stage == Stage::Checkpointing
        {
            self.enter(demotion, Stage::Stopping);
            self.stop_server(context, demotion.mode);
        }
    }

    fn enter(&mut self, demotion: Demotion, stage: Stage) {
        self.task = Some(Task::Demote(Demotion { stage, ..demotion }));
    }

    fn stop_server(&mut self, context: &mut impl Context<Self>, mode: DemoteMode) {
        self.control(context, Control::Stop(stop_mode(mode)));
        let poll = if hands_over(mode) { CONTROL_POLL } else { STOP_POLL };
        context.set_timer(Timer::Task, poll);
    }

    /// The next step of a demotion.
    pub(super) fn advance_demotion(&mut self, context: &mut impl Context<Self>, demotion: Demotion) {
        match demotion.stage {
            Stage::Inquiring => {
                self.enter(demotion, Stage::Stopping);
                self.stop_server(context, demotion.mode);
            }
            // Who is not there is stopped (`postgresql/__init__.py:_do_stop`).
            Stage::Preparing if !context.is_running(self.spec.postgres) => {
                self.on_stopped_for_demotion(context, demotion);
            }
            Stage::Preparing => {
                self.enter(demotion, Stage::Checkpointing);
                self.control(context, Control::Checkpoint);
            }
            // The server died before it answered: there is nothing to checkpoint.
            Stage::Checkpointing => self.enter(demotion, Stage::Stopping),
            Stage::Stopping if self.is_stopping(context, demotion) => self.watch_stop(context, demotion),
            Stage::Stopping => self.on_stopped_for_demotion(context, demotion),
            Stage::Grace => {
                self.enter(demotion, Stage::AskingReceivers);
                let candidates = self.chosen_candidate().unwrap_or_else(|| self.candidates());
                self.poll(context, RoundPurpose::Receivers, candidates);
            }
            // The key may be gone before the last walsender is.
            Stage::Resting if context.is_running(self.spec.postgres) => {
                context.set_timer(Timer::Task, STOP_POLL);
            }
            Stage::Resting => self.rest_demoted(context, demotion),
            Stage::Scheduled | Stage::AskingReceivers | Stage::Releasing | Stage::Reading => {}
        }
        if demotion.stage == Stage::Checkpointing {
            context.set_timer(Timer::Task, STOP_POLL);
        }
    }

    /// A graceful stop has gone far enough when `pg_control` says so, even if the postmaster waits for walsenders.
    fn is_stopping(&self, context: &impl Context<Self>, demotion: Demotion) -> bool {
        let clean = context.storage().control.state == ClusterState::ShutDown;
        let enough = hands_over(demotion.mode) && clean;
        context.is_running(self.spec.postgres) && !enough
    }

    /// True while the end of the server is noticed at once. A graceful demotion looks once a second.
    pub(super) fn waits_for_exit(&self) -> bool {
        match self.task {
            Some(Task::Demote(demotion)) => {
                demotion.stage == Stage::Stopping && !hands_over(demotion.mode)
                    || demotion.stage == Stage::Checkpointing
            }
            Some(Task::Repair(_)) => true,
            _ => false,
        }
    }

    fn watch_stop(&mut self, context: &mut impl Context<Self>, demotion: Demotion) {
        let limit = self.spec.configuration.primary_stop_timeout;
        let lasted = context.monotonic().since(demotion.since);
        if self.synchronous() && limit > SimDuration::ZERO && lasted >= limit {
            context.note(|| "primary_stop_timeout is over: killing the postmaster".to_owned());
            context.kill(self.spec.postgres);
        }
        let poll = if hands_over(demotion.mode) { CONTROL_POLL } else { STOP_POLL };
        context.set_timer(Timer::Task, poll);
    }

    fn on_stopped_for_demotion(&mut self, context: &mut impl Context<Self>, demotion: Demotion) {
        self.leader_expiry = None;
        self.was_primary = false;
        self.status = None;
        self.check_divergence = true;
        self.disarm_watchdog(context);
        match demotion.mode {
            DemoteMode::Offline | DemoteMode::ImmediateNoLock => self.rest_demoted(context, demotion),
            DemoteMode::Immediate => {
                self.enter(demotion, Stage::Releasing);
                self.store.release(context, None);
            }
            DemoteMode::Final { leads: false } => Self::exit(context),
            DemoteMode::Graceful | DemoteMode::Final { leads: true } => {
                let clean = context.storage().control.state == ClusterState::ShutDown;
                if clean {
                    self.enter(demotion, Stage::Grace);
                    context.set_timer(Timer::Task, GRACE);
                } else {
                    self.enter(demotion, Stage::Releasing);
                    self.store.release(context, None);
                }
            }
        }
    }

    /// The candidates of a graceful demotion said how much they have.
    pub(super) fn on_receivers(&mut self, context: &mut impl Context<Self>, reports: &[Arc<MemberReport>]) {
        let Some(Task::Demote(demotion)) = self.task else {
            return;
        };
        let shutdown: Lsn = context.storage().control.checkpoint;
        if reports.iter().any(|report| report.position >= shutdown) {
            context.note(|| "Leader key released".to_owned());
        } else {
            context.note(|| format!("nobody has received the shutdown checkpoint at {shutdown}"));
        }
        self.enter(demotion, Stage::Releasing);
        self.store.release(context, Some(shutdown));
    }

    /// The lock was given back, or etcd did not answer.
    pub(super) fn on_released(&mut self, context: &mut impl Context<Self>) {
        match self.task {
            Some(Task::Demote(demotion)) => {
                self.enter(demotion, Stage::Resting);
                let rest = if self.terminating { STOP_POLL } else { AFTER_RELEASE };
                context.set_timer(Timer::Task, rest);
            }
            _ => self.wake(context),
        }
    }

    /// The server is down: looks who leads now, if that is to be followed.
    fn rest_demoted(&mut self, context: &mut impl Context<Self>, demotion: Demotion) {
        if self.terminating {
            return Self::exit(context);
        }
        if demotion.mode != DemoteMode::Offline && self.store.reload(context) {
            return self.enter(demotion, Stage::Reading);
        }
        self.start_demoted(context, demotion);
    }

    /// The store has said who leads, or has not answered.
    pub(super) fn on_reloaded(&mut self, context: &mut impl Context<Self>) {
        if let Some(Task::Demote(demotion)) = self.task
            && demotion.stage == Stage::Reading
        {
            self.start_demoted(context, demotion);
        }
    }

    /// Starts the server again as a standby.
    fn start_demoted(&mut self, context: &mut impl Context<Self>, demotion: Demotion) {
        let view = self.store.view(context.wall());
        let me = self.spec.member;
        let leader = view.leader().filter(|leader| *leader != me && demotion.mode != DemoteMode::Offline);
        context.note(|| "starting as a secondary".to_owned());
        self.start_standby(context, leader);
        match demotion.mode {
            // The loop itself waits until the server runs, unless its start was given up.
            DemoteMode::Offline if demotion.in_background && self.cycle != Cycle::Demoting => {
                if self.task.is_none() {
                    self.wake(context);
                }
            }
            DemoteMode::Offline if self.task.is_some() => self.cycle = Cycle::Demoting,
            DemoteMode::Offline | DemoteMode::Immediate | DemoteMode::ImmediateNoLock => {
                self.finish_cycle(context);
            }
            DemoteMode::Graceful | DemoteMode::Final { .. } => {}
        }
    }
}
