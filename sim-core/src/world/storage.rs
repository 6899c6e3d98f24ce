//! Volumes at work: syncs, refused writes, losses of power.

use crate::id::{ProcessId, SyncId, VolumeId};
use crate::process::Process;
use crate::storage::{DiskError, PendingSync, StorageFailure};
use crate::trace::{TraceKind, TraceLevel};

use super::{Event, Input, Kernel, World};

impl<P: Process> World<P> {
    /// A sync is over, unless the disk is stalled.
    pub(crate) fn on_synced(&mut self, id: VolumeId, pending: PendingSync) {
        let PendingSync { process, incarnation, sync, position } = pending;
        let kernel = &mut self.kernel;
        let volume = &mut kernel.volumes[id.index()];
        if volume.trouble.stalls > 0 {
            volume.waiting.push(pending);
            return;
        }
        let failed = volume.trouble.errors > 0;
        if failed {
            volume.fail_sync(position);
        } else {
            let astray = volume.make_durable(position, &mut kernel.volume_streams[id.index()]);
            if astray > 0 {
                kernel.tell_of_volume(id, || format!("{astray} misdirected"));
            }
        }
        if self.kernel.processes[process.index()].incarnation != incarnation {
            return;
        }
        if failed {
            self.tell_of_failure(process, StorageFailure::Sync(sync, DiskError::InputOutput));
        } else {
            self.give(process, Input::Synced(sync));
        }
    }

    pub(crate) fn on_write_refused(&mut self, process: ProcessId, incarnation: u32, error: DiskError) {
        if self.kernel.processes[process.index()].incarnation == incarnation {
            self.tell_of_failure(process, StorageFailure::Write(error));
        }
    }

    fn tell_of_failure(&mut self, process: ProcessId, failure: StorageFailure) {
        self.kernel.processes[process.index()].disk_failed = true;
        self.give(process, Input::StorageFailed(failure));
    }
}

impl<P: Process> Kernel<P> {
    pub(crate) fn sync(&mut self, process: ProcessId) -> SyncId {
        let slot = &mut self.processes[process.index()];
        let sync = SyncId(slot.next_sync);
        slot.next_sync += 1;
        let (volume, incarnation) = (slot.volume, slot.incarnation);
        let position = self.volumes[volume.index()].position();
        self.start_sync(volume, PendingSync { process, incarnation, sync, position });
        sync
    }

    pub(crate) fn start_sync(&mut self, id: VolumeId, pending: PendingSync) {
        let volume = &mut self.volumes[id.index()];
        if volume.trouble.stalls > 0 {
            volume.waiting.push(pending);
            return;
        }
        let latency = volume.sync_latency.draw(&mut self.volume_streams[id.index()]);
        volume.busy_until = volume.busy_until.max(self.now) + volume.trouble.slowed(latency);
        let PendingSync { process, incarnation, sync, position } = pending;
        let at = volume.busy_until;
        self.queue.push(at, Event::Synced { volume: id, process, incarnation, sync, position });
    }

    /// The write did nothing; whoever wrote hears of it as soon as its handler returns.
    #[cold]
    pub(crate) fn refuse_write(&mut self, process: ProcessId, error: DiskError) {
        let incarnation = self.processes[process.index()].incarnation;
        self.queue.push(self.now, Event::WriteRefused { process, incarnation, error });
    }

    /// The host of the volume lost power.
    pub(crate) fn lose_unsynced(&mut self, id: VolumeId) {
        let random = &mut self.volume_streams[id.index()];
        let loss = self.volumes[id.index()].lose_power(self.now, random);
        if loss.acknowledged > 0 {
            self.tell_of_volume(id, || format!("{} lost that the disk had acknowledged", loss.acknowledged));
        }
        if loss.torn {
            self.tell_of_volume(id, || "the last one torn".to_owned());
        }
    }

    /// Says in the timeline what became of records, which no process is told.
    pub(crate) fn tell_of_volume(&mut self, id: VolumeId, what: impl FnOnce() -> String) {
        let users = self.processes.iter().filter(|slot| slot.volume == id);
        self.trace.add(TraceLevel::Story, self.now, None, TraceKind::Fault, || {
            let names: Vec<&str> = users.map(|slot| &*slot.name).collect();
            format!("records on the disk of {}: {}", names.join(", "), what())
        });
    }
}
