//! Identities: dense numbers with a type each, assigned in the order in which a world is built.

use serde::{Serialize, Serializer};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(u32);

        impl $name {
            /// The identity with this position in the world's table.
            pub const fn from_index(index: usize) -> Self {
                Self(index as u32)
            }

            /// The position in the world's table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.0)
            }
        }
    };
}

id! {
    /// One process (a role of a protocol) on one host. Restarts keep the identity.
    ProcessId
}
id! {
    /// One machine: processes on it share its fate, its clock and its loopback.
    HostId
}
id! {
    /// One volume: what survives a crash. Processes of one host may share a volume.
    VolumeId
}

/// One TCP-like connection. Identities are never reused within a run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A request to make storage durable; comes back in `Process::on_synced`. Ascending per process.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SyncId(pub(crate) u64);

/// One client operation in the history.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OperationId(pub(crate) u32);

impl OperationId {
    /// The position in the history of the run.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
