//! A family whose models go wrong, each seed in its own way.

use std::sync::atomic::{AtomicU64, Ordering};

use analysis::MeasureOptions;
use sim_core::{
    Completion, ConnectionEvent, ConnectionId, Context, Distribution, LinkQuality, OperationKind, Origin,
    Outcome, Process, ProcessId, ProcessOptions, Schedule, Seed, SimDuration, SimTime, Topology, World,
    WorldBuilder,
};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::{Execution, WorldExecution};
use crate::family::{Family, FaultError, Forkable, LogLevel, RunResult, System, add_faults};
use crate::testing::Values;

/// A scenario for the unruly family, without faults.
pub(crate) const UNRULY: &str = r#"name = "patroni/test/unruly"
summary = "Models go wrong."
family = "patroni"
promises = ["no-acknowledged-write-lost"]
horizon = "60s"
event_budget = 20000
"#;

/// The seed whose model panics.
pub(crate) const PANICS: u64 = 1;
/// The seed whose model keeps itself busy at one instant.
pub(crate) const LIVELOCKS: u64 = 2;
/// The seed whose model has more to do than the event budget allows.
pub(crate) const TOILS: u64 = 3;
/// The seed whose model looks at something outside of the run.
pub(crate) const LEAKS: u64 = 4;

/// The family. All other seeds behave.
pub(crate) struct Unruly;

impl Family for Unruly {
    fn name(&self) -> &'static str {
        "patroni"
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(Box::new(UnrulySystem {
            horizon: case.scenario.horizon,
            event_budget: case.scenario.event_budget,
        }))
    }
}

struct UnrulySystem {
    horizon: SimDuration,
    event_budget: u64,
}

impl UnrulySystem {
    fn world(seed: Seed) -> World<Client> {
        let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_millis(1)));
        let (mut topology, zone) = Topology::single_zone(&link);
        let host = topology.add_host(zone, "app-1");
        let mut builder = WorldBuilder::new(topology);
        let sync = Distribution::Constant(SimDuration::from_millis(1));
        let volume = builder.add_volume(host, Values::default(), &sync);
        builder.add_process(ProcessOptions {
            name: "client-1".to_owned(),
            host,
            volume,
            starts_with_host: true,
            spec: seed.0,
        });
        builder.build(seed)
    }
}

impl System for UnrulySystem {
    fn process_names(&self) -> Vec<String> {
        vec!["client-1".to_owned()]
    }

    fn measure_options(&self) -> MeasureOptions {
        MeasureOptions::default()
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        add_faults(&mut Self::world(Seed(0)), schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        self.start(seed, schedule, log).finish()
    }
}

impl Forkable for UnrulySystem {
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution> {
        let horizon = SimTime::ZERO + self.horizon;
        let surviving = |_: &World<Client>| (0..100_000).collect();
        Box::new(
            WorldExecution::new(Self::world(seed), log, horizon, self.event_budget, surviving)
                .under(schedule),
        )
    }
}

/// Writes to itself every 100 ms, and goes wrong after 30 s as its seed says.
#[derive(Clone, Debug)]
struct Client {
    seed: u64,
    ticks: u64,
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct Tick;

/// What no model may have. It never gives a number twice, whatever runs beside it.
static LEAK: AtomicU64 = AtomicU64::new(0);

impl Process for Client {
    type Spec = u64;
    type Packet = u64;
    type Timer = Tick;
    type Storage = Values;

    fn boot(seed: &u64, context: &mut impl Context<Self>) -> Self {
        context.set_timer(Tick, SimDuration::from_millis(100));
        Self { seed: *seed, ticks: 0 }
    }

    fn on_packet(&mut self, _: &mut impl Context<Self>, _: Origin, _: u64) {}

    fn on_timer(&mut self, context: &mut impl Context<Self>, _: Tick) {
        self.ticks += 1;
        if self.ticks <= 300 {
            let operation = context.invoke(OperationKind::Write, self.ticks);
            context.complete(operation, Completion::answered(Outcome::Ok, ProcessId::from_index(0)));
            context.set_timer(Tick, SimDuration::from_millis(100));
            return;
        }
        let delay = match self.seed {
            PANICS => panic!("the client\nhas had enough"),
            LIVELOCKS => SimDuration::ZERO,
            TOILS => SimDuration::from_nanos(10_000),
            LEAKS => SimDuration::from_nanos(100_000_000 + LEAK.fetch_add(1, Ordering::Relaxed)),
            _ => SimDuration::from_millis(100),
        };
        context.set_timer(Tick, delay);
    }

    fn on_connection(
        &mut self,
        _: &mut impl Context<Self>,
        _: ConnectionId,
        _: ProcessId,
        _: ConnectionEvent,
    ) {
    }
}
