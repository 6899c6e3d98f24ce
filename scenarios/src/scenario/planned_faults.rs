//! Where the faults of a seed come from: written by hand, with times that may be ranges, or drawn.

use std::ops::Range;

use sim_core::{Fault, FaultBudget, MarkKind, ScheduledFault, Seed, SwarmConfig, Trigger};

use super::time_range::TimeRange;

/// Where the faults of a seed come from.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultPlan {
    /// Written by hand.
    Written(Vec<PlannedFault>),
    /// Drawn from the seed.
    Swarm(Swarm),
}

/// Random faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Swarm {
    /// What is drawn.
    pub config: SwarmConfig,
    /// What it may break at most.
    pub budgets: Vec<FaultBudget>,
    /// The place of each entry of the mix.
    pub spans: Vec<Range<usize>>,
}

/// A fault whose times may be ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    /// When it fires.
    pub trigger: PlannedTrigger,
    /// What goes wrong.
    pub fault: Fault,
    /// After how long it ends.
    pub lasts: Option<TimeRange>,
    /// Where it stands in the file.
    pub span: Range<usize>,
}

/// [`Trigger`] with ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlannedTrigger {
    /// See [`Trigger::At`].
    At(TimeRange),
    /// See [`Trigger::OnMark`].
    OnMark(MarkKind, u32, TimeRange),
    /// See [`Trigger::AfterFault`].
    AfterFault(usize, TimeRange),
}

impl PlannedFault {
    pub(super) fn draw(&self, seed: Seed, position: u64) -> ScheduledFault {
        let mut stream = seed.stream("fault times", position);
        let trigger = match self.trigger {
            PlannedTrigger::At(at) => Trigger::At(at.draw(&mut stream)),
            PlannedTrigger::OnMark(mark, occurrence, delay) => {
                Trigger::OnMark { mark, occurrence, delay: delay.draw(&mut stream), before: None }
            }
            PlannedTrigger::AfterFault(fault, delay) => {
                Trigger::AfterFault { fault, delay: delay.draw(&mut stream) }
            }
        };
        ScheduledFault {
            trigger,
            fault: self.fault.clone(),
            lasts: self.lasts.map(|lasts| lasts.draw(&mut stream)),
        }
    }
}
