//! Failsafe mode: a primary without etcd goes on as long as everybody agrees (`ha.py:check_failsafe_topology`, `Failsafe`;
//! `docs/dcs_failsafe_mode.rst`; fidelity specification, 2.7).
//!
//! The leader writes the names of all members with a key to `/failsafe`. When etcd does not answer, a primary posts to the REST
//! API of each of them; if all accept, it stays primary for another cycle, feeds its watchdog, and answers `/primary` with
//! 200. A single one that does not answer within 2 s, asked twice, or that is a primary itself, and it demotes itself as
//! without failsafe mode. Nobody can have been elected meanwhile: a candidate must be in `/failsafe`, too, and has either
//! accepted or will not race for `ttl`.
//!
//! A member that accepted remembers the primary for `ttl`. If it still sees etcd, and no leader key there, it takes that
//! primary for the leader.
//!
//! A primary that was allowed to go on notes in the same place that failsafe mode is active. Before 3.1.1 the name that was there
//! stayed, so that whoever had accepted another primary earlier, however long ago, took that one for the leader as soon as it found no
//! leader key, and demoted itself (#2803; Z15). Since then a renewed lock clears it.
//!
//! Left out: the positions of replication slots that travel in both directions.

use sim_core::{ConnectionId, Context, WallTime};

use super::cycle::Cycle;
use super::member::Member;
use super::packet::{Packet, Rest};
use super::rest::{OK, RoundPurpose, UNAVAILABLE};
use super::version::Change;
use crate::postgres::MemberId;

/// What a member knows for the time without etcd.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failsafe {
    /// `/failsafe` as it was last read or written.
    pub(crate) topology: Vec<MemberId>,
    /// Who called itself the leader last.
    leader: Option<MemberId>,
    /// Until when failsafe mode counts as active (`_last_update`, and `ttl`).
    active_until: Option<WallTime>,
}

impl Member {
    /// `failsafe_mode` is on.
    pub(super) fn failsafe_mode(&self) -> bool {
        self.spec.configuration.failsafe_mode
    }

    /// A new view: takes over what it says about failsafe mode, and adds the leader who is known by other means.
    pub(super) fn on_failsafe_view(&mut self, now: WallTime) {
        if !self.failsafe_mode() {
            return;
        }
        if !self.view.failsafe.is_empty() {
            self.failsafe.topology.clone_from(&self.view.failsafe);
        }
        if self.view.leader.is_none() && self.failsafe.active_until.is_some_and(|until| now < until) {
            self.view.leader = self.failsafe.leader;
        }
    }

    /// Whom `/failsafe` is to name, if it does not.
    pub(super) fn changed_failsafe(&self) -> Option<Vec<MemberId>> {
        if !self.failsafe_mode() {
            return None;
        }
        let me = self.spec.member;
        let mut members: Vec<MemberId> = self.view.members.iter().map(|key| key.member).collect();
        if !members.contains(&me) {
            members.push(me);
            members.sort_unstable();
        }
        (members != self.failsafe.topology).then_some(members)
    }

    /// etcd does not answer, and this member is the primary: asks the others, if that can help.
    pub(super) fn asks_failsafe_topology(&mut self, context: &mut impl Context<Self>) -> bool {
        let me = self.spec.member;
        if !self.failsafe_mode() || !self.failsafe.topology.contains(&me) {
            return false;
        }
        self.cycle = Cycle::Polling(RoundPurpose::Failsafe);
        let members = self.failsafe.topology.clone();
        self.poll(context, RoundPurpose::Failsafe, members);
        true
    }

    /// All members answered, or will not.
    pub(super) fn on_failsafe_answers(&mut self, context: &mut impl Context<Self>, all_accepted: bool) {
        if self.cycle != Cycle::Polling(RoundPurpose::Failsafe) {
            return;
        }
        if !all_accepted {
            context.note(|| "demoting self because DCS is not accessible and I was a leader".to_owned());
            return self.demote_offline(context);
        }
        context.note(|| {
            "continue to run as a leader because failsafe mode is enabled and all members are accessible"
                .to_owned()
        });
        let until = context.wall() + self.spec.configuration.ttl;
        self.leader_expiry = Some(until);
        self.failsafe.active_until = Some(until);
        self.keep_watchdog(context);
        self.end_cycle(context);
    }

    /// A primary without etcd asks this member (`POST /failsafe`).
    pub(super) fn on_failsafe_request(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        leader: MemberId,
    ) {
        let accepts = self.failsafe_mode() && !self.is_primary(context);
        if accepts {
            self.failsafe.leader = Some(leader);
            self.failsafe.active_until = Some(context.wall() + self.spec.configuration.ttl);
        }
        let status = if accepts { OK } else { UNAVAILABLE };
        context.send(connection, Packet::Rest(Rest::Response { status, report: None }));
    }

    /// The lock was renewed: failsafe mode is over (`Failsafe.set_is_active(0)`).
    pub(super) fn end_failsafe_mode(&mut self) {
        self.failsafe.active_until = None;
        if self.spec.has(Change::ForgetFailsafeLeader) {
            self.failsafe.leader = None;
        }
    }
}
