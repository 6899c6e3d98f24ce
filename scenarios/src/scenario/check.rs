//! What the values of a scenario file must be. Each error names the value, what was expected, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use sim_core::{Fault, SimDuration, Target};
use toml::Spanned;

use super::Promise;
use super::raw::{RawCluster, RawFault, RawScenario, RawTrigger, RawWorkload};
use crate::campaign::PromisedCell;
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};
use crate::family::FamilyWords;
use crate::{backup, etcd, lock, patroni, platform, redis_cluster, sentinel};

pub(super) const DEFAULT_WARMUP: SimDuration = SimDuration::from_secs(20);

/// Shards of Redis Cluster, if a scenario does not say.
pub(super) const DEFAULT_SHARDS: u8 = 3;
/// Nodes of Redis Cluster: a primary and a replica for each shard.
pub(super) const DEFAULT_NODES: u8 = 6;

/// The largest `factor` of `disk-slow`: a sync of a millisecond takes a quarter of an hour.
const MOST_TIMES_SLOWER: u32 = 1_000_000;

/// The families that there are.
const FAMILIES: &[&FamilyWords] = &[
    &patroni::WORDS,
    &etcd::WORDS,
    &sentinel::WORDS,
    &redis_cluster::WORDS,
    &lock::WORDS,
    &platform::WORDS,
    &backup::WORDS,
];

/// Clocks may be wrong from the start: a cluster forms on them as it is.
const fn may_come_early(fault: &Fault) -> bool {
    matches!(fault, Fault::ClockOffset { .. } | Fault::ClockDrift { .. })
}

/// Checks the parts of a file and collects remarks.
pub(super) struct Checker<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) remarks: Vec<Remark>,
    /// The words of the scenario's family.
    pub(super) family: &'static FamilyWords,
}

impl<'a> Checker<'a> {
    pub(super) const fn new(source: &'a Arc<Source>) -> Self {
        Self { source, remarks: Vec::new(), family: &patroni::WORDS }
    }

    pub(super) fn scenario(&mut self, raw: &RawScenario) -> Result<(), UserError> {
        self.names(raw)?;
        self.promises(&raw.promises)?;
        let warmup = raw.warmup.as_ref().map_or(DEFAULT_WARMUP, |warmup| *warmup.get_ref());
        let horizon = *raw.horizon.get_ref();
        if horizon <= warmup {
            return Err(self.wrong(
                &raw.horizon,
                format!("a horizon of {horizon} leaves nothing after the warm-up of {warmup}"),
                format!("expected more than {warmup}"),
            ));
        }
        if raw.family.get_ref() == "etcd" {
            self.nothing_of_patroni(raw)?;
        }
        self.keys_of_other_families(raw)?;
        self.backups(&raw.cluster)?;
        self.sentinels(&raw.cluster)?;
        self.lock(raw)?;
        self.shards(raw)?;
        self.positive(raw.event_budget.as_ref(), &0, "event_budget")?;
        self.cluster(&raw.cluster)?;
        self.workload(&raw.workload)?;
        self.reads(raw)?;
        self.keys(raw)?;
        self.routes(raw)?;
        if let Some(swarm) = &raw.swarm {
            if !raw.fault.is_empty() {
                return Err(self.wrong(
                    swarm,
                    "a scenario has either written faults or a swarm".to_owned(),
                    "there are `[[fault]]` entries, too".to_owned(),
                ));
            }
            self.swarm(swarm, warmup, horizon)?;
        }
        for (position, fault) in raw.fault.iter().enumerate() {
            self.fault(fault.get_ref(), position, warmup, horizon)?;
        }
        raw.coverage.promised.iter().try_for_each(|cell| self.promised_cell(raw, cell))
    }

    /// A cell that can never be filled would fail every campaign.
    fn promised_cell(&self, raw: &RawScenario, cell: &Spanned<PromisedCell>) -> Result<(), UserError> {
        let written = raw.fault.iter().map(|fault| fault.get_ref().fault.get_ref().kind());
        let mix = raw.swarm.iter().flat_map(|swarm| &swarm.get_ref().mix);
        let kinds: BTreeSet<&str> = written.chain(mix.map(|mix| mix.get_ref().fault.kind())).collect();
        let wanted = cell.get_ref();
        if !kinds.contains(wanted.fault.as_str()) {
            let known: Vec<&str> = kinds.iter().copied().collect();
            let error = self.wrong(
                cell,
                format!("no fault of this scenario is of the kind `{}`", wanted.fault),
                format!("expected one of: {}", known.join(", ")),
            );
            return Err(error.maybe_help(did_you_mean(&wanted.fault, known)));
        }
        match &wanted.role {
            Some(role) if !self.family.played.contains(&role.as_str()) => {
                let error = self.wrong(
                    cell,
                    format!("nobody is ever found to play `{role}`"),
                    format!("expected one of: {}", self.family.played.join(", ")),
                );
                Err(error.maybe_help(did_you_mean(role, self.family.played.iter().copied())))
            }
            _ => Ok(()),
        }
    }

    /// A scenario of etcd alone has no members of Patroni, no proxies and no files of theirs.
    fn nothing_of_patroni(&self, raw: &RawScenario) -> Result<(), UserError> {
        let (cluster, workload) = (&raw.cluster, &raw.workload);
        let spans = [
            ("cluster.members", cluster.members.as_ref().map(Spanned::span)),
            ("cluster.patroni_yml", cluster.patroni_yml.as_ref().map(Spanned::span)),
            ("cluster.patroni", cluster.patroni.as_ref().map(Spanned::span)),
            ("cluster.pre_promote", cluster.pre_promote.as_ref().map(Spanned::span)),
            ("workload.haproxy", workload.haproxy.as_ref().map(Spanned::span)),
            ("workload.pgbouncer", workload.pgbouncer.as_ref().map(Spanned::span)),
            ("workload.libpq", workload.libpq.as_ref().map(Spanned::span)),
            ("workload.read_interval", workload.read_interval.as_ref().map(Spanned::span)),
            ("workload.local_writers", workload.local_writers.as_ref().map(Spanned::span)),
            ("workload.local_commit_writers", workload.local_commit_writers.as_ref().map(Spanned::span)),
            ("workload.reads", workload.reads.as_ref().map(Spanned::span)),
            ("workload.read_from", workload.read_from.as_ref().map(Spanned::span)),
            ("workload.wal_per_write", workload.wal_per_write.as_ref().map(Spanned::span)),
        ];
        let flags = [
            ("cluster.watchdog_device", cluster.watchdog_device.is_some()),
            ("cluster.etcd_hosts", cluster.etcd_hosts.is_some()),
            ("workload.readers", workload.readers.is_some()),
            ("workload.routing", workload.routing.is_some()),
        ];
        let with_span = spans.into_iter().find_map(|(key, span)| Some((key, span?)));
        let without = flags.into_iter().find(|(_, is_set)| *is_set).map(|(key, _)| (key, raw.family.span()));
        let Some((key, span)) = with_span.or(without) else { return Ok(()) };
        let message =
            format!("`{key}` has no meaning in the family `etcd`, which has no Patroni and no proxies");
        Err(UserError::at(Spot::new(self.source, span), message, "leave it out".to_owned()))
    }

    fn names(&mut self, raw: &RawScenario) -> Result<(), UserError> {
        let family = raw.family.get_ref().as_str();
        let known = FAMILIES.iter().find(|words| words.name == family);
        if let Some(words) = known {
            self.family = words;
        } else {
            let names: Vec<&str> = FAMILIES.iter().map(|words| words.name).collect();
            let error = self.wrong(
                &raw.family,
                format!("there is no family `{family}`"),
                format!("expected one of: {}", names.join(", ")),
            );
            return Err(error.maybe_help(did_you_mean(family, names.iter().copied())));
        }
        let name = raw.name.get_ref();
        let parts: Vec<&str> = name.split('/').collect();
        let kebab = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(kebab) || parts[0] != family {
            return Err(self.wrong(
                &raw.name,
                format!("`{name}` is not the name of a scenario"),
                format!("expected `{family}/situation` or `{family}/situation/variant` in kebab case"),
            ));
        }
        Ok(())
    }

    fn promises(&self, promises: &Spanned<Vec<Spanned<Promise>>>) -> Result<(), UserError> {
        let has = |wanted: Promise| promises.get_ref().iter().find(|promise| *promise.get_ref() == wanted);
        if promises.get_ref().is_empty() {
            return Err(self.wrong(
                promises,
                "a scenario promises something".to_owned(),
                "this list is empty: nothing could ever fail".to_owned(),
            ));
        }
        for (kept, found) in [
            (Promise::NoAcknowledgedWriteLost, Promise::LossIsFound),
            (Promise::AtMostOneWritablePrimary, Promise::OverlapIsFound),
            (Promise::NoLongFork, Promise::LongForkIsFound),
            (Promise::NoStaleRead, Promise::StaleReadIsFound),
        ] {
            if let (Some(_), Some(contradiction)) = (has(kept), has(found)) {
                return Err(self.wrong(
                    contradiction,
                    format!("`{kept}` and `{found}` cannot both hold"),
                    "leave one of them out".to_owned(),
                ));
            }
        }
        let spans = |promise: &Promise| matches!(promise, Promise::LossSpanIsFound(_));
        let spanned = promises.get_ref().iter().find(|promise| spans(promise.get_ref()));
        if let (Some(contradiction), Some(_)) = (spanned, has(Promise::NoAcknowledgedWriteLost)) {
            return Err(self.wrong(
                contradiction,
                "nothing is lost and much is lost cannot both hold".to_owned(),
                "leave one of them out".to_owned(),
            ));
        }
        Ok(())
    }

    fn cluster(&mut self, cluster: &RawCluster) -> Result<(), UserError> {
        if let Some(members) = &cluster.members {
            if *members.get_ref() == 0 {
                let error = self.wrong(
                    members,
                    "a cluster needs at least 1 member".to_owned(),
                    "expected 1 to 15".to_owned(),
                );
                return Err(error);
            }
            if *members.get_ref() > 15 {
                return Err(self.wrong(
                    members,
                    format!("a cluster of {} members is more than hasim models", members.get_ref()),
                    "expected 1 to 15".to_owned(),
                ));
            }
        }
        let Some(etcd) = &cluster.etcd else { return Ok(()) };
        let count = *etcd.get_ref();
        if count == 0 {
            return Err(self.wrong(
                etcd,
                "etcd needs at least 1 member: a quorum of zero decides nothing".to_owned(),
                "expected 1 to 9, best an odd number".to_owned(),
            ));
        }
        if count > 9 {
            return Err(self.wrong(
                etcd,
                format!("{count} members of etcd are more than etcd recommends (7) and hasim models (9)"),
                "expected 1 to 9, best an odd number".to_owned(),
            ));
        }
        if count.is_multiple_of(2) {
            self.remarks.push(Remark {
                weight: Weight::Warning,
                spot: Spot::new(self.source, etcd.span()),
                message: format!("{count} members of etcd survive no more failures than {}", count - 1),
            });
        }
        Ok(())
    }

    fn workload(&self, workload: &RawWorkload) -> Result<(), UserError> {
        if let Some(writers) = &workload.writers
            && *writers.get_ref() == 0
        {
            return Err(self.wrong(
                writers,
                "without writers neither outages nor losses can be seen".to_owned(),
                "expected at least 1".to_owned(),
            ));
        }
        self.positive(workload.write_interval.as_ref(), &SimDuration::ZERO, "write_interval")?;
        self.positive(workload.wal_per_write.as_ref(), &0, "wal_per_write")?;
        let others = workload.other_write_interval.as_ref();
        self.positive(others, &SimDuration::ZERO, "other_write_interval")?;
        self.positive(workload.expire_interval.as_ref(), &SimDuration::ZERO, "expire_interval")?;
        self.positive(workload.read_interval.as_ref(), &SimDuration::ZERO, "read_interval")?;
        self.positive(workload.statement_timeout.as_ref(), &SimDuration::ZERO, "statement_timeout")
    }

    fn fault(
        &self,
        fault: &RawFault,
        position: usize,
        warmup: SimDuration,
        horizon: SimDuration,
    ) -> Result<(), UserError> {
        match fault.trigger.get_ref() {
            RawTrigger::At(at) if at.low < warmup && !may_come_early(fault.fault.get_ref()) => {
                return Err(self.wrong(
                    &fault.trigger,
                    format!("a fault at {at} fires while the cluster still forms"),
                    format!("expected a time after the warm-up of {warmup}"),
                ));
            }
            RawTrigger::At(at) if at.high >= horizon => {
                return Err(self.wrong(
                    &fault.trigger,
                    format!("a fault at {at} fires after the end of the run"),
                    format!("expected a time before the horizon of {horizon}"),
                ));
            }
            RawTrigger::OnMark { occurrence: 0, .. } => {
                return Err(self.wrong(
                    &fault.trigger,
                    "occurrences count from 1".to_owned(),
                    "expected 1 or more".to_owned(),
                ));
            }
            RawTrigger::AfterFault { fault: other, .. } => {
                self.comes_before(&fault.trigger, *other, position)?;
            }
            RawTrigger::At(_) | RawTrigger::OnMark { .. } => {}
        }
        if let Some(lasts) = &fault.lasts
            && lasts.get_ref().low == SimDuration::ZERO
        {
            return Err(self.wrong(
                lasts,
                "a fault that lasts no time does nothing".to_owned(),
                "expected more than zero; leave `lasts` out for a fault that stays".to_owned(),
            ));
        }
        self.lasting(fault.fault.get_ref(), fault.lasts.as_ref())?;
        self.effect(&fault.fault)?;
        self.targets(&fault.fault, Some(position))
    }

    /// A length for a fault that has no end of its own is a misunderstanding.
    pub(super) fn lasting<T>(&self, fault: &Fault, lasts: Option<&Spanned<T>>) -> Result<(), UserError> {
        match lasts {
            Some(lasts) if !fault.is_lasting() => Err(self.wrong(
                lasts,
                format!("a `{}` happens at one instant and does not last", fault.kind()),
                "leave it out".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses faults that would do nothing, or nothing that can be told from something else.
    pub(super) fn effect(&self, fault: &Spanned<Fault>) -> Result<(), UserError> {
        match fault.get_ref() {
            Fault::DiskSlow { factor, .. } if !(1..=MOST_TIMES_SLOWER).contains(factor) => Err(self.wrong(
                fault,
                format!("a disk cannot be {factor} times as slow"),
                format!("expected a `factor` from 1 to {MOST_TIMES_SLOWER}"),
            )),
            Fault::DiskSlow { latency, factor: 1, .. } if *latency == SimDuration::ZERO => Err(self.wrong(
                fault,
                "this disk is as fast as before".to_owned(),
                "expected a `latency`, a `factor`, or both".to_owned(),
            )),
            Fault::DiskCorruption { newest: Some(0), .. } => Err(self.wrong(
                fault,
                "none of the newest 0 records can rot".to_owned(),
                "expected `newest` of 1 or more; leave it out for all records".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Roles are checked here, because the kernel takes any word for a role: a misspelt one would miss in silence.
    pub(super) fn targets(&self, fault: &Spanned<Fault>, position: Option<usize>) -> Result<(), UserError> {
        fault.get_ref().check().map_err(|message| self.wrong(fault, message, "this fault".to_owned()))?;
        for target in fault.get_ref().targets() {
            match target {
                Target::Role(role) | Target::HostOf(role) | Target::Every(role)
                    if !self.family.roles.contains(&role.as_str()) =>
                {
                    let error = self.wrong(
                        fault,
                        format!("nobody ever plays the role `{role}`"),
                        format!("expected one of: {}", self.family.roles.join(", ")),
                    );
                    return Err(error.maybe_help(did_you_mean(role, self.family.roles.iter().copied())));
                }
                Target::SameAs(other) => match position {
                    Some(position) => self.comes_before(fault, *other, position)?,
                    None => {
                        return Err(self.wrong(
                            fault,
                            "`same-as` has no meaning in a swarm, whose faults have no fixed order"
                                .to_owned(),
                            "name a role or a host".to_owned(),
                        ));
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn comes_before<T>(&self, place: &Spanned<T>, other: usize, position: usize) -> Result<(), UserError> {
        if other < position {
            return Ok(());
        }
        Err(self.wrong(
            place,
            format!("fault {position} refers to fault {other}, which does not come before it"),
            "faults count from 0, in the order of the file".to_owned(),
        ))
    }

    pub(super) fn positive<T: PartialEq>(
        &self,
        value: Option<&Spanned<T>>,
        zero: &T,
        key: &str,
    ) -> Result<(), UserError> {
        match value {
            Some(value) if value.get_ref() == zero => {
                Err(self.wrong(value, format!("`{key}` is zero"), "expected more".to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn wrong<T>(&self, place: &Spanned<T>, message: String, label: String) -> UserError {
        UserError::at(Spot::new(self.source, place.span()), message, label)
    }
}
