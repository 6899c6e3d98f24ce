//! Faults of connections: resets, forgotten connections, listeners that hang.

use sim_core::{
    ConnectOptions, Fault, HangAnswer, KeepAlive, LostAnswer, SimDuration, Target, Told, Topology, World,
};

use super::probe::{
    MS, Probe, SECOND, Spec, at, calls, during, heard, network, numbers, process, run, run_on, when,
};

/// A caller that sends every 100 ms and dials again after 200 ms, and the called.
fn pair() -> Vec<Spec> {
    vec![Spec { reconnects: Some(MS * 200), ..calls(1, MS * 100) }, Spec::default()]
}

fn sides() -> (Vec<Target>, Vec<Target>) {
    (vec![process(0)], vec![process(1)])
}

fn reset(told: Told) -> Fault {
    let (from, to) = sides();
    Fault::ConnectionReset { from, to, told }
}

#[test]
fn a_reset_reaches_both_ends_at_once_and_new_connections_work() {
    let world = run(pair(), vec![at(MS * 550, reset(Told::Both))], SECOND * 2);
    assert_eq!(when(&world, 0, "Reset"), [550]);
    assert_eq!(when(&world, 1, "Reset"), [550]);
    assert_eq!(when(&world, 0, "Opened"), [20, 770]);
    assert_eq!(when(&world, 1, "").last(), Some(&1_910), "packets arrive again");
}

#[test]
fn an_end_that_is_not_told_finds_out_when_it_sends() {
    let world = run(pair(), vec![at(MS * 550, reset(Told::To))], SECOND);
    assert_eq!(when(&world, 1, "Reset"), [550]);
    assert_eq!(when(&world, 0, "Reset"), [620], "the packet of 600 ms comes back as a reset");
    // The called never sends: it holds the connection for open for ever.
    let world = run(pair(), vec![at(MS * 550, reset(Told::From))], SECOND * 100);
    assert_eq!(when(&world, 0, "Reset"), [550]);
    assert_eq!(when(&world, 1, "Reset"), []);
}

#[test]
fn a_reset_leaves_other_connections_alone() {
    let specs = vec![calls(1, MS * 100), Spec::default(), calls(1, MS * 100)];
    let world = run(specs, vec![at(MS * 550, reset(Told::Both))], SECOND);
    assert_eq!(when(&world, 2, "Reset"), []);
    assert_eq!(when(&world, 1, "Reset 2"), []);
    assert_eq!(when(&world, 1, "Reset 0"), [550]);
}

fn lose(answer: LostAnswer) -> Fault {
    let (from, to) = sides();
    Fault::HalfOpen { from, to, answer }
}

#[test]
fn a_forgotten_connection_swallows_packets_until_the_senders_time_out() {
    let mut specs = pair();
    specs[0].options = ConnectOptions { user_timeout: Some(SECOND * 5), keep_alive: None };
    let world = run(specs, vec![at(MS * 550, lose(LostAnswer::Silence))], SECOND * 20);
    // The packet of 600 ms would arrive at 610 ms; from there on it is unacknowledged.
    assert_eq!(when(&world, 0, "TimedOut"), [5_610]);
    assert_eq!(when(&world, 0, "Opened"), [20, 5_830], "new connections are not affected");
    let got = numbers(&world, 1);
    assert_eq!(got[..6], [1, 2, 3, 4, 5, 59], "what was sent in between is gone with the connection");
    assert_eq!(when(&world, 1, "TimedOut"), [], "the called holds the old one for open");
}

#[test]
fn a_forgotten_connection_can_answer_with_a_reset_to_who_sends() {
    let world = run(pair(), vec![at(MS * 550, lose(LostAnswer::Reset))], SECOND * 20);
    assert_eq!(when(&world, 0, "Reset"), [620]);
    assert_eq!(when(&world, 1, "Reset"), []);
    assert_eq!(when(&world, 0, "Opened"), [20, 840]);
}

#[test]
fn keep_alives_find_a_forgotten_connection_on_which_nobody_sends() {
    let keep_alive = KeepAlive { idle: SECOND * 10, interval: SECOND * 2, count: 3 };
    let options = ConnectOptions { keep_alive: Some(keep_alive), user_timeout: None };
    let idle = || vec![Spec { connects: vec![1], options, ..Spec::default() }, Spec::default()];
    // Established at 20 ms; the last probe that is answered is that of 20 s.
    for (answer, event, found) in
        [(LostAnswer::Silence, "TimedOut", 20_020 + 16_000), (LostAnswer::Reset, "Reset", 20_020 + 10_000)]
    {
        let world = run(idle(), vec![at(SECOND * 25, lose(answer))], SECOND * 100);
        assert_eq!(when(&world, 0, event), [found]);
        assert_eq!(heard(&world, 1).len(), 1, "the other end has no keep-alives: {:?}", heard(&world, 1));
    }
}

fn hang(answer: HangAnswer) -> Fault {
    Fault::HangOnConnect { target: process(1), answer }
}

/// A caller with a connection from the start, and one that starts late, at 1 s, because it was killed before.
fn early_and_late(network: Topology, lasts: SimDuration, answer: HangAnswer) -> World<Probe> {
    let late = during(MS * 5, MS * 995, Fault::Kill { target: process(2) });
    let specs = vec![calls(1, MS * 100), Spec::default(), calls(1, MS * 100)];
    run_on(network, specs, vec![late, during(MS * 500, lasts, hang(answer))], SECOND * 12)
}

/// Of hosts that repeat a request each second for so often, before the time between two doubles.
fn repeats_each_second(count: u8) -> Topology {
    let mut topology = network();
    topology.set_tcp_syn_linear_timeouts(count);
    topology
}

#[test]
fn a_hung_listener_accepts_and_serves_nobody_new_until_it_goes_on() {
    let world = early_and_late(network(), SECOND * 2, HangAnswer::Accepted);
    assert_eq!(when(&world, 2, "Opened"), [1_020], "the kernel answers");
    // The first request, of the short life before the kill, was accepted at 10 ms.
    assert_eq!(when(&world, 1, "Accepted 2"), [10, 2_500], "the process takes it when it goes on");
    let of = |peer: usize| -> Vec<u64> {
        heard(&world, 1)
            .into_iter()
            .filter(|(_, text)| text.ends_with(&format!(" from {peer}")))
            .map(|(at, _)| at)
            .collect()
    };
    assert_eq!(
        of(2).iter().filter(|at| **at == 2_500).count(),
        14,
        "with all that was sent: from 1.1 s to 2.4 s"
    );
    assert!(of(0).windows(2).all(|pair| pair[1] - pair[0] == 100), "the connection from before is served");
}

#[test]
fn a_listener_that_drops_requests_lets_them_be_repeated() {
    // Linux since 6.5 sends requests at 1, 2, 3, 4, 5, 6 s, before at 1, 2, 4 and 8 s; those before 5.5 s are dropped.
    for (network, repeated) in [(network(), 6_000), (repeats_each_second(0), 8_000)] {
        let world = early_and_late(network, SECOND * 5, HangAnswer::Dropped);
        assert_eq!(when(&world, 2, "Opened").len(), 1);
        let opened = when(&world, 2, "Opened")[0];
        assert!((repeated..=repeated + 100).contains(&opened), "{opened}");
        let silences = when(&world, 1, "").windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(silences, Some(100), "the connection from before is served");
    }
}

#[test]
fn a_request_that_is_always_dropped_times_out() {
    // 127 s of repetitions further and further apart, after those of each second, counted from the loss of the first request.
    for (count, end) in [(4, 131_010), (0, 127_010), (1, 128_010)] {
        let faults = vec![at(SimDuration::ZERO, hang(HangAnswer::Dropped))];
        let specs = vec![calls(1, MS * 100), Spec::default()];
        let world = run_on(repeats_each_second(count), specs, faults, SECOND * 200);
        let events = heard(&world, 0);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0], (end, "TimedOut 1".to_owned()));
    }
}

#[test]
fn a_new_life_accepts_what_the_old_one_hung_on() {
    let restart = at(
        SECOND * 2,
        Fault::Restart { target: process(1), delay: SimDuration::ZERO, stagger: SimDuration::ZERO },
    );
    let late = during(MS * 5, MS * 995, Fault::Kill { target: process(2) });
    let caller = || Spec { reconnects: Some(MS * 100), ..calls(1, MS * 100) };
    let specs = vec![Spec::default(), Spec::default(), caller()];
    let world = run(specs, vec![late, at(MS * 500, hang(HangAnswer::Accepted)), restart], SECOND * 4);
    assert_eq!(when(&world, 2, "Opened"), [1_020, 2_130]);
    assert_eq!(when(&world, 1, "Accepted 2"), [2_120], "the process was never told of the first");
}

#[test]
fn two_hangs_end_in_any_order() {
    for lengths in [[SECOND * 2, SECOND * 4], [SECOND * 4, SECOND * 2]] {
        let late = during(MS * 5, MS * 995, Fault::Kill { target: process(2) });
        let mut faults = vec![late];
        faults.extend(lengths.map(|lasts| during(MS * 500, lasts, hang(HangAnswer::Accepted))));
        let specs = vec![Spec::default(), Spec::default(), calls(1, MS * 100)];
        let world = run(specs, faults, SECOND * 6);
        assert_eq!(when(&world, 1, "Accepted 2"), [10, 4_500]);
    }
}
