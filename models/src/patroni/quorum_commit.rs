//! Quorum commit, carried out: `synchronous_mode: quorum` (`ha.py:_process_quorum_replication`, `sync.py:current_state`;
//! fidelity specification, 2.8). Which steps there are is in `quorum.rs`.
//!
//! A pass takes the steps one after another and ends when the next would come later than `loop_wait` after its beginning. After
//! a promotion the first pass puts the new leader into `/sync`, and the next comes `loop_wait` later at the earliest, so that
//! standbys have the time to connect before they count as gone.
//!
//! In the race a member needs the votes of `quorum` others of `/sync`, one more if it is not in it. A vote is the report of a
//! running server that is not ahead (`race.rs`).
//!
//! Simplified: strict mode without standbys writes `*`, of which the standby that connected first counts, where `ANY 1 (*)`
//! takes any.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{Context, HostTime, SimDuration, WallTime};

use super::config::SynchronousMode;
use super::cycle::Cycle;
use super::member::{Member, Timer};
use super::quorum::{MemberSet, QuorumState, Transition, transitions};
use super::synchronous::{SyncStep, position};
use crate::postgres::{ReplicationStatus, Status, SyncMethod, SyncState, SynchronousStandbys};

/// How long new synchronous standbys get before the pass looks again.
const RESTART: SimDuration = SimDuration::from_secs(1);

/// What a leader remembers from pass to pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuorumPass {
    plan: VecDeque<Transition>,
    /// When the pass began.
    since: HostTime,
    /// Standbys that were seen to have what was flushed when they were added (`_ready_replicas`).
    ready: MemberSet,
    /// `synchronous_standby_names` was changed since the standbys were last looked at.
    names_changed: bool,
    /// The first pass after the promotion.
    promoted_at: Option<WallTime>,
}

impl Member {
    /// `synchronous_mode` is `quorum`.
    pub(super) fn quorum_commit(&self) -> bool {
        self.spec.configuration.synchronous_mode == SynchronousMode::Quorum
    }

    /// The least number of standbys that commits wait for.
    fn least_synchronous(&self) -> usize {
        usize::from(self.spec.configuration.synchronous_mode_strict)
    }

    /// The leader's pass; ends the cycle.
    pub(super) fn manage_quorum(&mut self, context: &mut impl Context<Self>) {
        let now = context.wall();
        let loop_wait = self.spec.configuration.loop_wait;
        let promoted_at = self.sync.quorum.promoted_at;
        self.sync.quorum.promoted_at = promoted_at.or(Some(now));
        if promoted_at.is_some_and(|at| now.since(at) <= loop_wait) {
            return self.finish_cycle(context);
        }
        self.sync.quorum.since = context.monotonic();
        if self.view.sync.leader.is_none() {
            let me = self.spec.member;
            return self.put_sync(context, SyncStep::ClaimingQuorum, me, &[], 0);
        }
        self.plan_quorum(context);
    }

    /// Looks where things are, and begins to change them.
    pub(super) fn plan_quorum(&mut self, context: &mut impl Context<Self>) {
        let Some(status) = self.status.clone() else {
            return self.finish_cycle(context);
        };
        let Some(leader) = self.view.sync.leader else {
            return self.finish_cycle(context);
        };
        let written = &context.storage().settings.synchronous_standbys;
        let sync: MemberSet = written.members.iter().copied().collect();
        let numsync = match written.method {
            SyncMethod::Nobody | SyncMethod::Wildcard => 0,
            SyncMethod::First(count) | SyncMethod::Any(count) => usize::from(count),
        };
        let (active, numsync_confirmed) = self.look_at_standbys(&status, sync);
        let state = QuorumState {
            leader,
            quorum: usize::from(self.view.sync.quorum),
            voters: self.view.sync.standbys.iter().copied().collect(),
            numsync,
            sync,
            numsync_confirmed,
            active,
            sync_wanted: usize::from(self.spec.configuration.synchronous_node_count),
            leader_wanted: self.spec.member,
        };
        self.sync.quorum.plan = transitions(state).into();
        self.advance_quorum(context);
    }

    /// Who streams and may be listed, and how many of those have caught up (`current_state`).
    fn look_at_standbys(&mut self, status: &Status, sync: MemberSet) -> (MemberSet, usize) {
        if std::mem::take(&mut self.sync.quorum.names_changed) {
            self.sync.quorum.ready = self.sync.quorum.ready.and(sync);
            self.sync.changed_at = status.flushed;
        }
        let configuration = &self.spec.configuration;
        let commit = configuration.synchronous_commit;
        let key = |row: &ReplicationStatus| self.view.member(row.member).copied();
        let eligible = |row: &&ReplicationStatus| {
            row.streaming
                && row.member != self.spec.member
                && key(row).is_some_and(|key| key.running && !key.nosync)
        };
        let mut rows: Vec<&ReplicationStatus> = status.replication.iter().filter(eligible).collect();
        // Whoever may not lead is listed only if there are too few others.
        rows.sort_by_key(|row| key(row).is_some_and(|key| key.nofailover));
        let furthest = rows.iter().map(|row| position(row, commit)).max();
        let furthest = if rows.len() > 1 { furthest.unwrap_or_default() } else { status.flushed };
        let (mut active, mut confirmed) = (MemberSet::EMPTY, 0);
        for row in rows {
            let at = position(row, commit);
            if sync.contains(row.member) && at >= self.sync.changed_at && row.sync == SyncState::Quorum {
                self.sync.quorum.ready.insert(row.member);
            }
            let lags = |limit: u64| furthest.0.saturating_sub(at.0) > limit;
            let barred = self.view.member(row.member).is_some_and(|key| key.nofailover);
            if configuration.maximum_lag_on_syncnode.is_some_and(lags)
                || (barred && active.len() >= usize::from(configuration.synchronous_node_count))
            {
                continue;
            }
            confirmed += usize::from(self.sync.quorum.ready.contains(row.member));
            active.insert(row.member);
        }
        (active, confirmed)
    }

    /// The next steps of the pass.
    pub(super) fn advance_quorum(&mut self, context: &mut impl Context<Self>) {
        let loop_wait = self.spec.configuration.loop_wait;
        while let Some(step) = self.sync.quorum.plan.pop_front() {
            let lasted = context.monotonic().since(self.sync.quorum.since);
            if lasted >= loop_wait {
                break;
            }
            match step {
                Transition::Sync { numsync, sync } => {
                    let numsync = numsync.max(self.least_synchronous());
                    self.set_quorum_names(context, numsync, sync);
                }
                Transition::Quorum { leader, quorum, voters } => {
                    let members: Vec<_> = voters.members().collect();
                    let (name, names) = (self.spec.name(leader).to_owned(), self.names_of(&members));
                    let count = members.len();
                    context.note(|| {
                        format!("Setting leader to {name}, quorum to {quorum} of {count} ({names})")
                    });
                    let quorum = quorum as u8;
                    return self.put_sync(context, SyncStep::Quorum, leader, &members, quorum);
                }
                Transition::Restart if lasted + RESTART < loop_wait => {
                    self.cycle = Cycle::Synchronizing(SyncStep::Restarting);
                    context.set_timer(Timer::SyncSettled, RESTART);
                    return;
                }
                Transition::Restart => break,
            }
        }
        self.finish_cycle(context);
    }

    /// The standbys were looked at again after a restart of the pass.
    pub(super) fn on_quorum_status(&mut self, context: &mut impl Context<Self>, status: Option<Arc<Status>>) {
        if let Some(status) = status.filter(|status| status.accepts_connections) {
            self.status = Some(status);
            self.plan_quorum(context);
        } else {
            self.finish_cycle(context);
        }
    }

    fn set_quorum_names(&mut self, context: &mut impl Context<Self>, numsync: usize, sync: MemberSet) {
        let standbys = any_of(numsync, sync);
        let names = self.names_of(&standbys.members);
        let count = sync.len();
        if self.set_synchronous_standbys(context, standbys) {
            self.sync.quorum.names_changed = true;
            context.note(|| format!("Setting synchronous replication to {numsync} of {count} ({names})"));
        }
    }

    /// For a promotion: commits wait for as many of the others in `/sync` as leave no quorum without one of them. `/sync` is
    /// written when the server is a primary.
    pub(super) fn prepare_quorum_promotion(&mut self) -> SynchronousStandbys {
        self.sync.quorum = QuorumPass { names_changed: true, ..QuorumPass::default() };
        let me = MemberSet::only(self.spec.member);
        let (mut members, mut numsync) = (MemberSet::EMPTY, self.least_synchronous());
        if self.view.sync.leader.is_some() {
            let named = self.view.sync.members();
            numsync = named.len().saturating_sub(usize::from(self.view.sync.quorum) + 1);
            numsync += usize::from(!me.is_within(named));
            members = named.without(me);
        }
        any_of(numsync, members)
    }
}

/// `ANY numsync (members)`.
fn any_of(numsync: usize, members: MemberSet) -> SynchronousStandbys {
    let method = match numsync {
        0 => SyncMethod::Nobody,
        _ if members.is_empty() => SyncMethod::Wildcard,
        count => SyncMethod::Any(count as u8),
    };
    SynchronousStandbys { method, members: members.members().collect() }
}
