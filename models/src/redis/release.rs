//! Releases of Redis: what changed in which, as far as a run shows it.
//!
//! The model is Redis 7.0.15. An older release is chosen by its number, for servers and Sentinels alike, and behaves as the newer
//! one except for the changes on this list. Other differences between releases (directives that did not exist yet, other
//! defaults) are not checked.

pub use crate::release::Release as Version;

/// The release that the models follow.
pub const MODELLED: Version = Version::new(7, 0, 15);
/// The oldest release that can be chosen: the first whose Sentinels make a primary that comes back a replica.
pub const OLDEST: Version = Version::new(2, 6, 13);

/// A change between releases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// A Sentinel under another run id at the address of a known one makes that one's address invalid (port 0) and leaves it among
    /// the voters (commit 751b566; RZ-12). Before, it took its place.
    InvalidateAddress,
    /// Sentinels with an invalid address are forgotten (pull request 9240, of July 2021).
    ForgetInvalidAddress,
    /// `rand()` is seeded with the microseconds of the start, too (pull request 10197, commit 52b2fbe; RZ-08). Before, with the second
    /// and the process number alone, which is 1 in containers.
    SeedByMicroseconds,
    /// `CONFIG REWRITE`: a server writes into its file what was set while it ran.
    ConfigRewrite,
    /// `CONFIG REWRITE` makes a new file, syncs it, and gives it the name of the old one (pull request 7824, which "slipped through to
    /// 6.0.9", issue 8051). Before, the file was overwritten in its place, and nothing was synced. A replica syncs the snapshot of its primary before
    /// that takes the place of its RDB file (pull request 7839).
    SyncedFiles,
    /// The folder of such a file is synced, too (pull request 10737).
    SyncedFolders,
    /// "Sentinel 2": a winner begins at once. Before, it waited for 5 s and up to 10 s more (`SENTINEL_FAILOVER_FIXED_DELAY`,
    /// `SENTINEL_FAILOVER_MAX_RANDOM_DELAY`), looked at neither offsets nor roles for long, and made a former primary a replica
    /// with its first INFO (`+demote-old-slave`). Elections by epochs and configurations in hellos are as today here, which saves
    /// the other Sentinels up to a second until they answer with the new address.
    SecondSentinel,
    /// The end of a failover that timed out leaves the promoted replica out when it re-points everybody (pull request 6743;
    /// RZ-17).
    SparePromoted,
    /// A replica that was never connected since its start says -1 for how long its link has been down (pull request 8785).
    /// Before, the seconds since 1970, with which Sentinel promotes nobody (RZ-14).
    NeverConnectedIsMinusOne,
    /// `PSYNC`: a replica that lost its link goes on where it was. Before, `SYNC`: all data anew.
    PartialResync,
    /// "PSYNC2": a stream outlives its primary and the process of a replica. A promoted replica takes in those who followed the old
    /// primary, and a replica that starts goes on from its RDB file. Before, the stream had the name of the primary's process.
    StreamOutlivesPrimary,
    /// A primary that starts takes in those who followed it, from its RDB file (pull request 8015).
    StreamOutlivesRestart,
    /// A replica with replicas of its own cuts them off, and frees its backlog, when it takes a snapshot of its primary (commit
    /// c1e94b6; RZ-25). Before, it cut them off as soon as it lost its primary and kept the backlog whatever came after, so that
    /// they went on behind data that was gone.
    SubReplicasResync,
    /// The "meaningful offset" (commit 57fa355e; RZ-25): a server takes the PINGs at the end of its stream back before it asks for a place in
    /// one. Withdrawn by commit 22472fe.
    MeaningfulOffset,
}

impl Change {
    /// The first release that has it.
    const fn since(self) -> Version {
        match self {
            Self::InvalidateAddress => Version::new(3, 2, 0),
            Self::ForgetInvalidAddress | Self::StreamOutlivesRestart => Version::new(7, 0, 0),
            Self::SeedByMicroseconds => Version::new(6, 2, 7),
            Self::ConfigRewrite | Self::SecondSentinel | Self::PartialResync => Version::new(2, 8, 0),
            Self::SyncedFiles => Version::new(6, 0, 9),
            Self::SyncedFolders => Version::new(7, 0, 3),
            Self::StreamOutlivesPrimary => Version::new(4, 0, 0),
            Self::SparePromoted => Version::new(5, 0, 8),
            Self::NeverConnectedIsMinusOne => Version::new(6, 2, 2),
            Self::SubReplicasResync => Version::new(3, 0, 4),
            Self::MeaningfulOffset => Version::new(6, 0, 0),
        }
    }

    /// The first release that has it no more, if it was withdrawn.
    const fn withdrawn(self) -> Option<Version> {
        match self {
            Self::MeaningfulOffset => Some(Version::new(6, 0, 4)),
            _ => None,
        }
    }

    /// The first release of an older series that has it, too, and the first of the next series, which has it not. That 2.8.22 has the
    /// change of 3.0.4 is inferred: both came on the same day, and the issue names both series.
    const fn backported(self) -> Option<(Version, Version)> {
        match self {
            Self::SubReplicasResync => Some((Version::new(2, 8, 22), Version::new(3, 0, 0))),
            _ => None,
        }
    }

    /// True if a release has it.
    pub(crate) fn is_in(self, version: Version) -> bool {
        let is_withdrawn = self.withdrawn().is_some_and(|end| version >= end);
        (version >= self.since() && !is_withdrawn)
            || self.backported().is_some_and(|(first, end)| (first..end).contains(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_what_came_before_it() {
        assert!(Change::SparePromoted.is_in(Version::new(5, 0, 8)));
        assert!(!Change::SparePromoted.is_in(Version::new(5, 0, 7)));
        assert!(!Change::SecondSentinel.is_in(OLDEST));
        assert!(Change::NeverConnectedIsMinusOne.is_in(MODELLED));
    }

    #[test]
    fn a_change_can_be_withdrawn() {
        for ((major, minor, patch), expected) in [
            ((5, 0, 14), false),
            ((6, 0, 0), true),
            ((6, 0, 3), true),
            ((6, 0, 4), false),
            ((6, 2, 0), false),
            ((7, 0, 15), false),
        ] {
            let version = Version::new(major, minor, patch);
            assert_eq!(Change::MeaningfulOffset.is_in(version), expected, "{version}");
        }
    }

    #[test]
    fn a_change_can_reach_an_older_series_first() {
        for ((major, minor, patch), expected) in [
            ((2, 8, 21), false),
            ((2, 8, 22), true),
            ((2, 8, 24), true),
            ((3, 0, 0), false),
            ((3, 0, 3), false),
            ((3, 0, 4), true),
            ((3, 2, 0), true),
        ] {
            let version = Version::new(major, minor, patch);
            assert_eq!(Change::SubReplicasResync.is_in(version), expected, "{version}");
        }
    }
}
