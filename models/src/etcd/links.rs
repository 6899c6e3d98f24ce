//! Connections to the other members.

use sim_core::{ConnectOptions, ConnectionId, KeepAlive, SimDuration};

/// A broken connection is dialled again after this (`rafthttp`: at most 10 dials a second).
pub(super) const REDIAL_INTERVAL: SimDuration = SimDuration::from_millis(100);

/// `rafthttp` `ConnReadTimeout`, `ConnWriteTimeout`: a stream on which nothing gets through for 5 s is closed, by either
/// side. Idle streams carry heartbeats of their own, so that this is noticed before a message needs them; the
/// kernel's keep-alives stand for these.
pub(super) const STREAM_OPTIONS: ConnectOptions = ConnectOptions {
    user_timeout: Some(SimDuration::from_secs(5)),
    keep_alive: Some(KeepAlive {
        idle: SimDuration::from_secs(3),
        interval: SimDuration::from_secs(1),
        count: 2,
    }),
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
