//! The server connections of `PgBouncer`: made, lent to clients, checked, given back and dropped.

use sim_core::{Context, ProcessId};

use super::{OWN_QUERY, PgBouncer, PgBouncerTimer, PoolMode, Server, ServerState, find, put};
use crate::postgres::{Answer, Packet};

impl PgBouncer {
    pub(super) fn last_used_idle(&self) -> Option<usize> {
        let idle = self.servers.iter().enumerate().filter_map(|(index, server)| {
            let server = server.filter(|server| server.state == ServerState::Idle)?;
            Some((server.last_used, index))
        });
        idle.max().map(|(_, index)| index)
    }

    pub(super) fn has_logged_in_servers(&self) -> bool {
        self.servers.iter().flatten().any(|server| server.state != ServerState::Login)
    }

    pub(super) fn launch_connection(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let looks_up = self.name.is_some_and(|name| name.is_awaited());
        if looks_up || find(&self.servers, |server| server.state == ServerState::Login).is_some() {
            return;
        }
        if self.last_connect_failed && now.since(self.last_connect) < self.spec.server_login_retry {
            return self.schedule_retry(context);
        }
        if self.servers.iter().flatten().count() >= self.spec.pool_size {
            return;
        }
        if self.name.is_some() {
            self.last_connect = now;
            self.look_up(context);
        } else if let Some(upstream) = self.upstream {
            self.last_connect = now;
            self.connect_to(context, upstream);
        }
    }

    /// Has those who wait looked at again when the next attempt to connect is allowed.
    pub(super) fn schedule_retry(&self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let left = self.spec.server_login_retry.saturating_sub(now.since(self.last_connect));
        let delay = self.name.map_or(left, |name| name.round_after(now, left));
        context.set_timer(PgBouncerTimer::LoginRetry, delay);
    }

    /// The attempt to connect that has begun goes to this address.
    pub(super) fn connect_to(&mut self, context: &mut impl Context<Self>, address: ProcessId) {
        let now = context.monotonic();
        let server = Server {
            connection: context.connect(address, self.spec.options),
            address,
            state: ServerState::Login,
            last_used: now,
            obsolete: false,
        };
        put(&mut self.servers, server);
        let mut timeout = self.spec.server_connect_timeout;
        if let Some(name) = self.name {
            // The connection has a timer of its own, and the janitor counts from the start of the attempt.
            let left = timeout.saturating_sub(now.since(self.last_connect));
            timeout = timeout.min(name.round_after(now, left));
        }
        context.set_timer(PgBouncerTimer::ServerConnect, timeout);
    }

    fn logged_in(&mut self, context: &mut impl Context<Self>, index: usize, answer: Answer) {
        if let Answer::InRecovery(in_recovery) = answer {
            self.welcome = Some(in_recovery);
        }
        context.cancel_timer(&PgBouncerTimer::ServerConnect);
        self.last_connect_failed = false;
        self.release(context, index);
    }

    /// A server connection (again) belongs to nobody.
    pub(super) fn release(&mut self, context: &mut impl Context<Self>, index: usize) {
        if self.servers[index].is_some_and(|server| server.obsolete) {
            self.drop_server(context, index);
        } else if let Some(server) = self.servers[index].as_mut() {
            server.state = ServerState::Idle;
            server.last_used = context.monotonic();
        }
        self.serve_queue(context);
    }

    pub(super) fn drop_server(&mut self, context: &mut impl Context<Self>, index: usize) {
        if let Some(server) = self.servers[index].take() {
            context.close(server.connection);
        }
    }

    /// The attempt to connect that ran is over, without a login.
    pub(super) fn attempt_failed(&mut self, context: &mut impl Context<Self>) {
        context.cancel_timer(&PgBouncerTimer::ServerConnect);
        self.last_connect_failed = true;
    }

    /// A server connection ended, or could not be had.
    pub(super) fn server_lost(&mut self, context: &mut impl Context<Self>, index: usize) {
        let Some(server) = self.servers[index] else {
            return;
        };
        self.drop_server(context, index);
        match server.state {
            ServerState::Login => {
                self.attempt_failed(context);
                context.note(|| "connecting to the server failed".to_owned());
            }
            ServerState::Active(slot) => {
                if let Some(client) = self.clients[slot].as_mut() {
                    client.server = None;
                    client.running = false;
                }
                self.drop_client(context, slot);
            }
            ServerState::Idle | ServerState::Tested => {}
        }
        self.serve_queue(context);
    }

    pub(super) fn on_answer(
        &mut self,
        context: &mut impl Context<Self>,
        index: usize,
        query: u64,
        packet: Packet,
    ) {
        let Some(server) = self.servers[index] else {
            return;
        };
        let answer = if let Packet::Answer { answer, .. } = packet { Some(answer) } else { None };
        let refused = matches!(answer, Some(Answer::StartingUp | Answer::ShuttingDown));
        match server.state {
            ServerState::Login | ServerState::Tested if refused => self.server_lost(context, index),
            ServerState::Login => {
                if let Some(answer) = answer {
                    self.logged_in(context, index, answer);
                }
            }
            ServerState::Tested => self.release(context, index),
            ServerState::Active(slot) if query != OWN_QUERY => {
                let Some(client) = self.clients[slot].as_mut() else {
                    return;
                };
                context.send(client.connection, packet.into());
                client.running = false;
                if self.spec.pool_mode == PoolMode::Transaction && !refused {
                    client.server = None;
                    self.release(context, index);
                }
            }
            ServerState::Active(_) | ServerState::Idle => {}
        }
    }

    /// SIGHUP: the configuration says that the database is there (`set_autodb`, `tag_autodb_dirty`).
    pub(super) fn reload(&mut self, context: &mut impl Context<Self>, host: ProcessId) {
        if self.upstream.replace(host) == Some(host) {
            return;
        }
        context.write(host);
        context.sync();
        self.welcome = None;
        for index in 0..self.servers.len() {
            if self.servers[index].is_some_and(|server| server.state == ServerState::Login) {
                self.attempt_failed(context);
                self.drop_server(context, index);
            } else {
                self.retire(context, index);
            }
        }
        self.serve_queue(context);
    }

    /// A connection leads to where the database is no longer: it ends, at once or when it is given back.
    pub(super) fn retire(&mut self, context: &mut impl Context<Self>, index: usize) {
        let Some(server) = self.servers[index].as_mut() else {
            return;
        };
        match server.state {
            ServerState::Active(_) | ServerState::Login => server.obsolete = true,
            ServerState::Idle | ServerState::Tested => self.drop_server(context, index),
        }
    }
}
