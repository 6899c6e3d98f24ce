//! Small records written by hand, for the tests of the measures. All times are in milliseconds.

use sim_core::{
    Digest, EndReason, Mark, MarkKind, Observation, Operation, OperationKind, Outcome, ProcessId, Record,
    SimDuration, SimTime,
};

/// A record under construction. Writes carry the values 0, 1, 2, ... in the order of the calls.
pub(crate) struct Script(Record);

pub(crate) fn at(millis: u64) -> SimTime {
    SimTime::ZERO + SimDuration::from_millis(millis)
}

pub(crate) fn process(index: usize) -> ProcessId {
    ProcessId::from_index(index)
}

impl Script {
    pub(crate) fn new(ended_at: u64) -> Self {
        Self(Record {
            operations: Vec::new(),
            observations: Vec::new(),
            marks: Vec::new(),
            violation: None,
            digest: Digest::default(),
            events: 0,
            ended_at: at(ended_at),
            end: EndReason::Horizon,
        })
    }

    fn operation(
        mut self,
        invoked: u64,
        completed: Option<u64>,
        outcome: Outcome,
        server: Option<usize>,
    ) -> Self {
        let value = self.0.operations.len() as u64;
        self.0.operations.push(Operation {
            client: process(100),
            kind: OperationKind::Write,
            value,
            invoked: at(invoked),
            completed: completed.map(at),
            outcome,
            served_by: server.map(process),
        });
        self
    }

    pub(crate) fn write(self, invoked: u64, completed: u64, outcome: Outcome, server: usize) -> Self {
        self.operation(invoked, Some(completed), outcome, Some(server))
    }

    /// An acknowledged write of this value.
    pub(crate) fn write_of(self, invoked: u64, completed: u64, value: u64) -> Self {
        let mut script = self.operation(invoked, Some(completed), Outcome::Ok, Some(0));
        script.0.operations.last_mut().expect("it was just added").value = value;
        script
    }

    /// A read that saw these values as the newest of their sessions.
    pub(crate) fn read(self, invoked: u64, completed: u64, newest: Vec<u64>) -> Self {
        let mut script = self.operation(invoked, Some(completed), Outcome::Ok, Some(0));
        let read = script.0.operations.last_mut().expect("it was just added");
        (read.kind, read.value) = (OperationKind::Read, 0);
        let operation = script.0.operations.len() - 1;
        script.0.observations.push(Observation { operation, newest: newest.into() });
        script
    }

    /// A read of one key, answered with this value.
    pub(crate) fn read_of(self, invoked: u64, completed: u64, value: u64) -> Self {
        let mut script = self.write_of(invoked, completed, value);
        script.0.operations.last_mut().expect("it was just added").kind = OperationKind::Read;
        script
    }

    /// A write that failed without an answer.
    pub(crate) fn failure(self, invoked: u64, completed: u64) -> Self {
        self.operation(invoked, Some(completed), Outcome::Failed, None)
    }

    pub(crate) fn pending(self, invoked: u64) -> Self {
        self.operation(invoked, None, Outcome::Pending, None)
    }

    pub(crate) fn fault(mut self, millis: u64) -> Self {
        self.0.marks.push(Mark { at: at(millis), process: None, kind: MarkKind::Fault, value: 0 });
        self
    }

    pub(crate) fn mark(mut self, millis: u64, kind: MarkKind, index: usize, value: u64) -> Self {
        self.0.marks.push(Mark { at: at(millis), process: Some(process(index)), kind, value });
        self
    }

    pub(crate) fn record(self) -> Record {
        assert!(self.0.marks.is_sorted_by_key(|mark| mark.at), "a record's marks are in order of time");
        self.0
    }
}
