//! A case: a scenario together with the settings of the person who asks.

use std::sync::Arc;

use models::patroni::{Configuration, EtcdApi};
use models::postgres::MemberId;

use crate::diagnostic::{Remark, Source, Spot, UserError};
use crate::import::{Overruled, Settings, read_patroni_yml, redis_setting_from_flag, setting_from_flag};
use crate::redis_case::RedisCase;
use crate::scenario::{EtcdHosts, Routing, Scenario};

/// What the person who asks brings: a real file, and flags.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserSettings {
    /// `--config`: a real `patroni.yml`, `sentinel.conf` or `redis.conf`, as the family needs.
    pub file: Option<Arc<Source>>,
    /// `--set`, in the order of the command line.
    pub flags: Vec<String>,
}

impl UserSettings {
    /// True if these settings can be meant for this family: files of Redis are called `.conf`, and flags name settings.
    pub fn concerns(&self, family: &str) -> bool {
        if family == "platform" {
            return true;
        }
        if family == crate::backup::WORDS.name {
            // A single server has no settings of either.
            return self.file.is_none() && self.flags.is_empty();
        }
        let other = self.part(!is_of_redis(family));
        other.file.is_none() && other.flags.is_empty()
    }

    /// Those that are meant for Redis, or those that are not.
    fn part(&self, redis: bool) -> Self {
        let of_redis = |name: &str| {
            let extension = std::path::Path::new(name).extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case("conf"))
        };
        let is_meant = |flag: &&String| redis_setting_from_flag(flag).is_ok() == redis;
        Self {
            file: self.file.clone().filter(|file| of_redis(&file.name) == redis),
            flags: self.flags.iter().filter(is_meant).cloned().collect(),
        }
    }
}

/// True for the families whose settings are those of Redis.
pub(crate) fn is_of_redis(family: &str) -> bool {
    [crate::sentinel::WORDS.name, crate::redis_cluster::WORDS.name, crate::lock::WORDS.name].contains(&family)
}

/// A scenario with complete settings: all that a family needs to build a system.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// What the members run with.
    pub configuration: Configuration,
    /// Members of the cluster.
    pub members: u8,
    /// Members of etcd.
    pub etcd_members: u8,
    /// What Redis servers and Sentinels run with, in the families of Redis and in `platform`.
    pub redis: RedisCase,
    /// What there is to say about the files and flags.
    pub remarks: Vec<Remark>,
    /// Settings of the person's file that the scenario fixes otherwise, because its promise depends on them.
    pub overruled: Vec<Overruled>,
    /// What the person brought.
    pub user: UserSettings,
}

impl Case {
    /// Puts the layers on top of each other: Patroni's defaults, the scenario's `patroni.yml`, the user's, the
    /// scenario's own settings (its promise depends on them), and the user's flags.
    ///
    /// # Errors
    /// What Patroni would not start with, or hasim does not model.
    pub fn new(scenario: &Arc<Scenario>, user: &UserSettings) -> Result<Self, UserError> {
        let mut remarks = scenario.remarks.clone();
        if is_of_redis(scenario.family()) {
            let (redis, more, overruled) = RedisCase::new(scenario, user)?;
            remarks.extend(more);
            return Ok(Self {
                scenario: Arc::clone(scenario),
                configuration: Configuration::default(),
                members: scenario.cluster.members,
                etcd_members: 0,
                redis,
                remarks,
                overruled,
                user: user.clone(),
            });
        }
        let (redis, mut overruled) = if scenario.family() == "platform" {
            let (redis, more, overruled) = RedisCase::new(scenario, &user.part(true))?;
            remarks.extend(more);
            (redis, overruled)
        } else {
            (RedisCase::default(), Vec::new())
        };
        let all = user;
        let own = if scenario.family() == "platform" { user.part(false) } else { user.clone() };
        let user = &own;
        let mut settings = Settings::default();
        let mut etcd_in_file = None;
        let users_file = user.file.as_ref().map(read_patroni_yml).transpose()?;
        for file in scenario.cluster.file.iter().chain(&users_file) {
            settings.overlay(&file.settings);
            etcd_in_file = file.etcd_members.or(etcd_in_file);
            remarks.extend(file.remarks.iter().cloned());
        }
        if let Some(file) = &users_file {
            overruled.extend(file.settings.overruled_by(&scenario.cluster.settings));
        }
        settings.overlay(&scenario.cluster.settings);
        for flag in &user.flags {
            settings.overlay(&setting_from_flag(flag)?);
        }
        let (mut configuration, adjusted) = settings.configuration()?;
        remarks.extend(adjusted);
        if let Some(script) = &scenario.cluster.pre_promote {
            configuration.pre_promote = Some(script.clone());
        }
        configuration.watchdog.device_present = scenario.cluster.watchdog_device;
        for (member, tags) in &scenario.cluster.member_tags {
            let complete = tags.over(configuration.tags);
            configuration.member_tags.insert(MemberId(*member), complete);
        }
        check_routing(scenario, &configuration)?;
        let etcd_members = etcd_members(scenario, etcd_in_file)?;
        let in_file = users_file.as_ref().and_then(|file| file.members);
        let members = in_file.filter(|_| !scenario.cluster.members_written);
        Ok(Self {
            scenario: Arc::clone(scenario),
            configuration,
            members: members.unwrap_or(scenario.cluster.members),
            etcd_members,
            redis,
            remarks,
            overruled,
            user: all.clone(),
        })
    }
}

/// Some ways to the primary exist with one of the stores only.
fn check_routing(scenario: &Scenario, configuration: &Configuration) -> Result<(), UserError> {
    let on_kubernetes = configuration.kubernetes.is_some();
    let (message, label, help) = match scenario.workload.routing {
        Routing::Service if !on_kubernetes => (
            "clients cannot find the primary by a Service: the store is etcd, and not Kubernetes",
            "`service`",
            "set `cluster.patroni.kubernetes.use_endpoints`, or choose another `routing`",
        ),
        Routing::PgbouncerConfd if on_kubernetes => (
            "`confd` cannot find the leader: it reads etcd, and the store is Kubernetes",
            "`pgbouncer-confd`",
            "choose another `routing`, such as `service`",
        ),
        Routing::PgbouncerConfd if configuration.etcd_api == EtcdApi::V2 => (
            "`confd` cannot find the leader: it reads etcd by its API version 3, and Patroni writes by version 2",
            "`pgbouncer-confd`",
            "choose another `routing`, or API version 3 (`etcd3` in the patroni.yml)",
        ),
        _ => return Ok(()),
    };
    let start = scenario.source.text.find("routing").unwrap_or(0);
    let spot = Spot::new(&scenario.source, start..start + "routing".len());
    Err(UserError::at(spot, message, label).help(help))
}

fn etcd_members(scenario: &Scenario, in_file: Option<usize>) -> Result<u8, UserError> {
    let count = scenario.cluster.etcd.map_or(in_file.unwrap_or(3), usize::from);
    let members = u8::try_from(count).ok().filter(|count| *count <= 9).ok_or_else(|| {
        UserError::new(format!("{count} members of etcd are more than the 9 that hasim models"))
            .help("name fewer hosts below `etcd3` in the patroni.yml")
    })?;
    if scenario.cluster.etcd_hosts == EtcdHosts::Shared && members > scenario.cluster.members {
        let message = format!(
            "{members} members of etcd do not fit on the hosts of {} members, one each",
            scenario.cluster.members
        );
        let start = scenario.source.text.find("etcd_hosts").unwrap_or(0);
        let spot = Spot::new(&scenario.source, start..start + "etcd_hosts".len());
        return Err(UserError::at(spot, message, "shared")
            .help("lower `cluster.etcd`, or use `etcd_hosts = \"own\"`"));
    }
    Ok(members)
}
