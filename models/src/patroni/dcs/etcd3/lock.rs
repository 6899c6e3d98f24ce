//! The lock and the member's lease in etcd (`etcd3.py:attempt_to_acquire_leader`, `_update_leader`, `touch_member`;
//! fidelity specification, 3.3).
//!
//! ```text
//!              no lease                       vanished
//!   refresh ───────────► grant ◄──────────── keep-alive
//!      │ lease              │                    │ kept alive
//!      └──► keep-alive      └─────────┬──────────┘
//!                                     ▼
//!       acquire: create_revision(leader) = 0 ? put            ─► held / refused
//!       renew:   same lease ─► held; else value(leader) = me ? put, else as acquire
//!       member:  put members/<name>
//! ```
//!
//! Simplified: each request has the whole budget of `retry_timeout` for itself; the real operation shares one budget
//! among its two or three requests. Only an etcd that fails between them shows the difference.

use std::sync::Arc;

use sim_core::Context;

use super::{Etcd3, Purpose};
use crate::etcd::{Answer, Compare, Failure, Mutation, Request, Response, Value};
use crate::patroni::dcs::{Effort, Finished, LockOutcome};
use crate::patroni::lock::Goal;
use crate::patroni::member::Member;
use crate::patroni::version::Change;
use crate::planted::Planted;

use super::protocol::Etcd3Protocol;

/// Where the operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LockStep {
    /// Keeps the lease alive.
    KeepAlive,
    /// Asks for a new lease.
    Grant,
    /// Puts the leader key if it holds this member's name.
    Replace,
    /// Puts the leader key if there is none.
    Create,
}

impl Etcd3 {
    /// Begins an operation on the lock.
    pub(crate) fn lock(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        _publication: &super::Publication,
    ) -> Option<LockOutcome> {
        if self.lease_fresh && self.lease.is_some() {
            return self.on_lease(context, goal, false);
        }
        self.refresh_lease(context, goal);
        None
    }

    fn refresh_lease(&mut self, context: &mut impl Context<Member>, goal: Goal) {
        let (step, request) = match self.lease {
            Some(lease) => (LockStep::KeepAlive, Request::KeepAlive { lease }),
            None => (LockStep::Grant, Request::Grant { ttl: self.spec.configuration.ttl }),
        };
        self.lock_call(context, goal, step, request);
    }

    fn lock_call(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        step: LockStep,
        request: Request,
    ) {
        self.operation = Some((goal, step));
        self.client.call(context, Purpose::Lock, request, Effort::Retried);
    }

    /// Before 3.0.3, a renewal with a new lease put the key whoever held it (#2689).
    fn puts_blindly(&self, goal: Goal) -> bool {
        let renews = matches!(goal, Goal::Renew(_));
        self.spec.lacks(Planted::BlindPut) || (renews && !self.spec.has(Change::PutLeaderOnConditions))
    }

    fn put_leader(&mut self, context: &mut impl Context<Member>, goal: Goal, step: LockStep) {
        let leader = Arc::clone(&self.keys.leader);
        let name: Value = self.name().into();
        let compare = match step {
            LockStep::Replace => Compare::Value(leader.clone(), name.clone()),
            _ => Compare::CreateRevision(leader.clone(), 0),
        };
        let request = Request::Txn {
            compare: if self.puts_blindly(goal) { Vec::new() } else { vec![compare] },
            then: vec![Mutation::Put { key: leader, value: name, lease: self.lease }],
            otherwise: Vec::new(),
        };
        self.lock_call(context, goal, step, request);
    }

    /// The lease is alive.
    fn on_lease(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        granted: bool,
    ) -> Option<LockOutcome> {
        self.lease_fresh = true;
        match goal {
            Goal::Acquire => self.put_leader(context, goal, LockStep::Create),
            Goal::Renew(_) => {
                let leader = self.cache.get(&self.keys.leader);
                if !granted && leader.is_some_and(|leader| leader.lease == self.lease) {
                    return Some(LockOutcome::Held { revision: 0, anew: false });
                }
                self.put_leader(context, goal, LockStep::Replace);
            }
            Goal::Member => return Some(LockOutcome::Held { revision: 0, anew: granted }),
        }
        None
    }

    /// A request of the operation came to its end. What came of the operation, if this was its last one.
    pub(super) fn on_lock_finished(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        step: LockStep,
        finished: &Finished<Purpose, Etcd3Protocol>,
    ) -> Option<LockOutcome> {
        if matches!(goal, Goal::Renew(_)) && self.spec.lacks(Planted::SkipLeaseCheck) {
            return Some(LockOutcome::Held { revision: 0, anew: false });
        }
        let Some(response) = &finished.response else {
            if finished.is_refusal && goal != Goal::Member {
                context.note(|| "Unexpected exception raised from update_leader".to_owned());
                return Some(LockOutcome::Refused);
            }
            return Some(LockOutcome::Unreachable);
        };
        self.on_lock_response(context, goal, step, response)
    }

    fn on_lock_response(
        &mut self,
        context: &mut impl Context<Member>,
        goal: Goal,
        step: LockStep,
        response: &Response,
    ) -> Option<LockOutcome> {
        match (&response.result, step) {
            (Ok(Answer::KeptAlive { ttl: Some(_) }), _) => self.on_lease(context, goal, false),
            (Ok(Answer::KeptAlive { ttl: None }) | Err(Failure::LeaseNotFound), _) => {
                context.note(|| "the lease is gone; a new one is needed".to_owned());
                self.lease = None;
                self.refresh_lease(context, goal);
                None
            }
            (Ok(Answer::Granted { lease, .. }), _) => {
                self.lease = Some(*lease);
                self.on_lease(context, goal, true)
            }
            (Ok(Answer::Txn { succeeded: true }), _) => {
                Some(LockOutcome::Held { revision: response.revision, anew: false })
            }
            (Ok(Answer::Txn { succeeded: false }), LockStep::Replace) => {
                self.put_leader(context, goal, LockStep::Create);
                None
            }
            _ => {
                // The copy said that this would succeed (#2783).
                self.cache.rebuild(context);
                Some(LockOutcome::Refused)
            }
        }
    }
}
