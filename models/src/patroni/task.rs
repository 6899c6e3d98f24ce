//! The asynchronous executor: at most one long action at a time, beside the HA loop (`async_executor.py`).

use sim_core::{Context, HostTime};

use super::cycle::Cycle;
use super::demotion::Demotion;
use super::member::{Member, Timer};
use super::recovery::{CrashRecovery, Start};
use super::rejoin::Repair;
use crate::postgres::{Control, Status, StopMode};

/// A long action.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// `pg_ctl promote` was called; the server becomes a primary.
    Promote {
        /// Since when.
        since: HostTime,
    },
    /// The script of `pre_promote` runs.
    PrePromote,
    /// Patroni ends, and waits until commits do not wait for its server any more.
    LeaveSync {
        /// Since when.
        since: HostTime,
    },
    /// The server is being stopped and restarted as a standby.
    Demote(Demotion),
    /// The server is being started.
    Start(Start),
    /// `postgres --single` replays the log of a crashed primary.
    CrashRecovery(CrashRecovery),
    /// `pg_rewind` or `pg_basebackup`.
    Repair(Repair),
}

impl Member {
    /// The next step of the task.
    pub(super) fn on_task_timer(&mut self, context: &mut impl Context<Self>) {
        match &self.task {
            Some(Task::Promote { .. }) => self.ask_status(context, super::local::Waiter::Task),
            Some(Task::Demote(demotion)) => {
                let demotion = *demotion;
                self.advance_demotion(context, demotion);
            }
            Some(Task::Start(start)) => {
                let start = *start;
                self.advance_start(context, start);
            }
            Some(Task::PrePromote) => self.on_pre_promoted(context),
            Some(Task::LeaveSync { .. }) => self.advance_leaving_sync(context),
            Some(Task::CrashRecovery(_)) => self.on_crash_recovered(context),
            Some(Task::Repair(_)) => self.advance_repair(context),
            None => {}
        }
    }

    /// The server answered the task, or is gone.
    pub(super) fn on_task_status(&mut self, context: &mut impl Context<Self>, status: Option<&Status>) {
        match self.task {
            Some(Task::Promote { .. }) => self.on_promotion_polled(context, status),
            Some(Task::Start(start)) => self.on_start_polled(context, start, status),
            _ => {}
        }
    }

    /// What the task has asked the server for.
    pub(super) fn command_under_way(&self) -> Option<Control> {
        match &self.task {
            Some(Task::Promote { .. }) => Some(Control::Promote),
            Some(Task::Demote(demotion)) => demotion.command(),
            Some(Task::Repair(repair)) if repair.waits_for_stop() => Some(Control::Stop(StopMode::Fast)),
            _ => None,
        }
    }

    /// The server has ended: what waits for it goes on.
    pub(super) fn on_server_gone(&mut self, context: &mut impl Context<Self>) {
        if self.waits_for_exit() && !context.is_running(self.spec.postgres) {
            self.on_task_timer(context);
        }
    }

    /// The task is done: the loop runs, or goes on if it waited for it.
    pub(super) fn end_task(&mut self, context: &mut impl Context<Self>) {
        self.task = None;
        context.cancel_timer(&Timer::Task);
        if self.cycle == Cycle::Demoting {
            self.end_cycle(context);
        } else {
            self.wake(context);
        }
    }
}
