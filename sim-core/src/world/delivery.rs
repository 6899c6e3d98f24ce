//! How packets travel: the rules of connections, retransmission and time-outs. See the `network` module's page for
//! what is modelled.

use crate::fault::LostAnswer;
use crate::id::{ConnectionId, ProcessId};
use crate::network::{ConnectOptions, Connection, End, EndState, Paths, Segment};
use crate::process::{ConnectionEvent, Origin, Process};
use crate::queue::Queue;
use crate::time::{SimDuration, SimTime};

use super::{Event, Input, Kernel, World};

/// Linux `TCP_RTO_MIN`.
const RETRANSMIT_MIN: SimDuration = SimDuration::from_millis(200);
/// Linux `TCP_RTO_MAX`.
const RETRANSMIT_MAX: SimDuration = SimDuration::from_secs(120);
/// Linux initial time-out of a connection request.
const REQUEST_RETRANSMIT: SimDuration = SimDuration::from_secs(1);
/// Linux `tcp_syn_retries` = 6: 1 + 2 + 4 + ... + 64 s, after the repetitions of each second (`tcp_timer.c:tcp_write_timeout`).
const REQUEST_LIMIT: SimDuration = SimDuration::from_secs(127);
/// Linux `tcp_retries2` = 15 at the minimum time-out: 924.6 s.
const RETRANSMIT_LIMIT: SimDuration = SimDuration::from_millis(924_600);
/// Bytes of a segment without data: the headers of Ethernet, IP, and TCP with time stamps.
const HEADERS: u32 = 66;

impl<P: Process> Kernel<P> {
    pub(crate) fn connect(
        &mut self,
        from: ProcessId,
        to: ProcessId,
        options: ConnectOptions,
    ) -> ConnectionId {
        let incarnation = self.processes[from.index()].incarnation;
        let id = self.connections.open(self.now, (from, incarnation), to, options);
        self.transmit(id, 0, Segment::Open);
        id
    }

    #[inline]
    pub(crate) fn send(&mut self, from: ProcessId, id: ConnectionId, packet: P::Packet) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let side = connection.side_of(from);
        match connection.ends[side].state {
            EndState::Open => {
                let number = connection.ends[side].take_number();
                let way = (&mut self.paths, &mut self.queue, self.now);
                launch(way, connection, side, number, Segment::Data(packet));
            }
            EndState::Opening => {
                let end = &mut connection.ends[side];
                let number = end.take_number();
                end.hold_back(number, Segment::Data(packet));
            }
            EndState::Done => {}
        }
    }

    pub(crate) fn close(&mut self, from: ProcessId, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let side = connection.side_of(from);
        self.close_end(id, side);
    }

    /// Closes an end as a living kernel does: the other side hears of it, sooner or later.
    pub(crate) fn close_end(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match connection.ends[side].state {
            EndState::Open => self.transmit(id, side, Segment::Close),
            EndState::Opening => connection.ends[side].undelivered.clear(),
            EndState::Done => return,
        }
        self.connections.finish(id, side);
    }

    /// Forgets an end as a machine without power does: nobody hears of it.
    pub(crate) fn forget_end(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.ends[side].undelivered.clear();
        connection.ends[side].unacknowledged_since = None;
        self.connections.finish(id, side);
    }

    #[inline]
    pub(crate) fn send_datagram(&mut self, from: ProcessId, to: ProcessId, packet: P::Packet) {
        let cut = self.paths.is_cut(from, to);
        let mut way = self.paths.way(from, to);
        let (latency, lost) = way.travel(self.now, || P::packet_size(&packet));
        if lost || cut {
            return;
        }
        if let Some(latency) = way.duplicate() {
            self.push_copy(self.now + latency, from, to, packet.clone());
        }
        self.queue.push(self.now + latency, Event::Datagram { from, to, packet });
    }

    /// Puts the second copy of a datagram on the way. Apart, because it is rare.
    #[cold]
    fn push_copy(&mut self, arrival: SimTime, from: ProcessId, to: ProcessId, packet: P::Packet) {
        self.queue.push(arrival, Event::Datagram { from, to, packet });
    }

    /// Puts a new segment on the way.
    #[inline]
    fn transmit(&mut self, id: ConnectionId, side: usize, segment: Segment<P::Packet>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let number = connection.ends[side].take_number();
        launch((&mut self.paths, &mut self.queue, self.now), connection, side, number, segment);
    }

    fn transmit_numbered(&mut self, id: ConnectionId, side: usize, number: u32, segment: Segment<P::Packet>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        launch((&mut self.paths, &mut self.queue, self.now), connection, side, number, segment);
    }

    /// For how long a request is repeated each second (`tcp_timer.c:tcp_retransmit_timer`).
    fn repeated_each_second(&self) -> SimDuration {
        REQUEST_RETRANSMIT * u64::from(self.paths.syn_linear_timeouts())
    }

    /// Starts the retransmission time-out of an end, unless it runs.
    fn await_acknowledgement(&mut self, id: ConnectionId, side: usize) {
        let now = self.now;
        let linear = self.repeated_each_second();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let [from, to] = connection.way_from(side);
        let end = &mut connection.ends[side];
        if end.unacknowledged_since.is_some() {
            return;
        }
        end.unacknowledged_since = Some(now);
        end.back_off = if end.state == EndState::Opening {
            REQUEST_RETRANSMIT
        } else {
            RETRANSMIT_MIN + self.paths.round_trip(from, to)
        };
        let next = end.back_off.min(limit_of(end, linear));
        self.queue.push(now + next, Event::Retransmit { connection: id, side: side as u8 });
    }

    /// Puts what waits for a retransmission on the way, all at once; each segment needs its share of a narrow link.
    fn send_again(&mut self, id: ConnectionId, side: usize, latency: SimDuration) -> Progress {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return Progress::None };
        let [sender, receiver] = connection.way_from(side);
        let end = &mut connection.ends[side];
        // While the connection is being asked for, only the request itself goes out.
        let request_only = end.state == EndState::Opening;
        let mut progress = Progress::None;
        while let Some((number, segment)) = end.undelivered.pop_front() {
            if request_only && !matches!(segment, Segment::Open) {
                end.undelivered.push_front((number, segment));
                break;
            }
            let size = || size_of::<P>(&segment);
            let Some(extra) = self.paths.way(sender, receiver).squeeze(now, size) else {
                end.undelivered.push_front((number, segment));
                return progress;
            };
            let arrival = end.last_arrival.max(now + latency + extra);
            end.last_arrival = arrival;
            let event = Event::Segment { connection: id, to: 1 - side as u8, lost: false, number, segment };
            self.queue.push(arrival, event);
            progress = Progress::Some;
        }
        Progress::All
    }
}

/// Puts a segment on the way. Whether it gets through is seen when it should arrive.
#[inline]
fn launch<P: Process>(
    (paths, queue, now): (&mut Paths, &mut Queue<Event<P>>, SimTime),
    connection: &mut Connection<P::Packet>,
    side: usize,
    number: u32,
    segment: Segment<P::Packet>,
) {
    let [from, to] = connection.way_from(side);
    let (latency, lost) = paths.way(from, to).travel(now, || size_of::<P>(&segment));
    let lost = lost || paths.is_cut(from, to);
    let arrival = (now + latency).max(connection.ends[side].last_arrival);
    connection.ends[side].last_arrival = arrival;
    queue.push(
        arrival,
        Event::Segment { connection: connection.id, to: 1 - side as u8, lost, number, segment },
    );
}

impl<P: Process> World<P> {
    pub(crate) fn on_segment(
        &mut self,
        id: ConnectionId,
        to: usize,
        lost: bool,
        number: u32,
        segment: Segment<P::Packet>,
    ) {
        let kernel = &mut self.kernel;
        let Some(connection) = kernel.connections.get_mut(id) else {
            return;
        };
        let from = 1 - to;
        let [sender, receiver] = connection.way_from(from);
        let silent = kernel.standings.of(receiver).is_silent();
        let vanishes = connection.lost == Some(LostAnswer::Silence)
            || matches!(segment, Segment::Open) && kernel.processes[receiver.index()].listening.drops > 0;
        if lost || silent || vanishes || kernel.paths.is_cut(sender, receiver) {
            if !matches!(segment, Segment::Reset) {
                connection.ends[from].hold_back(number, segment);
                kernel.await_acknowledgement(id, from);
            }
            return;
        }
        if connection.lost == Some(LostAnswer::Reset) && !matches!(segment, Segment::Reset) {
            kernel.transmit(id, to, Segment::Reset);
            return;
        }
        let end = &mut connection.ends[to];
        end.last_heard = kernel.now;
        if number > end.next_to_receive && !matches!(segment, Segment::Reset) {
            end.early.push((number, segment));
            return;
        }
        end.next_to_receive = end.next_to_receive.max(number + 1);
        let (state, nothing_early) = (end.state, end.early.is_empty());
        let accepted = kernel.processes[receiver.index()].listening.unaccepted.is_empty();
        debug_assert!(
            state != EndState::Open || end.incarnation == kernel.processes[receiver.index()].incarnation
        );
        if kernel.paths.is_cut(receiver, sender) {
            // Received, but the acknowledgement is lost.
            kernel.await_acknowledgement(id, from);
        }
        match segment {
            Segment::Data(packet) if state == EndState::Open && accepted => {
                self.give_packet(receiver, Origin::Connection(id, sender), packet);
            }
            segment => self.receive(id, to, segment),
        }
        if !nothing_early {
            self.receive_early(id, to);
        }
    }

    /// Receives what had arrived before something that was missing.
    fn receive_early(&mut self, id: ConnectionId, to: usize) {
        while let Some(connection) = self.kernel.connections.get_mut(id) {
            let end = &mut connection.ends[to];
            let next = end.next_to_receive;
            let Some(position) = end.early.iter().position(|(number, _)| *number == next) else {
                return;
            };
            let (_, segment) = end.early.swap_remove(position);
            end.next_to_receive += 1;
            self.receive(id, to, segment);
        }
    }

    fn receive(&mut self, id: ConnectionId, to: usize, segment: Segment<P::Packet>) {
        let kernel = &mut self.kernel;
        let now = kernel.now;
        let Some(connection) = kernel.connections.get_mut(id) else {
            return;
        };
        let (receiver, sender) = (connection.ends[to].process, connection.ends[1 - to].process);
        let end = &mut connection.ends[to];
        end.last_heard = now;
        let (state, incarnation) = (end.state, end.incarnation);
        let event = match (segment, state) {
            (Segment::Data(packet), EndState::Open) => {
                debug_assert_eq!(incarnation, kernel.processes[receiver.index()].incarnation);
                self.give_from(id, receiver, Input::Packet(Origin::Connection(id, sender), packet));
                return;
            }
            (Segment::Open, EndState::Opening) => {
                let slot = &kernel.processes[receiver.index()];
                if !slot.running {
                    kernel.transmit(id, to, Segment::Reset);
                    kernel.connections.finish(id, to);
                    return;
                }
                let hangs = slot.listening.hangs > 0;
                end.incarnation = slot.incarnation;
                end.state = EndState::Open;
                kernel.transmit(id, to, Segment::Accept);
                if hangs {
                    let accepted = Input::Connection(id, sender, ConnectionEvent::Accepted);
                    kernel.processes[receiver.index()].listening.unaccepted.push_back(accepted);
                    return;
                }
                ConnectionEvent::Accepted
            }
            (Segment::Accept, EndState::Opening) => {
                end.state = EndState::Open;
                let waiting = std::mem::take(&mut end.undelivered);
                for (number, segment) in waiting {
                    kernel.transmit_numbered(id, to, number, segment);
                }
                ConnectionEvent::Opened
            }
            (Segment::Close, EndState::Open) => {
                kernel.connections.finish(id, to);
                ConnectionEvent::Closed
            }
            (Segment::Reset, EndState::Opening) => {
                kernel.connections.finish(id, to);
                ConnectionEvent::Refused
            }
            (Segment::Reset, EndState::Open) => {
                kernel.forget_end(id, to);
                ConnectionEvent::Reset
            }
            (Segment::Data(_) | Segment::Accept, EndState::Done) => {
                // This host does not know the connection any more.
                kernel.transmit(id, to, Segment::Reset);
                return;
            }
            // A close crossed a close, or a request was repeated.
            (Segment::Close | Segment::Reset | Segment::Open, _) => return,
            (Segment::Data(_) | Segment::Accept, _) => unreachable!("data waits for the connection to open"),
        };
        self.give_from(id, receiver, Input::Connection(id, sender, event));
    }

    /// Hands over what happened on a connection. A process that hangs hears nothing of one that it has not accepted.
    #[inline]
    pub(super) fn give_from(&mut self, id: ConnectionId, process: ProcessId, input: Input<P>) {
        let unaccepted = &mut self.kernel.processes[process.index()].listening.unaccepted;
        if !unaccepted.is_empty() && unaccepted.iter().any(|waiting| waiting.accepts(id)) {
            unaccepted.push_back(input);
            return;
        }
        self.give(process, input);
    }

    pub(crate) fn on_retransmit(&mut self, id: ConnectionId, side: usize) {
        let kernel = &mut self.kernel;
        let now = kernel.now;
        let linear = kernel.repeated_each_second();
        let Some(connection) = kernel.connections.get_mut(id) else {
            return;
        };
        let [sender, receiver] = connection.way_from(side);
        let end = &mut connection.ends[side];
        let Some(since) = end.unacknowledged_since else {
            return;
        };
        let limit = limit_of(end, linear);
        if now.since(since) >= limit {
            let state = end.state;
            kernel.forget_end(id, side);
            if state != EndState::Done {
                self.give_from(id, sender, Input::Connection(id, receiver, ConnectionEvent::TimedOut));
            }
            return;
        }
        let sender_frozen = kernel.standings.of(sender).is_silent();
        let (latency, lost) = kernel.paths.way(sender, receiver).draw();
        let vanishes = connection.lost == Some(LostAnswer::Silence)
            || end.state == EndState::Opening && kernel.processes[receiver.index()].listening.drops > 0;
        let forward = !lost
            && !sender_frozen
            && !vanishes
            && !kernel.paths.is_cut(sender, receiver)
            && !kernel.standings.of(receiver).is_silent();
        let acknowledged = forward && !kernel.paths.is_cut(receiver, sender);
        let progress = if forward { kernel.send_again(id, side, latency) } else { Progress::None };
        let Some(connection) = kernel.connections.get_mut(id) else { return };
        let end = &mut connection.ends[side];
        if acknowledged && progress == Progress::All {
            end.unacknowledged_since = None;
            end.back_off = SimDuration::ZERO;
            return;
        }
        let mut since = since;
        if acknowledged && progress == Progress::Some {
            // The time-outs of the rest begin anew.
            since = now;
            end.unacknowledged_since = Some(now);
            end.back_off = RETRANSMIT_MIN + kernel.paths.round_trip(sender, receiver);
        } else if end.state == EndState::Opening && now.since(since) <= linear {
            end.back_off = REQUEST_RETRANSMIT;
        } else {
            end.back_off = (end.back_off * 2).min(RETRANSMIT_MAX);
        }
        let next = (now + end.back_off).min(since + limit);
        kernel.queue.push(next, Event::Retransmit { connection: id, side: side as u8 });
    }
}

/// Bytes of a segment on the wire.
fn size_of<P: Process>(segment: &Segment<P::Packet>) -> u32 {
    match segment {
        Segment::Data(packet) => P::packet_size(packet),
        Segment::Open | Segment::Accept | Segment::Close | Segment::Reset => HEADERS,
    }
}

/// How much of what was unacknowledged a retransmission brought through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    None,
    Some,
    All,
}

/// How long sent data, or a request that is repeated each second for `linear` at first, may stay unacknowledged.
fn limit_of<T>(end: &End<T>, linear: SimDuration) -> SimDuration {
    match (end.state, end.options.user_timeout) {
        (EndState::Opening, None) => linear + REQUEST_LIMIT,
        (EndState::Opening, Some(limit)) => limit.min(linear + REQUEST_LIMIT),
        (_, Some(limit)) => limit,
        (_, None) => RETRANSMIT_LIMIT,
    }
}
