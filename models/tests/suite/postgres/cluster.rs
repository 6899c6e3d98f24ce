//! Three servers, a scripted controller beside each (where Patroni would be), and a scripted client.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(unreachable_pub, reason = "`system!` makes public types, and this is a module of a test")]

use std::sync::Arc;

use models::patroni::Inputs;
use models::postgres::{
    Answer, Control, DataDirectory, DataRecord, Durations, Lsn, MemberId, Packet, Parameters, Server,
    Settings, Spec, Statement, Status, StopMode, SyncMethod, SynchronousCommit, SynchronousStandbys,
    Upstream,
};
use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Damage, Distribution, Fault, Holds, HostId,
    LinkQuality, Origin, Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration,
    Storage, StorageFailure, Target, Topology, Trigger, World, WorldBuilder, system,
};

/// The disk of a host. Integration tests cannot implement the kernel's traits for the models' types.
#[derive(Clone, Debug, Default)]
pub struct Disk(DataDirectory);

#[derive(Clone, Debug)]
pub struct DiskRecord(DataRecord);

impl From<DataRecord> for DiskRecord {
    fn from(record: DataRecord) -> Self {
        Self(record)
    }
}

impl Storage for Disk {
    type Record = DiskRecord;
    fn apply(&mut self, record: &DiskRecord) {
        self.0.apply(&record.0);
    }

    fn record_count(&self) -> u64 {
        self.0.record_count()
    }

    fn damage(&mut self, damage: Damage<'_, DiskRecord>) {
        self.0.damage(damage.map(|record| &record.0));
    }

    fn needs_space(record: &DiskRecord) -> bool {
        DataDirectory::needs_space(&record.0)
    }
}

impl Holds<DataDirectory> for Disk {
    fn held(&self) -> &DataDirectory {
        &self.0
    }
}

system! {
    /// The processes of the test cluster.
    pub enum Node { Server(Server), Driver(Driver) }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

/// Does what the test says: starts, configures and asks servers.
#[derive(Clone, Debug)]
pub struct Driver {
    spec: DriverSpec,
    connections: Vec<(ProcessId, ConnectionId)>,
    pub answers: Vec<(u64, Answer)>,
    /// The newest row of each session, as last answered.
    pub newest: Vec<u64>,
    pub statuses: Vec<Arc<Status>>,
    pub lost: Vec<ConnectionEvent>,
    pub checkpoints: u32,
}

#[derive(Clone, Debug)]
pub struct DriverSpec {
    /// The server beside it, if it has one.
    local: Option<ProcessId>,
}

impl Driver {
    fn connection(&mut self, context: &mut impl Context<Self>, to: ProcessId) -> ConnectionId {
        if let Some((_, connection)) = self.connections.iter().find(|(server, _)| *server == to) {
            return *connection;
        }
        let connection = context.connect(to, ConnectOptions::default());
        self.connections.push((to, connection));
        connection
    }

    fn query(&mut self, context: &mut impl Context<Self>, to: &str, query: u64, statement: Statement) {
        let connection = self.connection(context, server(to));
        context.send(connection, Packet::Query { query, statement });
    }

    fn control(&mut self, context: &mut impl Context<Self>, control: Control) {
        let local = self.spec.local.expect("clients control no server");
        let connection = self.connection(context, local);
        context.send(connection, Packet::Control(control));
    }

    fn change_settings(context: &mut impl Context<Self>, change: impl FnOnce(&mut Settings)) {
        let mut settings = context.storage().settings.clone();
        change(&mut settings);
        context.write(DataRecord::Settings(Arc::new(settings)));
        context.sync();
    }
}

/// The process of the server `n1`, `n2` or `n3`.
pub fn server(name: &str) -> ProcessId {
    let number: usize = name[1..].parse().unwrap();
    ProcessId::from_index(number - 1)
}

fn upstream(name: &str, slot: bool) -> Option<Upstream> {
    let member = |name: &str| MemberId(name[1..].parse().unwrap());
    (name != "-").then(|| Upstream { server: server(name), member: member(name), slot })
}

/// `-`, `*`, `first 1 n2 n3` or `any 1 n2 n3`.
fn synchronous(words: &[&str]) -> SynchronousStandbys {
    let members = words.iter().skip(2).map(|name| MemberId(name[1..].parse().unwrap()));
    let method = match words[0] {
        "-" => SyncMethod::Nobody,
        "*" => SyncMethod::Wildcard,
        "first" => SyncMethod::First(words[1].parse().unwrap()),
        "any" => SyncMethod::Any(words[1].parse().unwrap()),
        other => panic!("{other}?"),
    };
    SynchronousStandbys { method, members: members.collect() }
}

fn level(word: &str) -> SynchronousCommit {
    match word {
        "off" => SynchronousCommit::Off,
        "local" => SynchronousCommit::Local,
        "remote_write" => SynchronousCommit::RemoteWrite,
        "on" => SynchronousCommit::On,
        "remote_apply" => SynchronousCommit::RemoteApply,
        other => panic!("{other}?"),
    }
}

impl Process for Driver {
    type Spec = DriverSpec;
    type Packet = Packet;
    type Timer = ();
    type Storage = DataDirectory;

    fn boot(spec: &DriverSpec, context: &mut impl Context<Self>) -> Self {
        if let Some(local) = spec.local {
            context.start(local);
        }
        Self {
            spec: spec.clone(),
            connections: Vec::new(),
            answers: Vec::new(),
            newest: Vec::new(),
            statuses: Vec::new(),
            lost: Vec::new(),
            checkpoints: 0,
        }
    }

    fn on_packet(&mut self, _context: &mut impl Context<Self>, _from: Origin, packet: Packet) {
        match packet {
            Packet::Answer { query, answer, .. } => self.answers.push((query, answer)),
            Packet::Newest { newest, .. } => self.newest = newest.to_vec(),
            Packet::Status(status) => self.statuses.push(status),
            Packet::CheckpointDone => self.checkpoints += 1,
            other => panic!("servers never send {other:?} to clients"),
        }
    }

    fn on_timer(&mut self, _context: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if event != ConnectionEvent::Opened {
            self.connections.retain(|(_, known)| *known != connection);
            self.lost.push(event);
        }
    }

    /// Configuration that could not be written is written again by who needs it.
    fn on_storage_failed(&mut self, _context: &mut impl Context<Self>, _failure: StorageFailure) {}

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["insert", to, value, commit] => {
                let value = value.parse().unwrap();
                let statement = Statement::Insert { value, commit: level(commit) };
                self.query(context, to, value, statement);
            }
            ["count", to] => self.query(context, to, 0, Statement::Count),
            ["newest", to] => self.query(context, to, 0, Statement::Newest),
            ["log-in", to] => self.query(context, to, 0, Statement::LogIn { nonce: 7 }),
            ["recovery", to] => self.query(context, to, 0, Statement::IsInRecovery),
            ["cancel", to, query] => {
                let connection = self.connection(context, server(to));
                let query = query.parse().unwrap();
                context.send(connection, Packet::Cancel { query });
            }
            ["empty"] => {
                let contents = DataDirectory { initialized: true, ..DataDirectory::default() };
                context.write(DataRecord::Replace(Arc::new(contents)));
                context.sync();
            }
            ["disconnect"] => {
                for (_, connection) in std::mem::take(&mut self.connections) {
                    context.close(connection);
                }
            }
            ["start"] => context.start(self.spec.local.unwrap()),
            ["status"] => self.control(context, Control::Status),
            ["promote"] => self.control(context, Control::Promote),
            ["checkpoint"] => self.control(context, Control::Checkpoint),
            ["stop"] => self.control(context, Control::Stop(StopMode::Fast)),
            ["stop", "immediate"] => self.control(context, Control::Stop(StopMode::Immediate)),
            ["follow", name, ref slot @ ..] => {
                Self::change_settings(context, |settings| {
                    settings.standby = true;
                    settings.upstream = upstream(name, slot == ["slot"]);
                });
                if context.is_running(self.spec.local.unwrap()) {
                    self.control(context, Control::Reload);
                }
            }
            ["synchronous", ..] => {
                let rule = synchronous(&words[1..]);
                Self::change_settings(context, |settings| settings.synchronous_standbys = rule);
                self.control(context, Control::Reload);
            }
            ["slots", ..] => {
                let slots = words[1..].iter().map(|name| MemberId(name[1..].parse().unwrap()));
                Self::change_settings(context, |settings| settings.slots = slots.collect());
                self.control(context, Control::Reload);
            }
            ["rewind", to, history] => {
                // The leader's history as `timeline@end,...`; its current timeline is the next.
                let mut leader = models::postgres::TimelineHistory::default();
                for end in history.split(',').filter(|end| *end != "-") {
                    leader = leader.branch(Lsn(end.parse().unwrap()));
                }
                let records = context.storage().rewind_records(Lsn(to.parse().unwrap()), &leader);
                for record in records {
                    context.write(record);
                }
                context.sync();
            }
            _ => return false,
        }
        true
    }
}

pub const MS: SimDuration = SimDuration::from_millis(1);
/// One way between two hosts.
pub const LATENCY: SimDuration = SimDuration::from_micros(500);

/// A running world, told what to do step by step.
pub struct Cluster {
    pub world: World<Node>,
}

impl Cluster {
    /// `n1` is the primary, `n2` and `n3` stream from it; all are up.
    pub fn new() -> Self {
        Self::with(Parameters::default())
    }

    pub fn with(parameters: Parameters) -> Self {
        Self::seeded(parameters, Seed(7))
    }

    pub fn seeded(parameters: Parameters, seed: Seed) -> Self {
        Self::on_machines(parameters, &Inputs::default(), seed)
    }

    /// The same where things take as long as these inputs say.
    pub fn on_machines(parameters: Parameters, inputs: &Inputs, seed: Seed) -> Self {
        let (mut topology, zone) =
            Topology::single_zone(&LinkQuality::reliable(Distribution::Constant(LATENCY)));
        let hosts: Vec<HostId> =
            ["h1", "h2", "h3", "h4"].iter().map(|name| topology.add_host(zone, name)).collect();
        let mut builder: WorldBuilder<Node> = WorldBuilder::new(topology);
        let sync = Distribution::Constant(MS);
        let primary = DataDirectory::new_primary();
        let standby = primary.base_backup(upstream("n1", false));
        let contents = [&primary, &standby, &standby, &DataDirectory::default()];
        let volumes: Vec<_> = hosts
            .iter()
            .zip(contents)
            .map(|(host, data)| builder.add_volume(*host, Disk(data.clone()), &sync))
            .collect();
        let parameters = Arc::new(parameters);
        let durations = Arc::new(Durations::from(inputs));
        for index in 0..3 {
            builder.add_process(ProcessOptions {
                name: format!("n{}", index + 1),
                host: hosts[index],
                volume: volumes[index],
                starts_with_host: false,
                spec: NodeSpec::Server(Spec {
                    planted: models::Planted::Nothing,
                    member: MemberId(index as u8 + 1),
                    parameters: Arc::clone(&parameters),
                    durations: Arc::clone(&durations),
                }),
            });
        }
        for (index, name) in ["d1", "d2", "d3", "client"].into_iter().enumerate() {
            let local = (index < 3).then(|| ProcessId::from_index(index));
            builder.add_process(ProcessOptions {
                name: name.into(),
                host: hosts[index],
                volume: volumes[index],
                starts_with_host: true,
                spec: NodeSpec::Driver(DriverSpec { local }),
            });
        }
        let mut cluster = Self { world: builder.build(seed) };
        cluster.world.log(false);
        // The standbys are up before the primary at times, and then try again after 5 s.
        cluster.run(MS * 6_000);
        cluster
    }

    /// Runs for so long.
    pub fn run(&mut self, length: SimDuration) {
        let until = self.world.now() + length;
        let end = self.world.run(until, u64::MAX);
        assert!(matches!(end, sim_core::EndReason::Horizon | sim_core::EndReason::Quiescent), "{end:?}");
    }

    /// Damages the disk of a server from now on.
    pub fn harm(&mut self, server: &str, fault: impl FnOnce(Target) -> Fault, lasts: Option<SimDuration>) {
        self.inject(fault(Target::Process(server.into())), lasts);
    }

    fn inject(&mut self, fault: Fault, lasts: Option<SimDuration>) {
        let at = SimDuration::from_nanos(self.world.now().as_nanos());
        let fault = ScheduledFault { trigger: Trigger::At(at), fault, lasts };
        self.world.schedule(&Schedule(vec![fault])).unwrap();
    }

    /// Gives a driver a command and does not wait.
    pub fn tell(&mut self, driver: &str, command: &str) {
        let target = Target::Process(driver.into());
        let command = command.to_owned();
        self.inject(Fault::Command { target, command }, None);
        self.run(SimDuration::from_nanos(1));
        let delivered = self.world.delivered_faults().last().unwrap();
        assert!(delivered.accepted, "a driver does not know what to do");
    }

    /// Gives a driver a command, unless its host is down.
    pub fn try_tell(&mut self, driver: &str, command: &str) {
        let target = Target::Process(driver.into());
        let command = command.to_owned();
        self.inject(Fault::Command { target, command }, None);
        self.run(SimDuration::from_nanos(1));
    }

    pub fn insert(&mut self, to: &str, value: u64, commit: &str) {
        self.tell("client", &format!("insert {to} {value} {commit}"));
    }

    pub fn power_off(&mut self, host: &str, lasts: SimDuration) {
        let target = Target::Host(host.into());
        self.inject(Fault::PowerOff { target }, Some(lasts));
    }

    pub fn kill(&mut self, server: &str) {
        let target = Target::Process(server.into());
        self.inject(Fault::Kill { target }, None);
    }

    pub fn pause(&mut self, server: &str, lasts: SimDuration) {
        let target = Target::Process(server.into());
        self.inject(Fault::Pause { target }, Some(lasts));
    }

    pub fn freeze(&mut self, host: &str, lasts: SimDuration) {
        let target = Target::Host(host.into());
        self.inject(Fault::Freeze { target }, Some(lasts));
    }

    pub fn stall_disk(&mut self, host: &str, lasts: SimDuration) {
        let target = Target::Host(host.into());
        self.inject(Fault::DiskStall { target }, Some(lasts));
    }

    pub fn cut_off(&mut self, server: &str, lasts: SimDuration) {
        let fault = Fault::Partition {
            from: vec![Target::Process(server.into())],
            to: vec![Target::Others],
            direction: sim_core::Direction::Both,
        };
        self.inject(fault, Some(lasts));
    }

    pub fn driver(&self, name: &str) -> &Driver {
        match self.world.process(self.world.find(name).unwrap()) {
            Some(Node::Driver(driver)) => driver,
            other => panic!("{name} is {other:?}"),
        }
    }

    /// What the client was answered to this query (its value for inserts, 0 for others), the last time.
    pub fn answer(&self, query: u64) -> Option<Answer> {
        let answers = &self.driver("client").answers;
        answers.iter().rfind(|(other, _)| *other == query).map(|(_, answer)| *answer)
    }

    /// What a client counts on this server now.
    pub fn count(&mut self, on: &str) -> Option<Answer> {
        let before = self.driver("client").answers.len();
        self.tell("client", &format!("count {on}"));
        self.run(MS * 5);
        let answers = &self.driver("client").answers;
        answers.get(before).map(|(_, answer)| *answer)
    }

    /// The newest row of each session that a client sees on this server now.
    pub fn newest(&mut self, on: &str) -> Vec<u64> {
        self.tell("client", &format!("newest {on}"));
        self.run(MS * 5);
        self.driver("client").newest.clone()
    }

    /// The status that the driver beside a server is told now.
    pub fn status(&mut self, driver: &str) -> Status {
        self.tell(driver, "status");
        self.run(MS * 2);
        (**self.driver(driver).statuses.last().unwrap()).clone()
    }

    pub fn data(&self, name: &str) -> &DataDirectory {
        &self.world.storage(server(name)).0
    }

    pub fn rows(&self, name: &str) -> Vec<u64> {
        self.data(name).rows().collect()
    }

    pub fn runs(&self, name: &str) -> bool {
        self.world.process(server(name)).is_some()
    }

    pub fn said(&self, words: &str) -> usize {
        let entries = self.world.log_entries();
        entries.iter().filter(|entry| entry.text.contains(words)).count()
    }
}
