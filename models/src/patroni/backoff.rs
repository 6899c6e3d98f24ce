//! `primary_race_backoff`: standbys put the race off while WAL still arrives (#3453; fidelity specification, 1.1 and 2.5 step 1;
//! `docs/dynamic_configuration.rst`).
//!
//! A lock that expired says that Patroni on the primary does not run, and nothing about its server. A standby that streams, and
//! whose position has moved since its last cycle, knows better: it keeps its upstream and waits, for at most this long after it
//! first did so. In its first `loop_wait` it waits whatever it sees, because a cycle that was woken comes too soon to see WAL move.
//!
//! A primary that has died sends nothing more, so a failover takes a cycle longer at most. One whose Patroni stays frozen is
//! replaced that much later, with two primaries as before: the setting buys time for Patroni to come back, and is no fence.

use sim_core::{Context, SimDuration, WallTime};

use super::local::position_of;
use super::member::Member;
use super::version::Change;
use crate::postgres::{Lsn, Status};

/// What a standby has seen of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// Its position in its last cycle.
    position: Option<Lsn>,
    /// It streams, and the position has moved since the cycle before.
    moved: bool,
    /// When it first put the race off, since there was a leader.
    since: Option<WallTime>,
}

impl Backoff {
    /// The server answered the query of a cycle, or did not.
    pub(crate) fn look(&mut self, status: Option<&Status>) {
        let standby = status.filter(|status| status.accepts_connections && status.in_recovery);
        let position = standby.map(position_of);
        let streams = standby.is_some_and(|status| status.streaming);
        self.moved = streams && self.position.is_some_and(|before| position > Some(before));
        self.position = position;
    }

    /// Somebody leads.
    pub(crate) fn end(&mut self) {
        self.since = None;
    }

    /// True if the race is put off.
    fn holds(&mut self, now: WallTime, limit: SimDuration, loop_wait: SimDuration) -> bool {
        if self.moved && self.since.is_none() {
            self.since = Some(now);
        }
        let Some(since) = self.since else { return false };
        let left = limit.saturating_sub(now.since(since));
        left > limit.saturating_sub(loop_wait) || self.moved && left > SimDuration::ZERO
    }
}

impl Member {
    /// Stays out of the race, because the primary seems to be alive.
    pub(super) fn puts_race_off(&mut self, context: &impl Context<Self>) -> bool {
        let configuration = &self.spec.configuration;
        let (limit, loop_wait) = (configuration.primary_race_backoff, configuration.loop_wait);
        limit > SimDuration::ZERO
            && self.spec.has(Change::BackOffWhileWalArrives)
            && self.backoff.holds(context.wall(), limit, loop_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: SimDuration = SimDuration::from_secs(30);
    const LOOP: SimDuration = SimDuration::from_secs(10);

    fn at(seconds: u64) -> WallTime {
        WallTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_race_is_put_off_while_wal_arrives_and_not_for_ever() {
        let mut backoff = Backoff { moved: true, ..Backoff::default() };
        let held: Vec<bool> = (0..5).map(|cycle| backoff.holds(at(100 + 10 * cycle), LIMIT, LOOP)).collect();
        assert_eq!(held, [true, true, true, false, false]);
        backoff.end();
        assert!(backoff.holds(at(200), LIMIT, LOOP), "a new absence of a leader");
    }

    #[test]
    fn a_cycle_that_was_woken_does_not_end_it_and_a_silent_stream_does() {
        let mut backoff = Backoff { moved: true, ..Backoff::default() };
        assert!(backoff.holds(at(100), LIMIT, LOOP));
        backoff.moved = false;
        assert!(backoff.holds(at(101), LIMIT, LOOP));
        assert!(!backoff.holds(at(110), LIMIT, LOOP));
    }

    #[test]
    fn without_wal_there_is_nothing_to_wait_for() {
        assert!(!Backoff::default().holds(at(100), LIMIT, LOOP));
    }
}
