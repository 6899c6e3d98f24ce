//! What a scenario of Redis must be, and which keys belong to which family.

use std::ops::Range;

use toml::Spanned;

use super::Routing;
use super::check::{Checker, DEFAULT_NODES, DEFAULT_SHARDS};
use super::raw::{RawCluster, RawScenario};
use crate::diagnostic::{Spot, UserError};

impl Checker<'_> {
    /// Keys of one family have no meaning in another.
    pub(super) fn keys_of_other_families(&self, raw: &RawScenario) -> Result<(), UserError> {
        let family = raw.family.get_ref().as_str();
        let here = |is_set: bool| is_set.then(|| raw.family.span());
        let (cluster, workload) = (&raw.cluster, &raw.workload);
        let redis: [(&str, Option<Range<usize>>); 7] = [
            ("cluster.redis_conf", span(cluster.redis_conf.as_ref())),
            ("cluster.redis", span(cluster.redis.as_ref())),
            ("workload.sessions", span(workload.sessions.as_ref())),
            ("workload.cache", span(workload.cache.as_ref())),
            ("workload.wait", span(workload.wait.as_ref())),
            ("cluster.dataset_bytes", here(cluster.dataset_bytes.is_some())),
            ("workload.beside_members", here(workload.beside_members.is_some())),
        ];
        let of_sentinel: [(&str, Option<Range<usize>>); 10] = [
            ("workload.listeners", span(workload.listeners.as_ref())),
            ("cluster.sentinels", span(cluster.sentinels.as_ref())),
            ("cluster.sentinel_conf", span(cluster.sentinel_conf.as_ref())),
            ("cluster.sentinel", span(cluster.sentinel.as_ref())),
            ("cluster.sentinel_hosts", here(cluster.sentinel_hosts.is_some())),
            ("cluster.sentinel_containers", here(cluster.sentinel_containers.is_some())),
            ("workload.subscribe", here(workload.subscribe.is_some())),
            ("workload.own_sentinel", here(workload.own_sentinel.is_some())),
            ("workload.ask_each_time", here(workload.ask_each_time.is_some())),
            ("workload.starts_after", span(workload.starts_after.as_ref())),
        ];
        let of_cluster: [(&str, Option<Range<usize>>); 7] = [
            ("cluster.operator", span(cluster.operator.as_ref())),
            ("workload.two_keys", span(workload.two_keys.as_ref())),
            ("cluster.shards", span(cluster.shards.as_ref())),
            ("cluster.hosts", span(cluster.hosts.as_ref())),
            ("workload.expire_interval", span(workload.expire_interval.as_ref())),
            ("workload.other_write_interval", span(workload.other_write_interval.as_ref())),
            ("workload.refresh", here(workload.refresh.is_some())),
        ];
        let patroni: [(&str, Option<Range<usize>>); 18] = [
            ("cluster.etcd", span(cluster.etcd.as_ref())),
            ("cluster.patroni_yml", span(cluster.patroni_yml.as_ref())),
            ("cluster.patroni", span(cluster.patroni.as_ref())),
            ("cluster.pre_promote", span(cluster.pre_promote.as_ref())),
            ("workload.haproxy", span(workload.haproxy.as_ref())),
            ("workload.pgbouncer", span(workload.pgbouncer.as_ref())),
            ("workload.libpq", span(workload.libpq.as_ref())),
            ("workload.wal_per_write", span(workload.wal_per_write.as_ref())),
            ("workload.read_interval", span(workload.read_interval.as_ref())),
            ("workload.local_commit_writers", span(workload.local_commit_writers.as_ref())),
            ("workload.reads", span(workload.reads.as_ref())),
            ("workload.read_from", span(workload.read_from.as_ref())),
            ("cluster.etcd_hosts", here(cluster.etcd_hosts.is_some())),
            ("cluster.watchdog_device", here(cluster.watchdog_device.is_some())),
            ("workload.readers", here(workload.readers.is_some())),
            ("cluster.member_tags", here(!cluster.member_tags.is_empty())),
            ("workload.routing", here(workload.routing.is_some())),
            ("workload.on_timeout", here(workload.on_timeout.is_some())),
        ];
        let need = ("cluster.redis_required", here(cluster.redis_required.is_some()));
        let groups = ("cluster.groups", span(cluster.groups.as_ref()));
        let election = ("cluster.election", span(cluster.election.as_ref()));
        let replicaof = ("cluster.replicaof", span(cluster.replicaof.as_ref()));
        let fork = ("cluster.fork_per_gigabyte", span(cluster.fork_per_gigabyte.as_ref()));
        let local_writers = ("workload.local_writers", span(workload.local_writers.as_ref()));
        let archive = ("cluster.archive", span(cluster.archive.as_ref()));
        let namesake = ("cluster.namesake", span(cluster.namesake.as_ref()));
        let backup = ("cluster.backup", span(cluster.backup.as_ref()));
        let (mut foreign, of): (Vec<_>, _) = match family {
            "sentinel" if cluster.election.is_some() => {
                let timeout = ("workload.statement_timeout", span(workload.statement_timeout.as_ref()));
                let more = [groups.clone(), local_writers, timeout, need];
                let of_sentinel = of_sentinel.into_iter().filter(|(key, _)| *key != "workload.starts_after");
                let foreign = patroni.into_iter().chain(of_cluster).chain(of_sentinel).chain(more);
                (foreign.collect(), "without Sentinels (`cluster.election`)")
            }
            "sentinel" if workload.listeners.as_ref().is_some_and(|count| *count.get_ref() > 0) => {
                let wait = ("workload.wait", span(workload.wait.as_ref()));
                let more = [local_writers, wait, need];
                let foreign = patroni.into_iter().chain(of_cluster).chain(more).collect();
                (foreign, "clients that publish (`workload.listeners`)")
            }
            "sentinel" => {
                let keeps_keys = workload.sessions.is_some() || workload.cache.is_some();
                let patroni =
                    patroni.into_iter().filter(|(key, _)| !(keeps_keys && *key == "workload.read_from"));
                let foreign = patroni.chain(of_cluster).chain([need]).collect();
                (foreign, "a group of Redis servers with Sentinels")
            }
            "cluster" => {
                let foreign = patroni.into_iter().chain(of_sentinel).chain([need]).collect();
                (foreign, "nodes of Redis Cluster")
            }
            "lock" => {
                let subscribe = ("workload.subscribe", here(workload.subscribe.is_some()));
                let timeout = ("workload.statement_timeout", span(workload.statement_timeout.as_ref()));
                let listeners = ("workload.listeners", span(workload.listeners.as_ref()));
                let sessions = ("workload.sessions", span(workload.sessions.as_ref()));
                let cache = ("workload.cache", span(workload.cache.as_ref()));
                let more = [local_writers, subscribe, listeners, sessions, cache, timeout, need];
                let has_nodes = raw.has_nodes();
                let of_nodes = |(key, _): &(&str, _)| *key == "cluster.shards" || *key == "cluster.hosts";
                let of_cluster = of_cluster.into_iter().filter(|key| !(has_nodes && of_nodes(key)));
                let foreign = patroni.into_iter().chain(of_cluster).chain(more).collect();
                (foreign, "whose clients are contenders for a lock")
            }
            "platform" => {
                let multi_host = workload.routing == Some(Routing::MultiHost);
                let more = [local_writers, ("workload.routing = \"multi-host\"", here(multi_host))];
                let of_clients = |(key, _): &(&str, _)| {
                    let name = key.strip_prefix("workload.");
                    name.is_some_and(|name| name != "routing")
                };
                let both = redis.into_iter().chain(of_sentinel).chain(patroni).filter(of_clients);
                (both.chain(of_cluster).chain(more).collect(), "whose clients are instances of a service")
            }
            "backup" => {
                let members = ("cluster.members", span(cluster.members.as_ref()));
                let more = [local_writers, members, need];
                let foreign = redis.into_iter().chain(of_sentinel).chain(of_cluster).chain(patroni);
                (foreign.chain(more).collect(), "a single server with backups")
            }
            _ => {
                let foreign = redis.into_iter().chain(of_sentinel).chain(of_cluster).chain([need]).collect();
                (foreign, "a system without Redis")
            }
        };
        foreign.extend(
            (family != "sentinel").then_some([groups, election, replicaof, fork]).into_iter().flatten(),
        );
        foreign.extend([archive, namesake].into_iter().filter(|_| family != "patroni"));
        foreign.extend((family != "backup").then_some(backup));
        match foreign.into_iter().find_map(|(key, span)| Some((key, span?))) {
            None => Ok(()),
            Some((key, span)) => {
                let message = format!("`{key}` has no meaning in the family `{family}`, {of}");
                Err(UserError::at(Spot::new(self.source, span), message, "leave it out"))
            }
        }
    }

    /// The numbers of shards and hosts of Redis Cluster: each shard has a primary, and no host is without a node.
    pub(super) fn shards(&self, raw: &RawScenario) -> Result<(), UserError> {
        if !raw.has_nodes() {
            return Ok(());
        }
        let cluster = &raw.cluster;
        let members = cluster.members.as_ref().map_or(DEFAULT_NODES, |members| *members.get_ref());
        let shards = cluster.shards.as_ref().map_or(DEFAULT_SHARDS, |shards| *shards.get_ref());
        if let Some(wrong) = cluster.shards.as_ref().or(cluster.members.as_ref()).filter(|_| shards > members)
        {
            let message =
                format!("{members} nodes are too few for {shards} shards, which have a primary each");
            return Err(self.wrong(wrong, message, format!("expected 1 to {members} shards")));
        }
        let counts = [(&cluster.shards, "shards"), (&cluster.hosts, "hosts")];
        for (count, what) in counts.into_iter().filter_map(|(count, what)| Some((count.as_ref()?, what))) {
            if !(1..=members).contains(count.get_ref()) {
                let message = format!("{} {what} are not for {members} nodes", count.get_ref());
                return Err(self.wrong(count, message, format!("expected 1 to {members}")));
            }
        }
        Ok(())
    }

    /// The numbers of Sentinels, and of the groups that they watch.
    pub(super) fn sentinels(&self, cluster: &RawCluster) -> Result<(), UserError> {
        if let Some(groups) = cluster.groups.as_ref().filter(|groups| !(1..=100).contains(groups.get_ref())) {
            let message = format!("{} groups are not for one set of Sentinels", groups.get_ref());
            return Err(self.wrong(groups, message, "expected 1 to 100".to_owned()));
        }
        match &cluster.sentinels {
            Some(count) if !(1..=15).contains(count.get_ref()) => Err(self.wrong(
                count,
                format!("a group with {} Sentinels is not what hasim models", count.get_ref()),
                "expected 1 to 15, best 3 or 5".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn span<T>(value: Option<&Spanned<T>>) -> Option<Range<usize>> {
    value.map(Spanned::span)
}
