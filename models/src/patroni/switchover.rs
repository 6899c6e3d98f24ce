//! A switchover (`api.py:do_POST_failover`, `ha.py:process_manual_failover_from_leader`, `manual_failover_process_no_leader`).
//!
//! The REST API asks the candidate, or all who could lead, whether they answer. Then the request becomes the key `/failover` with
//! the leader of now, and the candidate if one was chosen. The leader asks them once more, and hands over to nobody else; if none
//! is fit, the key is removed and nothing happens. When the lock is free, a chosen candidate takes it without comparing
//! positions: the leader has made sure that it has everything. The others stand back as long as the candidate answers and may
//! lead; when it does not, or none was chosen, they race without the former leader, and without looking how far they lag behind.
//! Whoever gets the lock removes the key, and is promoted then.
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
    /// To whom, if that was chosen.
    pub(crate) candidate: Option<MemberId>,
}

impl Member {
    /// An operator asks the leader to hand over to this member. False if there is none of this name.
    pub(super) fn on_switchover_to(&mut self, context: &mut impl Context<Self>, name: &str) -> bool {
        let Some(position) = self.spec.names.iter().position(|other| other == name) else {
            return false;
        };
        self.on_switchover(context, Some(MemberId(position as u8)));
        true
    }

    /// An operator asks the leader to hand over: looks first whether somebody could take over.
    pub(super) fn on_switchover(&mut self, context: &mut impl Context<Self>, candidate: Option<MemberId>) {
        let named = candidate.map_or("None", |candidate| self.spec.name(candidate)).to_owned();
        context.note(|| format!("received switchover request with candidate={named}"));
        let leader = self.spec.member;
        if !self.holds_lock() {
            context.note(|| "switchover is not possible: leader name does not match".to_owned());
            return;
        }
        let candidates = match candidate {
            None => self.candidates(),
            Some(candidate) if candidate == leader || self.view.member(candidate).is_none() => {
                context.note(|| {
                    "switchover is not possible: the candidate is the leader, or unknown".to_owned()
                });
                return;
            }
            Some(candidate) => vec![candidate],
        };
        self.requested = Some(FailoverKey { leader, candidate });
        self.poll(context, RoundPurpose::Requested, candidates);
    }

    /// Those who could take over answered, or did not.
    pub(super) fn on_requested(&mut self, context: &mut impl Context<Self>, reports: &[Arc<MemberReport>]) {
        let Some(key) = self.requested.take() else { return };
        if reports.iter().any(|report| is_fit(report)) {
            // The API wakes the loop when the key is written.
            self.store.write_failover(context, key);
        } else {
            context.note(|| "switchover is not possible: no good candidates have been found".to_owned());
        }
    }

    /// Who may take over in a switchover to a chosen member: that one, if the settings allow it.
    pub(super) fn chosen_candidate(&self) -> Option<Vec<MemberId>> {
        let candidate = self.view.failover?.candidate?;
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

    /// There is no leader, and there is a key. False if there is none.
    pub(super) fn races_by_failover_key(&mut self, context: &mut impl Context<Self>) -> bool {
        let Some(key) = self.view.failover else {
            return false;
        };
        let me = self.spec.member;
        let restricts = self.sync_restricts() && !self.quorum_commit();
        if self.tags().nofailover || (restricts && !self.view.sync.allows(me)) {
            self.stand_back(context);
            return true;
        }
        match key.candidate {
            Some(candidate) if candidate == me => self.lock(context, Goal::Acquire),
            Some(candidate) => {
                self.cycle = Cycle::Polling(RoundPurpose::Chosen);
                self.poll(context, RoundPurpose::Chosen, [candidate]);
            }
            None if key.leader == me => {
                self.cycle = Cycle::Polling(RoundPurpose::Chosen);
                let candidates = self.candidates();
                self.poll(context, RoundPurpose::Chosen, candidates);
            }
            None => self.race_without(context, key.leader),
        }
        true
    }

    /// Races with all but the leader that has stepped down.
    fn race_without(&mut self, context: &mut impl Context<Self>, former: MemberId) {
        if let Some(reason) = self.disqualification_by_state() {
            context.note(|| format!("following a different leader because {reason}"));
            return self.stand_back(context);
        }
        let members: Vec<MemberId> =
            self.race_members().into_iter().filter(|member| *member != former).collect();
        self.cycle = Cycle::Polling(RoundPurpose::Race);
        self.poll(context, RoundPurpose::Race, members);
    }

    /// The chosen candidate answered, or did not; or, to a leader that stepped down for nobody in particular, all who could lead.
    pub(super) fn on_chosen_polled(
        &mut self,
        context: &mut impl Context<Self>,
        reports: &[Arc<MemberReport>],
    ) {
        let Some(key) = self.view.failover else { return self.stand_back(context) };
        if reports.iter().any(|report| is_fit(report)) {
            return self.stand_back(context);
        }
        if key.leader == self.spec.member {
            if key.candidate.is_none() {
                context.note(|| "switchover: I was the leader, and nobody else could lead".to_owned());
                return self.lock(context, Goal::Acquire);
            }
            return self.stand_back(context);
        }
        context.note(|| "switchover: the candidate is not fit; racing without it".to_owned());
        self.race_without(context, key.leader);
    }
}

/// True if this member could lead, by its own word (`failover_limitation`).
fn is_fit(report: &MemberReport) -> bool {
    report.running && !report.nofailover && !report.watchdog_failed
}
