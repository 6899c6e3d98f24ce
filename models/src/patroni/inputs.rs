//! Declared inputs: durations that the models do not derive but take from measurements of the real software.
//!
//! This is the one file of them, but for those of API servers and Services of Kubernetes, which stand in their
//! specifications. Each names its source. Nothing else in the Patroni model is fitted to anything.

use sim_core::{Distribution, Sampler, SimDuration};

use crate::placement::LinkInputs;

/// How long the real software takes for what the models do not look into.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// From the lock until the server accepts writes, without WAL left to replay and without
    /// `restore_command`, the end of the cycle included, for which `pg_ctl promote` waits (`async_executor.py:run`): 70 to 210 ms, mean 120 ms over 12 promotions (Patroni 4.1.5, `PostgreSQL` 15.18, idle machine;
    /// fidelity specification of Patroni, section 8.2, first row).
    pub promotion: Distribution,
    /// What a promotion takes longer when the log ends in the last quarter of its segment: before it accepts writes, the server fills
    /// and syncs the next segment, 16 MB (`xlog.c:PreallocXlogFiles`): 20 to 55 ms in 9 failovers of an idle machine (`tests/data/inputs/failover.csv`).
    pub segment_fill: Distribution,
    /// From the startup process' request for a walreceiver until that asks its upstream: the postmaster forks it. 34 starts on an idle
    /// machine, from the end of a stream until the next connection was refused (`tests/data/inputs/walreceiver.csv`).
    pub walreceiver_start: Distribution,
    /// From Patroni's decision to start `PostgreSQL` until the postmaster runs: a fresh Python interpreter forks it,
    /// 0.8 to 1.5 s (fidelity specification, section 5.2).
    pub postmaster_spawn: Distribution,
    /// From the start of the postmaster until it accepts connections when there is nothing to replay: 0.1 to 0.3 s
    /// (fidelity specification, section 5.2).
    pub postmaster_start: Distribution,
    /// How long a server that was not shut down in order looks after the files of its data directory before it replays
    /// anything: it opens and fsyncs each of them (`SyncDataDirectory`, `recovery_init_sync_method = fsync`), so that this
    /// grows with their number and with the latency of the disk. Nothing by default: a disk that has nothing to write for
    /// them, or `syncfs`. Measured: [`Self::on_busy_machine`].
    pub data_directory_sync: Distribution,
    /// One `fdatasync` of a server or of etcd: median 0.25 ms for 2 kB (README of the calibration measurements); the
    /// spread is an assumption.
    pub disk_sync: Distribution,
    /// How long a demotion asks for `archive_mode` and `archive_command` before it stops the server (since 4.1.0,
    /// `rewind.py:get_archive_command`): two runs of `postgres -C`, 40 times on an idle machine (`tests/data/inputs/archive.csv`).
    pub archive_inquiry: Distribution,
    /// From the end of the cycle in which a leader decided to hand over until it asks for the fast stop: that inquiry, a session, and a
    /// checkpoint that has next to nothing to write. 40 switchovers of Patroni 4.1.5 (`tests/data/inputs/switchover.csv`); releases before
    /// 4.1.0 do not inquire, but are taken to need as long.
    pub handover: Distribution,
    /// From a client's connection until its backend has authenticated it and answers the first statement: the fork, and SCRAM. 150 logins
    /// on an idle machine, by deciles (`tests/data/inputs/login.csv`).
    pub login: Distribution,
    /// Redo rate of crash recovery in bytes a second; an assumption of the fidelity specification (section 4.4: 50 to
    /// 200 MB/s).
    pub redo_bytes_per_second: u64,
    /// From the start of the Patroni process until its first HA cycle, interpreter included: 2.9 to 7.3 s after a kill
    /// (fidelity specification, sections 5.4 and 8.2; measured on a loaded machine). Also used when a host boots: an
    /// assumption, counted from the start of the service.
    pub patroni_start: Distribution,
    /// How long `pg_rewind` runs: 2 to 10 s. An assumption: the fidelity specification (section 2.10) says seconds to
    /// minutes, by the number of changed blocks; this stands for a small database.
    pub rewind: Distribution,
    /// How long `pg_basebackup` takes to copy the data files: 20 to 40 s. An assumption: 2 to 4 GB at 100 MB/s.
    pub base_backup: Distribution,
    /// From the decision to poll other members until the requests are on their way (threads, HTTP): about 20 ms for a
    /// whole poll of members that answer (fidelity specification, sections 5.2 and 5.5); the spread of 10 to 30 ms is an
    /// assumption. It matters to a race while WAL still flows: a member samples its own position before, those of the
    /// others after it.
    pub rest_poll: Distribution,
    /// What a member of etcd takes for a request of Patroni beside round trips, consensus and syncs: HTTP, the JSON of its gateway, the turns of
    /// its threads. 400 serializable ranges, which ask nobody else and sync nothing, on an idle machine (`tests/data/inputs/gateway.csv`).
    pub gateway: Distribution,
    /// What lies between hosts, where it is not as the placement has it.
    pub links: LinkInputs,
}

impl Default for Inputs {
    fn default() -> Self {
        let (millis, micros) = (SimDuration::from_millis, SimDuration::from_micros);
        Self {
            promotion: Distribution::Uniform(millis(70), millis(210)),
            segment_fill: Distribution::Uniform(millis(20), millis(55)),
            walreceiver_start: empirical(millis, &WALRECEIVER_START_MILLIS),
            postmaster_spawn: Distribution::Uniform(millis(800), millis(1_500)),
            postmaster_start: Distribution::Uniform(millis(100), millis(300)),
            data_directory_sync: Distribution::Constant(SimDuration::ZERO),
            disk_sync: Distribution::LogNormal { median: SimDuration::from_micros(250), sigma_percent: 50 },
            archive_inquiry: empirical(millis, &ARCHIVE_INQUIRY_MILLIS),
            handover: empirical(millis, &HANDOVER_MILLIS),
            login: empirical(micros, &LOGIN_MICROS),
            redo_bytes_per_second: 100_000_000,
            patroni_start: Distribution::Uniform(millis(2_900), millis(7_300)),
            rewind: Distribution::Uniform(millis(2_000), millis(10_000)),
            base_backup: Distribution::Uniform(millis(20_000), millis(40_000)),
            rest_poll: Distribution::Uniform(millis(10), millis(30)),
            gateway: empirical(micros, &GATEWAY_MICROS),
            links: LinkInputs::default(),
        }
    }
}

impl Inputs {
    /// The inputs of a machine whose two processors and whose disk are kept busy by other jobs, as that of the calibration
    /// measurements was. What is not named here is as on an idle one.
    ///
    /// - `promotion`: 0.22 to 0.45 s from the lock to the first write, in 8 failovers with `primary_start_timeout: 0` (fidelity
    ///   specification, section 8.2, a row marked as busy; six switchovers gave 0.22 to 0.43 s).
    /// - `segment_fill`: 14 failovers of real clusters at loads of 10 to 20, whose log ended in the last quarter of its segment
    ///   (`tests/data/inputs/failover.csv`).
    /// - `walreceiver_start`: 116 starts at loads of 12 to 25 (`tests/data/inputs/walreceiver.csv`).
    /// - `postmaster_spawn`: 0.43 to 1.09 s in 59 starts; `postmaster_start`: 0.02 to 0.11 s in 20 starts after an orderly
    ///   shutdown; `data_directory_sync`: the deciles of what 39 starts after a SIGKILL took longer than the median of those
    ///   (1,032 files, load 7 to 11). All with Patroni's own code, without a cluster: `tests/data/inputs`.
    /// - `archive_inquiry`: 60 beside compilers and two clusters (`tests/data/inputs/archive.csv`).
    /// - `gateway`: the middles of twenty equal parts of 400 serializable ranges, which ask nobody else and sync nothing, at load 19
    ///   (`latency.csv` of the calibration measurements, note `busy_host`).
    /// - `login`: the deciles of 900 logins at three servers at once, as the client of those measurements asks them (same folder).
    pub fn on_busy_machine() -> Self {
        let (millis, micros) = (SimDuration::from_millis, SimDuration::from_micros);
        let deciles = [2_358, 3_126, 3_309, 3_378, 3_413, 3_469, 3_577, 3_719, 3_744, 4_002, 4_282];
        Self {
            promotion: Distribution::Uniform(millis(220), millis(450)),
            segment_fill: empirical(millis, &BUSY_SEGMENT_FILL_MILLIS),
            walreceiver_start: empirical(millis, &BUSY_WALRECEIVER_START_MILLIS),
            postmaster_spawn: Distribution::Uniform(millis(430), millis(1_090)),
            postmaster_start: Distribution::Uniform(millis(20), millis(110)),
            data_directory_sync: Distribution::Empirical(deciles.map(millis).to_vec()),
            login: empirical(micros, &BUSY_LOGIN_MICROS),
            gateway: empirical(micros, &BUSY_GATEWAY_MICROS),
            archive_inquiry: empirical(millis, &BUSY_ARCHIVE_INQUIRY_MILLIS),
            ..Self::default()
        }
    }

    /// The inputs of a machine at a load of 40 to 53, half of whose two processors' time went to five clusters of Patroni, with priority over
    /// compilers. What is not named here is as on a busy one. All from `tests/data/inputs`:
    ///
    /// - `promotion`: 106 failovers whose log did not end in the last quarter of its segment, from the lock until the server was out of
    ///   recovery, but for two in which it waited for `wal_retrieve_retry_interval`, which the model has as a rule;
    /// - `segment_fill`: what the end of 25 others took longer, whose log did;
    /// - `walreceiver_start`: 53 starts;
    /// - `archive_inquiry`: 60 at loads of 19 to 21, beside five clusters and compilers;
    /// - `rest_poll`: 68 races in Patroni's own logs, from the news that the leader key is gone until the last answer;
    /// - `gateway`: 400 serializable ranges; `login`: 450 logins at three servers at once.
    pub fn on_crowded_machine() -> Self {
        let (millis, micros) = (SimDuration::from_millis, SimDuration::from_micros);
        Self {
            promotion: empirical(millis, &CROWDED_PROMOTION_MILLIS),
            segment_fill: empirical(millis, &CROWDED_SEGMENT_FILL_MILLIS),
            walreceiver_start: empirical(millis, &CROWDED_WALRECEIVER_START_MILLIS),
            rest_poll: empirical(millis, &CROWDED_POLL_MILLIS),
            login: empirical(micros, &CROWDED_LOGIN_MICROS),
            gateway: empirical(micros, &CROWDED_GATEWAY_MICROS),
            archive_inquiry: empirical(millis, &CROWDED_ARCHIVE_INQUIRY_MILLIS),
            ..Self::on_busy_machine()
        }
    }
}

/// A distribution through these points, evenly spaced quantiles.
fn empirical(unit: impl Fn(u64) -> SimDuration, points: &[u64]) -> Distribution {
    Distribution::Empirical(points.iter().map(|point| unit(*point)).collect())
}

// Middles of equal parts of what was measured, but for the logins: from the shortest to the longest, by deciles.
const ARCHIVE_INQUIRY_MILLIS: [u64; 10] = [38, 43, 44, 46, 47, 48, 49, 51, 54, 57];
const BUSY_ARCHIVE_INQUIRY_MILLIS: [u64; 10] = [83, 115, 158, 184, 241, 274, 311, 348, 489, 563];
const CROWDED_ARCHIVE_INQUIRY_MILLIS: [u64; 10] = [202, 317, 443, 603, 673, 718, 851, 916, 1_106, 2_144];
const HANDOVER_MILLIS: [u64; 10] = [145, 157, 162, 176, 182, 190, 204, 214, 219, 233];
const WALRECEIVER_START_MILLIS: [u64; 10] = [7, 9, 12, 13, 14, 16, 18, 20, 25, 31];
const BUSY_WALRECEIVER_START_MILLIS: [u64; 20] =
    [14, 19, 23, 27, 32, 36, 38, 42, 45, 49, 52, 56, 61, 66, 70, 76, 88, 99, 125, 171];
const CROWDED_WALRECEIVER_START_MILLIS: [u64; 10] = [8, 15, 22, 32, 43, 48, 56, 66, 84, 157];
const BUSY_SEGMENT_FILL_MILLIS: [u64; 10] = [94, 129, 158, 186, 204, 212, 233, 271, 285, 339];
const LOGIN_MICROS: [u64; 11] =
    [8_100, 10_500, 11_900, 13_000, 14_100, 14_700, 15_700, 17_500, 18_900, 20_300, 47_100];
const GATEWAY_MICROS: [u64; 20] = [
    1_110, 1_150, 1_200, 1_250, 1_300, 1_330, 1_390, 1_430, 1_480, 1_530, 1_580, 1_660, 1_730, 1_800, 1_870,
    1_940, 2_050, 2_210, 2_510, 3_520,
];
const BUSY_LOGIN_MICROS: [u64; 11] =
    [10_800, 23_100, 27_400, 30_300, 33_000, 36_000, 39_000, 41_800, 45_200, 50_200, 64_100];
const BUSY_GATEWAY_MICROS: [u64; 20] = [
    1_230, 1_425, 1_618, 1_763, 1_950, 2_098, 2_226, 2_416, 2_619, 2_902, 3_165, 3_472, 4_069, 4_716, 5_406,
    6_862, 8_413, 10_498, 14_293, 23_255,
];
const CROWDED_PROMOTION_MILLIS: [u64; 20] =
    [195, 224, 266, 278, 300, 317, 334, 344, 357, 370, 400, 423, 443, 452, 473, 492, 526, 560, 583, 635];
const CROWDED_SEGMENT_FILL_MILLIS: [u64; 10] = [48, 66, 74, 79, 86, 133, 174, 200, 262, 350];
const CROWDED_POLL_MILLIS: [u64; 20] =
    [19, 38, 43, 51, 59, 64, 68, 76, 80, 87, 96, 115, 122, 137, 147, 155, 177, 191, 231, 313];
const CROWDED_LOGIN_MICROS: [u64; 11] =
    [14_600, 50_400, 67_200, 85_700, 103_300, 116_000, 128_700, 149_900, 177_200, 226_300, 409_400];
const CROWDED_GATEWAY_MICROS: [u64; 20] = [
    1_992, 2_138, 2_290, 2_444, 2_562, 2_663, 2_773, 2_957, 3_092, 3_286, 3_524, 3_806, 4_005, 4_376, 5_005,
    5_484, 6_556, 7_817, 10_149, 23_426,
];

/// The inputs that Patroni itself draws from; those of `PostgreSQL` belong to the server's specification.
#[derive(Clone, Debug)]
pub struct InputSamplers {
    /// [`Inputs::postmaster_spawn`].
    pub postmaster_spawn: Sampler,
    /// [`Inputs::postmaster_start`].
    pub postmaster_start: Sampler,
    /// [`Inputs::data_directory_sync`].
    pub data_directory_sync: Sampler,
    /// [`Inputs::archive_inquiry`].
    pub archive_inquiry: Sampler,
    /// [`Inputs::handover`].
    pub handover: Sampler,
    /// [`Inputs::redo_bytes_per_second`].
    pub redo_bytes_per_second: u64,
    /// [`Inputs::patroni_start`].
    pub patroni_start: Sampler,
    /// [`Inputs::rewind`].
    pub rewind: Sampler,
    /// [`Inputs::base_backup`].
    pub base_backup: Sampler,
    /// [`Inputs::rest_poll`].
    pub rest_poll: Sampler,
    /// [`Inputs::gateway`].
    pub gateway: Sampler,
}

impl From<&Inputs> for InputSamplers {
    fn from(inputs: &Inputs) -> Self {
        Self {
            postmaster_spawn: inputs.postmaster_spawn.sampler(),
            postmaster_start: inputs.postmaster_start.sampler(),
            data_directory_sync: inputs.data_directory_sync.sampler(),
            archive_inquiry: inputs.archive_inquiry.sampler(),
            handover: inputs.handover.sampler(),
            redo_bytes_per_second: inputs.redo_bytes_per_second,
            patroni_start: inputs.patroni_start.sampler(),
            rewind: inputs.rewind.sampler(),
            base_backup: inputs.base_backup.sampler(),
            rest_poll: inputs.rest_poll.sampler(),
            gateway: inputs.gateway.sampler(),
        }
    }
}
