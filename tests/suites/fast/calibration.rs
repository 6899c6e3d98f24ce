//! Patroni's failovers against measurements of the real software, and against the formulas that its source gives.
//!
//! Nothing is fitted. The measured rows are in `data/calibration/patroni.csv`; the README there says how they were made.
//! The simulator is set to the same configuration, etcd without pre-vote and the same client. What it knows about
//! durations are its declared inputs (`models::patroni::Inputs`), whose sources are other measurements than these rows.
//!
//! The network of the measurements (35 µs for a round trip) is stood for by one zone (200 µs). A failover crosses it some
//! twenty times, so that this makes a few milliseconds.

use std::fmt::Write as _;

use analysis::measure::{Measures, SurvivingValues};
use analysis::stats::{QuantileLevel, Sample};
use analysis::{MeasureOptions, measure};
use models::patroni::{Configuration, Inputs, Load, PatroniCluster, Placement, Plan, Route, SynchronousMode};
use sim_core::{
    EndReason, Fault, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target, Trigger, run_guarded,
};

/// The measured rows, as they were written.
const MEASURED: &str = include_str!("../../data/calibration/patroni.csv");

/// When a cluster has settled: members take up to 7.3 s to start, and a synchronous standby some cycles to be confirmed.
const SETTLED: SimDuration = SimDuration::from_secs(45);

/// How many runs stand for a configuration.
const RUNS: u64 = 150;

const QUANTILES: [(&str, QuantileLevel); 3] =
    [("p10", QuantileLevel::P10), ("p50", QuantileLevel::P50), ("p90", QuantileLevel::P90)];

/// One configuration under one fault.
#[derive(Clone)]
struct Point {
    /// The word of the measurements for the fault.
    name: &'static str,
    fault: Fault,
    lasts: Option<SimDuration>,
    ttl: u64,
    loop_wait: u64,
    retry_timeout: u64,
    sync: bool,
    inputs: Inputs,
}

impl Point {
    fn new(name: &'static str, fault: Fault, [ttl, loop_wait, retry_timeout]: [u64; 3]) -> Self {
        let inputs = Inputs::default();
        Self { name, fault, lasts: None, ttl, loop_wait, retry_timeout, sync: false, inputs }
    }

    fn cluster(&self) -> PatroniCluster {
        let mode = if self.sync { SynchronousMode::On } else { SynchronousMode::Off };
        PatroniCluster::new(&Plan {
            etcd_pre_vote: false,
            placement: Placement::OneZone,
            configuration: Configuration {
                ttl: SimDuration::from_secs(self.ttl),
                loop_wait: SimDuration::from_secs(self.loop_wait),
                retry_timeout: SimDuration::from_secs(self.retry_timeout),
                synchronous_mode: mode,
                ..Configuration::default()
            },
            inputs: self.inputs.clone(),
            load: Load {
                writers: 1,
                write_interval: SimDuration::from_millis(50),
                route: Route::MultiHost,
                statement_timeout: SimDuration::from_secs(3),
                ..Load::default()
            },
            ..Plan::default()
        })
    }

    /// Runs it. The moments of the fault are spread evenly over one `loop_wait`; the phase of the HA loop is random
    /// besides.
    fn run(&self) -> Vec<Measures> {
        let cluster = self.cluster();
        let options = MeasureOptions { members: Some(cluster.members()), ..MeasureOptions::default() };
        let one = |seed: u64| {
            let at = SETTLED + SimDuration::from_secs(self.loop_wait).scale(2 * seed + 1, 2 * RUNS);
            let mut world = cluster.world(Seed(seed));
            let fault =
                ScheduledFault { trigger: Trigger::At(at), fault: self.fault.clone(), lasts: self.lasts };
            world.schedule(&Schedule(vec![fault])).expect("the targets exist");
            // The slowest failover takes the time to live and some seconds.
            let horizon = SimTime::ZERO + at + SimDuration::from_secs(self.ttl + 10);
            let record = run_guarded(&mut world, horizon, 10_000_000);
            assert_eq!(record.end, EndReason::Horizon, "seed {seed} of {}", self.title());
            let measures = measure(&record, &cluster.surviving::<SurvivingValues>(&world), &options);
            assert_eq!(measures.fault_count, 1, "seed {seed} of {}: there was a primary", self.title());
            measures
        };
        (0..RUNS).map(one).collect()
    }

    fn title(&self) -> String {
        let sync = if self.sync { "on" } else { "off" };
        format!(
            "{} {}/{}/{} synchronous_mode {sync}",
            self.name, self.ttl, self.loop_wait, self.retry_timeout
        )
    }
}

fn host_of_primary() -> Target {
    Target::HostOf("primary".to_owned())
}

/// What can be read from a row of the measurements and from a simulated run. Times count from the fault, lengths from
/// the milestone before.
struct Quantity {
    name: &'static str,
    measured: fn(&Row) -> Option<SimDuration>,
    simulated: fn(&Measures) -> Option<SimDuration>,
}

/// The quantities of a failover.
const FAILOVER: [Quantity; 8] = [
    Quantity {
        name: "leader key gone",
        measured: |row| row.time("leader_del"),
        simulated: |run| run.phases?.detect,
    },
    Quantity {
        name: "elect",
        measured: |row| Some(row.time("leader_new")?.saturating_sub(row.time("leader_del")?)),
        simulated: |run| run.phases?.elect,
    },
    Quantity {
        name: "new leader",
        measured: |row| row.time("leader_new"),
        simulated: |run| Some(run.phases?.detect? + run.phases?.elect?),
    },
    Quantity {
        name: "promote",
        measured: |row| Some(row.time("pg_promoted")?.saturating_sub(row.time("leader_new")?)),
        simulated: |run| run.phases?.promote,
    },
    Quantity { name: "promoted", measured: |row| row.time("pg_promoted"), simulated: writable },
    Quantity { name: "writable", measured: |row| row.time("rw_poll"), simulated: writable },
    FIRST_ACKNOWLEDGEMENT,
    OUTAGE,
];

const FIRST_ACKNOWLEDGEMENT: Quantity = Quantity {
    name: "first acknowledgement",
    measured: |row| row.time("client_first_ack"),
    simulated: |run| run.phases?.whole,
};

const OUTAGE: Quantity = Quantity {
    name: "outage",
    measured: |row| row.time("unavail"),
    simulated: |run| run.availability.failover_gap,
};

fn writable(run: &Measures) -> Option<SimDuration> {
    let phases = run.phases?;
    Some(phases.detect? + phases.elect? + phases.promote?)
}

/// A row of the measurements.
struct Row(csv::StringRecord, csv::StringRecord);

impl Row {
    fn text(&self, column: &str) -> &str {
        let index = self.0.iter().position(|name| name == column).expect("the column exists");
        &self.1[index]
    }

    /// Seconds after the fault; none if it did not happen.
    fn time(&self, column: &str) -> Option<SimDuration> {
        let text = self.text(column);
        (!text.is_empty()).then(|| format!("{text}s").parse().expect("a time after the fault"))
    }

    fn is_of(&self, point: &Point) -> bool {
        let number = |column: &str| self.text(column).parse::<u64>().expect("whole seconds");
        !self.text("note").starts_with("excluded")
            && self.text("fault") == point.name
            && self.text("sync") == if point.sync { "on" } else { "off" }
            && [number("ttl"), number("loop_wait"), number("retry_timeout")]
                == [point.ttl, point.loop_wait, point.retry_timeout]
    }
}

fn measured_rows(point: &Point) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(MEASURED.as_bytes());
    let header = reader.headers().expect("the file has a header").clone();
    reader
        .records()
        .map(|record| Row(header.clone(), record.expect("a row has as many fields as the header")))
        .filter(|row| row.is_of(point))
        .collect()
}

/// 10 % of the measured time, or half a second if that is more.
fn tolerance(measured: SimDuration) -> SimDuration {
    (measured / 10).max(SimDuration::from_millis(500))
}

/// Compares the quantiles of a point. Only p50 and p90 decide; p10 is for whoever reads the table.
#[track_caller]
fn assert_agrees(point: &Point, quantities: &[Quantity], rows: usize) {
    let measured = measured_rows(point);
    assert_eq!(measured.len(), rows, "{}: usable rows of the measurements", point.title());
    let runs = point.run();
    let mut agrees = true;
    let mut table = format!("{}, {rows} measured failovers, {RUNS} simulated:\n", point.title());
    for quantity in quantities {
        let real = Sample::new(measured.iter().map(quantity.measured));
        let simulated = Sample::new(runs.iter().map(quantity.simulated));
        for (name, level) in QUANTILES {
            let (real, simulated) = (real.quantile(level).value, simulated.quantile(level).value);
            let close = match (real, simulated) {
                (Some(real), Some(simulated)) => apart(real, simulated) <= tolerance(real),
                _ => false,
            };
            agrees &= close || name == "p10";
            let verdict = if close { "" } else { "  apart" };
            let (real, simulated) = (seconds(real), seconds(simulated));
            let quantity = quantity.name;
            writeln!(table, "{quantity:22} {name}  measured {real:>7}  simulated {simulated:>7}{verdict}")
                .expect("a string takes everything");
        }
    }
    assert!(agrees, "a median or last decile is more than 10 % and 0.5 s from the measured one\n{table}");
}

fn apart(a: SimDuration, b: SimDuration) -> SimDuration {
    a.max(b) - a.min(b)
}

fn seconds(time: Option<SimDuration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

#[test]
fn a_killed_host_fails_over_as_fast_as_measured_with_short_timeouts() {
    let point = Point::new("crash", Fault::Kill { target: host_of_primary() }, [20, 5, 5]);
    assert_agrees(&point, &FAILOVER, 26);
}

#[test]
fn a_killed_host_fails_over_as_fast_as_measured_at_defaults_in_synchronous_mode() {
    let point = Point::new("crash", Fault::Kill { target: host_of_primary() }, [30, 10, 10]);
    assert_agrees(&Point { sync: true, ..point }, &FAILOVER, 32);
}

#[test]
fn a_paused_host_fails_over_as_fast_as_measured_at_defaults() {
    let point = Point::new("pause", Fault::Pause { target: host_of_primary() }, [30, 10, 10]);
    let lasts = Some(SimDuration::from_secs(60));
    assert_agrees(&Point { lasts, ..point }, &FAILOVER, 24);
}

/// Section 5.1 of the fidelity specification: the host falls silent, etcd is not affected.
struct Formula {
    ttl: SimDuration,
    loop_wait: SimDuration,
}

/// The least and the most that a part of the formula adds.
type Support = (SimDuration, SimDuration);

impl Formula {
    /// `E`: the lessor looks for expired leases each half second.
    const SCAN: SimDuration = SimDuration::from_millis(500);
    /// `c + w`: a Raft commit (1 to 10 ms) and the delivery of a watch (about 10 ms).
    const AGREED: Support = (SimDuration::from_millis(1), SimDuration::from_millis(20));
    /// `R` with a silent member.
    const RACE: Support = (SimDuration::from_millis(2_050), SimDuration::from_millis(2_200));
    /// Half the width of the 99.9 % confidence band of a distribution function, times the root of the sample's size:
    /// the root of `ln(2 / 0.001) / 2`.
    const BAND: f64 = 1.949;
    /// `P` without a backlog: 0.07 to 0.21 s as measured to 10 ms (section 8.2).
    const PROMOTION: Support = (SimDuration::from_millis(65), SimDuration::from_millis(215));

    /// `TTL - A + E` over an even grid of `A` in `0..L` and `E` in `0..0.5 s`, in order.
    fn expiries(&self) -> Vec<SimDuration> {
        const CELLS: u64 = 200;
        let cell = |length: SimDuration, index: u64| length.scale(2 * index + 1, 2 * CELLS);
        let mut expiries: Vec<_> = (0..CELLS * CELLS)
            .map(|index| self.ttl - cell(self.loop_wait, index / CELLS) + cell(Self::SCAN, index % CELLS))
            .collect();
        expiries.sort_unstable();
        expiries
    }

    /// Asserts that each run is within the support, and each percentile within the 99.9 % confidence band
    /// (Dvoretzky, Kiefer and Wolfowitz) of the formula's distribution.
    #[track_caller]
    fn assert_holds(&self, times: Vec<Option<SimDuration>>, added: Support) {
        let expiries = self.expiries();
        let mut times: Vec<_> = times.into_iter().map(|time| time.expect("every run fails over")).collect();
        times.sort_unstable();
        let count = times.len();
        let band = Self::BAND / (count as f64).sqrt();
        let reach = (band * expiries.len() as f64).ceil() as usize;
        for (rank, time) in times.iter().enumerate() {
            let index = expiries.len() * (2 * rank + 1) / (2 * count);
            let low = expiries[index.saturating_sub(reach)] + added.0;
            let high = expiries[(index + reach).min(expiries.len() - 1)] + added.1;
            assert!(
                (low..=high).contains(time),
                "quantile {rank}/{count} is {time}; the formula gives {low} to {high}"
            );
        }
    }
}

#[track_caller]
fn assert_follows_formula(settings: [u64; 3]) {
    let point = Point::new("crash_silent", Fault::PowerOff { target: host_of_primary() }, settings);
    let runs = point.run();
    let formula = Formula {
        ttl: SimDuration::from_secs(point.ttl),
        loop_wait: SimDuration::from_secs(point.loop_wait),
    };
    let phase = |of: fn(&Measures) -> Option<SimDuration>| runs.iter().map(of).collect::<Vec<_>>();
    let all_within = |name: &str, lengths: Vec<Option<SimDuration>>, (low, high): Support| {
        for length in lengths {
            let length = length.unwrap_or_else(|| panic!("{name} has an end"));
            assert!((low..=high).contains(&length), "{name} took {length}, not {low} to {high}");
        }
    };
    formula.assert_holds(phase(|run| run.phases?.detect), Formula::AGREED);
    all_within("elect", phase(|run| run.phases?.elect), Formula::RACE);
    all_within("promote", phase(|run| run.phases?.promote), Formula::PROMOTION);
    let (agreed, race, promotion) = (Formula::AGREED, Formula::RACE, Formula::PROMOTION);
    let whole = (agreed.0 + race.0 + promotion.0, agreed.1 + race.1 + promotion.1);
    formula.assert_holds(phase(writable), whole);
}

#[test]
fn a_silent_host_fails_over_as_the_formula_says_at_defaults() {
    assert_follows_formula([30, 10, 10]);
}

#[test]
fn a_silent_host_fails_over_as_the_formula_says_with_the_least_timeouts() {
    assert_follows_formula([20, 1, 3]);
}
