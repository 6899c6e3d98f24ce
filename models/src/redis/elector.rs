//! An operator who elects a primary by hand, in a group that no Sentinel watches.
//!
//! The command `elect redis-3 redis-4 redis-5`, or `elect` for all servers, is `elect!` of Jepsen's harness of 2013 (commit b7cf6fc of
//! jepsen-io/jepsen; RZ-02 of the fidelity specification):
//!
//! ```text
//! each of them: INFO replication -> the best of them: REPLICAOF NO ONE -> each of the others: REPLICAOF the best
//! ```
//!
//! The best one is that with the largest offset there, the first of equals ([`Election::Offset`]). Offsets of two histories are compared then,
//! which means nothing: a primary that was cut off goes on writing, and overtakes the one that was elected in its place. With
//! [`Election::History`] the operator remembers the replication id of each primary that was elected, and a server that follows a later one
//! is better, whatever its offset.
//!
//! The harness asks for each offset on a new connection, and has an exception if it is not answered. Here connections are kept, and at the
//! first error the operator gives up and leaves everything as it is. What was remembered is gone when the process dies.

use std::cmp::Reverse;
use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId};

use super::history::ReplicationId;
use super::link::{LinkNews, Links};
use super::packet::{Command, Packet, Reply};

/// Who is the best.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Election {
    /// The server with the largest replication offset.
    #[default]
    Offset,
    /// The one that follows the primary that was elected last; of several, the one with the largest offset.
    History,
}

/// The configuration of an [`Elector`].
#[derive(Clone, Debug)]
pub struct ElectorSpec {
    /// The servers, by name.
    pub servers: Arc<[(String, ProcessId)]>,
    /// Who is the best.
    pub election: Election,
}

/// An operator who elects.
#[derive(Clone, Debug)]
pub struct Elector {
    spec: ElectorSpec,
    links: Links,
    task: Option<Task>,
    /// The streams of the primaries that were elected, in this order.
    histories: Vec<ReplicationId>,
    elected: Option<ProcessId>,
}

/// An election under way.
#[derive(Clone, Debug)]
struct Task {
    /// The servers among which is elected, by their places.
    servers: Vec<usize>,
    step: Step,
    /// The place of the best one so far, and how good it is: its epoch and its offset.
    best: Option<(usize, (usize, u64))>,
}

/// What it waits for an answer to; servers by their place in the task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Asking(usize),
    Promoting,
    /// The promoted one is asked for the name of its stream.
    Naming,
    Pointing(usize),
}

impl Task {
    /// `elect redis-3 redis-4`; without names, all.
    fn parsed(command: &str, servers: &[(String, ProcessId)]) -> Option<Self> {
        let mut words = command.split(' ');
        let is_known = words.next() == Some("elect");
        let place = |word: &str| servers.iter().position(|(name, _)| name == word);
        let named: Vec<usize> = words.map(place).collect::<Option<_>>().filter(|_| is_known)?;
        let servers = if named.is_empty() { (0..servers.len()).collect() } else { named };
        Some(Self { servers, step: Step::Asking(0), best: None })
    }

    /// Whom the present step is about, by the place among all servers, and what is asked.
    fn request(&self, servers: &[(String, ProcessId)]) -> Option<(usize, Command)> {
        let best = self.best.map(|(server, _)| server);
        Some(match self.step {
            Step::Asking(place) => (*self.servers.get(place)?, Command::Replication),
            Step::Promoting => (best?, Command::Follow(None)),
            Step::Naming => (best?, Command::Replication),
            Step::Pointing(place) => {
                let mut others = self.servers.iter().filter(|server| Some(**server) != best);
                (*others.nth(place)?, Command::Follow(Some(servers[best?].1)))
            }
        })
    }
}

impl Elector {
    /// Whom it has elected last.
    pub fn elected(&self) -> Option<ProcessId> {
        self.elected
    }

    /// The place of a stream among those of elected primaries, from 1; 0 if it is none of them, or nobody looks.
    fn epoch(&self, id: ReplicationId) -> usize {
        match self.spec.election {
            Election::Offset => 0,
            Election::History => self.histories.iter().rposition(|known| *known == id).map_or(0, |at| at + 1),
        }
    }

    fn go_on(&mut self, context: &mut impl Context<Self>) {
        let Some(task) = &self.task else { return };
        match task.request(&self.spec.servers) {
            Some((server, command)) => self.links.request(context, server, command),
            None => self.task = None,
        }
    }

    /// The step after an answer; none: it cannot go on.
    fn next(&mut self, context: &mut impl Context<Self>, reply: &Reply) -> Option<Step> {
        let task = self.task.as_ref()?;
        Some(match (task.step, reply) {
            (Step::Asking(place), Reply::Replication { id, offset }) => {
                let (server, rank) = (*task.servers.get(place)?, (self.epoch(*id), *offset));
                let best = [task.best, Some((server, rank))].into_iter().flatten();
                let best = best.min_by_key(|(_, rank)| Reverse(*rank));
                let is_last = place + 1 == task.servers.len();
                if let Some((server, (epoch, offset))) = best.filter(|_| is_last) {
                    let name = &self.spec.servers[server].0;
                    context.note(|| format!("promotes {name}: epoch {epoch}, offset {offset}"));
                }
                self.task.as_mut()?.best = best;
                if is_last { Step::Promoting } else { Step::Asking(place + 1) }
            }
            (Step::Promoting, Reply::Done) => {
                self.elected = task.best.map(|(server, _)| self.spec.servers[server].1);
                Step::Naming
            }
            (Step::Naming, Reply::Replication { id, .. }) => {
                self.histories.push(*id);
                Step::Pointing(0)
            }
            (Step::Pointing(place), Reply::Done) => Step::Pointing(place + 1),
            _ => return None,
        })
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: &LinkNews) {
        let next = match news {
            LinkNews::Nothing => return,
            LinkNews::Failed => None,
            LinkNews::Answer(reply) => self.next(context, reply),
        };
        let Some(task) = &mut self.task else { return };
        if let Some(step) = next {
            task.step = step;
            self.go_on(context);
        } else {
            context.note(|| format!("gives up: {:?} was answered with {news:?}", task.step));
            self.task = None;
        }
    }
}

impl Process for Elector {
    type Spec = ElectorSpec;
    type Packet = Packet;
    type Timer = ();
    type Storage = ();

    fn boot(spec: &ElectorSpec, _: &mut impl Context<Self>) -> Self {
        let links = Links::to(spec.servers.iter().map(|(_, server)| *server));
        Self { links, task: None, histories: Vec::new(), elected: None, spec: spec.clone() }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else { return };
        let news = self.links.on_packet(context, connection, &packet);
        self.hear(context, &news);
    }

    fn on_timer(&mut self, _: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        let news = self.links.on_connection(context, connection, event);
        self.hear(context, &news);
    }

    fn on_command(&mut self, context: &mut impl Context<Self>, command: &str) -> bool {
        if self.task.is_some() {
            return false;
        }
        self.task = Task::parsed(command, &self.spec.servers);
        let is_known = self.task.is_some();
        self.go_on(context);
        is_known
    }

    fn plays(&self, role: &str) -> bool {
        role == "operator"
    }

    fn role(&self) -> &'static str {
        "operator"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_whole() {
        let servers: Vec<(String, ProcessId)> =
            (0..3).map(|index| (format!("redis-{}", index + 1), ProcessId::from_index(index))).collect();
        let read = |command: &str| Task::parsed(command, &servers).map(|task| task.servers);
        assert_eq!(read("elect"), Some(vec![0, 1, 2]));
        assert_eq!(read("elect redis-3 redis-2"), Some(vec![2, 1]));
        for wrong in ["elect redis-4", "elect redis-1,redis-2", "elects", "reshard 3 from 1 to 2"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
