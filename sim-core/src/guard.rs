//! Guards around a run: a horizon, an event budget, and isolation of panics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::process::Process;
use crate::record::{EndReason, Record};
use crate::time::SimTime;
use crate::world::World;

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of models off the terminal: inside a guarded run they become findings. Panics elsewhere are printed as
/// before.
#[derive(Debug)]
pub struct PanicQuiet;

impl PanicQuiet {
    /// Installs the hook, once for the process.
    pub fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if IN_RUN.get() {
                    LAST_PANIC.set(Some(info.to_string()));
                } else {
                    previous(info);
                }
            }));
        });
    }
}

/// How many more events a spent budget is given, on a copy of the world, to see how fast virtual time goes on.
const PACE_EVENTS: u64 = 10_000;

/// More events than any honest run has: ten thousand million take hours.
const ENDLESS: u128 = 10_000_000_000;

/// Runs a world to its horizon or its event budget. A panic of a model ends the run as a finding
/// ([`EndReason::Panicked`]) and never reaches the caller. A spent budget is told apart from a livelock
/// ([`EndReason::Livelock`]) by the pace of virtual time after it.
pub fn run_guarded<P: Process>(world: &mut World<P>, horizon: SimTime, event_budget: u64) -> Record {
    let end = match advance_guarded(world, horizon, event_budget) {
        EndReason::EventBudget if is_livelock(world, horizon, advance_guarded) => EndReason::Livelock,
        end => end,
    };
    world.record(end)
}

/// As [`run_guarded`], but leaves the world as it is at the end, so that it can be forked or go on. A world whose model
/// panicked must not go on: the handler that panicked left its work half done.
pub fn advance_guarded<P: Process>(world: &mut World<P>, until: SimTime, event_budget: u64) -> EndReason {
    PanicQuiet::install();
    IN_RUN.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(until, event_budget)));
    IN_RUN.set(false);
    result.unwrap_or_else(|payload| {
        let message = LAST_PANIC.take().unwrap_or_else(|| {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned())
        });
        EndReason::Panicked(message.replace('\n', " "))
    })
}

/// True if, at the pace of the next events, the horizon would take longer than anybody can wait: for a world whose event
/// budget is spent. The events are tried on a copy, so the run keeps its digest; `advance` is [`advance_guarded`], or a
/// function of the models that does it.
pub fn is_livelock<P: Process>(
    world: &World<P>,
    horizon: SimTime,
    advance: impl FnOnce(&mut World<P>, SimTime, u64) -> EndReason,
) -> bool {
    let mut copy = world.clone();
    // Whatever else ends the copy, a panic too, would have come after the end of the run: it is not this run's.
    advance(&mut copy, horizon, world.events() + PACE_EVENTS) == EndReason::EventBudget && {
        let pace = u128::from(copy.now().since(world.now()).as_nanos());
        let left = u128::from(horizon.since(world.now()).as_nanos());
        left * u128::from(PACE_EVENTS) > ENDLESS * pace
    }
}
