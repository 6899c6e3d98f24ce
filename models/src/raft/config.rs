//! How a node is set up, and how it measures time.

use sim_core::{HostTime, SimDuration, Stream};

use super::NodeId;
use crate::planted::Planted;

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// How many nodes vote, this one included: 1 to 32.
    pub nodes: u8,
    /// Timeouts.
    pub timing: Timing,
    /// Ask for a non-binding vote before raising the term. etcd: on since 3.5.
    pub pre_vote: bool,
    /// Leaders without a majority resign, and voters protect a leader that they hear. etcd: always on.
    pub check_quorum: bool,
    /// What restarts the wait for a leader.
    pub restart: Restart,
    /// Whether a candidate asks for votes while its own is still being synced. Its own vote counts when it is durable
    /// either way. etcd asks afterwards.
    pub asks_while_syncing: bool,
    /// A rule that a test switches off.
    pub planted: Planted,
}

impl Config {
    /// etcd's settings for this node of a cluster of so many.
    pub const fn etcd(me: NodeId, nodes: u8, timing: Timing, pre_vote: bool) -> Self {
        Self {
            me,
            nodes,
            timing,
            pre_vote,
            check_quorum: true,
            restart: Restart::AtNewTerm,
            asks_while_syncing: false,
            planted: Planted::Nothing,
        }
    }

    /// Raft as in the thesis: without pre-vote and check-quorum.
    pub const fn thesis(me: NodeId, nodes: u8, timing: Timing) -> Self {
        Self {
            me,
            nodes,
            timing,
            pre_vote: false,
            check_quorum: false,
            restart: Restart::AtContact,
            asks_while_syncing: true,
            planted: Planted::Nothing,
        }
    }

    /// How many nodes are a majority.
    pub const fn majority(&self) -> u32 {
        self.nodes as u32 / 2 + 1
    }

    /// True if this rule is switched off.
    pub(super) fn lacks(&self, rule: Planted) -> bool {
        self.planted == rule
    }
}

/// What restarts the wait for a leader, besides hearing it and granting a vote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Restart {
    /// etcd: any message of a newer term, even a refused request for a vote, and only then a new timeout is drawn
    /// (`becomeFollower` resets everything).
    AtNewTerm,
    /// The thesis and `LogCabin`: nothing else, and each restart draws a new timeout.
    AtContact,
}

/// How long a node waits for a leader, and how often a leader speaks.
#[derive(Clone, Copy, Debug)]
pub enum Timing {
    /// etcd: everything happens at ticks. The leader speaks at each tick; a follower waits for
    /// `election_ticks..2 * election_ticks` ticks.
    Ticks {
        /// `--heartbeat-interval`, 100 ms by default.
        tick: SimDuration,
        /// `--election-timeout` in ticks, 10 by default.
        election_ticks: u64,
    },
    /// The thesis: a follower waits for a length drawn uniformly from a range.
    Range {
        /// The shortest wait.
        min: SimDuration,
        /// The longest wait.
        max: SimDuration,
        /// How often the leader speaks.
        heartbeat: SimDuration,
    },
}

/// The ticker of a node and the timeout it drew.
#[derive(Clone, Debug)]
pub(super) struct Ticker {
    timing: Timing,
    /// When the first tick came: no two processes start at exactly the same instant.
    first_tick: HostTime,
    /// The election timeout drawn last: ticks, or nanoseconds of a continuous range.
    drawn: u64,
}

impl Ticker {
    pub(super) fn new(timing: Timing, now: HostTime, random: &mut Stream) -> Self {
        let first_tick = match timing {
            Timing::Ticks { tick, .. } => {
                now + SimDuration::from_nanos(random.between(1, tick.as_nanos().max(1)))
            }
            Timing::Range { .. } => now,
        };
        let mut ticker = Self { timing, first_tick, drawn: 0 };
        ticker.draw(random);
        ticker
    }

    /// Draws a new election timeout.
    pub(super) fn draw(&mut self, random: &mut Stream) {
        self.drawn = match self.timing {
            Timing::Ticks { election_ticks, .. } => random.between(election_ticks, 2 * election_ticks - 1),
            Timing::Range { min, max, .. } => random.duration(min, max).as_nanos(),
        };
    }

    /// When the drawn timeout ends if it starts now.
    pub(super) fn timeout_from(&self, now: HostTime) -> HostTime {
        match self.timing {
            Timing::Ticks { tick, .. } => self.nth_tick(now, self.drawn, tick),
            Timing::Range { .. } => now + SimDuration::from_nanos(self.drawn),
        }
    }

    /// When the shortest possible timeout ends if it starts now.
    pub(super) fn shortest_from(&self, now: HostTime) -> HostTime {
        match self.timing {
            Timing::Ticks { tick, election_ticks } => self.nth_tick(now, election_ticks, tick),
            Timing::Range { min, .. } => now + min,
        }
    }

    /// When the leader speaks next.
    pub(super) fn next_heartbeat(&self, now: HostTime) -> HostTime {
        match self.timing {
            Timing::Ticks { tick, .. } => self.nth_tick(now, 1, tick),
            Timing::Range { heartbeat, .. } => now + heartbeat,
        }
    }

    /// How many heartbeats make one window of check-quorum.
    pub(super) fn heartbeats_per_window(&self) -> u64 {
        match self.timing {
            Timing::Ticks { election_ticks, .. } => election_ticks,
            Timing::Range { min, heartbeat, .. } => {
                min.as_nanos().div_ceil(heartbeat.as_nanos().max(1)).max(1)
            }
        }
    }

    /// How late a timer may be before the ticks of the time in between count as dropped.
    pub(super) fn tolerance(&self) -> SimDuration {
        match self.timing {
            Timing::Ticks { tick, .. } => tick,
            Timing::Range { .. } => SimDuration::MAX,
        }
    }

    /// The ticks that are lost while the process does not tick for this long: all but one. Without ticks, time passes.
    pub(super) fn whole_ticks(&self, lasted: SimDuration) -> SimDuration {
        match self.timing {
            Timing::Ticks { tick, .. } => {
                tick * (lasted.as_nanos() / tick.as_nanos().max(1)).saturating_sub(1)
            }
            Timing::Range { .. } => SimDuration::ZERO,
        }
    }

    /// The n-th tick after `now`.
    fn nth_tick(&self, now: HostTime, n: u64, tick: SimDuration) -> HostTime {
        if now < self.first_tick {
            return self.first_tick + tick * (n - 1);
        }
        let passed = now.since(self.first_tick).as_nanos() / tick.as_nanos();
        self.first_tick + tick * (passed + n)
    }
}
