//! The table `lock` of a scenario: a lock in Redis, how it is used, and what it protects.

use models::lock::{Fencing, LockParameters, LockServers, StopRule};
use models::redis::WaitFor;
use serde::Deserialize;
use sim_core::{Probability, SimDuration};

use super::check::Checker;
use super::raw::RawScenario;
use super::{Wait, Workload};
use crate::diagnostic::UserError;

/// A lock, without what the workload says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lock {
    /// Where it is.
    pub servers: LockServers,
    /// Its settings; interval and `WAIT` come from the workload.
    parameters: LockParameters,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLock {
    servers: Option<RawServers>,
    ttl: Option<SimDuration>,
    renewal: Option<SimDuration>,
    poll: Option<SimDuration>,
    poll_jitter: Option<Probability>,
    timeout: Option<SimDuration>,
    retry: Option<SimDuration>,
    renews_after_error: Option<bool>,
    stop: Option<RawStop>,
    margin: Option<SimDuration>,
    fencing: Option<RawFencing>,
    work: Option<SimDuration>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum RawServers {
    Sentinel,
    Single,
    Cluster,
    Redlock,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawStop {
    Deadline,
    WhenTold,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawFencing {
    Off,
    Redis,
    Store,
}

/// The recommendation of the documentation of Redlock: 5 to 50 ms.
const REDLOCK_TIMEOUT: SimDuration = SimDuration::from_millis(50);

impl RawScenario {
    /// True if what it is about are nodes of Redis Cluster: the family of that name, or a lock on them.
    pub(super) fn has_nodes(&self) -> bool {
        let servers = self.lock.as_ref().and_then(|lock| lock.get_ref().servers);
        match self.family.get_ref().as_str() {
            "lock" => servers == Some(RawServers::Cluster),
            family => family == crate::redis_cluster::WORDS.name,
        }
    }
}

impl From<RawLock> for Lock {
    fn from(raw: RawLock) -> Self {
        let servers = match raw.servers {
            None | Some(RawServers::Sentinel) => LockServers::Sentinel,
            Some(RawServers::Single) => LockServers::Single,
            Some(RawServers::Cluster) => LockServers::Cluster,
            Some(RawServers::Redlock) => LockServers::Redlock,
        };
        let default = LockParameters::default();
        let timeout = if servers == LockServers::Redlock { REDLOCK_TIMEOUT } else { default.timeout };
        let parameters = LockParameters {
            ttl: raw.ttl.unwrap_or(default.ttl),
            renewal: raw.renewal.unwrap_or(default.renewal),
            poll: raw.poll.unwrap_or(default.poll),
            poll_jitter: raw.poll_jitter.unwrap_or(default.poll_jitter),
            timeout: raw.timeout.unwrap_or(timeout),
            retry: raw.retry.unwrap_or(default.retry),
            renews_after_error: raw.renews_after_error.unwrap_or(default.renews_after_error),
            stop: match raw.stop {
                None | Some(RawStop::Deadline) => StopRule::Deadline,
                Some(RawStop::WhenTold) => StopRule::WhenTold,
            },
            margin: raw.margin.unwrap_or(default.margin),
            fencing: match raw.fencing {
                None | Some(RawFencing::Off) => Fencing::Off,
                Some(RawFencing::Redis) => Fencing::Redis,
                Some(RawFencing::Store) => Fencing::Store,
            },
            work: raw.work.unwrap_or(default.work),
            ..default
        };
        Self { servers, parameters }
    }
}

impl Lock {
    /// All settings of the lock.
    pub fn parameters(&self, workload: &Workload) -> LockParameters {
        let wait_for = workload.wait.map(|Wait { replicas, timeout }| WaitFor { replicas, timeout });
        LockParameters { wait_for, interval: workload.write_interval, ..self.parameters }
    }
}

impl Checker<'_> {
    /// A lock must be able to live from one renewal to the next, and belongs to its family.
    pub(super) fn lock(&self, raw: &RawScenario) -> Result<(), UserError> {
        let Some(spanned) = &raw.lock else { return Ok(()) };
        if raw.family.get_ref() != "lock" {
            let family = raw.family.get_ref();
            let message = format!("`lock` has no meaning in the family `{family}`");
            return Err(self.wrong(spanned, message, "leave it out".to_owned()));
        }
        let written = spanned.get_ref();
        let Lock { parameters: lock, .. } = Lock::from(*written);
        let refuse = |message: String, expected: &str| Err(self.wrong(spanned, message, expected.to_owned()));
        for (key, length) in
            [("poll", lock.poll), ("renewal", lock.renewal), ("timeout", lock.timeout), ("retry", lock.retry)]
        {
            if length == SimDuration::ZERO {
                return refuse(format!("`lock.{key}` is zero"), "expected more");
            }
        }
        if lock.ttl <= lock.renewal + lock.margin {
            let message = format!(
                "a lock that lives for {} is lost before its first renewal after {}, with a margin of {}",
                lock.ttl, lock.renewal, lock.margin
            );
            return refuse(message, "expected `ttl` above `renewal` and `margin` together");
        }
        let is_redlock = written.servers == Some(RawServers::Redlock);
        if is_redlock && matches!(written.fencing, Some(RawFencing::Redis)) {
            return refuse(
                "Redlock has no counter: several servers agree on no number".to_owned(),
                "expected `fencing` of `store` or `off`",
            );
        }
        if is_redlock && raw.workload.wait.is_some() {
            return refuse(
                "servers of Redlock have no replicas to `workload.wait` for".to_owned(),
                "leave it out",
            );
        }
        let with_sentinels = written.servers.is_none_or(|servers| servers == RawServers::Sentinel);
        let sentinels = [
            raw.cluster.sentinels.is_some(),
            raw.cluster.sentinel.is_some(),
            raw.cluster.sentinel_conf.is_some(),
        ];
        if !with_sentinels && sentinels.contains(&true) {
            return refuse(
                "servers without Sentinels have no settings of Sentinel".to_owned(),
                "leave them out",
            );
        }
        if matches!(written.servers, Some(RawServers::Single))
            && raw.cluster.members.as_ref().is_some_and(|members| *members.get_ref() != 1)
        {
            return refuse("a single server is one".to_owned(), "leave `cluster.members` out");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::diagnostic::Source;
    use crate::scenario::Scenario;

    const HEAD: &str = r#"summary = "A lock."
promises = ["at-most-one-writable-primary"]
horizon = "1m"
"#;

    /// What is wrong with a file with these lines.
    fn error(family: &str, lines: &str) -> String {
        let text = format!("name = \"{family}/test\"\nfamily = \"{family}\"\n{HEAD}{lines}\n");
        let files: BTreeMap<String, String> = BTreeMap::new();
        match Scenario::read(&Source::new("scenario.toml", text), &files) {
            Ok(_) => String::new(),
            Err(error) => error.report(false),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (family, lines, expected) in [
            ("lock", "[lock]", ""),
            ("lock", "[lock]\nservers = \"redlock\"\nfencing = \"store\"\n[cluster]\nmembers = 5", ""),
            ("sentinel", "[lock]", "`lock` has no meaning in the family `sentinel`"),
            ("lock", "[lock]\nttl = \"10s\"", "is lost before its first renewal"),
            ("lock", "[lock]\npoll = \"0s\"", "`lock.poll` is zero"),
            ("lock", "[lock]\nservers = \"redlock\"\nfencing = \"redis\"", "Redlock has no counter"),
            ("lock", "[lock]\nservers = \"single\"\n[cluster]\nsentinels = 3", "without Sentinels"),
            ("lock", "[lock]\nservers = \"single\"\n[cluster]\nmembers = 3", "a single server is one"),
            ("lock", "[lock]\nttll = \"10s\"", "`ttl`"),
            ("lock", "[lock]\nservers = \"cluster\"\n[cluster]\nmembers = 4\nshards = 2\nhosts = 2", ""),
            (
                "lock",
                "[lock]\nservers = \"cluster\"\n[cluster]\nmembers = 2",
                "2 nodes are too few for 3 shards",
            ),
            ("lock", "[lock]\nservers = \"cluster\"\n[cluster]\nsentinels = 3", "without Sentinels"),
            (
                "lock",
                "[lock]\nservers = \"cluster\"\n[cluster]\noperator = {}",
                "`cluster.operator` has no meaning",
            ),
            ("lock", "[cluster]\nshards = 2", "`cluster.shards` has no meaning"),
            ("lock", "[workload]\nstatement_timeout = \"1s\"", "`workload.statement_timeout` has no meaning"),
            ("lock", "[cluster]\ngroups = 2", "`cluster.groups` has no meaning in the family `lock`"),
            (
                "lock",
                "[cluster]\nfork_per_gigabyte = \"10ms\"",
                "`cluster.fork_per_gigabyte` has no meaning in the family `lock`",
            ),
            ("sentinel", "[cluster]\ngroups = 2", ""),
            ("sentinel", "[cluster]\ngroups = 0", "0 groups are not for one set of Sentinels"),
            ("sentinel", "[cluster]\nelection = \"offset\"\n[workload]\nstarts_after = \"12s\"", ""),
            ("sentinel", "[cluster]\nelection = \"offset\"\nsentinels = 3", "without Sentinels"),
            ("sentinel", "[cluster]\nelection = \"offset\"\ngroups = 2", "without Sentinels"),
            ("lock", "[cluster]\nelection = \"offset\"", "`cluster.election` has no meaning"),
            ("lock", "[cluster]\netcd = 3", "`cluster.etcd` has no meaning"),
            ("platform", "[workload]\nrouting = \"multi-host\"", "has no meaning in the family `platform`"),
            ("platform", "[workload]\nsubscribe = true", "`workload.subscribe` has no meaning"),
            ("platform", "[cluster]\netcd = 3\nsentinels = 3\nredis_required = false", ""),
            ("patroni", "[cluster]\nredis_required = false", "`cluster.redis_required` has no meaning"),
        ] {
            let found = error(family, lines);
            let fits = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
            assert!(fits, "{family}, {lines}: {found}");
        }
    }
}
