//! Faults as data: what can go wrong, where, when and for how long.
//!
//! A fault names its targets by a [`Target`], which may be a role ("the current primary"). Roles are resolved when the
//! fault fires, not when the schedule is made. A target that nobody matches at that moment makes the fault miss,
//! which is recorded; a name that does not exist in the topology is an error before the run starts.
//!
//! Lasting faults count: two of them on one target may begin and end in any order, and the target is whole again when
//! the last one has ended. What is bound to a process (a pause, a hung listener) ends with its life; what is bound to a
//! host or a link (a slow CPU, a frozen machine, a partition) meets every new life.
//!
//! # Faults of disks
//!
//! They act on the volumes of the processes that the target names: `{ role = "primary" }` on the volume of that process
//! (and on everybody who shares it), `{ host-of = "primary" }` on all volumes of its host. What a disk that fails looks like
//! to a process is on the page of [`Storage`](crate::Storage). What survives which fault, if it hits one node:
//!
//! | fault | a single copy | copies that answer before the others have it | a majority has it, and trusts its disks | copies that check what they read and repair it from others |
//! |---|---|---|---|---|
//! | `disk-stall`, `disk-slow` | waits | waits, or fails over | goes on; waits if it hits the leader, until another leads | goes on |
//! | `disk-error`, `disk-full` | down until it ends | fails over; may lose what the others lack | goes on | goes on |
//! | `disk-torn-write` | survives: nothing acknowledged was unsynced | survives | survives | survives |
//! | `disk-corruption`, found at boot | loses data, or does not start | as above; a copy that takes damage for the end of its log and then leads loses for all | goes on without the node, if it refuses to start | survives |
//! | `disk-misdirected-write` | as corruption, twice | the same | the same; if it refuses to start | survives |
//! | `disk-lies`, with a loss of power | loses what was acknowledged | the same, if it leads again | **may lose committed entries or elect two leaders in a term** | survives if it can tell an empty place from a lost one |
//!
//! `disk-error` belongs to the last row, too, if the power fails after a sync that failed: later syncs succeed, and what it
//! covered is a hole in what they made durable. A check that must not fail keeps such faults to fewer nodes than the
//! protocol has spare copies, or out of its schedules.

mod budget;
mod intensity;
mod schedule;
mod shape;
mod target;

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::distribution::Distribution;
use crate::random::Probability;
use crate::time::SimDuration;

pub use budget::FaultBudget;
pub use intensity::NothingBetween;
pub use schedule::{Schedule, ScheduledFault, Trigger};
pub use shape::{Border, Dwell, HangAnswer, LostAnswer, Told};
pub use target::{Direction, Target};

/// What goes wrong. Lasting faults end after the `lasts` of their [`ScheduledFault`].
#[derive(Clone, Debug, Deserialize, Eq, Hash, IntoStaticStr, PartialEq, Serialize, VariantNames)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL. The kernel of the host lives: peers see their connections closed, new ones are refused. When the
    /// fault ends, the process is started again.
    Kill {
        /// Which processes.
        target: Target,
    },
    /// Killed and started again, by an operator or a supervisor. One after another with a `stagger`: a rolling restart.
    Restart {
        /// Which processes. One that does not run is started.
        target: Target,
        /// From the kill to the start: at once if absent.
        #[serde(default)]
        delay: SimDuration,
        /// From the restart of one process to that of the next, in the order in which they were added; all at once if
        /// absent.
        #[serde(default)]
        stagger: SimDuration,
    },
    /// Volumes are replaced by empty ones: the processes that mount them are killed, and those that start with their
    /// host are started again. For a target that is a host, all its volumes.
    Wipe {
        /// Whose volumes.
        target: Target,
        /// From the kill to the start: at once if absent.
        #[serde(default)]
        delay: SimDuration,
    },
    /// The CPU of these hosts is starved (gray failure). Each process has one thread; each input (a packet, a timer, a
    /// connection event, a completed sync) occupies it for `service` times `factor` before its handler acts, and inputs
    /// queue up behind a busy process. Kernels of slow hosts still accept connections and acknowledge data. Several
    /// slow-downs of a host add up. Otherwise handlers take no time; lengths that models declare are not stretched.
    Slow {
        /// Which hosts.
        target: Target,
        /// CPU time of one input on a healthy machine. The default is of the order of one small request to a server
        /// of this kind (10,000 a second and core); name your own if you have measured it.
        #[serde(default = "ordinary_service")]
        service: SimDuration,
        /// How many times longer it takes now.
        factor: u32,
    },
    /// The host loses power: silence, and everything unsynced is lost. When the fault ends, the host boots and starts
    /// what is set to start with it.
    PowerOff {
        /// Which hosts.
        target: Target,
    },
    /// SIGSTOP. The kernel of the host still accepts connections and data. When the fault ends, the process goes on
    /// with everything that arrived meanwhile.
    Pause {
        /// Which processes.
        target: Target,
    },
    /// The virtual machine is paused: silence on the network, clocks of the guest stand still except the wall clock.
    Freeze {
        /// Which hosts.
        target: Target,
    },
    /// Nothing passes between the two sides.
    Partition {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// Which way it cuts.
        #[serde(default)]
        direction: Direction,
    },
    /// Two halves that reach each other only through a process or host in the middle, which reaches everybody. Hosts
    /// are divided by the fault stream; with fewer than two besides the middle, the fault misses.
    Bridge {
        /// Who is in the middle, with everybody on the same hosts.
        middle: Vec<Target>,
        /// Who is divided into halves; `others` for everybody else.
        among: Vec<Target>,
    },
    /// Each host reaches only its two neighbours on a ring, whose order comes from the fault stream (Jepsen's
    /// "majorities ring" for five hosts). With fewer than four hosts nobody is cut off, and the fault misses.
    Ring {
        /// Who is on the ring; `others` for everybody.
        among: Vec<Target>,
    },
    /// Each of these processes is cut off from all other hosts, also from each other's.
    Isolate {
        /// Which processes; for hosts, all their processes.
        target: Target,
        /// Which way it cuts, seen from the target.
        #[serde(default)]
        direction: Direction,
    },
    /// Nothing passes between the zones, or the regions: each sees only itself.
    Split {
        /// Along which borders.
        along: Border,
    },
    /// Another lasting fault that comes and goes. Its targets are resolved once, so the same link flaps. Dwell times
    /// come from a stream of their own.
    Flap {
        /// What comes and goes.
        fault: Box<Self>,
        /// How long it stays each time.
        on: Dwell,
        /// How long it is gone each time.
        off: Dwell,
    },
    /// The links between the two sides are slow or lossy.
    Degrade {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// Added to the latency of each packet, each way.
        #[serde(default)]
        latency: SimDuration,
        /// Lost on top of the link's own loss.
        #[serde(default)]
        loss: Probability,
    },
    /// Packets between the two sides take longer, by a length drawn for each from a distribution: recorded ones with
    /// [`Distribution::Empirical`].
    Latency {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// Added to the latency of each packet, each way.
        extra: Distribution,
    },
    /// Packets between the two sides arrive twice. Datagrams show it; a connection hides it, because TCP drops what it
    /// has received before.
    Duplicate {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// How many of them.
        chance: Probability,
    },
    /// Packets between the two sides are overtaken by later ones. Datagrams show it; a connection keeps its order and
    /// shows a delay, because what arrived early waits for what is missing.
    Reorder {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// How many of them.
        chance: Probability,
        /// How much longer those travel.
        delay: SimDuration,
    },
    /// The links between the two sides carry only so much, each way and for each pair of hosts. Packets wait their turn;
    /// one that would wait longer than `queue` is dropped (as `tbf` of Linux does with `rate` and `latency`). A packet has
    /// the size that its model declares ([`Process::packet_size`](crate::Process::packet_size)). Of several limits, the
    /// narrowest rate and the shortest queue hold.
    Bandwidth {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// How much passes.
        bits_per_second: u64,
        /// The longest that a packet waits.
        queue: SimDuration,
    },
    /// Something in between resets the established connections between the two sides (`RST`). New ones are not
    /// affected.
    ConnectionReset {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// Who receives the reset. The other side finds out when it sends the next time.
        #[serde(default)]
        told: Told,
    },
    /// Something in between (a NAT, a stateful firewall) forgets the established connections between the two sides
    /// without telling either: both hold them for open. New ones are not affected.
    HalfOpen {
        /// One side.
        from: Vec<Target>,
        /// The other side.
        to: Vec<Target>,
        /// What comes back to who sends on one.
        #[serde(default)]
        answer: LostAnswer,
    },
    /// New connections to these processes are not served, while existing ones live.
    HangOnConnect {
        /// Which processes.
        target: Target,
        /// What who connects sees of it.
        #[serde(default)]
        answer: HangAnswer,
    },
    /// Syncs do not complete. When the fault ends, they start again.
    DiskStall {
        /// Whose volumes.
        target: Target,
    },
    /// Syncs take longer: their latency is multiplied by `factor`, and `latency` is added. Overlapping faults add up.
    DiskSlow {
        /// Whose volumes.
        target: Target,
        /// Added to the latency of each sync.
        #[serde(default)]
        latency: SimDuration,
        /// How many times as long a sync takes, 1 to 1,000,000; 1 for no change.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        factor: u32,
    },
    /// EIO: syncs that complete meanwhile fail, and what they covered never becomes durable. When the fault ends, who
    /// ended because of it and starts with its host is started again.
    DiskError {
        /// Whose volumes.
        target: Target,
    },
    /// ENOSPC: writes that need space are refused. When the fault ends, there is space again, and who ended because of
    /// it and starts with its host is started again.
    DiskFull {
        /// Whose volumes.
        target: Target,
    },
    /// If the power fails meanwhile, the disk is in the middle of writing: a beginning of the unsynced records is there,
    /// and of the next one a part with a wrong checksum. Without a loss of power nothing happens.
    DiskTornWrite {
        /// Whose volumes.
        target: Target,
    },
    /// The disk lies: it acknowledges syncs and keeps everything in its own volatile cache. If the power fails
    /// meanwhile, what was acknowledged is lost; when the fault ends, it becomes durable.
    DiskLies {
        /// Whose volumes.
        target: Target,
    },
    /// The next record that becomes durable is written to the place of another, chosen at random: its own place holds
    /// what was there before. Readers see neither before the page cache is gone with the power. Once for each volume;
    /// a fault that ends before anything is written does nothing.
    DiskMisdirectedWrite {
        /// Whose volumes.
        target: Target,
    },
    /// A durable record rots: its checksum is wrong from now on. One of each volume, chosen at random. Who runs does not
    /// notice; the next boot does. Does not end.
    DiskCorruption {
        /// Whose volumes. Those without records of their own are missed.
        target: Target,
        /// Only among so many of the newest records; absent: among all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<u32>,
    },
    /// The wall clocks of these hosts step forward by this many milliseconds, or back if negative. Stays.
    ClockStep {
        /// Which hosts.
        target: Target,
        /// How far, in milliseconds.
        millis: i64,
    },
    /// The wall clocks of these hosts are ahead by this many milliseconds, or behind if negative, until the fault ends.
    ClockOffset {
        /// Which hosts.
        target: Target,
        /// How far, in milliseconds.
        millis: i64,
    },
    /// The clocks of these hosts run fast by this many parts per million, or slow if negative.
    ClockDrift {
        /// Which hosts.
        target: Target,
        /// How fast, in parts per million.
        ppm: i32,
    },
    /// An operator gives a command, such as `switchover`.
    Command {
        /// Which processes receive it.
        target: Target,
        /// The command, in words the model documents.
        command: String,
    },
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_one(factor: &u32) -> bool {
    *factor == 1
}

impl Fault {
    /// All kinds, in the order in which they stand above.
    pub const KINDS: &[&str] = <Self as VariantNames>::VARIANTS;

    /// The kind in one word, as it stands in scenario files.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    /// The targets it names.
    pub fn targets(&self) -> Vec<&Target> {
        match self {
            Self::Kill { target }
            | Self::Restart { target, .. }
            | Self::Wipe { target, .. }
            | Self::Slow { target, .. }
            | Self::PowerOff { target }
            | Self::Pause { target }
            | Self::Freeze { target }
            | Self::Isolate { target, .. }
            | Self::HangOnConnect { target, .. }
            | Self::DiskStall { target }
            | Self::DiskSlow { target, .. }
            | Self::DiskError { target }
            | Self::DiskFull { target }
            | Self::DiskTornWrite { target }
            | Self::DiskLies { target }
            | Self::DiskMisdirectedWrite { target }
            | Self::DiskCorruption { target, .. }
            | Self::ClockStep { target, .. }
            | Self::ClockOffset { target, .. }
            | Self::ClockDrift { target, .. }
            | Self::Command { target, .. } => vec![target],
            Self::Partition { from, to, .. }
            | Self::Degrade { from, to, .. }
            | Self::Latency { from, to, .. }
            | Self::Duplicate { from, to, .. }
            | Self::Reorder { from, to, .. }
            | Self::Bandwidth { from, to, .. }
            | Self::ConnectionReset { from, to, .. }
            | Self::HalfOpen { from, to, .. } => from.iter().chain(to).collect(),
            Self::Bridge { middle, among } => middle.iter().chain(among).collect(),
            Self::Ring { among } => among.iter().collect(),
            Self::Split { .. } => Vec::new(),
            Self::Flap { fault, .. } => fault.targets(),
        }
    }

    /// True if records that were synced stay as they are, whatever it does else.
    pub fn spares_durable_records(&self) -> bool {
        match self {
            Self::DiskLies { .. }
            | Self::DiskMisdirectedWrite { .. }
            | Self::DiskCorruption { .. }
            | Self::DiskError { .. }
            | Self::Wipe { .. } => false,
            Self::Flap { fault, .. } => fault.spares_durable_records(),
            _ => true,
        }
    }

    /// True if it goes on until it ends; false if it happens at one instant and has no end of its own.
    pub const fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::Restart { .. }
                | Self::Wipe { .. }
                | Self::ConnectionReset { .. }
                | Self::HalfOpen { .. }
                | Self::DiskCorruption { .. }
                | Self::ClockStep { .. }
                | Self::Command { .. }
        )
    }

    /// Whether its numbers make sense, whatever it is aimed at.
    ///
    /// # Errors
    /// What is wrong, with the value and what is expected.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Slow { service, factor, .. } if *factor == 0 || *service == SimDuration::ZERO => Err(
                format!("a slow-down of {service} times {factor} does nothing: both must be more than zero"),
            ),
            Self::Bandwidth { bits_per_second: 0, .. } => {
                Err("a bandwidth of 0 bits per second is a partition: use `partition`".to_owned())
            }
            Self::Latency { extra, .. } if !extra.is_valid() => {
                Err("the distribution of `extra` is empty".to_owned())
            }
            Self::Flap { fault, .. } if !fault.is_lasting() || matches!(**fault, Self::Flap { .. }) => {
                Err(format!(
                    "`{}` cannot flap: only a lasting fault that does not flap itself comes and goes",
                    fault.kind()
                ))
            }
            Self::Flap { fault, on, off } => fault.check().and(on.check("on")).and(off.check("off")),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    /// The kind, with the numbers that say how bad it is; without targets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())?;
        match self {
            Self::Restart { delay, stagger, .. } => {
                after(formatter, *delay)?;
                if *stagger > SimDuration::ZERO {
                    write!(formatter, " (one each {stagger})")?;
                }
                Ok(())
            }
            Self::Wipe { delay, .. } => after(formatter, *delay),
            Self::Slow { service, factor, .. } => {
                write!(formatter, " ({} for each input)", *service * u64::from(*factor))
            }
            Self::Flap { fault, .. } => write!(formatter, " of {fault}"),
            Self::Split { along: Border::Zones } => formatter.write_str(" along zones"),
            Self::Split { along: Border::Regions } => formatter.write_str(" along regions"),
            Self::Duplicate { chance, .. } => write!(formatter, " ({chance})"),
            Self::Reorder { chance, delay, .. } => write!(formatter, " ({chance} later by {delay})"),
            Self::Bandwidth { bits_per_second, queue, .. } => {
                write!(formatter, " ({bits_per_second} bit/s, queue of {queue})")
            }
            Self::HalfOpen { answer: LostAnswer::Silence, .. } => formatter.write_str(" (silent)"),
            Self::HalfOpen { answer: LostAnswer::Reset, .. } => formatter.write_str(" (reset on use)"),
            Self::HangOnConnect { answer: HangAnswer::Accepted, .. } => {
                formatter.write_str(" (accepted, not served)")
            }
            Self::HangOnConnect { answer: HangAnswer::Dropped, .. } => {
                formatter.write_str(" (requests dropped)")
            }
            Self::ClockOffset { millis, .. } => write!(formatter, " ({millis:+} ms)"),
            _ => Ok(()),
        }
    }
}

fn after(formatter: &mut fmt::Formatter<'_>, delay: SimDuration) -> fmt::Result {
    if delay == SimDuration::ZERO { Ok(()) } else { write!(formatter, " (down for {delay})") }
}

const fn ordinary_service() -> SimDuration {
    SimDuration::from_micros(100)
}
