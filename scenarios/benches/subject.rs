//! The cluster that is measured: as a scenario, and as a world in its steady state.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::Planted;
use models::patroni::{ClusterProcess, Configuration, Inputs, Load, PatroniCluster, Placement, Plan, Route};
use scenarios::case::{Case, UserSettings};
use scenarios::diagnostic::Source;
use scenarios::families;
use scenarios::family::{System, build};
use scenarios::scenario::Scenario;
use sim_core::{Seed, SimDuration, SimTime, World};

const HOST_CRASH: &str = include_str!("host-crash.toml");

/// When the first leader has been elected and clients write.
const WARM_AFTER: SimDuration = SimDuration::from_secs(30);

/// The scenario of `host-crash.toml`, ready to run.
pub(crate) fn host_crash() -> (Case, Box<dyn System>) {
    let files: BTreeMap<String, String> = BTreeMap::new();
    let scenario = Scenario::read(&Source::new("host-crash.toml", HOST_CRASH), &files);
    let scenario = scenario.unwrap_or_else(|error| panic!("{}", error.report(false)));
    let case = Case::new(&Arc::new(scenario), &UserSettings::default());
    let case = case.unwrap_or_else(|error| panic!("{}", error.report(false)));
    let system = build(&families(), &case).unwrap_or_else(|error| panic!("{}", error.report(false)));
    (case, system)
}

/// The cluster of `host-crash.toml`, without its crash.
pub(crate) fn cluster() -> PatroniCluster {
    PatroniCluster::new(&Plan {
        members: 3,
        etcd_members: 3,
        etcd_shares_hosts: false,
        etcd_pre_vote: true,
        placement: Placement::ThreeZones,
        configuration: Configuration::default(),
        inputs: Inputs::default(),
        load: Load {
            writers: 2,
            write_interval: SimDuration::from_millis(100),
            readers: 0,
            read_interval: SimDuration::from_secs(1),
            route: Route::HaProxy,
            statement_timeout: SimDuration::from_secs(5),
            on_timeout: models::patroni::ImpatientClient::Drop,
            local_writers: false,
            stop_at: None,
        },
        planted: Planted::Nothing,
    })
}

/// The world of this seed, warm.
pub(crate) fn world(cluster: &PatroniCluster, seed: Seed) -> World<ClusterProcess> {
    let mut world = cluster.world(seed);
    world.run(SimTime::ZERO + WARM_AFTER, u64::MAX);
    world
}
