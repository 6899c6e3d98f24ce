//! What a run leaves behind: the clients' history, marks, the digest, and how it ended.
//!
//! The words are neutral: a Patroni leader lock, a Sentinel vote and a Kafka controller election all leave
//! [`MarkKind::Elected`]. What they mean for a protocol is said in the documentation of its model.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::growing::Growing;
use crate::id::{OperationId, ProcessId};
use crate::time::SimTime;

/// What a client asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Store a value that no other write of the run stores.
    Write,
    /// Read everything stored so far.
    Read,
}

/// What the client knows about its operation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// No answer yet. At the end of a run it means the same as `Unknown`.
    Pending,
    /// Acknowledged without reservation: the promise of durability holds from here on.
    Ok,
    /// Answered with success and a warning that the promise does not hold (`PostgreSQL`'s cancelled wait for a
    /// synchronous standby). Most drivers drop the warning; it does not count as acknowledged.
    OkWithWarning,
    /// Definitely not done.
    Failed,
    /// The connection or the time-out was lost first: done or not, the client cannot know.
    Unknown,
}

/// One operation of the history.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Operation {
    /// Who asked.
    pub client: ProcessId,
    /// What was asked.
    pub kind: OperationKind,
    /// The value written, or what a read returned: the number of values, or the value of the key that it read (zero: none).
    pub value: u64,
    /// When the client sent it.
    pub invoked: SimTime,
    /// When the client learned the outcome.
    pub completed: Option<SimTime>,
    /// What it learned.
    pub outcome: Outcome,
    /// The server that answered, when the client learned it.
    pub served_by: Option<ProcessId>,
}

impl Operation {
    /// True when the client holds an unreserved acknowledgement.
    pub fn is_acknowledged(&self) -> bool {
        self.outcome == Outcome::Ok
    }
}

/// Bits of a value that count the writes of one session, for clients whose writes are read back one by one; the bits above
/// name the session.
pub const COUNTER_BITS: u32 = 24;

/// The session that wrote a value. The values that one session writes grow.
pub const fn session_of(value: u64) -> u64 {
    value >> COUNTER_BITS
}

/// What a read returned, for clients that ask for more than a number. Kept apart from the [`Operation`], so that histories
/// without such reads do not grow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Observation {
    /// The position of the read in [`Record::operations`].
    pub operation: usize,
    /// The newest visible write of each [session](session_of), in order. A session without any is absent.
    pub newest: Arc<[u64]>,
}

/// An instant that means something for the measures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// A fault took effect; `value` is its position in the schedule.
    Fault,
    /// A lasting fault ended; `value` is its position in the schedule.
    FaultEnded,
    /// Somebody first held the old leader for failed (the leader key vanished, subjectively down, ...).
    Suspected,
    /// Those who must agree on it did (objectively down). Protocols without agreement leave it out.
    Agreed,
    /// A new leader was chosen; `value` is the term, epoch or revision. Leader and primary are not the same.
    Elected,
    /// A process began to accept writes; `value` is the term, epoch or timeline under which it does.
    Writable,
    /// A process stopped accepting writes (also implied by `Stopped`).
    ReadOnly,
    /// Clients were first able to reach a new primary through their routing layer (proxy, discovery); `value` is the
    /// position of its server there, from 0.
    Rerouted,
    /// The process started (first boot or restart).
    Started,
    /// The process ended, or its host lost power.
    Stopped,
    /// The process was paused: it keeps its state and does nothing.
    Paused,
    /// The process runs again.
    Resumed,
}

impl fmt::Display for Mark {
    /// What happened, for people, without when and to whom.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = (self.kind, self.value);
        match kind {
            MarkKind::Fault | MarkKind::FaultEnded => write!(formatter, "{kind} {value}"),
            // The neutral word for terms, timelines and revisions.
            MarkKind::Elected | MarkKind::Writable => write!(formatter, "{kind} (epoch {value})"),
            MarkKind::Rerouted => write!(formatter, "{kind} to server {}", value + 1),
            _ => write!(formatter, "{kind}"),
        }
    }
}

impl fmt::Display for MarkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Fault => "fault",
            Self::FaultEnded => "fault-ended",
            Self::Suspected => "suspected",
            Self::Agreed => "agreed",
            Self::Elected => "elected",
            Self::Writable => "writable",
            Self::ReadOnly => "read-only",
            Self::Rerouted => "rerouted",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
        })
    }
}

/// A mark: who, when, what.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Mark {
    /// When, on the simulator's clock.
    pub at: SimTime,
    /// Which process left it; faults have none.
    pub process: Option<ProcessId>,
    /// What happened.
    pub kind: MarkKind,
    /// Term, epoch, timeline or position in the schedule, as the kind says.
    pub value: u64,
}

/// A condition that must always hold did not.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// When it was found.
    pub at: SimTime,
    /// Stable name in kebab case, such as `two-leaders-in-one-term`.
    pub name: &'static str,
    /// Who and what, on one line.
    pub detail: String,
}

/// How a run ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// It reached its horizon.
    Horizon,
    /// Nothing was left to happen.
    Quiescent,
    /// It used up its events before its horizon while virtual time went on: the budget was set too low.
    EventBudget,
    /// It used up its events before its horizon, and virtual time all but stood still: the models keep each other busy
    /// without getting anywhere.
    Livelock,
    /// A probe found a violated condition.
    Violated,
    /// A model panicked with this message: a bug in the model, or an assertion of it that found one.
    Panicked(String),
}

/// Everything that a run leaves to the judge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// The clients' history, in the order of invocation.
    pub operations: Vec<Operation>,
    /// What reads returned, in the order in which they did.
    pub observations: Vec<Observation>,
    /// The marks, in order of time.
    pub marks: Vec<Mark>,
    /// The first violated condition.
    pub violation: Option<Violation>,
    /// The digest of all events.
    pub digest: Digest,
    /// How many events were processed.
    pub events: u64,
    /// When the run ended.
    pub ended_at: SimTime,
    /// Why it ended.
    pub end: EndReason,
}

/// The part of a world that fills a [`Record`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) operations: Growing<Operation>,
    pub(crate) observations: Vec<Observation>,
    pub(crate) marks: Vec<Mark>,
}

impl Recorder {
    pub(crate) fn invoke(
        &mut self,
        at: SimTime,
        client: ProcessId,
        kind: OperationKind,
        value: u64,
    ) -> OperationId {
        let id = OperationId(self.operations.len() as u32);
        self.operations.push(Operation {
            client,
            kind,
            value,
            invoked: at,
            completed: None,
            outcome: Outcome::Pending,
            served_by: None,
        });
        id
    }

    pub(crate) fn observe(&mut self, id: OperationId, newest: Arc<[u64]>) {
        self.observations.push(Observation { operation: id.index(), newest });
    }

    /// # Panics
    /// If the operation was completed before: a client must not change its mind.
    pub(crate) fn complete(&mut self, at: SimTime, id: OperationId, completion: Completion) {
        let operation = &mut self.operations[id.index()];
        assert!(operation.outcome == Outcome::Pending, "operation {id:?} was completed twice");
        operation.completed = Some(at);
        operation.outcome = completion.outcome;
        operation.served_by = completion.served_by;
        if let Some(value) = completion.value {
            operation.value = value;
        }
    }
}

/// What a client learned about an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// The outcome.
    pub outcome: Outcome,
    /// The server that answered.
    pub served_by: Option<ProcessId>,
    /// For a read: what it returned.
    pub value: Option<u64>,
}

impl Completion {
    /// An outcome without an answer from a server.
    pub const fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, served_by: None, value: None }
    }

    /// An outcome that this server reported.
    pub const fn answered(outcome: Outcome, server: ProcessId) -> Self {
        Self { outcome, served_by: Some(server), value: None }
    }
}
