//! The branch with a leader: what the holder of the lock does in each cycle, and what the others do
//! (`ha.py:process_healthy_cluster`; fidelity specification, 2.6).

use std::sync::Arc;

use sim_core::{Context, WallTime};

use super::cycle::Cycle;
use super::dcs::Publication;
use super::demotion::DemoteMode;
use super::lock::Goal;
use super::member::Member;
use super::packet::MemberReport;
use super::rest::RoundPurpose;
use super::task::Task;
use super::version::Change;
use crate::planted::Planted;
use crate::postgres::{Control, MemberId, Status};

impl Member {
    /// The lock was renewed or acquired: what `update_lock` does besides.
    pub(super) fn after_renewal(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        self.leader_expiry = Some(context.wall() + self.spec.configuration.ttl);
        self.end_failsafe_mode();
        self.keep_watchdog(context);
        let publication = self.publication(context.wall(), goal);
        self.store.publish(context, &publication);
        if let Some(members) = publication.failsafe {
            self.failsafe.topology = members;
        }
        if !self.view.initialized {
            self.view.initialized = true;
            self.store.write_initialize(context);
        }
    }

    /// What the leader says besides keeping its lock.
    pub(super) fn publication(&mut self, now: WallTime, goal: Goal) -> Publication {
        if goal == Goal::Member {
            return Publication::default();
        }
        let leads = |status: &Arc<Status>| status.accepts_connections && !status.in_recovery;
        let status = self.status.clone().filter(leads);
        Publication {
            status: status.map(|status| self.status_key(now, status.flushed, &status.slots)),
            failsafe: self.changed_failsafe(),
        }
    }

    /// This member holds the lock, and its server answers.
    pub(super) fn lead(&mut self, context: &mut impl Context<Self>) {
        if self.watchdog_forbids_leading() {
            context.note(|| "releasing leader key: the watchdog is required and not usable".to_owned());
            if self.is_primary(context) {
                return self.demote(context, DemoteMode::Immediate);
            }
            self.leader_expiry = None;
            self.store.release(context, None);
            return self.finish_cycle(context);
        }
        if !self.is_primary(context) && !self.query_cancelled {
            if self.paused() {
                return self.give_lock_back(
                    context,
                    "removed leader lock because postgres is not running as primary",
                );
            }
            if self.gives_lock_back_after_pre_promote(context) {
                return;
            }
            return self.promote(context);
        }
        self.start_failed = false;
        let is_chosen = self.view.failover.is_some_and(|key| key.leader == self.spec.member);
        if is_chosen {
            self.cycle = Cycle::Polling(RoundPurpose::Candidates);
            let candidates = self.chosen_candidate().unwrap_or_else(|| self.candidates());
            return self.poll(context, RoundPurpose::Candidates, candidates);
        }
        if self.query_cancelled {
            return self.give_up_on_server(context);
        }
        let name = self.name().to_owned();
        context.note(|| format!("no action. I am ({name}), the leader with the lock"));
        self.ensure_checkpoint(context);
        self.write_history(context);
        self.manage_synchronous(context);
    }

    /// One checkpoint after a promotion, before others may rewind (`ensure_checkpoint_after_promote`).
    fn ensure_checkpoint(&mut self, context: &mut impl Context<Self>) {
        if self.checkpoint_done || self.checkpoint_asked {
            return;
        }
        let running = self.status.as_ref().map(|status| status.timeline);
        if running == Some(context.storage().control.timeline) {
            self.checkpoint_done = true;
        } else {
            self.checkpoint_asked = true;
            self.control(context, Control::Checkpoint);
        }
    }

    /// A checkpoint is complete: of a demotion, or after a promotion.
    pub(super) fn on_checkpoint_done(&mut self, context: &mut impl Context<Self>) {
        if matches!(self.task, Some(Task::Demote(_))) {
            return self.on_demotion_checkpoint(context);
        }
        if std::mem::take(&mut self.checkpoint_asked) {
            self.checkpoint_done = true;
            self.wake(context);
        }
    }

    /// `/history`, when the timeline changed.
    fn write_history(&mut self, context: &mut impl Context<Self>) {
        let history = &context.storage().history;
        if history.switches.is_empty() || (self.view.has_history && *history == self.view.history) {
            return;
        }
        let history = history.clone();
        self.store.write_history(context, &history);
    }

    /// Who may take over: the members of `/sync` in synchronous mode, else all members with a key. Before 4.0.5, all of them
    /// with quorum commit as well.
    pub(super) fn candidates(&self) -> Vec<MemberId> {
        let restricts = !self.quorum_commit() || self.spec.has(Change::CountVotersBeforeHandover);
        if self.synchronous() && restricts {
            return self.view.sync.standbys.clone();
        }
        let me = self.spec.member;
        self.view
            .members
            .iter()
            .filter(|key| key.member != me && !key.nofailover)
            .map(|key| key.member)
            .collect()
    }

    /// True if one of these could lead (`is_failover_possible`).
    pub(super) fn is_failover_possible(&self, reports: &[Arc<MemberReport>]) -> bool {
        let configuration = &self.spec.configuration;
        let is_healthy = |report: &&Arc<MemberReport>| {
            report.running
                && !report.nofailover
                && !report.watchdog_failed
                && self.view.status.optime.0.saturating_sub(report.position.0)
                    <= configuration.maximum_lag_on_failover
        };
        // A chosen candidate needs no votes.
        let chosen = self.view.failover.and_then(|key| key.candidate);
        let counts = self.spec.has(Change::CountVotersBeforeHandover) && chosen.is_none();
        let needed = if self.quorum_commit() && counts { usize::from(self.view.sync.quorum) } else { 0 };
        reports.iter().filter(is_healthy).count() > needed
    }

    /// The candidates of a switchover, or of a failover from a dead server, answered.
    pub(super) fn on_candidates(&mut self, context: &mut impl Context<Self>, reports: &[Arc<MemberReport>]) {
        let possible = self.is_failover_possible(reports);
        if matches!(self.task, Some(Task::CrashRecovery(_))) {
            return self.on_long_recovery_candidates(context, possible);
        }
        if !context.is_running(self.spec.postgres) {
            return self.on_crash_candidates(context, possible);
        }
        if self.starting_since.is_some() {
            return self.on_slow_start_candidates(context, possible);
        }
        if possible {
            context.note(|| "manual failover: demoting myself".to_owned());
            self.demote(context, DemoteMode::Graceful);
        } else {
            context.note(|| "manual failover: no healthy members found, failover is not possible".to_owned());
            self.remove_failover_key(context);
            self.manage_synchronous(context);
        }
    }

    /// Somebody else leads: follows it.
    pub(super) fn follow(&mut self, context: &mut impl Context<Self>) {
        if self.role_is_unknown() || (self.query_cancelled && !self.is_primary(context)) {
            return self.give_up_on_server(context);
        }
        if self.is_primary(context) && self.spec.lacks(Planted::StayWithoutLock) {
            return self.finish_cycle(context);
        }
        if self.is_primary(context) && self.paused() {
            context.note(|| "PAUSE: continue to run as primary without lock".to_owned());
            return self.finish_cycle(context);
        }
        if self.is_primary(context) {
            context.note(|| "demoting self because I do not have the lock and I was a leader".to_owned());
            return self.demote(context, DemoteMode::ImmediateNoLock);
        }
        let leader = self.view.leader();
        if self.set_upstream(context, leader) {
            self.check_divergence = true;
            return self.finish_cycle(context);
        }
        if self.check_divergence && self.repairs_divergence() {
            return self.ask_leader(context);
        }
        let name = self.name().to_owned();
        let leader = leader.map(|leader| self.spec.name(leader).to_owned());
        context.note(|| {
            let leader = leader.as_deref().unwrap_or("nobody");
            format!("no action. I am ({name}), a secondary, and following a leader ({leader})")
        });
        self.finish_cycle(context);
    }

    /// Points `primary_conninfo` at a leader, or removes it. Returns whether it changed.
    pub(super) fn set_upstream(
        &mut self,
        context: &mut impl Context<Self>,
        leader: Option<MemberId>,
    ) -> bool {
        let upstream = self.upstream_of(leader);
        self.configure(context, |settings| settings.upstream = upstream)
    }
}
