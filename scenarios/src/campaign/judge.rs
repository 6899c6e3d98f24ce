//! From one run to a verdict.

use std::fmt;

use analysis::Measures;
use analysis::measure::Availability;
use models::redis::STREAM_DIVERGED;
use sim_core::{EndReason, Record, SimDuration};

use crate::exit::Exit;
use crate::scenario::Promise;

/// What one run says about the promises of its scenario. Names are stable: they stand in tables and repro files.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// Every promise that is judged run by run was kept.
    Kept,
    /// The run ended with the divergence of data that its scenario demands of the campaign.
    DivergenceFound,
    /// The event budget was spent before the horizon while virtual time went on: the budget is set too low.
    Undecided,
    /// The longest outage was longer than promised.
    RecoveryTooSlow,
    /// At the end of the run no client could write.
    NotRecovered,
    /// No write was ever acknowledged: every other promise would be kept for want of trying.
    NothingAcknowledged,
    /// Two reads contradict each other about which of two writes came first.
    LongFork,
    /// A read was answered with less than what had been acknowledged before it was asked for.
    StaleRead,
    /// Two processes accepted writes at one instant.
    TwoWritablePrimaries,
    /// An acknowledged write is missing.
    AckedWriteLost,
    /// A condition that always holds did not.
    ConditionViolated,
    /// The models kept each other busy and virtual time all but stood still.
    Livelock,
    /// A model panicked.
    ModelPanicked,
    /// The run was not the same when it was run again: hasim or a model is not deterministic.
    NotRepeated,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Kept,
        Self::DivergenceFound,
        Self::Undecided,
        Self::RecoveryTooSlow,
        Self::NotRecovered,
        Self::NothingAcknowledged,
        Self::LongFork,
        Self::StaleRead,
        Self::TwoWritablePrimaries,
        Self::AckedWriteLost,
        Self::ConditionViolated,
        Self::Livelock,
        Self::ModelPanicked,
        Self::NotRepeated,
    ];

    /// The name in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::DivergenceFound => "divergence-found",
            Self::Undecided => "undecided",
            Self::RecoveryTooSlow => "recovery-too-slow",
            Self::NotRecovered => "not-recovered",
            Self::NothingAcknowledged => "nothing-acknowledged",
            Self::LongFork => "long-fork",
            Self::StaleRead => "stale-read",
            Self::TwoWritablePrimaries => "two-writable-primaries",
            Self::AckedWriteLost => "acked-write-lost",
            Self::ConditionViolated => "condition-violated",
            Self::Livelock => "livelock",
            Self::ModelPanicked => "model-panicked",
            Self::NotRepeated => "not-repeated",
        }
    }

    /// How a command ends that found this.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Kept | Self::DivergenceFound => Exit::Kept,
            Self::Undecided => Exit::Undecided,
            Self::NotRepeated => Exit::Internal,
            _ => Exit::Violated,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A verdict and what it rests on, on one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// The verdict: the gravest, if several apply.
    pub verdict: Verdict,
    /// The evidence; empty if all was kept.
    pub evidence: String,
}

impl Judgement {
    fn new(verdict: Verdict, evidence: impl Into<String>) -> Self {
        Self { verdict, evidence: evidence.into() }
    }
}

/// A time that was measured, for people: virtual time has nanoseconds, which say nothing here.
pub(crate) fn seconds(length: SimDuration) -> String {
    format!("{:.3} s", length.as_secs_f64())
}

/// Judges one run by the promises of its scenario.
pub fn judge(promises: &[Promise], record: &Record, measures: &Measures) -> Judgement {
    if let EndReason::Panicked(message) = &record.end {
        return Judgement::new(Verdict::ModelPanicked, format!("at {}: {message}", record.ended_at));
    }
    if let Some(violation) = &record.violation {
        let demanded = violation.name == STREAM_DIVERGED && promises.contains(&Promise::DivergenceIsFound);
        return Judgement::new(
            if demanded { Verdict::DivergenceFound } else { Verdict::ConditionViolated },
            format!("{} at {}: {}", violation.name, violation.at, violation.detail),
        );
    }
    if record.end == EndReason::Livelock {
        return Judgement::new(
            Verdict::Livelock,
            format!(
                "virtual time all but stood still at {} when all {} events of the budget were spent",
                record.ended_at, record.events
            ),
        );
    }
    if record.end == EndReason::EventBudget {
        return Judgement::new(
            Verdict::Undecided,
            format!(
                "all {} events of the budget were spent at {}, before the end; virtual time went on, so a larger \
                 `event_budget` would get there",
                record.events, record.ended_at
            ),
        );
    }
    if measures.loss.acknowledged == 0 {
        return Judgement::new(Verdict::NothingAcknowledged, "no client ever wrote anything");
    }
    promises
        .iter()
        .map(|promise| judge_promise(*promise, measures))
        .max_by_key(|judgement| judgement.verdict)
        .unwrap_or_else(|| Judgement::new(Verdict::Kept, ""))
}

fn judge_promise(promise: Promise, measures: &Measures) -> Judgement {
    let availability = &measures.availability;
    match promise {
        Promise::LosesAtMost(limit) if measures.loss.lost_span.is_some_and(|span| span > limit) => {
            Judgement::new(
                Verdict::AckedWriteLost,
                format!(
                    "lost {} of {} acknowledged writes, acknowledged within {} of each other, promised at most {limit}",
                    measures.loss.lost,
                    measures.loss.acknowledged,
                    seconds(measures.loss.lost_span.unwrap_or_default())
                ),
            )
        }
        Promise::NoAcknowledgedWriteLost if measures.loss.lost > 0 => Judgement::new(
            Verdict::AckedWriteLost,
            format!(
                "lost {} of {} acknowledged writes, acknowledged within {} of each other",
                measures.loss.lost,
                measures.loss.acknowledged,
                seconds(measures.loss.lost_span.unwrap_or_default())
            ),
        ),
        Promise::AtMostOneWritablePrimary if measures.overlap.total > SimDuration::ZERO => Judgement::new(
            Verdict::TwoWritablePrimaries,
            format!(
                "for {}, with {} writes acknowledged meanwhile",
                seconds(measures.overlap.total),
                measures.overlap.writes
            ),
        ),
        Promise::NoLongFork => match &measures.reads.long_fork {
            Some(fork) => Judgement::new(Verdict::LongFork, fork.to_string()),
            None => Judgement::new(Verdict::Kept, ""),
        },
        Promise::NoStaleRead if measures.reads.stale > 0 => Judgement::new(
            Verdict::StaleRead,
            format!(
                "{} of {} reads lack what had been acknowledged",
                measures.reads.stale, measures.reads.observed
            ),
        ),
        Promise::RecoversWithin(_) if !availability.recovered => not_recovered(availability),
        Promise::RecoversWithin(limit) if availability.outage.is_none_or(|outage| outage > limit) => {
            Judgement::new(
                Verdict::RecoveryTooSlow,
                format!("outage of {}, promised at most {limit}", seconds(availability.outage_at_least)),
            )
        }
        Promise::ConvergesWithin(limit) => match availability.converged_after {
            None => not_recovered(availability),
            Some(after) if after > limit => Judgement::new(
                Verdict::RecoveryTooSlow,
                format!("in service {} after the last fault, promised at most {limit}", seconds(after)),
            ),
            Some(_) => Judgement::new(Verdict::Kept, ""),
        },
        _ => Judgement::new(Verdict::Kept, ""),
    }
}

/// The end came within an outage, or before anybody wrote after the last fault.
fn not_recovered(availability: &Availability) -> Judgement {
    let longest = seconds(availability.outage_at_least);
    let text =
        format!("no write succeeded after the last fault, or at the end; unavailable for up to {longest}");
    Judgement::new(Verdict::NotRecovered, text)
}
