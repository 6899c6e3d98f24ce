//! The network, in the two ways that real protocols depend on: connections and datagrams.
//!
//! # Modelled
//!
//! - Connections (TCP): ordered. A lost packet shows as a retransmission time-out (200 ms plus a round trip, doubling
//!   up to 120 s: Linux `TCP_RTO_MIN`, `TCP_RTO_MAX`) that also holds back what follows. A dead process on a living host
//!   answers at once, with a close or a reset. A dead or cut-off host answers with silence, until the retransmission
//!   limit (Linux `tcp_retries2` = 15, about 15 minutes), the user time-out (`TCP_USER_TIMEOUT`) or, while nothing that was
//!   sent is unacknowledged, keep-alives end the connection. What was sent during a partition arrives when the next retransmission after it gets through.
//! - An unanswered connection request is repeated after 1, 2, 3, 4, 5, 7, 11, ... seconds and given up after 131, as since Linux
//!   6.5 (`tcp_syn_linear_timeouts` = 4, `tcp_syn_retries` = 6); with [another number](crate::Topology::set_tcp_syn_linear_timeouts)
//!   of repetitions each second, at other times.
//! - Datagrams: may be lost, and duplicated under a fault; packets with random latency overtake each other.
//! - Bandwidth, where a fault limits it: packets queue up, and what would wait too long is dropped.
//! - Connections that something in between forgot, resets out of nowhere, listeners that hang.
//!
//! # Simplified
//!
//! - No congestion control, no windows, no fast retransmit: a lost packet always costs a time-out, where a real
//!   connection under load would often repair the loss within a round trip. Loss therefore hurts more here.
//! - All that waits for a retransmission is sent again at once, when its time has come to the nanosecond. Linux 6.18 repeats the first segment by timers
//!   of some milliseconds, 0.21 to 0.24 s and then twice as long and a little more after it was sent, and the rest up to 40 ms after
//!   that is acknowledged; a connection request gets through 0.1 s later than here (`tests/data/measured/README.md`, `reshard.csv`). So what was sent
//!   during a partition arrives up to tenths of a second earlier here.
//! - Bandwidth is no limit without a fault. Under one, each packet has the size that its model declares, and
//!   retransmissions take their share; acknowledgements and keep-alives take none. There being no congestion control, a
//!   sender that offers more than passes loses packets to the full queue and waits for time-outs.
//! - A connection hides duplicates completely; in reality they cost a little bandwidth.

mod connection;
mod path;
mod shape;

pub use connection::{ConnectOptions, KeepAlive};
pub(crate) use connection::{Connection, Connections, End, EndState, Segment};
pub(crate) use path::{LinkTable, Paths};
pub(crate) use shape::{Shape, Shapes};
