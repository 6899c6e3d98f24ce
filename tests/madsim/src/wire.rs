//! What processes send, on its way to madsim's network, and what comes of it.

use std::task::Waker;

use madsim::task::NodeId;
use sim_core::{HostId, Origin, ProcessId, SimDuration};

use crate::Portable;
use crate::connection::{Effects, Frame, Heard, Segment, Stack};
use crate::kernel::{Input, Kernel, Order, Socket};

/// Bytes of Ethernet, IP and TCP of a segment without data, as on the native host.
const HEADERS: u32 = 66;

impl<P: Portable> Kernel<P> {
    /// Lets a process's connections do something, and passes on what comes of it.
    pub(crate) fn with_stack(
        &mut self,
        process: ProcessId,
        action: impl FnOnce(&mut Stack<P::Packet>, &mut Effects<P::Packet>),
    ) {
        let mut effects = Effects::default();
        let slot = &mut self.slots[process.index()];
        action(&mut slot.stack, &mut effects);
        let deadline = slot.stack.deadline();
        if deadline.is_some_and(|at| slot.stack_armed.is_none_or(|armed| at < armed)) {
            slot.stack_waker.take().into_iter().for_each(Waker::wake);
        }
        for frame in effects.frames {
            self.transmit(frame);
        }
        for heard in effects.heard {
            let input = match heard {
                Heard::Packet(connection, peer, packet) => {
                    Input::Packet(Origin::Connection(connection, peer), packet)
                }
                Heard::Event(connection, peer, event) => Input::Connection(connection, peer, event),
            };
            self.give(process, input);
        }
    }

    fn transmit(&mut self, frame: Frame<P::Packet>) {
        let size = match &frame.segment {
            Segment::Data(packet) => P::packet_size(packet),
            _ => HEADERS,
        };
        let link = self.link(frame.from, frame.to);
        let latency = self.links.travel(link, self.now, size);
        if let Some((socket, node, latency)) = self.way(frame.from, latency) {
            self.orders.push(Order::Frame(socket, node, latency, frame));
        }
    }

    pub(crate) fn send_datagram(&mut self, from: ProcessId, to: ProcessId, packet: P::Packet) {
        let link = self.link(from, to);
        let first = self.links.travel(link, self.now, P::packet_size(&packet));
        let second = self.links.duplicate(link);
        for latency in [first, second] {
            if let Some((socket, node, latency)) = self.way(from, latency) {
                self.orders.push(Order::Datagram(socket, node, latency, from, to, packet.clone()));
            }
        }
    }

    fn link(&self, from: ProcessId, to: ProcessId) -> (HostId, HostId) {
        (self.slots[from.index()].host, self.slots[to.index()].host)
    }

    /// How a packet leaves that takes so long; none if it is lost, or its sender has no power.
    fn way(&self, from: ProcessId, latency: Option<SimDuration>) -> Option<(Socket, NodeId, SimDuration)> {
        let slot = &self.slots[from.index()];
        Some((slot.endpoint.clone()?, slot.node(), latency?))
    }

    pub(crate) fn on_frame(&mut self, me: ProcessId, frame: Frame<P::Packet>) {
        let (now, listens) = (self.now, self.slots[me.index()].running);
        self.with_stack(me, |stack, effects| stack.on_frame(now, frame, listens, effects));
    }
}
