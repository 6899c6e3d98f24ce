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

/// Runs a world to its horizon or its event budget. A panic of a model ends the run as a finding
/// ([`EndReason::Panicked`]) and never reaches the caller.
pub fn run_guarded<P: Process>(world: &mut World<P>, horizon: SimTime, event_budget: u64) -> Record {
    let end = advance_guarded(world, horizon, event_budget);
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
