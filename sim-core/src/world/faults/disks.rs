//! Disk faults taking effect and ending.

use crate::id::HostId;
use crate::process::Process;
use crate::world::World;

impl<P: Process> World<P> {
    /// Syncs of all volumes of these hosts wait, or go on.
    pub(super) fn stall_disks(&mut self, hosts: &[HostId], stalled: bool) {
        for host in hosts {
            for volume in self.kernel.hosts[host.index()].volumes.clone() {
                self.kernel.volumes[volume.index()].stalled = stalled;
                if !stalled {
                    for pending in std::mem::take(&mut self.kernel.volumes[volume.index()].waiting) {
                        self.kernel.start_sync(volume, pending);
                    }
                }
            }
        }
    }
}
