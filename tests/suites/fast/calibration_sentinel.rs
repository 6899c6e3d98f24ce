//! Sentinel's failovers against measurements of the real software. Nothing is fitted; see `data/calibration/README.md`.
//!
//! The network of the measurements (35 µs for a round trip) is stood for by one zone (200 µs), and a Sentinel's flush takes
//! the 0.25 ms that `fdatasync` took there. Everything else follows from the rules of Sentinel.
//!
//! The trials were made one after the other on the same group, about half a minute apart. What happens each ten seconds
//! (`INFO`) was in step with the trial before, and decides for instance how fast a promotion is seen: an `INFO` that is due
//! when the primary is found down goes out at once, the next a second later. So each measured trial is simulated together
//! with the one before it, with the measured times between them.

use std::fmt::Write as _;

use analysis::measure::SurvivingValues;
use analysis::stats::{QuantileLevel, Sample, kolmogorov_smirnov};
use analysis::{MeasureOptions, measure};
use models::Planted;
use models::redis::{Machine, Parameters};
use models::sentinel::{GroupConfig, RedisLoad, SentinelCluster, SentinelPlan};
use sim_core::{
    Direction, Distribution, EndReason, Fault, MarkKind, Schedule, ScheduledFault, Seed, SimDuration,
    SimTime, Target, Topology, TraceEntry, Trigger, advance_guarded,
};

/// The measured rows, as they were written.
const MEASURED: &str = include_str!("../../data/calibration/sentinel.csv");
/// How often each measured trial is simulated.
const SEEDS: u64 = 5;
/// When a group has settled. The first faults are spread over the ten seconds after it, the longest period of a Sentinel.
const SETTLED: SimDuration = SimDuration::from_secs(25);
const SPREAD: SimDuration = SimDuration::from_secs(10);

const QUANTILES: [(&str, QuantileLevel); 3] =
    [("p10", QuantileLevel::P10), ("p50", QuantileLevel::P50), ("p90", QuantileLevel::P90)];

/// One configuration under one fault.
struct Point {
    /// The word of the measurements for the fault.
    fault: &'static str,
    down_after: SimDuration,
}

/// What can be read from a row and from a run. Times count from the fault.
struct Quantity {
    column: &'static str,
    simulated: fn(&Run) -> Option<SimDuration>,
}

/// A simulated failover.
struct Run {
    fault: SimTime,
    log: Vec<TraceEntry>,
    writable: Option<SimTime>,
    demoted_after: Option<SimDuration>,
    first_acknowledgement: Option<SimDuration>,
    outage: Option<SimDuration>,
}

impl Run {
    /// The first such event after the fault.
    fn event(&self, text: &str) -> Option<SimDuration> {
        let found = self.log.iter().find(|entry| entry.at > self.fault && entry.text.starts_with(text))?;
        Some(found.at.since(self.fault))
    }
}

/// The quantities of a failover.
const FAILOVER: [Quantity; 11] = [
    Quantity { column: "sdown_first", simulated: |run| run.event("+sdown master") },
    Quantity { column: "odown_first", simulated: |run| run.event("+odown") },
    Quantity { column: "elected", simulated: |run| run.event("+elected-leader") },
    Quantity { column: "selected", simulated: |run| run.event("+selected-slave") },
    Quantity { column: "noone_sent", simulated: |run| run.event("+failover-state-wait-promotion") },
    Quantity { column: "role_master", simulated: |run| Some(run.writable?.since(run.fault)) },
    Quantity { column: "promoted", simulated: |run| run.event("+promoted-slave") },
    Quantity { column: "switch_first", simulated: |run| run.event("+switch-master") },
    Quantity { column: "failover_end", simulated: |run| run.event("+failover-end") },
    Quantity { column: "client_first_ack", simulated: |run| run.first_acknowledgement },
    Quantity { column: "unavail", simulated: |run| run.outage },
];

impl Point {
    fn cluster(&self) -> SentinelCluster {
        let (topology, zones) = Topology::one_zone();
        let plan = SentinelPlan {
            servers: 3,
            sentinels: 3,
            shared_hosts: false,
            group: GroupConfig {
                down_after: self.down_after,
                failover_timeout: SimDuration::from_secs(60),
                ..GroupConfig::default()
            },
            parameters: Parameters {
                repl_diskless_sync_delay: SimDuration::ZERO,
                save: Vec::new(),
                ..Parameters::default()
            },
            machine: Machine::default(),
            disk_sync: Distribution::Constant(SimDuration::from_micros(250)),
            load: RedisLoad {
                writers: 1,
                write_interval: SimDuration::from_millis(5),
                timeout: SimDuration::from_secs(1),
                beside_servers: false,
                subscribes: false,
                wait_for: None,
                local_writers: false,
                stop_at: None,
            },
            planted: Planted::Nothing,
        };
        SentinelCluster::new(&plan, (topology, zones.to_vec()))
    }

    fn fault(&self) -> Fault {
        let role = "primary".to_owned();
        match self.fault {
            "kill" => Fault::Kill { target: Target::Role(role) },
            "stop" => Fault::Pause { target: Target::Role(role) },
            _ => Fault::Partition {
                from: vec![Target::HostOf(role)],
                to: vec![Target::Others],
                direction: Direction::Both,
            },
        }
    }

    /// Carries out a trial: the fault of the trial before with its end, and after the same time as there this one's.
    fn trial(&self, cluster: &SentinelCluster, trial: &Trial, seed: u64) -> Run {
        let first = SETTLED + SPREAD.scale(seed, SEEDS);
        let second = first + trial.gap;
        let fault =
            |at, lasts| ScheduledFault { trigger: Trigger::At(at), fault: self.fault(), lasts: Some(lasts) };
        let mut world = cluster.world(Seed(seed));
        world.log(false);
        let faults = vec![fault(first, trial.resumed_before), fault(second, trial.resumed)];
        world.schedule(&Schedule(faults)).expect("the targets exist");
        let fault = SimTime::ZERO + second;
        let end = advance_guarded(&mut world, fault + trial.resumed + SimDuration::from_secs(14), 10_000_000);
        assert_eq!(end, EndReason::Horizon, "seed {seed}");
        let log = world.log_entries().to_vec();
        let surviving = cluster.surviving::<SurvivingValues>(&world);
        let record = world.record(end);
        let find = |kind, after| record.marks.iter().find(|mark| mark.kind == kind && mark.at > after);
        let options = MeasureOptions {
            fault: Some(fault),
            members: Some(cluster.members()),
            clients: Some(cluster.clients().to_vec()),
            ..MeasureOptions::default()
        };
        let measures = measure(&record, &surviving, &options);
        let ended = fault + trial.resumed;
        Run {
            fault,
            log,
            writable: find(MarkKind::Writable, fault).map(|mark| mark.at),
            demoted_after: find(MarkKind::ReadOnly, ended).map(|mark| mark.at.since(ended)),
            first_acknowledgement: measures.phases.and_then(|phases| phases.whole),
            outage: measures.availability.failover_gap,
        }
    }

    /// The usable rows of the measurements, each with the trial that it followed on the same cluster.
    fn rows(&self) -> Vec<(Row, Option<Trial>)> {
        let mut reader = csv::Reader::from_reader(MEASURED.as_bytes());
        let header = reader.headers().expect("the file has a header").clone();
        let rows =
            reader.records().map(|row| Row(header.clone(), row.expect("a row is as long as the header")));
        let mut rows: Vec<Row> = rows.collect();
        // They are in the order in which trials ended.
        rows.sort_by(|a, b| a.text("utc").cmp(b.text("utc")));
        let is_of = |row: &Row| {
            row.text("fault") == self.fault
                && row.text("down_after_ms") == self.down_after.as_millis().to_string()
        };
        let usable = rows.iter().enumerate();
        let usable = usable.filter(|(_, row)| is_of(row) && !row.text("note").starts_with("excluded"));
        usable
            .map(|(index, row)| {
                let before = rows[..index].iter().rfind(|other| other.text("cluster") == row.text("cluster"));
                let trial = before.filter(|before| is_of(before)).and_then(|before| {
                    Some(Trial {
                        gap: row.instant() - before.instant(),
                        resumed_before: before.time("resume")?,
                        resumed: row.time("resume")?,
                    })
                });
                (Row(row.0.clone(), row.1.clone()), trial)
            })
            .collect()
    }
}

/// A trial and the one before it: Sentinels and servers do some things each ten seconds, and from where these seconds count
/// was decided by the failover before.
struct Trial {
    /// From the fault before to this one.
    gap: SimDuration,
    /// When the fault before ended, after it began.
    resumed_before: SimDuration,
    /// When this one ended.
    resumed: SimDuration,
}

/// A row of the measurements.
struct Row(csv::StringRecord, csv::StringRecord);

impl Row {
    fn text(&self, column: &str) -> &str {
        let index = self.0.iter().position(|name| name == column).expect("the column exists");
        &self.1[index]
    }

    /// When the fault was, within the day.
    fn instant(&self) -> SimDuration {
        let (_, time) = self.text("utc").trim_end_matches('Z').split_once('T').expect("a date and a time");
        let parts: Vec<&str> = time.split(':').collect();
        let [hours, minutes, seconds] = parts.as_slice() else { panic!("{time} is a time of the day") };
        let text = format!("{hours}h {minutes}m");
        let start: SimDuration = text.parse().expect("hours and minutes");
        start + format!("{seconds}s").parse().expect("seconds with milliseconds")
    }

    /// Seconds after the fault; none if it did not happen.
    fn time(&self, column: &str) -> Option<SimDuration> {
        let text = self.text(column);
        (!text.is_empty()).then(|| format!("{text}s").parse().expect("a time after the fault"))
    }
}

/// 10 % of the measured time, or a quarter of a second if that is more.
fn tolerance(measured: SimDuration) -> SimDuration {
    (measured / 10).max(SimDuration::from_millis(250))
}

fn seconds(time: Option<SimDuration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

/// Compares the quantiles of one quantity, and notes those that are apart; p10 is for whoever reads the table.
fn compare(table: &mut String, apart: &mut Vec<String>, name: &str, real: &Sample, simulated: &Sample) {
    let ks = kolmogorov_smirnov(real, simulated).map_or(1.0, |found| found.distance);
    for (label, level) in QUANTILES {
        let (real, simulated) = (real.quantile(level).value, simulated.quantile(level).value);
        let close = matches!((real, simulated), (Some(real), Some(simulated))
            if real.max(simulated) - real.min(simulated) <= tolerance(real));
        if !close && label != "p10" {
            apart.push(format!("{name} {label}"));
        }
        let verdict = if close { "" } else { "  apart" };
        let (real, simulated) = (seconds(real), seconds(simulated));
        writeln!(
            table,
            "{name:18} {label}  measured {real:>7}  simulated {simulated:>7}  KS {ks:.2}{verdict}"
        )
        .expect("a string takes everything");
    }
}

/// Asserts that all medians and last deciles are as measured, but for those that are known to be apart: they are named, so
/// that neither a new one nor a mended one goes by unseen.
#[track_caller]
fn assert_agrees(point: &Point, rows: usize, known: &[&str]) {
    let measured = point.rows();
    assert_eq!(measured.len(), rows, "usable rows of the measurements");
    let cluster = point.cluster();
    let trials = measured.iter().filter_map(|(_, trial)| trial.as_ref());
    let runs: Vec<Run> = trials
        .flat_map(|trial| (0..SEEDS).map(|seed| point.trial(&cluster, trial, seed)).collect::<Vec<_>>())
        .collect();
    let mut apart = Vec::new();
    let mut table =
        format!("{} {}, {rows} measured, {} simulated:\n", point.fault, point.down_after, runs.len());
    for quantity in &FAILOVER {
        let real = Sample::new(measured.iter().map(|(row, _)| row.time(quantity.column)));
        let simulated = Sample::new(runs.iter().map(quantity.simulated));
        compare(&mut table, &mut apart, quantity.column, &real, &simulated);
    }
    let real =
        measured.iter().map(|(row, _)| Some(row.time("old_demoted")?.saturating_sub(row.time("resume")?)));
    let simulated = Sample::new(runs.iter().map(|run| run.demoted_after));
    compare(&mut table, &mut apart, "demoted after", &Sample::new(real), &simulated);
    assert_eq!(apart, known, "more than 10 % and 0.25 s from the measured quantile\n{table}");
}

#[test]
fn a_killed_primary_is_replaced_and_put_right_as_fast_as_measured() {
    assert_agrees(&Point { fault: "kill", down_after: SimDuration::from_secs(5) }, 38, &[]);
}

#[test]
fn a_stopped_primary_is_replaced_and_put_right_as_fast_as_measured() {
    assert_agrees(
        &Point { fault: "stop", down_after: SimDuration::from_secs(1) },
        26,
        &["client_first_ack p90", "unavail p90"],
    );
}

#[test]
fn a_primary_that_is_cut_off_is_replaced_and_put_right_as_fast_as_measured() {
    assert_agrees(
        &Point { fault: "partition", down_after: SimDuration::from_secs(1) },
        16,
        &["role_master p50"],
    );
}
