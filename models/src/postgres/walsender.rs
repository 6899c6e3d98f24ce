//! Walsenders: one for each standby that streams from this server (`walsender.c`), primary or cascading standby.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, HostTime};

use super::server::{Phase, Server, Timer};
use super::synchronous::{Positions, Standby};
use super::{DataDirectory, Lsn, MemberId, Packet, Replication, Slots, Timeline, WalEntry};

/// The sending side of this server.
#[derive(Clone, Debug, Default)]
pub(super) struct WalSending {
    /// In the order in which they connected.
    pub(super) senders: Vec<WalSender>,
    /// How far this server's WAL is flushed: nothing behind it is ever sent.
    pub(super) flushed: Lsn,
    /// The same as a number of records.
    pub(super) flushed_count: usize,
    /// Replication slots, with their positions.
    pub(super) slots: Slots,
    /// When the timer of the senders is due.
    deadline: HostTime,
}

/// `START_REPLICATION`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Who asks.
    pub(super) member: MemberId,
    /// The timeline that it follows.
    pub(super) timeline: Timeline,
    /// From where.
    pub(super) from: Lsn,
    /// Through its replication slot.
    pub(super) uses_slot: bool,
}

/// A walsender.
#[derive(Clone, Debug)]
pub(super) struct WalSender {
    pub(super) connection: ConnectionId,
    pub(super) standby: Standby,
    /// Its replication slot moves with it.
    uses_slot: bool,
    /// How many records of this server's WAL it has been sent, or had before.
    sent_count: usize,
    /// When the standby was last heard, and whether it was asked for a sign of life since.
    last_heard: HostTime,
    asked: bool,
}

impl WalSending {
    /// The standbys, in the order in which they connected.
    pub(super) fn standbys(&self) -> impl Iterator<Item = &Standby> + Clone {
        self.senders.iter().map(|sender| &sender.standby)
    }
}

impl Server {
    pub(super) fn on_start_replication(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        standby: Request,
    ) {
        self.sessions.retain(|session| *session != connection);
        let accepts = self.phase.serves_reads();
        if !accepts {
            context.close(connection);
            return;
        }
        let Request { member, from, uses_slot, .. } = standby;
        if let Some(reason) = self.refusal(context.storage(), standby) {
            context.note(|| format!("refuses to stream to member {}: {reason}", member.0));
            context.send(connection, Packet::Replication(Replication::Refused));
            context.close(connection);
            return;
        }
        let history = Arc::new(context.storage().history.clone());
        context.send(connection, Packet::Replication(Replication::History(history)));
        let now = context.monotonic();
        let timeout = self.spec.parameters.wal_sender_timeout;
        if self.sending.senders.is_empty() {
            self.sending.deadline = now + timeout / 2;
            context.set_timer(Timer::WalSender, timeout / 2);
        }
        self.sending.senders.push(WalSender {
            connection,
            standby: Standby { member, streaming: false, positions: None },
            uses_slot,
            sent_count: context.storage().wal.count_until(from),
            last_heard: now,
            asked: false,
        });
        self.ship(context, None);
    }

    /// Why this server cannot stream to a standby from there.
    fn refusal(&self, data: &DataDirectory, standby: Request) -> Option<&'static str> {
        let Request { member, timeline, from, uses_slot } = standby;
        if uses_slot && !data.settings.slots.contains(&member) {
            return Some("its replication slot does not exist");
        }
        let is_active = self.sending.senders.iter().any(|sender| sender.standby.member == member);
        if uses_slot && is_active {
            return Some("its replication slot is still used by an earlier connection");
        }
        // An empty log is that of a base backup, which brings what was removed along.
        if from > Lsn(0) && from.segment() < data.first_segment {
            return Some("the requested WAL segment has already been removed");
        }
        if !data.history.contains(timeline) {
            return Some("its timeline is not in this server's history");
        }
        if data.history.switch_point(timeline).is_some_and(|end| end < from) {
            return Some("its WAL goes on behind the point where this server's history left its timeline");
        }
        if from > self.sending.flushed {
            return Some("its WAL is ahead of this server's");
        }
        // Two histories that use one timeline number (fidelity specification, Z5): nobody compares more than the number,
        // but the back link of the first record does not fit, unless records happen to begin at the same position.
        (!data.wal.has_boundary_at(from)).then_some("its WAL ends within a record of this server's")
    }

    /// Sends each standby what is flushed and it lacks. `batch` are the records flushed last, which all standbys that are
    /// up to date share.
    pub(super) fn ship(&mut self, context: &mut impl Context<Self>, batch: Option<Arc<[WalEntry]>>) {
        let count = self.sending.flushed_count;
        let mut shared = batch.map(|entries| (count - entries.len(), entries));
        for sender in &mut self.sending.senders {
            if sender.sent_count < count {
                let entries = match &shared {
                    Some((start, entries)) if *start == sender.sent_count => Arc::clone(entries),
                    _ => {
                        let wal = &context.storage().wal.entries;
                        let entries: Arc<[WalEntry]> = wal[sender.sent_count..count].into();
                        shared = Some((sender.sent_count, Arc::clone(&entries)));
                        entries
                    }
                };
                sender.sent_count = count;
                context.send(sender.connection, Packet::Replication(Replication::Wal { entries }));
            }
            sender.standby.streaming = true;
        }
    }

    /// This server changed to a new timeline: the standbys that stream from it learn how its history goes on.
    pub(super) fn announce_history(&mut self, context: &mut impl Context<Self>) {
        if self.sending.senders.is_empty() {
            return;
        }
        let history = Arc::new(context.storage().history.clone());
        for sender in &self.sending.senders {
            let message = Replication::History(Arc::clone(&history));
            context.send(sender.connection, Packet::Replication(message));
        }
    }

    pub(super) fn on_reply(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        positions: Positions,
    ) {
        let now = context.monotonic();
        let Some(sender) = self.sender(connection) else {
            return;
        };
        sender.last_heard = now;
        sender.asked = false;
        sender.standby.positions = Some(positions);
        if sender.uses_slot {
            let member = sender.standby.member;
            self.confirm_received(member, positions.flushed);
        }
        match self.phase {
            Phase::Primary => self.release_waiting(context),
            Phase::Stopping(_) => self.stopping_may_be_done(context),
            _ => {}
        }
    }

    /// A standby that hears nothing asks for a sign of life.
    pub(super) fn on_reply_requested(&mut self, context: &mut impl Context<Self>, connection: ConnectionId) {
        let now = context.monotonic();
        let flushed = self.sending.flushed;
        if let Some(sender) = self.sender(connection) {
            sender.last_heard = now;
            sender.asked = false;
            context.send(connection, Packet::Replication(Replication::KeepAlive { flushed }));
        }
    }

    fn sender(&mut self, connection: ConnectionId) -> Option<&mut WalSender> {
        self.sending.senders.iter_mut().find(|sender| sender.connection == connection)
    }

    /// True if the connection belonged to a walsender. Commits that waited for this standby stay where they are until
    /// another one reports, as in `PostgreSQL`.
    pub(super) fn remove_sender(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
    ) -> bool {
        let before = self.sending.senders.len();
        self.sending.senders.retain(|sender| sender.connection != connection);
        let removed = self.sending.senders.len() < before;
        if removed && matches!(self.phase, Phase::Stopping(_)) {
            self.stopping_may_be_done(context);
        }
        removed
    }

    /// Asks standbys that were silent for half of `wal_sender_timeout` for a sign of life, and drops those that were silent
    /// for all of it.
    pub(super) fn check_senders(&mut self, context: &mut impl Context<Self>) {
        let timeout = self.spec.parameters.wal_sender_timeout;
        let now = context.monotonic();
        // A server that was stopped itself does not hold its own absence against its standbys (`last_processing`).
        let seen_until = now.min(self.sending.deadline);
        let flushed = self.sending.flushed;
        let mut next = HostTime::NEVER;
        let mut dropped = Vec::new();
        for sender in &mut self.sending.senders {
            let silence = seen_until.since(sender.last_heard);
            if silence >= timeout {
                dropped.push((sender.connection, sender.standby.member));
                continue;
            }
            if silence >= timeout / 2 && !sender.asked {
                sender.asked = true;
                context.send(sender.connection, Packet::Replication(Replication::KeepAlive { flushed }));
            }
            let patience = if sender.asked { timeout } else { timeout / 2 };
            next = next.min(sender.last_heard + patience);
        }
        if next != HostTime::NEVER {
            let delay = next.since(now);
            self.sending.deadline = now + delay;
            context.set_timer(Timer::WalSender, delay);
        }
        for (connection, member) in dropped {
            context
                .note(|| format!("terminates walsender of member {} due to replication timeout", member.0));
            context.close(connection);
            self.remove_sender(context, connection);
        }
    }
}
