//! Former primaries on their way back.

use models::patroni::{Configuration, Disk, Peer};
use sim_core::{Direction, Fault, Target};

use super::script::{cluster, fault_at, host_of, players, run, run_with, secs, story};

#[test]
fn a_former_primary_is_rewound_and_follows() {
    let at = secs(62);
    let fault = Fault::PowerOff { target: host_of("patroni-leader") };
    let configuration = Configuration { use_pg_rewind: true, ..Configuration::default() };
    let world = run_with(configuration, 1, at, fault, Some(secs(60)));
    assert!(story(&world).contains("running pg_rewind"), "{}", story(&world));
    assert_eq!(players(&world, "primary").len(), 1);
    assert_eq!(players(&world, "standby").len(), 2, "{}", story(&world));
}

#[test]
fn a_diverged_server_is_rebuilt_if_the_settings_allow_it_and_left_alone_otherwise() {
    let at = secs(62);
    let fault = Fault::Partition {
        from: vec![host_of("patroni-leader")],
        to: vec![Target::Others],
        direction: Direction::Both,
    };
    for rebuilds in [true, false] {
        let configuration = Configuration {
            remove_data_directory_on_diverged_timelines: rebuilds,
            ..Configuration::default()
        };
        let (mut world, cluster) = cluster(configuration, 1);
        world.schedule(&fault_at(at, fault.clone(), Some(secs(60)))).expect("the targets exist");
        run(&mut world, secs(240));
        let story = story(&world);
        assert_eq!(story.contains("reinitializing"), rebuilds, "{story}");
        let timelines = |peer: &Peer| match world.storage(peer.postgres) {
            Disk::Data(data) => data.history.current.0,
            other => panic!("not a data directory: {other:?}"),
        };
        let latest = cluster.members.iter().filter(|peer| timelines(peer) == 3).count();
        assert_eq!(latest, if rebuilds { 3 } else { 2 }, "{story}");
    }
}
