//! `sentinel.conf`: what a Sentinel is told to watch, and what it writes into the same file.

use std::sync::Arc;

use sim_core::{Damage, ProcessId, Sampler, SimDuration, Storage};

use crate::planted::Planted;
use crate::redis::release::{MODELLED, Version};
use crate::redis::{Epoch, RunId};

/// The directives for one group, under their own names. The defaults are those of Redis 7.0.15.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupConfig {
    /// Which release the Sentinels are; no directive. 7.0.15.
    pub version: Version,
    /// The name of the group.
    pub name: String,
    /// `monitor ... quorum`: opinions, the own one included, that make a primary objectively down; at least 1. An
    /// election needs as many votes, and a majority of all known Sentinels besides.
    pub quorum: u32,
    /// `down-after-milliseconds`: 30 s.
    pub down_after: SimDuration,
    /// `failover-timeout`: 3 min.
    pub failover_timeout: SimDuration,
    /// `parallel-syncs`: replicas that are re-pointed at the same time. 1.
    pub parallel_syncs: u32,
    /// `master-reboot-down-after-period`: a primary that came back under another run id and does not answer with a plain
    /// PONG for so long is down. Zero: off.
    pub reboot_down_after: SimDuration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            version: MODELLED,
            name: "mymaster".to_owned(),
            quorum: 2,
            down_after: SimDuration::from_secs(30),
            failover_timeout: SimDuration::from_secs(180),
            parallel_syncs: 1,
            reboot_down_after: SimDuration::ZERO,
        }
    }
}

/// What a Sentinel is started with, beside its file.
#[derive(Clone, Debug)]
pub struct SentinelSpec {
    /// The groups and their primaries, as written by the operator.
    pub groups: Arc<[(GroupConfig, ProcessId)]>,
    /// It runs in a container, as process number 1.
    pub in_container: bool,
    /// How late it is woken for its tick.
    pub timer_late: Sampler,
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// What a Sentinel writes into its configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentinelState {
    /// `myid`.
    pub id: RunId,
    /// `current-epoch`.
    pub epoch: Epoch,
    /// One for each group, in the order of the file.
    pub groups: Vec<GroupState>,
}

/// The durable part of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupState {
    /// The address of the primary; from the moment at which a promotion is seen, the promoted one.
    pub primary: ProcessId,
    /// `config-epoch`.
    pub config_epoch: Epoch,
    /// `leader-epoch`: the epoch of the last vote. For whom is not written.
    pub leader_epoch: Epoch,
    /// `known-replica`.
    pub replicas: Vec<ProcessId>,
    /// `known-sentinel`.
    pub sentinels: Vec<(ProcessId, RunId)>,
    /// `known-sentinel` with port 0.
    pub ghosts: Vec<RunId>,
}

/// The volume of a Sentinel: its configuration file, which is replaced as a whole and synced.
#[derive(Clone, Debug, Default)]
pub struct SentinelDisk(pub Option<Arc<SentinelState>>);

impl Storage for SentinelDisk {
    type Record = Arc<SentinelState>;

    fn apply(&mut self, state: &Arc<SentinelState>) {
        self.0 = Some(Arc::clone(state));
    }

    fn damage(&mut self, _: Damage<'_, Arc<SentinelState>>) {
        // A new file takes the place of the old one when it is complete.
    }
}
