//! `PgBouncer`: connections to servers, and clients that wait for one.

use models::routing::{PgBouncerSpec, PoolMode, Workload};
use sim_core::{Distribution, Outcome, SimDuration};

use super::script::{
    Node, NodeSpec, Server, application, completed, fault, from, id, kill, member, millis, power_off, record,
    run, secs, with, world,
};

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
fn a_pooler_turns_clients_away_after_a_failed_connection() {
    // The first client waits for the retry that follows the failed attempt, the second comes while nothing is connected.
    let clients = [(0, SimDuration::ZERO), (1, secs(8))].map(|(number, start_at)| {
        let mut client = application(1);
        client.workload = Workload { start_at, stop_at: Some(secs(35)), ..Workload::writes(number) };
        NodeSpec::Application(client)
    });
    let nodes = [member(Server::Primary), NodeSpec::Pooler(PgBouncerSpec::new(id(0)))];
    let mut world = world(nodes.into_iter().chain(clients).collect());
    fault(&mut world, secs(5), kill(0), Some(secs(2)));
    let record = record(world, secs(40));
    let of = |client: usize| record.operations.iter().filter(move |operation| operation.client == id(client));
    let (waited, turned_away): (Vec<_>, Vec<_>) =
        (of(2).filter(|operation| completed(operation) > 5_001).collect(), of(3).collect());
    assert_eq!(waited[0].outcome, Outcome::Ok, "{:?}", waited[0]);
    let failed = turned_away.iter().take_while(|operation| operation.outcome != Outcome::Ok);
    let times: Vec<u64> = failed.map(|operation| completed(operation)).collect();
    assert!(times.len() > 10 && times[0] < 8_100, "at once, again and again: {times:?}");
    assert!(times.iter().all(|at| *at < 20_500), "until the retry: {times:?}");
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
