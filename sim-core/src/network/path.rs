//! The way from one process to another: latency, loss, and whether it is cut.

use std::sync::Arc;

use crate::distribution::Sampler;
use crate::host::numbered_link_stream;
use crate::id::{HostId, ProcessId};
use crate::random::{Probability, Seed, Stream};
use crate::time::{SimDuration, SimTime};
use crate::topology::{LinkQuality, Topology};

use super::shape::{Shape, Shapes};

/// The qualities of all directed links between hosts, ready to be drawn from: the same for all seeds of a scenario.
#[derive(Debug)]
pub(crate) struct LinkTable {
    hosts: usize,
    /// For each pair of hosts, the position of its quality.
    quality_of: Vec<u16>,
    /// Hosts share a handful of qualities; their tables are built once each.
    qualities: Vec<(Sampler, Probability)>,
    /// See [`Topology::set_tcp_syn_linear_timeouts`].
    syn_linear_timeouts: u8,
}

impl LinkTable {
    pub(crate) fn new(topology: &Topology) -> Self {
        let hosts = topology.host_count();
        let zone_of = topology.zones_of_hosts();
        let zones = zone_of.iter().max().map_or(0, |last| last + 1);
        let mut known: Vec<&LinkQuality> = Vec::new();
        let mut position_of = |from: usize, to: usize| {
            let quality = topology.quality(HostId::from_index(from), HostId::from_index(to));
            let position = known.iter().position(|other| *other == quality).unwrap_or_else(|| {
                known.push(quality);
                known.len() - 1
            });
            position as u16
        };
        // What holds between two hosts holds between all others of their zones.
        let mut of_zones: Vec<Option<u16>> = vec![None; zones * zones];
        let mut quality_of = Vec::with_capacity(hosts * hosts);
        for from in 0..hosts {
            for to in 0..hosts {
                quality_of.push(if from == to {
                    position_of(from, to)
                } else {
                    *of_zones[zone_of[from] * zones + zone_of[to]]
                        .get_or_insert_with(|| position_of(from, to))
                });
            }
        }
        let qualities = known.into_iter().map(|quality| (quality.latency.sampler(), quality.loss)).collect();
        let syn_linear_timeouts = topology.tcp_syn_linear_timeouts();
        Self { hosts, quality_of, qualities, syn_linear_timeouts }
    }

    #[inline]
    fn quality(&self, link: usize) -> &(Sampler, Probability) {
        &self.qualities[usize::from(self.quality_of[link])]
    }
}

/// The directed ways between hosts, and the cuts between processes.
///
/// Cuts are between processes and not hosts, because firewalls cut by port: "the primary cannot reach etcd" must be
/// possible where both run on one machine.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    table: Arc<LinkTable>,
    processes: usize,
    host_of: Vec<HostId>,
    /// The links on which anything ever happened: most pairs of hosts never talk.
    links: Vec<Link>,
    /// For each pair of hosts, the position of its link counted from one; zero if it has none yet.
    links_of_hosts: Vec<u32>,
    /// The same for each pair of processes: all that is looked up for a packet.
    links_of_processes: Vec<u32>,
    /// How many partitions cut the way from row to column.
    cuts: Vec<u8>,
    /// The sum of `cuts`: mostly none, and then the way need not be looked up.
    cut_count: u32,
    seed: Seed,
}

/// The directed way from one host to another.
#[derive(Clone, Debug)]
struct Link {
    /// The number of the pair of hosts, for its streams.
    index: u32,
    /// The position of its quality in the table.
    quality: u16,
    /// What faults add; both counted, so that overlapping faults end one by one.
    extra_loss: u32,
    extra_latency: SimDuration,
    stream: Stream,
    /// What faults do to packets beyond that. Boxed, because it is rare and links are many.
    shapes: Option<Box<Shapes>>,
}

/// A way on which a packet is about to be put.
pub(crate) struct Way<'p> {
    link: &'p mut Link,
    latency: &'p Sampler,
    loss: Probability,
}

impl Way<'_> {
    /// The latency of the next packet, and whether it is lost on the way. A packet of this size takes its share of a
    /// limited bandwidth.
    #[inline]
    pub(crate) fn travel(&mut self, now: SimTime, size: impl FnOnce() -> u32) -> (SimDuration, bool) {
        let (latency, lost) = self.draw();
        match self.squeeze(now, size) {
            Some(extra) => (latency + extra, lost),
            None => (latency, true),
        }
    }

    /// The same without what faults add beyond latency and loss, see `squeeze`.
    #[inline(always)]
    pub(crate) fn draw(&mut self) -> (SimDuration, bool) {
        let Self { link, latency, loss } = self;
        let latency = latency.draw(&mut link.stream) + link.extra_latency;
        let lost = link.stream.chance(Probability::from_ppm(loss.ppm() + link.extra_loss));
        (latency, lost)
    }

    /// What faults add to the latency of a packet that is sent now, beyond that of `draw`; absent if they drop it.
    #[inline]
    pub(crate) fn squeeze(&mut self, now: SimTime, size: impl FnOnce() -> u32) -> Option<SimDuration> {
        match &mut self.link.shapes {
            None => Some(SimDuration::ZERO),
            Some(shapes) => shapes.pass(now, size()),
        }
    }

    /// If a datagram that is sent now arrives twice: the latency of the second copy.
    #[inline]
    pub(crate) fn duplicate(&mut self) -> Option<SimDuration> {
        let latency = self.link.shapes.as_mut()?.duplicate(self.latency)?;
        Some(latency + self.link.extra_latency)
    }
}

impl Paths {
    pub(crate) fn new(table: Arc<LinkTable>, host_of: Vec<HostId>, seed: Seed) -> Self {
        let processes = host_of.len();
        Self {
            links: Vec::new(),
            links_of_hosts: vec![0; table.hosts * table.hosts],
            links_of_processes: vec![0; processes * processes],
            cuts: vec![0; processes * processes],
            cut_count: 0,
            table,
            processes,
            host_of,
            seed,
        }
    }

    /// From the next packet on, every link draws from a stream of this seed.
    pub(crate) fn reseed(&mut self, seed: Seed) {
        self.seed = seed;
        for link in &mut self.links {
            link.stream = numbered_link_stream(seed, link.index as usize);
        }
    }

    /// The position of the link between these hosts, counted from one.
    fn position(&mut self, from: HostId, to: HostId) -> u32 {
        let index = from.index() * self.table.hosts + to.index();
        if self.links_of_hosts[index] == 0 {
            self.links.push(Link {
                index: index as u32,
                quality: self.table.quality_of[index],
                extra_loss: 0,
                extra_latency: SimDuration::ZERO,
                stream: numbered_link_stream(self.seed, index),
                shapes: None,
            });
            self.links_of_hosts[index] = self.links.len() as u32;
        }
        self.links_of_hosts[index]
    }

    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let position = self.position(from, to);
        &mut self.links[position as usize - 1]
    }

    /// The way from one process to another.
    #[inline]
    pub(crate) fn way(&mut self, from: ProcessId, to: ProcessId) -> Way<'_> {
        let index = from.index() * self.processes + to.index();
        let position = match self.links_of_processes[index] {
            0 => self.first_use(index, from, to),
            position => position,
        };
        let link = &mut self.links[position as usize - 1];
        let (latency, loss) = &self.table.qualities[usize::from(link.quality)];
        Way { link, latency, loss: *loss }
    }

    #[cold]
    fn first_use(&mut self, index: usize, from: ProcessId, to: ProcessId) -> u32 {
        let position = self.position(self.host_of(from), self.host_of(to));
        self.links_of_processes[index] = position;
        position
    }

    #[inline]
    pub(crate) fn host_of(&self, process: ProcessId) -> HostId {
        self.host_of[process.index()]
    }

    #[inline]
    pub(crate) fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.cut_count > 0 && self.cuts[from.index() * self.processes + to.index()] > 0
    }

    pub(crate) fn cut(&mut self, from: ProcessId, to: ProcessId) {
        self.cuts[from.index() * self.processes + to.index()] += 1;
        self.cut_count += 1;
    }

    pub(crate) fn mend(&mut self, from: ProcessId, to: ProcessId) {
        self.cuts[from.index() * self.processes + to.index()] -= 1;
        self.cut_count -= 1;
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
        let link = self.link(from, to);
        if ends {
            link.extra_latency = link.extra_latency - latency;
            link.extra_loss -= loss.ppm();
        } else {
            link.extra_latency += latency;
            link.extra_loss += loss.ppm();
        }
    }

    /// Treats packets of this link in another way until `unshape` with the same fault.
    pub(crate) fn shape(&mut self, from: HostId, to: HostId, fault: usize, shape: Shape) {
        let seed = self.seed;
        let Link { index, shapes, .. } = self.link(from, to);
        shapes.get_or_insert_with(|| Box::new(Shapes::new(seed, u64::from(*index)))).add(fault, shape);
    }

    /// Ends what this fault does to packets of this link.
    pub(crate) fn unshape(&mut self, from: HostId, to: HostId, fault: usize) {
        if let Some(shapes) = &mut self.link(from, to).shapes {
            shapes.remove(fault);
        }
    }

    /// See [`Topology::set_tcp_syn_linear_timeouts`].
    pub(crate) fn syn_linear_timeouts(&self) -> u8 {
        self.table.syn_linear_timeouts
    }

    /// A typical round trip between two processes.
    pub(crate) fn round_trip(&self, a: ProcessId, b: ProcessId) -> SimDuration {
        let (a, b) = (self.host_of(a).index(), self.host_of(b).index());
        [(a, b), (b, a)]
            .iter()
            .map(|(from, to)| {
                let index = from * self.table.hosts + to;
                let median = self.table.quality(index).0.median();
                let Some(position) = self.links_of_hosts[index].checked_sub(1) else { return median };
                let link = &self.links[position as usize];
                let extra = link.shapes.as_ref().map_or(SimDuration::ZERO, |shapes| shapes.median());
                median + link.extra_latency + extra
            })
            .sum()
    }
}
