//! Each kind of fault as a scenario file writes it, and as it strikes a Patroni cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sim_core::{EndReason, Seed, TraceKind};

use super::*;
use crate::case::{Case, UserSettings};
use crate::family::{LogLevel, build};
use crate::patroni::Patroni;

/// The text of a fault, and words that its line of the timeline holds.
const EXAMPLES: &[(&str, &str)] = &[
    (r#"{ kill = { target = { role = "postgres" } } }"#, "kill"),
    (r#"{ restart = { target = { every = "etcd" }, delay = "1s", stagger = "10s" } }"#, "one each 10s"),
    (r#"{ wipe = { target = { role = "standby" }, delay = "2s" } }"#, "down for 2s"),
    (r#"{ slow = { target = { host-of = "primary" }, factor = 200 } }"#, "20ms for each input"),
    (r#"{ power-off = { target = { zone = "zone-a" } } }"#, "power-off"),
    (r#"{ pause = { target = { role = "primary" } } }"#, "pause"),
    (r#"{ freeze = { target = { host-of = "primary" } } }"#, "freeze"),
    (
        r#"{ partition = { from = [{ host-of = "primary" }], to = ["others"], direction = "outbound" } }"#,
        "ways",
    ),
    (r#"{ bridge = { middle = [{ host = "db-2" }], among = ["others"] } }"#, "bridge"),
    (r#"{ ring = { among = [{ every = "etcd" }, { every = "patroni" }] } }"#, "ring"),
    (r#"{ isolate = { target = { role = "etcd-leader" } } }"#, "isolate"),
    (r#"{ split = { along = "zones" } }"#, "along zones"),
    (
        r#"{ flap = { fault = { isolate = { target = { host-of = "primary" } } }, on = { shortest = "1s", longest = "3s" }, off = { shortest = "2s", longest = "4s" } } }"#,
        "flap of isolate",
    ),
    (
        r#"{ degrade = { from = [{ host-of = "primary" }], to = ["others"], latency = "50ms", loss = "1%" } }"#,
        "degrade",
    ),
    (
        r#"{ latency = { from = [{ host-of = "primary" }], to = ["others"], extra = { empirical = ["1ms", "2ms", "80ms"] } } }"#,
        "latency",
    ),
    (r#"{ duplicate = { from = [{ host-of = "primary" }], to = ["others"], chance = "5%" } }"#, "5%"),
    (
        r#"{ reorder = { from = [{ host-of = "primary" }], to = ["others"], chance = "5%", delay = "20ms" } }"#,
        "later by 20ms",
    ),
    (
        r#"{ bandwidth = { from = [{ host-of = "primary" }], to = ["others"], bits_per_second = 200_000, queue = "100ms" } }"#,
        "200000 bit/s",
    ),
    (
        r#"{ connection-reset = { from = [{ role = "primary" }], to = ["others"], told = "to" } }"#,
        "connection-reset",
    ),
    (r#"{ half-open = { from = [{ every = "etcd" }], to = ["others"], answer = "reset" } }"#, "reset on use"),
    (r#"{ hang-on-connect = { target = { role = "primary" }, answer = "dropped" } }"#, "requests dropped"),
    (r#"{ disk-stall = { target = { host-of = "primary" } } }"#, "disk-stall"),
    (r#"{ clock-step = { target = { host-of = "primary" }, millis = -5000 } }"#, "clock-step"),
    (r#"{ clock-offset = { target = { host = "db-1" }, millis = 30000 } }"#, "+30000 ms"),
    (r#"{ clock-drift = { target = { host = "db-1" }, ppm = 200 } }"#, "clock-drift"),
    (r#"{ command = { target = { role = "patroni-leader" }, command = "switchover" } }"#, "command"),
];

fn scenario(
    cluster: &str,
    fault: &str,
    lasts: &str,
    files: &BTreeMap<String, String>,
) -> Result<Scenario, UserError> {
    let text = format!(
        r#"name = "patroni/test"
summary = "One fault."
family = "patroni"
promises = [{{ recovers-within = "60s" }}]
horizon = "60s"

[cluster]
{cluster}

[[fault]]
trigger = {{ at = "25s" }}
fault = {fault}
{lasts}
"#
    );
    Scenario::read(&Source::new("test.toml", text), files)
}

fn read(fault: &str, lasts: &str) -> Result<Scenario, UserError> {
    scenario("", fault, lasts, &BTreeMap::new())
}

fn run(scenario: Scenario, log: LogLevel) -> crate::family::RunResult {
    let case = Case::new(&Arc::new(scenario), &UserSettings::default()).unwrap();
    let system = build(&[&Patroni], &case).unwrap_or_else(|error| panic!("{}", error.report(false)));
    system.run(Seed(3), &case.scenario.schedule(Seed(3)), log)
}

#[test]
fn each_kind_can_be_written_strikes_a_cluster_and_is_told() {
    let mut kinds = BTreeSet::new();
    for (fault, words) in EXAMPLES {
        let unended = read(fault, "").unwrap_or_else(|error| panic!("{}", error.report(false)));
        let is_lasting = unended.all_faults().0[0].fault.is_lasting();
        let scenario = if is_lasting { read(fault, r#"lasts = "8s""#).unwrap() } else { unended };
        let result = run(scenario, LogLevel::Story);
        assert_eq!(result.record.end, EndReason::Horizon, "{fault}");
        assert!(!result.faults[0].processes.is_empty(), "{fault} hits somebody");
        kinds.insert(result.faults[0].kind);
        let told = |text: &str| {
            result.log.iter().any(|entry| entry.kind == TraceKind::Fault && entry.text.contains(text))
        };
        assert!(told(words), "{fault} is told with its numbers");
        assert_eq!(told(" ends: "), is_lasting, "{fault}");
    }
    assert_eq!(kinds.len(), EXAMPLES.len(), "one example each");
}

#[test]
fn numbers_that_make_no_sense_are_refused_where_they_stand() {
    for (fault, lasts, complaint) in [
        (r#"{ slow = { target = { role = "primary" }, factor = 0 } }"#, "", "both must be more than zero"),
        (
            r#"{ bandwidth = { from = [{ role = "primary" }], to = ["others"], bits_per_second = 0, queue = "1ms" } }"#,
            "",
            "use `partition`",
        ),
        (
            r#"{ flap = { fault = { wipe = { target = { role = "standby" } } }, on = { shortest = "1s", longest = "2s" }, off = { shortest = "1s", longest = "2s" } } }"#,
            "",
            "`wipe` cannot flap",
        ),
        (
            r#"{ flap = { fault = { pause = { target = { role = "nobody" } } }, on = { shortest = "1s", longest = "2s" }, off = { shortest = "1s", longest = "2s" } } }"#,
            "",
            "nobody ever plays the role `nobody`",
        ),
        (r#"{ restart = { target = { role = "primary" } } }"#, r#"lasts = "5s""#, "does not last"),
    ] {
        let message = read(fault, lasts).unwrap_err().report(false);
        assert!(message.contains(complaint), "{message}");
        assert!(message.contains("test.toml:1"), "{message}");
    }
}

#[test]
fn clocks_may_be_wrong_from_the_start_and_nothing_else() {
    let early = |fault: &str| {
        let text = read(fault, "").unwrap().source.text.replace("25s", "0s");
        Scenario::read(&Source::new("test.toml", text), &BTreeMap::new())
    };
    early(r#"{ clock-offset = { target = { host = "db-1" }, millis = 30000 } }"#).unwrap();
    early(r#"{ kill = { target = { role = "primary" } } }"#).unwrap_err();
}

#[test]
fn recorded_round_trips_take_the_place_of_the_preset() {
    let files = |text: &str| BTreeMap::from([("zones.txt".to_owned(), text.to_owned())]);
    let cluster = r#"round_trips.same_region = "zones.txt""#;
    let fault = r#"{ kill = { target = { role = "postgres" } } }"#;
    let with = |text: &str| {
        let scenario = scenario(cluster, fault, "", &files(text)).unwrap();
        assert!(scenario.companions.contains_key("zones.txt"), "a repro file carries it");
        run(scenario, LogLevel::Off).record
    };
    let acknowledged = |record: &sim_core::Record| {
        let took = |operation: &sim_core::Operation| Some(operation.completed?.since(operation.invoked));
        let mut lengths: Vec<SimDuration> = record
            .operations
            .iter()
            .filter(|operation| operation.is_acknowledged())
            .filter_map(took)
            .collect();
        lengths.sort_unstable();
        lengths[lengths.len() / 2]
    };
    let (near, far) = (with("0.2\n0.3\n"), with("40.0\n41.0\n"));
    assert!(acknowledged(&near) < SimDuration::from_millis(10), "{}", acknowledged(&near));
    assert!(acknowledged(&far) > SimDuration::from_millis(20), "{}", acknowledged(&far));
    let error = scenario(cluster, fault, "", &files("fast\nslow\n")).unwrap_err().report(false);
    assert!(error.contains("zones.txt:2:1"), "{error}");
}
