//! Keep-alives: how the end of an idle connection notices that the other one is gone.
//!
//! Probes are no events of their own. As long as the network is sound they are answered, and nothing needs to be known of them; from when it gets worse
//! on, one event stands for all that an end sends until it gives up.

use crate::fault::LostAnswer;
use crate::id::{ConnectionId, ProcessId};
use crate::network::{End, EndState, KeepAlive};
use crate::process::{ConnectionEvent, Process};
use crate::time::{SimDuration, SimTime};

use super::{Event, Input, Kernel, World};

/// The smallest `TCP_KEEPIDLE` and `TCP_KEEPINTVL` that Linux takes.
const SHORTEST_KEEP_ALIVE: SimDuration = SimDuration::from_secs(1);

impl<P: Process> Kernel<P> {
    /// Looks at idle connections of processes whose network is about to get worse: those with keep-alives will notice.
    /// To be called before the change, because probes were answered until then.
    pub(crate) fn watch_keep_alives(&mut self, matches: impl Fn(ProcessId) -> bool) {
        for (id, side) in self.connections.ends_at(matches) {
            for side in [side, 1 - side] {
                let Some(connection) = self.connections.get(id) else {
                    continue;
                };
                let ends = connection.way_from(0);
                let broken = self.is_broken(ends[0], ends[1]) || self.is_broken(ends[1], ends[0]);
                let now = self.now;
                let Some(connection) = self.connections.get_mut(id) else {
                    continue;
                };
                let end = &mut connection.ends[side];
                let Some(keep_alive) = end.options.keep_alive.filter(|_| end.state == EndState::Open) else {
                    continue;
                };
                if !broken {
                    count_answered_probes(end, keep_alive, now);
                }
                let at = (end.last_heard + keep_alive.limit()).max(self.now + keep_alive.interval);
                self.queue.push(at, Event::KeepAlive { connection: id, side: side as u8 });
            }
        }
    }

    /// Something in between is about to forget this connection: ends with keep-alives will notice, though nobody sends.
    pub(crate) fn watch_keep_alives_of(&mut self, id: ConnectionId, answer: LostAnswer) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        for (side, end) in connection.ends.iter_mut().enumerate() {
            let Some(keep_alive) = end.options.keep_alive.filter(|_| end.state == EndState::Open) else {
                continue;
            };
            count_answered_probes(end, keep_alive, now);
            let patience = match answer {
                LostAnswer::Silence => keep_alive.limit(),
                // The first probe is answered with the reset.
                LostAnswer::Reset => keep_alive.idle,
            };
            let at = (end.last_heard + patience).max(now);
            self.queue.push(at, Event::KeepAlive { connection: id, side: side as u8 });
        }
    }

    /// True when a packet sent now from one process to the other would not be received.
    fn is_broken(&self, from: ProcessId, to: ProcessId) -> bool {
        self.paths.is_cut(from, to) || self.standing(to).is_silent() || self.standing(from).is_silent()
    }
}

/// The probes of an end that was idle were answered until now.
fn count_answered_probes<T>(end: &mut End<T>, keep_alive: KeepAlive, now: SimTime) {
    if keep_alive.idle > SimDuration::ZERO {
        let answered = now.since(end.last_heard).as_nanos() / keep_alive.idle.as_nanos();
        end.last_heard = end.last_heard + keep_alive.idle * answered;
    }
}

impl<P: Process> World<P> {
    pub(crate) fn on_keep_alive(&mut self, id: ConnectionId, side: usize) {
        let kernel = &mut self.kernel;
        let now = kernel.now;
        let Some(connection) = kernel.connections.get(id) else {
            return;
        };
        let (end, other) = (&connection.ends[side], &connection.ends[1 - side]);
        let Some(keep_alive) = end.options.keep_alive.filter(|_| end.state == EndState::Open) else {
            return;
        };
        if end.unacknowledged_since.is_some() {
            // `tcp_keepalive_timer`: no probes while sent data is unacknowledged. Retransmission decides, by
            // `tcp_retries2` or `TCP_USER_TIMEOUT`; what is left to probe afterwards is looked at one idle time later.
            let at = now + keep_alive.idle.max(SHORTEST_KEEP_ALIVE);
            kernel.queue.push(at, Event::KeepAlive { connection: id, side: side as u8 });
            return;
        }
        let (process, peer) = (end.process, other.process);
        let broken = kernel.is_broken(process, peer)
            || kernel.is_broken(peer, process)
            || connection.lost == Some(LostAnswer::Silence);
        let unknown_there = other.state == EndState::Done && other.undelivered.is_empty();
        let event = if !broken && (unknown_there || connection.lost == Some(LostAnswer::Reset)) {
            ConnectionEvent::Reset
        } else if !broken {
            return;
        } else if now.since(end.last_heard) >= keep_alive.limit() {
            ConnectionEvent::TimedOut
        } else {
            let at: SimTime = end.last_heard + keep_alive.limit();
            kernel.queue.push(at, Event::KeepAlive { connection: id, side: side as u8 });
            return;
        };
        kernel.forget_end(id, side);
        self.give_from(id, process, Input::Connection(id, peer, event));
    }
}
