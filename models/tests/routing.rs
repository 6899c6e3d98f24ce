//! Proxies, poolers and clients against servers that play by a script.

use std::ops::RangeInclusive;

use models::patroni::{Packet, Rest, RestPath};
use models::postgres::{self, Answer, Statement};
use models::routing::{
    Application, ApplicationSpec, Balance, HaProxy, HaProxySpec, MultiHostClient, MultiHostClientSpec,
    OnTimeout, PgBouncer, PgBouncerSpec, PoolMode, ProxyServer, StatementTimeout, StickyClient,
    StickyClientSpec, Workload,
};
use sim_core::{
    ConnectionEvent, ConnectionId, Context, Distribution, EndReason, Fault, Holds, LinkQuality, MarkKind,
    Operation, Origin, Outcome, Process, ProcessId, ProcessOptions, Record, Schedule, ScheduledFault, Seed,
    SimDuration, SimTime, Storage, Target, Topology, Trigger, World, WorldBuilder, system,
};

/// A server, and the REST API of its member, that behave as the script says for the time.
#[derive(Clone, Debug)]
pub struct Script {
    phases: Vec<Phase>,
    rows: u64,
    /// A write that waits for a standby: connection and query.
    stalled: Option<(ConnectionId, u64)>,
}

/// A part of a script.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// From then on, on the host's monotonic clock.
    from: SimDuration,
    /// What `/primary` answers.
    primary_status: u16,
    server: Server,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Server {
    /// It commits.
    Primary,
    /// It is in recovery.
    Standby,
    /// It refuses logins.
    StartingUp,
    /// A primary whose commits wait for a standby that does not answer.
    Stalled,
    /// A primary that drops the connection when a write arrives.
    DropsWrites,
}

impl Script {
    fn phase(&self, context: &impl Context<Self>) -> Phase {
        let now = context.monotonic().as_nanos();
        let phase = self.phases.iter().rfind(|phase| phase.from.as_nanos() <= now);
        *phase.expect("the first phase starts at zero")
    }

    fn reply(context: &mut impl Context<Self>, to: ConnectionId, query: u64, answer: Answer) {
        let server = context.me();
        context.send(to, Packet::Postgres(postgres::Packet::Answer { query, answer, server }));
    }

    fn on_query(
        &mut self,
        context: &mut impl Context<Self>,
        to: ConnectionId,
        query: u64,
        statement: Statement,
    ) {
        let server = self.phase(context).server;
        let is_write = matches!(statement, Statement::Insert { .. });
        let answer = match (server, statement) {
            (Server::StartingUp, _) => Answer::StartingUp,
            (_, Statement::IsInRecovery) => Answer::InRecovery(server == Server::Standby),
            (_, Statement::Count) => Answer::Count(self.rows),
            (Server::Standby, _) => Answer::ReadOnly,
            (Server::Stalled, _) => {
                self.stalled = Some((to, query));
                return;
            }
            (Server::DropsWrites, _) => {
                context.close(to);
                return;
            }
            (Server::Primary, _) => Answer::Committed,
        };
        self.rows += u64::from(is_write && answer == Answer::Committed);
        Self::reply(context, to, query, answer);
        if answer == Answer::StartingUp {
            context.close(to);
        }
    }
}

impl Process for Script {
    type Spec = Vec<Phase>;
    type Packet = Packet;
    type Timer = ();
    type Storage = ();

    fn boot(spec: &Vec<Phase>, _context: &mut impl Context<Self>) -> Self {
        Self { phases: spec.clone(), rows: 0, stalled: None }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Origin::Connection(connection, _) = from else {
            return;
        };
        match packet {
            Packet::Rest(Rest::Get(path)) => {
                let phase = self.phase(context);
                let status = match path {
                    RestPath::Primary => phase.primary_status,
                    RestPath::Replica if phase.server == Server::Standby => 200,
                    RestPath::Replica => 503,
                    RestPath::Patroni => panic!("the proxy does not ask for reports"),
                };
                let report = None;
                context.send(connection, Packet::Rest(Rest::Response { status, report }));
            }
            Packet::Postgres(postgres::Packet::Query { query, statement }) => {
                self.on_query(context, connection, query, statement);
            }
            Packet::Postgres(postgres::Packet::Cancel { query })
                if self.stalled == Some((connection, query)) =>
            {
                Self::reply(context, connection, query, Answer::CommittedLocally);
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, _context: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }
}

#[derive(Clone, Debug, Default)]
/// Nobody keeps anything.
pub struct Disk;

impl Storage for Disk {
    type Record = ();
    fn apply(&mut self, (): &()) {}
}

impl Holds<()> for Disk {
    fn held(&self) -> &() {
        &()
    }
}

system! {
    /// Scripted servers and what stands in front of them.
    pub enum Node {
        Script(Script),
        Proxy(HaProxy),
        Pooler(PgBouncer),
        Application(Application),
        MultiHost(MultiHostClient),
        Sticky(StickyClient),
    }
    spec: NodeSpec,
    timer: NodeTimer,
    packet: Packet,
    storage: Disk,
}

const fn secs(secs: u64) -> SimDuration {
    SimDuration::from_secs(secs)
}

const fn millis(millis: u64) -> SimDuration {
    SimDuration::from_millis(millis)
}

const fn id(index: usize) -> ProcessId {
    ProcessId::from_index(index)
}

const fn from(from: SimDuration, primary_status: u16, server: Server) -> Phase {
    Phase { from, primary_status, server }
}

/// A member that is primary, or not, from the start.
fn member(server: Server) -> NodeSpec {
    let status = if server == Server::Primary { 200 } else { 503 };
    NodeSpec::Script(vec![from(SimDuration::ZERO, status, server)])
}

/// A member that is primary until then, and a standby afterwards.
fn primary_until(until: SimDuration) -> NodeSpec {
    NodeSpec::Script(vec![from(SimDuration::ZERO, 200, Server::Primary), from(until, 503, Server::Standby)])
}

/// A member that is a standby until then, and primary afterwards.
fn primary_from(start: SimDuration) -> NodeSpec {
    NodeSpec::Script(vec![from(SimDuration::ZERO, 503, Server::Standby), from(start, 200, Server::Primary)])
}

/// Patroni's proxy in front of the first members.
fn proxy(members: usize) -> NodeSpec {
    let server = |index| ProxyServer { rest: id(index), traffic: id(index) };
    NodeSpec::Proxy(HaProxySpec::template(RestPath::Primary, (0..members).map(server).collect()))
}

/// An application with one connection.
fn application(address: usize) -> ApplicationSpec {
    ApplicationSpec { connections: 1, ..ApplicationSpec::new(Workload::writes(1), id(address)) }
}

/// Each process on a host of its own, 0.5 ms apart, named by its position.
fn world(specs: Vec<NodeSpec>) -> World<Node> {
    let link = LinkQuality::reliable(Distribution::Constant(SimDuration::from_micros(500)));
    let (mut topology, zone) = Topology::single_zone(&link);
    let names: Vec<String> = (0..specs.len()).map(|index| format!("node{index}")).collect();
    let hosts: Vec<_> = names.iter().map(|name| topology.add_host(zone, &format!("host-{name}"))).collect();
    let mut builder = WorldBuilder::new(topology);
    for ((spec, host), name) in specs.into_iter().zip(hosts).zip(names) {
        let volume = builder.add_volume(host, Disk, &Distribution::Constant(millis(1)));
        builder.add_process(ProcessOptions { name, host, volume, starts_with_host: true, spec });
    }
    builder.build(Seed(7))
}

fn fault(world: &mut World<Node>, at: SimDuration, fault: Fault, lasts: Option<SimDuration>) {
    let trigger = Trigger::At(at);
    let scheduled = ScheduledFault { trigger, fault, lasts };
    world.schedule(&Schedule(vec![scheduled])).expect("the target exists");
}

fn power_off(node: usize) -> Fault {
    Fault::PowerOff { target: Target::Host(format!("host-node{node}")) }
}

fn kill(node: usize) -> Fault {
    Fault::Kill { target: Target::Process(format!("node{node}")) }
}

fn run(world: &mut World<Node>, until: SimDuration) {
    let end = world.run(SimTime::ZERO + until, u64::MAX);
    assert!(matches!(end, EndReason::Horizon | EndReason::Quiescent), "{end:?}");
}

fn record(mut world: World<Node>, until: SimDuration) -> Record {
    run(&mut world, until);
    world.record(EndReason::Horizon)
}

fn with(record: &Record, outcome: Outcome) -> Vec<Operation> {
    let operations = record.operations.iter();
    operations.filter(|operation| operation.outcome == outcome).copied().collect()
}

/// When the operation completed, in milliseconds.
fn completed(operation: &Operation) -> u64 {
    operation.completed.expect("complete").as_nanos() / 1_000_000
}

/// Milliseconds from `since` until the proxy changes what it thinks of a server to `up`.
fn until_marked(world: &mut World<Node>, proxy: usize, server: usize, up: bool, since: SimDuration) -> u64 {
    run(world, since);
    let mut passed = SimDuration::ZERO;
    loop {
        let Some(Node::Proxy(state)) = world.process(id(proxy)) else {
            panic!("node {proxy} is the proxy");
        };
        if state.is_up(server) == up {
            return passed.as_millis();
        }
        assert!(passed < secs(60), "server {server} is still {}", state.is_up(server));
        passed += millis(10);
        run(world, since + passed);
    }
}

/// The shortest and the longest time over faults at all phases of the check interval, each inside the window, and
/// spread over most of it.
#[track_caller]
fn check_window(window: RangeInclusive<u64>, measure: impl Fn(SimDuration) -> u64) {
    let times: Vec<u64> = (0..30).map(|step| measure(secs(20) + millis(103) * step)).collect();
    assert!(times.iter().all(|time| window.contains(time)), "{times:?} not in {window:?}");
    let spread = times.iter().max().expect("30 times") - times.iter().min().expect("30 times");
    assert!(spread > 2_500, "the phase decides within an interval of 3 s: {times:?}");
}

#[test]
fn a_new_primary_takes_traffic_3_to_6_seconds_after_its_check_turns_green() {
    check_window(3_000..=6_020, |at| {
        let mut world = world(vec![primary_until(at), primary_from(at), member(Server::Standby), proxy(3)]);
        until_marked(&mut world, 3, 1, true, at)
    });
}

#[test]
fn an_old_primary_that_answers_503_is_down_after_6_to_9_seconds() {
    check_window(6_000..=9_030, |at| {
        let mut world = world(vec![primary_until(at), primary_from(at), member(Server::Standby), proxy(3)]);
        until_marked(&mut world, 3, 0, false, at)
    });
}

#[test]
fn a_silent_host_is_down_after_15_to_18_seconds() {
    // Three checks of 3 s each that time out, and 3 s between the end of one and the start of the next.
    check_window(15_000..=18_030, |at| {
        let mut world = world(vec![member(Server::Primary), member(Server::Standby), proxy(2)]);
        fault(&mut world, at, power_off(0), None);
        until_marked(&mut world, 2, 0, false, at)
    });
}

#[test]
fn a_paused_member_times_out_at_the_answer_and_not_at_the_connection() {
    // The kernel of the host accepts; `timeout check` of 5 s decides: 3 x 5 s, 2 x 3 s between, up to 3 s before.
    check_window(20_990..=24_030, |at| {
        let mut world = world(vec![member(Server::Primary), member(Server::Standby), proxy(2)]);
        let pause = Fault::Pause { target: Target::Process("node0".into()) };
        fault(&mut world, at, pause, None);
        until_marked(&mut world, 2, 0, false, at)
    });
}

#[test]
fn servers_count_as_up_until_their_first_check() {
    let mut world =
        world(vec![member(Server::Standby), member(Server::Primary), member(Server::Standby), proxy(3)]);
    let first_checks: Vec<u64> =
        [0, 2].map(|server| until_marked(&mut world.clone(), 3, server, false, SimDuration::ZERO)).to_vec();
    assert_eq!(first_checks, [10, 2_010], "checks are spread over the interval");
    run(&mut world, secs(10));
    let rerouted: Vec<u64> =
        world.marks().iter().filter(|mark| mark.kind == MarkKind::Rerouted).map(|mark| mark.value).collect();
    assert_eq!(rerouted, [1]);
}

#[test]
fn sessions_end_when_their_server_is_marked_down_and_continue_without_the_option() {
    for shutdown in [true, false] {
        let at = secs(20);
        // The server goes on committing although its check says 503, as during a demotion that takes its time.
        let old = NodeSpec::Script(vec![
            from(SimDuration::ZERO, 200, Server::Primary),
            from(at, 503, Server::Primary),
        ]);
        let NodeSpec::Proxy(mut spec) = proxy(2) else {
            unreachable!("it is a proxy");
        };
        spec.shutdown_sessions = shutdown;
        let sticky = StickyClientSpec::new(Workload { start_at: secs(5), ..Workload::writes(1) }, id(2));
        let world = world(vec![old, primary_from(at), NodeSpec::Proxy(spec), NodeSpec::Sticky(sticky)]);
        let record = record(world, secs(40));
        let by = |server| {
            let acknowledged = with(&record, Outcome::Ok);
            acknowledged
                .into_iter()
                .filter(move |operation| operation.served_by == Some(id(server)))
                .map(|operation| completed(&operation))
                .collect::<Vec<_>>()
        };
        let last_by_old = *by(0).last().unwrap();
        if shutdown {
            assert!((26_000..=29_030).contains(&last_by_old), "{last_by_old}");
            let first_by_new = by(1)[0];
            assert!((last_by_old..last_by_old + 250).contains(&first_by_new), "{first_by_new}");
        } else {
            assert!(last_by_old > 39_900 && by(1).is_empty(), "{last_by_old}");
        }
    }
}

#[test]
fn without_a_server_that_is_up_connections_are_closed_at_once_and_operations_fail() {
    let mut spec = application(1);
    spec.workload.start_at = secs(5);
    let record =
        record(world(vec![member(Server::Standby), proxy(1), NodeSpec::Application(spec)]), secs(10));
    assert!(record.operations.len() > 10);
    assert_eq!(with(&record, Outcome::Failed).len(), record.operations.len());
    for operation in &record.operations {
        let took = operation.completed.unwrap().since(operation.invoked);
        assert!(took < millis(5), "{took}");
    }
}

#[test]
fn round_robin_sends_every_other_session_to_a_silent_primary_until_it_is_marked_down() {
    for (balance, waits) in [(Balance::RoundRobin, true), (Balance::First, false)] {
        let both = || member(Server::Primary);
        let NodeSpec::Proxy(mut spec) = proxy(2) else {
            unreachable!("it is a proxy");
        };
        spec.balance = balance;
        let clients = (0..4).map(|number| {
            let mut client = application(2);
            client.workload = Workload {
                client: number,
                start_at: secs(21) + millis(10) * u64::from(number),
                ..Workload::writes(number)
            };
            NodeSpec::Application(client)
        });
        let mut world = world([both(), both(), NodeSpec::Proxy(spec)].into_iter().chain(clients).collect());
        fault(&mut world, secs(20), power_off(1), None);
        let record = record(world, secs(23));
        let acknowledging: std::collections::BTreeSet<_> =
            with(&record, Outcome::Ok).iter().map(|operation| operation.client).collect();
        assert_eq!(acknowledging.len(), if waits { 2 } else { 4 }, "{balance:?}");
    }
}

#[test]
fn readers_are_spread_over_the_replicas() {
    let NodeSpec::Proxy(mut spec) = proxy(3) else {
        unreachable!("it is a proxy");
    };
    spec.check = RestPath::Replica;
    let clients = (0..4).map(|number| {
        let mut client = application(3);
        client.workload = Workload { start_at: secs(5), ..Workload::counts(number) };
        NodeSpec::Application(client)
    });
    let members = [member(Server::Standby), member(Server::Primary), member(Server::Standby)];
    let nodes = members.into_iter().chain([NodeSpec::Proxy(spec)]).chain(clients);
    let record = record(world(nodes.collect()), secs(10));
    let mut servers = [0; 3];
    for operation in with(&record, Outcome::Ok) {
        servers[operation.served_by.unwrap().index()] += 1;
    }
    assert!(servers[0] > 90 && servers[1] == 0 && servers[2] > 90, "{servers:?}");
    assert!(record.marks.iter().all(|mark| mark.kind != MarkKind::Rerouted), "it does not route writes");
}

#[test]
fn a_refused_connection_is_tried_three_times_a_second_apart() {
    for (down, outcome) in [(millis(1_500), Outcome::Ok), (millis(2_500), Outcome::Failed)] {
        // The member's REST API says that it is primary while its server is gone.
        let server = ProxyServer { rest: id(0), traffic: id(1) };
        let proxy = HaProxySpec::template(RestPath::Primary, vec![server]);
        let mut client = application(2);
        client.workload.start_at = secs(10);
        let mut world = world(vec![
            member(Server::Primary),
            member(Server::Primary),
            NodeSpec::Proxy(proxy),
            NodeSpec::Application(client),
        ]);
        fault(&mut world, secs(10), kill(1), Some(down));
        let first = record(world, secs(20)).operations[0];
        assert_eq!(first.outcome, outcome, "{down}");
        assert!((12_000..=12_010).contains(&completed(&first)), "{}", completed(&first));
    }
}

#[test]
fn a_pooler_waits_out_the_login_retry_after_a_failed_connection() {
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        let spec = PgBouncerSpec { pool_mode: mode, ..PgBouncerSpec::new(id(0)) };
        let mut world = world(vec![
            member(Server::Primary),
            NodeSpec::Pooler(spec),
            NodeSpec::Application(application(1)),
        ]);
        // Down for two seconds only.
        fault(&mut world, secs(5), kill(0), Some(secs(2)));
        let record = record(world, secs(40));
        let acknowledged: Vec<u64> = with(&record, Outcome::Ok).iter().map(completed).collect();
        let after = acknowledged.iter().position(|at| *at > 5_001).unwrap();
        let (last, first) = (acknowledged[after - 1], acknowledged[after]);
        // The first attempt after the crash fails, the next comes 15 s later.
        assert!(last < 5_001 && (20_000..=20_500).contains(&first), "{mode:?}: {last} {first}");
        assert!(*acknowledged.last().unwrap() > 39_800);
    }
}

#[test]
fn a_pooler_fails_requests_at_once_while_the_server_starts_up() {
    let server = NodeSpec::Script(vec![
        from(SimDuration::ZERO, 503, Server::StartingUp),
        from(secs(3), 200, Server::Primary),
    ]);
    // The application logs in through the pooler, so the queued first login waits, and a new one would fail.
    let clients = (0..2).map(|number| {
        let mut client = application(1);
        client.workload.client = number;
        client.workload.start_at = secs(u64::from(number));
        NodeSpec::Application(client)
    });
    let pooler = NodeSpec::Pooler(PgBouncerSpec::new(id(0)));
    let record = record(world([server, pooler].into_iter().chain(clients).collect()), secs(20));
    let first = record.operations.iter().find(|operation| operation.client == id(2)).unwrap();
    assert_eq!((first.outcome, completed(first) / 100), (Outcome::Ok, 150), "queued until the retry");
    let failed = with(&record, Outcome::Failed);
    assert!(failed.len() > 10 && failed.iter().all(|operation| operation.client == id(3)), "{failed:?}");
}

#[test]
fn clients_of_a_pooler_lose_their_connection_after_query_wait_timeout() {
    let mut client = application(1);
    client.connect_timeout = None;
    let mut world = world(vec![
        member(Server::Primary),
        NodeSpec::Pooler(PgBouncerSpec::new(id(0))),
        NodeSpec::Application(client),
    ]);
    fault(&mut world, SimDuration::from_nanos(1), power_off(0), None);
    let record = record(world, secs(130));
    let first = record.operations.first().unwrap();
    assert_eq!(first.outcome, Outcome::Failed, "it was never sent on");
    // The connection, the login and the close take two round trips of 1 ms.
    assert_eq!(completed(first), 120_002);
}

#[test]
fn a_pooler_checks_connections_that_were_idle_before_it_uses_them() {
    for (idle, outcome) in [(20, Outcome::Unknown), (40, Outcome::Ok)] {
        let mut client = application(1);
        client.interval = Distribution::Constant(secs(idle));
        client.workload.stop_at = Some(secs(2 * idle) - millis(1));
        let pooler = PgBouncerSpec { pool_mode: PoolMode::Transaction, ..PgBouncerSpec::new(id(0)) };
        let mut world =
            world(vec![member(Server::Primary), NodeSpec::Pooler(pooler), NodeSpec::Application(client)]);
        // The host is off for a second: the pooler's idle connection is dead and nobody has told it.
        fault(&mut world, secs(5), power_off(0), Some(secs(1)));
        let record = record(world, secs(200));
        let outcomes: Vec<Outcome> = record.operations.iter().map(|operation| operation.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, outcome], "idle for {idle} s");
    }
}

#[test]
fn each_check_of_an_idle_connection_holds_one_client_and_no_more() {
    // The pooler's only connection has been idle for 44 s when the host becomes silent.
    let clients = [secs(45), secs(46)].into_iter().zip(1..).map(|(start_at, number)| {
        let mut client = application(1);
        client.workload = Workload { start_at, ..Workload::writes(number) };
        NodeSpec::Application(client)
    });
    let mut early = application(1);
    early.workload.client = 0;
    early.workload.stop_at = Some(millis(1));
    let pooler = PgBouncerSpec { pool_mode: PoolMode::Transaction, ..PgBouncerSpec::new(id(0)) };
    let nodes = [member(Server::Primary), NodeSpec::Pooler(pooler), NodeSpec::Application(early)];
    let mut world = world(nodes.into_iter().chain(clients).collect());
    fault(&mut world, secs(44), power_off(0), None);
    run(&mut world, secs(50));
    let Some(Node::Pooler(pooler)) = world.process(id(1)) else {
        panic!("node 1 is the pooler");
    };
    assert_eq!((pooler.waiting_count(), pooler.server_count()), (2, 2), "one is checked, one is asked for");
}

#[test]
fn transactions_share_server_connections_and_sessions_do_not() {
    for (mode, served) in [(PoolMode::Transaction, 5), (PoolMode::Session, 2)] {
        let pooler = PgBouncerSpec { pool_mode: mode, pool_size: 2, ..PgBouncerSpec::new(id(0)) };
        let clients = (0..5).map(|number| {
            let mut client = application(1);
            client.workload.client = number;
            NodeSpec::Application(client)
        });
        let nodes = [member(Server::Primary), NodeSpec::Pooler(pooler)];
        let record = record(world(nodes.into_iter().chain(clients).collect()), secs(10));
        let acknowledging: std::collections::BTreeSet<_> =
            with(&record, Outcome::Ok).iter().map(|operation| operation.client).collect();
        assert_eq!(acknowledging.len(), served, "{mode:?}");
    }
}

#[test]
fn an_aware_client_finds_the_new_primary_within_its_retry_interval() {
    let promoted = secs(20) + millis(30);
    let client = MultiHostClientSpec::new(Workload::writes(1), vec![id(0), id(1), id(2)]);
    let nodes = vec![
        member(Server::Primary),
        primary_from(promoted),
        member(Server::Standby),
        NodeSpec::MultiHost(client),
    ];
    for silent in [false, true] {
        let mut world = world(nodes.clone());
        let crash = if silent { power_off(0) } else { kill(0) };
        fault(&mut world, secs(10), crash, None);
        let record = record(world, secs(30));
        let acknowledged: Vec<u64> = with(&record, Outcome::Ok).iter().map(completed).collect();
        let after = acknowledged.iter().position(|at| *at > 10_001).unwrap();
        assert!(acknowledged[after - 1] >= 9_940, "one write each 50 ms");
        let late = acknowledged[after] - 20_030;
        assert!(late <= 110, "a silent host does not hold back the others: {late} ms");
        let unknown = with(&record, Outcome::Unknown);
        assert_eq!(unknown.len(), usize::from(silent), "{unknown:?}");
        if silent {
            let took = unknown[0].completed.unwrap().since(unknown[0].invoked);
            assert_eq!(took, secs(3), "the statement time-out");
        }
    }
}

#[test]
fn what_was_sent_is_unknown_and_what_was_not_sent_failed() {
    for (server, outcome) in [
        (Server::DropsWrites, Outcome::Unknown),
        (Server::Standby, Outcome::Failed),
        (Server::StartingUp, Outcome::Failed),
    ] {
        let mut client = application(0);
        client.workload.stop_at = Some(secs(5));
        let record = record(world(vec![member(server), NodeSpec::Application(client)]), secs(6));
        assert!(record.operations.len() > 10);
        assert_eq!(with(&record, outcome).len(), record.operations.len(), "{server:?}");
    }
    // Nobody listens: refused.
    let mut world = world(vec![member(Server::Primary), NodeSpec::Application(application(0))]);
    fault(&mut world, SimDuration::from_nanos(1), kill(0), None);
    let record = record(world, secs(5) + millis(50));
    assert!(record.operations.len() > 10);
    assert_eq!(with(&record, Outcome::Failed).len(), record.operations.len());
}

#[test]
fn a_cancelled_wait_for_a_standby_is_ok_with_a_warning_and_a_dropped_one_unknown() {
    let cancel = OnTimeout::Cancel { wait: secs(1) };
    for (then, outcome) in [(cancel, Outcome::OkWithWarning), (OnTimeout::Drop, Outcome::Unknown)] {
        for pooled in [false, true] {
            let mut client = application(usize::from(pooled));
            client.statement_timeout = Some(StatementTimeout { after: secs(2), then });
            let nodes = vec![
                member(Server::Stalled),
                NodeSpec::Pooler(PgBouncerSpec::new(id(0))),
                NodeSpec::Application(client),
            ];
            let record = record(world(nodes), secs(9));
            let first = record.operations[0];
            assert_eq!(first.outcome, outcome, "pooled: {pooled}");
            let completed = completed(&first);
            assert!((2_000..=2_015).contains(&completed), "{completed}");
            assert!(with(&record, outcome).len() >= 3, "it goes on afterwards");
        }
    }
}

#[test]
fn values_are_unique_across_clients_and_lives_and_the_workload_ends() {
    let clients = (1..=3).map(|number| {
        let mut client = ApplicationSpec::new(Workload::writes(number), id(0));
        client.workload.stop_at = Some(secs(4));
        NodeSpec::Application(client)
    });
    let mut world = world([member(Server::Primary)].into_iter().chain(clients).collect());
    fault(&mut world, secs(2), kill(1), Some(millis(100)));
    let record = record(world, secs(12));
    let mut values: Vec<u64> = record.operations.iter().map(|operation| operation.value).collect();
    let count = values.len();
    assert!(count > 1_000, "{count}");
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), count);
    let last = record.operations.iter().map(|operation| operation.invoked).max().unwrap();
    // The client that was started again counts from its new start.
    assert!(last < SimTime::ZERO + secs(7), "{last}");
}

#[test]
fn readers_record_what_they_count() {
    let writer = application(0);
    let mut reader = application(0);
    reader.workload = Workload { stop_at: Some(secs(5)), ..Workload::counts(2) };
    let nodes = vec![member(Server::Primary), NodeSpec::Application(writer), NodeSpec::Application(reader)];
    let record = record(world(nodes), secs(6));
    let counts: Vec<u64> = record
        .operations
        .iter()
        .filter(|operation| operation.client == id(2))
        .map(|operation| operation.value)
        .collect();
    assert!(counts.len() > 40 && counts.is_sorted() && *counts.last().unwrap() > 40, "{counts:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let nodes = vec![
        primary_until(secs(10)),
        primary_from(secs(10)),
        proxy(2),
        NodeSpec::Pooler(PgBouncerSpec::new(id(2))),
        NodeSpec::Application(ApplicationSpec::new(Workload::writes(1), id(3))),
    ];
    let [first, second] = [(); 2].map(|()| record(world(nodes.clone()), secs(30)));
    assert_eq!(first, second);
    assert!(first.operations.len() > 1_000);
}
