//! `HAProxy`: what it thinks of servers, and what becomes of sessions.

use models::patroni::RestPath;
use models::routing::{Balance, HaProxySpec, ProxyServer, StickyClientSpec, Workload};
use sim_core::{Fault, MarkKind, Outcome, SimDuration, Target};

use super::script::{
    NodeSpec, Server, application, check_window, completed, fault, from, id, kill, member, millis, power_off,
    primary_from, primary_until, proxy, record, run, secs, until_marked, with, world,
};

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
