//! The links between hosts: latency and loss, drawn from the streams that the native kernel uses.

use sim_core::host::{LinkFaults, link_stream};
use sim_core::{
    Fault, HostId, LinkQuality, Probability, Sampler, Seed, SimDuration, SimTime, Stream, Topology,
};

/// All directed links between hosts.
#[derive(Debug)]
pub(crate) struct Links {
    hosts: usize,
    /// Row by row: from each host to each.
    ways: Vec<Link>,
    seed: Seed,
}

#[derive(Debug)]
struct Link {
    latency: Sampler,
    loss: Probability,
    stream: Stream,
    /// What faults add; counted, so that overlapping faults end one by one.
    extra_latency: SimDuration,
    extra_loss: u32,
    /// What faults do to packets beyond that.
    shapes: Option<LinkFaults>,
}

impl Links {
    pub(crate) fn new(topology: &Topology, seed: Seed) -> Self {
        let hosts = topology.host_count();
        let all = (0..hosts).map(HostId::from_index);
        // Hosts share a handful of qualities, whose tables are costly.
        let mut known: Vec<(&LinkQuality, Sampler)> = Vec::new();
        let ways = all
            .clone()
            .flat_map(|from| all.clone().map(move |to| (from, to)))
            .map(|(from, to)| {
                let quality = topology.quality(from, to);
                let position = known.iter().position(|(other, _)| *other == quality).unwrap_or_else(|| {
                    known.push((quality, quality.latency.sampler()));
                    known.len() - 1
                });
                Link {
                    latency: known[position].1.clone(),
                    loss: quality.loss,
                    stream: link_stream(seed, from, to, hosts),
                    extra_latency: SimDuration::ZERO,
                    extra_loss: 0,
                    shapes: None,
                }
            })
            .collect();
        Self { hosts, ways, seed }
    }

    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        &mut self.ways[from.index() * self.hosts + to.index()]
    }

    /// The latency of a packet of this size that is sent now; none if it is lost.
    pub(crate) fn travel(
        &mut self,
        (from, to): (HostId, HostId),
        now: SimTime,
        size: u32,
    ) -> Option<SimDuration> {
        let link = self.link(from, to);
        let latency = link.latency.draw(&mut link.stream) + link.extra_latency;
        let loss = Probability::from_ppm(link.loss.ppm() + link.extra_loss);
        let lost = link.stream.chance(loss);
        let extra = link.shapes.as_mut().map_or(Some(SimDuration::ZERO), |shapes| shapes.pass(now, size))?;
        (!lost).then_some(latency + extra)
    }

    /// If a datagram that is sent now arrives twice: the latency of the second copy.
    pub(crate) fn duplicate(&mut self, (from, to): (HostId, HostId)) -> Option<SimDuration> {
        let link = self.link(from, to);
        let latency = link.shapes.as_mut()?.duplicate(&link.latency)?;
        Some(latency + link.extra_latency)
    }

    /// Treats packets of this link as the fault with this position says, until `unshape`.
    pub(crate) fn shape(&mut self, (from, to): (HostId, HostId), index: usize, fault: &Fault) {
        let (seed, hosts) = (self.seed, self.hosts);
        let shapes = &mut self.link(from, to).shapes;
        shapes.get_or_insert_with(|| LinkFaults::new(seed, from, to, hosts)).begin(index, fault);
    }

    /// Ends what this fault does to packets of this link.
    pub(crate) fn unshape(&mut self, (from, to): (HostId, HostId), index: usize) {
        if let Some(shapes) = &mut self.link(from, to).shapes {
            shapes.end(index);
        }
    }

    /// Makes the link worse, or better again when `ends`.
    pub(crate) fn degrade(
        &mut self,
        (from, to): (HostId, HostId),
        latency: SimDuration,
        loss: Probability,
        ends: bool,
    ) {
        let link = self.link(from, to);
        if ends {
            link.extra_latency = link.extra_latency.saturating_sub(latency);
            link.extra_loss -= loss.ppm();
        } else {
            link.extra_latency += latency;
            link.extra_loss += loss.ppm();
        }
    }
}
