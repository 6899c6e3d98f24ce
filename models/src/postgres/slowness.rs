//! A server whose statements take seconds, while commits, replication and signals go on as ever.
//!
//! What makes them slow is outside of the model: backends that wait for the lock of `pg_stat_statements` while it collects the garbage
//! of its texts (patroni/patroni#3646), or for memory (#1675). An operator's command makes a server so for a while: `statements take 3s
//! for 60s`. Statements that come meanwhile begin to act when that time has passed, each by itself: backends wait beside each other.
//! The query of the local Patroni has a `statement_timeout` of 2 s (`postgresql/__init__.py`) and is cancelled then.
//!
//! Simplified: what a client asks first on a connection (`pg_is_in_recovery()`) is not slow, and a statement that has to wait does not
//! notice that its client cancels it, as a backend that waits for a lock of the kind that cannot be interrupted.

use sim_core::{ConnectionId, Context, HostTime, SimDuration};

use super::server::{Server, Timer};
use super::{Packet, Statement};

/// `statement_timeout` of the sessions of Patroni: hard-coded.
const STATEMENT_TIMEOUT: SimDuration = SimDuration::from_secs(2);

/// How slow a server is, and who waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Slowness {
    /// How long statements take, and until when they do.
    now: Option<(SimDuration, HostTime)>,
    held: Vec<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    due: HostTime,
    connection: ConnectionId,
    asks: Asks,
    /// It runs into its time-out.
    cancelled: bool,
}

/// What waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// The local Patroni, for the status.
    Status,
    /// A client.
    Client {
        /// The number of its query.
        query: u64,
        /// What it wants.
        statement: Statement,
    },
}

impl Slowness {
    fn takes(&self, now: HostTime) -> Option<SimDuration> {
        self.now.filter(|(_, until)| now < *until).map(|(takes, _)| takes)
    }

    /// Sessions of clients are terminated. Patroni is answered for as long as the postmaster lives.
    pub(super) fn abandon_clients(&mut self) {
        self.held.retain(|held| held.asks == Asks::Status);
    }
}

/// The two durations of `statements take 3s for 60s`.
fn parse(command: &str) -> Option<(SimDuration, SimDuration)> {
    let (takes, lasts) = command.strip_prefix("statements take ")?.split_once(" for ")?;
    Some((takes.trim().parse().ok()?, lasts.trim().parse().ok()?))
}

impl Server {
    /// An operator's command.
    pub(super) fn become_slow(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        let Some((takes, lasts)) = parse(command) else {
            return false;
        };
        context.note(|| format!("statements take {takes} for {lasts}"));
        self.slowness.now = Some((takes, context.monotonic() + lasts));
        true
    }

    /// True if this waits now, because statements are slow.
    pub(super) fn holds(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        asks: Asks,
    ) -> bool {
        let now = context.monotonic();
        let Some(takes) = self.slowness.takes(now) else {
            return false;
        };
        let cancelled = asks == Asks::Status && takes >= STATEMENT_TIMEOUT;
        let takes = if cancelled { STATEMENT_TIMEOUT } else { takes };
        self.slowness.held.push(Held { due: now + takes, connection, asks, cancelled });
        self.await_held(context);
        true
    }

    /// Some statements have waited for long enough.
    pub(super) fn carry_out_held(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let (due, waiting): (Vec<Held>, _) =
            std::mem::take(&mut self.slowness.held).into_iter().partition(|held| held.due <= now);
        self.slowness.held = waiting;
        for Held { connection, asks, cancelled, .. } in due {
            match asks {
                Asks::Status if cancelled => context.send(connection, Packet::StatusCancelled),
                Asks::Status => self.send_status(context, connection),
                Asks::Client { query, statement } => self.answer_query(context, connection, query, statement),
            }
        }
        self.await_held(context);
    }

    fn await_held(&self, context: &mut impl Context<Self>) {
        if let Some(due) = self.slowness.held.iter().map(|held| held.due).min() {
            context.set_timer(Timer::Statement, due.since(context.monotonic()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_how_slow_and_for_how_long() {
        let seconds = SimDuration::from_secs;
        assert_eq!(parse("statements take 3s for 60s"), Some((seconds(3), seconds(60))));
        assert_eq!(parse("statements take 3s"), None);
        assert_eq!(parse("statements take long for 60s"), None);
    }

    #[test]
    fn statements_are_slow_until_the_time_is_over() {
        let at = |seconds| HostTime::ZERO + SimDuration::from_secs(seconds);
        let slowness = Slowness { now: Some((SimDuration::from_secs(3), at(10))), ..Slowness::default() };
        assert_eq!(slowness.takes(at(9)), Some(SimDuration::from_secs(3)));
        assert_eq!(slowness.takes(at(10)), None);
    }
}
