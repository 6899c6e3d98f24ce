//! Links that delay, lose, repeat, shuffle or squeeze what they carry.

use sim_core::{Distribution, Fault, Probability, ScheduledFault, SimDuration, Target};

use super::probe::{MS, PACKET, SECOND, Spec, at, calls, during, heard, numbers, process, run, tells, when};

fn sides() -> (Vec<Target>, Vec<Target>) {
    (vec![process(0)], vec![process(1)])
}

fn percent(percent: u32) -> Probability {
    Probability::from_ppm(percent * 10_000)
}

/// A sender every 10 ms to one receiver, as datagrams or on a connection.
fn pair(connected: bool) -> Vec<Spec> {
    vec![if connected { calls(1, MS * 10) } else { tells(1, MS * 10) }, Spec::default()]
}

fn degrade(latency: SimDuration, loss: Probability) -> Fault {
    let (from, to) = sides();
    Fault::Degrade { from, to, latency, loss }
}

#[test]
fn latency_and_loss_of_two_faults_add_up_and_end_in_any_order() {
    for lengths in [[MS * 300, MS * 600], [MS * 600, MS * 300]] {
        let faults = lengths
            .into_iter()
            .zip([20, 30])
            .map(|(lasts, extra)| during(MS * 100, lasts, degrade(MS * extra, percent(0))))
            .collect();
        let world = run(pair(false), faults, SECOND);
        let delays: Vec<u64> = heard(&world, 1)
            .iter()
            .zip(numbers(&world, 1))
            .map(|((at, _), number)| at - u64::from(number) * 10)
            .collect();
        let remaining = if lengths[0] > lengths[1] { 20 } else { 30 };
        // Longer and shorter latencies make packets overtake each other: look at them by the number sent.
        let delay_of = |sent_at: u32| {
            let position = numbers(&world, 1).iter().position(|number| number * 10 == sent_at).unwrap();
            delays[position]
        };
        assert_eq!([50, 200, 500, 800].map(delay_of), [10, 60, 10 + remaining, 10]);
    }
    let half = vec![during(MS * 100, SECOND * 20, degrade(SimDuration::ZERO, percent(50)))];
    let world = run(pair(false), half, SECOND * 20);
    let arrived = numbers(&world, 1).len();
    // Binomial: 2,000 packets, one in two; five standard deviations are 112.
    assert!((890..=1_120).contains(&arrived), "{arrived} of 2,000");
}

#[test]
fn latency_is_drawn_from_recorded_lengths() {
    let (from, to) = sides();
    let extra = Distribution::Empirical(vec![MS * 40, MS * 50, MS * 400]);
    let faults = vec![during(SimDuration::ZERO, SECOND * 20, Fault::Latency { from, to, extra })];
    let world = run(pair(false), faults, SECOND * 20);
    let mut delays: Vec<u64> = heard(&world, 1)
        .iter()
        .zip(numbers(&world, 1))
        .map(|((at, _), number)| at - u64::from(number) * 10)
        .collect();
    delays.sort_unstable();
    assert!(delays[0] >= 50 && *delays.last().unwrap() <= 410, "10 ms of the link and 40 to 400 ms on top");
    let median = delays[delays.len() / 2];
    assert!((57..=63).contains(&median), "the recorded median is 50 ms: {median}");
}

#[test]
fn datagrams_are_duplicated_and_connections_hide_it() {
    let (from, to) = sides();
    let fault = || {
        vec![during(
            SECOND,
            SECOND * 10,
            Fault::Duplicate { from: from.clone(), to: to.clone(), chance: percent(20) },
        )]
    };
    let world = run(pair(false), fault(), SECOND * 12);
    let mut seen = numbers(&world, 1);
    let arrived = seen.len();
    seen.sort_unstable();
    seen.dedup();
    let twice = arrived - seen.len();
    // Binomial: 1,000 packets, one in five; five standard deviations are 63.
    assert!((137..=263).contains(&twice), "{twice} of 1,000");
    let connected = run(pair(true), fault(), SECOND * 12);
    let in_order: Vec<u32> = (1..=numbers(&connected, 1).len() as u32).collect();
    assert_eq!(numbers(&connected, 1), in_order);
}

#[test]
fn datagrams_are_reordered_and_connections_show_a_delay() {
    let (from, to) = sides();
    let chance = percent(10);
    let fault = || {
        vec![during(
            SECOND,
            SECOND * 10,
            Fault::Reorder { from: from.clone(), to: to.clone(), chance, delay: MS * 35 },
        )]
    };
    let world = run(pair(false), fault(), SECOND * 12);
    let overtaken = numbers(&world, 1).windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(overtaken > 50, "{overtaken} of about 100");
    let connected = run(pair(true), fault(), SECOND * 12);
    let in_order: Vec<u32> = (1..=numbers(&connected, 1).len() as u32).collect();
    assert_eq!(numbers(&connected, 1), in_order);
    let bursts = when(&connected, 1, "").windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(bursts > 100, "what was overtaken holds up what follows: {bursts}");
}

fn bandwidth(packets_per_second: u64, queue: SimDuration) -> Fault {
    let (from, to) = sides();
    Fault::Bandwidth { from, to, bits_per_second: packets_per_second * u64::from(PACKET) * 8, queue }
}

fn arrivals_between(faults: Vec<ScheduledFault>, connected: bool, from: u64, until: u64) -> usize {
    let world = run(pair(connected), faults, SECOND * 20);
    when(&world, 1, "").into_iter().filter(|at| (from..until).contains(at)).count()
}

#[test]
fn a_narrow_link_passes_its_rate_delays_by_its_queue_and_drops_the_rest() {
    let narrow = || vec![during(SECOND, SECOND * 10, bandwidth(50, MS * 200))];
    // 100 packets a second are offered.
    let passed = arrivals_between(narrow(), false, 2_000, 10_000);
    assert!((398..=402).contains(&passed), "50 a second: {passed}");
    let world = run(pair(false), narrow(), SECOND * 20);
    let delay = |(at, number): (u64, u32)| at - u64::from(number) * 10;
    let delays: Vec<u64> = when(&world, 1, "")
        .into_iter()
        .zip(numbers(&world, 1))
        .filter(|(at, _)| (2_000..10_000).contains(at))
        .map(delay)
        .collect();
    // 10 ms of the link, up to 200 ms in the queue, 20 ms on the wire.
    assert!(delays.iter().all(|delay| (200..=231).contains(delay)), "{delays:?}");
    assert_eq!(arrivals_between(narrow(), false, 12_000, 14_000), 200, "free again");
}

#[test]
fn a_wide_link_drops_nothing_and_of_two_limits_the_narrower_holds() {
    let wide = vec![during(SECOND, SECOND * 10, bandwidth(1_000, MS * 200))];
    assert_eq!(arrivals_between(wide, false, 2_000, 10_000), 800);
    let both = vec![
        during(SECOND, SECOND * 4, bandwidth(25, MS * 200)),
        during(SECOND, SECOND * 10, bandwidth(50, MS * 200)),
    ];
    let narrower = arrivals_between(both.clone(), false, 2_000, 4_000);
    assert!((49..=51).contains(&narrower), "{narrower}");
    let then = arrivals_between(both, false, 7_000, 9_000);
    assert!((98..=102).contains(&then), "{then}");
}

#[test]
fn a_connection_over_a_narrow_link_loses_nothing() {
    let narrow = vec![during(SECOND, SECOND * 5, bandwidth(50, MS * 200))];
    let world = run(pair(true), narrow, SECOND * 60);
    let got = numbers(&world, 1);
    assert_eq!(got, (1..=got.len() as u32).collect::<Vec<_>>());
    assert!(got.len() > 5_980, "and catches up afterwards: {}", got.len());
}

#[test]
fn a_link_without_the_fault_is_as_before() {
    let specs = || vec![tells(1, MS * 10), Spec::default(), tells(3, MS * 10), Spec::default()];
    let (from, to) = sides();
    let chance = percent(30);
    let faults = vec![
        at(SECOND, Fault::Duplicate { from: from.clone(), to: to.clone(), chance }),
        at(SECOND, Fault::Reorder { from, to, chance, delay: MS * 30 }),
        at(SECOND, bandwidth(50, MS * 10)),
        at(SECOND, degrade(MS * 3, chance)),
    ];
    let with = run(specs(), faults, SECOND * 5);
    let without = run(specs(), vec![], SECOND * 5);
    assert_eq!(heard(&with, 3), heard(&without, 3));
    assert_ne!(heard(&with, 1), heard(&without, 1));
}
