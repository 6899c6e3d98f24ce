//! Releases of Patroni: what changed in which, as far as a run shows it.
//!
//! The model is Patroni 4.1.5. An older release is selected by its number, and behaves as the newer one except for the
//! changes on this list: each but two is a mistake that was mended, with the issue or pull request that describes it. "Z8" and
//! the like are the entries of the fidelity specification's section 7. Other differences between releases (settings that
//! did not exist yet, say quorum commit before 4.0.0) are not checked.

pub use crate::release::Release as Version;

impl Version {
    /// True if this release of Patroni has the change.
    pub(crate) fn has(self, change: Change) -> bool {
        self >= change.since()
    }
}

/// The release that the model follows.
pub const MODELLED: Version = Version::new(4, 1, 5);
/// The oldest release that can be chosen: 2.0.0, the first that speaks API version 3 with etcd.
pub const OLDEST: Version = Version::new(2, 0, 0);

/// The oldest with Kubernetes: the last one whose loops do not run in step.
pub const OLDEST_ON_KUBERNETES: Version = Version::new(1, 6, 5);

/// The oldest with API version 2 of etcd: the last one whose primary believes a read after a renewal that failed.
///
/// What else releases before 2.0.0 did otherwise is not modelled, as far as it is not on the list below: 1.1 wrote the member's key at the beginning
/// of a cycle and with retries, knew one address of etcd and asked it for the others, and had neither a watchdog nor synchronous mode; until
/// 1.6 who was refused its lock could be stopped in order (`demote('offline')`), and not at once.
pub const OLDEST_ON_ETCD_V2: Version = Version::new(1, 1, 0);

/// A change between releases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// API version 2 of etcd: whoever cannot renew its lock stops its server. Before, it read etcd once more, and went on if that showed it the lock,
    /// as a member of etcd that is cut off from the others does for ever (#308, #316; Z32). The source of 1.1 lacks it, that of 1.2
    /// has it.
    DemoteOnFailedRenewal,
    /// API version 2 of etcd: a call goes round the endpoints until its budget is used up. Before, once, which takes milliseconds if they refuse
    /// connections (#1195, #1245; Z35).
    RetryUntilBudgetEnds,
    /// An offline demotion runs in the executor, and the loop goes on meanwhile (`ha.py:_handle_dcs_error`): it keeps the lock if etcd is
    /// back before the server has stopped, and if etcd still does not answer, it demotes once more, and waits. It mended nothing.
    DemoteInExecutor,
    /// The loop itself demotes when etcd does not answer, as before 2.1.6 (#3372; Z31).
    DemoteInLoop,
    /// API version 2 of etcd: a renewal or an acquisition that no endpoint answered is an error of the DCS. Before, it counted as refused
    /// (`etcd.py:_run_and_handle_exceptions`).
    FailedRenewalIsError,
    /// API version 2 of etcd: a renewal that finds no lock takes it, if nobody does before. Before, it counted as refused (#1181;
    /// `etcd.py:_do_update_leader`).
    AcquireVanishedLock,
    /// Crash recovery by the holder of the lock has `primary_start_timeout`, if somebody else could lead. Before, it held the
    /// lock for as long as it took (#1720; Z29).
    LimitCrashRecovery,
    /// Kubernetes: every change of the leader object wakes the others, whose loops so run in step with the leader's. Before,
    /// the lock was found expired up to `loop_wait` later (#1515; Z17).
    WakeOnLeaderObject,
    /// Kubernetes: the watches start anew when a conditional write was refused. Before, one that hung made every attempt at
    /// the lock fail (#2283; Z18).
    RestartWatchesAfterConflict,
    /// Kubernetes: a renewal that was refused because its own first attempt had been carried out is recognized. Before, it was
    /// written once more (#3174).
    RecognizeOwnRenewal,
    /// Kubernetes: the same for the acquisition of the lock, which was lost before (#3344, #3348).
    RereadAfterRefusedAcquisition,
    /// Kubernetes: a renewal that is answered with 403 is tried again. Before, the primary was demoted at once (#3536, #3559;
    /// Z19).
    RetryForbiddenRenewal,
    /// Kubernetes: whoever is about to take the lock looks once more whether somebody holds it. Before, a request to the REST
    /// API in the wrong moment let it overwrite the lock (#3718, #3719; Z16). Merged after 4.1.5, the last release when this
    /// was written: the number stands for the next one.
    RecheckLockBeforeAcquisition,
    /// Standbys whose WAL grows put the race off for `primary_race_backoff` (#3453; Z36). In no release when this was written: the
    /// number stands for the next one with new features.
    BackOffWhileWalArrives,
    /// A server that was killed in recovery, say one that was demoted because etcd did not answer, is compared with the leader
    /// before it is started, and recovered in single-user mode if it needs a rewind. Before, it was only started, which PostgreSQL
    /// refuses for ever if it knows the leader's timeline (#2242, #2252; Z28).
    CompareKilledStandby,
    /// The watch starts anew when no endpoint answered. Before, one that outlived the outage went on to show the past
    /// (#2180, #2186; Z11).
    RestartWatchAfterOutage,
    /// A new synchronous standby is put into `/sync` when it has caught up. Before, as soon as its walsender said `sync`
    /// (#2524; Z25).
    WaitUntilCaughtUp,
    /// The leader key is put on conditions when the lease is new. Before, blindly (#2689, #2693; Z8).
    PutLeaderOnConditions,
    /// A former leader that still runs as a primary compares its timeline with `/history` before it takes the lock (#2779,
    /// #2787; Z7).
    CompareTimelineBeforeLock,
    /// A renewed lock clears who called itself the leader in failsafe mode. Before, a primary's own failsafe mode revived the name
    /// (#2803; Z15).
    ForgetFailsafeLeader,
    /// A server that does not answer in time counts as what it was. Before, the exception left the branch of the loop that would have
    /// demoted it (#2073, #2082; Z33).
    CachedRoleOfSlowServer,
    /// A query that runs into its `statement_timeout` is an error by itself. Before, it counted as a lost connection, and was tried
    /// again for half of `retry_timeout` (`connection.py:NamedConnection.query`).
    DistinguishCancelledQuery,
    /// A server whose query was cancelled counts as what it was. Before, and since cancelled queries are distinguished, the
    /// exception left the branch of the loop that would have demoted it (#3637, #3646, #3663; Z33).
    CachedRoleOfCancelledQuery,
    /// A Patroni that starts beside a running server reads what the server is set to. Before, it wrote `postgresql.conf` of a primary
    /// anew without `synchronous_standby_names` (#2876; Z25).
    ReadSettingsOfRunningServer,
    /// A pass over synchronous standbys that would change nobody takes those out of `/sync` who are not synchronous. Before, it
    /// ended when it had picked those whom `/sync` names, whatever the server waits for (#2877; Z25).
    CompareSyncKey,
    /// Who streams under the primary's own name is not picked as a synchronous standby (#3111, #3112; Z25).
    IgnoreOwnName,
    /// All members keep slots for all members, and retain them for `member_slots_ttl` after a member has gone. Before, the slot of
    /// a member was dropped when its key expired, and only the leader had any, and who is streamed from (#3108).
    RetainMemberSlots,
    /// A new leader retains what the one before it retained. Before, the slot of a former leader that had died was dropped at once
    /// (#3261; Z30).
    RetainSlotOfFormerLeader,
    /// A handover with quorum commit needs enough members of `/sync` that are fit. Before, any one member was enough, and the leader
    /// stepped down for nobody who could win (#3278; Z25).
    CountVotersBeforeHandover,
    /// The pass over synchronous standbys looks at `synchronous_standby_names` as well. Before, it ended when `/sync` named those who
    /// stream, and names that it had set for a standby that went away before it was confirmed stayed for ever (#3369, #3370; Z25).
    CompareStandbyNames,
    /// Answers of an older Raft term than one seen before are rejected (#3314, #3318; Z10).
    RejectOlderRaftTerms,
    /// The copy of the keys is built again when it is of an older Raft term (#3359, #3373; Z11).
    RebuildOldCopy,
    /// A failure to discover the members of etcd at the start of a call is an error of the DCS. Before, the renewal counted
    /// as refused, and failsafe mode was not entered (#3403, #3404; Z13).
    DiscoveryFailureIsError,
    /// A demotion first asks for `archive_mode` and `archive_command`, which only that of a whole cluster needs, and leaves the server
    /// writable meanwhile. It mends nothing (`ha.py:demote`).
    InquireBeforeDemotion,
    /// "Not a primary lessor" is tried elsewhere. Before, the renewal counted as refused (#3407, #3595; Z12).
    RetryNotPrimaryLessor,
}

impl Change {
    /// The first release that has it.
    const fn since(self) -> Version {
        match self {
            Self::DemoteOnFailedRenewal => Version::new(1, 2, 0),
            Self::RetryUntilBudgetEnds => Version::new(1, 6, 1),
            Self::DemoteInExecutor | Self::FailedRenewalIsError | Self::AcquireVanishedLock => {
                Version::new(2, 1, 6)
            }
            Self::LimitCrashRecovery => Version::new(2, 0, 1),
            Self::WakeOnLeaderObject => Version::new(2, 0, 0),
            Self::RestartWatchesAfterConflict | Self::CompareKilledStandby => Version::new(2, 1, 4),
            Self::RecognizeOwnRenewal => Version::new(4, 0, 3),
            Self::InquireBeforeDemotion => Version::new(4, 1, 0),
            Self::RetryForbiddenRenewal => Version::new(4, 1, 1),
            Self::BackOffWhileWalArrives => Version::new(4, 2, 0),
            Self::RecheckLockBeforeAcquisition => Version::new(4, 1, 6),
            Self::RestartWatchAfterOutage => Version::new(2, 1, 3),
            Self::WaitUntilCaughtUp => Version::new(3, 0, 0),
            Self::PutLeaderOnConditions => Version::new(3, 0, 3),
            Self::CompareTimelineBeforeLock => Version::new(3, 1, 0),
            Self::ForgetFailsafeLeader => Version::new(3, 1, 1),
            Self::CachedRoleOfSlowServer => Version::new(2, 1, 2),
            Self::ReadSettingsOfRunningServer | Self::CompareSyncKey => Version::new(3, 1, 2),
            Self::IgnoreOwnName => Version::new(3, 3, 3),
            Self::DistinguishCancelledQuery => Version::new(3, 2, 0),
            Self::CachedRoleOfCancelledQuery => Version::new(4, 1, 4),
            Self::RetainMemberSlots => Version::new(4, 0, 0),
            Self::RetainSlotOfFormerLeader | Self::CountVotersBeforeHandover => Version::new(4, 0, 5),
            Self::RejectOlderRaftTerms
            | Self::RebuildOldCopy
            | Self::RereadAfterRefusedAcquisition
            | Self::DemoteInLoop
            | Self::CompareStandbyNames => Version::new(4, 0, 6),
            Self::DiscoveryFailureIsError => Version::new(4, 0, 7),
            Self::RetryNotPrimaryLessor => Version::new(4, 1, 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_what_came_before_it() {
        assert!(!Version::new(3, 0, 2).has(Change::PutLeaderOnConditions));
        assert!(Version::new(3, 0, 3).has(Change::PutLeaderOnConditions));
        assert!(MODELLED.has(Change::RetryNotPrimaryLessor));
        assert!(!OLDEST.has(Change::RestartWatchAfterOutage));
        assert!(
            !OLDEST_ON_ETCD_V2.has(Change::DemoteOnFailedRenewal) && OLDEST.has(Change::RetryUntilBudgetEnds)
        );
    }
}
