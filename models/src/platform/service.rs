//! An instance of a service that needs Redis and PostgreSQL for each of its requests.
//!
//! ```text
//! request --> Redis: the session is touched (a write), by way of a Sentinel --> PostgreSQL: a row, by way of the proxy --> done
//!                 |
//!                 no answer in time, or a refusal: the request fails, or it goes on without (`RedisNeed`)
//! ```
//!
//! A request is one operation of the history, from its arrival to the commit of its row.

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, SimDuration,
};

use super::Packet;
use crate::redis::{Command, Link, LinkNews, Reply, ServerSource};
use crate::routing::{News, Progress, Session, Workload};

/// What a request does without Redis.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RedisNeed {
    /// It fails.
    #[default]
    Required,
    /// It goes on: Redis is a cache.
    Bypassed,
}

/// The configuration of a [`Service`].
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The numbers of its rows, when it begins and when it starts no more.
    pub workload: Workload,
    /// Where Redis is.
    pub redis: ServerSource,
    /// Whether it can do without.
    pub need: RedisNeed,
    /// How long Redis may take, finding the primary included.
    pub redis_timeout: SimDuration,
    /// The proxy in front of PostgreSQL.
    pub database: ProcessId,
    /// How long PostgreSQL may take, connecting included.
    pub database_timeout: SimDuration,
    /// From the end of a request to the next.
    pub interval: SimDuration,
}

/// An instance of the service.
#[derive(Clone, Debug)]
pub struct Service {
    spec: ServiceSpec,
    progress: Progress,
    redis: Link,
    database: Session,
    step: Step,
}

/// What it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Resting,
    AskingRedis,
    AskingDatabase,
}

/// What a [`Service`] waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ServiceTimer {
    /// The next request comes.
    Request,
    /// Redis takes too long.
    Redis,
    /// PostgreSQL takes too long.
    Database,
}

impl Service {
    fn request(&mut self, context: &mut impl Context<Self>) {
        if self.progress.has_ended(context) {
            return;
        }
        self.database.prepare(context, &mut self.progress);
        self.step = Step::AskingRedis;
        context.set_timer(ServiceTimer::Redis, self.spec.redis_timeout);
        // What a session holds does not matter here.
        self.redis.request(context, Command::Write(0));
    }

    fn hear_redis(&mut self, context: &mut impl Context<Self>, news: &LinkNews) {
        if self.step != Step::AskingRedis || *news == LinkNews::Nothing {
            return;
        }
        context.cancel_timer(&ServiceTimer::Redis);
        if matches!(news, LinkNews::Answer(Reply::Written { .. })) {
            return self.ask_database(context);
        }
        self.redis.reset(context);
        match self.spec.need {
            RedisNeed::Bypassed => self.ask_database(context),
            RedisNeed::Required => self.give_up(context),
        }
    }

    fn ask_database(&mut self, context: &mut impl Context<Self>) {
        self.step = Step::AskingDatabase;
        context.set_timer(ServiceTimer::Database, self.spec.database_timeout);
        if !self.database.is_connected() {
            self.database.open(context, self.spec.database, ConnectOptions::default());
        }
        self.database.release(context);
    }

    fn hear_database(&mut self, context: &mut impl Context<Self>, news: News) {
        match news {
            News::Nothing | News::LoggedIn { .. } => {}
            // A connection that was lost while Redis was asked took the request with it, too.
            News::Done(_) | News::Lost => self.rest(context),
        }
    }

    /// The request fails.
    fn give_up(&mut self, context: &mut impl Context<Self>) {
        self.database.abandon(context);
        self.rest(context);
    }

    fn rest(&mut self, context: &mut impl Context<Self>) {
        if self.step == Step::Resting {
            return;
        }
        self.step = Step::Resting;
        context.cancel_timer(&ServiceTimer::Redis);
        context.cancel_timer(&ServiceTimer::Database);
        context.set_timer(ServiceTimer::Request, self.spec.interval);
    }
}

impl Process for Service {
    type Spec = ServiceSpec;
    type Packet = Packet;
    type Timer = ServiceTimer;
    type Storage = ();

    fn boot(spec: &ServiceSpec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(ServiceTimer::Request, spec.workload.start_at);
        Self {
            progress: Progress::new(spec.workload, context),
            redis: Link::new(spec.redis.clone()),
            database: Session::default(),
            step: Step::Resting,
            spec: spec.clone(),
        }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        match packet {
            Packet::Redis(packet) => {
                let news = self.redis.on_packet(context, connection, packet);
                self.hear_redis(context, &news);
            }
            Packet::Database(crate::patroni::Packet::Postgres(packet)) => {
                let news = self.database.on_packet(context, connection, &packet);
                self.hear_database(context, news);
            }
            Packet::Database(_) => {}
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: ServiceTimer) {
        match timer {
            ServiceTimer::Request => self.request(context),
            ServiceTimer::Redis => self.hear_redis(context, &LinkNews::Failed),
            ServiceTimer::Database => self.give_up(context),
        }
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        let news = self.redis.on_connection(context, connection, event);
        self.hear_redis(context, &news);
        let news = self.database.on_connection(context, connection, event);
        self.hear_database(context, news);
    }

    fn plays(&self, role: &str) -> bool {
        role == "client" || role == "service"
    }

    fn role(&self) -> &'static str {
        "service"
    }
}
