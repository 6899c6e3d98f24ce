//! "Client B" of the calibration: a client that never leaves its server.
//!
//! It sits on the host of the old primary and is connected to that server only, without any time-out. What it gets
//! acknowledged after a new primary exists is the damage of a split brain, so it belongs into scenarios with a pause or a
//! partition. An error answer leaves the connection as it is; a lost connection is asked for again after 100 ms.
//!
//! Source: the description of the measurements that the models are calibrated with, "Client B".

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, Origin, Process, ProcessId, SimDuration,
};

use super::session::{News, Session};
use super::workload::{Progress, Workload};
use crate::postgres::Packet;

/// The configuration of a [`StickyClient`].
#[derive(Clone, Debug)]
pub struct StickyClientSpec {
    /// What it asks for.
    pub workload: Workload,
    /// The only server that it knows.
    pub server: ProcessId,
    /// From one operation to the next, or longer if the answer takes longer; 50 ms.
    pub interval: SimDuration,
    /// From a lost connection to the next attempt; 100 ms.
    pub retry_interval: SimDuration,
    /// TCP.
    pub options: ConnectOptions,
}

impl StickyClientSpec {
    /// The client of the calibration.
    pub fn new(workload: Workload, server: ProcessId) -> Self {
        Self {
            workload,
            server,
            interval: SimDuration::from_millis(50),
            retry_interval: SimDuration::from_millis(100),
            options: ConnectOptions::default(),
        }
    }
}

/// A client of one server, without time-outs.
#[derive(Clone, Debug)]
pub struct StickyClient {
    spec: StickyClientSpec,
    progress: Progress,
    session: Session,
    last_sent: HostTime,
}

/// What a [`StickyClient`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StickyClientTimer {
    /// It connects, for the first time or again.
    Connect,
    /// The next operation is due.
    Operation,
}

impl StickyClient {
    fn operate(&mut self, context: &mut impl Context<Self>) {
        if !self.progress.has_ended(context) {
            self.last_sent = context.monotonic();
            self.session.invoke(context, &mut self.progress);
        }
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: News) {
        match news {
            News::Nothing => {}
            News::LoggedIn { .. } => self.operate(context),
            News::Done(_) => {
                let passed = context.monotonic().since(self.last_sent);
                let rest = self.spec.interval.saturating_sub(passed);
                context.set_timer(StickyClientTimer::Operation, rest);
            }
            News::Lost => {
                context.cancel_timer(&StickyClientTimer::Operation);
                context.set_timer(StickyClientTimer::Connect, self.spec.retry_interval);
            }
        }
    }
}

impl Process for StickyClient {
    type Spec = StickyClientSpec;
    type Packet = Packet;
    type Timer = StickyClientTimer;
    type Storage = ();

    fn boot(spec: &StickyClientSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(StickyClientTimer::Connect, spec.workload.start_at);
        Self {
            progress: Progress::new(spec.workload, context),
            session: Session::default(),
            last_sent: context.monotonic(),
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Origin::Connection(connection, _) = from {
            let news = self.session.on_packet(context, connection, &packet);
            self.hear(context, news);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: StickyClientTimer) {
        match timer {
            StickyClientTimer::Connect if self.progress.has_ended(context) => {}
            StickyClientTimer::Connect => self.session.open(context, self.spec.server, self.spec.options),
            StickyClientTimer::Operation => self.operate(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        let news = self.session.on_connection(context, connection, event);
        self.hear(context, news);
    }

    fn plays(&self, role: &str) -> bool {
        role == "client"
    }

    fn role(&self) -> &'static str {
        "client"
    }
}
