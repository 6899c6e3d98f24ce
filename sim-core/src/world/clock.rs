//! The clocks of a host: a monotonic one that drifts, and a wall clock that may also be wrong and jump.

use crate::time::{HostTime, SimDuration, SimTime, WallTime};

/// Wall clocks start here, so that a step back stays representable: about 31 years after their epoch.
const WALL_START: u64 = 1_000_000_000_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    /// When the rate last changed, and what the clocks showed then.
    since: SimTime,
    monotonic: u64,
    wall: u64,
    /// Parts per million by which the clocks run fast: what faults ask for in all, and what is physical of it.
    asked_ppm: i64,
    drift_ppm: i32,
    /// The guest's monotonic clock stands still while the machine is paused.
    frozen: bool,
}

impl HostClock {
    pub(crate) fn new() -> Self {
        Self {
            since: SimTime::ZERO,
            monotonic: 0,
            wall: WALL_START,
            asked_ppm: 0,
            drift_ppm: 0,
            frozen: false,
        }
    }

    #[inline]
    fn passed(&self, now: SimTime) -> u64 {
        let real = now.since(self.since).as_nanos();
        if self.drift_ppm == 0 {
            return real;
        }
        (u128::from(real) * (1_000_000 + i128::from(self.drift_ppm)) as u128 / 1_000_000) as u64
    }

    #[inline]
    pub(crate) fn monotonic(&self, now: SimTime) -> HostTime {
        HostTime::from_nanos(if self.frozen { self.monotonic } else { self.monotonic + self.passed(now) })
    }

    pub(crate) fn wall(&self, now: SimTime) -> WallTime {
        WallTime::from_nanos(self.wall + self.passed(now))
    }

    /// The real time in which the monotonic clock advances by `length`, rounded up: a timer never fires before its
    /// time on the clock of its host. A process that waits for the last nanosecond would otherwise be woken in the same
    /// instant for ever.
    #[inline]
    pub(crate) fn real(&self, length: SimDuration) -> SimDuration {
        if self.drift_ppm == 0 {
            return length;
        }
        let rate = (1_000_000 + i128::from(self.drift_ppm)) as u128;
        let nanos = (u128::from(length.as_nanos()) * 1_000_000).div_ceil(rate);
        SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn settle(&mut self, now: SimTime) {
        self.monotonic = self.monotonic(now).as_nanos();
        self.wall = self.wall(now).as_nanos();
        self.since = now;
    }

    /// Changes the rate by this much: overlapping faults add up. Timers that are set already keep their real time.
    pub(crate) fn change_drift(&mut self, now: SimTime, ppm: i32) {
        self.settle(now);
        self.asked_ppm += i64::from(ppm);
        self.drift_ppm = self.asked_ppm.clamp(-900_000, 900_000) as i32;
    }

    pub(crate) fn step_wall(&mut self, now: SimTime, millis: i64) {
        self.settle(now);
        let step = millis.saturating_mul(1_000_000);
        self.wall = self.wall.saturating_add_signed(step);
    }

    pub(crate) fn freeze(&mut self, now: SimTime, frozen: bool) {
        self.settle(now);
        self.frozen = frozen;
    }

    /// A boot restarts the monotonic clock; the wall clock is kept by the hardware.
    pub(crate) fn reboot(&mut self, now: SimTime) {
        self.settle(now);
        self.monotonic = 0;
        self.frozen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> SimTime {
        SimTime::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_fast_clock_shows_more_and_its_timers_fire_earlier() {
        let mut clock = HostClock::new();
        clock.change_drift(secs(10), 100_000);
        assert_eq!(clock.monotonic(secs(20)).as_nanos(), 21_000_000_000);
        assert_eq!(clock.real(SimDuration::from_secs(11)), SimDuration::from_secs(10));
    }

    #[test]
    fn a_timer_never_fires_before_its_time_on_a_drifting_clock() {
        for ppm in [-900_000, -20_000, -1, 1, 20_000, 900_000] {
            let mut clock = HostClock::new();
            clock.change_drift(secs(10), ppm);
            for set_at in (0..100).map(|nanos| SimTime::from_nanos(12_345_678_901 + nanos)) {
                for length in [1, 2, 999, 1_000_000_007].map(SimDuration::from_nanos) {
                    let due = clock.monotonic(set_at).as_nanos() + length.as_nanos();
                    let fires = set_at + clock.real(length);
                    assert!(fires > set_at);
                    assert!(clock.monotonic(fires).as_nanos() >= due, "{ppm} ppm, {length}");
                }
            }
        }
    }

    #[test]
    fn a_wall_step_moves_only_the_wall_clock() {
        let mut clock = HostClock::new();
        clock.step_wall(secs(10), -300_000);
        assert_eq!(clock.monotonic(secs(10)).as_nanos(), 10_000_000_000);
        assert_eq!(clock.wall(secs(10)).as_nanos(), WALL_START + 10_000_000_000 - 300_000_000_000);
    }

    #[test]
    fn a_frozen_machine_loses_monotonic_time_but_not_wall_time() {
        let mut clock = HostClock::new();
        clock.freeze(secs(10), true);
        assert_eq!(clock.monotonic(secs(40)).as_nanos(), 10_000_000_000);
        clock.freeze(secs(40), false);
        assert_eq!(clock.monotonic(secs(41)).as_nanos(), 11_000_000_000);
        assert_eq!(clock.wall(secs(41)).as_nanos(), WALL_START + 41_000_000_000);
    }
}
