//! Servers that play by a script, the nodes in front of them, and what can be seen of a run.

#![expect(unreachable_pub, reason = "`system!` makes public types, and this is a module of a test")]

use models::etcd::{self, KeyValue};
use models::patroni::{Packet, Rest, RestPath};
use models::postgres::{self, Answer, Statement};
use models::routing::{
    Application, ApplicationSpec, Confd, ConfigurationFile, HaProxy, HaProxySpec, MultiHostClient,
    NameChange, NamePacket, NameRecord, NameServer, PgBouncer, ProxyServer, StickyClient, Workload,
};
use sim_core::{
    ConnectionEvent, ConnectionId, Context, Distribution, EndReason, Fault, Holds, LinkQuality, Operation,
    Origin, Outcome, Process, ProcessId, ProcessOptions, Record, Schedule, ScheduledFault, Seed, SimDuration,
    SimTime, Storage, Target, Topology, Trigger, World, WorldBuilder, system,
};
use std::ops::RangeInclusive;

#[derive(Clone, Debug)]
pub struct Script {
    phases: Vec<Phase>,
    rows: u64,
    /// A write that waits for a standby: connection and query.
    stalled: Option<(ConnectionId, u64)>,
}

/// A part of a script.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// From then on, on the host's monotonic clock.
    pub(crate) from: SimDuration,
    /// What `/primary` answers.
    pub(crate) primary_status: u16,
    pub(crate) server: Server,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Server {
    /// It commits.
    Primary,
    /// It is in recovery.
    Standby,
    /// It refuses logins.
    StartingUp,
    /// A primary whose commits wait for a standby that does not answer.
    Stalled,
    /// A primary that drops the connection when a write arrives.
    DropsWrites,
}

impl Script {
    fn phase(&self, context: &impl Context<Self>) -> Phase {
        let now = context.monotonic().as_nanos();
        let phase = self.phases.iter().rfind(|phase| phase.from.as_nanos() <= now);
        *phase.expect("the first phase starts at zero")
    }

    fn reply(context: &mut impl Context<Self>, to: ConnectionId, query: u64, answer: Answer) {
        let server = context.me();
        context.send(to, Packet::Postgres(postgres::Packet::Answer { query, answer, server }));
    }

    fn on_query(
        &mut self,
        context: &mut impl Context<Self>,
        to: ConnectionId,
        query: u64,
        statement: Statement,
    ) {
        let server = self.phase(context).server;
        let is_write = matches!(statement, Statement::Insert { .. });
        let answer = match (server, statement) {
            (Server::StartingUp, _) => Answer::StartingUp,
            (_, Statement::LogIn { .. } | Statement::IsInRecovery) => {
                Answer::InRecovery(server == Server::Standby)
            }
            (_, Statement::Count) => Answer::Count(self.rows),
            (Server::Standby, _) => Answer::ReadOnly,
            (Server::Stalled, _) => {
                self.stalled = Some((to, query));
                return;
            }
            (Server::DropsWrites, _) => {
                context.close(to);
                return;
            }
            (Server::Primary, _) => Answer::Committed,
        };
        self.rows += u64::from(is_write && answer == Answer::Committed);
        Self::reply(context, to, query, answer);
        if answer == Answer::StartingUp {
            context.close(to);
        }
    }
}

impl Process for Script {
    type Spec = Vec<Phase>;
    type Packet = Packet;
    type Timer = ();
    type Storage = ();

    fn boot(spec: &Vec<Phase>, _context: &mut impl Context<Self>) -> Self {
        Self { phases: spec.clone(), rows: 0, stalled: None }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            return;
        };
        match packet {
            Packet::Rest(Rest::Get(path)) => {
                let phase = self.phase(context);
                let status = match path {
                    RestPath::Primary => phase.primary_status,
                    RestPath::Replica if phase.server == Server::Standby => 200,
                    RestPath::Replica => 503,
                    RestPath::Patroni => panic!("the proxy does not ask for reports"),
                };
                let report = None;
                context.send(connection, Packet::Rest(Rest::Response { status, report }));
            }
            Packet::Postgres(postgres::Packet::Query { query, statement }) => {
                self.on_query(context, connection, query, statement);
            }
            Packet::Postgres(postgres::Packet::Cancel { query })
                if self.stalled == Some((connection, query)) =>
            {
                Self::reply(context, connection, query, Answer::CommittedLocally);
            }
            _ => {}
        }
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

/// A member of etcd that knows who leads, by a script: from then on, `patroni-N`, or nobody.
#[derive(Clone, Debug)]
pub struct Store(Vec<(SimDuration, Option<u8>)>);

impl Store {
    /// The member's key, and the leader's if there is one.
    fn entries(&self, context: &impl Context<Self>) -> Vec<KeyValue> {
        let now = context.monotonic().as_nanos();
        let leader = self.0.iter().rfind(|(from, _)| from.as_nanos() <= now).and_then(|(_, leader)| *leader);
        let entry = |key: &str, value: String| KeyValue {
            key: format!("/service/batman/{key}").into(),
            value: value.into(),
            create_revision: 1,
            mod_revision: 1,
            lease: None,
        };
        let named = leader.map(|leader| entry("leader", format!("patroni-{leader}")));
        let members = (1..=2).map(|number| entry(&format!("members/patroni-{number}"), String::new()));
        named.into_iter().chain(members).collect()
    }
}

impl Process for Store {
    type Spec = Vec<(SimDuration, Option<u8>)>;
    type Packet = Packet;
    type Timer = ();
    type Storage = ();

    fn boot(spec: &Self::Spec, _context: &mut impl Context<Self>) -> Self {
        Self(spec.clone())
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let (Origin::Connection(connection, _), Packet::Etcd(etcd::Packet::Request { id, .. })) =
            (from, packet)
        {
            let result = Ok(etcd::Answer::Range { entries: self.entries(context) });
            let response = etcd::Response { member: context.me(), revision: 1, raft_term: 1, result };
            let packet = etcd::Packet::Response { id, response: response.into() };
            context.send(connection, Packet::Etcd(packet));
        }
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

/// Tells a name server the address of the name, by a script: then, this one. Each update is sent once.
#[derive(Clone, Debug)]
pub struct Updater {
    name_server: ProcessId,
    updates: Vec<(SimDuration, ProcessId)>,
}

impl Process for Updater {
    type Spec = (ProcessId, Vec<(SimDuration, ProcessId)>);
    type Packet = Packet;
    type Timer = usize;
    type Storage = ();

    fn boot(spec: &Self::Spec, context: &mut impl Context<Self>) -> Self {
        for (index, (at, _)) in spec.1.iter().enumerate() {
            context.set_timer(index, *at);
        }
        Self { name_server: spec.0, updates: spec.1.clone() }
    }

    fn on_packet(&mut self, _context: &mut impl Context<Self>, _from: Origin, _packet: Packet) {}

    fn on_timer(&mut self, context: &mut impl Context<Self>, index: usize) {
        let update = NamePacket::Update { id: index as u64, address: self.updates[index].1 };
        context.send_datagram(self.name_server, Packet::Name(update));
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

/// What poolers and name servers keep; the others keep nothing.
#[derive(Clone, Debug, Default)]
pub struct Disk(ConfigurationFile, NameRecord);

/// A change of a [`Disk`].
#[derive(Clone, Debug)]
pub enum DiskRecord {
    Nothing,
    Host(ProcessId),
    Name(NameChange),
}

impl Storage for Disk {
    type Record = DiskRecord;
    fn apply(&mut self, record: &DiskRecord) {
        match record {
            DiskRecord::Nothing => {}
            DiskRecord::Host(host) => self.0.apply(host),
            DiskRecord::Name(change) => self.1.apply(change),
        }
    }
}

impl Holds<()> for Disk {
    fn held(&self) -> &() {
        &()
    }
}

impl Holds<ConfigurationFile> for Disk {
    fn held(&self) -> &ConfigurationFile {
        &self.0
    }
}

impl Holds<NameRecord> for Disk {
    fn held(&self) -> &NameRecord {
        &self.1
    }
}

impl From<NameChange> for DiskRecord {
    fn from(change: NameChange) -> Self {
        Self::Name(change)
    }
}

impl From<()> for DiskRecord {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<ProcessId> for DiskRecord {
    fn from(host: ProcessId) -> Self {
        Self::Host(host)
    }
}

system! {
    /// Scripted servers and what stands in front of them.
    pub enum Node {
        Script(Script),
        Proxy(HaProxy),
        Pooler(PgBouncer),
        Confd(Confd),
        Store(Store),
        Application(Application),
        MultiHost(MultiHostClient),
        Sticky(StickyClient),
        NameServer(NameServer),
        Updater(Updater),
    }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

pub(crate) const fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> SimDuration {
    SimDuration::from_millis(millis)
}

pub(crate) const fn id(index: usize) -> ProcessId {
    ProcessId::from_index(index)
}

pub(crate) const fn from(from: SimDuration, primary_status: u16, server: Server) -> Phase {
    Phase { from, primary_status, server }
}

/// A member that is primary, or not, from the start.
pub(crate) fn member(server: Server) -> NodeSpec {
    let status = if server == Server::Primary { 200 } else { 503 };
    NodeSpec::Script(vec![from(SimDuration::ZERO, status, server)])
}

/// A member that is primary until then, and a standby afterwards.
pub(crate) fn primary_until(until: SimDuration) -> NodeSpec {
    NodeSpec::Script(vec![from(SimDuration::ZERO, 200, Server::Primary), from(until, 503, Server::Standby)])
}

/// A member that is a standby until then, and primary afterwards.
pub(crate) fn primary_from(start: SimDuration) -> NodeSpec {
    NodeSpec::Script(vec![from(SimDuration::ZERO, 503, Server::Standby), from(start, 200, Server::Primary)])
}

/// Patroni's proxy in front of the first members.
pub(crate) fn proxy(members: usize) -> NodeSpec {
    let server = |index| ProxyServer { rest: id(index), traffic: id(index) };
    NodeSpec::Proxy(HaProxySpec::template(RestPath::Primary, (0..members).map(server).collect()))
}

/// An application with one connection.
pub(crate) fn application(address: usize) -> ApplicationSpec {
    ApplicationSpec { connections: 1, ..ApplicationSpec::new(Workload::writes(1), id(address)) }
}

/// Each process on a host of its own, 0.5 ms apart, named by its position.
pub(crate) fn world(specs: Vec<NodeSpec>) -> World<Node> {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(500)));
    let (mut topology, zone) = Topology::single_zone(&link);
    let names: Vec<String> = (0..specs.len()).map(|index| format!("node{index}")).collect();
    let hosts: Vec<_> = names.iter().map(|name| topology.add_host(zone, &format!("host-{name}"))).collect();
    let mut builder = WorldBuilder::new(topology);
    for ((spec, host), name) in specs.into_iter().zip(hosts).zip(names) {
        let volume = builder.add_volume(host, Disk::default(), &Distribution::Constant(millis(1)));
        builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec });
    }
    builder.build(Seed(7))
}

pub(crate) fn fault(world: &mut World<Node>, at: SimDuration, fault: Fault, lasts: Option<SimDuration>) {
    let trigger = Trigger::At(at);
    let scheduled = ScheduledFault { trigger, fault, lasts };
    world.schedule(&Schedule(vec![scheduled])).expect("the target exists");
}

pub(crate) fn power_off(node: usize) -> Fault {
    Fault::PowerOff { target: Target::Host(format!("host-node{node}")) }
}

pub(crate) fn kill(node: usize) -> Fault {
    Fault::Kill { target: Target::Process(format!("node{node}")) }
}

pub(crate) fn run(world: &mut World<Node>, until: SimDuration) {
    let end = world.run(SimTime::ZERO + until, u64::MAX);
    assert!(matches!(end, EndReason::Horizon | EndReason::Quiescent), "{end:?}");
}

pub(crate) fn record(mut world: World<Node>, until: SimDuration) -> Record {
    run(&mut world, until);
    world.record(EndReason::Horizon)
}

pub(crate) fn with(record: &Record, outcome: Outcome) -> Vec<Operation> {
    let operations = record.operations.iter();
    operations.filter(|operation| operation.outcome == outcome).copied().collect()
}

/// When the operation completed, in milliseconds.
pub(crate) fn completed(operation: &Operation) -> u64 {
    operation.completed.expect("complete").as_nanos() / 1_000_000
}

/// Milliseconds from `since` until the proxy changes what it thinks of a server to `up`.
pub(crate) fn until_marked(
    world: &mut World<Node>,
    proxy: usize,
    server: usize,
    up: bool,
    since: SimDuration,
) -> u64 {
    run(world, since);
    let mut passed = SimDuration::ZERO;
    loop {
        let Some(Node::Proxy(state)) = world.process(id(proxy)) else {
            panic!("node {proxy} is the proxy");
        };
        if state.is_up(server) == up {
            return passed.as_millis();
        }
        assert!(passed < secs(60), "server {server} is still {}", state.is_up(server));
        passed += millis(10);
        run(world, since + passed);
    }
}

/// The shortest and the longest time over faults at all phases of the check interval, each inside the window, and
/// spread over most of it.
#[track_caller]
pub(crate) fn check_window(window: RangeInclusive<u64>, measure: impl Fn(SimDuration) -> u64) {
    let times: Vec<u64> = (0..30).map(|step| measure(secs(20) + millis(103) * step)).collect();
    assert!(times.iter().all(|time| window.contains(time)), "{times:?} not in {window:?}");
    let spread = times.iter().max().expect("30 times") - times.iter().min().expect("30 times");
    assert!(spread > 2_500, "the phase decides within an interval of 3 s: {times:?}");
}
