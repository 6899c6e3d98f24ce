//! Strategies of proptest, for tests of one's own: schedules and clusters.
//!
//! A schedule is drawn as a swarm draws it, from a seed that proptest draws. It shrinks by the steps of [`crate::shrink`],
//! and not as a tuple of numbers would: faults go, in halves first; those that are left become shorter and weaker, and
//! their times earlier and rounder. proptest keeps the seeds of what failed in its own files of regressions.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::TestRunner;
use sim_core::{Schedule, Seed, SwarmConfig};

use crate::scenario::{Scenario, TopologyPreset};
use crate::shrink::weaken::simpler;

/// Schedules of a swarm; see [`schedules`].
#[derive(Clone, Debug)]
pub struct Schedules(SwarmConfig);

/// Schedules as this swarm draws them.
pub const fn schedules(swarm: SwarmConfig) -> Schedules {
    Schedules(swarm)
}

impl Strategy for Schedules {
    type Tree = ScheduleTree;
    type Value = Schedule;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = any::<u64>().new_tree(runner)?.current();
        Ok(ScheduleTree::new(self.0.schedule(Seed(seed)), self.0.clone()))
    }
}

/// A schedule on its way to a simpler one.
#[derive(Clone, Debug)]
pub struct ScheduleTree {
    swarm: SwarmConfig,
    /// The simplest that is known to fail.
    best: Schedule,
    /// What is being tried.
    proposal: Option<Schedule>,
    /// What may be tried next.
    pending: VecDeque<Schedule>,
    tried: BTreeSet<String>,
}

impl ScheduleTree {
    fn new(schedule: Schedule, swarm: SwarmConfig) -> Self {
        Self { swarm, best: schedule, proposal: None, pending: VecDeque::new(), tried: BTreeSet::new() }
    }

    /// Proposes the next that was not tried. False if there is none.
    fn propose(&mut self) -> bool {
        while let Some(next) = self.pending.pop_front() {
            let form = serde_json::to_string(&next).expect("a schedule has a form in JSON");
            if self.tried.insert(form) {
                self.proposal = Some(next);
                return true;
            }
        }
        false
    }
}

impl ValueTree for ScheduleTree {
    type Value = Schedule;

    fn current(&self) -> Schedule {
        self.proposal.as_ref().unwrap_or(&self.best).clone()
    }

    /// What is being tried fails: it is the best.
    fn simplify(&mut self) -> bool {
        if let Some(failed) = self.proposal.take() {
            self.best = failed;
        }
        self.pending = simpler(&self.best, self.swarm.from).into();
        self.propose()
    }

    /// What is being tried does not fail: back to the best, and to the next.
    fn complicate(&mut self) -> bool {
        self.proposal = None;
        self.propose()
    }
}

/// The size and the place of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClusterShape {
    /// Members of the cluster.
    pub members: u8,
    /// Members of etcd, an odd number.
    pub etcd: u8,
    /// Regions and zones.
    pub topology: TopologyPreset,
}

impl ClusterShape {
    /// The scenario on a cluster of this shape.
    #[must_use]
    pub fn of(self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.clone();
        scenario.cluster.members = self.members;
        scenario.cluster.etcd = Some(self.etcd);
        scenario.cluster.topology = self.topology;
        scenario
    }
}

/// Clusters of two to five members with one to five members of etcd. They shrink to two members and one of etcd in one
/// zone.
pub fn clusters() -> impl Strategy<Value = ClusterShape> {
    let topologies = prop::sample::select(vec![
        TopologyPreset::OneZone,
        TopologyPreset::ThreeZones,
        TopologyPreset::TwoRegions,
        TopologyPreset::ThreeRegions,
    ]);
    (2..=5_u8, 0..=2_u8, topologies).prop_map(|(members, pairs, topology)| ClusterShape {
        members,
        etcd: 2 * pairs + 1,
        topology,
    })
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config, TestError};
    use sim_core::{Composition, Probability};

    use super::*;
    use crate::catalogue;
    use crate::scenario::FaultPlan;

    fn swarm() -> SwarmConfig {
        let scenarios = catalogue::scenarios().unwrap();
        let scenario = scenarios.iter().find(|scenario| scenario.name == "patroni/swarm/async").unwrap();
        let FaultPlan::Swarm(swarm) = &scenario.faults else { panic!("it is a swarm") };
        let composition = Composition::Random { faults: 12, kinds: Probability::from_ppm(400_000) };
        SwarmConfig { composition, ..swarm.config.clone() }
    }

    fn runner() -> TestRunner {
        let config = Config { failure_persistence: None, cases: 1_000, ..Config::default() };
        TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        )
    }

    /// Two kinds of faults that both have to be there: nothing else is left, and what is left is as weak as it gets.
    #[test]
    fn a_schedule_shrinks_to_the_faults_that_matter() {
        let needed = ["power-off", "degrade"];
        let result = runner().run(&schedules(swarm()), |schedule| {
            let has = |kind: &str| schedule.0.iter().any(|fault| fault.fault.kind() == kind);
            prop_assert!(!needed.iter().all(|kind| has(kind)));
            Ok(())
        });
        let Err(TestError::Fail(_, smallest)) = result else { panic!("no schedule had both: {result:?}") };
        let kinds: BTreeSet<&str> = smallest.0.iter().map(|fault| fault.fault.kind()).collect();
        assert_eq!((smallest.0.len(), kinds), (2, needed.into()), "{smallest:?}");
        let text = serde_json::to_string(&smallest).unwrap();
        assert!(text.contains(r#""lasts":"1s""#) && text.contains(r#""latency":"0s""#), "{text}");
    }

    #[test]
    fn a_cluster_shrinks_to_the_smallest() {
        let result = runner().run(&clusters(), |shape| {
            prop_assert!(shape.members < 4);
            Ok(())
        });
        let Err(TestError::Fail(_, smallest)) = result else { panic!("none had four members") };
        assert_eq!(smallest, ClusterShape { members: 4, etcd: 1, topology: TopologyPreset::OneZone });
    }
}
