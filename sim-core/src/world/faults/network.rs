//! Network faults taking effect and ending: ways are cut, links get worse, connections break.

use crate::fault::{Fault, HangAnswer, LostAnswer, Told};
use crate::host::faults::Effect;
use crate::id::ConnectionId;
use crate::network::{EndState, Shape};
use crate::process::{ConnectionEvent, Process};
use crate::random::Probability;
use crate::time::SimDuration;
use crate::world::{Input, World};

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
        let shape = Shape::of(fault);
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
