//! What the values of a swarm must be.

use sim_core::{Fault, FaultMix, Probability, SimDuration};
use toml::Spanned;

use super::check::Checker;
use super::raw::RawSwarm;
use crate::diagnostic::{UserError, did_you_mean};

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
            if !self.family.processes.contains(&of) {
                let error = self.wrong(
                    budget,
                    format!("no process is called `{of}`"),
                    format!("expected one of: {}", self.family.processes.join(", ")),
                );
                return Err(error.maybe_help(did_you_mean(of, self.family.processes.iter().copied())));
            }
            if budget.get_ref().lasting && !budget.get_ref().together_with.is_empty() {
                return Err(self.wrong(
                    budget,
                    "`together_with` counts what is harmed at one time, and this budget is `lasting`"
                        .to_owned(),
                    "leave out one of the two".to_owned(),
                ));
            }
            for kind in budget.get_ref().kinds.iter().chain(&budget.get_ref().together_with) {
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
        if let Some(strongest) = strongest {
            let stronger = fault.between(strongest, Probability::ALWAYS).map_err(|error| error.to_string());
            if let Err(error) = stronger.and_then(|stronger| stronger.check()) {
                return Err(self.wrong(
                    mix,
                    "`strongest` is the same fault on the same targets, with other numbers".to_owned(),
                    error,
                ));
            }
        }
        self.lasting(fault, longest.map(|_| mix))?;
        let place = Spanned::new(mix.span(), fault.clone());
        self.effect(&place)?;
        self.targets(&place, None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::diagnostic::Source;
    use crate::scenario::Scenario;

    const GOOD: &str = r#"name = "patroni/chaos/sync"
summary = "Random faults."
family = "patroni"
promises = [{ converges-within = "60s" }]
horizon = "3m"

[swarm]
from = "25s"
until = "85s"
faults = 4
kinds = "40%"

[[swarm.budget]]
of = "etcd"
kinds = ["kill"]
at_most = 1

[[swarm.mix]]
fault = { kill = { target = { role = "etcd" } } }
longest = "20s"
stays = "10%"

[[swarm.mix]]
fault = { clock-step = { target = { host-of = "primary" }, millis = -100 } }
strongest = { clock-step = { target = { host-of = "primary" }, millis = -9000 } }
aimed = { mark = "suspected", within = "2s" }
"#;

    fn read(text: &str) -> Result<Scenario, String> {
        let files: BTreeMap<String, String> = BTreeMap::new();
        Scenario::read(&Source::new("swarm.toml", text), &files).map_err(|error| error.report(false))
    }

    #[test]
    fn a_good_swarm_is_read_with_its_budget() {
        let scenario = read(GOOD).expect("a good file");
        let [budget] = scenario.budgets() else { panic!("one budget: {:?}", scenario.budgets()) };
        assert_eq!((budget.of.as_str(), budget.at_most, budget.lasting), ("etcd", 1, false));
    }

    #[test]
    fn wrong_swarms_are_refused_with_the_value_and_what_was_expected() {
        for (part, replacement, expected) in [
            ("of = \"etcd\"", "of = \"etdc\"", ["no process is called `etdc`", "did you mean `etcd`"]),
            ("[\"kill\"]", "[\"kil\"]", ["no kind of fault `kil`", "did you mean `kill`"]),
            (
                "at_most = 1",
                "at_most = 1\nlasting = true\ntogether_with = [\"pause\"]",
                ["`together_with` counts what is harmed at one time", "leave out one of the two"],
            ),
            (
                "at_most = 1",
                "at_most = 1\ntogether_with = [\"paus\"]",
                ["no kind of fault `paus`", "did you mean `pause`"],
            ),
            ("kinds = \"40%\"\n", "", ["a swarm needs `faults` and `kinds`", "pairs = true"]),
            ("faults = 4", "faults = 4\npairs = true", ["have no meaning with it", "leave them out"]),
            ("longest = \"20s\"\n", "", ["this one never does", "give it a `longest`"]),
            (
                "millis = -9000",
                "millis = -9000, x = 1",
                ["unexpected keys in table: x", "available keys: target, millis"],
            ),
            (
                "strongest = { clock-step",
                "strongest = { clock-drift",
                ["unexpected keys in table: millis", "swarm.toml"],
            ),
            (
                "{ role = \"etcd\" } } }",
                "{ role = \"etcd\" } } }\naimed = { mark = \"elected\" }",
                ["never begins", "without `aimed`"],
            ),
            (
                "strongest = { clock-step = { target = { host-of = \"primary\" }",
                "strongest = { clock-step = { target = { host-of = \"standby\" }",
                ["the same fault on the same targets", "differ in more than numbers"],
            ),
            ("millis = -9000", "millis = -100", ["have the same numbers", "make one of them stronger"]),
            (
                "longest = \"20s\"\n",
                "longest = \"20s\"\nstrongest = { kill = { target = { role = \"etcd\" } } }\n",
                ["`kill` has no number that could be stronger", "leave `strongest` out"],
            ),
        ] {
            assert!(GOOD.contains(part), "the file does not contain {part}");
            let report = read(&GOOD.replacen(part, replacement, 1)).expect_err(replacement);
            for text in expected {
                assert!(report.contains(text), "{replacement}: no `{text}` in\n{report}");
            }
        }
    }
}
