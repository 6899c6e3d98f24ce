//! The lock in API version 2 of etcd (`etcd.py:_do_attempt_to_acquire_leader`, `_do_update_leader`): a key with a time to live, which its holder
//! puts again in each cycle.
//!
//! A renewal that failed, and then a read of etcd that still shows the lock as this member's, was enough to stay a primary before 1.2.0
//! (#308, #316; Z32).

use std::sync::Arc;

use sim_core::Context;

use super::{Etcd2, Purpose, put};
use crate::etcd::Value;
use crate::etcd::v2::{Answer, Condition, Failure};
use crate::patroni::dcs::{Effort, Finished, LockOutcome, Publication};
use crate::patroni::lock::{After, Goal};
use crate::patroni::member::Member;
use crate::patroni::version::Change;

use super::protocol::Etcd2Protocol;

/// Where the operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LockStep {
    /// Puts the leader key if it holds this member's name.
    Swap,
    /// Puts the leader key if there is none.
    Create,
    /// Reads who holds the lock, because the renewal failed.
    Read,
}

impl Etcd2 {
    /// Begins an operation on the lock.
    pub(crate) fn lock(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        _publication: &Publication,
    ) -> Option<LockOutcome> {
        match goal {
            // Each key has a time to live of its own, so that the member's is written in every cycle.
            Goal::Member => return Some(LockOutcome::Held { revision: 0, anew: true }),
            Goal::Acquire => self.put_leader(context, goal, LockStep::Create),
            Goal::Renew(_) => self.put_leader(context, goal, LockStep::Swap),
        }
        None
    }

    fn put_leader(&mut self, context: &mut impl Context<Member>, goal: Goal, step: LockStep) {
        let name: Value = self.name().into();
        let condition = match step {
            LockStep::Swap => Condition::Value(name.clone()),
            _ => Condition::Absent,
        };
        let ttl = Some(self.spec.configuration.ttl);
        let request = put(Arc::clone(&self.keys.leader), name, ttl, condition);
        self.operation = Some((goal, step));
        self.call(context, Purpose::Lock, request, Effort::Retried);
    }

    /// A request of the operation came to its end. What came of the operation, if this was its last one.
    pub(super) fn on_lock_finished(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        step: LockStep,
        finished: &Finished<Purpose, Etcd2Protocol>,
    ) -> Option<LockOutcome> {
        let response = finished.response.as_deref();
        if step == LockStep::Read {
            return Some(if self.keep(response) {
                let leads = self.view().leader() == Some(self.spec.member);
                if leads { LockOutcome::Believed } else { LockOutcome::Refused }
            } else {
                LockOutcome::Unreachable
            });
        }
        let refusal = match response.map(|response| &response.result) {
            Some(Ok(Answer::Changed(index))) => {
                return Some(LockOutcome::Held { revision: *index, anew: false });
            }
            Some(Err(Failure::KeyNotFound))
                if step == LockStep::Swap && self.spec.has(Change::AcquireVanishedLock) =>
            {
                self.put_leader(context, goal, LockStep::Create);
                return None;
            }
            Some(_) => {
                context.note(|| "Could not take out TTL lock".to_owned());
                true
            }
            None => finished.is_refusal || !self.spec.has(Change::FailedRenewalIsError),
        };
        if goal == Goal::Renew(After::Lead) && !self.spec.has(Change::DemoteOnFailedRenewal) {
            context.note(|| "failed to update leader lock".to_owned());
            self.operation = Some((goal, LockStep::Read));
            self.read(context, Purpose::Lock);
            return None;
        }
        Some(if refusal { LockOutcome::Refused } else { LockOutcome::Unreachable })
    }
}
