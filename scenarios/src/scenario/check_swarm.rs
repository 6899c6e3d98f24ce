//! What the values of a swarm must be.

use sim_core::{Fault, FaultMix, Probability, SimDuration};
use toml::Spanned;

use super::check::Checker;
use super::raw::RawSwarm;
use crate::diagnostic::{UserError, did_you_mean};

/// What the processes of a Patroni cluster are called, without their numbers.
const PROCESS_NAMES: &[&str] =
    &["patroni", "postgres", "etcd", "haproxy", "pgbouncer", "client", "local-client"];

impl Checker<'_> {
    pub(super) fn swarm(
        &self,
        swarm: &Spanned<RawSwarm>,
        warmup: SimDuration,
        horizon: SimDuration,
    ) -> Result<(), UserError> {
        let raw = swarm.get_ref();
        let until = *raw.until.get_ref();
        if raw.from < warmup || until <= raw.from || until >= horizon {
            return Err(self.wrong(
                &raw.until,
                format!("the window from {} to {until} does not fit", raw.from),
                format!(
                    "expected a window after the warm-up of {warmup} and before the horizon of {horizon}"
                ),
            ));
        }
        self.composition(swarm)?;
        if raw.mix.is_empty() {
            return Err(self.wrong(
                swarm,
                "a swarm needs kinds of faults".to_owned(),
                "there is no `[[swarm.mix]]`".to_owned(),
            ));
        }
        if raw.mix.iter().all(|mix| mix.get_ref().aimed.is_some()) {
            return Err(self.wrong(
                swarm,
                "marks count from the first fault on: a swarm of aimed faults never begins".to_owned(),
                "expected a `[[swarm.mix]]` without `aimed`".to_owned(),
            ));
        }
        for mix in &raw.mix {
            self.mix(mix, raw.pairs)?;
        }
        for budget in &raw.budget {
            let of = budget.get_ref().of.as_str();
            if !PROCESS_NAMES.contains(&of) {
                let error = self.wrong(
                    budget,
                    format!("no process is called `{of}`"),
                    format!("expected one of: {}", PROCESS_NAMES.join(", ")),
                );
                return Err(error.maybe_help(did_you_mean(of, PROCESS_NAMES.iter().copied())));
            }
            for kind in &budget.get_ref().kinds {
                if !Fault::KINDS.contains(&kind.as_str()) {
                    let error = self.wrong(
                        budget,
                        format!("there is no kind of fault `{kind}`"),
                        format!("expected some of: {}", Fault::KINDS.join(", ")),
                    );
                    return Err(error.maybe_help(did_you_mean(kind, Fault::KINDS.iter().copied())));
                }
            }
        }
        Ok(())
    }

    fn composition(&self, swarm: &Spanned<RawSwarm>) -> Result<(), UserError> {
        let raw = swarm.get_ref();
        match (&raw.faults, &raw.kinds, raw.pairs) {
            (Some(faults), Some(_), false) => self.positive(Some(faults), &0, "faults"),
            (None, None, true) => Ok(()),
            (_, _, true) => Err(self.wrong(
                swarm,
                "`pairs` takes every pair of kinds in turn: `faults` and `kinds` have no meaning with it"
                    .to_owned(),
                "leave them out, or `pairs`".to_owned(),
            )),
            _ => Err(self.wrong(
                swarm,
                "a swarm needs `faults` and `kinds`".to_owned(),
                "or `pairs = true`, for every pair of kinds in turn".to_owned(),
            )),
        }
    }

    fn mix(&self, mix: &Spanned<FaultMix>, pairs: bool) -> Result<(), UserError> {
        let FaultMix { fault, strongest, shortest, longest, stays, aimed } = mix.get_ref();
        let empty = matches!((shortest, longest), (Some(shortest), Some(longest)) if shortest > longest);
        if empty || (shortest.is_some() && longest.is_none()) {
            return Err(self.wrong(
                mix,
                "`shortest` needs a `longest` that is not shorter".to_owned(),
                "this fault".to_owned(),
            ));
        }
        if *stays > Probability::NEVER && longest.is_none() {
            return Err(self.wrong(
                mix,
                "`stays` says how often a fault does not end, and this one never does".to_owned(),
                "give it a `longest`, or leave `stays` out".to_owned(),
            ));
        }
        if aimed.is_some() && pairs {
            return Err(self.wrong(
                mix,
                "`pairs` gives each fault a time of its own".to_owned(),
                "leave out `aimed`, or `pairs`".to_owned(),
            ));
        }
        if let Some(strongest) = strongest
            && fault.between(strongest, Probability::ALWAYS).is_none()
        {
            return Err(self.wrong(
                mix,
                "`strongest` is the same fault on the same targets, with other numbers".to_owned(),
                "the two differ in more than numbers, or have none".to_owned(),
            ));
        }
        self.targets(&Spanned::new(mix.span(), fault.clone()), None)
    }
}
