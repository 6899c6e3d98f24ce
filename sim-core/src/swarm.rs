//! Random schedules from the seed: swarm testing.
//!
//! Each seed switches on its own subset of the fault kinds on offer, because kinds that are always on hide what others
//! would find (Groce et al., "Swarm Testing", ISSTA 2012). The draws come from a stream of their own: a schedule can be
//! changed without shifting any draw inside the run.

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Schedule, ScheduledFault, Trigger};
use crate::random::{Probability, Seed};
use crate::time::SimDuration;

/// A kind of fault on offer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultMix {
    /// What goes wrong.
    pub fault: Fault,
    /// The shortest it lasts; absent together with `longest` for faults that do not end.
    #[serde(default)]
    pub shortest: Option<SimDuration>,
    /// The longest it lasts.
    #[serde(default)]
    pub longest: Option<SimDuration>,
}

/// What a random schedule may contain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SwarmConfig {
    /// When the first fault may fire, counted from the start of the run.
    pub from: SimDuration,
    /// When the last fault has ended: after this, the system is left alone and must recover.
    pub until: SimDuration,
    /// The most faults in one schedule; each has at least one.
    pub faults: u32,
    /// The chance that a kind on offer is switched on for a seed. At least one kind always is.
    pub kinds: Probability,
    /// The kinds on offer.
    pub mix: Vec<FaultMix>,
}

impl SwarmConfig {
    /// The schedule of this seed, ordered by time.
    ///
    /// # Panics
    /// If nothing is on offer, or the window is empty; scenario files are checked before.
    pub fn schedule(&self, seed: Seed) -> Schedule {
        assert!(!self.mix.is_empty() && self.from < self.until, "a swarm needs faults and a window");
        let mut stream = seed.stream("fault schedule", 0);
        let mut kinds: Vec<&FaultMix> = self.mix.iter().filter(|_| stream.chance(self.kinds)).collect();
        if kinds.is_empty() {
            kinds.extend(stream.pick(&self.mix));
        }
        let count = stream.between(1, u64::from(self.faults.max(1)));
        let mut faults: Vec<ScheduledFault> = (0..count)
            .filter_map(|_| {
                let mix = *stream.pick(&kinds)?;
                let at = stream.duration(self.from, self.until);
                let lasts = mix.longest.map(|longest| {
                    let shortest = mix.shortest.unwrap_or(SimDuration::ZERO).min(longest);
                    stream.duration(shortest, longest).min(self.until.saturating_sub(at))
                });
                Some(ScheduledFault { trigger: Trigger::At(at), fault: mix.fault.clone(), lasts })
            })
            .collect();
        faults.sort_by_key(|fault| match fault.trigger {
            Trigger::At(at) => at,
            Trigger::OnMark { .. } | Trigger::AfterFault { .. } => SimDuration::MAX,
        });
        Schedule(faults)
    }
}
