use std::fs;
use std::path::PathBuf;

use expect_test::expect;

use super::*;
use crate::testing::unruly::{UNRULY, Unruly};
use crate::testing::{Small, scenario_text};

/// A folder of its own for each test; removed when the test has passed.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hasim-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn hasim(arguments: &[&str]) -> (Exit, String, String) {
    hasim_with(&Small, arguments)
}

fn hasim_with(family: &dyn Family, arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colours: false };
    let arguments = std::iter::once("hasim").chain(arguments.iter().copied()).map(OsString::from);
    let exit = run(arguments, &[family], &mut terminal);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_definition_of_the_command_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn a_failed_check_leaves_a_file_that_replays() {
    let folder = Folder::new("replay");
    let text = scenario_text("async").replace("loss-is-found", "no-acknowledged-write-lost");
    let scenario = folder.write("mine.toml", &text);
    let repro = folder.path("repro");
    let (exit, out, _) = hasim(&["check", &scenario, "--seeds", "10", "--repro", &repro]);
    assert_eq!(exit, Exit::Violated, "{out}");
    let line = out.lines().find(|line| line.contains("hasim replay")).unwrap();
    let file = line.trim().strip_prefix("hasim replay ").unwrap().to_owned();

    let (exit, out, err) = hasim(&["replay", &file]);
    assert_eq!(exit, Exit::Violated, "{err}");
    assert!(out.ends_with("replayed: the same digest and verdict as in the file\n"), "{out}");

    let whole = fs::read_to_string(&file).unwrap();
    let other =
        folder.write("other.json", &whole.replace("\"hasim_version\": \"", "\"hasim_version\": \"9."));
    let (exit, _, err) = hasim(&["replay", &other]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("--any-version"), "{err}");
    assert_eq!(hasim(&["replay", &other, "--any-version"]).0, Exit::Violated);

    let half = folder.write("half.json", &whole[..whole.len() / 2]);
    let (exit, _, err) = hasim(&["replay", &half]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("not a whole repro file"), "{err}");

    let start = whole.find("\"digest\": \"").unwrap() + "\"digest\": \"".len();
    let mut forged = whole;
    forged.replace_range(start..start + 16, "0123456789abcdef");
    let forged = folder.write("forged.json", &forged);
    let (exit, out, _) = hasim(&["replay", &forged]);
    assert_eq!(exit, Exit::Internal);
    assert!(out.contains("not the same"), "{out}");
}

#[test]
fn tables_and_files_are_the_same_for_any_number_of_threads() {
    let folder = Folder::new("jobs");
    let scenario = folder.write("mine.toml", &scenario_text("async"));
    let check = |jobs: &str| {
        let files = ["csv", "json", "svg"].map(|ending| folder.path(&format!("{jobs}.{ending}")));
        let (exit, out, err) = hasim(&[
            "check", &scenario, "--seeds", "5..25", "--jobs", jobs, "--csv", &files[0], "--json", &files[1],
            "--plot", &files[2],
        ]);
        assert_eq!(exit, Exit::Kept, "{out}{err}");
        (out, files.map(|file| fs::read_to_string(file).unwrap()))
    };
    let (one, two) = (check("1"), check("2"));
    assert_eq!(one, two);
    let (table, [csv, json, svg]) = one;
    assert!(table.contains("patroni/test/async") && table.contains("seeds 5..25"), "{table}");
    assert_eq!(csv.lines().count(), 21);
    assert!(json.contains("\"exit_code\": 0") && svg.starts_with("<svg"));
}

#[test]
fn the_table_says_what_its_numbers_rest_on() {
    let folder = Folder::new("table");
    let safe = folder.write("safe.toml", &scenario_text("sync"));
    let lossy = folder.write("lossy.toml", &scenario_text("async"));
    let (exit, out, _) = hasim(&["check", &safe, &lossy, "--seeds", "100"]);
    assert_eq!(exit, Exit::Kept);
    expect![[r#"
        scenario            verdict  runs  outage p50 (s)  outage p90 (s)  outage p99 (s)  runs not recovered      runs with loss  most writes lost  runs with two primaries
        patroni/test/sync   kept      100  5.0 [5.0, 5.0]  5.0 [5.0, 5.0]    5.0 [5.0, -]                   0         0 (< 2.95%)                 0              0 (< 2.95%)
        patroni/test/async  kept      100  5.0 [5.0, 5.0]  5.0 [5.0, 5.0]    5.0 [5.0, -]                   0  79 (69.71..86.51%)                 1              0 (< 2.95%)
        hasim 0.1.0, seeds 0..100; outage: the longest of a run, p50 [95 % confidence interval]; runs: count (exact 95 % interval of the share, or its 95 % upper bound if there was none)

        scenario                   detect (s)  elect (s)  promote (s)        reroute (s)  worst seed
        patroni/test/sync   5.00 / 5.00 (100)          -            -  0.02 / 0.02 (100)          96
        patroni/test/async  5.00 / 5.00 (100)          -            -  0.01 / 0.02 (100)          96
        phases of the first failover: p50 / p90 (runs that had the phase); the worst seed lost the most writes, or was out of service the longest: `hasim run SCENARIO --seed S` tells it
    "#]].assert_eq(&out);
}

#[test]
fn one_run_is_told() {
    let folder = Folder::new("run");
    let scenario = folder.write("mine.toml", &scenario_text("sync"));
    let (exit, brief, _) = hasim(&["run", &scenario, "--seed", "0x3"]);
    assert_eq!(exit, Exit::Kept);
    assert!(brief.contains("seed 3") && brief.contains("verdict: kept"), "{brief}");
    assert!(!brief.contains("connection lost"), "{brief}");
    let (_, long, _) = hasim(&["run", &scenario, "--seed", "3", "--log"]);
    assert!(long.contains("client-1") && long.contains("connection lost"), "{long}");
}

#[test]
fn mistakes_end_with_64_and_say_what_to_do() {
    for arguments in [
        &["check", "--seeds", "0"][..],
        &["chek"],
        &["run", "patroni/switchover"],
        &["check", "--config", "does-not-exist.yml"],
        &["check", "does-not-exist.toml"],
        &["replay", "does-not-exist.json"],
    ] {
        let (exit, out, err) = hasim(arguments);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    let (exit, _, err) = hasim(&["check", "patroni/primary-host-crsh"]);
    assert_eq!(exit, Exit::Usage);
    expect![[r#"
        error
          × there is no scenario `patroni/primary-host-crsh`
          help: did you mean `patroni/primary-host-crash`?
    "#]]
    .assert_eq(&format!("error\n{err}"));
    let (_, _, err) = hasim(&["check", "patroni/switchover", "--set", "tll=5"]);
    expect![[r#"
        error
          × --set:1:1: `tll` is not a setting of Patroni that hasim models
           ╭─[--set:1:1]
         1 │ tll=5
           · ─┬─
           ·  ╰── no such setting
           ╰────
          help: did you mean `ttl`?
    "#]]
    .assert_eq(&format!("error\n{err}"));
}

#[test]
fn settings_of_the_user_are_remarked_upon() {
    let folder = Folder::new("remarks");
    let scenario = folder.write("mine.toml", &scenario_text("sync"));
    let config = folder.write("patroni.yml", "bootstrap:\n  dcs:\n    ttl: 5\n    synchronous_mode: off\n");
    let (exit, _, err) = hasim(&["run", &scenario, "--config", &config]);
    assert_eq!(exit, Exit::Kept, "{err}");
    expect![[r#"
        patroni.yml:3:10: warning: `ttl` is 5 s; Patroni raises it to 20 s, the least it accepts
        patroni.yml:3:10: warning: `loop_wait` + 2 * `retry_timeout` is 10 s + 2 * 10 s, more than the `ttl` of 20 s; Patroni lowers `loop_wait` from 10 s to 1 s
        patroni.yml:3:10: warning: `loop_wait` + 2 * `retry_timeout` is 10 s + 2 * 10 s, more than the `ttl` of 20 s; Patroni lowers `retry_timeout` from 10 s to 9 s
        patroni.yml:4:23: note: `synchronous_mode` is false here; the scenario `patroni/test/sync` fixes it to on, because a promise depends on it (`--set synchronous_mode=...` overrules both)
    "#]].assert_eq(&err.replace(&config, "patroni.yml"));
}

#[test]
fn scenarios_that_fix_a_setting_alike_are_named_together() {
    let folder = Folder::new("remarks-together");
    let mine = folder.write("mine.toml", &scenario_text("sync"));
    let other =
        folder.write("other.toml", &scenario_text("sync").replace("patroni/test/sync", "patroni/other/sync"));
    let config = folder.write("patroni.yml", "bootstrap:\n  dcs:\n    synchronous_mode: off\n");
    let (_, _, err) = hasim(&["check", &mine, &other, "--seeds", "1", "--config", &config]);
    expect![[r#"
        patroni.yml:3:23: note: `synchronous_mode` is false here; the scenarios `patroni/test/sync`, `patroni/other/sync` fix it to on, because a promise depends on it (`--set synchronous_mode=...` overrules both)
    "#]]
    .assert_eq(&err.replace(&config, "patroni.yml"));
}

#[test]
fn a_wrong_value_is_refused_though_the_scenario_overrules_it() {
    let folder = Folder::new("wrong-and-overruled");
    let conf = "sentinel monitor mymaster 10.0.0.1 6379 2\nsentinel down-after-milliseconds mymaster 5s\n";
    let config = folder.write("sentinel.conf", conf);
    let (exit, _, err) = hasim(&["run", "sentinel/primary-killed/async", "--config", &config]);
    assert_eq!(exit, Exit::Usage, "{err}");
    assert!(err.contains("`down-after-milliseconds` is `5s`"), "{err}");
}

#[test]
fn the_catalogue_is_listed() {
    let (exit, out, _) = hasim(&["list", "patroni/switchover"]);
    assert_eq!(exit, Exit::Kept);
    expect![[r#"
        patroni/switchover/async
            An operator asks for a switchover. Replication is asynchronous.
            promises: no-acknowledged-write-lost, at-most-one-writable-primary, recovers-within 20s
        patroni/switchover/fastinter
            An operator switches over. HAProxy checks every 3 s, and every 0.5 s while it counts. Replication is asynchronous.
            promises: no-acknowledged-write-lost, recovers-within 8s
        patroni/switchover/sync  (core)
            An operator asks for a switchover. Replication is synchronous.
            promises: no-acknowledged-write-lost, at-most-one-writable-primary, recovers-within 20s
    "#]]
    .assert_eq(&out);
    assert!(hasim(&["list", "--keys"]).1.contains("`cluster.members`"));
    assert!(hasim(&["completions", "bash"]).1.contains("hasim"));
}

#[test]
fn findings_of_every_kind_have_a_line_that_repeats_them() {
    let folder = Folder::new("unruly");
    let scenario = folder.write("unruly.toml", UNRULY);
    let repro = folder.path("repro");
    let check = ["check", &scenario, "--seeds", "7", "--recheck", "0", "--repro", &repro];
    let (exit, out, _) = hasim_with(&Unruly, &check);
    assert_eq!(exit, Exit::Violated, "{out}");
    for (verdict, exit) in
        [("model-panicked", Exit::Violated), ("livelock", Exit::Violated), ("undecided", Exit::Undecided)]
    {
        let mut lines = out.lines().skip_while(|line| !line.contains(&format!(": {verdict}: ")));
        let line = lines.nth(1).unwrap_or_else(|| panic!("no {verdict} in {out}"));
        let file = line.trim().strip_prefix("hasim replay ").unwrap();
        let (replayed, told, err) = hasim_with(&Unruly, &["replay", file]);
        assert_eq!(replayed, exit, "{told}{err}");
        assert!(told.ends_with("replayed: the same digest and verdict as in the file\n"), "{told}");
    }
}

#[test]
fn what_does_not_repeat_itself_is_told_with_its_first_event() {
    let folder = Folder::new("selfcheck");
    let scenario = folder.write("unruly.toml", UNRULY);
    let (exit, out, _) = hasim_with(&Unruly, &["selfcheck", &scenario, "--seeds", "0..4"]);
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Kept, "patroni/test/unruly: 4 seeds, each run twice, and no difference\n")
    );
    let (exit, out, _) = hasim_with(&Unruly, &["selfcheck", &scenario, "--seeds", "7"]);
    assert_eq!(exit, Exit::Internal);
    assert!(out.starts_with("patroni/test/unruly: 1 of 7 seeds were not the same when run again\n"), "{out}");
    assert!(
        out.contains("event 303 is the first that differs") && out.contains("client-1: timer Tick"),
        "{out}"
    );

    let (exit, out, _) = hasim_with(&Unruly, &["check", &scenario, "--seeds", "4..5", "--recheck", "100%"]);
    assert_eq!(exit, Exit::Internal, "{out}");
    assert!(out.contains("seed 4: not-repeated: digest ") && out.contains("  hasim selfcheck "), "{out}");
    let (exit, _, _) = hasim_with(&Unruly, &["check", &scenario, "--seeds", "4..5", "--recheck", "0"]);
    assert_eq!(exit, Exit::Kept, "nobody looked");
}

#[test]
fn a_campaign_whose_time_is_spent_says_so() {
    let folder = Folder::new("budget");
    let scenario = folder.write("mine.toml", &scenario_text("sync"));
    let json = folder.path("a.json");
    let (exit, out, _) = hasim(&["check", &scenario, "--seeds", "9", "--budget", "1ns", "--json", &json]);
    assert_eq!(exit, Exit::Undecided, "nothing was run");
    assert!(out.contains("patroni/test/sync: the time was spent after 0 of 9 seeds"), "{out}");
    assert!(fs::read_to_string(json).unwrap().contains("\"stopped_by\": \"budget\""));
    let (exit, out, _) = hasim(&["check", &scenario, "--seeds", "2", "--budget", "1h"]);
    assert_eq!(exit, Exit::Kept, "{out}");
    let (exit, _, err) = hasim(&["check", &scenario, "--budget", "0s"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("write one as `60s`"), "{err}");
}

#[test]
fn coverage_is_a_table_of_kinds_roles_and_phases() {
    let folder = Folder::new("coverage");
    let scenario = folder.write("mine.toml", &scenario_text("sync"));
    let (exit, out, _) = hasim(&["check", &scenario, "--seeds", "5", "--coverage"]);
    assert_eq!(exit, Exit::Kept);
    let table: Vec<&str> = out.lines().skip_while(|line| !line.starts_with("fault ")).collect();
    assert_eq!(table[..2], ["fault      hit while it was  steady", "power-off  none                   5"]);
    let promised = "\n[coverage]\npromised = [{ fault = \"kill\" }]\n";
    let wrong = folder.write("wrong.toml", &(scenario_text("sync") + promised));
    let (exit, _, err) = hasim(&["check", &wrong, "--seeds", "5"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("no fault of this scenario is of the kind `kill`"), "{err}");
    let promised = promised.replace("\"kill\"", "\"power-off\", phase = \"electing\"");
    let empty = folder.write("empty.toml", &(scenario_text("sync") + &promised));
    let (exit, out, _) = hasim(&["check", &empty, "--seeds", "5"]);
    assert_eq!(exit, Exit::Violated);
    assert!(
        out.contains(
            "coverage of `power-off while electing` was promised, and no fault of 5 runs (of the seeds 0..5)"
        ),
        "{out}"
    );
}
