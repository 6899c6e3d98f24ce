//! The network, in the two ways that real protocols depend on: connections and datagrams.
//!
//! # Modelled
//!
//! - Connections (TCP): ordered. A lost packet shows as a retransmission time-out (200 ms plus a round trip, doubling
//!   up to 120 s: Linux `TCP_RTO_MIN`, `TCP_RTO_MAX`) that also holds back what follows. A dead process on a living host
//!   answers at once, with a close or a reset. A dead or cut-off host answers with silence, until the retransmission
//!   limit (Linux `tcp_retries2` = 15, about 15 minutes), the user time-out (`TCP_USER_TIMEOUT`) or keep-alives end the
//!   connection. What was sent during a partition arrives when the next retransmission after it gets through.
//! - An unanswered connection request is repeated after 1, 2, 4, ... seconds (`tcp_syn_retries` = 6, about 127 s).
//! - Datagrams: may be lost; packets with random latency overtake each other.
//!
//! # Simplified
//!
//! - No congestion control, no windows, no fast retransmit: a lost packet always costs a time-out, where a real
//!   connection under load would often repair the loss within a round trip. Loss therefore hurts more here.
//! - Packets have no size, so bandwidth is not a limit.

mod connection;
mod path;

pub use connection::{ConnectOptions, KeepAlive};
pub(crate) use connection::{Connection, Connections, EndState, Segment};
pub(crate) use path::{LinkTable, Paths};
