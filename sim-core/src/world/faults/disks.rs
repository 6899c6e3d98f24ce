//! Disk faults taking effect and ending.
//!
//! They act on the volumes of the processes that the target names: a process means its volume, a host all of its volumes,
//! and whoever shares a volume is hit as well.

use crate::fault::Fault;
use crate::host::faults::Effect;
use crate::id::{ProcessId, VolumeId};
use crate::process::Process;
use crate::storage::DiskTrouble;
use crate::world::{Kernel, World};

impl<P: Process> World<P> {
    pub(super) fn begin_disk_fault(&mut self, fault: &Fault, effect: &Effect) {
        for volume in &effect.volumes {
            if let Fault::DiskCorruption { newest, .. } = fault {
                self.kernel.rot(*volume, *newest);
            } else {
                let trouble = &mut self.kernel.volumes[volume.index()].trouble;
                add_trouble(trouble, fault);
            }
        }
    }

    pub(super) fn end_disk_fault(&mut self, fault: &Fault, effect: &Effect) {
        for volume in &effect.volumes {
            let trouble = &mut self.kernel.volumes[volume.index()].trouble;
            remove_trouble(trouble, fault);
            self.kernel.go_on(*volume);
        }
        if matches!(fault, Fault::DiskError { .. } | Fault::DiskFull { .. }) {
            for process in &effect.processes {
                self.restart_failed(*process);
            }
        }
    }

    /// If a process ended because of its disk and that is sound again, its supervisor starts it, unless a fault keeps it
    /// down: the end of that fault will.
    pub(in crate::world) fn restart_failed(&mut self, process: ProcessId) {
        let slot = &self.kernel.processes[process.index()];
        let trouble = &self.kernel.volumes[slot.volume.index()].trouble;
        let is_sound = trouble.errors == 0 && trouble.full == 0;
        if slot.disk_failed && slot.starts_with_host && slot.kills == 0 && is_sound {
            self.boot(process);
        }
    }
}

impl<P: Process> Kernel<P> {
    /// One of the newest records of a volume rots, or one of all.
    fn rot(&mut self, id: VolumeId, newest: Option<u32>) {
        let volume = &mut self.volumes[id.index()];
        let count = volume.durable_records();
        let candidates = newest.map_or(count, |newest| count.min(u64::from(newest)));
        if candidates == 0 {
            return;
        }
        let record = count - 1 - self.faults.stream().below(candidates);
        volume.rot(record);
        self.tell_of_volume(id, || format!("number {} of {count} rotted", record + 1));
    }

    /// Carries out what waited for the end of a fault.
    fn go_on(&mut self, id: VolumeId) {
        let volume = &mut self.volumes[id.index()];
        if volume.trouble.lies == 0 {
            volume.come_clean(&mut self.volume_streams[id.index()]);
        }
        if volume.trouble.stalls == 0 {
            for pending in std::mem::take(&mut volume.waiting) {
                self.start_sync(id, pending);
            }
        }
    }
}

fn add_trouble(trouble: &mut DiskTrouble, fault: &Fault) {
    match fault {
        Fault::DiskSlow { latency, factor, .. } => {
            trouble.latency += *latency;
            trouble.factor = trouble.factor.saturating_mul(u64::from(*factor).max(1));
        }
        fault => {
            if let Some(count) = count_of(trouble, fault) {
                *count += 1;
            }
        }
    }
}

fn remove_trouble(trouble: &mut DiskTrouble, fault: &Fault) {
    match fault {
        Fault::DiskSlow { latency, factor, .. } => {
            trouble.latency = trouble.latency.saturating_sub(*latency);
            trouble.factor = (trouble.factor / u64::from(*factor).max(1)).max(1);
        }
        fault => {
            if let Some(count) = count_of(trouble, fault) {
                // A misdirection may have happened, and ended with it.
                *count = count.saturating_sub(1);
            }
        }
    }
}

/// What counts the faults of this kind.
fn count_of<'t>(trouble: &'t mut DiskTrouble, fault: &Fault) -> Option<&'t mut u32> {
    match fault {
        Fault::DiskStall { .. } => Some(&mut trouble.stalls),
        Fault::DiskError { .. } => Some(&mut trouble.errors),
        Fault::DiskFull { .. } => Some(&mut trouble.full),
        Fault::DiskTornWrite { .. } => Some(&mut trouble.tears),
        Fault::DiskLies { .. } => Some(&mut trouble.lies),
        Fault::DiskMisdirectedWrite { .. } => Some(&mut trouble.misdirections),
        _ => None,
    }
}
