//! What makes two failures the same: when a run is changed, or takes another course, it has to fail for the same reason.

use std::fmt;

use sim_core::EndReason;

use super::{Outcome, Verdict};
use crate::family::RunResult;

/// The kind of a failure. How much was lost, when, and to whom is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was wrong.
    pub verdict: Verdict,
    /// Which condition was violated, or where a model panicked; empty for the other verdicts.
    pub detail: String,
}

impl Finding {
    /// What this run is an example of.
    pub fn of(outcome: &Outcome, result: &RunResult) -> Self {
        let detail = match (outcome.judgement.verdict, &result.record.end, &result.record.violation) {
            (Verdict::ConditionViolated, _, Some(violation)) => violation.name.to_owned(),
            (Verdict::ModelPanicked, EndReason::Panicked(message), _) => place_of(message).to_owned(),
            _ => String::new(),
        };
        Self { verdict: outcome.judgement.verdict, detail }
    }

    /// True if the promise that failed is that a cluster comes back, and not that it keeps what it has.
    pub const fn is_about_recovery(&self) -> bool {
        matches!(self.verdict, Verdict::NotRecovered | Verdict::RecoveryTooSlow)
    }
}

/// The file, line and column of a panic, without its message: that often holds numbers of the one run.
fn place_of(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(place, _)| place)
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            return write!(formatter, "{}", self.verdict);
        }
        write!(formatter, "{} ({})", self.verdict, self.detail)
    }
}
