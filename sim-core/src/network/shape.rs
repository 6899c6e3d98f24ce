//! What faults do to the packets of one directed link, beyond latency and loss.

use crate::distribution::Sampler;
use crate::fault::Fault;
use crate::random::{Probability, Seed, Stream};
use crate::time::{SimDuration, SimTime};

/// One thing that a fault does to packets.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// They take longer by a length drawn for each.
    Latency(Sampler),
    /// Some datagrams arrive twice.
    Duplicate(Probability),
    /// Some take longer by this, so that later ones overtake them.
    Reorder(Probability, SimDuration),
    /// They wait their turn, at most `queue`.
    Bandwidth { bits_per_second: u64, queue: SimDuration },
}

impl Shape {
    /// What a fault does to packets.
    ///
    /// # Panics
    /// If it is of a kind that does nothing to them.
    pub(crate) fn of(fault: &Fault) -> Self {
        match fault {
            Fault::Latency { extra, .. } => Self::Latency(extra.sampler()),
            Fault::Duplicate { chance, .. } => Self::Duplicate(*chance),
            Fault::Reorder { chance, delay, .. } => Self::Reorder(*chance, *delay),
            Fault::Bandwidth { bits_per_second, queue, .. } => {
                Self::Bandwidth { bits_per_second: *bits_per_second, queue: *queue }
            }
            _ => unreachable!("the other faults do not shape links"),
        }
    }
}

/// All that faults do to packets of one link now, with the positions of the faults in the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Shapes {
    active: Vec<(usize, Shape)>,
    /// Apart from the stream of the link, whose draws stay as they are without faults.
    stream: Stream,
    /// When the last packet that was let in has left the bottleneck.
    busy_until: SimTime,
}

impl Shapes {
    pub(crate) fn new(seed: Seed, link: u64) -> Self {
        Self { active: Vec::new(), stream: seed.stream("link faults", link), busy_until: SimTime::ZERO }
    }

    pub(crate) fn add(&mut self, fault: usize, shape: Shape) {
        self.active.push((fault, shape));
    }

    pub(crate) fn remove(&mut self, fault: usize) {
        self.active.retain(|(other, _)| *other != fault);
    }

    /// How much longer a packet takes, or nothing if a full queue drops it.
    pub(crate) fn pass(&mut self, now: SimTime, size: u32) -> Option<SimDuration> {
        let mut extra = SimDuration::ZERO;
        let mut narrowest: Option<(u64, SimDuration)> = None;
        for (_, shape) in &self.active {
            match shape {
                Shape::Latency(latency) => extra += latency.draw(&mut self.stream),
                Shape::Reorder(chance, delay) => {
                    if self.stream.chance(*chance) {
                        extra += *delay;
                    }
                }
                Shape::Bandwidth { bits_per_second, queue } => {
                    narrowest = Some(narrowest.map_or((*bits_per_second, *queue), |(rate, limit)| {
                        (rate.min(*bits_per_second), limit.min(*queue))
                    }));
                }
                Shape::Duplicate(_) => {}
            }
        }
        let Some((rate, limit)) = narrowest else {
            return Some(extra);
        };
        let begins = self.busy_until.max(now);
        let wait = begins.since(now);
        if wait > limit {
            return None;
        }
        let bits = u64::from(size) * 8;
        let transmission = SimDuration::from_nanos((bits * 1_000_000_000).div_ceil(rate));
        self.busy_until = begins + transmission;
        Some(extra + wait + transmission)
    }

    /// The latency of a second copy, if a datagram is duplicated.
    pub(crate) fn duplicate(&mut self, latency: &Sampler) -> Option<SimDuration> {
        let stream = &mut self.stream;
        let mut twice = false;
        for (_, shape) in &self.active {
            if let Shape::Duplicate(chance) = shape {
                twice |= stream.chance(*chance);
            }
        }
        twice.then(|| latency.draw(stream))
    }

    /// What they typically add.
    pub(super) fn median(&self) -> SimDuration {
        let median = |(_, shape): &(usize, Shape)| match shape {
            Shape::Latency(latency) => latency.median(),
            _ => SimDuration::ZERO,
        };
        self.active.iter().map(median).sum()
    }
}
