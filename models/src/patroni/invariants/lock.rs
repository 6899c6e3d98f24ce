//! The lock changes hands only through nobody's (fidelity specification, 3.3, invariant I1; Z8).
//!
//! Each write of the leader key is conditional: on its absence, or on the writer's own name in it. So in the history of
//! etcd a name is never followed by another: the key is deleted, or its lease ends, in between.

use sim_core::{SimTime, Violation};

use crate::etcd::{Event, Value};

/// The leader key.
#[derive(Clone, Debug, Default)]
pub(super) struct Lock {
    holder: Option<Value>,
}

impl Lock {
    /// The next change of the leader key.
    pub(super) fn on_event(&mut self, at: SimTime, event: &Event) -> Option<Violation> {
        let next = match event {
            Event::Put(entry) => Some(entry.value.clone()),
            Event::Delete { .. } => None,
        };
        let before = std::mem::replace(&mut self.holder, next);
        let (Some(before), Some(now)) = (before, &self.holder) else { return None };
        (before != *now).then(|| Violation {
            at,
            name: "lock-overwritten",
            detail: format!("{now} took the lock from {before} while it was held"),
        })
    }
}
