//! When the HA loop runs (`__main__.py:schedule_next_run`, `ha.py:watch`, `etcd.py:watch`, `etcd3.py:watch`; fidelity specification,
//! 2.2).
//!
//! The next run is an instant on the *wall* clock (`time.time()`), the nap until then runs on the monotonic one: a wall
//! clock that is set back makes the loop sleep long (#3560).

use sim_core::{SimDuration, WallTime};

/// Added to the nap of a member that follows a leader: the leader's own cycle comes first.
const FOLLOWER_DELAY: SimDuration = SimDuration::from_millis(500);
/// The pause when a cycle took longer than its period.
const OVERRUN_PAUSE: SimDuration = SimDuration::from_millis(1);

/// The schedule of one member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Schedule {
    next_run: WallTime,
}

impl Schedule {
    /// The first cycle runs now.
    pub(crate) fn new(now: WallTime) -> Self {
        Self { next_run: now }
    }

    /// A cycle ended: how long to nap. Also says whether the loop time was exceeded.
    pub(crate) fn after_cycle(
        &mut self,
        now: WallTime,
        loop_wait: SimDuration,
        follows: bool,
    ) -> (SimDuration, bool) {
        self.next_run = self.next_run + loop_wait;
        if self.next_run <= now {
            self.next_run = now;
            return (OVERRUN_PAUSE, true);
        }
        let nap = self.next_run.since(now);
        (if follows { nap + FOLLOWER_DELAY } else { nap }, false)
    }

    /// The wake-up event was set: the phase begins anew.
    pub(crate) fn wake(&mut self, now: WallTime) {
        self.next_run = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> WallTime {
        WallTime::from_nanos(millis * 1_000_000)
    }

    const L: SimDuration = SimDuration::from_secs(10);

    #[test]
    fn the_phase_is_kept_while_nothing_wakes_the_loop() {
        let mut schedule = Schedule::new(at(0));
        assert_eq!(schedule.after_cycle(at(100), L, false).0.as_millis(), 9_900);
        assert_eq!(schedule.after_cycle(at(10_200), L, false).0.as_millis(), 9_800);
    }

    #[test]
    fn a_follower_naps_half_a_second_longer_without_losing_its_phase() {
        let mut schedule = Schedule::new(at(0));
        assert_eq!(schedule.after_cycle(at(0), L, true).0.as_millis(), 10_500);
        assert_eq!(schedule.after_cycle(at(10_500), L, true).0.as_millis(), 10_000);
    }

    #[test]
    fn waking_begins_a_new_phase() {
        let mut schedule = Schedule::new(at(0));
        schedule.after_cycle(at(0), L, false);
        schedule.wake(at(3_000));
        assert_eq!(schedule.after_cycle(at(3_100), L, false).0.as_millis(), 9_900);
    }

    #[test]
    fn a_cycle_longer_than_its_period_is_followed_at_once() {
        let mut schedule = Schedule::new(at(0));
        assert_eq!(schedule.after_cycle(at(11_700), L, false), (OVERRUN_PAUSE, true));
        assert_eq!(schedule.after_cycle(at(11_800), L, false).0.as_millis(), 9_900);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_the_loop_sleep_long() {
        let mut schedule = Schedule::new(at(300_000));
        assert_eq!(schedule.after_cycle(at(100), L, false).0.as_millis(), 309_900);
    }
}
