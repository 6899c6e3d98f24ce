//! Applying committed entries, and what follows from them: answers, watches, leases.

use std::sync::Arc;

use sim_core::Context;

use super::pending::{Asker, Pending, Stage, Work};
use super::requests::READ_RETRY;
use super::server::{Server, Timer};
use super::version::Change;
use super::{Answer, Command, Failure, LeaseId, Mutation, Packet, Proposal, Request};
use crate::planted::Planted;

impl Server {
    /// Applies what is committed and durable here. True if that was anything.
    pub(super) fn apply_committed(&mut self, context: &mut impl Context<Self>) -> bool {
        let mut applied = false;
        while let Some((_, entry)) = self.raft.next_committed() {
            let (term, payload) = (entry.term, entry.payload.clone());
            applied = true;
            match payload {
                Some(proposal) => self.apply(context, &proposal),
                None if self.is_leader() && term == self.raft.term() => {
                    self.lessor.promote(context.monotonic(), self.spec.election_timeout);
                    if self.spec.lacks(Planted::LeaseNotExtended) {
                        self.lessor.expire_all(context.monotonic());
                    }
                    self.arm_lease_scan(context);
                }
                None if self.spec.lacks(Planted::FollowerExpiresLeases) => {
                    self.lessor.promote(context.monotonic(), self.spec.election_timeout);
                    self.arm_lease_scan(context);
                }
                None => {}
            }
        }
        if applied {
            self.advance_waiting_keep_alives(context);
        }
        applied
    }

    fn apply(&mut self, context: &mut impl Context<Self>, proposal: &Arc<Proposal>) {
        let before = self.store.revision();
        let result = match &proposal.command {
            Command::Grant { lease, ttl } => {
                let (lease, ttl) = (*lease, (*ttl).max(self.spec.min_lease_ttl()));
                self.lessor.grant(lease, ttl, context.monotonic());
                self.arm_lease_scan(context);
                Ok(Answer::Granted { lease, ttl })
            }
            Command::Revoke { lease } => self.revoke(*lease),
            Command::Txn(request) => self.transact(request),
            Command::V2 { request, end } => return self.apply_v2(context, proposal, request, *end),
            Command::Sync { by } => return self.apply_sync(context, *by),
        };
        if self.store.revision() != before {
            self.notify_watches(context);
        }
        if proposal.origin == context.me() && self.pending.contains_key(&proposal.number) {
            self.finish(context, proposal.number, result);
        }
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<Answer, Failure> {
        let keys = self.lessor.revoke(lease).ok_or(Failure::LeaseNotFound)?;
        self.store.delete_all(keys.iter());
        Ok(Answer::Revoked)
    }

    fn transact(&mut self, request: &Request) -> Result<Answer, Failure> {
        let Request::Txn { compare, then, otherwise } = request else {
            unreachable!("only transactions are proposed as such");
        };
        let succeeded = compare.iter().all(|compare| self.store.holds(compare))
            || self.spec.lacks(Planted::CompareIgnored);
        let mutations = if succeeded { then } else { otherwise };
        let lease_exists = |mutation: &Mutation| match mutation {
            Mutation::Put { lease: Some(lease), .. } => self.lessor.exists(*lease),
            _ => true,
        };
        if !mutations.iter().all(lease_exists) {
            return Err(Failure::LeaseNotFound);
        }
        for mutation in mutations {
            let (Mutation::Put { key, .. } | Mutation::Delete { key }) = mutation;
            if let Some(lease) = self.store.lease_of(key)
                && !self.spec.lacks(Planted::KeepOldLease)
            {
                self.lessor.detach(lease, key);
            }
            if let Mutation::Put { key, lease: Some(lease), .. } = mutation {
                self.lessor.attach(*lease, key);
            }
        }
        self.store.change(mutations);
        Ok(Answer::Txn { succeeded })
    }

    fn notify_watches(&mut self, context: &mut impl Context<Self>) {
        for watch in &mut self.watches {
            if let Some(packet) = watch.catch_up(&self.store) {
                context.send(watch.connection, packet);
            }
        }
    }

    /// Lets reads proceed whose index is known and applied. True if any did.
    pub(super) fn advance_reads(&mut self, context: &mut impl Context<Self>) -> bool {
        let mut progress = false;
        while let Some((number, read_index)) = self.raft.next_read() {
            progress = true;
            match self.pending.get_mut(&number).map(|pending| &mut pending.work) {
                Some(Work::Read { index, .. }) => *index = Some(read_index),
                Some(Work::KeepAlive { stage, .. }) if *stage == Stage::Confirming => {
                    self.last_tick = context.monotonic();
                    self.advance_keep_alive(context, number);
                }
                Some(Work::ConfirmLeadership { leases }) => {
                    let leases = std::mem::take(leases);
                    self.pending.remove(&number);
                    self.last_tick = context.monotonic();
                    self.revoke_expired(context, leases);
                }
                _ => {}
            }
        }
        let applied = self.raft.applied();
        while let Some((number, prefix)) =
            self.pending.iter().find_map(|(number, pending)| match &pending.work {
                Work::Read { prefix, index: Some(index) } if *index <= applied => {
                    Some((*number, Arc::clone(prefix)))
                }
                _ => None,
            })
        {
            let entries = self.store.range(&prefix).collect();
            self.finish(context, number, Ok(Answer::Range { entries }));
        }
        progress
    }

    /// Revokes what has expired, if this member is sure that it leads. If it cannot make sure (`ensureLeadership`), the
    /// leases come up again after a request timeout, as those do whose revocation was lost.
    pub(super) fn scan_leases(&mut self, context: &mut impl Context<Self>) {
        let any_member = self.spec.lacks(Planted::FollowerExpiresLeases);
        if !self.keeps_leases() && !any_member {
            return;
        }
        let now = context.monotonic();
        let leases = self.lessor.expired(now, self.spec.request_timeout());
        self.arm_lease_scan(context);
        if leases.is_empty() {
            return;
        }
        if self.doubts_leadership(now) && self.spec.has(Change::EnsureLeadership) && !any_member {
            let number = self.take_number();
            let pending = Pending {
                asker: Asker::Nobody,
                work: Work::ConfirmLeadership { leases },
                deadline: now + self.spec.request_timeout(),
                leader_changes: self.leader_changes,
            };
            self.pend(context, number, pending);
            self.raft.request_read(number);
            context.set_timer(Timer::ReadRetry, READ_RETRY);
            return;
        }
        self.revoke_expired(context, leases);
    }

    fn revoke_expired(&mut self, context: &mut impl Context<Self>, leases: Vec<LeaseId>) {
        for lease in leases {
            let proposal = Proposal {
                origin: context.me(),
                number: self.take_number(),
                command: Command::Revoke { lease },
            };
            let proposal = Arc::new(proposal);
            if self.is_leader() || !self.is_saving() {
                // If it is lost with the leadership, the next leader counts anew.
                let _ = self.propose(context, &proposal);
            } else {
                self.held.push(proposal);
            }
        }
    }

    pub(super) fn arm_lease_scan(&self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        if let Some(at) = self.lessor.next_scan(now) {
            context.set_timer(Timer::LeaseScan, at.since(now));
        }
    }

    /// Sends an answer to a client.
    pub(super) fn respond(
        &self,
        context: &mut impl Context<Self>,
        connection: sim_core::ConnectionId,
        id: u64,
        result: Result<Answer, Failure>,
    ) {
        let response = Arc::new(super::Response {
            member: context.me(),
            revision: self.store.revision(),
            raft_term: self.raft.term().0,
            result,
        });
        context.send(connection, Packet::Response { id, response });
    }
}
