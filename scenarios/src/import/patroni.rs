//! Reads a real `patroni.yml`, or the values of a Helm chart in its place (`helm.rs`).
//!
//! Where a setting may stand, and which place wins, is Patroni's rule (`patroni/config.py`):
//! - dynamic settings count only below `bootstrap.dcs` (from there they go to etcd when the cluster is made); at the
//!   top level Patroni ignores them;
//! - settings below `postgresql` in the file win over those below `bootstrap.dcs.postgresql`;
//! - `watchdog`, `tags` and `kubernetes` are settings of the member.
//! - The store is the first of `etcd` (API version 2), `etcd3` and `kubernetes` that has a section (`dcs/__init__.py:get_dcs`).
//!
//! hasim gives the settings of one file to all members of the cluster.

use std::sync::Arc;

use super::known_keys::{Below, DYNAMIC, below};
use super::settings::{ETCD_API_VERSION, ETCD_VERSION, MODELLED, Settings, VERSION, canonical, modelled};
use super::value::{Entry, Kind, Reading, Value, Yaml};
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};

/// What a `patroni.yml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct PatroniFile {
    /// The settings that hasim models.
    pub settings: Settings,
    /// How many members of etcd the file names.
    pub etcd_members: Option<usize>,
    /// How many members the cluster has, if the file says so.
    pub members: Option<u8>,
    /// Keys that have no effect here, in the order of the file.
    pub remarks: Vec<Remark>,
}

/// Beginnings of the settings of a member, which count in its own part of the file.
const LOCAL: [&str; 5] = ["scope", "postgresql.", "watchdog.", "tags.", "kubernetes."];

/// Reads the file.
///
/// # Errors
/// It is not YAML, not a mapping, or Patroni would not start with it, whatever a scenario makes of its settings.
pub fn read_patroni_yml(source: &Arc<Source>) -> Result<PatroniFile, UserError> {
    let file = import(source)?;
    file.settings.configuration()?;
    Ok(file)
}

fn import(source: &Arc<Source>) -> Result<PatroniFile, UserError> {
    let root = parse(source)?;
    if root.entries().is_none() {
        return Err(UserError::at(
            Spot::new(source, root.span.clone()),
            "a patroni.yml is a mapping of keys to values",
            format!("this is {root}"),
        ));
    }
    if let Some(file) = super::helm::read(&root, source) {
        return file;
    }
    let mut importer = Importer {
        source,
        file: PatroniFile {
            settings: Settings::default(),
            etcd_members: None,
            members: None,
            remarks: Vec::new(),
        },
        not_modelled: Vec::new(),
    };
    importer.section(&root, "");
    // The local section is read last whatever the order in the file: it wins.
    for path in [&["bootstrap", "dcs"][..], &[][..]] {
        let found = path.iter().try_fold(&root, |section, key| section.get(key));
        if let Some(found) = found {
            importer.collect(found, "", !path.is_empty());
        }
    }
    importer.warn_of_other_systems(&root);
    importer.choose_store(&root);
    importer.finish();
    Ok(importer.file)
}

fn parse(source: &Arc<Source>) -> Result<Value, UserError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    let parsed: Result<serde_saphyr::Spanned<Reading<Yaml>>, _> =
        serde_saphyr::from_str_with_options(&source.text, options);
    parsed.map(Reading::<Yaml>::finish).map_err(|error| {
        let message = "this is not YAML that Patroni could read";
        let plain = error.without_snippet();
        let place = error.location();
        let start = place.map_or(0, |place| source.byte_at(place.line() as usize, place.column() as usize));
        let text = plain.to_string();
        let label = text.split(" at line ").next().unwrap_or_default().to_owned();
        UserError::at(Spot::new(source, start..start), message, label)
    })
}

/// `hosts` is a list, or a text with commas.
fn count_hosts(hosts: &Value) -> Option<usize> {
    let count = match &hosts.kind {
        Kind::Sequence(items) => items.len(),
        Kind::Text(text) => text.split(',').filter(|host| !host.trim().is_empty()).count(),
        _ => 0,
    };
    (count > 0).then_some(count)
}

/// Sections of stores that hasim models, in the order in which Patroni looks for them.
const STORES: [&str; 3] = ["etcd", "etcd3", "kubernetes"];

/// Sections of stores that hasim does not model.
const OTHER_STORES: &[&str] = &["consul", "exhibitor", "raft", "zookeeper"];

/// The dynamic setting that makes a cluster follow another one.
const STANDBY_CLUSTER: &str = "standby_cluster";

struct Importer<'a> {
    source: &'a Arc<Source>,
    file: PatroniFile,
    /// Keys that Patroni knows and hasim does not model.
    not_modelled: Vec<(String, Spot)>,
}

impl Importer<'_> {
    /// Reports every key that has no effect here.
    fn section(&mut self, section: &Value, path: &str) {
        let Some(below) = below(path) else { return };
        for entry in section.entries().unwrap_or_default() {
            let child = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match below {
                Below::Keys(known) if !known.contains(&entry.key.as_str()) => {
                    self.unknown(entry, path, known);
                }
                _ if super::known_keys::below(&child).is_some() => self.section(&entry.value, &child),
                _ => self.known(entry, &child),
            }
        }
    }

    fn known(&mut self, entry: &Entry, path: &str) {
        let setting = path.strip_prefix("bootstrap.dcs.").unwrap_or(path);
        let used = modelled(setting).is_some()
            || matches!(path, "name" | "namespace" | "etcd.hosts" | "etcd3.hosts")
            || OTHER_STORES.contains(&path)
            || setting == STANDBY_CLUSTER;
        if !used {
            let spot = Spot::new(self.source, entry.key_span.clone());
            self.not_modelled.push((path.to_owned(), spot));
        }
    }

    fn unknown(&mut self, entry: &Entry, path: &str, known: &[&str]) {
        let key = &entry.key;
        let place = if path.is_empty() { "at the top level".to_owned() } else { format!("below `{path}`") };
        let message = if path.is_empty() && DYNAMIC.contains(&key.as_str()) {
            format!("Patroni ignores `{key}` at the top level; it belongs below `bootstrap.dcs`")
        } else {
            let suggestion =
                did_you_mean(key, known.iter().copied()).map_or(String::new(), |text| format!("; {text}"));
            format!("Patroni knows no key `{key}` {place}: it has no effect{suggestion}")
        };
        self.file.remarks.push(Remark {
            weight: Weight::Warning,
            spot: Spot::new(self.source, entry.key_span.clone()),
            message,
        });
    }

    /// Takes the modelled settings below a section; `dynamic` tells the two kinds of sections apart.
    fn collect(&mut self, section: &Value, prefix: &str, dynamic: bool) {
        for entry in section.entries().unwrap_or_default() {
            let path = format!("{prefix}{}", entry.key);
            let local = LOCAL.iter().any(|start| path.starts_with(start));
            let Some(key) =
                modelled(&path).filter(|key| ![VERSION, ETCD_VERSION, ETCD_API_VERSION].contains(key))
            else {
                if MODELLED.iter().any(|key| key.starts_with(&format!("{path}."))) {
                    self.collect(&entry.value, &format!("{path}."), dynamic);
                }
                continue;
            };
            let dynamic_only = !local || canonical(key).starts_with("postgresql.");
            let counts = if dynamic { dynamic_only } else { local };
            if counts && entry.value.kind != Kind::Null {
                self.file.settings.put(key, entry.value.clone(), self.source);
            }
        }
    }

    /// What makes another system of the cluster than the one that is run here is not left out in silence.
    fn warn_of_other_systems(&mut self, root: &Value) {
        let dynamic =
            root.get("bootstrap").and_then(|bootstrap| bootstrap.get("dcs")).and_then(Value::entries);
        for entry in root.entries().into_iter().chain(dynamic).flatten() {
            let message = match entry.key.as_str() {
                store if OTHER_STORES.contains(&store) => format!(
                    "the store `{store}` is not modelled: the cluster runs on etcd here, which loses and gives locks at \
                     other times"
                ),
                STANDBY_CLUSTER if entry.value.kind != Kind::Null => {
                    "a standby cluster is not modelled: the cluster follows no other here, and accepts writes"
                        .to_owned()
                }
                _ => continue,
            };
            let spot = Spot::new(self.source, entry.key_span.clone());
            self.file.remarks.push(Remark { weight: Weight::Warning, spot, message });
        }
    }

    /// The first store that has a section is it, whatever the section says.
    fn choose_store(&mut self, root: &Value) {
        let entries = root.entries().unwrap_or_default();
        let mut sections =
            STORES.iter().filter_map(|store| entries.iter().rev().find(|entry| entry.key == *store));
        let Some(chosen) = sections.next() else { return };
        for other in sections {
            let message = format!(
                "Patroni takes the store of the section `{}`: `{}` has no effect",
                chosen.key, other.key
            );
            let spot = Spot::new(self.source, other.key_span.clone());
            self.file.remarks.push(Remark { weight: Weight::Warning, spot, message });
        }
        let (key, default) = match chosen.key.as_str() {
            "etcd" => (ETCD_API_VERSION, Kind::Integer(2)),
            "etcd3" => (ETCD_API_VERSION, Kind::Integer(3)),
            _ => ("kubernetes.use_endpoints", Kind::Boolean(false)),
        };
        if key == ETCD_API_VERSION {
            self.file.settings.drop_section("kubernetes.");
            self.file.etcd_members = chosen.value.get("hosts").and_then(count_hosts);
        }
        if !self.file.settings.has(key) {
            let default = Value { kind: default, span: chosen.key_span.clone() };
            self.file.settings.put(key, default, self.source);
        }
    }

    /// The keys that hasim leaves out come as one note: a real file has many of them.
    fn finish(&mut self) {
        let named: Vec<String> = self
            .not_modelled
            .iter()
            .map(|(path, spot)| format!("`{path}` (line {})", spot.source.line_and_column(spot.span.start).0))
            .collect();
        if let Some((_, first)) = self.not_modelled.first() {
            self.file.remarks.push(Remark {
                weight: Weight::Note,
                spot: first.clone(),
                message: format!("not modelled, and left out: {}", named.join(", ")),
            });
        }
        self.file.remarks.sort_by_key(|remark| remark.spot.span.start);
    }
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes snapshots with them")]
mod tests;
