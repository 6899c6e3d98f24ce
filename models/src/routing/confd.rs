//! `confd`: reads from etcd who leads, writes that server's address into `PgBouncer`'s configuration, and has it read again.
//!
//! This is how `PgBouncer` finds the primary without a proxy, with the template that Patroni ships. Nobody asks the server or
//! Patroni whether it is writable: the leader key alone decides, which a member takes before it promotes.
//!
//! # Modelled
//!
//! - One reading of the keys, `interval` after the end of the last one: 10 s in Patroni's image (`confd` alone: 600 s).
//!   A reading without an answer for 3 s has failed, and the file stays as it is until the next one.
//! - Without a leader key, or without the leader's member key, the template has nothing to write: the file stays as it is, and
//!   `PgBouncer` goes on to where the leader was.
//! - Only a changed file is followed by a reload.
//!
//! # Simplified
//!
//! - Each reading tells `PgBouncer` what the file says, and that process keeps it. One that was down when the file changed goes to the
//!   old address until the next reading, where a real one would start with the new one.
//! - One connection to a member of etcd at random, and the next one when it breaks. The client library keeps one to each, and
//!   asks them in turn: there, a silent member costs one reading of three until its connection is given up.
//! - `confd` has run for long when the run begins: its first reading comes at any time within the interval. So it is after a
//!   restart, where it would read at once.
//! - With `-watch`, which Patroni's image does not use, a change would be seen at once.
//!
//! Sources: Patroni, `extras/confd/conf.d/pgbouncer.toml`, `extras/confd/templates/pgbouncer.tmpl`, `docker/entrypoint.sh`;
//! confd, `resource/template/processor.go` (`intervalProcessor`), `backends/etcdv3/client.go` (`GetValues`, `NewEtcdClient`).

use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, KeepAlive, MarkKind, Origin, Process, ProcessId,
    SimDuration,
};

use crate::etcd::{self, Answer, Failure, Key, KeyValue, Request};
use crate::patroni::Packet;
use crate::postgres;

/// How long a reading waits for its answer (`GetValues`: a context of 3 s).
const READ_TIMEOUT: SimDuration = SimDuration::from_secs(3);
/// Between two attempts to reach a member within a reading (clientv3, `BackoffWaitBetween`).
const REDIAL: SimDuration = SimDuration::from_millis(25);

/// What a [`Confd`] is started with.
#[derive(Clone, Debug)]
pub struct ConfdSpec {
    /// The members of etcd (`-node`).
    pub etcd: Arc<[ProcessId]>,
    /// `-prefix`, with the slash at its end.
    pub prefix: Key,
    /// The servers, by the names of their members: what `conn_url` says.
    pub servers: Vec<(String, ProcessId)>,
    /// Whose configuration it writes: on the same host.
    pub pooler: ProcessId,
    /// `-interval`.
    pub interval: SimDuration,
}

impl ConfdSpec {
    /// `-interval` in Patroni's image: 10 s.
    pub const INTERVAL: SimDuration = SimDuration::from_secs(10);
}

/// What a [`Confd`] can be woken for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ConfdTimer {
    /// The next reading.
    Read,
    /// The connection broke: another member is asked.
    Redial,
    /// The reading has waited for long enough.
    Timeout,
}

/// A running `confd`.
#[derive(Clone, Debug)]
pub struct Confd {
    spec: ConfdSpec,
    connection: Option<ConnectionId>,
    /// The number of the last reading.
    reading: u64,
    /// It waits for an answer.
    waits: bool,
    /// What the configuration says, as a position among the servers, as far as it has written it itself.
    written: Option<usize>,
}

impl Confd {
    fn read(&mut self, context: &mut impl Context<Self>) {
        self.reading += 1;
        self.waits = true;
        context.set_timer(ConfdTimer::Timeout, READ_TIMEOUT);
        self.ask(context);
    }

    fn ask(&mut self, context: &mut impl Context<Self>) {
        let connection = if let Some(connection) = self.connection {
            connection
        } else {
            let Some(member) = context.random().pick(&self.spec.etcd).copied() else { return };
            // `DialKeepAliveTime` and `DialKeepAliveTimeout`, which gRPC also makes the connection's user time-out.
            let timeout = SimDuration::from_secs(3);
            let keep_alive = KeepAlive { idle: SimDuration::from_secs(10), interval: timeout, count: 1 };
            let options = ConnectOptions { user_timeout: Some(timeout), keep_alive: Some(keep_alive) };
            *self.connection.insert(context.connect(member, options))
        };
        let request = Request::Range { prefix: Arc::clone(&self.spec.prefix), linearizable: true };
        let packet = etcd::Packet::Request { id: self.reading, request: Arc::new(request) };
        context.send(connection, Packet::Etcd(packet));
    }

    /// The reading is over, with or without an answer.
    fn rest(&mut self, context: &mut impl Context<Self>) {
        self.waits = false;
        context.cancel_timer(&ConfdTimer::Timeout);
        context.set_timer(ConfdTimer::Read, self.spec.interval);
    }

    fn on_response(&mut self, context: &mut impl Context<Self>, id: u64, response: &etcd::Response) {
        if !self.waits || id != self.reading {
            return;
        }
        match &response.result {
            // The client library asks again on its own, until the reading's time is over.
            Err(Failure::Unavailable) => return context.set_timer(ConfdTimer::Redial, REDIAL),
            Ok(Answer::Range { entries }) => self.write(context, entries),
            _ => {}
        }
        self.rest(context);
    }

    /// Fills in the template, if it can be.
    fn write(&mut self, context: &mut impl Context<Self>, entries: &[KeyValue]) {
        let value = |name: &str| {
            let named = |entry: &&KeyValue| entry.key.strip_prefix(&*self.spec.prefix) == Some(name);
            entries.iter().find(named).map(|entry| &*entry.value)
        };
        let Some(leader) = value("leader").filter(|leader| value(&format!("members/{leader}")).is_some())
        else {
            context.note(|| "no leader to write".to_owned());
            return;
        };
        let position = self.spec.servers.iter().position(|(name, _)| name == leader);
        if let Some(position) = position {
            if self.written.replace(position) != Some(position) {
                context.mark(MarkKind::Rerouted, position as u64);
            }
            let host = self.spec.servers[position].1;
            let reload = postgres::Packet::ReloadPooler { host };
            context.send_datagram(self.spec.pooler, Packet::Postgres(reload));
        }
    }
}

impl Process for Confd {
    type Spec = ConfdSpec;
    type Packet = Packet;
    type Timer = ConfdTimer;
    type Storage = ();

    fn boot(spec: &ConfdSpec, context: &mut impl Context<Self>) -> Self {
        let first = context.random().duration(SimDuration::ZERO, spec.interval);
        context.set_timer(ConfdTimer::Read, first);
        Self { spec: spec.clone(), connection: None, reading: 0, waits: false, written: None }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let (Origin::Connection(connection, _), Packet::Etcd(etcd::Packet::Response { id, response })) =
            (from, packet)
            && self.connection == Some(connection)
        {
            self.on_response(context, id, &response);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ConfdTimer) {
        match timer {
            ConfdTimer::Read => self.read(context),
            ConfdTimer::Redial if self.waits => self.ask(context),
            ConfdTimer::Redial => {}
            ConfdTimer::Timeout => {
                if let Some(connection) = self.connection.take() {
                    context.close(connection);
                }
                context.note(|| "etcd did not answer: the configuration stays as it is".to_owned());
                self.rest(context);
            }
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        let ended = !matches!(event, ConnectionEvent::Opened | ConnectionEvent::Accepted);
        if ended && self.connection == Some(connection) {
            self.connection = None;
            context.set_timer(ConfdTimer::Redial, REDIAL);
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "confd"
    }

    fn role(&self) -> &'static str {
        "confd"
    }
}
