//! A node that stands still: its one thread waits. What comes meanwhile is worked off afterwards.
//!
//! | cause | lasts |
//! |---|---|
//! | `MIGRATE` ([`super::resharding`]) | until the other node has answered, or time is up |
//! | a change of `nodes.conf` that is to last | until the disk has done its part |
//! | whatever its server stands still for ([`crate::redis`]) | |
//!
//! The end of a turn of the event loop writes `nodes.conf` and waits for the disk before anything that the turn has to say leaves
//! (`server.c:beforeSleep`, which calls `cluster.c:clusterBeforeSleep` before `handleClientsWithPendingWrites`). A vote is durable before
//! anybody learns of it, and a slow disk keeps clients waiting (redis issue 6753, pull request 2592; valkey issue 2424): all nodes of a cluster
//! write their file when one slot or one primary changes.
//!
//! Up to 7.0 the file is written over in place and synced once (`clusterSaveConfig` of 7.0.15). From 7.2 on a temporary file is synced, takes
//! its place, and its folder is synced (pull request 10924).
//!
//! # What is simplified, and what that changes
//!
//! Whatever has come meanwhile is read in one turn, as an event loop does that finds all its sockets readable. Answers to clients, but that
//! to `SETSLOT`, leave at once if they are read in the turn that changes `nodes.conf`, and not after the sync.

use std::fmt::Display;
use std::sync::Arc;

use sim_core::{Context, HostTime, StorageFailure, SyncId};

use super::config::Release;
use super::node::{ClusterNode, NodeTimer};
use super::nodes_conf::{NodeRecord, NodesConf};
use crate::redis::Input;

/// How a node begins to say that `nodes.conf` is synced; for how long it stood still follows.
pub const SAVED: &str = "nodes.conf synced #took ";

/// What a node that stands still has been given meanwhile, and for which sync it waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstill {
    inputs: Vec<Input<NodeTimer>>,
    saving: Option<Saving>,
    /// It works off what has come: one turn.
    in_turn: bool,
}

/// A change of `nodes.conf` on its way to the disk.
#[derive(Clone, Debug)]
struct Saving {
    sync: SyncId,
    /// What is to take the place of the old file once it is synced.
    unnamed: Option<Arc<NodesConf>>,
    since: HostTime,
}

impl ClusterNode {
    /// True while its thread waits for something.
    #[inline]
    pub(super) fn stands_still(&self) -> bool {
        self.moving.is_some() || self.standstill.saving.is_some() || self.server.stands_still()
    }

    /// True until everything is worked off that has come while it stood still.
    pub(super) fn is_in_turn(&self) -> bool {
        self.standstill.in_turn
    }

    /// Puts something aside that comes while the node stands still. False: it does not.
    #[inline]
    pub(super) fn hold(&mut self, input: impl FnOnce() -> Input<NodeTimer>) -> bool {
        let stands_still = self.stands_still();
        if stands_still {
            self.standstill.inputs.push(input());
        }
        stands_still
    }

    /// Works off what has come meanwhile. Among it may be something for whose end the rest waits in turn.
    pub(super) fn go_on(&mut self, context: &mut impl Context<Self>) {
        self.standstill.in_turn = true;
        for input in std::mem::take(&mut self.standstill.inputs) {
            input.give(self, context);
        }
        self.standstill.in_turn = false;
        self.before_sleep(context);
    }

    /// The end of a turn, which may have been that of a standstill.
    pub(super) fn end_turn(&mut self, context: &mut impl Context<Self>, ends_standstill: bool) {
        if ends_standstill {
            self.go_on(context);
        } else {
            self.before_sleep(context);
        }
    }

    /// `clusterSaveConfig`.
    pub(super) fn save(&mut self, context: &mut impl Context<Self>, lasts: bool) {
        let conf = Arc::new(self.table.stored());
        let is_renamed = lasts && self.spec.config.release >= Release::Redis72;
        let unnamed = is_renamed.then(|| Arc::clone(&conf));
        if unnamed.is_none() {
            self.write(context, &conf);
        }
        if lasts {
            let (sync, since) = (context.sync(), context.monotonic());
            self.standstill.saving = Some(Saving { sync, unnamed, since });
        }
    }

    fn write(&self, context: &mut impl Context<Self>, conf: &Arc<NodesConf>) {
        let is_new_file = self.spec.config.release >= Release::Redis72;
        let record = if is_new_file { NodeRecord::Conf } else { NodeRecord::ConfInPlace };
        context.write(record(Arc::clone(conf)));
        if !Arc::ptr_eq(&context.storage().conf, conf) {
            Self::die(context, "no space left");
        }
    }

    /// `clusterSaveConfigOrDie`.
    fn die(context: &mut impl Context<Self>, why: impl Display) {
        context.note(|| format!("Fatal: can't update cluster config file: {why}"));
        let me = context.me();
        context.kill(me);
    }

    /// Takes the end of a sync, if it is that of `nodes.conf`.
    pub(super) fn on_saved(&mut self, context: &mut impl Context<Self>, sync: SyncId) -> bool {
        let Some(saving) = self.standstill.saving.as_mut().filter(|saving| saving.sync == sync) else {
            return false;
        };
        let since = saving.since;
        if let Some(conf) = saving.unnamed.take() {
            self.write(context, &conf);
            self.standstill.saving = Some(Saving { sync: context.sync(), unnamed: None, since });
            return true;
        }
        let lasted = context.monotonic().since(since);
        context.note(|| format!("{SAVED}{}ns", lasted.as_nanos()));
        self.standstill.saving = None;
        self.outbox.flush(context);
        self.go_on(context);
        true
    }

    /// A node that cannot sync `nodes.conf` ends. False: it is about something else.
    pub(super) fn dies_of(&mut self, context: &mut impl Context<Self>, failure: &StorageFailure) -> bool {
        let awaited = self.standstill.saving.as_ref().map(|saving| saving.sync);
        let is_fatal = matches!(failure, StorageFailure::Sync(sync, _) if awaited == Some(*sync));
        if is_fatal {
            Self::die(context, failure);
        }
        is_fatal
    }
}
