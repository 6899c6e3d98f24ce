//! Two members that each find the other ahead.

#![expect(unreachable_pub, reason = "`system!` makes public types, and this is a module of a test")]

use models::patroni::{ClusterOptions, Disk, Node, NodeSpec, Packet, add_cluster};
use models::postgres::{self, Statement, SynchronousCommit};
use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, EndReason, Fault, LinkQuality,
    MarkKind, Origin, Process, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology, WorldBuilder,
};

use super::script::{MILLISECOND, fault_at, role, secs};

/// A client that inserts into every server that lets it, every 20 ms.
#[derive(Clone, Debug)]
pub struct Writer {
    servers: Vec<ProcessId>,
    connections: Vec<Option<ConnectionId>>,
    next: u64,
}

/// The writer's timer.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct Write;

impl Process for Writer {
    type Spec = Vec<ProcessId>;
    type Packet = Packet;
    type Timer = Write;
    type Storage = ();

    fn boot(servers: &Vec<ProcessId>, context: &mut impl Context<Self>) -> Self {
        context.set_timer(Write, MILLISECOND * 20);
        Self { servers: servers.clone(), connections: vec![None; servers.len()], next: 0 }
    }

    fn on_packet(&mut self, _: &mut impl Context<Self>, _: Origin, _: Packet) {}

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Write) {
        for (server, connection) in self.servers.iter().zip(&mut self.connections) {
            let connection =
                *connection.get_or_insert_with(|| context.connect(*server, ConnectOptions::default()));
            self.next += 1;
            let statement = Statement::Insert { value: self.next, commit: SynchronousCommit::On };
            let query = self.next;
            context.send(connection, Packet::Postgres(postgres::Packet::Query { query, statement }));
        }
        context.set_timer(timer, MILLISECOND * 20);
    }

    fn on_connection(
        &mut self,
        _: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if event != ConnectionEvent::Opened {
            let lost = self.connections.iter_mut().find(|known| **known == Some(connection));
            if let Some(lost) = lost {
                *lost = None;
            }
        }
    }
}

sim_core::system! {
    /// A cluster with a client: a system of which another system is a role.
    pub enum Written { Node(Node), Writer(Writer) }
    spec: WrittenSpec,
    timer: WrittenTimer,
    packet: Packet,
    storage: Disk,
}

impl From<NodeSpec> for WrittenSpec {
    fn from(spec: NodeSpec) -> Self {
        Self::Node(spec)
    }
}

/// Fidelity specification, 2.5 (mutual-ahead stalemate, measured in 3 of 6 runs): while a primary without its Patroni goes
/// on writing, each member finds the other ahead. Both drop their upstream, and the next cycle elects.
#[test]
fn a_primary_that_goes_on_writing_without_its_patroni_delays_the_race_by_a_loop() {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(100)));
    let at = secs(62);
    let mut delayed = 0;
    for seed in 1..=10 {
        let (mut topology, zone) = Topology::single_zone(&link);
        let hosts: Vec<_> =
            (1..=4).map(|number| topology.add_host(zone, &format!("host-{number}"))).collect();
        let mut builder: WorldBuilder<Written> = WorldBuilder::new(topology);
        let disk = Distribution::Constant(MILLISECOND);
        let options = ClusterOptions::default();
        let cluster = add_cluster(&mut builder, &hosts[..3], &hosts[..3], &disk, &options);
        let volume = builder.add_volume(hosts[3], Disk::Nothing, &disk);
        builder.add_process(ProcessOptions {
            name: "writer".to_owned(),
            host: hosts[3],
            volume,
            starts_with_host: true,
            spec: WrittenSpec::Writer(cluster.members.iter().map(|peer| peer.postgres).collect()),
        });
        let mut world = builder.build(Seed(seed));
        let fault = Fault::Kill { target: role("patroni-leader") };
        world.schedule(&fault_at(at, fault, None)).expect("the targets exist");
        let end = world.run(SimTime::ZERO + secs(150), 50_000_000);
        assert_eq!(end, EndReason::Horizon);
        let of = |kind: MarkKind| {
            let mark = world.marks().iter().find(|mark| mark.kind == kind && mark.at > SimTime::ZERO + at);
            mark.expect("the lock is lost and found").at
        };
        let race = of(MarkKind::Elected).since(of(MarkKind::Suspected)).as_millis();
        assert!(race < 200 || (9_500..11_500).contains(&race), "seed {seed}: {race} ms");
        delayed += u32::from(race > 200);
        let primaries = world
            .process_ids()
            .filter(|process| world.process(*process).is_some_and(|node| node.plays("primary")));
        assert_eq!(primaries.count(), 2, "nobody stops the old primary");
    }
    assert!(delayed > 0, "the stalemate was never seen");
}
