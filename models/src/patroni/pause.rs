//! Maintenance mode: `pause: true` in `/config` (`ha.py:is_paused`, `docs/pause.rst`). Patroni watches and does not act.
//!
//! | situation | while paused |
//! |---|---|
//! | etcd does not answer, or the lock is lost | the primary stays what it is |
//! | there is no leader | a primary takes the lock; standbys do nothing, and keep their upstream |
//! | the server of the leader is dead, or a standby | the lock is given back; nothing is started or promoted |
//! | a starting server takes long | nothing |
//! | the watchdog | is disarmed |
//! | Patroni is stopped | the server goes on, and the leader key stays until it expires |
//!
//! The commands `pause` and `resume` write the key, as `patronictl` does through the REST API; every member sees it in its next
//! cycle, for which the change of the key wakes it.
//!
//! Left out: what is checked when the pause ends (`schedule_sanity_checks_after_pause`), restarts and rebuilds by hand.

use sim_core::Context;

use super::member::Member;

impl Member {
    /// The cluster is in maintenance mode.
    pub(super) fn paused(&self) -> bool {
        self.view.paused
    }

    /// An operator begins or ends the maintenance.
    pub(super) fn on_pause(&mut self, context: &mut impl Context<Self>, pause: bool) {
        context.note(|| format!("received request to {}", if pause { "pause" } else { "resume" }));
        self.store.write_pause(context, pause);
    }

    /// The server does not run, and nobody is to start it.
    pub(super) fn on_stopped_while_paused(&mut self, context: &mut impl Context<Self>) {
        if self.holds_lock() {
            return self.give_lock_back(context, "removed leader lock because postgres is not running");
        }
        context.note(|| "PAUSE: postgres is not running".to_owned());
        self.finish_cycle(context);
    }

    /// Gives the lock back because of this; ends the cycle.
    pub(super) fn give_lock_back(&mut self, context: &mut impl Context<Self>, why: &str) {
        context.note(|| why.to_owned());
        self.leader_expiry = None;
        self.store.release(context, None);
        self.finish_cycle(context);
    }
}
