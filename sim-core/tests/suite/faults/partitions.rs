//! Partitions of every shape: who hears whom while they last.

use sim_core::{Border, Direction, Dwell, Fault, Schedule, Seed, SimDuration, SimTime, Target};

use super::probe::{MS, SECOND, Spec, at, during, host, process, run, when, world_with_seed};

/// Everybody tells everybody something every 100 ms.
fn everybody(count: usize) -> Vec<Spec> {
    let tells = |index: usize| (0..count).filter(|peer| *peer != index).collect();
    (0..count).map(|index| Spec { tells: tells(index), every: Some(MS * 100), ..Spec::default() }).collect()
}

/// Who hears whom between the first and the second second of this fault, which ends after two: a row for each
/// listener, with an `x` for each speaker that it hears and a dash for itself. Before and after, everybody hears everybody.
fn hearing(count: usize, seed: u64, fault: Fault) -> Vec<String> {
    let mut world = world_with_seed(everybody(count), Seed(seed));
    world.schedule(&Schedule(vec![during(SECOND, SECOND * 2, fault)])).expect("the targets exist");
    world.run(SimTime::ZERO + SECOND * 4, u64::MAX);
    let hears = |listener: usize, speaker: usize, from: u64, until: u64| {
        let texts = super::probe::heard(&world, listener);
        let own = |(at, text): &(u64, String)| {
            (from..until).contains(at) && text.ends_with(&format!(" from {speaker}"))
        };
        texts.iter().any(own)
    };
    (0..count)
        .map(|listener| {
            let cell = |speaker: usize| {
                if speaker == listener {
                    return '-';
                }
                assert!(hears(listener, speaker, 0, 1_000), "before");
                assert!(hears(listener, speaker, 3_100, 4_000), "after");
                if hears(listener, speaker, 1_100, 3_000) { 'x' } else { '.' }
            };
            (0..count).map(cell).collect()
        })
        .collect()
}

#[test]
fn a_single_pair_is_a_partition_of_two() {
    let pair = |direction| Fault::Partition { from: vec![process(0)], to: vec![process(1)], direction };
    assert_eq!(hearing(3, 1, pair(Direction::Both)), ["-.x", ".-x", "xx-"]);
    assert_eq!(hearing(3, 1, pair(Direction::Outbound)), ["-xx", ".-x", "xx-"]);
    assert_eq!(hearing(3, 1, pair(Direction::Inbound)), ["-.x", "x-x", "xx-"]);
}

#[test]
fn an_isolated_process_hears_nobody_and_several_do_not_hear_each_other() {
    let isolate = |target, direction| Fault::Isolate { target, direction };
    let both = Direction::Both;
    assert_eq!(hearing(4, 1, isolate(host(1), both)), ["-.xx", ".-..", "x.-x", "x.x-"]);
    assert_eq!(hearing(4, 1, isolate(Target::Zone("z0".into()), both)), ["-...", ".-..", "..-x", "..x-"]);
    assert_eq!(hearing(3, 1, isolate(process(2), Direction::Outbound)), ["-x.", "x-.", "xx-"]);
    assert_eq!(hearing(3, 1, isolate(process(2), Direction::Inbound)), ["-xx", "x-x", "..-"]);
}

#[test]
fn a_bridge_is_the_only_way_between_two_halves() {
    let mut halves = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let bridge = Fault::Bridge { middle: vec![process(2)], among: vec![Target::Others] };
        let rows = hearing(5, seed, bridge);
        assert_eq!(rows[2], "xx-xx", "the one in the middle hears everybody");
        for row in rows.iter().enumerate().filter(|(index, _)| *index != 2).map(|(_, row)| row) {
            assert_eq!(row.chars().nth(2), Some('x'), "everybody hears it");
            assert_eq!(row.matches('x').count(), 2, "and one more, of the own half");
        }
        halves.insert(rows);
    }
    assert_eq!(halves.len(), 3, "each seed draws its halves: there are three ways to divide four");
}

#[test]
fn on_a_ring_everybody_hears_two_neighbours() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let rows = hearing(5, seed, Fault::Ring { among: vec![Target::Others] });
        for row in &rows {
            assert_eq!(row.matches('x').count(), 2);
        }
        orders.insert(rows);
    }
    assert_eq!(orders.len(), 12, "there are 4! / 2 rings of five");
}

#[test]
fn zones_and_regions_split_into_islands() {
    let split = |along| Fault::Split { along };
    assert_eq!(hearing(5, 1, split(Border::Zones)), ["-x...", "x-...", "..-x.", "..x-.", "....-"]);
    assert_eq!(hearing(5, 1, split(Border::Regions)), ["-xxx.", "x-xx.", "xx-x.", "xxx-.", "....-"]);
}

#[test]
fn shapes_that_cut_nothing_miss_visibly() {
    let ring = Fault::Ring { among: vec![Target::Others] };
    let bridge = Fault::Bridge { middle: vec![host(0)], among: vec![Target::Others] };
    let split = Fault::Split { along: Border::Regions };
    for (count, fault) in [(3, ring), (2, bridge), (4, split)] {
        let world = run(everybody(count), vec![during(SECOND, SECOND, fault)], SECOND * 3);
        assert!(world.delivered_faults()[0].processes.is_empty());
    }
}

#[test]
fn overlapping_partitions_end_in_any_order() {
    let cut = |target| Fault::Isolate { target, direction: Direction::Both };
    for lengths in [[SECOND * 3, SECOND], [SECOND, SECOND * 3]] {
        let faults = [cut(process(0)), Fault::Split { along: Border::Zones }];
        let faults =
            lengths.into_iter().zip(faults).map(|(lasts, fault)| during(SECOND, lasts, fault)).collect();
        let world = run(everybody(3), faults, SECOND * 6);
        // Both faults cut the third from the first; the gap is as long as the longer of them.
        let arrivals = when(&world, 2, "");
        let from_first: Vec<u64> = super::probe::heard(&world, 2)
            .into_iter()
            .filter(|(_, text)| text.ends_with("from 0"))
            .map(|(at, _)| at)
            .collect();
        let gap = from_first.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(matches!(gap, Some(3_000..=3_100)), "{gap:?} {}", arrivals.len());
    }
}

/// Runs a flapping partition between two processes and gives the lengths of silence at the second one.
fn silences(seed: u64, lasts: Option<SimDuration>) -> Vec<u64> {
    let dwell = |shortest, longest| Dwell { shortest, longest };
    let cut = Fault::Partition { from: vec![process(0)], to: vec![process(1)], direction: Direction::Both };
    let flap = Fault::Flap {
        fault: Box::new(cut),
        on: dwell(SECOND, SECOND * 3),
        off: dwell(SECOND * 2, SECOND * 4),
    };
    let mut world = world_with_seed(
        vec![Spec { tells: vec![1], every: Some(MS * 10), ..Spec::default() }, Spec::default()],
        Seed(seed),
    );
    let mut fault = at(SECOND, flap);
    fault.lasts = lasts;
    world.schedule(&Schedule(vec![fault])).expect("the targets exist");
    world.run(SimTime::ZERO + SECOND * 100, u64::MAX);
    let arrivals = when(&world, 1, "");
    assert!(arrivals.last() > Some(&95_000), "it never stays cut");
    let gaps = arrivals.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).filter(|(_, gap)| *gap > 20);
    let gaps: Vec<(u64, u64)> = gaps.collect();
    for pair in gaps.windows(2) {
        let calm = pair[1].0 - (pair[0].0 + pair[0].1);
        assert!((1_980..=4_020).contains(&calm), "open for its dwell time: {gaps:?}");
    }
    gaps.into_iter().map(|(_, gap)| gap).collect()
}

#[test]
fn a_flapping_partition_keeps_its_dwell_times_and_stops_with_the_fault() {
    let whole = silences(1, None);
    assert!((15..=35).contains(&whole.len()), "about one in five seconds: {whole:?}");
    assert!(whole.iter().all(|gap| (990..=3_020).contains(gap)), "cut for its dwell time: {whole:?}");
    assert!(whole.iter().max() > whole.iter().min(), "drawn anew each time");
    assert_ne!(whole, silences(2, None), "and for each seed");
    let short = silences(1, Some(SECOND * 20));
    assert!(short.len() < 8, "{short:?}");
    let longest_part = short.len() - 1;
    assert_eq!(short[..longest_part], whole[..longest_part], "the end changes no draw before it");
}

#[test]
fn any_lasting_fault_can_flap_and_no_other() {
    let dwell = Dwell { shortest: MS * 500, longest: MS * 500 };
    let flap = |fault| Fault::Flap { fault: Box::new(fault), on: dwell, off: dwell };
    let crash_loop = flap(Fault::Kill { target: process(0) });
    let world = run(vec![Spec::default()], vec![during(SECOND, MS * 2_200, crash_loop)], SECOND * 9);
    let started = super::probe::marked(&world, 0, sim_core::MarkKind::Started);
    assert_eq!(started, [0, 1_500, 2_500, 3_200], "the end of the fault starts it for good");
    let mut world = world_with_seed(vec![Spec::default()], Seed(1));
    for fault in [
        flap(Fault::Wipe { target: process(0), delay: SimDuration::ZERO }),
        flap(flap(Fault::Kill { target: process(0) })),
        Fault::Flap {
            fault: Box::new(Fault::Kill { target: process(0) }),
            on: Dwell { shortest: SimDuration::ZERO, longest: SECOND },
            off: dwell,
        },
    ] {
        world.schedule(&Schedule(vec![at(SECOND, fault)])).unwrap_err();
    }
}
