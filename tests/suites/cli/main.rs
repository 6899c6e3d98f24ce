//! The command as people run it: what it prints, and how it ends.
//!
//! The cases are the Markdown files beside this one, with the files they need in the folders of the same names.
//! `TRYCMD=overwrite cargo test -p tests --test cli` writes down what the command says now; read the difference.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const HASIM: &str = env!("CARGO_BIN_EXE_hasim-under-test");

#[test]
fn transcripts() {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("hasim", Path::new(HASIM))
        .env("RUST_LOG", "off")
        .insert_var("[VERSION]", scenarios::VERSION)
        .expect("the name of the variable is right");
    cases.case("suites/cli/*.md").run();
}

/// A folder of its own for each test, empty at the start.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(HASIM);
    command.args(words).current_dir(folder).env("RUST_LOG", "off");
    for variable in ["HASIM_SEED", "HASIM_SEEDS", "HASIM_JOBS", "HASIM_BUDGET"] {
        command.env_remove(variable);
    }
    command
}

fn hasim(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const VIOLATED: &str = include_str!("check.in/loses.toml");

/// A failure leaves a file and the line that replays it. Pasting the line gives the same run and the same exit code, in
/// another folder, and a file whose digest cannot come out ends with 70.
#[test]
fn a_failure_replays_from_the_line_it_prints() {
    let folder = folder("replay");
    fs::write(folder.join("loses.toml"), VIOLATED).unwrap();
    let checked = hasim(&folder, &["check", "loses.toml", "--seeds", "20"]);
    assert_eq!(checked.status.code(), Some(1), "{}", text(&checked.stderr));
    let printed = text(&checked.stdout);
    let line = printed.lines().find(|line| line.trim().starts_with("hasim replay ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let replayed = hasim(&folder, &words);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed.stderr));
    assert!(text(&replayed.stdout).contains("the same digest and verdict"), "{}", text(&replayed.stdout));

    let file = folder.join(words[1]);
    let whole = fs::read_to_string(&file).unwrap();
    let start = whole.find("\"digest\": \"").unwrap() + "\"digest\": \"".len();
    let other = format!("{}{}{}", &whole[..start], "0123456789abcdef", &whole[start + 16..]);
    fs::write(folder.join("other.json"), other).unwrap();
    let differs = hasim(&folder, &["replay", "other.json"]);
    assert_eq!(differs.status.code(), Some(70));
    assert!(text(&differs.stdout).contains("not the same"), "{}", text(&differs.stdout));
    assert!(!text(&differs.stderr).contains("panicked"), "{}", text(&differs.stderr));
}

/// Whatever is cut off a repro file, the command says so and does not panic.
#[test]
fn no_part_of_a_repro_file_passes_for_the_whole() {
    let folder = folder("truncated");
    fs::write(folder.join("loses.toml"), VIOLATED).unwrap();
    hasim(&folder, &["check", "loses.toml", "--seeds", "20"]);
    let file = names(&folder).into_iter().find(|name| name.ends_with("json")).unwrap();
    let whole = fs::read_to_string(folder.join(file)).unwrap();
    let content = whole.trim_end().len();
    for part in 0..20 {
        fs::write(folder.join("part.json"), &whole[..content * part / 20]).unwrap();
        let replayed = hasim(&folder, &["replay", "part.json"]);
        let said = text(&replayed.stderr);
        assert_eq!(replayed.status.code(), Some(64), "{said}");
        assert!(said.contains("part.json:") && said.contains("not a whole repro file"), "{said}");
    }
}

/// A wrong word anywhere ends the command before anything is written.
#[test]
fn mistakes_leave_no_files() {
    let folder = folder("mistakes");
    fs::write(folder.join("wrong.toml"), VIOLATED.replace("horizon", "horizn")).unwrap();
    fs::write(folder.join("loses.toml"), VIOLATED).unwrap();
    let before = names(&folder);
    let files = ["--csv", "a.csv", "--json", "a.json", "--plot", "a.svg"];
    for words in [
        &["check", "wrong.toml"][..],
        &["check", "loses.toml", "wrong.toml"],
        &["check", "loses.toml", "missing.toml"],
        &["check", "loses.toml", "--set", "tll=5"],
        &["check", "loses.toml", "--config", "missing.yml"],
        &["check", "loses.toml", "--seeds", "5..5"],
        &["check", "loses.toml", "--csv", "loses.toml/a.csv"],
    ] {
        let files = if words.contains(&"--csv") { &[][..] } else { &files };
        let ended = hasim(&folder, &[words, files].concat());
        assert_eq!(ended.status.code(), Some(64), "{words:?}: {}", text(&ended.stderr));
        assert_eq!(names(&folder), before, "{words:?}");
    }
}

/// A campaign that was killed and goes on leaves what one leaves that was not: the same table, CSV, JSON and repro files,
/// byte for byte.
#[test]
fn a_killed_campaign_goes_on_where_it_was() {
    let words = [
        "check",
        "loses.toml",
        "keeps.toml",
        "--seeds",
        "24",
        "--jobs",
        "2",
        "--recheck",
        "20%",
        "--coverage",
        "--no-shrink",
        "--csv",
        "runs.csv",
        "--json",
        "summary.json",
        "--plot",
        "outages.svg",
    ];
    let files = || {
        let folder = folder(if cfg!(debug_assertions) { "killed-debug" } else { "killed" });
        fs::write(folder.join("loses.toml"), VIOLATED).unwrap();
        fs::write(folder.join("keeps.toml"), include_str!("check.in/keeps.toml")).unwrap();
        folder
    };
    let left = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let kept = names(folder).into_iter().filter(|name| !name.ends_with("jsonl"));
        kept.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
    };
    let place = files();
    let whole = hasim(&place, &words);
    assert_eq!(whole.status.code(), Some(1), "{}", text(&whole.stderr));
    let expected = left(&place);

    let place = files();
    let journaled = [&words[..], &["--journal", "runs.jsonl"]].concat();
    let journal = place.join("runs.jsonl");
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    let mut kills = 0;
    // Twice in the first scenario, once in the second.
    for enough in [4, 14, 34] {
        let mut child =
            command(&place, &journaled).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while lines() < enough && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        // SIGKILL: the process cannot do anything about it.
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
        assert!(!place.join("runs.csv").exists(), "it was not over");
        // And as if the last line had been half written.
        let mut torn = fs::read_to_string(&journal).unwrap();
        torn.push_str("{\"scenario\":0,\"seed\":\"");
        fs::write(&journal, torn).unwrap();
    }
    assert_eq!(kills, 3);
    let ended = hasim(&place, &journaled);
    assert_eq!(ended.status.code(), Some(1), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("going on after"), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stdout), text(&whole.stdout));
    assert_eq!(left(&place), expected);

    let other = hasim(&place, &[&journaled[..], &["--set", "ttl=20"]].concat());
    assert_eq!(other.status.code(), Some(64));
    let said = text(&other.stderr);
    assert!(
        said.contains("journal of another campaign") && said.contains("--set ttl=20")
            || said.contains("ttl=20"),
        "{said}"
    );
}

/// Each variable stands for its flag, the flag wins, and a wrong value is blamed on the variable.
#[test]
fn the_environment_stands_for_flags() {
    let folder = folder("environment");
    fs::write(folder.join("keeps.toml"), include_str!("check.in/keeps.toml")).unwrap();
    let with = |variable: &str, value: &str, words: &[&str]| {
        let output = command(&folder, words).env(variable, value).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = with("HASIM_SEEDS", "3..5", &["check", "keeps.toml"]);
    assert!(out.contains("seeds 3..5;"), "{out}{err}");
    assert_ne!(code, Some(64));
    let (_, out, err) = with("HASIM_SEEDS", "3..5", &["check", "keeps.toml", "--seeds", "1"]);
    assert!(out.contains("seeds 0..1;"), "{out}{err}");
    let (_, out, err) = with("HASIM_SEED", "0x7", &["run", "keeps.toml"]);
    assert!(out.contains("seed 7 "), "{out}{err}");
    for (variable, value, command) in [
        ("HASIM_SEEDS", "many", "check"),
        ("HASIM_SEEDS", "0", "selfcheck"),
        ("HASIM_JOBS", "0", "check"),
        ("HASIM_BUDGET", "soon", "check"),
        ("HASIM_SEED", "-", "run"),
    ] {
        let (code, _, err) = with(variable, value, &[command, "keeps.toml"]);
        assert_eq!(code, Some(64), "{variable}={value}: {err}");
        assert!(err.contains(&format!("environment variable {variable}")), "{variable}={value}: {err}");
    }
    let (_, _, err) = with("HASIM_SEEDS", "5", &["check", "keeps.toml", "--seeds=x"]);
    assert!(!err.contains("HASIM_SEEDS.") && !err.contains("environment"), "{err}");
}
