//! Declared inputs of servers, Sentinels and nodes of a cluster: durations that the models do not derive but take from
//! measurements of the real software, or of what it asks of its machine. None of them comes from the failovers that the
//! models are held to.

use sim_core::{Distribution, Sampler, SimDuration, Stream};

use super::parameters::Machine;

/// How long what is not looked into takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Each of the three syncs by which a Sentinel saves its file. One `fdatasync` of 2 kB: median 0.25 ms (README of the calibration
    /// measurements); the spread is an assumption.
    pub save_sync: Distribution,
    /// Each of the two syncs by which a server rewrites its file.
    pub rewrite_sync: Distribution,
    /// The sync of `nodes.conf`.
    pub nodes_conf_sync: Distribution,
    /// One way between two processes, what it takes the other one to notice included, on one host or two; none: that of the link.
    pub one_way: Option<Distribution>,
    /// From the start of a server's process until it listens: [`Machine::start`] of a run.
    pub start: Distribution,
    /// From SIGKILL of a server until those who are connected to it read the end.
    pub exit: Distribution,
    /// From SIGCONT of a server until the first of three Sentinels has read all that it has asked meanwhile. A Sentinel asks an instance that
    /// it does not know yet for `INFO` with each tick until it is told (`sentinelSendPeriodicCommands`): about 40 times in the three
    /// seconds after it has made a former primary a replica. The last answer of 5 kB sets the clock for the next question.
    pub backlog: Distribution,
    /// How late processes are woken.
    pub waking: Waking,
}

/// How late processes are woken that sleep for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Waking {
    /// A Sentinel, from one tick to the next: what `epoll_wait` takes more than its time-out.
    pub timer: Distribution,
    /// A client that pauses.
    pub pause: Distribution,
    /// A client that waits for an answer.
    pub wait: Distribution,
}

impl Default for Waking {
    /// In time.
    fn default() -> Self {
        let in_time = Distribution::Constant(SimDuration::ZERO);
        Self { timer: in_time.clone(), pause: in_time.clone(), wait: in_time }
    }
}

impl Waking {
    /// What clients draw from.
    pub fn of_clients(&self) -> Lateness {
        Lateness { pause: self.pause.sampler(), wait: self.wait.sampler() }
    }
}

/// How late clients are woken, to draw from.
#[derive(Clone, Debug)]
pub struct Lateness {
    pause: Sampler,
    wait: Sampler,
}

impl Default for Lateness {
    /// In time.
    fn default() -> Self {
        let in_time = Sampler::Constant(SimDuration::ZERO);
        Self { pause: in_time.clone(), wait: in_time }
    }
}

impl Lateness {
    /// How long somebody pauses who means to do so for this long. Who does not mean to is not woken.
    pub(crate) fn pause(&self, random: &mut Stream, length: SimDuration) -> SimDuration {
        if length == SimDuration::ZERO { length } else { length + self.pause.draw(random) }
    }

    /// How long somebody waits for an answer who means to wait for this long.
    pub(crate) fn wait(&self, random: &mut Stream, length: SimDuration) -> SimDuration {
        length + self.wait.draw(random)
    }
}

fn empirical(micros: [u64; 20]) -> Distribution {
    Distribution::Empirical(micros.map(SimDuration::from_micros).to_vec())
}

impl Default for Inputs {
    /// The inputs of a machine that does little else.
    ///
    /// `exit`, `backlog`, `waking`: as [`Inputs::on_busy_machine`], at loads up to 3.5 (`backlog`: falling from 11 to 3).
    fn default() -> Self {
        let sync = Distribution::LogNormal { median: SimDuration::from_micros(250), sigma_percent: 50 };
        Self {
            save_sync: sync.clone(),
            rewrite_sync: sync.clone(),
            nodes_conf_sync: sync,
            one_way: None,
            start: Distribution::Constant(Machine::default().start),
            exit: empirical(IDLE_EXIT),
            backlog: empirical(IDLE_BACKLOG),
            waking: Waking {
                timer: empirical(IDLE_TIMER),
                pause: empirical(IDLE_PAUSE),
                wait: empirical(IDLE_WAIT),
            },
        }
    }
}

impl Inputs {
    /// The inputs of a machine whose two processors and whose disk are kept busy by other jobs, as that of the calibration
    /// measurements was.
    ///
    /// - `save_sync`, `rewrite_sync`, `nodes_conf_sync`: 681, 144 and 773 syncs of real Sentinels, servers and nodes in 72 failovers, at the
    ///   priority of the measured programs, on ext4, beside three builds (load 11 to 19): `tests/data/inputs/sync.csv`. Half of them take
    ///   about a millisecond and a tenth of them 8 to 10: the kernel's thread that writes the journal waits for a processor.
    /// - `one_way`: half of a round trip with a `SET`, the middles of twenty equal parts of those 1,000 that were made without any fault
    ///   at load 16.5, as that of the failovers (`latency.csv` of the calibration measurements, note `busy_host`).
    /// - `start`: 200 starts of Redis 7.0.15 without data, in a network namespace as those of the harness, at load 9 to 13:
    ///   `tests/data/inputs/start.csv`.
    /// - `exit`, `backlog`, `waking`: 120 kills, 25 stops and some hundreds of time-outs of Redis 7.0.15 and of the clients of the
    ///   measurements, at the same priority beside compilers, at loads of 6.5 to 23: `tests/data/inputs/waking.csv`. Who sleeps for tens
    ///   of milliseconds is woken milliseconds late there, at this priority too, while the answers of `one_way` come at once.
    pub fn on_busy_machine() -> Self {
        let one_way = ROUND_TRIP.map(|length| SimDuration::from_micros(length) / 2);
        Self {
            save_sync: empirical(SAVE_SYNC),
            rewrite_sync: empirical(REWRITE_SYNC),
            nodes_conf_sync: empirical(NODES_CONF_SYNC),
            one_way: Some(Distribution::Empirical(one_way.to_vec())),
            start: empirical(START),
            exit: empirical(BUSY_EXIT),
            backlog: empirical(BUSY_BACKLOG),
            waking: Waking {
                timer: empirical(BUSY_TIMER),
                pause: empirical(BUSY_PAUSE),
                wait: empirical(BUSY_WAIT),
            },
        }
    }
}

// The middles of twenty equal parts of what was measured, in microseconds.

const SAVE_SYNC: [u64; 20] = [
    63, 82, 98, 117, 141, 161, 207, 260, 347, 431, 586, 964, 1644, 2730, 3796, 4747, 6830, 7845, 9738, 12770,
];
const REWRITE_SYNC: [u64; 20] = [
    109, 130, 159, 184, 304, 391, 496, 704, 980, 1237, 1793, 2434, 3235, 4120, 5246, 6384, 7698, 8763, 9710,
    11956,
];
const NODES_CONF_SYNC: [u64; 20] = [
    157, 211, 253, 305, 359, 427, 537, 655, 982, 1326, 2093, 2747, 3216, 3683, 4625, 5650, 6665, 7628, 9427,
    12296,
];
const ROUND_TRIP: [u64; 20] =
    [40, 45, 49, 56, 70, 88, 102, 115, 129, 148, 170, 212, 248, 306, 383, 540, 688, 1037, 1501, 3430];
const START: [u64; 20] = [
    23_616, 27_533, 30_299, 33_465, 35_742, 37_233, 38_537, 40_275, 42_871, 45_572, 48_470, 50_168, 52_227,
    56_173, 60_281, 62_635, 66_218, 68_343, 76_261, 82_857,
];
const IDLE_EXIT: [u64; 20] = [
    958, 972, 993, 1002, 1007, 1011, 1015, 1027, 1048, 1052, 1062, 1065, 1066, 1081, 1114, 1145, 1243, 1403,
    1506, 1613,
];
const IDLE_BACKLOG: [u64; 20] = [
    4000, 4000, 4000, 4700, 4800, 4900, 4900, 5600, 11_000, 11_900, 11_900, 13_600, 14_100, 14_300, 14_300,
    21_900, 22_100, 37_900, 37_900, 52_400,
];
const IDLE_TIMER: [u64; 20] =
    [111, 118, 123, 126, 130, 133, 136, 139, 142, 144, 147, 150, 155, 158, 163, 167, 172, 176, 187, 219];
const IDLE_PAUSE: [u64; 20] =
    [89, 93, 96, 100, 103, 107, 110, 113, 116, 120, 122, 125, 128, 132, 136, 141, 146, 152, 172, 278];
const IDLE_WAIT: [u64; 20] = [
    308, 476, 616, 824, 1050, 1087, 1098, 1104, 1110, 1113, 1116, 1123, 1126, 1133, 1137, 1141, 1151, 1163,
    1175, 1305,
];
const BUSY_EXIT: [u64; 20] = [
    927, 950, 965, 989, 1007, 1028, 1048, 1111, 1206, 3762, 4102, 5108, 8024, 9093, 10_690, 12_044, 13_782,
    16_133, 20_872, 52_942,
];
const BUSY_BACKLOG: [u64; 20] = [
    2984, 6083, 8049, 11_442, 11_970, 14_039, 16_702, 19_694, 20_610, 22_677, 24_676, 27_511, 31_444, 32_764,
    43_767, 56_689, 72_999, 75_547, 94_820, 101_133,
];
const BUSY_TIMER: [u64; 20] = [
    117, 127, 133, 140, 146, 152, 159, 168, 351, 1618, 1949, 2827, 3758, 3954, 4822, 5496, 6755, 7961, 9958,
    17_818,
];
const BUSY_PAUSE: [u64; 20] = [
    98, 105, 111, 115, 119, 124, 134, 202, 293, 529, 1413, 1739, 2350, 2936, 3639, 4461, 5536, 6519, 8919,
    13_765,
];
const BUSY_WAIT: [u64; 20] = [
    537, 1096, 1106, 1113, 1119, 1131, 1150, 1203, 1304, 2103, 3427, 3658, 4852, 5598, 7445, 7785, 9322,
    13_251, 18_293, 37_562,
];
