//! From the text of a scenario file to a [`Scenario`].

use std::collections::BTreeMap;
use std::sync::Arc;

use models::LinkInputs;
use models::patroni::{Load, PrePromote};
use models::platform::RedisNeed;
use models::postgres::MemberId;
use sim_core::{Composition, SimDuration, SwarmConfig};
use toml::Spanned;

use super::check::Checker;
use super::raw::{RawCluster, RawFault, RawScenario, RawSwarm, RawTags, RawTrigger, RawWorkload};
use super::replicaof::replicaof;
use super::routes::{HaproxyKeys, LibpqKeys, PgbouncerKeys};
use super::{
    Cluster, ClusterOperator, Election, EtcdHosts, FaultPlan, MemberTags, PlannedFault, PlannedTrigger,
    ReadFrom, Reads, RedisCluster, Scenario, Swarm, Workload,
};
use crate::case::is_of_redis;
use crate::diagnostic::{Source, Spot, UserError, did_you_mean};
use crate::import::value::{Reading, Toml};
use crate::import::{
    RedisSettings, Settings, read_patroni_yml, read_redis_conf, read_round_trips, redis_settings_from_table,
    settings_from_table,
};

/// Gives the text of a file that a scenario names.
pub trait Companions {
    /// The file with this name.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn read(&self, name: &str) -> Result<String, String>;
}

impl Companions for BTreeMap<String, String> {
    fn read(&self, name: &str) -> Result<String, String> {
        self.get(name).cloned().ok_or_else(|| "there is no file of this name".to_owned())
    }
}

pub(super) fn read(source: &Arc<Source>, companions: &dyn Companions) -> Result<Scenario, UserError> {
    let raw: RawScenario = toml::from_str(&source.text).map_err(|error| toml_error(&error, source))?;
    let mut checker = Checker::new(source);
    checker.scenario(&raw)?;
    let mut named = BTreeMap::new();
    let default_members = if raw.has_nodes() { super::check::DEFAULT_NODES } else { 3 };
    let cluster = cluster(raw.cluster, default_members, source, companions, &mut named)?;
    let faults = match raw.swarm {
        Some(swarm) => swarm_plan(swarm.into_inner()),
        None => FaultPlan::Written(raw.fault.into_iter().map(planned_fault).collect()),
    };
    Ok(Scenario {
        name: raw.name.into_inner(),
        summary: raw.summary.into_inner(),
        core: raw.core,
        promises: raw.promises.into_inner().into_iter().map(Spanned::into_inner).collect(),
        horizon: raw.horizon.into_inner(),
        warmup: inner_or(raw.warmup, super::check::DEFAULT_WARMUP),
        event_budget: inner_or(raw.event_budget, 20_000_000),
        cluster,
        workload: workload(raw.workload, raw.family.get_ref()),
        lock: raw.lock.map(Spanned::into_inner).unwrap_or_default().into(),
        faults,
        promised_cells: raw.coverage.promised.into_iter().map(Spanned::into_inner).collect(),
        remarks: checker.remarks,
        source: Arc::clone(source),
        companions: named,
    })
}

fn cluster(
    raw: RawCluster,
    default_members: u8,
    source: &Arc<Source>,
    companions: &dyn Companions,
    named: &mut BTreeMap<String, Arc<Source>>,
) -> Result<Cluster, UserError> {
    let mut open = |name: Spanned<String>| companion(name, source, companions, named);
    let file = raw.patroni_yml.map(|name| read_patroni_yml(&open(name)?)).transpose()?;
    let mut recorded =
        |name: Option<Spanned<String>>| name.map(|name| read_round_trips(&open(name)?)).transpose();
    let round_trips = raw.round_trips.unwrap_or_default();
    let links = LinkInputs {
        same_zone: recorded(round_trips.same_zone)?,
        same_region: recorded(round_trips.same_region)?,
        between_regions: recorded(round_trips.between_regions)?,
        tcp_syn_linear_timeouts: linear_timeouts(raw.tcp_syn_linear_timeouts, source)?,
    };
    let settings = match raw.patroni {
        Some(table) => settings_from_table(&Reading::<Toml>::finish(table), source)?,
        None => Settings::default(),
    };
    let members_written = raw.members.is_some();
    let in_file = file.as_ref().and_then(|file| file.members);
    let members = inner_or(raw.members, in_file.unwrap_or(default_members));
    let member_tags = member_tags(raw.member_tags, members, source)?;
    let namesake = raw.namesake.as_ref().map(|name| member_position(name, members, source)).transpose()?;
    let pre_promote = raw
        .pre_promote
        .map(|script| {
            let script = script.into_inner();
            let members = script.fails_on.iter().map(|name| member_position(name, members, source));
            let fails_on = members.map(|member| member.map(MemberId)).collect::<Result<_, _>>()?;
            Ok::<_, UserError>(PrePromote { lasts: script.lasts, fails_on })
        })
        .transpose()?;
    let replicaof = match &raw.replicaof {
        Some(named) => replicaof(named.get_ref(), members, source)?,
        None => BTreeMap::new(),
    };
    let redis = redis_cluster(
        RawRedis {
            sentinels: raw.sentinels,
            groups: raw.groups,
            hosts: raw.sentinel_hosts,
            containers: raw.sentinel_containers,
            replicaof,
            election: raw.election,
            files: [raw.sentinel_conf, raw.redis_conf],
            tables: [raw.sentinel, raw.redis],
            dataset_bytes: raw.dataset_bytes,
            fork_per_gigabyte: raw.fork_per_gigabyte,
            required: raw.redis_required.unwrap_or(true),
            shards: raw.shards,
            node_hosts: raw.hosts,
            operator: raw.operator,
        },
        source,
        &mut open,
    )?;
    Ok(Cluster {
        members,
        members_written,
        etcd: raw.etcd.map(Spanned::into_inner),
        etcd_hosts: raw.etcd_hosts.unwrap_or_default(),
        topology: raw.topology.unwrap_or_default(),
        watchdog_device: raw.watchdog_device.unwrap_or_default(),
        links,
        file,
        settings,
        pre_promote,
        member_tags,
        redis,
        archive: raw.archive.map(Spanned::into_inner),
        namesake,
        backup: raw.backup.map(Spanned::into_inner),
    })
}

/// The keys of a cluster that are about Redis.
struct RawRedis {
    sentinels: Option<Spanned<u8>>,
    groups: Option<Spanned<u8>>,
    hosts: Option<EtcdHosts>,
    containers: Option<bool>,
    replicaof: BTreeMap<u8, u8>,
    election: Option<Spanned<Election>>,
    files: [Option<Spanned<String>>; 2],
    tables: [Option<Spanned<Reading<Toml>>>; 2],
    dataset_bytes: Option<u64>,
    fork_per_gigabyte: Option<Spanned<SimDuration>>,
    required: bool,
    shards: Option<Spanned<u8>>,
    node_hosts: Option<Spanned<u8>>,
    operator: Option<Spanned<ClusterOperator>>,
}

fn redis_cluster(
    raw: RawRedis,
    source: &Arc<Source>,
    open: &mut dyn FnMut(Spanned<String>) -> Result<Arc<Source>, UserError>,
) -> Result<RedisCluster, UserError> {
    let files = raw.files.into_iter().flatten().map(|name| read_redis_conf(&open(name)?));
    let files = files.collect::<Result<_, _>>()?;
    let mut settings = RedisSettings::default();
    for (table, is_sentinel) in raw.tables.into_iter().zip([true, false]) {
        if let Some(table) = table {
            let table = Reading::<Toml>::finish(table);
            settings.overlay(&redis_settings_from_table(&table, source, is_sentinel)?);
        }
    }
    Ok(RedisCluster {
        sentinels: raw.sentinels.map(Spanned::into_inner),
        groups: inner_or(raw.groups, 1),
        sentinel_hosts: raw.hosts.unwrap_or_default(),
        sentinel_containers: raw.containers.unwrap_or_default(),
        replicaof: raw.replicaof,
        election: raw.election.map(Spanned::into_inner),
        files,
        settings,
        dataset_bytes: raw.dataset_bytes.unwrap_or(0),
        fork_per_gigabyte: inner_or(raw.fork_per_gigabyte, SimDuration::ZERO),
        need: if raw.required { RedisNeed::Required } else { RedisNeed::Bypassed },
        shards: inner_or(raw.shards, super::check::DEFAULT_SHARDS),
        node_hosts: raw.node_hosts.map(Spanned::into_inner),
        operator: raw.operator.map(Spanned::into_inner),
    })
}

fn member_tags(
    raw: BTreeMap<Spanned<String>, RawTags>,
    members: u8,
    source: &Arc<Source>,
) -> Result<BTreeMap<u8, MemberTags>, UserError> {
    let position = |name: &Spanned<String>| member_position(name, members, source);
    let mut tags = BTreeMap::new();
    for (name, raw) in raw {
        let RawTags { nofailover, nosync, noloadbalance, failover_priority, replicatefrom } = raw;
        let replicatefrom = replicatefrom.as_ref().map(position).transpose()?;
        let own = MemberTags { nofailover, nosync, noloadbalance, failover_priority, replicatefrom };
        tags.insert(position(&name)?, own);
    }
    Ok(tags)
}

/// The position of a member that is called by its name.
fn member_position(name: &Spanned<String>, members: u8, source: &Arc<Source>) -> Result<u8, UserError> {
    let number = name.get_ref().strip_prefix("patroni-").and_then(|number| number.parse::<u8>().ok());
    number.filter(|number| (1..=members).contains(number)).map(|number| number - 1).ok_or_else(|| {
        UserError::at(
            Spot::new(source, name.span()),
            format!("`{}` is not a member of the cluster", name.get_ref()),
            format!("expected patroni-1 to patroni-{members}"),
        )
    })
}

/// A value that Linux accepts (`net/ipv4/sysctl_net_ipv4.c`).
fn linear_timeouts(written: Option<Spanned<u8>>, source: &Arc<Source>) -> Result<Option<u8>, UserError> {
    let Some(count) = written else { return Ok(None) };
    if *count.get_ref() > 127 {
        let message = format!("Linux does not take {} for `tcp_syn_linear_timeouts`", count.get_ref());
        return Err(UserError::at(Spot::new(source, count.span()), message, "expected 0 to 127"));
    }
    Ok(Some(count.into_inner()))
}

/// Another file that the scenario names.
fn companion(
    name: Spanned<String>,
    source: &Arc<Source>,
    companions: &dyn Companions,
    named: &mut BTreeMap<String, Arc<Source>>,
) -> Result<Arc<Source>, UserError> {
    let spot = Spot::new(source, name.span());
    let name = name.into_inner();
    let text = companions.read(&name).map_err(|reason| {
        UserError::at(spot, format!("cannot read `{name}`: {reason}"), "named here")
            .help("the name is relative to the scenario file")
    })?;
    let companion = Source::new(name.clone(), text);
    named.insert(name, Arc::clone(&companion));
    Ok(companion)
}

fn workload(raw: RawWorkload, family: &str) -> Workload {
    let default = Load::default();
    let read_from = if is_of_redis(family) { ReadFrom::Primary } else { ReadFrom::default() };
    let timeout = if is_of_redis(family) { SimDuration::from_secs(1) } else { default.statement_timeout };
    Workload {
        writers: inner_or(raw.writers, default.writers),
        write_interval: inner_or(raw.write_interval, default.write_interval),
        wal_per_write: inner_or(raw.wal_per_write, default.wal_per_write),
        local_commit_writers: inner_or(raw.local_commit_writers, default.local_commit_writers),
        readers: raw.readers.unwrap_or(default.readers),
        reads: inner_or(raw.reads, Reads::default()),
        read_from: inner_or(raw.read_from, read_from),
        read_interval: inner_or(raw.read_interval, default.read_interval),
        local_writers: inner_or(raw.local_writers, default.local_writers),
        routing: raw.routing.unwrap_or_default(),
        haproxy: inner_or(raw.haproxy, HaproxyKeys::default()),
        pgbouncer: inner_or(raw.pgbouncer, PgbouncerKeys::default()),
        libpq: inner_or(raw.libpq, LibpqKeys::default()),
        statement_timeout: inner_or(raw.statement_timeout, timeout),
        on_timeout: raw.on_timeout.unwrap_or_default(),
        beside_members: raw.beside_members.unwrap_or_default(),
        subscribe: raw.subscribe.unwrap_or_default(),
        listeners: inner_or(raw.listeners, 0),
        own_sentinel: raw.own_sentinel.unwrap_or_default(),
        ask_each_time: raw.ask_each_time.unwrap_or_default(),
        starts_after: inner_or(raw.starts_after, SimDuration::ZERO),
        wait: raw.wait.map(Spanned::into_inner),
        refresh: raw.refresh.unwrap_or_default(),
        expire_interval: raw.expire_interval.map(Spanned::into_inner),
        two_keys: inner_or(raw.two_keys, false),
        // The checker saw to it that it is one of both.
        keys: raw
            .sessions
            .map(|sessions| sessions.into_inner().into())
            .or_else(|| Some(raw.cache?.into_inner().into())),
        other_write_interval: raw.other_write_interval.map(Spanned::into_inner),
    }
}

fn planned_fault(raw: Spanned<RawFault>) -> PlannedFault {
    let fault = raw.into_inner();
    PlannedFault {
        trigger: match fault.trigger.into_inner() {
            RawTrigger::At(at) => PlannedTrigger::At(at),
            RawTrigger::OnMark { mark, occurrence, delay } => PlannedTrigger::OnMark(mark, occurrence, delay),
            RawTrigger::AfterFault { fault, delay } => PlannedTrigger::AfterFault(fault, delay),
        },
        span: fault.fault.span(),
        fault: fault.fault.into_inner(),
        lasts: fault.lasts.map(Spanned::into_inner),
    }
}

fn swarm_plan(raw: RawSwarm) -> FaultPlan {
    let composition = match (raw.faults, raw.kinds) {
        (Some(faults), Some(kinds)) => {
            Composition::Random { faults: faults.into_inner(), kinds: kinds.into_inner() }
        }
        // The checker saw to it that one of both is there.
        _ => Composition::Pairs,
    };
    let spans = raw.mix.iter().map(Spanned::span).collect();
    let config = SwarmConfig {
        from: raw.from,
        until: raw.until.into_inner(),
        composition,
        mix: raw.mix.into_iter().map(Spanned::into_inner).collect(),
    };
    let budgets = raw.budget.into_iter().map(Spanned::into_inner).collect();
    FaultPlan::Swarm(Swarm { config, budgets, spans })
}

fn inner_or<T>(written: Option<Spanned<T>>, default: T) -> T {
    written.map_or(default, Spanned::into_inner)
}

/// An error of the TOML reader, with a suggestion when it is about a name that is close to a known one.
fn toml_error(error: &toml::de::Error, source: &Arc<Source>) -> UserError {
    let message = error.message().trim_end().replace('\n', "; ");
    let span = error.span().unwrap_or(0..0);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ");
    let suggestion = quoted.next().filter(|_| unknown).and_then(|written| did_you_mean(written, quoted));
    UserError::at(Spot::new(source, span), message, if unknown { "not known here" } else { "here" })
        .maybe_help(suggestion)
}
