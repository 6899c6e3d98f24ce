//! Holding the models to failovers that were measured on the real software.
//!
//! A folder of measurements holds one CSV file for each system, with one row for each failover. Rows with the same
//! configuration and the same fault make a *point*. For each point the simulator is set to that configuration, to the client and
//! the network of the measurements and to the declared inputs ([`models::patroni::Inputs`]), and run. What can be read from both
//! is compared: the whole outage, and each phase. Nothing is fitted: no row has any influence on a run beyond the settings
//! that it names.
//!
//! # The rule
//!
//! A quantity agrees if the simulated median and last decile are within 10 % of the measured ones or within 0.5 s (of Sentinel
//! 0.25 s), whichever is more, and the distance of Kolmogorov and Smirnov between the two samples is at most 0.2. A few dozen failovers can be further
//! apart than 0.2 by chance: the bound is then the distance that chance alone exceeds once in a hundred times (its
//! 1 % critical value). A point agrees if all its quantities do.
//!
//! A quantile of a dozen failovers is itself uncertain by seconds. Where the simulated one is outside the tolerance and inside
//! the 95 % interval of the measured one, the quantity is undecided: more trials would tell.
//!
//! # What is left out
//!
//! Rows whose `note` begins with `excluded` (the harness itself disturbed them). An empty field is a thing that did not happen
//! before the trial was over: it counts in n and is longer than everything observed. A column that is empty in all rows of a
//! point was not measured for its fault.

mod beside;
mod compare;
pub mod etcd;
pub mod patroni;
pub mod redis_cluster;
mod rows;
mod saving;
mod sentinel;

use std::path::Path;

use analysis::stats::Sample;
use rayon::prelude::*;
use serde::Serialize;
use sim_core::SimDuration;

pub use compare::{Agreement, Comparison, Side};

use crate::diagnostic::{Remark, UserError};
use rows::Row;

/// The measurements of a folder.
#[derive(Debug)]
pub struct Measurements {
    /// The points, in the order of their settings.
    pub points: Vec<Point>,
    /// What is odd about the files.
    pub remarks: Vec<Remark>,
}

/// One configuration under one fault.
#[derive(Debug)]
pub struct Point {
    /// The name of the system, such as `patroni`.
    pub system: &'static str,
    /// The fault and the settings, for people.
    pub title: String,
    /// How many usable rows there are.
    pub measured_count: usize,
    samples: Vec<(&'static str, Sample)>,
    setup: Setup,
}

/// What is run for a point.
#[derive(Debug)]
enum Setup {
    Patroni(Box<patroni::Setup>),
    Etcd(etcd::Setup),
    Sentinel(Box<sentinel::Setup>),
    RedisCluster(Box<redis_cluster::Setup>),
}

/// A point, measured and simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The name of the system.
    pub system: &'static str,
    /// The fault and the settings.
    pub title: String,
    /// How many failovers were measured.
    pub measured_count: usize,
    /// How many were simulated.
    pub simulated_count: u64,
    /// The worst of the quantities.
    pub agreement: Agreement,
    /// What was compared.
    pub quantities: Vec<Comparison>,
}

/// One way between two hosts of the measurements: half of the 35 µs of a round trip (their README).
const ONE_WAY: SimDuration = SimDuration::from_nanos(17_500);

/// The name of the quantity that the figures show.
pub const OUTAGE: &str = "outage";

/// Reads one file of measurements.
type Reader = fn(&Path, &mut Measurements) -> Result<(), UserError>;

/// The files that a folder may hold, one for each system.
const FILES: [(&str, Reader); 4] = [
    ("patroni.csv", patroni::read),
    ("etcd.csv", etcd::read),
    ("sentinel.csv", sentinel::read),
    ("redis-cluster.csv", redis_cluster::read),
];

/// Reads a folder with some of `patroni.csv`, `etcd.csv`, `sentinel.csv` and `redis-cluster.csv`.
///
/// # Errors
/// None is there, or one says something that cannot be.
pub fn read(folder: &Path) -> Result<Measurements, UserError> {
    let mut measurements = Measurements { points: Vec::new(), remarks: Vec::new() };
    let files = FILES.map(|(name, read)| (folder.join(name), read));
    if !files.iter().any(|(path, _)| path.exists()) {
        let names = FILES.map(|(name, _)| format!("`{name}`")).join(", ");
        return Err(UserError::new(format!("none of {names} is in `{}`", folder.display())).help(
            "name a folder of measurements; `tests/data/calibration/README.md` describes the columns",
        ));
    }
    for (path, read) in files.iter().filter(|(path, _)| path.exists()) {
        read(path, &mut measurements)?;
    }
    Ok(measurements)
}

/// A quantity as a file of measurements has it.
struct Measured {
    name: &'static str,
    value: fn(&Row) -> Result<Option<SimDuration>, UserError>,
}

/// A quantity that a file of measurements has, and a simulated trial as well.
struct Quantity<R> {
    name: &'static str,
    measured: fn(&Row) -> Result<Option<SimDuration>, UserError>,
    simulated: fn(&R) -> Option<SimDuration>,
}

impl<R> Quantity<R> {
    fn measured(&self) -> Measured {
        Measured { name: self.name, value: self.measured }
    }

    fn of(&self, run: &R) -> (&'static str, Option<SimDuration>) {
        (self.name, (self.simulated)(run))
    }
}

/// The samples of the rows of one point; those without any value are left out.
fn samples(
    quantities: impl IntoIterator<Item = Measured>,
    rows: &[Row],
) -> Result<Vec<(&'static str, Sample)>, UserError> {
    let mut samples = Vec::new();
    for quantity in quantities {
        let values = rows.iter().map(quantity.value).collect::<Result<Vec<_>, _>>()?;
        if values.iter().any(Option::is_some) {
            samples.push((quantity.name, Sample::new(values)));
        }
    }
    Ok(samples)
}

impl Point {
    /// Simulates it so many times and compares. Runs are spread over the threads of the pool that this is called in.
    pub fn compare(&self, runs: u64) -> Compared {
        let simulated: Vec<Vec<(&'static str, Option<SimDuration>)>> =
            (0..runs).into_par_iter().map(|run| self.setup.run(run, runs)).collect();
        let of =
            |name: &str| {
                Sample::new(simulated.iter().map(|run| {
                    run.iter().find(|(quantity, _)| *quantity == name).and_then(|(_, value)| *value)
                }))
            };
        let quantities: Vec<Comparison> = self
            .samples
            .iter()
            .filter_map(|(name, measured)| {
                Comparison::of(name, measured, &of(name), self.setup.least_tolerance())
            })
            .collect();
        Compared {
            system: self.system,
            title: self.title.clone(),
            measured_count: self.measured_count,
            simulated_count: runs,
            agreement: quantities.iter().map(|one| one.agreement).max().unwrap_or(Agreement::Agrees),
            quantities,
        }
    }
}

impl Setup {
    /// How far a quantile may be off, if a tenth of it is less.
    fn least_tolerance(&self) -> SimDuration {
        match self {
            Self::Patroni(_) | Self::Etcd(_) => SimDuration::from_millis(500),
            Self::Sentinel(_) | Self::RedisCluster(_) => SimDuration::from_millis(250),
        }
    }

    /// Run number `run` of `runs`: seed and moment of the fault follow from it.
    fn run(&self, run: u64, runs: u64) -> Vec<(&'static str, Option<SimDuration>)> {
        match self {
            Self::Patroni(setup) => setup.values(run, runs),
            Self::Etcd(setup) => setup.run(run),
            Self::Sentinel(setup) => setup.values(run, runs),
            Self::RedisCluster(setup) => setup.run(run),
        }
    }
}
