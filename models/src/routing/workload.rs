//! What a client does and when: kind of operation, unique values, start and end.

use sim_core::{COUNTER_BITS, Context, HostTime, Process, SimDuration};

use crate::postgres::SynchronousCommit;

/// What a client asks for, again and again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Work {
    /// `INSERT` of one unique value, committed at once.
    Write(SynchronousCommit),
    /// `SELECT count(*)`. The count is recorded as the value of the operation.
    Count,
    /// The newest row of each session that wrote any, recorded as an observation.
    Newest,
}

impl Default for Work {
    fn default() -> Self {
        Self::Write(SynchronousCommit::On)
    }
}

/// Who does what, from when to when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Workload {
    /// The number of the client, different for each client of a run: it keeps their values apart. Below 2^24.
    pub client: u32,
    /// What it does.
    pub work: Work,
    /// How long after the start of its process it begins.
    pub start_at: SimDuration,
    /// How long after the start of its process it invokes no more operations, so that a run can end in quiet. Absent:
    /// never.
    pub stop_at: Option<SimDuration>,
    /// Its driver drops warnings: a commit that was cancelled while it waited for a standby looks like any other.
    pub ignores_warnings: bool,
}

impl Workload {
    /// Writes from the start to the end of the run, at the default `synchronous_commit`.
    pub fn writes(client: u32) -> Self {
        Self {
            client,
            work: Work::default(),
            start_at: SimDuration::ZERO,
            stop_at: None,
            ignores_warnings: false,
        }
    }

    /// Reads from the start to the end of the run.
    pub fn counts(client: u32) -> Self {
        Self { work: Work::Count, ..Self::writes(client) }
    }
}

/// Bits of a value that tell the lives of a client apart.
const LIFE_BITS: u32 = 16;

/// The number of the client that wrote a value.
pub(crate) fn client_of(value: u64) -> u32 {
    (value >> (COUNTER_BITS + LIFE_BITS)) as u32
}

/// The value that another client would have written in this one's place.
pub(crate) fn as_of_client(value: u64, client: u32) -> u64 {
    let own = (1 << (COUNTER_BITS + LIFE_BITS)) - 1;
    value & own | u64::from(client) << (COUNTER_BITS + LIFE_BITS)
}

/// The progress of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    workload: Workload,
    ends_at: HostTime,
    /// The value of the last write; its high bits are the client's.
    value: u64,
}

impl Progress {
    /// A new life of the client. A client keeps nothing on disk, so the values of its lives are kept apart by a random
    /// number of 16 bits, as an application would by random keys.
    pub(crate) fn new<P: Process>(workload: Workload, context: &mut impl Context<P>) -> Self {
        let life = context.random().below(1 << LIFE_BITS);
        let client = u64::from(workload.client);
        assert!(client < 1 << 24, "client number {client} does not fit into 24 bits");
        Self {
            workload,
            ends_at: workload.stop_at.map_or(HostTime::NEVER, |stop_at| context.monotonic() + stop_at),
            value: client << (COUNTER_BITS + LIFE_BITS) | life << COUNTER_BITS,
        }
    }

    pub(crate) fn work(&self) -> Work {
        self.workload.work
    }

    /// See [`Workload::ignores_warnings`].
    pub(super) fn ignores_warnings(&self) -> bool {
        self.workload.ignores_warnings
    }

    /// True once no more operations may be invoked.
    pub(crate) fn has_ended<P: Process>(&self, context: &impl Context<P>) -> bool {
        context.monotonic() >= self.ends_at
    }

    /// The number of the client.
    pub(crate) fn client(&self) -> u32 {
        self.workload.client
    }

    /// The value of its last write. Before the first one, a value that is less than those of all its writes.
    pub(crate) fn value(&self) -> u64 {
        self.value
    }

    /// A value that no other write of the run has.
    pub(crate) fn next_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }
}
