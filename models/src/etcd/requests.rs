//! Requests from their arrival to their answer.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, HostTime, SimDuration};

use super::lessor::Renew;
use super::pending::{Asker, Pending, Stage, Work};
use super::server::{Server, Timer};
use super::version::Change;
use super::watch::Watch;
use super::{Answer, Command, Failure, Key, LeaseId, PeerMessage, Proposal, Renewal, Request, v2};
use crate::planted::Planted;
use crate::raft::NodeId;

/// A failed renewal at the leader is tried again after this (`v3_server.go: LeaseRenew`).
const RENEWAL_RETRY: SimDuration = SimDuration::from_millis(50);
/// A read without an answer is asked for again after this (`readIndexRetryTime`).
pub(super) const READ_RETRY: SimDuration = SimDuration::from_millis(500);

impl Server {
    pub(super) fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u64,
        request: &Arc<Request>,
    ) {
        let asker = Asker::Client(connection, id);
        match &**request {
            Request::Grant { ttl } => {
                // Zero asks the server to choose; identities are positive 64-bit integers.
                let lease = LeaseId((context.random().bits() >> 1).max(1));
                self.begin_change(context, asker, Command::Grant { lease, ttl: *ttl });
            }
            Request::Revoke { lease } => {
                self.begin_change(context, asker, Command::Revoke { lease: *lease });
            }
            Request::Txn { .. } => self.begin_change(context, asker, Command::Txn(Arc::clone(request))),
            Request::KeepAlive { lease } => {
                self.begin_keep_alive(context, asker, *lease);
            }
            Request::Range { prefix, linearizable: true } if !self.spec.lacks(Planted::ReadLocally) => {
                self.begin_read(context, asker, prefix);
            }
            Request::Range { prefix, .. } => {
                let entries = self.store.range(prefix).collect();
                self.respond(context, connection, id, Ok(Answer::Range { entries }));
            }
            Request::Watch { prefix, from_revision } => {
                self.respond(context, connection, id, Ok(Answer::Watching));
                let next_revision = match *from_revision {
                    0 => self.store.revision() + 1,
                    _ if self.spec.lacks(Planted::WatchFromNow) => self.store.revision() + 1,
                    from => from,
                };
                let mut watch = Watch { connection, id, prefix: Arc::clone(prefix), next_revision };
                if let Some(packet) = watch.catch_up(&self.store) {
                    context.send(connection, packet);
                }
                self.watches.push(watch);
            }
            Request::Members => {
                let members = self.spec.peers.clone();
                self.respond(context, connection, id, Ok(Answer::Members(members)));
            }
        }
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Remembers a request, and that it must not wait for ever.
    pub(super) fn pend(&mut self, context: &mut impl Context<Self>, number: u64, pending: Pending) {
        self.pending.insert(number, pending);
        if !self.armed_request_timeout {
            self.armed_request_timeout = true;
            context.set_timer(Timer::RequestTimeout, self.spec.request_timeout());
        }
    }

    fn begin(&mut self, context: &mut impl Context<Self>, number: u64, asker: Asker, work: Work) {
        let pending = Pending {
            asker,
            work,
            deadline: context.monotonic() + self.spec.request_timeout(),
            leader_changes: self.leader_changes,
        };
        self.pend(context, number, pending);
    }

    pub(super) fn begin_change(&mut self, context: &mut impl Context<Self>, asker: Asker, command: Command) {
        let number = self.take_number();
        let proposal = Arc::new(Proposal { origin: context.me(), number, command });
        let sent = self.propose(context, &proposal);
        self.begin(context, number, asker, Work::Change { proposal, sent });
    }

    /// Hands a proposal to the leader. False if there is none: then it waits for one.
    pub(super) fn propose(&mut self, context: &mut impl Context<Self>, proposal: &Arc<Proposal>) -> bool {
        match self.raft.leader() {
            None => false,
            Some(leader) if leader == self.raft.me() => self.raft.propose(Arc::clone(proposal)).is_ok(),
            Some(leader) => {
                self.send_to_peer(context, leader, PeerMessage::Propose(Arc::clone(proposal)));
                true
            }
        }
    }

    fn begin_read(&mut self, context: &mut impl Context<Self>, asker: Asker, prefix: &Key) {
        let number = self.take_number();
        let prefix = Arc::clone(prefix);
        self.begin(context, number, asker, Work::Read { prefix, index: None });
        self.raft.request_read(number);
        context.set_timer(Timer::ReadRetry, READ_RETRY);
    }

    pub(super) fn retry_reads(&mut self, context: &mut impl Context<Self>) {
        let mut waits = false;
        for (number, pending) in &self.pending {
            if matches!(
                pending.work,
                Work::Read { index: None, .. }
                    | Work::KeepAlive { stage: Stage::Confirming, .. }
                    | Work::ConfirmLeadership { .. }
            ) {
                waits = true;
                self.raft.request_read(*number);
            }
        }
        if waits {
            context.set_timer(Timer::ReadRetry, READ_RETRY);
        }
    }

    fn begin_keep_alive(&mut self, context: &mut impl Context<Self>, asker: Asker, lease: LeaseId) {
        let number = self.take_number();
        let stage = Stage::Retrying;
        self.begin(context, number, asker, Work::KeepAlive { lease, stage });
        self.advance_keep_alive(context, number);
    }

    pub(super) fn on_forwarded_keep_alive(
        &mut self,
        context: &mut impl Context<Self>,
        from: NodeId,
        number: u64,
        lease: LeaseId,
    ) {
        self.begin_keep_alive(context, Asker::Peer(from, number), lease);
    }

    /// Tries to get on with a keep-alive.
    pub(super) fn advance_keep_alive(&mut self, context: &mut impl Context<Self>, number: u64) {
        let Some(Pending { asker, work: Work::KeepAlive { lease, stage }, .. }) = self.pending.get(&number)
        else {
            return;
        };
        let (asker, lease, was_confirming) = (*asker, *lease, *stage == Stage::Confirming);
        let now = context.monotonic();
        if self.keeps_leases() {
            let waits = self.spec.has(Change::RenewAfterApply);
            if waits && self.raft.applied() < self.raft.commit() {
                let stage = Stage::AwaitingApplied(self.raft.commit());
                self.set_stage(number, stage);
                return;
            }
            if self.doubts_leadership(now) && !was_confirming && self.spec.has(Change::EnsureLeadership) {
                self.set_stage(number, Stage::Confirming);
                self.raft.request_read(number);
                context.set_timer(Timer::ReadRetry, READ_RETRY);
                return;
            }
            match self.lessor.renew(lease, now) {
                Renew::Done(Renewal::NotPrimary) if !matches!(asker, Asker::Peer(..)) => {
                    self.retry_keep_alive(context, number);
                }
                Renew::Done(renewal) => self.finish_keep_alive(context, number, renewal),
                Renew::AwaitRevocation if self.spec.lacks(Planted::RenewExpiredLease) => {
                    let ttl = self.lessor.ttl(lease);
                    self.finish_keep_alive(context, number, Renewal::Renewed(ttl));
                }
                Renew::AwaitRevocation => self.set_stage(number, Stage::AwaitingRevocation),
            }
            return;
        }
        if matches!(asker, Asker::Peer(..)) {
            self.finish_keep_alive(context, number, Renewal::NotPrimary);
            return;
        }
        if was_confirming {
            // `ensureLeadership` was refused: the client is told, and not served by the new leader (3.4.31, 3.5.13).
            self.finish_keep_alive(context, number, Renewal::NotPrimary);
            return;
        }
        if let Some(leader) = self.raft.leader() {
            self.set_stage(number, Stage::Forwarded(leader));
            self.send_to_peer(context, leader, PeerMessage::KeepAlive { number, lease });
        } else {
            // `waitLeader` looks again after an election timeout.
            self.set_stage(number, Stage::Retrying);
            context.set_timer(Timer::KeepAliveRetry(number), self.spec.election_timeout);
        }
    }

    pub(super) fn on_kept_alive(&mut self, context: &mut impl Context<Self>, number: u64, renewal: Renewal) {
        if renewal == Renewal::NotPrimary {
            self.retry_keep_alive(context, number);
        } else {
            self.finish_keep_alive(context, number, renewal);
        }
    }

    pub(super) fn retry_keep_alive(&mut self, context: &mut impl Context<Self>, number: u64) {
        self.set_stage(number, Stage::Retrying);
        context.set_timer(Timer::KeepAliveRetry(number), RENEWAL_RETRY);
    }

    /// Something was applied, or the leader changed: keep-alives that waited for it go on.
    pub(super) fn advance_waiting_keep_alives(&mut self, context: &mut impl Context<Self>) {
        let applied = self.raft.applied();
        let ready = |pending: &Pending| match &pending.work {
            Work::KeepAlive { lease, stage } => match stage {
                Stage::AwaitingApplied(index) => *index <= applied || !self.is_leader(),
                Stage::AwaitingRevocation => !self.lessor.exists(*lease) || !self.is_leader(),
                Stage::Confirming => !self.is_leader(),
                Stage::Forwarded(to) => self.raft.leader().is_some_and(|leader| leader != *to),
                Stage::Retrying => false,
            },
            _ => false,
        };
        let numbers: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| ready(pending)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.advance_keep_alive(context, number);
        }
    }

    /// A leader appeared or vanished, or the term changed.
    pub(super) fn leader_changed(&mut self, context: &mut impl Context<Self>) {
        self.advance_waiting_keep_alives(context);
        if self.raft.leader().is_none() {
            return;
        }
        let mut refused = Vec::new();
        let mut unsent = Vec::new();
        for (number, pending) in &mut self.pending {
            match &mut pending.work {
                Work::Change { proposal, sent } if !*sent => {
                    *sent = true;
                    unsent.push(Arc::clone(proposal));
                }
                Work::Read { index: None, .. } | Work::ConfirmLeadership { .. } => refused.push(*number),
                _ => {}
            }
        }
        for proposal in unsent {
            self.propose(context, &proposal);
        }
        for number in refused {
            self.finish(context, number, Err(Failure::Unavailable));
        }
    }

    /// The request timeout of the oldest request may be over.
    pub(super) fn give_up_requests(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        self.armed_request_timeout = false;
        while let Some((number, pending)) = self.pending.first_key_value() {
            if pending.deadline > now {
                self.armed_request_timeout = true;
                context.set_timer(Timer::RequestTimeout, pending.deadline.since(now));
                return;
            }
            let failure = if pending.leader_changes == self.leader_changes {
                Failure::DeadlineExceeded
            } else {
                Failure::Unavailable
            };
            let number = *number;
            self.finish(context, number, Err(failure));
        }
    }

    /// Answers whoever asked.
    pub(super) fn finish(
        &mut self,
        context: &mut impl Context<Self>,
        number: u64,
        result: Result<Answer, Failure>,
    ) {
        let Some(pending) = self.pending.remove(&number) else {
            return;
        };
        match pending.asker {
            Asker::Client(connection, id) => self.respond(context, connection, id, result),
            Asker::V2Client(connection, id) => {
                debug_assert!(result.is_err(), "what is applied is answered there");
                self.respond_v2(context, connection, id, Err(v2::Failure::RaftInternal));
            }
            Asker::Peer(to, number) => {
                let renewal = match result {
                    Ok(Answer::KeptAlive { ttl: Some(ttl) }) => Renewal::Renewed(ttl),
                    Ok(_) => Renewal::NotFound,
                    Err(_) => Renewal::NotPrimary,
                };
                self.send_to_peer(context, to, PeerMessage::KeptAlive { number, renewal });
            }
            Asker::Nobody => {}
        }
    }

    fn finish_keep_alive(&mut self, context: &mut impl Context<Self>, number: u64, renewal: Renewal) {
        let result = match renewal {
            Renewal::Renewed(ttl) => Ok(Answer::KeptAlive { ttl: Some(ttl) }),
            Renewal::NotFound => Ok(Answer::KeptAlive { ttl: None }),
            Renewal::NotPrimary => Err(Failure::NotPrimaryLessor),
        };
        self.finish(context, number, result);
    }

    /// The connection of a client ended: its watches and requests go with it.
    pub(super) fn forget_client(&mut self, connection: ConnectionId) {
        self.watches.retain(|watch| watch.connection != connection);
        self.polls.retain(|poll| !poll.is_from(connection));
        self.pending.retain(|_, pending| {
            !matches!(pending.asker, Asker::Client(own, _) | Asker::V2Client(own, _) if own == connection)
        });
    }

    /// True if this member has not ticked for so long that it may have been deposed unnoticed.
    pub(super) fn doubts_leadership(&self, now: HostTime) -> bool {
        now.since(self.last_tick) > self.spec.doubt_after()
    }

    fn set_stage(&mut self, number: u64, next: Stage) {
        if let Some(Pending { work: Work::KeepAlive { stage, .. }, .. }) = self.pending.get_mut(&number) {
            *stage = next;
        }
    }
}
