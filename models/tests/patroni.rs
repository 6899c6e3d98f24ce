//! A whole Patroni cluster: three etcd members, and three PostgreSQL servers with a Patroni each, under faults.

use models::patroni::{Cluster, ClusterOptions, Configuration, Node, SynchronousMode, add_cluster};
use sim_core::{
    Direction, Distribution, Fault, LinkQuality, Mark, MarkKind, ProcessId, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, Target, Topology, Trigger, World, WorldBuilder,
};

const MILLISECOND: SimDuration = SimDuration::from_millis(1);

fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

fn cluster(configuration: Configuration, seed: u64) -> (World<Node>, Cluster) {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(100)));
    let mut topology = Topology::uniform(&link);
    let region = topology.add_region("region");
    let zone = topology.add_zone(region, "zone");
    let mut add = |kind: &str| -> Vec<_> {
        (1..=3)
            .map(|number| topology.add_host(zone, &format!("{kind}-host-{number}")))
            .collect()
    };
    let (etcd, members) = (add("etcd"), add("db"));
    let mut builder = WorldBuilder::new(topology);
    let options = ClusterOptions {
        configuration,
        ..ClusterOptions::default()
    };
    let disk = Distribution::Constant(MILLISECOND);
    let cluster = add_cluster(&mut builder, &etcd, &members, &disk, &options);
    let mut world = builder.build(Seed(seed));
    world.log(false);
    (world, cluster)
}

fn run(world: &mut World<Node>, until: SimDuration) {
    let end = world.run(SimTime::ZERO + until, 50_000_000);
    assert_eq!(end, sim_core::EndReason::Horizon);
}

fn fault_at(at: SimDuration, fault: Fault, lasts: Option<SimDuration>) -> Schedule {
    Schedule(vec![ScheduledFault {
        trigger: Trigger::At(at),
        fault,
        lasts,
    }])
}

/// The story of a run, for a person who looks at a failed test.
fn story(world: &World<Node>) -> String {
    let lines = world.log_entries().iter().map(|entry| {
        let name = entry.process.map_or("-", |process| world.name(process));
        format!("{} {name:11} {}\n", entry.at, entry.text)
    });
    lines.collect()
}

/// The marks of one kind from an instant on: how long after it, and by whom.
fn marks(world: &World<Node>, kind: MarkKind, from: SimDuration) -> Vec<(SimDuration, ProcessId, u64)> {
    let from = SimTime::ZERO + from;
    let matches = |mark: &&Mark| mark.kind == kind && mark.at >= from;
    world
        .marks()
        .iter()
        .filter(matches)
        .map(|mark| {
            (
                mark.at.since(from),
                mark.process.expect("a process left it"),
                mark.value,
            )
        })
        .collect()
}

#[test]
fn look() {
    let which = std::env::args().last().unwrap_or_default();
    let mut configuration = Configuration::default();
    let role = |role: &str| Target::Role(role.to_owned());
    let mut lasts = None;
    let fault = match which.as_str() {
        "host" => Fault::PowerOff {
            target: Target::HostOf("patroni-leader".into()),
        },
        "hostback" => {
            lasts = Some(secs(60));
            configuration.use_pg_rewind = true;
            Fault::PowerOff {
                target: Target::HostOf("patroni-leader".into()),
            }
        }
        "rebuild" => {
            lasts = Some(secs(60));
            configuration.remove_data_directory_on_diverged_timelines = true;
            Fault::PowerOff {
                target: Target::HostOf("patroni-leader".into()),
            }
        }
        "kill" => Fault::Kill {
            target: role("primary"),
        },
        "kill0" => {
            configuration.primary_start_timeout = SimDuration::ZERO;
            Fault::Kill {
                target: role("primary"),
            }
        }
        "etcdcut" => {
            lasts = Some(secs(60));
            Fault::Partition {
                from: vec![role("patroni-leader")],
                to: vec![Target::Every("etcd".into())],
                direction: Direction::Both,
            }
        }
        "oneway" => {
            lasts = Some(secs(60));
            Fault::Partition {
                from: vec![role("patroni-leader")],
                to: vec![Target::Every("etcd".into())],
                direction: Direction::Inbound,
            }
        }
        "isolate" => {
            lasts = Some(secs(60));
            Fault::Partition {
                from: vec![Target::HostOf("patroni-leader".into())],
                to: vec![Target::Others],
                direction: Direction::Both,
            }
        }
        "switchover" => Fault::Command {
            target: role("patroni-leader"),
            command: "switchover".into(),
        },
        "patroni" => {
            lasts = Some(secs(60));
            Fault::Kill {
                target: role("patroni-leader"),
            }
        }
        "pause" => {
            lasts = Some(secs(60));
            Fault::Pause {
                target: role("patroni-leader"),
            }
        }
        "freeze" => {
            lasts = Some(secs(60));
            Fault::Freeze {
                target: Target::HostOf("patroni-leader".into()),
            }
        }
        "sync" => {
            configuration.synchronous_mode = SynchronousMode::On;
            Fault::PowerOff {
                target: Target::HostOf("patroni-leader".into()),
            }
        }
        "syncstandby" => {
            configuration.synchronous_mode = SynchronousMode::On;
            Fault::PowerOff {
                target: Target::HostOf("sync-standby".into()),
            }
        }
        "syncswitchover" => {
            configuration.synchronous_mode = SynchronousMode::On;
            Fault::Command {
                target: role("patroni-leader"),
                command: "switchover".into(),
            }
        }
        "etcdleader" => Fault::PowerOff {
            target: Target::HostOf("etcd-leader".into()),
        },
        "etcdall" => {
            lasts = Some(secs(60));
            Fault::Kill {
                target: Target::Every("etcd".into()),
            }
        }
        _ => Fault::PowerOff {
            target: Target::HostOf("patroni-leader".into()),
        },
    };
    let (mut world, _) = cluster(configuration, 1);
    world.schedule(&fault_at(secs(62), fault, lasts)).unwrap();
    run(&mut world, secs(200));
    let text = story(&world);
    let from = text.find("\n55.").unwrap_or(0);
    std::fs::write(format!("/tmp/look-{which}"), &text[from..]).unwrap();
}
