//! The part of a case that is about Redis: the settings of servers, Sentinels and nodes from all layers.

use analysis::ReadsOf;
use models::redis::{Parameters, Purpose};
use models::redis_cluster::ClusterConfig;
use models::sentinel::GroupConfig;

use crate::case::UserSettings;
use crate::diagnostic::{Remark, Spot, UserError, Weight};
use crate::import::{Overruled, RedisSettings, read_redis_conf, redis_setting_from_flag};
use crate::scenario::{EtcdHosts, Scenario};

/// What clients with this purpose read, for the measures.
pub const fn reads_for(purpose: Purpose) -> ReadsOf {
    match purpose {
        Purpose::Values | Purpose::PairsOfValues | Purpose::Broadcasts => ReadsOf::Everything,
        Purpose::Sessions(_) => ReadsOf::Constants,
        Purpose::Cache(_) => ReadsOf::Variables,
    }
}

/// What servers and Sentinels run with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisCase {
    /// `sentinel.conf`.
    pub group: GroupConfig,
    /// `redis.conf`.
    pub parameters: Parameters,
    /// `redis.conf`, as far as it is about Redis Cluster.
    pub cluster: ClusterConfig,
    /// How many Sentinels there are.
    pub sentinels: u8,
}

impl RedisCase {
    /// Puts the layers on top of each other: the defaults of Redis, the files of the scenario, the user's, the
    /// scenario's own settings (its promise depends on them), and the user's flags. Remarks say what has no effect; settings of
    /// the user's file that the scenario fixes otherwise come last.
    ///
    /// # Errors
    /// What Redis or Sentinel would not start with, or hasim does not model.
    pub fn new(
        scenario: &Scenario,
        user: &UserSettings,
    ) -> Result<(Self, Vec<Remark>, Vec<Overruled>), UserError> {
        let redis = &scenario.cluster.redis;
        let users_file = user.file.as_ref().map(read_redis_conf).transpose()?;
        let mut settings = RedisSettings::default();
        let mut remarks = Vec::new();
        let mut sentinels = None;
        let mut overruled = Vec::new();
        for file in redis.files.iter().chain(&users_file) {
            settings.overlay(&file.settings);
            sentinels = file.sentinels.or(sentinels);
            remarks.extend(file.remarks.iter().cloned());
        }
        if let Some(file) = &users_file {
            overruled.extend(file.settings.overruled_by(&redis.settings));
        }
        settings.overlay(&redis.settings);
        for flag in &user.flags {
            settings.overlay(&redis_setting_from_flag(flag)?);
        }
        let (group, parameters, cluster) = settings.configuration()?;
        if scenario.family() == crate::redis_cluster::WORDS.name || redis.election.is_some() {
            return Ok((Self { group, parameters, cluster, sentinels: 0 }, remarks, overruled));
        }
        let count = redis.sentinels.map_or(sentinels.unwrap_or(3), usize::from);
        let sentinels =
            u8::try_from(count).ok().filter(|count| (1..=15).contains(count)).ok_or_else(|| {
                UserError::new(format!("{count} Sentinels are more than the 15 that hasim models"))
                    .help("leave some `sentinel known-sentinel` lines out of the file")
            })?;
        if redis.sentinel_hosts == EtcdHosts::Shared && sentinels > scenario.cluster.members {
            let message = format!(
                "{sentinels} Sentinels do not fit on the hosts of {} servers, one each",
                scenario.cluster.members
            );
            let start = scenario.source.text.find("sentinel_hosts").unwrap_or(0);
            let spot = Spot::new(&scenario.source, start..start + "sentinel_hosts".len());
            return Err(UserError::at(spot, message, "shared")
                .help("lower `cluster.sentinels`, or use `sentinel_hosts = \"own\"`"));
        }
        if group.quorum > u32::from(sentinels) {
            remarks.push(Remark {
                weight: Weight::Warning,
                spot: Spot::new(&scenario.source, 0..0),
                message: format!(
                    "a quorum of {} among {sentinels} Sentinels is never reached: nothing will fail over",
                    group.quorum
                ),
            });
        }
        Ok((Self { group, parameters, cluster, sentinels }, remarks, overruled))
    }
}
