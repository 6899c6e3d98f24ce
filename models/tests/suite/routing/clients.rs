//! Clients: how they find the primary, and what they record.

use models::routing::{
    ApplicationSpec, MultiHostClientSpec, OnTimeout, PgBouncerSpec, StatementTimeout, Workload,
};
use sim_core::{Outcome, SimDuration, SimTime};

use super::script::{
    NodeSpec, Server, application, completed, fault, id, kill, member, millis, power_off, primary_from,
    record, secs, with, world,
};

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
