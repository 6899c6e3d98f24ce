//! Each disk fault on a small probe system: what processes are told, and what they find when they boot.

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Damage, DiskError, Distribution, Fault, LinkQuality, Origin,
    Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed, SimDuration, SimTime, Storage,
    StorageFailure, SyncId, Target, Topology, Trigger, World, WorldBuilder,
};

const MS: SimDuration = SimDuration::from_millis(1);

/// A file of records; each place shows what lies there.
#[derive(Clone, Debug, Default, PartialEq)]
struct File(Vec<Place>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Good(u64),
    /// A wrong checksum.
    Bad,
    /// Nothing was ever written here.
    Empty,
}

use Place::{Bad, Empty, Good};

impl Storage for File {
    type Record = u64;

    fn apply(&mut self, record: &u64) {
        self.0.push(Good(*record));
    }

    fn record_count(&self) -> u64 {
        self.0.len() as u64
    }

    fn damage(&mut self, damage: Damage<'_, u64>) {
        match damage {
            Damage::Torn(_) => self.0.push(Bad),
            Damage::Lost(_) => self.0.push(Empty),
            Damage::Rotten(position) => self.0[position as usize] = Bad,
            Damage::Misdirected { record, over } => {
                self.0.push(Empty);
                if let Some(over) = over {
                    self.0[over as usize] = Good(*record);
                }
            }
        }
    }
}

/// Writes its next number every 10 ms and syncs it, which takes 5 ms.
#[derive(Clone, Debug)]
struct Writer {
    spec: Spec,
    /// What was on the volume at boot.
    found: Vec<Place>,
    synced: Vec<(u64, SyncId)>,
    failures: Vec<(u64, StorageFailure)>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Spec {
    /// Goes on when its disk fails; otherwise the rule for those without a handler applies.
    goes_on: bool,
    syncs: bool,
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct Tick;

impl Process for Writer {
    type Spec = Spec;
    type Packet = ();
    type Timer = Tick;
    type Storage = File;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        context.set_timer(Tick, MS * 10);
        let found = context.storage().0.clone();
        let next = found.len() as u64;
        Self { spec: *spec, found, synced: Vec::new(), failures: Vec::new(), next }
    }

    fn on_packet(&mut self, _context: &mut impl Context<Self>, _from: Origin, (): ()) {}

    fn on_timer(&mut self, context: &mut impl Context<Self>, _timer: Tick) {
        context.write(self.next);
        self.next += 1;
        if self.spec.syncs {
            context.sync();
        }
        context.set_timer(Tick, MS * 10);
    }

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        self.synced.push((millis(context), sync));
    }

    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        if self.spec.goes_on {
            self.failures.push((millis(context), failure));
        } else {
            let me = context.me();
            context.kill(me);
        }
    }
}

fn millis(context: &impl Context<Writer>) -> u64 {
    context.monotonic().as_nanos() / 1_000_000
}

/// `a` and `b` on hosts of their own.
fn world(spec: Spec, faults: &[(u64, Fault, Option<u64>)]) -> World<Writer> {
    let (mut topology, zone) = Topology::single_zone(&LinkQuality::reliable(Distribution::Constant(MS)));
    let hosts = ["host-a", "host-b"].map(|name| topology.add_host(zone, name));
    let mut builder = WorldBuilder::new(topology);
    for (name, host) in ["a", "b"].into_iter().zip(hosts) {
        let volume = builder.add_volume(host, File::default(), &Distribution::Constant(MS * 5));
        builder.add_process(ProcessOptions { name: name.into(), host, volume, starts_with_host: true, spec });
    }
    let mut world = builder.build(Seed(7));
    let scheduled = faults.iter().map(|(at, fault, lasts)| ScheduledFault {
        trigger: Trigger::At(MS * *at),
        fault: fault.clone(),
        lasts: lasts.map(|lasts| MS * lasts),
    });
    world.schedule(&Schedule(scheduled.collect())).expect("the targets exist");
    world
}

const STEADY: Spec = Spec { goes_on: true, syncs: true };

fn a() -> Target {
    Target::Process("a".into())
}

/// A reboot of the host of `a` that takes 1 ms: what is found afterwards was durable.
fn reboot(at: u64) -> (u64, Fault, Option<u64>) {
    (at, Fault::PowerOff { target: Target::Host("host-a".into()) }, Some(1))
}

fn run(spec: Spec, faults: &[(u64, Fault, Option<u64>)], until: u64) -> World<Writer> {
    let mut world = world(spec, faults);
    world.run(SimTime::ZERO + MS * until, u64::MAX);
    world
}

fn writer<'w>(world: &'w World<Writer>, name: &str) -> &'w Writer {
    world
        .process(world.find(name).expect("there are a and b"))
        .unwrap_or_else(|| panic!("{name} does not run"))
}

fn runs(world: &World<Writer>, name: &str) -> bool {
    world.process(world.find(name).expect("there are a and b")).is_some()
}

fn sync_times(world: &World<Writer>) -> Vec<u64> {
    writer(world, "a").synced.iter().map(|(at, _)| *at).collect()
}

#[test]
fn a_slow_disk_multiplies_and_adds_and_recovers() {
    let slow = |latency, factor| Fault::DiskSlow { target: a(), latency: MS * latency, factor };
    let world = run(STEADY, &[(22, slow(0, 1), None), (35, slow(1, 2), Some(10))], 70);
    // Records at 10, 20, ...: the sync of 40 takes twice 5 ms and one more.
    assert_eq!(sync_times(&world), [15, 25, 35, 51, 56, 65]);
}

#[test]
fn stalls_overlap_and_end_with_the_last() {
    let stall = || Fault::DiskStall { target: a() };
    let world = run(STEADY, &[(12, stall(), Some(20)), (18, stall(), Some(30))], 60);
    // The sync of 10 was under way; it and those of 20, 30 and 40 start again at 48.
    assert_eq!(sync_times(&world), [53, 58]);
}

#[test]
fn a_failing_disk_tells_and_forgets_what_it_did_not_write() {
    let error = (12, Fault::DiskError { target: a() }, Some(10));
    let world = run(STEADY, std::slice::from_ref(&error), 60);
    let failed = StorageFailure::Sync(SyncId::default(), DiskError::InputOutput);
    assert_eq!(writer(&world, "a").failures, [(15, failed)]);
    assert_eq!(sync_times(&world), [25, 35, 45, 55]);
    // Later syncs succeed, and still the first record is not on the medium.
    let world = run(STEADY, &[error, reboot(38)], 45);
    assert_eq!(writer(&world, "a").found, [Empty, Good(1), Good(2)]);
}

#[test]
fn a_full_disk_refuses_writes_until_it_has_space() {
    let full = (15, Fault::DiskFull { target: a() }, Some(10));
    let world = run(STEADY, &[full, reboot(38)], 45);
    assert_eq!(writer(&world, "a").found, [Good(0), Good(2)], "number 1 was refused at 20 ms");
    let world = run(STEADY, &[(15, Fault::DiskFull { target: a() }, Some(10))], 40);
    let refused = StorageFailure::Write(DiskError::NoSpace);
    assert_eq!(writer(&world, "a").failures, [(20, refused)]);
    assert_eq!(sync_times(&world), [15, 25, 35], "a sync of nothing succeeds");
}

#[test]
fn who_ends_because_of_its_disk_is_started_again_when_the_fault_ends() {
    for fault in [Fault::DiskFull { target: a() }, Fault::DiskError { target: a() }] {
        let strict = Spec { goes_on: false, syncs: true };
        let faults = [(15, fault, Some(30))];
        let world = run(strict, &faults, 40);
        assert!(!runs(&world, "a") && runs(&world, "b"));
        let world = run(strict, &faults, 100);
        assert!(runs(&world, "a"), "the disk is sound again at 45 ms");
        let process = world.find("a").unwrap();
        let killed = (20, Fault::Kill { target: a() }, None);
        let world = run(strict, &[(25, Fault::DiskFull { target: a() }, Some(30)), killed], 100);
        assert!(world.process(process).is_none(), "who was killed before stays dead");
    }
}

/// The sync of 10 ms fails while the process is paused. When it hears of that and ends, the disk is sound.
#[test]
fn who_hears_late_of_a_failing_disk_is_started_again_at_once() {
    let strict = Spec { goes_on: false, syncs: true };
    let error = (12, Fault::DiskError { target: a() }, Some(10));
    let pause = (13, Fault::Pause { target: a() }, Some(27));
    let world = run(strict, &[error, pause], 60);
    assert_eq!(sync_times(&world), [55], "it booted at 40 ms");
}

#[test]
fn who_is_held_down_is_not_started_by_a_sound_disk() {
    let strict = Spec { goes_on: false, syncs: true };
    let full = (15, Fault::DiskFull { target: a() }, Some(30));
    let killed = (25, Fault::Kill { target: a() }, Some(40));
    assert!(!runs(&run(strict, &[full.clone(), killed.clone()], 50), "a"), "the disk is sound at 45 ms");
    assert!(runs(&run(strict, &[full, killed], 70), "a"), "the kill ends at 65 ms");
}

#[test]
fn a_restart_takes_its_time_though_the_disk_is_sound_before() {
    let strict = Spec { goes_on: false, syncs: true };
    let full = (15, Fault::DiskFull { target: a() }, Some(30));
    let restart = Fault::Restart { target: a(), delay: MS * 40, stagger: MS };
    let faults = [full, (25, restart, None)];
    assert!(!runs(&run(strict, &faults, 64), "a"), "the disk is sound at 45 ms");
    assert!(runs(&run(strict, &faults, 66), "a"), "the restart is over at 65 ms");
}

#[test]
fn a_torn_write_leaves_a_bad_record_at_the_end() {
    let lazy = Spec { goes_on: true, syncs: false };
    let tear = (5, Fault::DiskTornWrite { target: a() }, None);
    let world = run(lazy, &[tear.clone(), reboot(45)], 46);
    let found = &writer(&world, "a").found;
    let (last, before) = found.split_last().expect("four records were unsynced");
    assert_eq!(*last, Bad);
    assert_eq!(before, [Good(0), Good(1), Good(2)][..before.len()].to_vec());
    // Nothing was unsynced, and without a loss of power nothing tears.
    assert_eq!(writer(&run(STEADY, &[tear.clone(), reboot(38)], 45), "a").found, [Good(0), Good(1), Good(2)]);
    let kill = (45, Fault::Kill { target: a() }, Some(1));
    let world = run(lazy, &[tear, kill], 50);
    assert_eq!(writer(&world, "a").found, [Good(0), Good(1), Good(2), Good(3)]);
}

#[test]
fn a_lying_disk_loses_what_it_acknowledged_with_the_power() {
    let lies = |lasts| (18, Fault::DiskLies { target: a() }, lasts);
    let world = run(STEADY, &[lies(None), reboot(48)], 55);
    assert_eq!(writer(&world, "a").found, [Good(0)], "1, 2 and 3 were acknowledged at 25, 35 and 45 ms");
    let world = run(STEADY, &[lies(None)], 47);
    assert_eq!(sync_times(&world), [15, 25, 35, 45]);
    let world = run(STEADY, &[lies(Some(20)), reboot(48)], 55);
    assert_eq!(
        writer(&world, "a").found,
        [Good(0), Good(1), Good(2), Good(3)],
        "it wrote its cache at 38 ms"
    );
}

#[test]
fn a_misdirected_write_overwrites_another_and_is_missing_itself() {
    let astray = (38, Fault::DiskMisdirectedWrite { target: a() }, None);
    let world = run(STEADY, &[astray.clone(), reboot(58)], 60);
    let found = &writer(&world, "a").found;
    assert_eq!(found.len(), 5);
    assert_eq!(found[3..], [Empty, Good(4)], "number 3 went astray, and only it");
    let overwritten: Vec<&Place> = found[..3].iter().filter(|place| **place == Good(3)).collect();
    assert_eq!(overwritten.len(), 1, "it lies where another was: {found:?}");
    // The page cache hides it from a process that is only killed.
    let kill = (58, Fault::Kill { target: a() }, Some(1));
    let world = run(STEADY, &[astray, kill], 60);
    assert_eq!(writer(&world, "a").found, [Good(0), Good(1), Good(2), Good(3), Good(4)]);
}

#[test]
fn a_record_rots_at_rest_and_is_found_at_the_next_boot() {
    let rot = |newest| (48, Fault::DiskCorruption { target: a(), newest }, None);
    let kill = (58, Fault::Kill { target: a() }, Some(1));
    let world = run(STEADY, &[rot(Some(1)), kill.clone()], 60);
    assert_eq!(writer(&world, "a").found, [Good(0), Good(1), Good(2), Bad, Good(4)]);
    let world = run(STEADY, &[rot(None), reboot(58)], 60);
    assert_eq!(writer(&world, "a").found.iter().filter(|place| **place == Bad).count(), 1);
    let world = run(STEADY, &[(2, Fault::DiskCorruption { target: a(), newest: None }, None), kill], 60);
    assert!(world.delivered_faults()[0].processes.is_empty(), "an empty disk has nothing that could rot");
}

#[test]
fn a_fault_that_does_not_fire_changes_nothing_and_one_disk_is_not_another() {
    let target = a;
    let kinds = [
        Fault::DiskStall { target: target() },
        Fault::DiskSlow { target: target(), latency: MS * 3, factor: 4 },
        Fault::DiskError { target: target() },
        Fault::DiskFull { target: target() },
        Fault::DiskTornWrite { target: target() },
        Fault::DiskLies { target: target() },
        Fault::DiskMisdirectedWrite { target: target() },
        Fault::DiskCorruption { target: target(), newest: None },
    ];
    let crash = reboot(500);
    let without = run(STEADY, std::slice::from_ref(&crash), 1_000);
    for fault in kinds {
        let later = run(STEADY, &[crash.clone(), (2_000, fault.clone(), Some(1))], 1_000);
        assert_eq!(later.digest(), without.digest(), "{}", fault.kind());
        let other = run(STEADY, &[crash.clone(), (100, fault.clone(), Some(600))], 1_000);
        assert_ne!(other.digest(), without.digest(), "{}", fault.kind());
        assert_eq!(writer(&other, "b").synced, writer(&without, "b").synced, "{}", fault.kind());
        let again = run(STEADY, &[crash.clone(), (100, fault.clone(), Some(600))], 1_000);
        assert_eq!(again.digest(), other.digest(), "{}", fault.kind());
    }
}

/// A fork in the middle of a fault goes on as the original does.
#[test]
fn a_fork_carries_the_trouble_of_its_disks() {
    let faults =
        [(18, Fault::DiskLies { target: a() }, None), (30, Fault::DiskFull { target: a() }, Some(30))];
    let mut world = world(STEADY, &[faults[0].clone(), faults[1].clone(), reboot(80)]);
    world.run(SimTime::ZERO + MS * 40, u64::MAX);
    let mut fork = world.clone();
    for world in [&mut world, &mut fork] {
        world.run(SimTime::ZERO + MS * 90, u64::MAX);
    }
    assert_eq!(fork.digest(), world.digest());
    assert_eq!(writer(&fork, "a").found, [Good(0)]);
}
