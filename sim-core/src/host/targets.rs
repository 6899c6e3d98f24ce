//! From targets to processes: names are checked before the run, roles are resolved when the fault fires.

use crate::fault::{Border, Direction, Fault, Target, Trigger};
use crate::id::{HostId, ProcessId, VolumeId};
use crate::topology::Place;

use super::faults::{Effect, FaultHost};

/// Checks a fault that is about to be added.
pub(super) fn check_targets(host: &impl FaultHost, trigger: &Trigger, fault: &Fault) -> Result<(), String> {
    let position = host.faults().count();
    let earlier = |index: usize| {
        if index < position {
            Ok(())
        } else {
            Err(format!("fault {position} refers to fault {index}, which does not come before it"))
        }
    };
    if let Trigger::AfterFault { fault, .. } = trigger {
        earlier(*fault)?;
    }
    fault.check()?;
    let topology = host.topology();
    let place = |kind: &str, name: &str, known: Vec<&str>| {
        if known.contains(&name) {
            Ok(())
        } else {
            Err(format!("no {kind} is named `{name}`; there are: {}", known.join(", ")))
        }
    };
    let places =
        |wanted: fn(&Place) -> bool| topology.places().filter(move |place| wanted(place)).map(Place::name);
    for target in fault.targets() {
        match target {
            Target::Process(name) => {
                place("process", name, everybody(host).map(|process| host.name_of(process)).collect())?;
            }
            Target::Host(name) => place("host", name, places(|p| matches!(p, Place::Host(_))).collect())?,
            Target::Zone(name) => place("zone", name, places(|p| matches!(p, Place::Zone(_))).collect())?,
            Target::Region(name) => {
                place("region", name, places(|p| matches!(p, Place::Region(_))).collect())?;
            }
            Target::SameAs(index) => earlier(*index)?,
            Target::Role(_) | Target::HostOf(_) | Target::Every(_) | Target::Others => {}
        }
    }
    Ok(())
}

/// Whom a fault hits that fires now.
pub(super) fn aim(host: &mut impl FaultHost, fault: &Fault) -> Effect {
    let mut effect = Effect::default();
    match fault {
        Fault::Flap { fault, .. } => return aim(host, fault),
        Fault::Partition { from, to, direction } => {
            let [from, to] = resolve_sides(host, from, to);
            pair_up(host, &mut effect, &from, &to, *direction);
            effect.from = from;
        }
        Fault::Degrade { from, to, .. }
        | Fault::Latency { from, to, .. }
        | Fault::Duplicate { from, to, .. }
        | Fault::Reorder { from, to, .. }
        | Fault::Bandwidth { from, to, .. }
        | Fault::ConnectionReset { from, to, .. }
        | Fault::HalfOpen { from, to, .. } => {
            let [from, to] = resolve_sides(host, from, to);
            pair_up(host, &mut effect, &from, &to, Direction::Both);
            effect.from = from;
        }
        Fault::Bridge { middle, among } => {
            let [middle, among] = resolve_sides(host, middle, among);
            aim_bridge(host, &mut effect, &middle, &among);
        }
        Fault::Ring { among } => {
            let [among, _] = resolve_sides(host, among, &[]);
            aim_ring(host, &mut effect, &among);
        }
        Fault::Isolate { target, direction } => {
            let isolated = resolve(host, target, &[]);
            aim_isolation(host, &mut effect, &isolated, *direction);
            effect.from = isolated;
        }
        Fault::Split { along } => aim_split(host, &mut effect, *along),
        Fault::Kill { target }
        | Fault::Restart { target, .. }
        | Fault::HangOnConnect { target, .. }
        | Fault::Command { target, .. } => effect.processes = resolve(host, target, &[]),
        Fault::Pause { target } => {
            effect.processes = resolve(host, target, &[]);
            // A signal to a process that does not run reaches nobody.
            effect.processes.retain(|process| host.life_of(*process).is_some());
        }
        Fault::DiskStall { target }
        | Fault::DiskSlow { target, .. }
        | Fault::DiskError { target }
        | Fault::DiskFull { target }
        | Fault::DiskTornWrite { target }
        | Fault::DiskLies { target }
        | Fault::DiskMisdirectedWrite { target }
        | Fault::DiskCorruption { target, .. } => {
            let processes = resolve(host, target, &[]);
            effect.volumes = volumes_of(host, &processes);
            if matches!(fault, Fault::DiskCorruption { .. }) {
                effect.volumes.retain(|volume| host.durable_records(*volume) > 0);
            }
            effect.processes = users_of(host, &effect.volumes);
        }
        Fault::Wipe { target, .. } => {
            let processes = resolve(host, target, &[]);
            effect.processes = users_of(host, &volumes_of(host, &processes));
        }
        Fault::Slow { target, .. }
        | Fault::PowerOff { target }
        | Fault::Freeze { target }
        | Fault::ClockStep { target, .. }
        | Fault::ClockOffset { target, .. }
        | Fault::ClockDrift { target, .. } => {
            let processes = resolve(host, target, &[]);
            effect.hosts = hosts_of(host, &processes);
            effect.processes = processes_of(host, &effect.hosts);
        }
    }
    if effect.processes.is_empty() {
        effect.from.clear();
    }
    if matches!(fault, Fault::Ring { .. } | Fault::Isolate { .. } | Fault::Split { .. }) {
        // They name each process once for every other side.
        effect.processes.sort_unstable();
        effect.processes.dedup();
    }
    effect
}

/// The processes a target means now; `named` are those of the other targets of the same fault.
fn resolve(host: &mut impl FaultHost, target: &Target, named: &[ProcessId]) -> Vec<ProcessId> {
    match target {
        Target::Process(name) => {
            everybody(host).find(|process| host.name_of(*process) == name).into_iter().collect()
        }
        Target::Host(name) => in_place(host, &Place::Host(name.clone())),
        Target::Zone(name) => in_place(host, &Place::Zone(name.clone())),
        Target::Region(name) => in_place(host, &Place::Region(name.clone())),
        Target::Every(role) => playing(host, role),
        Target::Role(role) | Target::HostOf(role) => {
            let candidates = playing(host, role);
            let chosen: Vec<ProcessId> =
                host.faults_mut().stream().pick(&candidates).copied().into_iter().collect();
            if matches!(target, Target::HostOf(_)) {
                processes_of(host, &hosts_of(host, &chosen))
            } else {
                chosen
            }
        }
        Target::SameAs(index) => {
            let delivered = host.faults().delivered().iter().find(|delivered| delivered.index == *index);
            delivered.map(|delivered| delivered.processes.clone()).unwrap_or_default()
        }
        Target::Others => everybody(host).filter(|process| !named.contains(process)).collect(),
    }
}

/// Both sides of a partition: targets named outright first, `Others` last.
fn resolve_sides(host: &mut impl FaultHost, from: &[Target], to: &[Target]) -> [Vec<ProcessId>; 2] {
    let mut sides = [from, to].map(|targets| {
        let mut side = Vec::new();
        for target in targets.iter().filter(|target| **target != Target::Others) {
            side.extend(resolve(host, target, &[]));
        }
        side
    });
    let named = sides.concat();
    for (side, targets) in sides.iter_mut().zip([from, to]) {
        if targets.contains(&Target::Others) {
            side.extend(resolve(host, &Target::Others, &named));
        }
        side.sort_unstable();
        side.dedup();
    }
    sides
}

/// Adds the directed ways from the first side to the second, and back, as the direction says. Without any, the fault
/// misses.
fn pair_up(
    host: &impl FaultHost,
    effect: &mut Effect,
    from: &[ProcessId],
    to: &[ProcessId],
    direction: Direction,
) {
    for a in from {
        for b in to {
            // Nothing between processes of one host leaves the host.
            if host.host_of(*a) == host.host_of(*b) {
                continue;
            }
            if direction != Direction::Inbound {
                effect.ways.push((*a, *b));
            }
            if direction != Direction::Outbound {
                effect.ways.push((*b, *a));
            }
        }
    }
    if effect.ways.is_empty() {
        return;
    }
    effect.processes.extend(from.iter().chain(to));
    effect.links = effect.ways.iter().map(|(a, b)| (host.host_of(*a), host.host_of(*b))).collect();
    effect.links.sort_unstable();
    effect.links.dedup();
}

fn aim_bridge(host: &mut impl FaultHost, effect: &mut Effect, middle: &[ProcessId], among: &[ProcessId]) {
    let bridge = hosts_of(host, middle);
    let mut rest = among.to_vec();
    rest.retain(|process| !bridge.contains(&host.host_of(*process)));
    let hosts = by_host(host, &rest);
    let (left, right) = hosts.split_at(hosts.len() / 2);
    if !middle.is_empty() {
        pair_up(host, effect, &left.concat(), &right.concat(), Direction::Both);
    }
}

fn aim_ring(host: &mut impl FaultHost, effect: &mut Effect, among: &[ProcessId]) {
    let hosts = by_host(host, among);
    for (position, one) in hosts.iter().enumerate() {
        for (other_position, other) in hosts.iter().enumerate().skip(position + 2) {
            let closes_the_ring = position == 0 && other_position == hosts.len() - 1;
            if !closes_the_ring {
                pair_up(host, effect, one, other, Direction::Both);
            }
        }
    }
}

fn aim_isolation(host: &impl FaultHost, effect: &mut Effect, isolated: &[ProcessId], direction: Direction) {
    let others: Vec<ProcessId> = everybody(host).filter(|process| !isolated.contains(process)).collect();
    pair_up(host, effect, isolated, &others, direction);
    for (position, process) in isolated.iter().enumerate() {
        // Among the isolated, each way is somebody's way out and somebody else's way in.
        pair_up(host, effect, &[*process], &isolated[position + 1..], Direction::Both);
    }
}

fn aim_split(host: &impl FaultHost, effect: &mut Effect, along: Border) {
    let is_side = |place: &&Place| match along {
        Border::Zones => matches!(place, Place::Zone(_)),
        Border::Regions => matches!(place, Place::Region(_)),
    };
    let places = host.topology().places().filter(is_side);
    let sides: Vec<Vec<ProcessId>> = places.map(|place| in_place(host, place)).collect();
    for (position, side) in sides.iter().enumerate() {
        let others = sides[position + 1..].concat();
        pair_up(host, effect, side, &others, Direction::Both);
    }
}

/// These processes by host, the hosts in an order drawn from the fault stream.
fn by_host(host: &mut impl FaultHost, processes: &[ProcessId]) -> Vec<Vec<ProcessId>> {
    let mut hosts = hosts_of(host, processes);
    host.faults_mut().stream().shuffle(&mut hosts);
    let on =
        |one: &HostId| processes.iter().copied().filter(|process| host.host_of(*process) == *one).collect();
    hosts.iter().map(on).collect()
}

fn everybody<H: FaultHost>(host: &H) -> impl Iterator<Item = ProcessId> + use<H> {
    (0..host.process_count()).map(ProcessId::from_index)
}

fn playing(host: &impl FaultHost, role: &str) -> Vec<ProcessId> {
    everybody(host).filter(|process| host.plays(*process, role)).collect()
}

fn in_place(host: &impl FaultHost, wanted: &Place) -> Vec<ProcessId> {
    processes_of(host, &host.topology().hosts_of(|place| place == wanted))
}

fn processes_of(host: &impl FaultHost, hosts: &[HostId]) -> Vec<ProcessId> {
    hosts.iter().flat_map(|one| host.processes_on(*one).iter().copied()).collect()
}

/// The hosts of these processes, each once, in order.
fn hosts_of(host: &impl FaultHost, processes: &[ProcessId]) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = processes.iter().map(|process| host.host_of(*process)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The volumes of these processes, each once, in order.
fn volumes_of(host: &impl FaultHost, processes: &[ProcessId]) -> Vec<VolumeId> {
    let mut volumes: Vec<VolumeId> =
        processes.iter().filter_map(|process| host.volume_of(*process)).collect();
    volumes.sort_unstable();
    volumes.dedup();
    volumes
}

/// Everybody who mounts one of these volumes, in order.
fn users_of(host: &impl FaultHost, volumes: &[VolumeId]) -> Vec<ProcessId> {
    let uses = |process: &ProcessId| host.volume_of(*process).is_some_and(|volume| volumes.contains(&volume));
    everybody(host).filter(uses).collect()
}
