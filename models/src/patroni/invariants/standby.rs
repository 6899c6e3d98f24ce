//! Whoever may lead by `/sync` has everything that was acknowledged (fidelity specification, invariant I3).
//!
//! Checked from both sides: whenever a primary acknowledges more, all members that `/sync` names (but itself) must hold it
//! durably; and whenever `/sync` names a member anew, it must hold what the leader that writes it has acknowledged.
//! "Acknowledged" means to a session whose `synchronous_commit` waits for standbys, and without the warning of a cancelled wait.

use sim_core::{SimTime, Violation};

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
}

impl Standbys {
    pub(super) fn new(members: usize) -> Self {
        Self { flushed: vec![Lsn(0); members], acknowledged: vec![Lsn(0); members], named: Vec::new() }
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
        let others = self.named.iter().copied().filter(|other| *other != member);
        others.into_iter().find_map(|other| self.compare(at, member, other))
    }

    /// `/sync` was written, or deleted.
    pub(super) fn on_sync_key(&mut self, at: SimTime, value: &str, names: &[String]) -> Option<Violation> {
        let member = |name: &str| {
            let position = names.iter().position(|other| other == name)?;
            Some(MemberId(position as u8))
        };
        self.named = value.split(' ').filter_map(member).collect();
        let leader = *self.named.first()?;
        self.named[1..].iter().find_map(|other| self.compare(at, leader, *other))
    }

    fn compare(&self, at: SimTime, primary: MemberId, standby: MemberId) -> Option<Violation> {
        let acknowledged = self.acknowledged[usize::from(primary.0)];
        let flushed = self.flushed[usize::from(standby.0)];
        (flushed < acknowledged).then(|| Violation {
            at,
            name: "standby-lacks-acknowledged",
            detail: format!(
                "/sync lets member {} lead, which holds {flushed}; member {} has acknowledged {acknowledged}",
                standby.0 + 1,
                primary.0 + 1
            ),
        })
    }
}
