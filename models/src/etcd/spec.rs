//! What a member is started with.

use sim_core::{ProcessId, SimDuration};

use super::version::{Change, MODELLED};
use crate::planted::Planted;
use crate::release::Release;

/// The command line of a member.
#[derive(Clone, Debug)]
pub struct Spec {
    /// All members, this one included, in the same order everywhere.
    pub peers: Vec<ProcessId>,
    /// `--heartbeat-interval`: the tick. 100 ms.
    pub heartbeat_interval: SimDuration,
    /// `--election-timeout`: at least five heartbeat intervals. 1000 ms.
    pub election_timeout: SimDuration,
    /// `--pre-vote`: true since 3.5, false in 3.4.
    pub pre_vote: bool,
    /// Which release runs.
    pub version: Release,
    /// A rule that a test switches off.
    pub planted: Planted,
}

impl Spec {
    /// The defaults of the modelled release for these members.
    pub const fn new(peers: Vec<ProcessId>) -> Self {
        Self {
            peers,
            heartbeat_interval: SimDuration::from_millis(100),
            election_timeout: SimDuration::from_millis(1_000),
            pre_vote: true,
            version: MODELLED,
            planted: Planted::Nothing,
        }
    }

    /// The same with another release, and its default of `--pre-vote`.
    #[must_use]
    pub fn of_release(self, version: Release) -> Self {
        Self { pre_vote: Change::PreVote.is_in(version), version, ..self }
    }

    /// True if the release that runs has this change.
    pub(super) fn has(&self, change: Change) -> bool {
        change.is_in(self.version)
    }

    /// True if this rule is switched off.
    pub(super) fn lacks(&self, rule: Planted) -> bool {
        self.planted == rule
    }

    /// `--election-timeout` in ticks.
    pub const fn election_ticks(&self) -> u64 {
        self.election_timeout.as_nanos() / self.heartbeat_interval.as_nanos()
    }

    /// After so long without a tick the leader confirms that it leads: three ticks (`ensureLeadership`).
    pub(super) fn doubt_after(&self) -> SimDuration {
        self.heartbeat_interval * 3
    }

    /// How long the server tries to serve a request: 5 s plus two election timeouts (`config.go: ReqTimeout`).
    pub fn request_timeout(&self) -> SimDuration {
        SimDuration::from_secs(5) + self.election_timeout * 2
    }

    /// The shortest time to live of a lease: 1.5 election timeouts, in whole seconds (`server.go: minTTL`).
    pub const fn min_lease_ttl(&self) -> SimDuration {
        let nanos = self.election_timeout.as_nanos() * 3 / 2;
        SimDuration::from_secs(nanos.div_ceil(1_000_000_000))
    }

    /// How long a dial of a peer may take: 1 s plus an election timeout (`config.go: peerDialTimeout`).
    pub fn dial_timeout(&self) -> SimDuration {
        SimDuration::from_secs(1) + self.election_timeout
    }
}
