//! What is wrong with the disk of a volume at the moment.

use crate::time::SimDuration;

use super::DiskError;

/// The faults of a disk that are under way. Faults of one kind may overlap, so each is a count: the disk is sound again
/// when the last of them ends. A sound disk costs a comparison with zero for each write and each sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskTrouble {
    /// Syncs do not complete.
    pub(crate) stalls: u32,
    /// Added to the latency of each sync.
    pub(crate) latency: SimDuration,
    /// The latency of each sync is multiplied by this, before the above is added.
    pub(crate) factor: u64,
    /// Syncs fail with EIO.
    pub(crate) errors: u32,
    /// Writes that need space fail with ENOSPC.
    pub(crate) full: u32,
    /// A loss of power tears the record that is being written.
    pub(crate) tears: u32,
    /// Syncs are acknowledged, and nothing becomes durable.
    pub(crate) lies: u32,
    /// So many of the next records that become durable go astray.
    pub(crate) misdirections: u32,
}

impl DiskTrouble {
    pub(crate) const NONE: Self = Self {
        stalls: 0,
        latency: SimDuration::ZERO,
        factor: 1,
        errors: 0,
        full: 0,
        tears: 0,
        lies: 0,
        misdirections: 0,
    };

    /// How long a sync takes that would take this long on a sound disk.
    #[inline]
    pub(crate) fn slowed(&self, latency: SimDuration) -> SimDuration {
        if self.factor == 1 && self.latency == SimDuration::ZERO {
            return latency;
        }
        let nanos =
            u128::from(latency.as_nanos()) * u128::from(self.factor) + u128::from(self.latency.as_nanos());
        SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Why a write that needs space would be refused.
    #[inline]
    pub(crate) fn refuses_growth(&self) -> Option<DiskError> {
        (self.full > 0).then_some(DiskError::NoSpace)
    }
}
