//! What a handler can be given, and how a process is given it.

use std::sync::Arc;

use crate::id::{ConnectionId, ProcessId, SyncId};
use crate::process::{ConnectionEvent, Origin, Process};
use crate::queue::Order;
use crate::storage::StorageFailure;
use crate::trace::{TraceKind, TraceLevel};

use super::context::NativeContext;
use super::standing::Standing;
use super::{Kernel, World};

/// What a handler can be given.
#[derive(Clone, Debug)]
pub(super) enum Input<P: Process> {
    Packet(Origin, P::Packet),
    Timer(P::Timer),
    /// A timer that came due while the process could not take it: the slot and the order it was set for.
    DueTimer(u32, Order),
    Connection(ConnectionId, ProcessId, ConnectionEvent),
    Synced(SyncId),
    StorageFailed(StorageFailure),
    Command(Arc<str>, u32),
}

impl<P: Process> Input<P> {
    /// True if it tells the process that it has been asked for this connection.
    pub(super) fn accepts(&self, connection: ConnectionId) -> bool {
        matches!(self, Self::Connection(id, _, ConnectionEvent::Accepted) if *id == connection)
    }
}

impl<P: Process> World<P> {
    /// Hands an input to a process: now if it runs, when it resumes if it is paused, when it has worked off what came
    /// before if its host is slow, never if it is stopped.
    pub(super) fn give(&mut self, process: ProcessId, input: Input<P>) {
        let standing = self.kernel.standing(process);
        if standing.is_stopped() {
            return;
        }
        if standing.is_hindered() {
            self.kernel.line_up(process, input);
        } else {
            self.handle(process, input);
        }
    }

    /// Hands a packet to a process.
    ///
    /// This and [`Self::give_timer`] are what [`Self::give`] does for these inputs, without wrapping them: nearly all
    /// events are one of them, and each copy of a packet costs.
    #[inline(always)]
    pub(super) fn give_packet(&mut self, process: ProcessId, from: Origin, packet: P::Packet) {
        if self.kernel.standing(process) == Standing::READY {
            self.handle_packet(process, from, packet);
        } else {
            self.give(process, Input::Packet(from, packet));
        }
    }

    /// Wakes a process for a timer, as [`Self::give_packet`] does.
    #[inline]
    pub(super) fn give_timer(&mut self, process: ProcessId, timer: P::Timer) {
        if self.kernel.standing(process) == Standing::READY {
            self.handle_timer(process, timer);
        } else {
            self.give(process, Input::Timer(timer));
        }
    }

    #[inline(always)]
    fn handle_packet(&mut self, process: ProcessId, from: Origin, packet: P::Packet) {
        let kernel = &mut self.kernel;
        kernel.digest.fold(process.index() as u64);
        kernel.digest.fold_hash(&packet);
        if kernel.trace.level == TraceLevel::Everything {
            kernel.log_delivery(process, &format_args!("Packet({from:?}, {packet:?})"));
        }
        let state = self.states[process.index()].as_mut().expect("a running process has a state");
        state.on_packet(&mut NativeContext { kernel, me: process }, from, packet);
        self.observe(process);
    }

    #[inline]
    fn handle_timer(&mut self, process: ProcessId, timer: P::Timer) {
        let kernel = &mut self.kernel;
        kernel.digest.fold(process.index() as u64);
        kernel.digest.fold_hash(&timer);
        if kernel.trace.level == TraceLevel::Everything {
            kernel.log_delivery(process, &format_args!("Timer({timer:?})"));
        }
        let state = self.states[process.index()].as_mut().expect("a running process has a state");
        state.on_timer(&mut NativeContext { kernel, me: process }, timer);
        self.observe(process);
    }

    /// Calls the handler of a process.
    pub(super) fn handle(&mut self, process: ProcessId, input: Input<P>) {
        let event = match input {
            Input::Packet(from, packet) => return self.handle_packet(process, from, packet),
            Input::Timer(timer) => return self.handle_timer(process, timer),
            event => event,
        };
        let state = self.states[process.index()].as_mut().expect("a running process has a state");
        let kernel = &mut self.kernel;
        kernel.digest.fold(process.index() as u64);
        match &event {
            Input::Connection(_, _, event) => kernel.digest.fold_hash(event),
            Input::Synced(sync) => kernel.digest.fold(sync.0),
            Input::StorageFailed(failure) => kernel.digest.fold_hash(failure),
            Input::Command(command, _) => kernel.digest.fold_hash(command),
            Input::Packet(..) | Input::Timer(_) => unreachable!("handled above"),
            Input::DueTimer(..) => unreachable!("`next_in_line` turns it into a timer"),
        }
        if kernel.trace.level == TraceLevel::Everything {
            kernel.log_delivery(process, &format_args!("{event:?}"));
        }
        let mut context = NativeContext { kernel, me: process };
        match event {
            Input::Connection(connection, peer, event) => {
                state.on_connection(&mut context, connection, peer, event);
            }
            Input::Synced(sync) => state.on_synced(&mut context, sync),
            Input::StorageFailed(failure) => state.on_storage_failed(&mut context, failure),
            Input::Command(command, fault) => {
                if !state.on_command(&mut context, &command) {
                    self.kernel.faults.command_refused(fault as usize);
                }
            }
            Input::Packet(..) | Input::Timer(_) => unreachable!("handled above"),
            Input::DueTimer(..) => unreachable!("`next_in_line` turns it into a timer"),
        }
        self.observe(process);
    }
}

impl<P: Process> Kernel<P> {
    #[cold]
    fn log_delivery(&mut self, process: ProcessId, text: &std::fmt::Arguments<'_>) {
        let text = || text.to_string();
        self.trace.add(TraceLevel::Everything, self.now, Some(process), TraceKind::Delivery, text);
    }
}
