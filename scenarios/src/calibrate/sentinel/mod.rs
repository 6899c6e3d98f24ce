//! Redis with Sentinel: what its measurements mean, and the groups that are simulated for them.
//!
//! | column of `sentinel.csv` | quantity | in hasim |
//! |---|---|---|
//! | `sdown_first` | `suspect` | the first `+sdown` of the primary |
//! | `odown_first` | `detect` | the first `+odown` |
//! | `odown_first` to `elected` | `elect` | to `+elected-leader` |
//! | `elected` to `noone_sent` | `command` | to `+failover-state-wait-promotion`: `REPLICAOF NO ONE` is on its way |
//! | `role_master`: the promoted server says that it is `master`, asked each 10 ms | `promoted` | asked as often: after its `MASTER MODE enabled`, when it has rewritten its file |
//! | `promoted` | `seen` | `+promoted-slave`: the leader has read it in `INFO` |
//! | `switch_first` | `announced` | the first `+switch-master` |
//! | `failover_end` | `end` | `+failover-end` |
//! | `client_first_ack` | `client` | the first acknowledgement after the fault |
//! | `unavail` | `outage` | between the last acknowledgement before and the first one after |
//! | `resume` to `old_demoted`: the old primary says that it is a replica, asked each 20 ms | `demoted after` | asked as often: after its `REPLICAOF`, when it has rewritten its file |
//! | `resume` to `b_last_ack` | `served until` | the last write that the old primary acknowledged to the client on its host |
//! | `b_lost` | `doomed` | writes that the old primary acknowledged to the client on its host and that are gone |
//! | `b_refused_first` | `refused` | the first write that the old primary refused to that client |
//!
//! All but the lengths `elect`, `command`, `demoted after` and `served until` count from the fault. Numbers of writes are shown as the time that
//! they took at the client's own pace.
//!
//! # The harness
//!
//! The clients are those of the measurements: [`AwareClient`](models::sentinel::AwareClient) on a host of its own, and for faults
//! that leave the old primary alive a [`DirectClient`](models::redis::DirectClient) beside it. Hosts are network namespaces
//! (35 µs for a round trip). Where `cpu_busy` says that other jobs used up the processors, the declared inputs are
//! those of a busy machine ([`Inputs::on_busy_machine`]), which come from other measurements than these rows. What was done takes a while
//! to come about: a server that is killed closes its connections ([`Inputs::exit`]), one that is started listens ([`Inputs::start`]), one that
//! is woken answers what was asked meanwhile ([`Inputs::backlog`]). What a Sentinel
//! announces was heard through its Pub/Sub channel, and leaves it when it has saved its file. `hostkill` is SIGKILL of the server and of the Sentinel on its host; the kernel
//! lives.
//!
//! Trials were made one after the other on the same group, some twenty seconds after the one before, and a Sentinel remembers
//! those twenty seconds: its PINGs, its `INFO` each ten seconds are in step with the moment of its last switch, so three Sentinels
//! that have switched together also look for the primary together. A simulated trial therefore follows another one, with the time from
//! the end of one fault to the next fault as the rows have it. The harness waited for `+failover-end`, and 2 s later started, or woke,
//! the old primary; so is it done here, with the row's own 2 s, since a Sentinel's attempts to connect, a second apart, are in step
//! with the end of its failover. Partitions ended after the row's time. These instants are what was done to the group, not what it did.
//!
//! Servers remember all trials of a series: whoever does not die keeps its run ID, and of two replicas that have as much, the Sentinel takes
//! the one whose run ID comes first. The one that lost is not hit next, and loses again to whoever was primary before, unless that one died and has got a
//! run ID that comes later still. (In the rows, two servers take turns for as long as none dies.) What the replica was last asked hangs on which of
//! the two it is. A run begins with a group whose run IDs are such as its row's place in the series makes them.

mod trial;

use std::collections::BTreeMap;
use std::path::Path;

use models::Planted;
use models::redis::{Inputs, Machine, Parameters, Purpose};
use models::sentinel::{GroupConfig, RedisLoad, SentinelCluster, SentinelPlan};
use sim_core::{Direction, Distribution, Fault, LinkQuality, SimDuration, Target, Topology};

use self::trial::{End, Run, SPREAD, Trial};
use super::beside;
use super::rows::{self, Row, Table};
use super::saving;
use super::{Measurements, ONE_WAY, OUTAGE, Point, samples};
use crate::diagnostic::UserError;

pub(super) use self::trial::Setup;

const NEEDED: [&str; 20] = [
    "utc",
    "cluster",
    "n_sentinels",
    "quorum",
    "colocated",
    "down_after_ms",
    "failover_timeout_ms",
    "min_replicas",
    "fault",
    "client_timeout",
    "write_interval",
    "sdown_first",
    "odown_first",
    "elected",
    "noone_sent",
    "role_master",
    "client_first_ack",
    "unavail",
    "resume",
    "note",
];
const KNOWN: [&str; 40] = [
    "role_poll",
    "trial",
    "redis",
    "new_primary",
    "sdown1",
    "sdown2",
    "sdown3",
    "odown1",
    "odown2",
    "odown3",
    "try_first",
    "n_try",
    "n_abort",
    "vote_first",
    "elected_s",
    "selected",
    "promoted",
    "reconf_sent",
    "switch1",
    "switch2",
    "switch3",
    "switch_first",
    "failover_end",
    "client_last_ack",
    "client_detect",
    "n_acked",
    "n_lost",
    "lost_span",
    "n_refused",
    "b_last_ack",
    "b_acked_after",
    "b_acked_after_resume",
    "b_lost",
    "b_refused_first",
    "old_demoted",
    "old_linkup",
    "epoch_delta",
    "cpu_busy",
    "load1",
    "try_last",
];

/// What was done to the group.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// SIGKILL of the primary; its kernel resets the connections.
    Kill,
    /// SIGSTOP of the primary; its kernel goes on accepting connections.
    Stop,
    /// Everything from and to the primary's host is dropped.
    Partition,
    /// SIGKILL of all that runs on the primary's host.
    HostKill,
}

impl Kind {
    const ALL: [(&str, Self); 4] = [
        ("kill", Self::Kill),
        ("stop", Self::Stop),
        ("partition", Self::Partition),
        ("hostkill", Self::HostKill),
    ];

    fn name(self) -> &'static str {
        let (name, _) = Self::ALL.iter().find(|(_, kind)| *kind == self).expect("all are listed");
        name
    }

    fn fault(self) -> Fault {
        let role = "primary".to_owned();
        match self {
            Self::Kill => Fault::Kill { target: Target::Role(role) },
            Self::HostKill => Fault::Kill { target: Target::HostOf(role) },
            Self::Stop => Fault::Pause { target: Target::Role(role) },
            Self::Partition => Fault::Partition {
                from: vec![Target::HostOf(role)],
                to: vec![Target::Others],
                direction: Direction::Both,
            },
        }
    }

    /// True if the old primary goes on serving a client beside it, at once or after the fault.
    fn spares_primary(self) -> bool {
        matches!(self, Self::Stop | Self::Partition)
    }
}

/// The settings that a row names, and how it was made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Settings {
    kind: Kind,
    down_after: SimDuration,
    failover_timeout: SimDuration,
    sentinels: u8,
    quorum: u8,
    colocated: bool,
    min_replicas: u8,
    client_timeout: SimDuration,
    write_interval: SimDuration,
}

/// What can be read from a row and from a run.
type Quantity = super::Quantity<Run>;

fn difference(from: Option<SimDuration>, to: Option<SimDuration>) -> Option<SimDuration> {
    Some(to?.saturating_sub(from?))
}

const QUANTITIES: [Quantity; 14] = [
    Quantity {
        name: "suspect",
        measured: |row| row.time("sdown_first"),
        simulated: |run| run.event("+sdown master"),
    },
    Quantity {
        name: "detect",
        measured: |row| row.time("odown_first"),
        simulated: |run| run.event("+odown"),
    },
    Quantity {
        name: "elect",
        measured: |row| row.between("odown_first", "elected"),
        simulated: |run| difference(run.event("+odown"), run.event("+elected-leader")),
    },
    Quantity {
        name: "command",
        measured: |row| row.between("elected", "noone_sent"),
        simulated: |run| {
            difference(run.event("+elected-leader"), run.event("+failover-state-wait-promotion"))
        },
    },
    Quantity {
        name: "promoted",
        measured: |row| row.time("role_master"),
        simulated: |run| run.after_fault(run.promoted),
    },
    Quantity {
        name: "seen",
        measured: |row| row.time("promoted"),
        simulated: |run| run.event("+promoted-slave"),
    },
    Quantity {
        name: "announced",
        measured: |row| row.time("switch_first"),
        simulated: |run| run.event("+switch-master"),
    },
    Quantity {
        name: "end",
        measured: |row| row.time("failover_end"),
        simulated: |run| run.event("+failover-end"),
    },
    Quantity {
        name: "client",
        measured: |row| row.time("client_first_ack"),
        simulated: |run| run.first_acknowledgement,
    },
    Quantity { name: OUTAGE, measured: |row| row.time("unavail"), simulated: |run| run.outage },
    Quantity {
        name: "demoted after",
        measured: |row| row.between("resume", "old_demoted"),
        simulated: |run| run.demoted_after,
    },
    Quantity {
        name: "served until",
        measured: |row| match row.count("b_acked_after_resume")? {
            None | Some(0) => Ok(None),
            Some(_) => row.between("resume", "b_last_ack"),
        },
        simulated: |run| run.served_until,
    },
    Quantity {
        name: "doomed",
        measured: |row| {
            let resumed = row.time("resume")?.filter(|_| row.text("fault") == Kind::Stop.name());
            beside::doomed(row, resumed.unwrap_or_default(), row.time("write_interval")?.unwrap_or_default())
        },
        simulated: |run| run.doomed,
    },
    Quantity {
        name: "refused",
        measured: |row| row.time("b_refused_first"),
        simulated: |run| run.after_fault(run.refused),
    },
];

/// The trial that was last on a group.
struct Newest {
    settings: Settings,
    /// How many of the same settings were before it.
    earlier: u32,
    /// When its fault ended: the time of day, and what was waited for.
    ended: Option<(SimDuration, End)>,
}

pub(super) fn read(path: &Path, into: &mut Measurements) -> Result<(), UserError> {
    let table = Table::read_all(path, &NEEDED, &KNOWN)?;
    into.remarks.extend(table.remarks);
    let mut rows = table.rows;
    // They are in the order in which trials ended.
    rows.sort_by(|a, b| a.text("utc").cmp(b.text("utc")));
    let mut points: BTreeMap<Settings, (Vec<Row>, Vec<Trial>)> = BTreeMap::new();
    // The newest trial of each group: its settings, how many of these were before it, and when its fault ended, by the clock and by what was
    // waited for.
    let mut newest: BTreeMap<String, Newest> = BTreeMap::new();
    for row in rows {
        let settings = settings(&row)?;
        let (at, end) = (row.time_of_day("utc")?, End::of(&row, settings.kind)?);
        let ended = row.time("resume")?.zip(end).map(|(resumed, end)| (at + resumed, end));
        let before = newest.get(row.text("cluster")).filter(|before| before.settings == settings);
        let trial = Trial {
            before: before
                .and_then(|before| before.ended)
                .filter(|(ended, _)| *ended < at)
                .map(|(ended, end)| (end, at - ended)),
            earlier: before.map_or(0, |before| before.earlier),
            end: end.unwrap_or(End::AfterFault(SPREAD)),
            role_poll: saving::role_poll(&row)?,
        };
        let earlier = before.map_or(0, |before| before.earlier + 1);
        newest.insert(row.text("cluster").to_owned(), Newest { settings, earlier, ended });
        if row.is_excluded() {
            continue;
        }
        let (rows, trials) = points.entry(settings).or_default();
        trials.push(trial);
        rows.push(row);
    }
    for (settings, (rows, mut trials)) in points {
        // The first of a series followed something else.
        if trials.iter().any(|trial| trial.before.is_some()) {
            trials.retain(|trial| trial.before.is_some());
        }
        let machine = rows::Machine::of(&rows)?.at_most_busy();
        let inputs =
            if machine == rows::Machine::Idle { Inputs::default() } else { Inputs::on_busy_machine() };
        let measured = QUANTITIES.iter().map(Quantity::measured);
        into.points.push(Point {
            system: "sentinel",
            title: machine.title(settings.title()),
            measured_count: rows.len(),
            samples: samples(measured, &rows)?,
            setup: super::Setup::Sentinel(Box::new(Setup {
                settings,
                cluster: settings.cluster(&inputs),
                begins_late: match settings.kind {
                    Kind::Kill | Kind::HostKill => inputs.exit,
                    Kind::Stop | Kind::Partition => Distribution::Constant(SimDuration::ZERO),
                },
                ends_late: match settings.kind {
                    Kind::Kill | Kind::HostKill => inputs.start,
                    Kind::Stop => inputs.backlog,
                    Kind::Partition => Distribution::Constant(SimDuration::ZERO),
                },
                asked_late: inputs.waking.pause,
                trials,
            })),
        });
    }
    Ok(())
}

fn settings(row: &Row) -> Result<Settings, UserError> {
    let found = Kind::ALL.iter().find(|(name, _)| *name == row.text("fault"));
    let (_, kind) = found.ok_or_else(|| row.wrong("fault", "kill, stop, partition or hostkill"))?;
    let number = |column: &str, least: u8, most: u8| {
        let value = row.text(column).parse::<u8>().ok().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| row.wrong(column, format_args!("a whole number from {least} to {most}")))
    };
    let millis = |column: &str| {
        let value = row.text(column).parse::<u64>().ok().filter(|value| *value > 0);
        value.map(SimDuration::from_millis).ok_or_else(|| row.wrong(column, "a whole number of milliseconds"))
    };
    let length = |column: &str| {
        let value = row.time(column)?.filter(|value| *value > SimDuration::ZERO);
        value.ok_or_else(|| row.wrong(column, "a number of seconds above 0"))
    };
    let settings = Settings {
        kind: *kind,
        down_after: millis("down_after_ms")?,
        failover_timeout: millis("failover_timeout_ms")?,
        sentinels: number("n_sentinels", 1, 15)?,
        quorum: number("quorum", 1, 15)?,
        colocated: number("colocated", 0, 1)? == 1,
        min_replicas: number("min_replicas", 0, 2)?,
        client_timeout: length("client_timeout")?,
        write_interval: length("write_interval")?,
    };
    if settings.quorum > settings.sentinels {
        return Err(row.wrong("quorum", "at most `n_sentinels`"));
    }
    Ok(settings)
}

impl Settings {
    fn title(&self) -> String {
        format!(
            "{} down-after-milliseconds {} failover-timeout {} quorum {} of {}{} min-replicas-to-write {}",
            self.kind.name(),
            self.down_after.as_millis(),
            self.failover_timeout.as_millis(),
            self.quorum,
            self.sentinels,
            if self.colocated { " on the servers' hosts" } else { "" },
            self.min_replicas
        )
    }

    fn cluster(&self, inputs: &Inputs) -> SentinelCluster {
        let (mut topology, zones) = Topology::one_zone();
        let one_way = inputs.one_way.clone().unwrap_or(Distribution::Constant(ONE_WAY));
        topology.set_same_zone(LinkQuality::reliable(one_way.clone()));
        // What takes time is to be noticed, not the way.
        topology.set_loopback(LinkQuality::reliable(one_way));
        let plan = SentinelPlan {
            servers: 3,
            groups: 1,
            sentinels: self.sentinels,
            shared_hosts: self.colocated,
            containers: false,
            replicaof: BTreeMap::new(),
            election: None,
            group: GroupConfig {
                quorum: u32::from(self.quorum),
                down_after: self.down_after,
                failover_timeout: self.failover_timeout,
                ..GroupConfig::default()
            },
            parameters: Parameters {
                min_replicas_to_write: u32::from(self.min_replicas),
                repl_diskless_sync_delay: SimDuration::ZERO,
                save: Vec::new(),
                ..Parameters::default()
            },
            // Trials wait for it: before it listens, a process that starts is like one that does not run.
            machine: Machine { start: SimDuration::ZERO, ..Machine::default() },
            // A server syncs nothing here but its own file.
            disk_sync: inputs.rewrite_sync.clone(),
            save_sync: inputs.save_sync.clone(),
            waking: inputs.waking.clone(),
            load: RedisLoad {
                writers: 1,
                write_interval: self.write_interval,
                timeout: self.client_timeout,
                beside_servers: false,
                subscribes: false,
                purpose: Purpose::Values,
                reads_from_replicas: false,
                listeners: 0,
                own_sentinel: false,
                asks_each_time: false,
                start_at: SimDuration::ZERO,
                wait_for: None,
                local_writers: self.kind.spares_primary(),
                stop_at: None,
            },
            planted: Planted::Nothing,
        };
        SentinelCluster::new(&plan, (topology, zones.to_vec()))
    }
}
