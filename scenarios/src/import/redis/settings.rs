//! Settings of Redis and Sentinel on their way into the models: collected directive by directive from layers, each with its
//! place, then read with the rules of Redis.
//!
//! Layers, later ones win: the defaults of Redis, the files that the scenario names, the file of `--config`, the tables
//! `[cluster.sentinel]` and `[cluster.redis]` of the scenario, `--set`. Keys are the names of the directives, without
//! `sentinel` and the name of the group; the quorum of `sentinel monitor` is `quorum`.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::redis::release::{self, Version};
use models::redis::{AppendFsync, Parameters, SavePoint};
use models::redis_cluster::{ClusterConfig, Release};
use models::sentinel::GroupConfig;
use sim_core::SimDuration;

use super::directives::Word;
use super::known::{self, Kind};
use crate::diagnostic::{Source, Spot, UserError, did_you_mean};
use crate::import::Overruled;
use crate::import::value::{self, Value};

/// The arguments of one directive and their place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    kind: Kind,
    pub(super) words: Vec<String>,
    pub(super) spot: Spot,
}

/// The modelled directives that somebody wrote down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisSettings(pub(super) BTreeMap<&'static str, Setting>);

impl RedisSettings {
    /// Sets a directive; `save` adds to what the same file said before, unless it is empty.
    pub(super) fn put(&mut self, (name, kind): (&'static str, Kind), words: &[Word], spot: Spot) {
        let words: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
        if kind == Kind::Save
            && words != [""]
            && let Some(before) = self.0.get_mut(name)
        {
            before.words.retain(|word| !word.is_empty());
            before.words.extend(words);
            return;
        }
        self.0.insert(name, Setting { kind, words, spot });
    }

    /// Puts another layer on top.
    pub fn overlay(&mut self, layer: &Self) {
        for (name, setting) in &layer.0 {
            self.0.insert(name, setting.clone());
        }
    }

    /// The directives that the other layer has with other arguments.
    pub fn overruled_by(&self, other: &Self) -> impl Iterator<Item = Overruled> {
        self.0.iter().filter_map(|(key, setting)| {
            let ours = other.0.get(key).filter(|ours| ours.words != setting.words)?;
            let (theirs, ours) = (setting.words.join(" "), ours.words.join(" "));
            Some(Overruled { key, spot: setting.spot.clone(), theirs, ours })
        })
    }

    /// Reads the settings as Redis does.
    ///
    /// # Errors
    /// What Redis or Sentinel would not start with.
    pub fn configuration(&self) -> Result<(GroupConfig, Parameters, ClusterConfig), UserError> {
        let mut group = GroupConfig::default();
        let mut cluster = ClusterConfig::default();
        let mut parameters = Parameters::default();
        for (name, setting) in &self.0 {
            let parsed = setting.read(name)?;
            match (*name, parsed) {
                ("quorum", Parsed::Number(number)) => group.quorum = number as u32,
                ("down-after-milliseconds", Parsed::Time(time)) => group.down_after = time,
                ("failover-timeout", Parsed::Time(time)) => group.failover_timeout = time,
                ("parallel-syncs", Parsed::Number(number)) => group.parallel_syncs = number as u32,
                ("master-reboot-down-after-period", Parsed::Time(time)) => group.reboot_down_after = time,
                ("version", Parsed::Version(version)) => {
                    group.version = version;
                    parameters.version = version;
                }
                ("cluster-node-timeout", Parsed::Time(time)) => cluster.node_timeout = time,
                ("cluster-replica-validity-factor", Parsed::Number(number)) => {
                    cluster.replica_validity_factor = number as u32;
                }
                ("cluster-migration-barrier", Parsed::Number(number)) => {
                    cluster.migration_barrier = number as u32;
                }
                ("cluster-allow-replica-migration", Parsed::Flag(flag)) => {
                    cluster.allow_replica_migration = flag;
                }
                ("cluster-require-full-coverage", Parsed::Flag(flag)) => cluster.require_full_coverage = flag,
                ("cluster-replica-no-failover", Parsed::Flag(flag)) => cluster.replica_no_failover = flag,
                ("release", Parsed::Release(release)) => cluster.release = release,
                (name, parsed) => set_parameter(&mut parameters, name, parsed),
            }
        }
        Ok((group, parameters, cluster))
    }
}

fn set_parameter(parameters: &mut Parameters, name: &str, parsed: Parsed) {
    match (name, parsed) {
        ("replica-priority", Parsed::Number(number)) => parameters.replica_priority = number as u32,
        ("min-replicas-to-write", Parsed::Number(number)) => {
            parameters.min_replicas_to_write = number as u32;
        }
        ("repl-backlog-size", Parsed::Number(number)) => parameters.repl_backlog_size = number,
        ("min-replicas-max-lag", Parsed::Time(time)) => parameters.min_replicas_max_lag = time,
        ("repl-timeout", Parsed::Time(time)) => parameters.repl_timeout = time,
        ("repl-ping-replica-period", Parsed::Time(time)) => parameters.repl_ping_replica_period = time,
        ("repl-backlog-ttl", Parsed::Time(time)) => parameters.repl_backlog_ttl = time,
        ("repl-diskless-sync-delay", Parsed::Time(time)) => parameters.repl_diskless_sync_delay = time,
        ("repl-diskless-sync", Parsed::Flag(flag)) => parameters.repl_diskless_sync = flag,
        ("replica-serve-stale-data", Parsed::Flag(flag)) => parameters.replica_serve_stale_data = flag,
        ("appendonly", Parsed::Flag(flag)) => parameters.appendonly = flag,
        ("stop-writes-on-bgsave-error", Parsed::Flag(flag)) => parameters.stop_writes_on_bgsave_error = flag,
        ("appendfsync", Parsed::AppendFsync(when)) => parameters.appendfsync = when,
        ("save", Parsed::Save(points)) => parameters.save = points,
        (name, parsed) => unreachable!("{name} is not read as {parsed:?}"),
    }
}

/// A value.
#[derive(Clone, Debug)]
enum Parsed {
    Number(u64),
    Time(SimDuration),
    Flag(bool),
    AppendFsync(AppendFsync),
    Save(Vec<SavePoint>),
    Version(Version),
    Release(Release),
}

impl Setting {
    fn read(&self, name: &str) -> Result<Parsed, UserError> {
        if self.kind == Kind::Save {
            return self.save_points().map(Parsed::Save);
        }
        let [word] = self.words.as_slice() else {
            return Err(self.wrong(format!("`{name}` has {} arguments", self.words.len()), "expected one"));
        };
        match self.kind {
            Kind::Integer(low, high) => {
                self.number(name, word, "a whole number", low..=high).map(Parsed::Number)
            }
            Kind::Seconds(low, high) => self
                .number(name, word, "a whole number of seconds", low..=high)
                .map(|number| Parsed::Time(SimDuration::from_secs(number))),
            Kind::Milliseconds(low) => self
                .number(
                    name,
                    word,
                    "a whole number of milliseconds",
                    low..=i64::MAX.cast_unsigned() / 1_000_000,
                )
                .map(|number| Parsed::Time(SimDuration::from_millis(number))),
            Kind::Memory => memory(word).filter(|bytes| *bytes > 0).map(Parsed::Number).ok_or_else(|| {
                self.wrong(
                    format!("`{name}` is `{word}`, not a number of bytes"),
                    "expected a number such as 1048576, 1mb or 64k",
                )
            }),
            Kind::YesNo => match word.to_ascii_lowercase().as_str() {
                "yes" => Ok(Parsed::Flag(true)),
                "no" => Ok(Parsed::Flag(false)),
                _ => Err(self.wrong(format!("`{name}` is `{word}`"), "expected yes or no")),
            },
            Kind::AppendFsync => match word.to_ascii_lowercase().as_str() {
                "always" => Ok(Parsed::AppendFsync(AppendFsync::Always)),
                "everysec" => Ok(Parsed::AppendFsync(AppendFsync::EverySecond)),
                "no" => Ok(Parsed::AppendFsync(AppendFsync::No)),
                _ => Err(self.wrong(format!("`{name}` is `{word}`"), "expected always, everysec or no")),
            },
            Kind::Version => self.version(word).map(Parsed::Version),
            Kind::Release => {
                if let Some((_, release)) = Release::ALL.iter().find(|(name, _)| name == word) {
                    return Ok(Parsed::Release(*release));
                }
                let names = Release::ALL.map(|(name, _)| name);
                let help = did_you_mean(word, names);
                let expected = format!("expected one of: {}", names.join(", "));
                Err(self.wrong(format!("hasim models no release `{word}`"), expected).maybe_help(help))
            }
            Kind::Save => unreachable!("handled above"),
        }
    }

    fn number(
        &self,
        name: &str,
        word: &str,
        what: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, UserError> {
        word.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            self.wrong(
                format!("`{name}` is `{word}`, which Redis does not start with"),
                format!("expected {what} from {low} to {high}"),
            )
        })
    }

    fn version(&self, word: &str) -> Result<Version, UserError> {
        let version: Version =
            word.parse().map_err(|error: String| self.wrong(error, "expected a release such as 6.0.20"))?;
        if !(release::OLDEST..=release::MODELLED).contains(&version) {
            return Err(self.wrong(
                format!("hasim does not model Redis {version}"),
                format!("expected {} to {}", release::OLDEST, release::MODELLED),
            ));
        }
        Ok(version)
    }

    fn save_points(&self) -> Result<Vec<SavePoint>, UserError> {
        if self.words.iter().all(String::is_empty) {
            return Ok(Vec::new());
        }
        let expected = "expected pairs of seconds (at least 1) and changes, such as `900 1`, or \"\"";
        let wrong = || self.wrong("Invalid save parameters".to_owned(), expected);
        let pairs = self.words.chunks(2).map(|pair| {
            let [seconds, changes] = pair else { return Err(wrong()) };
            let seconds = seconds.parse::<u64>().ok().filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
            let changes = changes.parse().map_err(|_| wrong())?;
            Ok(SavePoint { after: SimDuration::from_secs(seconds), changes })
        });
        pairs.collect()
    }

    fn wrong(&self, message: String, label: impl Into<String>) -> UserError {
        UserError::at(self.spot.clone(), message, label)
    }
}

/// `memtoull`: bytes, with a unit of tens or of powers of two.
fn memory(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

/// The settings of a table of a scenario, `[cluster.sentinel]` or `[cluster.redis]`.
///
/// # Errors
/// A key that is not a modelled directive of that file, or a value that is neither a number nor text nor a truth value.
pub fn redis_settings_from_table(
    table: &Value,
    source: &Arc<Source>,
    sentinel: bool,
) -> Result<RedisSettings, UserError> {
    let known = if sentinel { known::SENTINEL } else { known::REDIS };
    let mut settings = RedisSettings::default();
    for entry in table.entries().unwrap_or_default() {
        let ours: &[(&str, Kind)] = if sentinel { &[] } else { &[known::VERSION, known::RELEASE] };
        let found = known.iter().chain(ours).find(|(name, _)| *name == known::canonical(&entry.key)).copied();
        let Some(found) = found else {
            let names = known.iter().chain(ours).map(|(name, _)| *name);
            let spot = Spot::new(source, entry.key_span.clone());
            let message = format!("hasim models no directive `{}` here", entry.key);
            return Err(
                UserError::at(spot, message, "not known here").maybe_help(did_you_mean(&entry.key, names))
            );
        };
        let spot = Spot::new(source, entry.value.span.clone());
        let text = match &entry.value.kind {
            value::Kind::Text(text) => text.clone(),
            value::Kind::Integer(number) => number.to_string(),
            value::Kind::Boolean(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            _ => return Err(UserError::at(spot, format!("`{}` has one value", entry.key), "not this")),
        };
        settings.put(found, &words_of(&text), spot);
    }
    Ok(settings)
}

/// `directive=arguments` of a `--set` flag.
///
/// # Errors
/// No `=`, or a directive that hasim does not model.
pub fn redis_setting_from_flag(text: &str) -> Result<RedisSettings, UserError> {
    let source = Source::new("--set", text);
    let Some((name, arguments)) = text.split_once('=') else {
        let spot = Spot::new(&source, 0..text.len());
        return Err(UserError::at(spot, "`--set` needs a directive and a value", "there is no `=` in it")
            .help("write it as `--set down-after-milliseconds=5000` or `--set min-replicas-to-write=1`"));
    };
    let found = known::modelled(name.trim()).ok_or_else(|| {
        let names = known::SENTINEL.iter().chain(known::REDIS).map(|(name, _)| *name);
        let message = format!("hasim models no directive `{}`", name.trim());
        UserError::at(Spot::new(&source, 0..name.len()), message, "not known here")
            .maybe_help(did_you_mean(name.trim(), names))
    })?;
    let mut settings = RedisSettings::default();
    let spot = Spot::new(&source, name.len() + 1..text.len());
    settings.put(found, &words_of(arguments), spot);
    Ok(settings)
}

/// The arguments in a text that is no line of a file.
fn words_of(text: &str) -> Vec<Word> {
    if text.trim().is_empty() {
        return vec![Word { text: String::new(), span: 0..0 }];
    }
    text.split_whitespace().map(|word| Word { text: word.trim_matches('"').to_owned(), span: 0..0 }).collect()
}
