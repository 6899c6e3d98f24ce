//! The leader race: there is no leader key (`ha.py:process_unhealthy_cluster`, `is_healthiest_node`; fidelity
//! specification, 2.5).
//!
//! A member samples its own position *before* it polls the others, and theirs are sampled when they answer. While WAL
//! still flows from a primary whose Patroni is dead, every member finds the others ahead, and all give up. Each then
//! drops its upstream, positions stand still, and the next cycle elects: the race costs one `loop_wait` more.

use std::sync::Arc;

use sim_core::Context;

use super::config::FailoverPriority;
use super::cycle::Cycle;
use super::local::position_of;
use super::lock::Goal;
use super::member::Member;
use super::packet::{MemberReport, MemberRole};
use super::quorum::MemberSet;
use super::rest::RoundPurpose;
use super::version::Change;
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
    /// This member has received as much and goes before.
    Preferred(MemberId),
    /// Quorum commit: not enough of those whom `/sync` names have been heard.
    TooFewVotes {
        /// How many others were heard, one less for a candidate from outside.
        votes: usize,
        /// How many are needed.
        needed: usize,
    },
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// What it has received or replayed.
    pub(crate) own: Lsn,
    /// Its `failover_priority`.
    pub(crate) priority: FailoverPriority,
    /// Who led before.
    pub(crate) former_leader: Option<MemberId>,
    /// Synchronous mode is on: the former leader may be ahead, because what it has more was never acknowledged.
    pub(crate) synchronous: bool,
    /// With quorum commit, and a leader in `/sync`.
    pub(crate) ballot: Option<Ballot>,
}

/// What a candidate needs with quorum commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ballot {
    /// `quorum` of `/sync`.
    pub(crate) needed: usize,
    /// All members of `/sync`.
    pub(crate) voters: MemberSet,
    /// The candidate is one of them.
    pub(crate) votes_itself: bool,
    /// The candidate is the leader of `/sync`: it has everything.
    pub(crate) led_before: bool,
}

/// Judges the reports (`_is_healthiest_node`).
pub(crate) fn judge(candidate: &Candidate, reports: &[Arc<MemberReport>]) -> Verdict {
    let (mut votes, mut anybody_ahead) = (0, false);
    for report in reports {
        if !report.running || report.nofailover || report.watchdog_failed {
            continue;
        }
        if report.role == MemberRole::Primary {
            return Verdict::PrimaryAlive(report.member);
        }
        let led = candidate.former_leader == Some(report.member);
        if report.position > candidate.own {
            if !(candidate.synchronous && led) {
                return Verdict::Ahead(report.member);
            }
            anybody_ahead = true;
            continue;
        }
        let is_vote = candidate.ballot.is_some_and(|ballot| ballot.voters.contains(report.member));
        let preferred = report.position == candidate.own && report.priority > candidate.priority;
        if preferred && !led && (!candidate.synchronous || is_vote) {
            return Verdict::Preferred(report.member);
        }
        votes += usize::from(is_vote && report.position > Lsn(0));
    }
    match candidate.ballot {
        Some(Ballot { led_before: true, .. }) if !anybody_ahead => Verdict::Healthiest,
        // A candidate from outside needs one vote more.
        Some(ballot) if votes < ballot.needed + usize::from(!ballot.votes_itself) => Verdict::TooFewVotes {
            votes: votes.saturating_sub(usize::from(!ballot.votes_itself)),
            needed: ballot.needed,
        },
        _ => Verdict::Healthiest,
    }
}

impl Member {
    /// There is no leader.
    pub(super) fn race(&mut self, context: &mut impl Context<Self>) {
        self.leader_expiry = None;
        if self.query_cancelled {
            return self.give_up_on_server(context);
        }
        if self.is_primary(context) {
            return self.race_as_primary(context);
        }
        if self.puts_race_off(context) {
            context.note(|| "wal position moved since last heart beat loop: puts the race off".to_owned());
            return self.finish_cycle(context);
        }
        if self.races_by_failover_key(context) {
            return;
        }
        if self.paused() {
            context.note(|| "PAUSE: no action".to_owned());
            return self.finish_cycle(context);
        }
        if self.backs_off_after_pre_promote(context) {
            context.note(|| "backoff: skip leader race after pre_promote script failure".to_owned());
            return self.stand_back(context);
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
        let compares =
            self.spec.has(Change::CompareTimelineBeforeLock) && !self.spec.lacks(Planted::TakeLockBack);
        if is_behind && compares && !self.paused() {
            context.note(|| "my timeline is behind the cluster's; demoting self".to_owned());
            return self.demote(context, super::demotion::DemoteMode::ImmediateNoLock);
        }
        self.lock(context, Goal::Acquire);
    }

    /// Why this member may not even ask, if so.
    fn disqualification(&self) -> Option<&'static str> {
        if self.tags().nofailover {
            return Some("I am not allowed to promote");
        }
        if self.watchdog_forbids_leading() {
            return Some("the watchdog is required and not usable");
        }
        let topology = &self.failsafe.topology;
        if self.failsafe_mode() && !topology.is_empty() && !topology.contains(&self.spec.member) {
            return Some("I am not in the failsafe key");
        }
        // With quorum commit a member outside may try: it needs one vote more.
        let restricts = self.sync_restricts() && !self.quorum_commit();
        if restricts && !self.view.sync.allows(self.spec.member) {
            return Some("I am not a synchronous standby");
        }
        let position = self.status.as_ref().map_or(Lsn(0), |status| position_of(status));
        let lag = self.view.status.optime.0.saturating_sub(position.0);
        if lag > self.spec.configuration.maximum_lag_on_failover {
            return Some("I lag too far behind the last known position of the leader");
        }
        self.disqualification_by_state()
    }

    /// The same by the state of its server alone: all that counts in a switchover.
    pub(super) fn disqualification_by_state(&self) -> Option<&'static str> {
        let configuration = &self.spec.configuration;
        let Some(status) = self.status.as_ref().filter(|status| status.accepts_connections) else {
            return Some("PostgreSQL is starting");
        };
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
    pub(super) fn race_members(&self) -> Vec<MemberId> {
        let known = |member: &MemberId| {
            self.view.member(*member).is_some()
                || self.old_view.member(*member).is_some()
                || (self.failsafe_mode() && self.failsafe.topology.contains(member))
        };
        let votes = |member: &MemberId| !self.sync_restricts() || self.view.sync.allows(*member);
        self.others().into_iter().filter(|member| known(member) && votes(member)).collect()
    }

    /// The others answered, or did not.
    pub(super) fn on_race_polled(&mut self, context: &mut impl Context<Self>, reports: &[Arc<MemberReport>]) {
        let verdict = judge(&self.candidate(), reports);
        match verdict {
            _ if self.spec.lacks(Planted::PromoteLagging) => self.lock(context, Goal::Acquire),
            Verdict::Healthiest => self.lock(context, Goal::Acquire),
            Verdict::Preferred(member) => {
                let name = self.spec.name(member).to_owned();
                context.note(|| format!("{name} has equally tolerable WAL position and a higher priority"));
                self.stand_back(context);
            }
            Verdict::TooFewVotes { votes, needed } => {
                context.note(|| format!("quorum votes: {votes} of {needed}; I may not lead"));
                self.stand_back(context);
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

    /// This member as a candidate.
    fn candidate(&self) -> Candidate {
        let me = self.spec.member;
        let voters = self.view.sync.members();
        let quorum = self.quorum_commit() && self.sync_restricts();
        let ballot = quorum.then(|| Ballot {
            needed: usize::from(self.view.sync.quorum),
            voters,
            votes_itself: voters.contains(me),
            led_before: self.view.sync.leader == Some(me),
        });
        Candidate {
            own: self.status.as_ref().map_or(Lsn(0), |status| position_of(status)),
            priority: self.tags().failover_priority,
            former_leader: if quorum { self.view.sync.leader } else { self.old_view.leader() },
            synchronous: self.synchronous(),
            ballot,
        }
    }

    /// Not this member: without a leader to follow, the upstream is removed and the walreceiver stops.
    pub(super) fn stand_back(&mut self, context: &mut impl Context<Self>) {
        if self.set_upstream(context, None) {
            self.check_divergence = true;
        }
        self.finish_cycle(context);
    }

    /// The lock is this member's.
    pub(super) fn on_acquired(&mut self, context: &mut impl Context<Self>) {
        self.retain_slots_of_former_leader(context.wall());
        self.after_renewal(context, Goal::Acquire);
        if self.view.failover.is_some() {
            self.cycle = Cycle::CleaningUp;
            return self.remove_failover_key(context);
        }
        self.lead(context);
    }

    /// `/failover` is gone, or could not be removed.
    pub(super) fn on_failover_removed(&mut self, context: &mut impl Context<Self>) {
        if self.cycle == Cycle::CleaningUp {
            self.lead(context);
        }
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
            priority: FailoverPriority::default(),
            watchdog_failed: false,
            history: Arc::new(TimelineHistory::default()),
        })
    }

    fn candidate(own: u64, former_leader: Option<u8>, synchronous: bool) -> Candidate {
        Candidate {
            own: Lsn(own),
            priority: FailoverPriority::default(),
            former_leader: former_leader.map(MemberId),
            synchronous,
            ballot: None,
        }
    }

    #[test]
    fn equal_positions_are_no_obstacle() {
        let reports = [report(1, MemberRole::Replica, 100)];
        assert_eq!(judge(&candidate(100, None, false), &reports), Verdict::Healthiest);
    }

    #[test]
    fn whoever_is_ahead_blocks() {
        let reports = [report(1, MemberRole::Replica, 101)];
        assert_eq!(judge(&candidate(100, None, false), &reports), Verdict::Ahead(MemberId(1)));
    }

    #[test]
    fn a_former_leader_ahead_blocks_only_without_synchronous_mode() {
        let reports = [report(1, MemberRole::Replica, 101)];
        assert_eq!(judge(&candidate(100, Some(1), false), &reports), Verdict::Ahead(MemberId(1)));
        assert_eq!(judge(&candidate(100, Some(1), true), &reports), Verdict::Healthiest);
    }

    #[test]
    fn a_living_primary_blocks_always() {
        let reports = [report(2, MemberRole::Primary, 1)];
        assert_eq!(judge(&candidate(100, Some(2), true), &reports), Verdict::PrimaryAlive(MemberId(2)));
    }

    #[test]
    fn members_without_postgresql_or_without_a_chance_are_ignored() {
        let mut dead = (*report(1, MemberRole::Primary, 900)).clone();
        dead.running = false;
        let mut barred = (*report(2, MemberRole::Replica, 900)).clone();
        barred.nofailover = true;
        let reports = [Arc::new(dead), Arc::new(barred)];
        assert_eq!(judge(&candidate(100, None, false), &reports), Verdict::Healthiest);
    }

    #[test]
    fn a_higher_priority_goes_before_with_an_equal_position_only() {
        let mut preferred = (*report(1, MemberRole::Replica, 100)).clone();
        preferred.priority = FailoverPriority(5);
        let reports = [Arc::new(preferred)];
        assert_eq!(judge(&candidate(100, None, false), &reports), Verdict::Preferred(MemberId(1)));
        assert_eq!(judge(&candidate(101, None, false), &reports), Verdict::Healthiest);
        assert_eq!(judge(&candidate(100, Some(1), false), &reports), Verdict::Healthiest, "it led before");
        assert_eq!(judge(&candidate(100, None, true), &reports), Verdict::Healthiest, "not a voter");
    }

    /// `/sync` names 0 (the leader), 1 and 2, and a candidate needs one vote.
    #[test]
    fn with_quorum_commit_votes_are_counted() {
        let ballot = |me: u8| Ballot {
            needed: 1,
            voters: [0, 1, 2].into_iter().map(MemberId).collect(),
            votes_itself: me < 3,
            led_before: me == 0,
        };
        let votes = |me: u8, reports: &[Arc<MemberReport>]| {
            judge(&Candidate { ballot: Some(ballot(me)), ..candidate(100, Some(0), true) }, reports)
        };
        let too_few = |votes| Verdict::TooFewVotes { votes, needed: 1 };
        assert_eq!(votes(1, &[]), too_few(0));
        assert_eq!(votes(1, &[report(2, MemberRole::Replica, 90)]), Verdict::Healthiest);
        assert_eq!(votes(1, &[report(2, MemberRole::Replica, 0)]), too_few(0), "its server does not run");
        assert_eq!(votes(1, &[report(0, MemberRole::Replica, 110)]), too_few(0), "ahead is no vote");
        assert_eq!(votes(1, &[report(3, MemberRole::Replica, 90)]), too_few(0), "not a voter");
        assert_eq!(votes(0, &[]), Verdict::Healthiest, "the former leader has everything");
        let both = [report(1, MemberRole::Replica, 90), report(2, MemberRole::Replica, 90)];
        assert_eq!(votes(3, &both[..1]), too_few(0), "one more is needed from outside");
        assert_eq!(votes(3, &both), Verdict::Healthiest);
    }
}
