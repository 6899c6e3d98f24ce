//! The nap of whoever follows a leader: a long poll for the next change of the leader key (`etcd.py:Etcd.watch`).
//!
//! | the poll | the loop |
//! |---|---|
//! | is answered | runs at once, and from then on in step; 10 ms later if the key was renewed, so that the leader can write the rest |
//! | lasts until the nap is over, or loses its connection after the header of the answer | runs, in the step that it had |
//! | is refused, or nothing is heard of it | polls another member, with a pause of 1 s from the second failure on, while the nap has a second left |

use std::sync::Arc;

use sim_core::{ConnectOptions, ConnectionId, Context, HostTime, ProcessId, SimDuration};

use crate::etcd::v2::{self, Answer, Request, Response};
use crate::etcd::{self, Key};
use crate::patroni::member::{Member, Timer};
use crate::patroni::packet::Packet;

/// After a renewal.
const SETTLE: SimDuration = SimDuration::from_millis(10);
/// After a failure that is not the first one in a row (`_handle_exception`).
const PAUSE: SimDuration = SimDuration::from_secs(1);
/// With less than this left of the nap, there is no other attempt.
const LEFT_TO_POLL: SimDuration = SimDuration::from_secs(1);

/// What came of something that happened to the poll.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Waits,
    /// The leader key changed.
    Changed {
        /// It is there.
        exists: bool,
    },
    /// The poll counts as one that took too long.
    Ended,
    /// The endpoint cannot serve it: another one may.
    Failed,
}

/// The poll of one member.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// With whom, kept from one nap to the next.
    connection: Option<(ConnectionId, ProcessId)>,
    stage: Stage,
    key: Option<Key>,
    index: u64,
    /// When the nap is over.
    end: HostTime,
    next_request: u64,
    /// The last request of the watch, or of the cycle since, failed (`_has_failed`).
    has_failed: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Sent.
    Asked,
    /// The header of the answer has come, with this Raft term.
    SetUp(u64),
    /// The leader key was renewed: the leader writes the rest.
    Settling,
    /// The pause before another attempt.
    Pausing,
}

impl Watch {
    /// Begins to poll this endpoint for changes of the key from this index on.
    pub(super) fn begin(
        &mut self,
        context: &mut impl Context<Member>,
        endpoint: ProcessId,
        key: &Key,
        index: u64,
        nap: SimDuration,
    ) {
        self.key = Some(Key::clone(key));
        self.index = index;
        self.end = context.monotonic() + nap;
        self.poll(context, endpoint);
    }

    fn poll(&mut self, context: &mut impl Context<Member>, endpoint: ProcessId) {
        self.stage = Stage::Idle;
        let Some(key) = self.key.clone() else { return };
        if self.end.since(context.monotonic()) < LEFT_TO_POLL {
            return;
        }
        if self.connection.is_some_and(|(_, process)| process != endpoint) {
            self.disconnect(context);
        }
        let (connection, _) = *self
            .connection
            .get_or_insert_with(|| (context.connect(endpoint, ConnectOptions::default()), endpoint));
        self.stage = Stage::Asked;
        self.next_request += 1;
        let request = Arc::new(Request::Poll { key, index: self.index });
        let packet = v2::Packet::Request { id: self.next_request, request };
        context.send(connection, Packet::Etcd(etcd::Packet::V2(packet)));
    }

    fn disconnect(&mut self, context: &mut impl Context<Member>) {
        if let Some((connection, _)) = self.connection.take() {
            context.close(connection);
        }
    }

    /// True if this is the connection of polls.
    pub(super) fn owns(&self, connection: ConnectionId) -> bool {
        self.connection.is_some_and(|(own, _)| own == connection)
    }

    /// True while a poll, or a pause of it, is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    /// A request was answered.
    pub(super) const fn succeeded(&mut self) {
        self.has_failed = false;
    }

    /// The next cycle begins: ends a poll. True if there was one.
    pub(super) fn time_out(&mut self, context: &mut impl Context<Member>) -> bool {
        let was_polling = matches!(self.stage, Stage::Asked | Stage::SetUp(_));
        if was_polling {
            self.disconnect(context);
        }
        context.cancel_timer(&Timer::Watch);
        self.stage = Stage::Idle;
        was_polling
    }

    /// An answer on the connection of polls; `accepts` judges the Raft term of its header.
    pub(super) fn on_response(
        &mut self,
        context: &mut impl Context<Member>,
        id: u64,
        response: &Response,
        accepts: impl FnOnce(u64) -> bool,
    ) -> Outcome {
        match (&response.result, self.stage) {
            _ if id != self.next_request => Outcome::Waits,
            (Ok(Answer::Polling), Stage::Asked) => {
                self.stage = Stage::SetUp(response.raft_term);
                Outcome::Waits
            }
            (Ok(Answer::Polled { .. }), Stage::SetUp(term)) if !accepts(term) => {
                self.disconnect(context);
                Outcome::Failed
            }
            (Ok(Answer::Polled { exists: true, swapped: true }), Stage::SetUp(_)) => {
                self.has_failed = false;
                self.stage = Stage::Settling;
                context.set_timer(Timer::Watch, SETTLE);
                Outcome::Waits
            }
            (Ok(Answer::Polled { exists, .. }), Stage::SetUp(_)) => {
                self.has_failed = false;
                self.stage = Stage::Idle;
                Outcome::Changed { exists: *exists }
            }
            _ => Outcome::Waits,
        }
    }

    /// The connection is gone.
    pub(super) fn on_lost(&mut self) -> Outcome {
        self.connection = None;
        match self.stage {
            Stage::Asked => Outcome::Failed,
            Stage::SetUp(_) => {
                self.has_failed = false;
                self.stage = Stage::Idle;
                Outcome::Ended
            }
            Stage::Idle | Stage::Settling | Stage::Pausing => Outcome::Waits,
        }
    }

    /// The poll failed: tries this endpoint, at once or after a pause.
    pub(super) fn try_again(&mut self, context: &mut impl Context<Member>, endpoint: ProcessId) {
        if std::mem::replace(&mut self.has_failed, true) {
            self.stage = Stage::Pausing;
            context.set_timer(Timer::Watch, PAUSE);
        } else {
            self.poll(context, endpoint);
        }
    }

    /// A pause is over.
    pub(super) fn on_timer(&mut self, context: &mut impl Context<Member>, endpoint: ProcessId) -> Outcome {
        match self.stage {
            Stage::Settling => {
                self.stage = Stage::Idle;
                Outcome::Changed { exists: true }
            }
            Stage::Pausing => {
                self.poll(context, endpoint);
                Outcome::Waits
            }
            Stage::Idle | Stage::Asked | Stage::SetUp(_) => Outcome::Waits,
        }
    }
}
