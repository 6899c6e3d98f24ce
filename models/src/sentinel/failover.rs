//! The failover, one step a tick (`sentinelFailoverStateMachine`).
//!
//! ```text
//! WaitStart --elected--> SelectReplica --> SendNoOne --> WaitPromotion --INFO says master--> Reconfigure --> UpdateConfig
//!     | not in time          | none           | FT            | FT                             until all follow, or FT
//!     +------ abort <--------+----------------+---------------+
//! ```
//!
//! After an abort this Sentinel tries again twice `failover-timeout` after it began, and so does one that voted for it.
//! After the promotion was seen nothing can be aborted any more.

use sim_core::{Context, MarkKind, SimDuration, WallTime};

use super::group::{FailoverState, Group, Instance, Reconfiguration};
use super::link::{Outbox, PING_PERIOD, Request};
use super::process::Sentinel;
use super::rand::Rand;
use crate::planted::Planted;
use crate::redis::release::Change;
use crate::redis::{Command, GroupId};

/// `SENTINEL_ELECTION_TIMEOUT`.
const ELECTION_TIMEOUT: SimDuration = SimDuration::from_secs(10);
/// `SENTINEL_SLAVE_RECONF_TIMEOUT`.
const RECONFIGURATION_TIMEOUT: SimDuration = SimDuration::from_secs(10);
/// `SENTINEL_FAILOVER_FIXED_DELAY`, before release 2.8.
const FIXED_DELAY: SimDuration = SimDuration::from_secs(5);
/// `SENTINEL_FAILOVER_MAX_RANDOM_DELAY`, before release 2.8.
const MAX_RANDOM_DELAY_MILLIS: u64 = 10_000;

impl Sentinel {
    /// Begins a failover if the primary is objectively down and none was begun lately. True if it did.
    pub(super) fn start_failover_if_needed(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        now: WallTime,
    ) -> bool {
        let group = &self.groups[usize::from(id.0)];
        let gate = group.config.failover_timeout * 2;
        if !group.agreed
            || group.state != FailoverState::None
            || group.started_at.is_some_and(|at| now.since(at) < gate)
        {
            return false;
        }
        self.start_failover(context, id, now);
        true
    }

    fn start_failover(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        self.epoch = self.epoch.next();
        let desync = self.rand.desync(context);
        let group = &mut self.groups[usize::from(id.0)];
        group.failover_epoch = self.epoch;
        group.started_at = Some(now + desync);
        group.enter(FailoverState::WaitStart, now);
        let epoch = self.epoch.0;
        // The file is saved with the vote for itself, in the same tick.
        context.note(|| format!("+try-failover master {} epoch {epoch}", group.config.name));
    }

    /// `SENTINEL FAILOVER`: needs no agreement. False if a failover is under way or there is nobody to promote.
    pub(super) fn force_failover(&mut self, context: &mut impl Context<Self>, id: GroupId) -> bool {
        let now = context.wall();
        let group = &self.groups[usize::from(id.0)];
        if group.state != FailoverState::None || select_replica(group, self.spec.planted, now).is_none() {
            context.note(|| "-INPROG or -NOGOODSLAVE".to_owned());
            // The command exists; that it found nothing to do is no mistake of the scenario.
            return true;
        }
        self.start_failover(context, id, now);
        self.groups[usize::from(id.0)].forced = true;
        true
    }

    /// The step of this tick.
    pub(super) fn step_failover(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        let group = &mut self.groups[usize::from(id.0)];
        match group.state {
            FailoverState::None | FailoverState::UpdateConfig => {}
            FailoverState::WaitStart => self.wait_start(context, id, now),
            FailoverState::SelectReplica => {
                if let Some(index) = select_replica(group, self.spec.planted, now) {
                    let chosen = group.replicas[index].address;
                    context.note(|| format!("+selected-slave process {}", chosen.index()));
                    group.promoted = Some(chosen);
                    group.enter(FailoverState::SendNoOne, now);
                } else {
                    context.note(|| "-failover-abort-no-good-slave".to_owned());
                    group.abort(now);
                }
            }
            FailoverState::SendNoOne => send_no_one(context, group, &mut self.outbox, now),
            FailoverState::WaitPromotion => abort_if_late(context, group, now),
            FailoverState::Reconfigure => {
                let planted = self.spec.planted;
                reconfigure(context, group, &mut self.outbox, planted, now);
            }
        }
    }

    fn wait_start(&mut self, context: &mut impl Context<Self>, id: GroupId, now: WallTime) {
        let leader = self.leader(context, id);
        let group = &mut self.groups[usize::from(id.0)];
        if group.begins_at.is_some() || leader == Some(self.id) || group.forced {
            if !Change::SecondSentinel.is_in(group.config.version)
                && !group.forced
                && !is_time(context, group, &mut self.rand, now)
            {
                return;
            }
            let epoch = group.failover_epoch.0;
            context.note(|| format!("+elected-leader master {} epoch {epoch}", group.config.name));
            group.mark(context, MarkKind::Elected, u64::from(epoch));
            group.enter(FailoverState::SelectReplica, now);
            return;
        }
        let limit = ELECTION_TIMEOUT.min(group.config.failover_timeout);
        if group.started_at.is_some_and(|started| now.since(started) > limit) {
            context.note(|| "-failover-abort-not-elected".to_owned());
            group.abort(now);
        }
    }
}

/// Before release 2.8, the winner of an election waits, and gives up if the primary is back meanwhile. True when it begins.
fn is_time(context: &mut impl Context<Sentinel>, group: &mut Group, rand: &mut Rand, now: WallTime) -> bool {
    let Some(begins_at) = group.begins_at else {
        let wait = FIXED_DELAY + SimDuration::from_millis(rand.below(context, MAX_RANDOM_DELAY_MILLIS));
        context.note(|| format!("+failover-state-wait-start #starting in {} milliseconds", wait.as_millis()));
        group.begins_at = Some(now + wait);
        return false;
    };
    if !group.primary.down {
        context.note(|| "-failover-abort-master-is-back".to_owned());
        group.abort(now);
        return false;
    }
    now >= begins_at
}

fn abort_if_late(context: &mut impl Context<Sentinel>, group: &mut Group, now: WallTime) {
    if now.since(group.state_since) > group.config.failover_timeout {
        context.note(|| "-failover-abort-slave-timeout".to_owned());
        group.abort(now);
    }
}

/// Tells the chosen replica to be a primary, as soon as there is a link to it.
fn send_no_one(context: &mut impl Context<Sentinel>, group: &mut Group, outbox: &mut Outbox, now: WallTime) {
    let chosen = group.promoted;
    let Some(replica) = group.replicas.iter_mut().find(|replica| Some(replica.address) == chosen) else {
        return group.abort(now);
    };
    if replica.link.is_disconnected(true) {
        return abort_if_late(context, group, now);
    }
    replica.link.ask(context, outbox, Request::ReplicaOf, Command::ReplicaOf(None));
    context.note(|| "+failover-state-wait-promotion".to_owned());
    group.enter(FailoverState::WaitPromotion, now);
}

/// Points the other replicas at the new primary, some at a time (`sentinelFailoverReconfNextSlave`), and looks whether that
/// is done (`sentinelFailoverDetectEnd`).
fn reconfigure(
    context: &mut impl Context<Sentinel>,
    group: &mut Group,
    outbox: &mut Outbox,
    planted: Planted,
    now: WallTime,
) {
    let Some(promoted) = group.promoted else { return };
    let under_way = |replica: &&Instance| {
        matches!(replica.reconfiguration, Reconfiguration::Sent(_) | Reconfiguration::InProgress)
    };
    let mut in_progress = group.replicas.iter().filter(under_way).count() as u32;
    for replica in &mut group.replicas {
        if in_progress >= group.config.parallel_syncs {
            break;
        }
        if replica.address == promoted {
            continue;
        }
        match replica.reconfiguration {
            Reconfiguration::Sent(at) if now.since(at) > RECONFIGURATION_TIMEOUT => {
                // The correction of replicas with a wrong primary will see to it.
                replica.reconfiguration = Reconfiguration::Done;
            }
            Reconfiguration::Pending if !replica.link.is_disconnected(true) => {
                let command = Command::ReplicaOf(Some(promoted));
                replica.link.ask(context, outbox, Request::ReplicaOf, command);
                context.note(|| format!("+slave-reconf-sent process {}", replica.address.index()));
                replica.reconfiguration = Reconfiguration::Sent(now);
                in_progress += 1;
            }
            _ => {}
        }
    }
    detect_end(context, group, outbox, planted, now);
}

fn detect_end(
    context: &mut impl Context<Sentinel>,
    group: &mut Group,
    outbox: &mut Outbox,
    planted: Planted,
    now: WallTime,
) {
    let promoted = group.promoted;
    let is_promoted = |replica: &Instance| Some(replica.address) == promoted;
    if group.replicas.iter().any(|replica| is_promoted(replica) && replica.down) {
        return;
    }
    let is_left = |replica: &Instance| {
        !is_promoted(replica) && !replica.down && replica.reconfiguration != Reconfiguration::Done
    };
    let late = now.since(group.state_since) > group.config.failover_timeout;
    if group.replicas.iter().any(is_left) && !late {
        return;
    }
    context.note(|| format!("+failover-end{}", if late { "-for-timeout" } else { "" }));
    group.enter(FailoverState::UpdateConfig, now);
    if !late {
        return;
    }
    for replica in &mut group.replicas {
        let spares =
            planted != Planted::ReconfigurePromoted && Change::SparePromoted.is_in(group.config.version);
        let spared = Some(replica.address) == promoted && spares;
        let is_open =
            matches!(replica.reconfiguration, Reconfiguration::Pending | Reconfiguration::InProgress);
        if !spared && is_open && !replica.link.is_disconnected(true) {
            replica.link.ask(context, outbox, Request::ReplicaOf, Command::ReplicaOf(promoted));
        }
    }
}

/// The replica to promote, by its place (`sentinelSelectSlave`): reachable, informed, not cut off from the primary for too
/// long; then the smallest priority, the largest offset, the smallest run id.
///
/// Nobody compares the names of the streams that the offsets belong to (RZ-13 of the fidelity specification).
fn select_replica(group: &Group, planted: Planted, now: WallTime) -> Option<usize> {
    let down_for = match group.primary.down_since {
        Some(since) if group.primary.down => now.since(since),
        _ => SimDuration::ZERO,
    };
    let most_down = down_for + group.config.down_after * 10;
    // Replicas of a primary that is down are asked each second, others each ten seconds.
    let info_valid = if group.primary.down { PING_PERIOD * 5 } else { super::group::INFO_PERIOD * 3 };
    let is_eligible = |replica: &&(usize, &Instance)| {
        let (_, replica) = replica;
        !replica.down
            && !replica.link.is_disconnected(true)
            && now.since(replica.link.available_at) <= PING_PERIOD * 5
            && replica.replica.priority != 0
            && replica.info_at.is_some_and(|at| now.since(at) <= info_valid)
            && replica.replica.link_down_millis <= most_down.as_millis().cast_signed()
    };
    let rank = |(_, replica): &(usize, &Instance)| {
        let report = &replica.replica;
        let looks = planted != Planted::PromoteByRunId && Change::SecondSentinel.is_in(group.config.version);
        let offset = if looks { report.offset } else { 0 };
        (report.priority, std::cmp::Reverse(offset), replica.run_id.is_none(), replica.run_id)
    };
    let candidates = group.replicas.iter().enumerate();
    candidates.filter(|candidate| is_eligible(&candidate)).min_by_key(rank).map(|(index, _)| index)
}
