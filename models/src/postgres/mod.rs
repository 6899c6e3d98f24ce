//! PostgreSQL with streaming replication.

mod data;
mod packet;

pub use data::{
    ClusterState, ControlFile, DataDirectory, DataRecord, Lsn, MemberId, Settings, SyncMethod,
    SynchronousStandbys, Timeline, TimelineHistory, Upstream, Wal, WalEntry, WalKind,
};
pub use packet::{
    Answer, Control, Packet, Replication, ReplicationStatus, Statement, Status, StopMode, SyncState,
    SynchronousCommit,
};
