//! The walreceiver of a standby (`walreceiver.c`), and the part of the startup process that replays what it brings and
//! starts it again (`xlogrecovery.c`).
//!
//! A walreceiver is a process that the postmaster forks when the startup process asks for one (`RequestXLogStreaming`): a declared input
//! ([`Inputs::walreceiver_start`](crate::patroni::Inputs::walreceiver_start)). Its login at the upstream takes no time; measured were 10 ms
//! more until it streams on an idle machine, 50 to 60 ms on a busy one.

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, HostTime, SimDuration, SyncId};

use super::server::{Phase, Server, Timer};
use super::{DataRecord, Lsn, Packet, Replication, TimelineHistory, Upstream, UsesSlot, WalEntry, WalKind};
use crate::planted::Planted;

/// A replay that takes less is part of the same instant as the flush: a row takes some 2 µs, and an event of its own for
/// each would cost more than it tells.
const SHORT_REPLAY: SimDuration = SimDuration::from_millis(1);

/// The receiving side of this server.
#[derive(Clone, Debug, Default)]
pub(super) struct WalReceiving {
    receiver: Option<WalReceiver>,
    /// The postmaster forks a walreceiver for this upstream.
    starting: Option<Upstream>,
    /// When streaming last failed.
    last_failure: Option<HostTime>,
    /// The flush under way, and the position and the number of records that it makes durable.
    flush: Option<(SyncId, Lsn, usize)>,
    /// Up to where sessions see rows, as a position and as a number of records.
    pub(super) replayed: Lsn,
    pub(super) replayed_count: usize,
    /// The startup process is busy with a backlog until then.
    busy_until: HostTime,
    busy: bool,
}

/// A walreceiver.
#[derive(Clone, Debug)]
struct WalReceiver {
    connection: ConnectionId,
    upstream: Upstream,
    /// The upstream's history, when it has accepted.
    history: Option<Arc<TimelineHistory>>,
    last_heard: HostTime,
    asked: bool,
    last_reply: HostTime,
}

impl WalReceiving {
    pub(super) fn is(&self, connection: ConnectionId) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.connection == connection)
    }

    /// A walreceiver runs, or is about to.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiver.is_some() || self.starting.is_some()
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.history.is_some())
    }
}

impl Server {
    /// A standby fetches what it lacks: from the archive if there is one, then from its upstream.
    pub(super) fn start_receiver(&mut self, context: &mut impl Context<Self>) {
        if self.restores() && self.phase == Phase::Standby && !self.receiving.is_receiving() {
            self.restore_then_stream(context, true);
        } else {
            self.stream(context);
        }
    }

    /// Starts the walreceiver, if there is an upstream and none runs. A standby that has an archive alone asks it again and
    /// again.
    pub(super) fn stream(&mut self, context: &mut impl Context<Self>) {
        if self.phase != Phase::Standby || self.receiving.is_receiving() {
            return;
        }
        let Some(upstream) = context.storage().settings.upstream else {
            if self.restores() {
                context.set_timer(Timer::WalRetrieveRetry, self.spec.parameters.wal_retrieve_retry_interval);
            }
            return;
        };
        self.receiving.starting = Some(upstream);
        let start = self.spec.durations.walreceiver_start.draw(context.random());
        context.set_timer(Timer::WalReceiverStart, start);
    }

    /// The new walreceiver asks its upstream for what comes next.
    pub(super) fn connect_receiver(&mut self, context: &mut impl Context<Self>) {
        let Some(upstream) = self.receiving.starting.take() else { return };
        let data = context.storage();
        let start = Replication::Start {
            member: self.spec.member,
            timeline: data.history.current,
            from: data.wal.end(),
            slot: UsesSlot(upstream.slot),
        };
        // Neither `tcp_user_timeout` nor keep-alives are set in `primary_conninfo`; the status messages every 10 s make up
        // for that.
        let connection = context.connect(upstream.server, ConnectOptions::default());
        context.send(connection, Packet::Replication(start));
        let now = context.monotonic();
        self.receiving.receiver = Some(WalReceiver {
            connection,
            upstream,
            history: None,
            last_heard: now,
            asked: false,
            last_reply: now,
        });
    }

    /// Stops the walreceiver.
    pub(super) fn stop_receiver(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&Timer::WalReceiver);
        context.cancel_timer(&Timer::WalRetrieveRetry);
        context.cancel_timer(&Timer::WalReceiverStart);
        self.receiving.starting = None;
        if let Some(receiver) = self.receiving.receiver.take() {
            context.close(receiver.connection);
        }
    }

    /// How long the startup process sleeps when a promote request makes it give up a walreceiver: as after any other failure, what is left
    /// of `wal_retrieve_retry_interval` since the one before (`WaitForWALToBecomeAvailable`). The request is what it has just looked at, so nothing
    /// wakes it. A promotion that falls into an attempt to reach a dead primary takes up to 5 s longer for it.
    pub(super) fn pause_without_receiver(&self, now: HostTime) -> SimDuration {
        match self.receiving.last_failure {
            Some(last) if self.receiving.is_receiving() => {
                (last + self.spec.parameters.wal_retrieve_retry_interval).since(now)
            }
            _ => SimDuration::ZERO,
        }
    }

    /// `primary_conninfo` was loaded again: with another upstream the walreceiver starts anew, at once.
    pub(super) fn upstream_may_have_changed(&mut self, context: &mut impl Context<Self>) {
        let wanted = context.storage().settings.upstream;
        let running = self.receiving.receiver.as_ref().map(|receiver| receiver.upstream);
        let current = self.receiving.starting.or(running);
        if wanted == current {
            return;
        }
        context.note(|| match wanted {
            Some(upstream) => format!("streams from member {} from now on", upstream.member.0),
            None => "has no upstream any more".to_owned(),
        });
        self.stop_receiver(context);
        if self.restores() {
            self.restore_then_stream(context, false);
        } else {
            self.stream(context);
        }
    }

    /// Streaming ended or did not begin. The next attempt comes at once, but not within `wal_retrieve_retry_interval` of
    /// the failure before.
    pub(super) fn receiver_failed(&mut self, context: &mut impl Context<Self>) {
        self.stop_receiver(context);
        if self.phase != Phase::Standby {
            return;
        }
        let now = context.monotonic();
        let pace = self.spec.parameters.wal_retrieve_retry_interval;
        let next = self.receiving.last_failure.map_or(now, |last| (last + pace).max(now));
        self.receiving.last_failure = Some(next);
        context.set_timer(Timer::WalRetrieveRetry, next.since(now));
    }

    pub(super) fn on_upstream(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        message: Replication,
    ) {
        let now = context.monotonic();
        let Some(receiver) = &mut self.receiving.receiver else {
            return;
        };
        if receiver.connection != connection {
            return;
        }
        receiver.last_heard = now;
        receiver.asked = false;
        match message {
            Replication::History(history) => self.on_history(context, history),
            Replication::Refused => {
                context.note(|| "cannot stream: the upstream refuses".to_owned());
                self.receiver_failed(context);
            }
            Replication::Wal { entries } => self.on_wal(context, entries),
            Replication::KeepAlive { .. } => self.reply(context),
            Replication::Start { .. } | Replication::Reply { .. } => {
                unreachable!("the upstream of a standby never sends {message:?}")
            }
        }
    }

    /// The upstream accepted, or went on to a new timeline.
    fn on_history(&mut self, context: &mut impl Context<Self>, history: Arc<TimelineHistory>) {
        let data = context.storage();
        let own = data.history.current;
        let fork = history.switch_point(own);
        if fork.is_some_and(|fork| fork < data.wal.end()) {
            context.note(|| "its WAL goes on behind the fork of the new timeline: needs a rewind".to_owned());
            self.receiver_failed(context);
            return;
        }
        let Some(receiver) = &mut self.receiving.receiver else {
            return;
        };
        let is_first = receiver.history.replace(history).is_none();
        if is_first {
            context.set_timer(Timer::WalReceiver, self.spec.parameters.wal_receiver_status_interval);
            context.note(|| format!("started streaming WAL on timeline {}", own.0));
        }
        self.reply(context);
    }

    fn on_wal(&mut self, context: &mut impl Context<Self>, entries: Arc<[WalEntry]>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let data = context.storage();
        assert!(
            first.end > data.wal.end(),
            "a standby at {} was sent a record that ends at {}",
            data.wal.end(),
            first.end
        );
        if last.timeline > data.history.current {
            // The WAL went past the point where the upstream's history left this timeline. The history is cut to
            // what the WAL has reached: its upstream may itself be about to begin the next timeline.
            let history = self
                .receiving
                .receiver
                .as_ref()
                .and_then(|receiver| receiver.history.as_ref())
                .expect("a sender announces its history before the first record of a timeline")
                .until(last.end);
            context.write(DataRecord::History(Arc::new(history)));
            self.announce_history(context);
        }
        if let [entry] = *entries {
            context.write(DataRecord::AppendOne(entry));
        } else {
            context.write(DataRecord::Append(entries));
        }
        let claims = self.spec.lacks(Planted::ClaimFlush) || self.spec.lacks(Planted::AcknowledgeWritten);
        if self.spec.parameters.reports_written || claims {
            self.reply(context);
        }
        self.flush_received(context);
    }

    /// Flushes what was received, unless a flush is under way: then it joins the next.
    fn flush_received(&mut self, context: &mut impl Context<Self>) {
        let wal = &context.storage().wal;
        let (end, count) = (wal.end(), wal.entries.len());
        if self.receiving.flush.is_none() && end > self.sending.flushed {
            self.receiving.flush = Some((context.sync(), end, count));
        }
    }

    /// True if the sync was a flush of received WAL.
    pub(super) fn on_received_flushed(&mut self, context: &mut impl Context<Self>, sync: SyncId) -> bool {
        let Some((_, end, count)) = self.receiving.flush.take_if(|(awaited, ..)| *awaited == sync) else {
            return false;
        };
        if !matches!(self.phase, Phase::Standby | Phase::Stopping(_)) {
            return true;
        }
        let before = self.sending.flushed;
        self.sending.flushed = end;
        self.sending.flushed_count = count;
        self.replay(context, end.0 - before.0);
        self.reply(context);
        self.ship(context, None);
        if self.wal_calls_for_checkpoint(context, before) {
            self.request_checkpoint(context, None);
        }
        self.flush_received(context);
        true
    }

    /// Replays newly flushed records: at once, or behind a backlog that takes time.
    fn replay(&mut self, context: &mut impl Context<Self>, bytes: u64) {
        let now = context.monotonic();
        let redo = self.spec.durations.redo(bytes);
        if !self.receiving.busy && redo < SHORT_REPLAY {
            self.replay_until_flushed(context);
            return;
        }
        self.receiving.busy_until = self.receiving.busy_until.max(now) + redo;
        self.receiving.busy = true;
        context.set_timer(Timer::Replayed, self.receiving.busy_until.since(now));
    }

    pub(super) fn replayed_backlog(&mut self, context: &mut impl Context<Self>) {
        self.receiving.busy = false;
        if self.phase == Phase::Standby {
            self.replay_until_flushed(context);
            self.reply(context);
        }
    }

    fn replay_until_flushed(&mut self, context: &impl Context<Self>) {
        let wal = &context.storage().wal.entries;
        let new = &wal[self.receiving.replayed_count..self.sending.flushed_count];
        let dropped = new.iter().rposition(|entry| entry.kind == WalKind::DropTable);
        if dropped.is_some() {
            (self.dropped, self.visible) = (true, 0);
        }
        let rows = &new[dropped.map_or(0, |position| position + 1)..];
        self.visible += rows.iter().filter(|entry| entry.is_commit()).count() as u64;
        self.receiving.replayed = self.sending.flushed;
        self.receiving.replayed_count = self.sending.flushed_count;
    }

    /// How long the replay of what was received still takes.
    pub(super) fn remaining_redo(&self, context: &impl Context<Self>) -> SimDuration {
        let unflushed = context.storage().wal.end().0 - self.sending.flushed.0;
        let busy = if self.receiving.busy {
            self.receiving.busy_until.since(context.monotonic())
        } else {
            SimDuration::ZERO
        };
        busy + self.spec.durations.redo(unflushed)
    }

    fn reply(&mut self, context: &mut impl Context<Self>) {
        let Some(receiver) = &mut self.receiving.receiver else {
            return;
        };
        if receiver.history.is_none() {
            return;
        }
        receiver.last_reply = context.monotonic();
        let message = Replication::Reply {
            written: context.storage().wal.end(),
            flushed: if self.spec.lacks(Planted::ClaimFlush) {
                context.storage().wal.end()
            } else {
                self.sending.flushed
            },
            replayed: self.receiving.replayed,
        };
        context.send(receiver.connection, Packet::Replication(message));
    }

    /// Reports at least every `wal_receiver_status_interval`; asks a sender that was silent for half of
    /// `wal_receiver_timeout` for a sign of life and gives it up after all of it.
    pub(super) fn check_receiver(&mut self, context: &mut impl Context<Self>) {
        let parameters = Arc::clone(&self.spec.parameters);
        let now = context.monotonic();
        let flushed = self.sending.flushed;
        let Some(receiver) = &mut self.receiving.receiver else {
            return;
        };
        let silence = now.since(receiver.last_heard);
        if silence >= parameters.wal_receiver_timeout {
            context.note(|| "terminates walreceiver due to timeout".to_owned());
            self.receiver_failed(context);
            return;
        }
        if silence >= parameters.wal_receiver_timeout / 2 && !receiver.asked {
            receiver.asked = true;
            let ask = Replication::KeepAlive { flushed };
            context.send(receiver.connection, Packet::Replication(ask));
        }
        let patience = if receiver.asked {
            parameters.wal_receiver_timeout
        } else {
            parameters.wal_receiver_timeout / 2
        };
        let give_up = receiver.last_heard + patience;
        let mut report = receiver.last_reply + parameters.wal_receiver_status_interval;
        if report <= now {
            self.reply(context);
            report = now + parameters.wal_receiver_status_interval;
        }
        context.set_timer(Timer::WalReceiver, report.min(give_up).since(now));
    }
}
