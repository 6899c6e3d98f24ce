//! Redis Cluster: what its measurements mean, and the clusters that are simulated for them.
//!
//! | quantity | columns of `redis-cluster.csv` | in hasim |
//! |---|---|---|
//! | pfail first, last | `pfail_first`, `pfail_last`: at any node; at the other two primaries | `Suspected` |
//! | fail first, last | `fail_first`, `fail_last` | `Agreed` |
//! | election delay | `election_delay_ms` in the log of the replica | what its log says |
//! | election start, won | `election_start`, `election_won` | what its log says |
//! | promoted, known | `promoted_self`, `promoted_all`: at the replica, at all five | `Writable`, the last of `Writable` and `Rerouted` |
//! | state fail, ok | `state_fail_first`, `state_ok_last`, in the logs | what the logs say |
//! | detect, first write, outage | `client_detect`, `client_first_ack`, `unavail` of client A | the same |
//! | other shard's gap | `other_unavail`: the longest of a writer that writes each 20 ms | the same |
//! | demoted | `old_demoted` less `resume` | from the end of the fault to its log |
//!
//! Where `cpu_busy` says that other jobs used up the processors, the declared inputs are those of a busy machine
//! ([`Inputs::on_busy_machine`]), which come from other measurements than these rows.
//!
//! Nodes tell each other in whole seconds of the wall clock when they last heard of somebody, so which part of such a second a fault falls into
//! decides when it is noticed: runs take that part of the rows' `utc` in turn, as they take how long the fault lasted. Both are what was
//! done to the cluster, not what it did.
//!
//! What nodes think was polled, each 20 ms. So it is here: what the harness knows is what a node tells when
//! it is asked next, and a node that waits for its disk tells it afterwards. Not compared: counts of what was acknowledged, and
//! when the old primary's link was up, which full resynchronisation decides.

use std::collections::BTreeMap;
use std::path::Path;

use models::Planted;
use models::redis::{Inputs, Machine, Parameters, Purpose, SNAPSHOT_SYNCED};
use models::redis_cluster::{ClusterConfig, ClusterLoad, ClusterPlan, RedisCluster, Refresh, SAVED};
use sim_core::{
    Distribution, EndReason, Fault, LinkQuality, MarkKind, Outcome, ProcessId, Record, Schedule,
    ScheduledFault, Seed, SimDuration, SimTime, Target, Topology, TraceEntry, Trigger,
};

use super::rows::{self, Row, Table};
use super::{Measured, Measurements, ONE_WAY, OUTAGE, Point, samples, saving};
use crate::diagnostic::UserError;

/// When a cluster has settled.
const SETTLED: SimDuration = SimDuration::from_secs(20);
/// In which of so many seconds after it a fault falls is drawn.
const SPREAD_SECONDS: u64 = 10;
/// How long a fault lasts if its row does not say so.
const LASTS: SimDuration = SimDuration::from_secs(10);
/// What is left of a run after the fault has ended.
const TAIL: SimDuration = SimDuration::from_secs(10);
/// How often the harness asked survivors for `CLUSTER NODES`.
const NODES_POLL: SimDuration = SimDuration::from_millis(20);

const NEEDED: [&str; 8] =
    ["utc", "node_timeout_ms", "full_coverage", "fault", "write_interval", "unavail", "resume", "note"];
const KNOWN: [&str; 32] = [
    "role_poll",
    "trial",
    "cluster",
    "redis",
    "shard",
    "pfail_first",
    "pfail_last",
    "fail_first",
    "fail_last",
    "marked_log",
    "election_delay_ms",
    "election_start",
    "election_won",
    "n_elections",
    "n_expired",
    "promoted_self",
    "promoted_all",
    "state_fail_first",
    "state_ok_last",
    "client_last_ack",
    "client_detect",
    "client_first_ack",
    "other_unavail",
    "n_acked",
    "n_lost",
    "lost_span",
    "old_acked_as_primary",
    "old_demoted",
    "old_linkup",
    "epoch_delta",
    "cpu_busy",
    "load1",
];

/// The settings that a row names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Settings {
    /// True if the primary was stopped, and not killed.
    stopped: bool,
    node_timeout: SimDuration,
    full_coverage: bool,
    write_interval: SimDuration,
}

/// What is run for a point.
#[derive(Clone, Debug)]
pub struct Setup {
    settings: Settings,
    inputs: Inputs,
    /// Runs take them in turn.
    trials: Vec<Trial>,
}

/// What was done to the cluster in one row.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// How much of a second of the wall clock was over when the fault struck.
    into_second: SimDuration,
    /// How long the fault lasted.
    lasts: SimDuration,
    /// How often the old primary was asked for its role.
    role_poll: SimDuration,
}

impl Trial {
    fn of(row: &Row) -> Result<Self, UserError> {
        let into_second = row.time_of_day("utc")?.as_nanos() % SimDuration::from_secs(1).as_nanos();
        let lasts = row.time("resume")?.unwrap_or(LASTS);
        let role_poll = saving::role_poll(row)?;
        Ok(Self { into_second: SimDuration::from_nanos(into_second), lasts, role_poll })
    }
}

pub(super) fn read(path: &Path, into: &mut Measurements) -> Result<(), UserError> {
    let table = Table::read(path, &NEEDED, &KNOWN)?;
    into.remarks.extend(table.remarks);
    let mut points: BTreeMap<Settings, Vec<Row>> = BTreeMap::new();
    for row in table.rows {
        points.entry(settings(&row)?).or_default().push(row);
    }
    for (settings, rows) in points {
        let trials = rows.iter().map(Trial::of).collect::<Result<Vec<_>, _>>()?;
        let machine = rows::Machine::of(&rows)?.at_most_busy();
        let inputs =
            if machine == rows::Machine::Idle { Inputs::default() } else { Inputs::on_busy_machine() };
        into.points.push(Point {
            system: "redis-cluster",
            title: machine.title(settings.title()),
            measured_count: rows.len(),
            samples: samples(QUANTITIES.iter().map(|(name, value)| Measured { name, value: *value }), &rows)?,
            setup: super::Setup::RedisCluster(Box::new(Setup { settings, inputs, trials })),
        });
    }
    Ok(())
}

fn settings(row: &Row) -> Result<Settings, UserError> {
    let stopped = match row.text("fault") {
        "kill" => false,
        "stop" => true,
        _ => return Err(row.wrong("fault", "kill or stop")),
    };
    let full_coverage = match row.text("full_coverage") {
        "yes" => true,
        "no" => false,
        _ => return Err(row.wrong("full_coverage", "yes or no")),
    };
    let millis = row.text("node_timeout_ms").parse::<u64>().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| row.wrong("node_timeout_ms", "a whole number of milliseconds"))?;
    let interval = row.time("write_interval")?.filter(|interval| *interval > SimDuration::ZERO);
    Ok(Settings {
        stopped,
        full_coverage,
        node_timeout: SimDuration::from_millis(millis),
        write_interval: interval.ok_or_else(|| row.wrong("write_interval", "a number of seconds"))?,
    })
}

type Read = fn(&Row) -> Result<Option<SimDuration>, UserError>;

/// The names and the measured values; [`Run::values`] has the simulated ones.
const QUANTITIES: [(&str, Read); 15] = [
    ("pfail first", |row| row.time("pfail_first")),
    ("pfail last", |row| row.time("pfail_last")),
    ("fail first", |row| row.time("fail_first")),
    ("fail last", |row| row.time("fail_last")),
    ("election delay", |row| {
        let text = row.text("election_delay_ms");
        let wrong = |_| row.wrong("election_delay_ms", "a whole number of milliseconds");
        (!text.is_empty()).then(|| text.parse().map(SimDuration::from_millis).map_err(wrong)).transpose()
    }),
    ("election start", |row| row.time("election_start")),
    ("election won", |row| row.time("election_won")),
    ("promoted", |row| row.time("promoted_self")),
    ("known", |row| row.time("promoted_all")),
    ("state fail", |row| row.time("state_fail_first")),
    ("state ok", |row| row.time("state_ok_last")),
    ("first write", |row| row.time("client_first_ack")),
    (OUTAGE, |row| row.time("unavail")),
    ("other shard's gap", |row| row.time("other_unavail")),
    ("demoted", |row| {
        let (resumed, demoted) = (row.time("resume")?, row.time("old_demoted")?);
        Ok(demoted.zip(resumed).map(|(demoted, resumed)| demoted.saturating_sub(resumed)))
    }),
];

impl Settings {
    fn title(&self) -> String {
        let what = if self.stopped { "primary stopped" } else { "primary killed" };
        let coverage = if self.full_coverage { "yes" } else { "no" };
        let timeout = self.node_timeout.as_millis();
        format!("{what} cluster-node-timeout {timeout} cluster-require-full-coverage {coverage}")
    }

    fn cluster(&self, inputs: &Inputs) -> RedisCluster {
        let plan = ClusterPlan {
            nodes: 6,
            shards: 3,
            hosts: 6,
            config: ClusterConfig {
                node_timeout: self.node_timeout,
                require_full_coverage: self.full_coverage,
                ..ClusterConfig::default()
            },
            parameters: Parameters {
                repl_diskless_sync_delay: SimDuration::ZERO,
                save: Vec::new(),
                ..Parameters::default()
            },
            // Runs wait for it: before it listens, a process that starts is like one that does not run.
            machine: Machine { start: SimDuration::ZERO, ..Machine::default() },
            // Nothing else is synced: they have no files.
            disk_sync: inputs.nodes_conf_sync.clone(),
            waking: inputs.waking.clone(),
            load: ClusterLoad {
                writers: 1,
                write_interval: self.write_interval,
                purpose: Purpose::Values,
                timeout: SimDuration::from_secs(1),
                beside_nodes: false,
                refresh: Refresh::OnError,
                wait_for: None,
                local_writers: false,
                other_writers: Some(SimDuration::from_millis(20)),
                expires_every: None,
                stop_at: None,
            },
            operator: None,
            planted: Planted::Nothing,
        };
        let one_way = inputs.one_way.clone().unwrap_or(Distribution::Constant(ONE_WAY));
        let link = LinkQuality::reliable(one_way);
        let (topology, zone) = Topology::single_zone(&link);
        RedisCluster::new(&plan, (topology, vec![zone]))
    }
}

impl Setup {
    /// Run number `run`, which is its seed as well.
    ///
    /// # Panics
    /// If the run ends early, which is a bug of a model.
    pub(super) fn run(&self, run: u64) -> Vec<(&'static str, Option<SimDuration>)> {
        let cluster = self.settings.cluster(&self.inputs);
        let mut world = cluster.world(Seed(run));
        world.log(false);
        let mut random = Seed(run).stream("calibrate redis-cluster", 0);
        let Trial { into_second, lasts, role_poll } = self.trials[run as usize % self.trials.len()];
        let at = SETTLED + SimDuration::from_secs(random.below(SPREAD_SECONDS)) + into_second;
        let start = if self.settings.stopped {
            SimDuration::ZERO
        } else {
            self.inputs.start.sampler().draw(&mut random)
        };
        let target = Target::Process("redis-1".to_owned());
        let fault = if self.settings.stopped { Fault::Pause { target } } else { Fault::Kill { target } };
        let fault = ScheduledFault { trigger: Trigger::At(at), fault, lasts: Some(lasts + start) };
        world.schedule(&Schedule(vec![fault])).expect("redis-1 is there");
        let horizon = SimTime::ZERO + at + lasts + start + TAIL;
        let end = RedisCluster::advance(&mut world, horizon, 10_000_000);
        assert_eq!(end, EndReason::Horizon, "run {run} of {}", self.settings.title());
        let log = world.log_entries().to_vec();
        let mut phase = |interval| random.duration(SimDuration::ZERO, interval);
        let asked = cluster.nodes().iter().map(|node| (*node, phase(NODES_POLL))).collect();
        let role_asked = saving::until_asked(&mut random, role_poll, &self.inputs.waking.pause);
        let record = world.record(end);
        Run { cluster: &cluster, fault: SimTime::ZERO + at, lasts, log, record, asked, role_asked }.values()
    }
}

/// A simulated failover.
struct Run<'a> {
    cluster: &'a RedisCluster,
    fault: SimTime,
    lasts: SimDuration,
    log: Vec<TraceEntry>,
    record: Record,
    /// When in each interval a survivor is asked what it thinks.
    asked: BTreeMap<ProcessId, SimDuration>,
    /// From the instant at which the old primary has another role until it is asked for it.
    role_asked: SimDuration,
}

impl Run<'_> {
    fn values(&self) -> Vec<(&'static str, Option<SimDuration>)> {
        let old = self.cluster.nodes()[0];
        let resumed = self.fault + self.lasts;
        let before_end = |at: &SimTime| *at < resumed;
        let marks = |kind: MarkKind| {
            let after = self.record.marks.iter().filter(|mark| mark.at > self.fault && mark.at < resumed);
            after.filter(move |mark| mark.kind == kind)
        };
        let voters = &self.cluster.nodes()[1..3];
        let since = |at: SimTime| at.since(self.fault);
        let delay = self.said("start of election delayed").next().and_then(|entry| {
            let text = entry.text.strip_prefix("start of election delayed for ")?;
            text.split(" (").next()?.parse::<SimDuration>().ok()
        });
        let first = |text: &'static str| self.said(text).map(|entry| entry.at).find(before_end).map(since);
        let last =
            |text: &'static str| self.said(text).map(|entry| entry.at).filter(before_end).last().map(since);
        let (last_ack, first_ack) = self.around_the_gap(self.cluster.clients()[0]);
        let changed = self.said("configuration change detected").find(|entry| entry.process == Some(old));
        let demoted = changed.map(|entry| self.told(old, entry.at + self.role_asked));
        // Each survivor, as soon as it says so.
        let seen = |kind: MarkKind| {
            marks(kind).filter_map(|mark| Some((mark.process?, since(self.seen(mark.process?, mark.at)))))
        };
        let suspected = || seen(MarkKind::Suspected);
        let of_voters = suspected().filter(|(process, _)| voters.contains(process));
        let at = |(_, at): (ProcessId, SimDuration)| at;
        let promoted = seen(MarkKind::Writable).next().map(at);
        vec![
            ("pfail first", suspected().map(at).min()),
            ("pfail last", of_voters.map(at).max()),
            ("fail first", seen(MarkKind::Agreed).map(at).min()),
            ("fail last", seen(MarkKind::Agreed).map(at).max()),
            ("election delay", delay),
            ("election start", first("starting a failover election")),
            ("election won", first("failover election won")),
            ("promoted", promoted),
            ("known", seen(MarkKind::Rerouted).map(at).chain(promoted).max()),
            ("state fail", first("cluster state changed: fail")),
            ("state ok", last("cluster state changed: ok")),
            ("first write", first_ack.map(since)),
            (OUTAGE, first_ack.zip(last_ack).map(|(first, last)| first.since(last))),
            ("other shard's gap", self.longest_gap(self.cluster.other_clients()[0])),
            ("demoted", demoted.map(|at| at.since(resumed))),
        ]
    }

    /// When a node answers that is asked at an instant.
    fn told(&self, node: ProcessId, at: SimTime) -> SimTime {
        let saved = saving::told(&self.log, SAVED, Some(node), at);
        saving::told(&self.log, SNAPSHOT_SYNCED, Some(node), saved)
    }

    /// When the harness saw that in the answer of a survivor.
    fn seen(&self, node: ProcessId, at: SimTime) -> SimTime {
        let phase = self.asked.get(&node).copied().unwrap_or_default();
        let since_asked = (at.as_nanos() + NODES_POLL.as_nanos() - phase.as_nanos()) % NODES_POLL.as_nanos();
        self.told(node, at + (NODES_POLL - SimDuration::from_nanos(since_asked)))
    }

    /// What nodes said after the fault.
    fn said(&self, text: &'static str) -> impl Iterator<Item = &TraceEntry> {
        self.log.iter().filter(move |entry| entry.at > self.fault && entry.text.starts_with(text))
    }

    fn acknowledged(&self, client: ProcessId) -> impl Iterator<Item = SimTime> + '_ {
        let done = self.record.operations.iter();
        let done = done.filter(move |one| one.client == client && one.outcome == Outcome::Ok);
        done.filter_map(|one| one.completed)
    }

    /// The last acknowledgement of the old primary and the first of the new one: the ends of the longest gap after the fault.
    fn around_the_gap(&self, client: ProcessId) -> (Option<SimTime>, Option<SimTime>) {
        let times: Vec<SimTime> = self.acknowledged(client).collect();
        let after = times.windows(2).filter(|pair| pair[1] > self.fault);
        let longest = after.max_by_key(|pair| pair[1].since(pair[0]));
        (longest.map(|pair| pair[0]), longest.map(|pair| pair[1]))
    }

    fn longest_gap(&self, client: ProcessId) -> Option<SimDuration> {
        let (from, to) = self.around_the_gap(client);
        Some(to?.since(from?))
    }
}
