//! A run on madsim: nodes from a blueprint, a schedule, an end, and what is left.

use std::sync::Arc;
use std::task::Poll;

use madsim::runtime::Handle;
use madsim::task::NodeId;
use scenarios::family::LogLevel;
use sim_core::host::faults::{self, FaultState};
use sim_core::host::{Blueprint, HostVolume, Inspect, MachineClock, process_stream, volume_stream};
use sim_core::{
    DeliveredFault, EndReason, FaultBudget, HostId, Process, ProcessId, Record, Schedule, Seed, SimDuration,
    SimTime, TraceEntry, VolumeId,
};

use crate::Portable;
use crate::connection::Stack;
use crate::faults::{MadsimFaults, supports};
use crate::kernel::{Disk, Happening, Host, Kernel, Program, Shared, Slot, World};
use crate::link::Links;
use crate::pace::Pace;
use crate::port::Port;
use crate::tasks::{act, address, hardware, kernel};

/// What a run is started with, beside the blueprint.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the streams of processes, links, volumes and faults. The seed of madsim's runtime is set where the runtime
    /// is made.
    pub seed: Seed,
    /// The relation of the world's time to madsim's.
    pub pace: Pace,
    /// The most inputs of processes; more is a livelock.
    pub event_budget: u64,
    /// What is written down for a person to read.
    pub log: LogLevel,
    /// Ports: places in the modelled world for async code, by name and host.
    pub ports: Vec<(String, HostId)>,
}

impl Options {
    /// For a run with services: real pace, no log, no ports, 20 million inputs at most.
    pub const fn new(seed: Seed) -> Self {
        Self { seed, pace: Pace::REAL, event_budget: 20_000_000, log: LogLevel::Off, ports: Vec::new() }
    }
}

/// A world that runs on madsim. To be made and used inside of a madsim runtime.
#[derive(Clone, Debug)]
pub struct Simulation<P: Portable> {
    pub(crate) shared: Arc<Shared<P>>,
}

impl<P: Portable> Simulation<P> {
    /// Makes a node for each process and each port, and starts what starts with its host.
    ///
    /// # Panics
    /// Outside of a madsim runtime.
    pub fn start(blueprint: &Blueprint<P>, options: &Options) -> Self {
        let shared = Arc::new(Shared::new(options.pace, world(blueprint, options)));
        let handle = Handle::current();
        let names: Vec<Arc<str>> =
            shared.peek(|world| world.kernel.slots.iter().map(|slot| Arc::clone(&slot.name)).collect());
        for (index, name) in names.iter().enumerate() {
            let me = ProcessId::from_index(index);
            let its = Arc::clone(&shared);
            let node = handle
                .create_node()
                .name(&**name)
                .ip(address(me).ip())
                .init(move || kernel(Arc::clone(&its), me))
                .build();
            shared.peek(|world| world.kernel.slots[index].node = Some(node.id()));
        }
        let machines = handle.create_node().name("hardware").build();
        machines.spawn(hardware(Arc::clone(&shared)));
        Self { shared }
    }

    /// Adds faults.
    ///
    /// # Errors
    /// A fault that this host cannot carry out, or whose target does not exist.
    pub fn schedule(&self, schedule: &Schedule) -> Result<(), String> {
        schedule.0.iter().try_for_each(|scheduled| supports(&scheduled.fault))?;
        act(&self.shared, |world| faults::schedule(&mut MadsimFaults(world), schedule))
    }

    /// Limits what faults may break from now on.
    pub fn limit_faults(&self, budgets: Arc<[FaultBudget]>) {
        self.shared.peek(|world| world.kernel.faults.limit(budgets));
    }

    /// The port with this name.
    ///
    /// # Panics
    /// If the options of the run name no such port.
    pub fn port(&self, name: &str) -> Port<P> {
        let position = self.shared.peek(|world| {
            world.kernel.slots.iter().position(|slot| *slot.name == *name && slot.program.is_none())
        });
        let position =
            position.unwrap_or_else(|| panic!("no port is named `{name}` in the options of the run"));
        Port::new(Arc::clone(&self.shared), ProcessId::from_index(position))
    }

    /// The process with this name.
    pub fn find(&self, name: &str) -> Option<ProcessId> {
        self.shared
            .peek(|world| world.kernel.slots.iter().position(|slot| *slot.name == *name))
            .map(ProcessId::from_index)
    }

    /// Waits until this instant of the world, or until the run ends before for another reason.
    pub async fn run_until(&self, at: SimTime) {
        act(&self.shared, |world| world.kernel.at(at, Happening::Horizon));
        std::future::poll_fn(|cx| {
            self.shared.peek(|world| {
                if world.kernel.end.is_some() {
                    return Poll::Ready(());
                }
                world.kernel.end_waker = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// Ends the run: all nodes of modelled processes are killed, so that madsim can let go of them.
    pub async fn stop(&self) {
        let nodes: Vec<NodeId> = self.shared.peek(|world| {
            let kernel = &mut world.kernel;
            kernel.finish(EndReason::Horizon);
            for slot in &mut kernel.slots {
                slot.endpoint = None;
                slot.waker = None;
                slot.stack_waker = None;
            }
            kernel.agenda_waker = None;
            kernel.slots.iter().filter_map(|slot| slot.node).collect()
        });
        let handle = Handle::current();
        for node in nodes {
            handle.kill(node);
        }
        handle.kill("hardware");
        madsim::time::sleep(madsim::time::Duration::from_secs(1)).await;
    }

    /// What the run leaves. `panicked` is the message of a panic that ended it.
    pub fn outcome(&self, panicked: Option<String>) -> Outcome<P> {
        self.shared.peek(|world| {
            let kernel = &mut world.kernel;
            let end = match panicked {
                Some(message) => EndReason::Panicked(message),
                None => kernel.end.clone().unwrap_or(EndReason::Horizon),
            };
            let (operations, observations, marks) = std::mem::take(&mut kernel.history).into_parts();
            Outcome {
                record: Record {
                    operations,
                    observations,
                    marks,
                    violation: None,
                    digest: kernel.digest,
                    events: kernel.events,
                    ended_at: kernel.now,
                    end,
                },
                faults: kernel.faults.delivered().to_vec(),
                log: std::mem::take(&mut kernel.log),
                states: std::mem::take(&mut world.states),
                volumes: kernel.volumes.iter().map(|disk| disk.volume.contents().clone()).collect(),
                volume_of: kernel
                    .slots
                    .iter()
                    .map(|slot| slot.program.as_ref().map(|program| program.volume))
                    .collect(),
            }
        })
    }
}

/// What a run on madsim leaves.
#[derive(Clone, Debug)]
pub struct Outcome<P: Process> {
    /// History, marks, digest and end.
    pub record: Record,
    /// What became of the faults.
    pub faults: Vec<DeliveredFault>,
    /// The log, if one was asked for.
    pub log: Vec<TraceEntry>,
    states: Vec<Option<P>>,
    volumes: Vec<P::Storage>,
    volume_of: Vec<Option<VolumeId>>,
}

impl<P: Process> Inspect<P> for Outcome<P> {
    fn process(&self, process: ProcessId) -> Option<&P> {
        self.states[process.index()].as_ref()
    }

    /// # Panics
    /// If the process is a port: async code has no volume.
    fn storage(&self, process: ProcessId) -> &P::Storage {
        let volume = self.volume_of[process.index()].expect("ports have no volume");
        &self.volumes[volume.index()]
    }
}

fn world<P: Portable>(blueprint: &Blueprint<P>, options: &Options) -> World<P> {
    let seed = options.seed;
    let mut hosts: Vec<Host> =
        (0..blueprint.topology.host_count()).map(|_| new_host(blueprint.reboot_time)).collect();
    for (index, volume) in blueprint.volumes.iter().enumerate() {
        hosts[volume.host.index()].volumes.push(VolumeId::from_index(index));
    }
    let disk = |(index, volume)| Disk {
        volume: HostVolume::new(volume),
        stream: volume_stream(seed, index),
        stalls: 0,
        waiting: Vec::new(),
    };
    let volumes = blueprint.volumes.iter().enumerate().map(disk).collect();
    let processes = blueprint.processes.iter().map(|process| {
        let program = Program {
            spec: process.spec.clone(),
            volume: process.volume,
            starts_with_host: process.starts_with_host,
        };
        (process.name.as_str(), process.host, Some(program))
    });
    let ports = options.ports.iter().map(|(name, host)| (name.as_str(), *host, None));
    let mut slots = Vec::new();
    for (name, host, program) in processes.chain(ports) {
        let process = ProcessId::from_index(slots.len());
        hosts[host.index()].processes.push(process);
        let stack = Stack::new(process, blueprint.topology.tcp_syn_linear_timeouts());
        slots.push(new_slot(stack, name, host, program, seed));
    }
    World {
        states: slots.iter().map(|_| None).collect(),
        kernel: Kernel::new(
            Arc::clone(&blueprint.topology),
            slots,
            hosts,
            volumes,
            Links::new(&blueprint.topology, seed),
            FaultState::new(seed),
            options.event_budget,
            options.log,
        ),
    }
}

fn new_host(reboot_time: SimDuration) -> Host {
    Host {
        powered: true,
        outages: 0,
        freezes: 0,
        frozen_since: SimTime::ZERO,
        clock: MachineClock::default(),
        processes: Vec::new(),
        volumes: Vec::new(),
        watchdog: None,
        watchdog_pending: false,
        reboot_time,
    }
}

fn new_slot<P: Portable>(
    stack: Stack<P::Packet>,
    name: &str,
    host: HostId,
    program: Option<Program<P>>,
    seed: Seed,
) -> Slot<P> {
    Slot {
        name: name.into(),
        host,
        program,
        node: None,
        endpoint: None,
        running: false,
        incarnation: 0,
        pauses: 0,
        kills: 0,
        inbox: std::collections::VecDeque::new(),
        timers: Vec::new(),
        stack,
        waker: None,
        stack_waker: None,
        stack_armed: None,
        random: process_stream(seed, name),
        next_sync: 0,
        ears: std::collections::BTreeMap::new(),
    }
}
