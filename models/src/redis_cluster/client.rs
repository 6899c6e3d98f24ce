//! A client with a slot map.
//!
//! ```text
//! CLUSTER SLOTS of a random node -> connect to the owner of the key's slot -> write, write, ...
//!        ^                                                                      |
//!        +--- 50 ms pause, unless it was served there <--- any error, no answer in time, and what MOVED does
//! ```
//!
//! What clients do about `-MOVED` and lost connections differs from library to library ([`Refresh`]). All of them follow `-ASK`
//! for that one write, with `ASKING` before it, and keep the owner in mind; and all try again after `-TRYAGAIN`. A library keeps
//! the connections to both nodes, while this client opens one for each redirection, which costs a round trip more.

use std::sync::Arc;

use sim_core::{
    ConnectionEvent, ConnectionId, Context, HostTime, Origin, Outcome, Process, ProcessId, SimDuration,
};

use super::slots::Slot;
use crate::redis::{Command, Lateness, News, Packet, Purpose, Reply, Session, WaitFor};
use crate::routing::{Progress, Workload};

/// When a client asks for the slot map again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Refresh {
    /// After every error, `-MOVED` included: client A of the calibration.
    #[default]
    OnError,
    /// When a connection fails or a node does not answer; `-MOVED` names the owner and is followed (Jedis, redis-py, go-redis).
    OnLostConnection,
    /// Never: it follows `-MOVED`, and otherwise tries the same address again (Lettuce with its periodic refresh off, which is the
    /// default).
    Never,
}

/// The configuration of a [`ClusterClient`].
#[derive(Clone, Debug)]
pub struct ClusterClientSpec {
    /// When it writes.
    pub workload: Workload,
    /// The nodes that it asks for the map.
    pub nodes: Arc<[ProcessId]>,
    /// Where its key lies.
    pub slot: Slot,
    /// What it asks for, of keys of that slot.
    pub purpose: Purpose,
    /// From one write to the next, or longer if the answer takes longer; 5 ms.
    pub interval: SimDuration,
    /// How long it waits for the map; 0.3 s.
    pub map_timeout: SimDuration,
    /// How long it waits for a node; 1 s.
    pub timeout: SimDuration,
    /// From an attempt that failed to the next; 50 ms. Who was served asks at once.
    pub pause: SimDuration,
    /// How much longer than it means to it pauses and waits.
    pub lateness: Lateness,
    /// `WAIT` after each write.
    pub wait_for: Option<WaitFor>,
    /// When it asks for the map again.
    pub refresh: Refresh,
}

impl ClusterClientSpec {
    /// The client of the calibration.
    pub fn new(workload: Workload, nodes: Arc<[ProcessId]>, slot: Slot) -> Self {
        Self {
            workload,
            nodes,
            slot,
            purpose: Purpose::default(),
            interval: SimDuration::from_millis(5),
            map_timeout: SimDuration::from_millis(300),
            timeout: SimDuration::from_secs(1),
            pause: SimDuration::from_millis(50),
            lateness: Lateness::default(),
            wait_for: None,
            refresh: Refresh::default(),
        }
    }
}

/// A client with a slot map.
#[derive(Clone, Debug)]
pub struct ClusterClient {
    spec: ClusterClientSpec,
    progress: Progress,
    session: Session,
    step: Step,
    /// Whom it believes to own its slot.
    owner: Option<ProcessId>,
    /// The node was reached and has carried out a write.
    was_served: bool,
    last_sent: HostTime,
}

/// What the session is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Pausing,
    /// A node is asked for the map.
    Resolving,
    /// The owner is written to.
    Writing,
    /// A node that imports the slot is written to, once.
    Asking,
}

/// What a [`ClusterClient`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClusterClientTimer {
    /// It asks for the map, or tries the owner again.
    Resolve,
    /// The next write is due.
    Write,
    /// A step takes too long.
    Timeout,
}

impl ClusterClient {
    /// Sessions of its users that have run out by this time of its host.
    pub fn run_out(&self, now: HostTime) -> impl Iterator<Item = u64> + '_ {
        self.session.run_out(now)
    }

    fn resolve(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) {
            return;
        }
        // The write that it wants to do waits for the answer: that is what users see.
        if !self.session.is_busy() {
            self.session.invoke(context, &mut self.progress);
        }
        if let Some(owner) = self.owner {
            return self.connect(context, owner);
        }
        let nodes = Arc::clone(&self.spec.nodes);
        let Some(node) = context.random().pick(&nodes).copied() else { return };
        self.step = Step::Resolving;
        self.session.open(context, node);
        self.wait_at_most(context, self.spec.map_timeout);
    }

    fn connect(&mut self, context: &mut impl Context<Self>, owner: ProcessId) {
        self.owner = Some(owner);
        self.connect_for(context, Step::Writing, owner);
    }

    fn connect_for(&mut self, context: &mut impl Context<Self>, step: Step, node: ProcessId) {
        self.session.close(context);
        self.step = step;
        self.was_served = false;
        self.session.open(context, node);
        self.wait_at_most(context, self.spec.timeout);
    }

    fn wait_at_most(&self, context: &mut impl Context<Self>, length: SimDuration) {
        let length = self.spec.lateness.wait(context.random(), length);
        context.set_timer(ClusterClientTimer::Timeout, length);
    }

    /// Something went wrong: tries again, after a pause if nothing had worked on this connection.
    fn start_over(&mut self, context: &mut impl Context<Self>, forgets_owner: bool) {
        let pause = if self.was_served { SimDuration::ZERO } else { self.spec.pause };
        let pause = self.spec.lateness.pause(context.random(), pause);
        self.session.close(context);
        self.step = Step::Pausing;
        self.was_served = false;
        if forgets_owner {
            self.owner = None;
        }
        context.cancel_timer(&ClusterClientTimer::Timeout);
        context.cancel_timer(&ClusterClientTimer::Write);
        context.set_timer(ClusterClientTimer::Resolve, pause);
    }

    /// A connection is lost or a node does not answer.
    fn lose(&mut self, context: &mut impl Context<Self>) {
        self.session.abandon(context);
        self.start_over(context, self.spec.refresh != Refresh::Never);
    }

    fn write(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) {
            context.cancel_timer(&ClusterClientTimer::Timeout);
            return;
        }
        // The last write was one by redirection.
        if self.step == Step::Pausing {
            return self.resolve(context);
        }
        self.session.invoke(context, &mut self.progress);
        self.send(context);
    }

    fn send(&mut self, context: &mut impl Context<Self>) {
        self.last_sent = context.monotonic();
        if self.step == Step::Asking {
            self.session.send_asking(context);
        } else {
            self.session.send_request(context);
        }
        self.wait_at_most(context, self.spec.timeout);
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: News) {
        match (news, self.step) {
            (News::Nothing, _) => {}
            (News::Opened, Step::Resolving) => self.session.ask(context, Command::ClusterSlots),
            (News::Opened | News::Next, _) => self.send(context),
            (News::Answer(Reply::Slots(owners)), Step::Resolving) => {
                match owners.get(usize::from(self.spec.slot.0)).copied().flatten() {
                    Some(owner) => self.connect(context, owner),
                    None => self.start_over(context, true),
                }
            }
            (News::Done(Outcome::Ok | Outcome::OkWithWarning), _) => {
                self.was_served = true;
                if self.step == Step::Asking {
                    self.session.close(context);
                    self.step = Step::Pausing;
                }
                let passed = context.monotonic().since(self.last_sent);
                context.set_timer(ClusterClientTimer::Write, self.spec.interval.saturating_sub(passed));
            }
            (News::Redirected(Reply::Moved(_, owner)), _) if self.spec.refresh != Refresh::OnError => {
                self.connect(context, owner);
            }
            (News::Redirected(Reply::Ask(_, node)), _) => self.connect_for(context, Step::Asking, node),
            (News::Redirected(_), _) => self.start_over(context, self.spec.refresh == Refresh::OnError),
            (News::Lost, _) => self.lose(context),
            (News::Answer(_) | News::Done(_), _) => {
                self.start_over(context, self.spec.refresh != Refresh::Never);
            }
        }
    }
}

impl Process for ClusterClient {
    type Spec = ClusterClientSpec;
    type Packet = Packet;
    type Timer = ClusterClientTimer;
    type Storage = ();

    fn boot(spec: &ClusterClientSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(ClusterClientTimer::Resolve, spec.workload.start_at);
        Self {
            progress: Progress::new(spec.workload, context),
            session: Session::new(spec.purpose, Some(spec.slot)),
            step: Step::Pausing,
            owner: None,
            was_served: false,
            last_sent: context.monotonic(),
            spec: spec.clone(),
        }
    }

    #[inline]
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        if let Origin::Connection(connection, _) = from {
            let news = self.session.on_packet(context, connection, packet, self.spec.wait_for);
            self.hear(context, news);
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ClusterClientTimer) {
        match timer {
            ClusterClientTimer::Resolve => self.resolve(context),
            ClusterClientTimer::Write => self.write(context),
            ClusterClientTimer::Timeout if self.session.is_busy() => self.lose(context),
            // It rests between two writes.
            ClusterClientTimer::Timeout => {}
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
