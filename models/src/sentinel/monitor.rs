//! Who is asked what, and when: the half of a tick that goes on in TILT, too (`sentinelReconnectInstance`,
//! `sentinelSendPeriodicCommands`).

use sim_core::{Context, SimDuration, WallTime};

use super::group::{FailoverState, INFO_PERIOD, is_due};
use super::link::{PUBLISH_PERIOD, Request};
use super::process::{Sentinel, link_to};
use crate::planted::Planted;
use crate::redis::{Command, GroupId};

impl Sentinel {
    pub(super) fn monitor_primary(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        let hello = self.hello(context.me(), id);
        let group = &mut self.groups[usize::from(id.0)];
        let (primary, outbox) = (&mut group.primary, &mut self.outbox);
        primary.link.reconnect(context, outbox, primary.address, true, now);
        if primary.link.is_disconnected(true) || primary.link.is_clogged(1) {
            return;
        }
        if is_due(primary.info_at, INFO_PERIOD, now) {
            primary.link.ask(context, outbox, Request::Info, Command::Info);
            if self.spec.planted == Planted::InfoBeforePing {
                return;
            }
        }
        primary.link.ping_if_due(context, outbox, group.config.down_after, now);
        if is_due(primary.published_at, PUBLISH_PERIOD, now) {
            primary.link.ask(context, outbox, Request::Publish(id), Command::Publish(hello));
        }
    }

    pub(super) fn monitor_replica(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        index: usize,
        now: WallTime,
    ) {
        let hello = self.hello(context.me(), id);
        let group = &mut self.groups[usize::from(id.0)];
        let is_urgent = group.agreed || group.state != FailoverState::None;
        let (replica, outbox) = (&mut group.replicas[index], &mut self.outbox);
        replica.link.reconnect(context, outbox, replica.address, true, now);
        if replica.link.is_disconnected(true) || replica.link.is_clogged(1) {
            return;
        }
        let period = if is_urgent || replica.replica.link_down_millis != 0 {
            SimDuration::from_secs(1)
        } else {
            INFO_PERIOD
        };
        if is_due(replica.info_at, period, now) {
            replica.link.ask(context, outbox, Request::Info, Command::Info);
        }
        replica.link.ping_if_due(context, outbox, group.config.down_after, now);
        if is_due(replica.published_at, PUBLISH_PERIOD, now) {
            replica.link.ask(context, outbox, Request::Publish(id), Command::Publish(hello));
        }
    }

    pub(super) fn monitor_peer(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        index: usize,
        now: WallTime,
    ) {
        let hello = self.hello(context.me(), id);
        let groups = self.groups.len() as u32;
        let group = &mut self.groups[usize::from(id.0)];
        let peer = &mut group.peers[index];
        let link = link_to(&mut self.peers, peer.address, now);
        link.reconnect(context, &mut self.outbox, peer.address, false, now);
        if link.is_disconnected(false) || link.is_clogged(groups) {
            return;
        }
        link.ping_if_due(context, &mut self.outbox, group.config.down_after, now);
        if is_due(peer.published_at, PUBLISH_PERIOD, now) {
            link.ask(context, &mut self.outbox, Request::Publish(id), Command::Publish(hello));
        }
    }
}
