//! What follows from an INFO (`sentinelRefreshInstanceInfo`): replicas are discovered, promotions seen, strays put right.

use sim_core::{Context, MarkKind, WallTime};

use super::group::{CONVERT_WAIT, FailoverState, Group, Instance, Reconfiguration};
use super::link::{Outbox, Request};
use super::process::Sentinel;
use crate::planted::Planted;
use crate::redis::release::Change;
use crate::redis::{Command, GroupId, Info, RoleInfo};

impl Sentinel {
    /// `replica` is the place of the server among the replicas; none for the primary.
    pub(super) fn on_info(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        replica: Option<usize>,
        info: &Info,
        now: WallTime,
    ) {
        let group = &mut self.groups[usize::from(id.0)];
        let reboots = group.config.reboot_down_after > sim_core::SimDuration::ZERO;
        let instance = match replica {
            None => &mut group.primary,
            Some(index) => &mut group.replicas[index],
        };
        if instance.run_id.is_some_and(|known| known != info.run_id) {
            context.note(|| format!("+reboot process {}", instance.address.index()));
            if reboots {
                instance.rebooted_at = Some(now);
            }
        }
        instance.run_id = Some(info.run_id);
        instance.info_at = Some(now);
        take_report(instance, info, now);
        let mut discovered = false;
        if let (None, RoleInfo::Primary { replicas }) = (replica, &info.role) {
            discovered = discover(context, group, replicas, now);
        }
        if let Some(index) = replica.filter(|_| self.tilt_since.is_none()) {
            match &info.role {
                RoleInfo::Primary { .. } => self.on_replica_says_primary(context, id, index, now),
                RoleInfo::Replica { .. } => {
                    let group = &mut self.groups[usize::from(id.0)];
                    on_replica_report(context, group, &mut self.outbox, index, now);
                }
            }
        }
        if discovered {
            self.flush(context);
        }
    }

    /// A replica says that it is a primary: because it was promoted, or because it has come back from before.
    fn on_replica_says_primary(
        &mut self,
        context: &mut impl Context<Self>,
        id: GroupId,
        index: usize,
        now: WallTime,
    ) {
        let planted = self.spec.planted;
        let group = &mut self.groups[usize::from(id.0)];
        let address = group.replicas[index].address;
        let is_promoted = group.promoted == Some(address);
        if is_promoted && group.state == FailoverState::WaitPromotion {
            group.config_epoch = group.failover_epoch;
            group.enter(FailoverState::Reconfigure, now);
            for replica in &mut group.replicas {
                replica.reconfiguration = Reconfiguration::Pending;
            }
            group.force_hello();
            context.note(|| format!("+promoted-slave process {}", address.index()));
            group.mark(context, MarkKind::Rerouted, address.index() as u64);
            return self.flush(context);
        }
        // Others are given time to announce a promotion that this one has not heard of.
        let replica = &group.replicas[index];
        let waited = planted == Planted::ConvertAtOnce
            || (replica.no_down_for(CONVERT_WAIT, now) && now.since(replica.says_since) > CONVERT_WAIT);
        let demotes = replica.was_primary && !Change::SecondSentinel.is_in(group.config.version);
        let is_stray = !is_promoted && group.primary_looks_sane(now) && (waited || demotes);
        if is_stray && planted != Planted::LeaveStrays {
            context.note(|| format!("+convert-to-slave process {}", address.index()));
            let command = Command::ReplicaOf(Some(group.primary.address));
            group.replicas[index].link.ask(context, &mut self.outbox, Request::ReplicaOf, command);
        }
    }
}

/// Remembers what an instance says of itself.
fn take_report(instance: &mut Instance, info: &Info, now: WallTime) {
    if instance.says_primary != info.is_primary() {
        instance.says_primary = info.is_primary();
        instance.says_since = now;
        if !info.is_primary() {
            instance.replica.follows_since = now;
        }
    }
    instance.replica.link_down_millis = 0;
    if let RoleInfo::Replica { primary, link_up, link_down_for, offset, priority } = info.role {
        let report = &mut instance.replica;
        if report.follows != Some(primary) {
            report.follows = Some(primary);
            report.follows_since = now;
        }
        report.link_up = link_up;
        if !link_up {
            // In whole seconds; -1 where the link was never up.
            let seconds = link_down_for.map_or(-1, |length| (length.as_millis() / 1_000).cast_signed());
            report.link_down_millis = seconds * 1_000;
        }
        report.offset = offset;
        report.priority = priority;
    }
}

/// Adds the replicas that a primary lists. True if there are new ones.
fn discover(
    context: &mut impl Context<Sentinel>,
    group: &mut Group,
    listed: &[sim_core::ProcessId],
    now: WallTime,
) -> bool {
    let mut discovered = false;
    for address in listed {
        let is_known = group.replicas.iter().any(|replica| replica.address == *address);
        if !is_known && *address != group.primary.address {
            context.note(|| format!("+slave process {}", address.index()));
            group.replicas.push(Instance::new(*address, false, now));
            discovered = true;
        }
    }
    discovered
}

/// A replica says whom it follows: puts it right if that is the wrong one for long, and follows its reconfiguration.
fn on_replica_report(
    context: &mut impl Context<Sentinel>,
    group: &mut Group,
    outbox: &mut Outbox,
    index: usize,
    now: WallTime,
) {
    let (primary, promoted) = (group.primary.address, group.promoted);
    let wait = group.config.failover_timeout;
    let is_sane = group.primary_looks_sane(now);
    let replica = &mut group.replicas[index];
    let follows = replica.replica.follows;
    if follows != Some(primary)
        && is_sane
        && replica.no_down_for(wait, now)
        && now.since(replica.replica.follows_since) > wait
    {
        context.note(|| format!("+fix-slave-config process {}", replica.address.index()));
        replica.link.ask(context, outbox, Request::ReplicaOf, Command::ReplicaOf(Some(primary)));
    }
    if matches!(replica.reconfiguration, Reconfiguration::Sent(_))
        && promoted.is_some()
        && follows == promoted
    {
        context.note(|| format!("+slave-reconf-inprog process {}", replica.address.index()));
        replica.reconfiguration = Reconfiguration::InProgress;
    }
    if replica.reconfiguration == Reconfiguration::InProgress && replica.replica.link_up {
        context.note(|| format!("+slave-reconf-done process {}", replica.address.index()));
        replica.reconfiguration = Reconfiguration::Done;
    }
}
