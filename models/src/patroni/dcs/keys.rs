//! Where the cluster is in etcd, and how its keys are read (`dcs/__init__.py`, `etcd.py` and `etcd3.py:_cluster_from_nodes`).

use std::sync::Arc;

use super::view::{
    MemberKey, PAUSED, StatusKey, SyncKey, View, failover_from_value, history_from_value, member_named,
    members_from_value,
};
use crate::etcd::{Key, KeyValue};
use crate::postgres::MemberId;

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `/service/<scope>/`.
    pub(crate) prefix: Key,
    /// `leader`: the lock.
    pub(crate) leader: Key,
    /// `status`: the leader's flushed position (`optime`).
    pub(crate) status: Key,
    /// `sync`.
    pub(crate) sync: Key,
    /// `history`.
    pub(crate) history: Key,
    /// `initialize`.
    pub(crate) initialize: Key,
    /// `failsafe`.
    pub(crate) failsafe: Key,
    /// `failover`.
    pub(crate) failover: Key,
    /// `config`.
    pub(crate) config: Key,
    /// `members/<name>`, by member.
    pub(crate) members: Arc<[Key]>,
}

impl Keys {
    /// Under which all keys of a cluster are: `/service/<scope>/`.
    pub(crate) fn prefix(scope: &str) -> Key {
        format!("/service/{scope}/").into()
    }

    /// The keys of the cluster with this scope and these members.
    pub(crate) fn new(scope: &str, names: &[String]) -> Self {
        let prefix = Self::prefix(scope);
        let key = |name: &str| -> Key { format!("{prefix}{name}").into() };
        Self {
            prefix: Arc::clone(&prefix),
            leader: key("leader"),
            status: key("status"),
            sync: key("sync"),
            history: key("history"),
            initialize: key("initialize"),
            failsafe: key("failsafe"),
            failover: key("failover"),
            config: key("config"),
            members: names.iter().map(|name| key(&format!("members/{name}"))).collect(),
        }
    }
}

/// Reads what there is of the keys.
pub(super) fn read<'a>(entries: impl Iterator<Item = &'a KeyValue>, keys: &Keys, names: &[String]) -> View {
    let mut view = View::default();
    for entry in entries {
        let (key, value) = (&entry.key, &*entry.value);
        if *key == keys.leader {
            view.leader = member_named(value, names);
        } else if *key == keys.status {
            view.status = StatusKey::from_value(value, names);
        } else if *key == keys.sync {
            view.sync = SyncKey::from_value(value, entry.mod_revision, names);
        } else if *key == keys.history {
            view.history = history_from_value(value);
            view.has_history = true;
        } else if *key == keys.initialize {
            view.initialized = true;
        } else if *key == keys.failsafe {
            view.failsafe = members_from_value(value, names);
        } else if *key == keys.config {
            view.paused = value == PAUSED;
        } else if *key == keys.failover {
            view.failover = failover_from_value(value, names);
        } else if let Some(index) = keys.members.iter().position(|member| member == key) {
            view.members.extend(MemberKey::from_value(MemberId(index as u8), value));
        }
    }
    view.members.sort_unstable_by_key(|member| member.member);
    view
}
