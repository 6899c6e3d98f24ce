//! The REST API: what it answers, and the polls of other members (`api.py`, `ha.py:fetch_node_status`).
//!
//! The API runs in threads of its own: it answers while the HA loop is stuck, and is silent only when the whole process
//! is. `/primary` depends on nothing but the time until which this member believes in its lock: it says 200 before the
//! server accepts writes (#2972), and goes on saying so until the lock would have expired.
//!
//! Simplified: the API asks `PostgreSQL` before every answer; here only `/patroni` does, and the other paths answer from
//! the status of the last cycle. `/patroni` also carries the server's timeline history, which real members read with
//! `TIMELINE_HISTORY` over a replication connection.

use std::collections::VecDeque;
use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, SimDuration};

use super::config::WatchdogMode;
use super::local::{Waiter, position_of};
use super::member::{Member, Timer};
use super::packet::{MemberReport, MemberRole, Packet, Rest, RestPath};
use crate::postgres::{Lsn, MemberId, Status, Timeline};

/// `ha.py:fetch_node_status`: hard-coded.
const POLL_TIMEOUT: SimDuration = SimDuration::from_secs(2);
/// `thread_pool_size`.
const POLLS_AT_ONCE: usize = 5;

pub(crate) const OK: u16 = 200;
pub(crate) const UNAVAILABLE: u16 = 503;

/// What a round of polls is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RoundPurpose {
    /// The leader race of the cycle.
    Race,
    /// The cycle looks for somebody to hand over to.
    Candidates,
    /// A demotion looks for somebody who has received everything.
    Receivers,
    /// The cycle asks the leader about its timelines.
    Leader,
    /// A primary without etcd asks whether it may stay one (`POST`, tried twice).
    Failsafe,
    /// The cycle asks the member that a switchover has chosen.
    Chosen,
    /// The API looks whether somebody could take over before it takes a switchover on.
    Requested,
}

/// Polls of several members at once.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    purpose: RoundPurpose,
    waiting: VecDeque<MemberId>,
    running: Vec<(MemberId, ConnectionId)>,
    reports: Vec<Arc<MemberReport>>,
    /// Asked a second time.
    retried: Vec<MemberId>,
    /// Some member did not answer with 200.
    any_refused: bool,
}

/// How a poll ended.
enum Answer {
    Report(Arc<MemberReport>),
    /// Without a report; whether the status was 200.
    Status(bool),
    /// Not at all.
    Lost,
}

impl Member {
    /// Polls these members; [`Self::on_round`] gets the reports of those that answered.
    pub(super) fn poll(
        &mut self,
        context: &mut impl Context<Self>,
        purpose: RoundPurpose,
        members: impl IntoIterator<Item = MemberId>,
    ) {
        self.forget_round(context, purpose);
        let me = self.spec.member;
        self.rounds.push(Round {
            purpose,
            waiting: members.into_iter().filter(|member| *member != me).collect(),
            running: Vec::new(),
            reports: Vec::new(),
            retried: Vec::new(),
            any_refused: false,
        });
        let delay = self.spec.inputs.rest_poll.draw(context.random());
        context.set_timer(Timer::Round(purpose), delay);
    }

    /// Gives up a round that nobody waits for any more.
    pub(super) fn forget_round(&mut self, context: &mut impl Context<Self>, purpose: RoundPurpose) {
        if let Some(index) = self.round_index(purpose) {
            for (member, connection) in self.rounds.remove(index).running {
                context.cancel_timer(&Timer::Poll(purpose, member));
                context.close(connection);
            }
        }
    }

    fn round_index(&self, purpose: RoundPurpose) -> Option<usize> {
        self.rounds.iter().position(|round| round.purpose == purpose)
    }

    /// Starts what waits for a free thread; ends the round when nothing is left.
    pub(super) fn advance_round(&mut self, context: &mut impl Context<Self>, purpose: RoundPurpose) {
        let Some(index) = self.round_index(purpose) else {
            return;
        };
        let round = &mut self.rounds[index];
        while round.running.len() < POLLS_AT_ONCE {
            let Some(member) = round.waiting.pop_front() else {
                break;
            };
            let options = ConnectOptions::default();
            let connection = context.connect(self.spec.peer(member).patroni, options);
            let request = match purpose {
                RoundPurpose::Failsafe => Rest::Failsafe { leader: self.spec.member },
                _ => Rest::Get(RestPath::Patroni),
            };
            context.send(connection, Packet::Rest(request));
            context.set_timer(Timer::Poll(purpose, member), POLL_TIMEOUT);
            round.running.push((member, connection));
        }
        if round.running.is_empty() {
            let round = self.rounds.remove(index);
            match purpose {
                RoundPurpose::Failsafe => self.on_failsafe_answers(context, !round.any_refused),
                _ => self.on_round(context, purpose, &round.reports),
            }
        }
    }

    fn end_poll(
        &mut self,
        context: &mut impl Context<Self>,
        matches: impl Fn(RoundPurpose, MemberId, ConnectionId) -> bool,
        answer: Answer,
    ) {
        let found = self.rounds.iter_mut().find_map(|round| {
            let purpose = round.purpose;
            let index = round
                .running
                .iter()
                .position(|(member, connection)| matches(purpose, *member, *connection))?;
            let (member, connection) = round.running.remove(index);
            Some((round, member, connection))
        });
        let Some((round, member, connection)) = found else {
            return;
        };
        let purpose = round.purpose;
        context.cancel_timer(&Timer::Poll(purpose, member));
        context.close(connection);
        let again = purpose == RoundPurpose::Failsafe && !round.retried.contains(&member);
        match answer {
            Answer::Report(report) => round.reports.push(report),
            Answer::Status(is_ok) => round.any_refused |= !is_ok,
            Answer::Lost if again => {
                round.retried.push(member);
                round.waiting.push_back(member);
            }
            Answer::Lost => {
                round.any_refused = true;
                let names = &self.spec.names;
                context.note(|| {
                    let name = &names[usize::from(member.0)];
                    match purpose {
                        RoundPurpose::Failsafe => format!("request failed: POST http://{name}:8008/failsafe"),
                        _ => format!("request failed: GET http://{name}:8008/patroni"),
                    }
                });
            }
        }
        self.advance_round(context, purpose);
    }

    /// A member answered a poll.
    pub(super) fn on_rest_response(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        status: u16,
        report: Option<Arc<MemberReport>>,
    ) {
        let answer = report.map_or(Answer::Status(status == OK), Answer::Report);
        self.end_poll(context, |_, _, polled| polled == connection, answer);
    }

    /// The connection of a poll was refused or lost.
    pub(super) fn on_poll_lost(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        self.end_poll(context, |_, _, polled| polled == connection, Answer::Lost);
    }

    /// A member did not answer within its time.
    pub(super) fn on_poll_timeout(
        &mut self,
        context: &mut impl Context<Self>,
        purpose: RoundPurpose,
        member: MemberId,
    ) {
        self.end_poll(context, |of, polled, _| of == purpose && polled == member, Answer::Lost);
    }

    /// Somebody asks this member.
    pub(super) fn on_rest_request(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        path: RestPath,
    ) {
        let status = match path {
            RestPath::Patroni => return self.ask_status(context, Waiter::Rest(connection)),
            RestPath::Primary if self.believes_in_lock(context) => OK,
            RestPath::Replica if self.is_running_replica(context) && !self.tags().noloadbalance => OK,
            RestPath::Primary | RestPath::Replica => UNAVAILABLE,
        };
        let response = Rest::Response { status, report: None };
        context.send(connection, Packet::Rest(response));
    }

    /// `ha.is_leader()`.
    pub(super) fn believes_in_lock(&self, context: &impl Context<Self>) -> bool {
        self.leader_expiry.is_some_and(|expiry| context.wall() < expiry)
    }

    fn is_running_replica(&self, context: &impl Context<Self>) -> bool {
        context.is_running(self.spec.postgres)
            && self.status.as_ref().is_some_and(|status| status.accepts_connections && status.in_recovery)
            && !self.believes_in_lock(context)
    }

    /// Answers `/patroni` with the status that the server just gave, or without one.
    pub(super) fn answer_patroni(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        status: Option<Arc<Status>>,
    ) {
        let status = status.filter(|status| status.accepts_connections);
        let report = self.report(context, status.as_deref());
        let response = Rest::Response {
            status: if report.running { OK } else { UNAVAILABLE },
            report: Some(Arc::new(report)),
        };
        context.send(connection, Packet::Rest(response));
    }

    fn report(&self, context: &impl Context<Self>, status: Option<&Status>) -> MemberReport {
        let configuration = &self.spec.configuration;
        let tags = self.tags();
        let in_recovery = status.map_or(context.storage().settings.standby, |status| status.in_recovery);
        MemberReport {
            member: self.spec.member,
            role: if in_recovery { MemberRole::Replica } else { MemberRole::Primary },
            running: status.is_some(),
            timeline: status.map_or(Timeline::default(), |status| status.timeline),
            position: status.map_or(Lsn(0), position_of),
            nofailover: tags.nofailover,
            priority: tags.failover_priority,
            watchdog_failed: configuration.watchdog.mode == WatchdogMode::Required && !self.watchdog_usable(),
            history: Arc::new(context.storage().history.clone()),
        }
    }
}
