//! The kernel under everything at once: random schedules of all kinds of faults on a small chatty system.

use sim_core::{
    Composition, ConnectOptions, ConnectionEvent, ConnectionId, Context, Direction, Distribution, EndReason,
    Fault, FaultMix, LinkQuality, Origin, Probability, Process, ProcessId, ProcessOptions, Record, Seed,
    SimDuration, SimTime, SwarmConfig, Target, Topology, World, WorldBuilder, run_guarded,
};

/// Keeps a connection to each peer and sends counted packets on it; checks that what it receives is in order.
#[derive(Clone, Debug)]
struct Caller {
    peers: usize,
    /// For each peer: the connection this side asked for, and the last number sent on it.
    calls: Vec<Option<(ConnectionId, u64)>>,
    /// Connections that peers asked for, with the last number received.
    answered: Vec<(ConnectionId, u64)>,
}

#[derive(Clone, Debug, Hash, PartialEq)]
enum Timer {
    Send,
    Dial(usize),
}

impl Caller {
    fn dial(&mut self, context: &mut impl Context<Self>, peer: usize) {
        let options =
            ConnectOptions { user_timeout: Some(SimDuration::from_secs(3)), ..ConnectOptions::default() };
        let connection = context.connect(ProcessId::from_index(peer), options);
        self.calls[peer] = Some((connection, 0));
    }
}

impl Process for Caller {
    type Spec = usize;
    type Packet = u64;
    type Timer = Timer;
    type Storage = ();

    fn boot(peers: &usize, context: &mut impl Context<Self>) -> Self {
        let mut caller = Self { peers: *peers, calls: vec![None; *peers], answered: Vec::new() };
        let me = context.me().index();
        for peer in (0..*peers).filter(|peer| *peer != me) {
            caller.dial(context, peer);
        }
        context.set_timer(Timer::Send, SimDuration::from_millis(20));
        caller
    }

    fn on_packet(&mut self, _context: &mut impl Context<Self>, from: Origin, packet: u64) {
        let Origin::Connection(connection, _) = from else { unreachable!("nobody sends datagrams") };
        let entry = self.answered.iter_mut().find(|(id, _)| *id == connection);
        let (_, last) = entry.expect("packets come after the connection was accepted");
        assert_eq!(packet, *last + 1, "connections neither lose, nor repeat, nor reorder");
        *last = packet;
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Timer) {
        match timer {
            Timer::Dial(peer) => self.dial(context, peer),
            Timer::Send => {
                for (connection, count) in self.calls.iter_mut().flatten() {
                    *count += 1;
                    context.send(*connection, *count);
                }
                context.set_timer(Timer::Send, SimDuration::from_millis(20));
            }
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    ) {
        match event {
            ConnectionEvent::Opened => {}
            ConnectionEvent::Accepted => self.answered.push((connection, 0)),
            ConnectionEvent::Refused
            | ConnectionEvent::Closed
            | ConnectionEvent::Reset
            | ConnectionEvent::TimedOut => {
                self.answered.retain(|(id, _)| *id != connection);
                if self.calls[peer.index()].is_some_and(|(id, _)| id == connection) {
                    self.calls[peer.index()] = None;
                    let wait = context
                        .random()
                        .duration(SimDuration::from_millis(50), SimDuration::from_millis(500));
                    context.set_timer(Timer::Dial(peer.index()), wait);
                }
            }
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "caller" && self.peers > 0
    }
}

fn mix() -> Vec<FaultMix> {
    let any = || Target::Role("caller".into());
    let faults = [
        Fault::Kill { target: any() },
        Fault::PowerOff { target: any() },
        Fault::Pause { target: any() },
        Fault::Freeze { target: any() },
        Fault::Partition { from: vec![any()], to: vec![Target::Others], direction: Direction::Both },
        Fault::Partition { from: vec![any()], to: vec![any()], direction: Direction::Inbound },
        Fault::Partition { from: vec![any()], to: vec![Target::Others], direction: Direction::Outbound },
        Fault::Degrade {
            from: vec![any()],
            to: vec![Target::Others],
            latency: SimDuration::from_millis(80),
            loss: Probability::from_ppm(100_000),
        },
        Fault::DiskStall { target: any() },
        Fault::ClockStep { target: any(), millis: -3_000 },
        Fault::ClockDrift { target: any(), ppm: 50_000 },
    ];
    let shortest = Some(SimDuration::from_millis(50));
    let longest = Some(SimDuration::from_secs(6));
    let mix = |fault| FaultMix {
        fault,
        strongest: None,
        shortest,
        longest,
        stays: Probability::NEVER,
        aimed: None,
    };
    faults.into_iter().map(mix).collect()
}

fn world() -> WorldBuilder<Caller> {
    let (mut topology, zone) = Topology::single_zone(&LinkQuality {
        latency: Distribution::LogNormal { median: SimDuration::from_millis(2), sigma_percent: 50 },
        loss: Probability::from_ppm(1_000),
    });
    let hosts = ["a", "b", "c", "d"].map(|name| topology.add_host(zone, name));
    let mut builder = WorldBuilder::new(topology);
    for (index, host) in hosts.into_iter().enumerate() {
        let volume = builder.add_volume(host, (), &Distribution::Constant(SimDuration::ZERO));
        builder.add_process(ProcessOptions {
            name: format!("caller-{index}"),
            host,
            volume,
            starts_with_host: true,
            spec: 4,
        });
    }
    builder
}

fn run(seed: u64) -> (Record, World<Caller>) {
    let swarm = SwarmConfig {
        from: SimDuration::from_secs(1),
        until: SimDuration::from_secs(20),
        composition: Composition::Random { faults: 8, kinds: Probability::from_ppm(400_000) },
        mix: mix(),
    };
    let mut world = world().build(Seed(seed));
    world.schedule(&swarm.schedule(Seed(seed))).expect("roles always exist");
    let horizon = SimTime::ZERO + SimDuration::from_secs(40);
    let record = run_guarded(&mut world, horizon, 10_000_000);
    (record, world)
}

#[test]
fn connections_keep_their_promises_under_every_fault_and_recover() {
    for seed in 0..300 {
        let (record, world) = run(seed);
        assert_eq!(record.end, EndReason::Horizon, "seed {seed}: {:?}", record.end);
        for process in world.process_ids() {
            let state = world.process(process).unwrap_or_else(|| panic!("seed {seed}: everybody is back"));
            let connected = state.calls.iter().flatten().filter(|(_, count)| *count > 0).count();
            assert_eq!(connected, 3, "seed {seed}: {} is connected to everybody again", world.name(process));
        }
    }
}

#[test]
fn hostile_schedules_are_as_repeatable_as_quiet_ones() {
    for seed in 0..50 {
        assert_eq!(run(seed).0, run(seed).0, "seed {seed}");
    }
}
