//! The settings of a lock, and of what it protects.

use sim_core::{Probability, SimDuration};

use crate::redis::WaitFor;

/// When a leader stops acting without being told that it is none any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StopRule {
    /// When so long as the time to live, less a margin, has passed on its monotonic clock since it sent the last request
    /// that was answered with success.
    #[default]
    Deadline,
    /// Never: only when a renewal is answered with "not yours". Nothing bounds for how long two lead then.
    WhenTold,
}

/// Where fencing tokens come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fencing {
    /// There are none: the resource takes what comes.
    #[default]
    Off,
    /// `INCR` in the Redis that holds the lock. A failover can take numbers back.
    Redis,
    /// The resource hands them out, one to each holder's random id, and keeps the last: it never goes back.
    Store,
}

/// The settings of a lock. The defaults for time to live and renewal are those of Redisson (`lockWatchdogTimeout` 30 s,
/// renewed after a third of it), which leader election by `SET NX EX 30` usually copies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockParameters {
    /// The time to live of the key; 30 s.
    pub ttl: SimDuration,
    /// From one renewal to the next; 10 s.
    pub renewal: SimDuration,
    /// From one attempt of a follower to the next; 5 s. Nobody publishes a value: it is a parameter.
    pub poll: SimDuration,
    /// How much longer or shorter each of these waits may be; 10 %.
    pub poll_jitter: Probability,
    /// How long a request to Redis may take, finding the primary included; 1 s. The documentation of Redlock recommends 5
    /// to 50 ms.
    pub timeout: SimDuration,
    /// From a renewal that failed to the next attempt; 1 s.
    pub retry: SimDuration,
    /// False for clients in which one error ends the renewals for good, while their owner works on (redisson issue 775).
    pub renews_after_error: bool,
    /// When a leader stops.
    pub stop: StopRule,
    /// How long before the end of the time to live it stops; 1 s. Redlock has its own: 1 % of the time to live and 2 ms.
    pub margin: SimDuration,
    /// Tokens.
    pub fencing: Fencing,
    /// `WAIT` after the acquisition: it fails if too few replicas have it.
    pub wait_for: Option<WaitFor>,
    /// From the look at the lock to the effect that rests on it; 100 ms. Nothing can be looked at in between.
    pub work: SimDuration,
    /// From the end of an effect to the next; 200 ms.
    pub interval: SimDuration,
}

impl Default for LockParameters {
    fn default() -> Self {
        Self {
            ttl: SimDuration::from_secs(30),
            renewal: SimDuration::from_secs(10),
            poll: SimDuration::from_secs(5),
            poll_jitter: Probability::from_ppm(100_000),
            timeout: SimDuration::from_secs(1),
            retry: SimDuration::from_secs(1),
            renews_after_error: true,
            stop: StopRule::Deadline,
            margin: SimDuration::from_secs(1),
            fencing: Fencing::Off,
            wait_for: None,
            work: SimDuration::from_millis(100),
            interval: SimDuration::from_millis(200),
        }
    }
}
