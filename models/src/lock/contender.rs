//! A contender: an instance of a service of which one at a time may do a certain task.
//!
//! ```text
//! follower --poll--> SET key id NX PX ttl  on each server, majority within the time --> [WAIT] [INCR] --> reads the document
//!    ^                                                                                                     |
//!    |  "not yours", deadline, fenced                        renews every `renewal`, looks at the lock, <--+
//!    +------------------------------------------------------ works, writes the document back, looks again, ...
//! ```
//!
//! There is one server, or one group with Sentinels, or one shard of a cluster, or there are several independent servers: then it
//! is Redlock, and a lock needs more than half of them, in less than the time to live less the drift.
//!
//! Every contender always has an effect that it wants to write, and an operation of the history that says so: that of a follower
//! waits until it leads. So time without a leader is time in which clients are not served, and is measured as that.
//!
//! Marks: `Suspected` when a server first grants the lock in a round, `Elected` when the contender holds it, `Writable` when it
//! begins to act, with its token, `ReadOnly` when it stops. Two that are writable at a time are two leaders.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, HostTime, MarkKind, OperationId, Origin, Process, ProcessId,
    SimDuration,
};

use super::Packet;
use super::lease::{Answer, Lease, Purpose, Round, valid_until};
use super::parameters::{Fencing, LockParameters};
use super::store::{HolderId, StorePacket, Token};
use crate::planted::Planted;
use crate::redis::{Command, Key, KeyCommand, Link, LinkNews, ServerSource};
use crate::routing::{Progress, Workload};

/// The key of the lock.
pub const LOCK: Key = Key(0);
/// The key of the counter for tokens.
const COUNTER: Key = Key(1);

/// The configuration of a [`Contender`].
#[derive(Clone, Debug)]
pub struct ContenderSpec {
    /// The numbers of its effects, when it begins and when it starts no more.
    pub workload: Workload,
    /// The lock.
    pub parameters: LockParameters,
    /// Where the lock is: one place, or several independent servers.
    pub servers: Arc<[ServerSource]>,
    /// What it protects.
    pub store: ProcessId,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// A contender.
#[derive(Clone, Debug)]
pub struct Contender {
    pub(super) spec: ContenderSpec,
    pub(super) progress: Progress,
    links: Vec<Link>,
    /// Requests that are under way.
    round: Option<Round>,
    /// What it holds.
    pub(super) lease: Option<Lease>,
    /// It acts.
    pub(super) acts: bool,
    pub(super) store: Option<ConnectionId>,
    pub(super) store_request: u32,
    pub(super) operation: Option<Running>,
}

/// The effect that it wants to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) id: OperationId,
    pub(super) value: u64,
    pub(super) sent: bool,
}

/// What a [`Contender`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ContenderTimer {
    /// The next attempt of a follower is due.
    Poll,
    /// A round takes too long.
    Round,
    /// The next renewal is due.
    Renew,
    /// The lock may not be relied on any more.
    Deadline,
    /// The next effect is due.
    Look,
    /// The work is done: the effect is written.
    Write,
    /// The store takes too long.
    Store,
    /// The store is asked again.
    Open,
}

impl Contender {
    /// True while it holds the lock, as far as it knows.
    pub fn holds(&self) -> bool {
        self.lease.is_some()
    }

    /// True while it acts as leader.
    pub fn acts(&self) -> bool {
        self.acts
    }

    fn poll(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) {
            return;
        }
        let holder = HolderId(context.random().bits());
        let now = context.monotonic();
        self.start(context, Purpose::Acquire(holder), now);
    }

    /// Asks all servers.
    fn start(&mut self, context: &mut impl Context<Self>, purpose: Purpose, began_at: HostTime) {
        let ttl = self.spec.parameters.ttl;
        let command = match (purpose, &self.lease) {
            (Purpose::Acquire(holder), _) => Command::Key(LOCK, KeyCommand::SetIfAbsent(holder.0, ttl)),
            (Purpose::Number(_), _) => Command::Key(COUNTER, KeyCommand::Increment),
            (Purpose::Replicate(_), _) => {
                let offset = self.round.as_ref().map_or(0, |round| round.number);
                let Some(wait) = self.spec.parameters.wait_for else { return };
                Command::Wait { offset, replicas: wait.replicas, timeout: wait.timeout }
            }
            (Purpose::Renew, Some(lease)) => {
                let value = lease.holder.0;
                Command::Key(
                    LOCK,
                    match self.spec.planted {
                        Planted::RenewWithSet => KeyCommand::SetIfPresent(value, ttl),
                        _ => KeyCommand::ExtendIfEquals(value, ttl),
                    },
                )
            }
            (Purpose::Renew, None) => return,
        };
        self.round = Some(Round::new(purpose, context.monotonic(), began_at, self.links.len()));
        context.set_timer(ContenderTimer::Round, self.spec.parameters.timeout);
        for link in &mut self.links {
            link.request(context, command);
        }
    }

    fn hear(&mut self, context: &mut impl Context<Self>, server: usize, news: LinkNews) {
        let Some(round) = &mut self.round else { return };
        match news {
            LinkNews::Nothing => return,
            LinkNews::Failed => round.take(server, Answer::Failed),
            LinkNews::Answer(reply) => {
                let is_acquisition = matches!(round.purpose, Purpose::Acquire(_));
                match round.hear(server, &reply) {
                    Answer::Granted if is_acquisition && round.count(Answer::Granted) == 1 => {
                        context.mark(MarkKind::Suspected, 0);
                    }
                    // Not a primary, or one that takes no writes: next time it is looked for anew.
                    Answer::Failed => self.links[server].reset(context),
                    Answer::Granted | Answer::Refused => {}
                }
            }
        }
        if self.round.as_ref().is_some_and(Round::is_complete) {
            self.conclude(context);
        }
    }

    fn on_round_timeout(&mut self, context: &mut impl Context<Self>) {
        let Some(round) = &self.round else { return };
        let silent: Vec<usize> = round.silent().collect();
        for server in silent {
            self.links[server].reset(context);
        }
        self.conclude(context);
    }

    /// The round is over.
    fn conclude(&mut self, context: &mut impl Context<Self>) {
        let Some(round) = self.round.take() else { return };
        context.cancel_timer(&ContenderTimer::Round);
        let servers = self.links.len();
        let has_majority = round.count(Answer::Granted) > servers / 2;
        match round.purpose {
            Purpose::Acquire(holder) if has_majority => {
                if self.spec.parameters.wait_for.is_some() && servers == 1 {
                    self.round = Some(round.clone());
                    return self.start(context, Purpose::Replicate(holder), round.began_at);
                }
                self.ask_number(context, holder, round.began_at);
            }
            Purpose::Replicate(holder) if has_majority => {
                let wanted = self.spec.parameters.wait_for.map_or(0, |wait| u64::from(wait.replicas));
                if round.number < wanted {
                    return self.fail(context, holder);
                }
                self.ask_number(context, holder, round.began_at);
            }
            Purpose::Number(holder) if has_majority => {
                self.acquired(context, holder, round.began_at, Token::new(round.number));
            }
            Purpose::Acquire(_) if round.count(Answer::Refused) == servers => self.follow(context),
            Purpose::Acquire(holder) | Purpose::Replicate(holder) | Purpose::Number(holder) => {
                self.fail(context, holder);
            }
            Purpose::Renew => self.renewed(context, &round, has_majority),
        }
    }

    /// It has the key. Its token comes from the same Redis, from the store, or from nowhere.
    fn ask_number(&mut self, context: &mut impl Context<Self>, holder: HolderId, began_at: HostTime) {
        if self.spec.parameters.fencing == Fencing::Redis && self.links.len() == 1 {
            self.start(context, Purpose::Number(holder), began_at);
        } else {
            self.acquired(context, holder, began_at, None);
        }
    }

    fn acquired(
        &mut self,
        context: &mut impl Context<Self>,
        holder: HolderId,
        began_at: HostTime,
        token: Option<Token>,
    ) {
        let unchecked = self.spec.planted == Planted::SkipElapsedCheck;
        let counts_from = if unchecked { context.monotonic() } else { began_at };
        let deadline = valid_until(&self.spec.parameters, counts_from, self.links.len());
        if context.monotonic() >= deadline {
            context.note(|| "got the lock, too late".to_owned());
            return self.fail(context, holder);
        }
        context.note(|| format!("holds the lock as {:016x}", holder.0));
        context.mark(MarkKind::Elected, token.map_or(0, Token::number));
        self.lease = Some(Lease { holder, deadline, token, version: None });
        Self::guard(context, deadline);
        context.set_timer(ContenderTimer::Renew, self.spec.parameters.renewal);
        self.open_store(context);
    }

    fn guard(context: &mut impl Context<Self>, deadline: HostTime) {
        if deadline != HostTime::NEVER {
            let rest = deadline.since(context.monotonic());
            context.set_timer(ContenderTimer::Deadline, rest);
        }
    }

    /// Its attempt may have left something behind: it takes that back, and waits for the next turn.
    fn fail(&mut self, context: &mut impl Context<Self>, holder: HolderId) {
        self.release(context, holder);
        self.follow(context);
    }

    fn release(&mut self, context: &mut impl Context<Self>, holder: HolderId) {
        let command = match self.spec.planted {
            Planted::ReleaseWithoutCompare => KeyCommand::Delete,
            _ => KeyCommand::DeleteIfEquals(holder.0),
        };
        for link in &mut self.links {
            link.request(context, Command::Key(LOCK, command));
        }
    }

    fn follow(&self, context: &mut impl Context<Self>) {
        let poll = self.spec.parameters.poll;
        let spread = poll.scale(u64::from(self.spec.parameters.poll_jitter.ppm()), 1_000_000);
        let wait = context.random().duration(poll.saturating_sub(spread), poll + spread);
        context.set_timer(ContenderTimer::Poll, wait);
    }

    fn renew(&mut self, context: &mut impl Context<Self>) {
        if let Some(lease) = &self.lease {
            if context.monotonic() >= lease.deadline {
                return self.step_down(context, "its time is over");
            }
            let now = context.monotonic();
            self.start(context, Purpose::Renew, now);
        }
    }

    fn renewed(&mut self, context: &mut impl Context<Self>, round: &Round, has_majority: bool) {
        let from_answer = self.spec.planted == Planted::CountFromAnswer;
        let counts_from = if from_answer { context.monotonic() } else { round.sent_at };
        let parameters = self.spec.parameters;
        let servers = self.links.len();
        let Some(lease) = &mut self.lease else { return };
        if has_majority {
            let deadline = valid_until(&parameters, counts_from, servers);
            lease.deadline = deadline;
            if context.monotonic() >= deadline {
                return self.step_down(context, "its renewal took too long");
            }
            Self::guard(context, deadline);
            let passed = context.monotonic().since(round.sent_at);
            context.set_timer(ContenderTimer::Renew, parameters.renewal.saturating_sub(passed));
        } else if round.count(Answer::Refused) * 2 >= servers {
            self.step_down(context, "the lock is not its own any more");
        } else if parameters.renews_after_error {
            context.set_timer(ContenderTimer::Renew, parameters.retry);
        } else {
            context.note(|| "a renewal failed, and there will be no other".to_owned());
        }
    }

    /// It is no leader any more.
    pub(super) fn step_down(&mut self, context: &mut impl Context<Self>, why: &str) {
        let Some(lease) = self.lease.take() else { return };
        context.note(|| format!("steps down: {why}"));
        if self.acts {
            self.acts = false;
            context.mark(MarkKind::ReadOnly, 0);
        }
        for timer in [
            ContenderTimer::Renew,
            ContenderTimer::Deadline,
            ContenderTimer::Look,
            ContenderTimer::Write,
            ContenderTimer::Open,
            ContenderTimer::Round,
        ] {
            context.cancel_timer(&timer);
        }
        self.round = None;
        // What is on its way to the store is not called back, and its answer is heard.
        if !self.is_writing() {
            self.close_store(context);
        }
        self.fail(context, lease.holder);
    }
}

impl Process for Contender {
    type Spec = ContenderSpec;
    type Packet = Packet;
    type Timer = ContenderTimer;
    type Storage = ();

    fn boot(spec: &ContenderSpec, context: &mut impl Context<Self>) -> Self {
        let mut contender = Self {
            progress: Progress::new(spec.workload, context),
            links: spec.servers.iter().cloned().map(Link::new).collect(),
            round: None,
            lease: None,
            acts: false,
            store: None,
            store_request: 0,
            operation: None,
            spec: spec.clone(),
        };
        // Instances were not started in the same instant.
        let phase = context.random().duration(SimDuration::ZERO, spec.parameters.poll);
        context.set_timer(ContenderTimer::Poll, spec.workload.start_at + phase);
        contender.invoke(context);
        contender
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Redis(packet) => {
                for server in 0..self.links.len() {
                    let news = self.links[server].on_packet(context, connection, packet.clone());
                    if news != LinkNews::Nothing {
                        return self.hear(context, server, news);
                    }
                }
            }
            Packet::Store(StorePacket::Reply(id, reply))
                if self.store == Some(connection) && id == self.store_request =>
            {
                self.on_store(context, reply);
            }
            Packet::Store(_) => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ContenderTimer) {
        match timer {
            ContenderTimer::Poll => self.poll(context),
            ContenderTimer::Round => self.on_round_timeout(context),
            ContenderTimer::Renew => self.renew(context),
            ContenderTimer::Deadline => self.step_down(context, "its time is over"),
            ContenderTimer::Look => self.look(context),
            ContenderTimer::Write => self.write(context),
            ContenderTimer::Store => self.lose_store(context),
            ContenderTimer::Open => self.open_store(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if self.store == Some(connection) {
            if !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened) {
                self.lose_store(context);
            }
            return;
        }
        for server in 0..self.links.len() {
            let news = self.links[server].on_connection(context, connection, event);
            if news != LinkNews::Nothing {
                return self.hear(context, server, news);
            }
        }
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "contender" => true,
            "leader" => self.lease.is_some(),
            "follower" => self.lease.is_none(),
            // Some server has granted it the lock, and others have not answered yet.
            "candidate" => self.round.as_ref().is_some_and(|round| {
                matches!(round.purpose, Purpose::Acquire(_)) && round.count(Answer::Granted) > 0
            }),
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        if self.lease.is_some() { "leader" } else { "follower" }
    }
}
