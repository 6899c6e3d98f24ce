//! The command as people run it: what it prints, and how it ends.
//!
//! The cases are the Markdown files beside this one, with the files they need in the folders of the same names.
//! `TRYCMD=overwrite cargo test -p tests --test cli` writes down what the command says now; read the difference.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

fn hasim(folder: &Path, words: &[&str]) -> Output {
    Command::new(HASIM).args(words).current_dir(folder).env("RUST_LOG", "off").output().unwrap()
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
