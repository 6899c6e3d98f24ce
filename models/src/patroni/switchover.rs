//! A switchover to a chosen member (`ha.py:process_manual_failover_from_leader`, `manual_failover_process_no_leader`).
//!
//! The request becomes the key `/failover` with the leader of now and the candidate. The leader asks the candidate, and hands
//! over to nobody else; if it is not fit, the key is removed and nothing happens. When the lock is free, the candidate takes it
//! without comparing positions: the leader has made sure that it has everything. The others stand back as long as the candidate
//! answers and may lead; when it does not, they race without the former leader. Whoever gets the lock removes the key.
//!
//! A switchover without a candidate needs no key here (`healthy.rs`): everybody races as after a failure, and the former
//! leader, which stops last, does not come in time.
//!
//! Left out: scheduled switchovers, which differ in when they begin; a manual failover without a leader.

use std::sync::Arc;

use sim_core::Context;

use super::cycle::Cycle;
use super::lock::Goal;
use super::member::Member;
use super::packet::MemberReport;
use super::rest::RoundPurpose;
use crate::postgres::MemberId;

/// `/failover`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FailoverKey {
    /// Who is to give the lock away.
    pub(crate) leader: MemberId,
    /// To whom.
    pub(crate) candidate: MemberId,
}

impl Member {
    /// An operator asks the leader to hand over to this member. False if there is none of this name.
    pub(super) fn on_switchover_to(&mut self, context: &mut impl Context<Self>, name: &str) -> bool {
        let Some(position) = self.spec.names.iter().position(|other| other == name) else {
            return false;
        };
        let candidate = name.to_owned();
        context.note(|| format!("received switchover request with candidate={candidate}"));
        let leader = self.spec.member;
        let candidate = MemberId(position as u8);
        if candidate == leader || self.view.member(candidate).is_none() {
            context.note(|| "switchover is not possible: the candidate is the leader, or unknown".to_owned());
            return true;
        }
        // The REST API wakes the loop when the key is written.
        self.store.write_failover(context, FailoverKey { leader, candidate });
        true
    }

    /// Who may take over in a switchover to a chosen member: that one, if the settings allow it.
    pub(super) fn chosen_candidate(&self) -> Option<Vec<MemberId>> {
        let candidate = self.view.failover?.candidate;
        let restricts = self.synchronous() && !self.quorum_commit();
        let allowed = !restricts || self.view.sync.allows(candidate);
        Some(if allowed { vec![candidate] } else { Vec::new() })
    }

    /// The key has served, or cannot.
    pub(super) fn remove_failover_key(&mut self, context: &mut impl Context<Self>) {
        if self.view.failover.take().is_some() {
            context.note(|| "Cleaning up failover key".to_owned());
            self.store.remove_failover(context);
        }
    }

    /// There is no leader, and the key names a candidate. False if it does not matter (any more).
    pub(super) fn races_by_failover_key(&mut self, context: &mut impl Context<Self>) -> bool {
        let Some(key) = self.view.failover else {
            return false;
        };
        let me = self.spec.member;
        let restricts = self.sync_restricts() && !self.quorum_commit();
        if self.tags().nofailover || (restricts && !self.view.sync.allows(me)) {
            self.stand_back(context);
        } else if key.candidate == me {
            self.lock(context, Goal::Acquire);
        } else {
            self.cycle = Cycle::Polling(RoundPurpose::Chosen);
            self.poll(context, RoundPurpose::Chosen, [key.candidate]);
        }
        true
    }

    /// The chosen candidate answered, or did not.
    pub(super) fn on_chosen_polled(
        &mut self,
        context: &mut impl Context<Self>,
        reports: &[Arc<MemberReport>],
    ) {
        let fit =
            |report: &Arc<MemberReport>| report.running && !report.nofailover && !report.watchdog_failed;
        if reports.iter().any(fit) || self.view.failover.is_some_and(|key| key.leader == self.spec.member) {
            return self.stand_back(context);
        }
        context.note(|| "switchover: the candidate is not fit; racing without it".to_owned());
        let members = self.race_members();
        self.cycle = Cycle::Polling(RoundPurpose::Race);
        self.poll(context, RoundPurpose::Race, members);
    }
}
