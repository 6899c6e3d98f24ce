//! An application with a connection pool that knows one address: a proxy, a pooler or a server.
//!
//! Each slot of the pool serves its own stream of requests. A request that comes while the slot is busy waits; more than
//! one does not wait (its users have gone), so a pool that is stuck does not catch up with a burst afterwards. A request
//! that finds its slot without a connection asks for one, and fails if it cannot be had: that is what users see. After a
//! failure the slot stays away for the back-off.
//!
//! Defaults and their sources: pool of 10 and connection time-out of 30 s (`HikariCP` `maximumPoolSize`,
//! `connectionTimeout`); no statement time-out (`PostgreSQL`'s `statement_timeout` and pgjdbc's `socketTimeout` are 0);
//! TCP keep-alives with the times of the operating system (libpq `keepalives` = 1; pgjdbc's `tcpKeepAlive` is false) and
//! no `tcp_user_timeout` (libpq: 0).

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Distribution, KeepAlive, Origin, Outcome,
    Process, ProcessId, Sampler, SimDuration,
};

use super::session::{News, Session};
use super::workload::{Progress, Workload};
use crate::postgres::Packet;

/// What a client does when a statement takes too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnTimeout {
    /// Sends a cancel request and waits for the answer for so much longer (JDBC `setQueryTimeout`, and in effect also
    /// `statement_timeout` of the server, which cancels in the same way). Then drops the connection.
    Cancel {
        /// How long it waits for the answer.
        wait: SimDuration,
    },
    /// Drops the connection (a socket time-out).
    Drop,
}

/// A limit for statements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatementTimeout {
    /// Counted from sending.
    pub after: SimDuration,
    /// What follows.
    pub then: OnTimeout,
}

/// The configuration of an [`Application`].
#[derive(Clone, Debug)]
pub struct ApplicationSpec {
    /// What it asks for.
    pub workload: Workload,
    /// Where it connects to.
    pub address: ProcessId,
    /// Size of the pool.
    pub connections: usize,
    /// Between two requests of one slot.
    pub interval: Distribution,
    /// Limit for connecting and logging in.
    pub connect_timeout: Option<SimDuration>,
    /// Limit for a statement.
    pub statement_timeout: Option<StatementTimeout>,
    /// After a lost or refused connection: the slot does not connect before.
    pub back_off: Distribution,
    /// Drops a connection on which the server says that it is read-only (25006). By default pools keep it, and go on
    /// asking a former primary until somebody else ends the connection.
    pub evicts_read_only: bool,
    /// TCP.
    pub options: ConnectOptions,
}

impl ApplicationSpec {
    /// An application with default settings in which each slot asks ten times a second.
    pub fn new(workload: Workload, address: ProcessId) -> Self {
        Self {
            workload,
            address,
            connections: 10,
            interval: Distribution::Constant(SimDuration::from_millis(100)),
            connect_timeout: Some(SimDuration::from_secs(30)),
            statement_timeout: None,
            back_off: Distribution::Constant(SimDuration::from_millis(250)),
            evicts_read_only: false,
            options: ConnectOptions { user_timeout: None, keep_alive: Some(KeepAlive::LINUX) },
        }
    }
}

/// An application with a connection pool.
#[derive(Clone, Debug)]
pub struct Application {
    spec: ApplicationSpec,
    progress: Progress,
    interval: Sampler,
    back_off: Sampler,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    session: Session,
    /// A request waits for the slot.
    waiting: bool,
    /// The slot stays away from the server.
    backing_off: bool,
    /// The running statement was cancelled.
    cancelled: bool,
}

/// What an [`Application`] waits for, per slot of its pool.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ApplicationTimer {
    /// The next request comes.
    Request(usize),
    /// Connecting takes too long.
    Connect(usize),
    /// The statement, or the answer to its cancellation, takes too long.
    Statement(usize),
    /// The back-off is over.
    BackOff(usize),
}

impl Application {
    fn request(&mut self, context: &mut impl Context<Self>, index: usize) {
        if self.progress.has_ended(context) {
            return;
        }
        let next = self.interval.draw(context.random());
        context.set_timer(ApplicationTimer::Request(index), next);
        self.slots[index].waiting = true;
        self.serve(context, index);
    }

    /// Starts the request that waits, if the slot is free.
    fn serve(&mut self, context: &mut impl Context<Self>, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.waiting || slot.backing_off || slot.session.is_busy() || self.progress.has_ended(context) {
            return;
        }
        slot.waiting = false;
        slot.session.invoke(context, &mut self.progress);
        if slot.session.is_logged_in() {
            self.limit_statement(context, index);
        } else if !slot.session.is_connected() {
            slot.session.open(context, self.spec.address, self.spec.options);
            if let Some(limit) = self.spec.connect_timeout {
                context.set_timer(ApplicationTimer::Connect(index), limit);
            }
        }
    }

    fn limit_statement(&mut self, context: &mut impl Context<Self>, index: usize) {
        self.slots[index].cancelled = false;
        if let Some(limit) = self.spec.statement_timeout {
            context.set_timer(ApplicationTimer::Statement(index), limit.after);
        }
    }

    fn statement_timed_out(&mut self, context: &mut impl Context<Self>, index: usize) {
        let slot = &mut self.slots[index];
        match self.spec.statement_timeout.map(|limit| limit.then) {
            Some(OnTimeout::Cancel { wait }) if !slot.cancelled => {
                slot.cancelled = true;
                slot.session.cancel(context);
                context.set_timer(ApplicationTimer::Statement(index), wait);
            }
            _ => self.give_up(context, index),
        }
    }

    fn give_up(&mut self, context: &mut impl Context<Self>, index: usize) {
        self.slots[index].session.abandon(context);
        self.lost(context, index);
    }

    fn lost(&mut self, context: &mut impl Context<Self>, index: usize) {
        context.cancel_timer(&ApplicationTimer::Connect(index));
        context.cancel_timer(&ApplicationTimer::Statement(index));
        self.slots[index].backing_off = true;
        let delay = self.back_off.draw(context.random());
        context.set_timer(ApplicationTimer::BackOff(index), delay);
    }

    fn hear(&mut self, context: &mut impl Context<Self>, index: usize, news: News) {
        match news {
            News::Nothing => {}
            News::LoggedIn { .. } => {
                context.cancel_timer(&ApplicationTimer::Connect(index));
                if self.slots[index].session.is_busy() {
                    self.limit_statement(context, index);
                } else {
                    self.serve(context, index);
                }
            }
            News::Done(outcome) => {
                if self.spec.statement_timeout.is_some() {
                    context.cancel_timer(&ApplicationTimer::Statement(index));
                }
                if outcome == Outcome::Failed && self.spec.evicts_read_only {
                    self.give_up(context, index);
                } else {
                    self.serve(context, index);
                }
            }
            News::Lost => self.lost(context, index),
        }
    }

    fn slot_of(&self, connection: ConnectionId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.session.has(connection))
    }
}

impl Process for Application {
    type Spec = ApplicationSpec;
    type Packet = Packet;
    type Timer = ApplicationTimer;
    type Storage = ();

    fn boot(spec: &ApplicationSpec, context: &mut impl Context<Self>) -> Self {
        let interval = spec.interval.sampler();
        for index in 0..spec.connections {
            // Spread over one interval, as independent users are.
            let phase = interval.draw(context.random()).scale(index as u64, spec.connections as u64);
            context.set_timer(ApplicationTimer::Request(index), spec.workload.start_at + phase);
        }
        Self {
            progress: Progress::new(spec.workload, context),
            interval,
            back_off: spec.back_off.sampler(),
            slots: vec![Slot::default(); spec.connections],
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Origin::Connection(connection, _) = from
            && let Some(index) = self.slot_of(connection)
        {
            let news = self.slots[index].session.on_packet(context, connection, &packet);
            self.hear(context, index, news);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ApplicationTimer) {
        match timer {
            ApplicationTimer::Request(index) => self.request(context, index),
            ApplicationTimer::Connect(index) => self.give_up(context, index),
            ApplicationTimer::Statement(index) => self.statement_timed_out(context, index),
            ApplicationTimer::BackOff(index) => {
                self.slots[index].backing_off = false;
                self.serve(context, index);
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
        if let Some(index) = self.slot_of(connection) {
            let news = self.slots[index].session.on_connection(context, connection, event);
            self.hear(context, index, news);
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "client"
    }

    fn role(&self) -> &'static str {
        "client"
    }
}
