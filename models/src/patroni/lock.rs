//! The lock and the member's lease (`etcd3.py:attempt_to_acquire_leader`, `_update_leader`, `touch_member`; fidelity
//! specification, 3.3).
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

use sim_core::{Context, MarkKind};

use super::cycle::Cycle;
use super::dcs::{Effort, Finished, LeaderKey};
use super::member::Member;
use super::version::Change;
use crate::etcd::{Answer, Compare, Failure, Mutation, Request, Response, Value};
use crate::planted::Planted;

/// What a call to etcd is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// The cycle's operation on the lock or the lease.
    Lock,
    /// The cycle's compare-and-swap of `/sync`.
    Sync,
    /// A write whose failure is ignored.
    Plain,
    /// A demotion gives the lock back.
    Release,
    /// The key of a switchover to a chosen member.
    Failover,
    /// The cluster-wide settings.
    Configuration,
}

/// What a cycle wants of its lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Goal {
    /// To take the lock.
    Acquire,
    /// To keep the lock.
    Renew(After),
    /// To write the member's own key at the end of the cycle.
    Member,
}

/// For what a cycle keeps the lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum After {
    /// The healthy branch goes on.
    Lead,
    /// A task runs.
    Busy,
    /// The server starts.
    Starting,
    /// The server is dead.
    Recover,
}

/// Where the operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LockStep {
    /// Keeps the lease alive.
    KeepAlive,
    /// Asks for a new lease.
    Grant,
    /// Puts the leader key if it holds this member's name.
    Replace,
    /// Puts the leader key if there is none.
    Create,
}

impl Member {
    /// Begins an operation on the lock.
    pub(super) fn lock(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        if self.lease_fresh && self.lease.is_some() {
            self.on_lease(context, goal, false);
        } else {
            self.refresh_lease(context, goal);
        }
    }

    fn refresh_lease(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        let (step, request) = match self.lease {
            Some(lease) => (LockStep::KeepAlive, Request::KeepAlive { lease }),
            None => (LockStep::Grant, Request::Grant { ttl: self.spec.configuration.ttl }),
        };
        self.lock_call(context, goal, step, request);
    }

    fn lock_call(&mut self, context: &mut impl Context<Self>, goal: Goal, step: LockStep, request: Request) {
        self.cycle = Cycle::Locking(goal, step);
        self.client.call(context, Purpose::Lock, request, Effort::Retried);
    }

    /// Before 3.0.3, a renewal with a new lease put the key whoever held it (#2689).
    fn puts_blindly(&self, goal: Goal) -> bool {
        let renews = matches!(goal, Goal::Renew(_));
        self.spec.lacks(Planted::BlindPut) || (renews && !self.spec.has(Change::PutLeaderOnConditions))
    }

    fn put_leader(&mut self, context: &mut impl Context<Self>, goal: Goal, step: LockStep) {
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
    fn on_lease(&mut self, context: &mut impl Context<Self>, goal: Goal, granted: bool) {
        self.lease_fresh = true;
        match goal {
            Goal::Acquire => self.put_leader(context, goal, LockStep::Create),
            Goal::Renew(after) => {
                let leader = self.cache.get(&self.keys.leader);
                if !granted && leader.is_some_and(|leader| leader.lease == self.lease) {
                    self.on_renewed(context, after);
                } else {
                    self.put_leader(context, goal, LockStep::Replace);
                }
            }
            Goal::Member => {
                self.write_member_key(context, granted);
                self.end_cycle(context);
            }
        }
    }

    /// A call to etcd came to its end.
    pub(super) fn on_call(&mut self, context: &mut impl Context<Self>, finished: &Finished<Purpose>) {
        if let (Request::Txn { then, .. }, Some(response)) = (&*finished.request, &finished.response)
            && matches!(response.result, Ok(Answer::Txn { succeeded: true }))
        {
            self.cache.apply(then, response.revision);
        }
        match finished.purpose {
            Purpose::Plain | Purpose::Configuration => {}
            Purpose::Failover => self.wake(context),
            Purpose::Release => self.on_released(context),
            Purpose::Sync => self.on_sync_written(context, finished.response.as_deref()),
            Purpose::Lock => {
                if let Cycle::Locking(goal, step) = self.cycle {
                    self.on_lock_finished(context, goal, step, finished);
                }
            }
        }
    }

    fn on_lock_finished(
        &mut self,
        context: &mut impl Context<Self>,
        goal: Goal,
        step: LockStep,
        finished: &Finished<Purpose>,
    ) {
        if let Goal::Renew(after) = goal
            && self.spec.lacks(Planted::SkipLeaseCheck)
        {
            return self.on_renewed(context, after);
        }
        let Some(response) = &finished.response else {
            if finished.is_refusal && goal != Goal::Member {
                context.note(|| "Unexpected exception raised from update_leader".to_owned());
                return self.on_refused(context, goal);
            }
            context.note(|| "Error communicating with DCS".to_owned());
            if goal == Goal::Member {
                self.end_cycle(context);
            } else {
                self.on_dcs_error(context);
            }
            return;
        };
        self.on_lock_response(context, goal, step, response);
    }

    fn on_lock_response(
        &mut self,
        context: &mut impl Context<Self>,
        goal: Goal,
        step: LockStep,
        response: &Response,
    ) {
        match (&response.result, step) {
            (Ok(Answer::KeptAlive { ttl: Some(_) }), _) => self.on_lease(context, goal, false),
            (Ok(Answer::KeptAlive { ttl: None }) | Err(Failure::LeaseNotFound), _) => {
                context.note(|| "the lease is gone; a new one is needed".to_owned());
                self.lease = None;
                self.refresh_lease(context, goal);
            }
            (Ok(Answer::Granted { lease, .. }), _) => {
                self.lease = Some(*lease);
                self.on_lease(context, goal, true);
            }
            (Ok(Answer::Txn { succeeded: true }), _) => {
                if goal == Goal::Acquire {
                    context.mark(MarkKind::Elected, response.revision);
                }
                self.view.leader = Some(LeaderKey { member: self.spec.member, lease: self.lease });
                match goal {
                    Goal::Renew(after) => self.on_renewed(context, after),
                    Goal::Acquire | Goal::Member => self.on_acquired(context),
                }
            }
            (Ok(Answer::Txn { succeeded: false }), LockStep::Replace) => {
                self.put_leader(context, goal, LockStep::Create);
            }
            _ => {
                // The copy said that this would succeed (#2783).
                self.cache.rebuild(context);
                self.on_refused(context, goal);
            }
        }
    }

    /// The lock is not to be had, or not this member's any more.
    fn on_refused(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        match goal {
            Goal::Acquire => self.on_race_lost(context),
            Goal::Renew(_) | Goal::Member => self.on_renewal_refused(context),
        }
    }

    /// Writes a key whose failure is ignored. The cycle does not wait for it.
    pub(super) fn put_plain(&mut self, context: &mut impl Context<Self>, mutation: Mutation) {
        let request = Request::Txn { compare: Vec::new(), then: vec![mutation], otherwise: Vec::new() };
        self.client.call(context, Purpose::Plain, request, Effort::Single);
    }

    /// Gives the lock back, if it is still this member's.
    pub(super) fn release_lock(&mut self, context: &mut impl Context<Self>) {
        let leader = Arc::clone(&self.keys.leader);
        let request = Request::Txn {
            compare: vec![Compare::Value(leader.clone(), self.name().into())],
            then: vec![Mutation::Delete { key: leader }],
            otherwise: Vec::new(),
        };
        self.client.call(context, Purpose::Release, request, Effort::Retried);
    }
}
