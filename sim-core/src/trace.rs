//! The optional event log: off in a campaign, on when a person looks at one run.
//!
//! Entries are made from closures, so that a run without a log formats nothing. The log observes: it draws nothing,
//! schedules nothing, and folds nothing into the digest. When a `tracing` subscriber listens at debug level, entries
//! go there too, stamped with virtual time.

use crate::id::ProcessId;
use crate::time::SimTime;

/// What an entry tells about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TraceKind {
    /// A process says what it knows or does.
    Note,
    /// A mark for the measures.
    Mark,
    /// A fault took effect, ended, or missed.
    Fault,
    /// A packet or connection event was delivered.
    Delivery,
}

/// One entry of the event log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceEntry {
    /// When, on the simulator's clock.
    pub at: SimTime,
    /// Whom it concerns; faults concern the world.
    pub process: Option<ProcessId>,
    /// What it tells about.
    pub kind: TraceKind,
    /// One line of text.
    pub text: String,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum TraceLevel {
    #[default]
    Off,
    /// Notes, marks and faults.
    Story,
    /// Every delivery as well.
    Everything,
}

/// The log of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) level: TraceLevel,
    pub(crate) entries: Vec<TraceEntry>,
}

impl Trace {
    #[inline]
    pub(crate) fn add(
        &mut self,
        level: TraceLevel,
        at: SimTime,
        process: Option<ProcessId>,
        kind: TraceKind,
        text: impl FnOnce() -> String,
    ) {
        if !self.is_read(level) {
            return;
        }
        self.record(level, at, process, kind, text());
    }

    /// Whether anybody would see an entry of this level.
    #[inline]
    pub(crate) fn is_read(&self, level: TraceLevel) -> bool {
        self.level >= level || tracing::enabled!(target: "hasim", tracing::Level::DEBUG)
    }

    #[cold]
    fn record(
        &mut self,
        level: TraceLevel,
        at: SimTime,
        process: Option<ProcessId>,
        kind: TraceKind,
        text: String,
    ) {
        let process_index = process.map(ProcessId::index);
        tracing::debug!(target: "hasim", %at, process = process_index, ?kind, "{text}");
        if self.level >= level {
            self.entries.push(TraceEntry { at, process, kind, text });
        }
    }
}
