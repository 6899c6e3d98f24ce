//! Patroni's settings on their way into a [`Configuration`]: collected key by key from layers, each with its place,
//! then read with Patroni's own rules.
//!
//! Layers, later ones win: Patroni's defaults, the `patroni.yml`, the `[cluster.patroni]` table of a scenario, `--set`.
//! Collecting comes before reading, so that `ttl` from a file and `loop_wait` from a flag are adjusted together, as
//! Patroni would do with one file.

mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use models::patroni::Configuration;

use self::reader::Reader;
use super::Overruled;
use super::value::{Entry, Kind, Reading, Value, Yaml};
use crate::diagnostic::{Remark, Source, Spot, UserError, did_you_mean};

/// The keys that hasim models, by the names of Patroni's documentation; dynamic settings without `bootstrap.dcs`.
pub(super) const MODELLED: &[&str] = &[
    "scope",
    "ttl",
    "loop_wait",
    "retry_timeout",
    "primary_race_backoff",
    "maximum_lag_on_failover",
    "check_timeline",
    "primary_start_timeout",
    "primary_stop_timeout",
    "synchronous_mode",
    "synchronous_mode_strict",
    "synchronous_node_count",
    "maximum_lag_on_syncnode",
    "failsafe_mode",
    "member_slots_ttl",
    "postgresql.use_slots",
    "postgresql.use_pg_rewind",
    "postgresql.pre_promote",
    "postgresql.remove_data_directory_on_diverged_timelines",
    "postgresql.parameters.synchronous_commit",
    "postgresql.parameters.wal_keep_size",
    "watchdog.mode",
    "watchdog.safety_margin",
    "tags.nofailover",
    "tags.failover_priority",
    "tags.nosync",
    "tags.noloadbalance",
    "kubernetes.use_endpoints",
    "kubernetes.bypass_api_service",
    "kubernetes.retriable_http_codes",
    VERSION,
    ETCD_VERSION,
    ETCD_API_VERSION,
];

/// The release that runs. Patroni has no such key, so no `patroni.yml` sets it.
pub(super) const VERSION: &str = "version";

/// The release of etcd that runs: no key of Patroni either.
pub(super) const ETCD_VERSION: &str = "etcd.version";

/// By which version of its API Patroni speaks with etcd: 2, which a section `etcd` of a `patroni.yml` means, or 3, as `etcd3` does.
pub(super) const ETCD_API_VERSION: &str = "etcd.api_version";

/// The documented name of a key that may be written by an older one.
pub(super) fn canonical(key: &str) -> &str {
    match key {
        "master_start_timeout" => "primary_start_timeout",
        "master_stop_timeout" => "primary_stop_timeout",
        other => other,
    }
}

/// The modelled key with this name.
pub(super) fn modelled(key: &str) -> Option<&'static str> {
    let key = canonical(key);
    MODELLED.iter().copied().find(|known| *known == key)
}

/// One value and its place.
#[derive(Clone, Debug, PartialEq)]
struct Setting {
    value: Value,
    spot: Spot,
}

/// The modelled settings that somebody wrote down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Sets a modelled key.
    pub(super) fn put(&mut self, key: &'static str, value: Value, source: &Arc<Source>) {
        let spot = Spot::new(source, value.span.clone());
        self.0.insert(key, Setting { value, spot });
    }

    /// True if somebody wrote this key down.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Forgets the settings whose names begin like this.
    pub(super) fn drop_section(&mut self, start: &str) {
        self.0.retain(|key, _| !key.starts_with(start));
    }

    /// Puts another layer on top.
    pub fn overlay(&mut self, layer: &Self) {
        for (key, setting) in &layer.0 {
            self.0.insert(key, setting.clone());
        }
    }

    /// The keys that the other layer has with another value.
    pub fn overruled_by(&self, other: &Self) -> impl Iterator<Item = Overruled> {
        self.0.iter().filter_map(|(key, setting)| {
            let ours = other.0.get(key).filter(|ours| ours.value.kind != setting.value.kind)?;
            let (theirs, ours) = (setting.value.to_string(), ours.value.to_string());
            Some(Overruled { key, spot: setting.spot.clone(), theirs, ours })
        })
    }

    /// Reads the settings as Patroni does. Remarks say what it changes.
    ///
    /// # Errors
    /// What Patroni does not start with, or what hasim does not model and cannot leave out.
    pub fn configuration(&self) -> Result<(Configuration, Vec<Remark>), UserError> {
        Reader::new(&self.0).read()
    }
}

/// `key=value` of a `--set` flag. The value is read as YAML, so that `on` and `30` mean what they mean in a file.
///
/// # Errors
/// No `=`, a value that is not YAML, or a key that hasim does not model.
pub fn setting_from_flag(text: &str) -> Result<Settings, UserError> {
    let source = Source::new("--set", text);
    let Some((key, written)) = text.split_once('=') else {
        return Err(UserError::at(
            Spot::new(&source, 0..text.len()),
            "`--set` needs a key and a value",
            "there is no `=` in it",
        )
        .help("write it as `--set ttl=20` or `--set watchdog.mode=required`"));
    };
    let key_span = 0..key.len();
    let key = known_key(key.trim(), key_span, &source)?;
    let span = text.len() - written.len()..text.len();
    let parsed: serde_saphyr::Spanned<Reading<Yaml>> = serde_saphyr::from_str(written).map_err(|error| {
        UserError::at(Spot::new(&source, span.clone()), "the value is not YAML", error.to_string())
    })?;
    let mut value = Reading::<Yaml>::finish(parsed);
    value.span = span;
    let mut settings = Settings::default();
    settings.put(key, value, &source);
    Ok(settings)
}

/// A table of a scenario file: keys as in Patroni's documentation, nested or dotted.
///
/// # Errors
/// A key that hasim does not model: scenario files are our own, so nothing in them may be without effect.
pub fn settings_from_table(table: &Value, source: &Arc<Source>) -> Result<Settings, UserError> {
    let mut settings = Settings::default();
    flatten(table.entries().unwrap_or_default(), "", source, &mut settings)?;
    Ok(settings)
}

fn flatten(
    entries: &[Entry],
    prefix: &str,
    source: &Arc<Source>,
    settings: &mut Settings,
) -> Result<(), UserError> {
    for entry in entries {
        let path = format!("{prefix}{}", entry.key);
        if let Kind::Mapping(below) = &entry.value.kind {
            flatten(below, &format!("{path}."), source, settings)?;
        } else {
            let key = known_key(&path, entry.key_span.clone(), source)?;
            settings.put(key, entry.value.clone(), source);
        }
    }
    Ok(())
}

fn known_key(
    key: &str,
    span: std::ops::Range<usize>,
    source: &Arc<Source>,
) -> Result<&'static str, UserError> {
    modelled(key).ok_or_else(|| {
        let suggestion = did_you_mean(key, MODELLED.iter().copied())
            .unwrap_or_else(|| format!("hasim models: {}", MODELLED.join(", ")));
        UserError::at(
            Spot::new(source, span),
            format!("`{key}` is not a setting of Patroni that hasim models"),
            "no such setting",
        )
        .help(suggestion)
    })
}
