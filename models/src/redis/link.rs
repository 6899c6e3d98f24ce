//! The way of a client to a primary: how it is found, and one request at a time.
//!
//! A [`Link`] connects when something is asked of it, and stays connected until the answer is one that only somebody who is
//! no primary gives, or none comes in time. Then its owner [resets](Link::reset) it, and the primary is found anew.

use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Process, ProcessId};

use super::packet::{Command, GroupId, Packet, Reply};
use super::session::{News, Session};

/// How a primary is found.
#[derive(Clone, Debug)]
pub enum PrimarySource {
    /// It is known: a single server, or one of several independent ones.
    Fixed(ProcessId),
    /// A random Sentinel is asked, and the server whether it agrees, as the documentation for client authors has it.
    Sentinels(Arc<[ProcessId]>, GroupId),
}

/// A way to one primary.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    source: PrimarySource,
    session: Session,
    step: Step,
    /// What is asked as soon as the way is open.
    waiting: Option<Command>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Closed,
    /// A Sentinel is asked for the address.
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

impl Link {
    /// A way that is not open.
    pub(crate) fn new(source: PrimarySource) -> Self {
        Self { source, session: Session::default(), step: Step::Closed, waiting: None }
    }

    /// Sends a command, now or when the way is open. The answer to an earlier one is not waited for any more.
    pub(crate) fn request<P: Process<Packet: From<Packet>>>(
        &mut self,
        context: &mut impl Context<P>,
        command: Command,
    ) {
        if self.step == Step::Ready {
            return self.session.ask(context, command);
        }
        self.waiting = Some(command);
        if self.step == Step::Closed {
            let server = match &self.source {
                PrimarySource::Fixed(server) => Some((Step::Checking, *server)),
                PrimarySource::Sentinels(sentinels, _) => {
                    context.random().pick(sentinels).map(|sentinel| (Step::Resolving, *sentinel))
                }
            };
            if let Some((step, peer)) = server {
                self.step = step;
                self.session.open(context, peer);
            }
        }
    }

    /// Closes it. The next request finds the primary anew.
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
                    (Step::Resolving, PrimarySource::Sentinels(_, group)) => {
                        self.session.ask(context, Command::GetPrimary(*group));
                    }
                    (_, PrimarySource::Sentinels(..)) => self.session.ask(context, Command::Role),
                    (_, PrimarySource::Fixed(_)) => self.ready(context),
                }
                LinkNews::Nothing
            }
            News::Lost => {
                self.reset(context);
                LinkNews::Failed
            }
            News::Nothing | News::Done(_) | News::Redirected(_) | News::Answer(_) => LinkNews::Nothing,
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
            (Step::Ready, reply) => return LinkNews::Answer(reply),
            (Step::Resolving, Reply::Primary(Some(server))) => {
                self.session.close(context);
                self.step = Step::Checking;
                self.session.open(context, server);
            }
            (Step::Checking, Reply::Role { primary: true }) => self.ready(context),
            _ => {
                self.reset(context);
                return LinkNews::Failed;
            }
        }
        LinkNews::Nothing
    }

    fn ready<P: Process<Packet: From<Packet>>>(&mut self, context: &mut impl Context<P>) {
        self.step = Step::Ready;
        if let Some(command) = self.waiting.take() {
            self.session.ask(context, command);
        }
    }
}
