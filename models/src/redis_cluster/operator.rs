//! An operator who moves slots: `redis-cli --cluster reshard`.
//!
//! The command `reshard 3 from 1 to 2` moves the first three slots of node 1 to node 2, one after the other:
//!
//! ```text
//! who owns what? -> target: SETSLOT IMPORTING -> source: SETSLOT MIGRATING -> source: MIGRATE, ten lists at a time, until none is left
//!                -> SETSLOT NODE on the target, on the source, on the other primaries -> the next slot
//! ```
//!
//! At the first error, or when a node is not reached, it gives up and leaves everything as it is; so does who kills it. Nobody
//! goes on with that: `redis-cli --cluster fix`, which would, is not modelled.
//!
//! # Sources
//!
//! `redis-cli.c` of Redis 7 (`clusterManagerMoveSlot`, `clusterManagerMigrateKeysInSlot`; pipeline 10, time-out 60 s). Before 7.0,
//! `SETSLOT NODE` went to all primaries in the order of a list (pull request 10381): here, that of their names. The real program asks
//! for the names of keys and then moves those, with two requests; and it refuses to begin when nodes disagree.

use std::collections::BTreeSet;
use std::sync::Arc;

use sim_core::{ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, SimDuration};

use super::config::Release;
use super::message::NodeId;
use super::resharding::SetSlot;
use super::slots::{Slot, Slots};
use crate::redis::{Command, LinkNews, Links, Packet, Reply};

/// `--cluster-pipeline`: lists that one `MIGRATE` moves, at most.
const PIPELINE: u8 = 10;
/// `--cluster-timeout`: how long a `MIGRATE` waits for the target, at most.
const TIMEOUT: SimDuration = SimDuration::from_secs(60);

/// The configuration of a [`ClusterOperator`].
#[derive(Clone, Debug)]
pub struct ClusterOperatorSpec {
    /// All nodes, in the order of their names.
    pub nodes: Arc<[ProcessId]>,
    /// The release of `redis-cli`.
    pub release: Release,
    /// Lists that one `MIGRATE` moves, at most (`--cluster-pipeline`).
    pub pipeline: u8,
}

impl ClusterOperatorSpec {
    /// An operator with the defaults of `redis-cli`.
    pub fn new(nodes: Arc<[ProcessId]>, release: Release) -> Self {
        Self { nodes, release, pipeline: PIPELINE }
    }
}

/// An operator.
#[derive(Clone, Debug)]
pub struct ClusterOperator {
    spec: ClusterOperatorSpec,
    links: Links,
    task: Option<Task>,
}

/// What it is doing.
#[derive(Clone, Debug)]
struct Task {
    from: NodeId,
    to: NodeId,
    /// How many slots are to be moved.
    count: usize,
    /// What is left of them, the next one first.
    slots: Vec<Slot>,
    /// Who is told of a new owner, in this order.
    told: Vec<NodeId>,
    step: Step,
}

/// What it waits for an answer to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The slot map.
    Map,
    Importing,
    Migrating,
    Moving,
    /// `SETSLOT NODE`, from the node in this place.
    Telling(usize),
}

impl Task {
    /// `reshard 3 from 1 to 2`.
    fn parsed(command: &str, nodes: usize) -> Option<Self> {
        let mut words = command.strip_prefix("reshard ")?.split(' ');
        let count = words.next()?.parse().ok().filter(|count| *count > 0)?;
        let mut node = |before: &str| {
            let number = words.next().filter(|word| *word == before).and_then(|_| words.next())?;
            let index = number.parse::<u8>().ok()?.checked_sub(1)?;
            (usize::from(index) < nodes).then_some(NodeId(index))
        };
        let (from, to) = (node("from")?, node("to")?);
        let is_whole = words.next().is_none() && from != to;
        is_whole.then(|| Self { from, to, count, slots: Vec::new(), told: Vec::new(), step: Step::Map })
    }

    /// Whom the present step is about, and what is asked.
    fn request(&self, spec: &ClusterOperatorSpec) -> Option<(NodeId, Command)> {
        let slot = self.slots.first().copied();
        Some(match self.step {
            Step::Map => (self.from, Command::ClusterSlots),
            Step::Importing => (self.to, Command::SetSlot(slot?, SetSlot::Importing(self.from))),
            Step::Migrating => (self.from, Command::SetSlot(slot?, SetSlot::Migrating(self.to))),
            Step::Moving => {
                let to = spec.nodes[self.to.index()];
                let command = Command::Migrate { slot: slot?, lists: spec.pipeline, to, timeout: TIMEOUT };
                (self.from, command)
            }
            Step::Telling(place) => (*self.told.get(place)?, Command::SetSlot(slot?, SetSlot::Node(self.to))),
        })
    }

    /// Takes the slots to move, and the order in which the primaries are told, from a slot map.
    fn plan(&mut self, spec: &ClusterOperatorSpec, owners: &[Option<ProcessId>]) {
        let id = |process: ProcessId| {
            let index = spec.nodes.iter().position(|node| *node == process);
            index.map(|index| NodeId(index as u8))
        };
        let owners: Vec<Option<NodeId>> = owners.iter().map(|owner| owner.and_then(id)).collect();
        let mine = Slots::of(|slot| owners.get(usize::from(slot.0)) == Some(&Some(self.from)));
        self.slots = mine.iter().take(self.count).collect();
        let primaries: BTreeSet<NodeId> = owners.into_iter().flatten().chain([self.to]).collect();
        self.told = if spec.release > Release::Redis30 {
            let others = primaries.into_iter().filter(|id| *id != self.from && *id != self.to);
            [self.to, self.from].into_iter().chain(others).collect()
        } else {
            primaries.into_iter().collect()
        };
    }

    /// The step after an answer; none: it cannot go on.
    fn next(&mut self, spec: &ClusterOperatorSpec, reply: &Reply) -> Option<Step> {
        Some(match (self.step, reply) {
            (Step::Map, Reply::Slots(owners)) => {
                self.plan(spec, owners);
                Step::Importing
            }
            (Step::Importing, Reply::Done) => Step::Migrating,
            (Step::Moving, Reply::Count(0)) => Step::Telling(0),
            (Step::Migrating, Reply::Done) | (Step::Moving, Reply::Count(_)) => Step::Moving,
            (Step::Telling(place), reply) => {
                // A source without slots may have become a replica by the word of the target.
                let is_source = self.told.get(place) == Some(&self.from);
                let forgives = is_source && spec.release > Release::Redis30;
                if *reply != Reply::Done && !forgives {
                    return None;
                }
                if place + 1 < self.told.len() {
                    Step::Telling(place + 1)
                } else {
                    self.slots.remove(0);
                    Step::Importing
                }
            }
            _ => return None,
        })
    }
}

impl ClusterOperator {
    fn go_on(&mut self, context: &mut impl Context<Self>) {
        let Some(task) = &self.task else { return };
        if let Some((node, command)) = task.request(&self.spec) {
            self.links.request(context, node.index(), command);
        } else {
            context.note(|| "all slots are moved".to_owned());
            self.task = None;
        }
    }

    fn hear(&mut self, context: &mut impl Context<Self>, news: &LinkNews) {
        let Some(task) = &mut self.task else { return };
        let next = match news {
            LinkNews::Nothing => return,
            LinkNews::Failed => None,
            LinkNews::Answer(reply) => task.next(&self.spec, reply),
        };
        if let Some(step) = next {
            task.step = step;
            self.go_on(context);
        } else {
            context.note(|| format!("gives up: {:?} was answered with {news:?}", task.step));
            self.task = None;
        }
    }
}

impl Process for ClusterOperator {
    type Spec = ClusterOperatorSpec;
    type Packet = Packet;
    type Timer = ();
    type Storage = ();

    fn boot(spec: &ClusterOperatorSpec, _: &mut impl Context<Self>) -> Self {
        let links = Links::to(spec.nodes.iter().copied());
        Self { links, task: None, spec: spec.clone() }
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
        self.task = Task::parsed(command, self.spec.nodes.len());
        self.go_on(context);
        self.task.is_some()
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
        let read = |command: &str| Task::parsed(command, 6).map(|task| (task.count, task.from, task.to));
        assert_eq!(read("reshard 3 from 1 to 2"), Some((3, NodeId(0), NodeId(1))));
        for wrong in [
            "reshard 0 from 1 to 2",
            "reshard 3 from 1 to 1",
            "reshard 3 from 1 to 7",
            "reshard 3 from 0 to 2",
            "reshard 3 to 2 from 1",
            "reshard 3 from 1 to 2 now",
            "rebalance",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn from_7_0_on_the_target_is_told_first() {
        let nodes: Arc<[ProcessId]> = (0..6).map(ProcessId::from_index).collect();
        let owners = [1, 1, 0, 2].map(|node| Some(nodes[node]));
        let told = |release| {
            let mut task = Task::parsed("reshard 1 from 2 to 3", 6).unwrap();
            task.plan(&ClusterOperatorSpec::new(Arc::clone(&nodes), release), &owners);
            assert_eq!(task.slots, [Slot(0)]);
            task.told.iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(told(Release::Redis30), [0, 1, 2]);
        assert_eq!(told(Release::Redis70), [2, 1, 0]);
    }
}
