//! Random schedules from the seed: swarm testing.
//!
//! Each seed switches on its own subset of the fault kinds on offer, because kinds that are always on hide what others
//! would find (Groce et al., "Swarm Testing", ISSTA 2012). The draws come from a stream of their own: a schedule can be
//! changed without shifting any draw inside the run.

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Schedule, ScheduledFault, Trigger};
use crate::random::{Probability, Seed, Stream};
use crate::record::MarkKind;
use crate::time::SimDuration;

/// A kind of fault on offer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultMix {
    /// What goes wrong.
    pub fault: Fault,
    /// The same fault at its worst. Each seed draws an intensity for the kind, the same for all faults of the kind in
    /// its run, and the numbers of the fault lie that far between `fault` and `strongest`.
    #[serde(default)]
    pub strongest: Option<Fault>,
    /// The shortest it lasts; absent together with `longest` for faults that do not end.
    #[serde(default)]
    pub shortest: Option<SimDuration>,
    /// The longest it lasts.
    #[serde(default)]
    pub longest: Option<SimDuration>,
    /// The chance that it never ends: the system has to converge with a part of it damaged for good.
    #[serde(default)]
    pub stays: Probability,
    /// Aims at a phase of the protocol instead of a time.
    #[serde(default)]
    pub aimed: Option<Aim>,
}

/// Aims a fault at what the protocol does: it fires soon after a mark that follows the first fault.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    /// The mark.
    pub mark: MarkKind,
    /// The longest time after it.
    #[serde(default)]
    pub within: SimDuration,
}

/// How a schedule is put together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Composition {
    /// Each seed draws a subset of the kinds, and faults of those.
    Random {
        /// The most faults in one schedule; each has at least one.
        faults: u32,
        /// The chance that a kind on offer is switched on for a seed. At least one kind always is.
        kinds: Probability,
    },
    /// Every ordered pair of kinds in turn, by the number of the seed: with k kinds, each k * k consecutive seeds have
    /// every pair once. The times are drawn.
    Pairs,
}

/// What a random schedule may contain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SwarmConfig {
    /// When the first fault may fire, counted from the start of the run.
    pub from: SimDuration,
    /// The end of the chaos: no fault fires later, and those that fired at a drawn time and end have ended. After this,
    /// the system is left alone and must recover. Aimed faults may last on.
    pub until: SimDuration,
    /// How kinds are chosen.
    pub composition: Composition,
    /// The kinds on offer.
    pub mix: Vec<FaultMix>,
}

/// The streams of one schedule. What was added later has streams of its own, so that a key that is not used shifts
/// nothing.
struct Draws {
    seed: Seed,
    main: Stream,
    aims: Stream,
    damage: Stream,
}

impl SwarmConfig {
    /// The schedule of this seed, ordered by time; aimed faults come last.
    ///
    /// # Panics
    /// If nothing is on offer, the window is empty, or a `strongest` is no stronger form of its fault; scenario files are
    /// checked before.
    pub fn schedule(&self, seed: Seed) -> Schedule {
        assert!(!self.mix.is_empty() && self.from < self.until, "a swarm needs faults and a window");
        let mut draws = Draws {
            seed,
            main: seed.stream("fault schedule", 0),
            aims: seed.stream("fault aims", 0),
            damage: seed.stream("fault damage", 0),
        };
        let mut faults = match self.composition {
            Composition::Random { faults, kinds } => self.random(faults, kinds, &mut draws),
            Composition::Pairs => self.pair(&mut draws),
        };
        faults.sort_by_key(|fault| match fault.trigger {
            Trigger::At(at) => at,
            Trigger::OnMark { .. } | Trigger::AfterFault { .. } => SimDuration::MAX,
        });
        Schedule(faults)
    }

    fn random(&self, faults: u32, chance: Probability, draws: &mut Draws) -> Vec<ScheduledFault> {
        let mut kinds: Vec<usize> = (0..self.mix.len()).filter(|_| draws.main.chance(chance)).collect();
        if kinds.is_empty() {
            let all: Vec<usize> = (0..self.mix.len()).collect();
            kinds.extend(draws.main.pick(&all));
        }
        let count = draws.main.between(1, u64::from(faults.max(1)));
        let mut schedule: Vec<ScheduledFault> = (0..count)
            .filter_map(|_| {
                let kind = *draws.main.pick(&kinds)?;
                let at = draws.main.duration(self.from, self.until);
                Some(self.fault(kind, at, draws))
            })
            .collect();
        // Marks count from the first fault on: somebody has to begin.
        let timed: Vec<usize> = (0..self.mix.len()).filter(|kind| self.mix[*kind].aimed.is_none()).collect();
        if schedule.iter().all(|fault| !matches!(fault.trigger, Trigger::At(_)))
            && let Some(kind) = draws.aims.pick(&timed).copied()
        {
            let at = draws.aims.duration(self.from, self.until);
            schedule.push(self.fault(kind, at, draws));
        }
        schedule
    }

    fn pair(&self, draws: &mut Draws) -> Vec<ScheduledFault> {
        let kinds = self.mix.len() as u64;
        let pair = draws.seed.0 % (kinds * kinds);
        let first = draws.main.duration(self.from, self.until);
        let second = draws.main.duration(first, self.until);
        [(pair / kinds, first), (pair % kinds, second)]
            .map(|(kind, at)| self.fault(kind as usize, at, draws))
            .into()
    }

    fn fault(&self, kind: usize, at: SimDuration, draws: &mut Draws) -> ScheduledFault {
        let mix = &self.mix[kind];
        let lasts = mix.longest.map(|longest| {
            let shortest = mix.shortest.unwrap_or(SimDuration::ZERO).min(longest);
            draws.main.duration(shortest, longest)
        });
        let lasts =
            if mix.stays > Probability::NEVER && draws.damage.chance(mix.stays) { None } else { lasts };
        let (trigger, lasts) = match mix.aimed {
            None => (Trigger::At(at), lasts.map(|lasts| lasts.min(self.until.saturating_sub(at)))),
            Some(aim) => {
                let delay = draws.aims.duration(SimDuration::ZERO, aim.within);
                let trigger = Trigger::OnMark {
                    mark: aim.mark,
                    occurrence: draws.aims.between(1, 2) as u32,
                    delay,
                    before: Some(self.until),
                };
                (trigger, lasts)
            }
        };
        let fault = mix.strongest.as_ref().map_or_else(
            || mix.fault.clone(),
            |strongest| {
                let intensity = draws.seed.stream("fault intensity", kind as u64).below(1_000_001) as u32;
                mix.fault
                    .between(strongest, Probability::from_ppm(intensity))
                    .unwrap_or_else(|error| panic!("a swarm was not checked: {error}"))
            },
        );
        ScheduledFault { trigger, fault, lasts }
    }
}
