//! Watches of the clients of one member.

use std::sync::Arc;

use sim_core::ConnectionId;

use super::{Event, Key, Packet, Store};

/// One watch.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) connection: ConnectionId,
    /// Of the request that created it.
    pub(super) id: u64,
    pub(super) prefix: Key,
    /// The first revision of interest that it has not been sent.
    pub(super) next_revision: u64,
}

impl Watch {
    /// What the watch must be sent to have seen everything that the store holds.
    pub(super) fn catch_up(&mut self, store: &Store) -> Option<Packet> {
        if self.next_revision > store.revision() {
            return None;
        }
        let events: Arc<[Event]> = store
            .history_from(self.next_revision)
            .iter()
            .filter(|(_, event)| event.key().starts_with(&*self.prefix))
            .map(|(_, event)| event.clone())
            .collect();
        self.next_revision = store.revision() + 1;
        (!events.is_empty()).then(|| Packet::Watched {
            id: self.id,
            revision: store.revision(),
            events,
        })
    }
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}
