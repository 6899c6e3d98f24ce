//! What `INFO` says, as far as Sentinel reads it (`sentinelRefreshInstanceInfo`).

use sim_core::{ProcessId, SimDuration};

use super::packet::RunId;

/// The answer to `INFO`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Info {
    /// `run_id`: another one after each start.
    pub run_id: RunId,
    /// `role`, with what belongs to it.
    pub role: RoleInfo,
}

/// The part of `INFO` that depends on the role.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RoleInfo {
    /// `role:master`.
    Primary {
        /// `slave0` and so on: who is connected.
        replicas: Vec<ProcessId>,
    },
    /// `role:slave`.
    Replica {
        /// `master_host` and `master_port`.
        primary: ProcessId,
        /// `master_link_status:up`.
        link_up: bool,
        /// `master_link_down_since_seconds`; none where the server says -1, which it does if it was never connected since
        /// its start, and which Sentinel takes for zero.
        link_down_for: Option<SimDuration>,
        /// `slave_repl_offset`.
        offset: u64,
        /// `slave_priority`.
        priority: u32,
    },
}

impl Info {
    /// True if the server says that it is a primary.
    pub fn is_primary(&self) -> bool {
        matches!(self.role, RoleInfo::Primary { .. })
    }
}
