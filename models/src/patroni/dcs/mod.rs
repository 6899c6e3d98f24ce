//! etcd as Patroni's distributed configuration store (DCS): the client, the local copy of the keys, and what they say.

mod cache;
mod client;
mod timeouts;
mod view;

pub(crate) use cache::{Cache, Changes};
pub(crate) use client::{Client, Effort, Finished};
pub(crate) use view::{
    Keys, LeaderKey, MemberKey, PAUSED, SyncKey, View, history_to_value, members_to_value,
};
