//! What the values of a scenario file must be. Each error names the value, what was expected, and why.

use std::sync::Arc;

use sim_core::{Fault, SimDuration, Target};
use toml::Spanned;

use super::Promise;
use super::raw::{RawCluster, RawFault, RawScenario, RawTrigger, RawWorkload};
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};

pub(super) const DEFAULT_WARMUP: SimDuration = SimDuration::from_secs(20);

/// The roles that a fault in a Patroni cluster may aim at.
pub const PATRONI_ROLES: &[&str] = &[
    "primary",
    "standby",
    "postgres",
    "patroni-leader",
    "patroni-replica",
    "patroni",
    "sync-standby",
    "etcd-leader",
    "etcd-follower",
    "etcd",
    "client",
    "haproxy",
    "pgbouncer",
];

/// The families that there are.
const FAMILIES: &[&str] = &["patroni"];

/// Checks the parts of a file and collects remarks.
pub(super) struct Checker<'a> {
    source: &'a Arc<Source>,
    pub(super) remarks: Vec<Remark>,
}

impl<'a> Checker<'a> {
    pub(super) const fn new(source: &'a Arc<Source>) -> Self {
        Self { source, remarks: Vec::new() }
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
        self.positive(raw.event_budget.as_ref(), &0, "event_budget")?;
        self.cluster(&raw.cluster)?;
        self.workload(&raw.workload)?;
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
        Ok(())
    }

    fn names(&self, raw: &RawScenario) -> Result<(), UserError> {
        let family = raw.family.get_ref().as_str();
        if !FAMILIES.contains(&family) {
            let error = self.wrong(
                &raw.family,
                format!("there is no family `{family}`"),
                format!("expected one of: {}", FAMILIES.join(", ")),
            );
            return Err(error.maybe_help(did_you_mean(family, FAMILIES.iter().copied())));
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
        ] {
            if let (Some(_), Some(contradiction)) = (has(kept), has(found)) {
                return Err(self.wrong(
                    contradiction,
                    format!("`{kept}` and `{found}` cannot both hold"),
                    "leave one of them out".to_owned(),
                ));
            }
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
            RawTrigger::At(at) if at.low < warmup => {
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
        self.targets(&fault.fault, Some(position))
    }

    /// Roles are checked here, because the kernel takes any word for a role: a misspelt one would miss in silence.
    pub(super) fn targets(&self, fault: &Spanned<Fault>, position: Option<usize>) -> Result<(), UserError> {
        for target in fault.get_ref().targets() {
            match target {
                Target::Role(role) | Target::HostOf(role) | Target::Every(role)
                    if !PATRONI_ROLES.contains(&role.as_str()) =>
                {
                    let error = self.wrong(
                        fault,
                        format!("nobody ever plays the role `{role}`"),
                        format!("expected one of: {}", PATRONI_ROLES.join(", ")),
                    );
                    return Err(error.maybe_help(did_you_mean(role, PATRONI_ROLES.iter().copied())));
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
