//! Connections to the other members.

use sim_core::{ConnectOptions, ConnectionId, SimDuration};

/// A broken connection is dialled again after this (`rafthttp`: at most 10 dials a second).
pub(super) const REDIAL_INTERVAL: SimDuration = SimDuration::from_millis(100);

/// `rafthttp` `ConnReadTimeout`, `ConnWriteTimeout`: a stream on which nothing gets through for this long is closed.
pub(super) const STREAM_OPTIONS: ConnectOptions = ConnectOptions {
    user_timeout: Some(SimDuration::from_secs(5)),
    keep_alive: None,
};

/// The way to one other member.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Link {
    /// Waits for the next dial.
    #[default]
    Down,
    /// Dialled.
    Opening(ConnectionId),
    /// Messages pass.
    Open(ConnectionId),
}

impl Link {
    pub(super) fn connection(self) -> Option<ConnectionId> {
        match self {
            Self::Down => None,
            Self::Opening(connection) | Self::Open(connection) => Some(connection),
        }
    }
}
