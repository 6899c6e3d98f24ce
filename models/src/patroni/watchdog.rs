//! The watchdog: a device that resets the host unless Patroni feeds it (`watchdog/base.py`).
//!
//! It is armed when the member becomes leader and fed after each renewal of the lock. It is disarmed when the server
//! was demoted. Armed with `ttl - safety_margin` (25 s by default), it resets the host of a leader whose Patroni is
//! frozen or dead before the lock expires only if the margin covers the age of the last renewal as well; with
//! `safety_margin: -1` (half of `ttl`) it does so always.

use sim_core::{Context, SimDuration};

use super::config::{Configuration, WatchdogMode};
use super::member::Member;

/// After how long without feeding the device resets the host; none if the settings leave no slack for the loop.
pub(crate) fn timeout(configuration: &Configuration) -> Option<SimDuration> {
    let ttl = configuration.ttl;
    let timeout = match configuration.watchdog.safety_margin {
        Some(margin) => ttl.saturating_sub(margin),
        None => ttl / 2,
    };
    (timeout >= configuration.loop_wait).then_some(timeout)
}

impl Member {
    /// True if this member can be guarded by its device.
    pub(super) fn watchdog_usable(&self) -> bool {
        let watchdog = self.spec.configuration.watchdog;
        watchdog.mode != WatchdogMode::Off
            && watchdog.device_present
            && timeout(&self.spec.configuration).is_some()
    }

    /// True if the settings forbid leadership on this host.
    pub(super) fn watchdog_forbids_leading(&self) -> bool {
        self.spec.configuration.watchdog.mode == WatchdogMode::Required && !self.watchdog_usable()
    }

    /// The lock was renewed: arms or feeds the device.
    pub(super) fn keep_watchdog(&mut self, context: &mut impl Context<Self>) {
        if !self.watchdog_usable() || self.paused() {
            return;
        }
        if let Some(timeout) = timeout(&self.spec.configuration) {
            if !self.watchdog_armed {
                context.note(|| format!("software watchdog activated with {timeout} timeout"));
            }
            self.watchdog_armed = true;
            context.feed_watchdog(timeout);
        }
    }

    /// The server takes no writes any more: nothing has to be guarded.
    pub(super) fn disarm_watchdog(&mut self, context: &mut impl Context<Self>) {
        if std::mem::take(&mut self.watchdog_armed) {
            context.disarm_watchdog();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patroni::config::Watchdog;

    fn with(ttl: u64, margin: Option<u64>) -> Configuration {
        Configuration {
            ttl: SimDuration::from_secs(ttl),
            watchdog: Watchdog { safety_margin: margin.map(SimDuration::from_secs), ..Watchdog::default() },
            ..Configuration::default()
        }
    }

    #[test]
    fn the_timeout_is_ttl_less_the_margin_or_half_of_it() {
        assert_eq!(timeout(&with(30, Some(5))), Some(SimDuration::from_secs(25)));
        assert_eq!(timeout(&with(30, None)), Some(SimDuration::from_secs(15)));
    }

    #[test]
    fn a_timeout_shorter_than_the_loop_is_no_watchdog() {
        assert_eq!(timeout(&with(20, Some(15))), None);
    }
}
