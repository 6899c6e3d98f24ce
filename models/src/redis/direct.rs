//! A client that knows one server and stays with it: "client B" of the calibration.
//!
//! It sits on the host of the old primary and is connected to that server only, without any time-out. What it gets
//! acknowledged after a new primary exists is the damage of a split brain. It rests between an answer and the next write. An
//! error answer leaves the connection as it is; a lost connection is asked for again after 100 ms.

use sim_core::{ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, SimDuration};

use super::packet::Packet;
use super::requests::Purpose;
use super::session::{News, Session, WaitFor};
use crate::redis_cluster::Slot;
use crate::routing::{Progress, Workload};

/// The configuration of a [`DirectClient`].
#[derive(Clone, Debug)]
pub struct DirectClientSpec {
    /// When it writes.
    pub workload: Workload,
    /// The only server that it knows.
    pub server: ProcessId,
    /// Where its key lies, if the server is a node of a cluster.
    pub slot: Option<Slot>,
    /// From the answer to a write to the next write; 5 ms.
    pub interval: SimDuration,
    /// From a lost connection to the next attempt; 100 ms.
    pub retry_interval: SimDuration,
    /// `WAIT` after each write.
    pub wait_for: Option<WaitFor>,
}

impl DirectClientSpec {
    /// The client of the calibration.
    pub fn new(workload: Workload, server: ProcessId) -> Self {
        Self {
            workload,
            server,
            slot: None,
            interval: SimDuration::from_millis(5),
            retry_interval: SimDuration::from_millis(100),
            wait_for: None,
        }
    }
}

/// A client of one server, without time-outs.
#[derive(Clone, Debug)]
pub struct DirectClient {
    spec: DirectClientSpec,
    progress: Progress,
    session: Session,
}

/// What a [`DirectClient`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DirectClientTimer {
    /// It connects, for the first time or again.
    Connect,
    /// The next write is due.
    Write,
}

impl DirectClient {
    fn write(&mut self, context: &mut impl Context<Self>) {
        if !self.progress.has_ended(context) {
            self.session.invoke(context, &mut self.progress);
            self.session.send_request(context);
        }
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: &News) {
        match news {
            News::Nothing | News::Answer(_) => {}
            News::Opened => self.write(context),
            News::Next => self.session.send_request(context),
            News::Done(_) | News::Redirected(_) => {
                self.session.fail_operation(context);
                context.set_timer(DirectClientTimer::Write, self.spec.interval);
            }
            News::Lost => {
                context.cancel_timer(&DirectClientTimer::Write);
                context.set_timer(DirectClientTimer::Connect, self.spec.retry_interval);
            }
        }
    }
}

impl Process for DirectClient {
    type Spec = DirectClientSpec;
    type Packet = Packet;
    type Timer = DirectClientTimer;
    type Storage = ();

    fn boot(spec: &DirectClientSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(DirectClientTimer::Connect, spec.workload.start_at);
        Self {
            progress: Progress::new(spec.workload, context),
            session: Session::new(Purpose::Values, spec.slot),
            spec: spec.clone(),
        }
    }

    #[inline]
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Origin::Connection(connection, _) = from {
            let news = self.session.on_packet(context, connection, packet, self.spec.wait_for);
            self.hear(context, &news);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: DirectClientTimer) {
        match timer {
            DirectClientTimer::Connect if self.progress.has_ended(context) => {}
            DirectClientTimer::Connect => self.session.open(context, self.spec.server),
            DirectClientTimer::Write => self.write(context),
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
        self.hear(context, &news);
    }

    fn plays(&self, role: &str) -> bool {
        role == "client"
    }

    fn role(&self) -> &'static str {
        "client"
    }
}
