//! The lock, whatever the store: what a cycle wants of it, and what follows (`ha.py:acquire_lock`, `update_lock`). How a
//! store does it is in `dcs/etcd2/lock.rs`, `dcs/etcd3/lock.rs` and `dcs/kubernetes/leader.rs`.

use sim_core::{Context, MarkKind};

use super::cycle::Cycle;
use super::dcs::LockOutcome;
use super::member::Member;

/// What a cycle wants of its lock.
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

impl Member {
    /// Begins an operation on the lock.
    pub(super) fn lock(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        self.cycle = Cycle::Locking(goal);
        let publication = self.publication(context.wall(), goal);
        if let Some(outcome) = self.store.lock(context, goal, &publication) {
            self.on_lock(context, goal, outcome);
        }
    }

    /// The operation came to its end.
    pub(super) fn on_lock(&mut self, context: &mut impl Context<Self>, goal: Goal, outcome: LockOutcome) {
        if self.cycle != Cycle::Locking(goal) {
            return;
        }
        match outcome {
            LockOutcome::Held { revision, anew } => self.on_held(context, goal, revision, anew),
            LockOutcome::Refused => self.on_refused(context, goal),
            LockOutcome::Believed => self.on_believed(context),
            LockOutcome::Unreachable => {
                context.note(|| "Error communicating with DCS".to_owned());
                if goal == Goal::Member {
                    self.end_cycle(context);
                } else {
                    self.on_dcs_error(context);
                }
            }
        }
    }

    fn on_held(&mut self, context: &mut impl Context<Self>, goal: Goal, revision: u64, anew: bool) {
        match goal {
            Goal::Acquire => {
                context.mark(MarkKind::Elected, revision);
                self.view.leader = Some(self.spec.member);
                self.on_acquired(context);
            }
            Goal::Renew(after) => {
                self.view.leader = Some(self.spec.member);
                self.on_renewed(context, after);
            }
            Goal::Member => {
                self.write_member_key(context, anew);
                if self.store.is_writing() {
                    self.cycle = Cycle::Touching;
                } else {
                    self.end_cycle(context);
                }
            }
        }
    }

    /// The lock could not be renewed, and a read still shows it (#308; Z32). The REST API answers by what was read, too.
    fn on_believed(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "failed to update leader lock, and still the leader by what etcd says".to_owned());
        self.leader_expiry = Some(context.wall() + self.spec.configuration.ttl);
        self.finish_cycle(context);
    }

    /// The lock is not to be had, or not this member's any more.
    fn on_refused(&mut self, context: &mut impl Context<Self>, goal: Goal) {
        match goal {
            Goal::Acquire => self.on_race_lost(context),
            Goal::Renew(_) | Goal::Member => self.on_renewal_refused(context),
        }
    }
}
