//! Where things are: regions ⊃ zones ⊃ hosts, and the links between them, as a graph.
//!
//! Latency belongs to the narrowest place that two hosts share (the loopback of a host, a zone, a region), or to the
//! pair of regions between which a packet travels.

use petgraph::graph::{DiGraph, NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;

use crate::distribution::Distribution;
use crate::id::HostId;
use crate::random::Probability;
use crate::time::SimDuration;

/// A place: a node of the containment tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A region, such as `eu-west`.
    Region(String),
    /// An availability zone of a region.
    Zone(String),
    /// A machine in a zone.
    Host(String),
}

impl Place {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Region(name) | Self::Zone(name) | Self::Host(name) => name,
        }
    }
}

/// How packets travel one way between two places.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkQuality {
    /// One-way latency.
    pub latency: Distribution,
    /// The chance that a packet is lost.
    pub loss: Probability,
}

impl LinkQuality {
    /// A link without loss.
    pub const fn reliable(latency: Distribution) -> Self {
        Self { latency, loss: Probability::NEVER }
    }

    /// Within one host. Median of a 1-byte round trip over `lo` on a busy 2-core machine: 23 µs, so half of it one way.
    pub fn loopback() -> Self {
        Self::reliable(Distribution::LogNormal { median: SimDuration::from_micros(12), sigma_percent: 50 })
    }

    /// Within one availability zone: round trips of about 0.2 ms, as cloud providers publish ("sub-millisecond").
    pub fn same_zone() -> Self {
        Self::reliable(Distribution::LogNormal { median: SimDuration::from_micros(100), sigma_percent: 40 })
    }

    /// Between zones of one region: round trips of about 1 ms ("single-digit millisecond").
    pub fn same_region() -> Self {
        Self::reliable(Distribution::LogNormal { median: SimDuration::from_micros(500), sigma_percent: 30 })
    }

    /// Between regions of one continent: round trips of about 30 ms.
    pub fn between_regions() -> Self {
        Self::reliable(Distribution::LogNormal { median: SimDuration::from_millis(15), sigma_percent: 10 })
    }
}

/// The graph of places. Build it top down; hosts get their identities in the order in which they are added.
#[derive(Clone, Debug)]
pub struct Topology {
    tree: DiGraph<Place, ()>,
    hosts: Vec<NodeIndex>,
    regions: UnGraph<NodeIndex, LinkQuality>,
    loopback: LinkQuality,
    same_zone: LinkQuality,
    same_region: LinkQuality,
    between_regions: LinkQuality,
    tcp_syn_linear_timeouts: u8,
}

/// `net.ipv4.tcp_syn_linear_timeouts` of Linux since 6.5 (`net/ipv4/tcp_ipv4.c:tcp_sk_init`).
const TCP_SYN_LINEAR_TIMEOUTS: u8 = 4;

/// A region of a topology.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegionRef(NodeIndex);

/// A zone of a topology.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ZoneRef(NodeIndex);

impl Default for Topology {
    fn default() -> Self {
        Self {
            tree: DiGraph::new(),
            hosts: Vec::new(),
            regions: UnGraph::new_undirected(),
            loopback: LinkQuality::loopback(),
            same_zone: LinkQuality::same_zone(),
            same_region: LinkQuality::same_region(),
            between_regions: LinkQuality::between_regions(),
            tcp_syn_linear_timeouts: TCP_SYN_LINEAR_TIMEOUTS,
        }
    }
}

impl Topology {
    /// A topology in which every pair of different hosts is linked with the same quality.
    pub fn uniform(link: &LinkQuality) -> Self {
        Self {
            same_zone: link.clone(),
            same_region: link.clone(),
            between_regions: link.clone(),
            ..Self::default()
        }
    }

    /// One zone whose hosts are all linked with the same quality: a network to measure or test something else on.
    pub fn single_zone(link: &LinkQuality) -> (Self, ZoneRef) {
        let mut topology = Self::uniform(link);
        let region = topology.add_region("region-1");
        let zone = topology.add_zone(region, "zone-a");
        (topology, zone)
    }

    /// One region with one zone: the presets of cloud providers' published latencies.
    pub fn one_zone() -> (Self, [ZoneRef; 1]) {
        let mut topology = Self::default();
        let region = topology.add_region("region-1");
        let zone = topology.add_zone(region, "zone-a");
        (topology, [zone])
    }

    /// One region with three zones.
    pub fn three_zones() -> (Self, [ZoneRef; 3]) {
        let mut topology = Self::default();
        let region = topology.add_region("region-1");
        let zones = ["zone-a", "zone-b", "zone-c"].map(|name| topology.add_zone(region, name));
        (topology, zones)
    }

    /// Two regions with one zone each.
    pub fn two_regions() -> (Self, [ZoneRef; 2]) {
        let mut topology = Self::default();
        let zones = ["1", "2"].map(|number| {
            let region = topology.add_region(&format!("region-{number}"));
            topology.add_zone(region, &format!("zone-{number}a"))
        });
        (topology, zones)
    }

    /// Three regions with one zone each.
    pub fn three_regions() -> (Self, [ZoneRef; 3]) {
        let mut topology = Self::default();
        let zones = ["1", "2", "3"].map(|number| {
            let region = topology.add_region(&format!("region-{number}"));
            topology.add_zone(region, &format!("zone-{number}a"))
        });
        (topology, zones)
    }

    /// Adds a region.
    pub fn add_region(&mut self, name: &str) -> RegionRef {
        let node = self.tree.add_node(Place::Region(name.to_owned()));
        self.regions.add_node(node);
        RegionRef(node)
    }

    /// Adds a zone to a region.
    pub fn add_zone(&mut self, region: RegionRef, name: &str) -> ZoneRef {
        let node = self.tree.add_node(Place::Zone(name.to_owned()));
        self.tree.add_edge(region.0, node, ());
        ZoneRef(node)
    }

    /// Adds a host to a zone.
    pub fn add_host(&mut self, zone: ZoneRef, name: &str) -> HostId {
        let node = self.tree.add_node(Place::Host(name.to_owned()));
        self.tree.add_edge(zone.0, node, ());
        self.hosts.push(node);
        HostId::from_index(self.hosts.len() - 1)
    }

    /// Sets the quality of the link between two regions; without it, pairs have the default quality.
    pub fn link_regions(&mut self, a: RegionRef, b: RegionRef, quality: LinkQuality) {
        let [a, b] = [a, b].map(|region| self.region_node(region.0));
        self.regions.update_edge(a, b, quality);
    }

    /// Sets the quality between processes of one host.
    pub fn set_loopback(&mut self, quality: LinkQuality) {
        self.loopback = quality;
    }

    /// Sets the quality between hosts of one zone.
    pub fn set_same_zone(&mut self, quality: LinkQuality) {
        self.same_zone = quality;
    }

    /// Sets the quality between zones of one region.
    pub fn set_same_region(&mut self, quality: LinkQuality) {
        self.same_region = quality;
    }

    /// Sets the quality between regions that have no link of their own.
    pub fn set_between_regions(&mut self, quality: LinkQuality) {
        self.between_regions = quality;
    }

    /// Sets how often all hosts repeat a connection request each second before they double the time between two:
    /// `net.ipv4.tcp_syn_linear_timeouts`, 4 since Linux 6.5 and otherwise. Before, and with 0 since, the second repetition comes
    /// after 2 s already.
    pub fn set_tcp_syn_linear_timeouts(&mut self, count: u8) {
        self.tcp_syn_linear_timeouts = count;
    }

    /// What [`set_tcp_syn_linear_timeouts`](Self::set_tcp_syn_linear_timeouts) has set.
    pub fn tcp_syn_linear_timeouts(&self) -> u8 {
        self.tcp_syn_linear_timeouts
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// The name of a host.
    pub fn host_name(&self, host: HostId) -> &str {
        self.tree[self.hosts[host.index()]].name()
    }

    /// All places, in the order in which they were added.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.tree.node_weights()
    }

    /// The hosts of the place with this name: a host, or everything below a zone or region.
    pub fn hosts_of(&self, matches: impl Fn(&Place) -> bool) -> Vec<HostId> {
        let within = |node: NodeIndex| {
            let mut place = Some(node);
            while let Some(current) = place {
                if matches(&self.tree[current]) {
                    return true;
                }
                place = self.parent(current);
            }
            false
        };
        (0..self.hosts.len()).filter(|index| within(self.hosts[*index])).map(HostId::from_index).collect()
    }

    /// The quality of the way from one host to another.
    pub fn quality(&self, from: HostId, to: HostId) -> &LinkQuality {
        if from == to {
            return &self.loopback;
        }
        let [from_zone, to_zone] = [from, to].map(|host| self.parent(self.hosts[host.index()]));
        if from_zone == to_zone {
            return &self.same_zone;
        }
        let [from_region, to_region] =
            [from_zone, to_zone].map(|zone| zone.and_then(|zone| self.parent(zone)));
        if from_region == to_region {
            return &self.same_region;
        }
        let own = from_region.zip(to_region).and_then(|(from, to)| {
            let [from, to] = [from, to].map(|region| self.region_node(region));
            self.regions.edges_connecting(from, to).next().map(|edge| self.regions.edge_weight(edge.id()))
        });
        own.flatten().unwrap_or(&self.between_regions)
    }

    /// For each host a number that the hosts of its zone share, and no others: zones are counted as hosts name them.
    pub(crate) fn zones_of_hosts(&self) -> Vec<usize> {
        let mut seen: Vec<Option<NodeIndex>> = Vec::new();
        let mut number_of = |zone| {
            seen.iter().position(|other| *other == zone).unwrap_or_else(|| {
                seen.push(zone);
                seen.len() - 1
            })
        };
        self.hosts.iter().map(|host| number_of(self.parent(*host))).collect()
    }

    fn parent(&self, node: NodeIndex) -> Option<NodeIndex> {
        self.tree.neighbors_directed(node, petgraph::Direction::Incoming).next()
    }

    fn region_node(&self, place: NodeIndex) -> NodeIndex {
        self.regions
            .node_indices()
            .find(|node| self.regions[*node] == place)
            .expect("every region was added to the graph of regions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_follows_the_narrowest_shared_place() {
        let mut topology = Topology::default();
        let regions = ["r1", "r2"].map(|name| topology.add_region(name));
        let zones = [topology.add_zone(regions[0], "a"), topology.add_zone(regions[0], "b")];
        let far = topology.add_zone(regions[1], "c");
        let hosts = [(zones[0], "h1"), (zones[0], "h2"), (zones[1], "h3"), (far, "h4")]
            .map(|(zone, name)| topology.add_host(zone, name));
        assert_eq!(topology.quality(hosts[0], hosts[0]), &LinkQuality::loopback());
        assert_eq!(topology.quality(hosts[0], hosts[1]), &LinkQuality::same_zone());
        assert_eq!(topology.quality(hosts[0], hosts[2]), &LinkQuality::same_region());
        assert_eq!(topology.quality(hosts[0], hosts[3]), &LinkQuality::between_regions());
        let own = LinkQuality::reliable(Distribution::Constant(SimDuration::from_millis(70)));
        topology.link_regions(regions[0], regions[1], own.clone());
        assert_eq!(topology.quality(hosts[3], hosts[1]), &own);
    }

    #[test]
    fn places_contain_the_hosts_below_them() {
        let (mut topology, zones) = Topology::three_zones();
        let hosts = zones.map(|zone| topology.add_host(zone, "h"));
        let in_zone_b = topology.hosts_of(|place| *place == Place::Zone("zone-b".into()));
        assert_eq!(in_zone_b, [hosts[1]]);
        assert_eq!(topology.hosts_of(|place| *place == Place::Region("region-1".into())).len(), 3);
    }
}
