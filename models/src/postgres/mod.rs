//! `PostgreSQL` with streaming replication.

mod checkpoint;
mod commit;
mod data;
mod packet;
mod parameters;
mod recovery;
mod server;
mod shutdown;
mod synchronous;
mod walreceiver;
mod walsender;

pub use data::{
    CHECKPOINT_BYTES, ClusterState, ControlFile, DataDirectory, DataRecord, END_OF_RECOVERY_BYTES,
    INSERT_BYTES, Lsn, MemberId, Settings, SyncMethod, SynchronousStandbys, Timeline, TimelineHistory,
    Upstream, Wal, WalEntry, WalKind,
};
pub use packet::{
    Answer, Control, Packet, Replication, ReplicationStatus, Statement, Status, StopMode, SyncState,
    SynchronousCommit,
};
pub use parameters::{Durations, Parameters, Spec};
pub use server::{Server, Timer};
