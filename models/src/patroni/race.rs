//! The leader race: there is no leader key (`ha.py:process_unhealthy_cluster`, `is_healthiest_node`; fidelity
//! specification, 2.5).
//!
//! A member samples its own position *before* it polls the others, and theirs are sampled when they answer. While WAL
//! still flows from a primary whose Patroni is dead, every member finds the others ahead, and all give up. Each then
//! drops its upstream, positions stand still, and the next cycle elects: the race costs one `loop_wait` more.

use std::sync::Arc;

use sim_core::{Context, SimDuration};

use super::cycle::Cycle;
use super::local::position_of;
use super::lock::Goal;
use super::member::{Member, Timer};
use super::packet::{MemberReport, MemberRole};
use super::rest::RoundPurpose;
use crate::planted::Planted;
use crate::postgres::{Lsn, MemberId};

/// What the reports of the others mean for a race.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Nobody is in the way.
    Healthiest,
    /// This member runs as a primary.
    PrimaryAlive(MemberId),
    /// This member has received more.
    Ahead(MemberId),
}

/// Judges the reports. In synchronous mode the former leader may be ahead: what it has more was never acknowledged.
pub(crate) fn judge(
    own: Lsn,
    former_leader: Option<MemberId>,
    synchronous: bool,
    reports: &[Arc<MemberReport>],
) -> Verdict {
    for report in reports {
        if !report.running || report.nofailover || report.watchdog_failed {
            continue;
        }
        if report.role == MemberRole::Primary {
            return Verdict::PrimaryAlive(report.member);
        }
        let excused = synchronous && former_leader == Some(report.member);
        if report.position > own && !excused {
            return Verdict::Ahead(report.member);
        }
    }
    Verdict::Healthiest
}

impl Member {
    /// There is no leader.
    pub(super) fn race(&mut self, context: &mut impl Context<Self>) {
        self.leader_expiry = None;
        self.switchover_requested = false;
        if self.is_primary(context) {
            return self.race_as_primary(context);
        }
        if let Some(reason) = self.disqualification() {
            context.note(|| format!("following a different leader because {reason}"));
            return self.stand_back(context);
        }
        let members = self.race_members();
        self.cycle = Cycle::Polling(RoundPurpose::Race);
        self.poll(context, RoundPurpose::Race, members);
    }

    /// A former leader that still runs as a primary takes the lock without asking anybody, unless it knows of a later
    /// timeline (#2787).
    fn race_as_primary(&mut self, context: &mut impl Context<Self>) {
        let timeline = self.status.as_ref().map(|status| status.timeline);
        let is_behind = timeline.is_some_and(|timeline| timeline < self.view.history.current);
        if is_behind && !self.spec.lacks(Planted::TakeLockBack) {
            context.note(|| "my timeline is behind the cluster's; demoting self".to_owned());
            return self.demote(context, super::demotion::DemoteMode::ImmediateNoLock);
        }
        self.lock(context, Goal::Acquire);
    }

    /// Why this member may not even ask, if so.
    fn disqualification(&self) -> Option<&'static str> {
        let configuration = &self.spec.configuration;
        let Some(status) = self.status.as_ref().filter(|status| status.accepts_connections) else {
            return Some("PostgreSQL is starting");
        };
        if configuration.tags.nofailover {
            return Some("I am not allowed to promote");
        }
        if self.watchdog_forbids_leading() {
            return Some("the watchdog is required and not usable");
        }
        if self.sync_restricts() && !self.view.sync.allows(self.spec.member) {
            return Some("I am not a synchronous standby");
        }
        let lag = self.view.optime.0.saturating_sub(position_of(status).0);
        if lag > configuration.maximum_lag_on_failover {
            return Some("I lag too far behind the last known position of the leader");
        }
        if configuration.check_timeline && status.timeline < self.view.history.current {
            return Some("my timeline is behind the cluster's");
        }
        None
    }

    /// `/sync` names a leader and synchronous mode is on: only those named may lead.
    pub(super) fn sync_restricts(&self) -> bool {
        self.synchronous() && self.view.sync.leader.is_some() && !self.spec.lacks(Planted::IgnoreSync)
    }

    /// All members known from the view with the last leader and from this one: also the dead leader.
    fn race_members(&self) -> Vec<MemberId> {
        let known = |member: &MemberId| {
            self.view.member(*member).is_some() || self.old_view.member(*member).is_some()
        };
        let votes = |member: &MemberId| !self.sync_restricts() || self.view.sync.allows(*member);
        self.others().into_iter().filter(|member| known(member) && votes(member)).collect()
    }

    /// The others answered, or did not.
    pub(super) fn on_race_polled(&mut self, context: &mut impl Context<Self>, reports: &[Arc<MemberReport>]) {
        let own = self.status.as_ref().map_or(Lsn(0), |status| position_of(status));
        let verdict = judge(own, self.old_view.leader(), self.synchronous(), reports);
        match verdict {
            _ if self.spec.lacks(Planted::PromoteLagging) => {
                context.set_timer(Timer::Claim, SimDuration::ZERO);
                self.cycle = Cycle::Claiming;
            }
            Verdict::Healthiest => {
                self.cycle = Cycle::Claiming;
                let delay = self.spec.inputs.lock_request.draw(context.random());
                context.set_timer(Timer::Claim, delay);
            }
            Verdict::PrimaryAlive(member) => {
                let name = self.spec.name(member).to_owned();
                context.note(|| format!("primary ({name}) is still alive"));
                self.stand_back(context);
            }
            Verdict::Ahead(member) => {
                let name = self.spec.name(member).to_owned();
                context.note(|| {
                    format!(
                        "following a different leader because I am not the healthiest node: {name} is ahead"
                    )
                });
                self.stand_back(context);
            }
        }
    }

    /// The race is won in the eyes of this member: it asks for the lock.
    pub(super) fn claim_lock(&mut self, context: &mut impl Context<Self>) {
        if self.cycle == Cycle::Claiming {
            self.lock(context, Goal::Acquire);
        }
    }

    /// Not this member: without a leader to follow, the upstream is removed and the walreceiver stops.
    fn stand_back(&mut self, context: &mut impl Context<Self>) {
        if self.set_upstream(context, None) {
            self.check_divergence = true;
        }
        self.finish_cycle(context);
    }

    /// The lock is this member's.
    pub(super) fn on_acquired(&mut self, context: &mut impl Context<Self>) {
        self.after_renewal(context);
        self.lead(context);
    }

    /// Somebody else took the lock first: follows it, as soon as the copy of the keys shows who.
    pub(super) fn on_race_lost(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "following new leader after trying and failing to obtain lock".to_owned());
        if self.is_primary(context) {
            return self.demote(context, super::demotion::DemoteMode::ImmediateNoLock);
        }
        self.woken = true;
        self.finish_cycle(context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Timeline, TimelineHistory};

    fn report(member: u8, role: MemberRole, position: u64) -> Arc<MemberReport> {
        Arc::new(MemberReport {
            member: MemberId(member),
            role,
            running: true,
            timeline: Timeline(1),
            position: Lsn(position),
            nofailover: false,
            watchdog_failed: false,
            history: Arc::new(TimelineHistory::default()),
        })
    }

    #[test]
    fn equal_positions_are_no_obstacle() {
        let reports = [report(1, MemberRole::Replica, 100)];
        assert_eq!(judge(Lsn(100), None, false, &reports), Verdict::Healthiest);
    }

    #[test]
    fn whoever_is_ahead_blocks() {
        let reports = [report(1, MemberRole::Replica, 101)];
        assert_eq!(judge(Lsn(100), None, false, &reports), Verdict::Ahead(MemberId(1)));
    }

    #[test]
    fn a_former_leader_ahead_blocks_only_without_synchronous_mode() {
        let reports = [report(1, MemberRole::Replica, 101)];
        let leader = Some(MemberId(1));
        assert_eq!(judge(Lsn(100), leader, false, &reports), Verdict::Ahead(MemberId(1)));
        assert_eq!(judge(Lsn(100), leader, true, &reports), Verdict::Healthiest);
    }

    #[test]
    fn a_living_primary_blocks_always() {
        let reports = [report(2, MemberRole::Primary, 1)];
        assert_eq!(judge(Lsn(100), Some(MemberId(2)), true, &reports), Verdict::PrimaryAlive(MemberId(2)));
    }

    #[test]
    fn members_without_postgresql_or_without_a_chance_are_ignored() {
        let mut dead = (*report(1, MemberRole::Primary, 900)).clone();
        dead.running = false;
        let mut barred = (*report(2, MemberRole::Replica, 900)).clone();
        barred.nofailover = true;
        let reports = [Arc::new(dead), Arc::new(barred)];
        assert_eq!(judge(Lsn(100), None, false, &reports), Verdict::Healthiest);
    }
}
