//! The relation of the world's time to madsim's, and exact waiting.
//!
//! madsim's `sleep` lasts at least 1 ms, as tokio's does. [`Alarm`] goes around it (`Sleep::reset` has no such floor), but
//! sending and receiving a datagram sleep inside madsim. So the floor is pushed down by stretching time instead.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

use madsim::time::{Duration, TimeHandle};
use sim_core::{SimDuration, SimTime};

/// How many nanoseconds of madsim pass in one nanosecond of the world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace(u32);

impl Pace {
    /// 1000: a packet takes at least 2 µs. For runs of models alone.
    pub const FINE: Self = Self(1000);
    /// 1: a packet takes at least 2 ms. For worlds with services that sleep by tokio's clock.
    pub const REAL: Self = Self(1);

    /// The world's time.
    ///
    /// # Panics
    /// Outside of a madsim runtime, or after 584 years of it.
    pub fn now(self) -> SimTime {
        let elapsed = TimeHandle::current().elapsed().as_nanos() / u128::from(self.0);
        SimTime::from_nanos(u64::try_from(elapsed).expect("a run is shorter than 584 years"))
    }

    /// A length of the world in madsim's time.
    pub fn stretch(self, length: SimDuration) -> Duration {
        Duration::from_nanos(length.as_nanos().saturating_mul(u64::from(self.0)).min(LONGEST))
    }
}

/// Nobody waits longer than this: 146 years.
const LONGEST: u64 = u64::MAX >> 2;

/// Wakes one task at an instant of the world. Cheap to ask again: a timer of madsim is made only when the one made
/// before would come too late, because madsim has no way to take one back.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    armed: Option<SimTime>,
}

impl Alarm {
    /// True if `at` has come; if not, the task of `cx` will be woken then, or a little earlier.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>, pace: Pace, at: SimTime) -> bool {
        let now = pace.now();
        if at <= now {
            return true;
        }
        if self.armed.is_none_or(|armed| armed > at || armed <= now) {
            self.armed = Some(at);
            let time = TimeHandle::current();
            let deadline = pace.stretch(SimDuration::from_nanos(at.as_nanos()));
            let mut sleep = pin!(time.sleep(Duration::ZERO));
            let instant = time.now_instant() + deadline.saturating_sub(time.elapsed());
            sleep.as_mut().reset(instant);
            // Polling makes a timer that outlives the future. It is pending: `at` has not come.
            if sleep.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        false
    }
}
