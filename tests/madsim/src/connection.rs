//! Connections: a small TCP over madsim's datagrams, with real acknowledgements.
//!
//! It is written from the same rules of Linux as the native kernel's network and shares no code with it. The native kernel
//! decides at the instant of arrival whether a segment got through; here the sender finds out as real senders do, by an
//! acknowledgement that comes or does not.
//!
//! # Modelled
//!
//! - Segments have numbers; each one received is acknowledged (cumulatively); what arrives early waits.
//! - What is not acknowledged within 200 ms plus the smoothed round trip (`TCP_RTO_MIN`, RFC 6298 without the variance) is
//!   sent again, all of it; the time-out doubles up to 120 s and ends after `TCP_USER_TIMEOUT` or 924.6 s. Requests are
//!   repeated each second as often as `tcp_syn_linear_timeouts` says, then after 1, 2, 4, ... s, for 127 s more.
//! - Keep-alive probes of idle connections, answered by the kernel of the other side. As in Linux they do not
//!   run while data is unacknowledged.
//! - A kernel that does not know a connection answers with a reset; one that has no process for a request refuses; one whose
//!   process ended closes.
//!
//! # Simplified
//!
//! No windows, no congestion control, no fast retransmit, no half-closed connections: as on the native host. Data that
//! arrives at a closed end is acknowledged and dropped, because the close is on its way and says the same as a reset.

use std::collections::{BTreeMap, VecDeque};

use sim_core::{ConnectOptions, ConnectionEvent, ConnectionId, ProcessId, SimDuration, SimTime};

/// Linux `TCP_RTO_MIN`.
const RETRANSMIT_MIN: SimDuration = SimDuration::from_millis(200);
/// Linux `TCP_RTO_MAX`.
const RETRANSMIT_MAX: SimDuration = SimDuration::from_secs(120);
/// Linux initial time-out of a connection request.
const REQUEST_RETRANSMIT: SimDuration = SimDuration::from_secs(1);
/// Linux `tcp_syn_retries` = 6, beside the repetitions of each second.
const REQUEST_LIMIT: SimDuration = SimDuration::from_secs(127);
/// Linux `tcp_retries2` = 15 at the minimum time-out.
const RETRANSMIT_LIMIT: SimDuration = SimDuration::from_millis(924_600);

/// What travels on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Segment<T> {
    /// Asks for the connection. Numbered, as are the next three.
    Open,
    /// Grants it.
    Accept,
    /// Carries a packet.
    Data(T),
    /// Ends it.
    Close,
    /// Says only what was received.
    Acknowledge,
    /// Asks whether the other side is there.
    Probe,
    /// The connection is not known.
    Reset,
}

/// A segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Frame<T> {
    pub(crate) from: ProcessId,
    pub(crate) to: ProcessId,
    pub(crate) connection: ConnectionId,
    /// Which side sent it: 0 for the one that asked for the connection.
    pub(crate) side: u8,
    pub(crate) number: u32,
    /// The number of the next segment that the sender of this one expects.
    pub(crate) acknowledged: u32,
    pub(crate) segment: Segment<T>,
}

/// What the process hears of.
#[derive(Clone, Debug)]
pub(crate) enum Heard<T> {
    Packet(ConnectionId, ProcessId, T),
    Event(ConnectionId, ProcessId, ConnectionEvent),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum EndState {
    Opening,
    Open,
    /// The process closed it or ended; the kernel still has to deliver what was sent.
    Lingering,
}

#[derive(Debug)]
struct End<T> {
    peer: ProcessId,
    state: EndState,
    options: ConnectOptions,
    /// Sent, or waiting for the connection, and not acknowledged.
    unacknowledged: VecDeque<(u32, Segment<T>)>,
    next_to_send: u32,
    next_to_receive: u32,
    early: Vec<(u32, Segment<T>)>,
    /// Since when nothing new was acknowledged although something is outstanding.
    outstanding_since: Option<SimTime>,
    retransmit_at: Option<SimTime>,
    back_off: SimDuration,
    round_trip: SimDuration,
    /// A segment whose round trip is measured, and when it was sent. None while something is sent again (Karn).
    timed: Option<(u32, SimTime)>,
    last_heard: SimTime,
    /// When the last keep-alive probe went out.
    probed_at: SimTime,
}

impl<T: Clone> End<T> {
    fn new(peer: ProcessId, state: EndState, options: ConnectOptions, now: SimTime) -> Self {
        Self {
            peer,
            state,
            options,
            unacknowledged: VecDeque::new(),
            next_to_send: 0,
            next_to_receive: 0,
            early: Vec::new(),
            outstanding_since: None,
            retransmit_at: None,
            back_off: SimDuration::ZERO,
            round_trip: SimDuration::ZERO,
            timed: None,
            last_heard: now,
            probed_at: SimTime::ZERO,
        }
    }

    fn time_out(&self) -> SimDuration {
        if self.state == EndState::Opening { REQUEST_RETRANSMIT } else { RETRANSMIT_MIN + self.round_trip }
    }

    /// How long something may stay unacknowledged, if requests are repeated each second for `linear` at first.
    fn limit(&self, linear: SimDuration) -> SimDuration {
        let request = linear + REQUEST_LIMIT;
        match (self.state, self.options.user_timeout) {
            (EndState::Opening, limit) => limit.map_or(request, |limit| limit.min(request)),
            (_, limit) => limit.unwrap_or(RETRANSMIT_LIMIT),
        }
    }

    /// The next keep-alive probe, or the end of waiting for an answer to one.
    fn probe_at(&self) -> Option<SimTime> {
        let keep_alive = self.options.keep_alive?;
        if self.state != EndState::Open || !self.unacknowledged.is_empty() {
            return None;
        }
        let first = self.last_heard + keep_alive.idle;
        Some(if self.probed_at < first { first } else { self.probed_at + keep_alive.interval })
    }

    fn deadline(&self) -> Option<SimTime> {
        self.retransmit_at.into_iter().chain(self.probe_at()).min()
    }

    /// Takes note of what the other side has received.
    fn acknowledge(&mut self, next: u32, now: SimTime) {
        let before = self.unacknowledged.len();
        while self.unacknowledged.front().is_some_and(|(number, _)| *number < next) {
            self.unacknowledged.pop_front();
        }
        if self.unacknowledged.len() == before {
            return;
        }
        if let Some((number, sent)) = self.timed
            && number < next
        {
            let sample = now.since(sent);
            // RFC 6298: the first sample counts whole, later ones an eighth.
            self.round_trip = if self.round_trip == SimDuration::ZERO {
                sample
            } else {
                (self.round_trip * 7 + sample).scale(1, 8)
            };
            self.timed = None;
        }
        self.back_off = SimDuration::ZERO;
        (self.outstanding_since, self.retransmit_at) = if self.unacknowledged.is_empty() {
            (None, None)
        } else {
            (Some(now), Some(now + self.time_out()))
        };
    }
}

/// What a stack wants done after a call.
#[derive(Debug)]
pub(crate) struct Effects<T> {
    pub(crate) frames: Vec<Frame<T>>,
    pub(crate) heard: Vec<Heard<T>>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self { frames: Vec::new(), heard: Vec::new() }
    }
}

/// The connections of one process, as the kernel of its host keeps them.
#[derive(Debug)]
pub(crate) struct Stack<T> {
    me: ProcessId,
    /// See [`sim_core::Topology::set_tcp_syn_linear_timeouts`].
    syn_linear_timeouts: u8,
    /// By identity and side: a process may be connected with itself.
    ends: BTreeMap<(ConnectionId, u8), End<T>>,
}

impl<T: Clone> Stack<T> {
    pub(crate) const fn new(me: ProcessId, syn_linear_timeouts: u8) -> Self {
        Self { me, syn_linear_timeouts, ends: BTreeMap::new() }
    }

    /// For how long a request is repeated each second.
    fn linear(&self) -> SimDuration {
        REQUEST_RETRANSMIT * u64::from(self.syn_linear_timeouts)
    }

    pub(crate) fn connect(
        &mut self,
        now: SimTime,
        connection: ConnectionId,
        to: ProcessId,
        options: ConnectOptions,
        effects: &mut Effects<T>,
    ) {
        self.ends.insert((connection, 0), End::new(to, EndState::Opening, options, now));
        self.enqueue(now, (connection, 0), Segment::Open, effects);
    }

    pub(crate) fn configure(&mut self, connection: ConnectionId, options: ConnectOptions) {
        let key = self.key_of(connection);
        if let Some(end) = self.ends.get_mut(&key) {
            end.options = options;
        }
    }

    pub(crate) fn send(
        &mut self,
        now: SimTime,
        connection: ConnectionId,
        packet: T,
        effects: &mut Effects<T>,
    ) {
        let key = self.key_of(connection);
        if self.ends.get(&key).is_some_and(|end| end.state != EndState::Lingering) {
            self.enqueue(now, key, Segment::Data(packet), effects);
        }
    }

    pub(crate) fn close(&mut self, now: SimTime, connection: ConnectionId, effects: &mut Effects<T>) {
        self.close_end(now, self.key_of(connection), effects);
    }

    /// The process ended; its kernel lives.
    pub(crate) fn close_all(&mut self, now: SimTime, effects: &mut Effects<T>) {
        for key in self.ends.keys().copied().collect::<Vec<_>>() {
            self.close_end(now, key, effects);
        }
    }

    /// The host lost power.
    pub(crate) fn forget_all(&mut self) {
        self.ends.clear();
    }

    /// The clock of the host stood still for `length`.
    pub(crate) fn postpone(&mut self, length: SimDuration) {
        for end in self.ends.values_mut() {
            end.last_heard = end.last_heard + length;
            end.probed_at = end.probed_at + length;
            let times = [&mut end.retransmit_at, &mut end.outstanding_since];
            times.into_iter().flatten().for_each(|at| *at = *at + length);
        }
    }

    /// When [`Self::on_time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<SimTime> {
        self.ends.values().filter_map(End::deadline).min()
    }

    /// Retransmissions, probes and time-outs that are due.
    pub(crate) fn on_time(&mut self, now: SimTime, effects: &mut Effects<T>) {
        let due = |end: &End<T>| end.deadline().is_some_and(|at| at <= now);
        let keys: Vec<_> = self.ends.iter().filter(|(_, end)| due(end)).map(|(key, _)| *key).collect();
        let linear = self.linear();
        for key in keys {
            let end = self.ends.get_mut(&key).expect("keys of due ends were just collected");
            let (state, peer) = (end.state, end.peer);
            let is_dead = if end.retransmit_at.is_some_and(|at| at <= now) {
                let limit = end.limit(linear);
                let is_dead = end.outstanding_since.is_some_and(|since| now.since(since) >= limit);
                if !is_dead {
                    self.retransmit(now, key, effects);
                }
                is_dead
            } else {
                end.probed_at = now;
                let limit = end.options.keep_alive.map(sim_core::KeepAlive::limit);
                let is_dead = limit.is_some_and(|limit| now.since(end.last_heard) >= limit);
                if !is_dead {
                    self.transmit(key, 0, Segment::Probe, effects);
                }
                is_dead
            };
            if is_dead {
                self.ends.remove(&key);
                if state != EndState::Lingering {
                    effects.heard.push(Heard::Event(key.0, peer, ConnectionEvent::TimedOut));
                }
            }
        }
    }

    /// A frame arrived. `listens` says whether there is a process to connect to.
    pub(crate) fn on_frame(
        &mut self,
        now: SimTime,
        frame: Frame<T>,
        listens: bool,
        effects: &mut Effects<T>,
    ) {
        let key = (frame.connection, 1 - frame.side);
        let Some(end) = self.ends.get_mut(&key) else {
            self.on_unknown(now, key, &frame, listens, effects);
            return;
        };
        end.last_heard = now;
        end.acknowledge(frame.acknowledged, now);
        match frame.segment {
            Segment::Reset => {
                let event = match end.state {
                    EndState::Opening => Some(ConnectionEvent::Refused),
                    EndState::Open => Some(ConnectionEvent::Reset),
                    EndState::Lingering => None,
                };
                self.ends.remove(&key);
                effects.heard.extend(event.map(|event| Heard::Event(key.0, frame.from, event)));
                return;
            }
            Segment::Acknowledge => {}
            Segment::Probe => self.transmit(key, 0, Segment::Acknowledge, effects),
            segment => {
                if frame.number > end.next_to_receive {
                    if end.early.iter().all(|(number, _)| *number != frame.number) {
                        end.early.push((frame.number, segment));
                    }
                } else if frame.number == end.next_to_receive {
                    self.receive(now, key, segment, effects);
                }
                self.transmit(key, 0, Segment::Acknowledge, effects);
            }
        }
        // A kernel that has delivered everything for a process that is gone forgets the connection.
        let delivered = |end: &End<T>| end.state == EndState::Lingering && end.unacknowledged.is_empty();
        if self.ends.get(&key).is_some_and(delivered) {
            self.ends.remove(&key);
        }
    }

    fn on_unknown(
        &mut self,
        now: SimTime,
        key: (ConnectionId, u8),
        frame: &Frame<T>,
        listens: bool,
        effects: &mut Effects<T>,
    ) {
        match frame.segment {
            Segment::Open if listens => {
                let mut end = End::new(frame.from, EndState::Open, ConnectOptions::default(), now);
                end.next_to_receive = 1;
                self.ends.insert(key, end);
                self.enqueue(now, key, Segment::Accept, effects);
                effects.heard.push(Heard::Event(key.0, frame.from, ConnectionEvent::Accepted));
            }
            Segment::Acknowledge | Segment::Reset => {}
            _ => effects.frames.push(Frame {
                from: self.me,
                to: frame.from,
                connection: key.0,
                side: key.1,
                number: 0,
                acknowledged: 0,
                segment: Segment::Reset,
            }),
        }
    }

    /// Receives a segment whose turn it is, and what had arrived before it.
    fn receive(
        &mut self,
        now: SimTime,
        key: (ConnectionId, u8),
        segment: Segment<T>,
        effects: &mut Effects<T>,
    ) {
        let mut next = Some(segment);
        while let Some(segment) = next {
            let Some(end) = self.ends.get_mut(&key) else { return };
            end.next_to_receive += 1;
            let (peer, state) = (end.peer, end.state);
            match segment {
                Segment::Data(packet) if state == EndState::Open => {
                    effects.heard.push(Heard::Packet(key.0, peer, packet));
                }
                Segment::Accept if state == EndState::Opening => {
                    end.state = EndState::Open;
                    if !end.unacknowledged.is_empty() {
                        end.outstanding_since = Some(now);
                        end.retransmit_at = Some(now + end.time_out());
                    }
                    let waiting: Vec<_> = end.unacknowledged.iter().cloned().collect();
                    effects.heard.push(Heard::Event(key.0, peer, ConnectionEvent::Opened));
                    for (number, segment) in waiting {
                        self.transmit(key, number, segment, effects);
                    }
                }
                Segment::Close => {
                    if state == EndState::Open {
                        effects.heard.push(Heard::Event(key.0, peer, ConnectionEvent::Closed));
                    }
                    // The acknowledgement goes out first: nobody is left to answer afterwards.
                    self.transmit(key, 0, Segment::Acknowledge, effects);
                    self.ends.remove(&key);
                    return;
                }
                _ => {}
            }
            let Some(end) = self.ends.get_mut(&key) else { return };
            let wanted = end.next_to_receive;
            next = end
                .early
                .iter()
                .position(|(number, _)| *number == wanted)
                .map(|position| end.early.swap_remove(position).1);
        }
    }

    fn close_end(&mut self, now: SimTime, key: (ConnectionId, u8), effects: &mut Effects<T>) {
        match self.ends.get(&key).map(|end| end.state) {
            Some(EndState::Open) => {
                self.enqueue(now, key, Segment::Close, effects);
                if let Some(end) = self.ends.get_mut(&key) {
                    end.state = EndState::Lingering;
                }
            }
            Some(EndState::Opening) => {
                self.ends.remove(&key);
            }
            Some(EndState::Lingering) | None => {}
        }
    }

    /// The side of this process: the asking one if it is connected with itself.
    fn key_of(&self, connection: ConnectionId) -> (ConnectionId, u8) {
        let asking = (connection, 0);
        if self.ends.contains_key(&asking) { asking } else { (connection, 1) }
    }

    /// Gives a segment its number, keeps it until it is acknowledged, and sends it unless the connection is not there yet.
    fn enqueue(
        &mut self,
        now: SimTime,
        key: (ConnectionId, u8),
        segment: Segment<T>,
        effects: &mut Effects<T>,
    ) {
        let linear = self.linear();
        let Some(end) = self.ends.get_mut(&key) else { return };
        let number = end.next_to_send;
        end.next_to_send += 1;
        end.unacknowledged.push_back((number, segment.clone()));
        if end.state == EndState::Opening && number > 0 {
            return;
        }
        if end.outstanding_since.is_none() {
            end.outstanding_since = Some(now);
            end.retransmit_at = Some(now + end.time_out().min(end.limit(linear)));
        }
        end.timed.get_or_insert((number, now));
        self.transmit(key, number, segment, effects);
    }

    fn retransmit(&mut self, now: SimTime, key: (ConnectionId, u8), effects: &mut Effects<T>) {
        let linear = self.linear();
        let Some(end) = self.ends.get_mut(&key) else { return };
        let Some(since) = end.outstanding_since else { return };
        let base = if end.back_off == SimDuration::ZERO { end.time_out() } else { end.back_off };
        let is_linear = end.state == EndState::Opening && now.since(since) <= linear;
        end.back_off = if is_linear { base } else { (base * 2).min(RETRANSMIT_MAX) };
        end.retransmit_at = Some((now + end.back_off).min(since + end.limit(linear)));
        end.timed = None;
        let count = if end.state == EndState::Opening { 1 } else { usize::MAX };
        let again: Vec<_> = end.unacknowledged.iter().take(count).cloned().collect();
        for (number, segment) in again {
            self.transmit(key, number, segment, effects);
        }
    }

    fn transmit(&self, key: (ConnectionId, u8), number: u32, segment: Segment<T>, effects: &mut Effects<T>) {
        if let Some(end) = self.ends.get(&key) {
            effects.frames.push(Frame {
                from: self.me,
                to: end.peer,
                connection: key.0,
                side: key.1,
                number,
                acknowledged: end.next_to_receive,
                segment,
            });
        }
    }
}
