//! The two protocols on which engines are compared, because every simulator can run them: a token ring, which is
//! nothing but packets, and a mesh of heartbeats, where failure detectors are re-armed all the time.
//!
//! | what | ring | mesh |
//! |---|---|---|
//! | latency | uniform in 1-10 ms | the same |
//! | loss | none | 1 % |
//! | work | `nodes` tokens go round; a node that receives one passes it on | each node sends a heartbeat to every other each 100 ms; a heartbeat re-arms the receiver's 1 s failure detector for its sender |
//! | faults | none | each 10 s one node in turn is killed, and started again 2 s later |
//! | ends | after so many deliveries | after so many simulated seconds |
//!
//! Packets are datagrams. An event is a delivery, a tick or a suspicion that reached a handler: the work that was asked
//! for, whatever the engine does for it besides.

use std::cell::Cell;
use std::rc::Rc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Distribution, Fault, HostId, LinkQuality, Origin, Probability,
    Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Topology, Trigger, World, WorldBuilder,
};

const HEARTBEAT: SimDuration = SimDuration::from_millis(100);
const SUSPECT_AFTER: SimDuration = SimDuration::from_secs(1);
const CRASH_EVERY: SimDuration = SimDuration::from_secs(10);
const DOWN_FOR: SimDuration = SimDuration::from_secs(2);

/// A node of the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingNode {
    next: ProcessId,
}

impl Process for RingNode {
    type Spec = ProcessId;
    type Packet = u64;
    type Timer = ();
    type Storage = ();

    fn boot(next: &ProcessId, context: &mut impl Context<Self>) -> Self {
        context.send_datagram(*next, context.me().index() as u64);
        Self { next: *next }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, _from: Origin, token: u64) {
        context.send_datagram(self.next, token);
    }

    fn on_timer(&mut self, _context: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }
}

/// A ring of so many nodes, with a token for each.
pub(crate) fn ring(nodes: usize) -> WorldBuilder<RingNode> {
    build(nodes, Probability::NEVER, |node| ProcessId::from_index((node + 1) % nodes))
}

/// Runs a ring until its tokens were delivered so many times.
pub(crate) fn run_ring(builder: &WorldBuilder<RingNode>, seed: Seed, deliveries: u64) -> World<RingNode> {
    let mut world = builder.build(seed);
    let boots = world.process_ids().count() as u64;
    world.run(SimTime::from_nanos(u64::MAX), boots + deliveries);
    world
}

/// What the nodes of a mesh were given, over all their lives.
#[derive(Debug, Default)]
pub(crate) struct MeshCounts {
    /// Heartbeats that arrived, and ticks.
    pub(crate) events: Cell<u64>,
    /// Failure detectors that fired.
    pub(crate) suspicions: Cell<u64>,
}

/// What a node of the mesh is started with.
#[derive(Clone, Debug)]
pub(crate) struct MeshSpec {
    nodes: usize,
    counts: Rc<MeshCounts>,
}

/// What a node of the mesh waits for.
#[derive(Clone, Debug, Hash, PartialEq)]
pub(crate) enum MeshTimer {
    /// The next heartbeat is to be sent.
    Heartbeat,
    /// This node was silent for too long.
    Suspect(ProcessId),
}

/// A node of the mesh.
#[derive(Clone, Debug)]
pub(crate) struct MeshNode {
    spec: MeshSpec,
}

impl MeshNode {
    fn beat(&self, context: &mut impl Context<Self>) {
        let me = context.me();
        for peer in (0..self.spec.nodes).map(ProcessId::from_index).filter(|peer| *peer != me) {
            context.send_datagram(peer, me.index() as u64);
        }
        context.set_timer(MeshTimer::Heartbeat, HEARTBEAT);
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Process for MeshNode {
    type Spec = MeshSpec;
    type Packet = u64;
    type Timer = MeshTimer;
    type Storage = ();

    fn boot(spec: &MeshSpec, context: &mut impl Context<Self>) -> Self {
        let me = context.me();
        for peer in (0..spec.nodes).map(ProcessId::from_index).filter(|peer| *peer != me) {
            context.set_timer(MeshTimer::Suspect(peer), SUSPECT_AFTER);
        }
        count(&spec.counts.events);
        let node = Self { spec: spec.clone() };
        node.beat(context);
        node
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, _heartbeat: u64) {
        count(&self.spec.counts.events);
        context.set_timer(MeshTimer::Suspect(from.process()), SUSPECT_AFTER);
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: MeshTimer) {
        count(&self.spec.counts.events);
        match timer {
            MeshTimer::Heartbeat => self.beat(context),
            MeshTimer::Suspect(_) => count(&self.spec.counts.suspicions),
        }
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

/// A mesh of so many nodes, with the counters that all its runs share.
pub(crate) fn mesh(nodes: usize) -> (WorldBuilder<MeshNode>, Rc<MeshCounts>) {
    let counts = Rc::new(MeshCounts::default());
    let spec = MeshSpec { nodes, counts: Rc::clone(&counts) };
    let loss = "1%".parse().expect("a probability");
    (build(nodes, loss, |_| spec.clone()), counts)
}

/// Runs a mesh for so many simulated seconds, with its crashes.
pub(crate) fn run_mesh(builder: &WorldBuilder<MeshNode>, seed: Seed, seconds: u64) -> World<MeshNode> {
    let mut world = builder.build(seed);
    let nodes = world.process_ids().count();
    let length = SimDuration::from_secs(seconds);
    let crashes = (1..)
        .map(|number: u64| (number, CRASH_EVERY * number))
        .take_while(|(_, at)| *at < length)
        .map(|(number, at)| ScheduledFault {
            trigger: Trigger::At(at),
            fault: Fault::Kill { target: Target::Process(name((number - 1) as usize % nodes)) },
            lasts: Some(DOWN_FOR),
        });
    world.schedule(&Schedule(crashes.collect())).expect("all nodes exist");
    world.run(SimTime::ZERO + length, u64::MAX);
    world
}

fn name(node: usize) -> String {
    format!("node-{}", node + 1)
}

fn build<P: Process<Storage = ()>>(
    nodes: usize,
    loss: Probability,
    spec: impl Fn(usize) -> P::Spec,
) -> WorldBuilder<P> {
    let latency = Distribution::Uniform(SimDuration::from_millis(1), SimDuration::from_millis(10));
    let (mut topology, zone) = Topology::single_zone(&LinkQuality { latency, loss });
    let hosts: Vec<HostId> = (0..nodes).map(|node| topology.add_host(zone, &name(node))).collect();
    let mut builder = WorldBuilder::new(topology);
    for (node, host) in hosts.into_iter().enumerate() {
        let volume = builder.add_volume(host, (), &Distribution::Constant(SimDuration::ZERO));
        builder.add_process(ProcessOptions {
            name: name(node),
            host,
            volume,
            starts_with_host: true,
            spec: spec(node),
        });
    }
    builder
}
