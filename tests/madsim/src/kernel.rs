//! What a world on madsim consists of, apart from its tasks: processes, hosts, volumes, faults, the record.
//!
//! It is shared by all tasks of a run behind one lock that nobody ever waits for: madsim runs on one thread, and no task
//! holds it across an await. Nothing here communicates. What has to be sent, started or killed is collected as [`Order`]s
//! and carried out when the lock is free.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use madsim::net::Endpoint;
use madsim::task::NodeId;
use scenarios::family::LogLevel;
use sim_core::host::faults::{FaultEvent, FaultState};
use sim_core::host::{History, HostVolume, MachineClock, sync_id};
use sim_core::{
    ConnectionEvent, ConnectionId, Digest, EndReason, HostId, Mark, MarkKind, Origin, Process, ProcessId,
    SimDuration, SimTime, Stream, SyncId, TraceEntry, TraceKind, VolumeId,
};

use crate::Portable;
use crate::connection::{Frame, Stack};
use crate::context::MadsimContext;
use crate::link::Links;
use crate::pace::Pace;

/// A world that runs on madsim, shared by its tasks.
#[derive(Debug)]
pub(crate) struct Shared<P: Portable> {
    pub(crate) pace: Pace,
    world: Mutex<World<P>>,
}

/// The states of the processes, and everything else.
#[derive(Debug)]
pub(crate) struct World<P: Portable> {
    pub(crate) states: Vec<Option<P>>,
    pub(crate) kernel: Kernel<P>,
}

/// Everything but the states of the processes.
#[derive(Debug)]
pub(crate) struct Kernel<P: Portable> {
    /// When the running task was given the lock: a handler takes no time.
    pub(crate) now: SimTime,
    pub(crate) slots: Vec<Slot<P>>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) volumes: Vec<Disk<P>>,
    pub(crate) links: Links,
    pub(crate) faults: FaultState,
    /// How many partitions cut the way from one process to another.
    pub(crate) cuts: BTreeMap<(ProcessId, ProcessId), u32>,
    pub(crate) history: History,
    pub(crate) topology: Arc<sim_core::Topology>,
    /// What will happen to hardware, and when; the second number orders what happens at once.
    pub(crate) agenda: BTreeMap<(SimTime, u64), Happening>,
    pub(crate) agenda_waker: Option<Waker>,
    pub(crate) orders: Vec<Order<P>>,
    pub(crate) next_connection: u32,
    pub(crate) end: Option<EndReason>,
    pub(crate) end_waker: Option<Waker>,
    pub(crate) digest: Digest,
    pub(crate) events: u64,
    pub(crate) event_budget: u64,
    pub(crate) log_level: LogLevel,
    pub(crate) log: Vec<TraceEntry>,
    sequence: u64,
}

/// One process, with the node of madsim that is its kernel.
#[derive(Debug)]
pub(crate) struct Slot<P: Portable> {
    pub(crate) name: Arc<str>,
    pub(crate) host: HostId,
    /// None for a port: async code sits there instead of a process.
    pub(crate) program: Option<Program<P>>,
    /// Made before any task runs.
    pub(crate) node: Option<NodeId>,
    /// Bound while the host has power.
    pub(crate) endpoint: Option<Socket>,
    pub(crate) running: bool,
    pub(crate) incarnation: u32,
    /// How many faults keep it stopped.
    pub(crate) pauses: u32,
    /// How many kills hold it down: the end of the last of them starts it again.
    pub(crate) kills: u32,
    pub(crate) inbox: VecDeque<(SimTime, Input<P>)>,
    pub(crate) timers: Vec<Wakeup<P::Timer>>,
    pub(crate) stack: Stack<P::Packet>,
    pub(crate) waker: Option<Waker>,
    pub(crate) stack_waker: Option<Waker>,
    /// When the task of the stack will wake by itself; none if it waits to be woken.
    pub(crate) stack_armed: Option<SimTime>,
    pub(crate) random: Stream,
    pub(crate) next_sync: u64,
    /// What the connections of a port have heard and nobody has taken yet.
    pub(crate) ears: BTreeMap<ConnectionId, Ear<P>>,
}

/// One connection of a port, and the task that waits for it.
#[derive(Debug)]
pub(crate) struct Ear<P: Process> {
    pub(crate) heard: VecDeque<Input<P>>,
    pub(crate) waker: Option<Waker>,
}

impl<P: Portable> Slot<P> {
    /// # Panics
    /// Before the run has started.
    pub(crate) fn node(&self) -> NodeId {
        self.node.expect("nodes are made before any task runs")
    }
}

/// madsim's endpoint, which has no `Debug`.
#[derive(Clone)]
pub(crate) struct Socket(pub(crate) Endpoint);

impl std::fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Socket")
    }
}

/// What a process is started with.
#[derive(Clone, Debug)]
pub(crate) struct Program<P: Process> {
    pub(crate) spec: P::Spec,
    pub(crate) volume: VolumeId,
    pub(crate) starts_with_host: bool,
}

/// A timer that is set.
#[derive(Debug)]
pub(crate) struct Wakeup<T> {
    pub(crate) timer: T,
    pub(crate) due: SimTime,
    pub(crate) sequence: u64,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) powered: bool,
    /// How many faults keep it without power.
    pub(crate) outages: u32,
    pub(crate) freezes: u32,
    pub(crate) frozen_since: SimTime,
    pub(crate) clock: MachineClock,
    pub(crate) processes: Vec<ProcessId>,
    pub(crate) volumes: Vec<VolumeId>,
    pub(crate) watchdog: Option<SimTime>,
    pub(crate) watchdog_pending: bool,
    pub(crate) reboot_time: SimDuration,
}

/// One volume and its queue of syncs.
#[derive(Debug)]
pub(crate) struct Disk<P: Process> {
    pub(crate) volume: HostVolume<P::Storage>,
    pub(crate) stream: Stream,
    /// How many faults stall it.
    pub(crate) stalls: u32,
    pub(crate) waiting: Vec<PendingSync>,
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingSync {
    pub(crate) process: ProcessId,
    pub(crate) incarnation: u32,
    pub(crate) sync: SyncId,
    pub(crate) position: u64,
}

/// What a process can be given.
#[derive(Clone, Debug)]
pub(crate) enum Input<P: Process> {
    Packet(Origin, P::Packet),
    Timer(P::Timer),
    Connection(ConnectionId, ProcessId, ConnectionEvent),
    Synced(SyncId),
    Command(Arc<str>, usize),
}

/// What happens to hardware at a given time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Synced(VolumeId, PendingSync),
    Watchdog(HostId),
    PowerOn(HostId),
    Boot(ProcessId),
    /// A process has its turn in the restart that is the fault with this position.
    Restart(ProcessId, usize),
    Fault(FaultEvent),
    Horizon,
}

/// What has to be done when the lock is free.
#[derive(Debug)]
pub(crate) enum Order<P: Process> {
    /// Sends a segment after this latency, from the node of its sender.
    Frame(Socket, NodeId, SimDuration, Frame<P::Packet>),
    /// Sends a datagram.
    Datagram(Socket, NodeId, SimDuration, ProcessId, ProcessId, P::Packet),
    Boot(ProcessId),
    Kill(ProcessId, u32),
    KillNode(NodeId),
    RestartNode(NodeId),
    PauseNode(NodeId),
    ResumeNode(NodeId),
    Clog(NodeId, NodeId),
    Unclog(NodeId, NodeId),
}

impl<P: Portable> Shared<P> {
    pub(crate) fn new(pace: Pace, world: World<P>) -> Self {
        Self { pace, world: Mutex::new(world) }
    }

    /// Lets a task look at the world and change it. What it ordered is for the caller to carry out.
    pub(crate) fn lock<T>(&self, action: impl FnOnce(&mut World<P>) -> T) -> (T, Vec<Order<P>>) {
        // A panic of a model ends the run; what it leaves is still read for the record.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.kernel.now = self.pace.now().max(world.kernel.now);
        let result = action(&mut world);
        (result, std::mem::take(&mut world.kernel.orders))
    }

    /// Looks at the world outside of a run.
    pub(crate) fn peek<T>(&self, action: impl FnOnce(&mut World<P>) -> T) -> T {
        action(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Portable> World<P> {
    /// Hands an input to a process: exactly one handler is called.
    pub(crate) fn handle(&mut self, process: ProcessId, input: Input<P>) {
        let kernel = &mut self.kernel;
        kernel.events += 1;
        if kernel.events > kernel.event_budget {
            kernel.finish(EndReason::EventBudget);
        }
        if kernel.end.is_some() {
            return;
        }
        kernel.digest.fold(kernel.now.as_nanos());
        kernel.digest.fold(process.index() as u64);
        match &input {
            Input::Packet(_, packet) => kernel.digest.fold_hash(packet),
            Input::Timer(timer) => kernel.digest.fold_hash(timer),
            Input::Connection(_, _, event) => kernel.digest.fold_hash(event),
            Input::Synced(sync) => kernel.digest.fold_hash(sync),
            Input::Command(command, _) => kernel.digest.fold_hash(command),
        }
        if kernel.log_level == LogLevel::Packets {
            kernel.log(LogLevel::Packets, Some(process), TraceKind::Delivery, || format!("{input:?}"));
        }
        let state = self.states[process.index()].as_mut().expect("a running process has a state");
        let mut context = MadsimContext { kernel, me: process };
        match input {
            Input::Packet(from, packet) => state.on_packet(&mut context, from, packet),
            Input::Timer(timer) => state.on_timer(&mut context, timer),
            Input::Connection(connection, peer, event) => {
                state.on_connection(&mut context, connection, peer, event);
            }
            Input::Synced(sync) => state.on_synced(&mut context, sync),
            Input::Command(command, fault) => {
                if !state.on_command(&mut context, &command) {
                    self.kernel.faults.command_refused(fault);
                }
            }
        }
    }
}

impl<P: Portable> Kernel<P> {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a world, each of its own type, named at the one call"
    )]
    pub(crate) fn new(
        topology: Arc<sim_core::Topology>,
        slots: Vec<Slot<P>>,
        hosts: Vec<Host>,
        volumes: Vec<Disk<P>>,
        links: Links,
        faults: FaultState,
        event_budget: u64,
        log_level: LogLevel,
    ) -> Self {
        Self {
            now: SimTime::ZERO,
            slots,
            hosts,
            volumes,
            links,
            faults,
            cuts: BTreeMap::new(),
            history: History::default(),
            topology,
            agenda: BTreeMap::new(),
            agenda_waker: None,
            orders: Vec::new(),
            next_connection: 0,
            end: None,
            end_waker: None,
            digest: Digest::default(),
            events: 0,
            event_budget,
            log_level,
            log: Vec::new(),
            sequence: 0,
        }
    }

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Puts something on the agenda of the hardware.
    pub(crate) fn at(&mut self, at: SimTime, happening: Happening) {
        let sequence = self.next_sequence();
        self.agenda.insert((at, sequence), happening);
        if self.agenda.first_key_value().is_some_and(|(first, _)| *first == (at, sequence)) {
            self.agenda_waker.take().into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn finish(&mut self, reason: EndReason) {
        self.end.get_or_insert(reason);
        self.end_waker.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) fn mark(&mut self, process: Option<ProcessId>, kind: MarkKind, value: u64) {
        let mark = Mark { at: self.now, process, kind, value };
        self.digest.fold(kind as u64);
        self.digest.fold(value);
        self.history.mark(mark);
        self.log(LogLevel::Story, process, TraceKind::Mark, || mark.to_string());
        let now = self.now;
        let mut fires = Vec::new();
        self.faults.on_mark(now, kind, |at, event| fires.push((at, event)));
        for (at, event) in fires {
            self.at(at, Happening::Fault(event));
        }
    }

    pub(crate) fn log(
        &mut self,
        level: LogLevel,
        process: Option<ProcessId>,
        kind: TraceKind,
        text: impl FnOnce() -> String,
    ) {
        if self.log_level >= level {
            self.log.push(TraceEntry { at: self.now, process, kind, text: text() });
        }
    }

    /// Queues an input; the process takes it now, or when it resumes.
    pub(crate) fn give(&mut self, process: ProcessId, input: Input<P>) {
        let now = self.now;
        let slot = &mut self.slots[process.index()];
        if slot.program.is_none() {
            let (Input::Packet(Origin::Connection(id, _), _) | Input::Connection(id, ..)) = &input else {
                return;
            };
            if let Some(ear) = slot.ears.get_mut(id) {
                ear.heard.push_back(input);
                ear.waker.take().into_iter().for_each(Waker::wake);
            }
        } else if slot.running {
            slot.inbox.push_back((now, input));
            slot.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn sync(&mut self, process: ProcessId) -> SyncId {
        let slot = &mut self.slots[process.index()];
        let sync = sync_id(slot.next_sync);
        slot.next_sync += 1;
        let incarnation = slot.incarnation;
        let volume = self.volume_of(process);
        let position = self.volumes[volume.index()].volume.position();
        self.start_sync(volume, PendingSync { process, incarnation, sync, position });
        sync
    }

    pub(crate) fn start_sync(&mut self, id: VolumeId, sync: PendingSync) {
        let now = self.now;
        let disk = &mut self.volumes[id.index()];
        if disk.stalls > 0 {
            disk.waiting.push(sync);
            return;
        }
        let at = disk.volume.start_sync(now, &mut disk.stream);
        self.at(at, Happening::Synced(id, sync));
    }

    pub(crate) fn on_synced(&mut self, id: VolumeId, sync: PendingSync) {
        let disk = &mut self.volumes[id.index()];
        if disk.stalls > 0 {
            disk.waiting.push(sync);
            return;
        }
        disk.volume.make_durable(sync.position, &mut disk.stream);
        if self.slots[sync.process.index()].incarnation == sync.incarnation {
            self.give(sync.process, Input::Synced(sync.sync));
        }
    }

    /// # Panics
    /// If the process is a port: async code has no volume.
    pub(crate) fn volume_of(&self, process: ProcessId) -> VolumeId {
        let program = self.slots[process.index()].program.as_ref();
        program.expect("only processes write and sync, and each has a volume").volume
    }

    pub(crate) fn feed_watchdog(&mut self, host: HostId, timeout: SimDuration) {
        let machine = &mut self.hosts[host.index()];
        let deadline = self.now + machine.clock.real(timeout);
        machine.watchdog = Some(deadline);
        if !machine.watchdog_pending {
            machine.watchdog_pending = true;
            self.at(deadline, Happening::Watchdog(host));
        }
    }

    /// True if the host resets now.
    pub(crate) fn watchdog_fires(&mut self, host: HostId) -> bool {
        let machine = &mut self.hosts[host.index()];
        machine.watchdog_pending = false;
        let Some(deadline) = machine.watchdog else { return false };
        if deadline > self.now {
            machine.watchdog_pending = true;
            self.at(deadline, Happening::Watchdog(host));
            return false;
        }
        // It does not count while the machine is paused; the thaw asks again.
        machine.freezes == 0
    }
}
