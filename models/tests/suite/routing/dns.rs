//! `PgBouncer` with a name for its database: when it asks for the address, and who notices that there is another one.

use models::routing::{HostName, PgBouncerSpec, PoolMode, Workload};
use sim_core::{Fault, Operation, Outcome, ProcessId, SimDuration, SimTime};

use super::script::{
    NodeSpec, application, completed, fault, id, kill, millis, power_off, primary_from, primary_until,
    record, secs, world,
};

/// When the first member is no primary any more.
const SWITCH: SimDuration = secs(25);
/// When the first client comes, with whom the pooler needs the address for the first time.
const START: SimDuration = secs(12);
/// Positions in the world.
const NAME_SERVER: usize = 2;
const POOLER: usize = 4;
const FIRST_CLIENT: usize = 5;

/// A pooler with a name that two members have in turn, and its clients.
struct Setting {
    pooler: PgBouncerSpec,
    /// When the name gets the address of which member.
    updates: Vec<(SimDuration, usize)>,
    /// When clients begin.
    clients: Vec<SimDuration>,
    faults: Vec<(SimDuration, Fault, SimDuration)>,
}

impl Default for Setting {
    /// One client, and a name that tells of the switch when it comes.
    fn default() -> Self {
        Self {
            pooler: PgBouncerSpec { pool_mode: PoolMode::Transaction, ..PgBouncerSpec::default() },
            updates: vec![(secs(1), 0), (SWITCH, 1)],
            clients: vec![START],
            faults: Vec::new(),
        }
    }
}

impl Setting {
    /// What clients saw for a minute.
    fn seen(self) -> Vec<Operation> {
        let host = HostName { name_server: id(NAME_SERVER), addresses: vec![id(0), id(1)] };
        let pooler = PgBouncerSpec { host_name: Some(host), ..self.pooler };
        let updates = self.updates.into_iter().map(|(at, member)| (at, id(member))).collect();
        let mut nodes = vec![
            primary_until(SWITCH),
            primary_from(SWITCH),
            NodeSpec::NameServer(()),
            NodeSpec::Updater((id(NAME_SERVER), updates)),
            NodeSpec::Pooler(pooler),
        ];
        for (number, start_at) in (1..).zip(self.clients) {
            let mut client = application(POOLER);
            client.workload = Workload { start_at, stop_at: Some(secs(59)), ..Workload::writes(number) };
            nodes.push(NodeSpec::Application(client));
        }
        let mut world = world(nodes);
        for (at, what, lasts) in self.faults {
            fault(&mut world, at, what, Some(lasts));
        }
        record(world, secs(60)).operations
    }
}

/// The first member dies for a moment, between two writes: whoever is connected to it has to connect again.
fn restart_of_first(at: SimDuration) -> Vec<(SimDuration, Fault, SimDuration)> {
    vec![(at + millis(20), kill(0), millis(50))]
}

fn of(operations: &[Operation], client: usize) -> impl DoubleEndedIterator<Item = &Operation> {
    let client: ProcessId = id(FIRST_CLIENT + client);
    operations.iter().filter(move |operation| operation.client == client)
}

/// The last write of a client that failed, in milliseconds.
fn last_failure(operations: &[Operation], client: usize) -> u64 {
    of(operations, client).rfind(|operation| operation.outcome != Outcome::Ok).map_or(0, completed)
}

/// The first write of a client that was acknowledged, in milliseconds.
fn first_success(operations: &[Operation], client: usize) -> u64 {
    of(operations, client).find(|operation| operation.outcome == Outcome::Ok).map_or(u64::MAX, completed)
}

#[test]
fn connections_to_a_demoted_server_stay_in_use_while_nothing_breaks_them() {
    for pool_mode in [PoolMode::Session, PoolMode::Transaction] {
        let pooler = PgBouncerSpec { pool_mode, ..PgBouncerSpec::default() };
        let operations = Setting { pooler, ..Setting::default() }.seen();
        assert!(first_success(&operations, 0) < 12_100);
        let last = last_failure(&operations, 0);
        assert!(last > 58_000, "{pool_mode:?}: the name has another address, and nobody asks: {last}");
    }
}

#[test]
fn an_answer_is_used_until_it_is_as_old_as_dns_max_ttl() {
    // The only answer so far came at 12 s: with 15 s it holds until 27 s.
    let kept = Setting { faults: restart_of_first(secs(26)), ..Setting::default() }.seen();
    let last = last_failure(&kept, 0);
    assert!(last > 58_000, "connected to the old address again, and kept there: {last}");
    let asked = Setting { faults: restart_of_first(secs(28)), ..Setting::default() }.seen();
    let last = last_failure(&asked, 0);
    assert!((28_000..28_300).contains(&last), "{last}");
    let pooler = PgBouncerSpec { dns_max_ttl: SimDuration::ZERO, ..Setting::default().pooler };
    let at_once = Setting { pooler, faults: restart_of_first(secs(26)), ..Setting::default() }.seen();
    let last = last_failure(&at_once, 0);
    assert!((26_000..26_300).contains(&last), "zero: each connection is worth a look-up: {last}");
}

#[test]
fn a_refused_attempt_outlives_the_old_answer() {
    // The next write comes while the first member is down. After `server_login_retry` of the same 15 s the answer is over.
    let faults = vec![(secs(26), kill(0), millis(150))];
    let operations = Setting { faults, ..Setting::default() }.seen();
    let next =
        operations.iter().find(|operation| operation.outcome == Outcome::Ok && completed(operation) > 26_000);
    let next = next.map_or(0, completed);
    assert!((41_000..41_400).contains(&next), "{next}");
}

#[test]
fn another_answer_moves_transactions_and_leaves_sessions_where_they_are() {
    // Who comes later needs a connection of its own.
    let clients = vec![START, secs(40), secs(40), secs(40), secs(40)];
    let moved = Setting { clients: clients.clone(), ..Setting::default() }.seen();
    for client in 0..5 {
        let last = last_failure(&moved, client);
        assert!(last < 40_300, "client {client}, with the first new connection: {last}");
    }
    let pooler = PgBouncerSpec::default();
    let left = Setting { pooler, clients, ..Setting::default() }.seen();
    assert!(last_failure(&left, 0) > 58_000, "the session stays until its client leaves");
    assert!((1..5).all(|client| last_failure(&left, client) == 0), "the others get the new address");
}

#[test]
fn a_name_that_does_not_exist_is_asked_for_again_after_dns_nxdomain_ttl() {
    let updates = vec![(secs(14), 0), (SWITCH, 1)];
    let default = Setting { updates: updates.clone(), ..Setting::default() }.seen();
    // Both times are 15 s, and the janitor comes after both are over.
    let first = first_success(&default, 0);
    assert!((27_000..27_400).contains(&first), "{first}");

    let retries = PgBouncerSpec { server_login_retry: secs(1), ..Setting::default().pooler };
    let pooler = PgBouncerSpec { dns_nxdomain_ttl: secs(5), ..retries.clone() };
    let first = first_success(&Setting { pooler, updates: updates.clone(), ..Setting::default() }.seen(), 0);
    assert!((17_000..18_400).contains(&first), "attempts do not ask before: {first}");
    let pooler = PgBouncerSpec { dns_nxdomain_ttl: SimDuration::ZERO, ..retries };
    let first = first_success(&Setting { pooler, updates, ..Setting::default() }.seen(), 0);
    assert!((14_000..15_400).contains(&first), "each attempt asks: {first}");
}

#[test]
fn a_lost_question_is_asked_again() {
    let faults = vec![(secs(5), power_off(NAME_SERVER), secs(8))];
    let operations = Setting { faults, ..Setting::default() }.seen();
    let first = first_success(&operations, 0);
    assert!((14_000..14_100).contains(&first), "2 s after the first, and the name was kept: {first}");
}

#[test]
fn a_look_up_without_an_answer_costs_two_attempts() {
    // Asked at 12, 14 and 18 s and given up at 26 s, which is good until 41 s; the attempt at 27 s fails with it.
    let faults = vec![(secs(5), power_off(NAME_SERVER), secs(15))];
    let operations = Setting { faults, ..Setting::default() }.seen();
    let first = first_success(&operations, 0);
    assert!((42_000..43_100).contains(&first), "{first}");
}

#[test]
fn without_a_name_server_connections_stay_in_use() {
    // The second client makes the pooler ask, which gets no answer, and no connection is given up for that.
    let faults = vec![(secs(15), power_off(NAME_SERVER), secs(45))];
    let updates = vec![(secs(1), 0)];
    let clients = vec![START, secs(18)];
    let pooler = PgBouncerSpec { dns_max_ttl: secs(1), ..PgBouncerSpec::default() };
    let operations = Setting { pooler, updates, clients, faults }.seen();
    let is_before_switch = |at: Option<SimTime>| at.is_some_and(|at| at < SimTime::ZERO + SWITCH);
    let before_switch: Vec<_> =
        operations.into_iter().filter(|operation| is_before_switch(operation.completed)).collect();
    assert_eq!(last_failure(&before_switch, 0), 0);
    assert!(of(&before_switch, 0).count() > 40);
    assert_eq!(first_success(&before_switch, 1), u64::MAX, "there is no connection for it");
}
