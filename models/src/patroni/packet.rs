//! What travels between the processes of a Patroni cluster.

use std::sync::Arc;

use super::config::FailoverPriority;
use crate::postgres::{Lsn, MemberId, Timeline, TimelineHistory};
use crate::routing::NamePacket;
use crate::{etcd, kubernetes, postgres};

/// A packet of a Patroni cluster. Each role understands a part of it.
#[derive(Clone, Debug, Hash)]
pub enum Packet {
    /// With etcd members.
    Etcd(etcd::Packet),
    /// With `PostgreSQL` servers, also through proxies.
    Postgres(postgres::Packet),
    /// With the REST API of Patroni.
    Rest(Rest),
    /// With API servers of Kubernetes.
    Kubernetes(kubernetes::Packet),
    /// With name servers.
    Name(NamePacket),
}

/// HTTP on the REST API of Patroni; one request at a time on a connection.
#[derive(Clone, Debug, Hash)]
pub enum Rest {
    /// `GET` or `HEAD` of a path.
    Get(RestPath),
    /// The answer.
    Response {
        /// The HTTP status.
        status: u16,
        /// For [`RestPath::Patroni`]: what the member reports about itself.
        report: Option<Arc<MemberReport>>,
    },
    /// `POST /failsafe`: a primary without etcd asks whether it may stay one.
    Failsafe {
        /// Who asks.
        leader: MemberId,
    },
}

/// Paths of the REST API.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RestPath {
    /// `/patroni`: always answered, with a report.
    Patroni,
    /// `/primary`: 200 while the member holds the leader lock, by its own account.
    Primary,
    /// `/replica`: 200 on a running standby without the lock.
    Replica,
}

/// What a member reports about itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct MemberReport {
    /// Who.
    pub member: MemberId,
    /// `role`.
    pub role: MemberRole,
    /// `state` is `running`: `PostgreSQL` answers.
    pub running: bool,
    /// The timeline that it writes or replays.
    pub timeline: Timeline,
    /// `xlog`: the later of received and replayed for a standby, the written position for a primary.
    pub position: Lsn,
    /// `tags.nofailover`.
    pub nofailover: bool,
    /// `tags.failover_priority`.
    pub priority: FailoverPriority,
    /// The watchdog is required and not usable.
    pub watchdog_failed: bool,
    /// The timelines of its server. Real members ask the server itself (`TIMELINE_HISTORY` on a replication
    /// connection); see `rest.rs`.
    pub history: Arc<TimelineHistory>,
}

/// Whether a member's `PostgreSQL` is in recovery.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MemberRole {
    /// Not in recovery.
    Primary,
    /// In recovery.
    Replica,
}

impl From<etcd::Packet> for Packet {
    fn from(packet: etcd::Packet) -> Self {
        Self::Etcd(packet)
    }
}

impl From<postgres::Packet> for Packet {
    fn from(packet: postgres::Packet) -> Self {
        Self::Postgres(packet)
    }
}

impl TryFrom<Packet> for etcd::Packet {
    type Error = Packet;
    fn try_from(packet: Packet) -> Result<Self, Packet> {
        if let Packet::Etcd(packet) = packet { Ok(packet) } else { Err(packet) }
    }
}

/// What API servers say to etcd travels as what it is: etcd does not know who asks.
impl From<kubernetes::Packet> for Packet {
    fn from(packet: kubernetes::Packet) -> Self {
        match packet {
            kubernetes::Packet::Etcd(packet) => Self::Etcd(packet),
            packet => Self::Kubernetes(packet),
        }
    }
}

impl TryFrom<Packet> for kubernetes::Packet {
    type Error = Packet;
    fn try_from(packet: Packet) -> Result<Self, Packet> {
        match packet {
            Packet::Kubernetes(packet) => Ok(packet),
            Packet::Etcd(packet) => Ok(Self::Etcd(packet)),
            packet => Err(packet),
        }
    }
}

impl TryFrom<Packet> for postgres::Packet {
    type Error = Packet;
    fn try_from(packet: Packet) -> Result<Self, Packet> {
        if let Packet::Postgres(packet) = packet { Ok(packet) } else { Err(packet) }
    }
}
