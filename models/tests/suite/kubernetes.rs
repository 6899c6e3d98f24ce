//! API servers in front of etcd, with a client that follows a script.

#![expect(unreachable_pub, reason = "`system!` makes public types, and this is a module of a test")]

use std::sync::Arc;

use models::etcd;
use models::kubernetes::{
    Answer, ApiServer, ApiServerSpec, Object, Packet, Patch, Request, Resource, Response, Status, WatchEvent,
};
use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Damage, Distribution, EndReason, Fault, Holds,
    LinkQuality, Origin, Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration,
    SimTime, Storage, Target, Topology, Trigger, World, WorldBuilder,
};

/// Sends each request at its time, on a connection of its own, and keeps what comes.
#[derive(Clone, Debug)]
pub struct Client {
    spec: Script,
    connections: Vec<(ConnectionId, usize)>,
    heard: Vec<(usize, Heard)>,
}

/// What a client does.
#[derive(Clone, Debug)]
pub struct Script {
    server: ProcessId,
    requests: Vec<(SimDuration, Request)>,
}

/// What a client heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// An answer.
    Response(Response),
    /// A change.
    Event(WatchEvent),
    /// The API server closed the connection.
    Closed,
}

impl Process for Client {
    type Spec = Script;
    type Packet = Packet;
    type Timer = usize;
    type Storage = ();

    fn boot(spec: &Script, context: &mut impl Context<Self>) -> Self {
        for (index, (at, _)) in spec.requests.iter().enumerate() {
            context.set_timer(index, *at);
        }
        Self { spec: spec.clone(), connections: Vec::new(), heard: Vec::new() }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, index: usize) {
        let connection = context.connect(self.spec.server, ConnectOptions::default());
        self.connections.push((connection, index));
        let request = Arc::new(self.spec.requests[index].1.clone());
        context.send(connection, Packet::Request { id: 7, request });
    }

    fn on_packet(&mut self, _context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        let (_, index) =
            self.connections.iter().find(|(other, _)| *other == connection).expect("its own connection");
        let heard = match packet {
            Packet::Response { id: 7, response } => Heard::Response((*response).clone()),
            Packet::Watched { id: 7, event } => Heard::Event(event),
            packet => panic!("{packet:?}"),
        };
        self.heard.push((*index, heard));
    }

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if event == ConnectionEvent::Closed
            && let Some((_, index)) = self.connections.iter().find(|(other, _)| *other == connection)
        {
            self.heard.push((*index, Heard::Closed));
        }
    }
}

/// Of etcd, or of nobody.
#[derive(Clone, Debug, Default)]
pub struct Volume(etcd::Disk);

/// A change of a volume.
#[derive(Clone, Debug)]
pub struct Record(Option<etcd::DiskRecord>);

impl Storage for Volume {
    type Record = Record;
    fn wiped(&self) -> Self {
        Self(self.0.wiped())
    }
    fn apply(&mut self, record: &Record) {
        if let Some(record) = &record.0 {
            self.0.apply(record);
        }
    }
    fn damage(&mut self, _damage: Damage<'_, Record>) {}
}

impl Holds<etcd::Disk> for Volume {
    fn held(&self) -> &etcd::Disk {
        &self.0
    }
}

impl Holds<()> for Volume {
    fn held(&self) -> &() {
        &()
    }
}

impl From<etcd::DiskRecord> for Record {
    fn from(record: etcd::DiskRecord) -> Self {
        Self(Some(record))
    }
}

impl From<()> for Record {
    fn from((): ()) -> Self {
        Self(None)
    }
}

sim_core::system! {
    /// A control plane and its client.
    pub enum Machine { Etcd(etcd::Server), ApiServer(ApiServer), Client(Client) }
    spec: MachineSpec,
    timer: MachineTimer,
    packet: Packet,
    storage: Volume,
}

/// Runs a script against an API server and its etcd for a minute; returns what the client heard of each request.
fn run(script: &[(u64, Request)], faults: &[(u64, Fault, Option<u64>)]) -> Vec<Vec<Heard>> {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(100)));
    let (mut topology, zone) = Topology::single_zone(&link);
    let (control, app) = (topology.add_host(zone, "control-1"), topology.add_host(zone, "app-1"));
    let mut builder = WorldBuilder::new(topology);
    let disk = Distribution::Constant(SimDuration::from_millis(1));
    let first = builder.next_process();
    let server = ProcessId::from_index(first.index() + 1);
    let requests =
        script.iter().map(|(at, request)| (SimDuration::from_millis(*at), request.clone())).collect();
    let processes = [
        ("etcd-1", control, MachineSpec::Etcd(etcd::Spec::new(vec![first]))),
        ("api-server-1", control, MachineSpec::ApiServer(ApiServerSpec::new(first))),
        ("client-1", app, MachineSpec::Client(Script { server, requests })),
    ];
    let mut last = first;
    for (name, host, spec) in processes {
        let volume = builder.add_volume(host, Volume::default(), &disk);
        let name = name.to_owned();
        last = builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec });
    }
    let mut world: World<Machine> = builder.build(Seed(1));
    let scheduled = faults.iter().map(|(at, fault, lasts)| ScheduledFault {
        trigger: Trigger::At(SimDuration::from_millis(*at)),
        fault: fault.clone(),
        lasts: lasts.map(SimDuration::from_millis),
    });
    world.schedule(&Schedule(scheduled.collect())).expect("the targets exist");
    assert_eq!(world.run(SimTime::ZERO + SimDuration::from_secs(60), 1_000_000), EndReason::Horizon);
    let Some(Machine::Client(client)) = world.process(last) else { panic!("the client runs") };
    (0..script.len())
        .map(|index| {
            client.heard.iter().filter(|(of, _)| *of == index).map(|(_, heard)| heard.clone()).collect()
        })
        .collect()
}

const ENDPOINTS: Resource = Resource::Endpoints;

fn leader(name: Option<&str>) -> Patch {
    Patch { annotations: vec![("leader".into(), name.map(Into::into))], address: None }
}

fn create(name: &str) -> Request {
    Request::Create { resource: ENDPOINTS, name: "batman".into(), patch: leader(Some(name)) }
}

fn patch(name: &str, resource_version: Option<u64>) -> Request {
    let patch = leader(Some(name));
    Request::Patch { resource: ENDPOINTS, name: "batman".into(), resource_version, patch }
}

#[track_caller]
fn object(heard: &[Heard]) -> &Object {
    match heard {
        [Heard::Response(Response(Ok(Answer::Object(object))))] => object,
        other => panic!("not an object: {other:?}"),
    }
}

#[track_caller]
fn status(heard: &[Heard]) -> Status {
    match heard {
        [Heard::Response(Response(Err(status)))] => *status,
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn a_write_that_names_an_old_version_is_refused_and_one_that_names_none_is_merged() {
    let heard = run(
        &[
            (5_000, create("a")),
            (6_000, create("b")),
            (7_000, patch("c", None)),
            (8_000, patch("d", Some(2))),
            (9_000, Request::Get { resource: ENDPOINTS, name: "batman".into() }),
            (9_500, Request::Get { resource: ENDPOINTS, name: "robin".into() }),
        ],
        &[],
    );
    let created = object(&heard[0]).resource_version;
    assert_eq!(created, 2, "the first revision of a new etcd is 1");
    assert_eq!(status(&heard[1]).code, 409);
    assert_eq!(object(&heard[2]).resource_version, created + 1);
    assert_eq!(status(&heard[3]).code, 409);
    assert_eq!(object(&heard[4]).annotation("leader"), Some("c"));
    assert_eq!(status(&heard[5]).code, 404);
}

#[test]
fn two_writes_of_one_version_at_the_same_time_have_one_winner() {
    let heard = run(&[(5_000, create("a")), (6_000, patch("b", Some(2))), (6_000, patch("c", Some(2)))], &[]);
    let won = heard[1..].iter().filter(|heard| matches!(heard[..], [Heard::Response(Response(Ok(_)))]));
    assert_eq!(won.count(), 1, "{heard:?}");
}

fn watch() -> Request {
    Request::Watch { resource: ENDPOINTS, resource_version: 2 }
}

/// What a watch was told of the leader.
fn leaders(heard: &[Heard]) -> Vec<String> {
    let of = |heard: &Heard| match heard {
        Heard::Event(WatchEvent::Modified(object)) => object.annotation("leader").map(str::to_owned),
        _ => None,
    };
    heard.iter().filter_map(of).collect()
}

#[test]
fn a_watch_goes_on_from_its_version_and_ends_with_the_cache_that_serves_it() {
    let script =
        [(5_000, create("a")), (6_000, patch("b", None)), (7_000, watch()), (8_000, patch("c", None))];
    let kill = Fault::Kill { target: Target::Process("etcd-1".to_owned()) };
    let heard = run(&script, &[(20_000, kill, Some(1_000))]);
    assert_eq!(leaders(&heard[2]), ["b", "c"]);
    assert_eq!(heard[2].last(), Some(&Heard::Closed));
}

#[test]
fn a_hung_watch_is_silent_and_tells_later_what_it_missed() {
    let hang = Fault::Command {
        target: Target::Process("api-server-1".to_owned()),
        command: "hang watches for 20s".to_owned(),
    };
    let script = |until: u64| {
        [(5_000, create("a")), (6_000, watch()), (8_000, patch("b", None)), (until, patch("c", None))]
    };
    let heard = run(&script(12_000), &[(7_000, hang.clone(), None)]);
    assert_eq!(object(&heard[3]).annotation("leader"), Some("c"), "writes go on");
    assert_eq!(leaders(&heard[2 - 1]), ["b", "c"]);
    let heard = run(&script(50_000), &[(45_000, hang, None)]);
    assert_eq!(leaders(&heard[1]), ["b"], "the run ends before the watch goes on");
}

#[test]
fn an_api_server_answers_as_it_is_told_and_without_etcd_with_500() {
    let deny = Fault::Command {
        target: Target::Process("api-server-1".to_owned()),
        command: "answer 403 for 2s".to_owned(),
    };
    let kill = Fault::Kill { target: Target::Process("etcd-1".to_owned()) };
    let script = [
        (5_000, create("a")),
        (7_000, patch("b", None)),
        (9_000, Request::Get { resource: ENDPOINTS, name: "batman".into() }),
        (12_000, patch("c", None)),
        (12_000, watch()),
    ];
    let heard = run(&script, &[(6_000, deny, None), (11_000, kill, Some(10_000))]);
    assert_eq!(status(&heard[1]).code, 403);
    assert_eq!(object(&heard[2]).annotation("leader"), Some("a"), "a refused request was not carried out");
    assert_eq!(status(&heard[3]).code, 500);
    assert_eq!(status(&heard[4]), Status { code: 429, retry_after: Some(SimDuration::from_secs(1)) });
}
