//! Clock faults taking effect and ending.

use crate::id::HostId;
use crate::process::Process;
use crate::world::World;

impl<P: Process> World<P> {
    /// The wall clocks step by this much.
    pub(super) fn step_clocks(&mut self, hosts: &[HostId], millis: i64) {
        let now = self.kernel.now;
        for host in hosts {
            self.kernel.hosts[host.index()].clock.step_wall(now, millis);
        }
    }

    /// The clocks run this much faster than before, or slower if negative.
    pub(super) fn change_drifts(&mut self, hosts: &[HostId], ppm: i32) {
        let now = self.kernel.now;
        for host in hosts {
            self.kernel.hosts[host.index()].clock.change_drift(now, ppm);
        }
    }
}
