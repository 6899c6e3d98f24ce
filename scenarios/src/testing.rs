//! A small family for the tests of this crate: one server, one client. With `synchronous_mode: on` the server
//! acknowledges what is durable; without, it acknowledges at once and loses the last writes with its power.

pub(crate) mod unruly;

use std::sync::Arc;

use analysis::MeasureOptions;
use models::patroni::SynchronousMode;
use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, LinkQuality, MarkKind,
    OperationId, OperationKind, Origin, Outcome, Process, ProcessId, ProcessOptions, Schedule, Seed,
    SimDuration, SimTime, Storage, SyncId, Topology, World, WorldBuilder,
};

use crate::case::Case;
use crate::diagnostic::{Source, UserError};
use crate::execution::{Execution, WorldExecution};
use crate::family::{Family, FaultError, Forkable, LogLevel, RunResult, System, add_faults};
use crate::scenario::Scenario;

/// A scenario for the small family. `variant` is `async` or `sync`.
pub(crate) fn scenario_text(variant: &str) -> String {
    let (promise, mode) = match variant {
        "sync" => ("no-acknowledged-write-lost", "on"),
        _ => ("loss-is-found", "off"),
    };
    format!(
        r#"name = "patroni/test/{variant}"
summary = "The server loses power."
family = "patroni"
promises = ["{promise}", {{ recovers-within = "20s" }}]
horizon = "60s"

[cluster.patroni]
synchronous_mode = "{mode}"

[[fault]]
trigger = {{ at = "20s..30s" }}
fault = {{ power-off = {{ target = {{ host-of = "primary" }} }} }}
lasts = "5s"
"#
    )
}

/// The case of a scenario text, without settings of a user.
pub(crate) fn case(text: &str) -> Case {
    let files = std::collections::BTreeMap::new();
    let scenario = Scenario::read(&Source::new("test.toml", text), &files).unwrap();
    Case::new(&Arc::new(scenario), &crate::case::UserSettings::default()).unwrap()
}

/// The family. Its name is that of the only family that scenario files may name.
pub(crate) struct Small;

impl Family for Small {
    fn name(&self) -> &'static str {
        "patroni"
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(Box::new(SmallSystem {
            careful: case.configuration.synchronous_mode == SynchronousMode::On,
            horizon: case.scenario.horizon,
            event_budget: case.scenario.event_budget,
        }))
    }
}

struct SmallSystem {
    careful: bool,
    horizon: SimDuration,
    event_budget: u64,
}

impl SmallSystem {
    fn world(&self, seed: Seed) -> World<Node> {
        let millis = SimDuration::from_millis;
        let link = LinkQuality::reliable(Distribution::Uniform(millis(1), millis(2)));
        let (mut topology, zone) = Topology::single_zone(&link);
        let server = ProcessId::from_index(0);
        let placed = [("db-1", "postgres-1", None), ("app-1", "client-1", Some(server))];
        let hosts = placed.map(|(host, _, _)| topology.add_host(zone, host));
        let mut builder = WorldBuilder::new(topology);
        for ((_, name, server), host) in placed.into_iter().zip(hosts) {
            let volume = builder.add_volume(host, Values::default(), &Distribution::Constant(millis(4)));
            builder.add_process(ProcessOptions {
                name: name.to_owned(),
                host,
                volume,
                starts_with_host: true,
                spec: Spec { server, careful: self.careful },
            });
        }
        builder.build(seed)
    }
}

impl System for SmallSystem {
    fn process_names(&self) -> Vec<String> {
        let world = self.world(Seed(0));
        world.process_ids().map(|process| world.name(process).to_owned()).collect()
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions::default()
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut self.world(Seed(0)), schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        self.start(seed, schedule, log).finish()
    }
}

impl Forkable for SmallSystem {
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let horizon = SimTime::ZERO + self.horizon;
        let surviving =
            |world: &World<Node>| world.storage(ProcessId::from_index(0)).0.iter().copied().collect();
        Box::new(
            WorldExecution::new(self.world(seed), log, horizon, self.event_budget, surviving).under(schedule),
        )
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Values(Vec<u64>);

impl Storage for Values {
    type Record = u64;
    fn apply(&mut self, record: &u64) {
        self.0.push(*record);
    }
}

#[derive(Clone, Debug)]
struct Spec {
    /// For the client: whom to write to.
    server: Option<ProcessId>,
    careful: bool,
}

#[derive(Clone, Debug)]
struct Node {
    spec: Spec,
    connection: Option<ConnectionId>,
    /// The client's: what it waits for. The server's: what it owes.
    pending: Vec<(OperationId, u64)>,
    owed: Vec<(SyncId, ConnectionId, u64)>,
    next: u64,
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct Tick;

impl Node {
    fn dial(&mut self, context: &mut impl Context<Self>) {
        let options = ConnectOptions { user_timeout: Some(SimDuration::from_secs(1)), keep_alive: None };
        self.connection = self.spec.server.map(|server| context.connect(server, options));
    }
}

impl Process for Node {
    type Spec = Spec;
    type Packet = u64;
    type Timer = Tick;
    type Storage = Values;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let mut node =
            Self { spec: spec.clone(), connection: None, pending: Vec::new(), owed: Vec::new(), next: 0 };
        if spec.server.is_some() {
            node.dial(context);
            context.set_timer(Tick, SimDuration::from_millis(5));
        } else {
            context.mark(MarkKind::Writable, 0);
        }
        node
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, value: u64) {
        let Origin::Connection(connection, server) = from else {
            return;
        };
        if self.spec.server.is_some() {
            if let Some(position) = self.pending.iter().position(|(_, written)| *written == value) {
                let (operation, _) = self.pending.remove(position);
                context.complete(operation, Completion::answered(Outcome::Ok, server));
            }
            return;
        }
        context.write(value);
        let sync = context.sync();
        if self.spec.careful {
            self.owed.push((sync, connection, value));
        } else {
            context.send(connection, value);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, _timer: Tick) {
        if let Some(connection) = self.connection {
            self.next += 1;
            let operation = context.invoke(OperationKind::Write, self.next);
            self.pending.push((operation, self.next));
            context.send(connection, self.next);
        }
        context.set_timer(Tick, SimDuration::from_millis(5));
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        let lost = !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened);
        if lost && self.spec.server.is_some() {
            for (operation, _) in std::mem::take(&mut self.pending) {
                context.complete(operation, Completion::without_answer(Outcome::Unknown));
            }
            context.note(|| format!("connection lost: {event:?}"));
            self.dial(context);
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        for (asked, connection, value) in &self.owed {
            if *asked <= sync {
                context.send(*connection, *value);
            }
        }
        self.owed.retain(|(asked, _, _)| *asked > sync);
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "primary" => self.spec.server.is_none(),
            "client" => self.spec.server.is_some(),
            _ => false,
        }
    }
}
