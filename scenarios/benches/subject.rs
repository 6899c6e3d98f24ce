//! The cluster that is measured: as a scenario, and as a world in its steady state.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::Placement;
use models::patroni::{ClusterProcess, Load, PatroniCluster, Plan};
use scenarios::case::{Case, UserSettings};
use scenarios::diagnostic::Source;
use scenarios::families;
use scenarios::family::{Forkable, build};
use scenarios::scenario::Scenario;
use sim_core::{Seed, SimDuration, SimTime, World};

const HOST_CRASH: &str = include_str!("host-crash.toml");
const SENTINEL_KILL: &str = include_str!("sentinel-kill.toml");

/// When the first leader has been elected and clients write.
const WARM_AFTER: SimDuration = SimDuration::from_secs(30);

/// The scenario of `host-crash.toml`, ready to run.
pub(crate) fn host_crash() -> (Case, Box<dyn Forkable>) {
    ready("host-crash.toml", HOST_CRASH)
}

/// The scenario of `sentinel-kill.toml`, ready to run.
#[allow(dead_code, reason = "not every benchmark runs it")]
pub(crate) fn sentinel_kill() -> (Case, Box<dyn Forkable>) {
    ready("sentinel-kill.toml", SENTINEL_KILL)
}

fn ready(name: &str, text: &str) -> (Case, Box<dyn Forkable>) {
    let files: BTreeMap<String, String> = BTreeMap::new();
    let scenario = Scenario::read(&Source::new(name, text), &files);
    let scenario = scenario.unwrap_or_else(|error| panic!("{}", error.report(false)));
    let case = Case::new(&Arc::new(scenario), &UserSettings::default());
    let case = case.unwrap_or_else(|error| panic!("{}", error.report(false)));
    let system = build(&families(), &case).unwrap_or_else(|error| panic!("{}", error.report(false)));
    (case, system)
}

/// The cluster of `host-crash.toml`, without its crash.
pub(crate) fn cluster() -> PatroniCluster {
    PatroniCluster::new(&Plan {
        placement: Placement::ThreeZones,
        load: Load { write_interval: SimDuration::from_millis(100), ..Load::default() },
        ..Plan::default()
    })
}

/// The world of this seed, warm.
pub(crate) fn world(cluster: &PatroniCluster, seed: Seed) -> World<ClusterProcess> {
    let mut world = cluster.world(seed);
    world.run(SimTime::ZERO + WARM_AFTER, u64::MAX);
    world
}
