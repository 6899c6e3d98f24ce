//! A standby outside of the cluster, under the name of one of its members.
//!
//! What streams from a primary is known to it by `application_name` alone. If that is the primary's own name, as with the leader of a
//! standby cluster whose members are called as those here (#3111), a Patroni before 3.3.3 picked it as the synchronous standby
//! (#3112; Z25): commits wait for a server that cannot take over, and `/sync` names nobody but the primary.
//!
//! `namesake-1` is a server without a Patroni of its own, on a host of its own. It streams from the member whose name it has, without
//! a slot, whatever that member's role, and follows nobody else.

use std::sync::Arc;

use sim_core::{HostId, ProcessOptions, WorldBuilder};

use super::Inputs;
use super::cluster::{ClusterProcess, ClusterSpec};
use super::member::Peer;
use super::system::{ClusterOptions, Disk, NodeSpec};
use crate::postgres::{self, DataDirectory, Upstream};

/// Adds the namesake of this member.
pub(super) fn add_namesake(
    builder: &mut WorldBuilder<ClusterProcess>,
    host: HostId,
    peer: Peer,
    inputs: &Inputs,
    options: &ClusterOptions,
) {
    let upstream = Upstream { server: peer.postgres, member: peer.member, slot: false };
    let contents = DataDirectory::new_primary().base_backup(Some(upstream));
    let volume = builder.add_volume(host, Disk::Data(contents), &inputs.disk_sync);
    builder.add_process(ProcessOptions {
        name: "namesake-1".to_owned(),
        host,
        volume,
        starts_with_host: true,
        spec: ClusterSpec::from(NodeSpec::Postgres(postgres::Spec {
            member: peer.member,
            parameters: Arc::new(options.parameters.clone()),
            durations: Arc::new(postgres::Durations::from(inputs)),
            planted: options.planted,
        })),
    });
}
