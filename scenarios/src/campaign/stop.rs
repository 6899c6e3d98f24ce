//! When a campaign takes no more seeds: an interrupt, or a budget of wall-clock time.
//!
//! This is the one place where real time touches a campaign. It decides how many seeds are run, never what a run does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use sim_core::SimDuration;

/// Why a campaign ended before its last seed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Somebody interrupted it.
    Interrupt,
    /// Its time was spent.
    Budget,
}

/// Looked at before each seed.
#[derive(Debug)]
pub struct Stop<'a> {
    interrupted: &'a AtomicBool,
    deadline: Option<Instant>,
}

impl<'a> Stop<'a> {
    /// Stops when the flag is set.
    pub const fn on(interrupted: &'a AtomicBool) -> Self {
        Self { interrupted, deadline: None }
    }

    /// Stops at an instant, too.
    #[must_use]
    pub const fn at(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Why no more seeds may be taken; none while they may.
    pub fn reason(&self) -> Option<StopReason> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some(StopReason::Interrupt);
        }
        self.deadline.filter(|deadline| now() >= *deadline).map(|_| StopReason::Budget)
    }
}

/// The wall-clock time of a whole command, shared out among its scenarios.
#[derive(Clone, Copy, Debug)]
pub struct TimeBudget {
    end: Option<Instant>,
}

impl TimeBudget {
    /// Begins to count now. Without a length there is no end.
    pub fn start(length: Option<SimDuration>) -> Self {
        let end = length.and_then(|length| now().checked_add(Duration::from_nanos(length.as_nanos())));
        Self { end }
    }

    /// When the next of so many scenarios has to make room: each gets an equal share of what is left, so that what one
    /// leaves over is there for those after it.
    pub fn share(&self, scenarios_left: usize) -> Option<Instant> {
        let left = self.end?.saturating_duration_since(now());
        Some(now() + left / u32::try_from(scenarios_left.max(1)).unwrap_or(u32::MAX))
    }
}

#[expect(clippy::disallowed_methods, reason = "a budget is of wall-clock time; no run sees it")]
fn now() -> Instant {
    Instant::now()
}
