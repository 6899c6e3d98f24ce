//! Faults as data: what can go wrong, where, when and for how long.
//!
//! A fault names its targets by a [`Target`], which may be a role ("the current primary"). Roles are resolved when the
//! fault fires, not when the schedule is made. A target that nobody matches at that moment makes the fault miss,
//! which is recorded; a name that does not exist in the topology is an error before the run starts.

mod budget;
mod intensity;
mod schedule;
mod target;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::random::Probability;
use crate::time::SimDuration;

pub use budget::FaultBudget;
pub use schedule::{Schedule, ScheduledFault, Trigger};
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
    /// Syncs of the volumes of these hosts do not complete.
    DiskStall {
        /// Which hosts.
        target: Target,
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
            | Self::PowerOff { target }
            | Self::Pause { target }
            | Self::Freeze { target }
            | Self::DiskStall { target }
            | Self::ClockStep { target, .. }
            | Self::ClockDrift { target, .. }
            | Self::Command { target, .. } => vec![target],
            Self::Partition { from, to, .. } | Self::Degrade { from, to, .. } => {
                from.iter().chain(to).collect()
            }
        }
    }
}
