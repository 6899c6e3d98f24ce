//! Building a world: hosts from the topology, then processes on them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::digest::Digest;
use crate::distribution::{Distribution, Sampler};
use crate::host::faults::FaultState;
use crate::host::{Blueprint, VolumeOptions, process_stream, volume_stream};
use crate::id::{HostId, ProcessId, VolumeId};
use crate::network::{Connections, LinkTable, Paths};
use crate::process::Process;
use crate::queue::Queue;
use crate::random::Seed;
use crate::record::Recorder;
use crate::storage::Volume;
use crate::time::{SimDuration, SimTime};
use crate::topology::Topology;
use crate::trace::Trace;

use super::clock::HostClock;
use super::observers::Observers;
use super::standing::Standings;
use super::timers::Timers;
use super::{Event, Host, Kernel, Listening, ProcessSlot, World};

/// From a reset by the watchdog until the operating system starts services again, unless set otherwise.
const REBOOT_TIME: SimDuration = SimDuration::from_secs(30);

/// How a process is placed.
#[derive(Clone, Debug)]
pub struct ProcessOptions<P: Process> {
    /// Its name: unique in the world, the target of faults.
    pub name: String,
    /// Where it runs.
    pub host: HostId,
    /// Its volume. Processes of one host may share one.
    pub volume: VolumeId,
    /// True if the host's init system starts it; false if another process does.
    pub starts_with_host: bool,
    /// What it is started with.
    pub spec: P::Spec,
}

/// Collects what a world consists of. Identities are assigned in the order of the calls, from zero, so that the
/// specifications of processes can name each other before they are added.
///
/// A builder can build any number of worlds. What is costly (tables of distributions) is computed once, when it is
/// collected.
#[derive(Clone, Debug)]
pub struct WorldBuilder<P: Process> {
    topology: Arc<Topology>,
    volumes: Vec<(HostId, P::Storage, Sampler)>,
    links: Arc<LinkTable>,
    processes: Vec<ProcessOptions<P>>,
    /// Processes of the same world that other builders hold, and that come before these.
    processes_before: usize,
    reboot_time: SimDuration,
}

impl<P: Process> WorldBuilder<P> {
    /// A world on these hosts, without processes.
    pub fn new(topology: Topology) -> Self {
        Self {
            processes_before: 0,
            links: Arc::new(LinkTable::new(&topology)),
            topology: Arc::new(topology),
            volumes: Vec::new(),
            processes: Vec::new(),
            reboot_time: REBOOT_TIME,
        }
    }

    /// Adds a volume with these contents to a host. Each sync takes a length drawn from `sync_latency`.
    pub fn add_volume(
        &mut self,
        host: HostId,
        contents: P::Storage,
        sync_latency: &Distribution,
    ) -> VolumeId {
        self.volumes.push((host, contents, sync_latency.sampler()));
        VolumeId::from_index(self.volumes.len() - 1)
    }

    /// Adds a process.
    ///
    /// # Panics
    /// If its name is taken, or its volume is on another host.
    pub fn add_process(&mut self, options: ProcessOptions<P>) -> ProcessId {
        let name = &options.name;
        assert!(self.processes.iter().all(|other| other.name != *name), "two processes are named {name}");
        assert!(
            self.volumes[options.volume.index()].0 == options.host,
            "the volume of {name} is on another host"
        );
        self.processes.push(options);
        ProcessId::from_index(self.processes_before + self.processes.len() - 1)
    }

    /// The identity that the next added process will have.
    pub fn next_process(&self) -> ProcessId {
        ProcessId::from_index(self.processes_before + self.processes.len())
    }

    /// The hosts.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A builder for a part of a world whose processes come behind those of another part, on hosts that may be more than
    /// the other's. Another builder [absorbs](Self::absorb) both, in this order.
    #[must_use]
    pub fn beside<Other: Process>(topology: Topology, other: &WorldBuilder<Other>) -> Self {
        Self { processes_before: other.next_process().index(), ..Self::new(topology) }
    }

    /// Takes in everything that the builder of a part holds.
    ///
    /// # Panics
    /// If its processes do not come next, if one has a name that is taken, or if a host of its topology is another one here.
    pub fn absorb<Inner>(&mut self, part: WorldBuilder<Inner>)
    where
        Inner: Process,
        P: Process<Spec: From<Inner::Spec>, Storage: From<Inner::Storage>>,
    {
        assert_eq!(part.processes_before, self.next_process().index(), "parts are absorbed in their order");
        for host in (0..part.topology.host_count()).map(HostId::from_index) {
            let (theirs, ours) = (part.topology.host_name(host), self.topology.host_name(host));
            assert_eq!(theirs, ours, "the hosts of a part are the first of the whole");
        }
        let volumes_before = self.volumes.len();
        let volumes = part.volumes.into_iter();
        self.volumes.extend(volumes.map(|(host, contents, latency)| (host, contents.into(), latency)));
        for options in part.processes {
            let ProcessOptions { name, host, volume, starts_with_host, spec } = options;
            let volume = VolumeId::from_index(volumes_before + volume.index());
            self.add_process(ProcessOptions { name, host, volume, starts_with_host, spec: spec.into() });
        }
    }

    /// Sets how long a host that its watchdog resets takes to start services again; 30 s otherwise.
    pub fn set_reboot_time(&mut self, reboot_time: SimDuration) {
        self.reboot_time = reboot_time;
    }

    /// Everything collected so far, for another host of processes than the native kernel.
    pub fn blueprint(&self) -> Blueprint<P> {
        let volume = |(host, contents, sync_latency): &(HostId, P::Storage, Sampler)| VolumeOptions {
            host: *host,
            contents: contents.clone(),
            sync_latency: sync_latency.clone(),
        };
        Blueprint {
            topology: Arc::clone(&self.topology),
            volumes: self.volumes.iter().map(volume).collect(),
            processes: self.processes.clone(),
            reboot_time: self.reboot_time,
        }
    }

    /// The world at its first instant. Processes that start with their host boot in order, all at time zero.
    ///
    /// # Panics
    /// If it is the builder of a part: only the whole is a world.
    pub fn build(&self, seed: Seed) -> World<P> {
        assert_eq!(self.processes_before, 0, "a part is not a world");
        let now = SimTime::ZERO;
        let mut hosts: Vec<Host> = (0..self.topology.host_count())
            .map(|_| Host {
                powered: true,
                outages: 0,
                freezes: 0,
                frozen_since: now,
                deferred: Vec::new(),
                service: SimDuration::ZERO,
                hindered: false,
                clock: HostClock::new(),
                processes: Vec::new(),
                volumes: Vec::new(),
                watchdog: None,
                watchdog_pending: false,
                reboot_time: self.reboot_time,
            })
            .collect();
        let mut volumes = Vec::with_capacity(self.volumes.len());
        let mut volume_streams = Vec::with_capacity(self.volumes.len());
        for (index, (host, contents, latency)) in self.volumes.iter().enumerate() {
            hosts[host.index()].volumes.push(VolumeId::from_index(index));
            volumes.push(Volume::new(contents.clone(), latency.clone()));
            volume_streams.push(volume_stream(seed, index));
        }
        let host_of = self.processes.iter().map(|process| process.host).collect();
        let mut queue = Queue::new();
        let mut processes = Vec::with_capacity(self.processes.len());
        for (index, options) in self.processes.iter().enumerate() {
            let process = ProcessId::from_index(index);
            hosts[options.host.index()].processes.push(process);
            if options.starts_with_host {
                queue.push(now, Event::Boot { process });
            }
            processes.push(ProcessSlot {
                random: process_stream(seed, &options.name),
                name: options.name.as_str().into(),
                host: options.host,
                volume: options.volume,
                starts_with_host: options.starts_with_host,
                spec: options.spec.clone(),
                running: false,
                observers: Observers::default(),
                incarnation: 0,
                pauses: 0,
                kills: 0,
                backlog: VecDeque::new(),
                busy_until: None,
                listening: Listening { drops: 0, hangs: 0, unaccepted: VecDeque::new() },
                timers: Timers::new(),
                next_sync: 0,
                disk_failed: false,
            });
        }
        let mut digest = Digest::default();
        digest.fold(seed.0);
        World {
            states: vec![None; processes.len()],
            kernel: Kernel {
                now,
                events: 0,
                digest,
                queue,
                processes,
                standings: Standings::new(self.processes.len()),
                hosts,
                volumes,
                volume_streams,
                paths: Paths::new(Arc::clone(&self.links), host_of, seed),
                connections: Connections::default(),
                faults: FaultState::new(seed),
                recorder: Recorder::default(),
                probes: Vec::new(),
                state_probes: Vec::new(),
                violation: None,
                trace: Trace::default(),
                topology: Arc::clone(&self.topology),
            },
        }
    }
}
