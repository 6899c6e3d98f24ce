//! What services use Redis for, and what one request of theirs asks of it.
//!
//! | use | a request | to Redis |
//! |---|---|---|
//! | [`Purpose::Values`] | stores a value | `RPUSH` to the list of the client, or a transaction on two |
//! | [`Purpose::Broadcasts`] | tells whoever listens | `PUBLISH` |
//! | [`Purpose::Sessions`] | logs a user in | `SETEX session ttl user` |
//! | | comes from a user who was logged in | `GET session`, and `EXPIRE session ttl` if it is there |
//! | [`Purpose::Cache`] | changes an entry in the database | `DEL entry` |
//! | | reads an entry | `GET entry`; if it is not there, the database is asked, and `SETEX entry ttl value` |
//!
//! # Sessions
//!
//! As the session managers of frameworks have them: what makes a user known is in Redis alone, with a time to live that each request of
//! the user renews. A login is a write. A session that is not there any more is a lost write: the user has to log in again. One
//! that has run out is none: its user has stayed away for too long, by the service's clock since it last renewed the session. A service that
//! is killed forgets who is logged in: nobody visits those sessions any more, and one that has run out then counts as lost.
//!
//! # A cache
//!
//! Cache-aside: everything is in the database, and what was read from there is kept for a while. The database answers at once and
//! fails never, so that only what Redis does shows, and it is written to before the cache is told. An error of the cache is swallowed, as a
//! cache must not stop the service: reads go to the database, and an entry that could not be deleted stays until its time to live is
//! over ([`Cache::repeats_deletion`]: until the service gets through). So nothing is ever lost, and a read can be
//! stale: it is answered with less than what had been written to the database before it was asked for. Each client has entries of its own,
//! and asks for one thing at a time; so no two of them race, and a stale read is owed to Redis.
//!
//! A read counts as served if Redis has answered the `GET`. What the database answers instead is no service of the cache's.
//!
//! # What is simplified, and what that changes
//!
//! - A client asks for one thing at a time and rests in between, also where a service would have many users at once: while Redis does not
//!   answer it asks less often than users would, and so changes fewer entries than a service that goes on without its cache.
//! - Clients that read from replicas ask for a session there, and renew it at the primary. One that the replica has not heard of yet is an
//!   empty read, and its user logs in again. It is lost if it is nowhere at the end, and would not have run out by then.
//! - What a session or an entry holds is as long as the value of a lock in the stream. Longer ones would make replicas lag where
//!   bandwidth is short.

use sim_core::{
    Completion, Context, HostTime, OperationId, OperationKind, Outcome, Probability, Process, SimDuration,
};

use super::keys::{Key, KeyCommand};
use super::packet::{Command, Reply};
use crate::redis_cluster::Slot;
use crate::routing::{Progress, as_of_client};

/// What a service keeps in Redis.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Purpose {
    /// Values, each in one list of the client.
    #[default]
    Values,
    /// Values, each in both lists of the client.
    PairsOfValues,
    /// Nothing: it publishes.
    Broadcasts,
    /// Sessions of users.
    Sessions(Sessions),
    /// What it has read from a database.
    Cache(Cache),
}

/// Sessions of users.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sessions {
    /// How long a session lives without a request; 1 h.
    pub ttl: SimDuration,
    /// The share of requests that log in somebody new; 10 %.
    pub logins: Probability,
}

/// A cache before a database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cache {
    /// How long an entry is kept; 1 h.
    pub ttl: SimDuration,
    /// The share of requests that change an entry; 10 %.
    pub updates: Probability,
    /// How many entries each client has, 1 to [`Cache::MOST_ENTRIES`]; 100.
    pub entries: u16,
    /// An entry that could not be deleted is deleted before the client asks for anything else. No: the error is swallowed.
    pub repeats_deletion: bool,
}

impl Cache {
    /// The most entries of a client: a value names its entry in eight bits.
    pub const MOST_ENTRIES: u16 = 1 << ENTRY_BITS;
}

const ENTRY_BITS: u32 = 8;

/// What a read returns that finds nothing. No value is zero, since clients are counted from one.
const NOTHING: u64 = 0;

/// The share of requests that write, where nobody says otherwise.
const WRITES: Probability = Probability::from_ppm(100_000);

/// The time to live, where nobody says otherwise.
const TTL: SimDuration = SimDuration::from_secs(3_600);

impl Default for Sessions {
    fn default() -> Self {
        Self { ttl: TTL, logins: WRITES }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl: TTL, updates: WRITES, entries: 100, repeats_deletion: false }
    }
}

/// A step of a request: one command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A value is stored, or told.
    Send(u64),
    /// `SETEX` of a new session.
    LogIn(u64),
    /// `GET` of a session.
    Visit(u64),
    /// `EXPIRE` of a session that was there.
    Renew(u64),
    /// `DEL` of an entry that has changed in the database.
    Delete(u16),
    /// `GET` of an entry.
    Look(u16),
    /// `SETEX` of an entry that was not there.
    Fill(u16),
}

impl Step {
    /// True if a replica can be asked.
    pub(super) const fn is_read(self) -> bool {
        matches!(self, Self::Visit(_) | Self::Look(_))
    }

    /// True if a client that wants to be sure asks for `WAIT` afterwards.
    pub(super) const fn is_waited_for(self) -> bool {
        matches!(self, Self::Send(_) | Self::LogIn(_) | Self::Delete(_))
    }
}

/// What an answer means for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progressed {
    /// It is done, with this outcome and, for a read, value.
    Done(Outcome, Option<u64>),
    /// Whoever made it has this value, and there is one step more.
    DoneBut(u64, Step),
    /// Its next step.
    Next(Step),
}

/// The requests of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    purpose: Purpose,
    client: u32,
    /// Sessions that should be there, and when they run out.
    sessions: Vec<(u64, HostTime)>,
    /// The database: the newest value of each entry.
    database: Vec<u64>,
    /// Entries that could not be deleted.
    undeleted: Vec<u16>,
    /// Sessions that a replica did not have, and when they run out.
    unseen: Vec<(u64, HostTime)>,
    /// Sessions that have run out.
    run_out: Vec<u64>,
    /// When the last command left that gave a session its time.
    renewed_at: HostTime,
}

impl Requests {
    pub(super) fn of(purpose: Purpose) -> Self {
        Self { purpose, ..Self::default() }
    }

    /// Sessions that have run out by this time.
    pub(super) fn run_out(&self, now: HostTime) -> impl Iterator<Item = u64> + '_ {
        let known = self.sessions.iter().chain(&self.unseen);
        let since = known.filter(move |(_, until)| *until <= now);
        self.run_out.iter().copied().chain(since.map(|(session, _)| *session))
    }

    /// Decides on the next request and invokes its operation, if it has one that is not complete at once.
    #[inline]
    pub(super) fn begin<P: Process>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
    ) -> (Option<OperationId>, Step) {
        match self.purpose {
            Purpose::Values | Purpose::PairsOfValues | Purpose::Broadcasts => {
                let value = progress.next_value();
                (Some(context.invoke(OperationKind::Write, value)), Step::Send(value))
            }
            Purpose::Sessions(sessions) => {
                if let Some(session) = self.returning_user(context, sessions.logins) {
                    return (Some(context.invoke(OperationKind::Read, 0)), Step::Visit(session));
                }
                let session = progress.next_value();
                (Some(context.invoke(OperationKind::Write, session)), Step::LogIn(session))
            }
            Purpose::Cache(cache) => self.begin_with_cache(context, progress, cache),
        }
    }

    /// Somebody who was logged in before and may be so still; none if it is time for somebody new.
    fn returning_user<P: Process>(
        &mut self,
        context: &mut impl Context<P>,
        logins: Probability,
    ) -> Option<u64> {
        if context.random().chance(logins) {
            return None;
        }
        let now = context.monotonic();
        while !self.sessions.is_empty() {
            let index = context.random().below(self.sessions.len() as u64) as usize;
            let (session, until) = self.sessions[index];
            if until > now {
                return Some(session);
            }
            self.sessions.swap_remove(index);
            self.run_out.push(session);
        }
        None
    }

    fn begin_with_cache<P: Process>(
        &mut self,
        context: &mut impl Context<P>,
        progress: &mut Progress,
        cache: Cache,
    ) -> (Option<OperationId>, Step) {
        if self.database.is_empty() {
            self.client = progress.client();
            let first = progress.value();
            self.database = (0..cache.entries).map(|entry| self.value_of(entry, first)).collect();
        }
        if let Some(entry) = self.undeleted.pop() {
            return (None, Step::Delete(entry));
        }
        let entry = context.random().below(u64::from(cache.entries)) as u16;
        if !context.random().chance(cache.updates) {
            return (Some(context.invoke(OperationKind::Read, 0)), Step::Look(entry));
        }
        let value = self.value_of(entry, progress.next_value());
        let id = context.invoke(OperationKind::Write, value);
        context.complete(id, Completion::without_answer(Outcome::Ok));
        self.database[usize::from(entry)] = value;
        (None, Step::Delete(entry))
    }

    /// The number of an entry among all entries of all clients.
    fn number_of(&self, entry: u16) -> u32 {
        self.client << ENTRY_BITS | u32::from(entry)
    }

    /// A value as one of an entry. Those of one entry grow, and name it where others name their client.
    fn value_of(&self, entry: u16, value: u64) -> u64 {
        as_of_client(value, self.number_of(entry))
    }

    /// The command of a step, about a key in this slot if there is a cluster.
    #[inline]
    pub(super) fn command<P: Process>(
        &mut self,
        context: &impl Context<P>,
        step: Step,
        slot: Option<Slot>,
    ) -> Command {
        let key = |entry: u16| Key(u64::from(self.number_of(entry)));
        match step {
            Step::Send(value) => match slot {
                None if self.purpose == Purpose::Broadcasts => Command::Broadcast(value),
                None => Command::Write(value),
                Some(slot) if self.purpose == Purpose::PairsOfValues => Command::WritePairTo(slot, value),
                Some(slot) => Command::WriteTo(slot, value),
            },
            Step::Visit(session) => Command::Get(Key(session)),
            Step::LogIn(session) | Step::Renew(session) => {
                self.renewed_at = context.monotonic();
                let is_new = matches!(step, Step::LogIn(_));
                let ttl = self.ttl();
                let command = if is_new { KeyCommand::Set(session, ttl) } else { KeyCommand::Expire(ttl) };
                Command::Key(Key(session), command)
            }
            Step::Look(entry) => Command::Get(key(entry)),
            Step::Delete(entry) => Command::Key(key(entry), KeyCommand::Delete),
            Step::Fill(entry) => {
                let value = self.database[usize::from(entry)];
                Command::Key(key(entry), KeyCommand::Set(value, self.ttl()))
            }
        }
    }

    fn ttl(&self) -> SimDuration {
        match self.purpose {
            Purpose::Sessions(Sessions { ttl, .. }) | Purpose::Cache(Cache { ttl, .. }) => ttl,
            Purpose::Values | Purpose::PairsOfValues | Purpose::Broadcasts => SimDuration::ZERO,
        }
    }

    /// An answer to the command of a step, by the primary or by a replica.
    #[inline]
    pub(super) fn on_answer<P: Process>(
        &mut self,
        context: &impl Context<P>,
        step: Step,
        reply: &Reply,
        by_replica: bool,
    ) -> Progressed {
        match (step, reply) {
            (_, Reply::Written { .. }) if step.is_waited_for() => {
                self.on_written(step, Outcome::Ok);
                Progressed::Done(Outcome::Ok, None)
            }
            (Step::Send(_), Reply::Count(_)) if self.purpose == Purpose::Broadcasts => {
                Progressed::Done(Outcome::Ok, None)
            }
            (Step::Visit(session), Reply::Value(Some(_))) => Progressed::Next(Step::Renew(session)),
            (Step::Visit(session), Reply::Value(None)) => {
                self.forget_session(session, context.monotonic(), by_replica);
                Progressed::Done(Outcome::Ok, Some(NOTHING))
            }
            (Step::Renew(session), Reply::Written { .. } | Reply::Nil) => {
                let runs_out = self.renewed_at + self.ttl();
                let known = self.sessions.iter_mut().find(|(known, _)| *known == session);
                if let (Some((_, until)), Reply::Written { .. }) = (known, reply) {
                    *until = runs_out;
                }
                Progressed::Done(Outcome::Ok, Some(session))
            }
            (Step::Look(_), Reply::Value(Some(value))) => Progressed::Done(Outcome::Ok, Some(*value)),
            (Step::Look(entry), Reply::Value(None)) => Progressed::DoneBut(NOTHING, Step::Fill(entry)),
            (Step::Fill(_), Reply::Written { .. }) | (Step::Delete(_), Reply::Nil) => {
                Progressed::Done(Outcome::Ok, None)
            }
            _ => {
                self.give_up(step);
                Progressed::Done(Outcome::Failed, None)
            }
        }
    }

    /// A step that writes was carried out, and acknowledged by as many replicas as wanted or, with a warning, by fewer.
    pub(super) fn on_written(&mut self, step: Step, outcome: Outcome) {
        match step {
            Step::LogIn(session) => self.sessions.push((session, self.renewed_at + self.ttl())),
            Step::Delete(_) if outcome != Outcome::Ok => self.give_up(step),
            _ => {}
        }
    }

    /// A step was not carried out, or nobody knows.
    pub(super) fn give_up(&mut self, step: Step) {
        if let (Step::Delete(entry), Purpose::Cache(Cache { repeats_deletion: true, .. })) =
            (step, self.purpose)
        {
            self.undeleted.push(entry);
        }
    }

    /// A session is not there. That is a loss, unless it has run out meanwhile, or the primary has it: there it runs out later.
    fn forget_session(&mut self, session: u64, now: HostTime, by_replica: bool) {
        let Some(index) = self.sessions.iter().position(|(known, _)| *known == session) else { return };
        let (_, until) = self.sessions.swap_remove(index);
        if until <= now {
            self.run_out.push(session);
        } else if by_replica {
            self.unseen.push((session, until));
        }
    }
}
