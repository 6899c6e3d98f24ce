//! The hunt for planted bugs: a search as `hasim check` makes it, that ends at the first run which the judge refuses.
//!
//! A bug is caught when a run of the broken model breaks a promise of its scenario or one of the conditions that always
//! hold, or panics. That the same scenario is silent about the correct model is the business of other tests.

use std::time::{Duration, Instant};

use models::Planted;
use rayon::prelude::*;
use scenarios::campaign::{Judgement, Outcome, run_seed};
use scenarios::case::Case;
use scenarios::exit::Exit;
use scenarios::family::System;
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
        P::LeaveStrays => "sentinel/primary-paused/async",
        P::MajorityOfResponders => "sentinel/split-sentinels/async",
        P::ReconfigurePromoted => "sentinel/replica-cut-from-successor/async",
        P::KeepStreamName | P::ContinueAnyStream | P::VoteForEveryone | P::AgreeWithSilence => {
            "sentinel/swarm/async"
        }
        P::CountUnsyncedEntries | P::ReadBeforeFirstCommit | P::ReadWithoutQuorum => "etcd/swarm/regions",
    }
}

/// The system of a case with a rule switched off.
///
/// # Panics
/// If the case is of a family that has no planted bugs.
pub fn broken_system(case: &Case, bug: Planted) -> Box<dyn System> {
    match case.scenario.family() {
        "patroni" => scenarios::patroni::system(case, bug),
        "etcd" => scenarios::etcd::system(case, bug),
        "sentinel" => scenarios::sentinel::system(case, bug),
        family => panic!("nothing is planted in `{family}`"),
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
    let system = broken_system(&case, bug);
    let began = Instant::now();
    let mut runs = 0;
    // Small batches first: what is found at once must not wait for many others.
    let mut batch = 4;
    while began.elapsed() < limit {
        let seeds = first + runs..first + runs + batch;
        let caught = |outcome: &Outcome| outcome.judgement.verdict.exit() == Exit::Violated;
        let outcomes: Vec<Outcome> =
            seeds.into_par_iter().map(|seed| run_seed(&case, &*system, Seed(seed))).collect();
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
