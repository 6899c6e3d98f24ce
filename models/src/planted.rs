//! Planted bugs: rules that a test switches off on purpose, to show that the search and the judge notice.
//!
//! They are no settings of the real software. No file and no flag reaches them; only code that builds a
//! [`crate::patroni::Plan`], an [`crate::etcd::EtcdPlan`] or a [`crate::patroni::ClusterOptions`] by hand does. Each
//! model carries the switch in its specification and asks for it where the rule is, with one comparison.
//!
//! Most are mistakes that were made: in the software that is modelled, in its relatives, or in the first version of an
//! implementation of the same paper. Each variant says which rule it breaks and, where there is one, the published
//! failure; "Z8" and the like are the entries of the fidelity specification's section 7.
//!
//! A model that is right and a judge that never complains look the same from outside. `tests/src/bin/hunt.rs` hunts each
//! of these bugs with the shipped scenarios, and the fast suite hunts some of them in every build.
//!
//! # Mistakes that make no difference here
//!
//! Some published mistakes are not on the list because no run of these models can tell them from the right rule:
//!
//! - *A leader of etcd renews leases after a pause without confirming that it leads* (Z9, etcd-io/etcd#15247). A paused
//!   process gets what arrived meanwhile in order: its tick first, after which it has no doubt, and the messages of its
//!   successor before any keep-alive that comes late enough to matter.
//! - *A follower truncates its log at every append*, which loses acknowledged entries when appends are reordered. Members
//!   of etcd talk over connections, which keep the order, and a leader that dials again probes first.
//! - *A promotion forgets WAL that was received and not replayed.* Replay takes no time unless there is a backlog, and
//!   what is not flushed was not acknowledged.
//! - *A Sentinel whose link is missing looks for no age* (RZ-16, pull request 2998 of Redis). A connection that is refused takes a
//!   round trip here, so a PING is under way by then, and its age counts; the mistake needs one that fails at once.
//! - *A switchover gives the lock back before it stops the server.* The others ask the old primary before they race, hear
//!   that it is one, and stand back until it has stopped.

use std::fmt;

/// Makes the enumeration, the list of all its variants, and their names in kebab case.
macro_rules! planted {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A rule that does not hold.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Planted {
            /// All rules hold.
            #[default]
            Nothing,
            $($(#[doc = $doc])* $variant,)*
        }

        impl Planted {
            /// All planted bugs, in the order raft, etcd, PostgreSQL, Patroni, Redis, Cluster, Sentinel, locks.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in kebab case.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Nothing => "nothing",
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

planted! {
    /// Raft: a voter grants a vote to every candidate of a term. Breaks Election Safety (thesis, 3.4).
    VoteTwice = "vote-twice",
    /// Raft: at boot the vote of the term is forgotten, so that it can be given again. Breaks Election Safety; an early
    /// mistake of several implementations that kept only the term (raft-rs, hashicorp/raft issue trackers).
    ForgetVote = "forget-vote",
    /// Raft: votes and acknowledgements leave before the write that they rest on is durable. Breaks Leader Completeness
    /// after a power failure (thesis, 3.8).
    AnswerBeforeSync = "answer-before-sync",
    /// Raft: a leader commits what it has, whether or not its own part is durable, counting itself at once. Breaks Leader
    /// Completeness when it loses power (thesis, 10.2.1 allows writing in parallel, not counting before).
    CountUnsyncedEntries = "count-unsynced-entries",
    /// Raft: a leader does not begin its term with an empty entry, and commits entries of an older term as soon as a
    /// majority holds them. Breaks Leader Completeness (thesis, figure 3.7; figure 8 of the paper).
    CommitOlderTerms = "commit-older-terms",
    /// Raft: a voter does not compare logs. Breaks Leader Completeness (thesis, 3.6.1).
    VoteWithoutLogCheck = "vote-without-log-check",
    /// Raft: a leader confirms reads before it has committed an entry of its term, so that it does not know yet what was
    /// committed before it. Breaks linearizability of reads (thesis, 6.4).
    ReadBeforeFirstCommit = "read-before-first-commit",
    /// Raft: one node less than a majority commits. Breaks Leader Completeness.
    CommitMinority = "commit-minority",
    /// Raft: a follower accepts entries although the one before them is of another term. Breaks Log Matching (thesis,
    /// 3.5).
    SkipLogMatching = "skip-log-matching",
    /// Raft: a candidate wins with the votes of half the nodes, itself included and rounded down. Breaks Election Safety.
    ElectByMinority = "elect-by-minority",

    /// etcd: a leader answers linearizable reads without asking whether it still leads. Breaks linearizability (etcd 0.4,
    /// <https://aphyr.com/posts/316-jepsen-etcd-and-consul>).
    ReadWithoutQuorum = "read-without-quorum",
    /// etcd: linearizable reads are served from whatever the member has applied. Breaks linearizability.
    ReadLocally = "read-locally",
    /// etcd: a new leader does not begin the leases anew but takes them for expired. Breaks the promise that a lease lasts
    /// its time to live after a keep-alive.
    LeaseNotExtended = "lease-not-extended",
    /// etcd: every member decides by its own clock when leases expire, although keep-alives reach the leader only. Breaks
    /// the same promise.
    FollowerExpiresLeases = "follower-expires-leases",
    /// etcd: the comparisons of a transaction always hold. Breaks mutual exclusion.
    CompareIgnored = "compare-ignored",
    /// etcd: a keep-alive of an expired lease is answered as if it lived on, while its revocation is on its way. Breaks
    /// mutual exclusion.
    RenewExpiredLease = "renew-expired-lease",
    /// etcd: a key that is put with a new lease stays attached to the old one as well and vanishes with it. Breaks mutual
    /// exclusion.
    KeepOldLease = "keep-old-lease",
    /// etcd: a watch begins with what comes next, whatever revision was asked for. Breaks the promise that a watch misses
    /// nothing (compare etcd-io/etcd#18667, fixed in 3.5.17).
    WatchFromNow = "watch-from-now",

    /// PostgreSQL: a commit is acknowledged when it is in the WAL buffers. Breaks durability (as `synchronous_commit =
    /// off` does, where it is documented).
    AcknowledgeBeforeFlush = "acknowledge-before-flush",
    /// PostgreSQL: `synchronous_commit = on` is satisfied by what the standby has written and not flushed, as
    /// `remote_write` would be. Breaks the promise of `on`.
    AcknowledgeWritten = "acknowledge-written",
    /// PostgreSQL: a standby reports as flushed what it has only written (compare fsyncgate, 2018). Breaks the same.
    ClaimFlush = "claim-flush",
    /// PostgreSQL: `synchronous_standby_names` is read once, when the server opens for writes; a reload changes nothing.
    /// Breaks the promise of synchronous replication.
    IgnoreReload = "ignore-reload",
    /// PostgreSQL: any standby's flush releases a commit, whether or not `synchronous_standby_names` lists it. Breaks the
    /// same.
    AnyStandbyCounts = "any-standby-counts",
    /// PostgreSQL: a promotion does not begin a new timeline. Breaks "one timeline, one history" (compare Z5).
    SameTimeline = "same-timeline",
    /// PostgreSQL: recovery ends before the last record and not after it, as with `recovery_target_inclusive = off`. Breaks
    /// durability on the standby.
    EndRecoveryEarly = "end-recovery-early",

    /// Patroni: members race for the lock in synchronous mode although `/sync` does not name them. Breaks invariant I4
    /// of the fidelity specification.
    IgnoreSync = "ignore-sync",
    /// Patroni: a watch on etcd is not restarted when no endpoint answers, as before 2.1.3 (Z11, #2180, mended by
    /// #2186): the copy of the keys goes on to show the time before the outage.
    KeepWatch = "keep-watch",
    /// Patroni: a primary that cannot reach etcd goes on (Z32, #308, before 1.2.0). Breaks "one writable primary".
    StayWithoutDcs = "stay-without-dcs",
    /// Patroni: a primary that sees another member's name in the leader key goes on. Breaks "one writable primary".
    StayWithoutLock = "stay-without-lock",
    /// Patroni: whatever becomes of the lease, the holder of the lock takes it for renewed. Breaks "one writable primary".
    SkipLeaseCheck = "skip-lease-check",
    /// Patroni: the leader key is put without a condition (Z8, #2689, before 3.0.3). Breaks mutual exclusion.
    BlindPut = "blind-put",
    /// Patroni: a former primary takes the free lock back without looking at the timelines (Z7, #2779, before 3.1.0).
    /// Breaks durability.
    TakeLockBack = "take-lock-back",
    /// Patroni: a member promotes without asking the others how much they have. Loses more than the lag of the best.
    PromoteLagging = "promote-lagging",
    /// Patroni: a standby is put into `/sync` together with `synchronous_standby_names`, before it has caught up (Z25, #2524,
    /// before 3.0.0). Breaks invariant I3.
    ConfirmAtOnce = "confirm-at-once",
    /// Patroni: a standby is taken out of `synchronous_standby_names` before it is taken out of `/sync`. Breaks invariant
    /// I3.
    ShrinkNamesFirst = "shrink-names-first",
    /// Patroni: a promotion leaves `/sync` as it is. Breaks invariant I3.
    PromoteWithoutSync = "promote-without-sync",
    /// Patroni: a crashed primary is started as a primary again, whoever holds the lock. Breaks "one writable primary".
    RestartAsPrimary = "restart-as-primary",

    /// Redis: a promotion does not give the stream a new name. Breaks "one stream, one history".
    KeepStreamName = "keep-stream-name",
    /// Redis: a replica is let go on whatever stream it followed, if its offset is not larger. Breaks the same (compare RZ-25).
    ContinueAnyStream = "continue-any-stream",
    /// Redis: with `appendfsync always`, writes are answered before they are synced. Breaks the promise of that setting.
    AnswerBeforeAppendSync = "answer-before-append-sync",
    /// Redis: a primary that frees its backlog, or begins one anew, keeps the name of its stream, although the offset stood still
    /// while it wrote. Breaks "one stream, one history" (RZ-25, pull request 4412).
    KeepNameWithoutBacklog = "keep-name-without-backlog",
    /// Redis: a replica that takes a snapshot of its primary keeps its own replicas, which go on behind data that they do not have.
    /// Breaks "one stream, one history" (RZ-25, redis/redis#2694).
    KeepSubReplicas = "keep-sub-replicas",
    /// Redis: `min-replicas-to-write` counts connected replicas, whenever they last acknowledged. Breaks its bound on lost writes.
    IgnoreLag = "ignore-lag",
    /// Redis: `WAIT` counts replicas to which the write was sent. Breaks its promise that so many have it.
    CountSent = "count-sent",

    /// Cluster: gossip is about random nodes only, and not about all that are possibly failed, as before commit 02777bb of Redis.
    /// Breaks the bound of detection in a large cluster (RZ-39).
    GossipWithoutSuspects = "gossip-without-suspects",
    /// Cluster: a replica that was never connected since its start takes its data for new. Breaks the bound of its age.
    UnknownAgeIsZero = "unknown-age-is-zero",
    /// Cluster: a replica of a new primary ranks by the offset that it had with the old one, as before Valkey's PR 885. Breaks
    /// durability (RZ-37).
    KeepOffsetOfOldPrimary = "keep-offset-of-old-primary",
    /// Cluster: `nodes.conf` is not written before a vote leaves. Breaks "one vote in an epoch" after a crash.
    ForgetClusterVote = "forget-cluster-vote",
    /// Cluster: a primary votes again in an epoch in which it has voted. Breaks "one vote in an epoch".
    VoteForEveryShard = "vote-for-every-shard",
    /// Cluster: a primary that reaches no majority serves on. Breaks the bound of what an isolated primary loses.
    ServeInMinority = "serve-in-minority",

    /// Sentinel: a vote is given to everyone who asks. Breaks "one vote in an epoch".
    VoteForEveryone = "vote-for-everyone",
    /// Sentinel: the majority is counted among those who answered (commit f4be6f1 of Redis). Breaks "one leader of an epoch".
    MajorityOfResponders = "majority-of-responders",
    /// Sentinel: whoever answers counts as agreeing that the primary is down. Breaks the meaning of the quorum.
    AgreeWithSilence = "agree-with-silence",
    /// Sentinel: a former primary that comes back is left alone. Breaks "in the end, all follow one primary".
    LeaveStrays = "leave-strays",
    /// Sentinel: at the end of a failover that timed out, the promoted replica is told to follow itself (RZ-17, PR 6743).
    ReconfigurePromoted = "reconfigure-promoted",
    /// Sentinel: as many votes as the quorum elect, without a majority. Breaks "one leader of an epoch".
    ElectByQuorum = "elect-by-quorum",
    /// Sentinel: the vote of an epoch is not written (commit ed81386 of Redis; RZ-19). Breaks "one vote in an epoch".
    ForgetSentinelVote = "forget-sentinel-vote",
    /// Sentinel: a configuration that is written in the middle of a failover lists the promoted server as a replica, too (commit
    /// 821a986 of Redis; RZ-19). Read after a restart, it makes the primary follow itself.
    ListPrimaryAsReplica = "list-primary-as-replica",
    /// Sentinel: a replica that says to be a primary is put right at once, and not after 8 s (commit 94bc467 of Redis; RZ-18). Undoes
    /// promotions of which a Sentinel has not heard yet.
    ConvertAtOnce = "convert-at-once",
    /// Sentinel: what was not answered on a lost connection still counts as pending on the next one (commit f7351f4 of Redis;
    /// RZ-16). Behind the hundredth such command nothing periodic is sent any more.
    LeakPending = "leak-pending",
    /// Sentinel: no PING is sent while an INFO is due (commit 8631e64 of Redis; RZ-16). Breaks the bound on detection.
    InfoBeforePing = "info-before-ping",
    /// Sentinel: the replica with the smallest run id is promoted, however much the others have more. Loses what they have.
    PromoteByRunId = "promote-by-run-id",
    /// Sentinel: a configuration of an older epoch replaces the own one as well. Breaks "the primary changes with a larger epoch
    /// only".
    TakeOlderConfiguration = "take-older-configuration",

    /// Lock: a release is `DEL`, whoever holds the lock meanwhile. Breaks mutual exclusion (the documentation of Redis warns of it).
    ReleaseWithoutCompare = "release-without-compare",
    /// Lock: a renewal is `SET XX`, whoever holds the lock meanwhile. Breaks "a lock changes hands when it is free".
    RenewWithSet = "renew-with-set",
    /// Lock: a holder counts the time to live from the answer and not from the request. Breaks mutual exclusion.
    CountFromAnswer = "count-from-answer",
    /// Lock: a contender does not look at how long the acquisition took (RZ-30, the check of Redlock). Breaks mutual
    /// exclusion.
    SkipElapsedCheck = "skip-elapsed-check",
    /// Lock: the store takes any token. Breaks invariant I9 of the fidelity specification.
    AcceptAnyToken = "accept-any-token",
    /// Lock: the store takes an equal token from another holder. Breaks "one token, one holder", which matters where tokens
    /// come from an asynchronously replicated counter.
    AcceptEqualToken = "accept-equal-token",
}

impl fmt::Display for Planted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
