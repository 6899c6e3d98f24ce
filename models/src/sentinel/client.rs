//! A client that asks Sentinels where the primary is: "client A" of the calibration.
//!
//! ```text
//! ask a random Sentinel for the address -> connect -> ROLE says primary -> write, write, ...
//!        ^                                                                    |
//!        +---- 50 ms pause, unless it lost a server that it wrote to <--- any error, or no answer in time
//! ```
//!
//! This is the procedure of the documentation for client authors, with a random Sentinel first as in the calibration. It
//! asks anew after every error, or before each write; then it rests as long after one that failed as after one that did not.
//! It may listen for `+switch-master` besides, on a connection to each Sentinel (as Jedis and go-redis do), and then leaves its
//! server as soon as a Sentinel announces another one.
//!
//! It asks for what its service needs ([`Purpose`]), or it listens to what others publish ([`Activity`]). `PUBLISH` goes to the subscribers of that
//! server at that moment; nothing is kept, and the answer says to how many it went, which the client does not look at. (A real server hands it on
//! to the subscribers of its replicas as well, by the stream. Nobody subscribes there here.)
//!
//! Reads of keys may go to a replica, on a connection of their own that outlives a failover, unless that replica is promoted.

use std::sync::Arc;

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, HostTime, Origin, Outcome, Process, ProcessId,
    SimDuration,
};

use crate::redis::{
    Command, GroupId, Lateness, Link, LinkNews, News, Packet, Purpose, Reply, ServerSource, Session, WaitFor,
};
use crate::routing::{Progress, Workload};

/// The configuration of an [`AwareClient`].
#[derive(Clone, Debug)]
pub struct AwareClientSpec {
    /// When it writes.
    pub workload: Workload,
    /// The Sentinels that it knows.
    pub sentinels: Arc<[ProcessId]>,
    /// The group.
    pub group: GroupId,
    /// From the answer to a write to the next write; 5 ms.
    pub interval: SimDuration,
    /// How long it waits for a Sentinel; 0.5 s.
    pub sentinel_timeout: SimDuration,
    /// How long it waits for a server, at each step; 1 s.
    pub timeout: SimDuration,
    /// From an attempt that failed, or a write that was refused, to the next attempt; 50 ms. Who loses a primary asks at once.
    pub pause: SimDuration,
    /// How much longer than it means to it pauses and waits.
    pub lateness: Lateness,
    /// `WAIT` after each write.
    pub wait_for: Option<WaitFor>,
    /// It listens for `+switch-master`.
    pub subscribes: bool,
    /// What it does at the primary.
    pub activity: Activity,
    /// Reads of keys go to a replica that a Sentinel names. No.
    pub reads_from_replicas: bool,
    /// It asks before each write, on new connections, and does not look at roles. Without this, after errors only.
    pub asks_each_time: bool,
}

/// What a client does at the primary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activity {
    /// It asks for something, again and again.
    Asks(Purpose),
    /// It listens, and keeps what it hears. Nothing tells it that a server is silent but `+switch-master`.
    Listens,
}

impl Default for Activity {
    fn default() -> Self {
        Self::Asks(Purpose::default())
    }
}

impl AwareClientSpec {
    /// The client of the calibration.
    pub fn new(workload: Workload, sentinels: Arc<[ProcessId]>) -> Self {
        Self {
            workload,
            sentinels,
            group: GroupId(0),
            interval: SimDuration::from_millis(5),
            sentinel_timeout: SimDuration::from_millis(500),
            timeout: SimDuration::from_secs(1),
            pause: SimDuration::from_millis(50),
            lateness: Lateness::default(),
            wait_for: None,
            subscribes: false,
            activity: Activity::default(),
            reads_from_replicas: false,
            asks_each_time: false,
        }
    }
}

/// A client that asks Sentinels where the primary is.
#[derive(Clone, Debug)]
pub struct AwareClient {
    spec: AwareClientSpec,
    progress: Progress,
    session: Session,
    step: Step,
    server: Option<ProcessId>,
    /// Its way to a replica, if it reads there.
    reader: Option<Link>,
    /// Connections on which Sentinels announce switches.
    subscriptions: Vec<(ProcessId, Option<ConnectionId>)>,
    /// What it has heard.
    heard: Vec<u64>,
}

/// What the session is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Nothing: it pauses.
    Pausing,
    /// A Sentinel is asked for the address.
    Resolving,
    /// A server is asked what it plays.
    Checking,
    /// A server is written to.
    Writing,
}

/// What an [`AwareClient`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AwareClientTimer {
    /// It asks a Sentinel.
    Resolve,
    /// The next write is due.
    Write,
    /// A step takes too long.
    Timeout,
    /// It connects to Sentinels that do not announce anything to it.
    Subscribe,
}

/// From a lost subscription to the next attempt: `subscribeRetryWaitTimeMillis` of Jedis.
const RESUBSCRIBE: SimDuration = SimDuration::from_secs(5);

impl AwareClient {
    /// The broadcasts that it has heard, in the order in which they came.
    pub fn heard(&self) -> &[u64] {
        &self.heard
    }

    /// Sessions of its users that have run out by this time of its host.
    pub fn run_out(&self, now: HostTime) -> impl Iterator<Item = u64> + '_ {
        self.session.run_out(now)
    }

    fn listens(&self) -> bool {
        self.spec.activity == Activity::Listens
    }

    fn resolve(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) && !self.listens() {
            return;
        }
        // The write that it wants to do waits for the answer: that is what users see.
        if !self.session.is_busy() && !self.listens() {
            self.session.invoke(context, &mut self.progress);
        }
        self.send(context);
    }

    fn find_primary(&mut self, context: &mut impl Context<Self>) {
        let sentinels = Arc::clone(&self.spec.sentinels);
        let Some(sentinel) = context.random().pick(&sentinels).copied() else { return };
        self.step = Step::Resolving;
        self.session.open(context, sentinel);
        self.wait_at_most(context, self.spec.sentinel_timeout);
    }

    /// Something went wrong: asks again, at once if it lost a server that it was writing to.
    fn start_over(&mut self, context: &mut impl Context<Self>) {
        if self.session.is_reading() {
            // A replica is being asked: the next write looks for the primary.
            self.session.close(context);
            (self.step, self.server) = (Step::Pausing, None);
            return;
        }
        let pause = match self.step {
            Step::Writing if !self.spec.asks_each_time => SimDuration::ZERO,
            _ => self.rest(),
        };
        self.look_again(context, pause);
    }

    /// How long it rests after what failed.
    fn rest(&self) -> SimDuration {
        if self.spec.asks_each_time { self.spec.interval } else { self.spec.pause }
    }

    /// Leaves everything, and asks a Sentinel after a pause.
    fn look_again(&mut self, context: &mut impl Context<Self>, pause: SimDuration) {
        self.session.abandon(context);
        self.step = Step::Pausing;
        self.server = None;
        context.cancel_timer(&AwareClientTimer::Timeout);
        context.cancel_timer(&AwareClientTimer::Write);
        let pause = self.spec.lateness.pause(context.random(), pause);
        context.set_timer(AwareClientTimer::Resolve, pause);
    }

    fn wait_at_most(&self, context: &mut impl Context<Self>, length: SimDuration) {
        let length = self.spec.lateness.wait(context.random(), length);
        context.set_timer(AwareClientTimer::Timeout, length);
    }

    fn write(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) {
            context.cancel_timer(&AwareClientTimer::Timeout);
            return;
        }
        self.session.invoke(context, &mut self.progress);
        self.send(context);
    }

    /// Sends the next step of a request, once somebody is there who can carry it out.
    fn send(&mut self, context: &mut impl Context<Self>) {
        if self.read(context) {
            return;
        }
        if self.step != Step::Writing {
            return self.find_primary(context);
        }
        self.session.send_request(context);
        self.wait_at_most(context, self.spec.timeout);
    }

    /// Asks a replica, if the next step is a read and it reads there.
    fn read(&mut self, context: &mut impl Context<Self>) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let Some(command) = self.session.read(context) else { return false };
        reader.request(context, command);
        self.wait_at_most(context, self.spec.timeout);
        true
    }

    /// Something happened on the way to a replica.
    fn hear_reader(&mut self, context: &mut impl Context<Self>, news: &LinkNews, server: ProcessId) {
        match news {
            LinkNews::Answer(reply) => match self.session.on_read(context, reply, server) {
                News::Next => self.send(context),
                News::Done(Outcome::Ok) => context.set_timer(AwareClientTimer::Write, self.spec.interval),
                News::Done(_) => self.lose_reader(context),
                _ => {}
            },
            LinkNews::Failed if self.session.is_reading() => self.lose_reader(context),
            LinkNews::Failed | LinkNews::Nothing => {}
        }
    }

    /// A read fails, and the next one goes to another replica, or the same. The primary is none the worse.
    fn lose_reader(&mut self, context: &mut impl Context<Self>) {
        if let Some(reader) = &mut self.reader {
            reader.reset(context);
        }
        self.session.fail_operation(context);
        let pause = self.spec.lateness.pause(context.random(), self.rest());
        context.set_timer(AwareClientTimer::Write, pause);
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: News) {
        match (news, self.step) {
            (News::Nothing, _) => {}
            (News::Opened, Step::Resolving) => {
                self.session.ask(context, Command::GetPrimary(self.spec.group));
            }
            (News::Opened, _) if self.spec.asks_each_time && !self.listens() => {
                self.step = Step::Writing;
                self.send(context);
            }
            (News::Next, _) => self.send(context),
            (News::Opened, _) => {
                self.session.ask(context, Command::Role);
                self.wait_at_most(context, self.spec.timeout);
            }
            (News::Answer(Reply::Primary(Some(server))), Step::Resolving) => {
                self.session.close(context);
                self.step = Step::Checking;
                self.server = Some(server);
                self.session.open(context, server);
                self.wait_at_most(context, self.spec.timeout);
            }
            (News::Answer(Reply::Role { primary: true }), Step::Checking) if self.listens() => {
                self.step = Step::Writing;
                context.cancel_timer(&AwareClientTimer::Timeout);
                self.session.ask(context, Command::Listen);
            }
            (News::Answer(Reply::Done), Step::Writing) if self.listens() => {}
            (News::Answer(Reply::Role { primary: true }), Step::Checking) => {
                self.step = Step::Writing;
                self.send(context);
            }
            (News::Done(Outcome::Ok | Outcome::OkWithWarning), _) => {
                if self.spec.asks_each_time {
                    self.session.close(context);
                    self.step = Step::Pausing;
                    self.server = None;
                    context.cancel_timer(&AwareClientTimer::Timeout);
                    context.set_timer(AwareClientTimer::Resolve, self.spec.interval);
                } else {
                    context.set_timer(AwareClientTimer::Write, self.spec.interval);
                }
            }
            // Refused: there are too few replicas, or it is none to write to.
            (News::Done(_), _) => self.look_again(context, self.rest()),
            (News::Answer(_) | News::Redirected(_) | News::Lost, _) => self.start_over(context),
        }
    }

    fn subscribe(&mut self, context: &mut impl Context<Self>) {
        for (sentinel, connection) in &mut self.subscriptions {
            if connection.is_none() {
                let opened = context.connect(*sentinel, ConnectOptions::default());
                context.send(opened, Packet::Request { id: 0, command: Command::Subscribe });
                *connection = Some(opened);
            }
        }
    }

    fn lose_subscription(&mut self, context: &mut impl Context<Self>, lost: ConnectionId) -> bool {
        let Some((_, connection)) =
            self.subscriptions.iter_mut().find(|(_, connection)| *connection == Some(lost))
        else {
            return false;
        };
        *connection = None;
        context.set_timer(AwareClientTimer::Subscribe, RESUBSCRIBE);
        true
    }
}

impl Process for AwareClient {
    type Spec = AwareClientSpec;
    type Packet = Packet;
    type Timer = AwareClientTimer;
    type Storage = ();

    fn boot(spec: &AwareClientSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(AwareClientTimer::Resolve, spec.workload.start_at);
        let sentinels = spec.sentinels.iter().filter(|_| spec.subscribes);
        let mut client = Self {
            progress: Progress::new(spec.workload, context),
            session: match spec.activity {
                Activity::Asks(purpose) => Session::new(purpose, None),
                Activity::Listens => Session::default(),
            },
            step: Step::Pausing,
            server: None,
            reader: spec
                .reads_from_replicas
                .then(|| Link::new(ServerSource::Replicas(Arc::clone(&spec.sentinels), spec.group))),
            heard: Vec::new(),
            subscriptions: sentinels.map(|sentinel| (*sentinel, None)).collect(),
            spec: spec.clone(),
        };
        client.subscribe(context);
        client
    }

    #[inline]
    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, server) = from else { return };
        if let Packet::SwitchPrimary(group, primary) = packet {
            if group == self.spec.group && self.server.is_some_and(|server| server != primary) {
                self.start_over(context);
            }
            return;
        }
        if let Packet::Broadcast(value) = packet {
            return self.heard.push(value);
        }
        if let Some(reader) = &mut self.reader {
            let news = reader.on_packet(context, connection, packet.clone());
            self.hear_reader(context, &news, server);
        }
        let news = self.session.on_packet(context, connection, packet, self.spec.wait_for);
        self.hear(context, news);
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: AwareClientTimer) {
        match timer {
            AwareClientTimer::Resolve => self.resolve(context),
            AwareClientTimer::Write => self.write(context),
            AwareClientTimer::Timeout if self.session.is_reading() => {
                self.lose_reader(context);
            }
            AwareClientTimer::Timeout if self.session.is_busy() || self.listens() => self.start_over(context),
            // It rests between two writes.
            AwareClientTimer::Timeout => {}
            AwareClientTimer::Subscribe => self.subscribe(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        peer: ProcessId,
        event: ConnectionEvent,
    ) {
        let is_lost = !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened);
        if is_lost && self.lose_subscription(context, connection) {
            return;
        }
        if let Some(reader) = &mut self.reader {
            let news = reader.on_connection(context, connection, event);
            self.hear_reader(context, &news, peer);
        }
        let news = self.session.on_connection(context, connection, event);
        self.hear(context, news);
    }

    fn plays(&self, role: &str) -> bool {
        role == self.role()
    }

    fn role(&self) -> &'static str {
        if self.listens() { "listener" } else { "client" }
    }
}
