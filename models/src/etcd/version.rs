//! Releases of etcd: what changed in which, as far as a run shows it.
//!
//! The model is etcd 3.5.23. An older release is selected by its number, and behaves as the newer one except for the changes
//! on this list. Three lines of releases are maintained at a time, and a change comes to each of them in a patch release.

use crate::release::Release;

/// The release that the model follows.
pub const MODELLED: Release = Release::new(3, 5, 23);
/// The oldest release that can be chosen: 3.4.0, the first with pre-vote.
pub const OLDEST: Release = Release::new(3, 4, 0);

/// A change between releases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// `--pre-vote` is true by default.
    PreVote,
    /// A leader whose ticks are old makes sure that it leads before it renews or revokes leases (etcd-io/etcd#15247). Before,
    /// one that was stuck in a sync went on as if it led, and what it wanted to revoke reached its successor afterwards.
    EnsureLeadership,
    /// A renewal waits until what is committed is applied. Before, it could report success for a lease that was just revoked.
    RenewAfterApply,
}

impl Change {
    /// True if this release has it.
    pub(super) fn is_in(self, release: Release) -> bool {
        let [in_3_4, in_3_5, in_3_6] = match self {
            Self::PreVote => [None, Some(0), Some(0)],
            Self::EnsureLeadership => [Some(31), Some(13), Some(0)],
            Self::RenewAfterApply => [Some(38), Some(23), Some(5)],
        };
        let since = match (release.major, release.minor) {
            (3, 4) => in_3_4,
            (3, 5) => in_3_5,
            (3, 6) => in_3_6,
            _ => Some(0),
        };
        since.is_some_and(|patch| release.patch >= patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_releases_has_a_change_since_a_patch_of_its_own() {
        let ensures = |minor, patch| Change::EnsureLeadership.is_in(Release::new(3, minor, patch));
        assert!(!ensures(4, 30) && ensures(4, 31));
        assert!(!ensures(5, 12) && ensures(5, 13));
        assert!(ensures(6, 0) && ensures(7, 0));
        assert!(!Change::PreVote.is_in(Release::new(3, 4, 40)) && Change::PreVote.is_in(MODELLED));
        assert!(
            Change::RenewAfterApply.is_in(MODELLED) && !Change::RenewAfterApply.is_in(Release::new(3, 6, 4))
        );
    }
}
