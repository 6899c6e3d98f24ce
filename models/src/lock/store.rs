//! What the lock protects: a document in a store, which a leader reads once and then writes back whole, each time with one
//! more effect in it.
//!
//! So two leaders at a time do damage as they do it to a file, an index or a report: each write takes back what the other
//! added since the writer last read, although that was acknowledged. The store keeps every version that was ever written, and
//! which version each was made from; the document is the newest version, and what it holds are the effects on the way back
//! from it to the empty one.
//!
//! With fencing, a reader and a writer show their token, and the store refuses a token that is smaller than the largest that
//! it has seen, or equal and shown by another holder before (section 5.2 of the fidelity specification). The reader, too: if
//! only writes counted, a deposed leader could write once more between the moment at which its successor reads and the moment
//! at which it first writes. The store may hand the tokens out itself, which is compare-and-set on the holder's id. A holder that
//! comes back over another connection needs a new token: otherwise a write that was under way on the first counts, whenever it
//! arrives, and takes back what the same holder wrote since.
//!
//! A version and a token are durable before anybody is told.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use sim_core::{ConnectionEvent, ConnectionId, Context, Origin, Process, ProcessId, Storage, SyncId};

use crate::planted::Planted;

/// A fencing token.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(pub NonZeroU32);

impl Token {
    /// The token with this number; none for zero.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)).map(Self)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        u64::from(self.0.get())
    }
}

/// A version of the document; the empty one is 0.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u32);

/// A random number that a contender draws for each attempt to get the lock: the value of the key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HolderId(pub u64);

/// What is asked of the store.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StoreRequest {
    /// Reads the document, under a token if the holder has one.
    Open(HolderId, Option<Token>),
    /// The same, and asks for the next token.
    OpenFenced(HolderId),
    /// Writes the document that was made from this version by adding an effect.
    Put {
        /// Who.
        holder: HolderId,
        /// Its token, if it has one.
        token: Option<Token>,
        /// What it last read or wrote.
        base: Version,
        /// The effect.
        value: u64,
    },
}

/// An answer of the store.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StoreReply {
    /// The document, by its version, and the token under which it was read.
    Opened(Version, Option<Token>),
    /// The document was written.
    Stored(Version),
    /// A newer token was seen.
    Fenced,
}

/// What travels between contenders and the store.
#[derive(Clone, Copy, Debug, Hash)]
pub enum StorePacket {
    /// A request, with a number that comes back.
    Request(u32, StoreRequest),
    /// An answer.
    Reply(u32, StoreReply),
}

/// The contents of the store.
#[derive(Clone, Debug, Default)]
pub struct StoreDisk {
    /// Each version: what it was made from, and what was added. The first is version 1.
    versions: Vec<(Version, u64)>,
    /// The largest token seen, and whose it is.
    fence: Option<(Token, HolderId)>,
}

/// A change of the store.
#[derive(Clone, Copy, Debug)]
pub enum StoreRecord {
    /// A version.
    Put(Version, u64),
    /// A token.
    Fence(Token, HolderId),
}

impl Storage for StoreDisk {
    type Record = StoreRecord;

    fn apply(&mut self, record: &StoreRecord) {
        match *record {
            StoreRecord::Put(base, value) => self.versions.push((base, value)),
            StoreRecord::Fence(token, holder) => self.fence = Some((token, holder)),
        }
    }
}

impl StoreDisk {
    /// The newest version: the document.
    pub fn current(&self) -> Version {
        Version(self.versions.len() as u32)
    }

    /// The effects in the document, the newest first.
    pub fn effects(&self) -> impl Iterator<Item = u64> + '_ {
        let mut at = self.current();
        std::iter::from_fn(move || {
            let (base, value) = self.versions[at.0.checked_sub(1)? as usize];
            at = base;
            Some(value)
        })
    }
}

/// What the store did last with an effect, for conditions that look at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// How many effects it has accepted in this life.
    pub count: u64,
    /// Whose.
    pub holder: HolderId,
    /// Under which token.
    pub token: Option<Token>,
    /// True if the document was another one than the writer had last seen.
    pub overwrote: bool,
}

/// The configuration of a [`Store`].
#[derive(Clone, Copy, Debug)]
pub struct StoreSpec {
    /// A rule that a test switches off.
    pub planted: Planted,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    planted: Planted,
    waiting: VecDeque<(SyncId, ConnectionId, u32, StoreReply)>,
    accepted: Option<Accepted>,
}

impl Store {
    /// The last effect that it accepted in this life.
    pub fn accepted(&self) -> Option<Accepted> {
        self.accepted
    }

    /// Whether this token may be used by this holder, and whether it is a new one.
    fn admits(&self, context: &impl Context<Self>, token: Token, holder: HolderId) -> bool {
        match context.storage().fence {
            None => true,
            _ if self.planted == Planted::AcceptAnyToken => true,
            Some((seen, owner)) => match token.cmp(&seen) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => owner == holder || self.planted == Planted::AcceptEqualToken,
                std::cmp::Ordering::Greater => true,
            },
        }
    }

    /// Notes a token that was shown. False if it is refused.
    fn show(&self, context: &mut impl Context<Self>, token: Option<Token>, holder: HolderId) -> bool {
        let Some(token) = token else { return true };
        if !self.admits(context, token, holder) {
            return false;
        }
        if context.storage().fence != Some((token, holder)) {
            context.write(StoreRecord::Fence(token, holder));
        }
        true
    }

    fn carry_out(&mut self, context: &mut impl Context<Self>, request: StoreRequest) -> StoreReply {
        match request {
            StoreRequest::Open(holder, token) => {
                if !self.show(context, token, holder) {
                    return StoreReply::Fenced;
                }
                StoreReply::Opened(context.storage().current(), token)
            }
            StoreRequest::OpenFenced(holder) => {
                // A new one also for who had one: what it wrote over its last connection may still be on its way.
                let seen = context.storage().fence.map_or(0, |(token, _)| token.number());
                let token = Token::new(seen + 1);
                self.show(context, token, holder);
                StoreReply::Opened(context.storage().current(), token)
            }
            StoreRequest::Put { holder, token, base, value } => {
                if !self.show(context, token, holder) {
                    return StoreReply::Fenced;
                }
                let count = self.accepted.map_or(0, |accepted| accepted.count) + 1;
                let overwrote = base != context.storage().current();
                self.accepted = Some(Accepted { count, holder, token, overwrote });
                context.write(StoreRecord::Put(base, value));
                StoreReply::Stored(context.storage().current())
            }
        }
    }
}

impl Process for Store {
    type Spec = StoreSpec;
    type Packet = StorePacket;
    type Timer = ();
    type Storage = StoreDisk;

    fn boot(spec: &StoreSpec, _: &mut impl Context<Self>) -> Self {
        Self { planted: spec.planted, waiting: VecDeque::new(), accepted: None }
    }

    fn on_packet(&mut self, context: &mut impl Context<Self>, from: Origin, packet: StorePacket) {
        let (Origin::Connection(connection, _), StorePacket::Request(id, request)) = (from, packet) else {
            return;
        };
        let reply = self.carry_out(context, request);
        let sync = context.sync();
        self.waiting.push_back((sync, connection, id, reply));
    }

    fn on_timer(&mut self, _: &mut impl Context<Self>, (): ()) {}

    fn on_connection(
        &mut self,
        context: &mut impl Context<Self>,
        connection: ConnectionId,
        _: ProcessId,
        event: ConnectionEvent,
    ) {
        if !matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Opened) {
            context.close(connection);
            self.waiting.retain(|(_, theirs, _, _)| *theirs != connection);
        }
    }

    fn on_synced(&mut self, context: &mut impl Context<Self>, sync: SyncId) {
        while let Some((_, connection, id, reply)) =
            self.waiting.front().copied().filter(|first| first.0 <= sync)
        {
            self.waiting.pop_front();
            context.send(connection, StorePacket::Reply(id, reply));
        }
    }

    fn plays(&self, role: &str) -> bool {
        role == "store"
    }

    fn role(&self) -> &'static str {
        "store"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_was_made_from_an_old_one_takes_back_what_came_in_between() {
        let mut disk = StoreDisk::default();
        for (base, value) in [(0, 10), (1, 11), (2, 12), (1, 20)] {
            disk.apply(&StoreRecord::Put(Version(base), value));
        }
        assert_eq!(disk.effects().collect::<Vec<_>>(), [20, 10]);
        assert_eq!(disk.current(), Version(4));
    }
}
