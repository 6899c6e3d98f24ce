//! From the lock to a primary (fidelity specification, 2.6, steps c to i).
//!
//! In synchronous mode `/sync` is rewritten before the promotion: only the new leader may lead from then on, because
//! its standbys are not confirmed yet. When that write fails, the promotion is postponed by a cycle, with the lock held
//! and `/primary` answering 200 (#2972).
//!
//! With quorum commit only `synchronous_standby_names` is set before, and `/sync` follows after.

use sim_core::{Context, SimDuration};

use super::member::{Member, Timer};
use super::synchronous::SyncStep;
use super::task::Task;
use crate::planted::Planted;
use crate::postgres::{ClusterState, Control, Status, SyncMethod, SynchronousStandbys};

/// How often the end of the promotion is looked for.
const POLL: SimDuration = SimDuration::from_secs(1);

impl Member {
    /// Begins the promotion, if the server is a standby that answers.
    pub(super) fn promote(&mut self, context: &mut impl Context<Self>) {
        if self.quorum_commit() {
            let standbys = self.prepare_quorum_promotion();
            self.promote_server(context, standbys);
        } else if self.synchronous() && !self.spec.lacks(Planted::PromoteWithoutSync) {
            self.write_sync(context, SyncStep::Promoting, &[]);
        } else {
            self.promote_server(context, SynchronousStandbys::default());
        }
    }

    /// `/sync` names this member alone.
    pub(super) fn on_sync_claimed_for_promotion(&mut self, context: &mut impl Context<Self>) {
        let method = if self.spec.configuration.synchronous_mode_strict {
            SyncMethod::Wildcard
        } else {
            SyncMethod::Nobody
        };
        self.promote_server(context, SynchronousStandbys { method, members: Vec::new() });
    }

    /// `/sync` could not be written.
    pub(super) fn postpone_promotion(&mut self, context: &mut impl Context<Self>) {
        let name = self.name().to_owned();
        context.note(|| {
            format!("postponing promotion because synchronous replication state of {name} was not updated")
        });
        self.finish_cycle(context);
    }

    fn promote_server(&mut self, context: &mut impl Context<Self>, standbys: SynchronousStandbys) {
        context.note(|| "promoted self to leader by acquiring session lock".to_owned());
        self.set_synchronous_standbys(context, standbys);
        self.checkpoint_done = false;
        self.checkpoint_asked = false;
        self.run_pre_promote(context);
        self.finish_cycle(context);
    }

    /// `pg_ctl promote`.
    pub(super) fn call_promote(&mut self, context: &mut impl Context<Self>) {
        self.was_primary = true;
        self.task = Some(Task::Promote { since: context.monotonic() });
        self.control(context, Control::Promote);
        self.call_on_promotion(context);
        context.set_timer(Timer::Task, POLL);
    }

    /// Looks whether the server has become a primary.
    pub(super) fn on_promotion_polled(&mut self, context: &mut impl Context<Self>, status: Option<&Status>) {
        let Some(Task::Promote { since }) = self.task else {
            return;
        };
        let promoted = status.is_some_and(|status| status.accepts_connections && !status.in_recovery)
            && context.storage().control.state == ClusterState::InProduction;
        let over = context.monotonic().since(since) >= self.spec.configuration.loop_wait;
        if promoted || over || !context.is_running(self.spec.postgres) {
            self.end_task(context);
        } else {
            context.set_timer(Timer::Task, POLL);
        }
    }
}
