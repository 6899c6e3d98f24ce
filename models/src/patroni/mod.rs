//! Patroni, and the PostgreSQL cluster that it keeps available.

mod config;
mod inputs;
mod packet;

pub use config::{Adjustment, Configuration, SynchronousMode, Tags, Timeouts, Watchdog, WatchdogMode};
pub use inputs::Inputs;
pub use packet::{MemberReport, MemberRole, Packet, Rest, RestPath};
