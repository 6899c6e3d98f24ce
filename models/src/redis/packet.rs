//! What travels between servers, Sentinels, nodes of a cluster and clients. All of it is the protocol of Redis: requests and replies in
//! order, and what a server pushes to replicas and subscribers.

use std::sync::Arc;

use sim_core::{ProcessId, SimDuration};

use super::history::ReplicationId;
use super::info::Info;
use super::keys::{Key, KeyCommand};
use super::log::{Entry, ListKey, Snapshot};
use crate::redis_cluster::{Message, SetSlot, Slot};

/// A random name of one life of a server, or of a Sentinel for as long as its configuration file lives.
///
/// The real ones have 40 hexadecimal digits; only equality and order matter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RunId(pub u32);

/// The number of an election among Sentinels, and of the configuration that its winner announces.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The next one. A run has fewer elections than there are numbers.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A group of servers that Sentinels watch, by its place in their configuration files.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(pub u8);

/// What Sentinels tell each other, through the channel `__sentinel__:hello` of each server and directly.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hello {
    /// The address of the Sentinel.
    pub sentinel: ProcessId,
    /// Its id.
    pub id: RunId,
    /// Its current epoch.
    pub epoch: Epoch,
    /// The group.
    pub group: GroupId,
    /// The address of the group's primary, as this Sentinel believes.
    pub primary: ProcessId,
    /// The epoch of that configuration.
    pub config_epoch: Epoch,
}

/// A request on a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// `RPUSH`: adds a value.
    Write(u64),
    /// `RPUSH` to a node of a cluster: adds a value under a key of this slot.
    WriteTo(Slot, u64),
    /// `CLUSTER SLOTS`: who owns which slot.
    ClusterSlots,
    /// `LLEN`: how many values there are.
    Count,
    /// `WAIT`: how many replicas have acknowledged the stream up to this offset. The real server remembers the
    /// offset of each connection's last write; here the client was told with the reply.
    Wait {
        /// Up to where.
        offset: u64,
        /// How many are waited for.
        replicas: u8,
        /// How long, at most.
        timeout: SimDuration,
    },
    /// `ROLE`.
    Role,
    /// `PING`.
    Ping,
    /// `INFO`.
    Info,
    /// `SUBSCRIBE __sentinel__:hello`, or on a Sentinel `+switch-master`.
    Subscribe,
    /// `PUBLISH __sentinel__:hello`; sent to a Sentinel it is taken as it is.
    Publish(Hello),
    /// `MULTI`, `REPLICAOF` (none: `NO ONE`), `CONFIG REWRITE`, `CLIENT KILL TYPE normal`, `CLIENT KILL TYPE pubsub`,
    /// `EXEC`.
    ReplicaOf(Option<ProcessId>),
    /// `SENTINEL get-master-addr-by-name`.
    GetPrimary(GroupId),
    /// `SENTINEL is-master-down-by-addr`; with a candidate it asks for a vote as well.
    IsPrimaryDown {
        /// The primary in question.
        primary: ProcessId,
        /// The epoch of the sender.
        epoch: Epoch,
        /// Who wants the vote.
        candidate: Option<RunId>,
    },
    /// A command on a string key.
    Key(Key, KeyCommand),
    /// `MULTI`, `RPUSH` to each of a client's two lists, whose names have this slot, `EXEC`.
    WritePairTo(Slot, u64),
    /// `ASKING`: the next command on this connection may be about a slot that is being imported.
    Asking,
    /// `CLUSTER SETSLOT`.
    SetSlot(Slot, SetSlot),
    /// `CLUSTER GETKEYSINSLOT` for so many names, and `MIGRATE` of these: answered with how many lists have moved.
    Migrate {
        /// Of which slot.
        slot: Slot,
        /// How many lists, at most.
        lists: u8,
        /// Where to.
        to: ProcessId,
        /// How long, at most, the server waits for the other one.
        timeout: SimDuration,
    },
    /// `INFO replication`, as far as an operator looks at it: `master_replid` and the offset.
    Replication,
    /// `REPLICAOF` (none: `NO ONE`) by itself, as an operator sends it: clients stay, and the file is as before.
    Follow(Option<ProcessId>),
    /// `SUBSCRIBE` to the channel of broadcasts.
    Listen,
    /// `PUBLISH` to the channel of broadcasts: answered with how many subscribers of this server were sent it.
    Broadcast(u64),
    /// `GET`.
    Get(Key),
    /// `SENTINEL replicas`.
    GetReplicas(GroupId),
}

/// A reply to a [`Command`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reply {
    /// Written.
    Written {
        /// The offset of the stream behind the write; see [`Command::Wait`].
        offset: u64,
    },
    /// A number.
    Count(u64),
    /// `ROLE`: true for a primary.
    Role {
        /// Whether it is one.
        primary: bool,
    },
    /// `+PONG`.
    Pong,
    /// `INFO`.
    Info(Arc<Info>),
    /// `+OK`, or what else means nothing to the sender.
    Done,
    /// `-READONLY`: a replica.
    ReadOnly,
    /// `-NOREPLICAS`: `min-replicas-to-write`.
    NoReplicas,
    /// `-LOADING`.
    Loading,
    /// `-MISCONF`: the last save failed.
    Misconf,
    /// `-MASTERDOWN`: a replica without its primary that may not serve stale data.
    MasterDown,
    /// `-UNBLOCKED`: the role changed while it waited.
    Unblocked,
    /// `-MOVED`: the slot belongs to another node.
    Moved(Slot, ProcessId),
    /// `-CLUSTERDOWN`: this node holds the cluster for down, or the slot is nobody's.
    ClusterDown,
    /// `CLUSTER SLOTS`: the owner of each slot.
    Slots(Arc<[Option<ProcessId>]>),
    /// The address of the primary; none if the Sentinel does not know the group.
    Primary(Option<ProcessId>),
    /// To [`Command::IsPrimaryDown`].
    Opinion {
        /// Subjectively down.
        down: bool,
        /// For whom it has voted.
        leader: Option<RunId>,
        /// In which epoch.
        epoch: Epoch,
    },
    /// Nil, or zero: the condition of the command did not hold.
    Nil,
    /// `-ASK`: what is asked for is with another node already, or will be; the slot is on its way.
    Ask(Slot, ProcessId),
    /// `-TRYAGAIN`: some of the keys of the command have moved and others have not.
    TryAgain,
    /// `-ERR` or `-IOERR`: not now, or not here.
    Error,
    /// To [`Command::Replication`].
    Replication {
        /// The stream.
        id: ReplicationId,
        /// How much of it was applied.
        offset: u64,
    },
    /// What a key holds; none: it is not there.
    Value(Option<u64>),
    /// The replicas of a group that the Sentinel does not hold for down.
    Replicas(Arc<[ProcessId]>),
}

/// What travels.
#[derive(Clone, Debug, Hash)]
pub enum Packet {
    /// A request.
    Request {
        /// Chosen by the sender; comes back with the reply.
        id: u32,
        /// What is asked.
        command: Command,
    },
    /// A reply.
    Reply {
        /// That of the request.
        id: u32,
        /// The answer.
        reply: Reply,
    },
    /// To a subscriber: a hello.
    Message(Hello),
    /// To a subscriber of a Sentinel: `+switch-master`.
    SwitchPrimary(GroupId, ProcessId),
    /// A replica greets: `PING`, then `REPLCONF listening-port` and `capa`, one round trip each.
    Greeting(Greeting),
    /// The answer to a greeting.
    Greeted(Greeting),
    /// `PSYNC`: the stream that the replica follows and its offset; none asks for everything.
    Psync(Option<(ReplicationId, u64)>),
    /// `+CONTINUE`: the stream goes on where the replica asked. What is missing follows.
    Continue(ReplicationId),
    /// `+FULLRESYNC`: a snapshot will follow.
    FullResync,
    /// `-NOMASTERLINK` or `-LOADING` in answer to `PSYNC`: later.
    NotNow,
    /// An empty line: the snapshot is still being made.
    KeepAlive,
    /// A snapshot.
    Snapshot(Arc<Snapshot>),
    /// One entry of the stream.
    Stream(Entry),
    /// Several entries of the stream.
    Batch(Arc<[Entry]>),
    /// `REPLCONF ACK` with the offset that the replica has applied.
    Acknowledge(u64),
    /// A message of the cluster bus.
    Bus(Arc<Message>),
    /// `RESTORE-ASKING` of some lists, from a node that moves them.
    Restore(Arc<Restore>),
    /// To a subscriber of the channel of broadcasts.
    Broadcast(u64),
}

/// Lists on their way from one node to another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Restore {
    /// The slot of their names.
    pub slot: Slot,
    /// Their names.
    pub lists: Vec<ListKey>,
    /// Their values, in the order in which they were added.
    pub values: Arc<[u64]>,
}

impl Restore {
    /// The number of the reply: there is one such request on a connection.
    pub const ID: u32 = 0;
}

/// The steps of a replica's handshake before `PSYNC`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Greeting {
    /// `PING`.
    Ping,
    /// `REPLCONF`.
    ReplConf,
}
