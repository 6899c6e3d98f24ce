//! The way of a client to a server: how it is found, and one request at a time.
//!
//! A [`Link`] connects when something is asked of it, and stays connected until the answer is one that its owner does not want, such as
//! what only somebody who is no primary says, or none comes in time. Then its owner [resets](Link::reset) it, and a server is found anew.
//!
//! In Redis Cluster, where a node that is no primary any more names the owner of the slot, `-MOVED` is followed as Jedis,
//! redis-py and go-redis follow it; the slot map is asked for when the link was reset.

use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Process, ProcessId};

use super::packet::{Command, GroupId, Packet, Reply};
use super::session::{News, Session};
use crate::redis_cluster::Slot;

/// How often one request is redirected at most (`DEFAULT_MAX_ATTEMPTS` of Jedis).
const MOST_REDIRECTIONS: u8 = 5;

/// How a server is found.
#[derive(Clone, Debug)]
pub enum ServerSource {
    /// It is known: a single server, or one of several independent ones.
    Fixed(ProcessId),
    /// A random Sentinel is asked, and the server whether it agrees, as the documentation for client authors has it.
    Sentinels(Arc<[ProcessId]>, GroupId),
    /// A random Sentinel is asked for the replicas, and one of those is taken that it does not hold for down; the primary if there is
    /// none (`Sentinel.slave_for` of redis-py, which begins with a random one and then takes them in turn).
    Replicas(Arc<[ProcessId]>, GroupId),
    /// A random node of a cluster is asked who owns this slot.
    Cluster(Arc<[ProcessId]>, Slot),
}

/// A way to one server.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    source: ServerSource,
    session: Session,
    step: Step,
    /// What is asked as soon as the way is open.
    waiting: Option<Command>,
    /// The last request, for a node of a cluster that is named instead.
    asked: Option<Command>,
    /// How often that was redirected.
    redirections: u8,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Closed,
    /// A Sentinel is asked for addresses, or a node for the slot map.
    Resolving,
    /// A server is being connected to, or asked what it plays.
    Checking,
    /// Requests go to the server.
    Ready,
}

/// What an event meant to a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LinkNews {
    /// Nothing that its owner must act on.
    Nothing,
    /// The answer to the last request.
    Answer(Reply),
    /// There will be none.
    Failed,
}

/// The ways of an operator to several servers, one of which is asked at a time.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    links: Vec<Link>,
    asked: Option<usize>,
}

impl Links {
    /// Ways to these servers, by their places; none is open.
    pub(crate) fn to(servers: impl Iterator<Item = ProcessId>) -> Self {
        Self { links: servers.map(|server| Link::new(ServerSource::Fixed(server))).collect(), asked: None }
    }

    /// Asks one of them.
    pub(crate) fn request<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        place: usize,
        command: Command,
    ) {
        self.asked = Some(place);
        self.links[place].request(context, command);
    }

    /// A packet arrived, on one of these ways or on none.
    pub(crate) fn on_packet<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        from: ConnectionId,
        packet: &Packet,
    ) -> LinkNews {
        let mut news = self.links.iter_mut().map(|link| link.on_packet(context, from, packet.clone()));
        news.find(|news| *news != LinkNews::Nothing).unwrap_or(LinkNews::Nothing)
    }

    /// Something happened to a connection. A way on which nothing was asked may be lost.
    pub(crate) fn on_connection<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> LinkNews {
        let mut heard = LinkNews::Nothing;
        for (place, link) in self.links.iter_mut().enumerate() {
            let news = link.on_connection(context, connection, event);
            if self.asked == Some(place) {
                heard = news;
            }
        }
        heard
    }
}

impl Link {
    /// A way that is not open.
    pub(crate) fn new(source: ServerSource) -> Self {
        Self {
            source,
            session: Session::default(),
            step: Step::Closed,
            waiting: None,
            asked: None,
            redirections: 0,
        }
    }

    /// Sends a command, now or when the way is open. The answer to an earlier one is not waited for any more.
    pub(crate) fn request<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        command: Command,
    ) {
        self.redirections = 0;
        if self.step == Step::Ready {
            self.asked = Some(command);
            return self.session.ask(context, command);
        }
        self.waiting = Some(command);
        if self.step == Step::Closed {
            let server = match &self.source {
                ServerSource::Fixed(server) => Some((Step::Checking, *server)),
                ServerSource::Sentinels(those, _)
                | ServerSource::Replicas(those, _)
                | ServerSource::Cluster(those, _) => {
                    context.random().pick(those).map(|one| (Step::Resolving, *one))
                }
            };
            if let Some((step, peer)) = server {
                self.step = step;
                self.session.open(context, peer);
            }
        }
    }

    /// Closes it. The next request finds a server anew.
    pub(crate) fn reset<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.session.close(context);
        self.step = Step::Closed;
        self.waiting = None;
    }

    /// Something happened to a connection; ignored if it is not this one.
    pub(crate) fn on_connection<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        connection: ConnectionId,
        event: ConnectionEvent,
    ) -> LinkNews {
        match self.session.on_connection(context, connection, event) {
            News::Opened => {
                match (self.step, &self.source) {
                    (Step::Resolving, ServerSource::Sentinels(_, group)) => {
                        self.session.ask(context, Command::GetPrimary(*group));
                    }
                    (Step::Resolving, ServerSource::Replicas(_, group)) => {
                        self.session.ask(context, Command::GetReplicas(*group));
                    }
                    (_, ServerSource::Sentinels(..)) => self.session.ask(context, Command::Role),
                    (Step::Resolving, ServerSource::Cluster(..)) => {
                        self.session.ask(context, Command::ClusterSlots);
                    }
                    (_, ServerSource::Fixed(_) | ServerSource::Replicas(..) | ServerSource::Cluster(..)) => {
                        self.ready(context);
                    }
                }
                LinkNews::Nothing
            }
            News::Lost => {
                self.reset(context);
                LinkNews::Failed
            }
            News::Nothing | News::Next | News::Done(_) | News::Redirected(_) | News::Answer(_) => {
                LinkNews::Nothing
            }
        }
    }

    /// A packet arrived; ignored if it is not on this connection.
    pub(crate) fn on_packet<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        from: ConnectionId,
        packet: Packet,
    ) -> LinkNews {
        let News::Answer(reply) = self.session.on_packet(context, from, packet, None) else {
            return LinkNews::Nothing;
        };
        match (self.step, reply) {
            (Step::Ready, Reply::Moved(_, owner)) if self.follows_redirections() => {
                self.redirections += 1;
                self.waiting = self.asked;
                self.check(context, owner);
            }
            (Step::Ready, reply) => return LinkNews::Answer(reply),
            (Step::Resolving, Reply::Primary(Some(server))) => self.check(context, server),
            (Step::Resolving, Reply::Replicas(replicas)) => match context.random().pick(&replicas).copied() {
                Some(replica) => self.check(context, replica),
                None => self.ask_for_primary(context),
            },
            (Step::Resolving, Reply::Slots(owners)) => {
                if let Some(owner) = self.owner_among(&owners) {
                    self.check(context, owner);
                } else {
                    self.reset(context);
                    return LinkNews::Failed;
                }
            }
            (Step::Checking, Reply::Role { primary: true }) => self.ready(context),
            _ => {
                self.reset(context);
                return LinkNews::Failed;
            }
        }
        LinkNews::Nothing
    }

    /// Goes on as somebody who looks for the primary.
    fn ask_for_primary<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        if let ServerSource::Replicas(_, group) = &self.source {
            self.session.ask(context, Command::GetPrimary(*group));
        }
    }

    fn follows_redirections(&self) -> bool {
        matches!(self.source, ServerSource::Cluster(..)) && self.redirections < MOST_REDIRECTIONS
    }

    /// Who owns its slot, by a slot map.
    fn owner_among(&self, owners: &[Option<ProcessId>]) -> Option<ProcessId> {
        let ServerSource::Cluster(_, slot) = &self.source else { return None };
        owners.get(usize::from(slot.0)).copied().flatten()
    }

    /// Goes on to a server that was named.
    fn check<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>, server: ProcessId) {
        self.session.close(context);
        self.step = Step::Checking;
        self.session.open(context, server);
    }

    fn ready<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.step = Step::Ready;
        if let Some(command) = self.waiting.take() {
            self.asked = Some(command);
            self.session.ask(context, command);
        }
    }
}
