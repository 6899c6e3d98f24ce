//! When faults fire and end.

use serde::{Deserialize, Serialize};

use crate::record::MarkKind;
use crate::time::SimDuration;

use super::Fault;

/// When a fault fires.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trigger {
    /// This long after the start of the run.
    At(SimDuration),
    /// This long after a mark of this kind is left for the n-th time, counting from the first fault of the schedule.
    OnMark {
        /// Which mark.
        mark: MarkKind,
        /// The first (1), the second (2), ...
        #[serde(default = "one")]
        occurrence: u32,
        /// How long after it.
        #[serde(default)]
        delay: SimDuration,
        /// It does not fire later than this, counted from the start of the run; absent means that it may fire at any
        /// time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<SimDuration>,
    },
    /// This long after the fault with this position in the schedule fired.
    AfterFault {
        /// The other fault's position, counting from 0.
        fault: usize,
        /// How long after it.
        delay: SimDuration,
    },
}

const fn one() -> u32 {
    1
}

/// One fault of a schedule.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// When it fires.
    pub trigger: Trigger,
    /// What goes wrong.
    pub fault: Fault,
    /// After how long it ends; absent means that it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<SimDuration>,
}

/// The faults of one run, in any order.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Schedule(pub Vec<ScheduledFault>);

impl Schedule {
    /// True if records that were synced stay as they are through all of its faults.
    pub fn spares_durable_records(&self) -> bool {
        self.0.iter().all(|scheduled| scheduled.fault.spares_durable_records())
    }
}
