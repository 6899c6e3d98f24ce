//! Reads a real `sentinel.conf` or `redis.conf`.
//!
//! Sentinel reads both: lines that begin with `sentinel` are its own, and the rest are directives of any server. hasim
//! gives the directives of one file to all servers or Sentinels, and runs one group: the first that the file watches.

use std::sync::Arc;

use super::directives::{self, Directive};
use super::known;
use super::settings::RedisSettings;
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};

/// What a `sentinel.conf` or a `redis.conf` says.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisFile {
    /// The directives that hasim models.
    pub settings: RedisSettings,
    /// How many Sentinels the file knows, itself included; none if it names no other one.
    pub sentinels: Option<usize>,
    /// Directives that have no effect here, in the order of the file.
    pub remarks: Vec<Remark>,
}

/// Reads the file.
///
/// # Errors
/// Quotes that do not end, an `include`, or what Redis or Sentinel would not start with, whatever a scenario makes of it.
pub fn read_redis_conf(source: &Arc<Source>) -> Result<RedisFile, UserError> {
    let lines = directives::read(source)?;
    let mut importer = Importer {
        source,
        group: None,
        known_sentinels: 0,
        ignored: Vec::new(),
        file: RedisFile { settings: RedisSettings::default(), sentinels: None, remarks: Vec::new() },
    };
    // Which group is ours is decided by the first `monitor`, wherever it stands.
    importer.group = lines.iter().find_map(|line| match line.arguments.as_slice() {
        [monitor, name, ..] if line.name == "sentinel" && monitor.text.eq_ignore_ascii_case("monitor") => {
            Some(name.text.clone())
        }
        _ => None,
    });
    for line in &lines {
        importer.line(line)?;
    }
    refuse_primary_of_node(source, &lines)?;
    let file = importer.finish();
    file.settings.configuration()?;
    Ok(file)
}

/// A node of a cluster follows whom `nodes.conf` says (`loadServerConfigFromString`).
fn refuse_primary_of_node(source: &Arc<Source>, lines: &[Directive]) -> Result<(), UserError> {
    let newest = |name: &str| lines.iter().rev().find(|line| known::canonical(&line.name) == name);
    let says = |line: &Directive, words: &[&str]| {
        let said = line.arguments.iter().map(|word| word.text.as_str());
        line.arguments.len() == words.len()
            && said.zip(words).all(|(said, word)| said.eq_ignore_ascii_case(word))
    };
    let is_node = newest("cluster-enabled").is_some_and(|line| says(line, &["yes"]));
    match newest("replicaof").filter(|line| is_node && !says(line, &["no", "one"])) {
        Some(line) => Err(UserError::at(
            Spot::new(source, line.span.clone()),
            "`replicaof` is not allowed in cluster mode, and Redis does not start with it",
            "not beside `cluster-enabled yes`",
        )
        .help(
            "leave it out: whom a node follows it learns by `CLUSTER REPLICATE`, and keeps in `nodes.conf`",
        )),
        None => Ok(()),
    }
}

struct Importer<'a> {
    source: &'a Arc<Source>,
    group: Option<String>,
    known_sentinels: usize,
    /// Directives that are known and not modelled, with their lines.
    ignored: Vec<(String, usize)>,
    file: RedisFile,
}

impl Importer<'_> {
    fn line(&mut self, line: &Directive) -> Result<(), UserError> {
        let name = known::canonical(&line.name);
        let spot = || Spot::new(self.source, line.span.clone());
        if name == "include" {
            return Err(UserError::at(
                spot(),
                "hasim reads one file and follows no `include`",
                "not followed",
            )
            .help("put the directives of that file in place of this line: later lines win, as in Redis"));
        }
        if name == "sentinel" {
            return self.sentinel(line);
        }
        if let Some(found) = known::REDIS.iter().find(|(known, _)| *known == name) {
            let words = &line.arguments;
            self.file.settings.put(*found, words, spot());
            return Ok(());
        }
        if known::REDIS_OTHERS.contains(&name) {
            self.ignored.push((name.to_owned(), self.source.line_and_column(line.span.start).0));
            return Ok(());
        }
        let names = known::REDIS.iter().map(|(known, _)| *known).chain(known::REDIS_OTHERS.iter().copied());
        let suggestion = did_you_mean(name, names).map_or_else(String::new, |text| format!("; {text}"));
        self.file.remarks.push(Remark {
            weight: Weight::Warning,
            spot: spot(),
            message: format!("Redis 7.0 knows no directive `{name}` and does not start with it{suggestion}"),
        });
        Ok(())
    }

    /// A line `sentinel directive group arguments`.
    fn sentinel(&mut self, line: &Directive) -> Result<(), UserError> {
        let spot = Spot::new(self.source, line.span.clone());
        let Some((directive, arguments)) = line.arguments.split_first() else {
            return Err(UserError::at(spot, "`sentinel` alone is no directive", "a directive is missing"));
        };
        let name = directive.text.to_ascii_lowercase();
        let is_ours = arguments.first().is_some_and(|group| Some(&group.text) == self.group.as_ref());
        if name == "monitor" {
            let [_, _, _, quorum] = arguments else {
                return Err(UserError::at(spot, "`sentinel monitor` has four arguments", "not so many")
                    .help("write it as `sentinel monitor mymaster 10.0.0.1 6379 2`"));
            };
            if is_ours {
                let found = known::SENTINEL.iter().find(|(known, _)| *known == "quorum");
                let found = *found.expect("the quorum is modelled");
                let spot = Spot::new(self.source, quorum.span.clone());
                self.file.settings.put(found, std::slice::from_ref(quorum), spot);
            } else {
                let name = arguments.first().map_or("", |group| group.text.as_str());
                let ours = self.group.as_deref().unwrap_or_default();
                self.note(
                    spot,
                    format!("the group `{name}` is left out; hasim runs the first one, `{ours}`"),
                );
            }
            return Ok(());
        }
        if name == "known-sentinel" && is_ours {
            self.known_sentinels += 1;
        }
        if let Some(found) = known::SENTINEL.iter().find(|(known, _)| *known == name && name != "quorum") {
            if is_ours {
                self.file.settings.put(*found, &arguments[1..], spot);
            } else if self.group.is_none() {
                return Err(UserError::at(
                    spot,
                    "no group is monitored",
                    "No such master with specified name",
                )
                .help(
                    "Sentinel needs `sentinel monitor <name> <address> <port> <quorum>` before this line",
                ));
            }
            return Ok(());
        }
        if known::SENTINEL_OTHERS.contains(&name.as_str()) {
            let line = self.source.line_and_column(line.span.start).0;
            self.ignored.push((format!("sentinel {name}"), line));
            return Ok(());
        }
        let names = known::SENTINEL.iter().map(|(known, _)| *known);
        let names = names.chain(known::SENTINEL_OTHERS.iter().copied()).filter(|known| *known != "quorum");
        let suggestion = did_you_mean(&name, names).map_or_else(String::new, |text| format!("; {text}"));
        self.file.remarks.push(Remark {
            weight: Weight::Warning,
            spot,
            message: format!("Sentinel knows no `sentinel {name}` and does not start with it{suggestion}"),
        });
        Ok(())
    }

    fn note(&mut self, spot: Spot, message: String) {
        self.file.remarks.push(Remark { weight: Weight::Note, spot, message });
    }

    fn finish(mut self) -> RedisFile {
        if let Some((_, first)) = self.ignored.first() {
            let start = self.source.byte_at(*first, 1);
            let list: Vec<String> =
                self.ignored.iter().map(|(name, line)| format!("`{name}` (line {line})")).collect();
            let message = format!("not modelled, and left out: {}", list.join(", "));
            let spot = Spot::new(self.source, start..start);
            self.note(spot, message);
        }
        self.file.sentinels = (self.known_sentinels > 0).then_some(self.known_sentinels + 1);
        self.file
    }
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes snapshots with them")]
mod tests {
    use expect_test::{Expect, expect};
    use sim_core::SimDuration;

    use super::*;

    fn read(text: &str) -> Result<RedisFile, UserError> {
        read_redis_conf(&Source::new("sentinel.conf", text))
    }

    #[track_caller]
    fn check_error(text: &str, expected: &Expect) {
        let error = read(text).unwrap_err();
        // With a line that is not indented, so that the indentation of the others counts.
        expected.assert_eq(&format!("error\n{}", error.report(false)));
    }

    #[test]
    fn a_file_as_debian_ships_it_is_read() {
        let file = read(
            "port 26379\ndaemonize yes\nsentinel monitor mymaster 10.0.0.1 6379 3\nsentinel down-after-milliseconds \
             mymaster 5000\nSENTINEL failover-timeout mymaster 10000\nsentinel parallel-syncs mymaster 2\nsentinel \
             known-sentinel mymaster 10.0.0.2 26379 aa\nsentinel known-sentinel mymaster 10.0.0.3 26379 bb\nsentinel \
             monitor other 10.0.0.9 6379 2\nsentinel down-after-milliseconds other 1\nmin-slaves-to-write 1\nsave \"\"\n",
        )
        .unwrap();
        let (group, parameters, _) = file.settings.configuration().unwrap();
        assert_eq!(group.quorum, 3);
        assert_eq!(group.down_after, SimDuration::from_secs(5));
        assert_eq!(group.failover_timeout, SimDuration::from_secs(10));
        assert_eq!(group.parallel_syncs, 2);
        assert_eq!(parameters.min_replicas_to_write, 1);
        assert!(parameters.save.is_empty());
        assert_eq!(file.sentinels, Some(3));
        let remarks: Vec<String> =
            file.remarks.iter().map(|remark| format!("{}: {}", remark.spot, remark.message)).collect();
        expect![[r#"
            sentinel.conf:9:1: the group `other` is left out; hasim runs the first one, `mymaster`
            sentinel.conf:1:1: not modelled, and left out: `port` (line 1), `daemonize` (line 2), `sentinel known-sentinel` (line 7), `sentinel known-sentinel` (line 8)"#]]
        .assert_eq(&remarks.join("\n"));
    }

    #[test]
    fn unknown_directives_are_named_with_a_suggestion() {
        let file = read("apendonly yes\nsentinel monitor m 1.1.1.1 1 2\nsentinel down-after m 5\n").unwrap();
        let remarks: Vec<String> =
            file.remarks.iter().map(|remark| format!("{}: {}", remark.spot, remark.message)).collect();
        expect![[r#"
            sentinel.conf:1:1: Redis 7.0 knows no directive `apendonly` and does not start with it; did you mean `appendonly`?
            sentinel.conf:3:1: Sentinel knows no `sentinel down-after` and does not start with it; did you mean `down-after-milliseconds`?"#]]
        .assert_eq(&remarks.join("\n"));
    }

    #[test]
    fn directives_of_the_example_files_of_redis_are_known() {
        let file = read(
            "set-proc-title yes\nlatency-tracking-info-percentiles 50 99 99.9\nproto-max-bulk-len 512mb\n\
             tls-ca-cert-dir /etc/ssl/certs\nset-max-listpack-entries 128\nslave-lazy-flush no\n",
        )
        .unwrap();
        assert!(file.remarks.iter().all(|remark| remark.weight == Weight::Note), "{:?}", file.remarks);
    }

    #[test]
    fn what_redis_does_not_start_with_is_refused_with_its_place() {
        check_error(
            "sentinel monitor m 1.1.1.1 1 0\n",
            &expect![[r#"
                error
                  × sentinel.conf:1:30: `quorum` is `0`, which Redis does not start with
                   ╭─[sentinel.conf:1:30]
                 1 │ sentinel monitor m 1.1.1.1 1 0
                   ·                              ┬
                   ·                              ╰── expected a whole number from 1 to 2147483647
                   ╰────
            "#]],
        );
        check_error(
            "cluster-enabled yes\nslaveof 10.0.0.1 6379\n",
            &expect![[r#"
            error
              × sentinel.conf:2:1: `replicaof` is not allowed in cluster mode, and Redis does not start with it
               ╭─[sentinel.conf:2:1]
             1 │ cluster-enabled yes
             2 │ slaveof 10.0.0.1 6379
               · ──────────┬──────────
               ·           ╰── not beside `cluster-enabled yes`
               ╰────
              help: leave it out: whom a node follows it learns by `CLUSTER REPLICATE`, and keeps in `nodes.conf`
        "#]],
        );
        assert!(read("replicaof 10.0.0.1 6379\n").is_ok());
        assert!(read("replicaof 10.0.0.1 6379\ncluster-enabled no\n").is_ok());
        assert!(read("cluster-enabled yes\nreplicaof 10.0.0.1 6379\nreplicaof NO ONE\n").is_ok());
        check_error(
            "include /etc/redis/common.conf\n",
            &expect![[r#"
                error
                  × sentinel.conf:1:1: hasim reads one file and follows no `include`
                   ╭─[sentinel.conf:1:1]
                 1 │ include /etc/redis/common.conf
                   · ───────────────┬──────────────
                   ·                ╰── not followed
                   ╰────
                  help: put the directives of that file in place of this line: later lines win, as in Redis
            "#]],
        );
    }

    #[test]
    fn sizes_and_save_points_are_read_as_redis_reads_them() {
        let file =
            read("repl-backlog-size 64mb\nsave 900 1 300 10\nsave 60 10000\nappendfsync always\n").unwrap();
        let (_, parameters, _) = file.settings.configuration().unwrap();
        assert_eq!(parameters.repl_backlog_size, 64 << 20);
        assert_eq!(parameters.save.len(), 3);
        assert_eq!(parameters.appendfsync, models::redis::AppendFsync::Always);
        assert!(read("save 900\n").is_err());
    }
}
