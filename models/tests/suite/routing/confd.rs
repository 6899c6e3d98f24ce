//! `PgBouncer` behind `confd`: whose address is in its configuration, and who notices that it changes.

use models::routing::{ConfdSpec, PgBouncerSpec, PoolMode, Workload};
use sim_core::{Operation, Outcome, SimDuration};

use super::script::{
    NodeSpec, application, completed, fault, id, kill, primary_from, primary_until, record, secs, world,
};

/// When the first member is no primary any more.
const SWITCH: SimDuration = secs(25);

/// What one client saw for a minute, through a pooler that is told who leads; the members change roles at [`SWITCH`].
fn seen(pool_mode: PoolMode, leaders: Vec<(SimDuration, Option<u8>)>) -> Vec<Operation> {
    seen_with(pool_mode, leaders, None)
}

/// The same, and the pooler's process is killed and started again, then and for so long.
fn seen_with(
    pool_mode: PoolMode,
    leaders: Vec<(SimDuration, Option<u8>)>,
    killed: Option<(SimDuration, SimDuration)>,
) -> Vec<Operation> {
    let pooler = PgBouncerSpec { pool_mode, ..PgBouncerSpec::default() };
    let confd = ConfdSpec {
        etcd: [id(2)].into(),
        prefix: "/service/batman/".into(),
        servers: vec![("patroni-1".to_owned(), id(0)), ("patroni-2".to_owned(), id(1))],
        pooler: id(3),
        interval: ConfdSpec::INTERVAL,
    };
    let mut client = application(3);
    // The first reading comes within 10 s.
    client.workload = Workload { start_at: secs(12), stop_at: Some(secs(59)), ..Workload::writes(1) };
    let nodes = vec![
        primary_until(SWITCH),
        primary_from(SWITCH),
        NodeSpec::Store(leaders),
        NodeSpec::Pooler(pooler),
        NodeSpec::Confd(confd),
        NodeSpec::Application(client),
    ];
    let mut world = world(nodes);
    if let Some((at, lasts)) = killed {
        fault(&mut world, at, kill(3), Some(lasts));
    }
    record(world, secs(60)).operations
}

/// The last write that failed, in milliseconds.
fn last_failure(operations: &[Operation]) -> u64 {
    let failed = operations.iter().rfind(|operation| operation.outcome != Outcome::Ok);
    failed.map_or(0, completed)
}

#[test]
fn a_reload_moves_transactions_and_leaves_sessions_where_they_are() {
    let leaders = vec![(SimDuration::ZERO, Some(1)), (SWITCH, Some(2))];
    let moved = seen(PoolMode::Transaction, leaders.clone());
    let last = last_failure(&moved);
    assert!((25_000..35_100).contains(&last), "until the next reading: {last}");
    assert!(completed(moved.last().unwrap()) > 58_000);

    let left = seen(PoolMode::Session, leaders);
    assert!(last_failure(&left) > 58_000, "the session stays on the standby");
}

#[test]
fn without_a_leader_the_configuration_stays() {
    let nobody = seen(PoolMode::Transaction, vec![(SimDuration::ZERO, Some(2)), (secs(15), None)]);
    let last = last_failure(&nobody);
    assert!((24_000..25_100).contains(&last), "the second member is reached, and leads at last: {last}");
    let operations = seen(PoolMode::Transaction, vec![(SimDuration::ZERO, None)]);
    assert!(operations.iter().all(|operation| operation.outcome != Outcome::Ok), "there is no database");
}

#[test]
fn a_pooler_that_starts_again_reads_its_file() {
    // Nobody leads any more when it starts, and the file says who last did.
    let leaders = vec![(SimDuration::ZERO, Some(1)), (secs(14), None)];
    let operations = seen_with(PoolMode::Transaction, leaders, Some((secs(18), secs(1))));
    let before_switch: Vec<_> =
        operations.into_iter().filter(|operation| completed(operation) < 25_000).collect();
    let last = last_failure(&before_switch);
    assert!((18_000..20_100).contains(&last), "only while there is no pooler: {last}");
    assert!(completed(before_switch.last().unwrap()) > 24_000);
}

#[test]
fn a_pooler_that_was_down_when_the_leader_changed_is_told_at_the_next_reading() {
    let leaders = vec![(SimDuration::ZERO, Some(1)), (SWITCH, Some(2))];
    let operations = seen_with(PoolMode::Transaction, leaders, Some((secs(24), secs(12))));
    let last = last_failure(&operations);
    assert!((36_000..46_100).contains(&last), "{last}");
    assert!(completed(operations.last().unwrap()) > 58_000);
}
