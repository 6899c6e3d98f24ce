//! Declared inputs of servers, Sentinels and nodes of a cluster: durations that the models do not derive but take from
//! measurements of the real software, or of what it asks of its machine. None of them comes from the failovers that the
//! models are held to.

use sim_core::{Distribution, SimDuration};

use super::parameters::Machine;

/// How long what is not looked into takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Each of the three syncs by which a Sentinel saves its file. One `fdatasync` of 2 kB: median 0.25 ms (README of the calibration
    /// measurements); the spread is an assumption.
    pub save_sync: Distribution,
    /// One way between two processes, what it takes the other one to notice included, on one host or two; none: that of the link.
    pub one_way: Option<Distribution>,
    /// From the start of a server's process until it listens: [`Machine::start`] of a run.
    pub start: Distribution,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            save_sync: Distribution::LogNormal { median: SimDuration::from_micros(250), sigma_percent: 50 },
            one_way: None,
            start: Distribution::Constant(Machine::default().start),
        }
    }
}

impl Inputs {
    /// The inputs of a machine whose two processors and whose disk are kept busy by other jobs, as that of the calibration
    /// measurements was.
    ///
    /// - `save_sync`: 900 syncs of 300 files of 1.8 kB that were saved as a Sentinel saves its own (a new file, its folder, the file
    ///   again; ext4, load 8 to 11), at the same priority as the measured programs: `tests/data/inputs/save.csv`. A new file has to
    ///   wait for the journal, which is why a sync takes so much longer than the `fdatasync` of a file that exists.
    /// - `one_way`: half of a round trip with a `SET`, the middles of twenty equal parts of those 1,000 that were made without any fault
    ///   at load 16.5, as that of the failovers (`latency.csv` of the calibration measurements, note `busy_host`).
    /// - `start`: 200 starts of Redis 7.0.15 without data, in a network namespace as those of the harness, at load 9 to 13:
    ///   `tests/data/inputs/start.csv`.
    pub fn on_busy_machine() -> Self {
        let micros = SimDuration::from_micros;
        let syncs = SAVE_SYNCS_MICROS.map(micros);
        let round_trips = [
            40, 45, 49, 56, 70, 88, 102, 115, 129, 148, 170, 212, 248, 306, 383, 540, 688, 1_037, 1_501,
            3_430,
        ];
        Self {
            save_sync: Distribution::Empirical(syncs.to_vec()),
            one_way: Some(Distribution::Empirical(round_trips.map(|length| micros(length) / 2).to_vec())),
            start: Distribution::Empirical(START_MICROS.map(micros).to_vec()),
        }
    }
}

/// The middles of twenty equal parts of the measured syncs.
const SAVE_SYNCS_MICROS: [u64; 20] = [
    391, 1327, 2605, 3798, 3991, 4027, 4280, 5377, 6612, 7914, 7993, 8016, 8527, 9655, 11_902, 12_033,
    12_682, 15_237, 16_116, 18_367,
];

/// The middles of twenty equal parts of the measured starts.
const START_MICROS: [u64; 20] = [
    23_616, 27_533, 30_299, 33_465, 35_742, 37_233, 38_537, 40_275, 42_871, 45_572, 48_470, 50_168, 52_227,
    56_173, 60_281, 62_635, 66_218, 68_343, 76_261, 82_857,
];
