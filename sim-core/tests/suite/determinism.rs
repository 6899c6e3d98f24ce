//! What makes a seed mean one run: digests, independent streams, observers that change nothing.

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Distribution, LinkQuality, Origin, Probability, Process,
    ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, World, WorldBuilder,
};

/// Sends numbers to everybody at random times and remembers when it heard what.
#[derive(Clone, Debug)]
struct Chatter {
    spec: Spec,
    heard: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Spec {
    peers: usize,
    /// Draws that many extra numbers at each tick: a change that must shift nothing but its own stream.
    extra_draws: u32,
    notes: bool,
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct Tick;

impl Process for Chatter {
    type Spec = Spec;
    type Packet = u64;
    type Timer = Tick;
    type Storage = ();

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(Tick, SimDuration::from_millis(10));
        Self { spec: spec.clone(), heard: Vec::new() }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: u64) {
        self.heard.push((context.monotonic().as_nanos(), packet));
        if self.spec.notes {
            context.note(|| format!("heard {packet} from {:?}", from.process()));
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, _timer: Tick) {
        for _ in 0..self.spec.extra_draws {
            context.random().bits();
        }
        let me = context.me();
        for peer in (0..self.spec.peers).map(ProcessId::from_index).filter(|peer| *peer != me) {
            context.send_datagram(peer, peer.index() as u64);
        }
        context.set_timer(Tick, SimDuration::from_millis(10));
    }

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }
}

fn world(seed: Seed, extra_draws: u32) -> World<Chatter> {
    let millis = SimDuration::from_millis;
    let (mut topology, zone) = Topology::single_zone(&LinkQuality {
        latency: Distribution::LogNormal { median: millis(3), sigma_percent: 60 },
        loss: Probability::from_ppm(50_000),
    });
    let hosts = ["a", "b", "c"].map(|name| topology.add_host(zone, name));
    let mut builder = WorldBuilder::new(topology);
    for (index, host) in hosts.into_iter().enumerate() {
        let volume = builder.add_volume(host, (), &Distribution::Constant(SimDuration::ZERO));
        builder.add_process(ProcessOptions {
            name: format!("chatter-{index}"),
            host,
            volume,
            starts_with_host: true,
            spec: Spec { peers: 3, extra_draws: if index == 0 { extra_draws } else { 0 }, notes: true },
        });
    }
    builder.build(seed)
}

fn horizon() -> SimTime {
    SimTime::ZERO + SimDuration::from_secs(2)
}

fn heard(world: &World<Chatter>) -> Vec<Vec<(u64, u64)>> {
    world.process_ids().map(|process| world.process(process).expect("nobody dies").heard.clone()).collect()
}

#[test]
fn a_seed_gives_the_same_digest_alone_and_after_other_seeds() {
    let digest = |seed: u64| {
        let mut world = world(Seed(seed), 0);
        world.run(horizon(), u64::MAX);
        world.digest()
    };
    let forwards: Vec<_> = (0..50).map(digest).collect();
    let mut backwards: Vec<_> = (0..50).rev().map(digest).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let mut distinct = forwards.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), forwards.len(), "different seeds do different things");
}

#[test]
fn draws_added_to_one_stream_shift_no_other() {
    let [mut without, mut with] = [0, 7].map(|extra| world(Seed(3), extra));
    without.run(horizon(), u64::MAX);
    with.run(horizon(), u64::MAX);
    assert_eq!(heard(&without), heard(&with), "latencies and losses come from the links' own streams");
}

#[test]
fn a_log_changes_nothing() {
    let digest = |log: Option<bool>| {
        let mut world = world(Seed(5), 0);
        if let Some(deliveries) = log {
            world.log(deliveries);
        }
        world.run(horizon(), u64::MAX);
        assert_eq!(world.log_entries().is_empty(), log.is_none());
        world.digest()
    };
    assert_eq!(digest(None), digest(Some(false)));
    assert_eq!(digest(None), digest(Some(true)));
}

/// The digest that this seed has always had, in debug and release builds. A change that alters it on purpose says so
/// under "Digests" in the changelog.
#[test]
fn a_seed_keeps_its_digest_from_build_to_build() {
    let mut world = world(Seed(1), 0);
    world.run(horizon(), u64::MAX);
    assert_eq!(world.digest().to_string(), "d69d0a3edb946576");
}

/// The digests of a world that is forked in the middle, with these seeds for the futures of the forks.
fn futures(seeds: &[Option<u64>]) -> Vec<sim_core::Digest> {
    let mut base = world(Seed(1), 0);
    base.run(SimTime::ZERO + SimDuration::from_secs(1), u64::MAX);
    let future = |seed: &Option<u64>| {
        let mut fork = base.clone();
        if let Some(seed) = seed {
            fork.reseed(Seed(*seed));
        }
        fork.run(horizon(), u64::MAX);
        fork.digest()
    };
    seeds.iter().map(future).collect()
}

#[test]
fn a_fork_repeats_its_world_and_a_reseeded_fork_has_a_future_of_its_own() {
    let digests = futures(&[None, Some(1), Some(2), Some(1)]);
    assert_eq!(digests[0].to_string(), "d69d0a3edb946576", "a fork goes on as the run would have");
    assert_eq!(digests[1], digests[3], "the same seed, the same future");
    assert_ne!(digests[1], digests[2]);
    assert_ne!(digests[0], digests[1], "not even the run's own seed repeats what it would have done");
}

/// Another future is another in what happens, not only in the number that folds into the digest; and the past is the
/// same.
#[test]
fn a_reseeded_fork_keeps_the_past_and_draws_anew() {
    let mut base = world(Seed(1), 0);
    base.run(SimTime::ZERO + SimDuration::from_secs(1), u64::MAX);
    let past = heard(&base);
    let mut fork = base.clone();
    fork.reseed(Seed(9));
    for world in [&mut base, &mut fork] {
        world.run(horizon(), u64::MAX);
    }
    let (straight, forked) = (heard(&base), heard(&fork));
    for (process, past) in past.iter().enumerate() {
        assert_eq!(&straight[process][..past.len()], &past[..]);
        assert_eq!(&forked[process][..past.len()], &past[..]);
    }
    assert_ne!(straight, forked);
}
