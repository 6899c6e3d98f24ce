//! What a Sentinel knows about a group: its primary, its replicas, the other Sentinels, and the failover it runs.

use sim_core::{Context, MarkKind, ProcessId, SimDuration, WallTime};

use super::config::{GroupConfig, GroupState};
use super::link::{Link, PUBLISH_PERIOD};
use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::{Epoch, RunId};

/// `SENTINEL_INFO_PERIOD`.
pub(super) const INFO_PERIOD: SimDuration = SimDuration::from_secs(10);

/// A server that is watched.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) address: ProcessId,
    pub(super) link: Link,
    /// It is subjectively down, and since when it was last found to be so.
    pub(super) down: bool,
    pub(super) down_since: Option<WallTime>,
    /// When it last answered an INFO.
    pub(super) info_at: Option<WallTime>,
    /// When a hello was last published on it.
    pub(super) published_at: Option<WallTime>,
    pub(super) run_id: Option<RunId>,
    /// It came back under another run id then, and has not answered with a plain PONG since.
    pub(super) rebooted_at: Option<WallTime>,
    /// Whether it says that it is a primary, and since when it says so.
    pub(super) says_primary: bool,
    pub(super) says_since: WallTime,
    /// What a replica says about its own primary.
    pub(super) replica: ReplicaReport,
    pub(super) reconfiguration: Reconfiguration,
    /// A replica was the primary until the last switch.
    pub(super) was_primary: bool,
}

/// What a replica says in INFO.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaReport {
    pub(super) follows: Option<ProcessId>,
    /// Since when it names that primary.
    pub(super) follows_since: WallTime,
    pub(super) link_up: bool,
    /// `master_link_down_time`, in milliseconds: 0 while the link is up, -1000 if it was never up.
    pub(super) link_down_millis: i64,
    pub(super) offset: u64,
    pub(super) priority: u32,
}

/// How far the leader is with pointing a replica at the new primary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reconfiguration {
    /// Not begun.
    Pending,
    /// The command was sent then.
    Sent(WallTime),
    /// The replica names the new primary.
    InProgress,
    /// Its link is up, or there is no more waiting for it.
    Done,
}

impl Instance {
    pub(super) fn new(address: ProcessId, is_primary: bool, now: WallTime) -> Self {
        Self {
            address,
            link: Link::new(now),
            down: false,
            down_since: None,
            info_at: None,
            published_at: None,
            run_id: None,
            rebooted_at: None,
            says_primary: is_primary,
            says_since: now,
            replica: ReplicaReport {
                follows: None,
                follows_since: now,
                link_up: false,
                link_down_millis: 0,
                offset: 0,
                priority: 100,
            },
            reconfiguration: Reconfiguration::Pending,
            was_primary: false,
        }
    }

    /// True if it has not been found down within this time (`sentinelRedisInstanceNoDownFor`).
    pub(super) fn no_down_for(&self, time: SimDuration, now: WallTime) -> bool {
        self.down_since.is_none_or(|since| now.since(since) > time)
    }
}

/// Another Sentinel, as far as a group is concerned. The link to it is shared by all groups.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: ProcessId,
    pub(super) id: RunId,
    /// It is subjectively down. Nothing follows from that.
    pub(super) down: bool,
    /// It says that the primary is down.
    pub(super) says_down: bool,
    /// When it last answered that question.
    pub(super) answered_at: Option<WallTime>,
    /// For whom it voted, and in which epoch.
    pub(super) leader: Option<RunId>,
    pub(super) leader_epoch: Epoch,
    pub(super) published_at: Option<WallTime>,
}

/// The states of a failover, on the Sentinel that runs it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum FailoverState {
    /// None is under way.
    None,
    /// Waits to be elected.
    WaitStart,
    /// Chooses a replica.
    SelectReplica,
    /// Tells it to be a primary.
    SendNoOne,
    /// Waits until it says that it is.
    WaitPromotion,
    /// Points the others at it.
    Reconfigure,
    /// Replaces the primary's address, at the end of the same tick.
    UpdateConfig,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) config: GroupConfig,
    /// Marks are about it.
    pub(super) is_watched: bool,
    pub(super) primary: Instance,
    pub(super) replicas: Vec<Instance>,
    pub(super) peers: Vec<Peer>,
    /// Sentinels whose address another one has taken: nobody asks them, and they count as voters.
    pub(super) ghosts: Vec<RunId>,
    pub(super) config_epoch: Epoch,
    /// For whom this Sentinel voted last, and when.
    pub(super) leader: Option<RunId>,
    pub(super) leader_epoch: Epoch,
    /// The primary is objectively down.
    pub(super) agreed: bool,
    pub(super) agreed_since: Option<WallTime>,
    pub(super) state: FailoverState,
    pub(super) state_since: WallTime,
    pub(super) failover_epoch: Epoch,
    /// When this Sentinel last began a failover or voted for another one's, shifted by up to a second.
    pub(super) started_at: Option<WallTime>,
    /// When this Sentinel, elected, begins; before release 2.8 only.
    pub(super) begins_at: Option<WallTime>,
    /// `SENTINEL FAILOVER`: needs no agreement and no election.
    pub(super) forced: bool,
    pub(super) promoted: Option<ProcessId>,
}

impl Group {
    /// As it is written in the file.
    pub(super) fn new(config: GroupConfig, is_watched: bool, state: &GroupState, now: WallTime) -> Self {
        let peer = |(address, id): &(ProcessId, RunId)| Peer {
            address: *address,
            id: *id,
            down: false,
            says_down: false,
            answered_at: None,
            leader: None,
            leader_epoch: Epoch(0),
            published_at: None,
        };
        Self {
            config,
            is_watched,
            primary: Instance::new(state.primary, true, now),
            replicas: state.replicas.iter().map(|replica| Instance::new(*replica, false, now)).collect(),
            peers: state.sentinels.iter().map(peer).collect(),
            ghosts: state.ghosts.clone(),
            config_epoch: state.config_epoch,
            leader: None,
            leader_epoch: state.leader_epoch,
            agreed: false,
            agreed_since: None,
            state: FailoverState::None,
            state_since: now,
            failover_epoch: Epoch(0),
            started_at: None,
            begins_at: None,
            forced: false,
            promoted: None,
        }
    }

    /// What is written to the file.
    pub(super) fn state(&self, planted: Planted) -> GroupState {
        let current = self.current_primary();
        let old = Some(self.primary.address).filter(|address| *address != current);
        let replicas = self.replicas.iter().map(|replica| replica.address);
        let lists_all = planted == Planted::ListPrimaryAsReplica;
        GroupState {
            primary: current,
            config_epoch: self.config_epoch,
            leader_epoch: if planted == Planted::ForgetSentinelVote { Epoch(0) } else { self.leader_epoch },
            replicas: replicas.filter(|address| lists_all || *address != current).chain(old).collect(),
            sentinels: self.peers.iter().map(|peer| (peer.address, peer.id)).collect(),
            ghosts: self.ghosts.clone(),
        }
    }

    /// The address that clients are told (`sentinelGetCurrentMasterAddress`): from the moment at which the promotion is
    /// seen, the promoted replica's.
    pub(super) fn current_primary(&self) -> ProcessId {
        match self.promoted {
            Some(promoted) if self.state >= FailoverState::Reconfigure => promoted,
            _ => self.primary.address,
        }
    }

    /// True while this Sentinel was elected and has not finished.
    pub(super) fn is_led(&self) -> bool {
        self.state > FailoverState::WaitStart
    }

    /// Marks something about the group that is watched.
    pub(super) fn mark(&self, context: &mut impl Context<Sentinel>, kind: MarkKind, value: u64) {
        if self.is_watched {
            context.mark(kind, value);
        }
    }

    pub(super) fn enter(&mut self, state: FailoverState, now: WallTime) {
        self.state = state;
        self.state_since = now;
    }

    /// Ends a failover that has not led to a promotion.
    pub(super) fn abort(&mut self, now: WallTime) {
        self.enter(FailoverState::None, now);
        self.forced = false;
        self.begins_at = None;
        self.promoted = None;
    }

    /// True if the primary can be relied on while a replica is put right (`sentinelMasterLooksSane`).
    pub(super) fn primary_looks_sane(&self, now: WallTime) -> bool {
        self.primary.says_primary
            && !self.primary.down
            && !self.agreed
            && self.primary.info_at.is_some_and(|at| now.since(at) < INFO_PERIOD * 2)
    }

    /// Publishes hellos with the next tick (`sentinelForceHelloUpdateForMaster`).
    pub(super) fn force_hello(&mut self) {
        let instances = std::iter::once(&mut self.primary).chain(&mut self.replicas);
        instances.for_each(|instance| instance.published_at = None);
        self.peers.iter_mut().for_each(|peer| peer.published_at = None);
    }

    /// Forgets all but the primary, to find it again (`SENTINEL RESET`).
    pub(super) fn reset(&mut self, context: &mut impl Context<Sentinel>, now: WallTime) {
        self.switch(context, self.primary.address, now);
        self.replicas.clear();
        self.peers.clear();
        self.ghosts.clear();
    }

    /// Takes another address for the primary (`sentinelResetMasterAndChangeAddress`): the old one becomes a replica, and
    /// all replicas are looked at anew.
    pub(super) fn switch(&mut self, context: &mut impl Context<Sentinel>, primary: ProcessId, now: WallTime) {
        let old = self.primary.address;
        let known = self.replicas.iter().map(|replica| replica.address).chain([old]);
        let addresses: Vec<ProcessId> = known.filter(|address| *address != primary).collect();
        for replica in &mut self.replicas {
            replica.link.close(context);
        }
        self.replicas = addresses.into_iter().map(|address| Instance::new(address, false, now)).collect();
        for replica in &mut self.replicas {
            replica.was_primary = replica.address == old;
        }
        let mut instance = Instance::new(primary, true, now);
        // The link object lives on, and with it the memory of the last attempt to connect.
        std::mem::swap(&mut instance.link, &mut self.primary.link);
        instance.link.reset(context, now);
        instance.info_at = self.primary.info_at;
        instance.published_at = self.primary.published_at;
        self.primary = instance;
        self.leader = None;
        self.agreed = false;
        self.agreed_since = None;
        self.started_at = None;
        self.begins_at = None;
        self.forced = false;
        self.promoted = None;
        self.enter(FailoverState::None, now);
    }
}

/// True if something that happened then, or never, is due again.
pub(super) fn is_due(last: Option<WallTime>, period: SimDuration, now: WallTime) -> bool {
    last.is_none_or(|at| now.since(at) > period)
}

/// `SENTINEL_PUBLISH_PERIOD` * 4: how long a replica that says to be a primary is given before it is put right.
pub(super) const CONVERT_WAIT: SimDuration = SimDuration::from_nanos(PUBLISH_PERIOD.as_nanos() * 4);
