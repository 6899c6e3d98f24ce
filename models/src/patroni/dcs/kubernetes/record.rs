//! The lock as annotations of one object, and how each observer judges for itself whether it is still held
//! (`kubernetes.py:_cluster_from_nodes`; fidelity specification, 1.5).
//!
//! Nobody but the observers counts: each remembers the annotations and the time on its own clock at which it *loaded* them
//! (and not at which they were written, or arrived). When they have not changed for `ttl`, the lock counts as absent.
//! `renewTime` is compared, and never read as a time.

use std::sync::Arc;

use sim_core::{SimDuration, WallTime};

use crate::kubernetes::{Name, Object};

/// Who holds the lock.
pub(super) const LEADER: &str = "leader";
pub(super) const TTL: &str = "ttl";
pub(super) const RENEW_TIME: &str = "renewTime";
pub(super) const ACQUIRE_TIME: &str = "acquireTime";
pub(super) const TRANSITIONS: &str = "transitions";

/// The annotations that make the lock.
pub(super) const RECORD: [&str; 5] = [LEADER, ACQUIRE_TIME, TTL, RENEW_TIME, TRANSITIONS];

/// What was last seen of the lock. The HA loop and the threads of the REST API share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// The annotations, in the order of [`RECORD`].
    record: [Option<Name>; 5],
    /// When they were first loaded.
    at: Option<WallTime>,
    /// The version of the object when it was last loaded.
    pub(super) resource_version: Option<u64>,
}

/// The lock's annotations of an object.
fn record_of(object: Option<&Arc<Object>>) -> [Option<Name>; 5] {
    RECORD.map(|name| object.and_then(|object| object.annotations.get(name).cloned()))
}

impl Observed {
    /// Loads the object at this time.
    pub(super) fn load(&mut self, object: Option<&Arc<Object>>, now: WallTime) {
        self.resource_version = object.map(|object| object.resource_version);
        let record = record_of(object);
        if record != self.record {
            self.record = record;
            self.at = Some(now);
        }
    }

    /// Who holds the lock, if it is not too old. `default` is the time to live if the annotations name none.
    pub(super) fn holder(&self, now: WallTime, default: SimDuration) -> Option<&str> {
        let ttl = self.get(TTL).and_then(|ttl| ttl.parse().ok()).map_or(default, SimDuration::from_secs);
        let is_fresh = self.at.is_some_and(|at| at + ttl >= now);
        self.get(LEADER).filter(|_| is_fresh)
    }

    /// An annotation as it was last seen.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let position = RECORD.iter().position(|other| *other == name)?;
        self.record[position].as_deref()
    }

    /// True if the object still has the annotations that were seen.
    pub(super) fn is_that_of(&self, object: &Arc<Object>) -> bool {
        self.record == record_of(Some(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Resource;

    fn object(leader: Option<&str>, renewed: &str, version: u64) -> Arc<Object> {
        let mut annotations = std::collections::BTreeMap::new();
        annotations.insert(Name::from(RENEW_TIME), Name::from(renewed));
        annotations.insert(Name::from(TTL), Name::from("30"));
        if let Some(leader) = leader {
            annotations.insert(Name::from(LEADER), Name::from(leader));
        }
        Arc::new(Object {
            resource: Resource::Endpoints,
            name: "batman".into(),
            resource_version: version,
            annotations,
            address: None,
        })
    }

    fn at(seconds: u64) -> WallTime {
        WallTime::from_nanos(seconds * 1_000_000_000)
    }

    const DEFAULT: SimDuration = SimDuration::from_secs(30);

    #[test]
    fn the_lock_lives_for_ttl_after_the_load_that_saw_it_change() {
        let mut observed = Observed::default();
        observed.load(Some(&object(Some("a"), "1", 5)), at(100));
        observed.load(Some(&object(Some("a"), "1", 6)), at(120));
        assert_eq!(observed.resource_version, Some(6));
        assert_eq!(observed.holder(at(130), DEFAULT), Some("a"));
        assert_eq!(observed.holder(at(131), DEFAULT), None);
        observed.load(Some(&object(Some("a"), "2", 7)), at(131));
        assert_eq!(observed.holder(at(161), DEFAULT), Some("a"));
    }

    #[test]
    fn a_lock_that_was_given_back_is_absent_at_once() {
        let mut observed = Observed::default();
        observed.load(Some(&object(Some("a"), "1", 5)), at(100));
        observed.load(Some(&object(None, "1", 6)), at(101));
        assert_eq!(observed.holder(at(101), DEFAULT), None);
        observed.load(None, at(102));
        assert_eq!((observed.holder(at(102), DEFAULT), observed.resource_version), (None, None));
    }
}
