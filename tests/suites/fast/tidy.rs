//! The repository keeps its own rules: length of files, nothing of one machine, documents that match the source.

use std::fs;
use std::path::{Path, PathBuf};

use scenarios::catalogue;
use scenarios::exit::Exit;
use tests::root;

/// The most lines of a source file. A longer one has more than one subject.
const MOST_LINES: usize = 800;

/// All text files of the repository that are not made by a build, with paths relative to the root.
fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let made = name == ".git" || name == "target" || name.starts_with("target-");
            if made || matches!(name.as_str(), "__pycache__" | ".ipynb_checkpoints" | ".venv") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "the walk found the repository");
    files
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The lines of the code blocks of a Markdown text.
fn console_lines(markdown: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = language == "console";
        } else if inside {
            lines.push(line.trim_start_matches("$ "));
        }
    }
    lines
}

#[test]
fn source_files_have_one_subject() {
    for (path, text) in files() {
        if !has_extension(&path, "rs") {
            continue;
        }
        let lines = text.lines().count();
        assert!(
            lines <= MOST_LINES,
            "{} has {lines} lines, more than {MOST_LINES}: find the second subject in it",
            path.display()
        );
    }
}

#[test]
fn nothing_is_about_one_machine() {
    // Written in two parts, so that this file does not find itself.
    let homes = [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"], ["/wo", "rk/"], ["C:", "\\"]]
        .map(|part| part.concat());
    for (path, text) in files() {
        for (index, line) in text.lines().enumerate() {
            let found = homes.iter().find(|home| line.contains(home.as_str()));
            assert!(found.is_none(), "{}:{}: a path of one machine: {line}", path.display(), index + 1);
        }
    }
}

#[test]
fn dependencies_come_from_the_public_registry() {
    let public = "registry+https://github.com/rust-lang/crates.io-index";
    for (path, text) in files() {
        let name = path.file_name().unwrap();
        if name == "Cargo.lock" {
            for line in text.lines().filter(|line| line.starts_with("source = ")) {
                assert_eq!(line, format!("source = \"{public}\""), "{}", path.display());
            }
        }
        if name == "Cargo.toml" || path.starts_with(".cargo") {
            let other = text.lines().find(|line| line.contains("registry") || line.starts_with("[source"));
            assert_eq!(other, None, "{}", path.display());
        }
    }
}

/// What the README tells people to run first is what continuous integration runs, with or without more flags.
#[test]
fn the_commands_of_the_readme_run_in_continuous_integration() {
    let (readme, steps) = (read("README.md"), read(".ci/run"));
    let section = readme.split("\n## ").find(|section| section.starts_with("Two commands")).unwrap();
    let commands = console_lines(section);
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let runs = |step: &str| {
            let mut words = step.split_whitespace();
            command.split_whitespace().all(|word| words.any(|found| found == word))
        };
        assert!(steps.lines().any(runs), ".ci/run does not run `{command}`");
    }
}

#[test]
fn scenarios_that_documents_name_are_shipped() {
    let shipped = catalogue::scenarios().unwrap();
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        for word in console_lines(&text).iter().flat_map(|line| line.split_whitespace()) {
            if word.starts_with("patroni/") {
                let known = shipped.iter().any(|scenario| {
                    scenario.name == word
                        || scenario.name.starts_with(&format!("{}/", word.trim_end_matches('/')))
                });
                assert!(known, "{document} names `{word}`, which the catalogue does not have");
            }
        }
    }
}

#[test]
fn every_exit_code_is_documented() {
    let readme = read("README.md");
    for exit in Exit::ALL {
        let code = exit.code();
        let row = readme.lines().any(|line| {
            line.starts_with(&format!("| {code} |")) || line.starts_with(&format!("| `{code}` |"))
        });
        assert!(row, "the table of exit codes in README.md has no row for {code} ({exit:?})");
    }
}

#[test]
fn every_file_of_the_catalogue_is_embedded() {
    let shipped = catalogue::scenarios().unwrap();
    let mut embedded: Vec<String> = Vec::new();
    for scenario in &shipped {
        embedded.push(scenario.source.name.clone());
        embedded
            .extend(scenario.companions.keys().map(|name| format!("catalogue/{}/{name}", scenario.family())));
    }
    let folder = Path::new("scenarios");
    let mut found = 0;
    for (path, _) in files() {
        let Ok(path) = path.strip_prefix(folder) else { continue };
        if path.starts_with("catalogue") && !has_extension(path, "md") {
            let name = path.display().to_string();
            assert!(
                embedded.contains(&name),
                "{name} is not part of the command; add it to src/catalogue.rs"
            );
            found += 1;
        }
    }
    assert!(found >= shipped.len(), "the walk found the catalogue");
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
