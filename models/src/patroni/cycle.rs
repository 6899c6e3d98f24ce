//! One cycle of the HA loop, in order (`ha.py:_run_cycle`; fidelity specification, 2.4).
//!
//! The real loop is one thread that blocks; here it is a value that says where the loop waits.
//!
//! ```text
//!  Napping ─► AwaitingView ─► AwaitingStatus ─┬─ task runs ──────► renew the lock, if held
//!                  │                          ├─ server starts ──► renew the lock, if held
//!                  │                          ├─ no data ────────► give the lock back; clone the leader
//!                  ▼                          ├─ server dead ────► recover
//!              DCS error                      ├─ no leader ──────► Polling ─► Locking(Acquire) ──────────────┐
//!            (Demoting if primary)            └─ leader ─┬─ me ──► Locking(Renew) ─► lead ◄─────────────────┘
//!                                                        └─ other ► follow
//!                              then Locking(Member), Touching, and the nap
//! ```

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use super::dcs::{Loading, MemberKey};
use super::demotion::DemoteMode;
use super::local::{ServerState, Waiter, position_of};
use super::lock::{After, Goal};
use super::member::{Member, Timer};
use super::packet::{MemberReport, MemberRole};
use super::rest::RoundPurpose;
use super::synchronous::SyncStep;
use super::task::Task;
use crate::planted::Planted;
use crate::postgres::{Lsn, Status, Timeline};

/// Where the HA loop is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cycle {
    /// Between two cycles.
    Napping,
    /// Waits for the copy of the keys to be complete, at most `retry_timeout`, or for the keys to be read.
    AwaitingView,
    /// Waits for the answer of the server.
    AwaitingStatus,
    /// Asks the server once more for its role: etcd does not answer.
    AwaitingRole,
    /// Waits for the store.
    Locking(Goal),
    /// Has kept the lock, and waits until what the leader says besides is written.
    Publishing(After),
    /// Waits until the member's own key is written: the last step.
    Touching,
    /// Waits for the reports of other members.
    Polling(RoundPurpose),
    /// Has the lock, and waits until `/failover` is removed.
    CleaningUp,
    /// Manages synchronous standbys.
    Synchronizing(SyncStep),
    /// The loop itself stops the server.
    Demoting,
}

impl Member {
    /// Begins a cycle.
    pub(super) fn begin_cycle(&mut self, context: &mut impl Context<Self>) {
        self.woken = false;
        match self.store.begin_cycle(context) {
            Loading::Complete => self.on_view(context),
            Loading::Building => {
                self.cycle = Cycle::AwaitingView;
                context.set_timer(Timer::View, self.spec.configuration.retry_timeout);
            }
            Loading::Asked => self.cycle = Cycle::AwaitingView,
        }
    }

    /// The store was asked for its keys, and has not answered.
    pub(super) fn on_unreadable(&mut self, context: &mut impl Context<Self>) {
        if self.cycle == Cycle::AwaitingView {
            context.note(|| "Error communicating with DCS: etcd is not responding properly".to_owned());
            self.on_dcs_error(context);
        }
    }

    /// The copy of the keys did not become complete in time.
    pub(super) fn on_view_timeout(&mut self, context: &mut impl Context<Self>) {
        if self.cycle == Cycle::AwaitingView {
            context.note(|| "Error communicating with DCS: the view is not ready".to_owned());
            self.on_dcs_error(context);
        }
    }

    /// The copy of the keys is complete.
    pub(super) fn on_view(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&Timer::View);
        self.view = self.store.view(context.wall());
        if self.view.judges_lock {
            self.notice_lock(context, self.view.leader.is_some());
        }
        if let Some(leader) = self.view.leader() {
            self.old_view.clone_from(&self.view);
            self.backoff.end();
            if leader != self.spec.member {
                self.leader_expiry = None;
            }
        }
        self.on_failsafe_view(context.wall());
        if self.paused() {
            self.disarm_watchdog(context);
        }
        self.cycle = Cycle::AwaitingStatus;
        self.ask_status(context, Waiter::Cycle);
    }

    /// The server answered, or there is no answer to be had.
    pub(super) fn on_cycle_status(&mut self, context: &mut impl Context<Self>, status: Option<Arc<Status>>) {
        if self.cycle == Cycle::AwaitingRole {
            return self.on_role_asked(context, status);
        }
        if self.cycle != Cycle::AwaitingStatus {
            return;
        }
        let answered = self.status.as_ref().is_some_and(|status| status.accepts_connections);
        self.server_is_slow = status.is_none()
            && !self.query_cancelled
            && (answered || self.server_is_slow)
            && context.is_running(self.spec.postgres);
        self.backoff.look(status.as_deref());
        self.status = status;
        let state = self.server_state(context);
        let starting = state == ServerState::Starting;
        let is_started = matches!(self.task, Some(Task::Start(_)));
        self.starting_since = (starting || is_started).then(|| self.starting_since.unwrap_or(context.wall()));
        if state == ServerState::Running {
            self.start_failed = false;
            self.crash_recovered = false;
            self.was_primary |= self.is_primary(context);
        }
        if self.task.is_some() {
            self.while_busy(context);
        } else if starting && !self.paused() {
            self.while_starting(context);
        } else if !context.storage().initialized {
            self.on_empty_data_directory(context);
        } else if state == ServerState::Stopped {
            self.on_stopped(context);
        } else {
            match self.view.leader() {
                None => self.race(context),
                Some(leader) if leader == self.spec.member => self.lock(context, Goal::Renew(After::Lead)),
                Some(_) => self.follow(context),
            }
        }
    }

    /// The reduced branch: a task runs.
    fn while_busy(&mut self, context: &mut impl Context<Self>) {
        if self.holds_lock() {
            self.lock(context, Goal::Renew(After::Busy));
        } else if matches!(self.task, Some(Task::PrePromote)) {
            self.cancel_pre_promote(context);
        } else if self.paused() {
            self.finish_cycle(context);
        } else if self.is_primary(context) && self.may_demote() {
            context.note(|| "demoting self because I do not have the lock and I was a leader".to_owned());
            self.demote(context, DemoteMode::ImmediateNoLock);
        } else {
            self.finish_cycle(context);
        }
    }

    /// The server does not let anybody in yet.
    fn while_starting(&mut self, context: &mut impl Context<Self>) {
        if self.holds_lock() {
            self.lock(context, Goal::Renew(After::Starting));
        } else if self.is_primary(context) {
            context
                .note(|| "demoting self: not the leader, and PostgreSQL is starting as primary".to_owned());
            self.demote(context, DemoteMode::ImmediateNoLock);
        } else {
            self.finish_cycle(context);
        }
    }

    /// The lock is kept.
    pub(super) fn on_renewed(&mut self, context: &mut impl Context<Self>, after: After) {
        self.after_renewal(context, Goal::Renew(after));
        if self.store.is_writing() {
            self.cycle = Cycle::Publishing(after);
        } else {
            self.on_published(context, after);
        }
    }

    /// All that the cycle had written is written.
    pub(super) fn on_written(&mut self, context: &mut impl Context<Self>) {
        match self.cycle {
            Cycle::Publishing(after) => self.on_published(context, after),
            Cycle::Touching => self.end_cycle(context),
            _ => {}
        }
    }

    /// The lock is kept, and everything is said besides.
    fn on_published(&mut self, context: &mut impl Context<Self>, after: After) {
        match after {
            After::Lead => self.lead(context),
            After::Busy if self.recovers_for_too_long(context.monotonic()) => {
                self.cycle = Cycle::Polling(RoundPurpose::Candidates);
                let candidates = self.candidates();
                self.poll(context, RoundPurpose::Candidates, candidates);
            }
            After::Busy => self.finish_cycle(context),
            After::Starting => self.on_slow_start(context),
            After::Recover => self.recover(context),
        }
    }

    /// Somebody else has the lock, by the word of etcd.
    pub(super) fn on_renewal_refused(&mut self, context: &mut impl Context<Self>) {
        self.leader_expiry = None;
        self.view.leader = None;
        if self.role_is_unknown() {
            self.give_up_on_server(context);
        } else if self.is_primary(context) && self.paused() {
            context
                .note(|| "PAUSE: continue to run as primary after failing to update leader lock".to_owned());
            self.finish_cycle(context);
        } else if self.is_primary(context) {
            context.note(|| "demoted self because failed to update leader lock in DCS".to_owned());
            self.demote(context, DemoteMode::ImmediateNoLock);
        } else {
            context.note(|| "not promoting because failed to update leader lock in DCS".to_owned());
            self.finish_cycle(context);
        }
    }

    /// etcd did not answer (`_handle_dcs_error`).
    pub(super) fn on_dcs_error(&mut self, context: &mut impl Context<Self>) {
        // The status may be of an earlier cycle; the role has not changed without the loop.
        if self.asks_for_role(context) {
            return;
        }
        let goes_on = self.spec.lacks(Planted::StayWithoutDcs);
        if self.is_primary(context) && self.may_demote() && !goes_on && !self.paused() {
            if self.asks_failsafe_topology(context) {
                return;
            }
            context.note(|| "demoting self because DCS is not accessible and I was a leader".to_owned());
            self.demote_offline(context);
        } else {
            context.note(|| "DCS is not accessible".to_owned());
            self.end_cycle(context);
        }
    }

    /// The server is not being stopped yet, or the loop takes no account of it.
    fn may_demote(&self) -> bool {
        !matches!(self.task, Some(Task::Demote(_))) || self.demotes_in_background()
    }

    /// All polls of a round ended.
    pub(super) fn on_round(
        &mut self,
        context: &mut impl Context<Self>,
        purpose: RoundPurpose,
        reports: &[Arc<MemberReport>],
    ) {
        match purpose {
            RoundPurpose::Receivers => return self.on_receivers(context, reports),
            RoundPurpose::Requested => return self.on_requested(context, reports),
            _ => {}
        }
        if self.cycle != Cycle::Polling(purpose) {
            return;
        }
        match purpose {
            RoundPurpose::Race => self.on_race_polled(context, reports),
            RoundPurpose::Candidates => self.on_candidates(context, reports),
            RoundPurpose::Leader => self.on_leader_polled(context, reports),
            RoundPurpose::Chosen => self.on_chosen_polled(context, reports),
            RoundPurpose::Receivers | RoundPurpose::Requested | RoundPurpose::Failsafe => {}
        }
    }

    /// The last steps of a cycle: replication slots, and the member's own key.
    pub(super) fn finish_cycle(&mut self, context: &mut impl Context<Self>) {
        self.synchronize_slots(context);
        self.lock(context, Goal::Member);
    }

    /// Writes the member's own key, if it changed, or if what was written before vanishes.
    pub(super) fn write_member_key(&mut self, context: &mut impl Context<Self>, anew: bool) {
        let key = self.member_key(context);
        let own = self.spec.member;
        let stored = self.view.member(own).is_some();
        if stored && !anew && self.written_key == Some(key) {
            return;
        }
        self.written_key = Some(key);
        self.store.touch_member(context, key);
    }

    fn member_key(&self, context: &impl Context<Self>) -> MemberKey {
        if let Some(key) = self.written_key.filter(|_| self.query_cancelled) {
            return key;
        }
        let tags = self.tags();
        let status = self
            .status
            .as_deref()
            .filter(|status| status.accepts_connections && context.is_running(self.spec.postgres));
        MemberKey {
            member: self.spec.member,
            role: if status.is_some_and(|status| !status.in_recovery) {
                MemberRole::Primary
            } else {
                MemberRole::Replica
            },
            running: status.is_some(),
            timeline: status.map_or(Timeline::default(), |status| status.timeline),
            position: status.map_or(Lsn(0), position_of),
            checkpoint_after_promote: self.checkpoint_done,
            nosync: tags.nosync,
            nofailover: tags.nofailover,
        }
    }

    /// The cycle is over: naps until the next one.
    pub(super) fn end_cycle(&mut self, context: &mut impl Context<Self>) {
        self.cycle = Cycle::Napping;
        self.begin_demotion(context);
        let now = context.wall();
        let follows = !self.holds_lock() && self.view.leader.is_some() && self.task.is_none();
        let polls = follows && self.store.polls_in_naps();
        if std::mem::take(&mut self.woken) && !polls {
            self.schedule.wake(now);
            context.set_timer(Timer::Nap, SimDuration::ZERO);
            return;
        }
        let (nap, exceeded) = self.schedule.after_cycle(now, self.spec.configuration.loop_wait, follows);
        if exceeded {
            context.note(|| "Loop time exceeded, rescheduling immediately.".to_owned());
        } else if polls {
            self.store.nap(context, nap);
        }
        context.set_timer(Timer::Nap, nap);
    }
}
