//! Who is asked what, and when: the half of a tick that goes on in TILT, too (`sentinelReconnectInstance`,
//! `sentinelSendPeriodicCommands`), and the round over replicas and other Sentinels, where each is looked at as well, but in TILT.

use sim_core::{Context, SimDuration, WallTime};

use super::down::{self, Role};
use super::group::{FailoverState, Group, INFO_PERIOD, Instance, is_due};
use super::link::{Outbox, PUBLISH_PERIOD, Request};
use super::process::{Sentinel, link_to};
use crate::planted::Planted;
use crate::redis::{Command, GroupId, Hello};

/// What a server of a group is asked, and how often.
struct Due {
    group: GroupId,
    hello: Hello,
    /// The period of `INFO`.
    info: SimDuration,
    down_after: SimDuration,
}

impl Due {
    /// Asks for what is due. With `info_alone` nothing else is asked with an `INFO`.
    fn ask(
        self,
        context: &mut impl Context<Sentinel>,
        outbox: &mut Outbox,
        server: &mut Instance,
        info_alone: bool,
        now: WallTime,
    ) {
        server.link.reconnect(context, outbox, server.address, true, now);
        if server.link.is_disconnected(true) || server.link.is_clogged(1) {
            return;
        }
        if is_due(server.info_at, self.info, now) {
            server.link.ask(context, outbox, Request::Info, Command::Info);
            if info_alone {
                return;
            }
        }
        server.link.ping_if_due(context, outbox, self.down_after, now);
        if is_due(server.published_at, PUBLISH_PERIOD, now) {
            server.link.ask(context, outbox, Request::Publish(self.group), Command::Publish(self.hello));
        }
    }
}

impl Sentinel {
    pub(super) fn monitor_primary(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        let hello = self.hello(context.me(), id);
        let group = &mut self.groups[usize::from(id.0)];
        let due = Due { group: id, hello, info: INFO_PERIOD, down_after: group.config.down_after };
        let info_alone = self.spec.planted == Planted::InfoBeforePing;
        due.ask(context, &mut self.outbox, &mut group.primary, info_alone, now);
    }

    /// Asks all replicas of a group what is due, and has a look at each (`sentinelHandleDictOfRedisInstances`).
    pub(super) fn handle_replicas(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        tilted: bool,
        now: WallTime,
    ) {
        let hello = self.hello(context.me(), id);
        let Group { config, replicas, agreed, state, .. } = &mut self.groups[usize::from(id.0)];
        let are_urgent = *agreed || *state != FailoverState::None;
        for replica in replicas {
            let is_urgent = are_urgent || replica.replica.link_down_millis != 0;
            let info = if is_urgent { SimDuration::from_secs(1) } else { INFO_PERIOD };
            let due = Due { group: id, hello, info, down_after: config.down_after };
            due.ask(context, &mut self.outbox, replica, false, now);
            if !tilted {
                down::look_at(context, replica, config, Role::Replica, now);
            }
        }
    }

    /// The same for all other Sentinels that watch the group.
    pub(super) fn handle_peers(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        tilted: bool,
        now: WallTime,
    ) {
        let hello = self.hello(context.me(), id);
        let groups = self.groups.len() as u32;
        let Group { config, peers, .. } = &mut self.groups[usize::from(id.0)];
        for peer in peers {
            let link = link_to(&mut self.peers, peer.address, now);
            link.reconnect(context, &mut self.outbox, peer.address, false, now);
            if !link.is_disconnected(false) && !link.is_clogged(groups) {
                link.ping_if_due(context, &mut self.outbox, config.down_after, now);
                if is_due(peer.published_at, PUBLISH_PERIOD, now) {
                    link.ask(context, &mut self.outbox, Request::Publish(id), Command::Publish(hello));
                }
            }
            if !tilted {
                down::look_at_peer(context, peer, link, config.down_after, now);
            }
        }
    }
}
