//! The tasks of a run: one for each life of a process, the kernel of each node, and the hardware.
//!
//! ```text
//!           node of a process                                hardware
//!   pump × 8 ── receives datagrams ──┐                 one agenda: syncs that complete,
//!   clock ───── retransmits, probes ─┼─► connections    watchdogs, power, faults
//!   life ─────── the process itself ◄┘
//! ```

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use madsim::net::{Endpoint, NetSim};
use madsim::runtime::Handle;
use madsim::task;
use madsim::time::Duration;
use sim_core::host::faults;
use sim_core::{EndReason, Origin, ProcessId, SimDuration};

use crate::Portable;
use crate::connection::Frame;
use crate::faults::MadsimFaults;
use crate::kernel::{Happening, Input, Order, Shared, Socket, World};
use crate::pace::{Alarm, Pace};

/// The tag of all datagrams between processes.
const TAG: u64 = 1;
/// madsim spends 1 ms on each receive: so many can be under way at a node.
const PUMPS: usize = 8;
/// What madsim adds to each datagram: 1 ms at the sender, 1 ms at the receiver.
const FLOOR: Duration = Duration::from_millis(2);

/// A datagram of madsim.
enum Wire<T> {
    Frame(Frame<T>),
    Datagram(ProcessId, T),
}

/// The address of the node of a process. `10.77.0.0/16` belongs to modelled processes.
pub(crate) fn address(process: ProcessId) -> SocketAddr {
    let [high, low] = u16::try_from(process.index()).expect("at most 65536 processes").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, high, low)), 1)
}

/// Changes the world and does what was ordered by it.
pub(crate) fn act<P: Portable, T>(shared: &Arc<Shared<P>>, action: impl FnOnce(&mut World<P>) -> T) -> T {
    let (result, orders) = shared.lock(action);
    let mut orders = VecDeque::from(orders);
    while let Some(order) = orders.pop_front() {
        carry_out(shared, order, &mut orders);
    }
    result
}

fn carry_out<P: Portable>(shared: &Arc<Shared<P>>, order: Order<P>, orders: &mut VecDeque<Order<P>>) {
    let handle = Handle::current();
    match order {
        Order::Frame(socket, node, latency, frame) => {
            let to = frame.to;
            let node = handle.get_node(node).expect("nodes are never removed");
            node.spawn(send(shared.pace, socket, latency, to, Wire::Frame(frame)));
        }
        Order::Datagram(socket, node, latency, from, to, packet) => {
            let node = handle.get_node(node).expect("nodes are never removed");
            node.spawn(send(shared.pace, socket, latency, to, Wire::Datagram(from, packet)));
        }
        Order::Boot(process) => {
            let (is_new, more) = shared.lock(|world| world.boot(process));
            orders.extend(more);
            if is_new {
                let (node, incarnation) = shared.peek(|world| {
                    let slot = &world.kernel.slots[process.index()];
                    (slot.node(), slot.incarnation)
                });
                let node = handle.get_node(node).expect("nodes are never removed");
                node.spawn(live(Arc::clone(shared), process, incarnation));
            }
        }
        Order::Kill(process, incarnation) => {
            let ((), more) = shared.lock(|world| {
                if world.kernel.slots[process.index()].incarnation == incarnation {
                    world.kill(process);
                }
            });
            orders.extend(more);
        }
        Order::KillNode(node) => handle.kill(node),
        Order::RestartNode(node) => handle.restart(node),
        Order::PauseNode(node) => {
            NetSim::current().clog_node(node);
            handle.pause(node);
        }
        Order::ResumeNode(node) => {
            NetSim::current().unclog_node(node);
            handle.resume(node);
        }
        Order::Clog(from, to) => NetSim::current().clog_link(from, to),
        Order::Unclog(from, to) => NetSim::current().unclog_link(from, to),
    }
}

/// Sends one datagram. madsim has one latency for all links; it is this packet's while madsim looks at it.
async fn send<T: Send + Sync + 'static>(
    pace: Pace,
    Socket(endpoint): Socket,
    latency: SimDuration,
    to: ProcessId,
    wire: Wire<T>,
) {
    let latency = pace.stretch(latency).saturating_sub(FLOOR);
    let net = NetSim::current();
    let mut sending = pin!(endpoint.send_to_raw(address(to), TAG, Box::new(wire)));
    let sent = poll_fn(|cx| {
        let mut before = Duration::ZERO..Duration::ZERO;
        net.update_config(|config| {
            let range = latency..latency + Duration::from_nanos(1);
            before = std::mem::replace(&mut config.send_latency, range);
        });
        let polled = sending.as_mut().poll(cx);
        net.update_config(|config| config.send_latency = before);
        polled
    });
    // A network that is down is silence; the acknowledgement that does not come says so.
    let _ = sent.await;
}

/// What a node does when its host has power: it binds its socket, and boots what starts with the host.
pub(crate) async fn kernel<P: Portable>(shared: Arc<Shared<P>>, me: ProcessId) {
    let endpoint = Endpoint::bind(address(me)).await.expect("the address of a node is its own");
    for _ in 0..PUMPS {
        task::spawn(pump(Arc::clone(&shared), me, endpoint.clone()));
    }
    task::spawn(clock(Arc::clone(&shared), me));
    act(&shared, |world| {
        let slot = &mut world.kernel.slots[me.index()];
        slot.endpoint = Some(Socket(endpoint));
        if slot.program.as_ref().is_some_and(|program| program.starts_with_host) {
            world.kernel.orders.push(Order::Boot(me));
        }
    });
    std::future::pending::<()>().await;
}

async fn pump<P: Portable>(shared: Arc<Shared<P>>, me: ProcessId, endpoint: Endpoint) {
    while let Ok((payload, _)) = endpoint.recv_from_raw(TAG).await {
        let wire = payload.downcast::<Wire<P::Packet>>().expect("modelled nodes speak to each other only");
        act(&shared, |world| match *wire {
            Wire::Frame(frame) => world.kernel.on_frame(me, frame),
            Wire::Datagram(from, packet) => {
                world.kernel.give(me, Input::Packet(Origin::Datagram(from), packet));
            }
        });
    }
}

/// The timers of the connections of a node.
async fn clock<P: Portable>(shared: Arc<Shared<P>>, me: ProcessId) {
    let mut alarm = Alarm::default();
    loop {
        poll_fn(|cx| {
            shared.peek(|world| {
                let slot = &mut world.kernel.slots[me.index()];
                slot.stack_armed = slot.stack.deadline();
                if slot.stack_armed.is_some_and(|at| alarm.is_due(cx, shared.pace, at)) {
                    return Poll::Ready(());
                }
                slot.stack_waker = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
        act(&shared, |world| {
            let now = world.kernel.now;
            world.kernel.with_stack(me, |stack, effects| stack.on_time(now, effects));
        });
    }
}

/// One life of a process.
async fn live<P: Portable>(shared: Arc<Shared<P>>, me: ProcessId, incarnation: u32) {
    let mut alarm = Alarm::default();
    while let Some(input) = poll_fn(|cx| next_input(&shared, me, incarnation, &mut alarm, cx)).await {
        act(&shared, |world| {
            if world.kernel.slots[me.index()].incarnation == incarnation {
                world.handle(me, input);
            }
        });
    }
}

/// The next input of a process, in the order in which inputs arrived and timers came due; none when its life is over.
fn next_input<P: Portable>(
    shared: &Shared<P>,
    me: ProcessId,
    incarnation: u32,
    alarm: &mut Alarm,
    cx: &mut Context<'_>,
) -> Poll<Option<Input<P>>> {
    shared.peek(|world| {
        let slot = &mut world.kernel.slots[me.index()];
        if slot.incarnation != incarnation {
            return Poll::Ready(None);
        }
        if slot.pauses == 0 {
            let arrived = slot.inbox.front().map(|(at, _)| *at);
            let next = slot
                .timers
                .iter()
                .enumerate()
                .min_by_key(|(_, timer)| (timer.due, timer.sequence))
                .map(|(position, timer)| (position, timer.due));
            if let Some((position, due)) = next
                && arrived.is_none_or(|arrived| due < arrived)
                && alarm.is_due(cx, shared.pace, due)
            {
                return Poll::Ready(Some(Input::Timer(slot.timers.swap_remove(position).timer)));
            }
            if let Some((_, input)) = slot.inbox.pop_front() {
                return Poll::Ready(Some(input));
            }
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    })
}

/// Everything that happens to machines and disks at a given time.
pub(crate) async fn hardware<P: Portable>(shared: Arc<Shared<P>>) {
    let mut alarm = Alarm::default();
    loop {
        let happening = poll_fn(|cx| {
            shared.peek(|world| {
                let kernel = &mut world.kernel;
                if let Some(((at, _), _)) = kernel.agenda.first_key_value()
                    && alarm.is_due(cx, shared.pace, *at)
                {
                    let (_, happening) = kernel.agenda.pop_first().expect("the agenda has a first entry");
                    return Poll::Ready(happening);
                }
                kernel.agenda_waker = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
        act(&shared, |world| happen(world, happening));
    }
}

fn happen<P: Portable>(world: &mut World<P>, happening: Happening) {
    if world.kernel.end.is_some() {
        return;
    }
    match happening {
        Happening::Synced(volume, sync) => world.kernel.on_synced(volume, sync),
        Happening::Watchdog(host) => {
            if world.kernel.watchdog_fires(host) {
                let reboot_time = world.kernel.hosts[host.index()].reboot_time;
                world.power_off(host);
                let at = world.kernel.now + reboot_time;
                world.kernel.at(at, Happening::PowerOn(host));
            }
        }
        Happening::PowerOn(host) => world.power_on(host),
        Happening::Boot(process) => world.kernel.orders.push(Order::Boot(process)),
        Happening::Restart(process, fault) => world.restart(process, fault),
        Happening::Fault(event) => faults::carry_out(&mut MadsimFaults(world), event),
        Happening::Horizon => world.kernel.finish(EndReason::Horizon),
    }
}
