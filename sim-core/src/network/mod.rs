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
//! - Time-outs of the kernel end to the nanosecond. Those of Linux lie in a wheel whose slots grow with the time (`kernel/time/timer.c`): at
//!   250 Hz they end up to 4 ms late if they are shorter than 0.25 s, 32 ms below 2 s, 256 ms below 16 s, 2 s below 129 s. So what was sent
//!   during a partition comes up to a tenth later there, and a connection request that is repeated four times 0.1 s later. Measured beside
//!   the one scenario that such a tenth of a second decides: `tests/data/measured/README.md`, `reshard.csv`; with the wheel it would lose writes in
//!   5,234 of 10,000 seeds, and not in 5,719.
//! - All that waits for a retransmission is sent again at once. Linux repeats the first segment, and the rest when that is acknowledged.
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
