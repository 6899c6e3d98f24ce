//! Published figures of Raft elections, reproduced with the Raft core of the models.
//!
//! - V1: Ongaro's dissertation, chapter on leader election: `AvailSim` curves on a WAN.
//! - V2: Ongaro and Ousterhout, USENIX ATC 2014, figure 16: `LogCabin` on a LAN.
//! - V3: the closed form of the probability of a split vote (dissertation, appendix).
//!
//! Nothing is fitted: links, timeouts and syncs are those that the publications state.

use models::raft::{Config, Disk, Entry, HardState, Node, NodeId, NodeSpec, Term, Timing};
use sim_core::{
    Distribution, LinkQuality, MarkKind, ProcessId, ProcessOptions, Seed, SimDuration, SimTime, Topology,
    World, WorldBuilder,
};

const MICRO: SimDuration = SimDuration::from_micros(1);
const MILLI: SimDuration = SimDuration::from_millis(1);

/// One election among nodes that all begin to wait at the start.
struct Election {
    /// How many servers vote.
    nodes: usize,
    /// How many of them are down from the start: the last ones.
    failed: usize,
    /// How many of the others have a shorter log, and so cannot win.
    ineligible: usize,
    timeout: (SimDuration, SimDuration),
    one_way: Distribution,
    sync: Distribution,
    /// When nodes begin to wait.
    skew: (SimDuration, SimDuration),
}

impl Election {
    fn world(&self, seed: u64) -> World<Node> {
        let (mut topology, zone) = Topology::single_zone(&LinkQuality::reliable(self.one_way.clone()));
        let hosts: Vec<_> =
            (0..self.nodes).map(|index| topology.add_host(zone, &format!("host-{index}"))).collect();
        let nodes: Vec<_> = (0..self.nodes).map(ProcessId::from_index).collect();
        let mut builder = WorldBuilder::new(topology);
        for (index, host) in hosts.into_iter().enumerate() {
            let mut disk = Disk::default();
            if index >= self.ineligible {
                let term = Term(1);
                disk.log.push(Entry { term, payload: None });
            }
            disk.hard_state = HardState { term: Term(1), vote: None, commit: 0 };
            let volume = builder.add_volume(host, disk, &self.sync);
            let (min, max) = self.timeout;
            let timing = Timing::Range { min, max, heartbeat: min / 2 };
            builder.add_process(ProcessOptions {
                name: format!("node-{index}"),
                host,
                volume,
                starts_with_host: index < self.nodes - self.failed,
                spec: NodeSpec {
                    config: Config::thesis(NodeId(index as u8), self.nodes as u8, timing),
                    nodes: nodes.clone(),
                    starts_after: self.skew,
                    proposes_every: SimDuration::ZERO,
                },
            });
        }
        builder.build(Seed(seed))
    }

    /// Runs until so many marks of a kind were left. Gives when the last of them was, and its term.
    fn until(&self, seed: u64, kind: MarkKind, count: usize) -> (SimTime, u64) {
        let mut world = self.world(seed);
        let mut seen = 0;
        loop {
            assert!(world.step(), "an election never falls asleep");
            let marks = world.marks();
            if marks.len() == seen {
                continue;
            }
            seen = marks.len();
            let last = marks[seen - 1];
            let of_kind = marks.iter().filter(|mark| mark.kind == kind && mark.value == last.value).count();
            if last.kind == kind && of_kind == count {
                return (last.at, last.value);
            }
        }
    }
}

/// Times in milliseconds, sorted.
struct Times(Vec<f64>);

impl Times {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn quantile(&self, quantile: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * quantile).round() as usize]
    }

    fn summary(&self) -> String {
        format!(
            "n={} mean={:.1} min={:.1} p10={:.1} p50={:.1} p90={:.1} p99={:.1}",
            self.0.len(),
            self.mean(),
            self.quantile(0.0),
            self.quantile(0.1),
            self.quantile(0.5),
            self.quantile(0.9),
            self.quantile(0.99)
        )
    }
}

/// Asserts that a figure is within a tolerance of the published one.
#[track_caller]
fn check(what: &str, figure: f64, published: f64, tolerance: f64, times: &Times) {
    assert!(
        (figure / published - 1.0).abs() <= tolerance,
        "{what} is {figure:.1} ms, published {published:.1} ms (tolerance {tolerance}); {}",
        times.summary()
    );
}

fn wan(failed: usize) -> Times {
    let election = Election {
        nodes: 5,
        failed,
        ineligible: 0,
        timeout: (MILLI * 300, MILLI * 600),
        one_way: Distribution::Uniform(MILLI * 30, MILLI * 40),
        sync: Distribution::Constant(SimDuration::ZERO),
        skew: (SimDuration::ZERO, SimDuration::ZERO),
    };
    Times::of((0..10_000).map(|seed| election.until(seed, MarkKind::Elected, 1).0.as_secs_f64() * 1e3))
}

/// V1. 10,000 elections for each curve, as published; figures in milliseconds, digitised from the thesis.
#[track_caller]
fn check_wan(failed: usize, mean: f64, p50: f64, p99: f64) {
    let times = wan(failed);
    check("the mean", times.mean(), mean, 0.03, &times);
    check("the median", times.quantile(0.5), p50, 0.02, &times);
    check("the 99th percentile", times.quantile(0.99), p99, 0.06, &times);
}

#[test]
fn v1_wan_election_of_five() {
    check_wan(0, 429.9, 409.5, 833.0);
}

#[test]
fn v1_wan_election_of_five_with_one_failed() {
    check_wan(1, 468.6, 423.3, 1005.0);
}

#[test]
fn v1_wan_election_of_five_with_two_failed() {
    check_wan(2, 631.0, 468.5, 1929.0);
}

/// V2. Four survivors of five, two of them with shorter logs. The leader crashed at a uniform instant of its heartbeat
/// interval, which is half the minimum timeout; time runs until the other survivors hear the new leader.
fn lan(min: u64, max: u64, trials: u64) -> Times {
    let election = Election {
        nodes: 5,
        failed: 1,
        ineligible: 2,
        timeout: (MILLI * min, MILLI * max),
        one_way: Distribution::Uniform(MICRO * 300, MICRO * 4_000),
        // A request takes 0.3 to 4 ms; a vote's way back takes 3 to 8 ms: the way of a packet, and the disk.
        sync: Distribution::Uniform(MICRO * 2_700, MICRO * 4_000),
        skew: (MICRO * 100, MICRO * 500),
    };
    let mut crash = Seed(min * 1_000 + max).stream("crash of the leader", 0);
    Times::of((0..trials).map(|seed| {
        let since_heartbeat = crash.duration(SimDuration::ZERO, MILLI * min / 2).as_secs_f64();
        let heard = election.until(seed, MarkKind::Agreed, 3).0.as_secs_f64();
        (heard - since_heartbeat) * 1e3
    }))
}

#[test]
fn v2_lan_election_with_wide_timeouts() {
    for (min, max, p50) in [(150, 200, 146.5), (150, 300, 171.3), (50, 100, 66.7)] {
        let times = lan(min, max, 4_000);
        check("the median", times.quantile(0.5), p50, 0.05, &times);
        // Half the minimum timeout passes at least, then a vote.
        let floor = min as f64 / 2.0;
        let least = times.quantile(0.0);
        assert!(least > floor && least < floor + 25.0, "{}", times.summary());
    }
}

#[test]
fn v2_lan_election_with_narrow_timeouts() {
    let mut medians = Vec::new();
    for (min, max, p50) in [(150, 151, 1199.0), (150, 155, 287.3), (12, 24, 30.0)] {
        let times = lan(min, max, 1_000);
        let median = times.quantile(0.5);
        assert!(median > p50 / 2.0 && median < p50 * 2.0, "{}", times.summary());
        medians.push(median);
    }
    assert!(medians[0] > medians[1] && medians[1] > medians[2], "{medians:?}");
}

/// V3. `s` live nodes of `n` with fixed latency `l`, as a part of the range of timeouts: a split happens when the c-th
/// shortest timeout ends within `l` of the shortest, c = s - floor(n / 2) + 1. With timeouts U(0, 1) that difference is
/// the (c-1)-th order statistic's: Beta(c - 1, s - c + 2).
fn split_probability(nodes: u32, live: u32, latency: f64) -> f64 {
    let rank = live - nodes / 2 + 1;
    // P(Beta(a, b) <= x) for whole a, b is the chance of at least a successes in a + b - 1 trials of probability x.
    let (successes, failures) = (rank - 1, live - rank + 2);
    let trials = successes + failures - 1;
    let term = |count: u32| {
        let chosen = (0..count).map(|i| latency * f64::from(trials - i) / f64::from(i + 1));
        let others = (count..trials).map(|_| 1.0 - latency);
        chosen.chain(others).product::<f64>()
    };
    (successes..=trials).map(term).sum()
}

#[test]
fn v3_the_closed_form_gives_the_printed_values() {
    for (nodes, live, latency, percent, half) in [
        (5, 4, 0.01, 0.06, 0.005),
        (5, 4, 0.1, 5.2, 0.05),
        (5, 4, 0.2, 18.1, 0.05),
        (5, 3, 0.1, 27.1, 0.05),
        (5, 3, 0.2, 48.8, 0.05),
        (7, 6, 0.2, 9.9, 0.05),
        (9, 7, 0.2, 14.8, 0.05),
        (9, 6, 0.2, 34.5, 0.05),
        (9, 5, 0.1, 41.0, 0.05),
        (9, 5, 0.2, 67.2, 0.05),
    ] {
        let closed = 100.0 * split_probability(nodes, live, latency);
        assert!((closed - percent).abs() <= half, "n={nodes} s={live} l={latency}: {closed}");
    }
}

#[test]
fn v3_votes_split_as_often_as_the_closed_form_says() {
    for (nodes, live, percent) in [(5, 4, 10), (5, 4, 20), (5, 3, 10), (5, 3, 20), (7, 6, 20), (9, 5, 20)] {
        let range = MILLI * 1_000;
        let latency = MILLI * 10 * percent;
        let election = Election {
            nodes,
            failed: nodes - live,
            ineligible: 0,
            timeout: (range, range * 2),
            one_way: Distribution::Constant(latency),
            sync: Distribution::Constant(SimDuration::ZERO),
            skew: (SimDuration::ZERO, SimDuration::ZERO),
        };
        let trials = 4_000;
        // All begin in term 1; whoever is elected in the first round is elected in term 2.
        let split =
            (0..trials).filter(|seed| election.until(*seed, MarkKind::Elected, 1).1 > 2).count() as f64;
        let expected = split_probability(nodes as u32, live as u32, percent as f64 / 100.0);
        let band = 3.29 * (expected * (1.0 - expected) / trials as f64).sqrt();
        let found = split / trials as f64;
        assert!((found - expected).abs() <= band, "n={nodes} s={live} l={percent}%: {found}");
    }
}
