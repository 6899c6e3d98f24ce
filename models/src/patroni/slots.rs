//! Replication slots of members (`dcs/__init__.py:_get_members_slots`, `_build_retain_slots`, `acquire_leader_lock`;
//! `postgresql/slots.py:sync_replication_slots`; fidelity specification, 1.1 and 2.4 (11)).
//!
//! At the end of each cycle a member makes, advances and drops slots, so that there are those that it should have:
//!
//! | | with retention (4.0.0, `member_slots_ttl` not 0) | without |
//! |---|---|---|
//! | leader | of all members with a key, and of those that `/status` retains | of all members with a key that do not stream from another member with a key |
//! | others | the same; with `nofailover` only of those that stream from them | of those that stream from them |
//!
//! With retention the leader writes the positions of its slots, and its own, to `/status`, and whose slots are to be
//! retained: the members with a slot and a key, for `member_slots_ttl` after their key was last seen. The others
//! advance their slots to these positions, so that whoever is promoted has the WAL that the others lack. A slot that is
//! retained for a member without a key stays where it is.
//!
//! What is to be retained is remembered by the leader alone. It takes over what `/status` says when it takes the lock since
//! 4.0.5 (#3261). Before, it knew nobody but the members with a key; that of a former leader that had died expires in the same
//! moment as its lock, so its slot was dropped at once (Z30). A Patroni that is started anew while it holds the lock knows nobody else
//! to this day.
//!
//! Simplified: slots are made and dropped with the configuration files, and those of a fresh data directory at the first
//! start of its server, before the first cycle. No permanent slots, no logical ones, and no positions that travel with `POST
//! /failsafe`. A cluster begins as its bootstrap left it: with slots for all members.

use sim_core::{Context, SimDuration, WallTime};

use super::dcs::StatusKey;
use super::member::Member;
use super::task::Task;
use super::version::Change;
use crate::postgres::{Control, Lsn, MemberId, Slot, Slots};

/// When each member with a slot was last seen with a key (`_last_retain_slots`). Known to leaders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retention {
    seen: Vec<(MemberId, WallTime)>,
}

impl Retention {
    fn see(&mut self, member: MemberId, now: WallTime) {
        match self.seen.iter_mut().find(|(other, _)| *other == member) {
            Some((_, at)) => *at = now,
            None => self.seen.push((member, now)),
        }
    }

    /// True if the slot of this member is to be kept.
    fn holds(&self, member: MemberId) -> bool {
        self.seen.iter().any(|(other, _)| *other == member)
    }
}

impl Member {
    /// Slots of members are retained, and kept by all members.
    fn retains_slots(&self) -> bool {
        self.spec.has(Change::RetainMemberSlots)
            && self.spec.configuration.member_slots_ttl > SimDuration::ZERO
    }

    /// Whose slots this member should have.
    fn wanted_slots(&self, leads: bool) -> Vec<MemberId> {
        if !self.spec.configuration.use_slots {
            return Vec::new();
        }
        let nofailover = self.tags().nofailover;
        let wanted = |member: &MemberId| {
            let has_key = self.view.member(*member).is_some();
            if !self.retains_slots() {
                return has_key && self.is_upstream_of(*member, leads);
            }
            let is_source = self.source_of(*member) == Some(self.spec.member);
            let retained = !nofailover && !self.view.status.dropped.contains(member);
            retained || has_key && (!nofailover || is_source)
        };
        self.others().into_iter().filter(wanted).collect()
    }

    /// `replicatefrom` of a member.
    fn source_of(&self, member: MemberId) -> Option<MemberId> {
        self.spec.configuration.tags_of(member).replicatefrom
    }

    /// True if a member should stream from this one (`expected_active`).
    fn is_upstream_of(&self, member: MemberId, leads: bool) -> bool {
        match self.source_of(member) {
            Some(source) if source == self.spec.member => leads || self.view.leader() != Some(member),
            Some(source) => leads && self.view.member(source).is_none(),
            None => leads,
        }
    }

    /// Whose slots a data directory without any gets when its server is started.
    pub(super) fn first_slots(&self, slots: &mut Vec<MemberId>) {
        if slots.is_empty() && self.retains_slots() {
            *slots = self.wanted_slots(false);
        }
    }

    /// Makes, drops and advances slots at the end of a cycle.
    pub(super) fn synchronize_slots(&mut self, context: &mut impl Context<Self>) {
        let idle = matches!(self.task, None | Some(Task::Promote { .. }));
        // The settings of the cluster are there from its first leader on (`cluster.config`).
        if !idle || !self.view.initialized || !context.is_running(self.spec.postgres) {
            return;
        }
        let Some(status) = self.status.clone().filter(|status| status.accepts_connections) else {
            return;
        };
        let mut wanted = self.wanted_slots(!status.in_recovery);
        let is_active = |member: MemberId| status.replication.iter().any(|row| row.member == member);
        let kept = |member: &MemberId| self.paused() || is_active(*member);
        let existing = &context.storage().settings.slots;
        let stays: Vec<MemberId> =
            existing.iter().copied().filter(|member| !wanted.contains(member) && kept(member)).collect();
        wanted.extend(stays);
        wanted.sort_unstable();
        self.configure(context, |settings| settings.slots = wanted);
        if self.retains_slots() {
            self.advance_slots(context, &status.slots, !status.in_recovery);
        }
    }

    /// Slots that nobody uses here follow those of the leader, or, for a member that streams from another one than the
    /// leader, what it says about itself.
    fn advance_slots(&mut self, context: &mut impl Context<Self>, slots: &Slots, leads: bool) {
        for &Slot { member, segment: own } in &slots.0 {
            let Some(key) = self.view.member(member).filter(|_| !self.is_upstream_of(member, leads)) else {
                continue;
            };
            let mut segment = self.view.status.segment_of(member);
            if self.source_of(member).is_some() {
                segment = segment.max(key.position.segment());
            }
            if segment > own {
                self.control(context, Control::AdvanceSlot { member, segment });
            }
        }
    }

    /// What a leader writes to `/status`.
    pub(super) fn status_key(&mut self, now: WallTime, flushed: Lsn, slots: &Slots) -> StatusKey {
        let mut status = StatusKey { optime: flushed, ..StatusKey::default() };
        if !self.retains_slots() {
            return status;
        }
        let current = flushed.segment();
        let behind = slots.0.iter().filter(|slot| slot.segment < current);
        status.behind = behind.map(|slot| (slot.member, slot.segment)).collect();
        for member in self.others() {
            if slots.of(member).is_some() && self.view.member(member).is_some() {
                self.retention.see(member, now);
            }
        }
        let ttl = self.spec.configuration.member_slots_ttl;
        self.retention.seen.retain(|(_, at)| *at + ttl > now);
        status.dropped = self.others();
        status.dropped.retain(|member| !self.retention.holds(*member));
        status
    }

    /// This member has taken the lock.
    pub(super) fn retain_slots_of_former_leader(&mut self, now: WallTime) {
        if !self.spec.has(Change::RetainSlotOfFormerLeader) {
            return;
        }
        let retained = self.others().into_iter().filter(|member| !self.view.status.dropped.contains(member));
        self.retention.seen = retained.map(|member| (member, now)).collect();
    }
}
