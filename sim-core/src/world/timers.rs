//! Timers of a process. A timer that is moved later leaves its queue entry where it is: failure detectors are re-armed
//! at every heartbeat, and a fresh entry each time would double the cost of the queue.

use crate::id::ProcessId;
use crate::process::Process;
use crate::queue::Order;
use crate::time::SimDuration;

use super::{Event, Input, Kernel};

#[derive(Clone, Debug)]
struct Entry<T> {
    timer: T,
    /// When it fires, if it is set. Its sequence number was taken when it was set.
    due: Option<Order>,
    /// The entry in the queue that stands for it, no later than `due`.
    queued: Option<Order>,
}

#[derive(Clone, Debug)]
pub(crate) struct Timers<T> {
    entries: Vec<Entry<T>>,
    /// The slot that was set last: mostly the one that is set next, and then the others need not be compared.
    last_set: usize,
}

impl<T> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), last_set: 0 }
    }

    /// Forgets all: the process ended. Their queue entries are recognised as stale when they come up.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl<T: std::fmt::Debug> Timers<T> {
    /// The timer in this slot, for people; none if the process that set it ended.
    pub(crate) fn name(&self, slot: u32) -> Option<String> {
        self.entries.get(slot as usize).map(|entry| format!("{:?}", entry.timer))
    }
}

impl<T: Clone + PartialEq> Timers<T> {
    /// Sets or moves a timer. Returns what must be pushed to the queue, if anything.
    fn set(&mut self, timer: T, due: Order) -> Option<u32> {
        if self.entries.get(self.last_set).is_none_or(|entry| entry.timer != timer) {
            let position = self.entries.iter().position(|entry| entry.timer == timer);
            let is_free = |entry: &Entry<T>| entry.due.is_none() && entry.queued.is_none();
            let Some(slot) = position.or_else(|| self.entries.iter().position(is_free)) else {
                self.last_set = self.entries.len();
                self.entries.push(Entry { timer, due: Some(due), queued: Some(due) });
                return Some(self.last_set as u32);
            };
            self.last_set = slot;
            self.entries[slot].timer = timer;
        }
        let slot = self.last_set;
        let entry = &mut self.entries[slot];
        entry.due = Some(due);
        if entry.queued.is_some_and(|queued| queued <= due) {
            return None;
        }
        entry.queued = Some(due);
        Some(slot as u32)
    }

    fn cancel(&mut self, timer: &T) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.timer == *timer) {
            entry.due = None;
        }
    }
}

impl<P: Process> Kernel<P> {
    pub(crate) fn set_timer(&mut self, process: ProcessId, timer: P::Timer, delay: SimDuration) {
        let slot = &mut self.processes[process.index()];
        let real = self.hosts[slot.host.index()].clock.real(delay);
        let due = self.queue.reserve(self.now + real);
        if let Some(slot) = slot.timers.set(timer, due) {
            self.queue.push_reserved(due, Event::Timer { process, slot });
        }
    }

    pub(crate) fn cancel_timer(&mut self, process: ProcessId, timer: &P::Timer) {
        self.processes[process.index()].timers.cancel(timer);
    }

    /// The timer for which this queue entry stands, if it is due now.
    pub(crate) fn due_timer(&mut self, process: ProcessId, slot: u32, order: Order) -> Option<P::Timer> {
        let owner = &mut self.processes[process.index()];
        let entry = owner.timers.entries.get_mut(slot as usize)?;
        if entry.queued != Some(order) {
            return None;
        }
        entry.queued = None;
        let due = entry.due?;
        if due > order {
            entry.queued = Some(due);
            self.queue.push_reserved(due, Event::Timer { process, slot });
            return None;
        }
        if self.standings.of(process).is_hindered() {
            // While the clock of the machine stands still, `postpone_timers` queues it again when it goes on. Else it stays set
            // while it waits in line: what the process does before may still cancel or move it.
            if self.hosts[owner.host.index()].freezes == 0 {
                self.line_up(process, Input::DueTimer(slot, due));
            }
            return None;
        }
        entry.due = None;
        Some(entry.timer.clone())
    }

    /// A timer that waited in line, unless it was cancelled or moved meanwhile.
    pub(crate) fn take_due_timer(&mut self, process: ProcessId, slot: u32, due: Order) -> Option<P::Timer> {
        let entry = self.processes[process.index()].timers.entries.get_mut(slot as usize)?;
        (entry.due == Some(due)).then(|| {
            entry.due = None;
            entry.timer.clone()
        })
    }

    /// The machine of this process stood still for `length`: its timers have as much left as before.
    pub(crate) fn postpone_timers(&mut self, process: ProcessId, length: SimDuration) {
        let mut again: Vec<(Order, u32)> = Vec::new();
        let now = self.now;
        for (slot, entry) in self.processes[process.index()].timers.entries.iter_mut().enumerate() {
            let Some(due) = &mut entry.due else { continue };
            due.at = (due.at + length).max(now);
            if entry.queued.is_none() {
                entry.queued = Some(*due);
                again.push((*due, slot as u32));
            }
        }
        for (due, slot) in again {
            self.queue.push_reserved(due, Event::Timer { process, slot });
        }
    }
}
