//! The probe system: processes that talk as they are told and write down what they hear.

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, Fault, LinkQuality, MarkKind,
    Origin, Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration, SimTime,
    Storage, Target, Topology, Trigger, World, WorldBuilder,
};

pub(crate) const MS: SimDuration = SimDuration::from_millis(1);
pub(crate) const SECOND: SimDuration = SimDuration::from_secs(1);

/// Bytes of each packet of the probes.
pub(crate) const PACKET: u32 = 1_000;

/// What a probe does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    /// Asks these for a connection at boot, and sends on each of them.
    pub(crate) connects: Vec<usize>,
    /// Sends datagrams to these.
    pub(crate) tells: Vec<usize>,
    /// How often it sends; never if absent.
    pub(crate) every: Option<SimDuration>,
    pub(crate) options: ConnectOptions,
    /// Asks again, this long after it lost a connection.
    pub(crate) reconnects: Option<SimDuration>,
    /// Writes and syncs each number that it hears.
    pub(crate) stores: bool,
    /// After a packet, gives up if none follows for this long: a failure detector.
    pub(crate) patience: Option<SimDuration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Probe {
    spec: Spec,
    calls: Vec<(usize, ConnectionId)>,
    sent: u32,
    /// Milliseconds on the clock of its host, and what it heard.
    pub(crate) heard: Vec<(u64, String)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Vec<u32>);

impl Storage for Numbers {
    type Record = u32;
    fn apply(&mut self, record: &u32) {
        self.0.push(*record);
    }
}

#[derive(Clone, Debug, Hash, PartialEq)]
pub(crate) enum Timer {
    Send,
    Patience,
    Dial(usize),
}

impl Probe {
    fn hear(&mut self, context: &impl Context<Self>, what: String) {
        self.heard.push((context.monotonic().as_nanos() / 1_000_000, what));
    }

    fn dial(&mut self, context: &mut impl Context<Self>, peer: usize) {
        let connection = context.connect(ProcessId::from_index(peer), self.spec.options);
        self.calls.push((peer, connection));
    }
}

impl Process for Probe {
    type Spec = Spec;
    type Packet = u32;
    type Timer = Timer;
    type Storage = Numbers;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let heard = context.storage().0.iter().map(|number| (0, format!("kept {number}"))).collect();
        let mut probe = Self { spec: spec.clone(), calls: Vec::new(), sent: 0, heard };
        for peer in &spec.connects {
            probe.dial(context, *peer);
        }
        if let Some(every) = spec.every {
            context.set_timer(Timer::Send, every);
        }
        probe
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: u32) {
        self.hear(context, format!("{packet} from {}", from.process().index()));
        if self.spec.stores {
            context.write(packet);
            context.sync();
        }
        if let Some(patience) = self.spec.patience {
            context.set_timer(Timer::Patience, patience);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Timer) {
        match timer {
            Timer::Patience => self.hear(context, "gave up".to_owned()),
            Timer::Dial(peer) => self.dial(context, peer),
            Timer::Send => {
                self.sent += 1;
                for (_, connection) in &self.calls {
                    context.send(*connection, self.sent);
                }
                for peer in &self.spec.tells {
                    context.send_datagram(ProcessId::from_index(*peer), self.sent);
                }
                context.set_timer(Timer::Send, self.spec.every.expect("only set with a period"));
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
        self.hear(context, format!("{event:?} {}", peer.index()));
        let is_over = !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened);
        let call = self.calls.iter().position(|(_, call)| *call == connection);
        if let (true, Some(call)) = (is_over, call) {
            let (peer, _) = self.calls.remove(call);
            if let Some(wait) = self.spec.reconnects {
                context.set_timer(Timer::Dial(peer), wait);
            }
        }
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let wall = context.wall().as_nanos() / 1_000_000;
        self.hear(
            context,
            if command == "clock" { format!("wall {wall}") } else { format!("told to {command}") },
        );
        command != "sing"
    }

    fn plays(&self, role: &str) -> bool {
        role == "probe" || role == "sender" && self.spec.every.is_some()
    }

    fn packet_size(_packet: &u32) -> u32 {
        PACKET
    }
}

/// Sends a number every so often to the process with this index: as a datagram.
pub(crate) fn tells(peer: usize, every: SimDuration) -> Spec {
    Spec { tells: vec![peer], every: Some(every), ..Spec::default() }
}

/// Sends a number every so often to the process with this index: on a connection.
pub(crate) fn calls(peer: usize, every: SimDuration) -> Spec {
    Spec { connects: vec![peer], every: Some(every), ..Spec::default() }
}

/// Processes `p0`, `p1`, ... on hosts `h0`, `h1`, ... of their own, 10 ms apart; two hosts to a zone, two zones to a
/// region: `z0` and `z1` in `r0`, ...
pub(crate) fn world_with_seed(specs: Vec<Spec>, seed: Seed) -> World<Probe> {
    world_on(network(), specs, seed)
}

/// No hosts yet; 10 ms from each to each.
pub(crate) fn network() -> Topology {
    Topology::uniform(&LinkQuality::reliable(Distribution::Constant(MS * 10)))
}

fn world_on(mut topology: Topology, specs: Vec<Spec>, seed: Seed) -> World<Probe> {
    let (mut regions, mut zones) = (Vec::new(), Vec::new());
    for zone in 0..specs.len().div_ceil(2) {
        if zone % 2 == 0 {
            regions.push(topology.add_region(&format!("r{}", zone / 2)));
        }
        let region = *regions.last().expect("the first zone brought one");
        zones.push(topology.add_zone(region, &format!("z{zone}")));
    }
    let hosts: Vec<_> =
        (0..specs.len()).map(|host| topology.add_host(zones[host / 2], &format!("h{host}"))).collect();
    let mut builder = WorldBuilder::new(topology);
    for (index, spec) in specs.into_iter().enumerate() {
        let host = hosts[index];
        let volume = builder.add_volume(host, Numbers::default(), &Distribution::Constant(MS * 5));
        let name = format!("p{index}");
        builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec });
    }
    builder.build(seed)
}

/// A fault at this time.
pub(crate) fn at(at: SimDuration, fault: Fault) -> ScheduledFault {
    ScheduledFault { trigger: Trigger::At(at), fault, lasts: None }
}

/// A fault from this time on, for so long.
pub(crate) fn during(from: SimDuration, lasts: SimDuration, fault: Fault) -> ScheduledFault {
    ScheduledFault { lasts: Some(lasts), ..at(from, fault) }
}

/// Runs a world of these processes under these faults.
pub(crate) fn run(specs: Vec<Spec>, faults: Vec<ScheduledFault>, until: SimDuration) -> World<Probe> {
    run_on(network(), specs, faults, until)
}

/// The same on another network.
pub(crate) fn run_on(
    network: Topology,
    specs: Vec<Spec>,
    faults: Vec<ScheduledFault>,
    until: SimDuration,
) -> World<Probe> {
    let mut world = world_on(network, specs, Seed(1));
    world.schedule(&Schedule(faults)).expect("the targets exist");
    world.run(SimTime::ZERO + until, u64::MAX);
    world
}

pub(crate) fn process(index: usize) -> Target {
    Target::Process(format!("p{index}"))
}

pub(crate) fn host(index: usize) -> Target {
    Target::Host(format!("h{index}"))
}

/// What a process heard, with milliseconds on the clock of its host.
pub(crate) fn heard(world: &World<Probe>, index: usize) -> Vec<(u64, String)> {
    let state = world.process(ProcessId::from_index(index));
    state.map(|state| state.heard.clone()).unwrap_or_default()
}

/// When a process heard what begins like this.
pub(crate) fn when(world: &World<Probe>, index: usize, what: &str) -> Vec<u64> {
    heard(world, index).into_iter().filter(|(_, text)| text.starts_with(what)).map(|(at, _)| at).collect()
}

/// The numbers that a process heard, in order.
pub(crate) fn numbers(world: &World<Probe>, index: usize) -> Vec<u32> {
    let number =
        |(_, text): (u64, String)| text.split(" from ").next().and_then(|number| number.parse().ok());
    heard(world, index).into_iter().filter_map(number).collect()
}

/// When marks of this kind were left by a process, in milliseconds.
pub(crate) fn marked(world: &World<Probe>, index: usize, kind: MarkKind) -> Vec<u64> {
    let process = Some(ProcessId::from_index(index));
    let marks = world.marks().iter().filter(|mark| mark.process == process && mark.kind == kind);
    marks.map(|mark| mark.at.as_nanos() / 1_000_000).collect()
}
