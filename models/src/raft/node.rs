//! A Raft server alone, without an application: for experiments with elections, and for tests of the core.
//!
//! Nodes talk in datagrams. Each leaves [`MarkKind::Elected`] with its term when it becomes leader, and
//! [`MarkKind::Agreed`] with the term when it first hears the leader of a term.

use sim_core::{
    ConnectionEvent, ConnectionId, Context, MarkKind, Origin, Process, ProcessId, SimDuration, SyncId,
};

use super::{Condition, Config, Disk, DiskRecord, LogIndex, Message, NodeId, Raft, Role, Term};

/// How a node of an experiment is set up.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its settings.
    pub config: Config,
    /// The processes of all nodes, by position.
    pub nodes: Vec<ProcessId>,
    /// It begins to wait for a leader this long after the start: the skew of the last heartbeat before.
    pub starts_after: (SimDuration, SimDuration),
    /// A leader proposes a number this often; zero for never.
    pub proposes_every: SimDuration,
}

/// What a node can be woken for.
#[derive(Clone, Debug, Hash, PartialEq)]
pub enum NodeTimer {
    /// It begins.
    Start,
    /// No leader was heard.
    Election,
    /// The leader speaks.
    Heartbeat,
    /// The leader proposes.
    Propose,
}

/// A Raft server whose entries are numbers.
#[derive(Clone, Debug)]
pub struct Node {
    spec: NodeSpec,
    raft: Option<Raft<u64>>,
    /// What was applied, in order.
    applied: Vec<(LogIndex, Option<u64>)>,
    leader_heard: Term,
    led: Term,
    proposals: u64,
}

impl Node {
    /// The core, once it has begun.
    pub fn raft(&self) -> Option<&Raft<u64>> {
        self.raft.as_ref()
    }

    /// Everything that it applied since it booted.
    pub fn applied(&self) -> &[(LogIndex, Option<u64>)] {
        &self.applied
    }

    fn start(&mut self, context: &mut impl Context<Self>) {
        let now = context.monotonic();
        let disk = context.storage().clone();
        match disk.condition {
            Condition::Sound => {}
            Condition::Ended => context.write(DiskRecord::repair(&disk)),
            Condition::Corrupt => {
                context.note(|| "cannot read its log: wrong checksum".to_owned());
                return context.kill(context.me());
            }
        }
        self.raft = Some(Raft::new(self.spec.config.clone(), &disk, now, context.random()));
        self.drive(context);
    }

    /// Carries out what the core wants.
    fn drive(&mut self, context: &mut impl Context<Self>) {
        let Some(raft) = &mut self.raft else { return };
        let now = context.monotonic();
        if raft.has_lost_log() {
            context.note(|| "ends: its leader counts on entries that its disk has lost".to_owned());
            return context.kill(context.me());
        }
        if let Some(write) = raft.begin_write() {
            let record = DiskRecord::of(&write);
            let must_sync = write.must_sync;
            context.write(record);
            if must_sync {
                context.sync();
            }
        }
        while let Some((to, message)) = raft.next_message() {
            context.send_datagram(self.spec.nodes[to.index()], message);
        }
        while let Some((index, entry)) = raft.next_committed() {
            self.applied.push((index, entry.payload));
        }
        if let Some(deadline) = raft.election_deadline() {
            context.set_timer(NodeTimer::Election, deadline.since(now));
        }
        if let Some(due) = raft.next_heartbeat() {
            context.set_timer(NodeTimer::Heartbeat, due.since(now));
        }
        let term = raft.term();
        if raft.role() == Role::Leader && self.led < term {
            self.led = term;
            context.mark(MarkKind::Elected, term.0);
            if self.spec.proposes_every > SimDuration::ZERO {
                context.set_timer(NodeTimer::Propose, self.spec.proposes_every);
            }
        } else if raft.role() == Role::Follower && raft.leader().is_some() && self.leader_heard < term {
            self.leader_heard = term;
            context.mark(MarkKind::Agreed, term.0);
        }
    }
}

impl Process for Node {
    type Spec = NodeSpec;
    type Packet = Message<u64>;
    type Timer = NodeTimer;
    type Storage = Disk<u64>;

    fn boot(spec: &NodeSpec, context: &mut impl Context<Self>) -> Self {
        let mut node = Self {
            spec: spec.clone(),
            raft: None,
            applied: Vec::new(),
            leader_heard: Term(0),
            led: Term(0),
            proposals: 0,
        };
        let (low, high) = spec.starts_after;
        if high == SimDuration::ZERO {
            node.start(context);
        } else {
            let delay = context.random().duration(low, high);
            context.set_timer(NodeTimer::Start, delay);
        }
        node
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Message<u64>) {
        let (Some(raft), Some(from)) =
            (&mut self.raft, self.spec.nodes.iter().position(|node| *node == from.process()))
        else {
            return;
        };
        raft.step(context.monotonic(), NodeId(from as u8), packet, context.random());
        self.drive(context);
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, timer: NodeTimer) {
        let now = context.monotonic();
        match (timer, &mut self.raft) {
            (NodeTimer::Start, None) => self.start(context),
            (NodeTimer::Election, Some(raft)) => raft.on_election_timer(now, context.random()),
            (NodeTimer::Heartbeat, Some(raft)) => raft.on_heartbeat_timer(now, context.random()),
            (NodeTimer::Propose, Some(raft)) => {
                self.proposals += 1;
                let number = raft.term().0 << 32 | self.proposals;
                if raft.propose(number).is_ok() {
                    context.set_timer(NodeTimer::Propose, self.spec.proposes_every);
                }
            }
            _ => {}
        }
        self.drive(context);
    }

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, _sync: SyncId) {
        if let Some(raft) = &mut self.raft {
            raft.on_persisted(context.monotonic(), context.random());
        }
        self.drive(context);
    }

    fn plays(&self, role: &str) -> bool {
        let Some(raft) = &self.raft else { return false };
        match role {
            "raft-leader" => raft.role() == Role::Leader,
            "raft-follower" => raft.role() != Role::Leader,
            "raft" => true,
            _ => false,
        }
    }

    fn role(&self) -> &'static str {
        match &self.raft {
            Some(raft) if raft.role() == Role::Leader => "raft-leader",
            Some(_) => "raft-follower",
            None => "",
        }
    }
}
