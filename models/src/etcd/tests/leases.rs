//! Leases: how long they live, who keeps them alive, and what becomes of them when the leader changes.

use super::*;

/// Measured on etcd 3.4.23 (140 leases of 5 to 30 s): late by 0.05 s (10th percentile), 0.23 to 0.28 s (median), 0.45 to
/// 0.49 s (90th percentile).
#[test]
fn leases_expire_up_to_half_a_second_late() {
    let mut late: Vec<f64> = (0..200)
        .map(|seed| {
            let start = 4_000 + seed * 7;
            let script = vec![(3_000, watch("k", 0)), (start, grant(5)), (start + 20, put("k", "v", OWN))];
            let mut world = cluster(seed, true, &[(seed as usize % 3, script)]);
            run(&mut world, start + 6_500);
            let granted = responses(&world, 0)[1].0;
            deleted_at(&world, 0).expect("the lease expired") - granted - 5.0
        })
        .collect();
    let p50 = median(&mut late);
    assert!(late[0] > -0.001 && late[199] < 0.51, "{late:?}");
    assert!((late[20] - 0.05).abs() < 0.03, "p10 {}", late[20]);
    assert!((p50 - 0.255).abs() < 0.05, "p50 {p50}");
    assert!((late[180] - 0.47).abs() < 0.04, "p90 {}", late[180]);
}

#[test]
fn leases_are_kept_alive_through_any_member() {
    for member in 0..3 {
        let mut script = vec![(3_000, watch("k", 0)), (4_000, grant(3)), (4_100, put("k", "v", OWN))];
        script.extend((0..5).map(|n| (6_000 + n * 2_000, KEEP_ALIVE)));
        let mut world = cluster(7, true, &[(member, script)]);
        run(&mut world, 20_000);
        let kept = responses(&world, 0)
            .iter()
            .filter(|(_, _, response)| {
                response.result == Ok(Answer::KeptAlive { ttl: Some(SimDuration::from_secs(3)) })
            })
            .count();
        assert_eq!(kept, 5);
        // The last keep-alive was at 14 s.
        let gone = deleted_at(&world, 0).unwrap();
        assert!((17.0..17.6).contains(&gone), "{gone}");
    }
}

#[test]
fn a_new_leader_gives_leases_their_whole_time_and_an_election_timeout() {
    for seed in 0..10 {
        let script =
            |start| vec![(3_000, watch("k", 0)), (start, grant(10)), (start + 50, put("k", "v", OWN))];
        let scripts = [(0, script(4_000)), (1, script(4_000)), (2, script(4_000))];
        let mut world = cluster(seed, true, &scripts);
        let kill = Fault::Kill { target: Target::Role("etcd-leader".into()) };
        fault(&mut world, 10_000, kill, None);
        run(&mut world, 9_999);
        let old = leader(&world);
        while (0..3).filter(|index| *index != old).all(|index| !server(&world, index).is_leader()) {
            assert!(world.step());
        }
        let elected = world.now().as_secs_f64();
        run(&mut world, 30_000);
        let client = (old + 1) % 3;
        let gone = deleted_at(&world, client).unwrap();
        let late = gone - elected - 11.0;
        assert!((0.0..0.53).contains(&late), "seed {seed}: late by {late}");
    }
}

#[test]
fn leases_outlive_the_loss_of_the_quorum() {
    let script = vec![(3_000, watch("k", 0)), (4_000, grant(5)), (4_100, put("k", "v", OWN))];
    let mut world = cluster(3, true, &[(0, script)]);
    for other in ["etcd-1", "etcd-2"] {
        let off = Fault::PowerOff { target: Target::Process(other.into()) };
        fault(&mut world, 5_000, off, Some(60_000));
    }
    run(&mut world, 65_000);
    assert_eq!(deleted_at(&world, 0), None, "nobody counts down without a leader");
    assert_eq!(server(&world, 0).store().range("k").count(), 1);
    run(&mut world, 80_000);
    let gone = deleted_at(&world, 0).unwrap();
    assert!(gone > 72.0, "a whole time to live again: {gone}");
}
/// A paused leader that comes back does not renew a lease that its successor has revoked.
#[test]
fn a_deposed_leader_does_not_renew_after_a_pause() {
    for seed in 0..10 {
        let mut world = cluster(
            seed,
            true,
            &[0, 1, 2].map(|member| {
                (member, vec![(4_000, grant(3)), (4_100, put("k", "v", OWN)), (12_000, KEEP_ALIVE)])
            }),
        );
        let pause = Fault::Pause { target: Target::Role("etcd-leader".into()) };
        fault(&mut world, 5_000, pause, Some(15_000));
        run(&mut world, 4_900);
        let paused = leader(&world);
        run(&mut world, 30_000);
        let answer = &responses(&world, paused)[2].2.result;
        assert!(!matches!(answer, Ok(Answer::KeptAlive { ttl: Some(_) })), "seed {seed}: {answer:?}");
    }
}
