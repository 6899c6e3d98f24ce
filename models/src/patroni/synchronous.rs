//! Synchronous standbys: who they are, in `synchronous_standby_names` and in `/sync` (`ha.py:
//! _process_multisync_replication`, `sync.py`; fidelity specification, 2.8).
//!
//! The order is the argument for safety: a standby is removed from `/sync` first and from `synchronous_standby_names`
//! last; it is added to `synchronous_standby_names` first and to `/sync` last, when it has caught up. So whoever may
//! lead by `/sync` has everything that was acknowledged.
//!
//! Quorum commit has another order, and files of its own (`quorum.rs`, `quorum_commit.rs`).

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use super::config::{Configuration, SynchronousMode};
use super::cycle::Cycle;
use super::dcs::{SyncKey, View};
use super::local::Waiter;
use super::member::{Member, Timer};
use super::quorum_commit::QuorumPass;
use super::version::Change;
use crate::planted::Planted;
use crate::postgres::{
    Lsn, MemberId, ReplicationStatus, Status, SyncMethod, SyncState, SynchronousCommit, SynchronousStandbys,
};

/// "Wait for `PostgreSQL` to enable synchronous mode".
const SETTLE: SimDuration = SimDuration::from_secs(2);

/// "Usually it takes 1ms to reload postgresql.conf, but we will give it 100ms".
const RELOAD: SimDuration = SimDuration::from_millis(100);

/// Where a pass is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SyncStep {
    /// `/sync` is written for a promotion.
    Promoting,
    /// `/sync` is taken over from another leader.
    Claiming,
    /// Standbys are taken out of `/sync`.
    Removing,
    /// The server reads new names.
    Reloading,
    /// New standbys catch up.
    Settling,
    /// Standbys are put into `/sync`.
    Adding,
    /// With quorum commit: the mode is enabled.
    ClaimingQuorum,
    /// With quorum commit: a step of the pass is written.
    Quorum,
    /// With quorum commit: the pass waits for new standbys.
    Restarting,
}

/// What a leader remembers from pass to pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bookkeeping {
    /// `synchronous_standby_names` as this Patroni has last read them: nobody, when it starts.
    names: SynchronousStandbys,
    /// Flushed when this Patroni first read these names: a standby that says `sync` has caught up when it has this (#2524).
    pub(super) changed_at: Lsn,
    decision: Decision,
    /// What the write under way puts into `/sync`.
    writing: SyncKey,
    pub(super) quorum: QuorumPass,
}

/// Who should be synchronous, and who is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Decision {
    /// In order of priority.
    pub(crate) picked: Vec<MemberId>,
    /// Those of them that have everything.
    pub(crate) confirmed: Vec<MemberId>,
}

pub(super) fn position(row: &ReplicationStatus, commit: SynchronousCommit) -> Lsn {
    match commit {
        SynchronousCommit::RemoteApply => row.replayed,
        SynchronousCommit::RemoteWrite => row.written,
        SynchronousCommit::Off | SynchronousCommit::Local | SynchronousCommit::On => row.flushed,
    }
}

/// Chooses among the standbys that stream (`sync.py:current_state`).
pub(crate) fn decide(
    status: &Status,
    view: &View,
    configuration: &Configuration,
    me: MemberId,
    changed_at: Lsn,
) -> Decision {
    let commit = configuration.synchronous_commit;
    // Whoever else streams under this name is not a member of the cluster.
    let is_own = |member| configuration.version.has(Change::IgnoreOwnName) && member == me;
    let eligible = |row: &&ReplicationStatus| {
        row.streaming
            && !is_own(row.member)
            && view.member(row.member).is_some_and(|key| key.running && !key.nosync)
    };
    let mut rows: Vec<&ReplicationStatus> = status.replication.iter().filter(eligible).collect();
    rows.sort_by_key(|row| {
        let barred = view.member(row.member).is_some_and(|key| key.nofailover);
        let rank = match row.sync {
            SyncState::Sync | SyncState::Quorum => 0,
            SyncState::Potential => 1,
            SyncState::Async => 2,
        };
        (barred, rank, std::cmp::Reverse(position(row, commit)))
    });
    if let Some(limit) = configuration.maximum_lag_on_syncnode {
        let furthest = rows.iter().map(|row| position(row, commit)).max();
        let furthest = if rows.len() > 1 { furthest.unwrap_or_default() } else { status.flushed };
        rows.retain(|row| furthest.0.saturating_sub(position(row, commit).0) <= limit);
    }
    rows.truncate(usize::from(configuration.synchronous_node_count));
    let confirmed = rows
        .iter()
        .filter(|row| {
            let known = view.sync.standbys.contains(&row.member);
            row.sync == SyncState::Sync && (known || position(row, commit) >= changed_at)
        })
        .map(|row| row.member)
        .collect();
    Decision { picked: rows.iter().map(|row| row.member).collect(), confirmed }
}

/// `synchronous_standby_names` for these standbys. In strict mode without any, `*`: any walsender will do.
pub(crate) fn standby_names(picked: &[MemberId], strict: bool) -> SynchronousStandbys {
    let method = match picked.len() {
        0 if strict => SyncMethod::Wildcard,
        0 => SyncMethod::Nobody,
        count => SyncMethod::First(count as u8),
    };
    SynchronousStandbys { method, members: picked.to_vec() }
}

/// Those whose walsender says `sync`, whatever they have: who counted as confirmed before 3.0.0.
fn says_sync(status: &Status, picked: &[MemberId]) -> Vec<MemberId> {
    let is_sync = |row: &&ReplicationStatus| row.sync == SyncState::Sync && picked.contains(&row.member);
    status.replication.iter().filter(is_sync).map(|row| row.member).collect()
}

fn same_members(a: &[MemberId], b: &[MemberId]) -> bool {
    a.len() == b.len() && a.iter().all(|member| b.contains(member))
}

impl Member {
    /// `synchronous_mode` is on or `quorum`.
    pub(super) fn synchronous(&self) -> bool {
        self.spec.configuration.synchronous_mode != SynchronousMode::Off
    }

    /// The leader's pass over its standbys; ends the cycle.
    pub(super) fn manage_synchronous(&mut self, context: &mut impl Context<Self>) {
        if !self.synchronous() {
            return self.finish_cycle(context);
        }
        if self.quorum_commit() {
            return self.manage_quorum(context);
        }
        if self.view.sync.leader == Some(self.spec.member) {
            self.remove_unconfirmed(context);
        } else {
            self.write_sync(context, SyncStep::Claiming, &[]);
        }
    }

    fn decide(&self, status: &Status) -> Decision {
        decide(status, &self.view, &self.spec.configuration, self.spec.member, self.sync.changed_at)
    }

    fn remove_unconfirmed(&mut self, context: &mut impl Context<Self>) {
        let Some(status) = self.status.clone() else {
            return self.finish_cycle(context);
        };
        self.notice_names(context, &status);
        let mut decision = self.decide(&status);
        if self.spec.lacks(Planted::ConfirmAtOnce) {
            decision.confirmed.clone_from(&decision.picked);
        } else if !self.spec.has(Change::WaitUntilCaughtUp) {
            decision.confirmed = says_sync(&status, &decision.picked);
        }
        let picks_the_same = same_members(&decision.picked, &self.view.sync.standbys);
        if picks_the_same && !self.spec.has(Change::CompareSyncKey) {
            return self.finish_cycle(context);
        }
        let kept: Vec<MemberId> = self
            .view
            .sync
            .standbys
            .iter()
            .copied()
            .filter(|member| decision.confirmed.contains(member))
            .collect();
        self.sync.decision = decision;
        if kept.len() == self.view.sync.standbys.len() {
            let settled = same_members(&self.sync.decision.picked, &kept);
            if settled && !self.spec.has(Change::CompareStandbyNames) {
                return self.finish_cycle(context);
            }
            self.change_names(context);
        } else {
            context.note(|| "Updating synchronous privilege: removing unconfirmed standbys".to_owned());
            if self.spec.lacks(Planted::ShrinkNamesFirst) {
                let strict = self.spec.configuration.synchronous_mode_strict;
                self.set_synchronous_standbys(context, standby_names(&self.sync.decision.picked, strict));
            }
            self.write_sync(context, SyncStep::Removing, &kept);
        }
    }

    /// Names that this Patroni has not read before hold from what is flushed now
    /// (`sync.py:_handle_synchronous_standby_names_change`): what was acknowledged until then may be missing on those who
    /// are named. It must not be an older position, such as that of the beginning of a cycle that waited for etcd since, and a
    /// Patroni that was restarted reads all names for the first time.
    fn notice_names(&mut self, context: &impl Context<Self>, status: &Status) {
        let names = &context.storage().settings.synchronous_standbys;
        if *names != self.sync.names {
            self.sync.names = names.clone();
            self.sync.changed_at = status.flushed;
        }
    }

    fn change_names(&mut self, context: &mut impl Context<Self>) {
        let strict = self.spec.configuration.synchronous_mode_strict;
        let names = standby_names(&self.sync.decision.picked, strict);
        if self.set_synchronous_standbys(context, names.clone()) {
            let names = self.names_of(&names.members);
            context.note(|| format!("Assigned synchronous standby status to [{names}]"));
            self.cycle = Cycle::Synchronizing(SyncStep::Reloading);
            context.set_timer(Timer::SyncSettled, RELOAD);
        } else {
            self.settle(context);
        }
    }

    /// Gives standbys that are picked and not confirmed some time.
    fn settle(&mut self, context: &mut impl Context<Self>) {
        if same_members(&self.sync.decision.picked, &self.sync.decision.confirmed) {
            self.add_confirmed(context);
        } else {
            self.cycle = Cycle::Synchronizing(SyncStep::Settling);
            context.set_timer(Timer::SyncSettled, SETTLE);
        }
    }

    /// The server, or new standbys, had their time.
    pub(super) fn on_sync_settled(&mut self, context: &mut impl Context<Self>) {
        if let Cycle::Synchronizing(SyncStep::Reloading | SyncStep::Settling | SyncStep::Restarting) =
            self.cycle
        {
            self.ask_status(context, Waiter::Sync);
        }
    }

    /// The server told again who is synchronous.
    pub(super) fn on_sync_status(&mut self, context: &mut impl Context<Self>, status: Option<Arc<Status>>) {
        let status = status.filter(|status| status.accepts_connections);
        match self.cycle {
            Cycle::Synchronizing(SyncStep::Settling) => {}
            Cycle::Synchronizing(SyncStep::Restarting) => return self.on_quorum_status(context, status),
            Cycle::Synchronizing(SyncStep::Reloading) => {
                // Without an answer, the next pass notices.
                if let Some(status) = status {
                    self.notice_names(context, &status);
                }
                return self.settle(context);
            }
            _ => return,
        }
        if let Some(status) = status {
            let picked = std::mem::take(&mut self.sync.decision.picked);
            let mut decision = self.decide(&status);
            decision.confirmed.retain(|member| picked.contains(member));
            decision.picked = picked;
            if !self.spec.has(Change::WaitUntilCaughtUp) {
                decision.confirmed = says_sync(&status, &decision.picked);
            }
            self.sync.decision = decision;
            self.add_confirmed(context);
        } else {
            self.finish_cycle(context);
        }
    }

    pub(super) fn names_of(&self, members: &[MemberId]) -> String {
        let names: Vec<&str> = members.iter().map(|member| self.spec.name(*member)).collect();
        names.join(", ")
    }

    fn add_confirmed(&mut self, context: &mut impl Context<Self>) {
        let confirmed = self.sync.decision.confirmed.clone();
        if confirmed.is_empty() || same_members(&confirmed, &self.view.sync.standbys) {
            return self.finish_cycle(context);
        }
        let names = self.names_of(&confirmed);
        context.note(|| format!("Synchronous standby status assigned to [{names}]"));
        self.write_sync(context, SyncStep::Adding, &confirmed);
    }

    /// Writes `/sync`, if it has not changed since this member read it.
    pub(super) fn write_sync(
        &mut self,
        context: &mut impl Context<Self>,
        step: SyncStep,
        standbys: &[MemberId],
    ) {
        self.put_sync(context, step, self.spec.member, standbys, 0);
    }

    /// The same with all fields.
    pub(super) fn put_sync(
        &mut self,
        context: &mut impl Context<Self>,
        step: SyncStep,
        leader: MemberId,
        standbys: &[MemberId],
        quorum: u8,
    ) {
        let revision = self.view.sync.revision;
        self.sync.writing = SyncKey { leader: Some(leader), standbys: standbys.to_vec(), quorum, revision };
        self.cycle = Cycle::Synchronizing(step);
        self.store.write_sync(context, &self.sync.writing);
    }

    /// `/sync` was written, or not.
    pub(super) fn on_sync_written(&mut self, context: &mut impl Context<Self>, written: Option<u64>) {
        let Cycle::Synchronizing(step) = self.cycle else {
            return;
        };
        let Some(revision) = written else {
            context.note(|| "Synchronous replication key updated by someone else, or not at all".to_owned());
            return match step {
                SyncStep::Promoting => self.postpone_promotion(context),
                _ => self.finish_cycle(context),
            };
        };
        self.view.sync = SyncKey { revision, ..std::mem::take(&mut self.sync.writing) };
        match step {
            SyncStep::Promoting => self.on_sync_claimed_for_promotion(context),
            SyncStep::Claiming => self.remove_unconfirmed(context),
            SyncStep::Removing => self.change_names(context),
            SyncStep::ClaimingQuorum => self.plan_quorum(context),
            SyncStep::Quorum => self.advance_quorum(context),
            SyncStep::Reloading | SyncStep::Settling | SyncStep::Adding | SyncStep::Restarting => {
                self.finish_cycle(context);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patroni::Version;
    use crate::patroni::dcs::MemberKey;
    use crate::patroni::packet::MemberRole;
    use crate::postgres::Timeline;

    fn row(member: u8, sync: SyncState, flushed: u64) -> ReplicationStatus {
        ReplicationStatus {
            member: MemberId(member),
            streaming: true,
            sync,
            written: Lsn(flushed),
            flushed: Lsn(flushed),
            replayed: Lsn(flushed),
        }
    }

    fn status(replication: Vec<ReplicationStatus>) -> Status {
        Status {
            accepts_connections: true,
            in_recovery: false,
            timeline: Timeline(1),
            flushed: Lsn(1_000),
            received: Lsn(1_000),
            replayed: Lsn(1_000),
            streaming: false,
            replication,
            slots: crate::postgres::Slots::default(),
        }
    }

    fn view(members: &[u8], standbys: &[u8]) -> View {
        let key = |member: &u8| MemberKey {
            member: MemberId(*member),
            role: MemberRole::Replica,
            running: true,
            timeline: Timeline(1),
            position: Lsn(0),
            checkpoint_after_promote: false,
            nosync: *member == 9,
            nofailover: false,
        };
        View {
            members: members.iter().map(key).collect(),
            sync: SyncKey {
                leader: Some(MemberId(0)),
                standbys: standbys.iter().copied().map(MemberId).collect(),
                quorum: 0,
                revision: 1,
            },
            ..View::default()
        }
    }

    #[track_caller]
    fn check(rows: Vec<ReplicationStatus>, view: &View, changed_at: u64, expected: (&[u8], &[u8])) {
        let configuration = Configuration::default();
        let decision = decide(&status(rows), view, &configuration, MemberId(0), Lsn(changed_at));
        let ids = |members: &[MemberId]| members.iter().map(|member| member.0).collect::<Vec<_>>();
        assert_eq!((&ids(&decision.picked)[..], &ids(&decision.confirmed)[..]), expected);
    }

    #[test]
    fn a_standby_that_is_synchronous_stays_even_when_another_is_ahead() {
        let rows = vec![row(1, SyncState::Async, 900), row(2, SyncState::Sync, 800)];
        check(rows, &view(&[1, 2], &[2]), 0, (&[2], &[2]));
    }

    #[test]
    fn among_equals_the_furthest_is_picked_but_not_confirmed_yet() {
        let rows = vec![row(1, SyncState::Async, 800), row(2, SyncState::Async, 900)];
        check(rows, &view(&[1, 2], &[]), 0, (&[2], &[]));
    }

    /// The walsender says `sync` before the standby has caught up (#2524).
    #[test]
    fn a_new_standby_is_confirmed_when_it_has_what_was_flushed_at_the_change() {
        let rows = || vec![row(1, SyncState::Sync, 900)];
        check(rows(), &view(&[1], &[]), 901, (&[1], &[]));
        check(rows(), &view(&[1], &[]), 900, (&[1], &[1]));
        check(rows(), &view(&[1], &[1]), 901, (&[1], &[1]));
    }

    #[test]
    fn members_without_a_key_or_with_nosync_are_not_picked() {
        let rows = || vec![row(1, SyncState::Sync, 900), row(9, SyncState::Async, 900)];
        check(rows(), &view(&[9], &[1]), 0, (&[], &[]));
    }

    /// Something streams under the name of the primary (#3112).
    #[test]
    fn the_own_name_is_not_picked_since_3_3_3() {
        for (version, expected) in [((3, 3, 2), MemberId(0)), ((3, 3, 3), MemberId(1))] {
            let (major, minor, patch) = version;
            let configuration =
                Configuration { version: Version::new(major, minor, patch), ..Configuration::default() };
            let rows = vec![row(0, SyncState::Async, 900), row(1, SyncState::Async, 900)];
            let decision = decide(&status(rows), &view(&[0, 1], &[]), &configuration, MemberId(0), Lsn(0));
            assert_eq!(decision.picked, [expected]);
        }
    }

    #[test]
    fn a_standby_too_far_behind_is_dropped() {
        let configuration = Configuration {
            maximum_lag_on_syncnode: Some(50),
            synchronous_node_count: 2,
            ..Configuration::default()
        };
        let rows = vec![row(1, SyncState::Sync, 800), row(2, SyncState::Async, 900)];
        let decision = decide(&status(rows), &view(&[1, 2], &[1]), &configuration, MemberId(0), Lsn(0));
        assert_eq!(decision.picked, [MemberId(2)]);
        assert_eq!(decision.confirmed, []);
    }

    #[test]
    fn strict_mode_without_standbys_waits_for_any() {
        assert_eq!(standby_names(&[], true).method, SyncMethod::Wildcard);
        assert_eq!(standby_names(&[], false).method, SyncMethod::Nobody);
        assert_eq!(standby_names(&[MemberId(1)], true).method, SyncMethod::First(1));
    }
}
