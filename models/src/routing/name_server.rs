//! A name server, with one name: the address of the primary.
//!
//! Who asks gets what it was last told; who tells it is the script of `on_role_change` that each Patroni runs. Nobody looks
//! whether the server at the address is writable, or lives.
//!
//! # Modelled
//!
//! - Look-ups and updates are datagrams, each answered by one; neither side hears of one that is lost.
//! - Until the first update the name does not exist (NXDOMAIN).
//! - An update takes the place of what the name said before. It is answered when the disk has it, and outlives the process and
//!   its host, as the journal of a zone does.
//! - The last update to arrive counts, whoever leads by then.
//!
//! # Simplified
//!
//! - One server. A secondary, or a resolver between it and `PgBouncer`, would answer with the old address for as long as its
//!   copy of the record lives: up to the record's time to live more.
//! - One look-up stands for both that a client sends (A and AAAA).
//! - A look-up is answered with an update that is not yet on the disk, some milliseconds early.
//! - A killed server on a living host is silent, where the host of a real one refuses (ICMP), which its clients notice at once.
//!
//! Sources: RFC 1035 (look-ups), RFC 2136, sections 3.4 and 3.5 (updates replace records and are durable before they are answered).

use sim_core::{
    ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, Storage, StorageFailure, SyncId,
};

use crate::patroni::Packet;

/// What travels between a name server and those who ask or tell it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NamePacket {
    /// Which address has the name?
    LookUp {
        /// Comes back in the answer.
        id: u64,
    },
    /// In answer to [`Self::LookUp`].
    Address {
        /// Of the look-up.
        id: u64,
        /// The server's; none if there is no such name (NXDOMAIN).
        address: Option<ProcessId>,
    },
    /// The name has this address, and no other.
    Update {
        /// Comes back in the answer.
        id: u64,
        /// The server's.
        address: ProcessId,
    },
    /// In answer to [`Self::Update`]: it is on the disk.
    Updated {
        /// Of the update.
        id: u64,
    },
}

/// What a name server keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameRecord {
    /// The address of the name, once it has one.
    pub address: Option<ProcessId>,
}

/// A change of it.
#[derive(Clone, Copy, Debug)]
pub struct NameChange {
    /// The new address.
    pub address: ProcessId,
}

impl Storage for NameRecord {
    type Record = NameChange;

    fn apply(&mut self, change: &NameChange) {
        self.address = Some(change.address);
    }
}

/// A running name server.
#[derive(Clone, Debug, Default)]
pub struct NameServer {
    /// Updates that are not yet on the disk, and whose they are.
    unsynced: Vec<(SyncId, ProcessId, u64)>,
}

impl Process for NameServer {
    type Spec = ();
    type Packet = Packet;
    type Timer = ();
    type Storage = NameRecord;

    fn boot((): &(), _context: &mut impl Context<Self>) -> Self {
        Self::default()
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: Packet) {
        let Packet::Name(packet) = packet else { return };
        match packet {
            NamePacket::LookUp { id } => {
                let address = context.storage().address;
                context.send_datagram(from.process(), Packet::Name(NamePacket::Address { id, address }));
            }
            NamePacket::Update { id, address } => {
                context.write(NameChange { address });
                let sync = context.sync();
                self.unsynced.push((sync, from.process(), id));
            }
            NamePacket::Address { .. } | NamePacket::Updated { .. } => {}
        }
    }

    fn on_timer(&mut self, _context: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        _context: &mut impl Context<Self>,
        _connection: ConnectionId,
        _peer: ProcessId,
        _event: ConnectionEvent,
    ) {
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        self.unsynced.retain(|(of, from, id)| {
            if *of == sync {
                context.send_datagram(*from, Packet::Name(NamePacket::Updated { id: *id }));
            }
            *of != sync
        });
    }

    /// The update is refused (SERVFAIL), which is as good as no answer to a script that asks once.
    fn on_storage_failed(&mut self, context: &mut impl Context<Self>, failure: StorageFailure) {
        context.note(|| format!("the record is not written: {failure}"));
        self.unsynced.clear();
    }

    fn plays(&self, role: &str) -> bool {
        role == "name-server"
    }

    fn role(&self) -> &'static str {
        "name-server"
    }
}
