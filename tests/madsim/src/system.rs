//! Scenarios on this host: a system whose runs are madsim's.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use analysis::MeasureOptions;
use madsim::Config;
use madsim::runtime::Runtime;
use models::patroni::ClusterProcess;
use scenarios::family::{FaultError, LogLevel, RunResult, System};
use scenarios::patroni::PatroniSystem;
use sim_core::{Schedule, Seed};

use crate::faults::supports;
use crate::pace::Pace;
use crate::simulation::{Options, Simulation};

/// The system of a case, on madsim: campaigns and judges take it like the native one. A run is a stack of futures, which can
/// neither be stopped half way nor forked, so it is no [`Forkable`](scenarios::family::Forkable).
#[derive(Clone, Debug)]
pub struct OnMadsim(pub PatroniSystem);

impl System for OnMadsim {
    fn process_names(&self) -> Vec<String> {
        self.0.process_names()
    }

    fn measure_options(&self) -> MeasureOptions {
        self.0.measure_options()
    }

    fn check(&self, schedule: &Schedule) -> Result<(), FaultError> {
        for (position, scheduled) in schedule.0.iter().enumerate() {
            supports(&scheduled.fault).map_err(|message| FaultError { position, message })?;
        }
        self.0.check(schedule)
    }

    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult {
        let options =
            Options { pace: Pace::FINE, event_budget: self.0.event_budget, log, ..Options::new(seed) };
        let runtime = Runtime::with_seed_and_config(seed.0, Config::default());
        let started: OnceCell<Simulation<ClusterProcess>> = OnceCell::new();
        // A panic of a model ends its run as a finding, and never the campaign.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let simulation =
                    started.get_or_init(|| Simulation::start(&self.0.cluster.blueprint(), &options));
                simulation.limit_faults(Arc::clone(&self.0.budgets));
                simulation.schedule(schedule).expect("the schedule was checked");
                simulation.run_until(self.0.horizon).await;
                simulation.stop().await;
            });
        }));
        let panicked = ended.err().map(|payload| {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned())
                .replace('\n', " ")
        });
        let outcome = started.get().expect("making a world does not panic").outcome(panicked);
        RunResult {
            surviving: self.0.cluster.surviving(&outcome),
            record: outcome.record,
            faults: outcome.faults,
            log: outcome.log,
        }
    }
}
