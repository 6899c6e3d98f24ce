//! The way from one process to another: latency, loss, and whether it is cut.

use crate::distribution::Sampler;
use crate::id::{HostId, ProcessId};
use crate::random::{Probability, Seed, Stream};
use crate::time::SimDuration;
use crate::topology::Topology;

/// The directed ways between hosts, and the cuts between processes.
///
/// Cuts are between processes and not hosts, because firewalls cut by port: "the primary cannot reach etcd" must be
/// possible where both run on one machine.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    hosts: usize,
    processes: usize,
    host_of: Vec<HostId>,
    links: Vec<Link>,
    /// How many partitions cut the way from row to column.
    cuts: Vec<u8>,
    seed: Seed,
}

/// The directed way from one host to another.
#[derive(Clone, Debug)]
struct Link {
    latency: Sampler,
    loss: Probability,
    /// What faults add; both counted, so that overlapping faults end one by one.
    extra_latency: SimDuration,
    extra_loss: u32,
    /// Created at the first packet: most pairs of hosts never talk.
    stream: Option<Stream>,
}

impl Paths {
    pub(crate) fn new(topology: &Topology, host_of: Vec<HostId>, seed: Seed) -> Self {
        let hosts = topology.host_count();
        // Hosts share a handful of link qualities; their tables are built once each.
        let mut known: Vec<(&crate::topology::LinkQuality, Sampler)> = Vec::new();
        let mut links = Vec::with_capacity(hosts * hosts);
        for from in 0..hosts {
            for to in 0..hosts {
                let quality = topology.quality(HostId::from_index(from), HostId::from_index(to));
                let found = known
                    .iter()
                    .find(|(other, _)| std::ptr::eq(*other, quality) || *other == quality);
                let latency = if let Some((_, sampler)) = found {
                    sampler.clone()
                } else {
                    let sampler = quality.latency.sampler();
                    known.push((quality, sampler.clone()));
                    sampler
                };
                links.push(Link {
                    latency,
                    loss: quality.loss,
                    extra_latency: SimDuration::ZERO,
                    extra_loss: 0,
                    stream: None,
                });
            }
        }
        let processes = host_of.len();
        Self {
            hosts,
            processes,
            host_of,
            links,
            cuts: vec![0; processes * processes],
            seed,
        }
    }

    pub(crate) fn host_of(&self, process: ProcessId) -> HostId {
        self.host_of[process.index()]
    }

    pub(crate) fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.cuts[from.index() * self.processes + to.index()] > 0
    }

    pub(crate) fn cut(&mut self, from: ProcessId, to: ProcessId) {
        self.cuts[from.index() * self.processes + to.index()] += 1;
    }

    pub(crate) fn mend(&mut self, from: ProcessId, to: ProcessId) {
        self.cuts[from.index() * self.processes + to.index()] -= 1;
    }

    /// Makes the link worse, or better again when `ends`.
    pub(crate) fn degrade(
        &mut self,
        from: HostId,
        to: HostId,
        latency: SimDuration,
        loss: Probability,
        ends: bool,
    ) {
        let link = &mut self.links[from.index() * self.hosts + to.index()];
        if ends {
            link.extra_latency = link.extra_latency - latency;
            link.extra_loss -= loss.ppm();
        } else {
            link.extra_latency += latency;
            link.extra_loss += loss.ppm();
        }
    }

    /// The latency of the next packet, and whether it is lost on the way.
    #[inline]
    pub(crate) fn travel(&mut self, from: ProcessId, to: ProcessId) -> (SimDuration, bool) {
        let index = self.host_of(from).index() * self.hosts + self.host_of(to).index();
        let link = &mut self.links[index];
        let stream = match &mut link.stream {
            Some(stream) => stream,
            none => none.insert(self.seed.stream("link", index as u64)),
        };
        let latency = link.latency.draw(stream) + link.extra_latency;
        let lost = stream.chance(Probability::from_ppm(link.loss.ppm() + link.extra_loss));
        (latency, lost)
    }

    /// A typical round trip between two processes.
    pub(crate) fn round_trip(&self, a: ProcessId, b: ProcessId) -> SimDuration {
        let (a, b) = (self.host_of(a).index(), self.host_of(b).index());
        [(a, b), (b, a)]
            .iter()
            .map(|(from, to)| {
                let link = &self.links[from * self.hosts + to];
                link.latency.median() + link.extra_latency
            })
            .sum()
    }
}
