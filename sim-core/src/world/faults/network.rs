//! Network faults taking effect and ending: whose ways are cut, which links get worse, which connections break.

use crate::fault::{Border, Direction, Fault, HangAnswer, LostAnswer, Told};
use crate::id::{ConnectionId, HostId, ProcessId};
use crate::network::{EndState, Shape};
use crate::process::{ConnectionEvent, Process};
use crate::random::Probability;
use crate::time::SimDuration;
use crate::topology::Place;
use crate::world::{Input, World};

use super::Effect;

/// Whom a fault hits.
impl<P: Process> World<P> {
    /// Adds the directed ways from the first side to the second, and back, as the direction says. Without any, the
    /// fault misses.
    pub(super) fn pair_up(
        &self,
        effect: &mut Effect,
        from: &[ProcessId],
        to: &[ProcessId],
        direction: Direction,
    ) {
        for a in from {
            for b in to {
                // Nothing between processes of one host leaves the host.
                if self.host_of(*a) == self.host_of(*b) {
                    continue;
                }
                if direction != Direction::Inbound {
                    effect.ways.push((*a, *b));
                }
                if direction != Direction::Outbound {
                    effect.ways.push((*b, *a));
                }
            }
        }
        if effect.ways.is_empty() {
            return;
        }
        effect.processes.extend(from.iter().chain(to));
        effect.links = effect.ways.iter().map(|(a, b)| (self.host_of(*a), self.host_of(*b))).collect();
        effect.links.sort_unstable();
        effect.links.dedup();
    }

    /// These processes by host, the hosts in an order drawn from the fault stream.
    fn by_host(&mut self, processes: &[ProcessId]) -> Vec<Vec<ProcessId>> {
        let mut hosts = self.kernel.hosts_of(processes);
        self.kernel.faults.stream.shuffle(&mut hosts);
        let on = |host: &HostId| {
            processes.iter().copied().filter(|process| self.host_of(*process) == *host).collect()
        };
        hosts.iter().map(on).collect()
    }

    pub(super) fn aim_bridge(&mut self, effect: &mut Effect, middle: &[ProcessId], among: &[ProcessId]) {
        let bridge = self.kernel.hosts_of(middle);
        let mut rest = among.to_vec();
        rest.retain(|process| !bridge.contains(&self.host_of(*process)));
        let hosts = self.by_host(&rest);
        let (left, right) = hosts.split_at(hosts.len() / 2);
        if !middle.is_empty() {
            self.pair_up(effect, &left.concat(), &right.concat(), Direction::Both);
        }
    }

    pub(super) fn aim_ring(&mut self, effect: &mut Effect, among: &[ProcessId]) {
        let hosts = self.by_host(among);
        for (position, host) in hosts.iter().enumerate() {
            for (other_position, other) in hosts.iter().enumerate().skip(position + 2) {
                let closes_the_ring = position == 0 && other_position == hosts.len() - 1;
                if !closes_the_ring {
                    self.pair_up(effect, host, other, Direction::Both);
                }
            }
        }
    }

    pub(super) fn aim_isolation(
        &mut self,
        effect: &mut Effect,
        isolated: &[ProcessId],
        direction: Direction,
    ) {
        let others: Vec<ProcessId> =
            self.process_ids().filter(|process| !isolated.contains(process)).collect();
        self.pair_up(effect, isolated, &others, direction);
        for (position, process) in isolated.iter().enumerate() {
            // Among the isolated, each way is somebody's way out and somebody else's way in.
            self.pair_up(effect, &[*process], &isolated[position + 1..], Direction::Both);
        }
    }

    pub(super) fn aim_split(&mut self, effect: &mut Effect, along: Border) {
        let is_side = |place: &Place| match along {
            Border::Zones => matches!(place, Place::Zone(_)),
            Border::Regions => matches!(place, Place::Region(_)),
        };
        let places: Vec<Place> = self.topology().places().filter(|place| is_side(place)).cloned().collect();
        let sides: Vec<Vec<ProcessId>> = places.iter().map(|place| self.in_place(place)).collect();
        for (position, side) in sides.iter().enumerate() {
            let others = sides[position + 1..].concat();
            self.pair_up(effect, side, &others, Direction::Both);
        }
    }
}

/// What happens to them.
impl<P: Process> World<P> {
    /// Nothing passes the ways of a partition any more.
    pub(super) fn cut(&mut self, effect: &Effect) {
        self.kernel.watch_keep_alives(|process| effect.processes.contains(&process));
        for (from, to) in &effect.ways {
            self.kernel.paths.cut(*from, *to);
        }
    }

    /// The ways of a partition are open again, unless another one cuts them.
    pub(super) fn mend(&mut self, effect: &Effect) {
        for (from, to) in &effect.ways {
            self.kernel.paths.mend(*from, *to);
        }
    }

    /// The links of a fault become worse, or better again when it ends.
    pub(super) fn degrade(&mut self, effect: &Effect, latency: SimDuration, loss: Probability, ends: bool) {
        for (from, to) in &effect.links {
            self.kernel.paths.degrade(*from, *to, latency, loss, ends);
        }
    }

    /// The links of a fault treat packets in another way.
    pub(super) fn begin_shaping(&mut self, index: usize, fault: &Fault, effect: &Effect) {
        let shape = match fault {
            Fault::Latency { extra, .. } => Shape::Latency(extra.sampler()),
            Fault::Duplicate { chance, .. } => Shape::Duplicate(*chance),
            Fault::Reorder { chance, delay, .. } => Shape::Reorder(*chance, *delay),
            Fault::Bandwidth { bits_per_second, queue, .. } => {
                Shape::Bandwidth { bits_per_second: *bits_per_second, queue: *queue }
            }
            _ => unreachable!("the other faults do not shape links"),
        };
        for (from, to) in &effect.links {
            self.kernel.paths.shape(*from, *to, index, shape.clone());
        }
    }

    /// The links treat packets as before this fault.
    pub(super) fn end_shaping(&mut self, index: usize, effect: &Effect) {
        for (from, to) in &effect.links {
            self.kernel.paths.unshape(*from, *to, index);
        }
    }

    /// The established connections on the ways of a fault.
    fn established(&self, effect: &Effect) -> Vec<ConnectionId> {
        let mut ways = effect.ways.clone();
        ways.sort_unstable();
        self.kernel.connections.established(|a, b| ways.binary_search(&(a, b)).is_ok())
    }

    /// Both ends, or those at one side, receive a reset now.
    pub(super) fn reset_connections(&mut self, effect: &Effect, told: Told) {
        for id in self.established(effect) {
            for side in [0, 1] {
                let Some(connection) = self.kernel.connections.get(id) else { break };
                let [end, other] = [side, 1 - side].map(|side| &connection.ends[side]);
                let is_told = match told {
                    Told::Both => true,
                    Told::From => effect.from.contains(&end.process),
                    Told::To => !effect.from.contains(&end.process),
                };
                let (process, peer) = (end.process, other.process);
                if is_told && end.state == EndState::Open {
                    self.kernel.forget_end(id, side);
                    self.give_from(id, process, Input::Connection(id, peer, ConnectionEvent::Reset));
                }
            }
        }
    }

    /// Something in between forgets them; neither end knows.
    pub(super) fn lose_connections(&mut self, effect: &Effect, answer: LostAnswer) {
        for id in self.established(effect) {
            self.kernel.watch_keep_alives_of(id, answer);
            if let Some(connection) = self.kernel.connections.get_mut(id) {
                connection.lost = Some(answer);
            }
        }
    }

    /// The processes stop taking new connections.
    pub(super) fn hang(&mut self, effect: &mut Effect, answer: HangAnswer) {
        effect.lives = self.kernel.lives_of(&effect.processes);
        for process in &effect.processes {
            let slot = &mut self.kernel.processes[process.index()];
            match answer {
                HangAnswer::Dropped => slot.listening.drops += 1,
                HangAnswer::Accepted if slot.running => slot.listening.hangs += 1,
                HangAnswer::Accepted => {}
            }
        }
    }

    /// They take new connections again, and those first that waited.
    pub(super) fn end_hang(&mut self, effect: &mut Effect, answer: HangAnswer) {
        if answer == HangAnswer::Dropped {
            for process in &effect.processes {
                self.kernel.processes[process.index()].listening.drops -= 1;
            }
            return;
        }
        for (process, incarnation) in std::mem::take(&mut effect.lives) {
            let slot = &mut self.kernel.processes[process.index()];
            if slot.incarnation != incarnation {
                continue;
            }
            slot.listening.hangs -= 1;
            if slot.listening.hangs > 0 {
                continue;
            }
            for input in std::mem::take(&mut slot.listening.unaccepted) {
                self.give(process, input);
            }
        }
    }
}
