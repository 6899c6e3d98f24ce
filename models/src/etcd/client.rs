//! Clients that put etcd to the test: they do what applications build on etcd, and remember what they were told, so that
//! the conditions in [`super::invariants`] can compare it with what happened.
//!
//! | [`Work`] | what it does | what it relies on |
//! |---|---|---|
//! | `Registers` | creates rows, compares and swaps registers, reads them | linearizability |
//! | `Lock` | takes a lock key with a lease, keeps it alive, changes the lease, gives it back | mutual exclusion |
//! | `Watch` | watches all keys, and goes on after each interruption where it had stopped | no change is missed |
//!
//! Each has one connection and one request at a time, to a member chosen at random; when an answer does not come in time
//! or the connection ends, it goes to another one (as `clientv3`'s round-robin balancer does), and does not know whether
//! what it asked for was done. A lock holder counts its lease from the moment at which it *sent* the keep-alive, which
//! is the only instant that it can be sure of (`clientv3/concurrency` counts from the answer).

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::{
    Completion, ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, KeepAlive, OperationId,
    OperationKind, Origin, Outcome, Process, ProcessId, SimDuration,
};

use super::{
    Answer, Compare, Disk, Event, Failure, Key, KeyValue, LeaseId, Mutation, Packet, Request, Response,
};

/// Registers that clients contend for.
const REGISTERS: u64 = 3;
/// The time to live that a lock holder asks for: the shortest that etcd grants.
const LOCK_TTL: SimDuration = SimDuration::from_secs(2);
/// The lock.
const LOCK: &str = "lock";

/// What a client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Rows and registers.
    Registers,
    /// The lock.
    Lock,
    /// Watches everything.
    Watch,
}

/// What a client is started with.
#[derive(Clone, Debug)]
pub struct ClientSpec {
    /// The number of the client, different for each: it keeps their values apart. Below 2^16.
    pub number: u32,
    /// The members of etcd.
    pub members: Arc<[ProcessId]>,
    /// What it does.
    pub work: Work,
    /// Between the end of an operation and the next, at most: drawn uniformly from a tenth of it on.
    pub interval: SimDuration,
    /// How long it waits for an answer, at most: drawn uniformly from a quarter of it on, for each request.
    pub request_timeout: SimDuration,
    /// When it begins no more operations.
    pub stop_at: SimDuration,
}

/// What a client asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// A new row with this value.
    Row(u64),
    /// To store the value if the register still has this revision.
    Swap {
        /// Which register.
        key: Key,
        /// What it was read as; 0 if it did not exist.
        expected: u64,
        /// What to store.
        value: u64,
    },
    /// All registers.
    Read,
    /// A lease for the lock.
    Grant,
    /// The lock, with this lease; with the second, in place of another lease.
    Acquire(LeaseId, bool),
    /// The lease to live on.
    KeepAlive(LeaseId),
    /// The lock to be free.
    Release(LeaseId),
}

/// An operation that was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// What was asked.
    pub ask: Ask,
    /// True if the comparison held.
    pub succeeded: bool,
    /// The revision at which it happened.
    pub revision: u64,
    /// What was read.
    pub entries: Vec<KeyValue>,
}

/// What a watching client was sent last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Watched {
    /// How many packets so far.
    pub packets: u64,
    /// The revision up to which it had seen everything before.
    pub from: u64,
    /// The revision up to which it has now.
    pub to: u64,
    /// How many changes there were in between, as far as it was told.
    pub changes: u64,
}

/// What a client can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientTimer {
    /// The next operation.
    Next,
    /// The answer takes too long.
    Timeout,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    spec: ClientSpec,
    connection: Option<ConnectionId>,
    next_id: u64,
    /// The request under way, when it was sent, and its operation in the history.
    waiting: Option<(Ask, HostTime, Option<OperationId>)>,
    /// How many operations were begun.
    begun: u64,
    /// How many were answered, and the last of them.
    answered: u64,
    done: Option<Done>,
    /// Registers as last read or written.
    known: BTreeMap<Key, u64>,
    written: u64,
    lease: Option<LeaseId>,
    /// When the lease was last known to begin anew.
    lease_from: HostTime,
    /// True from the moment at which it was told that the lock is its.
    holds: bool,
    /// How often it wants to keep the lock alive before it gives it back.
    renewals_left: u64,
    watched: Watched,
    ends_at: HostTime,
    /// The clock when it last did something.
    looked_at: HostTime,
}

impl Client {
    /// How many operations were begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many operations were answered, and the last of them.
    pub fn answered(&self) -> (u64, Option<&Done>) {
        (self.answered, self.done.as_ref())
    }

    /// Until when it is sure to hold the lock, by its host's monotonic clock. None if it does not hold it.
    pub fn holds_until(&self) -> Option<HostTime> {
        self.holds.then(|| self.lease_from + LOCK_TTL)
    }

    /// Its host's monotonic clock when it last did something.
    pub fn looked_at(&self) -> HostTime {
        self.looked_at
    }

    /// What it was sent last as a watcher.
    pub fn watched(&self) -> Watched {
        self.watched
    }

    fn rest(&self, context: &mut impl Context<Self>) {
        let most = self.spec.interval;
        let delay = context.random().duration(most / 10, most);
        context.set_timer(ClientTimer::Next, delay);
    }

    fn next(&mut self, context: &mut impl Context<Self>) {
        if self.waiting.is_some() || context.monotonic() >= self.ends_at {
            return;
        }
        if self.spec.work == Work::Watch {
            return self.watch(context);
        }
        let ask = match self.spec.work {
            Work::Registers => self.register_ask(context),
            Work::Lock | Work::Watch => self.lock_ask(context),
        };
        let operation = match ask {
            Ask::Row(value) => Some(context.invoke(OperationKind::Write, value)),
            _ => None,
        };
        let request = self.request_for(&ask);
        self.begun += 1;
        self.waiting = Some((ask, context.monotonic(), operation));
        self.send(context, request);
        let most = self.spec.request_timeout;
        let limit = context.random().duration(most / 4, most);
        context.set_timer(ClientTimer::Timeout, limit);
    }

    fn register_ask(&mut self, context: &mut impl Context<Self>) -> Ask {
        match context.random().below(10) {
            0..4 => Ask::Row(self.new_value()),
            4..7 => {
                let key: Key = format!("register/{}", context.random().below(REGISTERS)).into();
                let expected = self.known.get(&key).copied().unwrap_or(0);
                Ask::Swap { key, expected, value: self.new_value() }
            }
            _ => Ask::Read,
        }
    }

    fn lock_ask(&mut self, context: &mut impl Context<Self>) -> Ask {
        let Some(lease) = self.lease else { return Ask::Grant };
        if !self.holds {
            return Ask::Acquire(lease, false);
        }
        if self.renewals_left == 0 {
            // From here on it must not rely on the lock.
            self.holds = false;
            return Ask::Release(lease);
        }
        self.renewals_left -= 1;
        // Now and then it takes a new lease for the lock that it holds, as a restarted holder does.
        if context.random().below(6) == 0 { Ask::Grant } else { Ask::KeepAlive(lease) }
    }

    fn new_value(&mut self) -> u64 {
        self.written += 1;
        u64::from(self.spec.number) << 32 | self.written
    }

    fn name(&self) -> Arc<str> {
        format!("client-{}", self.spec.number).into()
    }

    fn request_for(&self, ask: &Ask) -> Request {
        let put = |key: &str, value: Arc<str>, lease| Mutation::Put { key: key.into(), value, lease };
        match ask {
            Ask::Row(value) => {
                let key = format!("row/{value}");
                Request::Txn {
                    compare: vec![Compare::CreateRevision(key.as_str().into(), 0)],
                    then: vec![put(&key, value.to_string().into(), None)],
                    otherwise: Vec::new(),
                }
            }
            Ask::Swap { key, expected, value } => Request::Txn {
                compare: vec![Compare::ModRevision(Arc::clone(key), *expected)],
                then: vec![put(key, value.to_string().into(), None)],
                otherwise: Vec::new(),
            },
            Ask::Read => Request::Range { prefix: "register/".into(), linearizable: true },
            Ask::Grant => Request::Grant { ttl: LOCK_TTL },
            Ask::Acquire(lease, again) => Request::Txn {
                compare: vec![if *again {
                    Compare::Value(LOCK.into(), self.name())
                } else {
                    Compare::CreateRevision(LOCK.into(), 0)
                }],
                then: vec![put(LOCK, self.name(), Some(*lease))],
                otherwise: Vec::new(),
            },
            Ask::KeepAlive(lease) => Request::KeepAlive { lease: *lease },
            Ask::Release(lease) => Request::Revoke { lease: *lease },
        }
    }

    fn watch(&mut self, context: &mut impl Context<Self>) {
        if self.connection.is_none() {
            let from_revision = self.watched.to + 1;
            self.send(context, Request::Watch { prefix: "".into(), from_revision });
        }
    }

    fn send(&mut self, context: &mut impl Context<Self>, request: Request) {
        let connection = if let Some(connection) = self.connection {
            connection
        } else {
            let member = *context.random().pick(&self.spec.members).expect("etcd has members");
            let options = ConnectOptions {
                user_timeout: Some(SimDuration::from_secs(4)),
                keep_alive: Some(KeepAlive {
                    idle: SimDuration::from_secs(2),
                    interval: SimDuration::from_secs(1),
                    count: 2,
                }),
            };
            *self.connection.insert(context.connect(member, options))
        };
        self.next_id += 1;
        context.send(connection, Packet::Request { id: self.next_id, request: Arc::new(request) });
    }

    /// There will be no answer: whether it was done nobody knows.
    fn give_up(&mut self, context: &mut impl Context<Self>) {
        if let Some(connection) = self.connection.take() {
            context.close(connection);
        }
        context.cancel_timer(&ClientTimer::Timeout);
        if let Some((ask, _, operation)) = self.waiting.take() {
            self.on_unknown(context, &ask, operation);
        }
        self.rest(context);
    }

    fn on_unknown(&mut self, context: &mut impl Context<Self>, ask: &Ask, operation: Option<OperationId>) {
        if let Some(operation) = operation {
            context.complete(operation, Completion::without_answer(Outcome::Unknown));
        }
        // A lock that may be its own vanishes with the lease, which it does not keep alive any more.
        if matches!(ask, Ask::Acquire(..) | Ask::Release(_)) {
            self.forget_lock();
        }
    }

    fn forget_lock(&mut self) {
        self.holds = false;
        self.lease = None;
    }

    fn on_response(&mut self, context: &mut impl Context<Self>, response: &Response) {
        let Some((ask, sent, operation)) = self.waiting.take() else { return };
        context.cancel_timer(&ClientTimer::Timeout);
        match &response.result {
            Err(Failure::LeaseNotFound) if !matches!(ask, Ask::Release(_)) => self.forget_lock(),
            Err(_) => self.on_unknown(context, &ask, operation),
            Ok(answer) => {
                if let Some(operation) = operation {
                    let outcome = match answer {
                        Answer::Txn { succeeded: true } => Outcome::Ok,
                        _ => Outcome::Failed,
                    };
                    context.complete(operation, Completion::answered(outcome, response.member));
                }
                self.on_answer(context, ask, sent, response.revision, answer);
            }
        }
        self.rest(context);
    }

    fn on_answer(
        &mut self,
        context: &mut impl Context<Self>,
        ask: Ask,
        sent: HostTime,
        revision: u64,
        answer: &Answer,
    ) {
        let succeeded = !matches!(answer, Answer::Txn { succeeded: false });
        let mut entries = Vec::new();
        match (&ask, answer) {
            (Ask::Read, Answer::Range { entries: read }) => {
                self.known = read.iter().map(|entry| (Arc::clone(&entry.key), entry.mod_revision)).collect();
                entries.clone_from(read);
            }
            (Ask::Swap { key, .. }, _) if succeeded => {
                self.known.insert(Arc::clone(key), revision);
            }
            (Ask::Grant, Answer::Granted { lease, .. }) => self.on_granted(context, *lease, sent),
            (Ask::Acquire(..), _) if succeeded => {
                self.holds = true;
            }
            (Ask::KeepAlive(_), Answer::KeptAlive { ttl: Some(_) }) => self.lease_from = sent,
            (Ask::Acquire(_, true) | Ask::KeepAlive(_) | Ask::Release(_), _) => self.forget_lock(),
            _ => {}
        }
        self.answered += 1;
        self.done = Some(Done { ask, succeeded, revision, entries });
    }

    fn on_granted(&mut self, context: &mut impl Context<Self>, lease: LeaseId, sent: HostTime) {
        self.lease = Some(lease);
        if self.holds {
            // The lock is still on the old lease, whose end is not known to come later than this.
            let ask = Ask::Acquire(lease, true);
            let request = self.request_for(&ask);
            self.begun += 1;
            self.waiting = Some((ask, sent, None));
            self.send(context, request);
            context.set_timer(ClientTimer::Timeout, self.spec.request_timeout);
            return;
        }
        self.lease_from = sent;
        self.renewals_left = context.random().between(3, 20);
    }

    fn on_watched(&mut self, revision: u64, events: &[Event]) {
        self.watched = Watched {
            packets: self.watched.packets + 1,
            from: self.watched.to,
            to: revision,
            changes: events.len() as u64,
        };
    }
}

impl Process for Client {
    type Spec = ClientSpec;
    type Packet = Packet;
    type Timer = ClientTimer;
    type Storage = Disk;

    fn boot(spec: &ClientSpec, context: &mut impl Context<Self>) -> Self {
        let client = Self {
            connection: None,
            next_id: 0,
            waiting: None,
            begun: 0,
            answered: 0,
            done: None,
            known: BTreeMap::new(),
            written: 0,
            lease: None,
            lease_from: context.monotonic(),
            holds: false,
            renewals_left: 0,
            // A new store is at revision 1, and nothing changed before.
            watched: Watched { to: 1, ..Watched::default() },
            ends_at: context.monotonic() + spec.stop_at,
            looked_at: context.monotonic(),
            spec: spec.clone(),
        };
        client.rest(context);
        client
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        self.looked_at = context.monotonic();
        if self.connection != Some(connection) {
            return;
        }
        match packet {
            Packet::Response { id, response } if id == self.next_id => self.on_response(context, &response),
            Packet::Watched { revision, events, .. } => self.on_watched(revision, &events),
            _ => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ClientTimer) {
        self.looked_at = context.monotonic();
        match timer {
            ClientTimer::Next => self.next(context),
            ClientTimer::Timeout => self.give_up(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        self.looked_at = context.monotonic();
        let ended = !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened);
        if ended && self.connection == Some(connection) {
            self.connection = None;
            self.give_up(context);
        }
    }

    fn plays(&self, role: &str) -> bool {
        match role {
            "client" => true,
            "lock-holder" => self.holds,
            _ => false,
        }
    }
}
