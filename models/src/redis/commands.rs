//! What a server answers to commands, and what they make it do.

use sim_core::{ConnectionId, Context, ProcessId, SimDuration};

use super::history::History;
use super::info::{Info, RoleInfo};
use super::log::Change;
use super::packet::{Command, Hello, Packet, Reply};
use super::release;
use super::replica::{LinkState, Upstream};
use super::server::{Server, Session};
use super::waiting::Asker;

/// How a server begins to say that `REPLICAOF NO ONE` made it a primary (`replication.c:replicaofCommand`).
pub const MASTER_MODE: &str = "MASTER MODE enabled";
/// How a server begins to say that it is a replica of another one from now on.
pub const REPLICA_OF: &str = "REPLICAOF process ";

/// What a replica that was never connected says before release 6.2.2: all seconds since 1970, by the clock of 2026.
const SINCE_1970: SimDuration = SimDuration::from_secs(1_790_000_000);

impl Server {
    /// A client, a Sentinel or an operator asks.
    pub(super) fn on_request(
        &mut self,
        context: &mut impl Context<Self>,
        from: ConnectionId,
        id: u32,
        command: Command,
    ) {
        let reply = match command {
            Command::Write(value) => match self.refusal() {
                Some(reply) => reply,
                None => return self.commit(context, from, id, Change::Write(value), None),
            },
            Command::Key(key, command) => match self.refusal() {
                Some(reply) => reply,
                None => return self.on_key_command(context, from, id, key, command),
            },
            Command::WritePairTo(_, value) => match self.refusal() {
                Some(reply) => reply,
                None => return self.write_pair(context, from, id, value),
            },
            Command::Info => Reply::Info(self.info(context).into()),
            Command::Role => Reply::Role { primary: self.is_primary() },
            Command::Replication => {
                let History { id, offset, .. } = self.history;
                Reply::Replication { id, offset }
            }
            Command::Subscribe => {
                self.subscribe(from);
                Reply::Done
            }
            Command::Publish(hello) => {
                self.publish(context, hello);
                Reply::Done
            }
            _ if self.is_loading() => Reply::Loading,
            Command::Listen => {
                self.on_session(from, |session| session.listens = true);
                Reply::Done
            }
            Command::Broadcast(value) => {
                let listening = self.sessions.iter().filter(|session| session.listens);
                let to: Vec<ConnectionId> = listening.map(|session| session.connection).collect();
                for connection in &to {
                    context.send(*connection, Packet::Broadcast(value));
                }
                Reply::Count(to.len() as u64)
            }
            Command::Ping => self.ping(),
            Command::Count | Command::Get(_) if self.is_stale() => Reply::MasterDown,
            Command::Get(key) => self.read_key(context, key),
            Command::Count => Reply::Count(self.log.len()),
            Command::Wait { offset, replicas, timeout } => {
                return self.wait(context, (from, id), (offset, u32::from(replicas)), timeout);
            }
            Command::ReplicaOf(primary) => return self.reconfigure(context, (from, id), primary),
            Command::Follow(primary) => {
                self.replicate_from(context, primary);
                Reply::Done
            }
            // Not for servers.
            Command::GetPrimary(_)
            | Command::GetReplicas(_)
            | Command::IsPrimaryDown { .. }
            | Command::WriteTo(..)
            | Command::ClusterSlots
            | Command::Asking
            | Command::SetSlot(..)
            | Command::Migrate { .. } => Reply::Done,
        };
        context.send(from, Packet::Reply { id, reply });
    }

    /// Why a write is refused now (`processCommand`, in its order).
    #[inline]
    pub(super) fn refusal(&self) -> Option<Reply> {
        if self.writable {
            return None;
        }
        Some(if self.is_loading() {
            Reply::Loading
        } else if self.upstream.is_some() {
            Reply::ReadOnly
        } else if self.saving.refuses_writes(&self.spec.parameters) {
            Reply::Misconf
        } else {
            Reply::NoReplicas
        })
    }

    fn ping(&self) -> Reply {
        if self.saving.refuses_writes(&self.spec.parameters) {
            Reply::Misconf
        } else if self.is_stale() {
            Reply::MasterDown
        } else {
            Reply::Pong
        }
    }

    /// True while it reads files and answers nearly everything with `-LOADING`.
    pub fn is_loading(&self) -> bool {
        self.starting || self.upstream.as_ref().is_some_and(Upstream::is_loading)
    }

    fn is_stale(&self) -> bool {
        !self.spec.parameters.replica_serve_stale_data && self.upstream.is_some() && !self.link_is_up()
    }

    fn info(&self, context: &impl Context<Self>) -> Info {
        let role = match &self.upstream {
            None => RoleInfo::Primary { replicas: self.downstream.processes().collect() },
            Some(upstream) => RoleInfo::Replica {
                primary: upstream.primary,
                link_up: upstream.state == LinkState::Connected,
                link_down_for: match upstream.down_since {
                    Some(since) => Some(context.monotonic().since(since)),
                    None if release::Change::NeverConnectedIsMinusOne.is_in(self.spec.parameters.version) => {
                        None
                    }
                    None => Some(SINCE_1970),
                },
                offset: self.history.offset,
                priority: self.spec.parameters.replica_priority,
            },
        };
        Info { run_id: self.run_id, role }
    }

    fn subscribe(&mut self, connection: ConnectionId) {
        self.on_session(connection, |session| session.subscribed = true);
    }

    fn on_session(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.connection == connection) {
            change(session);
        }
    }

    fn publish(&self, context: &mut impl Context<Self>, hello: Hello) {
        for session in self.sessions.iter().filter(|session| session.subscribed) {
            context.send(session.connection, Packet::Message(hello));
        }
    }

    /// The transaction of Sentinel: the role changes, the file is rewritten, and every client but the sender is cut
    /// off ([`super::standstill`]).
    fn reconfigure(&mut self, context: &mut impl Context<Self>, asked_by: Asker, primary: Option<ProcessId>) {
        if self.follows() != primary {
            context.note(|| match primary {
                Some(primary) => format!("{REPLICA_OF}{} enabled (user request)", primary.index()),
                None => format!("{MASTER_MODE} (user request)"),
            });
        }
        self.replicate_from(context, primary);
        self.begin_rewrite(context, asked_by);
    }
}
