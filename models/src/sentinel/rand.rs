//! `rand()` of a Sentinel, and what seeds it.
//!
//! Three things are drawn from it: the frequency of the next tick, by how much the next attempt is shifted after a start or a vote,
//! and before release 2.8 the wait of a winner. `main` (`server.c`) seeds it with `time(NULL)^getpid()`, and since pull request 10197
//! with the microseconds besides. In a container the process number is 1. So Sentinels of older releases that were started in
//! containers within one second all draw the same numbers, and those that stood for leader together do so again and again (RZ-08 of the
//! fidelity specification). Ids, and the order of a hash table, come from elsewhere (`/dev/urandom`) and are not affected.

use sim_core::{Context, Seed, SimDuration, Stream};

use super::config::SentinelSpec;
use super::process::Sentinel;
use crate::redis::release::Change;

/// The number of the first process of a container.
const FIRST_PROCESS: u64 = 1;
/// `SENTINEL_MAX_DESYNC`.
const MAX_DESYNC_MILLIS: u64 = 1_000;

/// The state of `rand()`.
#[derive(Clone, Debug)]
pub(super) enum Rand {
    /// It was seeded like that of no other: the process's own stream.
    Own,
    /// It was seeded with the second of its start and the number 1, as others may be.
    Common(Stream),
}

impl Rand {
    /// As it is seeded at the start of a process.
    pub(super) fn new(spec: &SentinelSpec, context: &impl Context<Sentinel>) -> Self {
        let version = spec.groups.first().map(|(config, _)| config.version);
        let by_microseconds = version.is_none_or(|version| Change::SeedByMicroseconds.is_in(version));
        if by_microseconds || !spec.in_container {
            return Self::Own;
        }
        let second = context.wall().as_nanos() / 1_000_000_000;
        Self::Common(Seed(second ^ FIRST_PROCESS).stream("rand", 0))
    }

    /// A number below this one.
    pub(super) fn below(&mut self, context: &mut impl Context<Sentinel>, bound: u64) -> u64 {
        match self {
            Self::Own => context.random().below(bound),
            Self::Common(stream) => stream.below(bound),
        }
    }

    /// Up to a second, in whole milliseconds.
    pub(super) fn desync(&mut self, context: &mut impl Context<Sentinel>) -> SimDuration {
        SimDuration::from_millis(self.below(context, MAX_DESYNC_MILLIS))
    }
}
