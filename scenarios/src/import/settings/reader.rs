//! The rules of Patroni, `PostgreSQL` and etcd for each setting: units, ranges, and what happens to a value that is out of range.

use std::collections::BTreeMap;

use models::patroni::{
    Configuration, EtcdApi, FailoverPriority, KubernetesSettings, PrePromote, SynchronousMode, Tags,
    Timeouts, Watchdog, WatchdogMode,
};
use models::postgres::SynchronousCommit;
use models::{Release, etcd, patroni};
use sim_core::SimDuration;

use super::{ETCD_API_VERSION, ETCD_VERSION, Setting, VERSION};
use crate::diagnostic::{Remark, UserError, Weight, did_you_mean};
use crate::import::value::Kind;

/// The first release with quorum commit.
const QUORUM_SINCE: Release = Release::new(4, 0, 0);

/// The first release with `primary_race_backoff`; not out yet when this was written.
const RACE_BACKOFF_SINCE: Release = Release::new(4, 2, 0);

/// The first release of etcd without API version 2 (`--enable-v2`).
const ETCD_WITHOUT_V2: Release = Release::new(3, 6, 0);

/// Units of time of `PostgreSQL`, in microseconds (`convert_to_base_unit` in `patroni/utils.py`).
const TIME_UNITS: [(&str, i64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Units of memory of `PostgreSQL`, in bytes.
const MEMORY_UNITS: [(&str, i64); 5] =
    [("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// Reads the collected settings one by one.
pub(super) struct Reader<'a> {
    settings: &'a BTreeMap<&'static str, Setting>,
    remarks: Vec<Remark>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a BTreeMap<&'static str, Setting>) -> Self {
        Self { settings, remarks: Vec::new() }
    }

    /// The configuration, and what Patroni changes in it.
    pub(super) fn read(mut self) -> Result<(Configuration, Vec<Remark>), UserError> {
        let configuration = self.configuration()?;
        Ok((configuration, self.remarks))
    }
}

impl Reader<'_> {
    fn configuration(&mut self) -> Result<Configuration, UserError> {
        let defaults = Configuration::default();
        let timeouts = self.timeouts()?;
        // API servers speak version 3 with it.
        let etcd_api = if self.on_kubernetes() { EtcdApi::V3 } else { self.etcd_api()? };
        let oldest = match etcd_api {
            EtcdApi::V2 => patroni::OLDEST_ON_ETCD_V2,
            EtcdApi::V3 if self.on_kubernetes() => patroni::OLDEST_ON_KUBERNETES,
            EtcdApi::V3 => patroni::OLDEST,
        };
        let version = self.release(VERSION, patroni::MODELLED, oldest, "Patroni")?;
        let etcd_version = self.release(ETCD_VERSION, etcd::MODELLED, etcd::OLDEST, "etcd")?;
        if etcd_api == EtcdApi::V2 && etcd_version >= ETCD_WITHOUT_V2 {
            return Err(self.refused(
                ETCD_VERSION,
                &format!("etcd {etcd_version} does not speak API version 2"),
                "choose a release before 3.6.0, or API version 3 with `etcd.api_version`",
            ));
        }
        let synchronous_mode = self.synchronous_mode(version)?;
        let synchronous_mode_strict = self.truth("synchronous_mode_strict", defaults.synchronous_mode_strict);
        Ok(Configuration {
            scope: self.text("scope").unwrap_or(defaults.scope),
            ttl: seconds(timeouts.ttl),
            loop_wait: seconds(timeouts.loop_wait),
            retry_timeout: seconds(timeouts.retry_timeout),
            primary_race_backoff: self.primary_race_backoff(version),
            maximum_lag_on_failover: self
                .at_least_zero("maximum_lag_on_failover", defaults.maximum_lag_on_failover),
            check_timeline: self.truth("check_timeline", defaults.check_timeline),
            primary_start_timeout: SimDuration::from_secs(self.at_least_zero("primary_start_timeout", 300)),
            primary_stop_timeout: SimDuration::from_secs(self.at_least_zero("primary_stop_timeout", 0)),
            synchronous_mode,
            synchronous_mode_strict,
            synchronous_node_count: self.synchronous_node_count(synchronous_mode_strict),
            maximum_lag_on_syncnode: self.number("maximum_lag_on_syncnode", -1).try_into().ok(),
            failsafe_mode: self.truth("failsafe_mode", defaults.failsafe_mode),
            use_slots: self.truth("postgresql.use_slots", defaults.use_slots),
            member_slots_ttl: self.member_slots_ttl(),
            wal_keep_size: self.wal_keep_size(),
            use_pg_rewind: self.truth("postgresql.use_pg_rewind", defaults.use_pg_rewind),
            pre_promote: self.pre_promote(),
            remove_data_directory_on_diverged_timelines: self.truth(
                "postgresql.remove_data_directory_on_diverged_timelines",
                defaults.remove_data_directory_on_diverged_timelines,
            ),
            synchronous_commit: self.synchronous_commit()?,
            watchdog: self.watchdog(),
            tags: self.tags(),
            member_tags: defaults.member_tags,
            version,
            etcd_version,
            etcd_api,
            kubernetes: self.kubernetes()?,
        })
    }

    fn primary_race_backoff(&mut self, version: Release) -> SimDuration {
        let key = "primary_race_backoff";
        if version < RACE_BACKOFF_SINCE && self.settings.contains_key(key) {
            self.remark(key, format!("Patroni {version} does not know `{key}`: it has no effect"));
        }
        SimDuration::from_secs(self.at_least_zero(key, 0))
    }

    /// `int(value)`: whole numbers, and text that holds one; anything else stops Patroni.
    fn timeouts(&mut self) -> Result<Timeouts, UserError> {
        let defaults = [("ttl", 30), ("loop_wait", 10), ("retry_timeout", 10)];
        let mut read = [0; 3];
        for (slot, (key, default)) in read.iter_mut().zip(defaults) {
            *slot = self.timeout(key, default)?;
        }
        let [ttl, loop_wait, retry_timeout] = read;
        let written = Timeouts { ttl, loop_wait, retry_timeout };
        let (adjusted, adjustments) = written.adjust();
        for adjustment in adjustments {
            // A value that was not written can only be changed because of one that was.
            let blamed = [adjustment.key, "retry_timeout", "ttl", "loop_wait"]
                .into_iter()
                .find(|key| self.settings.contains_key(key));
            if let Some(key) = blamed {
                self.remark(key, adjustment.message);
            }
        }
        Ok(adjusted)
    }

    fn timeout(&mut self, key: &'static str, default: i64) -> Result<i64, UserError> {
        let Some(setting) = self.settings.get(key) else {
            return Ok(default);
        };
        match &setting.value.kind {
            Kind::Integer(number) => return Ok(*number),
            Kind::Float(number) if number.is_finite() => {
                let whole = number.trunc() as i64;
                self.remark(key, format!("`{key}` is {number}; Patroni cuts it to {whole} whole seconds"));
                return Ok(whole);
            }
            Kind::Text(text) => {
                if let Ok(number) = text.trim().parse() {
                    return Ok(number);
                }
            }
            _ => {}
        }
        Err(UserError::at(
            setting.spot.clone(),
            format!("`{key}` is `{}`, not a whole number of seconds", setting.value),
            "expected a number of seconds without a unit",
        )
        .help(format!(
            "Patroni reads `{key}` with Python's int() and refuses this value; write `{key}: {default}`"
        )))
    }

    fn synchronous_mode(&mut self, version: Release) -> Result<SynchronousMode, UserError> {
        let quorum = |kind: &Kind| matches!(kind, Kind::Text(text) if text.eq_ignore_ascii_case("quorum"));
        if self.settings.get("synchronous_mode").is_some_and(|setting| quorum(&setting.value.kind)) {
            if version < QUORUM_SINCE {
                return Err(self.refused(
                    "synchronous_mode",
                    &format!("Patroni {version} does not know quorum commit (`synchronous_mode: quorum`)"),
                    &format!(
                        "it came with {QUORUM_SINCE}; choose that release or a later one with `version`"
                    ),
                ));
            }
            return Ok(SynchronousMode::Quorum);
        }
        Ok(if self.truth("synchronous_mode", false) { SynchronousMode::On } else { SynchronousMode::Off })
    }

    /// Which release runs: no key of Patroni, but of scenarios and flags.
    fn release(
        &mut self,
        key: &str,
        modelled: Release,
        oldest: Release,
        software: &str,
    ) -> Result<Release, UserError> {
        let Some(setting) = self.settings.get(key) else {
            return Ok(modelled);
        };
        let release: Release = setting.value.to_string().parse().map_err(|error: String| {
            UserError::at(setting.spot.clone(), error, format!("expected a release of {software}, in quotes"))
        })?;
        if release < oldest {
            return Err(UserError::at(
                setting.spot.clone(),
                format!("hasim does not know what {software} {release} did"),
                format!("expected {oldest} or later"),
            ));
        }
        Ok(release)
    }

    /// A command. What it does, only a scenario can say.
    fn pre_promote(&mut self) -> Option<PrePromote> {
        self.text("postgresql.pre_promote")?;
        let message = "hasim does not run scripts: `pre_promote` is taken to succeed at once, unless the scenario says what \
                       it does (`cluster.pre_promote`)";
        self.remark("postgresql.pre_promote", message.to_owned());
        Some(PrePromote::default())
    }

    /// No key of Patroni either: its section says it.
    fn etcd_api(&self) -> Result<EtcdApi, UserError> {
        let Some(setting) = self.settings.get(ETCD_API_VERSION) else {
            return Ok(EtcdApi::default());
        };
        match setting.value.kind {
            Kind::Integer(2) => Ok(EtcdApi::V2),
            Kind::Integer(3) => Ok(EtcdApi::V3),
            _ => Err(UserError::at(
                setting.spot.clone(),
                format!(
                    "`{ETCD_API_VERSION}` is `{}`, and no version of etcd's API that Patroni speaks",
                    setting.value
                ),
                "expected 2 or 3",
            )),
        }
    }

    /// Somebody wrote a setting of `kubernetes`: it is the store.
    fn on_kubernetes(&self) -> bool {
        self.settings.keys().any(|key| key.starts_with("kubernetes."))
    }

    fn kubernetes(&mut self) -> Result<Option<KubernetesSettings>, UserError> {
        if !self.on_kubernetes() {
            return Ok(None);
        }
        Ok(Some(KubernetesSettings {
            use_endpoints: self.truth("kubernetes.use_endpoints", false),
            bypass_api_service: self.truth("kubernetes.bypass_api_service", false),
            retriable_http_codes: self.retriable_http_codes()?,
        }))
    }

    /// A number, a list of numbers, or a text with commas.
    fn retriable_http_codes(&mut self) -> Result<Vec<u16>, UserError> {
        const KEY: &str = "kubernetes.retriable_http_codes";
        let Some(setting) = self.settings.get(KEY) else { return Ok(Vec::new()) };
        let written: Vec<String> = match &setting.value.kind {
            Kind::Sequence(items) => items.iter().map(ToString::to_string).collect(),
            _ => setting.value.to_string().split(',').map(|code| code.trim().to_owned()).collect(),
        };
        let code = |text: &String| text.parse().ok().filter(|code| (100..600).contains(code));
        written.iter().map(code).collect::<Option<Vec<u16>>>().ok_or_else(|| {
            UserError::at(
                setting.spot.clone(),
                format!("`{KEY}` is `{}`, not a list of HTTP statuses", written.join(", ")),
                "expected numbers from 100 to 599",
            )
            .help("Patroni warns and uses none of them; write them as `[429, 502]`")
        })
    }

    /// `get_int` with the base unit of a second; the least value of Patroni's validator is 0.
    fn member_slots_ttl(&mut self) -> SimDuration {
        let seconds = self.measure("member_slots_ttl", 1_800, &TIME_UNITS, 1_000_000);
        SimDuration::from_secs(self.not_negative("member_slots_ttl", seconds))
    }

    /// Patroni sets `wal_keep_size` itself if the file has none or less than 16 MB (`CMDLINE_OPTIONS`).
    fn wal_keep_size(&mut self) -> u64 {
        const KEY: &str = "postgresql.parameters.wal_keep_size";
        let written = self.measure(KEY, 128, &MEMORY_UNITS, 1 << 20);
        let megabytes =
            u64::try_from(written).ok().filter(|megabytes| *megabytes >= 16).unwrap_or_else(|| {
                self.remark(
                    KEY,
                    format!("`{KEY}` is {written} MB; Patroni wants at least 16 MB, and sets 128 MB"),
                );
                128
            });
        megabytes << 20
    }

    fn synchronous_node_count(&mut self, strict: bool) -> u8 {
        let written = self.number("synchronous_node_count", 1);
        let least = i64::from(strict);
        if written < least {
            self.remark(
                "synchronous_node_count",
                format!(
                    "`synchronous_node_count` is {written}; Patroni uses {least}, the least it accepts here"
                ),
            );
        }
        u8::try_from(written.max(least)).unwrap_or(u8::MAX)
    }

    /// A setting of `PostgreSQL`: an unknown value stops the server from starting.
    fn synchronous_commit(&mut self) -> Result<SynchronousCommit, UserError> {
        const KEY: &str = "postgresql.parameters.synchronous_commit";
        let Some(setting) = self.settings.get(KEY) else {
            return Ok(SynchronousCommit::default());
        };
        match setting.value.to_string().to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok(SynchronousCommit::On),
            "off" | "false" | "no" | "0" => Ok(SynchronousCommit::Off),
            "local" => Ok(SynchronousCommit::Local),
            "remote_write" => Ok(SynchronousCommit::RemoteWrite),
            "remote_apply" => Ok(SynchronousCommit::RemoteApply),
            other => Err(UserError::at(
                setting.spot.clone(),
                format!("`synchronous_commit` is `{other}`, which PostgreSQL does not know"),
                "expected on, off, local, remote_write or remote_apply",
            )
            .maybe_help(did_you_mean(other, ["local", "remote_write", "remote_apply"]))),
        }
    }

    fn watchdog(&mut self) -> Watchdog {
        let mode = match self.settings.get("watchdog.mode").map(|setting| &setting.value.kind) {
            None => WatchdogMode::default(),
            Some(Kind::Boolean(false)) => WatchdogMode::Off,
            Some(kind) => {
                let written = match kind {
                    Kind::Text(text) => text.to_ascii_lowercase(),
                    _ => String::new(),
                };
                match written.as_str() {
                    "require" | "required" => WatchdogMode::Required,
                    "auto" | "automatic" => WatchdogMode::Automatic,
                    "off" | "disable" | "disabled" => WatchdogMode::Off,
                    _ => {
                        self.remark(
                            "watchdog.mode",
                            "Patroni does not know this `watchdog.mode` and disables the watchdog; it knows off, \
                             automatic and required"
                                .to_owned(),
                        );
                        WatchdogMode::Off
                    }
                }
            }
        };
        let margin = self.number("watchdog.safety_margin", 5);
        Watchdog {
            mode,
            safety_margin: u64::try_from(margin).ok().map(SimDuration::from_secs),
            ..Watchdog::default()
        }
    }

    fn tags(&mut self) -> Tags {
        let priority = self.number("tags.failover_priority", 1);
        let tags = Tags {
            nofailover: self.truth("tags.nofailover", priority <= 0),
            nosync: self.truth("tags.nosync", false),
            noloadbalance: self.truth("tags.noloadbalance", false),
            failover_priority: FailoverPriority(i32::try_from(priority).unwrap_or(i32::MAX)),
            // A name of another member: only the scenario knows which member the file is for.
            replicatefrom: None,
        };
        let key = if self.settings.contains_key("tags.nofailover") {
            "tags.nofailover"
        } else {
            "tags.failover_priority"
        };
        if tags.nofailover {
            self.remark(
                key,
                "hasim gives the tags of the file to every member: nobody will fail over".to_owned(),
            );
        }
        if tags.nosync {
            self.remark(
                "tags.nosync",
                "hasim gives the tags of the file to every member: nobody will be a synchronous standby"
                    .to_owned(),
            );
        }
        tags
    }

    /// `parse_bool`: what it does not know counts as not set.
    fn truth(&mut self, key: &'static str, default: bool) -> bool {
        let Some(setting) = self.settings.get(key) else {
            return default;
        };
        match &setting.value.kind {
            Kind::Boolean(truth) => return *truth,
            Kind::Integer(1) => return true,
            Kind::Integer(0) => return false,
            Kind::Text(text) => match text.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => return true,
                "off" | "false" | "no" | "0" => return false,
                _ => {}
            },
            _ => {}
        }
        let message = format!(
            "`{key}` is `{}`, neither on nor off; Patroni takes it as {}",
            setting.value,
            if default { "on" } else { "off" }
        );
        self.remark(key, message);
        default
    }

    /// `parse_int`: what it cannot read counts as not set.
    fn number(&mut self, key: &'static str, default: i64) -> i64 {
        let Some(setting) = self.settings.get(key) else {
            return default;
        };
        match &setting.value.kind {
            Kind::Integer(number) => return *number,
            Kind::Float(number) if number.is_finite() => return number.round_ties_even() as i64,
            Kind::Text(text) => {
                if let Ok(number) = text.trim().parse() {
                    return number;
                }
            }
            _ => {}
        }
        let message = format!(
            "`{key}` is `{}`, not a whole number without a unit; Patroni uses its default, {default}",
            setting.value
        );
        self.remark(key, message);
        default
    }

    /// `parse_int` with a base unit: a whole number, or one with a unit of `PostgreSQL`. `units` lists them with what they are in the
    /// smallest, and `base` is the base unit in the smallest.
    fn measure(&mut self, key: &'static str, default: i64, units: &[(&str, i64)], base: i64) -> i64 {
        let written = match self.settings.get(key).map(|setting| &setting.value.kind) {
            Some(Kind::Text(text)) => text.trim(),
            _ => return self.number(key, default),
        };
        let end = written.find(|character: char| !character.is_ascii_digit()).unwrap_or(written.len());
        let (digits, unit) = written.split_at(end);
        let unit = units.iter().find(|(name, _)| *name == unit.trim());
        match (digits.parse::<i64>(), unit) {
            (Ok(number), Some((_, size))) => {
                let exact = number.saturating_mul(*size);
                exact / base + i64::from(exact % base * 2 >= base)
            }
            _ => self.number(key, default),
        }
    }

    fn at_least_zero(&mut self, key: &'static str, default: u64) -> u64 {
        let written = self.number(key, i64::try_from(default).expect("defaults are small"));
        self.not_negative(key, written)
    }

    fn not_negative(&mut self, key: &'static str, written: i64) -> u64 {
        u64::try_from(written).unwrap_or_else(|_| {
            self.remark(key, format!("`{key}` is {written}; hasim takes it as 0"));
            0
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.settings.get(key).map(|setting| setting.value.to_string())
    }

    fn remark(&mut self, key: &str, message: String) {
        if let Some(setting) = self.settings.get(key) {
            self.remarks.push(Remark { weight: Weight::Warning, spot: setting.spot.clone(), message });
        }
    }

    fn refused(&self, key: &str, message: &str, help: &str) -> UserError {
        match self.settings.get(key) {
            Some(setting) => UserError::at(setting.spot.clone(), message, "not known").help(help),
            None => UserError::new(message).help(help),
        }
    }
}

fn seconds(number: i64) -> SimDuration {
    SimDuration::from_secs(u64::try_from(number).expect("adjusted timeouts are positive"))
}
