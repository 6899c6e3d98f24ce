//! Subjectively and objectively down, and asking the others.
//!
//! An instance is subjectively down when it has been silent for `down-after-milliseconds`. A primary is objectively down
//! when `quorum` Sentinels say so, this one included; their answers count for five seconds. No majority is needed, and
//! they need not have said it at the same time.

use sim_core::{Context, MarkKind, ProcessId, SimDuration, WallTime};

use super::config::GroupConfig;
use super::group::{FailoverState, Group, INFO_PERIOD, Instance, Peer};
use super::link::{Link, Request};
use super::process::{Sentinel, link_to};
use crate::planted::Planted;
use crate::redis::{Command, Epoch, GroupId, Reply, RunId};

/// `SENTINEL_ASK_PERIOD`.
const ASK_PERIOD: SimDuration = SimDuration::from_secs(1);
/// How long an answer counts.
const VALID: SimDuration = SimDuration::from_secs(5);

/// What an instance is for its group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// The primary. Marks are about that of the watched group.
    Primary {
        is_watched: bool,
    },
    Replica,
}

/// Whether a server is subjectively down (`sentinelCheckSubjectivelyDown`).
pub(super) fn look_at(
    context: &mut impl Context<Sentinel>,
    instance: &mut Instance,
    config: &GroupConfig,
    role: Role,
    now: WallTime,
) {
    let silence = instance.link.silence(true, now);
    instance.link.recycle(context, config.down_after, now);
    let is_primary = role != Role::Replica;
    let denies = is_primary
        && !instance.says_primary
        && now.since(instance.says_since) > config.down_after + INFO_PERIOD * 2;
    let is_rebooting = is_primary
        && config.reboot_down_after > SimDuration::ZERO
        && instance.rebooted_at.is_some_and(|since| now.since(since) > config.reboot_down_after);
    let down = silence > config.down_after || denies || is_rebooting;
    if down == instance.down {
        return;
    }
    instance.down = down;
    if down {
        instance.down_since = Some(now);
    }
    let sign = if down { '+' } else { '-' };
    let kind = if is_primary { "master" } else { "slave" };
    context.note(|| format!("{sign}sdown {kind} process {}", instance.address.index()));
    if down && role == (Role::Primary { is_watched: true }) {
        context.mark(MarkKind::Suspected, instance.address.index() as u64);
    }
}

/// Whether a primary is objectively down (`sentinelCheckObjectivelyDown`).
pub(super) fn look_at_agreement(context: &mut impl Context<Sentinel>, group: &mut Group, now: WallTime) {
    let opinions = 1 + group.peers.iter().filter(|peer| peer.says_down).count() as u32;
    let agreed = group.primary.down && opinions >= group.config.quorum;
    if agreed == group.agreed {
        return;
    }
    group.agreed = agreed;
    if agreed {
        group.agreed_since = Some(now);
        group.mark(context, MarkKind::Agreed, u64::from(opinions));
        context.note(|| {
            let (name, quorum) = (&group.config.name, group.config.quorum);
            format!("+odown master {name} #quorum {opinions}/{quorum}")
        });
    } else {
        context.note(|| format!("-odown master {}", group.config.name));
    }
}

/// Whether another Sentinel is subjectively down. Nothing follows from that but that the link is built anew.
pub(super) fn look_at_peer(
    context: &mut impl Context<Sentinel>,
    peer: &mut Peer,
    link: &mut Link,
    down_after: SimDuration,
    now: WallTime,
) {
    let down = link.silence(false, now) > down_after;
    link.recycle(context, down_after, now);
    if down != peer.down {
        peer.down = down;
        let sign = if down { '+' } else { '-' };
        context.note(|| format!("{sign}sdown sentinel process {}", peer.address.index()));
    }
}

impl Sentinel {
    /// Asks the others whether the primary is down, and for their votes (`sentinelAskMasterStateToOtherSentinels`).
    pub(super) fn ask_peers(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        now: WallTime,
        forced: bool,
    ) {
        let group = &mut self.groups[usize::from(id.0)];
        let candidate = (group.state > FailoverState::None).then_some(self.id);
        for peer in &mut group.peers {
            let passed = peer.answered_at.map(|at| now.since(at));
            if passed.is_none_or(|passed| passed > VALID) {
                peer.says_down = false;
                peer.leader = None;
            }
            let is_fresh = passed.is_some_and(|passed| passed < ASK_PERIOD);
            if !group.primary.down || (is_fresh && !forced) {
                continue;
            }
            let link = link_to(&mut self.peers, peer.address, now);
            if link.is_disconnected(false) {
                continue;
            }
            let question =
                Command::IsPrimaryDown { primary: group.primary.address, epoch: self.epoch, candidate };
            link.ask(context, &mut self.outbox, Request::Opinion(id), question);
        }
    }

    /// Answers that question. The group is found by the address of its primary.
    pub(super) fn opinion(
        &mut self,
        context: &mut impl Context<Self>,
        primary: ProcessId,
        epoch: Epoch,
        candidate: Option<RunId>,
    ) -> Reply {
        let Some(index) = self.groups.iter().position(|group| group.primary.address == primary) else {
            return Reply::Opinion { down: false, leader: None, epoch: Epoch(0) };
        };
        let down = self.tilt_since.is_none() && self.groups[index].primary.down;
        match candidate {
            None => Reply::Opinion { down, leader: None, epoch: Epoch(0) },
            Some(candidate) => {
                let (leader, epoch) = self.cast_vote(context, GroupId(index as u8), epoch, candidate);
                Reply::Opinion { down, leader, epoch }
            }
        }
    }

    /// What another Sentinel answered.
    pub(super) fn on_opinion(
        &mut self,
        group: GroupId,
        from: ProcessId,
        (down, leader, epoch): (bool, Option<RunId>, Epoch),
        now: WallTime,
    ) {
        let peers = &mut self.groups[usize::from(group.0)].peers;
        let Some(peer) = peers.iter_mut().find(|peer| peer.address == from) else { return };
        peer.answered_at = Some(now);
        peer.says_down = down || (self.spec.planted == Planted::AgreeWithSilence);
        if leader.is_some() {
            peer.leader = leader;
            peer.leader_epoch = epoch;
        }
    }
}
