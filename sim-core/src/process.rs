//! A protocol role as a plain value, and what it may do.
//!
//! # The contract of the event loop
//!
//! 1. The world takes the earliest event by (time, sequence number) and sets its clock to it.
//! 2. The event folds into the digest.
//! 3. If it is meant for a process that runs, exactly one handler of that process is called. A paused process gets
//!    its events, in order, when it resumes, one on a slow host one by one; a stopped one never does. A timer that waits
//!    in line may still be cancelled or moved.
//! 4. What the handler asks for through its [`Context`] takes effect in the order in which it asks. Packets, syncs
//!    and timers come back as later events, never within the same call.
//! 5. Probes see the marks that the handler left, and state probes the state of the process; a violation ends the run.
//!
//! A handler takes no time. Where the real software takes time to do something, the model says so with a timer.
//! Apart from the context, a handler has its own state and its argument: no clock, no thread, no file, no global.
//!
//! The same values run unchanged on every host that implements [`Context`].

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use crate::fault::Schedule;
use crate::id::{ConnectionId, OperationId, ProcessId, SyncId};
use crate::network::ConnectOptions;
use crate::random::Stream;
use crate::record::{Completion, MarkKind, OperationKind, Violation};
use crate::storage::{Storage, StorageFailure};
use crate::time::{HostTime, SimDuration, SimTime, WallTime};

/// A role of a protocol: a value with handlers.
pub trait Process: Clone + Debug + Sized {
    /// What it was started with: command line and configuration files. Survives everything, even a wiped disk.
    type Spec: Clone + Debug;
    /// What travels between processes. Keep it within 48 bytes; put large bodies behind an `Arc`.
    type Packet: Clone + Debug + Hash;
    /// What it can be woken for: one variant for each time-out. Setting an equal timer again moves it.
    type Timer: Clone + Debug + Hash + PartialEq;
    /// What survives a crash.
    type Storage: Storage;

    /// First start and every restart: builds the process from its specification and its volume alone. Volatile
    /// state of an earlier life is gone by construction.
    fn boot(spec: &Self::Spec, context: &mut impl Context<Self>) -> Self;

    /// A datagram, or the next packet of a connection, arrived.
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Self::Packet);

    /// A timer that was set came due.
    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: Self::Timer);

    /// Something happened to a connection.
    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    );

    /// A sync that was asked for completed: everything written before the request is durable.
    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        let _ = (context, sync);
    }

    /// The disk of this process failed: a write was refused, or a sync did not make durable what it covered. The handler
    /// runs as an event of its own, at the instant of the failure; until then the process may have gone on.
    ///
    /// Without a handler the process ends, as software does that takes an error of its disk for fatal. When the fault
    /// ends, processes that start with their host and ended like this are started again.
    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        context.note(|| format!("ends: {failure}"));
        let me = context.me();
        context.kill(me);
    }

    /// An operator gave a command (a switchover, a reload). Unknown commands are a mistake in the scenario; report
    /// them by returning false.
    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let _ = (context, command);
        false
    }

    /// How many bytes a packet takes on the wire, headers included: what a limited bandwidth counts. Without one,
    /// sizes do not matter. The default stands for a small request or answer.
    fn packet_size(packet: &Self::Packet) -> u32 {
        let _ = packet;
        500
    }

    /// True while this process plays a role that faults may be aimed at, such as `primary` or `etcd-leader`.
    fn plays(&self, role: &str) -> bool {
        let _ = role;
        false
    }

    /// What it plays now, in one of the words that [`Self::plays`] knows: the most particular one, for tables of what
    /// faults hit. Empty if it has no word for it.
    fn role(&self) -> &'static str {
        ""
    }
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// A connection, and the process at its other end.
    Connection(ConnectionId, ProcessId),
    /// A datagram of this process.
    Datagram(ProcessId),
}

impl Origin {
    /// The process that sent it.
    pub const fn process(self) -> ProcessId {
        match self {
            Self::Connection(_, process) | Self::Datagram(process) => process,
        }
    }
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ConnectionEvent {
    /// The other side asked for it, and the kernel of this host accepted.
    Accepted,
    /// The connection that this side asked for is established.
    Opened,
    /// The host answered that nobody listens: known after one round trip.
    Refused,
    /// The other side closed it, or its process died on a living host. Packets sent before arrive before.
    Closed,
    /// The other side's host does not know the connection (any more).
    Reset,
    /// Nothing was heard for as long as the options allow. A dead or cut-off host gives no other sign.
    TimedOut,
}

/// What a process may do. Each host of processes (the native kernel, madsim) implements it.
pub trait Context<P: Process> {
    /// This process.
    fn me(&self) -> ProcessId;

    /// The monotonic clock of this process's host.
    fn monotonic(&self) -> HostTime;

    /// The wall clock of this process's host; it may be wrong and it may jump.
    fn wall(&self) -> WallTime;

    /// This process's own random stream.
    fn random(&mut self) -> &mut Stream;

    /// Asks for a connection. `Opened`, `Refused` or, after silence, `TimedOut` follows. Packets may be sent at once;
    /// they wait for the connection.
    fn connect(&mut self, to: ProcessId, options: ConnectOptions) -> ConnectionId;

    /// Sets the options of this side of a connection that the other side asked for.
    fn configure(&mut self, connection: ConnectionId, options: ConnectOptions);

    /// Sends a packet on a connection: in order, retransmitted while the path is cut. Ignored on a connection that is
    /// closed or was lost; the event that says so is on its way or was delivered.
    fn send(&mut self, connection: ConnectionId, packet: P::Packet);

    /// Closes this side. The other side hears of it after everything sent before.
    fn close(&mut self, connection: ConnectionId);

    /// Sends a datagram, which may be lost, duplicated or overtaken.
    fn send_datagram(&mut self, to: ProcessId, packet: P::Packet);

    /// Wakes this process after `delay` on its host's monotonic clock. An equal timer that is set already is moved.
    fn set_timer(&mut self, timer: P::Timer, delay: SimDuration);

    /// Forgets a timer. Unset timers are ignored.
    fn cancel_timer(&mut self, timer: &P::Timer);

    /// The volume of this process, with everything written so far.
    fn storage(&self) -> &P::Storage;

    /// Changes the volume. Not durable before a later sync completes. Refused if the disk is full, which
    /// [`Process::on_storage_failed`] reports later: who depends on the record waits for its sync or that report.
    fn write(&mut self, record: <P::Storage as Storage>::Record);

    /// Asks for everything written so far to become durable. `Process::on_synced` follows, or, on a failing disk,
    /// `Process::on_storage_failed`.
    fn sync(&mut self) -> SyncId;

    /// Starts another process of this host, which boots at once. Ignored if it runs.
    fn start(&mut self, neighbour: ProcessId);

    /// Kills another process of this host, or this one after the handler returns, as SIGKILL does.
    fn kill(&mut self, neighbour: ProcessId);

    /// True if this process of the same host runs (also while it is paused).
    fn is_running(&self, neighbour: ProcessId) -> bool;

    /// Arms the hardware watchdog of this host, or feeds it: without another call within `timeout`, the host resets.
    /// It counts while processes are stopped or dead. It does not count while the whole machine is paused.
    fn feed_watchdog(&mut self, timeout: SimDuration);

    /// Disarms the hardware watchdog of this host.
    fn disarm_watchdog(&mut self);

    /// Records that a client sends an operation.
    fn invoke(&mut self, kind: OperationKind, value: u64) -> OperationId;

    /// Records what a client learned about its operation.
    ///
    /// # Panics
    /// If the operation was completed before.
    fn complete(&mut self, operation: OperationId, completion: Completion);

    /// Records what a read returned, beside its completion.
    fn observe(&mut self, operation: OperationId, newest: Arc<[u64]>);

    /// Records an instant that matters for the measures.
    fn mark(&mut self, kind: MarkKind, value: u64);

    /// Says what this process knows or does, for the timeline of a single run. The text is made only if somebody
    /// listens, so it costs nothing in a campaign.
    fn note(&mut self, text: impl FnOnce() -> String);
}

/// A condition over marks that must hold at every instant of a run.
pub trait Probe: Debug + Send + Sync {
    /// Looks at the next mark. Returns the violation, if it completes one.
    fn on_mark(&mut self, mark: &crate::record::Mark) -> Option<Violation>;

    /// A copy with the same state: worlds are cloned with their probes.
    fn clone_box(&self) -> Box<dyn Probe>;
}

impl Clone for Box<dyn Probe> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// A condition over the states of processes that must hold at every instant of a run.
///
/// It is told of a process after each of its handlers. That is once an event, so an implementation leaves at once when
/// nothing changed that it is about. It sees everything and changes nothing: no digest knows whether it was there.
pub trait StateProbe<P: Process>: Debug + Send + Sync {
    /// Looks at a process whose handler has just returned, and at its volume. Returns the violation, if there is one.
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &P,
        storage: &P::Storage,
    ) -> Option<Violation>;

    /// The process ended: it was killed, or its host lost power.
    fn on_end(&mut self, at: SimTime, process: ProcessId) {
        let _ = (at, process);
    }

    /// Faults were added to the run, some of which may break what the condition is about.
    fn on_faults(&mut self, added: &Schedule) {
        let _ = added;
    }

    /// A copy with the same state: worlds are cloned with their probes.
    fn clone_box(&self) -> Box<dyn StateProbe<P>>;
}

impl<P: Process> Clone for Box<dyn StateProbe<P>> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
