use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use models::postgres::MemberId;
use sim_core::{Seed, SimDuration, Trigger};

use super::*;

const GOOD: &str = r#"name = "patroni/primary-host-crash/async"
summary = "The host of the primary loses power."
family = "patroni"
promises = ["loss-is-found", { recovers-within = "60s" }]
horizon = "3m"

[cluster]
etcd = 3
patroni_yml = "p.yml"

[cluster.patroni]
ttl = 20
watchdog.mode = "required"
"postgresql.use_pg_rewind" = true

[[fault]]
trigger = { at = "30s..40s" }
fault = { power-off = { target = { host-of = "primary" } } }
lasts = "1m"
"#;

pub(super) fn read(text: &str) -> Result<Scenario, UserError> {
    let files: BTreeMap<String, String> =
        [("p.yml".to_owned(), "bootstrap:\n  dcs:\n    ttl: 50\n".to_owned())].into();
    Scenario::read(&Source::new("scenario.toml", text), &files)
}

/// Replaces a part of the good file and shows the error.
#[track_caller]
fn check(part: &str, replacement: &str, expected: &Expect) {
    assert!(GOOD.contains(part), "the file does not contain {part}");
    let error = read(&GOOD.replacen(part, replacement, 1)).unwrap_err();
    // expect-test removes indentation that all lines share; a first line without any keeps it.
    expected.assert_eq(&format!("error\n{}", error.report(false)));
}

#[test]
fn a_good_file_gives_a_scenario() {
    let scenario = read(GOOD).unwrap();
    assert_eq!(scenario.family(), "patroni");
    assert_eq!(
        scenario.promises,
        [Promise::LossIsFound, Promise::RecoversWithin(SimDuration::from_secs(60))]
    );
    assert_eq!(scenario.cluster.members, 3);
    let mut settings = scenario.cluster.file.clone().unwrap().settings;
    settings.overlay(&scenario.cluster.settings);
    let (configuration, _) = settings.configuration().unwrap();
    assert_eq!(configuration.ttl, SimDuration::from_secs(20));
    assert!(configuration.use_pg_rewind);
}

#[test]
fn tags_of_single_members_go_over_those_of_the_settings() {
    use models::patroni::{FailoverPriority, Tags};
    let with = |tags: &str| read(&GOOD.replace("[cluster.patroni]", &format!("{tags}\n[cluster.patroni]")));
    let scenario =
        with("[cluster.member_tags]\npatroni-2 = { failover_priority = 3, replicatefrom = \"patroni-1\" }\n")
            .unwrap();
    let below = Tags { nosync: true, ..Tags::default() };
    let expected = Tags {
        nosync: true,
        failover_priority: FailoverPriority(3),
        replicatefrom: Some(MemberId(0)),
        ..Tags::default()
    };
    assert_eq!(scenario.cluster.member_tags[&1].over(below), expected);
    for wrong in ["patroni-4 = { nosync = true }", "patroni-1 = { replicatefrom = \"patroni-9\" }"] {
        let error = with(&format!("[cluster.member_tags]\n{wrong}\n")).unwrap_err();
        assert!(error.report(false).contains("is not a member of the cluster"), "{}", error.report(false));
    }
}

/// A group of four servers with these lines about who follows whom.
fn chains(family: &str, lines: &str) -> Result<Scenario, UserError> {
    let head = format!(
        "name = \"{family}/chain/async\"\nsummary = \"A chain.\"\nfamily = \"{family}\"\npromises = [\"loss-is-found\"]\n\
         horizon = \"60s\"\n"
    );
    let members = "\n[cluster]\nmembers = 4\n\n[cluster.replicaof]\n";
    Scenario::read(&Source::new("scenario.toml", format!("{head}{members}{lines}")), &BTreeMap::new())
}

#[test]
fn servers_of_redis_follow_each_other_in_chains() {
    let scenario =
        chains("sentinel", "redis-4 = \"redis-3\"\nredis-3 = \"redis-2\"\nredis-2 = \"redis-1\"\n").unwrap();
    let expected: BTreeMap<u8, u8> = [(3, 2), (2, 1), (1, 0)].into();
    assert_eq!(scenario.cluster.redis.replicaof, expected);
}

#[test]
fn a_chain_that_leads_to_no_primary_is_refused() {
    let report = |lines: &str| chains("sentinel", lines).unwrap_err().report(false);
    // expect-test removes indentation that all lines share; a first line without any keeps it.
    expect![[r#"
        error
          × scenario.toml:11:11: `redis-9` is not a server of the group
            ╭─[scenario.toml:11:11]
         10 │ [cluster.replicaof]
         11 │ redis-3 = "redis-9"
            ·           ────┬────
            ·               ╰── expected redis-1 to redis-4
            ╰────
    "#]]
    .assert_eq(&format!("error\n{}", report("redis-3 = \"redis-9\"\n")));
    for (lines, told) in [
        (
            "redis-5 = \"redis-1\"\n",
            ["11:1: `redis-5` is not a server of the group", "expected redis-1 to redis-4"],
        ),
        (
            "redis-0 = \"redis-1\"\n",
            ["11:1: `redis-0` is not a server of the group", "expected redis-1 to redis-4"],
        ),
        ("patroni-2 = \"redis-1\"\n", ["11:1: `patroni-2` is not a server", "expected redis-1 to redis-4"]),
        ("redis-1 = \"redis-2\"\n", ["11:1: `redis-1` is the first primary", "expected redis-2 to redis-4"]),
        ("redis-2 = \"redis-2\"\n", ["11:11: `redis-2` cannot follow itself", "expected another server"]),
        (
            "redis-2 = \"redis-3\"\nredis-3 = \"redis-2\"\n",
            ["11:11: behind `redis-3` there is a circle", "expected a server that follows redis-1"],
        ),
        (
            "redis-2 = \"redis-3\"\nredis-3 = \"redis-4\"\nredis-4 = \"redis-3\"\n",
            ["11:11: behind `redis-3` there is a circle", "expected a server that follows redis-1"],
        ),
    ] {
        let report = report(lines);
        assert!(told.iter().all(|part| report.contains(part)), "{lines}: {report}");
    }
    let elsewhere = chains("cluster", "redis-3 = \"redis-2\"\n").unwrap_err().report(false);
    assert!(elsewhere.contains("`cluster.replicaof` has no meaning in the family `cluster`"), "{elsewhere}");
}

#[test]
fn a_namesake_has_the_name_of_a_member() {
    let with = |name: &str| read(&GOOD.replace("etcd = 3", &format!("etcd = 3\nnamesake = \"{name}\"")));
    assert_eq!(with("patroni-2").unwrap().cluster.namesake, Some(1));
    let error = with("patroni-4").unwrap_err();
    assert!(error.report(false).contains("is not a member of the cluster"), "{}", error.report(false));
}

#[test]
fn each_seed_draws_its_own_times_and_always_the_same() {
    let scenario = read(GOOD).unwrap();
    let at = |seed| match scenario.schedule(Seed(seed)).0[0].trigger {
        Trigger::At(at) => at,
        _ => unreachable!(),
    };
    assert_eq!(at(1), at(1));
    assert_ne!(at(1), at(2));
    for seed in 0..100 {
        assert!((SimDuration::from_secs(30)..=SimDuration::from_secs(40)).contains(&at(seed)));
    }
}

#[test]
fn the_place_of_a_fault_is_kept() {
    let spot = read(GOOD).unwrap().fault_spot(0).unwrap();
    assert_eq!(&GOOD[spot.span.clone()], "{ power-off = { target = { host-of = \"primary\" } } }");
    assert_eq!(spot.to_string(), "scenario.toml:18:9");
}

#[test]
fn misspelt_keys_get_a_suggestion() {
    check(
        "horizon",
        "horizn",
        &expect![[r#"
            error
              × scenario.toml:5:1: unknown field `horizn`, expected one of `name`, `summary`, `family`, `core`,
              │ `promises`, `horizon`, `warmup`, `event_budget`, `cluster`, `workload`, `lock`, `fault`, `swarm`,
              │ `coverage`
               ╭─[scenario.toml:5:1]
             4 │ promises = ["loss-is-found", { recovers-within = "60s" }]
             5 │ horizn = "3m"
               · ───┬──
               ·    ╰── not known here
             6 │ 
               ╰────
              help: did you mean `horizon`?
        "#]],
    );
    check(
        "etcd = 3",
        "etdc = 3",
        &expect![[r#"
            error
              × scenario.toml:8:1: unknown field `etdc`, expected one of `members`, `etcd`, `etcd_hosts`, `topology`,
              │ `watchdog_device`, `round_trips`, `tcp_syn_linear_timeouts`, `patroni_yml`, `patroni`, `pre_promote`,
              │ `member_tags`, `sentinels`, `groups`, `sentinel_hosts`, `sentinel_containers`, `replicaof`, `election`,
              │ `sentinel_conf`, `redis_conf`, `sentinel`, `redis`, `shards`, `hosts`, `dataset_bytes`,
              │ `fork_per_gigabyte`, `archive`, `namesake`, `backup`, `redis_required`, `operator`
               ╭─[scenario.toml:8:1]
             7 │ [cluster]
             8 │ etdc = 3
               · ──┬─
               ·   ╰── not known here
             9 │ patroni_yml = "p.yml"
               ╰────
              help: did you mean `etcd`?
        "#]],
    );
    check(
        "ttl = 20",
        "tll = 20",
        &expect![[r#"
            error
              × scenario.toml:12:1: `tll` is not a setting of Patroni that hasim models
                ╭─[scenario.toml:12:1]
             11 │ [cluster.patroni]
             12 │ tll = 20
                · ─┬─
                ·  ╰── no such setting
             13 │ watchdog.mode = "required"
                ╰────
              help: did you mean `ttl`?
        "#]],
    );
    check(
        "power-off",
        "poweroff",
        &expect![[r#"
            error
              × scenario.toml:18:11: unknown variant `poweroff`, expected one of `kill`, `restart`, `wipe`, `slow`,
              │ `power-off`, `pause`, `freeze`, `partition`, `bridge`, `ring`, `isolate`, `split`, `flap`, `degrade`,
              │ `latency`, `duplicate`, `reorder`, `bandwidth`, `connection-reset`, `half-open`, `hang-on-connect`,
              │ `disk-stall`, `disk-slow`, `disk-error`, `disk-full`, `disk-torn-write`, `disk-lies`, `disk-misdirected-
              │ write`, `disk-corruption`, `clock-step`, `clock-offset`, `clock-drift`, `command`
                ╭─[scenario.toml:18:11]
             17 │ trigger = { at = "30s..40s" }
             18 │ fault = { poweroff = { target = { host-of = "primary" } } }
                ·           ────┬───
                ·               ╰── not known here
             19 │ lasts = "1m"
                ╰────
              help: did you mean `power-off`?
        "#]],
    );
    check(
        "host-of = \"primary\"",
        "host-of = \"primry\"",
        &expect![[r#"
            error
              × scenario.toml:18:9: nobody ever plays the role `primry`
                ╭─[scenario.toml:18:9]
             17 │ trigger = { at = "30s..40s" }
             18 │ fault = { power-off = { target = { host-of = "primry" } } }
                ·         ─────────────────────────┬─────────────────────────
                ·                                  ╰── expected one of: primary, standby, streaming-standby, postgres, patroni-leader, patroni-replica, patroni, sync-standby, etcd-leader, etcd-follower, etcd, api-server, client, haproxy, pgbouncer, confd, name-server, kube-proxy, repository, operator
             19 │ lasts = "1m"
                ╰────
              help: did you mean `primary`?
        "#]],
    );
    check(
        "loss-is-found",
        "loss-found",
        &expect![[r#"
            error
              × scenario.toml:4:13: unknown variant `loss-found`, expected one of `no-acknowledged-write-lost`, `at-
              │ most-one-writable-primary`, `no-long-fork`, `no-stale-read`, `loses-at-most`, `recovers-within`,
              │ `converges-within`, `loss-is-found`, `loss-span-is-found`, `overlap-is-found`, `long-fork-is-found`,
              │ `stale-read-is-found`, `shared-epoch-is-found`, `divergence-is-found`, `outage-is-found`
               ╭─[scenario.toml:4:13]
             3 │ family = "patroni"
             4 │ promises = ["loss-found", { recovers-within = "60s" }]
               ·             ──────┬─────
               ·                   ╰── not known here
             5 │ horizon = "3m"
               ╰────
              help: did you mean `loss-is-found`?
        "#]],
    );
}

#[test]
fn proxies_and_confd_never_check_without_a_pause() {
    check(
        "[[fault]]",
        "[workload]\nhaproxy = { inter = \"0s\" }\n\n[[fault]]",
        &expect![[r#"
        error
          × scenario.toml:17:11: `inter` cannot be zero
            ╭─[scenario.toml:17:11]
         16 │ [workload]
         17 │ haproxy = { inter = "0s" }
            ·           ────────┬───────
            ·                   ╰── expected a time above 0
         18 │ 
            ╰────
    "#]],
    );
    check(
        "[[fault]]",
        "[workload]\npgbouncer = { confd_interval = \"0s\" }\n\n[[fault]]",
        &expect![[r#"
        error
          × scenario.toml:17:13: `confd_interval` cannot be zero
            ╭─[scenario.toml:17:13]
         16 │ [workload]
         17 │ pgbouncer = { confd_interval = "0s" }
            ·             ────────────┬────────────
            ·                         ╰── expected a time above 0
         18 │ 
            ╰────
    "#]],
    );
}

#[test]
fn values_that_make_no_sense_are_refused() {
    check(
        "etcd = 3",
        "etcd = 0",
        &expect![[r#"
            error
              × scenario.toml:8:8: etcd needs at least 1 member: a quorum of zero decides nothing
               ╭─[scenario.toml:8:8]
             7 │ [cluster]
             8 │ etcd = 0
               ·        ┬
               ·        ╰── expected 1 to 9, best an odd number
             9 │ patroni_yml = "p.yml"
               ╰────
        "#]],
    );
    check(
        "etcd = 3",
        "members = 0",
        &expect![[r#"
            error
              × scenario.toml:8:11: a cluster needs at least 1 member
               ╭─[scenario.toml:8:11]
             7 │ [cluster]
             8 │ members = 0
               ·           ┬
               ·           ╰── expected 1 to 15
             9 │ patroni_yml = "p.yml"
               ╰────
        "#]],
    );
    check(
        "\"3m\"",
        "180",
        &expect![[r#"
            error
              × scenario.toml:5:11: invalid type: integer `180`, expected a duration with its unit, such as "150ms",
              │ "1.5s" or "2m 30s"
               ╭─[scenario.toml:5:11]
             4 │ promises = ["loss-is-found", { recovers-within = "60s" }]
             5 │ horizon = 180
               ·           ─┬─
               ·            ╰── here
             6 │ 
               ╰────
        "#]],
    );
    check(
        "\"3m\"",
        "\"10s\"",
        &expect![[r#"
            error
              × scenario.toml:5:11: a horizon of 10s leaves nothing after the warm-up of 20s
               ╭─[scenario.toml:5:11]
             4 │ promises = ["loss-is-found", { recovers-within = "60s" }]
             5 │ horizon = "10s"
               ·           ──┬──
               ·             ╰── expected more than 20s
             6 │ 
               ╰────
        "#]],
    );
    check(
        "30s..40s",
        "40s..30s",
        &expect![[r#"
            error
              × scenario.toml:17:18: `40s..30s` ends before it begins: write `30s..40s`
                ╭─[scenario.toml:17:18]
             16 │ [[fault]]
             17 │ trigger = { at = "40s..30s" }
                ·                  ─────┬────
                ·                       ╰── here
             18 │ fault = { power-off = { target = { host-of = "primary" } } }
                ╰────
        "#]],
    );
    check(
        "30s..40s",
        "30s..4m",
        &expect![[r#"
            error
              × scenario.toml:17:11: a fault at 30s..4m fires after the end of the run
                ╭─[scenario.toml:17:11]
             16 │ [[fault]]
             17 │ trigger = { at = "30s..4m" }
                ·           ─────────┬────────
                ·                    ╰── expected a time before the horizon of 3m
             18 │ fault = { power-off = { target = { host-of = "primary" } } }
                ╰────
        "#]],
    );
    check(
        "lasts = \"1m\"",
        "lasts = \"0s\"",
        &expect![[r#"
            error
              × scenario.toml:19:9: a fault that lasts no time does nothing
                ╭─[scenario.toml:19:9]
             18 │ fault = { power-off = { target = { host-of = "primary" } } }
             19 │ lasts = "0s"
                ·         ──┬─
                ·           ╰── expected more than zero; leave `lasts` out for a fault that stays
                ╰────
        "#]],
    );
    check(
        "host-of = \"primary\"",
        "same-as = 0",
        &expect![[r#"
            error
              × scenario.toml:18:9: fault 0 refers to fault 0, which does not come before it
                ╭─[scenario.toml:18:9]
             17 │ trigger = { at = "30s..40s" }
             18 │ fault = { power-off = { target = { same-as = 0 } } }
                ·         ──────────────────────┬─────────────────────
                ·                               ╰── faults count from 0, in the order of the file
             19 │ lasts = "1m"
                ╰────
        "#]],
    );
    check(
        "\"loss-is-found\"",
        "\"loss-is-found\", \"no-acknowledged-write-lost\"",
        &expect![[r#"
            error
              × scenario.toml:4:13: `no-acknowledged-write-lost` and `loss-is-found` cannot both hold
               ╭─[scenario.toml:4:13]
             3 │ family = "patroni"
             4 │ promises = ["loss-is-found", "no-acknowledged-write-lost", { recovers-within = "60s" }]
               ·             ───────┬───────
               ·                    ╰── leave one of them out
             5 │ horizon = "3m"
               ╰────
        "#]],
    );
    check(
        "patroni/primary-host-crash/async",
        "primary-host-crash",
        &expect![[r#"
            error
              × scenario.toml:1:8: `primary-host-crash` is not the name of a scenario
               ╭─[scenario.toml:1:8]
             1 │ name = "primary-host-crash"
               ·        ──────────┬─────────
               ·                  ╰── expected `patroni/situation` or `patroni/situation/variant` in kebab case
             2 │ summary = "The host of the primary loses power."
               ╰────
        "#]],
    );
    check(
        "p.yml",
        "q.yml",
        &expect![[r#"
            error
              × scenario.toml:9:15: cannot read `q.yml`: there is no file of this name
                ╭─[scenario.toml:9:15]
              8 │ etcd = 3
              9 │ patroni_yml = "q.yml"
                ·               ───┬───
                ·                  ╰── named here
             10 │ 
                ╰────
              help: the name is relative to the scenario file
        "#]],
    );
}
