//! Leases. Which exist, and with which keys, is replicated; when they expire only the leader's lessor knows.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::{HostTime, SimDuration};

use super::{Key, LeaseId, Renewal};

/// How often the lessor looks for expired leases (`lessor.go: runLoop`).
pub(super) const SCAN_INTERVAL: SimDuration = SimDuration::from_millis(500);
/// At most so many leases are revoked at one scan (`leaseRevokeRate` / 2).
const REVOKED_PER_SCAN: usize = 500;

/// The leases of a member.
#[derive(Clone, Debug)]
pub(super) struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    /// True while this member leads and has applied the first entry of its term.
    is_primary: bool,
    /// The instant of one scan; the others are whole intervals away.
    scan_phase: HostTime,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl: SimDuration,
    /// On the host's monotonic clock. Never, except at the primary lessor.
    expires_at: HostTime,
    /// When to propose its revocation (again).
    revoke_at: HostTime,
    keys: BTreeSet<Key>,
}

/// What the primary lessor says about a keep-alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Renew {
    /// Done, or certainly impossible.
    Done(Renewal),
    /// Expired, and the revocation is on its way: wait for it.
    AwaitRevocation,
}

impl Lessor {
    pub(super) fn new(scan_phase: HostTime) -> Self {
        Self { leases: BTreeMap::new(), is_primary: false, scan_phase }
    }

    /// True while it decides which leases have expired.
    pub(super) const fn is_primary(&self) -> bool {
        self.is_primary
    }

    pub(super) fn exists(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    /// The time to live of a lease, zero if there is none.
    pub(super) fn ttl(&self, lease: LeaseId) -> SimDuration {
        self.leases.get(&lease).map_or(SimDuration::ZERO, |lease| lease.ttl)
    }

    /// All leases have expired (a planted bug).
    pub(super) fn expire_all(&mut self, now: HostTime) {
        for lease in self.leases.values_mut() {
            lease.expires_at = now;
            lease.revoke_at = now;
        }
    }

    pub(super) fn grant(&mut self, lease: LeaseId, ttl: SimDuration, now: HostTime) {
        let expires_at = if self.is_primary { now + ttl } else { HostTime::NEVER };
        let granted = Lease { ttl, expires_at, revoke_at: expires_at, keys: BTreeSet::new() };
        self.leases.insert(lease, granted);
    }

    /// Ends a lease and gives its keys. None if there is no such lease.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Option<BTreeSet<Key>> {
        self.leases.remove(&lease).map(|lease| lease.keys)
    }

    pub(super) fn attach(&mut self, lease: LeaseId, key: &Key) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(Key::clone(key));
        }
    }

    pub(super) fn detach(&mut self, lease: LeaseId, key: &Key) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.remove(key);
        }
    }

    pub(super) fn renew(&mut self, lease: LeaseId, now: HostTime) -> Renew {
        if !self.is_primary {
            return Renew::Done(Renewal::NotPrimary);
        }
        let Some(lease) = self.leases.get_mut(&lease) else {
            return Renew::Done(Renewal::NotFound);
        };
        if lease.expires_at <= now {
            return Renew::AwaitRevocation;
        }
        lease.expires_at = now + lease.ttl;
        lease.revoke_at = lease.expires_at;
        Renew::Done(Renewal::Renewed(lease.ttl))
    }

    /// This member leads and has applied everything from before: all leases begin anew, and `extension` longer.
    pub(super) fn promote(&mut self, now: HostTime, extension: SimDuration) {
        self.is_primary = true;
        for lease in self.leases.values_mut() {
            lease.expires_at = now + lease.ttl + extension;
            lease.revoke_at = lease.expires_at;
        }
    }

    /// This member does not lead any more.
    pub(super) fn demote(&mut self) {
        if !self.is_primary {
            return;
        }
        self.is_primary = false;
        for lease in self.leases.values_mut() {
            lease.expires_at = HostTime::NEVER;
            lease.revoke_at = HostTime::NEVER;
        }
    }

    /// When the next scan finds something, if ever. Scans that find nothing are left out.
    pub(super) fn next_scan(&self, now: HostTime) -> Option<HostTime> {
        let earliest = self.leases.values().map(|lease| lease.revoke_at).min()?;
        if !self.is_primary || earliest == HostTime::NEVER {
            return None;
        }
        let earliest = earliest.max(now + SimDuration::from_nanos(1));
        let intervals = earliest.since(self.scan_phase).as_nanos().div_ceil(SCAN_INTERVAL.as_nanos());
        Some(self.scan_phase + SCAN_INTERVAL * intervals)
    }

    /// The leases to revoke now. They are given again after `retry`, should they still exist.
    pub(super) fn expired(&mut self, now: HostTime, retry: SimDuration) -> Vec<LeaseId> {
        if !self.is_primary {
            return Vec::new();
        }
        let due = self.leases.iter_mut().filter(|(_, lease)| lease.revoke_at <= now);
        due.take(REVOKED_PER_SCAN)
            .map(|(id, lease)| {
                lease.revoke_at = now + retry;
                *id
            })
            .collect()
    }
}
