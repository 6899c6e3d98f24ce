//! Faults as data: what can go wrong, where, when and for how long.
//!
//! A fault names its targets by a [`Target`], which may be a role ("the current primary"). Roles are resolved when the
//! fault fires, not when the schedule is made. A target that nobody matches at that moment makes the fault miss,
//! which is recorded; a name that does not exist in the topology is an error before the run starts.
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

mod schedule;
mod target;

use serde::{Deserialize, Serialize};

use crate::random::Probability;
use crate::time::SimDuration;

pub use schedule::{Schedule, ScheduledFault, Trigger};
pub use target::{Direction, Target};

/// What goes wrong. Lasting faults end after the `lasts` of their [`ScheduledFault`].
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// SIGKILL. The kernel of the host lives: peers see their connections closed, new ones are refused. When the
    /// fault ends, the process is started again.
    Kill {
        /// Which processes.
        target: Target,
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
    /// The kind in one word, for tables of delivered faults.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::PowerOff { .. } => "power-off",
            Self::Pause { .. } => "pause",
            Self::Freeze { .. } => "freeze",
            Self::Partition { .. } => "partition",
            Self::Degrade { .. } => "degrade",
            Self::DiskStall { .. } => "disk-stall",
            Self::DiskSlow { .. } => "disk-slow",
            Self::DiskError { .. } => "disk-error",
            Self::DiskFull { .. } => "disk-full",
            Self::DiskTornWrite { .. } => "disk-torn-write",
            Self::DiskLies { .. } => "disk-lies",
            Self::DiskMisdirectedWrite { .. } => "disk-misdirected-write",
            Self::DiskCorruption { .. } => "disk-corruption",
            Self::ClockStep { .. } => "clock-step",
            Self::ClockDrift { .. } => "clock-drift",
            Self::Command { .. } => "command",
        }
    }

    /// The targets it names.
    pub fn targets(&self) -> Vec<&Target> {
        match self {
            Self::Kill { target }
            | Self::PowerOff { target }
            | Self::Pause { target }
            | Self::Freeze { target }
            | Self::DiskStall { target }
            | Self::DiskSlow { target, .. }
            | Self::DiskError { target }
            | Self::DiskFull { target }
            | Self::DiskTornWrite { target }
            | Self::DiskLies { target }
            | Self::DiskMisdirectedWrite { target }
            | Self::DiskCorruption { target, .. }
            | Self::ClockStep { target, .. }
            | Self::ClockDrift { target, .. }
            | Self::Command { target, .. } => vec![target],
            Self::Partition { from, to, .. } | Self::Degrade { from, to, .. } => {
                from.iter().chain(to).collect()
            }
        }
    }
}
