//! Which standbys commits wait for, and how far those are (`syncrep.c`).
//!
//! A standby counts once it streams (`catchup` does not count) and has reported a position. `FIRST k`: the k of highest
//! priority, all of them must have it. `ANY k`: any k of the listed ones must have it. Fewer than k connected: nobody
//! is released, for however long that lasts.

use super::{Lsn, MemberId, SyncMethod, SyncState, SynchronousCommit, SynchronousStandbys};

/// What a walsender knows of its standby.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standby {
    /// Its name, that is `application_name`.
    pub(super) member: MemberId,
    /// `streaming`: it has been sent everything. Before, it is in `catchup`.
    pub(super) streaming: bool,
    /// What it has reported, if anything.
    pub(super) positions: Option<Positions>,
}

impl Standby {
    /// What it has reported, if it counts for synchronous replication.
    fn counted(&self) -> Option<Positions> {
        self.positions.filter(|_| self.streaming)
    }
}

/// What a standby has reported of its WAL.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Positions {
    pub(super) written: Lsn,
    pub(super) flushed: Lsn,
    pub(super) replayed: Lsn,
}

impl Positions {
    /// The position that commits of this level wait for.
    pub(super) fn of(self, level: SynchronousCommit) -> Lsn {
        match level {
            SynchronousCommit::RemoteWrite => self.written,
            SynchronousCommit::Off | SynchronousCommit::Local | SynchronousCommit::On => self.flushed,
            SynchronousCommit::RemoteApply => self.replayed,
        }
    }
}

/// Up to where commits may be released, or nothing while too few standbys are there. Standbys come in the order in which
/// they connected.
pub(super) fn released<'a>(
    standbys: impl Iterator<Item = &'a Standby> + Clone,
    rule: &SynchronousStandbys,
) -> Option<Positions> {
    match rule.method {
        SyncMethod::Nobody => None,
        SyncMethod::First(wanted) => minimum(listed(standbys, rule), usize::from(wanted)),
        // `FIRST 1 (*)`: all have the same priority, and the one that connected first is chosen.
        SyncMethod::Wildcard => minimum(standbys.filter(|standby| standby.counted().is_some()), 1),
        SyncMethod::Any(wanted) => {
            let nth = |position: fn(Positions) -> Lsn| {
                let reported = listed(standbys.clone(), rule).filter_map(Standby::counted).map(position);
                nth_largest(&reported, usize::from(wanted))
            };
            Some(Positions {
                written: nth(|positions| positions.written)?,
                flushed: nth(|positions| positions.flushed)?,
                replayed: nth(|positions| positions.replayed)?,
            })
        }
    }
}

/// `sync_state` of one of the standbys.
pub(super) fn state_of<'a>(
    standbys: impl Iterator<Item = &'a Standby> + Clone,
    standby: &Standby,
    rule: &SynchronousStandbys,
) -> SyncState {
    let is_this = |other: &Standby| std::ptr::eq(other, standby);
    let is_listed = rule.members.contains(&standby.member);
    let is_sync = match rule.method {
        SyncMethod::Nobody => return SyncState::Async,
        SyncMethod::First(_) | SyncMethod::Any(_) if !is_listed => return SyncState::Async,
        SyncMethod::Any(_) => return SyncState::Quorum,
        SyncMethod::First(wanted) => listed(standbys, rule).take(usize::from(wanted)).any(is_this),
        SyncMethod::Wildcard => {
            let mut counted = standbys.filter(|other| other.counted().is_some());
            counted.next().is_some_and(is_this)
        }
    };
    if is_sync { SyncState::Sync } else { SyncState::Potential }
}

/// The listed standbys that count, in order of priority.
fn listed<'a>(
    standbys: impl Iterator<Item = &'a Standby> + Clone,
    rule: &SynchronousStandbys,
) -> impl Iterator<Item = &'a Standby> + Clone {
    rule.members.iter().flat_map(move |member| {
        standbys.clone().filter(move |standby| standby.member == *member && standby.counted().is_some())
    })
}

/// What the first `wanted` of them all have; nothing if there are fewer.
fn minimum<'a>(standbys: impl Iterator<Item = &'a Standby>, wanted: usize) -> Option<Positions> {
    let mut found = 0;
    let mut lowest: Option<Positions> = None;
    for other in standbys.take(wanted).filter_map(Standby::counted) {
        found += 1;
        lowest = Some(lowest.map_or(other, |lowest| Positions {
            written: lowest.written.min(other.written),
            flushed: lowest.flushed.min(other.flushed),
            replayed: lowest.replayed.min(other.replayed),
        }));
    }
    lowest.filter(|_| found == wanted)
}

/// The largest position that `wanted` of them have reached. Quadratic in a handful of standbys, and without allocation.
fn nth_largest(positions: &(impl Iterator<Item = Lsn> + Clone), wanted: usize) -> Option<Lsn> {
    let is_reached = |at: &Lsn| positions.clone().filter(|other| other >= at).count() >= wanted;
    positions.clone().filter(is_reached).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Standbys as (member, flushed); position 0 stands for one that has not reported.
    #[track_caller]
    fn check(method: SyncMethod, members: &[u8], standbys: &[(u8, u64)], expected: Option<u64>) {
        let rule = SynchronousStandbys { method, members: members.iter().copied().map(MemberId).collect() };
        let standbys: Vec<Standby> = standbys
            .iter()
            .map(|(member, flushed)| Standby {
                member: MemberId(*member),
                streaming: true,
                positions: (*flushed > 0)
                    .then_some(Positions { flushed: Lsn(*flushed), ..Positions::default() }),
            })
            .collect();
        let reached = released(standbys.iter(), &rule);
        assert_eq!(reached.map(|positions| positions.flushed.0), expected);
    }

    #[test]
    fn first_takes_the_minimum_of_the_first_in_the_list() {
        use SyncMethod::First;
        check(First(1), &[2, 3], &[(3, 50), (2, 40)], Some(40));
        check(First(2), &[2, 3], &[(3, 50), (2, 60)], Some(50));
        check(First(2), &[2, 3, 4], &[(3, 50), (4, 70), (2, 60)], Some(50));
        check(First(1), &[2, 3], &[(3, 50)], Some(50));
        check(First(1), &[2, 3], &[(2, 0), (3, 50)], Some(50));
        check(First(2), &[2, 3], &[(3, 50)], None);
        check(First(1), &[2], &[(3, 50)], None);
    }

    #[test]
    fn any_takes_the_position_that_enough_of_them_have() {
        use SyncMethod::Any;
        check(Any(1), &[2, 3, 4], &[(2, 10), (3, 30), (4, 20)], Some(30));
        check(Any(2), &[2, 3, 4], &[(2, 10), (3, 30), (4, 20)], Some(20));
        check(Any(3), &[2, 3, 4], &[(2, 10), (3, 30), (4, 20)], Some(10));
        check(Any(2), &[2, 3, 4], &[(2, 30), (3, 30)], Some(30));
        check(Any(2), &[2, 3, 4], &[(2, 30), (5, 30)], None);
    }

    #[test]
    fn the_wildcard_takes_the_standby_that_connected_first() {
        check(SyncMethod::Wildcard, &[], &[(4, 0), (3, 20), (2, 30)], Some(20));
        check(SyncMethod::Wildcard, &[], &[(4, 0)], None);
        check(SyncMethod::Nobody, &[], &[(4, 10)], None);
    }
}
