//! `postgresql.pre_promote`: a script that fences off the old primary, or finds out that this member had better not lead
//! (`postgresql/__init__.py:_pre_promote`, `ha.py:enforce_primary_role`).
//!
//! It runs as the first part of the promotion, when the lock is held, `/sync` is written and `/primary` says 200 already; the loop
//! keeps the lock meanwhile. If it exits with anything but 0, the server stays a standby, the next cycle gives the lock back,
//! and for `ttl` this member takes part in no race. In synchronous mode `/sync` names this member alone by then: nobody else may
//! lead before it does.
//!
//! A script is not run here: how long it takes and where it fails is declared ([`PrePromote`]).

use std::collections::BTreeSet;

use serde::Serialize;
use sim_core::{Context, SimDuration};

use super::member::{Member, Timer};
use super::task::Task;
use crate::postgres::MemberId;

/// What the script of `pre_promote` does.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct PrePromote {
    /// How long it runs.
    pub lasts: SimDuration,
    /// The members on whose hosts it does not exit with 0.
    pub fails_on: BTreeSet<MemberId>,
}

impl Member {
    /// Starts the script, if there is one; else the promotion goes on.
    pub(super) fn run_pre_promote(&mut self, context: &mut impl Context<Self>) {
        let Some(script) = &self.spec.configuration.pre_promote else {
            return self.call_promote(context);
        };
        let lasts = script.lasts;
        context.note(|| "running the pre_promote script".to_owned());
        self.task = Some(Task::PrePromote);
        context.set_timer(Timer::Task, lasts);
    }

    /// The script has ended.
    pub(super) fn on_pre_promoted(&mut self, context: &mut impl Context<Self>) {
        let me = self.spec.member;
        let script = self.spec.configuration.pre_promote.as_ref();
        if script.is_some_and(|script| script.fails_on.contains(&me)) {
            context.note(|| "pre_promote script returned non-zero code".to_owned());
            self.pre_promote_failed = true;
            return self.end_task(context);
        }
        self.call_promote(context);
    }

    /// The lock is lost while the script runs.
    pub(super) fn cancel_pre_promote(&mut self, context: &mut impl Context<Self>) {
        context.note(|| "lost leader before promote".to_owned());
        self.task = None;
        context.cancel_timer(&Timer::Task);
        self.finish_cycle(context);
    }

    /// This member leads, and its script has failed: gives the lock back. False if there is nothing to give back for.
    pub(super) fn gives_lock_back_after_pre_promote(&mut self, context: &mut impl Context<Self>) -> bool {
        if !std::mem::take(&mut self.pre_promote_failed) {
            return false;
        }
        self.released_lock_at = Some(context.wall());
        self.give_lock_back(
            context,
            "releasing the leader key voluntarily because the pre_promote script failed",
        );
        true
    }

    /// True for `ttl` after the script has failed.
    pub(super) fn backs_off_after_pre_promote(&self, context: &impl Context<Self>) -> bool {
        let ttl = self.spec.configuration.ttl;
        self.released_lock_at.is_some_and(|at| context.wall() < at + ttl)
    }
}
