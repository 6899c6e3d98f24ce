//! What always holds in a Patroni cluster, whatever its settings promise: conditions on the states of its processes,
//! checked while a run goes.
//!
//! | condition | file | holds |
//! |---|---|---|
//! | those of Raft | [`crate::raft::invariants`] | always |
//! | `lock-overwritten` | `lock` | with etcd, from Patroni 3.0.3 on: before, it is a published failure (Z8); by API version 2, always. On Kubernetes the lock is
//! taken from whoever let it grow too old, which only its observers know |
//! | `standby-lacks-acknowledged` | `standby` | with `synchronous_mode: on`, from Patroni 3.0.0 on (Z25); see below for quorum commit |
//! | `timeline-chosen-twice` | `timeline` | with `synchronous_mode: on`: without, it is a published failure (Z5); from Patroni 3.1.0 on (Z7, Z11) |
//! | `two-primaries-in-quiet` | `quiet` | when nothing has gone wrong for long enough |
//!
//! With quorum commit `/sync` may let a member lead alone that lacks what was acknowledged: when the standby that had it is
//! taken out, those that are left were confirmed when they were added, and nobody asks again whether they have caught up.
//! Clients lose something only if the primary dies before they do.
//!
//! They see more than any member does: how far a standby's WAL is durable, say, and not what it reports. So they find
//! the instant at which a rule is broken, where the clients' history shows its consequence, and that only if the next
//! fault comes at the right time.

mod lock;
mod quiet;
mod standby;
mod timeline;

use std::sync::Arc;

use sim_core::{Contains, Nested, ProcessId, Schedule, SimTime, StateProbe, Violation, World};

use super::cluster::ClusterProcess;
use super::config::EtcdApi;
use super::dcs::Keys;
use super::dcs::kubernetes::sync_of;
use super::member::Peer;
use super::system::{Disk, Node};
use crate::etcd::{self, Proposal};
use crate::kubernetes;
use crate::postgres::{self, DataDirectory, MemberId};
use crate::raft::NodeId;
use crate::raft::invariants::RaftSafety;

/// What the conditions have to know about a cluster.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) etcd: Arc<[ProcessId]>,
    pub(super) members: Arc<[Peer]>,
    pub(super) scope: String,
    /// `/sync` is right: with `synchronous_mode: on` on disks that keep what they were told to, from Patroni 3.1.2 on (#2524,
    /// #2876).
    pub(super) sync_holds: bool,
    /// No timeline is chosen twice: with `synchronous_mode: on`, from Patroni 3.1.0 on (#2787). With quorum commit a leader that nobody follows yet is in
    /// `/sync` only after its promotion.
    pub(super) timelines_hold: bool,
    /// By which version of its API Patroni speaks with etcd.
    pub(super) etcd_api: EtcdApi,
    /// The lock is never overwritten: from Patroni 3.0.3 on (#2689), by API version 2 of etcd always.
    pub(super) lock_holds: bool,
    /// From when on all is quiet, if ever.
    pub(super) quiet_from: Option<SimTime>,
}

impl Watched {
    /// Adds the conditions to a world of the cluster.
    pub(super) fn add_to<P: Contains<ClusterProcess>>(self, world: &mut World<P>) {
        let servers = self.members.iter().map(|peer| peer.postgres);
        let processes: Vec<ProcessId> = self.etcd.iter().copied().chain(servers).collect();
        let conditions = Nested::<_, ClusterProcess>::new(Conditions::new(self));
        world.add_state_probe(&processes, Box::new(conditions));
    }
}

/// All conditions of one cluster.
#[derive(Clone, Debug)]
struct Conditions {
    watched: Watched,
    keys: Keys,
    names: Vec<String>,
    raft: RaftSafety,
    /// The last change of the keys that was looked at.
    revision: u64,
    lock: lock::Lock,
    standby: standby::Standbys,
    timeline: timeline::Timelines,
    quiet: quiet::Quiet,
}

impl Conditions {
    fn new(watched: Watched) -> Self {
        let names: Vec<String> =
            (1..=watched.members.len()).map(|number| format!("patroni-{number}")).collect();
        let members = watched.members.len();
        Self {
            keys: Keys::new(&watched.scope, &names),
            names,
            raft: RaftSafety::default(),
            revision: 0,
            lock: lock::Lock::default(),
            standby: standby::Standbys::new(members),
            timeline: timeline::Timelines::default(),
            quiet: quiet::Quiet::new(members, watched.quiet_from),
            watched,
        }
    }

    fn on_etcd(&mut self, at: SimTime, server: &etcd::Server) -> Option<Violation> {
        if server.has_exited() {
            // It has ended before it said anything; what stands in a log that it cannot read is nobody's.
            return None;
        }
        let identity = |proposal: &Arc<Proposal>| proposal.identity();
        if let Some(violation) = self.raft.check(at, server.raft(), identity) {
            return Some(violation);
        }
        // Whoever applies a change first shows it; that all apply the same is a condition of its own.
        let store = match self.watched.etcd_api {
            EtcdApi::V2 => server.v2_store().keys(),
            EtcdApi::V3 => server.store(),
        };
        if store.revision() <= self.revision {
            return None;
        }
        let from = self.revision + 1;
        self.revision = store.revision();
        for (_, event) in store.history_from(from) {
            if *event.key() == self.keys.leader
                && self.watched.lock_holds
                && let Some(violation) = self.lock.on_event(at, event)
            {
                return Some(violation);
            }
            if self.watched.sync_holds
                && let Some(value) = self.sync_value(event)
                && let Some(violation) = self.standby.on_sync_key(at, &value, &self.names)
            {
                return Some(violation);
            }
        }
        None
    }

    /// What a change says about `/sync`, if it is one of it: its value, empty if there is none any more. With Kubernetes as the
    /// store it is an object of the API server.
    fn sync_value(&self, event: &etcd::Event) -> Option<etcd::Value> {
        match event {
            etcd::Event::Put(entry) if entry.key == self.keys.sync => Some(Arc::clone(&entry.value)),
            etcd::Event::Delete { key, .. } if *key == self.keys.sync => Some("".into()),
            etcd::Event::Put(entry) => {
                let object = kubernetes::Object::from_entry(entry)?;
                sync_of(&object, &self.watched.scope)
            }
            etcd::Event::Delete { .. } => None,
        }
    }

    fn on_server(
        &mut self,
        at: SimTime,
        member: MemberId,
        server: &postgres::Server,
        data: &DataDirectory,
    ) -> Option<Violation> {
        let writable = server.acknowledged().is_some();
        let opened = self.quiet.set_writable(member, writable);
        if opened && self.watched.timelines_hold {
            let timeline = data.history.current;
            if let Some(violation) = self.timeline.on_opened(at, member, timeline) {
                return Some(violation);
            }
        }
        if self.watched.sync_holds
            && let Some(violation) = self.standby.on_server(at, member, server)
        {
            return Some(violation);
        }
        self.quiet.check(at)
    }

    fn member_of(&self, server: ProcessId) -> Option<MemberId> {
        self.watched.members.iter().find(|peer| peer.postgres == server).map(|peer| peer.member)
    }
}

impl StateProbe<ClusterProcess> for Conditions {
    fn on_state(
        &mut self,
        at: SimTime,
        process: ProcessId,
        state: &ClusterProcess,
        storage: &Disk,
    ) -> Option<Violation> {
        match (state, storage) {
            (ClusterProcess::Node(Node::Etcd(server)), _) => self.on_etcd(at, server),
            (ClusterProcess::Node(Node::Postgres(server)), Disk::Data(data)) => {
                let member = self.member_of(process)?;
                self.on_server(at, member, server, data)
            }
            _ => None,
        }
    }

    fn on_end(&mut self, _at: SimTime, process: ProcessId) {
        if let Some(position) = self.watched.etcd.iter().position(|etcd| *etcd == process) {
            self.raft.forget(NodeId(position as u8));
        } else if let Some(member) = self.member_of(process) {
            self.quiet.set_writable(member, false);
        }
    }

    /// Where durable records can be lost or rot, what synchronous replication promises does not hold.
    fn on_faults(&mut self, added: &Schedule) {
        let sound_disks = added.spares_durable_records();
        self.watched.sync_holds &= sound_disks;
        self.watched.timelines_hold &= sound_disks;
    }

    fn clone_box(&self) -> Box<dyn StateProbe<ClusterProcess>> {
        Box::new(self.clone())
    }
}
