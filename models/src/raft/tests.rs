//! Safety of the core under message loss, crashes with loss of what was not synced, pauses and partitions.

use std::sync::Arc;

use sim_core::{
    Direction, Distribution, Fault, HostTime, LinkQuality, Mark, MarkKind, Probability, Probe, ProcessId,
    ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Stream, Target, Topology, Trigger,
    Violation, World, WorldBuilder,
};

use super::{Append, Config, Disk, Entry, Message, Node, NodeId, NodeSpec, Raft, Role, Term, Timing};

const MILLI: SimDuration = SimDuration::from_millis(1);

/// At most one leader in each term.
#[derive(Clone, Debug, Default)]
struct OneLeaderPerTerm(Vec<(u64, ProcessId)>);

impl Probe for OneLeaderPerTerm {
    fn on_mark(&mut self, mark: &Mark) -> Option<Violation> {
        let (MarkKind::Elected, Some(process)) = (mark.kind, mark.process) else {
            return None;
        };
        let other = self.0.iter().find(|(term, other)| *term == mark.value && *other != process);
        let violation = other.map(|(term, other)| Violation {
            at: mark.at,
            name: "two-leaders-in-one-term",
            detail: format!("{other:?} and {process:?} in term {term}"),
        });
        self.0.push((mark.value, process));
        violation
    }

    fn clone_box(&self) -> Box<dyn Probe> {
        Box::new(self.clone())
    }
}

fn cluster(nodes: usize, pre_vote: bool, loss: Probability, seed: u64) -> World<Node> {
    let link = LinkQuality { latency: Distribution::Uniform(MILLI, MILLI * 20), loss };
    let (mut topology, zone) = Topology::single_zone(&link);
    let hosts: Vec<_> = (0..nodes).map(|index| topology.add_host(zone, &format!("host-{index}"))).collect();
    let mut builder = WorldBuilder::new(topology);
    for (index, host) in hosts.into_iter().enumerate() {
        let volume = builder.add_volume(host, Disk::default(), &Distribution::Uniform(MILLI, MILLI * 40));
        let timing = Timing::Ticks { tick: MILLI * 100, election_ticks: 10 };
        builder.add_process(ProcessOptions {
            name: format!("node-{index}"),
            host,
            volume,
            starts_with_host: true,
            spec: NodeSpec {
                config: Config::etcd(NodeId(index as u8), nodes as u8, timing, pre_vote),
                nodes: (0..nodes).map(ProcessId::from_index).collect(),
                starts_after: (SimDuration::ZERO, SimDuration::ZERO),
                proposes_every: MILLI * 30,
            },
        });
    }
    let mut world = builder.build(Seed(seed));
    world.add_probe(Box::new(OneLeaderPerTerm::default()));
    world
}

/// Random trouble for 40 s.
fn trouble(seed: u64, nodes: usize) -> Schedule {
    let mut random = Seed(seed).stream("trouble", 0);
    let faults = (0..14).map(|_| {
        let node = random.below(nodes as u64);
        let target = if random.below(2) == 0 {
            Target::Role("raft-leader".into())
        } else {
            Target::Process(format!("node-{node}"))
        };
        let fault = match random.below(6) {
            0 => Fault::Kill { target },
            1 | 2 => Fault::PowerOff { target },
            3 => Fault::Pause { target },
            4 => Fault::DiskStall { target },
            _ => Fault::Partition {
                from: vec![target],
                to: vec![Target::Others],
                direction: [Direction::Both, Direction::Inbound, Direction::Outbound]
                    [random.below(3) as usize],
            },
        };
        ScheduledFault {
            trigger: Trigger::At(random.duration(SimDuration::ZERO, MILLI * 40_000)),
            fault,
            lasts: Some(random.duration(MILLI * 50, MILLI * 6_000)),
        }
    });
    Schedule(faults.collect())
}

/// What a test knows to be committed: each entry, and the newest term in the world when it was first seen to be.
#[derive(Default)]
struct Committed(Vec<(Entry<u64>, Term)>);

impl Committed {
    /// Compares all nodes with each other and with what was committed before.
    fn check(&mut self, world: &World<Node>) {
        let nodes: Vec<_> =
            world.process_ids().filter_map(|process| world.process(process)?.raft()).collect();
        let newest = nodes.iter().map(|raft| raft.term()).max().unwrap_or_default();
        for raft in &nodes {
            for index in 1..=raft.commit() {
                let entry = raft.log().get(index).expect("what is committed is in the log");
                match self.0.get(index as usize - 1) {
                    Some((known, _)) => assert_eq!(known, entry, "committed entry {index} changed"),
                    None => self.0.push((entry.clone(), newest)),
                }
            }
        }
        for raft in &nodes {
            if raft.role() == Role::Leader {
                for (index, (entry, committed_by)) in (1..).zip(&self.0) {
                    assert!(
                        raft.term() <= *committed_by || raft.log().get(index) == Some(entry),
                        "the leader of term {} lacks committed entry {index}",
                        raft.term()
                    );
                }
            }
            for other in &nodes {
                let last = raft.log().last_index().min(other.log().last_index());
                let equal = (1..=last)
                    .rfind(|index| raft.log().term_at(*index) == other.log().term_at(*index))
                    .unwrap_or(0);
                assert_eq!(
                    (1..=equal).find(|index| raft.log().get(*index) != other.log().get(*index)),
                    None,
                    "logs with the same term at {equal} differ before it"
                );
            }
        }
    }
}

fn survive(nodes: usize, pre_vote: bool, seed: u64) -> usize {
    let mut world = cluster(nodes, pre_vote, Probability::from_ppm(50_000), seed);
    world.schedule(&trouble(seed, nodes)).unwrap();
    let mut committed = Committed::default();
    for slice in 1..=250 {
        let end = world.run(SimTime::from_nanos(slice * 200_000_000), u64::MAX);
        assert_eq!(end, sim_core::EndReason::Horizon, "seed {seed}: {end:?}");
        committed.check(&world);
    }
    // 50 s: the trouble was over after 46 s at the latest, and everybody was told since.
    let leaders = world.process_ids().filter(|process| {
        world.process(*process).is_some_and(|node| sim_core::Process::plays(node, "raft-leader"))
    });
    assert_eq!(leaders.count(), 1, "seed {seed}");
    committed.0.len()
}

#[test]
fn logs_and_leaders_are_safe_in_trouble() {
    let mut committed = 0;
    for seed in 0..12 {
        committed += survive(3 + 2 * (seed as usize % 2), seed % 4 < 2, seed);
    }
    assert!(committed > 1_000, "progress was made: {committed} entries");
}

#[test]
fn a_leader_without_a_majority_resigns_within_two_election_timeouts() {
    let mut world = cluster(3, true, Probability::NEVER, 3);
    let cut = Fault::Partition {
        from: vec![Target::Role("raft-leader".into())],
        to: vec![Target::Others],
        direction: Direction::Both,
    };
    world
        .schedule(&Schedule(vec![ScheduledFault {
            trigger: Trigger::At(SimDuration::from_secs(10)),
            fault: cut,
            lasts: None,
        }]))
        .unwrap();
    world.run(SimTime::from_nanos(9_900_000_000), u64::MAX);
    let leader = world
        .process_ids()
        .find(|process| sim_core::Process::plays(world.process(*process).unwrap(), "raft-leader"))
        .unwrap();
    let leads = |world: &World<Node>| sim_core::Process::plays(world.process(leader).unwrap(), "raft-leader");
    world.run(SimTime::from_nanos(10_900_000_000), u64::MAX);
    assert!(leads(&world), "one whole window has to pass");
    world.run(SimTime::from_nanos(12_200_000_000), u64::MAX);
    assert!(!leads(&world));
}

/// A node that was cut off comes back with a newer term only if it could raise it alone: not with pre-vote.
#[test]
fn only_without_pre_vote_a_returning_node_forces_an_election() {
    for (pre_vote, elections) in [(true, 1), (false, 2)] {
        let mut world = cluster(3, pre_vote, Probability::NEVER, 5);
        let cut = Fault::Partition {
            from: vec![Target::Role("raft-follower".into())],
            to: vec![Target::Others],
            direction: Direction::Both,
        };
        world
            .schedule(&Schedule(vec![ScheduledFault {
                trigger: Trigger::At(SimDuration::from_secs(10)),
                fault: cut,
                lasts: Some(SimDuration::from_secs(10)),
            }]))
            .unwrap();
        world.run(SimTime::from_nanos(40_000_000_000), u64::MAX);
        let elected = world.marks().iter().filter(|mark| mark.kind == MarkKind::Elected).count();
        assert_eq!(elected, elections, "pre-vote {pre_vote}");
    }
}

/// A node of three with a log of these terms, and its messages after everything is durable.
fn alone(terms: &[u64], term: u64) -> (Raft<u64>, Stream) {
    let mut disk = Disk::default();
    for term in terms {
        disk.log.push(Entry { term: Term(*term), payload: None });
    }
    disk.hard_state.term = Term(term);
    let timing = Timing::Ticks { tick: MILLI * 100, election_ticks: 10 };
    let mut random = Seed(1).stream("node", 0);
    let config = Config::etcd(NodeId(0), 3, timing, false);
    let raft = Raft::new(config, &disk, HostTime::ZERO, &mut random);
    (raft, random)
}

/// Writes and syncs, and gives the messages that left.
fn settle(raft: &mut Raft<u64>, random: &mut Stream) -> Vec<(NodeId, Message<u64>)> {
    while raft.begin_write().is_some_and(|write| write.must_sync) {
        raft.on_persisted(HostTime::ZERO, random);
    }
    std::iter::from_fn(|| raft.next_message()).collect()
}

#[test]
fn votes_and_acknowledgements_leave_only_after_the_sync() {
    let (mut raft, mut random) = alone(&[], 1);
    let request = Message::VoteRequest { term: Term(2), last_term: Term(1), last_index: 1, pre: false };
    let append = Message::Append(Arc::new(Append {
        term: Term(2),
        previous_index: 0,
        previous_term: Term(0),
        commit: 1,
        entries: vec![Entry { term: Term(2), payload: Some(7) }],
    }));
    for message in [request, append] {
        raft.step(HostTime::ZERO, NodeId(1), message, &mut random);
        assert!(raft.begin_write().is_some_and(|write| write.must_sync));
        assert!(raft.next_message().is_none(), "not durable yet");
        assert!(raft.next_committed().is_none(), "not durable yet");
        raft.on_persisted(HostTime::ZERO, &mut random);
        assert!(raft.next_message().is_some());
    }
    assert!(raft.next_committed().is_some());
}

/// The thesis, figure 3.7: an entry of an older term that a majority holds may still be replaced.
#[test]
fn a_leader_commits_older_entries_only_with_one_of_its_own_term() {
    let (mut raft, mut random) = alone(&[1, 2], 2);
    let deadline = raft.election_deadline().unwrap();
    raft.on_election_timer(deadline, &mut random);
    settle(&mut raft, &mut random);
    let vote = Message::Vote { term: Term(3), granted: true, pre: false };
    raft.step(deadline, NodeId(1), vote, &mut random);
    assert_eq!(raft.role(), Role::Leader);
    settle(&mut raft, &mut random);
    let held = |index| Message::Appended { term: Term(3), index };
    raft.step(deadline, NodeId(1), held(2), &mut random);
    assert_eq!(raft.commit(), 0, "the entry of term 2 has a majority, but term 3 has none");
    raft.step(deadline, NodeId(1), held(3), &mut random);
    assert_eq!(raft.commit(), 3);
}

/// One follower's acknowledgement and the leader's own entry are a majority only when the latter is durable.
#[test]
fn a_leader_counts_its_own_entries_only_when_they_are_durable() {
    let (mut raft, mut random) = alone(&[], 1);
    let deadline = raft.election_deadline().unwrap();
    raft.on_election_timer(deadline, &mut random);
    settle(&mut raft, &mut random);
    let vote = Message::Vote { term: Term(2), granted: true, pre: false };
    raft.step(deadline, NodeId(2), vote, &mut random);
    assert!(raft.begin_write().is_some_and(|write| write.must_sync));
    assert!(raft.next_message().is_some(), "a leader sends before it syncs");
    let held = Message::Appended { term: Term(2), index: 1 };
    raft.step(deadline, NodeId(1), held, &mut random);
    assert_eq!(raft.commit(), 0);
    raft.on_persisted(deadline, &mut random);
    assert_eq!(raft.commit(), 1);
}
