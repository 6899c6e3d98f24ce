//! What clients keep in Redis under keys with a time to live: `workload.sessions` and `workload.cache`.

use std::ops::Range;

use models::redis::{Cache, Purpose, Sessions};
use serde::Deserialize;
use sim_core::{Probability, SimDuration};
use toml::Spanned;

use super::check::Checker;
use super::raw::RawScenario;
use super::{Promise, ReadFrom, Reads};
use crate::diagnostic::{Spot, UserError};

/// `workload.sessions` ([`Sessions`]).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionKeys {
    /// How long a session lives without a request.
    pub(super) ttl: SimDuration,
    /// The share of requests that log in somebody new.
    pub(super) logins: Probability,
}

impl From<SessionKeys> for Purpose {
    fn from(SessionKeys { ttl, logins }: SessionKeys) -> Self {
        Self::Sessions(Sessions { ttl, logins })
    }
}

impl Default for SessionKeys {
    fn default() -> Self {
        let Sessions { ttl, logins } = Sessions::default();
        Self { ttl, logins }
    }
}

/// `workload.cache` ([`Cache`]).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CacheKeys {
    /// How long an entry is kept.
    pub(super) ttl: SimDuration,
    /// The share of requests that change an entry in the database.
    pub(super) updates: Probability,
    /// How many entries each client has.
    pub(super) entries: u16,
    /// Whether a client deletes what it could not delete as soon as it can.
    pub(super) repeats_deletion: bool,
}

impl From<CacheKeys> for Purpose {
    fn from(CacheKeys { ttl, updates, entries, repeats_deletion }: CacheKeys) -> Self {
        Self::Cache(Cache { ttl, updates, entries, repeats_deletion })
    }
}

impl Default for CacheKeys {
    fn default() -> Self {
        let Cache { ttl, updates, entries, repeats_deletion } = Cache::default();
        Self { ttl, updates, entries, repeats_deletion }
    }
}

impl Checker<'_> {
    /// Sessions and caches, what they exclude, and promises about what their reads see.
    pub(super) fn keys(&self, raw: &RawScenario) -> Result<(), UserError> {
        let workload = &raw.workload;
        let has_newest = workload.reads.as_ref().is_some_and(|reads| *reads.get_ref() == Reads::Newest);
        let is_about_stale_reads =
            |promise: &Promise| matches!(promise, Promise::NoStaleRead | Promise::StaleReadIsFound);
        let about_stale_reads = raw.promised(is_about_stale_reads);
        if let Some(promise) = about_stale_reads.filter(|_| workload.cache.is_none() && !has_newest) {
            return Err(self.wrong(
                promise,
                format!("`{}` needs readers that tell how old is what they see", promise.get_ref()),
                "expected `workload.cache`, or `workload.reads = \"newest\"` in the family `patroni`"
                    .to_owned(),
            ));
        }
        let (key, span, ttl) = match (&workload.sessions, &workload.cache) {
            (Some(_), Some(cache)) => {
                return Err(self.wrong(
                    cache,
                    "clients keep sessions or a cache".to_owned(),
                    "leave `workload.sessions` or this out".to_owned(),
                ));
            }
            (Some(sessions), None) => ("workload.sessions", sessions.span(), sessions.get_ref().ttl),
            (None, Some(cache)) => ("workload.cache", cache.span(), cache.get_ref().ttl),
            (None, None) => return Ok(()),
        };
        let wrong = |message: String, expected: &str| {
            Err(UserError::at(Spot::new(self.source, span.clone()), message, expected.to_owned()))
        };
        let second = SimDuration::from_secs(1);
        if ttl < second || ttl.as_nanos() % second.as_nanos() != 0 {
            return wrong(format!("`{key}.ttl` is {ttl}"), "expected whole seconds, as for `SETEX`");
        }
        if let Some(cache) = &workload.cache {
            let entries = cache.get_ref().entries;
            if !(1..=Cache::MOST_ENTRIES).contains(&entries) {
                let expected = format!("expected 1 to {}", Cache::MOST_ENTRIES);
                return wrong(format!("`{key}.entries` is {entries}"), &expected);
            }
            if let Some(promise) = raw.promised(is_about_loss) {
                return Err(self.wrong(
                    promise,
                    format!("`{}` has no meaning with `workload.cache`", promise.get_ref()),
                    "what a cache has is in the database as well; leave it out, or expect `no-stale-read`"
                        .to_owned(),
                ));
            }
        }
        let from_replicas = workload.read_from.as_ref().filter(|from| *from.get_ref() != ReadFrom::Primary);
        if let Some(everywhere) = from_replicas.filter(|from| *from.get_ref() == ReadFrom::Everywhere) {
            return Err(self.wrong(
                everywhere,
                format!("with `{key}` clients read from one kind of server"),
                "expected `primary` or `replicas`".to_owned(),
            ));
        }
        if let Some(from) = from_replicas.filter(|_| workload.ask_each_time.unwrap_or_default()) {
            return Err(self.wrong(
                from,
                "clients that ask before each request read from the primary".to_owned(),
                "leave this or `workload.ask_each_time` out".to_owned(),
            ));
        }
        let excluded: [(&str, Option<Range<usize>>); 5] = [
            ("cluster.operator", raw.cluster.operator.as_ref().map(Spanned::span)),
            ("cluster.election", raw.cluster.election.as_ref().map(Spanned::span)),
            ("workload.listeners", workload.listeners.as_ref().map(Spanned::span)),
            ("workload.two_keys", workload.two_keys.as_ref().map(Spanned::span)),
            ("workload.local_writers", workload.local_writers.as_ref().map(Spanned::span)),
        ];
        match excluded.into_iter().find_map(|(other, span)| Some((other, span?))) {
            None => Ok(()),
            Some((other, span)) => {
                let message = format!("`{other}` has no meaning with `{key}`");
                Err(UserError::at(Spot::new(self.source, span), message, "leave it out"))
            }
        }
    }
}

const fn is_about_loss(promise: &Promise) -> bool {
    matches!(
        promise,
        Promise::NoAcknowledgedWriteLost
            | Promise::LosesAtMost(_)
            | Promise::LossIsFound
            | Promise::LossSpanIsFound(_)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    /// Reads a scenario of Redis with these promises and this workload.
    fn redis(family: &str, promises: &str, workload: &str) -> Result<Option<Purpose>, String> {
        let text = format!(
            "name = \"{family}/x\"\nsummary = \"x\"\nfamily = \"{family}\"\npromises = [{promises}]\nhorizon = \"60s\"\n\n\
             {workload}\n[[fault]]\ntrigger = {{ at = \"30s\" }}\nfault = {{ kill = {{ target = {{ role = \"primary\" }} }} }}\n"
        );
        read(&text).map(|scenario| scenario.workload.keys).map_err(|error| error.report(false))
    }

    #[test]
    fn what_is_not_said_is_as_documented() {
        let sessions = redis("sentinel", "\"loss-is-found\"", "[workload]\nsessions = {}\n").unwrap();
        let hour = SimDuration::from_secs(3_600);
        let logins = Probability::from_ppm(100_000);
        assert_eq!(sessions, Some(Purpose::Sessions(Sessions { ttl: hour, logins })));
        let cache = redis(
            "cluster",
            "\"no-stale-read\"",
            "[workload]\ncache = { ttl = \"10s\", updates = \"5%\", entries = 256, repeats_deletion = true }\n",
        );
        let expected = Cache {
            ttl: SimDuration::from_secs(10),
            updates: Probability::from_ppm(50_000),
            entries: 256,
            repeats_deletion: true,
        };
        assert_eq!(cache.unwrap(), Some(Purpose::Cache(expected)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lost = "\"loss-is-found\"";
        for (family, promises, workload, expected) in [
            ("sentinel", lost, "[workload]\nsessions = { ttl = \"1500ms\" }", "whole seconds"),
            ("sentinel", lost, "[workload]\nsessions = { ttl = \"0s\" }", "whole seconds"),
            ("sentinel", lost, "[workload]\nsessions = { tll = \"1s\" }", "unknown field `tll`"),
            ("sentinel", lost, "[workload]\nsessions = {}\ncache = {}", "sessions or a cache"),
            (
                "sentinel",
                lost,
                "[workload]\nsessions = {}\nlisteners = 2",
                "no meaning with `workload.sessions`",
            ),
            (
                "cluster",
                lost,
                "[workload]\nsessions = {}\ntwo_keys = true",
                "no meaning with `workload.sessions`",
            ),
            (
                "cluster",
                lost,
                "[workload]\nsessions = {}\n[cluster]\noperator = {}",
                "`cluster.operator` has no meaning",
            ),
            (
                "sentinel",
                lost,
                "[workload]\ncache = {}",
                "`loss-is-found` has no meaning with `workload.cache`",
            ),
            ("sentinel", "\"no-stale-read\"", "[workload]\ncache = { entries = 257 }", "expected 1 to 256"),
            ("sentinel", "\"no-stale-read\"", "[workload]\nsessions = {}", "expected `workload.cache`"),
            (
                "sentinel",
                "\"no-stale-read\", \"stale-read-is-found\"",
                "[workload]\ncache = {}",
                "cannot both hold",
            ),
            ("patroni", lost, "[workload]\nsessions = {}", "no meaning in the family `patroni`"),
            ("sentinel", lost, "[workload]\nread_from = \"replicas\"", "no meaning in the family `sentinel`"),
            (
                "cluster",
                lost,
                "[workload]\nsessions = {}\nread_from = \"replicas\"",
                "no meaning in the family `cluster`",
            ),
            (
                "sentinel",
                lost,
                "[workload]\nsessions = {}\nread_from = \"everywhere\"",
                "expected `primary` or `replicas`",
            ),
            (
                "sentinel",
                lost,
                "[workload]\nsessions = {}\nread_from = \"replicas\"\nask_each_time = true",
                "leave this or `workload.ask_each_time` out",
            ),
            ("lock", lost, "[workload]\ncache = {}", "no meaning in the family `lock`"),
        ] {
            let report = redis(family, promises, workload).unwrap_err();
            let flat = report.replace("\n  │", "").replace("  ", " ");
            assert!(flat.contains(expected), "{workload}: {report}");
        }
    }
}
