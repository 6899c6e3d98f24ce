//! etcd v3.

mod packet;

pub use packet::{
    Answer, Compare, Event, Failure, Key, KeyValue, LeaseId, Mutation, Packet, Request, Response, Value,
};

/// What members send each other.
#[derive(Clone, Debug, Hash)]
pub enum PeerMessage {}
