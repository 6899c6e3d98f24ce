//! Whether a process can be reached, and can take something in: asked for each event, and so kept at one place for all
//! processes, of what is known of each and of its host.

use crate::id::{HostId, ProcessId};
use crate::process::Process;

use super::Kernel;

/// What stands between an event and a process; nothing, if it is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Standing(u8);

impl Standing {
    /// It runs, and takes in what comes.
    pub(super) const READY: Self = Self(0);
    const STOPPED: u8 = 1;
    const HINDERED: u8 = 2;
    const SILENT: u8 = 4;

    /// It does not run.
    #[inline]
    pub(super) fn is_stopped(self) -> bool {
        self.0 & Self::STOPPED != 0
    }

    /// It, or its machine, is paused or slow: inputs stand in line.
    #[inline]
    pub(super) fn is_hindered(self) -> bool {
        self.0 & Self::HINDERED != 0
    }

    /// The network hears nothing of its host.
    #[inline]
    pub(super) fn is_silent(self) -> bool {
        self.0 & Self::SILENT != 0
    }
}

/// That of each process.
#[derive(Clone, Debug)]
pub(super) struct Standings(Vec<Standing>);

impl Standings {
    /// Of so many processes, none of which runs yet.
    pub(super) fn new(processes: usize) -> Self {
        Self(vec![Standing(Standing::STOPPED); processes])
    }

    #[inline]
    pub(super) fn of(&self, process: ProcessId) -> Standing {
        self.0[process.index()]
    }
}

impl<P: Process> Kernel<P> {
    #[inline]
    pub(super) fn standing(&self, process: ProcessId) -> Standing {
        let standing = self.standings.of(process);
        debug_assert_eq!(standing, self.derive_standing(process), "of {process:?}");
        standing
    }

    /// To be called after whatever the standing of a process depends on has changed.
    pub(super) fn update_standing(&mut self, process: ProcessId) {
        self.standings.0[process.index()] = self.derive_standing(process);
    }

    /// The same for all processes of a host.
    pub(super) fn update_standings(&mut self, host: HostId) {
        for position in 0..self.hosts[host.index()].processes.len() {
            self.update_standing(self.hosts[host.index()].processes[position]);
        }
    }

    fn derive_standing(&self, process: ProcessId) -> Standing {
        let slot = &self.processes[process.index()];
        let host = &self.hosts[slot.host.index()];
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Standing(
            flag(!slot.running, Standing::STOPPED)
                | flag(slot.pauses > 0 || host.hindered, Standing::HINDERED)
                | flag(host.is_silent(), Standing::SILENT),
        )
    }
}
