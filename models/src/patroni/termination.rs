//! Patroni is told to stop (SIGTERM, `systemctl stop patroni`): an orderly way out, with a hand-over of the lock
//! (`__main__.py`, `ha.py:shutdown`).
//!
//! ```text
//!  leader:   REST API closes ─► fast stop ─► pg_control says "shut down" ─► 1 s ─► has anybody everything? ─► key deleted ─► exit
//!  standby:  REST API closes ─► in `/sync`? nosync, until it is not, 2 * loop_wait at most ─► fast stop ─► exit
//! ```
//!
//! The HA loop runs no more: nobody keeps the lease alive, and the watch of the others shows the deleted key. A stop that takes
//! longer than `ttl` loses the lock on the way.
//!
//! In maintenance mode the server goes on and the key stays. The command is `stop`; the process stays down until a fault starts
//! it again.
//!
//! Simplified: the key is deleted after the candidates have answered, whatever they say; the real one waits for the server to
//! end first if none has the last record, which is when every standby that is connected has it.

use sim_core::{Context, SimDuration};

use super::cycle::Cycle;
use super::dcs::MemberKey;
use super::demotion::DemoteMode;
use super::member::{Member, Timer};
use super::rest::RoundPurpose;
use super::task::Task;

/// How often a synchronous standby looks whether it still is one (`while_not_sync_standby`).
const SYNC_POLL: SimDuration = SimDuration::from_secs(2);

impl Member {
    /// SIGTERM.
    pub(super) fn terminate(&mut self, context: &mut impl Context<Self>) {
        if self.terminating {
            return;
        }
        context.note(|| "received SIGTERM: stops".to_owned());
        self.terminating = true;
        self.stop_loop(context);
        if self.paused() {
            context.note(|| {
                "Leader key is not deleted and Postgresql is not stopped due paused state".to_owned()
            });
            self.disarm_watchdog(context);
            return Self::exit(context);
        }
        if self.believes_in_lock(context) {
            return self.demote(context, DemoteMode::Final { leads: true });
        }
        if !self.is_named_in_sync(context) {
            return self.demote(context, DemoteMode::Final { leads: false });
        }
        self.ask_to_leave_sync(context);
        let since = context.monotonic();
        self.task = Some(Task::LeaveSync { since });
        context.set_timer(Timer::Task, SYNC_POLL);
    }

    /// Nothing of the loop goes on.
    fn stop_loop(&mut self, context: &mut impl Context<Self>) {
        self.cycle = Cycle::Demoting;
        self.task = None;
        for timer in [Timer::Nap, Timer::View, Timer::Query, Timer::SyncSettled, Timer::Task] {
            context.cancel_timer(&timer);
        }
        for purpose in [
            RoundPurpose::Race,
            RoundPurpose::Candidates,
            RoundPurpose::Receivers,
            RoundPurpose::Leader,
            RoundPurpose::Failsafe,
            RoundPurpose::Chosen,
        ] {
            self.forget_round(context, purpose);
        }
    }

    fn is_named_in_sync(&mut self, context: &impl Context<Self>) -> bool {
        let view = self.store.view(context.wall());
        self.synchronous() && view.sync.standbys.contains(&self.spec.member)
    }

    /// The tag `nosync` in its own key: the leader takes it out of `/sync` in its next cycle.
    fn ask_to_leave_sync(&mut self, context: &mut impl Context<Self>) {
        if let Some(key) = self.written_key {
            self.store.touch_member(context, MemberKey { nosync: true, ..key });
        }
    }

    /// Looks whether commits still wait for this standby.
    pub(super) fn advance_leaving_sync(&mut self, context: &mut impl Context<Self>) {
        let Some(Task::LeaveSync { since }) = self.task else {
            return;
        };
        let patience = self.spec.configuration.loop_wait * 2;
        if self.is_named_in_sync(context) && context.monotonic().since(since) < patience {
            context.set_timer(Timer::Task, SYNC_POLL);
        } else {
            self.demote(context, DemoteMode::Final { leads: false });
        }
    }

    /// The process ends.
    pub(super) fn exit(context: &mut impl Context<Self>) {
        let me = context.me();
        context.kill(me);
    }
}
