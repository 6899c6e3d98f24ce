//! One trial of the measurements, simulated: the fault, what is waited for, and what is read from the run.

use analysis::measure::SurvivingValues;
use analysis::{MeasureOptions, measure};
use models::redis::{MASTER_MODE, REPLICA_OF, REWRITTEN, RunId, SNAPSHOT_SYNCED};
use models::sentinel::{SAVED, SentinelCluster, SentinelProcess};
use sim_core::{
    Distribution, EndReason, ProcessId, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Stream,
    TraceEntry, Trigger, World,
};

use super::{Kind, QUANTITIES, Settings};
use crate::calibrate::beside::Beside;
use crate::calibrate::rows::Row;
use crate::calibrate::saving;
use crate::diagnostic::UserError;

/// When a group has settled. The first faults are spread over the ten seconds after it, the longest period of a Sentinel.
const SETTLED: SimDuration = SimDuration::from_secs(25);
pub(super) const SPREAD: SimDuration = SimDuration::from_secs(10);
/// What is simulated after the end of the fault: old primaries are put right within 10.3 s of it.
const TAIL: SimDuration = SimDuration::from_secs(14);
/// How long a trial waits for the end of a failover, and how often it looks.
const LONGEST_WAIT: SimDuration = SimDuration::from_secs(60);
const STEP: SimDuration = SimDuration::from_millis(250);
/// How often servers are asked for their role that may be promoted.
const POLL: SimDuration = SimDuration::from_millis(10);
/// More events than two trials have.
const EVENTS: u64 = 20_000_000;

/// When the faults of a trial struck, and how long they lasted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// The trial before on the same group, if it was of the same point: when its fault ended, and how long after that this one's
    /// struck.
    pub(super) before: Option<(End, SimDuration)>,
    /// How many trials of the series were before that one.
    pub(super) earlier: u32,
    pub(super) end: End,
    /// How often the old primary was asked for its role.
    pub(super) role_poll: SimDuration,
}

/// When a fault ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// This long after it struck.
    AfterFault(SimDuration),
    /// This long after the failover had ended.
    AfterFailover(SimDuration),
}

impl End {
    /// What a row says, if it says when the fault ended.
    pub(super) fn of(row: &Row, kind: Kind) -> Result<Option<Self>, UserError> {
        let (Some(resumed), failover_end) = (row.time("resume")?, row.time("failover_end")?) else {
            return Ok(None);
        };
        let waited = failover_end.filter(|end| kind != Kind::Partition && *end < resumed);
        Ok(Some(waited.map_or(Self::AfterFault(resumed), |end| Self::AfterFailover(resumed - end))))
    }
}

/// What is run for a point.
#[derive(Debug)]
pub(in crate::calibrate) struct Setup {
    pub(super) settings: Settings,
    pub(super) cluster: SentinelCluster,
    /// From what the harness did until the fault struck, and until it was over: until a killed server was gone, until one that was
    /// started listened, until one that was woken had worked off what had come meanwhile.
    pub(super) begins_late: Distribution,
    pub(super) ends_late: Distribution,
    /// How late the harness is when it looks at the role of the old primary again.
    pub(super) asked_late: Distribution,
    pub(super) trials: Vec<Trial>,
}

/// What is read from a simulated trial.
pub(super) struct Run {
    pub(super) fault: SimTime,
    pub(super) log: Vec<TraceEntry>,
    pub(super) refused: Option<SimTime>,
    /// When the promoted server said so.
    pub(super) promoted: Option<SimTime>,
    pub(super) demoted_after: Option<SimDuration>,
    pub(super) first_acknowledgement: Option<SimDuration>,
    pub(super) outage: Option<SimDuration>,
    pub(super) served_until: Option<SimDuration>,
    pub(super) doomed: Option<SimDuration>,
}

impl Run {
    /// When the first such event after the fault was heard.
    pub(super) fn event(&self, text: &str) -> Option<SimDuration> {
        let events = self.log.iter().filter(|entry| entry.at > self.fault && entry.text.starts_with(text));
        self.after_fault(events.map(|entry| heard(&self.log, entry)).min())
    }

    pub(super) fn after_fault(&self, at: Option<SimTime>) -> Option<SimDuration> {
        Some(at?.since(self.fault))
    }
}

/// When what a Sentinel says was heard.
fn heard(log: &[TraceEntry], event: &TraceEntry) -> SimTime {
    saving::told(log, SAVED, event.process, event.at)
}

/// When a server has told of another role: it answers when it has rewritten its file, if it was asked since the change, and what comes
/// later at once.
fn told(log: &[TraceEntry], change: &TraceEntry, asked: SimDuration) -> SimTime {
    let mut later = log.iter().filter(|entry| entry.at >= change.at && entry.process == change.process);
    let rewritten = later.find(|entry| entry.text == REWRITTEN).map_or(change.at, |entry| entry.at);
    saving::told(log, SNAPSHOT_SYNCED, change.process, rewritten.max(change.at + asked))
}

impl Setup {
    /// Run number `run`, which is its seed as well: the trials of the measurements in turn.
    pub(in crate::calibrate) fn values(
        &self,
        run: u64,
        runs: u64,
    ) -> Vec<(&'static str, Option<SimDuration>)> {
        let run = self.run(run, runs);
        QUANTITIES.iter().map(|quantity| quantity.of(&run)).collect()
    }

    fn run(&self, run: u64, runs: u64) -> Run {
        let trial = self.trials[run as usize % self.trials.len()];
        let kind = self.settings.kind;
        let cluster = &self.cluster;
        let mut random = Seed(run).stream("calibrate sentinel", 0);
        let mut world = self.world(run, runs, trial.earlier);
        world.log(false);
        let mut fault = SimTime::ZERO + SETTLED + SPREAD.scale(run, runs);
        if let Some((end, gap)) = trial.before {
            fault = self.strike(&mut world, &mut random, fault, end) + gap;
        }
        let ended = self.strike(&mut world, &mut random, fault, trial.end);
        let old_primary = cluster.primary(&world);
        let end = SentinelCluster::advance(&mut world, ended + TAIL, EVENTS);
        assert_eq!(end, EndReason::Horizon, "run {run}");
        let log = world.log_entries().to_vec();
        let surviving = cluster.surviving::<SurvivingValues>(&world);
        let record = world.record(end);
        let options = MeasureOptions {
            fault: Some(fault),
            members: Some(cluster.members()),
            clients: Some(cluster.clients().to_vec()),
            // A failover with `down-after-milliseconds` below a second is an outage as well.
            outage_threshold: SimDuration::from_millis(500),
            ..MeasureOptions::default()
        };
        let measures = measure(&record, &surviving, &options);
        let promoted = log.iter().find(|entry| entry.at > fault && entry.text.starts_with(MASTER_MODE));
        let mut later = log.iter().filter(|entry| entry.at > ended && entry.process == old_primary);
        let demoted = later.find(|entry| entry.text.starts_with(REPLICA_OF));
        let promoted = promoted.map(|event| told(&log, event, random.duration(SimDuration::ZERO, POLL)));
        let demoted = demoted.map(|event| {
            told(&log, event, saving::until_asked(&mut random, trial.role_poll, &self.asked_late))
        });
        let beside = old_primary.filter(|_| kind.spares_primary()).and_then(|old_primary| {
            let client = cluster.client_beside(old_primary)?;
            Some(Beside { record: &record, old_primary, client })
        });
        Run {
            fault,
            promoted,
            refused: beside.as_ref().and_then(|beside| beside.refused(fault)),
            demoted_after: demoted.map(|at| at.since(ended)),
            log,
            first_acknowledgement: measures.phases.and_then(|phases| phases.whole),
            outage: measures.availability.failover_gap,
            served_until: beside.as_ref().and_then(|beside| beside.served_after(ended)),
            doomed: beside.map(|beside| {
                let from = if kind == Kind::Stop { ended } else { fault };
                beside.doomed(&surviving, from, self.settings.write_interval)
            }),
        }
    }

    /// A group as a series of trials leaves it: which of two servers loses a selection is settled by what came before. The first world that is like
    /// that, of the seeds `run`, `run + runs` and so on.
    fn world(&self, run: u64, runs: u64, earlier: u32) -> World<SentinelProcess> {
        let mut random = Seed(run).stream("calibrate sentinel series", 0);
        let mut worlds = (0..).map(|number| {
            let mut world = self.cluster.world(Seed(run + number * runs));
            // Processes are started.
            SentinelCluster::advance(&mut world, SimTime::ZERO, EVENTS);
            world
        });
        let mut is_left = |world: &World<SentinelProcess>| {
            let id_of = |server: &ProcessId| self.cluster.run_id(world, *server);
            let (primary, replicas) = self.cluster.servers().split_first().expect("a group has servers");
            let last = replicas.iter().filter_map(id_of).max();
            if self.settings.kind.spares_primary() {
                // The last of all is never chosen, and so it is never primary.
                earlier == 0 || id_of(primary) < last
            } else {
                // It has come after each new run ID so far.
                (0..earlier).all(|_| Some(RunId(random.bits() as u32)) < last)
            }
        };
        worlds.find(|world| is_left(world)).expect("there is always another seed")
    }

    /// Has the fault strike at an instant, up to which the world runs, and says when it will end.
    fn strike(
        &self,
        world: &mut World<SentinelProcess>,
        random: &mut Stream,
        at: SimTime,
        end: End,
    ) -> SimTime {
        let before = SentinelCluster::advance(world, at, EVENTS);
        assert_eq!(before, EndReason::Horizon, "before the fault");
        let strikes = at + self.begins_late.sampler().draw(random);
        let lasts = match end {
            End::AfterFault(length) => length,
            End::AfterFailover(waited) => {
                let failover_end = self.failover_end(world.clone(), strikes);
                failover_end.map_or(LONGEST_WAIT, |ended| ended.since(at) + waited)
            }
        };
        let over = at + lasts + self.ends_late.sampler().draw(random);
        self.schedule(world, strikes, over.since(strikes));
        at + lasts
    }

    fn schedule(&self, world: &mut World<SentinelProcess>, at: SimTime, lasts: SimDuration) {
        let trigger = Trigger::At(at.since(SimTime::ZERO));
        let fault = ScheduledFault { trigger, fault: self.settings.kind.fault(), lasts: Some(lasts) };
        world.schedule(&Schedule(vec![fault])).expect("the targets exist in every group");
    }

    /// When `+failover-end` is heard in a fork in which the fault stays.
    fn failover_end(&self, mut fork: World<SentinelProcess>, at: SimTime) -> Option<SimTime> {
        self.schedule(&mut fork, at, LONGEST_WAIT);
        (1..=LONGEST_WAIT.as_millis() / STEP.as_millis()).find_map(|step| {
            assert_eq!(SentinelCluster::advance(&mut fork, at + STEP * step, EVENTS), EndReason::Horizon);
            let log = fork.log_entries();
            let ended = log.iter().find(|entry| entry.at > at && entry.text.starts_with("+failover-end"))?;
            // One more step, so that it has left the Sentinel.
            Some(heard(log, ended)).filter(|heard| *heard + STEP <= fork.now())
        })
    }
}
