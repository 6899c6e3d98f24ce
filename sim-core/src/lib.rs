//! The hasim kernel: a deterministic discrete-event world in which protocols run as plain values.
//!
//! A [`Process`] is a `Clone` value with handlers; a [`World`] holds processes, hosts, volumes, connections, clocks,
//! random streams, faults and the recorder, and is itself `Clone`, so that a run can be forked at any instant. The
//! contract between the two is on the page of the `process` module's [`Process`] trait.
//!
//! Everything is a function of the seed and the schedule: see [`Seed`] and [`Schedule`]. The kernel knows no protocol.

#![allow(
    clippy::inline_always,
    reason = "on the path of a packet: without, a ring or a mesh takes 4 to 9 % longer"
)]

mod compose;
mod digest;
mod distribution;
mod embed;
mod fault;
mod growing;
mod guard;
pub mod host;
mod id;
mod network;
mod process;
mod queue;
mod random;
mod record;
mod storage;
mod swarm;
mod time;
mod topology;
mod trace;
mod world;

pub use compose::{Contains, Nested, Part};
pub use digest::Digest;
pub use distribution::{Distribution, Sampler};
pub use embed::{Embedded, Embeds, Holds, unwrap_packet};
pub use fault::{
    Border, Direction, Dwell, Fault, FaultBudget, HangAnswer, LostAnswer, NothingBetween, Schedule,
    ScheduledFault, Target, Told, Trigger,
};
pub use growing::Growing;
pub use guard::{PanicQuiet, advance_guarded, is_livelock, run_guarded};
pub use host::faults::DeliveredFault;
pub use id::{ConnectionId, HostId, OperationId, ProcessId, SyncId, VolumeId};
pub use network::{ConnectOptions, KeepAlive};
pub use process::{ConnectionEvent, Context, Origin, Probe, Process, StateProbe};
pub use random::{Probability, Seed, Stream};
pub use record::{
    COUNTER_BITS, Completion, EndReason, Mark, MarkKind, Observation, Operation, OperationKind, Outcome,
    Record, Violation, session_of,
};
pub use storage::{Damage, DiskError, Storage, StorageFailure};
pub use swarm::{Aim, Composition, FaultMix, SwarmConfig};
pub use time::{HostTime, ParseDurationError, SimDuration, SimTime, WallTime};
pub use topology::{LinkQuality, Place, RegionRef, Topology, ZoneRef};
pub use trace::{TraceEntry, TraceKind};
pub use world::{NextEvent, ProcessOptions, World, WorldBuilder};
