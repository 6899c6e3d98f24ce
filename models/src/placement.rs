//! Where the hosts of a cluster are, and what lies between them: the presets that scenarios name, and what was recorded or set
//! instead.

use sim_core::{Distribution, LinkQuality, Topology, ZoneRef};

/// Regions, zones and their latencies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Placement {
    /// One zone.
    OneZone,
    /// One region with three zones.
    #[default]
    ThreeZones,
    /// Two regions with one zone each.
    TwoRegions,
    /// Three regions with one zone each.
    ThreeRegions,
}

/// What is not as the preset has it, by what lies between two hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkInputs {
    /// Recorded one-way latencies between hosts of one zone.
    pub same_zone: Option<Distribution>,
    /// Between zones of one region.
    pub same_region: Option<Distribution>,
    /// Between regions.
    pub between_regions: Option<Distribution>,
    /// `net.ipv4.tcp_syn_linear_timeouts` of all hosts; absent: 4, see [`Topology::set_tcp_syn_linear_timeouts`].
    pub tcp_syn_linear_timeouts: Option<u8>,
}

impl Placement {
    /// Regions and zones without hosts, and the zones in the order in which hosts are spread over them.
    pub fn topology(self) -> (Topology, Vec<ZoneRef>) {
        match self {
            Self::OneZone => zones(Topology::one_zone()),
            Self::ThreeZones => zones(Topology::three_zones()),
            Self::TwoRegions => zones(Topology::two_regions()),
            Self::ThreeRegions => zones(Topology::three_regions()),
        }
    }

    /// The same, with what was recorded or set in place of what the preset has.
    pub fn topology_with(self, links: &LinkInputs) -> (Topology, Vec<ZoneRef>) {
        let (mut topology, zones) = self.topology();
        let recorded = |latency: &Option<Distribution>| latency.clone().map(LinkQuality::reliable);
        if let Some(quality) = recorded(&links.same_zone) {
            topology.set_same_zone(quality);
        }
        if let Some(quality) = recorded(&links.same_region) {
            topology.set_same_region(quality);
        }
        if let Some(quality) = recorded(&links.between_regions) {
            topology.set_between_regions(quality);
        }
        if let Some(count) = links.tcp_syn_linear_timeouts {
            topology.set_tcp_syn_linear_timeouts(count);
        }
        (topology, zones)
    }
}

fn zones<const N: usize>((topology, zones): (Topology, [ZoneRef; N])) -> (Topology, Vec<ZoneRef>) {
    (topology, zones.to_vec())
}
