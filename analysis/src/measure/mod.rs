//! Measures of one run, from its history and its marks.
//!
//! Each file here answers one question and defines its terms: [`loss`] (what was promised and is gone), [`writable`]
//! (who accepted writes, and when two did), [`reads`] and [`keyed`] (what readers saw of it all), [`elections`] (who was elected in an epoch of another), [`successes`] (when
//! clients were served), [`availability`] (what they felt), [`phases`] (where the time of a failover went). [`measure()`] asks them all. [`cluster_phase`] says what each fault interrupted.

mod acknowledged;
pub mod availability;
pub mod cluster_phase;
pub mod elections;
pub mod keyed;
pub mod loss;
pub mod phases;
pub mod reads;
pub mod successes;
pub mod writable;

#[cfg(test)]
mod testing;

use serde::Serialize;
use sim_core::{MarkKind, ProcessId, Record, SimDuration, SimTime};

pub use availability::Availability;
pub use cluster_phase::{ClusterPhase, phases_at_faults};
pub use keyed::ReadsOf;
pub use loss::{Loss, SurvivingValues};
pub use phases::Phases;
pub use reads::{LongFork, Reads};
pub use successes::Successes;
pub use writable::{Overlap, WritableInterval};

/// What the caller knows about a run beside its record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MeasureOptions {
    /// A silence between two successful writes counts as an outage when it is longer than this. Choose it well above
    /// the ordinary pause between two writes and well below the failovers of interest.
    pub outage_threshold: SimDuration,
    /// The instant from which a failover is timed; none takes the first mark of kind `Fault`.
    pub fault: Option<SimTime>,
    /// The processes whose marks count for the phases and for accepting writes; none takes all. Needed where one
    /// world holds several systems, or where a consensus store leaves `Elected` marks of its own.
    pub members: Option<Vec<ProcessId>>,
    /// The clients whose writes count for availability and for the end of a failover; none takes all.
    pub clients: Option<Vec<ProcessId>>,
    /// When clients stop asking; silence after it is no outage. None: they ask until the run ends.
    pub observed_until: Option<SimTime>,
    /// What clients read, and by which of their operations availability is measured: writes, unless reads are of single keys.
    pub reads: ReadsOf,
}

impl Default for MeasureOptions {
    /// Half a second: ten times the pause between writes of the calibration's SQL client (50 ms), and well below the
    /// shortest failover measured there (3.1 s).
    fn default() -> Self {
        Self {
            outage_threshold: SimDuration::from_millis(500),
            fault: None,
            members: None,
            clients: None,
            observed_until: None,
            reads: ReadsOf::default(),
        }
    }
}

impl MeasureOptions {
    /// True when the marks of this process count.
    pub(crate) fn includes(&self, process: ProcessId) -> bool {
        self.members.as_ref().is_none_or(|members| members.contains(&process))
    }

    /// True when the writes of this client count for availability.
    pub(crate) fn counts_client(&self, client: ProcessId) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(&client))
    }
}

/// Everything that is measured of one run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Measures {
    /// Acknowledged writes and what became of them.
    pub loss: Loss,
    /// Times in which two or more processes accepted writes.
    pub overlap: Overlap,
    /// What readers saw.
    pub reads: Reads,
    /// Elections in a term or epoch in which another process had been elected.
    pub shared_epochs: u64,
    /// What the clients felt.
    pub availability: Availability,
    /// Where the time of the first failover went; none when no fault took effect.
    pub phases: Option<Phases>,
    /// How many faults took effect.
    pub fault_count: u64,
}

/// Measures one run. `surviving` are the values that the final primary holds at the end.
pub fn measure(record: &Record, surviving: &SurvivingValues, options: &MeasureOptions) -> Measures {
    measure_with_successes(record, surviving, &Successes::of(record, options), options)
}

/// The same for a caller who needs the successes of this record as well.
pub fn measure_with_successes(
    record: &Record,
    surviving: &SurvivingValues,
    successes: &Successes,
    options: &MeasureOptions,
) -> Measures {
    let intervals = writable::intervals(record, options);
    let fault = options.fault.or_else(|| first_fault(record));
    Measures {
        loss: loss::loss(record, surviving),
        overlap: writable::overlap(record, &intervals),
        reads: reads::reads(record, surviving, options.reads),
        shared_epochs: elections::shared_epochs(record),
        availability: availability::availability(record, successes, fault, options),
        phases: fault.map(|fault| phases::phases(record, fault, options)),
        fault_count: record.marks.iter().filter(|mark| mark.kind == MarkKind::Fault).count() as u64,
    }
}

fn first_fault(record: &Record) -> Option<SimTime> {
    record.marks.iter().find(|mark| mark.kind == MarkKind::Fault).map(|mark| mark.at)
}
