//! Whoever may lead by `/sync` has everything that was acknowledged, or must ask somebody who has (fidelity specification,
//! invariant I3).
//!
//! Checked from both sides: whenever a primary acknowledges more, all members that `/sync` names (but itself) must hold it
//! durably; and whenever `/sync` names a member anew, it must hold what the leader that writes it has acknowledged. With
//! quorum commit a candidate sees `quorum` others of `/sync`, so that as many may lack it, and no more.
//! "Acknowledged" means to a session that waits for its flush, and without the warning of a cancelled wait.

use sim_core::{SimTime, Violation};

use crate::etcd::Event;
use crate::patroni::dcs::quorum_of;
use crate::postgres::{Lsn, MemberId, Server};

/// How far everybody is.
#[derive(Clone, Debug)]
pub(super) struct Standbys {
    /// Durable, by member.
    flushed: Vec<Lsn>,
    /// Acknowledged last, by member.
    acknowledged: Vec<Lsn>,
    /// Whom `/sync` names; the leader first.
    named: Vec<MemberId>,
    /// How many others of them a candidate must ask.
    quorum: usize,
}

impl Standbys {
    pub(super) fn new(members: usize) -> Self {
        Self {
            flushed: vec![Lsn(0); members],
            acknowledged: vec![Lsn(0); members],
            named: Vec::new(),
            quorum: 0,
        }
    }

    /// A server did something.
    pub(super) fn on_server(&mut self, at: SimTime, member: MemberId, server: &Server) -> Option<Violation> {
        let own = usize::from(member.0);
        // A server that is still starting has not looked at its WAL; what was durable is still there.
        if server.flushed() > Lsn(0) {
            self.flushed[own] = server.flushed();
        }
        let acknowledged = server.acknowledged().unwrap_or_default();
        if acknowledged == self.acknowledged[own] {
            return None;
        }
        self.acknowledged[own] = acknowledged;
        self.compare(at, member)
    }

    /// `/sync` was written.
    pub(super) fn on_sync_key(&mut self, at: SimTime, event: &Event, names: &[String]) -> Option<Violation> {
        let Event::Put(entry) = event else {
            self.named.clear();
            return None;
        };
        let member = |name: &str| {
            let position = names.iter().position(|other| other == name)?;
            Some(MemberId(position as u8))
        };
        self.named = entry.value.split(' ').filter_map(member).collect();
        self.quorum = usize::from(quorum_of(&entry.value));
        let leader = *self.named.first()?;
        self.compare(at, leader)
    }

    fn compare(&self, at: SimTime, primary: MemberId) -> Option<Violation> {
        let acknowledged = self.acknowledged[usize::from(primary.0)];
        let flushed = |member: MemberId| self.flushed[usize::from(member.0)];
        let lacks = |member: &&MemberId| **member != primary && flushed(**member) < acknowledged;
        // One after another, without a list: this is asked for every acknowledgement.
        let standby = *self.named.iter().filter(lacks).nth(self.quorum)?;
        let held = flushed(standby);
        Some(Violation {
            at,
            name: "standby-lacks-acknowledged",
            detail: format!(
                "/sync lets member {} lead, which holds {held}; member {} has acknowledged {acknowledged}",
                standby.0 + 1,
                primary.0 + 1
            ),
        })
    }
}
