//! Redis Cluster's failovers against measurements of the real software. Nothing is fitted; see `data/calibration/README.md`.
//!
//! Two sets: the rows of `redis-cluster.csv`, which `hasim calibrate` reads as well, and the times of elections that the
//! fidelity specification of Redis gives (section 10), of an unmodified 7.0.15 on loopback.

use std::fmt::Write as _;
use std::path::Path;

use analysis::stats::{QuantileLevel, Sample, kolmogorov_smirnov};
use models::Planted;
use models::redis::{Machine, Parameters, Purpose, Waking};
use models::redis_cluster::{ClusterConfig, ClusterLoad, ClusterPlan, RedisCluster, Refresh};
use scenarios::calibrate;
use sim_core::{
    Distribution, EndReason, Fault, MarkKind, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Topology, Trigger, advance_guarded,
};

/// How many runs stand for a configuration.
const RUNS: u64 = 150;
/// The largest distance of the distributions, unless chance alone exceeds it once in a hundred times.
const LARGEST_DISTANCE: f64 = 0.2;

/// 10 % of the measured time, or a quarter of a second if that is more.
fn is_close(measured: Option<SimDuration>, simulated: Option<SimDuration>) -> bool {
    match (measured, simulated) {
        (Some(measured), Some(simulated)) => {
            let apart = measured.max(simulated) - measured.min(simulated);
            apart <= (measured / 10).max(SimDuration::from_millis(250))
        }
        (measured, simulated) => measured == simulated,
    }
}

fn seconds(time: Option<SimDuration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

/// Asserts that medians, last deciles and distributions are as measured, but for those that are known to be apart: they are
/// named, so that neither a new one nor a mended one goes by unseen.
#[track_caller]
fn assert_agrees(folder: &str, title: &str, rows: usize, known: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let measurements = calibrate::read(&folder).expect("the rows can be read");
    let mut points = measurements.points.iter().filter(|point| point.system == "redis-cluster");
    let point = points.find(|point| point.title == title).expect("there are such rows");
    assert_eq!(point.measured_count, rows, "usable rows of the measurements");
    let mut table = String::new();
    let mut apart = Vec::new();
    for one in &point.compare(RUNS).quantities {
        let name = one.quantity;
        for (level, real, simulated) in
            [("p50", one.measured.p50, one.simulated.p50), ("p90", one.measured.p90, one.simulated.p90)]
        {
            let (real, simulated) = (real.value, simulated.value);
            if !is_close(real, simulated) {
                apart.push(format!("{name} {level}"));
            }
            let (real, simulated) = (seconds(real), seconds(simulated));
            writeln!(table, "{name:18} {level}  measured {real:>7}  simulated {simulated:>7}").unwrap();
        }
        let distance = one.distance.distance;
        if distance > LARGEST_DISTANCE.max(one.distance.critical_99) {
            apart.push(format!("{name} shape"));
        }
        writeln!(table, "{name:18} KS {distance:.2}, by chance {:.2}", one.distance.critical_99).unwrap();
    }
    assert_eq!(apart, known, "{title}\n{table}");
}

#[test]
fn a_killed_primary_is_replaced_as_fast_as_measured() {
    // Roles were polled, and a real process takes its time to start.
    assert_agrees(
        "data/calibration",
        "primary killed cluster-node-timeout 5000 cluster-require-full-coverage yes, busy machine",
        30,
        &["demoted shape"],
    );
}

#[test]
fn a_stopped_primary_is_replaced_as_fast_as_measured() {
    // The first to suspect it is a node that asked somebody in between: half of this node timeout is the second in which gossip counts,
    // so that the others ask at the beginning of a second of the wall clock.
    assert_agrees(
        "data/calibration",
        "primary stopped cluster-node-timeout 2000 cluster-require-full-coverage yes, busy machine",
        15,
        &["demoted shape"],
    );
}

/// The same of what is the source of no input.
#[test]
fn primaries_that_nothing_is_taken_from_are_replaced_as_fast_as_measured() {
    assert_agrees(
        "data/measured",
        "primary killed cluster-node-timeout 2000 cluster-require-full-coverage no",
        20,
        // Some milliseconds in which the writer's own process woke up.
        &["other shard's gap shape", "demoted shape"],
    );
    assert_agrees(
        "data/measured",
        "primary killed cluster-node-timeout 2000 cluster-require-full-coverage yes, busy machine",
        24,
        &["demoted shape"],
    );
    assert_agrees(
        "data/measured",
        "primary stopped cluster-node-timeout 2000 cluster-require-full-coverage yes, busy machine",
        24,
        &["demoted shape"],
    );
    assert_agrees(
        "data/measured",
        "primary stopped cluster-node-timeout 5000 cluster-require-full-coverage yes, busy machine",
        20,
        &["demoted shape"],
    );
}

/// Elections won, in hundredths of a second after the fault, as section 10 lists them.
const SILENT_5: [u64; 55] = [
    655, 676, 700, 705, 713, 714, 714, 720, 730, 741, 742, 747, 751, 753, 761, 764, 764, 765, 771, 777, 779,
    785, 787, 788, 792, 796, 796, 796, 797, 802, 809, 813, 814, 814, 814, 816, 823, 824, 824, 827, 835, 839,
    853, 859, 863, 864, 869, 871, 878, 891, 903, 904, 966, 973, 975,
];
const RESET_5: [u64; 64] = [
    675, 675, 691, 692, 694, 702, 706, 708, 713, 718, 721, 723, 723, 727, 733, 736, 741, 741, 741, 741, 751,
    757, 762, 767, 767, 769, 783, 791, 796, 797, 803, 804, 805, 809, 811, 811, 813, 814, 816, 817, 819, 820,
    822, 823, 823, 829, 831, 835, 835, 842, 846, 857, 857, 859, 863, 868, 872, 875, 890, 892, 897, 898, 907,
    946,
];
const SILENT_15: [u64; 71] = [
    1625, 1635, 1731, 1750, 1770, 1777, 1778, 1778, 1798, 1804, 1824, 1844, 1847, 1848, 1850, 1860, 1862,
    1864, 1869, 1871, 1872, 1884, 1885, 1885, 1886, 1890, 1897, 1916, 1921, 1927, 1928, 1930, 1932, 1965,
    1984, 1985, 1998, 1999, 2002, 2003, 2008, 2016, 2023, 2035, 2053, 2057, 2065, 2073, 2074, 2078, 2082,
    2090, 2109, 2109, 2121, 2127, 2129, 2133, 2139, 2164, 2164, 2178, 2184, 2190, 2268, 2273, 2281, 2285,
    2290, 2314, 2365,
];
const RESET_15: [u64; 48] = [
    1703, 1737, 1755, 1770, 1773, 1790, 1840, 1842, 1844, 1848, 1856, 1860, 1864, 1866, 1868, 1877, 1880,
    1909, 1925, 1965, 1985, 2002, 2009, 2023, 2029, 2037, 2051, 2066, 2068, 2074, 2083, 2084, 2090, 2092,
    2098, 2104, 2107, 2117, 2127, 2136, 2164, 2170, 2186, 2193, 2222, 2314, 2363, 2403,
];

fn election(node_timeout: u64, is_silent: bool, seed: u64) -> Option<SimDuration> {
    let plan = ClusterPlan {
        nodes: 6,
        shards: 3,
        hosts: 6,
        config: ClusterConfig {
            node_timeout: SimDuration::from_secs(node_timeout),
            ..ClusterConfig::default()
        },
        parameters: Parameters { save: Vec::new(), ..Parameters::default() },
        machine: Machine::default(),
        disk_sync: Distribution::Constant(SimDuration::from_micros(250)),
        waking: Waking::default(),
        load: ClusterLoad {
            writers: 0,
            write_interval: SimDuration::from_millis(100),
            purpose: Purpose::Values,
            timeout: SimDuration::from_secs(1),
            beside_nodes: false,
            refresh: Refresh::OnError,
            wait_for: None,
            local_writers: false,
            other_writers: None,
            expires_every: None,
            stop_at: None,
        },
        operator: None,
        planted: Planted::Nothing,
    };
    let (topology, zones) = Topology::one_zone();
    let mut world = RedisCluster::new(&plan, (topology, zones.to_vec())).world(Seed(seed));
    let mut random = Seed(seed).stream("moment of the fault", 0);
    let at = SimDuration::from_secs(20) + random.duration(SimDuration::ZERO, SimDuration::from_secs(10));
    let target = Target::Process("redis-1".to_owned());
    let fault = if is_silent { Fault::Pause { target } } else { Fault::Kill { target } };
    world
        .schedule(&Schedule(vec![ScheduledFault { trigger: Trigger::At(at), fault, lasts: None }]))
        .expect("redis-1 is there");
    let fault = SimTime::ZERO + at;
    let end = advance_guarded(&mut world, fault + SimDuration::from_secs(2 * node_timeout), 10_000_000);
    assert_eq!(end, EndReason::Horizon, "seed {seed}");
    let elected = world.marks().iter().find(|mark| mark.kind == MarkKind::Elected)?;
    Some(elected.at.since(fault))
}

#[test]
fn elections_are_won_when_they_were_in_the_laboratory() {
    let cases: [(u64, bool, &[u64]); 4] =
        [(5, true, &SILENT_5), (5, false, &RESET_5), (15, true, &SILENT_15), (15, false, &RESET_15)];
    for (node_timeout, is_silent, measured) in cases {
        let measured = Sample::new(measured.iter().map(|time| Some(SimDuration::from_millis(time * 10))));
        let simulated = Sample::new((0..RUNS).map(|seed| election(node_timeout, is_silent, seed)));
        let what = format!("cluster-node-timeout {node_timeout}, silent {is_silent}");
        for level in [QuantileLevel::P10, QuantileLevel::P50, QuantileLevel::P90] {
            let (real, simulated) = (measured.quantile(level).value, simulated.quantile(level).value);
            assert!(is_close(real, simulated), "{what}: {} is not {}", seconds(simulated), seconds(real));
        }
        let distance = kolmogorov_smirnov(&measured, &simulated).expect("neither is empty").distance;
        assert!(distance <= LARGEST_DISTANCE, "{what}: KS {distance:.2}");
    }
}
