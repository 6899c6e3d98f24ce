//! When nothing goes wrong any more, there is one primary (fidelity specification, invariants C1 and C6).
//!
//! While faults last, two servers may accept writes: a frozen Patroni cannot stop its server. Once every process runs and
//! every link works, each Patroni sees within a few cycles who holds the lock, and stops its server if that is
//! somebody else.

use sim_core::{SimTime, Violation};

use crate::postgres::MemberId;

/// Who accepts writes.
#[derive(Clone, Debug)]
pub(super) struct Quiet {
    writable: Vec<bool>,
    from: Option<SimTime>,
}

impl Quiet {
    pub(super) fn new(members: usize, from: Option<SimTime>) -> Self {
        Self { writable: vec![false; members], from }
    }

    /// Notes whether a server accepts writes. True if it has just begun to.
    pub(super) fn set_writable(&mut self, member: MemberId, writable: bool) -> bool {
        let before = std::mem::replace(&mut self.writable[usize::from(member.0)], writable);
        writable && !before
    }

    /// Checks the condition, if it is time.
    pub(super) fn check(&self, at: SimTime) -> Option<Violation> {
        if self.from.is_none_or(|from| at < from) {
            return None;
        }
        let primaries = self.writable.iter().filter(|writable| **writable).count();
        (primaries > 1).then(|| Violation {
            at,
            name: "two-primaries-in-quiet",
            detail: format!("{primaries} servers accept writes although every fault is long over"),
        })
    }
}
