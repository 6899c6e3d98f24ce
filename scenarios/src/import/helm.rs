//! Reads the values of a Helm chart that brings PostgreSQL with Patroni, alone or as a part of a platform.
//!
//! Such a file says how many servers there are and how many of them commits wait for, and leaves everything else to the
//! chart: Patroni runs with its defaults, in Pods, and so with Kubernetes as its store. It is told from a `patroni.yml` by
//! what stands in it: one of [`TELLING`], at the top level or below `postgresql`.
//!
//! | value | what it means here |
//! |---|---|
//! | `readReplicas.replicaCount` | members of the cluster, with the primary one more |
//! | `replication.enabled` | false: one member |
//! | `replication.numSynchronousReplicas` | more than 0: `synchronous_mode` with this `synchronous_node_count` |
//! | `replication.synchronousCommit` | `postgresql.parameters.synchronous_commit` |
//!
//! The names are those of the chart of Bitnami for PostgreSQL, whose values charts of platforms pass on. Everything else of
//! `postgresql` is known and left out, or unknown, which is said with its place. What stands beside `postgresql`
//! belongs to other parts of the platform.

use std::sync::Arc;

use super::patroni::PatroniFile;
use super::settings::Settings;
use super::value::{Entry, Kind, Value};
use crate::diagnostic::{Remark, Source, Spot, UserError, Weight, did_you_mean};

/// Keys that only such files have.
const TELLING: [&str; 4] = ["readReplicas", "replication", "architecture", "primary"];

/// Keys of the chart that say nothing about availability.
const KNOWN: &[&str] = &[
    "architecture",
    "audit",
    "auth",
    "backup",
    "common",
    "commonAnnotations",
    "commonLabels",
    "containerPorts",
    "enabled",
    "extraDeploy",
    "fullnameOverride",
    "global",
    "image",
    "ldap",
    "metrics",
    "nameOverride",
    "networkPolicy",
    "passwordUpdateJob",
    "persistence",
    "postgresqlDataDir",
    "postgresqlSharedPreloadLibraries",
    "primary",
    "psp",
    "rbac",
    "readReplicas",
    "replication",
    "resources",
    "service",
    "serviceAccount",
    "serviceBindings",
    "shmVolume",
    "tls",
    "volumePermissions",
];

const REPLICATION: &[&str] =
    &["applicationName", "enabled", "numSynchronousReplicas", "password", "synchronousCommit", "user"];

/// The part of the file that is about PostgreSQL, if the file is one of Helm values.
fn postgresql(root: &Value) -> Option<&Value> {
    let tells = |value: &Value| TELLING.iter().any(|key| value.get(key).is_some());
    [root.get("postgresql"), Some(root)].into_iter().flatten().find(|part| tells(part))
}

/// Reads the file, if it is one of Helm values.
///
/// # Errors
/// A number that no chart could use.
pub(super) fn read(root: &Value, source: &Arc<Source>) -> Option<Result<PatroniFile, UserError>> {
    let part = postgresql(root)?;
    let mut importer = Importer { source, left_out: Vec::new(), remarks: Vec::new() };
    Some(importer.read(root, part))
}

struct Importer<'a> {
    source: &'a Arc<Source>,
    left_out: Vec<(String, Spot)>,
    remarks: Vec<Remark>,
}

impl Importer<'_> {
    fn read(&mut self, root: &Value, part: &Value) -> Result<PatroniFile, UserError> {
        if !std::ptr::eq(root, part) {
            for entry in entries(root).filter(|entry| entry.key != "postgresql") {
                self.leave_out(&entry.key, entry);
            }
        }
        for entry in entries(part) {
            match entry.key.as_str() {
                "replication" => self.section(
                    entry,
                    REPLICATION,
                    &["enabled", "numSynchronousReplicas", "synchronousCommit"],
                ),
                "readReplicas" => {
                    for inner in entries(&entry.value).filter(|inner| inner.key != "replicaCount") {
                        self.leave_out(&format!("readReplicas.{}", inner.key), inner);
                    }
                }
                key if KNOWN.contains(&key) => self.leave_out(key, entry),
                key => self.unknown(key, entry, KNOWN),
            }
        }
        let mut settings = Settings::default();
        let on = |entry: &Entry| Value { kind: Kind::Boolean(true), span: entry.value.span.clone() };
        let place = entries(root).find(|entry| entry.key == "postgresql").or_else(|| entries(part).next());
        if let Some(place) = place {
            let span = place.key_span.clone();
            settings.put("kubernetes.use_endpoints", Value { kind: Kind::Boolean(true), span }, self.source);
            self.note(
                place,
                "these are Helm values: Patroni runs with its defaults and with Kubernetes as its store, whose \
                 Endpoints hold the lock"
                    .to_owned(),
            );
        }
        let replication = part.get("replication");
        let find = |key: &str| entries(replication?).filter(|entry| entry.key == key).last();
        if let Some(entry) = find("numSynchronousReplicas") {
            let count = self.count(entry, 0, 14)?;
            if count > 0 {
                settings.put("synchronous_mode", on(entry), self.source);
                settings.put("synchronous_node_count", entry.value.clone(), self.source);
            }
        }
        if let Some(entry) = find("synchronousCommit") {
            settings.put("postgresql.parameters.synchronous_commit", entry.value.clone(), self.source);
        }
        let alone = find("enabled").is_some_and(|entry| entry.value.kind == Kind::Boolean(false));
        let replicas = part.get("readReplicas");
        let count = replicas.and_then(|replicas| entries(replicas).find(|entry| entry.key == "replicaCount"));
        let replicas = count.map(|entry| self.count(entry, 0, 14)).transpose()?;
        let members = if alone { Some(1) } else { replicas.map(|count| count + 1) };
        self.finish();
        Ok(PatroniFile { settings, etcd_members: None, members, remarks: std::mem::take(&mut self.remarks) })
    }

    fn section(&mut self, section: &Entry, known: &[&str], used: &[&str]) {
        for entry in entries(&section.value) {
            let path = format!("{}.{}", section.key, entry.key);
            if !known.contains(&entry.key.as_str()) {
                self.unknown(&path, entry, known);
            } else if !used.contains(&entry.key.as_str()) {
                self.leave_out(&path, entry);
            }
        }
    }

    /// A whole number within these bounds.
    fn count(&self, entry: &Entry, least: i64, most: i64) -> Result<u8, UserError> {
        let number = match entry.value.kind {
            Kind::Integer(number) if (least..=most).contains(&number) => Some(number),
            _ => None,
        };
        number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
            UserError::at(
                Spot::new(self.source, entry.value.span.clone()),
                format!("`{}` is `{}`, which is not a number of replicas", entry.key, entry.value),
                format!("expected a whole number from {least} to {most}"),
            )
        })
    }

    fn unknown(&mut self, path: &str, entry: &Entry, known: &[&str]) {
        let suggestion =
            did_you_mean(&entry.key, known.iter().copied()).map_or(String::new(), |text| format!("; {text}"));
        self.remarks.push(Remark {
            weight: Weight::Warning,
            spot: Spot::new(self.source, entry.key_span.clone()),
            message: format!("the chart of PostgreSQL knows no value `{path}`: it has no effect{suggestion}"),
        });
    }

    fn leave_out(&mut self, path: &str, entry: &Entry) {
        self.left_out.push((path.to_owned(), Spot::new(self.source, entry.key_span.clone())));
    }

    fn note(&mut self, entry: &Entry, message: String) {
        let spot = Spot::new(self.source, entry.key_span.clone());
        self.remarks.push(Remark { weight: Weight::Note, spot, message });
    }

    /// What is left out comes as one note: such files have much of it.
    fn finish(&mut self) {
        let named: Vec<String> = self
            .left_out
            .iter()
            .map(|(path, spot)| format!("`{path}` (line {})", spot.source.line_and_column(spot.span.start).0))
            .collect();
        if let Some((_, first)) = self.left_out.first() {
            let message = format!("not modelled, and left out: {}", named.join(", "));
            self.remarks.push(Remark { weight: Weight::Note, spot: first.clone(), message });
        }
        self.remarks.sort_by_key(|remark| remark.spot.span.start);
    }
}

fn entries(value: &Value) -> impl Iterator<Item = &Entry> {
    value.entries().unwrap_or_default().iter()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use models::patroni::{Configuration, KubernetesSettings, SynchronousMode};

    use super::super::read_patroni_yml;
    use super::*;

    fn read(text: &str) -> (PatroniFile, Configuration, String) {
        let file = read_patroni_yml(&Source::new("values.yaml", text)).unwrap();
        let (configuration, more) = file.settings.configuration().unwrap();
        let remarks: Vec<String> = file.remarks.iter().chain(&more).map(ToString::to_string).collect();
        let remarks = remarks.join("\n");
        (file, configuration, remarks)
    }

    #[track_caller]
    fn check_remarks(text: &str, expected: &Expect) {
        expected.assert_eq(&read(text).2);
    }

    #[test]
    fn published_values_make_three_members_and_one_synchronous_standby() {
        let (file, configuration, remarks) =
            read(include_str!("../../catalogue/patroni/seed-001.values.yaml"));
        assert_eq!(file.members, Some(3));
        let expected = Configuration {
            synchronous_mode: SynchronousMode::On,
            synchronous_node_count: 1,
            kubernetes: Some(KubernetesSettings { use_endpoints: true, ..KubernetesSettings::default() }),
            ..Configuration::default()
        };
        assert_eq!(configuration, expected);
        assert!(!remarks.contains("warning"), "{remarks}");
    }

    #[test]
    fn values_without_a_platform_are_read_as_well() {
        let (file, configuration, _) = read(
            "architecture: replication\nreplication:\n  synchronousCommit: remote_apply\n  numSynchronousReplicas: 2\nreadReplicas:\n  replicaCount: 4\n",
        );
        assert_eq!((file.members, configuration.synchronous_node_count), (Some(5), 2));
        assert_eq!(configuration.synchronous_commit, models::postgres::SynchronousCommit::RemoteApply);
        let (file, configuration, _) = read("postgresql:\n  replication:\n    enabled: false\n");
        assert_eq!((file.members, configuration.synchronous_mode), (Some(1), SynchronousMode::Off));
    }

    #[test]
    fn values_without_effect_are_reported_with_their_places() {
        check_remarks(
            "redis:\n  enabled: true\npostgresql:\n  auth:\n    database: app\n  replication:\n    enabled: true\n    numSyncReplicas: 1\n  readReplica: 2\n",
            &expect![[r"
                values.yaml:1:1: note: not modelled, and left out: `redis` (line 1), `auth` (line 4)
                values.yaml:3:1: note: these are Helm values: Patroni runs with its defaults and with Kubernetes as its store, whose Endpoints hold the lock
                values.yaml:8:5: warning: the chart of PostgreSQL knows no value `replication.numSyncReplicas`: it has no effect; did you mean `numSynchronousReplicas`?
                values.yaml:9:3: warning: the chart of PostgreSQL knows no value `readReplica`: it has no effect; did you mean `readReplicas`?"]],
        );
    }

    #[test]
    fn a_number_of_replicas_is_a_number() {
        let source = Source::new("values.yaml", "postgresql:\n  readReplicas:\n    replicaCount: many\n");
        let error = read_patroni_yml(&source).unwrap_err();
        expect![[r"
            error
              × values.yaml:3:19: `replicaCount` is `many`, which is not a number of replicas
               ╭─[values.yaml:3:19]
             2 │   readReplicas:
             3 │     replicaCount: many
               ·                   ──┬─
               ·                     ╰── expected a whole number from 0 to 14
               ╰────
        "]]
        .assert_eq(&format!("error\n{}", error.report(false)));
    }
}
