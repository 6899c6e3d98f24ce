//! The border between campaigns and models: a family builds a system from a case, and a system runs seeds.
//!
//! Campaigns, replays and the command know only these traits. There is one dynamic call for each run, or for
//! each [`Execution`] step; inside everything is dispatched statically.

use analysis::{MeasureOptions, SurvivingValues};
use sim_core::{DeliveredFault, Process, Record, Schedule, Seed, TraceEntry, World};

use crate::case::Case;
use crate::diagnostic::UserError;
use crate::execution::Execution;

/// The models of one protocol.
pub trait Family: Sync {
    /// What scenario files call it.
    fn name(&self) -> &'static str;

    /// Builds what a case describes.
    ///
    /// # Errors
    /// What these models cannot build, with its place in the scenario file.
    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError>;
}

/// What scenario files may call things in the clusters of a family. A file is checked before any of its cluster is built.
#[derive(Clone, Copy, Debug)]
pub struct FamilyWords {
    /// The family.
    pub name: &'static str,
    /// The roles that a fault may aim at ([`sim_core::Process::plays`]).
    pub roles: &'static [&'static str],
    /// What a process can be found to play when a fault hits it ([`sim_core::Process::role`]), and `none`.
    pub played: &'static [&'static str],
    /// What the processes are called, without their numbers.
    pub processes: &'static [&'static str],
}

/// A system under test: everything of a case but the seed and the schedule.
pub trait System: Send + Sync {
    /// The names of the processes, in the order of their identities. They are the same for every seed.
    fn process_names(&self) -> Vec<String>;

    /// What the measures have to know about the system.
    fn measure_options(&self) -> MeasureOptions;

    /// Checks the targets of a schedule against the names in the cluster; see [`add_faults`].
    ///
    /// # Errors
    /// The first fault whose target does not exist.
    fn check(&self, schedule: &Schedule) -> Result<(), FaultError>;

    /// Runs one seed under a schedule: a pure function of both. Panics of models end the run, not the caller
    /// (see [`sim_core::run_guarded`]).
    ///
    /// # Panics
    /// If [`Self::check`] refuses the schedule.
    fn run(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> RunResult;

    /// Seeds with the same number begin alike: it is worth the while to run them from one [`Self::warm_up`].
    fn block(&self, seed: Seed) -> u64 {
        seed.0
    }

    /// The run of this seed up to where it goes its own way, for [`Execution::branch`]; none if it does so from the start.
    fn warm_up(&self, seed: Seed) -> Option<Box<dyn Execution>> {
        let _ = seed;
        None
    }
}

/// A system whose runs can be stopped at any instant, looked at and forked. Not every host of processes has such runs:
/// campaigns and judges do with [`System`], while shrinking, explaining and stepping ask for this.
pub trait Forkable: System {
    /// Begins the run of one seed under a schedule, and stops before its first event. To its end, it is the run of
    /// [`System::run`].
    ///
    /// # Panics
    /// If [`System::check`] refuses the schedule.
    fn start(&self, seed: Seed, schedule: &Schedule, log: LogLevel) -> Box<dyn Execution>;
}

/// How much a run writes down for a person to read. The log changes nothing in the run.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// Nothing: for campaigns.
    #[default]
    Off,
    /// Notes, marks and faults.
    Story,
    /// Every packet as well.
    Packets,
}

/// What a run leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    /// History, marks, digest and end.
    pub record: Record,
    /// What the final primary holds.
    pub surviving: SurvivingValues,
    /// What became of the faults.
    pub faults: Vec<DeliveredFault>,
    /// The log, if one was asked for.
    pub log: Vec<TraceEntry>,
}

/// A fault that the cluster cannot suffer, because it has nothing of that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("fault {position}: {message}")]
pub struct FaultError {
    /// The position in the schedule, from 0.
    pub position: usize,
    /// What is wrong, with the names that there are.
    pub message: String,
}

/// Adds a schedule to a world, fault by fault, so that an error knows which one it is about.
///
/// # Errors
/// The first fault whose target does not exist.
pub fn add_faults<P: Process>(world: &mut World<P>, schedule: &Schedule) -> Result<(), FaultError> {
    for (position, fault) in schedule.0.iter().enumerate() {
        world.schedule(&Schedule(vec![fault.clone()])).map_err(|message| FaultError { position, message })?;
    }
    Ok(())
}

/// Builds the system of a case and checks every fault that a seed may bring; errors point into the scenario file.
///
/// # Errors
/// A family that this build does not have, what its models cannot build, or a fault on something that does not exist.
pub fn build(families: &[&dyn Family], case: &Case) -> Result<Box<dyn Forkable>, UserError> {
    let wanted = case.scenario.family();
    let family = families.iter().find(|family| family.name() == wanted).ok_or_else(|| {
        UserError::new(format!(
            "`{}` needs the models of `{wanted}`, which this build of hasim does not have",
            case.scenario.name
        ))
    })?;
    let system = family.build(case)?;
    system.check(&case.scenario.all_faults()).map_err(|error| {
        match case.scenario.fault_spot(error.position) {
            Some(spot) => UserError::at(spot, error.message, "no such target in this cluster"),
            None => UserError::new(error.to_string()),
        }
    })?;
    Ok(system)
}
