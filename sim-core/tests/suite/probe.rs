//! A small probe system: what each kernel rule does, seen by processes.

use sim_core::{
    ConnectOptions, ConnectionEvent, ConnectionId, Context, Direction, Distribution, Fault, KeepAlive,
    LinkQuality, MarkKind, Origin, Process, ProcessId, ProcessOptions, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, Storage, SyncId, Target, Topology, Trigger, World, WorldBuilder,
};

/// What a probe saw, in its own words: (time on its host's monotonic clock in milliseconds, what).
#[derive(Clone, Debug)]
struct Probe {
    spec: Spec,
    connection: Option<ConnectionId>,
    heard: Vec<(u64, String)>,
    sent: u32,
}

#[derive(Clone, Debug, Default)]
struct Spec {
    /// Connects there at boot.
    peer: Option<ProcessId>,
    options: ConnectOptions,
    /// Sends a number each time.
    every: Option<SimDuration>,
    /// Syncs each number that it receives.
    stores: bool,
    watchdog: Option<SimDuration>,
}

#[derive(Clone, Debug, Default)]
struct Numbers(Vec<u32>);

impl Storage for Numbers {
    type Record = u32;
    fn apply(&mut self, record: &u32) {
        self.0.push(*record);
    }
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct Tick;

impl Probe {
    fn hear(&mut self, context: &mut impl Context<Self>, what: String) {
        self.heard.push((context.monotonic().as_nanos() / 1_000_000, what));
    }
}

impl Process for Probe {
    type Spec = Spec;
    type Packet = u32;
    type Timer = Tick;
    type Storage = Numbers;

    fn boot(spec: &Spec, context: &mut impl Context<Self>) -> Self {
        let connection = spec.peer.map(|peer| context.connect(peer, spec.options));
        if let Some(every) = spec.every {
            context.set_timer(Tick, every);
        }
        if let Some(timeout) = spec.watchdog {
            context.feed_watchdog(timeout);
        }
        let heard = context.storage().0.iter().map(|number| (0, format!("kept {number}"))).collect();
        Self { spec: spec.clone(), connection, heard, sent: 0 }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, _from: Origin, packet: u32) {
        self.hear(context, format!("got {packet}"));
        if self.spec.stores {
            context.write(packet);
            context.sync();
        }
    }

    fn on_timer(&mut self, context: &mut impl Context<Self>, _timer: Tick) {
        self.sent += 1;
        if let Some(connection) = self.connection {
            context.send(connection, self.sent);
        }
        if let Some(timeout) = self.spec.watchdog {
            context.feed_watchdog(timeout);
        }
        context.set_timer(Tick, self.spec.every.expect("only set with a period"));
    }

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        event: ConnectionEvent,
    ) {
        self.hear(context, format!("{event:?}"));
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, _sync: SyncId) {
        context.mark(MarkKind::Elected, 0);
    }

    fn plays(&self, role: &str) -> bool {
        role == "sender" && self.spec.peer.is_some()
    }
}

const MS: SimDuration = SimDuration::from_millis(1);

/// A sender `a` on host 0 and a receiver `b` on host 1, 10 ms apart.
fn pair(a: Spec, b: Spec) -> World<Probe> {
    let (mut topology, zone) = Topology::single_zone(&LinkQuality::reliable(Distribution::Constant(MS * 10)));
    let hosts = ["host-a", "host-b"].map(|name| topology.add_host(zone, name));
    let mut builder = WorldBuilder::new(topology);
    for ((name, spec), host) in [("a", a), ("b", b)].into_iter().zip(hosts) {
        let volume = builder.add_volume(host, Numbers::default(), &Distribution::Constant(MS * 5));
        builder.add_process(ProcessOptions { name: name.into(), host, volume, starts_with_host: true, spec });
    }
    builder.build(Seed(1))
}

fn sender(every: SimDuration) -> Spec {
    Spec { peer: Some(ProcessId::from_index(1)), every: Some(every), ..Spec::default() }
}

fn fault(at: SimDuration, fault: Fault, lasts: Option<SimDuration>) -> Schedule {
    Schedule(vec![ScheduledFault { trigger: Trigger::At(at), fault, lasts }])
}

fn secs(secs: u64) -> SimTime {
    SimTime::from_nanos(secs * 1_000_000_000)
}

fn heard(world: &World<Probe>, name: &str) -> Vec<(u64, String)> {
    let process = world.find(name).expect("the pair is named a and b");
    world.process(process).map(|state| state.heard.clone()).unwrap_or_default()
}

fn texts(world: &World<Probe>, name: &str) -> Vec<String> {
    heard(world, name).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_connection_opens_after_a_round_trip_and_keeps_order() {
    let mut world = pair(sender(MS * 3), Spec::default());
    world.run(secs(1), u64::MAX);
    assert_eq!(heard(&world, "a")[0], (20, "Opened".into()));
    let got = texts(&world, "b");
    assert_eq!(got[0], "Accepted");
    let expected: Vec<String> = (1..got.len()).map(|number| format!("got {number}")).collect();
    assert_eq!(got[1..], expected);
}

#[test]
fn a_dead_process_on_a_living_host_refuses_after_one_round_trip_and_resets_at_once() {
    let mut world = pair(sender(MS * 100), Spec::default());
    let kill = Fault::Kill { target: Target::Process("b".into()) };
    world.schedule(&fault(MS * 500, kill, None)).unwrap();
    world.run(secs(2), u64::MAX);
    assert_eq!(heard(&world, "a")[1], (510, "Closed".into()));
}

#[test]
fn a_request_on_its_way_is_refused_when_the_process_dies_and_repeated_when_the_host_does() {
    let kill = Fault::Kill { target: Target::Process("b".into()) };
    let off = Fault::PowerOff { target: Target::Host("host-b".into()) };
    for (broken, lasts, event) in [
        (kill, None, (20, "Refused".into())),
        // The request is repeated 1 s after it was lost, at 10 ms.
        (off, Some(MS * 500), (1_030, "Opened".into())),
    ] {
        let mut world = pair(sender(MS * 100), Spec::default());
        world.schedule(&fault(MS * 5, broken, lasts)).unwrap();
        world.run(secs(5), u64::MAX);
        assert_eq!(heard(&world, "a").first(), Some(&event));
    }
}

#[test]
fn a_dead_host_is_silent_until_the_user_time_out() {
    let mut spec = sender(MS * 100);
    spec.options.user_timeout = Some(SimDuration::from_secs(5));
    let mut world = pair(spec, Spec::default());
    let off = Fault::PowerOff { target: Target::Host("host-b".into()) };
    world.schedule(&fault(MS * 500, off, None)).unwrap();
    world.run(secs(60), u64::MAX);
    let events = heard(&world, "a");
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1].1, "TimedOut");
    // The packet of 500 ms meets the dead host at 510 ms.
    assert!((5_490..=5_620).contains(&events[1].0), "{events:?}");
}

#[test]
fn keep_alives_notice_a_dead_host_on_an_idle_connection() {
    let keep_alive =
        KeepAlive { idle: SimDuration::from_secs(10), interval: SimDuration::from_secs(2), count: 3 };
    let options = ConnectOptions { keep_alive: Some(keep_alive), user_timeout: None };
    let idle = Spec { peer: Some(ProcessId::from_index(1)), options, ..Spec::default() };
    let off = || Fault::PowerOff { target: Target::Host("host-b".into()) };
    let mut world = pair(idle.clone(), Spec::default());
    world.schedule(&fault(SimDuration::from_secs(30), off(), None)).unwrap();
    world.run(secs(100), u64::MAX);
    let events = heard(&world, "a");
    assert_eq!(events[1].1, "TimedOut", "{events:?}");
    // Established at 20 ms; the probes after 10 and 20 s are answered. Silence counts from the second of them.
    assert_eq!(events[1].0, 20_020 + 16_000, "{events:?}");

    let without = Spec { options: ConnectOptions::default(), ..idle };
    let mut world = pair(without, Spec::default());
    world.schedule(&fault(SimDuration::from_secs(30), off(), None)).unwrap();
    world.run(secs(10_000), u64::MAX);
    assert_eq!(texts(&world, "a"), ["Opened"], "an idle connection without keep-alives never notices");
}

/// `a` sends every `every` until its connection ends; its peer's machine is dead from 30.5 s on.
fn end_of_connection(every: SimDuration, user_timeout: Option<SimDuration>) -> Option<(u64, String)> {
    let keep_alive =
        KeepAlive { idle: SimDuration::from_secs(10), interval: SimDuration::from_secs(2), count: 3 };
    let mut spec = sender(every);
    spec.options = ConnectOptions { keep_alive: Some(keep_alive), user_timeout };
    let mut world = pair(spec, Spec::default());
    let off = Fault::PowerOff { target: Target::Host("host-b".into()) };
    world.schedule(&fault(MS * 30_500, off, None)).expect("the host exists");
    world.run(secs(2_000), u64::MAX);
    heard(&world, "a").last().filter(|(_, event)| event == "TimedOut").cloned()
}

/// Linux sends no keep-alive probes while data is unacknowledged (`tcp_keepalive_timer`): however impatient they are,
/// `tcp_retries2` decides, and a user time-out does if there is one.
#[test]
fn retransmission_and_not_keep_alives_decides_while_data_is_unacknowledged() {
    let (at, _) = end_of_connection(SimDuration::from_secs(1), None).expect("it ends at last");
    // Sent at 31 s, and 924.6 s of retransmissions; the probes would have given up at 46 s.
    assert!((955_000..956_000).contains(&at), "{at}");
    let impatient = Some(SimDuration::from_secs(4));
    let (at, _) = end_of_connection(SimDuration::from_secs(1), impatient).expect("it ends");
    assert!((35_000..35_200).contains(&at), "{at}");
    // Nothing is on the way when the machine dies: the probes notice.
    let (at, _) = end_of_connection(SimDuration::from_secs(100), None).expect("it ends");
    assert!((36_000..46_100).contains(&at), "{at}");
}

#[test]
fn packets_of_a_partition_arrive_late_and_in_order_after_it_heals() {
    let mut world = pair(sender(MS * 100), Spec::default());
    let cut = Fault::Partition {
        from: vec![Target::Process("a".into())],
        to: vec![Target::Others],
        direction: Direction::Both,
    };
    world.schedule(&fault(MS * 550, cut, Some(SimDuration::from_secs(3)))).unwrap();
    world.run(secs(6), u64::MAX);
    let got = texts(&world, "b");
    let expected: Vec<String> = (1..got.len()).map(|number| format!("got {number}")).collect();
    assert_eq!(got[1..], expected, "nothing is lost, nothing is out of order");
    let gap = heard(&world, "b").windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!((3_000..=7_000).contains(&gap), "the retransmission back-off decides when: {gap} ms");
}

#[test]
fn a_one_way_cut_delivers_requests_and_loses_answers() {
    let mut spec = sender(MS * 100);
    spec.options.user_timeout = Some(SimDuration::from_secs(4));
    let mut world = pair(spec, Spec::default());
    let cut = Fault::Partition {
        from: vec![Target::Process("a".into())],
        to: vec![Target::Process("b".into())],
        direction: Direction::Inbound,
    };
    world.schedule(&fault(MS * 550, cut, None)).unwrap();
    world.run(secs(20), u64::MAX);
    assert_eq!(texts(&world, "a"), ["Opened", "TimedOut"], "unacknowledged data ends the connection");
    let last = heard(&world, "b").last().unwrap().0;
    assert!((4_400..=4_900).contains(&last), "requests went on until then: {last}");
}

#[test]
fn a_paused_process_gets_everything_when_it_resumes() {
    let mut world = pair(sender(MS * 100), Spec::default());
    let pause = Fault::Pause { target: Target::Process("b".into()) };
    world.schedule(&fault(MS * 500, pause, Some(MS * 1_000))).unwrap();
    world.run(secs(3), u64::MAX);
    let events = heard(&world, "b");
    let burst = events.iter().filter(|(at, _)| *at == 1_500).count();
    assert!((9..=11).contains(&burst), "{events:?}");
}

#[test]
fn a_frozen_machine_is_silent_and_its_timers_keep_what_was_left() {
    let mut world = pair(sender(MS * 100), Spec::default());
    let freeze = Fault::Freeze { target: Target::HostOf("sender".into()) };
    world.schedule(&fault(MS * 550, freeze, Some(SimDuration::from_secs(10)))).unwrap();
    world.run(secs(12), u64::MAX);
    let arrivals: Vec<u64> = heard(&world, "b").iter().map(|(at, _)| *at).collect();
    assert!(arrivals.windows(2).any(|pair| pair[1] - pair[0] == 10_100), "{arrivals:?}");
}

/// Two pauses of different kinds: whichever ends last, the process resumes once, and then.
#[test]
fn a_process_both_paused_and_frozen_resumes_when_the_second_ends() {
    for (pause_lasts, freeze_lasts) in [(MS * 1_000, MS * 2_000), (MS * 2_000, MS * 1_000)] {
        let mut world = pair(sender(MS * 100), Spec::default());
        let faults = [
            (Fault::Pause { target: Target::Process("b".into()) }, pause_lasts),
            (Fault::Freeze { target: Target::Host("host-b".into()) }, freeze_lasts),
        ];
        let faults = faults.map(|(fault, lasts)| ScheduledFault {
            trigger: Trigger::At(MS * 500),
            fault,
            lasts: Some(lasts),
        });
        world.schedule(&Schedule(faults.to_vec())).unwrap();
        world.run(secs(4), u64::MAX);
        let resumed: Vec<u64> = world
            .marks()
            .iter()
            .filter(|mark| mark.kind == MarkKind::Resumed)
            .map(|mark| mark.at.as_nanos() / 1_000_000)
            .collect();
        assert_eq!(resumed, [2_500]);
    }
}

#[test]
fn power_loss_keeps_only_what_was_synced() {
    let stores = Spec { stores: true, ..Spec::default() };
    let mut world = pair(sender(MS * 100), stores);
    // Packets arrive at 110, 210, ... ms and are durable 5 ms later.
    let off = Fault::PowerOff { target: Target::Process("b".into()) };
    world.schedule(&fault(MS * 312, off, Some(MS * 1_000))).unwrap();
    world.run(secs(2), u64::MAX);
    assert_eq!(texts(&world, "b"), ["kept 1", "kept 2"]);
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let stores = Spec { stores: true, ..Spec::default() };
    let mut world = pair(sender(MS * 100), stores);
    let kill = Fault::Kill { target: Target::Process("b".into()) };
    world.schedule(&fault(MS * 312, kill, Some(MS * 1_000))).unwrap();
    world.run(secs(2), u64::MAX);
    assert_eq!(texts(&world, "b"), ["kept 1", "kept 2", "kept 3"]);
}

#[test]
fn an_unfed_watchdog_resets_the_host() {
    let fed = Spec { watchdog: Some(MS * 500), every: Some(MS * 100), ..Spec::default() };
    let mut world = pair(fed.clone(), Spec::default());
    world.run(secs(5), u64::MAX);
    assert!(world.marks().iter().all(|mark| mark.kind != MarkKind::Stopped), "fed in time");
    let mut world = pair(fed, Spec::default());
    let pause = Fault::Pause { target: Target::Process("a".into()) };
    world.schedule(&fault(MS * 1_050, pause, Some(SimDuration::from_secs(60)))).unwrap();
    world.run(secs(50), u64::MAX);
    let stopped = world.marks().iter().find(|mark| mark.kind == MarkKind::Stopped).unwrap();
    assert_eq!(stopped.at.as_nanos(), 1_500_000_000);
    let started = world.marks().iter().rfind(|mark| mark.kind == MarkKind::Started).unwrap();
    assert_eq!(started.at.as_nanos(), 31_500_000_000);
}

#[test]
fn a_clone_goes_on_exactly_like_the_original() {
    let mut world = pair(sender(MS * 7), Spec::default());
    world.run(secs(1), u64::MAX);
    let mut fork = world.clone();
    world.run(secs(2), u64::MAX);
    fork.run(secs(2), u64::MAX);
    assert_eq!(world.digest(), fork.digest());
    assert_eq!(heard(&world, "b"), heard(&fork, "b"));
}

#[test]
fn a_target_that_does_not_exist_is_refused_with_the_names_that_do() {
    let mut world = pair(Spec::default(), Spec::default());
    let kill = Fault::Kill { target: Target::Host("host-c".into()) };
    let message = world.schedule(&fault(MS, kill, None)).unwrap_err();
    assert_eq!(message, "no host is named `host-c`; there are: host-a, host-b");
}

#[test]
fn a_role_that_nobody_plays_makes_the_fault_miss_visibly() {
    let mut world = pair(Spec::default(), Spec::default());
    let kill = Fault::Kill { target: Target::Role("sender".into()) };
    world.schedule(&fault(MS * 10, kill, None)).unwrap();
    world.run(secs(1), u64::MAX);
    assert_eq!(world.delivered_faults().len(), 1);
    assert!(world.delivered_faults()[0].processes.is_empty());
}
