//! API version 2: conditions, times to live, long polls, and what a member that is cut off shows.

use super::*;
use crate::etcd::v2::{Answer, Condition, Failure, Packet as V2Packet, Request, Response};

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        Self::V2(request)
    }
}

const LEADER: &str = "/service/batman/leader";

fn get(quorum: bool) -> Request {
    Request::Get { prefix: "/service/batman/".into(), quorum }
}

fn put(value: &str, ttl: Option<u64>, condition: Condition) -> Request {
    let ttl = ttl.map(SimDuration::from_secs);
    Request::Put { key: LEADER.into(), value: value.into(), ttl, condition }
}

fn delete(condition: Condition) -> Request {
    Request::Delete { key: LEADER.into(), condition }
}

fn poll(index: u64) -> Request {
    Request::Poll { key: LEADER.into(), index }
}

/// What a client was answered: (time in seconds, request, response).
fn answers(world: &World<Member>, client: usize) -> Vec<(f64, u64, Arc<Response>)> {
    heard(world, client)
        .into_iter()
        .filter_map(|(at, packet)| match packet {
            Packet::V2(V2Packet::Response { id, response }) => Some((at, id, response)),
            _ => None,
        })
        .collect()
}

/// The values of the keys that an answer holds.
fn values(response: &Response) -> Vec<String> {
    match &response.result {
        Ok(Answer::Keys(keys)) => keys.iter().map(|entry| entry.value.to_string()).collect(),
        other => panic!("a read finds keys: {other:?}"),
    }
}

/// Cuts a member off from the others, and not from its client.
fn cut_off_from_members(cut: usize) -> Fault {
    let host = |index: usize| Target::Host(format!("host-{index}"));
    Fault::Partition {
        from: vec![host(cut)],
        to: (0..3).filter(|index| *index != cut).map(host).collect(),
        direction: sim_core::Direction::Both,
    }
}

#[test]
fn changes_are_made_on_conditions() {
    let value = |text: &str| Condition::Value(text.into());
    let script = vec![
        (4_000, put("a", None, value("a"))),
        (4_100, put("a", None, Condition::Absent)),
        (4_200, put("b", None, Condition::Absent)),
        (4_300, put("b", None, value("b"))),
        (4_400, put("b", None, value("a"))),
        (4_500, put("c", None, Condition::Index(2))),
        (4_600, put("c", None, Condition::Index(3))),
        (4_700, put("d", None, Condition::Index(0))),
        (4_800, delete(value("c"))),
        (4_900, delete(value("d"))),
        (5_000, delete(Condition::Any)),
    ];
    let mut world = cluster(3, true, &[(1, script)]);
    run(&mut world, 6_000);
    let results: Vec<_> =
        answers(&world, 0).into_iter().map(|(_, _, response)| response.result.clone()).collect();
    let expected = [
        Err(Failure::KeyNotFound),
        Ok(Answer::Changed(2)),
        Err(Failure::NodeExists),
        Err(Failure::CompareFailed),
        Ok(Answer::Changed(3)),
        Err(Failure::CompareFailed),
        Ok(Answer::Changed(4)),
        // An index of 0 is none at all.
        Ok(Answer::Changed(5)),
        Err(Failure::CompareFailed),
        Ok(Answer::Changed(6)),
        Err(Failure::KeyNotFound),
    ];
    assert_eq!(results, expected);
}

/// The leader looks twice a second, and deletes by an entry of the log.
#[test]
fn keys_expire_up_to_half_a_second_late_for_every_member() {
    let mut late: Vec<f64> = (0..50)
        .map(|seed| {
            let start = 4_000 + seed * 17;
            let script = vec![(start, put("a", Some(5), Condition::Absent)), (start + 100, poll(3))];
            let mut world = cluster(seed, true, &[(seed as usize % 3, script)]);
            run(&mut world, start + 6_500);
            let answers = answers(&world, 0);
            assert_eq!(answers[2].2.result, Ok(Answer::Polled { exists: false, swapped: false }));
            assert!((0..3).all(|index| !server(&world, index).v2_store().keys().range(LEADER).any(|_| true)));
            answers[2].0 - answers[0].0 - 5.0
        })
        .collect();
    let p50 = median(&mut late);
    assert!(late[0] > -0.02 && late[49] < 0.51, "{late:?}");
    assert!((0.1..0.4).contains(&p50), "p50 {p50}");
}

/// Z32 rests on it: who is cut off from the others never hears that a key has expired.
#[test]
fn a_member_that_is_cut_off_goes_on_showing_a_key_that_has_expired() {
    for seed in 0..6 {
        let reads = vec![(20_000, get(false)), (20_100, get(true)), (35_000, get(false))];
        let mut script = vec![(4_000, put("a", Some(5), Condition::Absent))];
        script.extend(reads);
        let scripts: Vec<_> = (0..3).map(|member| (member, script.clone())).collect();
        let mut world = cluster(seed, true, &scripts);
        run(&mut world, 5_000);
        let cut = (leader(&world) + seed as usize) % 3;
        fault(&mut world, 5_500, cut_off_from_members(cut), Some(23_000));
        run(&mut world, 36_000);
        for member in 0..3 {
            let answers = answers(&world, member);
            let of = |request: u64| &answers.iter().find(|(_, id, _)| *id == request).expect("answered").2;
            let expected: &[&str] = if member == cut { &["a"] } else { &[] };
            assert_eq!(values(of(1)), expected, "seed {seed}, member {member}, cut off {cut}");
            if member == cut {
                assert_eq!(
                    of(2).result,
                    Err(Failure::RaftInternal),
                    "a read by way of the log waits in vain"
                );
            }
            assert!(values(of(3)).is_empty(), "healed");
        }
    }
}

#[test]
fn a_change_without_a_leader_waits_and_is_given_up_after_seven_seconds() {
    let script = vec![(9_000, put("a", None, Condition::Any)), (21_000, get(true))];
    let mut world = cluster(5, true, &[(0, script.clone()), (1, script.clone()), (2, script)]);
    run(&mut world, 5_000);
    let cut = leader(&world);
    fault(&mut world, 6_000, cut_off_from_members(cut), Some(12_000));
    run(&mut world, 24_000);
    let (at, _, response) = &answers(&world, cut)[0];
    assert_eq!(response.result, Err(Failure::RaftInternal));
    assert!((15.99..16.05).contains(at), "{at}");
    assert_eq!(values(&answers(&world, cut)[1].2), ["a"], "others have written it");
}

#[test]
fn a_poll_is_answered_by_the_first_change_from_its_index_on() {
    let value = Condition::Value("a".into());
    let polls = vec![(4_500, poll(2)), (4_600, poll(3)), (6_500, poll(4))];
    let changes = vec![
        (4_000, put("a", None, Condition::Absent)),
        (5_000, put("a", None, value.clone())),
        (6_000, put("a", None, Condition::Any)),
        (7_000, delete(value)),
    ];
    let mut world = cluster(2, true, &[(0, polls), (1, changes)]);
    run(&mut world, 8_000);
    let heard: Vec<_> = answers(&world, 0)
        .into_iter()
        .map(|(at, id, response)| (at.floor() as u64, id, response.result.clone().unwrap()))
        .collect();
    let polled = |exists, swapped| Answer::Polled { exists, swapped };
    let expected = [
        (4, 0, Answer::Polling),
        (4, 0, polled(true, false)),
        (4, 1, Answer::Polling),
        (5, 1, polled(true, true)),
        (6, 2, Answer::Polling),
        // The change at 4, which came before the poll; the deletion comes after it.
        (6, 2, polled(true, false)),
    ];
    assert_eq!(heard, expected);
}

#[test]
fn a_poll_ends_with_the_connection_of_its_client() {
    let mut world = cluster(1, true, &[(0, vec![(4_000, poll(2))])]);
    run(&mut world, 5_000);
    assert_eq!(server(&world, 0).polls.len(), 1);
    fault(&mut world, 5_500, Fault::Kill { target: Target::Process("client-0".into()) }, None);
    run(&mut world, 6_000);
    assert!(server(&world, 0).polls.is_empty());
}
