//! The world: everything that a run consists of, as one value.

mod builder;
mod clock;
mod context;
mod delivery;
mod faults;
mod fork;
mod input;
mod keep_alive;
mod lifecycle;
mod observers;
mod pending;
mod standing;
mod storage;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::digest::Digest;
use crate::host::faults::{DeliveredFault, FaultEvent, FaultState};
use crate::id::{ConnectionId, HostId, ProcessId, SyncId, VolumeId};
use crate::network::{Connections, Paths, Segment};
use crate::process::{Origin, Probe, Process, StateProbe};
use crate::queue::{Order, Queue, Vacant};
use crate::random::Stream;
use crate::record::{EndReason, Mark, MarkKind, Operation, Record, Recorder, Violation};
use crate::storage::{DiskError, PendingSync, Volume};
use crate::time::{HostTime, SimDuration, SimTime};
use crate::topology::Topology;
use crate::trace::{Trace, TraceEntry, TraceKind, TraceLevel};

pub use builder::{ProcessOptions, WorldBuilder};
pub(crate) use clock::HostClock;
use input::Input;
use observers::Observers;
pub use pending::NextEvent;
use standing::Standings;
use timers::Timers;

/// A world of processes of type `P`, at some instant of virtual time.
///
/// `Clone` forks it: both copies go on independently and identically until they are treated differently.
#[derive(Clone, Debug)]
pub struct World<P: Process> {
    /// The states of the processes, apart from everything else, so that a handler can have both.
    states: Vec<Option<P>>,
    kernel: Kernel<P>,
}

/// Everything in the world but the states of its processes.
#[derive(Clone, Debug)]
struct Kernel<P: Process> {
    now: SimTime,
    events: u64,
    digest: Digest,
    queue: Queue<Event<P>>,
    processes: Vec<ProcessSlot<P>>,
    hosts: Vec<Host>,
    standings: Standings,
    volumes: Vec<Volume<P::Storage>>,
    volume_streams: Vec<Stream>,
    paths: Paths,
    connections: Connections<P::Packet>,
    faults: FaultState,
    recorder: Recorder,
    probes: Vec<Box<dyn Probe>>,
    state_probes: Vec<Box<dyn StateProbe<P>>>,
    violation: Option<Violation>,
    trace: Trace,
    topology: Arc<Topology>,
}

/// What the kernel knows of a process.
#[derive(Clone, Debug)]
struct ProcessSlot<P: Process> {
    name: Arc<str>,
    host: HostId,
    volume: VolumeId,
    starts_with_host: bool,
    spec: P::Spec,
    running: bool,
    /// Conditions look at its state.
    observers: Observers,
    /// Counts lives, so that what was meant for an earlier one is recognised.
    incarnation: u32,
    /// How many faults keep it stopped.
    pauses: u32,
    /// How many kills hold it down: the end of the last of them starts it again.
    kills: u32,
    /// What arrived while it was paused, or busy on a slow host.
    backlog: VecDeque<Input<P>>,
    /// When the input that it works on is done; only on a slow host, where that takes time.
    busy_until: Option<SimTime>,
    listening: Listening<P>,
    timers: Timers<P::Timer>,
    random: Stream,
    next_sync: u64,
    /// It was told in this life that its disk fails: if it ends, it starts again when the disk is sound.
    disk_failed: bool,
}

/// What faults do to new connections of a process.
#[derive(Clone, Debug)]
struct Listening<P: Process> {
    /// How many faults drop requests.
    drops: u32,
    /// How many faults keep the process from accepting. Ends with its life.
    hangs: u32,
    /// What happened on connections that it has not accepted, in order.
    unaccepted: VecDeque<Input<P>>,
}

/// One machine.
#[derive(Clone, Debug)]
struct Host {
    powered: bool,
    /// How many faults keep it without power.
    outages: u32,
    /// How many faults keep the whole machine paused, and since when.
    freezes: u32,
    frozen_since: SimTime,
    /// What was asked for while it was paused, to be done when it goes on.
    deferred: Vec<Deferred>,
    /// CPU time that each input takes: the sum over faults, zero on a healthy machine.
    service: SimDuration,
    /// True while it is frozen or slow: inputs do not reach processes at once.
    hindered: bool,
    clock: HostClock,
    processes: Vec<ProcessId>,
    volumes: Vec<VolumeId>,
    /// When the watchdog resets the host, unless fed.
    watchdog: Option<SimTime>,
    watchdog_pending: bool,
    /// From a reset by the watchdog until the host's processes start again.
    reboot_time: SimDuration,
}

/// What waits for a paused machine to go on.
#[derive(Clone, Copy, Debug)]
enum Deferred {
    Boot(ProcessId),
    Kill(ProcessId, u32),
    PowerOn,
}

impl Host {
    /// True when nothing on the host moves and the network hears nothing of it.
    fn is_silent(&self) -> bool {
        !self.powered || self.freezes > 0
    }
}

/// What can be pending. `Nothing` is what a free slot of the queue holds.
#[derive(Clone, Debug)]
enum Event<P: Process> {
    Segment { connection: ConnectionId, to: u8, lost: bool, number: u32, segment: Segment<P::Packet> },
    Retransmit { connection: ConnectionId, side: u8 },
    KeepAlive { connection: ConnectionId, side: u8 },
    Datagram { from: ProcessId, to: ProcessId, packet: P::Packet },
    Timer { process: ProcessId, slot: u32 },
    Synced { volume: VolumeId, process: ProcessId, incarnation: u32, sync: SyncId, position: u64 },
    Served { process: ProcessId },
    WriteRefused { process: ProcessId, incarnation: u32, error: DiskError },
    Boot { process: ProcessId },
    Kill { process: ProcessId, incarnation: u32, by_itself: bool },
    Watchdog { host: HostId },
    PowerOn { host: HostId },
    Fault(FaultEvent),
    Restart { process: ProcessId, fault: u32 },
    Nothing,
}

impl<P: Process> Vacant for Event<P> {
    const VACANT: Self = Self::Nothing;
}

impl<P: Process> World<P> {
    /// Processes the next event. False if none is left.
    #[inline]
    pub fn step(&mut self) -> bool {
        self.step_by(SimTime::NEVER)
    }

    /// Processes the next event if it is due by `limit`.
    #[inline]
    fn step_by(&mut self, limit: SimTime) -> bool {
        let Some((order, due)) = self.kernel.queue.pop_by(limit) else {
            return false;
        };
        debug_assert!(order.at >= self.kernel.now, "time never runs backwards");
        self.kernel.now = order.at;
        self.kernel.events += 1;
        let event = self.kernel.queue.take(due);
        self.dispatch(order, event);
        true
    }

    /// Runs until `horizon`, or until `event_budget` events were processed in all, or a probe finds a violation.
    pub fn run(&mut self, horizon: SimTime, event_budget: u64) -> EndReason {
        while self.kernel.events < event_budget && self.step_by(horizon) {
            if self.kernel.violation.is_some() {
                return EndReason::Violated;
            }
        }
        match self.kernel.queue.next_at() {
            None => EndReason::Quiescent,
            Some(at) if at > horizon => {
                self.kernel.now = horizon;
                EndReason::Horizon
            }
            Some(_) => EndReason::EventBudget,
        }
    }

    /// What the run has left so far, with the given reason for its end.
    pub fn record(&mut self, end: EndReason) -> Record {
        Record {
            operations: std::mem::take(&mut self.kernel.recorder.operations).into_vec(),
            observations: std::mem::take(&mut self.kernel.recorder.observations),
            marks: std::mem::take(&mut self.kernel.recorder.marks),
            violation: self.kernel.violation.clone(),
            digest: self.kernel.digest,
            events: self.kernel.events,
            ended_at: self.kernel.now,
            end,
        }
    }

    /// The current instant.
    pub fn now(&self) -> SimTime {
        self.kernel.now
    }

    /// Events processed so far.
    pub fn events(&self) -> u64 {
        self.kernel.events
    }

    /// The digest so far.
    pub fn digest(&self) -> Digest {
        self.kernel.digest
    }

    /// The clients' history so far.
    pub fn operations(&self) -> &[Operation] {
        &self.kernel.recorder.operations
    }

    /// The marks so far.
    pub fn marks(&self) -> &[Mark] {
        &self.kernel.recorder.marks
    }

    /// The state of a process, if it runs.
    pub fn process(&self, process: ProcessId) -> Option<&P> {
        self.states[process.index()].as_ref()
    }

    /// All processes, in the order in which they were added.
    pub fn process_ids(&self) -> impl Iterator<Item = ProcessId> + use<P> {
        (0..self.states.len()).map(ProcessId::from_index)
    }

    /// The name of a process.
    pub fn name(&self, process: ProcessId) -> &str {
        &self.kernel.processes[process.index()].name
    }

    /// The process with this name.
    pub fn find(&self, name: &str) -> Option<ProcessId> {
        self.process_ids().find(|process| self.name(*process) == name)
    }

    /// The host of a process.
    pub fn host_of(&self, process: ProcessId) -> HostId {
        self.kernel.processes[process.index()].host
    }

    /// What the monotonic clock of a process' host says now.
    pub fn monotonic(&self, process: ProcessId) -> HostTime {
        self.kernel.hosts[self.host_of(process).index()].clock.monotonic(self.kernel.now)
    }

    /// True if the process is started with its host: by its service manager, and not by another process.
    pub fn starts_with_host(&self, process: ProcessId) -> bool {
        self.kernel.processes[process.index()].starts_with_host
    }

    /// True if nothing keeps the process from running: it was started, and neither it nor its host is paused.
    pub fn is_live(&self, process: ProcessId) -> bool {
        let slot = &self.kernel.processes[process.index()];
        slot.running && slot.pauses == 0 && !self.kernel.hosts[slot.host.index()].is_silent()
    }

    /// What a process would read from its volume.
    pub fn storage(&self, process: ProcessId) -> &P::Storage {
        &self.kernel.volumes[self.kernel.processes[process.index()].volume.index()].current
    }

    /// The topology.
    pub fn topology(&self) -> &Topology {
        &self.kernel.topology
    }

    /// What became of the faults that have fired, in the order in which they fired.
    pub fn delivered_faults(&self) -> &[DeliveredFault] {
        self.kernel.faults.delivered()
    }

    /// Logs notes, marks and faults from now on; with `deliveries`, every packet as well.
    pub fn log(&mut self, deliveries: bool) {
        self.kernel.trace.level = if deliveries { TraceLevel::Everything } else { TraceLevel::Story };
    }

    /// The log so far.
    pub fn log_entries(&self) -> &[TraceEntry] {
        &self.kernel.trace.entries
    }

    /// Adds a condition that is checked at every mark from now on.
    pub fn add_probe(&mut self, probe: Box<dyn Probe>) {
        self.kernel.probes.push(probe);
    }

    #[inline(always)]
    fn dispatch(&mut self, order: Order, event: Event<P>) {
        self.kernel.digest.fold(order.at.as_nanos());
        match event {
            Event::Segment { connection, to, lost, number, segment } => {
                self.on_segment(connection, usize::from(to), lost, number, segment);
            }
            Event::Timer { process, slot } => {
                if let Some(timer) = self.kernel.due_timer(process, slot, order) {
                    self.give_timer(process, timer);
                }
            }
            Event::Datagram { from, to, packet } => {
                if !self.kernel.standing(to).is_silent() && !self.kernel.paths.is_cut(from, to) {
                    self.give_packet(to, Origin::Datagram(from), packet);
                }
            }
            event => self.dispatch_rare(event),
        }
    }

    /// Events that are neither packets nor timers. Apart, so that the loop over the others is one piece.
    #[inline(never)]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a reference would keep all events in memory, the frequent ones too"
    )]
    fn dispatch_rare(&mut self, event: Event<P>) {
        match event {
            Event::Synced { volume, process, incarnation, sync, position } => {
                self.on_synced(volume, PendingSync { process, incarnation, sync, position });
            }
            Event::WriteRefused { process, incarnation, error } => {
                self.on_write_refused(process, incarnation, error);
            }
            Event::Retransmit { connection, side } => self.on_retransmit(connection, usize::from(side)),
            Event::KeepAlive { connection, side } => self.on_keep_alive(connection, usize::from(side)),
            Event::Served { process } => self.on_served(process),
            Event::Boot { process } => self.boot(process),
            Event::Kill { process, incarnation, by_itself } => {
                if self.kernel.processes[process.index()].incarnation == incarnation {
                    self.kill(process);
                    if by_itself {
                        // A process that heard late of a failure of its disk may end after the disk is sound again.
                        self.restart_failed(process);
                    } else {
                        // It did not end because of its disk.
                        self.kernel.processes[process.index()].disk_failed = false;
                    }
                }
            }
            Event::Watchdog { host } => self.on_watchdog(host),
            Event::PowerOn { host } => self.power_on(host),
            Event::Fault(event) => self.on_fault(event),
            Event::Restart { process, fault } => self.restart(process, fault as usize),
            Event::Segment { .. } | Event::Timer { .. } | Event::Datagram { .. } => {
                unreachable!("dispatched above")
            }
            Event::Nothing => unreachable!("free slots of the queue are never due"),
        }
    }
}

impl<P: Process> Kernel<P> {
    fn mark(&mut self, process: Option<ProcessId>, kind: MarkKind, value: u64) {
        let mark = Mark { at: self.now, process, kind, value };
        self.digest.fold(kind as u64);
        self.digest.fold(value);
        self.recorder.marks.push(mark);
        self.trace.add(TraceLevel::Story, self.now, process, TraceKind::Mark, || mark.to_string());
        for probe in &mut self.probes {
            let found = probe.on_mark(&mark);
            if self.violation.is_none() {
                self.violation = found;
            }
        }
        self.trigger_on_mark(kind);
    }
}
