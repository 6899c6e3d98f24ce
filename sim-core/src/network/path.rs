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
}

impl LinkTable {
    pub(crate) fn new(topology: &Topology) -> Self {
        let hosts = topology.host_count();
        let mut known: Vec<&LinkQuality> = Vec::new();
        let mut quality_of = Vec::with_capacity(hosts * hosts);
        for from in 0..hosts {
            for to in 0..hosts {
                let quality = topology.quality(HostId::from_index(from), HostId::from_index(to));
                let position = known.iter().position(|other| *other == quality).unwrap_or_else(|| {
                    known.push(quality);
                    known.len() - 1
                });
                quality_of.push(position as u16);
            }
        }
        let qualities = known.into_iter().map(|quality| (quality.latency.sampler(), quality.loss)).collect();
        Self { hosts, quality_of, qualities }
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
    links: Vec<Link>,
    /// How many partitions cut the way from row to column.
    cuts: Vec<u8>,
    /// The sum of `cuts`: mostly none, and then the way need not be looked up.
    cut_count: u32,
    seed: Seed,
}

/// What changes about the directed way from one host to another.
#[derive(Clone, Debug, Default)]
struct Link {
    /// What faults add; both counted, so that overlapping faults end one by one.
    extra_latency: SimDuration,
    extra_loss: u32,
    /// Created at the first packet: most pairs of hosts never talk.
    stream: Option<Stream>,
    /// What faults do to packets beyond that. Boxed, because it is rare and links are many.
    shapes: Option<Box<Shapes>>,
}

impl Paths {
    pub(crate) fn new(table: Arc<LinkTable>, host_of: Vec<HostId>, seed: Seed) -> Self {
        let links = vec![Link::default(); table.hosts * table.hosts];
        let processes = host_of.len();
        Self { table, processes, host_of, links, cuts: vec![0; processes * processes], cut_count: 0, seed }
    }

    /// From the next packet on, every link draws from a stream of this seed.
    pub(crate) fn reseed(&mut self, seed: Seed) {
        self.seed = seed;
        for link in &mut self.links {
            link.stream = None;
        }
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
        let link = &mut self.links[from.index() * self.table.hosts + to.index()];
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
        let index = from.index() * self.table.hosts + to.index();
        let seed = self.seed;
        let shapes =
            self.links[index].shapes.get_or_insert_with(|| Box::new(Shapes::new(seed, index as u64)));
        shapes.add(fault, shape);
    }

    /// Ends what this fault does to packets of this link.
    pub(crate) fn unshape(&mut self, from: HostId, to: HostId, fault: usize) {
        let link = &mut self.links[from.index() * self.table.hosts + to.index()];
        if let Some(shapes) = &mut link.shapes {
            shapes.remove(fault);
        }
    }

    /// If a datagram that is sent now arrives twice: the latency of the second copy.
    #[inline]
    pub(crate) fn duplicate(&mut self, from: ProcessId, to: ProcessId) -> Option<SimDuration> {
        let index = self.link_index(from, to);
        let link = &mut self.links[index];
        let shapes = link.shapes.as_mut()?;
        let (latency, _) = self.table.quality(index);
        shapes.duplicate(latency).map(|latency| latency + link.extra_latency)
    }

    /// What faults add to the latency of a packet that is sent now, beyond that of `draw`; absent if they drop it.
    pub(crate) fn squeeze(
        &mut self,
        now: SimTime,
        from: ProcessId,
        to: ProcessId,
        size: impl FnOnce() -> u32,
    ) -> Option<SimDuration> {
        let index = self.link_index(from, to);
        match &mut self.links[index].shapes {
            None => Some(SimDuration::ZERO),
            Some(shapes) => shapes.pass(now, size()),
        }
    }

    #[inline]
    fn link_index(&self, from: ProcessId, to: ProcessId) -> usize {
        self.host_of(from).index() * self.table.hosts + self.host_of(to).index()
    }

    /// The latency of the next packet, and whether it is lost on the way. A packet of this size takes its share of a
    /// limited bandwidth.
    #[inline]
    pub(crate) fn travel(
        &mut self,
        now: SimTime,
        from: ProcessId,
        to: ProcessId,
        size: impl FnOnce() -> u32,
    ) -> (SimDuration, bool) {
        let index = self.link_index(from, to);
        let (latency, lost) = self.draw_on(index);
        match &mut self.links[index].shapes {
            None => (latency, lost),
            Some(shapes) => match shapes.pass(now, size()) {
                Some(extra) => (latency + extra, lost),
                None => (latency, true),
            },
        }
    }

    /// The same without what faults add beyond latency and loss, see `squeeze`.
    pub(crate) fn draw(&mut self, from: ProcessId, to: ProcessId) -> (SimDuration, bool) {
        self.draw_on(self.link_index(from, to))
    }

    #[inline]
    fn draw_on(&mut self, index: usize) -> (SimDuration, bool) {
        let (latency, loss) = self.table.quality(index);
        let link = &mut self.links[index];
        let stream = link.stream.get_or_insert_with(|| first_draw(self.seed, index));
        let latency = latency.draw(stream) + link.extra_latency;
        let lost = stream.chance(Probability::from_ppm(loss.ppm() + link.extra_loss));
        (latency, lost)
    }

    /// A typical round trip between two processes.
    pub(crate) fn round_trip(&self, a: ProcessId, b: ProcessId) -> SimDuration {
        let (a, b) = (self.host_of(a).index(), self.host_of(b).index());
        [(a, b), (b, a)]
            .iter()
            .map(|(from, to)| {
                let index = from * self.table.hosts + to;
                let link = &self.links[index];
                let extra = link.shapes.as_ref().map_or(SimDuration::ZERO, |shapes| shapes.median());
                self.table.quality(index).0.median() + link.extra_latency + extra
            })
            .sum()
    }
}

/// The stream of a link on which nothing was sent before. Apart, because that is once in a run.
#[cold]
fn first_draw(seed: Seed, index: usize) -> Stream {
    numbered_link_stream(seed, index)
}
