//! The context of the native host: what a handler may do, carried out on the kernel at once.

use std::sync::Arc;

use crate::id::{ConnectionId, OperationId, ProcessId, SyncId};
use crate::network::ConnectOptions;
use crate::process::{Context, Process};
use crate::random::Stream;
use crate::record::{Completion, MarkKind, OperationKind};
use crate::storage::Storage;
use crate::time::{HostTime, SimDuration, WallTime};
use crate::trace::{TraceKind, TraceLevel};

use super::{Event, Host, Kernel, ProcessSlot};

#[derive(Debug)]
pub(crate) struct NativeContext<'w, P: Process> {
    pub(crate) kernel: &'w mut Kernel<P>,
    pub(crate) me: ProcessId,
}

impl<P: Process> NativeContext<'_, P> {
    #[inline]
    fn slot(&self) -> &ProcessSlot<P> {
        &self.kernel.processes[self.me.index()]
    }

    #[inline]
    fn host(&self) -> &Host {
        &self.kernel.hosts[self.slot().host.index()]
    }

    /// # Panics
    /// If the process is on another host: only the network reaches there.
    fn neighbour(&self, process: ProcessId) -> &ProcessSlot<P> {
        let slot = &self.kernel.processes[process.index()];
        assert!(slot.host == self.slot().host, "{} is not a neighbour of {}", slot.name, self.slot().name);
        slot
    }
}

impl<P: Process> Context<P> for NativeContext<'_, P> {
    #[inline]
    fn me(&self) -> ProcessId {
        self.me
    }

    #[inline]
    fn monotonic(&self) -> HostTime {
        self.host().clock.monotonic(self.kernel.now)
    }

    fn wall(&self) -> WallTime {
        self.host().clock.wall(self.kernel.now)
    }

    #[inline]
    fn random(&mut self) -> &mut Stream {
        &mut self.kernel.processes[self.me.index()].random
    }

    fn connect(&mut self, to: ProcessId, options: ConnectOptions) -> ConnectionId {
        self.kernel.connect(self.me, to, options)
    }

    fn configure(&mut self, connection: ConnectionId, options: ConnectOptions) {
        if let Some(connection) = self.kernel.connections.get_mut(connection) {
            let side = connection.side_of(self.me);
            connection.ends[side].options = options;
        }
    }

    #[inline]
    fn send(&mut self, connection: ConnectionId, packet: P::Packet) {
        self.kernel.send(self.me, connection, packet);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.kernel.close(self.me, connection);
    }

    #[inline]
    fn send_datagram(&mut self, to: ProcessId, packet: P::Packet) {
        self.kernel.send_datagram(self.me, to, packet);
    }

    #[inline]
    fn set_timer(&mut self, timer: P::Timer, delay: SimDuration) {
        self.kernel.set_timer(self.me, timer, delay);
    }

    fn cancel_timer(&mut self, timer: &P::Timer) {
        self.kernel.cancel_timer(self.me, timer);
    }

    #[inline]
    fn storage(&self) -> &P::Storage {
        &self.kernel.volumes[self.slot().volume.index()].current
    }

    fn write(&mut self, record: <P::Storage as Storage>::Record) {
        let volume = self.slot().volume;
        if let Err(error) = self.kernel.volumes[volume.index()].write(record) {
            self.kernel.refuse_write(self.me, error);
        }
    }

    fn sync(&mut self) -> SyncId {
        self.kernel.sync(self.me)
    }

    fn start(&mut self, neighbour: ProcessId) {
        if !self.neighbour(neighbour).running {
            self.kernel.queue.push(self.kernel.now, Event::Boot { process: neighbour });
        }
    }

    fn kill(&mut self, neighbour: ProcessId) {
        let incarnation = self.neighbour(neighbour).incarnation;
        let by_itself = neighbour == self.me;
        self.kernel.queue.push(self.kernel.now, Event::Kill { process: neighbour, incarnation, by_itself });
    }

    fn is_running(&self, neighbour: ProcessId) -> bool {
        self.neighbour(neighbour).running
    }

    fn feed_watchdog(&mut self, timeout: SimDuration) {
        let host = self.slot().host;
        self.kernel.feed_watchdog(host, timeout);
    }

    fn disarm_watchdog(&mut self) {
        let host = self.slot().host;
        self.kernel.hosts[host.index()].watchdog = None;
    }

    fn invoke(&mut self, kind: OperationKind, value: u64) -> OperationId {
        self.kernel.recorder.invoke(self.kernel.now, self.me, kind, value)
    }

    fn complete(&mut self, operation: OperationId, completion: Completion) {
        self.kernel.recorder.complete(self.kernel.now, operation, completion);
    }

    fn observe(&mut self, operation: OperationId, newest: Arc<[u64]>) {
        self.kernel.recorder.observe(operation, newest);
    }

    fn mark(&mut self, kind: MarkKind, value: u64) {
        self.kernel.mark(Some(self.me), kind, value);
    }

    #[inline]
    fn note(&mut self, text: impl FnOnce() -> String) {
        self.kernel.trace.add(TraceLevel::Story, self.kernel.now, Some(self.me), TraceKind::Note, text);
    }
}
