//! Ports: places in the modelled world where async code sits instead of a process.
//!
//! A port has a host, a node and connections like a process, and exchanges the packets of the models. What a process hears
//! through its handlers, async code awaits. Nothing can connect to a port. One whose host loses power hears nothing any
//! more.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use sim_core::host::connection_id;
use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, ProcessId};

use crate::Portable;
use crate::kernel::{Ear, Input, Shared};
use crate::tasks::act;

/// A place in the modelled world for async code. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Port<P: Portable> {
    shared: Arc<Shared<P>>,
    me: ProcessId,
}

impl<P: Portable> Port<P> {
    pub(crate) const fn new(shared: Arc<Shared<P>>, me: ProcessId) -> Self {
        Self { shared, me }
    }

    /// Connects with a modelled process.
    ///
    /// # Errors
    /// Refused, or no answer for as long as the options allow.
    pub async fn connect(
        &self,
        to: ProcessId,
        options: ConnectOptions,
    ) -> Result<PortConnection<P>, ConnectionEvent> {
        let me = self.me;
        let id = act(&self.shared, |world| {
            let kernel = &mut world.kernel;
            let id = connection_id(kernel.next_connection);
            kernel.next_connection += 1;
            let ear = Ear { heard: VecDeque::new(), waker: None };
            kernel.slots[me.index()].ears.insert(id, ear);
            let now = kernel.now;
            kernel.with_stack(me, |stack, effects| stack.connect(now, id, to, options, effects));
            id
        });
        // Made before the answer, so that a caller who stops waiting closes it.
        let connection = PortConnection { port: self.clone(), id };
        match connection.hear().await {
            Input::Connection(_, _, ConnectionEvent::Opened) => Ok(connection),
            Input::Connection(_, _, event) => Err(event),
            _ => unreachable!("packets wait for the connection to open"),
        }
    }
}

/// A connection of a port. Dropping it closes it.
pub struct PortConnection<P: Portable> {
    port: Port<P>,
    id: ConnectionId,
}

impl<P: Portable> PortConnection<P> {
    /// Sends a packet: in order, and again until it is acknowledged.
    pub fn send(&self, packet: P::Packet) {
        act(&self.port.shared, |world| {
            let now = world.kernel.now;
            world.kernel.with_stack(self.port.me, |stack, effects| stack.send(now, self.id, packet, effects));
        });
    }

    /// The next packet. Nothing is lost if the future is dropped before it is ready.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn receive(&self) -> Result<P::Packet, ConnectionEvent> {
        match self.hear().await {
            Input::Packet(_, packet) => Ok(packet),
            Input::Connection(_, _, event) => Err(event),
            _ => unreachable!("ports hear of connections only"),
        }
    }

    async fn hear(&self) -> Input<P> {
        poll_fn(|cx| {
            self.port.shared.peek(|world| {
                let slot = &mut world.kernel.slots[self.port.me.index()];
                let ear = slot.ears.get_mut(&self.id).expect("the ear lives as long as the connection");
                if let Some(input) = ear.heard.pop_front() {
                    return Poll::Ready(input);
                }
                ear.waker = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await
    }
}

impl<P: Portable> Drop for PortConnection<P> {
    fn drop(&mut self) {
        let (me, id) = (self.port.me, self.id);
        // After the run, when nobody is left to hear of it, a connection is only forgotten.
        if madsim::runtime::Handle::try_current().is_err() {
            return;
        }
        act(&self.port.shared, |world| {
            let now = world.kernel.now;
            world.kernel.slots[me.index()].ears.remove(&id);
            world.kernel.with_stack(me, |stack, effects| stack.close(now, id, effects));
        });
    }
}

impl<P: Portable> fmt::Debug for PortConnection<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("PortConnection").field(&self.id).finish()
    }
}
