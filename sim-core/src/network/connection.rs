//! The state of connections. The rules that move it are in `world::delivery` and `world::keep_alive`.

use std::collections::VecDeque;

use crate::fault::LostAnswer;
use crate::id::{ConnectionId, ProcessId};
use crate::time::{SimDuration, SimTime};

/// Options of one side of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ConnectOptions {
    /// `TCP_USER_TIMEOUT`: sent data may stay unacknowledged this long. Absent: about 15 minutes.
    pub user_timeout: Option<SimDuration>,
    /// `SO_KEEPALIVE` with these times. Absent: an idle connection to a dead host stays open for ever.
    pub keep_alive: Option<KeepAlive>,
}

/// Keep-alive times of a socket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeepAlive {
    /// `TCP_KEEPIDLE`: silence before the first probe.
    pub idle: SimDuration,
    /// `TCP_KEEPINTVL`: time between probes.
    pub interval: SimDuration,
    /// `TCP_KEEPCNT`: unanswered probes before the connection is given up.
    pub count: u32,
}

impl KeepAlive {
    /// Linux: 7200 s, 75 s, 9.
    pub const LINUX: Self =
        Self { idle: SimDuration::from_secs(7200), interval: SimDuration::from_secs(75), count: 9 };

    /// Silence after which the connection is given up.
    pub fn limit(self) -> SimDuration {
        self.idle + self.interval * u64::from(self.count)
    }
}

/// What travels on a connection.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Segment<T> {
    /// Asks for the connection.
    Open,
    /// Grants it.
    Accept,
    /// Carries a packet.
    Data(T),
    /// Closes it in order: retransmitted like data by the kernel of a host whose process ended.
    Close,
    /// Tells that the connection is not known. Not retransmitted.
    Reset,
}

/// How far one end of a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EndState {
    /// Asked for, or not yet asked.
    Opening,
    /// Packets pass.
    Open,
    /// This end closed or lost it, and does not want to hear of it any more.
    Done,
}

/// One end of a connection, with the direction in which it sends.
#[derive(Clone, Debug)]
pub(crate) struct End<T> {
    pub(crate) process: ProcessId,
    /// The life of the process to which it belongs.
    pub(crate) incarnation: u32,
    pub(crate) state: EndState,
    pub(crate) options: ConnectOptions,
    /// Nothing sent from here may arrive before this.
    pub(crate) last_arrival: SimTime,
    /// When this end last received anything.
    pub(crate) last_heard: SimTime,
    /// Sent from here, not delivered: waits for a retransmission (or, while opening, for the connection). In order of
    /// their numbers.
    pub(crate) undelivered: VecDeque<(u32, Segment<T>)>,
    /// The number of the next segment sent from here. Numbers restore the order that retransmission breaks.
    pub(crate) next_to_send: u32,
    /// The number of the next segment to be received here.
    pub(crate) next_to_receive: u32,
    /// Received here by the kernel, but not yet by the process: something before it is missing.
    pub(crate) early: Vec<(u32, Segment<T>)>,
    /// Since when something sent from here lacks an acknowledgement.
    pub(crate) unacknowledged_since: Option<SimTime>,
    /// The next retransmission time-out; zero when none runs.
    pub(crate) back_off: SimDuration,
}

impl<T> End<T> {
    /// Keeps a segment for a retransmission.
    pub(crate) fn hold_back(&mut self, number: u32, segment: Segment<T>) {
        let position = self.undelivered.partition_point(|(other, _)| *other < number);
        self.undelivered.insert(position, (number, segment));
    }

    /// The number of a new segment.
    #[inline]
    pub(crate) fn take_number(&mut self) -> u32 {
        let number = self.next_to_send;
        self.next_to_send += 1;
        number
    }

    fn new(process: ProcessId, incarnation: u32, options: ConnectOptions, now: SimTime) -> Self {
        Self {
            process,
            incarnation,
            state: EndState::Opening,
            options,
            last_arrival: SimTime::ZERO,
            last_heard: now,
            undelivered: VecDeque::new(),
            next_to_send: 0,
            next_to_receive: 0,
            early: Vec::new(),
            unacknowledged_since: None,
            back_off: SimDuration::ZERO,
        }
    }
}

/// A connection: its two ends, the one that asked for it first.
#[derive(Clone, Debug)]
pub(crate) struct Connection<T> {
    pub(crate) id: ConnectionId,
    /// Something between the ends has forgotten it, and answers so.
    pub(crate) lost: Option<LostAnswer>,
    pub(crate) ends: [End<T>; 2],
}

impl<T> Connection<T> {
    /// Which end belongs to this process. A process may connect to itself; then the asking end is meant.
    #[inline]
    pub(crate) fn side_of(&self, process: ProcessId) -> usize {
        usize::from(self.ends[0].process != process)
    }

    /// Who sends from this side, and who receives it.
    #[inline]
    pub(crate) fn way_from(&self, side: usize) -> [ProcessId; 2] {
        [self.ends[side].process, self.ends[1 - side].process]
    }
}

/// All connections of a world. Slots are used again, identities are not.
#[derive(Clone, Debug)]
pub(crate) struct Connections<T> {
    slots: Vec<Connection<T>>,
    free: Vec<u32>,
}

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Connections<T> {
    pub(crate) fn open(
        &mut self,
        now: SimTime,
        from: (ProcessId, u32),
        to: ProcessId,
        options: ConnectOptions,
    ) -> ConnectionId {
        let ends = [End::new(from.0, from.1, options, now), End::new(to, 0, ConnectOptions::default(), now)];
        if let Some(slot) = self.free.pop() {
            let slot = &mut self.slots[slot as usize];
            *slot = Connection { id: slot.id, lost: None, ends };
            slot.id
        } else {
            let id = ConnectionId { slot: self.slots.len() as u32, generation: 0 };
            self.slots.push(Connection { id, lost: None, ends });
            id
        }
    }

    /// The connection, unless it is gone and its slot free or in use again.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<T>> {
        self.slots.get_mut(id.slot as usize).filter(|connection| connection.id == id)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection<T>> {
        self.slots.get(id.slot as usize).filter(|connection| connection.id == id)
    }

    /// Marks an end as done; frees the slot when both are.
    pub(crate) fn finish(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.ends[side].state = EndState::Done;
        if connection.ends.iter().all(is_done) {
            for end in &mut connection.ends {
                end.undelivered.clear();
                end.early.clear();
            }
            connection.id.generation += 1;
            self.free.push(id.slot);
        }
    }

    /// The connections that both ends hold for open, between processes that satisfy the condition.
    pub(crate) fn established(&self, matches: impl Fn(ProcessId, ProcessId) -> bool) -> Vec<ConnectionId> {
        let open = |connection: &&Connection<T>| {
            let [a, b] = &connection.ends;
            a.state == EndState::Open && b.state == EndState::Open && matches(a.process, b.process)
        };
        self.slots.iter().filter(open).map(|connection| connection.id).collect()
    }

    /// All live connections with an end at a process that satisfies the condition, with that side. An end
    /// whose request is still on the way is not one yet: the host will see the request as if it had just been sent.
    pub(crate) fn ends_at(&self, matches: impl Fn(ProcessId) -> bool) -> Vec<(ConnectionId, usize)> {
        let mut found = Vec::new();
        for connection in &self.slots {
            if connection.ends.iter().all(is_done) {
                continue;
            }
            for (side, end) in connection.ends.iter().enumerate() {
                let is_unasked = side == 1 && end.state == EndState::Opening;
                if end.state != EndState::Done && !is_unasked && matches(end.process) {
                    found.push((connection.id, side));
                }
            }
        }
        found
    }
}

fn is_done<T>(end: &End<T>) -> bool {
    end.state == EndState::Done
}
