//! Which standbys commits wait for, and how far those are (`syncrep.c`).
//!
//! A standby counts once it streams (`catchup` does not count) and has reported a position. `FIRST k`: the k of highest
//! priority, all of them must have it. `ANY k`: any k of the listed ones must have it. Fewer than k connected: nobody
//! is released, for however long that lasts.

use super::walsender::WalSender;
use super::{Lsn, SyncMethod, SyncState, SynchronousCommit, SynchronousStandbys};

/// What standbys have reported of their WAL.
#[derive(Clone, Copy, Debug, Default)]
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

/// Up to where commits may be released, or nothing while too few standbys are there.
pub(super) fn released(senders: &[WalSender], rule: &SynchronousStandbys) -> Option<Positions> {
    match rule.method {
        SyncMethod::Nobody => None,
        SyncMethod::First(wanted) => minimum(chosen(senders, rule), usize::from(wanted)),
        // `FIRST 1 (*)`: all have the same priority, and the one that connected first is chosen.
        SyncMethod::Wildcard => minimum(senders.iter().filter(|sender| counts(sender)), 1),
        SyncMethod::Any(wanted) => {
            let wanted = usize::from(wanted);
            let nth = |position: fn(&Positions) -> Lsn| nth_largest(senders, rule, wanted, position);
            Some(Positions {
                written: nth(|positions| positions.written)?,
                flushed: nth(|positions| positions.flushed)?,
                replayed: nth(|positions| positions.replayed)?,
            })
        }
    }
}

/// `sync_state` of each standby.
pub(super) fn state_of(senders: &[WalSender], index: usize, rule: &SynchronousStandbys) -> SyncState {
    let sender = &senders[index];
    let listed = rule.members.contains(&sender.member);
    let is_chosen =
        |wanted: u8| chosen(senders, rule).take(usize::from(wanted)).any(|other| std::ptr::eq(other, sender));
    match rule.method {
        SyncMethod::Any(_) if listed => SyncState::Quorum,
        SyncMethod::First(wanted) if listed && is_chosen(wanted) => SyncState::Sync,
        SyncMethod::First(_) if listed => SyncState::Potential,
        SyncMethod::Nobody | SyncMethod::First(_) | SyncMethod::Any(_) => SyncState::Async,
        SyncMethod::Wildcard => {
            let first = senders.iter().find(|other| counts(other));
            if first.is_some_and(|first| std::ptr::eq(first, sender)) {
                SyncState::Sync
            } else {
                SyncState::Potential
            }
        }
    }
}

fn counts(sender: &WalSender) -> bool {
    sender.streaming && sender.reported
}

/// The listed standbys that count, in order of priority.
fn chosen<'a>(
    senders: &'a [WalSender],
    rule: &'a SynchronousStandbys,
) -> impl Iterator<Item = &'a WalSender> {
    rule.members.iter().flat_map(move |member| {
        senders.iter().filter(move |sender| sender.member == *member && counts(sender))
    })
}

fn minimum<'a>(standbys: impl Iterator<Item = &'a WalSender>, wanted: usize) -> Option<Positions> {
    let mut found = 0;
    let mut lowest: Option<Positions> = None;
    for sender in standbys.take(wanted) {
        found += 1;
        let other = sender.positions;
        lowest = Some(lowest.map_or(other, |lowest| Positions {
            written: lowest.written.min(other.written),
            flushed: lowest.flushed.min(other.flushed),
            replayed: lowest.replayed.min(other.replayed),
        }));
    }
    lowest.filter(|_| found == wanted)
}

/// The largest position that `wanted` of the listed standbys have reached. Quadratic in a handful of standbys, and without
/// allocation.
fn nth_largest(
    senders: &[WalSender],
    rule: &SynchronousStandbys,
    wanted: usize,
    position: fn(&Positions) -> Lsn,
) -> Option<Lsn> {
    let reached =
        |at: Lsn| chosen(senders, rule).filter(|sender| position(&sender.positions) >= at).count() >= wanted;
    chosen(senders, rule).map(|sender| position(&sender.positions)).filter(|at| reached(*at)).max()
}
