use expect_test::{Expect, expect};
use models::patroni::{Configuration, EtcdApi, KubernetesSettings, SynchronousMode, WatchdogMode};
use sim_core::SimDuration;

use super::*;

fn read(text: &str) -> (Configuration, String, Option<usize>) {
    let file = read_patroni_yml(&Source::new("patroni.yml", text)).unwrap();
    let (configuration, remarks) = file.settings.configuration().unwrap();
    let lines: Vec<String> = file.remarks.iter().chain(&remarks).map(ToString::to_string).collect();
    (configuration, lines.join("\n"), file.etcd_members)
}

#[track_caller]
fn check_remarks(text: &str, expected: &Expect) {
    expected.assert_eq(&read(text).1);
}

#[track_caller]
fn check_error(text: &str, expected: &Expect) {
    let error = read_patroni_yml(&Source::new("patroni.yml", text)).unwrap_err();
    // expect-test removes indentation that all lines share; a first line without any keeps it.
    expected.assert_eq(&format!("error\n{}", error.report(false)));
}

#[test]
fn a_published_file_loads_as_it_stands() {
    let text = include_str!("../../../catalogue/patroni/seed-003.patroni.yml");
    let (configuration, remarks, etcd_members) = read(text);
    assert_eq!(etcd_members, Some(3));
    assert_eq!(
        configuration,
        Configuration {
            scope: "agentic-platform".to_owned(),
            etcd_api: EtcdApi::V2,
            synchronous_mode: SynchronousMode::On,
            wal_keep_size: 1 << 30,
            ..Configuration::default()
        }
    );
    assert!(!remarks.contains("warning"), "{remarks}");
    assert!(remarks.contains("postgresql.data_dir"), "{remarks}");
}

#[test]
fn a_backoff_that_the_release_does_not_know_is_told() {
    let (configuration, remarks, _) = read("bootstrap:\n  dcs:\n    primary_race_backoff: 60\n");
    assert_eq!(configuration.primary_race_backoff, SimDuration::from_secs(60));
    assert!(remarks.contains("Patroni 4.1.5 does not know `primary_race_backoff`"), "{remarks}");
}

#[test]
fn every_modelled_key_reaches_the_configuration() {
    let (configuration, remarks, members) = read(
        "scope: s\nbootstrap:\n  dcs:\n    ttl: 40\n    loop_wait: 5\n    retry_timeout: '6'\n    \
             maximum_lag_on_failover: 7\n    check_timeline: on\n    master_start_timeout: 8\n    \
             primary_stop_timeout: 9\n    synchronous_mode: 'yes'\n    synchronous_mode_strict: yes\n    \
             synchronous_node_count: 2\n    maximum_lag_on_syncnode: 10\n    failsafe_mode: on\n    postgresql:\n      use_pg_rewind: true\n      \
             parameters:\n        synchronous_commit: local\npostgresql:\n  remove_data_directory_on_diverged_timelines: true\n  \
             parameters:\n    synchronous_commit: remote_apply\nwatchdog:\n  mode: required\n  safety_margin: -1\n\
             tags:\n  nosync: true\n  noloadbalance: true\netcd3:\n  hosts: [a:1, b:1]\n",
    );
    let expected = Configuration {
        scope: "s".to_owned(),
        ttl: SimDuration::from_secs(40),
        loop_wait: SimDuration::from_secs(5),
        retry_timeout: SimDuration::from_secs(6),
        maximum_lag_on_failover: 7,
        check_timeline: true,
        primary_start_timeout: SimDuration::from_secs(8),
        primary_stop_timeout: SimDuration::from_secs(9),
        synchronous_mode: SynchronousMode::On,
        synchronous_mode_strict: true,
        synchronous_node_count: 2,
        maximum_lag_on_syncnode: Some(10),
        use_pg_rewind: true,
        remove_data_directory_on_diverged_timelines: true,
        synchronous_commit: models::postgres::SynchronousCommit::RemoteApply,
        watchdog: models::patroni::Watchdog {
            mode: WatchdogMode::Required,
            safety_margin: None,
            device_present: false,
        },
        tags: models::patroni::Tags { nosync: true, noloadbalance: true, ..models::patroni::Tags::default() },
        failsafe_mode: true,
        ..Configuration::default()
    };
    assert_eq!(configuration, expected, "{remarks}");
    assert_eq!(members, Some(2));
}

#[test]
fn a_store_that_is_not_modelled_is_warned_of() {
    for store in OTHER_STORES {
        let (_, remarks, _) = read(&format!("scope: a\n{store}:\n  host: 127.0.0.1\n"));
        let expected = format!("patroni.yml:2:1: warning: the store `{store}` is not modelled");
        assert!(remarks.starts_with(&expected), "{remarks}");
    }
}

#[test]
fn a_standby_cluster_is_warned_of_and_none_is_not() {
    let of = |value: &str| read(&format!("bootstrap:\n  dcs:\n    standby_cluster: {value}\n")).1;
    let expected = "patroni.yml:3:5: warning: a standby cluster is not modelled: the cluster follows no other here, \
                        and accepts writes";
    assert_eq!(of("{host: 10.0.0.1}"), expected);
    assert_eq!(of("null"), "");
}

#[test]
fn quorum_commit_is_read_and_a_version_is_no_key_of_patroni() {
    let (configuration, remarks, _) =
        read("version: 3.0.0\nbootstrap:\n  dcs:\n    synchronous_mode: Quorum\n");
    assert_eq!(configuration.synchronous_mode, SynchronousMode::Quorum);
    assert_eq!(configuration.version, models::patroni::MODELLED);
    assert!(remarks.contains("no key `version`"), "{remarks}");
}

#[test]
fn slots_are_read_with_units_and_within_their_ranges() {
    let read = |dcs: &str| {
        let (configuration, remarks, _) = read(&format!("bootstrap:\n  dcs:\n{dcs}"));
        (configuration.member_slots_ttl.as_secs_f64(), configuration.wal_keep_size >> 20, remarks)
    };
    let keep = |size: &str| format!("    postgresql:\n      parameters:\n        wal_keep_size: {size}\n");
    assert_eq!(read(""), (1_800.0, 128, String::new()));
    assert_eq!(read("    member_slots_ttl: 1h\n"), (3_600.0, 128, String::new()));
    assert_eq!(read("    member_slots_ttl: 0\n"), (0.0, 128, String::new()));
    assert_eq!(read(&keep("1GB")), (1_800.0, 1_024, String::new()));
    assert_eq!(read(&keep("2048")), (1_800.0, 2_048, String::new()));
    let (ttl, _, remarks) = read("    member_slots_ttl: soon\n");
    assert!(ttl > 1_799.0 && remarks.contains("Patroni uses its default, 1800"), "{remarks}");
    let (_, size, remarks) = read(&keep("8MB"));
    assert!(size == 128 && remarks.contains("at least 16 MB"), "{remarks}");
    let off = "bootstrap:\n  dcs:\n    postgresql:\n      use_slots: off\n";
    assert!(!self::read(off).0.use_slots);
}

/// The order is that of `get_dcs`: by the names of the modules.
#[test]
fn the_first_section_of_a_store_chooses_it() {
    let store = |text: &str| {
        let (configuration, remarks, members) = read(text);
        (configuration.etcd_api, configuration.kubernetes.is_some(), members, remarks)
    };
    let of = |sections: &[&str]| {
        let (api, on_kubernetes, members, _) = store(&sections.join("\n"));
        (api, on_kubernetes, members)
    };
    let (etcd, etcd3) = ("etcd: {hosts: 'a:1,b:1'}", "etcd3: {hosts: [a:1, b:1, c:1, d:1, e:1]}");
    let kubernetes = "kubernetes: {use_endpoints: true}";
    assert_eq!(of(&["scope: a"]), (EtcdApi::V3, false, None));
    assert_eq!(of(&[etcd]), (EtcdApi::V2, false, Some(2)));
    assert_eq!(of(&[etcd3]), (EtcdApi::V3, false, Some(5)));
    assert_eq!(of(&[kubernetes]), (EtcdApi::V3, true, None));
    assert_eq!(of(&[etcd3, etcd]), (EtcdApi::V2, false, Some(2)));
    assert_eq!(of(&[kubernetes, etcd]), (EtcdApi::V2, false, Some(2)));
    assert_eq!(of(&[kubernetes, etcd3]), (EtcdApi::V3, false, Some(5)));
    check_remarks(
        &format!("{kubernetes}\n{etcd3}\n{etcd}\n"),
        &expect![[r#"
            patroni.yml:1:1: warning: Patroni takes the store of the section `etcd`: `kubernetes` has no effect
            patroni.yml:2:1: warning: Patroni takes the store of the section `etcd`: `etcd3` has no effect"#]],
    );
}

#[test]
fn api_version_2_of_etcd_has_releases_of_its_own() {
    let configuration = |flags: &[&str]| {
        let mut settings = Settings::default();
        for flag in flags {
            settings.overlay(&super::super::setting_from_flag(flag).unwrap());
        }
        settings.configuration().map(|(configuration, _)| configuration.version.to_string())
    };
    assert_eq!(configuration(&["etcd.api_version=2", "version=1.1.0"]).unwrap(), "1.1.0");
    assert!(configuration(&["etcd.api_version=2", "version=1.0.0"]).is_err());
    assert!(configuration(&["etcd.api_version=3", "version=1.1.0"]).is_err());
    assert!(configuration(&["etcd.api_version=4"]).is_err());
    assert!(configuration(&["etcd.api_version=2", "etcd.version=3.5.23"]).is_ok());
    let error = configuration(&["etcd.api_version=2", "etcd.version=3.6.5"]).unwrap_err();
    assert!(error.report(false).contains("etcd 3.6.5 does not speak API version 2"));
}

#[test]
fn a_section_kubernetes_chooses_the_store_and_its_own_oldest_release() {
    let read = |text: &str| read(text).0.kubernetes;
    assert_eq!(read("kubernetes:\n  labels: {application: patroni}\n"), Some(KubernetesSettings::default()));
    let expected = KubernetesSettings {
        use_endpoints: true,
        bypass_api_service: true,
        retriable_http_codes: vec![401, 429],
    };
    for codes in ["[401, 429]", "401, 429"] {
        let text = format!(
            "kubernetes:\n  use_endpoints: on\n  bypass_api_service: true\n  retriable_http_codes: {codes}\n"
        );
        assert_eq!(read(&text), Some(expected.clone()));
    }
    assert_eq!(read("etcd3:\n  hosts: [a:1]\n"), None);
    check_remarks(
        "kubernetes:\n  use_endpoint: true\n  namespace: db\n",
        &expect![[r#"
                patroni.yml:2:3: warning: Patroni knows no key `use_endpoint` below `kubernetes`: it has no effect; did you mean `use_endpoints`?
                patroni.yml:3:3: note: not modelled, and left out: `kubernetes.namespace` (line 3)"#]],
    );
    check_error(
        "kubernetes:\n  retriable_http_codes: often\n",
        &expect![[r#"
                error
                  × patroni.yml:2:25: `kubernetes.retriable_http_codes` is `often`, not a list of HTTP statuses
                   ╭─[patroni.yml:2:25]
                 1 │ kubernetes:
                 2 │   retriable_http_codes: often
                   ·                         ──┬──
                   ·                           ╰── expected numbers from 100 to 599
                   ╰────
                  help: Patroni warns and uses none of them; write them as `[429, 502]`
            "#]],
    );
    let mut settings = Settings::default();
    for flag in ["kubernetes.use_endpoints=true", "version=1.6.5"] {
        settings.overlay(&super::super::setting_from_flag(flag).unwrap());
    }
    assert_eq!(settings.configuration().unwrap().0.version.to_string(), "1.6.5");
}

#[test]
fn an_older_release_is_chosen_by_its_number() {
    let chosen = |flags: &[&str]| {
        let mut settings = Settings::default();
        for flag in flags {
            settings.overlay(&super::super::setting_from_flag(flag)?);
        }
        settings.configuration().map(|(configuration, _)| configuration.version.to_string())
    };
    assert_eq!(chosen(&["version=3.0.2"]).unwrap(), "3.0.2");
    assert_eq!(chosen(&[]).unwrap(), "4.1.5");
    for refused in
        [&["version=latest"][..], &["version=1.6.5"], &["version=3.3.0", "synchronous_mode=quorum"]]
    {
        assert!(chosen(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn what_patroni_adjusts_is_said_with_its_place() {
    check_remarks(
        "bootstrap:\n  dcs:\n    ttl: 5\n",
        &expect![[r#"
            patroni.yml:3:10: warning: `ttl` is 5 s; Patroni raises it to 20 s, the least it accepts
            patroni.yml:3:10: warning: `loop_wait` + 2 * `retry_timeout` is 10 s + 2 * 10 s, more than the `ttl` of 20 s; Patroni lowers `loop_wait` from 10 s to 1 s
            patroni.yml:3:10: warning: `loop_wait` + 2 * `retry_timeout` is 10 s + 2 * 10 s, more than the `ttl` of 20 s; Patroni lowers `retry_timeout` from 10 s to 9 s"#]],
    );
    check_remarks(
        "bootstrap:\n  dcs:\n    retry_timeout: 12\n",
        &expect![
            "patroni.yml:3:20: warning: `loop_wait` + 2 * `retry_timeout` is 10 s + 2 * 12 s, more than the `ttl` of 30 s; Patroni lowers `loop_wait` from 10 s to 6 s"
        ],
    );
}

#[test]
fn keys_without_effect_are_reported() {
    check_remarks(
        "ttl: 30\nbootstrap:\n  dcs:\n    loop_wiat: 5\n    slots: {}\nfoo: 1\npostgresql:\n  parameters:\n    \
             shared_buffers: 1GB\nwatchdog:\n  mode: sometimes\n",
        &expect![[r#"
                patroni.yml:1:1: warning: Patroni ignores `ttl` at the top level; it belongs below `bootstrap.dcs`
                patroni.yml:4:5: warning: Patroni knows no key `loop_wiat` below `bootstrap.dcs`: it has no effect; did you mean `loop_wait`?
                patroni.yml:5:5: note: not modelled, and left out: `bootstrap.dcs.slots` (line 5), `postgresql.parameters.shared_buffers` (line 9)
                patroni.yml:6:1: warning: Patroni knows no key `foo` at the top level: it has no effect
                patroni.yml:11:9: warning: Patroni does not know this `watchdog.mode` and disables the watchdog; it knows off, automatic and required"#]],
    );
}

#[test]
fn values_that_patroni_cannot_read_fall_back_as_it_does() {
    check_remarks(
        "bootstrap:\n  dcs:\n    maximum_lag_on_failover: 1MB\n    check_timeline: maybe\n",
        &expect![[r#"
                patroni.yml:3:30: warning: `maximum_lag_on_failover` is `1MB`, not a whole number without a unit; Patroni uses its default, 1048576
                patroni.yml:4:21: warning: `check_timeline` is `maybe`, neither on nor off; Patroni takes it as off"#]],
    );
}

#[test]
fn what_cannot_be_run_is_refused_with_its_place() {
    check_error(
        "bootstrap:\n  dcs:\n    ttl: 30s\n",
        &expect![[r#"
                error
                  × patroni.yml:3:10: `ttl` is `30s`, not a whole number of seconds
                   ╭─[patroni.yml:3:10]
                 2 │   dcs:
                 3 │     ttl: 30s
                   ·          ─┬─
                   ·           ╰── expected a number of seconds without a unit
                   ╰────
                  help: Patroni reads `ttl` with Python's int() and refuses this value; write `ttl: 30`
            "#]],
    );
    check_error(
        "scope: a\n  ttl: [\n",
        &expect![[r#"
                error
                  × patroni.yml:2:6: this is not YAML that Patroni could read
                   ╭─[patroni.yml:2:6]
                 1 │ scope: a
                 2 │   ttl: [
                   ·      ▲
                   ·      ╰── mapping values are not allowed in this context
                   ╰────
            "#]],
    );
    check_error(
        "- a\n- b\n",
        &expect![[r#"
                error
                  × patroni.yml:1:1: a patroni.yml is a mapping of keys to values
                   ╭─[patroni.yml:1:1]
                 1 │ - a
                   · ▲
                   · ╰── this is a list
                 2 │ - b
                   ╰────
            "#]],
    );
}
