//! Requests of API version 2 from their arrival to their answer, and the leader's `SYNC`.

use std::sync::Arc;

use sim_core::{ConnectionId, Context, HostTime, SimDuration, WallTime};

use super::{Answer, Failure, Packet, Request, Response};
use crate::etcd::pending::{Asker, Pending};
use crate::etcd::server::{Server, Timer};
use crate::etcd::{self, Command, Key, Proposal};

/// `SyncTicker`.
const SYNC_INTERVAL: SimDuration = SimDuration::from_millis(500);

/// A client that waits for the next change of a key.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    connection: ConnectionId,
    id: u64,
    key: Key,
    index: u64,
}

impl Poll {
    /// True if the client is behind this connection.
    pub(crate) fn is_from(&self, connection: ConnectionId) -> bool {
        self.connection == connection
    }
}

impl Server {
    pub(crate) fn on_v2_request(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u64,
        request: &Arc<Request>,
    ) {
        match &**request {
            Request::Get { prefix, quorum: false } => {
                let keys = self.v2.get(prefix);
                self.respond_v2(context, connection, id, Ok(Answer::Keys(keys)));
            }
            Request::Machines => {
                let members = self.spec.peers.clone();
                self.respond_v2(context, connection, id, Ok(Answer::Machines(members)));
            }
            Request::Poll { key, index } => {
                self.respond_v2(context, connection, id, Ok(Answer::Polling));
                let poll = Poll { connection, id, key: Key::clone(key), index: *index };
                if !self.answer_poll(context, &poll) {
                    self.polls.push(poll);
                }
            }
            Request::Get { .. } | Request::Delete { .. } => {
                self.propose_v2(context, connection, id, request, None);
            }
            Request::Put { ttl, .. } => {
                let end = ttl.map(|ttl| context.wall() + ttl);
                self.propose_v2(context, connection, id, request, end);
            }
        }
    }

    fn propose_v2(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u64,
        request: &Arc<Request>,
        end: Option<WallTime>,
    ) {
        let command = Command::V2 { request: Arc::clone(request), end };
        self.begin_change(context, Asker::V2Client(connection, id), command);
    }

    /// An entry of the log was applied.
    pub(crate) fn apply_v2(
        &mut self,
        context: &mut impl Context<Self>,
        proposal: &Proposal,
        request: &Request,
        end: Option<WallTime>,
    ) {
        let result = self.v2.apply(request, end);
        self.answer_polls(context);
        if proposal.origin == context.me()
            && let Some(Pending { asker: Asker::V2Client(connection, id), .. }) =
                self.pending.remove(&proposal.number)
        {
            self.respond_v2(context, connection, id, result);
        }
    }

    /// The leader's entry was applied: what had expired by its clock is gone.
    pub(crate) fn apply_sync(&mut self, context: &mut impl Context<Self>, by: WallTime) {
        self.v2.delete_expired(by);
        self.answer_polls(context);
    }

    fn answer_polls(&mut self, context: &mut impl Context<Self>) {
        for poll in std::mem::take(&mut self.polls) {
            if !self.answer_poll(context, &poll) {
                self.polls.push(poll);
            }
        }
    }

    fn answer_poll(&self, context: &mut impl Context<Self>, poll: &Poll) -> bool {
        let change = self.v2.first_change(&poll.key, poll.index);
        let answered = change.is_some();
        if let Some(change) = change {
            self.respond_v2(context, poll.connection, poll.id, Ok(change));
        }
        answered
    }

    /// Sends an answer to a client.
    pub(crate) fn respond_v2(
        &self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        id: u64,
        result: Result<Answer, Failure>,
    ) {
        let response = Arc::new(Response { index: self.v2.index(), raft_term: self.raft().term().0, result });
        context.send(connection, etcd::Packet::V2(Packet::Response { id, response }));
    }

    /// A leader whose store has keys with an end looks at them at each tick of its clock.
    pub(crate) fn arm_sync(&mut self, context: &mut impl Context<Self>) {
        if !self.v2.has_ttl_keys() || !self.is_leader() || self.next_sync != HostTime::NEVER {
            return;
        }
        let now = context.monotonic();
        let ticks = now.since(self.started_at).as_nanos() / SYNC_INTERVAL.as_nanos() + 1;
        self.next_sync = self.started_at + SYNC_INTERVAL * ticks;
        context.set_timer(Timer::Sync, self.next_sync.since(now));
    }

    /// A tick: if keys have expired, every member is to delete them.
    pub(crate) fn on_sync_timer(&mut self, context: &mut impl Context<Self>) {
        self.next_sync = HostTime::NEVER;
        let now = context.wall();
        if !self.is_leader() || !self.v2.has_expired_keys(now) {
            return;
        }
        let (origin, number) = (context.me(), self.take_number());
        let proposal = Arc::new(Proposal { origin, number, command: Command::Sync { by: now } });
        // If it is lost with the leadership, the next leader has ticks of its own.
        self.propose(context, &proposal);
    }
}
