//! Patroni: what its measurements mean, and the clusters that are simulated for them.
//!
//! | column of `patroni.csv` | in hasim |
//! |---|---|
//! | `leader_del`: etcd's watch shows that the leader key is gone | end of `detect`, mark `Suspected` |
//! | `leader_new`: the leader key has another name | end of `elect`, mark `Elected` |
//! | `rw_poll`: `pg_is_in_recovery()` is false, asked each 25 ms | end of `promote`: the first such question after the mark `Writable` |
//! | `pg_restart_ready`: "ready to accept connections" of a server that was started again in place | end of `detect` in place |
//! | `client_first_ack`: first write that the new primary acknowledged | end of `reroute` |
//! | `unavail`: between the last acknowledgement before and the first one after | `failover_gap` |
//! | `b_last_ack`: the last write that the old primary acknowledged to a client on its host | `served until`: counted from the end of a pause (`resume`), else from the fault; none if there was none |
//! | `b_lost`: writes that it acknowledged to that client and that are gone | `doomed`, shown as the time that they took at its own pace |
//!
//! A switchover suspects nobody: its new leader is timed from the request. "archive recovery complete" (`pg_promoted`) is not the end of a
//! promotion: the server is read-only until it has made the next WAL segment, if the log ends in the last quarter of its own, and synced the
//! record that ends the recovery and the control file (`xlog.c:StartupXLOG`).
//!
//! The client is that of the measurements ("client A"): it connects to all servers itself, writes one row each 50 ms in a closed
//! loop and waits 3 s for an answer ([`models::routing::MultiHostClient`]). Beside a primary that is paused or cut off, another one ("client B") knows that
//! server only and waits for ever ([`models::routing::StickyClient`]). etcd has no pre-vote (3.4). The hosts of the
//! measurements are network namespaces on one machine: a round trip takes 35 µs (their README). Where `cpu_busy` says that
//! other jobs used up its processors, the declared inputs are those of a busy machine ([`Inputs::on_busy_machine`]), and where `load1` says that
//! twenty and more wanted to run, those of a crowded one ([`Inputs::on_crowded_machine`]). They come from other measurements than these rows.
//!
//! # What is not reproduced
//!
//! - Steps of less than half a second on a busy machine, such as those of Python. Only promotion and login have inputs for it, on a crowded one
//!   the polls of a race as well. They are those of one kind of neighbours: a promotion at loads of 8 to 25 takes 0.19 s beside threads that only compute, and
//!   0.36 s beside compilers (`tests/data/inputs`).
//! - Where the log of a cluster ended. Each simulated promotion finds it in the last quarter of its segment with a probability of a quarter; the
//!   measured clusters were new, and went through their first segment slowly: in some it was there for four failovers in a row, in most
//!   never.
//! - A killed postmaster stays a zombie until init reaps it, which counts as running for Patroni (`psutil`). Where init is slow (1.1 to
//!   2.0 s in 39 kills on a container's init, `tests/data/inputs`), a cycle that falls into that time is lost, and the restart comes
//!   one `loop_wait` later.

use std::collections::BTreeMap;
use std::path::Path;

use analysis::measure::{Measures, SurvivingValues};
use analysis::{MeasureOptions, measure};
use models::patroni::{
    ClusterProcess, Configuration, Inputs, Load, PatroniCluster, Plan, Route, SynchronousMode,
};
use models::{LinkInputs, Placement};
use sim_core::{
    Direction, Distribution, EndReason, Fault, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Target,
    Trigger, World,
};

use super::beside::{self, Beside};
use super::rows::{Machine, Row, Table};
use super::{Measurements, ONE_WAY, OUTAGE, Point, samples};
use crate::diagnostic::UserError;

/// When a cluster has settled: members take up to 7.3 s to start, and a synchronous standby some cycles to be confirmed.
const SETTLED: SimDuration = SimDuration::from_secs(45);
/// Pauses and partitions last so long (the README of the measurements).
const LASTS: SimDuration = SimDuration::from_secs(60);
/// What is simulated after the end of a pause or a partition: the old primary has stopped, or stops by then.
const REPAIR: SimDuration = SimDuration::from_secs(10);
/// From one write of a client to the next.
const WRITE_INTERVAL: SimDuration = SimDuration::from_millis(50);
/// From one question whether the new leader is in recovery to the next (the README of the measurements).
const RECOVERY_POLL: SimDuration = SimDuration::from_millis(25);
/// More events than a run of a few minutes has.
const EVENTS: u64 = 10_000_000;

/// Columns that a file must have.
const NEEDED: [&str; 13] = [
    "ttl",
    "loop_wait",
    "retry_timeout",
    "sync",
    "fault",
    "leader_del",
    "leader_new",
    "rw_poll",
    "client_first_ack",
    "unavail",
    "leader_changed",
    "pg_restart_ready",
    "note",
];

/// Columns that are known and not compared; `cpu_busy` says how busy the machine was.
const KNOWN: [&str; 39] = [
    "trial",
    "utc",
    "cluster",
    "patroni",
    "pg",
    "etcd",
    "leader",
    "new_leader",
    "lease_ttl_left",
    "status_age",
    "race_log",
    "promote_log",
    "promote_recv",
    "pg_promoted",
    "rest_primary",
    "client_last_ack",
    "client_detect",
    "n_acked",
    "n_lost",
    "lost_span",
    "n_dup",
    "resume",
    "b_last_ack",
    "b_acked_after",
    "b_acked_after_resume",
    "b_lost",
    "b_readonly",
    "old_demote_log",
    "rest_old_200_until",
    "old_restarted",
    "rejoined",
    "rejoin_reinit",
    "sync_at_t0",
    "new_was_sync",
    "timeline_before",
    "timeline_after",
    "n_status_timeouts",
    "cpu_busy",
    "load1",
];

/// What was done to the cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Trial {
    /// SIGKILL of everything on the primary's host at one instant; its kernel lives and closes the connections.
    Crash,
    /// The same after its packets were dropped: a host that is gone.
    CrashSilent,
    /// SIGKILL of the postmaster.
    PostmasterKill,
    /// Everything on the primary's host is stopped for 60 s.
    Pause,
    /// The primary's host is cut off from everybody for 60 s.
    Partition,
    /// An operator asks for another leader.
    Switchover,
}

impl Trial {
    const ALL: [(&str, Self); 6] = [
        ("crash", Self::Crash),
        ("crash_silent", Self::CrashSilent),
        ("pgkill", Self::PostmasterKill),
        ("pause", Self::Pause),
        ("partition", Self::Partition),
        ("switchover", Self::Switchover),
    ];

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, trial)| *trial == self);
        found.map_or("", |(name, _)| name)
    }

    fn fault(self) -> Fault {
        let host = || Target::HostOf("primary".to_owned());
        match self {
            Self::Crash => Fault::Kill { target: host() },
            Self::CrashSilent => Fault::PowerOff { target: host() },
            Self::PostmasterKill => Fault::Kill { target: Target::Role("primary".to_owned()) },
            Self::Pause => Fault::Pause { target: host() },
            Self::Partition => Fault::Partition {
                from: vec![host()],
                to: vec![Target::Others],
                direction: Direction::default(),
            },
            Self::Switchover => Fault::Command {
                target: Target::Role("patroni-leader".to_owned()),
                command: "switchover".to_owned(),
            },
        }
    }

    fn lasts(self) -> Option<SimDuration> {
        self.spares_primary().then_some(LASTS)
    }

    /// True if the old primary serves a client beside it, at once or after the fault.
    fn spares_primary(self) -> bool {
        matches!(self, Self::Pause | Self::Partition)
    }
}

/// The settings that a row names, and how it was made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Settings {
    /// What was done.
    pub trial: Trial,
    /// `ttl`.
    pub ttl: SimDuration,
    /// `loop_wait`.
    pub loop_wait: SimDuration,
    /// `retry_timeout`.
    pub retry_timeout: SimDuration,
    /// `synchronous_mode`.
    pub synchronous: bool,
}

/// What is run for a point.
#[derive(Debug)]
pub struct Setup {
    settings: Settings,
    cluster: PatroniCluster,
    options: MeasureOptions,
}

/// What is read from a simulated trial.
struct Run {
    measures: Measures,
    served_until: Option<SimDuration>,
    doomed: Option<SimDuration>,
}

/// A quantity of a run.
type Quantity = super::Quantity<Run>;

const DETECT: Quantity = Quantity {
    name: "detect",
    measured: |row| row.time("leader_del"),
    simulated: |run| run.measures.phases?.detect,
};
const ELECT: Quantity = Quantity {
    name: "elect",
    measured: |row| row.between("leader_del", "leader_new"),
    simulated: |run| run.measures.phases?.elect,
};
const PROMOTE: Quantity = Quantity {
    name: "promote",
    measured: |row| row.between("leader_new", "rw_poll"),
    simulated: |run| run.measures.phases?.promote,
};
const REROUTE: Quantity = Quantity {
    name: "reroute",
    measured: |row| row.between("rw_poll", "client_first_ack"),
    simulated: |run| run.measures.phases?.reroute,
};
const WHOLE: Quantity = Quantity {
    name: OUTAGE,
    measured: |row| row.time("unavail"),
    simulated: |run| run.measures.availability.failover_gap,
};
const NEW_LEADER: Quantity = Quantity {
    name: "new leader",
    measured: |row| row.time("leader_new"),
    simulated: |run| {
        let phases = run.measures.phases?;
        Some(phases.detect.unwrap_or_default() + phases.elect?)
    },
};
const RESTART: Quantity = Quantity {
    name: "restart",
    measured: |row| row.time("pg_restart_ready"),
    simulated: |run| run.measures.phases.filter(|phases| phases.in_place)?.detect,
};
const REROUTE_IN_PLACE: Quantity = Quantity {
    name: "reroute",
    measured: |row| row.between("pg_restart_ready", "client_first_ack"),
    simulated: |run| run.measures.phases?.reroute,
};

const SERVED_UNTIL: Quantity = Quantity {
    name: "served until",
    measured: |row| match row.count("b_acked_after")? {
        None | Some(0) => Ok(None),
        Some(_) if row.text("fault") == Trial::Pause.name() => row.between("resume", "b_last_ack"),
        Some(_) => row.time("b_last_ack"),
    },
    simulated: |run| run.served_until,
};
const DOOMED: Quantity = Quantity {
    name: "doomed",
    measured: |row| {
        let resumed = row.time("resume")?.filter(|_| row.text("fault") == Trial::Pause.name());
        beside::doomed(row, resumed.unwrap_or_default(), WRITE_INTERVAL)
    },
    simulated: |run| run.doomed,
};

const FAILOVER: &[Quantity] = &[DETECT, ELECT, PROMOTE, REROUTE, WHOLE];
const FAILOVER_OF_LIVING: &[Quantity] = &[DETECT, ELECT, PROMOTE, REROUTE, WHOLE, SERVED_UNTIL, DOOMED];
const SWITCHOVER: &[Quantity] = &[NEW_LEADER, PROMOTE, REROUTE, WHOLE];
const IN_PLACE: &[Quantity] = &[RESTART, REROUTE_IN_PLACE, WHOLE];

pub(super) fn read(path: &Path, into: &mut Measurements) -> Result<(), UserError> {
    let table = Table::read(path, &NEEDED, &KNOWN)?;
    into.remarks.extend(table.remarks);
    let mut points: BTreeMap<Settings, Vec<Row>> = BTreeMap::new();
    for row in table.rows {
        points.entry(settings(&row)?).or_default().push(row);
    }
    for (settings, rows) in points {
        let machine = Machine::of(&rows)?;
        let inputs = match machine {
            Machine::Idle => Inputs::default(),
            Machine::Busy => Inputs::on_busy_machine(),
            Machine::Crowded => Inputs::on_crowded_machine(),
        };
        let setup = Setup::new(settings, inputs);
        let measured = setup.quantities().iter().map(Quantity::measured);
        into.points.push(Point {
            system: "patroni",
            title: machine.title(settings.title()),
            measured_count: rows.len(),
            samples: samples(measured, &rows)?,
            setup: super::Setup::Patroni(Box::new(setup)),
        });
    }
    Ok(())
}

fn settings(row: &Row) -> Result<Settings, UserError> {
    let found = Trial::ALL.iter().find(|(name, _)| *name == row.text("fault"));
    let (_, trial) = found
        .ok_or_else(|| row.wrong("fault", "crash, crash_silent, pgkill, pause, partition or switchover"))?;
    let synchronous = match row.text("sync") {
        "on" => true,
        "off" => false,
        _ => return Err(row.wrong("sync", "on or off")),
    };
    let settings = Settings {
        trial: *trial,
        ttl: row.whole_seconds("ttl")?,
        loop_wait: row.whole_seconds("loop_wait")?,
        retry_timeout: row.whole_seconds("retry_timeout")?,
        synchronous,
    };
    for (column, value) in
        [("ttl", settings.ttl), ("loop_wait", settings.loop_wait), ("retry_timeout", settings.retry_timeout)]
    {
        if value == SimDuration::ZERO {
            return Err(row.wrong(column, "a whole number of seconds above 0"));
        }
    }
    Ok(settings)
}

impl Settings {
    fn title(&self) -> String {
        let seconds = |length: SimDuration| length.as_millis() / 1_000;
        format!(
            "{} ttl {} loop_wait {} retry_timeout {} synchronous_mode {}",
            self.trial.name(),
            seconds(self.ttl),
            seconds(self.loop_wait),
            seconds(self.retry_timeout),
            if self.synchronous { "on" } else { "off" }
        )
    }
}

impl Setup {
    /// A cluster with these settings, the client and the network of the measurements, and these inputs.
    pub fn new(settings: Settings, inputs: Inputs) -> Self {
        let mode = if settings.synchronous { SynchronousMode::On } else { SynchronousMode::Off };
        let cluster = PatroniCluster::new(&Plan {
            etcd_pre_vote: Some(false),
            placement: Placement::OneZone,
            configuration: Configuration {
                ttl: settings.ttl,
                loop_wait: settings.loop_wait,
                retry_timeout: settings.retry_timeout,
                synchronous_mode: mode,
                ..Configuration::default()
            },
            inputs: Inputs {
                links: LinkInputs {
                    same_zone: Some(Distribution::Constant(ONE_WAY)),
                    ..LinkInputs::default()
                },
                ..inputs
            },
            load: Load {
                writers: 1,
                write_interval: WRITE_INTERVAL,
                local_writers: settings.trial.spares_primary(),
                route: Route::MultiHost,
                statement_timeout: SimDuration::from_secs(3),
                ..Load::default()
            },
            ..Plan::default()
        });
        let options = MeasureOptions {
            members: Some(cluster.members()),
            clients: Some(cluster.clients().to_vec()),
            // A switchover can be over sooner than what counts as an outage elsewhere.
            outage_threshold: SimDuration::from_millis(500),
            ..MeasureOptions::default()
        };
        Self { settings, cluster, options }
    }

    fn quantities(&self) -> &'static [Quantity] {
        match self.settings.trial {
            Trial::PostmasterKill => IN_PLACE,
            Trial::Switchover => SWITCHOVER,
            Trial::Crash | Trial::CrashSilent => FAILOVER,
            Trial::Pause | Trial::Partition => FAILOVER_OF_LIVING,
        }
    }

    /// What the harness sees of run number `run` of `runs`: it learns of the end of a promotion when it asks.
    pub(super) fn values(&self, run: u64, runs: u64) -> Vec<(&'static str, Option<SimDuration>)> {
        let mut values = self.simulate(run, runs);
        if let Some(phases) = values.measures.phases.as_mut().filter(|phases| !phases.in_place) {
            let late = Seed(run).stream("calibrate patroni", 0).duration(SimDuration::ZERO, RECOVERY_POLL);
            phases.promote = phases.promote.map(|promote| promote + late);
            phases.reroute = phases.reroute.map(|reroute| reroute.saturating_sub(late));
        }
        self.quantities().iter().map(|quantity| quantity.of(&values)).collect()
    }

    /// Run number `run` of `runs`, which is its seed as well. The moments of the fault are spread evenly over one
    /// `loop_wait`; the phase of the HA loop is random besides.
    ///
    /// # Panics
    /// If the run ends early, which is a bug of a model.
    pub fn run(&self, run: u64, runs: u64) -> Measures {
        self.simulate(run, runs).measures
    }

    fn simulate(&self, run: u64, runs: u64) -> Run {
        let Settings { trial, ttl, loop_wait, .. } = self.settings;
        let at = SETTLED + loop_wait.scale(2 * run + 1, 2 * runs);
        let mut world = self.cluster.world(Seed(run));
        let fault = ScheduledFault { trigger: Trigger::At(at), fault: trial.fault(), lasts: trial.lasts() };
        world.schedule(&Schedule(vec![fault])).expect("the targets exist in every cluster");
        let (fault, lasts) = (SimTime::ZERO + at, trial.lasts());
        let advance = |world: &mut World<ClusterProcess>, until| {
            let end = PatroniCluster::advance(world, until, EVENTS);
            assert_eq!(end, EndReason::Horizon, "run {run} of {}", self.settings.title());
            end
        };
        advance(&mut world, fault);
        let old_primary = self.cluster.primary(&world);
        // The slowest failover takes the time to live, a race that is repeated, and some seconds.
        let failover = ttl + loop_wait + SimDuration::from_secs(10);
        let horizon = fault + lasts.map_or(failover, |lasts| failover.max(lasts + REPAIR));
        let end = advance(&mut world, horizon);
        let record = world.record(end);
        let surviving = self.cluster.surviving::<SurvivingValues>(&world);
        let measures = measure(&record, &surviving, &self.options);
        assert_eq!(measures.fault_count, 1, "run {run} of {}: there was a primary", self.settings.title());
        let beside = old_primary.and_then(|old_primary| {
            let client = self.cluster.client_beside(old_primary)?;
            Some(Beside { record: &record, old_primary, client })
        });
        let served_from = if trial == Trial::Pause { fault + LASTS } else { fault };
        Run {
            measures,
            served_until: beside.as_ref().and_then(|beside| beside.served_after(served_from)),
            doomed: beside.map(|beside| beside.doomed(&surviving, served_from, WRITE_INTERVAL)),
        }
    }
}
