//! The hunt for planted bugs: a search as `hasim check` makes it, that ends at the first run which the judge refuses, and
//! then shrinks that run.
//!
//! A bug is caught when a run of the broken model breaks a promise of its scenario or one of the conditions that always
//! hold, or panics. That the same scenario is silent about the correct model is the business of other tests.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use models::Planted;
use scenarios::campaign::{Judgement, Outcome, SeedRange, run_seeds};
use scenarios::case::Case;
use scenarios::diagnostic::UserError;
use scenarios::exit::Exit;
use scenarios::family::{Family, Forkable};
use scenarios::shrink::{Ending, Failure, Limits, Shrunk, shrink};
use sim_core::Seed;

use crate::Subject;

/// The scenario in which a planted bug is hunted: the one that finds it soonest of those in the catalogue.
pub fn scenario_of(bug: Planted) -> &'static str {
    use Planted as P;
    match bug {
        P::Nothing
        | P::IgnoreSync
        | P::BlindPut
        | P::ConfirmAtOnce
        | P::ShrinkNamesFirst
        | P::PromoteWithoutSync
        | P::StayWithoutLock
        | P::AcknowledgeBeforeFlush
        | P::AcknowledgeWritten
        | P::ClaimFlush
        | P::IgnoreReload
        | P::AnyStandbyCounts
        | P::SameTimeline
        | P::EndRecoveryEarly => "patroni/swarm/sync",
        P::StayWithoutDcs | P::SkipLeaseCheck | P::RestartAsPrimary => "patroni/swarm/one-primary",
        P::KeepWatch => "patroni/stale-watch/sync",
        P::TakeLockBack => "patroni/former-primary-wakes/sync",
        P::PromoteLagging => "patroni/lagging-replica/async",
        P::VoteTwice
        | P::ForgetVote
        | P::AnswerBeforeSync
        | P::CommitOlderTerms
        | P::VoteWithoutLogCheck
        | P::CommitMinority
        | P::SkipLogMatching
        | P::ElectByMinority
        | P::ReadLocally
        | P::LeaseNotExtended
        | P::FollowerExpiresLeases
        | P::CompareIgnored
        | P::RenewExpiredLease
        | P::KeepOldLease
        | P::WatchFromNow => "etcd/swarm",
        P::AnswerBeforeAppendSync => "sentinel/all-restart/synced",
        P::LeaveStrays | P::InfoBeforePing | P::LeakPending => "sentinel/primary-paused/async",
        P::ListPrimaryAsReplica => "sentinel/leader-restarts/async",
        P::ConvertAtOnce => "sentinel/primary-wakes/async",
        P::MajorityOfResponders | P::ElectByQuorum => "sentinel/split-sentinels/async",
        P::ReconfigurePromoted => "sentinel/rz17-promoted-follows-itself/redis-5-0-8",
        P::KeepNameWithoutBacklog => "sentinel/replicas-away/backlog-freed",
        P::KeepSubReplicas => "sentinel/replica-of-a-replica/backlog-overrun",
        P::IgnoreLag => "sentinel/rz03-client-beside-old-primary/bounded",
        P::CountSent => "sentinel/primary-host-crash/wait",
        P::ForgetSentinelVote => "sentinel/voter-restarts/async",
        P::PromoteByRunId => "sentinel/lagging-replica/async",
        P::KeepStreamName
        | P::ContinueAnyStream
        | P::VoteForEveryone
        | P::AgreeWithSilence
        | P::TakeOlderConfiguration => "sentinel/swarm/async",
        P::GossipWithoutSuspects => "cluster/rz39-slow-gossip/redis-7-0",
        P::KeepOffsetOfOldPrimary => "cluster/rz37-unsynced-winner/valkey-8",
        P::VoteForEveryShard => "cluster/two-shards-at-once/async",
        P::UnknownAgeIsZero => "cluster/rz35-replica-never-stands/default",
        P::ServeInMinority => "cluster/primary-isolated-with-clients/async",
        P::ForgetClusterVote => "cluster/swarm/async",
        P::ReleaseWithoutCompare | P::RenewWithSet => "lock/swarm/one-leader",
        P::CountFromAnswer => "lock/leader-paused/renewal-in-flight",
        P::SkipElapsedCheck => "lock/pause-before-check/redlock",
        P::AcceptAnyToken => "lock/leader-frozen/deadline-fenced",
        P::AcceptEqualToken => "lock/token-from-redis/lost-with-the-lock",
        P::CountUnsyncedEntries => "etcd/stalled-leader-loses-power",
        P::ReadBeforeFirstCommit => "etcd/leader-unheard/slow-disks",
        P::ReadWithoutQuorum => "etcd/swarm/regions",
    }
}

/// A family with a rule switched off: what shrinks its failures needs the broken models of smaller clusters, too.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    family: &'static str,
    system: fn(&Case, Planted) -> Box<dyn Forkable>,
    bug: Planted,
}

impl Broken {
    /// The family of a case.
    ///
    /// # Panics
    /// If nothing is planted in that family.
    pub fn family_of(case: &Case, bug: Planted) -> Self {
        match case.scenario.family() {
            "patroni" => Self { family: "patroni", system: scenarios::patroni::system, bug },
            "etcd" => Self { family: "etcd", system: scenarios::etcd::system, bug },
            "cluster" => Self { family: "cluster", system: scenarios::redis_cluster::system, bug },
            "lock" => Self { family: "lock", system: scenarios::lock::system, bug },
            "sentinel" => Self { family: "sentinel", system: scenarios::sentinel::system, bug },
            family => panic!("nothing is planted in `{family}`"),
        }
    }

    /// The system of a case.
    pub fn system(&self, case: &Case) -> Box<dyn Forkable> {
        (self.system)(case, self.bug)
    }
}

impl Family for Broken {
    fn name(&self) -> &'static str {
        self.family
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Forkable>, UserError> {
        Ok(self.system(case))
    }
}

/// What a search for a bug found.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The seed whose run gave it away.
    pub seed: Seed,
    /// Runs until then, this one included, in the order of the seeds.
    pub runs: u64,
    /// Time until then, with the threads of the current rayon pool.
    pub took: Duration,
    /// How it was noticed.
    pub judgement: Judgement,
}

/// Searches seeds from `first` on until one gives the bug away, or time is up.
#[expect(clippy::disallowed_methods, reason = "how long a search takes is told by the wall clock")]
pub fn hunt(scenario: &str, bug: Planted, first: u64, limit: Duration) -> Result<Catch, u64> {
    let Subject { case, .. } = Subject::from_catalogue(scenario);
    let system = Broken::family_of(&case, bug).system(&case);
    let began = Instant::now();
    let mut runs = 0;
    // Small batches first: what is found at once must not wait for many others. Whole blocks of seeds that share a warm-up.
    let mut batch = 16;
    while began.elapsed() < limit {
        let seeds = SeedRange::between(first + runs, first + runs + batch);
        let caught = |outcome: &Outcome| outcome.judgement.verdict.exit() == Exit::Violated;
        let outcomes = run_seeds(&case, &*system, seeds, &AtomicBool::new(false), &|_| ()).outcomes;
        if let Some(position) = outcomes.iter().position(caught) {
            return Ok(Catch {
                seed: outcomes[position].row.seed,
                runs: runs + position as u64 + 1,
                took: began.elapsed(),
                judgement: outcomes[position].judgement.clone(),
            });
        }
        runs += batch;
        batch = (batch * 2).min(256);
    }
    Err(runs)
}

/// A caught run and the smaller one that fails for the same reason.
#[derive(Clone, Debug)]
pub struct Small {
    /// How many faults the caught run had.
    pub faults_before: usize,
    /// What is left, and why the search for less ended.
    pub shrunk: Shrunk,
    /// How long that took, on one thread.
    pub took: Duration,
}

impl Small {
    /// How many faults are left.
    pub fn faults(&self) -> usize {
        self.shrunk.failure.schedule.0.len()
    }

    /// True if a limit ended the search, and not that there is nothing to leave out.
    pub fn is_unfinished(&self) -> bool {
        self.shrunk.ending != Ending::Fixpoint
    }
}

/// Shrinks the run that gave a bug away, as `hasim check` does with its first failure.
///
/// # Panics
/// If the run does not fail again: then it was no function of its seed.
#[expect(clippy::disallowed_methods, reason = "how long a search takes is told by the wall clock")]
pub fn shrink_catch(scenario: &str, bug: Planted, catch: &Catch, limit: Duration) -> Small {
    let Subject { case, .. } = Subject::from_catalogue(scenario);
    let family = Broken::family_of(&case, bug);
    let schedule = case.scenario.schedule(catch.seed);
    let began = Instant::now();
    let failure = Failure::of(&case, &*family.system(&case), catch.seed, &schedule)
        .unwrap_or_else(|| panic!("{scenario} seed {}: the run with `{bug}` fails only once", catch.seed));
    let stop = || began.elapsed() >= limit;
    let shrunk = shrink(&[&family], failure, &Limits { runs: SHRINK_RUNS, stop: &stop });
    Small { faults_before: schedule.0.len(), shrunk, took: began.elapsed() }
}

/// The most runs of a search for a smaller run, as the command allows itself.
const SHRINK_RUNS: u64 = 5_000;
