//! The parts that every host of processes needs beside its own network and its own time: schedules of faults, volumes,
//! the clocks of machines, histories, names of random streams.
//!
//! A *host of processes* carries out a [`Context`](crate::Context). The native kernel is one; `tests/madsim` holds another. Both
//! use the parts of this page, so that a difference between their results is a difference of their networks, timers and
//! schedulers and not of two copies of the same rule. A third host needs, in this order:
//!
//! 1. a [`Blueprint`], from [`WorldBuilder::blueprint`](crate::WorldBuilder::blueprint): hosts, volumes and processes;
//! 2. for each machine a [`MachineClock`], for each volume a [`HostVolume`], for each run a [`History`];
//! 3. streams by the same names as the kernel ([`process_stream`], [`volume_stream`], [`link_stream`],
//!    [`fault_target_stream`]), so that a process draws what it draws on the native host as long as it is given the same
//!    inputs;
//! 4. for each run a [`faults::FaultState`], with [`faults::FaultHost`] to say what a fault finds and does here;
//! 5. identities of connections and syncs, made by [`connection_id`] and [`sync_id`].

mod budget;
pub mod faults;
mod targets;

use std::sync::Arc;

use crate::distribution::Sampler;
use crate::fault::Fault;
use crate::id::{ConnectionId, HostId, OperationId, ProcessId, SyncId};
use crate::network::{Shape, Shapes};
use crate::process::Process;
use crate::random::{Seed, Stream};
use crate::record::{Completion, Mark, Observation, Operation, OperationKind, Recorder};
use crate::storage::{Storage, Volume};
use crate::time::{HostTime, SimDuration, SimTime, WallTime};
use crate::topology::Topology;
use crate::world::{HostClock, ProcessOptions, World};

/// What a world consists of, before any host of processes has made it run.
#[derive(Clone, Debug)]
pub struct Blueprint<P: Process> {
    /// Hosts and the links between them.
    pub topology: Arc<Topology>,
    /// Volumes, in the order of their identities.
    pub volumes: Vec<VolumeOptions<P::Storage>>,
    /// Processes, in the order of their identities.
    pub processes: Vec<ProcessOptions<P>>,
    /// From a reset by the watchdog until a host starts services again.
    pub reboot_time: SimDuration,
}

/// How a volume is placed.
#[derive(Clone, Debug)]
pub struct VolumeOptions<S> {
    /// The host that it belongs to.
    pub host: HostId,
    /// What it holds at the first instant.
    pub contents: S,
    /// How long each sync takes.
    pub sync_latency: Sampler,
}

/// Reading a world from outside, whichever host of processes runs it.
pub trait Inspect<P: Process> {
    /// The state of a process, if it runs.
    fn process(&self, process: ProcessId) -> Option<&P>;

    /// What a process would read from its volume.
    fn storage(&self, process: ProcessId) -> &P::Storage;
}

impl<P: Process> Inspect<P> for World<P> {
    fn process(&self, process: ProcessId) -> Option<&P> {
        Self::process(self, process)
    }

    fn storage(&self, process: ProcessId) -> &P::Storage {
        Self::storage(self, process)
    }
}

/// A volume with its page cache, its durable contents and the tail between the two.
#[derive(Clone, Debug)]
pub struct HostVolume<S: Storage>(Volume<S>);

impl<S: Storage> HostVolume<S> {
    /// A volume on which everything is durable.
    pub fn new(options: &VolumeOptions<S>) -> Self {
        Self(Volume::new(options.contents.clone(), options.sync_latency.clone()))
    }

    /// What a process reads: everything written so far.
    pub fn contents(&self) -> &S {
        &self.0.current
    }

    /// Carries out a change, which is not durable yet.
    ///
    /// # Panics
    /// Never: only a fault of the disk refuses a write, and nothing here brings one about.
    pub fn write(&mut self, record: S::Record) {
        self.0.write(record).expect("this disk has no trouble");
    }

    /// The position that a sync asked for now makes durable.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Everything up to this position survives a loss of power.
    pub fn make_durable(&mut self, position: u64, stream: &mut Stream) {
        self.0.make_durable(position, stream);
    }

    /// When a sync that starts now completes, with a length from `stream`. Syncs of one volume complete in order.
    pub fn start_sync(&mut self, now: SimTime, stream: &mut Stream) -> SimTime {
        let latency = self.0.sync_latency.draw(stream);
        self.0.busy_until = self.0.busy_until.max(now) + latency;
        self.0.busy_until
    }

    /// Only what is durable remains.
    pub fn lose_power(&mut self, now: SimTime, stream: &mut Stream) {
        self.0.lose_power(now, stream);
    }
}

/// The clocks of a machine, as functions of the true time.
#[derive(Clone, Debug)]
pub struct MachineClock(HostClock);

impl Default for MachineClock {
    fn default() -> Self {
        Self(HostClock::new())
    }
}

impl MachineClock {
    /// The monotonic clock.
    pub fn monotonic(&self, now: SimTime) -> HostTime {
        self.0.monotonic(now)
    }

    /// The wall clock.
    pub fn wall(&self, now: SimTime) -> WallTime {
        self.0.wall(now)
    }

    /// The true time in which the monotonic clock advances by `length`, rounded up.
    pub fn real(&self, length: SimDuration) -> SimDuration {
        self.0.real(length)
    }

    /// The clocks run faster by this many parts per million than before, or slower if negative.
    pub fn change_drift(&mut self, now: SimTime, ppm: i32) {
        self.0.change_drift(now, ppm);
    }

    /// The wall clock steps forward, or back if negative.
    pub fn step_wall(&mut self, now: SimTime, millis: i64) {
        self.0.step_wall(now, millis);
    }

    /// The monotonic clock stands still, or goes on.
    pub fn freeze(&mut self, now: SimTime, frozen: bool) {
        self.0.freeze(now, frozen);
    }

    /// A boot restarts the monotonic clock.
    pub fn reboot(&mut self, now: SimTime) {
        self.0.reboot(now);
    }
}

/// What faults do to the packets of one directed link, beyond added latency and loss: draws from a distribution,
/// duplicates, packets out of their order, a limited bandwidth.
#[derive(Clone, Debug)]
pub struct LinkFaults(Shapes);

impl LinkFaults {
    /// The link between two of `hosts` hosts, which no fault shapes yet.
    pub fn new(seed: Seed, from: HostId, to: HostId, hosts: usize) -> Self {
        Self(Shapes::new(seed, (from.index() * hosts + to.index()) as u64))
    }

    /// The fault with this position begins.
    ///
    /// # Panics
    /// If it is of a kind that does nothing to packets.
    pub fn begin(&mut self, index: usize, fault: &Fault) {
        self.0.add(index, Shape::of(fault));
    }

    /// The fault with this position ends.
    pub fn end(&mut self, index: usize) {
        self.0.remove(index);
    }

    /// How much longer a packet of so many bytes takes that is sent now; none if a full queue drops it.
    pub fn pass(&mut self, now: SimTime, size: u32) -> Option<SimDuration> {
        self.0.pass(now, size)
    }

    /// The latency of a second copy, if a datagram that is sent now is duplicated.
    pub fn duplicate(&mut self, latency: &Sampler) -> Option<SimDuration> {
        self.0.duplicate(latency)
    }
}

/// The clients' history and the marks of a run.
#[derive(Clone, Debug, Default)]
pub struct History(Recorder);

impl History {
    /// Records that a client sends an operation.
    pub fn invoke(&mut self, at: SimTime, client: ProcessId, kind: OperationKind, value: u64) -> OperationId {
        self.0.invoke(at, client, kind, value)
    }

    /// Records what the client learned.
    ///
    /// # Panics
    /// If the operation was completed before.
    pub fn complete(&mut self, at: SimTime, operation: OperationId, completion: Completion) {
        self.0.complete(at, operation, completion);
    }

    /// Records what a read returned.
    pub fn observe(&mut self, operation: OperationId, newest: Arc<[u64]>) {
        self.0.observe(operation, newest);
    }

    /// Records a mark.
    pub fn mark(&mut self, mark: Mark) {
        self.0.marks.push(mark);
    }

    /// Operations, what reads of them returned, and marks so far.
    pub fn into_parts(self) -> (Vec<Operation>, Vec<Observation>, Vec<Mark>) {
        (self.0.operations.into_vec(), self.0.observations, self.0.marks)
    }
}

/// The stream of the process with this name.
pub fn process_stream(seed: Seed, name: &str) -> Stream {
    seed.stream(&format!("process {name}"), 0)
}

/// The stream of the syncs of the volume with this position.
pub fn volume_stream(seed: Seed, volume: usize) -> Stream {
    seed.stream("volume", volume as u64)
}

/// The stream of the directed link between two of `hosts` hosts.
pub fn link_stream(seed: Seed, from: HostId, to: HostId, hosts: usize) -> Stream {
    numbered_link_stream(seed, from.index() * hosts + to.index())
}

/// The same by the position of the link among all pairs of hosts.
pub(crate) fn numbered_link_stream(seed: Seed, link: usize) -> Stream {
    seed.stream("link", link as u64)
}

/// The stream that chooses among several processes that a fault could hit.
pub fn fault_target_stream(seed: Seed) -> Stream {
    seed.stream("fault targets", 0)
}

/// The identity of the connection with this number; a host of processes uses each number once in a run.
pub const fn connection_id(number: u32) -> ConnectionId {
    ConnectionId { slot: number, generation: 0 }
}

/// The identity of a sync; a host of processes counts them up for each process.
pub const fn sync_id(number: u64) -> SyncId {
    SyncId(number)
}
