//! "Client A" of the calibration: a client that knows all nodes and looks for the writable one itself.
//!
//! It connects to all nodes in parallel (2 s for connecting and logging in; a node that fails or is in recovery is tried
//! again after 100 ms, each node for itself), takes the first that is not in recovery, as libpq does with
//! `target_session_attrs=read-write`, and drops the others. Then it writes in a closed loop: one unique value each
//! 50 ms, the next not before the last is answered, 3 s for each statement. After any error it starts from scratch.
//!
//! While it looks for a node it invokes nothing. Its unavailability is the time from the last acknowledgement before the
//! fault to the first one after it.
//!
//! Source: the description of the measurements that the models are calibrated with, "Client A".

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, Origin, Outcome, Process, ProcessId,
    SimDuration,
};

use super::session::{News, Session};
use super::workload::{Progress, Workload};
use crate::postgres::Packet;

/// The configuration of a [`MultiHostClient`].
#[derive(Clone, Debug)]
pub struct MultiHostClientSpec {
    /// What it asks for.
    pub workload: Workload,
    /// The servers.
    pub hosts: Vec<ProcessId>,
    /// Limit for connecting and logging in to one server; 2 s.
    pub connect_timeout: SimDuration,
    /// From a failed attempt to the next at the same server; 100 ms.
    pub retry_interval: SimDuration,
    /// From one operation to the next, or longer if the answer takes longer; 50 ms.
    pub interval: SimDuration,
    /// Limit for a statement; 3 s.
    pub statement_timeout: SimDuration,
    /// TCP.
    pub options: ConnectOptions,
}

impl MultiHostClientSpec {
    /// The client of the calibration.
    pub fn new(workload: Workload, hosts: Vec<ProcessId>) -> Self {
        Self {
            workload,
            hosts,
            connect_timeout: SimDuration::from_secs(2),
            retry_interval: SimDuration::from_millis(100),
            interval: SimDuration::from_millis(50),
            statement_timeout: SimDuration::from_secs(3),
            options: ConnectOptions::default(),
        }
    }
}

/// A client that finds the writable server by itself.
#[derive(Clone, Debug)]
pub struct MultiHostClient {
    spec: MultiHostClientSpec,
    progress: Progress,
    sessions: Vec<Session>,
    /// The server in use.
    chosen: Option<usize>,
    /// When the last operation was sent.
    last_sent: Option<HostTime>,
}

/// What a [`MultiHostClient`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MultiHostClientTimer {
    /// The workload begins.
    Start,
    /// Connecting to this host takes too long.
    Connect(usize),
    /// This host is tried again.
    Retry(usize),
    /// The next operation is due.
    Operation,
    /// The statement takes too long.
    Statement,
}

impl MultiHostClient {
    /// The host in use, by its position in the list.
    pub fn chosen(&self) -> Option<usize> {
        self.chosen
    }

    fn search(&mut self, context: &mut impl Context<Self>) {
        self.chosen = None;
        for host in 0..self.sessions.len() {
            self.sessions[host].abandon(context);
            self.try_host(context, host);
        }
    }

    fn try_host(&mut self, context: &mut impl Context<Self>, host: usize) {
        if self.progress.has_ended(context) {
            return;
        }
        self.sessions[host].open(context, self.spec.hosts[host], self.spec.options);
        context.set_timer(MultiHostClientTimer::Connect(host), self.spec.connect_timeout);
        context.cancel_timer(&MultiHostClientTimer::Retry(host));
    }

    fn host_failed(&mut self, context: &mut impl Context<Self>, host: usize) {
        self.sessions[host].abandon(context);
        context.cancel_timer(&MultiHostClientTimer::Connect(host));
        context.set_timer(MultiHostClientTimer::Retry(host), self.spec.retry_interval);
    }

    fn choose(&mut self, context: &mut impl Context<Self>, chosen: usize) {
        self.chosen = Some(chosen);
        for host in 0..self.sessions.len() {
            context.cancel_timer(&MultiHostClientTimer::Connect(host));
            context.cancel_timer(&MultiHostClientTimer::Retry(host));
            if host != chosen {
                self.sessions[host].abandon(context);
            }
        }
        self.pace(context);
    }

    /// Waits for the rest of the interval since the last operation.
    fn pace(&mut self, context: &mut impl Context<Self>) {
        let rest = match self.last_sent {
            Some(last) => self.spec.interval.saturating_sub(context.monotonic().since(last)),
            None => SimDuration::ZERO,
        };
        if rest == SimDuration::ZERO {
            self.operate(context);
        } else {
            context.set_timer(MultiHostClientTimer::Operation, rest);
        }
    }

    fn operate(&mut self, context: &mut impl Context<Self>) {
        let Some(chosen) = self.chosen else {
            return;
        };
        if self.progress.has_ended(context) {
            return;
        }
        self.last_sent = Some(context.monotonic());
        self.sessions[chosen].invoke(context, &mut self.progress);
        context.set_timer(MultiHostClientTimer::Statement, self.spec.statement_timeout);
    }

    fn hear(&mut self, context: &mut impl Context<Self>, host: usize, news: News) {
        match news {
            News::Nothing => {}
            News::LoggedIn { in_recovery: false } => self.choose(context, host),
            News::Done(Outcome::Ok | Outcome::OkWithWarning) => {
                context.cancel_timer(&MultiHostClientTimer::Statement);
                self.pace(context);
            }
            News::Done(_) | News::Lost if self.chosen == Some(host) => self.start_over(context),
            News::LoggedIn { in_recovery: true } | News::Done(_) | News::Lost => {
                self.host_failed(context, host);
            }
        }
    }

    fn start_over(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&MultiHostClientTimer::Operation);
        context.cancel_timer(&MultiHostClientTimer::Statement);
        self.search(context);
    }

    fn host_of(&self, connection: ConnectionId) -> Option<usize> {
        self.sessions.iter().position(|session| session.has(connection))
    }
}

impl Process for MultiHostClient {
    type Spec = MultiHostClientSpec;
    type Packet = Packet;
    type Timer = MultiHostClientTimer;
    type Storage = ();

    fn boot(spec: &MultiHostClientSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(MultiHostClientTimer::Start, spec.workload.start_at);
        Self {
            progress: Progress::new(spec.workload, context),
            sessions: vec![Session::default(); spec.hosts.len()],
            chosen: None,
            last_sent: None,
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Origin::Connection(connection, _) = from
            && let Some(host) = self.host_of(connection)
        {
            let news = self.sessions[host].on_packet(context, connection, &packet);
            self.hear(context, host, news);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: MultiHostClientTimer) {
        match timer {
            MultiHostClientTimer::Start => self.search(context),
            MultiHostClientTimer::Connect(host) => self.host_failed(context, host),
            MultiHostClientTimer::Retry(host) => self.try_host(context, host),
            MultiHostClientTimer::Operation => self.operate(context),
            MultiHostClientTimer::Statement => self.start_over(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        if let Some(host) = self.host_of(connection) {
            let news = self.sessions[host].on_connection(context, connection, event);
            self.hear(context, host, news);
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "client"
    }

    fn role(&self) -> &'static str {
        "client"
    }
}
