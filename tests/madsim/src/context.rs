//! The context of this host: what a handler may do.

use std::sync::Arc;

use sim_core::host::connection_id;
use sim_core::{
    Completion, ConnectOptions, ConnectionId, Context, HostTime, MarkKind, OperationId, OperationKind,
    ProcessId, SimDuration, Storage, Stream, SyncId, TraceKind, WallTime,
};

use scenarios::family::LogLevel;

use crate::Portable;
use crate::kernel::{Host, Kernel, Order, Slot, Wakeup};

#[derive(Debug)]
pub(crate) struct MadsimContext<'k, P: Portable> {
    pub(crate) kernel: &'k mut Kernel<P>,
    pub(crate) me: ProcessId,
}

impl<P: Portable> MadsimContext<'_, P> {
    fn slot(&mut self) -> &mut Slot<P> {
        &mut self.kernel.slots[self.me.index()]
    }

    fn host(&self) -> &Host {
        &self.kernel.hosts[self.kernel.slots[self.me.index()].host.index()]
    }

    /// # Panics
    /// If the process is on another host: only the network reaches there.
    fn neighbour(&self, process: ProcessId) -> &Slot<P> {
        let [me, slot] = [self.me, process].map(|process| &self.kernel.slots[process.index()]);
        assert!(slot.host == me.host, "{} is not a neighbour of {}", slot.name, me.name);
        slot
    }
}

impl<P: Portable> Context<P> for MadsimContext<'_, P> {
    fn me(&self) -> ProcessId {
        self.me
    }

    fn monotonic(&self) -> HostTime {
        self.host().clock.monotonic(self.kernel.now)
    }

    fn wall(&self) -> WallTime {
        self.host().clock.wall(self.kernel.now)
    }

    fn random(&mut self) -> &mut Stream {
        &mut self.slot().random
    }

    fn connect(&mut self, to: ProcessId, options: ConnectOptions) -> ConnectionId {
        let connection = connection_id(self.kernel.next_connection);
        self.kernel.next_connection += 1;
        let now = self.kernel.now;
        self.kernel
            .with_stack(self.me, |stack, effects| stack.connect(now, connection, to, options, effects));
        connection
    }

    fn configure(&mut self, connection: ConnectionId, options: ConnectOptions) {
        self.kernel.with_stack(self.me, |stack, _| stack.configure(connection, options));
    }

    fn send(&mut self, connection: ConnectionId, packet: P::Packet) {
        let now = self.kernel.now;
        self.kernel.with_stack(self.me, |stack, effects| stack.send(now, connection, packet, effects));
    }

    fn close(&mut self, connection: ConnectionId) {
        let now = self.kernel.now;
        self.kernel.with_stack(self.me, |stack, effects| stack.close(now, connection, effects));
    }

    fn send_datagram(&mut self, to: ProcessId, packet: P::Packet) {
        self.kernel.send_datagram(self.me, to, packet);
    }

    fn set_timer(&mut self, timer: P::Timer, delay: SimDuration) {
        let due = self.kernel.now + self.host().clock.real(delay);
        let sequence = self.kernel.next_sequence();
        let timers = &mut self.slot().timers;
        timers.retain(|set| set.timer != timer);
        timers.push(Wakeup { timer, due, sequence });
    }

    fn cancel_timer(&mut self, timer: &P::Timer) {
        self.slot().timers.retain(|set| set.timer != *timer);
    }

    fn storage(&self) -> &P::Storage {
        self.kernel.volumes[self.kernel.volume_of(self.me).index()].volume.contents()
    }

    fn write(&mut self, record: <P::Storage as Storage>::Record) {
        let volume = self.kernel.volume_of(self.me);
        self.kernel.volumes[volume.index()].volume.write(record);
    }

    fn sync(&mut self) -> SyncId {
        self.kernel.sync(self.me)
    }

    fn start(&mut self, neighbour: ProcessId) {
        if !self.neighbour(neighbour).running {
            self.kernel.orders.push(Order::Boot(neighbour));
        }
    }

    fn kill(&mut self, neighbour: ProcessId) {
        let incarnation = self.neighbour(neighbour).incarnation;
        self.kernel.orders.push(Order::Kill(neighbour, incarnation));
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
        self.kernel.history.invoke(self.kernel.now, self.me, kind, value)
    }

    fn complete(&mut self, operation: OperationId, completion: Completion) {
        self.kernel.history.complete(self.kernel.now, operation, completion);
    }

    fn observe(&mut self, operation: OperationId, newest: Arc<[u64]>) {
        self.kernel.history.observe(operation, newest);
    }

    fn mark(&mut self, kind: MarkKind, value: u64) {
        self.kernel.mark(Some(self.me), kind, value);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.kernel.log(LogLevel::Story, Some(self.me), TraceKind::Note, text);
    }
}
